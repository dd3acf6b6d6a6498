//! Finds a Rust compiler that can make guests: the one that is there, else
//! with the target from rustup, else Debian's, else says what to install.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::versions::{DEBIAN_LINKER, DEBIAN_RUST, RUST_TARGET};
use super::{Workshop, command, debian};

/// `rustup target add` downloads 20 MB; without a network it gives up by
/// itself, but not always.
const RUSTUP_TIMEOUT: Duration = Duration::from_secs(120);

/// How cargo is called to build guests.
pub(super) struct Toolchain {
    /// For a person.
    pub(super) description: String,
    /// What is added to cargo's arguments.
    pub(super) arguments: Vec<String>,
    /// What is set in cargo's environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// The linker for `wasm32-wasip2`, which rustup's toolchains carry whether they have that target or not.
    pub(super) component_linker: Option<PathBuf>,
}

/// The cargo that runs this task, else the one on the search path.
pub(super) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Takes the first way that works.
pub(super) fn find(workshop: &Workshop) -> Result<Toolchain> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = command::run(Command::new(rustc).args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot.trim());
    if has_target(&sysroot) {
        return Ok(installed(&sysroot, "is installed"));
    }
    let refused_by_rustup = match add_target(&sysroot) {
        Ok(()) => return Ok(installed(&sysroot, "was added by rustup")),
        Err(reason) => reason,
    };
    println!("Rust guests: rustup cannot add {RUST_TARGET}; trying Debian's packages");
    match from_debian(workshop, &sysroot) {
        Ok(toolchain) => Ok(toolchain),
        Err(refused_by_debian) => bail!(
            "no Rust compiler for {RUST_TARGET}. Install the target:\n\
             \n    rustup target add {RUST_TARGET}\n\
             \nor, on Debian 12 or later without rustup's server:\n\
             \n    apt-get install {}\n\
             \nWhat was tried:\n  rustup: {refused_by_rustup:#}\n  Debian: {refused_by_debian:#}",
            DEBIAN_RUST.join(" "),
        ),
    }
}

fn installed(sysroot: &Path, how: &str) -> Toolchain {
    Toolchain {
        description: format!("{RUST_TARGET} {how}"),
        arguments: Vec::new(),
        environment: Vec::new(),
        component_linker: own_tool(sysroot, "wasm-component-ld"),
    }
}

fn has_target(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib")
        .join(RUST_TARGET)
        .join("lib")
        .is_dir()
}

/// Adds the target to the toolchain in use, if rustup owns that.
fn add_target(sysroot: &Path) -> Result<()> {
    let rustup = command::find("rustup").context("rustup is not installed")?;
    let toolchain = sysroot.file_name().context("the sysroot has a name")?;
    println!("Rust guests: rustup target add {RUST_TARGET}");
    let mut add = Command::new(rustup);
    add.args(["target", "add", RUST_TARGET, "--toolchain"])
        .arg(toolchain);
    command::run_within(&mut add, RUSTUP_TIMEOUT)?;
    if !has_target(sysroot) {
        bail!(
            "rustup added the target to another toolchain than {}",
            sysroot.display()
        );
    }
    Ok(())
}

/// Debian's compiler with the standard library built from its source:
/// Debian has no compiled one for this target.
fn from_debian(workshop: &Workshop, sysroot: &Path) -> Result<Toolchain> {
    let root = debian::provide(workshop, "rust", DEBIAN_RUST)?;
    let linker = match own_tool(sysroot, "rust-lld") {
        Some(linker) => linker,
        None => {
            debian::provide(workshop, "lld", DEBIAN_LINKER)?.join("usr/lib/llvm-19/bin/wasm-ld")
        }
    };
    let rustc = root.join("usr/bin/rustc");
    let version = command::run(debian::command(&rustc, &root).arg("--version"))?;
    let mut environment = debian::environment(&root);
    environment.push(("RUSTC".into(), rustc.into()));
    // -Zbuild-std is the one unstable option used, and only here.
    environment.push(("RUSTC_BOOTSTRAP".into(), "1".into()));
    let linker = linker.display();
    Ok(Toolchain {
        description: format!(
            "Debian's {} builds the standard library too, about a minute the first time",
            version.trim(),
        ),
        arguments: vec![
            "-Zbuild-std=std,panic_abort".to_owned(),
            "--config".to_owned(),
            format!("target.{RUST_TARGET}.linker='{linker}'"),
        ],
        environment,
        component_linker: own_tool(sysroot, "wasm-component-ld"),
    })
}

/// A tool that rustup's toolchains carry.
fn own_tool(sysroot: &Path, name: &str) -> Option<PathBuf> {
    let platforms = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    platforms
        .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
        .find(|candidate| candidate.is_file())
}
