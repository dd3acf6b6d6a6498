//! What has changed in a handler's folder: looks at its files now and then, and compares.
//!
//! Reads no file and is told nothing by the kernel: a few thousand files are looked at in milliseconds,
//! and this works on every file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::shown;

/// Folders of what is built and fetched.
const SKIPPED: [&str; 2] = ["target", "node_modules"];
/// What cargo writes when it builds.
const LOCK: &str = "Cargo.lock";
/// Files that are looked at.
const FILES_MAX: usize = 10_000;

/// What differs when a file was written or replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds. Nobody can set it back, as that of the content.
    changed: (i64, i64),
}

impl From<Metadata> for Stamp {
    fn from(metadata: Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Files as they were; those that were not there are left out.
type Snapshot = BTreeMap<PathBuf, Stamp>;

/// The files that a handler is made of.
#[derive(Debug)]
pub(super) struct Watch {
    folder: PathBuf,
    /// The configuration and what else it reads, wherever that is.
    others: Vec<PathBuf>,
    config: PathBuf,
    components: Vec<PathBuf>,
    sources_seen: Snapshot,
    components_seen: Snapshot,
    /// What changed while the last build ran.
    written: BTreeSet<PathBuf>,
}

impl Watch {
    pub(super) fn new(folder: PathBuf, config: PathBuf) -> Self {
        Self {
            folder,
            others: Vec::new(),
            config: real(config),
            components: Vec::new(),
            sources_seen: Snapshot::new(),
            components_seen: Snapshot::new(),
            written: BTreeSet::new(),
        }
    }

    /// Also watches these: components for themselves, the others as sources.
    pub(super) fn follow(&mut self, components: Vec<PathBuf>, others: Vec<PathBuf>) {
        self.components = components.into_iter().map(real).collect();
        self.others = others.into_iter().map(real).collect();
        self.note_components();
    }

    /// Remembers the sources: a build begins.
    pub(super) fn note_sources(&mut self) -> Result<()> {
        self.sources_seen = self.sources()?;
        Ok(())
    }

    /// Remembers the components: they are about to be read.
    pub(super) fn note_components(&mut self) {
        self.components_seen = stamps(&self.components);
    }

    /// What was changed since the build began, and is in no build yet, in words. What had changed during
    /// the build before, too, the build itself has written.
    pub(super) fn changed_while_built(&mut self) -> Result<Option<String>> {
        let changed = self.take_changes()?;
        let news = changed.difference(&self.written);
        let news = news.filter(|file| !file.ends_with(LOCK)).cloned().collect();
        self.written = changed;
        Ok(self.words(&news))
    }

    /// What was changed since it was last asked for, in words.
    pub(super) fn changed_sources(&mut self) -> Result<Option<String>> {
        let changed = self.take_changes()?;
        Ok(self.words(&changed))
    }

    /// Which components were changed since they were published, in words.
    pub(super) fn changed_components(&mut self) -> Option<String> {
        let now = stamps(&self.components);
        let changed = differences(&self.components_seen, &now);
        self.components_seen = now;
        self.words(&changed)
    }

    fn take_changes(&mut self) -> Result<BTreeSet<PathBuf>> {
        let now = self.sources()?;
        let changed = differences(&self.sources_seen, &now);
        self.sources_seen = now;
        Ok(changed)
    }

    /// All files but components.
    fn sources(&self) -> Result<Snapshot> {
        let mut found = stamps(self.others.iter().chain([&self.config]));
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            // What cannot be read, or is gone by now, is not built either.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                if is_skipped(&path, kind.is_dir()) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(path);
                } else if let Ok(metadata) = fs::metadata(&path)
                    && metadata.is_file()
                {
                    found.insert(path, metadata.into());
                }
            }
            if found.len() > FILES_MAX {
                bail!(
                    "{} has more than {FILES_MAX} files beside `target`, `node_modules` and hidden ones: \
                     right is the folder of one handler",
                    self.folder.display()
                );
            }
        }
        for component in &self.components {
            found.remove(component);
        }
        Ok(found)
    }

    fn words(&self, changed: &BTreeSet<PathBuf>) -> Option<String> {
        let first = shown(changed.first()?, &self.folder);
        Some(match changed.len() {
            1 => format!("{first} has changed"),
            count => format!("{first} and {} more have changed", count - 1),
        })
    }
}

