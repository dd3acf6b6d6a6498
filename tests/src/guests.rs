//! Components for the servers under test: examples and hostile guests, built beforehand, and handlers
//! that a test writes.
//!
//! Never builds anything itself: `cargo xtask guests` knows how.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a member of the workspace")
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace().join(folder),
        None => workspace().join("target"),
    }
}

/// The file of a guest.
///
/// # Panics
/// When it has not been built, saying how to.
pub fn path(name: &str) -> PathBuf {
    let file = workspace()
        .join("target/guests")
        .join(format!("{name}.wasm"));
    assert!(
        file.is_file(),
        "{} is missing: run `cargo xtask guests` first",
        file.display()
    );
    file
}

/// The bytes of a guest.
pub fn bytes(name: &str) -> Vec<u8> {
    let file = path(name);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Builds a handler in Rust that a test has written, with the toolchain of the other guests, to where
/// its own `cargo build --release` would put it.
///
/// # Panics
/// When it does not compile, with what the compiler says.
pub fn build(folder: &Path) {
    let mut command = match std::env::var_os("XTASK_BIN") {
        // The task that runs these tests.
        Some(task) => repository_command(task),
        // It has to be compiled, which takes a while.
        None => {
            let mut run = repository_command(cargo());
            run.args(["run", "--quiet", "--package", "xtask", "--"]);
            run
        }
    };
    let output = command
        .args(["guests", "--folder"])
        .arg(folder)
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{}: {said}", folder.display());
}

/// The cargo that runs these tests.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A tool that works on the repository.
pub(crate) fn repository_command(program: OsString) -> Command {
    let mut command = Command::new(program);
    // What cargo tells this program about its own package: build scripts that look at it would be
    // run again, and all that depends on them compiled again.
    for (name, _) in std::env::vars_os() {
        let of_package = |prefix| name.to_string_lossy().starts_with(prefix);
        if of_package("CARGO_PKG_") || of_package("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command.current_dir(workspace());
    command
}
