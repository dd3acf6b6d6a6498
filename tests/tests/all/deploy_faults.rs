//! Deploys that are cut short: the process killed at each step and at random, the disk full; and what
//! is kept with a flipped bit.
//!
//! `WHARF_DEPLOY_ROUNDS=1000` makes the long run of what CI does some thirty times,
//! `WHARF_DEPLOY_FLIPS` says how many bits are flipped, 1,000 if not set.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wharf::{DeployError, Deployment, DeploymentSettings, Digest, Registry, Step};
use wharf_tests::deadline::{alone, scenario};
use wharf_tests::figure::figure;
use wharf_tests::guests;
use wharf_tests::site::Folder;

use crate::deployments::{settings, upload};
use crate::promises::covers;

const STEPS: [Step; 10] = [
    Step::ArtifactWritten,
    Step::ArtifactKept,
    Step::Compiled,
    Step::CompiledKept,
    Step::CompiledRecorded,
    Step::Checked,
    Step::Started,
    Step::Recorded,
    Step::Noted,
    Step::Collected,
];
/// Rounds of kills at random moments.
const ROUNDS: u64 = 20;
const FLIPS: u64 = 1_000;
/// Where the process that is killed finds its work.
const FOLDER: &str = "WHARF_DEPLOY_FOLDER";
const GUEST: &str = "WHARF_DEPLOY_GUEST";
const STOP: &str = "WHARF_DEPLOY_STOP";
/// What it says before each step, and at its end.
const SAYS: &str = "deploying: ";

fn say(words: impl std::fmt::Display) {
    // Past the test runner's capture, for the test that waits for it.
    let line = format!("{SAYS}{words}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_nanos() as u64 | 1
}

/// Deploys one guest in a folder, stops for ever at a step if it is told to, and says how far it is.
/// Does nothing unless another test has started it.
#[test]
fn a_process_that_deploys() {
    covers("deploy.crash");
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let guest = guests::bytes(&std::env::var(GUEST).unwrap());
    let stop = number(STOP, u64::MAX);
    let mut settings = DeploymentSettings::new(folder);
    settings.compiler = Some(std::env::var_os("WHARF_BIN").unwrap().into());
    settings
        .tenants
        .insert("acme".to_owned(), Default::default());
    let registry = Registry::open(settings).unwrap();
    let expected = registry.generation("acme", "chat").unwrap();
    say(expected);
    let deployed = registry.deploy(&upload("chat", &guest), expected, &mut |step| {
        say(format_args!("{step:?}"));
        if STEPS.iter().position(|known| *known == step) == Some(stop as usize) {
            say("stopped");
            std::thread::sleep(Duration::from_secs(600));
        }
    });
    match deployed {
        Ok(published) => say(format_args!("done {}", published.deployment.generation)),
        Err(DeployError::Disk(why)) => say(format_args!("disk {why}")),
        Err(error) => panic!("{error}"),
    }
}

/// Starts it, with what comes before the command in a shell.
fn start(folder: &Folder, guest: &str, stop: Option<usize>, before: &str) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{before} exec \"$0\" \"$@\""))
        .arg(own)
        .args(["--exact", "deploy_faults::a_process_that_deploys"])
        .args(["--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.file("deployments"))
        .env(GUEST, guest)
        .env("WHARF_BIN", wharf_tests::server::binary())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(stop) = stop {
        command.env(STOP, stop.to_string());
    }
    command.spawn().unwrap()
}

/// What it says, until it says that, or nothing more.
fn heard(child: &mut Child, until: &str) -> Vec<String> {
    let stdout = child.stdout.as_mut().expect("it is piped");
    let mut said = Vec::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        // The first line has the name of the test in front.
        if let Some((_, words)) = line.split_once(SAYS) {
            said.push(words.to_owned());
            if words == until {
                break;
            }
        }
    }
    said
}

