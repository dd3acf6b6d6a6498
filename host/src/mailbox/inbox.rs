//! The way up: events to one instance, in order, bounded by how much its sessions may have
//! unfinished.
//!
//! Messages that follow each other are joined into batches: the instance takes a whole batch in
//! one guest call. Nobody waits to fill one. Lives on one worker thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::sync::oneshot;
use wharf_protocol::{Ending, MessageKind};

use super::Outbox;
use crate::fault::Fault;
use crate::request::Request;

/// A session that has so much unfinished is not read from. One message may pass it.
pub(crate) const SESSION_BYTES_MAX: usize = 64 * 1024;
/// An instance that has so much unfinished takes no more from anybody.
const INBOX_BYTES_MAX: usize = 1024 * 1024;
/// One guest call takes at most so much, so that it ends within its CPU time.
const BATCH_BYTES_MAX: usize = 256 * 1024;
const BATCH_MESSAGES_MAX: usize = 1024;
/// What a message costs beyond its payload, so that empty ones are bounded too.
const MESSAGE_COST_BYTES: usize = 64;

/// The instance has ended: nothing that is put in would ever be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InboxClosed;

/// One thing for an instance to do.
pub(crate) enum Work<Answer> {
    /// Decide about a handshake (or only show that the instance has started).
    Connect(Connecting<Answer>),
    /// A session has begun.
    Open(Outbox),
    /// Messages have arrived.
    Messages(Batch),
    /// A session has ended.
    Close(Outbox, Ending),
    /// A timer is due.
    Timer(TimerCall),
    /// Whoever needed the instance may be gone: it should look whether to go on.
    Vacated,
}

