//! Which guests there are: whatever lies under `examples` and `tests/guests`.
//! A guest is known by what is in its folder; there is no list to keep.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Builder, Workshop, c, javascript, rust, text};

/// One guest to build.
pub(super) struct Guest {
    /// The name of its folder or file, and of `target/guests/NAME.wasm`.
    pub(super) name: String,
    /// Its folder, or its only file.
    pub(super) path: PathBuf,
    /// What it is written in.
    pub(super) language: Language,
}

/// What a guest is written in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    C,
    JavaScript,
    /// WebAssembly's own text: deeds that no compiler would write.
    Text,
}

impl Language {
    pub(super) const ALL: [Language; 4] = [
        Language::Rust,
        Language::C,
        Language::JavaScript,
        Language::Text,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::C => "C",
            Language::JavaScript => "JavaScript",
            Language::Text => "text",
        }
    }

    /// Finds or fetches the language's tools.
    pub(super) fn builder(self, workshop: &Workshop) -> Result<Box<dyn Builder>> {
        Ok(match self {
            Language::Rust => Box::new(rust::Cargo::find(workshop)?),
            Language::C => Box::new(c::Compiler::find(workshop)?),
            Language::JavaScript => Box::new(javascript::QuickJs::find()?),
            Language::Text => Box::new(text::Assembler),
        })
    }

    /// The language of a folder or a file, `None` when it is no guest.
    fn of(path: &Path, name: &str) -> Option<Language> {
        let source = main_source(name);
        let has = |file: &str| path.join(file).is_file();
        if has("Cargo.toml") {
            Some(Language::Rust)
        } else if has(&format!("{source}.c")) {
            Some(Language::C)
        } else if has("package.json") {
            Some(Language::JavaScript)
        } else if path.extension().is_some_and(|extension| extension == "wat") {
            Some(Language::Text)
        } else {
            None
        }
    }
}

/// The file in which a guest begins, without its ending: `echo-c` begins in
/// `echo.c`.
pub(super) fn main_source(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// The guest in Rust that lies in that folder, wherever it is.
pub(super) fn in_rust(folder: &Path) -> Result<Guest> {
    let path = folder
        .canonicalize()
        .with_context(|| folder.display().to_string())?;
    if !path.join("Cargo.toml").is_file() {
        bail!(
            "{} has no Cargo.toml: right is the folder of a handler in Rust",
            path.display()
        );
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name of a crate", path.display()))?;
    Ok(Guest {
        name: name.to_owned(),
        path,
        language: Language::Rust,
    })
}

/// All guests of the repository, by name.
pub(super) fn discover(root: &Path) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for parent in ["examples", "tests/guests"] {
        let parent = root.join(parent);
        let entries =
            fs::read_dir(&parent).with_context(|| format!("reading {}", parent.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
                continue;
            };
            if let Some(language) = Language::of(&path, name) {
                guests.push(Guest {
                    name: name.to_owned(),
                    path,
                    language,
                });
            }
        }
    }
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(guests)
}
