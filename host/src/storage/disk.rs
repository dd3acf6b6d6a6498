//! The file under the database, as redb uses it: everything is passed on, and what has failed is
//! remembered.
//!
//! redb does nothing more with a file once any part of it has failed. Whether it may be opened again
//! depends on what that was, which its errors do not tell.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// What has failed since the file was opened.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed: AtomicBool,
    flush_failed: AtomicBool,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

impl Health {
    /// Whether redb has given up.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether nobody can say what is on the disk: the kernel may have dropped pages that it could
    /// not write, while it still shows them to who reads, and a second flush would say nothing of it.
    pub(super) fn is_doubtful(&self) -> bool {
        self.flush_failed.load(Ordering::Relaxed)
    }

    /// The file is opened again.
    pub(super) fn forget(&self) {
        self.failed.store(false, Ordering::Relaxed);
    }
}

/// A file and its health.
#[derive(Debug)]
pub(super) struct Disk {
    file: FileBackend,
    health: Arc<Health>,
}

impl Disk {
    pub(super) fn new(file: File, health: Arc<Health>) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(file)?;
        Ok(Self { file, health })
    }

    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.health.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// What a test wants to fail.
    fn check(&self, _does: Does) -> io::Result<()> {
        #[cfg(test)]
        self.health.faults.check(_does)?;
        Ok(())
    }
}

/// What is done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Read,
    Write,
    Resize,
    Flush,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.note(self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let checked = self.check(Does::Read);
        self.note(checked.and_then(|()| self.file.read(offset, out)))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let checked = self.check(Does::Resize);
        self.note(checked.and_then(|()| self.file.set_len(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let checked = self.check(Does::Flush);
        let outcome = checked.and_then(|()| self.file.sync_data());
        if outcome.is_err() {
            self.health.flush_failed.store(true, Ordering::Relaxed);
        }
        self.note(outcome)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let checked = self.check(Does::Write);
        self.note(checked.and_then(|()| self.file.write(offset, data)))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
