//! The order of a run: rounds; in each round all rows; in each row all
//! servers, one right after the other, so that what disturbs the machine
//! disturbs all of them. A server lives for one round.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::build::Built;
use super::machine::Machine;
use super::peers::{Peer, Program};
use super::rows::{Figure, Load, Row, Setup};
use super::server::{Running, pinned};
use super::wharf::{ECHO_PATH, FAN_OUT_PREFIX, SLEEP_PATH, STORED_PATHS, TOPIC_PATH, TOPIC_PREFIX};
use crate::process;

/// What one measurement may take besides its window.
const LOAD_TIME_MAX: Duration = Duration::from_secs(90);
/// A quick run begins no round that would end after this.
const QUICK_TIME_MAX: Duration = Duration::from_secs(170);
/// workerd puts an object to sleep after ten seconds.
const HIBERNATION: Duration = Duration::from_secs(13);
const SETTLE: Duration = Duration::from_millis(300);

/// How much is measured.
pub(super) struct Plan {
    pub(super) quick: bool,
    pub(super) rounds: u32,
    pub(super) window: Duration,
    pub(super) warm_up: Duration,
}

/// One measurement.
pub(super) struct Sample {
    /// Ratios are taken between samples of the same round.
    pub(super) round: u32,
    /// As the load generator printed it.
    pub(super) report: Value,
}

pub(super) struct ServerResult {
    pub(super) peer: &'static Peer,
    pub(super) samples: Vec<Sample>,
    /// Once it has failed it is not measured again.
    failed: bool,
}

pub(super) struct RowResult {
    pub(super) row: &'static Row,
    pub(super) servers: Vec<ServerResult>,
}

pub(super) struct Results {
    pub(super) rows: Vec<RowResult>,
    /// Rounds that were completed, and milliseconds measured in each.
    pub(super) rounds: u32,
    pub(super) window: Duration,
    /// What Wharf failed to do.
    pub(super) failures: Vec<String>,
    /// What others failed to do, or could not be had.
    pub(super) left_out: Vec<String>,
}

impl Plan {
    pub(super) fn new(quick: bool, rounds: Option<u32>, window_ms: Option<u64>) -> Self {
        let window = window_ms.unwrap_or(if quick { 150 } else { 1_000 });
        Self {
            quick,
            rounds: rounds.unwrap_or(if quick { 3 } else { 5 }),
            window: Duration::from_millis(window),
            warm_up: Duration::from_millis((window / 3).clamp(50, 300)),
        }
    }
}

impl Results {
    pub(super) fn measured(&self) -> usize {
        let servers = self.rows.iter().flat_map(|row| &row.servers);
        servers.map(|server| server.samples.len()).sum()
    }
}

