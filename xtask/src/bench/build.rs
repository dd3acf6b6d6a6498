//! Builds what the benchmark needs: the load generator, the peers, Wharf in
//! release and its guests, all under target/. A peer that cannot be had is
//! noted with the reason; without the load generator there is no benchmark.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::peers::{Peer, Program, Wharf};
use super::wharf::{FAN_OUT_GUEST, STORED_GUEST};
use crate::{guests, process, served, tools};

/// Where everything is, and what could not be had.
pub(super) struct Built {
    /// The repository's xtask/bench.
    pub(super) sources: PathBuf,
    /// target/bench.
    pub(super) target: PathBuf,
    /// `wharf`, built in release.
    pub(super) wharf: PathBuf,
    pub(super) guests: PathBuf,
    pub(super) peers: Vec<&'static Peer>,
    /// Reasons, each beginning with a name.
    pub(super) left_out: Vec<String>,
}

/// Tells the peers that are had in one way.
type Kind = fn(&Program) -> bool;
/// Peers that cannot be had, and why.
type Broken = (Kind, String);

/// Builds for these peers; with `anew` unset it only finds what is there.
pub(super) fn build(root: &Path, chosen: &[&'static Peer], anew: bool) -> anyhow::Result<Built> {
    let mut built = Built::at(root);
    std::fs::create_dir_all(&built.target)?;
    if anew {
        cargo_build(root, "bench-load").context("building the load generator")?;
    }
    let have = |wanted: Kind| chosen.iter().any(|peer| wanted(&peer.program));
    let mut broken: Vec<Broken> = Vec::new();
    if anew && have(is_crate) {
        note(cargo_build(root, "bench-peers"), is_crate, &mut broken);
    }
    if anew && have(is_script) {
        note(npm_install(&built), is_script, &mut broken);
    }
    if anew && have(is_native) {
        note(build_native(root, &built), is_native, &mut broken);
    }
    if anew && have(is_wharf) {
        note(build_wharf(root), is_wharf, &mut broken);
        for guest in guests_for(chosen) {
            // What an earlier run has built is as good.
            if let Err(error) = guests::build(&[guest.to_owned()]) {
                println!("the guest {guest} was not built: {error:#}");
            }
        }
    }
    for peer in chosen {
        let why = broken.iter().find(|(hit, _)| hit(&peer.program));
        let why = why
            .map(|(_, why)| why.clone())
            .or_else(|| built.missing(peer));
        match why {
            Some(why) => built.left_out.push(format!("{}: {why}", peer.name)),
            None => built.peers.push(peer),
        }
    }
    make_certificate(&built)?;
    Ok(built)
}

impl Built {
    fn at(root: &Path) -> Self {
        let target = served::target(root);
        Self {
            sources: root.join("xtask/bench"),
            wharf: target.join("release/wharf"),
            guests: root.join("target/guests"),
            target: target.join("bench"),
            peers: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// A program of the workspace xtask/bench.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    pub(super) fn load(&self) -> PathBuf {
        self.program("bench-load")
    }

    pub(super) fn node_modules(&self) -> PathBuf {
        self.target.join("npm/node_modules")
    }

    /// The packages of npm that hold these programs name processors in their
    /// own ways.
    pub(super) fn bun(&self) -> PathBuf {
        let processor = match std::env::consts::ARCH {
            "x86_64" => "x64",
            other => other,
        };
        self.node_modules()
            .join(format!("@oven/bun-linux-{processor}/bin/bun"))
    }

    pub(super) fn workerd(&self) -> PathBuf {
        let processor = match std::env::consts::ARCH {
            "x86_64" => "64",
            "aarch64" => "arm64",
            other => other,
        };
        self.node_modules()
            .join(format!("@cloudflare/workerd-linux-{processor}/bin/workerd"))
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.target.join("certificate")
    }

    /// The program that serves in this manner.
    pub(super) fn wharf(&self, manner: Wharf) -> PathBuf {
        if manner.native {
            self.program("wharf-native")
        } else {
            self.wharf.clone()
        }
    }

    /// Why a peer cannot be started, as far as files tell.
    fn missing(&self, peer: &Peer) -> Option<String> {
        let needed = match peer.program {
            Program::Raw => vec![self.program("raw-tcp")],
            Program::Rust(name, _) => vec![self.program(name)],
            Program::Node(_) => vec![self.node_modules().join("ws")],
            Program::Bun(_) => vec![self.bun()],
            Program::Workerd(_) => vec![self.workerd()],
            Program::Wharf(wharf) => vec![
                self.wharf(wharf),
                self.guests.join(format!("{}.wasm", wharf.guest)),
            ],
        };
        if matches!(peer.program, Program::Node(_)) && tools::on_path("node").is_none() {
            return Some("there is no `node`".to_owned());
        }
        needed
            .iter()
            .find(|file| !file.exists())
            .map(|file| format!("there is no {}", file.display()))
    }
}

fn is_crate(program: &Program) -> bool {
    matches!(program, Program::Raw | Program::Rust(..))
}

fn is_script(program: &Program) -> bool {
    matches!(
        program,
        Program::Node(_) | Program::Bun(_) | Program::Workerd(_)
    )
}

fn is_wharf(program: &Program) -> bool {
    matches!(program, Program::Wharf(_))
}

fn is_native(program: &Program) -> bool {
    matches!(program, Program::Wharf(wharf) if wharf.native)
}

fn note(result: anyhow::Result<()>, hit: Kind, broken: &mut Vec<Broken>) {
    if let Err(error) = result {
        broken.push((hit, format!("{error:#}")));
    }
}

/// Builds a package of the workspace xtask/bench.
pub(super) fn cargo_build(root: &Path, package: &str) -> anyhow::Result<()> {
    let mut cargo = process::cargo(root);
    cargo.args(["build", "--release", "--locked", "--package", package]);
    cargo.args(["--manifest-path", "xtask/bench/Cargo.toml", "--target-dir"]);
    process::run(cargo.arg(served::target(root).join("bench")))
}

/// Builds the server as its users do.
pub(super) fn build_wharf(root: &Path) -> anyhow::Result<()> {
    process::run(process::cargo(root).args(["build", "--release", "--package", "wharf"]))
}

/// Another build of the same program, laid where the next build leaves it alone.
fn build_native(root: &Path, built: &Built) -> anyhow::Result<()> {
    let features = ["--features", "native-echo"];
    let build = ["build", "--release", "--package", "wharf"];
    process::run(process::cargo(root).args(build).args(features))?;
    let to = built.program("wharf-native");
    std::fs::copy(&built.wharf, &to).with_context(|| format!("copying to {}", to.display()))?;
    Ok(())
}

fn guests_for(chosen: &[&'static Peer]) -> Vec<&'static str> {
    let mut names: Vec<&str> = chosen
        .iter()
        .filter_map(|peer| peer.wharf())
        .map(|wharf| wharf.guest)
        .chain([FAN_OUT_GUEST, STORED_GUEST])
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Installs what xtask/bench/scripts/package-lock.json names. No script of a
/// package is run: Bun and workerd lie ready in packages of their own.
fn npm_install(built: &Built) -> anyhow::Result<()> {
    let scripts = built.sources.join("scripts");
    let folder = built.target.join("npm");
    let lock = std::fs::read(scripts.join("package-lock.json"))?;
    let installed = folder.join("installed");
    if std::fs::read(&installed).is_ok_and(|copy| copy == lock) {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(scripts.join(file), folder.join(file))?;
    }
    let npm = tools::program(&["npm"], "npm")?;
    let mut command = Command::new(npm);
    command.args(["ci", "--ignore-scripts", "--no-fund", "--no-audit"]);
    process::run(command.current_dir(&folder))?;
    std::fs::write(installed, lock)?;
    Ok(())
}

fn make_certificate(built: &Built) -> anyhow::Result<()> {
    let folder = built.certificate();
    if folder.join("key.pem").is_file() {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)?;
    let made = Command::new(built.load())
        .arg("certificate")
        .arg(&folder)
        .status()
        .context("the load generator could not be started: run without --no-build")?;
    ensure!(made.success(), "no certificate was made");
    Ok(())
}
