//! `cargo xtask instructions`: how many instructions Wharf executes in user
//! space for one echoed message, counted by callgrind. Unlike times, counts
//! are nearly the same in each run and on each machine of a kind, so a change
//! that costs something is seen. The accepted figures lie in
//! xtask/bench/instructions.toml.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::build;
use super::peers::Wharf;
use super::rows::Setup;
use super::server::Running;
use super::wharf;
use crate::outcome::Outcome;
use crate::{guests, process, served, tools};

/// A figure may grow by so much before the check fails.
const GROWTH_MAX: f64 = 0.05;
/// A figure that shrank by so much should be accepted, to hold what was won.
const SHRUNK_MIN: f64 = 0.05;
const LOAD_END_TIME_MAX: Duration = Duration::from_secs(30);
/// Valgrind has too little address space for the default.
const INSTANCES_MAX: u32 = 4;

/// What `cargo xtask instructions` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write the figures down as the ones to compare with
    #[arg(long)]
    accept: bool,
    /// Take what earlier runs have built
    #[arg(long)]
    no_build: bool,
}

struct Case {
    name: &'static str,
    /// One of all that are counted.
    unit: &'static str,
    load: Load,
    guest: &'static str,
    /// Messages, deliveries or handshakes that are counted.
    count: u64,
}

enum Load {
    /// On one connection.
    Echo { size: u32, depth: u32 },
    /// Sixteen messages at a time, to so many members.
    Topic { members: u32 },
    /// One after the other.
    Handshakes,
}

const fn echo(name: &'static str, size: u32, depth: u32, count: u64) -> Case {
    Case {
        name,
        unit: "message",
        load: Load::Echo { size, depth },
        guest: "echo",
        count,
    }
}

/// One shared instance, and one client that waits for answers: nothing depends on timing.
const CASES: [Case; 5] = [
    echo("echo-125-d1", 125, 1, 2_000),
    echo("echo-125-d16", 125, 16, 8_000),
    echo("echo-16k-d1", 16 * 1024, 1, 1_000),
    Case {
        name: "fan-out-topic",
        unit: "delivery",
        load: Load::Topic { members: 100 },
        guest: wharf::TOPIC_GUEST,
        count: 16_000,
    },
    Case {
        name: "handshake",
        unit: "handshake",
        load: Load::Handshakes,
        guest: "echo",
        count: 200,
    },
];

/// Counts, and compares or accepts.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<Outcome> {
    let valgrind = tools::program(&["valgrind"], "valgrind")?;
    let control = tools::program(&["callgrind_control"], "valgrind")?;
    if !arguments.no_build {
        build::cargo_build(root, "bench-load")?;
        build::build_wharf(root)?;
        guests::build(&["echo".to_owned(), wharf::TOPIC_GUEST.to_owned()])?;
    }
    let bench = Bench {
        target: served::target(root),
        guests: root.join("target/guests"),
        valgrind,
        control,
    };
    let file = root.join("xtask/bench/instructions.toml");
    let accepted = fs::read_to_string(&file).unwrap_or_default();
    let mut outcome = Outcome::default();
    let mut counted = Vec::new();
    for case in &CASES {
        let count = bench.count(case).with_context(|| case.name.to_owned())?;
        let (is_good, said) = judge(count, figure(&accepted, case.name));
        println!(
            "{:<14}{count:>9.0} instructions a {}; {said}",
            case.name, case.unit
        );
        let good = is_good || arguments.accept;
        outcome.add(Outcome::of_counts(usize::from(good), usize::from(!good)));
        counted.push((case.name, count));
    }
    println!(
        "profiles: callgrind_annotate {}/*",
        bench.folder().display()
    );
    if arguments.accept {
        fs::write(&file, text(&counted)).with_context(|| format!("writing {}", file.display()))?;
        println!("accepted: {}", file.display());
    }
    Ok(outcome)
}

impl Load {
    fn arguments(&self) -> Vec<String> {
        let said = match self {
            Self::Echo { size, depth } => {
                let path = wharf::ECHO_PATH;
                format!("echo --connections 1 --path {path} --size {size} --depth {depth}")
            }
            Self::Topic { members } => {
                let path = wharf::TOPIC_PATH;
                format!("fan-out --connections {members} --path {path} --text --depth 16")
            }
            Self::Handshakes => format!("connect --path {}", wharf::ECHO_PATH),
        };
        let words = said.split(' ').map(str::to_owned);
        match self {
            // It ends in a space.
            Self::Topic { .. } => words
                .chain(["--prefix", wharf::TOPIC_PREFIX].map(str::to_owned))
                .collect(),
            _ => words.collect(),
        }
    }
}

struct Bench {
    target: PathBuf,
    guests: PathBuf,
    valgrind: PathBuf,
    control: PathBuf,
}

impl Bench {
    fn folder(&self) -> PathBuf {
        self.target.join("bench/callgrind")
    }

