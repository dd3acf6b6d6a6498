//! The load generator of `cargo xtask bench`: one thread that keeps many
//! connections to one server busy in one way, compares every byte that comes
//! back with what it must be, and prints what it measured as one line of JSON.
//! It never starts a server and knows no peer by name.

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
mod wake;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Command, Target};

/// Loads one server and measures it
#[derive(Parser)]
#[command(name = "bench-load")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let report = match command {
        Command::Echo(arguments) => echo::run(&arguments)?,
        Command::FanOut(arguments) => fan_out::run(&arguments)?,
        Command::Idle(arguments) => idle::run(&arguments)?,
        Command::Connect(arguments) => lives::connect(&arguments)?,
        Command::Churn(arguments) => lives::churn(&arguments)?,
        Command::Wake(arguments) => wake::run(&arguments)?,
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
