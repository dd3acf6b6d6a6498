//! `cargo xtask test`: the whole truth about the tree, as CI runs it: named
//! steps, in an order that tells cheap news first. A failed step does not stop
//! the others; the end of the output names every failure and every check that
//! could not be run.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::outcome::Outcome;
use crate::process::{cargo, cargo_test_counts, run_counting};
use crate::{clients, conformance, fuzz, guests, served, tidy};

/// Building and running all tests from nothing, on two cores, with room.
const TESTS_TIME_MAX: Duration = Duration::from_secs(40 * 60);

/// Packages apart from the workspace: guests, which build for another target,
/// the fuzzers, which need another compiler, and what `bench` compares with.
/// As in Cargo.toml's `exclude`.
const APART: [&str; 5] = [
    "guest-sdk",
    "examples",
    "tests/guests",
    "host/protocol/fuzz",
    "xtask/bench",
];

/// The workspace, in groups that cargo is called with: what the tasks and the
/// fuzzers' relatives need would otherwise change features that wasmtime's
/// dependencies have, and it would be compiled once more for each mixture.
const GROUPS: [&[&str]; 3] = [&["wharf-protocol"], &["xtask"], &["wharf", "wharf-tests"]];

/// What `cargo xtask test` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only this step; may be given several times
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// List the steps and run nothing
    #[arg(long)]
    list: bool,
}

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Path) -> anyhow::Result<Outcome>,
}

const STEPS: [Step; 11] = [
    Step {
        name: "fmt",
        about: "every package is formatted",
        run: fmt,
    },
    Step {
        name: "tidy",
        about: "layers, sizes, headers, links",
        run: tidy::run,
    },
    Step {
        name: "guests",
        about: "all example and test guests build",
        run: guests,
    },
    Step {
        name: "clippy",
        about: "no lint is broken in the workspace",
        run: clippy,
    },
    Step {
        name: "doc",
        about: "the documentation builds without a warning",
        run: doc,
    },
    Step {
        name: "tests",
        about: "unit, integration and documentation tests",
        run: tests,
    },
    Step {
        name: "guest-sdk",
        about: "lints and tests of the SDK, lints of the guests",
        run: guest_sdk,
    },
    Step {
        name: "wasm",
        about: "the protocol builds for wasm: it does no I/O",
        run: wasm,
    },
    Step {
        name: "fuzz",
        about: "half a minute for each fuzz target",
        run: fuzz::run,
    },
    Step {
        name: "clients",
        about: "real clients; two browser tabs in the demo",
        run: all_clients,
    },
    Step {
        name: "conformance",
        about: "Autobahn's 517 cases, with and without deflate",
        run: conformance::run,
    },
];

struct Report {
    name: &'static str,
    time: Duration,
    result: anyhow::Result<Outcome>,
}

/// Runs the steps and sums up what they came to.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<Outcome> {
    let steps = select(&arguments.only)?;
    if arguments.list {
        for step in steps {
            println!("{:<12} {}", step.name, step.about);
        }
        return Ok(Outcome::default());
    }
    let started = Instant::now();
    let mut reports = Vec::new();
    for step in steps {
        println!("\n━━ {}: {}", step.name, step.about);
        let begun = Instant::now();
        let result = (step.run)(root);
        let report = Report {
            name: step.name,
            time: begun.elapsed(),
            result,
        };
        println!("━━ {}", report.line());
        reports.push(report);
    }
    Ok(summary(&reports, started.elapsed()))
}

fn select(only: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    let known = || STEPS.map(|step| step.name).join(", ");
    for name in only {
        if !STEPS.iter().any(|step| step.name == name) {
            bail!("there is no step `{name}`; there are: {}", known());
        }
    }
    let wanted = |step: &&Step| only.is_empty() || only.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(wanted).collect())
}

impl Report {
    fn is_good(&self) -> bool {
        self.result
            .as_ref()
            .is_ok_and(|outcome| outcome.failed == 0)
    }

