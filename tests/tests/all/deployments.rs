//! Deployments through the library, compiled by the real command: what is accepted, what is refused,
//! and what comes in as a bomb.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use wharf::{CompileError, DeployError, DeploymentSettings, Registry, TenantRules, Upload};
use wharf_tests::deadline::{alone, scenario};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::guests;
use wharf_tests::process::Process;
use wharf_tests::site::Folder;

use crate::promises::covers;

const MANIFEST: &str = "[route]\npath = \"/\"\n";

/// A registry in a folder, for the tenant `acme`.
pub(crate) fn settings(folder: &Folder) -> DeploymentSettings {
    let mut settings = DeploymentSettings::new(folder.file("deployments"));
    settings.compiler = Some(wharf_tests::server::binary().to_owned());
    let rules = TenantRules::default();
    settings.tenants.insert("acme".to_owned(), rules);
    settings
}

pub(crate) fn upload<'a>(name: &'a str, component: &'a [u8]) -> Upload<'a> {
    Upload {
        tenant: "acme",
        name,
        component,
        manifest: MANIFEST,
        signature: None,
        by: "ann",
    }
}

#[test]
fn generations_only_rise() {
    covers("deploy.replay");
    scenario(async {
        let folder = Folder::new();
        let registry = Registry::open(settings(&folder)).unwrap();
        let versions = ["echo-c", "echo"].map(guests::bytes);
        let mut silent = 0;
        let mut tried = 0;
        for (generation, component) in versions.iter().enumerate() {
            let deploy = |expected| {
                let upload = upload("chat", component);
                registry.deploy(&upload, expected, &mut |_| {})
            };
            deploy(generation as u64).unwrap();
            for stale in 0..=generation as u64 {
                tried += 1;
                silent += u32::from(!matches!(deploy(stale), Err(DeployError::Conflict { .. })));
            }
        }
        let begun = Instant::now();
        let back = registry.roll_back("acme", "chat", 2, "bob").unwrap();
        let took = begun.elapsed();
        assert_eq!(back.deployment.generation, 3);
        assert_eq!(back.deployment.current.number, 1);
        tried += 1;
        let again = registry.roll_back("acme", "chat", 2, "bob");
        silent += u32::from(!matches!(again, Err(DeployError::Conflict { .. })));
        assert_eq!(silent, 0);
        figure(
            "deploy.replay",
            format!("{tried} changes sent twice, {silent} done twice; a rollback took {took:?}"),
        );
    });
}

/// Every path under a folder.
fn paths(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(paths(path.clone()));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn a_name_leads_nowhere() {
    covers("deploy.names");
    scenario(async {
        let folder = Folder::new();
        let registry = Registry::open(settings(&folder)).unwrap();
        let before = paths(folder.file("."));
        let component = guests::bytes("echo-c");
        let long = "a".repeat(300);
        let names = [
            "",
            ".",
            "..",
            "../x",
            "%2e%2e",
            "a/b",
            "/etc/passwd",
            "a\\b",
            "a\0b",
            "Chat",
            "chät",
            "a_b",
            "a.wasm",
            " ",
            "a\n",
            &long,
            &long[..64],
        ];
        for name in names {
            let outcome = registry.deploy(&upload(name, &component), 0, &mut |_| {});
            assert!(matches!(outcome, Err(DeployError::Name)), "{name:?}");
            for outcome in [
                registry.get("acme", name).map(drop),
                registry.delete("acme", name, 0, "eve").map(drop),
                registry.roll_back("acme", name, 0, "eve").map(drop),
            ] {
                assert_eq!(outcome, Err(DeployError::Name), "{name:?}");
            }
        }
        assert_eq!(paths(folder.file(".")), before);
        figure(
            "deploy.names",
            format!("{} names refused, 0 files made", names.len()),
        );
    });
}

#[test]
fn what_was_not_granted_is_named_at_the_deploy() {
    covers("deploy.imports");
    scenario(async {
        let folder = Folder::new();
        let registry = Registry::open(settings(&folder)).unwrap();
        let mut refused = Vec::new();
        for (guest, import) in [
            ("store", "wasi:keyvalue/store"),
            ("store", "wharf:websocket/timers"),
            ("envoy", "wasi:logging/logging"),
            ("herald", "wharf:websocket/topics"),
        ] {
            let component = guests::bytes(guest);
            let outcome = registry.deploy(&upload("chat", &component), 0, &mut |_| {});
            let error = outcome.map(drop).unwrap_err();
            assert!(matches!(error, DeployError::Program(_)), "{error:?}");
            assert!(error.to_string().contains(import), "{import}: {error}");
            refused.push(import);
        }
        assert_eq!(registry.generation("acme", "chat"), Ok(0));
        let text = format!("named and refused: {}; nothing changed", refused.join(", "));
        figure("deploy.imports", text);
    });
}

/// A number as wasm writes it.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], leb(content.len()).as_slice(), content].concat()
}

