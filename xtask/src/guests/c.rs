//! C guests: bindings from the contract, then one compiler call. The compiler
//! is the WASI SDK's, Debian's or Zig's, whichever is there or can be fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use wit_bindgen_core::Files;

use super::guest::Guest;
use super::versions::{DEBIAN_C, ZIG};
use super::{Builder, Built, Workshop, command, component, debian};

/// A C compiler for wasm.
pub(super) enum Compiler {
    /// clang with a C library of its own or at `sysroot`.
    Clang {
        clang: PathBuf,
        sysroot: Option<PathBuf>,
        root: PathBuf,
    },
    /// Zig, which brings its C library.
    Zig { zig: PathBuf, cache: PathBuf },
}

impl Compiler {
    /// Takes the first way that works.
    pub(super) fn find(workshop: &Workshop) -> Result<Compiler> {
        if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
            println!("C guests: the WASI SDK");
            let clang = Path::new(&sdk).join("bin/clang");
            return Ok(Compiler::Clang {
                clang,
                sysroot: None,
                root: PathBuf::from("/"),
            });
        }
        let refused_by_debian = match debian::provide(workshop, "c", DEBIAN_C) {
            Ok(root) => {
                println!("C guests: Debian's clang 19");
                let sysroot = (root != Path::new("/")).then(|| root.join("usr"));
                return Ok(Compiler::Clang {
                    clang: root.join("usr/bin/clang-19"),
                    sysroot,
                    root,
                });
            }
            Err(reason) => reason,
        };
        println!("C guests: no packages from Debian; trying {ZIG} from Python's registry");
        match zig(workshop) {
            Ok(zig) => Ok(Compiler::Zig {
                zig,
                cache: workshop.toolchain.join("zig-cache"),
            }),
            Err(refused_by_pip) => bail!(
                "no C compiler for wasm. Install one of:\n\
                 \n    apt-get install {}     (Debian 12 or later)\
                 \n    python3 -m pip install {ZIG}     (anywhere)\
                 \n    the WASI SDK, and set WASI_SDK_PATH\n\
                 \nWhat was tried:\n  Debian: {refused_by_debian:#}\n  pip: {refused_by_pip:#}",
                DEBIAN_C.join(" "),
            ),
        }
    }

    fn command(&self) -> Command {
        match self {
            Compiler::Clang {
                clang,
                sysroot,
                root,
            } => {
                let mut command = debian::command(clang, root);
                command.args(["-flto", "-Wl,--strip-all"]);
                if let Some(sysroot) = sysroot {
                    command.arg(format!("--sysroot={}", sysroot.display()));
                }
                command
            }
            Compiler::Zig { zig, cache } => {
                let mut command = Command::new(zig);
                // Without the stack size Zig reserves 16 MB of memory.
                command.args(["cc", "-s", "-Wl,-z,stack-size=65536"]);
                command
                    .env("ZIG_GLOBAL_CACHE_DIR", cache)
                    .env("ZIG_LOCAL_CACHE_DIR", cache);
                command
            }
        }
    }
}

impl Builder for Compiler {
    fn build(&mut self, workshop: &Workshop, guest: &Guest) -> Result<Built> {
        let folder = workshop.build.join("c").join(&guest.name);
        let bindings = bindings(workshop, guest, &folder)?;
        let module = folder.join("core.wasm");
        let mut compile = self.command();
        compile
            .args([
                "--target=wasm32-wasi",
                "-mexec-model=reactor",
                "-Os",
                "-Wall",
                "-Wextra",
            ])
            .arg(format!("-I{}", folder.display()))
            .arg(format!("-I{}", workshop.root.join("guest-sdk/c").display()))
            .args(sources(&guest.path)?)
            .args(bindings)
            .arg("-o")
            .arg(&module);
        command::run(&mut compile)?;
        Ok(Built::Core(fs::read(&module).with_context(|| {
            format!("reading {}", module.display())
        })?))
    }
}

/// Writes the C bindings of the contract; returns what is to be compiled.
fn bindings(workshop: &Workshop, guest: &Guest, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let own = Some(guest.path.join("world.wit")).filter(|file| file.is_file());
    let (mut resolve, world) = component::contract(workshop, own.as_deref())?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)?;
    let mut compiled = Vec::new();
    for (name, contents) in files.iter() {
        let path = folder.join(name);
        fs::write(&path, contents)?;
        if !name.ends_with(".h") {
            compiled.push(path);
        }
    }
    Ok(compiled)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut sources: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "c"))
        .collect();
    sources.sort();
    Ok(sources)
}

fn zig(workshop: &Workshop) -> Result<PathBuf> {
    let root = workshop.toolchain.join("zig");
    let zig = root.join("ziglang/zig");
    if !zig.is_file() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&root)
            .arg(ZIG);
        command::run(&mut pip)?;
    }
    Ok(zig)
}
