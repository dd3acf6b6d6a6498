//! The one embedded database of a server: opens it, reads from any thread, and writes in groups.
//!
//! Knows no keys and no values: the domains above it own their tables. A write is durable when its
//! future resolves. A thread of its own takes the writes of all workers and commits whatever has
//! come together in one transaction, so that all of them share one flush to the disk.

mod disk;
mod settings;
mod shelf;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::disk::Health;
pub use self::settings::{StoragePlace, StorageSettings};
use self::shelf::Shelf;
use self::writer::{Job, Nudge, Pending, Writer};

/// What the file holds, by name: so far only the version of its tables.
const META: TableDefinition<&str, u64> = TableDefinition::new("wharf");
/// Where the version stands in [`META`].
const FORMAT_KEY: &str = "format";
/// The version of the tables that this server reads and writes.
const FORMAT: u64 = 1;

/// What waits to be written, of all workers together. Who finds it full waits for room, and its
/// guest with it: the call's wall time ends a longer wait.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// The room is handed out in pieces of this size.
const PIECE_BYTES: usize = 1 << 10;
/// What a write costs beyond its value: its key and the job itself.
const WRITE_COST_BYTES: usize = 4 << 10;

/// The database could not do its part. The operator finds the reason in the log; a guest is told
/// only that it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorageError(Arc<str>);

impl fmt::Display for StorageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StorageError {}

impl StorageError {
    fn closed() -> Self {
        Self("the storage has failed and is not open again".into())
    }

    fn given_away() -> Self {
        Self("the storage is another process's: this one's successor has it".into())
    }

    fn ended() -> Self {
        Self("the storage has ended".into())
    }
}

macro_rules! from_redb {
    ($($error:ty),+) => {$(
        impl From<$error> for StorageError {
            fn from(error: $error) -> Self {
                Self(error.to_string().into())
            }
        }
    )+};
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError
);

/// The database of a server; a clone means the same one. It ends when the last clone is gone.
#[derive(Clone)]
pub(crate) struct Storage {
    shelf: Arc<Shelf>,
    jobs: mpsc::Sender<Box<dyn Job>>,
    room: Arc<Semaphore>,
    failure: Arc<Failure>,
}

/// Tells the operator that the database fails, once until it is open again: whoever asks it meanwhile
/// hears the same.
#[derive(Default)]
struct Failure {
    is_told: AtomicBool,
}

impl Failure {
    /// Whether this is news.
    fn report(&self, error: &StorageError) -> bool {
        let is_news = !self.is_told.swap(true, Ordering::Relaxed);
        if is_news {
            tracing::error!("the storage fails, and what needs it with it: {error}");
        }
        is_news
    }

    /// What fails from now on is news.
    fn forget(&self) {
        self.is_told.store(false, Ordering::Relaxed);
    }
}

