//! `cargo xtask memory`: what an idle session costs where no socket limits
//! their number, awake and with its instance asleep. It builds the measuring program (host/examples/idle_memory.rs)
//! in release and runs it on the echo guest; the figures are printed, not judged.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::outcome::Outcome;
use crate::{guests, process, served};

const GUEST: &str = "echo";
const EXAMPLE: &str = "idle_memory";

/// What `cargo xtask memory` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Numbers of sessions, ascending; a million take about 2 GiB and a minute
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    sessions: Vec<u32>,
    /// Numbers of sessions whose own instances sleep, ascending
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [100_000])]
    sleeping: Vec<u32>,
    /// The same on sockets: this process and the server's need as many descriptors
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [10_000])]
    sockets: Vec<u32>,
}

/// Builds and measures.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<Outcome> {
    guests::build(&[GUEST.to_owned()])?;
    let build = ["build", "--release", "-p", "wharf", "--example", EXAMPLE];
    process::run(process::cargo(root).args(build))?;
    let program = served::target(root).join("release/examples").join(EXAMPLE);
    let kinds = [
        ("awake", &arguments.sessions),
        ("asleep", &arguments.sleeping),
        ("sockets", &arguments.sockets),
    ];
    for (kind, counts) in kinds {
        let mut measure = Command::new(&program);
        measure.arg(kind);
        measure.arg(root.join("target/guests").join(format!("{GUEST}.wasm")));
        measure.args(counts.iter().map(u32::to_string));
        let status = measure
            .status()
            .with_context(|| program.display().to_string())?;
        ensure!(status.success(), "the measurement ended with {status}");
    }
    Ok(Outcome::default())
}
