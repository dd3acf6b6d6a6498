//! What the tasks need from outside of cargo: found on the machine, else
//! installed into `target/tools`, else installed by Debian's packages, else
//! named in an error that says what to install. Versions are pinned in
//! tests/clients.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::process;

/// A Python environment with what tests/clients/requirements.txt names; the
/// path is its folder of programs.
pub(crate) fn python(root: &Path) -> anyhow::Result<PathBuf> {
    let wanted = root.join("tests/clients/requirements.txt");
    let folder = root.join("target/tools/python");
    let bin = folder.join("bin");
    if is_installed(&folder, &[&wanted]) {
        return Ok(bin);
    }
    let python = program(&["python3"], "python3")?;
    let made = Command::new(&python)
        .args(["-m", "venv"])
        .arg(&folder)
        .stdout(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        // Debian ships the module apart from Python.
        debian(&["python3-venv"])?;
        process::run(Command::new(&python).args(["-m", "venv"]).arg(&folder))?;
    }
    process::run(
        Command::new(bin.join("pip"))
            .args(["install", "--quiet", "--requirement"])
            .arg(&wanted),
    )?;
    mark_installed(&folder, &[&wanted])?;
    Ok(bin)
}

/// What tests/clients/package-lock.json names; the path is for NODE_PATH.
pub(crate) fn node_modules(root: &Path) -> anyhow::Result<PathBuf> {
    let clients = root.join("tests/clients");
    let wanted = [
        clients.join("package.json"),
        clients.join("package-lock.json"),
    ];
    let wanted = [wanted[0].as_path(), wanted[1].as_path()];
    let folder = root.join("target/tools/node");
    if !is_installed(&folder, &wanted) {
        program(&["node"], "nodejs")?;
        let npm = program(&["npm"], "npm")?;
        std::fs::create_dir_all(&folder)?;
        for file in wanted {
            std::fs::copy(file, folder.join(file.file_name().unwrap_or_default()))?;
        }
        process::run(
            Command::new(npm)
                .args(["ci", "--ignore-scripts", "--no-fund", "--no-audit"])
                .current_dir(&folder),
        )?;
        mark_installed(&folder, &wanted)?;
    }
    Ok(folder.join("node_modules"))
}

/// The first of the programs that the machine has; else Debian's package.
pub(crate) fn program(names: &[&str], package: &str) -> anyhow::Result<PathBuf> {
    if let Some(found) = names.iter().find_map(|name| on_path(name)) {
        return Ok(found);
    }
    debian(&[package])?;
    names
        .iter()
        .find_map(|name| on_path(name))
        .with_context(|| {
            format!(
                "`{}` is still missing after installing Debian's package {package}",
                names[0]
            )
        })
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Installs packages where that is allowed; the error says what to do instead.
pub(crate) fn debian(packages: &[&str]) -> anyhow::Result<()> {
    let names = packages.join(" ");
    if on_path("apt-get").is_none() {
        bail!(
            "missing: {names} (Debian's names). Install what your system calls them, then run this again."
        );
    }
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages);
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null());
        command
    };
    println!("installing {names}");
    let first = install()
        .stderr(Stdio::null())
        .status()
        .context("`apt-get` could not be started")?;
    if !first.success() {
        // The list of packages may be missing or old: fetch it and try again.
        let updated = Command::new("apt-get")
            .args(["update", "--quiet"])
            .stdout(Stdio::null())
            .status()?;
        if !updated.success() || !install().status()?.success() {
            bail!("`apt-get install {names}` failed. Run it as root, then run this again.");
        }
    }
    Ok(())
}

/// A folder is installed when it holds a copy of what asked for it.
fn is_installed(folder: &Path, wanted: &[&Path]) -> bool {
    wanted_text(wanted)
        .is_ok_and(|text| std::fs::read(folder.join("installed")).is_ok_and(|copy| copy == text))
}

fn mark_installed(folder: &Path, wanted: &[&Path]) -> anyhow::Result<()> {
    std::fs::write(folder.join("installed"), wanted_text(wanted)?)?;
    Ok(())
}

fn wanted_text(wanted: &[&Path]) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    for file in wanted {
        text.extend(std::fs::read(file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(text)
}
