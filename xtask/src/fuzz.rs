//! A short run of each fuzz target of the protocol, from the corpus that is
//! kept in the tree. Needs a nightly compiler; where there is none, says so:
//! `cargo test` replays the corpus on any compiler. What a run finds lands in
//! `target`, never in the tree.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::outcome::Outcome;
use crate::process;

const FUZZ: &str = "host/protocol/fuzz";
const CARGO_FUZZ_VERSION: &str = "^0.13";
const SECONDS_EACH: u64 = 30;
/// A run looks at the clock between inputs; one input may be slow.
const TARGET_TIME_MAX: Duration = Duration::from_secs(SECONDS_EACH + 120);
const LINES_SHOWN: usize = 40;

/// Fuzzes each target for half a minute.
pub(crate) fn run(root: &Path) -> anyhow::Result<Outcome> {
    let has_nightly = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_nightly {
        return Ok(Outcome::not_run(
            "fuzzing: no nightly compiler (`rustup toolchain install nightly`); `cargo test` replays the corpus",
        ));
    }
    let tools = cargo_fuzz(root)?;
    let build = root.join("target/fuzz/build");
    let mut command = cargo_fuzz_command(root, &tools, "build")?;
    process::run(command.arg("--target-dir").arg(&build))?;
    let mut outcome = Outcome::default();
    for target in targets(root)? {
        let mut command = cargo_fuzz_command(root, &tools, "run")?;
        command.arg("--target-dir").arg(&build).arg(&target);
        outcome.add(fuzz(root, &target, &mut command)?);
    }
    Ok(outcome)
}

/// Runs one target. A fuzzer says much; its last lines matter if it found
/// something, and how often it ran if not.
fn fuzz(root: &Path, target: &str, command: &mut Command) -> anyhow::Result<Outcome> {
    let folder = root.join("target/fuzz").join(target);
    let (found, artifacts) = (folder.join("corpus"), folder.join("artifacts"));
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&artifacts)?;
    // New inputs go to the first folder; the second is only read.
    command.arg(&found);
    let kept = root.join(FUZZ).join("corpus").join(target);
    if kept.is_dir() {
        command.arg(kept);
    }
    command
        .arg("--")
        .arg(format!("-max_total_time={SECONDS_EACH}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let log = folder.join("log");
    let mut child = command
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .spawn()
        .context("`cargo fuzz run` could not be started")?;
    let status = process::wait_within(&mut child, TARGET_TIME_MAX).context(target.to_owned())?;
    let said = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    if status.success() {
        let runs = said
            .lines()
            .rev()
            .find(|line| line.starts_with("Done "))
            .unwrap_or("");
        println!("{target}: {runs}");
        return Ok(Outcome::of_counts(1, 0));
    }
    let lines: Vec<&str> = said.lines().collect();
    println!(
        "{}",
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    );
    println!(
        "{target}: FAILED; the input is in {}, all it said in {}",
        artifacts.display(),
        log.display()
    );
    Ok(Outcome::of_counts(0, 1))
}

fn cargo_fuzz_command(root: &Path, tools: &Path, subcommand: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("rustup");
    command.args([
        "run",
        "nightly",
        "cargo",
        "fuzz",
        subcommand,
        "--fuzz-dir",
        FUZZ,
    ]);
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools.to_path_buf()).chain(std::env::split_paths(&path));
    command
        .env("PATH", std::env::join_paths(folders)?)
        .current_dir(root);
    Ok(command)
}

/// The `[[bin]]` names of the fuzz package.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let manifest = root.join(FUZZ).join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("reading {}", manifest.display()))?;
    let bins = text.split("[[bin]]").skip(1);
    let names = bins.filter_map(|bin| {
        bin.lines()
            .find_map(|line| line.trim().strip_prefix("name = \""))
    });
    Ok(names
        .map(|name| name.trim_end_matches('"').to_owned())
        .collect())
}

/// The folder that holds `cargo-fuzz`, installed from source if need be.
fn cargo_fuzz(root: &Path) -> anyhow::Result<PathBuf> {
    if let Some(folder) =
        crate::tools::on_path("cargo-fuzz").and_then(|file| file.parent().map(Path::to_path_buf))
    {
        return Ok(folder);
    }
    let folder = root.join("target/tools/cargo-fuzz");
    if !folder.join("bin/cargo-fuzz").is_file() {
        let mut install = process::cargo(root);
        install
            .args([
                "install",
                "cargo-fuzz",
                "--locked",
                "--version",
                CARGO_FUZZ_VERSION,
                "--root",
            ])
            .arg(&folder);
        process::run(
            install
                .arg("--target-dir")
                .arg(root.join("target/fuzz/install")),
        )?;
    }
    Ok(folder.join("bin"))
}
