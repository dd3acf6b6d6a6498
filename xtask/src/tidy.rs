//! `cargo xtask tidy`: the rules of the repository that neither the compiler
//! nor clippy holds. Every finding names its file and line and says what
//! would be right. It reads the files that git knows or would add, changes
//! none, and looks at text only: it does not expand macros.

mod layers;
mod links;
mod masked;
mod settings;
mod sizes;
mod words;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::outcome::Outcome;

/// A broken rule: where, and what would be right.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// One file of the tree, as the rules see it.
struct Source {
    /// From the root of the repository, with forward slashes.
    path: String,
    text: String,
}

/// Checks the whole tree; each file counts as one check.
pub(crate) fn run(root: &Path) -> anyhow::Result<Outcome> {
    let sources = sources(root)?;
    let mut findings = Vec::new();
    let architecture = sources
        .iter()
        .find(|source| source.path == "ARCHITECTURE.md")
        .context("ARCHITECTURE.md is missing: it holds the table of layers")?;
    let table = layers::Table::parse(&architecture.text)?;
    for source in &sources {
        sizes::check(source, &mut findings);
        words::check(source, &mut findings);
        links::check(root, source, &mut findings);
        table.check(source, &mut findings);
    }
    settings::check(&sources, &mut findings);
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    for finding in &findings {
        println!("{finding}");
    }
    let mut untidy: Vec<_> = findings.iter().map(|finding| &finding.file).collect();
    untidy.dedup();
    println!(
        "tidy: {} files read, {} findings",
        sources.len(),
        findings.len()
    );
    Ok(Outcome::of_counts(
        sources.len() - untidy.len(),
        untidy.len(),
    ))
}

fn sources(root: &Path) -> anyhow::Result<Vec<Source>> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root)
        .output()
        .context("`git ls-files` could not be started: tidy needs git and a clone")?;
    ensure!(
        listed.status.success(),
        "`git ls-files` failed: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
    let mut sources = Vec::new();
    for path in names.split_terminator('\0') {
        // Listed but deleted in the work tree, or not text: no concern of ours.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}
