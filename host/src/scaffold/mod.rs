//! `wharf new`: a folder with a handler in Rust, ready to be built and served.
//!
//! Writes files and nothing else: it calls no compiler and reads no network.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

/// Where the SDK lies in the sources that this program was built from.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/rust");

/// What the SDK is called there. No program has two of one name.
const SDK_CRATE: &str = "wharf-guest";

const HANDLER: &str = include_str!("handler.rs.txt");
const CONFIG: &str = include_str!("server.toml.txt");
const MANIFEST: &str = include_str!("wharf.toml.txt");
const README: &str = include_str!("readme.md.txt");
const CARGO: &str = "\
[package]
name = \"@NAME@\"
version = \"0.1.0\"
edition = \"2024\"

# A workspace of its own, wherever the folder lies.
[workspace]

[lib]
crate-type = [\"cdylib\"]

[dependencies]
wharf-guest = { path = \"@SDK@\" }

[profile.release]
opt-level = 3
lto = true
codegen-units = 1
panic = \"abort\"
strip = true
";
/// The stack as the SDK's README explains it.
const TARGET: &str = "\
[build]
target = \"wasm32-wasip2\"

[target.wasm32-wasip2]
rustflags = [\"-Clink-arg=-zstack-size=1049600\"]
";

/// What `wharf new` is told.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The folder to make, and the handler's name: letters, digits, `-` and `_`.
    path: PathBuf,
    /// The folder of the SDK, `guest-sdk/rust` in Wharf's sources; by default that of the sources
    /// that this program was built from.
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

/// Makes the folder; says what to do next.
pub(crate) fn run(new: &New) -> Result<String> {
    let name = new.path.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| is_name(name)).with_context(|| {
        format!(
            "{} is no name of a handler: right are letters, digits, `-` and `_`, a letter first",
            new.path.display()
        )
    })?;
    if name.replace('_', "-") == SDK_CRATE {
        bail!("{name} is the name of the SDK, which the handler depends on: right is another one");
    }
    let sdk = sdk(new.sdk.as_deref())?;
    if new.path.exists() {
        bail!("{} is there already", new.path.display());
    }
    let fill = |text: &str| {
        text.replace("@NAME@", name)
            .replace("@CRATE@", &name.replace('-', "_"))
            .replace("@SDK@", &sdk)
    };
    for (file, text) in [
        ("Cargo.toml", fill(CARGO)),
        (".cargo/config.toml", TARGET.to_owned()),
        (".gitignore", "target\n".to_owned()),
        ("README.md", fill(README)),
        ("src/lib.rs", HANDLER.to_owned()),
        ("server.toml", fill(CONFIG)),
        ("wharf.toml", MANIFEST.to_owned()),
    ] {
        let path = new.path.join(file);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            fs::write(&path, text)
        };
        write().with_context(|| format!("writing {}", path.display()))?;
    }
    let folder = new.path.display();
    Ok(format!(
        "{folder} is a handler. Build and serve it, and again whenever you save a file:\n\n    \
         cd {folder}\n    rustup target add wasm32-wasip2\n    wharf dev"
    ))
}

/// A name that cargo takes, and that needs no quotes in a file.
fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || one == '-' || one == '_')
}

fn sdk(given: Option<&Path>) -> Result<String> {
    let folder = given.unwrap_or(Path::new(SDK));
    let found = fs::canonicalize(folder).ok();
    let found = found.filter(|folder| folder.join("src/lib.rs").is_file());
    let found = found.with_context(|| {
        format!(
            "there is no SDK in {}: right is `--sdk PATH/TO/wharf/guest-sdk/rust`, a folder of \
             Wharf's sources",
            folder.display()
        )
    })?;
    let text = found.to_str().context("the SDK's path is no UTF-8")?;
    if text.contains(['"', '\\', '\n']) {
        bail!("the SDK's path cannot stand in a Cargo.toml: {text:?}");
    }
    Ok(text.to_owned())
}
