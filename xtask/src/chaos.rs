//! `cargo xtask chaos`: the long runs of tests that are short in CI, and what came of each in one
//! table: tenants that misbehave, shutdown and swaps under load, kills, flipped bits, bad
//! configurations. Judges nothing itself: a run that fails is a test that fails.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::outcome::Outcome;
use crate::{guests, process, served};

/// What any run may take.
const RUN_TIME_MAX: Duration = Duration::from_secs(3 * 60 * 60);
/// How the tests print what they have found: `figure: ID: TEXT`.
const FIGURE: &str = "figure: ";

/// What `cargo xtask chaos` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Minutes instead of an hour
    #[arg(long)]
    quick: bool,
    /// Only these runs
    #[arg(value_name = "RUN")]
    only: Vec<String>,
    /// Say which runs there are
    #[arg(long)]
    list: bool,
}

/// A test, and how it is made long.
struct Run {
    name: &'static str,
    about: &'static str,
    test: &'static str,
    /// The variable that says how much, for a quick run and for a long one.
    sizes: Option<(&'static str, u64, u64)>,
}

const RUNS: [Run; 10] = [
    Run {
        name: "tenants",
        about: "ten tenants: one spins, one floods, one bombs memory, one compiles bombs",
        test: "chaos::tenants_that_misbehave_hold_nobody_up",
        sizes: Some(("WHARF_CHAOS_SECONDS", 10, 60)),
    },
    Run {
        name: "fair",
        about: "ten tenants, of whom one spins in fifty instances",
        test: "budgets::a_tenant_that_spins_in_many_instances_holds_nobody_up",
        sizes: None,
    },
    Run {
        name: "sigterm",
        about: "SIGTERM in the middle of messages",
        test: "chaos::a_server_that_ends_under_load_answers_what_it_has_read",
        sizes: Some(("WHARF_CHAOS_SESSIONS", 2_000, 10_000)),
    },
    Run {
        name: "swaps",
        about: "100 versions under messages",
        test: "swap::a_hundred_swaps_lose_double_and_close_nothing",
        sizes: Some(("WHARF_SWAP_MESSAGES", 50_000, 1_000_000)),
    },
    Run {
        name: "kill-deploy",
        about: "kill -9 at every step of a deploy, and at random",
        test: "deploy_faults::a_deploy_that_is_killed_has_happened_or_not",
        sizes: Some(("WHARF_DEPLOY_ROUNDS", 20, 1_000)),
    },
    Run {
        name: "kill-storage",
        about: "kill -9 under writes",
        test: "crash::nothing_that_was_acknowledged_is_lost_when_the_server_is_killed",
        sizes: Some(("WHARF_CRASH_ROUNDS", 10, 1_000)),
    },
    Run {
        name: "flips",
        about: "flipped bits in artifacts, compiled code and registry",
        test: "deploy_faults::a_flipped_bit_is_refused_or_recovered",
        sizes: Some(("WHARF_DEPLOY_FLIPS", 200, 1_000)),
    },
    Run {
        name: "configs",
        about: "100 bad configurations read by a server that runs",
        test: "swap::a_bad_configuration_changes_nothing_and_names_its_line",
        sizes: None,
    },
    Run {
        name: "strangers",
        about: "random operations of ten tenants on what is named",
        test: "strangers::",
        sizes: Some(("WHARF_STRANGERS_OPERATIONS", 100_000, 1_000_000)),
    },
    Run {
        name: "soak",
        about: "two hours of everything, and whether memory grows in the second",
        test: "soak::",
        sizes: Some(("WHARF_SOAK_SECONDS", 60, 7_200)),
    },
];

/// What came of a run.
struct Report {
    name: &'static str,
    time: Duration,
    outcome: Outcome,
    figures: Vec<String>,
}

/// Makes the runs and prints their table.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<Outcome> {
    if arguments.list {
        for run in RUNS {
            println!("{:<13} {}", run.name, run.about);
        }
        return Ok(Outcome::default());
    }
    for name in &arguments.only {
        if !RUNS.iter().any(|run| run.name == name) {
            let known = RUNS.map(|run| run.name).join(", ");
            bail!("there is no run `{name}`; there are: {known}");
        }
    }
    guests::build(&[])?;
    let wharf = served::build_host(root)?;
    let mut reports = Vec::new();
    for run in RUNS {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|name| name == run.name) {
            continue;
        }
        println!("\n━━ {}: {}", run.name, run.about);
        let mut command = process::cargo(root);
        command
            .args(["test", "-p", "wharf", "-p", "wharf-tests", "--test", "all"])
            .args(["--", run.test])
            .env("WHARF_BIN", &wharf);
        if let Some((variable, quick, long)) = run.sizes {
            let size = if arguments.quick { quick } else { long };
            println!("{variable}={size}");
            command.env(variable, size.to_string());
        }
        let begun = Instant::now();
        let (figures, outcome) = process::run_collecting(&mut command, RUN_TIME_MAX, FIGURE)?;
        reports.push(Report {
            name: run.name,
            time: begun.elapsed(),
            outcome,
            figures,
        });
    }
    Ok(table(&reports))
}

fn table(reports: &[Report]) -> Outcome {
    println!("\n━━ all runs");
    let mut total = Outcome::default();
    for report in reports {
        let seconds = report.time.as_secs();
        println!("{:<13} {:>6} s  {}", report.name, seconds, report.outcome);
        for figure in &report.figures {
            println!("              {figure}");
        }
        let mut outcome = report.outcome.clone();
        // A filter that finds no test is a run that did not happen.
        if outcome.passed + outcome.failed == 0 {
            outcome.failed = 1;
        }
        total.add(outcome);
    }
    println!("{total}");
    total
}