    fn line(&self) -> String {
        let said = match &self.result {
            Ok(outcome) => outcome.to_string(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        format!("{:<12} {:>9}  {said}", self.name, minutes(self.time))
    }
}

/// The last line is the count of checks, as their own runners counted them.
fn summary(reports: &[Report], time: Duration) -> Outcome {
    println!("\n━━ all steps");
    let mut total = Outcome::default();
    for report in reports {
        println!("{}", report.line());
        match &report.result {
            Ok(outcome) => total.add(outcome.clone()),
            // A step that could not finish is one failed check at least.
            Err(_) => total.failed += 1,
        }
    }
    for reason in &total.not_run {
        println!("not run: {reason}");
    }
    let bad: Vec<_> = reports
        .iter()
        .filter(|report| !report.is_good())
        .map(|report| report.name)
        .collect();
    let good = reports.len() - bad.len();
    println!(
        "{good} steps passed, {} failed, in {}",
        bad.len(),
        minutes(time)
    );
    if !bad.is_empty() {
        println!(
            "failed: {} (run one again: cargo xtask test --only {})",
            bad.join(", "),
            bad[0]
        );
    }
    println!("{total}");
    total
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

/// A command that checks one thing.
fn one(command: &mut Command) -> anyhow::Result<Outcome> {
    run_counting(command, TESTS_TIME_MAX, |_| None).map(|outcome| {
        if outcome.failed == 0 {
            Outcome::of_counts(1, 0)
        } else {
            outcome
        }
    })
}

fn fmt(root: &Path) -> anyhow::Result<Outcome> {
    let mut outcome = one(cargo(root).args(["fmt", "--all", "--check"]))?;
    for manifest in packages_apart(root, &APART)? {
        outcome.add(one(cargo(root).args([
            "fmt",
            "--check",
            "--manifest-path",
            &manifest,
        ]))?);
    }
    Ok(outcome)
}

/// Cargo's subcommand for each group of packages.
fn each_group(root: &Path, subcommand: &str) -> impl Iterator<Item = Command> {
    GROUPS.iter().map(move |group| {
        let mut command = cargo(root);
        command
            .arg(subcommand)
            .args(group.iter().flat_map(|package| ["--package", package]));
        command
    })
}

fn clippy(root: &Path) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for mut command in each_group(root, "clippy") {
        outcome.add(one(command.args([
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))?);
    }
    Ok(outcome)
}

fn doc(root: &Path) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for mut command in each_group(root, "doc") {
        command
            .args(["--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "--deny warnings");
        outcome.add(one(&mut command)?);
    }
    Ok(outcome)
}

fn guests(_: &Path) -> anyhow::Result<Outcome> {
    guests::build(&[])?;
    Ok(Outcome::of_counts(1, 0))
}

fn tests(root: &Path) -> anyhow::Result<Outcome> {
    // Some tests start the command; building it inside of one would count as its time.
    let wharf = served::build_host(root)?;
    let xtask = std::env::current_exe().context("the program of this task")?;
    let mut outcome = Outcome::default();
    for mut command in each_group(root, "test") {
        command.env("WHARF_BIN", &wharf).env("XTASK_BIN", &xtask);
        outcome.add(run_counting(
            command.arg("--no-fail-fast"),
            TESTS_TIME_MAX,
            cargo_test_counts,
        )?);
    }
    Ok(outcome)
}

/// Guests are linted, and the SDK tested, for the machine at hand: their calls
/// into the host are stubs there. One that knows only wasm cannot be.
fn guest_sdk(root: &Path) -> anyhow::Result<Outcome> {
    let target = root.join("target/guests-check");
    let mut outcome = Outcome::default();
    for manifest in packages_apart(root, &["guest-sdk", "examples", "tests/guests"])? {
        if is_wasm_only(&root.join(&manifest)) {
            outcome.add(Outcome::not_run(format!(
                "clippy on {manifest}: it compiles for wasm only"
            )));
            continue;
        }
        let mut command = cargo(root);
        command
            .args(["clippy", "--manifest-path", &manifest])
            .env("CARGO_TARGET_DIR", &target);
        outcome.add(one(command.args(["--", "--deny", "warnings"]))?);
    }
    for manifest in packages_apart(root, &["guest-sdk"])? {
        let mut command = cargo(root);
        command
            .args(["test", "--manifest-path", &manifest])
            .env("CARGO_TARGET_DIR", &target);
        outcome.add(run_counting(
            &mut command,
            TESTS_TIME_MAX,
            cargo_test_counts,
        )?);
    }
    Ok(outcome)
}

/// Whether the package uses instructions of wasm by name.
fn is_wasm_only(manifest: &Path) -> bool {
    let sources = manifest
        .with_file_name("src")
        .read_dir()
        .into_iter()
        .flatten()
        .flatten();
    sources
        .filter_map(|source| std::fs::read_to_string(source.path()).ok())
        .any(|text| text.contains("arch::wasm32"))
}

fn wasm(root: &Path) -> anyhow::Result<Outcome> {
    let mut command = guests::cargo_for_wasm("build")?;
    command
        .args(["--package", "wharf-protocol", "--lib"])
        .current_dir(root);
    one(command.arg("--target-dir").arg(root.join("target/wasm")))
}

fn all_clients(root: &Path) -> anyhow::Result<Outcome> {
    clients::run(root, &clients::Arguments::all())
}

/// Manifests, from the root, of the packages in these folders.
fn packages_apart(root: &Path, folders: &[&str]) -> anyhow::Result<Vec<String>> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
        ])
        .args(
            folders
                .iter()
                .map(|folder| format!("{folder}/**Cargo.toml")),
        )
        .current_dir(root)
        .output()
        .context("`git ls-files` could not be started")?;
    let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
    Ok(names
        .lines()
        .filter(|name| is_package(&root.join(name)))
        .map(str::to_owned)
        .collect())
}

/// Whether a manifest is there, and is a package's: a workspace alone has nothing to check.
fn is_package(manifest: &Path) -> bool {
    std::fs::read_to_string(manifest).is_ok_and(|text| text.lines().any(|line| line == "[package]"))
}
