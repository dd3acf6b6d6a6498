//! The load generator of `cargo xtask bench`: one thread that keeps many
//! connections to one server busy in one way, compares every byte that comes
//! back with what it must be, and prints what it measured as one line of JSON.
//! It never starts a server and knows no peer by name.

#![allow(
    clippy::print_stdout,
    reason = "the result goes to the program that started this one"
)]

mod arguments;
mod connection;
mod echo;
mod fan_out;
mod fleet;
mod frames;
mod gate;
mod handshake;
mod idle;
mod latency;
mod lives;
mod report;
mod script;
mod stream;
mod tls;
mod usage;
mod verifier;

use clap::Parser;

use arguments::{Command, Target};

/// Loads one server and measures it
#[derive(Parser)]
#[command(name = "bench-load")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> anyhow::Result<()> {
    let report = match Arguments::parse().command {
        Command::Echo(arguments) => echo::run(&arguments)?,
        Command::FanOut(arguments) => fan_out::run(&arguments)?,
        Command::Idle(arguments) => idle::run(&arguments)?,
        Command::Connect(arguments) => lives::connect(&arguments)?,
        Command::Churn(arguments) => lives::churn(&arguments)?,
        Command::Certificate { folder } => return tls::make_certificate(&folder),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

impl Target {
    /// What one connection asks for; `{key}` stands for one of few keys.
    fn path_for(&self, connection: usize) -> String {
        let key = format!("key-{}", connection % arguments::KEYS);
        self.path.replace("{key}", &key)
    }
}
