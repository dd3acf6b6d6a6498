//! The thread that writes: takes what has come together, does all of it in one transaction, and
//! answers when that is durable. Never waits for more than what is there.

use std::sync::mpsc;

use redb::{Database, WriteTransaction};
use tokio::sync::oneshot;

use super::{Failure, Room, StorageError};

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

/// Writes until the last handle to the storage is gone.
pub(super) fn run(database: &Database, failure: &Failure, jobs: &mpsc::Receiver<Box<dyn Job>>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        group.extend(jobs.try_iter().take(GROUP_MAX - 1));
        let committed = commit(database, &mut group);
        if let Err(error) = &committed {
            failure.report(error);
        }
        for job in group {
            job.answer(committed.clone());
        }
    }
}

fn commit(database: &Database, group: &mut [Box<dyn Job>]) -> Result<(), StorageError> {
    let transaction = database.begin_write()?;
    for job in group {
        job.apply(&transaction)?;
    }
    transaction.commit()?;
    Ok(())
}
