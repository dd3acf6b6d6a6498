//! Debian's packages without installing them: downloaded by apt, which checks
//! their signatures, and unpacked into `target/toolchain`. So it needs no
//! rights, changes nothing on the machine, and works the same for everybody.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Workshop, command};

/// The folder in which these packages and what they need are unpacked: `/`
/// when they are all installed.
pub(super) fn provide(workshop: &Workshop, set: &str, packages: &[&str]) -> Result<PathBuf> {
    if packages.iter().all(|package| is_installed(package)) {
        return Ok(PathBuf::from("/"));
    }
    let root = workshop.toolchain.join(set);
    if root.is_dir() {
        return Ok(root);
    }
    for tool in ["apt-get", "dpkg-deb"] {
        command::find(tool).with_context(|| format!("{tool} is not here: not a Debian system"))?;
    }
    let _apt = workshop.apt.lock().expect("no lane panics");
    println!("fetching from Debian: {}", packages.join(" "));
    let downloads = download(workshop, packages)?;
    let unpacked = workshop.toolchain.join(format!("{set}.partial"));
    remove(&unpacked)?;
    fs::create_dir_all(&unpacked)?;
    for package in files(&downloads)? {
        command::run(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(package)
                .arg(&unpacked),
        )?;
    }
    remove(&downloads)?;
    fs::rename(&unpacked, &root)?;
    Ok(root)
}

/// A program out of such a folder, able to find its libraries there.
pub(super) fn command(program: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.envs(environment(root));
    command
}

/// What a program out of such a folder needs in its environment.
pub(super) fn environment(root: &Path) -> Vec<(OsString, OsString)> {
    if root == Path::new("/") {
        return Vec::new();
    }
    let libraries = files(&root.join("usr/lib")).unwrap_or_default();
    let libraries = libraries
        .into_iter()
        .filter(|f| f.to_string_lossy().ends_with("-linux-gnu"));
    vec![
        prepended("LD_LIBRARY_PATH", libraries.collect()),
        prepended("PATH", vec![root.join("usr/bin")]),
    ]
}

/// A variable that lists folders, with these before those that it has.
fn prepended(variable: &str, mut folders: Vec<PathBuf>) -> (OsString, OsString) {
    let inherited = std::env::var_os(variable).unwrap_or_default();
    folders.extend(std::env::split_paths(&inherited));
    (
        variable.into(),
        std::env::join_paths(folders).unwrap_or(inherited),
    )
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    command::run(&mut query).is_ok_and(|status| status == "installed")
}

/// Downloads the packages and all that they need and the machine lacks.
fn download(workshop: &Workshop, packages: &[&str]) -> Result<PathBuf> {
    let apt = workshop.toolchain.join("apt");
    let (lists, cache) = (apt.join("lists"), apt.join("cache"));
    let archives = cache.join("archives");
    fs::create_dir_all(lists.join("partial"))?;
    fs::create_dir_all(archives.join("partial"))?;
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command
            .arg(format!("-oDir::State::Lists={}", lists.display()))
            .arg(format!("-oDir::Cache={}", cache.display()))
            // Folders of our own need neither apt's lock nor its user.
            .args([
                "-oDebug::NoLocking=1",
                "-oAPT::Sandbox::User=root",
                "--quiet",
                "--assume-yes",
            ])
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // A hook of the machine's may fail although the lists are there: what
    // counts is whether the packages come.
    let updated = command::run(apt_get().arg("update"));
    let mut install = apt_get();
    install.args(["install", "--download-only", "--no-install-recommends"]);
    install.arg("--reinstall").args(packages);
    match (command::run(&mut install), updated) {
        (Ok(_), _) => {}
        (Err(failure), Ok(_)) => return Err(failure),
        (Err(failure), Err(cause)) => return Err(failure.context(cause)),
    }
    if files(&archives)?.is_empty() {
        bail!("apt-get downloaded nothing for {}", packages.join(" "));
    }
    Ok(archives)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "partial") {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}