    /// Instructions of the busiest thread, which is the only worker, for each
    /// message. The others' work depends on time, not on messages.
    fn count(&self, case: &Case) -> anyhow::Result<f64> {
        let folder = self.folder();
        fs::create_dir_all(&folder)?;
        let out = folder.join(case.name);
        remove_profiles(&folder, case.name)?;
        let server = Running::run(
            &mut self.server(case.guest, &out)?,
            folder.join("server.log"),
        )?;
        let mut load = self.load(case, &server)?;
        let mut input = load.stdin.take().context("the input is piped")?;
        let output = load.stdout.take().context("the output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let mut until = |word: &str| -> anyhow::Result<()> {
            match lines.next() {
                Some(Ok(line)) if line == word => Ok(()),
                _ => bail!("the load generator did not come to `{word}`"),
            }
        };
        until("ready")?;
        self.tell(&["--instr=on"], &server)?;
        go_on(&mut input)?;
        until("measured")?;
        self.tell(&["--instr=off"], &server)?;
        self.tell(&["--dump"], &server)?;
        go_on(&mut input)?;
        let status = process::wait_within(&mut load, LOAD_END_TIME_MAX)?;
        ensure!(status.success(), "the load generator ended with {status}");
        drop(server);
        let busiest = most_instructions(&folder, case.name)?;
        Ok(busiest as f64 / case.count as f64)
    }

    fn server(&self, guest: &'static str, out: &Path) -> anyhow::Result<Command> {
        let folder = self.folder();
        let file = folder.join("wharf.toml");
        let config = wharf::Config {
            wharf: Wharf {
                instance: "shared",
                guest,
                workers: 1,
                native: false,
            },
            setup: Setup::Plain,
            guests: &self.guests,
            certificate: &folder,
            instances_max: Some(INSTANCES_MAX),
        };
        config.write(&file)?;
        let mut command = Command::new(&self.valgrind);
        command
            .args([
                "--tool=callgrind",
                "--instr-atstart=no",
                "--separate-threads=yes",
            ])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(self.target.join("release/wharf"))
            .args(["serve", "--config"])
            .arg(file);
        Ok(command)
    }

    fn load(&self, case: &Case, server: &Running) -> anyhow::Result<Child> {
        let mut command = Command::new(self.target.join("bench/release/bench-load"));
        command
            .args(case.load.arguments())
            .args(["--gate", "--address", &server.address])
            .args(["--pid", &server.pid().to_string()])
            .args(["--count", &case.count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
            .spawn()
            .context("the load generator could not be started: run without --no-build")
    }

    fn tell(&self, what: &[&str], server: &Running) -> anyhow::Result<()> {
        let output = Command::new(&self.control)
            .args(what)
            .arg(server.pid().to_string())
            .output()
            .context("`callgrind_control` could not be started")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && !said.contains("Error"),
            "`callgrind_control {}` failed: {said}",
            what.join(" ")
        );
        Ok(())
    }
}

fn go_on(input: &mut ChildStdin) -> anyhow::Result<()> {
    input.write_all(b"\n")?;
    Ok(input.flush()?)
}

/// Callgrind writes a file for each dump and thread: NAME.DUMP-THREAD.
fn profiles(folder: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let rest = path
            .file_name()
            .and_then(|file| file.to_str()?.strip_prefix(name));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-'])) {
            found.push(path);
        }
    }
    Ok(found)
}

fn remove_profiles(folder: &Path, name: &str) -> anyhow::Result<()> {
    for path in profiles(folder, name)? {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn most_instructions(folder: &Path, name: &str) -> anyhow::Result<u64> {
    let mut most = 0;
    for path in profiles(folder, name)? {
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        most = most.max(total(&text).unwrap_or_default());
    }
    ensure!(
        most > 0,
        "callgrind counted nothing: see the profiles in {}",
        folder.display()
    );
    Ok(most)
}

/// The line `totals:` of a profile; `summary:` misses what began before
/// counting did.
fn total(profile: &str) -> Option<u64> {
    let line = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a count may stay, and what to say of it.
fn judge(count: f64, accepted: Option<f64>) -> (bool, String) {
    let Some(accepted) = accepted else {
        return (
            false,
            "no figure was accepted yet: run with --accept".to_owned(),
        );
    };
    let growth = count / accepted - 1.0;
    let said = format!("accepted {accepted:.0}, {:+.1} %", growth * 100.0);
    if growth > GROWTH_MAX {
        let most = GROWTH_MAX * 100.0;
        (false, format!("{said}: it grew by more than {most:.0} %"))
    } else if growth < -SHRUNK_MIN {
        (true, format!("{said}: run with --accept to hold it"))
    } else {
        (true, said)
    }
}

fn figure(accepted: &str, name: &str) -> Option<f64> {
    accepted.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim().parse().ok())?
    })
}

fn text(counted: &[(&str, f64)]) -> String {
    let mut text = String::from(
        "# Instructions in user space for each message, delivery or handshake:\n\
         # one shared instance of a Rust guest, one client that waits.\n\
         # Written by `cargo xtask instructions --accept`.\n",
    );
    for (name, count) in counted {
        text.push_str(&format!("{name} = {count:.0}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{figure, judge, text, total};

    #[test]
    fn accepted_figures_are_read_as_they_were_written() {
        let text = text(&[("echo-125-d1", 5120.4), ("echo-16k-d1", 9000.0)]);
        assert_eq!(figure(&text, "echo-125-d1"), Some(5120.0));
        assert_eq!(figure(&text, "echo-16k-d1"), Some(9000.0));
        assert_eq!(figure(&text, "echo-125-d16"), None);
    }

    #[test]
    fn growth_beyond_a_twentieth_fails() {
        assert!(judge(104.0, Some(100.0)).0);
        assert!(!judge(106.0, Some(100.0)).0);
        assert!(judge(50.0, Some(100.0)).0);
        assert!(!judge(50.0, None).0);
    }

    #[test]
    fn the_total_of_a_profile_is_found() {
        let profile = "events: Ir\nsummary: 0\n\nfn=(1)\ntotals: 77\n";
        assert_eq!(total(profile), Some(77));
        assert_eq!(total("events: Ir\n"), None);
    }
}
