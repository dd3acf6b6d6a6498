//! Which guests there are: whatever lies under `examples` and `tests/guests`.
//! A guest is known by what is in its folder; there is no list to keep.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Builder, Workshop, c, javascript, rust};

/// One guest to build.
pub(super) struct Guest {
    /// The name of its folder, and of `target/guests/NAME.wasm`.
    pub(super) name: String,
    /// Its folder.
    pub(super) folder: PathBuf,
    /// What it is written in.
    pub(super) language: Language,
}

/// What a guest is written in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    C,
    JavaScript,
}

impl Language {
    pub(super) const ALL: [Language; 3] = [Language::Rust, Language::C, Language::JavaScript];

    /// Finds or fetches the language's tools.
    pub(super) fn builder(self, workshop: &Workshop) -> Result<Box<dyn Builder>> {
        Ok(match self {
            Language::Rust => Box::new(rust::Cargo::find(workshop)?),
            Language::C => Box::new(c::Compiler::find(workshop)?),
            Language::JavaScript => Box::new(javascript::QuickJs::find(workshop)?),
        })
    }

    /// The language of what is in a folder, `None` when it holds no guest.
    fn of(folder: &Path, name: &str) -> Option<Language> {
        let source = name.split('-').next().unwrap_or(name);
        let has = |file: &str| folder.join(file).is_file();
        if has("Cargo.toml") {
            Some(Language::Rust)
        } else if has(&format!("{source}.c")) {
            Some(Language::C)
        } else if has("package.json") {
            Some(Language::JavaScript)
        } else {
            None
        }
    }
}

/// All guests of the repository, by name.
pub(super) fn discover(root: &Path) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for parent in ["examples", "tests/guests"] {
        let parent = root.join(parent);
        if !parent.is_dir() {
            continue;
        }
        let entries =
            fs::read_dir(&parent).with_context(|| format!("reading {}", parent.display()))?;
        for entry in entries {
            let folder = entry?.path();
            let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if let Some(language) = Language::of(&folder, name) {
                guests.push(Guest {
                    name: name.to_owned(),
                    folder,
                    language,
                });
            }
        }
    }
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(guests)
}