/// Measures all rows for all servers that were built.
pub(super) fn measure(
    built: &Built,
    machine: &Machine,
    plan: &Plan,
    rows: &[&'static Row],
) -> anyhow::Result<Results> {
    let mut results = Results {
        rows: rows.iter().map(|row| RowResult::new(row, built)).collect(),
        rounds: 0,
        window: plan.window,
        failures: Vec::new(),
        left_out: built.left_out.clone(),
    };
    let started = Instant::now();
    for round in 0..plan.rounds {
        let begun = Instant::now();
        let mut bench = Bench {
            built,
            machine,
            plan,
            round,
            running: HashMap::new(),
        };
        for index in 0..results.rows.len() {
            println!(
                "round {}/{}  {}",
                round + 1,
                plan.rounds,
                results.rows[index].row.name
            );
            bench.row(&mut results, index);
        }
        results.rounds += 1;
        let ends = started.elapsed() + begun.elapsed();
        if plan.quick && ends > QUICK_TIME_MAX && results.rounds < plan.rounds {
            println!("no time is left for another round");
            break;
        }
    }
    if results.measured() == 0 {
        bail!("nothing was measured: {}", results.left_out.join("; "));
    }
    Ok(results)
}

impl RowResult {
    fn new(row: &'static Row, built: &Built) -> Self {
        let entrants = built.peers.iter().filter(|peer| row.takes(peer));
        Self {
            row,
            servers: entrants.map(|peer| ServerResult::new(peer)).collect(),
        }
    }
}

impl ServerResult {
    pub(super) fn new(peer: &'static Peer) -> Self {
        Self {
            peer,
            samples: Vec::new(),
            failed: false,
        }
    }
}

/// One round.
struct Bench<'a> {
    built: &'a Built,
    machine: &'a Machine,
    plan: &'a Plan,
    round: u32,
    running: HashMap<(&'static str, Setup, bool), Running>,
}

impl Bench<'_> {
    fn row(&mut self, results: &mut Results, index: usize) {
        let RowResult { row, servers } = &mut results.rows[index];
        // Memory is the same in each round, and takes the longest.
        if row.figure == Figure::Memory && self.plan.quick && self.round > 0 {
            return;
        }
        for server in servers.iter_mut().filter(|server| !server.failed) {
            match self.cell(row, server.peer) {
                Ok(report) => server.samples.push(Sample {
                    round: self.round,
                    report,
                }),
                Err(error) => {
                    server.failed = true;
                    let line = format!("{} in {}: {error:#}", server.peer.name, row.name);
                    println!("  {line}");
                    if server.peer.wharf().is_some() {
                        results.failures.push(line);
                    } else {
                        results.left_out.push(line);
                    }
                }
            }
        }
    }

    fn cell(&mut self, row: &Row, peer: &'static Peer) -> anyhow::Result<Value> {
        let is_pinned = row.figure != Figure::Rate;
        let key = (peer.name, row.setup, is_pinned);
        // Memory is that of a fresh server; else one serves the whole round.
        let is_fresh = row.figure == Figure::Memory;
        let kept = (!is_fresh).then(|| self.running.remove(&key)).flatten();
        let pins = self.machine.pins.filter(|_| is_pinned);
        let server = match kept {
            Some(server) => server,
            None => Running::start(self.built, peer, row.setup, pins.map(|pins| pins.0))?,
        };
        let mut load = self.load(row, peer, &server);
        load.stdin(Stdio::null());
        let report = run_load(pinned(load, pins.map(|pins| pins.1)), self.plan.window)?;
        if !is_fresh {
            self.running.insert(key, server);
        }
        Ok(report)
    }

    fn load(&self, row: &Row, peer: &Peer, server: &Running) -> Command {
        let mut command = Command::new(self.built.load());
        command.arg(mode(row.load));
        let mut say = |name: &str, value: String| {
            command.arg(format!("--{name}")).arg(value);
        };
        let window = self.plan.window.as_millis().to_string();
        let warm_up = self.plan.warm_up.as_millis().to_string();
        match row.load {
            Load::Echo(echo) | Load::Stored { echo, .. } => {
                say("connections", echo.connections.to_string());
                say("depth", echo.depth.to_string());
                say("size", echo.size.to_string());
                say("warm-up-ms", warm_up);
                say("window-ms", window);
            }
            Load::FanOut { connections } | Load::Topic { connections } => {
                say("connections", connections.to_string());
                say("depth", "16".to_owned());
                say("warm-up-ms", warm_up);
                say("window-ms", window);
                if matches!(row.load, Load::Topic { .. }) {
                    say("prefix", TOPIC_PREFIX.to_owned());
                } else if peer.wharf().is_some() {
                    say("prefix", FAN_OUT_PREFIX.to_owned());
                }
            }
            Load::Idle { connections } => {
                let numbers: Vec<String> = connections.iter().map(u32::to_string).collect();
                say("connections", numbers.join(","));
                let hibernates = peer.hibernates && !self.plan.quick;
                let settle = if hibernates { HIBERNATION } else { SETTLE };
                say("settle-ms", settle.as_millis().to_string());
            }
            Load::Connect | Load::Churn => say("window-ms", window),
            Load::WakeUp { connections } => {
                say("connections", connections.to_string());
                say("window-ms", window);
            }
        }
        say("address", server.address.clone());
        say("pid", server.pid().to_string());
        say("path", path(row, peer).to_owned());
        if row.setup == Setup::Tls {
            let file = self.built.certificate().join("cert.pem");
            say("trust", file.display().to_string());
        }
        let is_text = match row.load {
            Load::Echo(echo) => echo.text,
            Load::FanOut { .. } | Load::Topic { .. } => true,
            _ => false,
        };
        let flags = [
            ("--text", is_text),
            ("--raw", peer.program == Program::Raw),
            ("--deflate", row.setup == Setup::Deflate),
        ];
        let given = flags.iter().filter(|(_, given)| *given);
        command.args(given.map(|(flag, _)| flag));
        command
    }
}

fn mode(load: Load) -> &'static str {
    match load {
        Load::Echo(_) | Load::Stored { .. } => "echo",
        Load::FanOut { .. } | Load::Topic { .. } => "fan-out",
        Load::Idle { .. } => "idle",
        Load::Connect => "connect",
        Load::Churn => "churn",
        Load::WakeUp { .. } => "wake",
    }
}

fn path(row: &Row, peer: &Peer) -> &'static str {
    match (row.load, peer.wharf()) {
        (Load::FanOut { .. }, _) => "/fan-out",
        (Load::Stored { writes: true, .. }, _) => STORED_PATHS[1],
        (Load::Stored { writes: false, .. }, _) => STORED_PATHS[0],
        (Load::Topic { .. }, _) => TOPIC_PATH,
        (Load::WakeUp { .. }, _) => SLEEP_PATH,
        (_, Some(_)) => ECHO_PATH,
        (_, None) => "/",
    }
}

/// Runs the load generator; its last line is the report.
fn run_load(mut command: Command, window: Duration) -> anyhow::Result<Value> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the load generator could not be started")?;
    // Both outputs are a line or two: neither pipe fills.
    let status = process::wait_within(&mut child, LOAD_TIME_MAX + window * 2);
    let output = child.wait_with_output()?;
    let status = status.context("the load generator")?;
    if !status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().next().unwrap_or("the load generator failed");
        bail!("{}", line.trim_start_matches("error: "));
    }
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("the load generator said `{line}`"))
}