/// The one name of a file that has many, by which it is found in the folder, too.
fn real(file: PathBuf) -> PathBuf {
    file.canonicalize().unwrap_or(file)
}

fn is_skipped(path: &Path, is_folder: bool) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || is_folder && SKIPPED.contains(&&*name)
}

fn stamps<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Snapshot {
    let files = files.into_iter();
    let found = files.filter_map(|file| Some((file.clone(), fs::metadata(file).ok()?.into())));
    found.collect()
}

/// What is in one of them only, or differs.
fn differences(before: &Snapshot, after: &Snapshot) -> BTreeSet<PathBuf> {
    let all = before.keys().chain(after.keys());
    let changed = all.filter(|file| before.get(*file) != after.get(*file));
    changed.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, with these files.
    fn watch(name: &str, files: &[&str]) -> Watch {
        let folder =
            std::env::temp_dir().join(format!("wharf-watch-{name}-{}", std::process::id()));
        for file in files {
            write(&folder.join(file), "first");
        }
        let config = folder.join("wharf.toml");
        write(&config, "");
        let mut watch = Watch::new(folder, config);
        watch.note_sources().expect("few files");
        watch
    }

    fn write(file: &Path, content: &str) {
        fs::create_dir_all(file.parent().expect("a folder")).expect("it can be made");
        fs::write(file, content).expect("it can be written");
    }

    #[test]
    fn sources_are_noticed_and_what_is_built_is_not() {
        let files = [
            "src/a.rs",
            "target/a.o",
            "node_modules/b.js",
            ".git/HEAD",
            ".swp",
        ];
        let mut watch = watch("sources", &files);
        let folder = watch.folder.clone();
        let changed = |watch: &mut Watch| watch.changed_sources().expect("few files");
        assert_eq!(changed(&mut watch), None);
        for file in &files[1..] {
            write(&folder.join(file), "second");
        }
        assert_eq!(changed(&mut watch), None);
        write(&folder.join("src/a.rs"), "second");
        assert_eq!(changed(&mut watch).as_deref(), Some("src/a.rs has changed"));
        assert_eq!(changed(&mut watch), None);
        fs::remove_file(folder.join("src/a.rs")).expect("it is there");
        write(&folder.join("src/b.rs"), "new");
        let said = changed(&mut watch);
        assert_eq!(said.as_deref(), Some("src/a.rs and 1 more have changed"));
        fs::remove_dir_all(folder).expect("it is there");
    }

    #[test]
    fn a_component_is_watched_for_itself_wherever_it_lies() {
        let mut watch = watch("component", &["app.wasm", "target/app.wasm"]);
        let folder = watch.folder.clone();
        let components = ["app.wasm", "target/app.wasm"].map(|file| folder.join(file));
        watch.follow(components.to_vec(), Vec::new());
        watch.note_sources().expect("few files");
        for component in &components {
            write(component, "second");
            assert_eq!(watch.changed_sources().expect("few files"), None);
            let name = shown(component, &folder);
            let said = watch.changed_components();
            assert_eq!(said, Some(format!("{name} has changed")));
            assert_eq!(watch.changed_components(), None);
        }
        fs::remove_dir_all(folder).expect("it is there");
    }

    #[test]
    fn an_edit_during_a_build_is_news_and_what_each_build_writes_is_not() {
        let mut watch = watch("build", &["a.c"]);
        let folder = watch.folder.clone();
        let mut builds = 0;
        let mut build = |writes: &[&str]| {
            watch.note_sources().expect("few files");
            builds += 1;
            for file in writes {
                write(&folder.join(file), &"x".repeat(builds));
            }
            watch.changed_while_built().expect("few files")
        };
        assert_eq!(build(&["Cargo.lock"]), None, "cargo writes it");
        assert_eq!(build(&["a.o"]).as_deref(), Some("a.o has changed"));
        assert_eq!(build(&["a.o"]), None, "it has written it before");
        let said = build(&["a.o", "a.c"]);
        assert_eq!(said.as_deref(), Some("a.c has changed"));
        assert_eq!(build(&["a.o"]), None);
        fs::remove_dir_all(&folder).expect("it is there");
    }
}
