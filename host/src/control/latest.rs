//! How often the registry had changed, noted beside it: a registry that has fewer changes has lost
//! its end, and would serve an old version as if it were the current one.
//!
//! The note is written after the change, so it may be behind and never ahead.

use super::error::DeployError;
use super::files::Folder;
use super::sealed::{Reader, Writer};

/// The note lies in the folder itself.
const PART: &str = ".";
const NAME: &str = "latest";

/// Compares the registry with the note, and writes the note if it is not there or behind.
pub(super) fn check(folder: &Folder, changes: u64) -> Result<(), DeployError> {
    let noted = folder
        .read(PART, NAME)
        .map_err(|error| DeployError::disk("read the note of the latest change", &error))?;
    let noted = noted.and_then(|bytes| Reader::open(&bytes, NAME, "")?.number());
    match noted {
        Some(noted) if noted > changes => Err(DeployError::Damaged(format!(
            "the registry has {changes} changes and had {noted}: it lost its end, or is an old copy; \
             put the latest copy of it in its place, or remove the file `{NAME}` beside it to go on \
             from there"
        ))),
        Some(noted) if noted == changes => Ok(()),
        _ => write(folder, changes),
    }
}

/// Notes a change that is committed.
pub(super) fn write(folder: &Folder, changes: u64) -> Result<(), DeployError> {
    let sealed = Writer::default().number(changes).seal(NAME, "");
    folder
        .write(PART, NAME, &sealed, || ())
        .map_err(|error| DeployError::disk("note the latest change", &error))
}
