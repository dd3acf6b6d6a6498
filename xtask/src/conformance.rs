//! `cargo xtask conformance`: the 517 cases of the Autobahn test suite against
//! the echo handler, through the runner `kosoku`: once with permessage-deflate
//! and once without. The verdict is taken from the report, never from the
//! runner's exit code, which is 0 whatever failed. A case that is answered,
//! but late or otherwise not strictly right, counts as failed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::outcome::Outcome;
use crate::served::Served;
use crate::{process, served, tools};

const CASES: usize = 517;
/// A server that answers needs minutes; one that hangs on every case, hours.
const RUN_TIME_MAX: Duration = Duration::from_secs(20 * 60);
/// Two cores: the runner on one, the server on the other.
const PARALLEL_CASES: &str = "4";

/// How one case ended, by the rules of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Passed,
    /// The suite only watches: several answers are right.
    Informational,
    /// About the extension that this run turned off: declined, as it should.
    Declined,
    NonStrict,
    Failed,
}

struct Case {
    id: String,
    verdict: Verdict,
    behavior: String,
    close: String,
}

/// Runs all cases both ways; the last line says how many passed and failed.
pub(crate) fn run(root: &Path) -> anyhow::Result<Outcome> {
    let kosoku = tools::python(root)?.join("kosoku");
    crate::guests::build(&["echo".to_owned()])?;
    let wharf = served::build_host(root)?;
    let config = root.join("tests/clients/conformance.toml");
    let server = Served::start(
        root,
        "conformance",
        Command::new(wharf).args(["serve", "--config"]).arg(config),
    )?;
    println!(
        "limits of this run (tests/clients/conformance.toml): 16 MiB a message, 65,537 fragments"
    );
    let mut outcome = Outcome::default();
    for (name, deflate) in [("deflate", true), ("plain", false)] {
        let report = root.join("target/conformance").join(name);
        let url = format!("ws://{}/{name}", server.address);
        let cases = run_suite(&kosoku, &url, &report, deflate)?;
        outcome.add(tell(name, &cases));
    }
    server.stop()?;
    println!("{outcome}");
    Ok(outcome)
}

fn run_suite(kosoku: &Path, url: &str, report: &Path, deflate: bool) -> anyhow::Result<Vec<Case>> {
    if report.exists() {
        std::fs::remove_dir_all(report)
            .with_context(|| format!("emptying {}", report.display()))?;
    }
    std::fs::create_dir_all(report)?;
    println!("{CASES} cases against {url}");
    let started = Instant::now();
    let mut runner = Command::new(kosoku)
        .args([
            "--mode",
            "fuzzingclient",
            "--parallelism",
            PARALLEL_CASES,
            "--outdir",
        ])
        .arg(report)
        .arg(url)
        .stdout(Stdio::null())
        .stderr(File::create(report.join("runner.log"))?)
        .spawn()
        .context("`kosoku` could not be started")?;
    let status = process::wait_within(&mut runner, RUN_TIME_MAX).context("`kosoku`")?;
    let index = report.join("index.json");
    let text = std::fs::read_to_string(&index).with_context(|| {
        format!(
            "`kosoku` ended with {status} and left no {}",
            index.display()
        )
    })?;
    println!(
        "took {} s; report in {}",
        started.elapsed().as_secs(),
        report.display()
    );
    read_report(&text, deflate)
}

/// Reads Autobahn's index: one agent, and a verdict on each case.
fn read_report(text: &str, deflate: bool) -> anyhow::Result<Vec<Case>> {
    let index: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_str(text).context("the report is not an index of Autobahn's")?;
    let agents: Vec<_> = index.into_values().collect();
    ensure!(
        agents.len() == 1,
        "the report is about {} agents instead of one",
        agents.len()
    );
    let mut cases: Vec<Case> = agents
        .into_iter()
        .flatten()
        .map(|(id, entry)| Case::read(id, &entry, deflate))
        .collect();
    ensure!(
        cases.len() == CASES,
        "{} cases ran instead of {CASES}",
        cases.len()
    );
    cases.sort_by_key(|case| sections(&case.id));
    Ok(cases)
}

