//! One server while it is measured: started on its processor, listening on a
//! port that it chose, and killed in the end. Nothing is left behind.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::build::Built;
use super::peers::{Peer, Program, Wharf};
use super::rows::Setup;
use super::wharf::Config;
use crate::process;

/// A server that compiles a large guest first, on a busy machine.
const START_TIME_MAX: Duration = Duration::from_secs(60);

pub(super) struct Running {
    child: Child,
    pub(super) address: String,
}

impl Running {
    /// Starts a peer and waits until it says where it listens.
    pub(super) fn start(
        built: &Built,
        peer: &Peer,
        setup: Setup,
        processor: Option<u32>,
    ) -> anyhow::Result<Self> {
        let command = command(built, peer, setup)?;
        let logs = built.target.join("logs");
        std::fs::create_dir_all(&logs)?;
        let log = logs.join(format!("{}.log", peer.name));
        Self::run(&mut pinned(command, processor), log)
    }

    /// Starts any command that says where it listens.
    pub(super) fn run(command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| format!("creating {}", log.display()))?)
            .spawn()
            .with_context(|| format!("{:?} cannot be started", command.get_program()))?;
        let stdout = child.stdout.take().context("the output is piped")?;
        let mut running = Self {
            child,
            address: String::new(),
        };
        let lines = process::lines(stdout);
        let deadline = Instant::now() + START_TIME_MAX;
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if let Some(address) = address(&line) {
                running.address = address;
                return Ok(running);
            }
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().next_back().unwrap_or("its log is empty");
        bail!(
            "it did not say where it listens; {last} ({})",
            log.display()
        )
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `taskset` becomes the program, so its process is the program's.
pub(super) fn pinned(command: Command, processor: Option<u32>) -> Command {
    let Some(processor) = processor else {
        return command;
    };
    let mut pinned = Command::new("taskset");
    pinned
        .args(["--cpu-list", &processor.to_string()])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            pinned.env(name, value);
        }
    }
    pinned
}

fn command(built: &Built, peer: &Peer, setup: Setup) -> anyhow::Result<Command> {
    let script = |name: &str| built.sources.join("scripts").join(name);
    let mut command = match peer.program {
        Program::Raw => Command::new(built.program("raw-tcp")),
        Program::Rust(name, arguments) => {
            let mut command = Command::new(built.program(name));
            command.args(arguments);
            command
        }
        Program::Node(name) => {
            let mut command = Command::new("node");
            command.arg(script(name));
            command.env("NODE_PATH", built.node_modules());
            command
        }
        Program::Bun(name) => {
            let mut command = Command::new(built.bun());
            command.arg(script(name));
            command
        }
        Program::Workerd(name) => {
            let mut command = Command::new(built.workerd());
            // It says on this descriptor which port it got.
            command.args(["serve", "--control-fd=1"]).arg(script(name));
            command
        }
        Program::Wharf(manner) => return wharf_command(built, peer.name, manner, setup),
    };
    match setup {
        Setup::Plain => {}
        Setup::Deflate => {
            command.arg("--deflate");
        }
        Setup::Tls => {
            let folder = built.certificate();
            command.arg("--tls");
            command.args([folder.join("cert.pem"), folder.join("key.pem")]);
        }
    }
    Ok(command)
}

fn wharf_command(built: &Built, name: &str, wharf: Wharf, setup: Setup) -> anyhow::Result<Command> {
    let folder = built.target.join("wharf");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}-{setup:?}.toml").to_lowercase());
    let config = Config {
        wharf,
        setup,
        guests: &built.guests,
        certificate: &built.certificate(),
        instances_max: None,
    };
    config.write(&file)?;
    let mut command = Command::new(built.wharf(wharf));
    command.args(["serve", "--config"]).arg(file);
    Ok(command)
}

/// From `listening on [http://]ADDRESS:PORT`, or workerd's line of JSON.
fn address(line: &str) -> Option<String> {
    if let Some((_, rest)) = line.split_once("listening on ") {
        let rest = rest.trim().trim_end_matches('/');
        let address = rest.split_once("://").map_or(rest, |(_, address)| address);
        return Some(address.to_owned());
    }
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let port = event["port"].as_u64()?;
    Some(format!("127.0.0.1:{port}"))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn every_server_says_where_it_listens() {
        for line in [
            "listening on http://127.0.0.1:8080",
            "listening on 127.0.0.1:8080",
            "listening on https://127.0.0.1:8080/",
            r#"{"event":"listen","socket":"http","port":8080}"#,
        ] {
            assert_eq!(address(line).as_deref(), Some("127.0.0.1:8080"), "{line}");
        }
        assert_eq!(address("compiling"), None);
    }
}
