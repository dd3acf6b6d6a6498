//! Components for the servers under test: examples and hostile guests, built beforehand.
//!
//! Never builds anything itself: `cargo xtask guests` knows how.

use std::path::{Path, PathBuf};

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
