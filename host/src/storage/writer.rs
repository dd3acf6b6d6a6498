//! The thread that writes: takes what has come together, does all of it in one transaction, and
//! answers when that is durable. Never waits for more than what is there.
//!
//! After a failure of the disk it opens the database again and tries after 1 s, 2 s and so on up to
//! 32 s whether it can write; until then writes are refused at once, and what is there can be read.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::WriteTransaction;
use tokio::sync::oneshot;

use super::shelf::Shelf;
use super::{Failure, Room, StorageError};

/// How long nothing is written after a first failure; twice as long after each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(32);

/// Writes in one transaction. More would only make the first of them wait longer.
const GROUP_MAX: usize = 1_024;

/// A write that waits.
pub(super) trait Job: Send {
    /// Does its part of the transaction.
    fn apply(&mut self, transaction: &WriteTransaction) -> Result<(), StorageError>;
    /// Says what came of it.
    fn answer(self: Box<Self>, committed: Result<(), StorageError>);
}

/// A write with whoever waits for its outcome.
pub(super) struct Pending<T, W> {
    work: Option<W>,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, StorageError>>,
    /// Given back when the job is dropped, so after it is written.
    _room: Room,
}

impl<T, W> Pending<T, W> {
    pub(super) fn new(
        work: W,
        reply: oneshot::Sender<Result<T, StorageError>>,
        room: Room,
    ) -> Self {
        Self {
            work: Some(work),
            outcome: None,
            reply,
            _room: room,
        }
    }
}

impl<T, W> Job for Pending<T, W>
where
    T: Send,
    W: FnOnce(&WriteTransaction) -> Result<T, StorageError> + Send,
{
    fn apply(&mut self, transaction: &WriteTransaction) -> Result<(), StorageError> {
        let work = self.work.take().expect("a job is applied once");
        self.outcome = Some(work(transaction)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StorageError>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => Ok(outcome),
            (Ok(()), None) => Err(StorageError::ended()),
            (Err(error), _) => Err(error),
        };
        // Whoever asked may have been cut off meanwhile; the write stands all the same.
        let _ = self.reply.send(outcome);
    }
}

/// Nothing to write: something failed, and the thread is to see to it.
pub(super) struct Nudge;

impl Job for Nudge {
    fn apply(&mut self, _: &WriteTransaction) -> Result<(), StorageError> {
        Ok(())
    }

    fn answer(self: Box<Self>, _: Result<(), StorageError>) {}
}

/// After a failure: nothing is written for a while, so that what is there can be read meanwhile.
struct Pause {
    until: Instant,
    length: Duration,
    why: StorageError,
}

/// What the thread works with.
pub(super) struct Writer {
    shelf: Arc<Shelf>,
    failure: Arc<Failure>,
    pause: Option<Pause>,
}

impl Writer {
    pub(super) fn new(shelf: Arc<Shelf>, failure: Arc<Failure>) -> Self {
        Self {
            shelf,
            failure,
            pause: None,
        }
    }

    /// Writes until the last handle to the storage is gone.
    pub(super) fn run(&mut self, jobs: &mpsc::Receiver<Box<dyn Job>>) {
        loop {
            match self.next(jobs) {
                Ok(first) => {
                    let mut group = vec![first];
                    group.extend(jobs.try_iter().take(GROUP_MAX - 1));
                    self.take(group);
                }
                Err(RecvTimeoutError::Timeout) => self.recover(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The next write; none in time while the database waits to be opened.
    fn next(&self, jobs: &mpsc::Receiver<Box<dyn Job>>) -> Result<Box<dyn Job>, RecvTimeoutError> {
        match &self.pause {
            Some(pause) if !self.shelf.is_open() && !self.shelf.is_given_away() => {
                jobs.recv_timeout(pause.until.saturating_duration_since(Instant::now()))
            }
            _ => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn take(&mut self, mut group: Vec<Box<dyn Job>>) {
        let outcome = match &self.pause {
            _ if self.shelf.is_given_away() => Err(StorageError::given_away()),
            Some(pause) if Instant::now() < pause.until => Err(pause.why.clone()),
            _ => self.commit(&mut group),
        };
        for job in group {
            job.answer(outcome.clone());
        }
        if self.shelf.health().has_failed() && !self.shelf.is_given_away() {
            self.recover();
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), StorageError> {
        let committed = self.shelf.with(|database| {
            let transaction = database.begin_write()?;
            for job in group {
                job.apply(&transaction)?;
            }
            transaction.commit()?;
            Ok(())
        });
        match &committed {
            Ok(()) => {
                if self.pause.take().is_some() {
                    tracing::warn!("the storage works again");
                }
            }
            Err(error) => {
                self.failure.report(error);
                self.postpone(error.clone());
            }
        }
        committed
    }

    /// Opens the database again after a failure, unless its flush has failed: then what was said to be
    /// durable may not be, and writing on would hide it.
    fn recover(&mut self) {
        let health = self.shelf.health();
        if health.is_doubtful() {
            if let Some(pause) = &mut self.pause {
                pause.until = Instant::now() + PAUSE_MAX;
            }
            return;
        }
        match self.shelf.reopen() {
            Ok(()) => self.failure.forget(),
            Err(reason) => {
                tracing::warn!("the storage cannot be opened again yet: {reason}");
                self.postpone(StorageError::closed());
            }
        }
    }

    fn postpone(&mut self, why: StorageError) {
        let length = match &self.pause {
            Some(pause) => (pause.length * 2).min(PAUSE_MAX),
            None => PAUSE_MIN,
        };
        self.pause = Some(Pause {
            until: Instant::now() + length,
            length,
            why,
        });
    }
}
