//! The folder of the deployments: files that are written once, whole or not at all, and are there
//! after a crash when the call has returned. Knows nothing of what is in them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::id::random_u64;

/// Nobody but the server reads or writes there.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A folder that only the server writes in.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Where files are written before they get their names; on the same disk.
    drafts: PathBuf,
}

/// A file without its name yet; removed if it does not get one.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    pub(super) file: File,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Renamed, it is not there any more. What cannot be removed is at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

impl Folder {
    /// Makes the folders, if they are not there, and takes them away from everybody else.
    pub(super) fn open(path: &Path, parts: &[&str]) -> io::Result<Self> {
        let drafts = path.join("drafts");
        let folders = parts.iter().map(|part| path.join(part));
        for folder in [path.to_owned(), drafts.clone()].into_iter().chain(folders) {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(FOLDER_MODE).create(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(FOLDER_MODE))?;
        }
        Ok(Self {
            path: path.to_owned(),
            drafts,
        })
    }

    /// Removes what a crash has left half-written. Nobody else may be at work.
    pub(super) fn clear_drafts(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.drafts)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// A new, empty file.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        let path = self.drafts.join(format!("{:016x}", random_u64()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.mode(FILE_MODE).open(&path)?;
        Ok(Draft { path, file })
    }

    /// Gives a draft its name in a part of the folder, in place of what has it; durable on return.
    pub(super) fn keep(&self, draft: &Draft, part: &str, name: &str) -> io::Result<()> {
        draft.file.sync_all()?;
        let part = self.path.join(part);
        fs::rename(&draft.path, part.join(name))?;
        File::open(part)?.sync_all()
    }

    /// Writes a file; durable on return. `written` is called before it has its name.
    pub(super) fn write(
        &self,
        part: &str,
        name: &str,
        bytes: &[u8],
        written: impl FnOnce(),
    ) -> io::Result<()> {
        let mut draft = self.draft()?;
        draft.file.write_all(bytes)?;
        written();
        self.keep(&draft, part, name)
    }

    /// The whole file, if it is there and not larger than it may be.
    pub(super) fn read(&self, part: &str, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path.join(part).join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file to read from its beginning, if it is there.
    pub(super) fn open_file(&self, part: &str, name: &str) -> io::Result<File> {
        File::open(self.path.join(part).join(name))
    }

    /// The names in a part of the folder.
    pub(super) fn names(&self, part: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path.join(part))? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// Removes a file; nothing if it is not there.
    pub(super) fn remove(&self, part: &str, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(part).join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
