//! What the load generator is told on its command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::gate;

/// How many values `{key}` in a path takes.
pub(crate) const KEYS: usize = 8;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send messages and await each one's echo
    Echo(Echo),
    /// One connection publishes, all receive
    FanOut(FanOut),
    /// Measure the server's memory for each open connection
    Idle(Idle),
    /// Open connections: what a handshake costs
    Connect(Lives),
    /// Open, echo one message, close in order, again
    Churn(Lives),
    /// Pause, then send a message on each connection, one after the other
    Wake(Wake),
    /// Make a self-signed certificate for 127.0.0.1: cert.pem and key.pem
    Certificate {
        /// Where the two files go
        folder: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Target {
    /// Where the server listens
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// What the handshake asks for; {key} takes eight values
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// The server's process
    #[arg(long)]
    pub(crate) pid: u32,
    /// No WebSocket: bytes must come back as they were sent
    #[arg(long)]
    pub(crate) raw: bool,
    /// Speak TLS and trust this certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Offer permessage-deflate, insist on it, and send messages deflated
    #[arg(long)]
    pub(crate) deflate: bool,
}

#[derive(Args, Clone)]
pub(crate) struct Messages {
    /// Bytes of payload
    #[arg(long, default_value_t = 125)]
    pub(crate) size: usize,
    /// Text messages; binary ones otherwise
    #[arg(long)]
    pub(crate) text: bool,
    /// Messages that one connection has outstanding
    #[arg(long, default_value_t = 1)]
    pub(crate) depth: usize,
    /// Connections
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
}

#[derive(Args)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) messages: Messages,
    /// Milliseconds of load before it is measured
    #[arg(long, default_value_t = 200)]
    pub(crate) warm_up_ms: u64,
    /// Milliseconds that are measured
    #[arg(long, default_value_t = 1000)]
    pub(crate) window_ms: u64,
    #[command(flatten)]
    pub(crate) counted: Counted,
}

/// Measuring by number, for who counts instructions meanwhile.
#[derive(Args)]
pub(crate) struct Counted {
    /// Measure so many messages or handshakes, instead of a time; a warm-up is
    /// as long
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Print "ready" before measuring and "measured" after it, and await a
    /// line on the standard input each time
    #[arg(long)]
    pub(crate) gate: bool,
}

impl Counted {
    /// Comes before and after what is measured.
    pub(crate) fn stop_at(&self, word: &str) -> anyhow::Result<()> {
        if self.gate {
            gate::stop_at(word)?;
        }
        Ok(())
    }
}

#[derive(Args)]
pub(crate) struct FanOut {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) messages: Messages,
    /// What stands before each published text, and is not delivered
    #[arg(long, default_value = "")]
    pub(crate) prefix: String,
    /// Milliseconds of load before it is measured
    #[arg(long, default_value_t = 200)]
    pub(crate) warm_up_ms: u64,
    /// Milliseconds that are measured
    #[arg(long, default_value_t = 1000)]
    pub(crate) window_ms: u64,
    #[command(flatten)]
    pub(crate) counted: Counted,
}

#[derive(Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Numbers of connections at which memory is read, ascending; the first
    /// is what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    pub(crate) connections: Vec<usize>,
    /// Milliseconds of silence before memory is read
    #[arg(long, default_value_t = 300)]
    pub(crate) settle_ms: u64,
}

#[derive(Args)]
pub(crate) struct Lives {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Connections that are under way at a time
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Milliseconds that are measured
    #[arg(long, default_value_t = 1000)]
    pub(crate) window_ms: u64,
    /// Of handshakes, which are then made one after the other
    #[command(flatten)]
    pub(crate) counted: Counted,
}

#[derive(Args)]
pub(crate) struct Wake {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) messages: Messages,
    /// Milliseconds of silence before each round
    #[arg(long, default_value_t = 40)]
    pub(crate) pause_ms: u64,
    /// Milliseconds that are measured
    #[arg(long, default_value_t = 1000)]
    pub(crate) window_ms: u64,
}

pub(crate) fn milliseconds(value: u64) -> Duration {
    Duration::from_millis(value)
}
