//! `cargo xtask COMMAND`: everything that a contributor or CI runs in this
//! repository, each command in the module of its name. It starts cargo and
//! other tools as processes; it never links the host.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task talks to the person who started it"
)]

mod bench;
mod chaos;
mod clients;
mod conformance;
mod demo;
mod fuzz;
mod guests;
mod memory;
mod outcome;
mod process;
mod served;
mod test;
mod tidy;
mod tools;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use outcome::Outcome;

/// The tasks of the Wharf repository
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Build and start the demo: a chat between browser tabs
    Demo(demo::Arguments),
    /// Run everything that CI runs
    Test(test::Arguments),
    /// Build every example and test guest to target/guests/NAME.wasm
    Guests(guests::Arguments),
    /// Run Autobahn's 517 cases against the echo guest, with and without deflate
    Conformance,
    /// Run WebSocket clients that others wrote against the echo guest
    Clients(clients::Arguments),
    /// Measure Wharf against raw TCP and other WebSocket servers
    Bench(bench::Arguments),
    /// Make everything go wrong for long, and print what came of it
    Chaos(chaos::Arguments),
    /// Measure the memory of idle sessions, up to a million
    Memory(memory::Arguments),
    /// Count the instructions for one message; fails when they grow
    Instructions(bench::instructions::Arguments),
    /// Check the rules that no compiler checks: layers, sizes, headers, links
    Tidy,
}

impl Task {
    fn run(&self, root: &Path) -> anyhow::Result<Outcome> {
        match self {
            Task::Demo(arguments) => demo::run(root, arguments),
            Task::Test(arguments) => test::run(root, arguments),
            Task::Guests(arguments) => guests::run(arguments).map(|()| Outcome::default()),
            Task::Conformance => conformance::run(root),
            Task::Clients(arguments) => clients::run(root, arguments),
            Task::Bench(arguments) => bench::run(root, arguments),
            Task::Chaos(arguments) => chaos::run(root, arguments),
            Task::Memory(arguments) => memory::run(root, arguments),
            Task::Instructions(arguments) => bench::instructions::run(root, arguments),
            Task::Tidy => tidy::run(root),
        }
    }
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository's root");
    match Task::parse().run(root) {
        Ok(outcome) if outcome.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