/// Room among the writes that wait; given back when the write is done.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Storage {
    /// Opens the database, creates it if it is not there, and starts its thread, which ends when
    /// the last clone of the handle is gone and everything is written.
    ///
    /// # Errors
    /// Where the database is and what hinders, with what would be right.
    pub(crate) fn open(settings: &StorageSettings) -> Result<(Self, JoinHandle<()>), String> {
        Self::open_on(settings, Arc::default())
    }

    fn open_on(
        settings: &StorageSettings,
        health: Arc<Health>,
    ) -> Result<(Self, JoinHandle<()>), String> {
        let (storage, inlet) = Self::of(Shelf::open(settings, health)?, settings)?;
        let (shelf, failure) = (Arc::clone(&storage.shelf), Arc::clone(&storage.failure));
        let mut writer = Writer::new(shelf, failure);
        let thread = std::thread::Builder::new()
            .name("wharf-storage".into())
            .spawn(move || writer.run(&inlet))
            .map_err(|error| format!("a thread for the storage: {error}"))?;
        Ok((storage, thread))
    }

    /// A small database that must not be wrong: every page is compared with its checksum. It has no
    /// thread: all writes are [`Storage::write_blocking`], and it is closed with the last handle.
    pub(crate) fn open_checked(settings: &StorageSettings) -> Result<Self, String> {
        Ok(Self::of(Shelf::open_checked(settings)?, settings)?.0)
    }

    fn of(
        shelf: Shelf,
        settings: &StorageSettings,
    ) -> Result<(Self, mpsc::Receiver<Box<dyn Job>>), String> {
        shelf
            .with(|database| Ok(check_format(database)))
            .map_err(|error: StorageError| error.to_string())
            .and_then(|checked| checked)
            .map_err(|reason| format!("the storage {}: {reason}", settings.place))?;
        let (jobs, inlet) = mpsc::channel();
        let storage = Self {
            shelf: Arc::new(shelf),
            jobs,
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX / PIECE_BYTES)),
            failure: Arc::default(),
        };
        Ok((storage, inlet))
    }

    /// Opens a database without a thread again after a failure of its disk, unless its flush has
    /// failed: see the thread that writes.
    pub(crate) fn mend(&self) {
        let health = self.shelf.health();
        let has_failed = health.has_failed() || !self.shelf.is_open();
        if !has_failed || health.is_doubtful() || self.shelf.is_given_away() {
            return;
        }
        match self.shelf.reopen_once() {
            Ok(()) => tracing::warn!("the storage was opened again after a failure of its disk"),
            Err(reason) => tracing::warn!("the storage cannot be opened again yet: {reason}"),
        }
    }

    /// What is committed now, and stays so while the transaction lives.
    pub(crate) fn read(&self) -> Result<ReadTransaction, StorageError> {
        self.shelf.with(|database| Ok(database.begin_read()?))
    }

    /// Closes the file, so that another process may open it; whoever asks for something from now on
    /// is refused. Waits for the writes that are under way.
    pub(crate) fn give_away(&self) {
        self.shelf.give_away();
    }

    /// Opens the file again that was given away.
    ///
    /// # Errors
    /// Where it is and what hinders.
    pub(crate) fn take_back(&self) -> Result<(), String> {
        self.shelf.take_back()
    }

    /// What was read is not to be had: tells the operator, the first time, and sees to it that the
    /// database is opened again.
    pub(crate) fn report(&self, error: &StorageError) {
        if self.shelf.is_given_away() {
            return;
        }
        if self.failure.report(error) {
            // The thread lives as long as this handle.
            let _ = self.jobs.send(Box::new(Nudge));
        }
    }

    /// Waits until a value of so many bytes may wait to be written. The caller copies it only then.
    pub(crate) async fn room_for(&self, bytes: usize) -> Room {
        let pieces = (bytes + WRITE_COST_BYTES).min(WAITING_BYTES_MAX) / PIECE_BYTES;
        let pieces = u32::try_from(pieces).expect("all the room has fewer pieces");
        let permit = Arc::clone(&self.room).acquire_many_owned(pieces).await;
        Room {
            _permit: permit.expect("the semaphore is never closed"),
        }
    }

    /// Does some work in a transaction, together with that of others; resolves when it is durable.
    /// The work is done even if nobody waits for its outcome any more.
    ///
    /// An error of the work takes the whole group back, so it stands for a broken database only:
    /// what the work itself decides against is an outcome.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        room: Room,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (reply, outcome) = oneshot::channel();
        let job = Box::new(Pending::new(work, reply, room));
        self.jobs.send(job).map_err(|_| StorageError::ended())?;
        outcome.await.map_err(|_| StorageError::ended())?
    }

    /// As [`Storage::write`], for a thread that may stand still: in a transaction of its own, so
    /// that an error of the work takes back its own changes and nothing else.
    pub(crate) fn write_blocking<T, E: From<StorageError>>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.shelf.with(|database| {
            let transaction = database.begin_write().map_err(StorageError::from)?;
            let outcome = work(&transaction)?;
            transaction.commit().map_err(StorageError::from)?;
            Ok(outcome)
        })
    }
}

/// Marks a new database and refuses one that another version has written.
fn check_format(database: &Database) -> Result<(), String> {
    let found = (|| {
        let transaction = database.begin_write()?;
        let found = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(FORMAT_KEY)?.map(|guard| guard.value());
            if found.is_none() {
                meta.insert(FORMAT_KEY, FORMAT)?;
            }
            found.unwrap_or(FORMAT)
        };
        transaction.commit()?;
        Ok::<_, StorageError>(found)
    })();
    match found {
        Ok(FORMAT) => Ok(()),
        Ok(other) => Err(format!(
            "its tables have version {other}, and this server knows version {FORMAT} only"
        )),
        Err(error) => Err(error.to_string()),
    }
}
