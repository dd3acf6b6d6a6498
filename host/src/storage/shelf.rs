//! Where the open database stands: for a moment there is none, while it is opened again.
//!
//! Decides nothing about when; the thread that writes does. Says of every way in which opening fails
//! what would be right.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError};

use super::disk::{Disk, Health};
use super::{StorageError, StoragePlace, StorageSettings};

/// The database and how to open it.
pub(super) struct Shelf {
    settings: StorageSettings,
    health: Arc<Health>,
    /// Only the thread that writes takes it away and puts it back, and who gives the file away;
    /// others hold the lock while a transaction begins.
    database: RwLock<Option<Database>>,
    /// Whether another process has the file from now on.
    given_away: AtomicBool,
}

impl Shelf {
    /// Opens the database, or creates it.
    pub(super) fn open(settings: &StorageSettings, health: Arc<Health>) -> Result<Self, String> {
        let database = open(settings, &health)?;
        Ok(Self {
            settings: settings.clone(),
            health,
            database: RwLock::new(Some(database)),
            given_away: AtomicBool::new(false),
        })
    }

    /// As [`Shelf::open`], with every page compared with its checksum.
    pub(super) fn open_checked(settings: &StorageSettings) -> Result<Self, String> {
        // A damaged file can make redb break its own promises before it has seen the damage.
        let checked = catch_unwind(|| {
            let mut shelf = Self::open(settings, Arc::default())?;
            let database = shelf.database.get_mut();
            let database = database.unwrap_or_else(PoisonError::into_inner).as_mut();
            let was_sound = database.map_or(Ok(true), Database::check_integrity);
            let was_sound = was_sound.map_err(|error| damaged(&settings.place, &error))?;
            if !was_sound {
                tracing::warn!(place = %settings.place, "the storage was repaired");
            }
            Ok(shelf)
        });
        checked.unwrap_or_else(|_| Err(damaged(&settings.place, &"it panicked")))
    }

    /// Does something with the database, if it is open.
    pub(super) fn with<T, E: From<StorageError>>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let missing = || match self.is_given_away() {
            true => StorageError::given_away(),
            false => StorageError::closed(),
        };
        act(self.read().as_ref().ok_or_else(missing)?)
    }

    /// Closes the file for another process, when what is under way is done. What is in memory stays:
    /// nobody else could have it.
    pub(super) fn give_away(&self) {
        if self.settings.place != StoragePlace::Memory {
            self.given_away.store(true, Ordering::Release);
            drop(self.write().take());
        }
    }

    /// Opens the file that nobody took.
    pub(super) fn take_back(&self) -> Result<(), String> {
        if self.is_given_away() {
            self.reopen()?;
            self.given_away.store(false, Ordering::Release);
        }
        Ok(())
    }

    pub(super) fn is_given_away(&self) -> bool {
        self.given_away.load(Ordering::Acquire)
    }

    pub(super) fn is_open(&self) -> bool {
        self.read().is_some()
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Opens the database again after a failure, which ends all reading that is under way. Takes the
    /// longer the larger the file is, and holds up nobody meanwhile.
    pub(super) fn reopen(&self) -> Result<(), String> {
        drop(self.write().take());
        self.health.forget();
        let database = open(&self.settings, &self.health)?;
        *self.write() = Some(database);
        Ok(())
    }

    /// As [`Shelf::reopen`], for several threads that find the same failure: one of them does it, and
    /// the others wait for that.
    pub(super) fn reopen_once(&self) -> Result<(), String> {
        let mut database = self.write();
        if database.is_some() && !self.health.has_failed() {
            return Ok(());
        }
        drop(database.take());
        self.health.forget();
        *database = Some(open(&self.settings, &self.health)?);
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        let lock = self.database.write();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(settings: &StorageSettings, health: &Arc<Health>) -> Result<Database, String> {
    let mut builder = Database::builder();
    builder.set_cache_size(settings.cache_bytes);
    match &settings.place {
        StoragePlace::Memory => builder
            .create_with_backend(InMemoryBackend::new())
            .map_err(|error| format!("the storage in memory: {error}")),
        StoragePlace::File(file) => open_file(&mut builder, file, health),
    }
}

fn damaged(place: &StoragePlace, what: &dyn fmt::Display) -> String {
    format!(
        "the storage {place}: it is damaged ({what}); put a copy of it in its place, or move it \
         away to begin anew"
    )
}

fn open_file(builder: &mut Builder, file: &Path, health: &Arc<Health>) -> Result<Database, String> {
    let shown = file.display().to_string();
    let of_callback = shown.clone();
    builder.set_repair_callback(move |_| {
        tracing::warn!(
            file = of_callback,
            "the storage was not closed: checking it, which takes longer the larger it is"
        );
    });
    let opened = create(file).map_err(|error| wrong_file(file, &error));
    let at = |reason: String| format!("the storage {shown}: {reason}");
    let disk = Disk::new(opened.map_err(at)?, Arc::clone(health));
    let database = disk.and_then(|disk| builder.create_with_backend(disk));
    database.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => at(
            "another process has it open; end that one, or give each server a file of its own"
                .to_owned(),
        ),
        DatabaseError::UpgradeRequired(_) => {
            at("it has an older format, which this version cannot read".to_owned())
        }
        DatabaseError::Storage(redb::StorageError::Io(error)) => at(wrong_file(file, &error)),
        DatabaseError::Storage(redb::StorageError::Corrupted(what)) => {
            damaged(&StoragePlace::File(file.to_owned()), &what)
        }
        error => at(error.to_string()),
    })
}

fn create(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.open(file)
}

fn wrong_file(file: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "its folder does not exist; create it, or name another file".to_owned()
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "it cannot be read and written by this user; change its owner, or name another file"
                .to_owned()
        }
        ErrorKind::IsADirectory => "it is a folder; name a file in it".to_owned(),
        ErrorKind::InvalidData => no_database(file, error),
        _ => error.to_string(),
    }
}

/// Tells a file that never was a database from one that has lost its beginning.
fn no_database(file: &Path, error: &io::Error) -> String {
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    format!("it is no storage of Wharf ({bytes} bytes; {error}); name another file")
}
