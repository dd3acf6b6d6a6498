//! Rust guests: one cargo build each, all into one folder, so that what they
//! share is compiled once.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::guest::Guest;
use super::rust_toolchain::{self, Toolchain};
use super::versions::RUST_TARGET;
use super::{Builder, Built, Workshop, command};

/// 1 MiB, as Rust has it, and what most calls use of it.
const STACK_BYTES: usize = (1 << 20) + 1024;

/// Cargo with a compiler that can make guests.
pub(super) struct Cargo {
    toolchain: Toolchain,
}

impl Cargo {
    pub(super) fn find(workshop: &Workshop) -> Result<Cargo> {
        let toolchain = rust_toolchain::find(workshop)?;
        println!("Rust guests: {}", toolchain.description);
        Ok(Cargo { toolchain })
    }

    /// Cargo with a subcommand, told to compile for the guests' target.
    pub(super) fn command(&self, subcommand: &str) -> Command {
        let mut cargo = Command::new(rust_toolchain::cargo());
        // What the host's build was told must not reach the guest's.
        for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            cargo.env_remove(variable);
        }
        cargo
            .args([subcommand, "--target", RUST_TARGET])
            .args(&self.toolchain.arguments)
            .envs(
                self.toolchain
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        cargo
    }
}

/// The stack ends where the first page of variables begins, and both are touched by every call: what
/// is beyond a whole number of pages brings them into one page of each instance's memory.
fn linking() -> String {
    format!("target.{RUST_TARGET}.rustflags=['-Clink-arg=-zstack-size={STACK_BYTES}']")
}

/// What cargo calls the guest's file.
pub(super) fn file_name(guest: &Guest) -> String {
    format!("{}.wasm", guest.name.replace('-', "_"))
}

impl Cargo {
    /// Builds a guest with what links for the users' target, where the toolchain has that: it makes a
    /// component by itself, and refuses what this task's own encoder takes.
    pub(super) fn build_as_users_do(&self, workshop: &Workshop, guest: &Guest) -> Result<Built> {
        let Some(linker) = &self.toolchain.component_linker else {
            return Ok(Built::Core(self.compile(workshop, guest, "rust", &[])?));
        };
        let linker = format!("target.{RUST_TARGET}.linker='{}'", linker.display());
        // Cargo does not see that a linker is another one.
        let options = ["--config", &linker];
        let component = self.compile(workshop, guest, "rust-components", &options)?;
        Ok(Built::Component(component))
    }

    /// Compiles into a folder of that name; gives what was linked.
    fn compile(
        &self,
        workshop: &Workshop,
        guest: &Guest,
        folder: &str,
        options: &[&str],
    ) -> Result<Vec<u8>> {
        let folder = workshop.build.join(folder);
        let mut cargo = self.command("build");
        cargo
            .args(["--release", "--config", &linking()])
            .args(options)
            .arg("--target-dir")
            .arg(&folder)
            .arg("--manifest-path")
            .arg(guest.path.join("Cargo.toml"));
        command::run(&mut cargo)?;
        let path = folder
            .join(RUST_TARGET)
            .join("release")
            .join(file_name(guest));
        fs::read(&path).with_context(|| {
            format!(
                "reading {}: the crate must be a cdylib named as its folder",
                path.display()
            )
        })
    }
}

impl Builder for Cargo {
    fn build(&mut self, workshop: &Workshop, guest: &Guest) -> Result<Built> {
        Ok(Built::Core(self.compile(workshop, guest, "rust", &[])?))
    }
}
