//! Which guests need no build: a stamp beside each component says from what
//! it was made. It reads contents, not times, so a fresh clone that restores
//! `target` from a cache builds nothing.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Workshop;
use super::guest::{Guest, Language};

/// A digest of everything in the repository that a guest is made from: its
/// folder, the contract, the SDK and this builder.
pub(super) fn stamp(workshop: &Workshop, guest: &Guest) -> Result<String> {
    let root = &workshop.root;
    let mut sources = vec![
        guest.path.clone(),
        root.join("wit"),
        root.join("xtask/src/guests"),
    ];
    let sdk = match guest.language {
        Language::Rust => Some("rust"),
        Language::C => Some("c"),
        Language::JavaScript => Some("js"),
        Language::Text => None,
    };
    sources.extend(sdk.map(|name| root.join("guest-sdk").join(name)));
    let mut hasher = DefaultHasher::new();
    for source in sources {
        hash_tree(&source, &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Whether the component is there and was made from just this.
pub(super) fn is_fresh(workshop: &Workshop, guest: &Guest, stamp: &str) -> bool {
    component(workshop, guest).is_file()
        && fs::read_to_string(stamp_file(workshop, guest)).is_ok_and(|kept| kept == stamp)
}

/// Puts a component into its place, whole or not at all, and its stamp last.
pub(super) fn store(workshop: &Workshop, guest: &Guest, bytes: &[u8], stamp: &str) -> Result<()> {
    let path = component(workshop, guest);
    let partial = workshop.build.join(format!("{}.partial", guest.name));
    let write = || {
        fs::write(&partial, bytes)?;
        fs::rename(&partial, &path)?;
        fs::write(stamp_file(workshop, guest), stamp)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn component(workshop: &Workshop, guest: &Guest) -> PathBuf {
    workshop.out.join(format!("{}.wasm", guest.name))
}

fn stamp_file(workshop: &Workshop, guest: &Guest) -> PathBuf {
    workshop.build.join(format!("{}.stamp", guest.name))
}

fn hash_tree(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let name = path.file_name().unwrap_or_default();
    if name == "target" || name == "node_modules" || path.extension().is_some_and(|e| e == "wasm") {
        return Ok(());
    }
    name.hash(hasher);
    if path.is_dir() {
        let entries = fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
        let mut children: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        children.sort();
        for child in children {
            hash_tree(&child, hasher)?;
        }
    } else {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        bytes.hash(hasher);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(folder: &Path) -> u64 {
        let mut hasher = DefaultHasher::new();
        hash_tree(folder, &mut hasher).expect("the folder is there");
        hasher.finish()
    }

    #[test]
    fn a_digest_follows_sources_and_not_what_is_built() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("wharf-fresh-{}", std::process::id()));
        fs::create_dir_all(folder.join("target"))?;
        fs::write(folder.join("echo.c"), "one")?;
        let first = digest(&folder);
        fs::write(folder.join("target/echo.o"), "built")?;
        fs::write(folder.join("echo.wasm"), "built")?;
        assert_eq!(digest(&folder), first);
        fs::write(folder.join("echo.c"), "two")?;
        assert_ne!(digest(&folder), first);
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