/// A handshake that waits for its answer.
pub(crate) struct Connecting<Answer> {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// A timer that is due and waits for its call. If it is dropped unanswered, nobody was asked.
pub(crate) struct TimerCall {
    pub(crate) name: Box<str>,
    /// False if it was cancelled or set anew meanwhile.
    pub(crate) wanted: Rc<Cell<bool>>,
    pub(crate) answer: oneshot::Sender<Result<(), Fault>>,
}

/// Messages for one guest call, their payloads in one piece of memory.
#[derive(Default)]
pub(crate) struct Batch {
    payloads: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    outbox: Outbox,
    kind: MessageKind,
    range: Range<u32>,
}

impl Batch {
    /// The messages in the order of arrival: session, kind, payload.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, MessageKind, &[u8])> {
        self.entries.iter().map(|entry| {
            let range = entry.range.start as usize..entry.range.end as usize;
            (entry.outbox.id(), entry.kind, &self.payloads[range])
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a message to a batch of one's own.
    pub(crate) fn push(&mut self, outbox: &Outbox, kind: MessageKind, payload: &[u8]) {
        let start = self.payloads.len();
        self.payloads.extend_from_slice(payload);
        let range = start as u32..self.payloads.len() as u32;
        self.entries.push(Entry {
            outbox: outbox.clone(),
            kind,
            range,
        });
    }

    fn is_full(&self, payload_bytes: usize) -> bool {
        self.entries.len() >= BATCH_MESSAGES_MAX
            || (!self.is_empty() && self.payloads.len() + payload_bytes > BATCH_BYTES_MAX)
    }

    /// The call is over: tells each session that its messages are finished with.
    fn finish(&mut self) {
        for entry in self.entries.drain(..) {
            entry
                .outbox
                .finish_in_flight(entry.range.len() + MESSAGE_COST_BYTES);
        }
        self.payloads.clear();
    }
}

/// The queue of one instance; a clone means the same queue.
pub(crate) struct Inbox<Answer>(Rc<Shared<Answer>>);

impl<Answer> Clone for Inbox<Answer> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Shared<Answer> {
    queue: RefCell<VecDeque<Work<Answer>>>,
    /// Queued or in the call that runs now.
    unfinished_bytes: Cell<usize>,
    closed: Cell<bool>,
    instance: RefCell<Option<Waker>>,
    /// Sessions that found the inbox full.
    readers: RefCell<Vec<Outbox>>,
    /// The memory of the last batch, while the instance is busy.
    spare: RefCell<Option<Batch>>,
}

impl<Answer> Inbox<Answer> {
    pub(crate) fn new() -> Self {
        Self(Rc::new(Shared {
            queue: RefCell::default(),
            unfinished_bytes: Cell::new(0),
            closed: Cell::new(false),
            instance: RefCell::default(),
            readers: RefCell::default(),
            spare: RefCell::default(),
        }))
    }

    /// Puts in an event that is no message. Bounded by the number of sessions.
    pub(crate) fn push(&self, work: Work<Answer>) -> Result<(), InboxClosed> {
        if self.0.closed.get() {
            return Err(InboxClosed);
        }
        self.0.queue.borrow_mut().push_back(work);
        self.wake();
        Ok(())
    }

    /// Puts in a message. The session has asked [`Inbox::has_room`] before it read.
    pub(crate) fn push_message(
        &self,
        outbox: &Outbox,
        kind: MessageKind,
        payload: &[u8],
    ) -> Result<(), InboxClosed> {
        if self.0.closed.get() {
            return Err(InboxClosed);
        }
        let cost = payload.len() + MESSAGE_COST_BYTES;
        self.0
            .unfinished_bytes
            .set(self.0.unfinished_bytes.get() + cost);
        outbox.add_in_flight(cost);
        let mut queue = self.0.queue.borrow_mut();
        if let Some(Work::Messages(batch)) = queue.back_mut()
            && !batch.is_full(payload.len())
        {
            batch.push(outbox, kind, payload);
            return Ok(());
        }
        let mut batch = self.0.spare.borrow_mut().take().unwrap_or_default();
        batch.push(outbox, kind, payload);
        queue.push_back(Work::Messages(batch));
        drop(queue);
        self.wake();
        Ok(())
    }

    /// Whether the session may read more. If not, its task is woken when it may.
    pub(crate) fn has_room(&self, outbox: &Outbox) -> bool {
        if outbox.in_flight_bytes() >= SESSION_BYTES_MAX {
            return false;
        }
        if self.0.unfinished_bytes.get() < INBOX_BYTES_MAX || self.0.closed.get() {
            return true;
        }
        let mut readers = self.0.readers.borrow_mut();
        if !readers.iter().any(|reader| reader.id() == outbox.id()) {
            readers.push(outbox.clone());
        }
        false
    }

    /// Waits for the next thing to do.
    pub(crate) async fn next(&self) -> Work<Answer> {
        poll_fn(|context| {
            if let Some(work) = self.take() {
                return Poll::Ready(work);
            }
            // Idle: keep no memory.
            self.0.spare.borrow_mut().take();
            let mut instance = self.0.instance.borrow_mut();
            match instance.as_mut() {
                Some(waker) => waker.clone_from(context.waker()),
                None => *instance = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }

    /// The next thing to do, if there is one.
    pub(crate) fn take(&self) -> Option<Work<Answer>> {
        self.0.queue.borrow_mut().pop_front()
    }

    /// The call with that batch is over.
    pub(crate) fn finish(&self, mut batch: Batch) {
        let bytes = batch.payloads.len() + batch.entries.len() * MESSAGE_COST_BYTES;
        batch.finish();
        self.0
            .unfinished_bytes
            .set(self.0.unfinished_bytes.get() - bytes);
        *self.0.spare.borrow_mut() = Some(batch);
        if self.0.unfinished_bytes.get() < INBOX_BYTES_MAX {
            for reader in self.0.readers.borrow_mut().drain(..) {
                reader.wake();
            }
        }
    }

    /// The instance is gone: takes nothing more, and throws away what is in there.
    pub(crate) fn abandon(&self) {
        self.0.closed.set(true);
        let work = std::mem::take(&mut *self.0.queue.borrow_mut());
        for work in work {
            if let Work::Messages(mut batch) = work {
                batch.finish();
            }
        }
        for reader in self.0.readers.borrow_mut().drain(..) {
            reader.wake();
        }
    }

    fn wake(&self) {
        if let Some(instance) = self.0.instance.borrow().as_ref() {
            instance.wake_by_ref();
        }
    }
}