const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// A component around a module with so many functions of the same code, without parameters.
pub(crate) fn functions(count: usize, code: &[u8]) -> Vec<u8> {
    let types = section(1, &[1, 0x60, 0, 0]);
    let functions = section(3, &[leb(count), vec![0; count]].concat());
    // One local of 32 bits.
    let body = [&[1, 1, 0x7f], code, &[0x0b]].concat();
    let body = [leb(body.len()), body].concat();
    let code = section(10, &[leb(count), body.repeat(count)].concat());
    let module = [&MODULE[..], &types, &functions, &code].concat();
    [&COMPONENT[..], &section(1, &module)].concat()
}

/// Components in components.
fn nested(depth: usize) -> Vec<u8> {
    // From the innermost outwards each adds its own head, whose length depends on what is in it.
    let mut heads = Vec::new();
    let mut length = COMPONENT.len();
    for _ in 0..depth {
        let head = [&[4], leb(length).as_slice()].concat();
        length += head.len() + COMPONENT.len();
        heads.push(head);
    }
    let outer = heads.iter().rev();
    let mut bytes: Vec<u8> = outer
        .flat_map(|head| [&COMPONENT[..], head].concat())
        .collect();
    bytes.extend(COMPONENT);
    bytes
}

/// The most resident memory of the processes that this one has started, while it is looked at.
fn watch_children(until: std::sync::mpsc::Receiver<()>) -> u64 {
    let own = std::process::id().to_string();
    let mut most = 0;
    while until.recv_timeout(Duration::from_millis(5)).is_err() {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
            let of_us = read("stat").is_some_and(|stat| {
                let rest = stat.rsplit(") ").next().unwrap_or_default();
                rest.split(' ').nth(1) == Some(&own)
            });
            let peak = read("status").and_then(|status| {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("VmHWM:"))?;
                line.split_whitespace().next()?.parse::<u64>().ok()
            });
            if of_us {
                most = most.max(peak.unwrap_or(0) * 1024);
            }
        }
    }
    most
}

/// CPU time of the processes that this one has waited for.
fn cpu_of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(") ").next().unwrap().split(' ');
    let ticks: u64 = fields
        .skip(13)
        .take(2)
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    // A tick is a hundredth of a second on every Linux that Rust runs on.
    Duration::from_millis(ticks * 10)
}

#[test]
fn an_uploaded_bomb_goes_off_in_a_process_of_its_own() {
    covers("deploy.bomb");
    alone(async {
        let folder = Folder::new();
        let registry = Registry::open(settings(&folder)).unwrap();
        let arithmetic = [0x20, 0, 0x41, 3, 0x6c, 0x41, 7, 0x6a, 0x21, 0];
        let bombs: [(&str, Vec<u8>); 6] = [
            ("1 GB", vec![0; 1 << 30]),
            ("a million functions", functions(1_000_000, &arithmetic)),
            (
                "a function of 10 MB",
                functions(1, &arithmetic.repeat(1 << 20)),
            ),
            (
                "7 functions of 7 MB",
                functions(7, &arithmetic.repeat(700_000)),
            ),
            ("100,000 nested components", nested(100_000)),
            ("1,000 blocks in each other, 3,000 times", {
                let nested = [[0x02, 0x40].repeat(1_000), vec![0x0b; 1_000]].concat();
                functions(3_000, &nested)
            }),
        ];
        let mut results = Vec::new();
        for (name, bomb) in bombs {
            let cpu = cpu_of_children();
            Process::own().reset_peak();
            let before = Process::own().resident_bytes();
            let (done, until) = std::sync::mpsc::channel();
            let watch = std::thread::spawn(move || watch_children(until));
            let outcome = registry.deploy(&upload("bomb", &bomb), 0, &mut |_| {});
            done.send(()).unwrap();
            let peak = watch.join().unwrap();
            let cpu = cpu_of_children() - cpu;
            let own = Process::own().peak_bytes().saturating_sub(before);
            let what = match outcome.map(drop).unwrap_err() {
                DeployError::Program(error) => short(&error.to_string()),
                DeployError::Compile(CompileError::OutOfMemory(_)) => "out of memory".to_owned(),
                DeployError::Compile(CompileError::OutOfTime(_)) => "out of time".to_owned(),
                DeployError::Compile(CompileError::Crashed(how)) => short(&how),
                other => panic!("{name}: {other:?}"),
            };
            assert!(cpu <= Duration::from_millis(11_500), "{name}: {cpu:?}");
            assert!(peak <= 600 << 20, "{name}: {peak}");
            assert!(own <= 96 << 20, "{name}: {own} in the server");
            results.push(format!(
                "{name}: {what}, {cpu:?} of CPU, {}, + {} in the server",
                bytes(peak),
                bytes(own)
            ));
        }
        let component = guests::bytes("echo");
        let deployed = registry.deploy(&upload("chat", &component), 0, &mut |_| {});
        assert!(deployed.is_ok(), "{deployed:?}");
        figure("deploy.bomb", results.join("; "));
    });
}

/// The beginning of a message.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