/// The state after a restart, which must be sound.
fn restart(folder: &Folder) -> Option<Deployment> {
    let registry = Registry::open(settings(folder)).unwrap();
    match registry.get("acme", "chat") {
        Err(DeployError::NotFound) => None,
        Ok(deployment) => {
            let current = registry.current("acme", "chat").unwrap();
            assert_eq!(current.deployment, deployment);
            let found = registry.artifact(&deployment.current.artifact).unwrap();
            assert_eq!(Digest::of(&found), deployment.current.artifact);
            Some(deployment)
        }
        Err(error) => panic!("{error}"),
    }
}

fn generation(deployment: Option<&Deployment>) -> u64 {
    deployment.map_or(0, |deployment| deployment.generation)
}

#[test]
fn a_deploy_that_is_killed_has_happened_or_not() {
    covers("deploy.crash");
    wharf_tests::server::binary();
    alone(async {
        let begun = Instant::now();
        let mut versions = ["echo-c", "echo"].into_iter().cycle();
        let folder = Folder::new();
        let mut old = restart(&folder);
        for (place, step) in STEPS.into_iter().enumerate() {
            // A component that is not compiled yet takes all steps.
            let _ = fs::remove_dir_all(folder.file("deployments/compiled"));
            let guest = versions.next().unwrap();
            let mut child = start(&folder, guest, Some(place), "");
            let said = heard(&mut child, "stopped");
            assert_eq!(
                said.last().map(String::as_str),
                Some("stopped"),
                "{step:?}: {said:?}"
            );
            child.kill().unwrap();
            child.wait().unwrap();
            let new = restart(&folder);
            let happened = u64::from(step >= Step::Recorded);
            let expect = generation(old.as_ref()) + happened;
            assert_eq!(generation(new.as_ref()), expect, "{step:?}");
            if happened == 0 {
                assert_eq!(new, old, "{step:?}");
            } else {
                let right = Digest::of(&guests::bytes(guest));
                assert_eq!(new.as_ref().unwrap().current.artifact, right);
            }
            old = new;
        }
        let rounds = number("WHARF_DEPLOY_ROUNDS", ROUNDS);
        let mut state = seed();
        let (mut before, mut after, mut acknowledged) = (0, 0, 0);
        for _ in 0..rounds {
            let guest = versions.next().unwrap();
            let mut child = start(&folder, guest, None, "");
            heard(&mut child, &generation(old.as_ref()).to_string());
            let wait = random(&mut state) % 40_000;
            std::thread::sleep(Duration::from_micros(wait));
            child.kill().unwrap();
            let said = heard(&mut child, "");
            child.wait().unwrap();
            let new = restart(&folder);
            let rose = generation(new.as_ref()) - generation(old.as_ref());
            assert!(rose <= 1);
            let told = said.iter().any(|words| words.starts_with("done"));
            assert!(!told || rose == 1, "what was acknowledged is there");
            acknowledged += u64::from(told);
            before += 1 - rose;
            after += rose;
            if rose == 0 {
                assert_eq!(new, old);
            }
            old = new;
        }
        figure(
            "deploy.crash",
            format!(
                "killed at each of {} steps and {rounds} times at random in {} s: {before} times the old \
                 version, {after} times the new one ({acknowledged} acknowledged), 0 times neither",
                STEPS.len(),
                begun.elapsed().as_secs()
            ),
        );
    });
}

#[test]
fn a_deploy_that_does_not_fit_on_the_disk_changes_nothing() {
    covers("deploy.disk");
    wharf_tests::server::binary();
    scenario(async {
        let folder = Folder::new();
        let mut child = start(&folder, "echo-c", None, "");
        let said = heard(&mut child, "");
        assert_eq!(said.last().map(String::as_str), Some("done 1"));
        child.wait().unwrap();
        let old = restart(&folder);
        let mut refused = Vec::new();
        // No file may be larger than so many times 512 bytes, and a write beyond fails.
        for blocks in [1, 16, 64, 256] {
            let limit = format!("trap '' XFSZ; ulimit -f {blocks};");
            let mut child = start(&folder, "echo", None, &limit);
            let said = heard(&mut child, "");
            child.wait().unwrap();
            let last = said.last().map_or("nothing", String::as_str);
            let passed = said.iter().filter(|words| words.parse::<u64>().is_err());
            let passed = passed.count().saturating_sub(1);
            assert!(!last.starts_with("done"), "{blocks} blocks: {said:?}");
            refused.push(format!(
                "{} KiB a file: {last} after {passed} steps",
                blocks / 2
            ));
            assert_eq!(restart(&folder), old, "{blocks} blocks");
        }
        let disk = refused.iter().filter(|words| words.contains(": disk "));
        assert!(disk.count() >= 2, "{refused:?}");
        let mut child = start(&folder, "echo", None, "");
        let said = heard(&mut child, "");
        child.wait().unwrap();
        assert_eq!(
            said.last().map(String::as_str),
            Some("done 2"),
            "there is room again"
        );
        figure("deploy.disk", refused.join("; "));
    });
}

