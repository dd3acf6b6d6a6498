//! The machine that figures come from: what a reader must know to judge them,
//! and which processors server and load get.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::tools;

/// Packages whose versions stand beside the figures.
const CRATES: [&str; 5] = [
    "fastwebsockets",
    "tokio-tungstenite",
    "tokio-websockets",
    "axum",
    "tokio",
];
const PACKAGES: [&str; 3] = ["ws", "@oven/bun-linux-x64", "@cloudflare/workerd-linux-64"];

pub(super) struct Machine {
    pub(super) processor: String,
    /// Those that this process may use.
    pub(super) processors: usize,
    pub(super) kernel: String,
    /// Of the last minute, before the run.
    pub(super) load_average: String,
    pub(super) revision: String,
    /// Names and versions.
    pub(super) versions: Vec<(String, String)>,
    /// For the server and for the load.
    pub(super) pins: Option<(u32, u32)>,
}

impl Machine {
    pub(super) fn look(root: &Path) -> anyhow::Result<Self> {
        let allowed = allowed_processors(&read("/proc/self/status")?);
        let pins = match (allowed.first(), allowed.last()) {
            (Some(first), Some(last)) if first != last && tools::on_path("taskset").is_some() => {
                Some((*first, *last))
            }
            _ => {
                println!("note: server and load share processors: this needs two, and `taskset`");
                None
            }
        };
        let processor = read("/proc/cpuinfo")?
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(
                || std::env::consts::ARCH.to_owned(),
                |(_, name)| name.to_owned(),
            );
        let load_average = read("/proc/loadavg")?;
        Ok(Self {
            processor,
            processors: allowed.len(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_average: load_average
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            revision: said(root, "git", &["describe", "--always", "--dirty"]),
            versions: versions(root)?,
            pins,
        })
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        format!(
            "{}, {} processors, Linux {}, wharf {}",
            self.processor, self.processors, self.kernel, self.revision
        )
    }
}

fn read(file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {file}: this needs Linux"))
}

fn said(root: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output();
    output.map_or_else(
        |_| "?".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// From a line such as `Cpus_allowed_list:  0-1,4`.
fn allowed_processors(status: &str) -> Vec<u32> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap_or_default();
    let mut processors = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse()) {
            processors.extend(first..=last);
        }
    }
    processors
}

fn versions(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let folder = root.join("xtask/bench");
    let lock = std::fs::read_to_string(folder.join("Cargo.lock"))?;
    let mut versions = Vec::new();
    for name in CRATES {
        let wanted = format!("name = \"{name}\"\nversion = \"");
        // The last one is the newest, which is ours: others are dependencies'.
        if let Some((_, rest)) = lock.rsplit_once(&wanted) {
            let version = rest.split('"').next().unwrap_or_default();
            versions.push((name.to_owned(), version.to_owned()));
        }
    }
    let package = std::fs::read_to_string(folder.join("scripts/package.json"))?;
    let package: serde_json::Value = serde_json::from_str(&package)?;
    for name in PACKAGES {
        let given = ["dependencies", "optionalDependencies"];
        let version = given.iter().find_map(|kind| package[kind][name].as_str());
        let short = name.rsplit('/').next().unwrap_or(name);
        let short = short.split("-linux").next().unwrap_or(short);
        versions.extend(version.map(|version| (short.to_owned(), version.to_owned())));
    }
    let node = said(root, "node", &["--version"]);
    versions.push(("node".to_owned(), node.trim_start_matches('v').to_owned()));
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::allowed_processors;

    #[test]
    fn a_list_of_processors_is_read() {
        let status = "Name:\tx\nCpus_allowed_list:\t0-1,4,6-7\nMems_allowed:\t1\n";
        assert_eq!(allowed_processors(status), [0, 1, 4, 6, 7]);
        assert_eq!(allowed_processors(""), Vec::<u32>::new());
    }
}
