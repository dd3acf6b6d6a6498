//! Other programs: run visibly, within a deadline, and with what their runners
//! count. Nothing here knows what the programs are for.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use crate::outcome::Outcome;

/// How often a child that may run late is looked at.
const POLL: Duration = Duration::from_millis(50);

/// The cargo that started this task, in the root of the repository.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What cargo tells this program about its own package: build scripts that look at it would be
    // run again by every other cargo, and all that depends on them compiled again.
    for (name, _) in std::env::vars_os() {
        let of_package = |prefix| name.to_string_lossy().starts_with(prefix);
        if of_package("CARGO_PKG_") || of_package("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the command with its output shown; an exit code is an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("`{shown}` could not be started"))?;
    ensure!(status.success(), "`{shown}` ended with {status}");
    Ok(())
}

/// Runs the command with its output shown, and adds up the numbers that its
/// lines report by `count`. A failing exit code with no failure counted is
/// one failure.
pub(crate) fn run_counting(
    command: &mut Command,
    time_max: Duration,
    count: fn(&str) -> Option<Outcome>,
) -> anyhow::Result<Outcome> {
    let shown = show(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` could not be started"))?;
    let stdout = child.stdout.take().context("the child's output is piped")?;
    let reader = thread::spawn(move || {
        let mut outcome = Outcome::default();
        each_line(stdout, |line| {
            println!("{line}");
            outcome.add(count(line).unwrap_or_default());
        });
        outcome
    });
    let status = wait_within(&mut child, time_max).with_context(|| format!("`{shown}`"))?;
    let mut outcome = reader
        .join()
        .map_err(|_| anyhow!("the reader of `{shown}` panicked"))?;
    if !status.success() && outcome.failed == 0 {
        println!("`{shown}` ended with {status}");
        outcome.failed = 1;
    }
    Ok(outcome)
}

/// Runs the command with its output shown, counts its tests, and keeps what follows `mark` in each
/// line that has it.
pub(crate) fn run_collecting(
    command: &mut Command,
    time_max: Duration,
    mark: &'static str,
) -> anyhow::Result<(Vec<String>, Outcome)> {
    let shown = show(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` could not be started"))?;
    let stdout = child.stdout.take().context("the child's output is piped")?;
    let reader = thread::spawn(move || {
        let (mut kept, mut outcome) = (Vec::new(), Outcome::default());
        each_line(stdout, |line| {
            println!("{line}");
            kept.extend(line.split_once(mark).map(|(_, rest)| rest.to_owned()));
            outcome.add(cargo_test_counts(line).unwrap_or_default());
        });
        (kept, outcome)
    });
    let status = wait_within(&mut child, time_max).with_context(|| format!("`{shown}`"))?;
    let (kept, mut outcome) = reader
        .join()
        .map_err(|_| anyhow!("the reader of `{shown}` panicked"))?;
    if !status.success() && outcome.failed == 0 {
        outcome.failed = 1;
    }
    Ok((kept, outcome))
}

/// What `cargo test` says at the end of each of its runs.
pub(crate) fn cargo_test_counts(line: &str) -> Option<Outcome> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    let number_before = |word: &str| {
        let before = &rest[..rest.find(word)?];
        before.split_whitespace().next_back()?.parse().ok()
    };
    let mut outcome = Outcome::of_counts(number_before(" passed")?, number_before(" failed")?);
    if let Some(ignored @ 1..) = number_before(" ignored") {
        outcome
            .not_run
            .push(format!("{ignored} tests marked as ignored"));
    }
    Some(outcome)
}

/// Lines `ok NAME` and `FAILED NAME: why`, as the client scripts print them.
pub(crate) fn script_counts(line: &str) -> Option<Outcome> {
    match line {
        _ if line.starts_with("ok ") => Some(Outcome::of_counts(1, 0)),
        _ if line.starts_with("FAILED ") => Some(Outcome::of_counts(0, 1)),
        _ => None,
    }
}

/// Waits for the child's end; one that is late is killed.
pub(crate) fn wait_within(
    child: &mut Child,
    time_max: Duration,
) -> anyhow::Result<std::process::ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("waiting for a child process")? {
            return Ok(status);
        }
        if started.elapsed() > time_max {
            child
                .kill()
                .context("killing a child process that is late")?;
            child.wait().context("waiting for a killed child process")?;
            bail!("was not over after {} s and was killed", time_max.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// Sends the child's lines to a queue that can be read with a deadline; the
/// thread ends with the child's output.
pub(crate) fn lines(output: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || each_line(output, |line| drop(sender.send(line.to_owned()))));
    receiver
}

fn each_line(output: impl Read, mut take: impl FnMut(&str)) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        take(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
        line.clear();
    }
}

/// Says what is about to run, as one would type it.
fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut shown = program
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    println!("$ {shown}");
    shown
}

#[cfg(test)]
mod tests {
    use super::{cargo_test_counts, script_counts};

    #[test]
    fn the_result_line_of_cargo_test_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        let outcome = cargo_test_counts(line).expect("a result line");
        assert_eq!((outcome.passed, outcome.failed), (12, 3));
        assert_eq!(outcome.not_run, ["1 tests marked as ignored"]);
        assert!(cargo_test_counts("test a ... ok").is_none());
    }

    #[test]
    fn the_lines_of_a_script_are_counted() {
        assert_eq!(
            script_counts("ok text").map(|outcome| outcome.passed),
            Some(1)
        );
        assert_eq!(
            script_counts("FAILED text: late").map(|outcome| outcome.failed),
            Some(1)
        );
        assert!(script_counts("1 passed, 0 failed").is_none());
    }
}