impl Case {
    fn read(id: String, entry: &Value, deflate: bool) -> Self {
        let word = |key: &str| entry[key].as_str().unwrap_or("missing").to_owned();
        let (behavior, close) = (word("behavior"), word("behaviorClose"));
        let about_deflate = matches!(sections(&id).first(), Some(12 | 13));
        let verdict = match (behavior.as_str(), close.as_str()) {
            ("OK", "OK") => Verdict::Passed,
            ("INFORMATIONAL", "OK" | "INFORMATIONAL") => Verdict::Informational,
            ("UNIMPLEMENTED", "OK") if about_deflate && !deflate => Verdict::Declined,
            ("NON-STRICT" | "OK", "OK" | "NON-STRICT") => Verdict::NonStrict,
            _ => Verdict::Failed,
        };
        Self {
            id,
            verdict,
            behavior,
            close,
        }
    }
}

/// `[9, 10, 2]` of `9.10.2`, to sort cases as the suite numbers them.
fn sections(id: &str) -> Vec<u32> {
    id.split('.')
        .map(|part| part.parse().unwrap_or(u32::MAX))
        .collect()
}

/// Prints a run and each case that did not pass. What was declined is said,
/// and counted neither as passed nor as failed.
fn tell(name: &str, cases: &[Case]) -> Outcome {
    let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    for case in cases
        .iter()
        .filter(|case| case.verdict >= Verdict::NonStrict)
    {
        println!(
            "  {name} {}: {}, closing {}",
            case.id, case.behavior, case.close
        );
    }
    let (passed, informational) = (count(Verdict::Passed), count(Verdict::Informational));
    let (non_strict, failed) = (count(Verdict::NonStrict), count(Verdict::Failed));
    println!(
        "{name}: {} run, {passed} ok, {informational} informational, {} about deflate declined, \
         {non_strict} non-strict, {failed} failed",
        cases.len(),
        count(Verdict::Declined),
    );
    Outcome::of_counts(passed + informational, non_strict + failed)
}

#[cfg(test)]
mod tests {
    use super::{Case, Verdict, sections};
    use serde_json::json;

    fn check(id: &str, behavior: &str, close: &str, deflate: bool, expect: Verdict) {
        let entry = json!({ "behavior": behavior, "behaviorClose": close });
        let case = Case::read(id.to_owned(), &entry, deflate);
        assert_eq!(case.verdict, expect, "for {id}: {behavior}, {close}");
    }

    #[test]
    fn a_case_needs_both_behaviours() {
        check("1.1.1", "OK", "OK", true, Verdict::Passed);
        check("1.1.1", "OK", "WRONG CODE", true, Verdict::Failed);
        check("1.1.1", "NON-STRICT", "OK", true, Verdict::NonStrict);
        check("1.1.1", "FAILED", "OK", true, Verdict::Failed);
        check(
            "7.13.1",
            "INFORMATIONAL",
            "INFORMATIONAL",
            true,
            Verdict::Informational,
        );
    }

    #[test]
    fn what_is_missing_from_a_report_has_failed() {
        let case = Case::read("1.1.1".to_owned(), &json!({}), true);
        assert_eq!(case.verdict, Verdict::Failed);
    }

    #[test]
    fn deflate_may_be_declined_only_where_it_is_off() {
        check("12.1.1", "UNIMPLEMENTED", "OK", false, Verdict::Declined);
        check("12.1.1", "UNIMPLEMENTED", "OK", true, Verdict::Failed);
        check("1.1.1", "UNIMPLEMENTED", "OK", false, Verdict::Failed);
    }

    #[test]
    fn cases_sort_by_number() {
        assert!(sections("9.2.10") > sections("9.2.9"));
        assert!(sections("10.1.1") > sections("9.8.6"));
    }
}
