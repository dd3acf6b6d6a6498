//! The command's log: where it goes and what it looks like. The library only emits events; whoever
//! embeds it brings a subscriber of their own.

use std::io::IsTerminal;

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// What the lines of the log look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends the log to standard error. `RUST_LOG` chooses what is in it, else `default`.
pub(crate) fn begin(format: LogFormat, default: &str) -> Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => EnvFilter::try_new(&wanted).with_context(|| {
            format!("RUST_LOG = {wanted:?}; right would be `info`, `debug` or `wharf=debug`")
        })?,
        _ => EnvFilter::new(default),
    };
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = match format {
        LogFormat::Human => lines
            .with_target(false)
            .with_ansi(wants_colour())
            .try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    begun.map_err(|error| anyhow!("the log cannot begin: {error}"))
}

fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}