/// What came of one flipped bit.
#[derive(Debug, PartialEq)]
enum Answer {
    Refused,
    Recovered,
    /// The bit is one that nobody reads, such as in a page that is free.
    Unread,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, target).unwrap()),
        }
    }
}

/// Opens a folder with a flipped bit, and looks at all that is in it.
fn look(folder: &Folder, file: &Path, right: &Deployment) -> Answer {
    let damaged = fs::read(file).unwrap();
    let Ok(registry) = Registry::open(settings(folder)) else {
        return Answer::Refused;
    };
    let current = match registry.current("acme", "chat") {
        Err(DeployError::Damaged(_)) => return Answer::Refused,
        Err(error) => panic!("{error}"),
        Ok(current) => current,
    };
    assert_eq!(current.deployment, *right);
    let history = registry.history("acme", "chat");
    let versions = registry.versions("acme", "chat");
    if history.is_err() || versions.is_err() {
        return Answer::Refused;
    }
    assert_eq!(history.unwrap().len(), 2);
    assert_eq!(versions.unwrap().len(), 2);
    match registry.artifact(&right.current.artifact) {
        Err(DeployError::Damaged(_)) => Answer::Refused,
        Err(error) => panic!("{error}"),
        Ok(_) if fs::read(file).unwrap() != damaged => Answer::Recovered,
        Ok(_) => Answer::Unread,
    }
}

#[test]
fn a_flipped_bit_is_refused_or_recovered() {
    covers("deploy.damage");
    alone(async {
        let begun = Instant::now();
        let whole = Folder::new();
        let registry = Registry::open(settings(&whole)).unwrap();
        for (generation, guest) in ["echo", "echo-c"].into_iter().enumerate() {
            let component = guests::bytes(guest);
            let upload = upload("chat", &component);
            registry
                .deploy(&upload, generation as u64, &mut |_| {})
                .unwrap();
        }
        let right = registry.get("acme", "chat").unwrap();
        drop(registry);
        let artifact = right.current.artifact;
        let files = [
            format!("deployments/artifacts/{artifact}.wasm"),
            format!("deployments/compiled/{artifact}.code"),
            "deployments/registry.redb".to_owned(),
        ];
        let flips = number("WHARF_DEPLOY_FLIPS", FLIPS);
        let mut state = seed();
        let seeded = state;
        let mut counts = [[0; 3]; 3];
        for flip in 0..flips {
            let kind = (flip % 3) as usize;
            let folder = Folder::new();
            copy(&whole.file("deployments"), &folder.file("deployments"));
            let file = folder.file(&files[kind]);
            let mut content = fs::read(&file).unwrap();
            let bit = random(&mut state) as usize % (content.len() * 8);
            content[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, content).unwrap();
            let answer = look(&folder, &file, &right);
            // Every bit of the first two is read.
            assert!(
                kind == 2 || answer != Answer::Unread,
                "{file:?}, bit {bit}, seed {seeded}"
            );
            counts[kind][answer as usize] += 1;
        }
        let [artifact, code, registry] = counts;
        figure(
            "deploy.damage",
            format!(
                "{flips} bits in {} s: artifact {} refused; compiled {} compiled again, {} refused; \
                 registry {} refused, {} as if nothing had been; 0 loaded",
                begun.elapsed().as_secs(),
                artifact[0],
                code[1],
                code[0],
                registry[0],
                registry[1] + registry[2],
            ),
        );
    });
}
