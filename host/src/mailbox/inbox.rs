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
use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use wharf_protocol::{Control, Ending, Message, MessageKind, PeerReason, as_text};

use super::Outbox;
use crate::fault::Fault;
use crate::request::Request;
use crate::trace_context::TraceContext;

/// A session that has so much unfinished is not read from. One message may pass it.
pub(crate) const SESSION_BYTES_MAX: usize = 64 * 1024;
/// An instance that has so much unfinished takes no more from anybody. So much stays in a
/// processor's cache on its way from the sockets through the guest and back.
const INBOX_BYTES_MAX: usize = 128 * 1024;
/// Sessions that are let in at once when there is room again.
const TURNS_AT_ONCE: usize = 4;
/// One guest call takes at most so much, so that it ends within its CPU time.
const BATCH_BYTES_MAX: usize = 256 * 1024;
const BATCH_MESSAGES_MAX: usize = 1024;
/// What a message costs beyond its payload, so that empty ones are bounded too.
pub(super) const MESSAGE_COST_BYTES: usize = 64;

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
    /// A control frame has arrived, on a route that is raw.
    Control(Outbox, ControlCall),
    /// A session has ended.
    Close(Outbox, Ending),
    /// A timer is due.
    Timer(TimerCall),
    /// The server asks all sessions to leave, once what they said is answered. Only conversations
    /// are told.
    Draining,
    /// There is a newer version for the instance.
    Outdated,
    /// Whoever needed the instance may be gone: it should look whether to go on.
    Vacated,
}

/// A handshake that waits for its answer.
pub(crate) struct Connecting<Answer> {
    pub(crate) request: Request,
    /// Where the handshake's span stands, if it is recorded.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// A control frame that waits for its handler.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ControlCall {
    Ping(Box<[u8]>),
    Pong(Box<[u8]>),
    Close(Option<PeerReason>),
}

impl ControlCall {
    /// What it counts while it is unfinished.
    fn cost_bytes(&self) -> usize {
        MESSAGE_COST_BYTES
            + match self {
                Self::Ping(payload) | Self::Pong(payload) => payload.len(),
                Self::Close(reason) => reason.as_ref().map_or(0, |said| said.reason.len()),
            }
    }
}

impl From<Control<'_>> for ControlCall {
    fn from(control: Control<'_>) -> Self {
        match control {
            Control::Ping(payload) => Self::Ping(payload.into()),
            Control::Pong(payload) => Self::Pong(payload.into()),
            Control::Close(reason) => Self::Close(reason.map(|(code, reason)| PeerReason {
                code,
                reason: reason.to_owned(),
            })),
        }
    }
}

/// A timer that is due and waits for its call. If it is dropped unanswered, nobody was asked.
pub(crate) struct TimerCall {
    pub(crate) name: Box<str>,
    /// False if it was cancelled or set anew meanwhile.
    pub(crate) wanted: Rc<Cell<bool>>,
    pub(crate) answer: oneshot::Sender<Result<(), Fault>>,
}

/// Messages for one guest call. Short ones lie together in one piece of memory, long ones in the
/// buffers that they were received in.
#[derive(Default)]
pub(crate) struct Batch {
    texts: String,
    bytes: Vec<u8>,
    large: Vec<Vec<u8>>,
    /// Read buffers that were lent to a message.
    lent: Vec<Box<[u8]>>,
    entries: Vec<Entry>,
    /// The session and the form of each, as [`Batch::packed`] gives them.
    index: Vec<u64>,
    /// Something was taken out of the middle: the lists have what is in no entry any more.
    is_torn: bool,
    payload_bytes: usize,
}

struct Entry {
    outbox: Outbox,
    place: Place,
}

/// Where a payload is.
enum Place {
    Text(Range<u32>),
    Binary(Range<u32>),
    Large(MessageKind, u32),
    /// Binary, in the read buffer of that index.
    Lent(u32, Range<u32>),
}

impl Batch {
    /// The messages in the order of arrival, with their sessions.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, Message<'_>)> {
        self.entries
            .iter()
            .map(|entry| (entry.outbox.id(), self.message(&entry.place)))
    }

    /// The messages in two lists, if they lie so: for each its session, and its length times two,
    /// plus one for text; and all payloads. As wit/handler.wit has it.
    pub(crate) fn packed(&self) -> Option<(&[u64], &[u8])> {
        if self.is_torn || !self.large.is_empty() || !self.lent.is_empty() {
            return None;
        }
        match (self.texts.as_bytes(), self.bytes.as_slice()) {
            (texts, []) => Some((&self.index, texts)),
            ([], bytes) => Some((&self.index, bytes)),
            _ => None,
        }
    }

    /// The session that all messages are from, if it is one.
    pub(crate) fn only_session(&self) -> Option<u64> {
        let first = self.entries.first()?.outbox.id();
        let is_first = |entry: &Entry| entry.outbox.id() == first;
        self.entries.iter().all(is_first).then_some(first)
    }

    fn message(&self, place: &Place) -> Message<'_> {
        match place {
            Place::Text(range) => Message::Text(&self.texts[slice(range)]),
            Place::Binary(range) => Message::Binary(&self.bytes[slice(range)]),
            Place::Large(kind, index) => {
                let payload = &self.large[*index as usize];
                match kind {
                    MessageKind::Binary => Message::Binary(payload),
                    MessageKind::Text => {
                        Message::Text(as_text(payload).expect("the protocol has checked it"))
                    }
                }
            }
            Place::Lent(index, range) => Message::Binary(&self.lent[*index as usize][slice(range)]),
        }
    }

    /// Answers each message with itself, as far as there is room: what benchmarks measure the cost
    /// of a guest against.
    pub(crate) fn echo(&self) {
        for Entry { outbox, place } in &self.entries {
            let message = self.message(place);
            let _ = outbox.try_send(message.kind(), message.payload());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a message to a batch of one's own.
    pub(crate) fn push(&mut self, outbox: &Outbox, message: Incoming<'_>) {
        let payload_bytes = message.payload_bytes();
        self.payload_bytes += payload_bytes;
        let is_text = message.kind() == MessageKind::Text;
        let form = (payload_bytes as u64) << 1 | u64::from(is_text);
        self.index.extend_from_slice(&[outbox.id(), form]);
        let place = match message {
            Incoming::Lent(Message::Text(text)) => {
                let start = self.texts.len() as u32;
                self.texts.push_str(text);
                Place::Text(start..self.texts.len() as u32)
            }
            Incoming::Lent(Message::Binary(bytes)) => {
                let start = self.bytes.len() as u32;
                self.bytes.extend_from_slice(bytes);
                Place::Binary(start..self.bytes.len() as u32)
            }
            Incoming::Owned(kind, payload) => {
                self.large.push(payload);
                Place::Large(kind, self.large.len() as u32 - 1)
            }
            Incoming::InPlace(buffer, range) => {
                self.lent.push(buffer);
                let range = range.start as u32..range.end as u32;
                Place::Lent(self.lent.len() as u32 - 1, range)
            }
        };
        let outbox = outbox.clone();
        self.entries.push(Entry { outbox, place });
    }

    /// Takes the messages apart, for who finishes with each at a time of its own.
    fn into_messages(self) -> impl Iterator<Item = (Outbox, MessageKind, Vec<u8>)> {
        let Self {
            texts,
            bytes,
            mut large,
            mut lent,
            entries,
            ..
        } = self;
        entries.into_iter().map(move |entry| {
            let (kind, payload) = match entry.place {
                Place::Text(range) => (MessageKind::Text, texts[slice(&range)].into()),
                Place::Binary(range) => (MessageKind::Binary, bytes[slice(&range)].into()),
                Place::Large(kind, index) => (kind, std::mem::take(&mut large[index as usize])),
                Place::Lent(index, range) => {
                    let buffer = std::mem::take(&mut lent[index as usize]);
                    let payload = buffer[slice(&range)].into();
                    entry.outbox.lane().buffers.give_read(buffer);
                    (MessageKind::Binary, payload)
                }
            };
            (entry.outbox, kind, payload)
        })
    }

    fn is_full(&self, payload_bytes: usize) -> bool {
        self.entries.len() >= BATCH_MESSAGES_MAX
            || (!self.is_empty() && self.payload_bytes + payload_bytes > BATCH_BYTES_MAX)
    }

    /// Takes out what is of one session; what that cost.
    fn discard(&mut self, outbox: &Outbox) -> usize {
        let mut cost = 0;
        self.entries.retain(|entry| {
            if entry.outbox.id() != outbox.id() {
                return true;
            }
            let payload_bytes = match &entry.place {
                Place::Text(range) | Place::Binary(range) => range.len(),
                Place::Large(_, index) => self.large[*index as usize].len(),
                Place::Lent(index, range) => {
                    let buffer = std::mem::take(&mut self.lent[*index as usize]);
                    outbox.lane().buffers.give_read(buffer);
                    range.len()
                }
            };
            self.payload_bytes -= payload_bytes;
            outbox.finish_in_flight(payload_bytes + MESSAGE_COST_BYTES);
            outbox.counts().finish(1, payload_bytes);
            cost += payload_bytes + MESSAGE_COST_BYTES;
            self.is_torn = true;
            false
        });
        cost
    }

    /// The call is over: tells each session that its messages are finished with.
    fn finish(&mut self) {
        if let Some(first) = self.entries.first() {
            let counts = first.outbox.counts();
            counts.finish_batch(self.entries.len(), self.payload_bytes);
        }
        for Entry { outbox, place } in self.entries.drain(..) {
            let payload_bytes = match place {
                Place::Text(range) | Place::Binary(range) => range.len(),
                Place::Large(_, index) => {
                    let payload = std::mem::take(&mut self.large[index as usize]);
                    let payload_bytes = payload.len();
                    outbox.lane().buffers.give_large(payload);
                    payload_bytes
                }
                Place::Lent(index, range) => {
                    let buffer = std::mem::take(&mut self.lent[index as usize]);
                    outbox.lane().buffers.give_read(buffer);
                    range.len()
                }
            };
            outbox.finish_in_flight(payload_bytes + MESSAGE_COST_BYTES);
        }
        self.texts.clear();
        self.bytes.clear();
        self.large.clear();
        self.lent.clear();
        self.index.clear();
        self.is_torn = false;
        self.payload_bytes = 0;
    }
}

/// The memory of batches that are over, for the next ones of any instance of the worker.
#[derive(Default)]
pub(crate) struct SpareBatches(RefCell<Vec<Batch>>);

impl SpareBatches {
    /// Calls that are under way at once are few; each batch kept holds up to [`BATCH_BYTES_MAX`].
    const KEPT_MAX: usize = 4;

    fn take(&self) -> Batch {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    fn give(&self, batch: Batch) {
        let mut spares = self.0.borrow_mut();
        if spares.len() < Self::KEPT_MAX {
            spares.push(batch);
        }
    }
}

fn slice(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// A message on its way into an inbox.
pub(crate) enum Incoming<'a> {
    /// To be copied.
    Lent(Message<'a>),
    /// Its buffer goes along.
    Owned(MessageKind, Vec<u8>),
    /// Binary, in a part of a read buffer that is lent to it.
    InPlace(Box<[u8]>, Range<usize>),
}

impl Incoming<'_> {
    fn kind(&self) -> MessageKind {
        match self {
            Self::Lent(message) => message.kind(),
            Self::Owned(kind, _) => *kind,
            Self::InPlace(..) => MessageKind::Binary,
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::Lent(message) => message.payload().len(),
            Self::Owned(_, payload) => payload.len(),
            Self::InPlace(_, range) => range.len(),
        }
    }
}

/// The queue of one instance. A part of what is known of an instance that sleeps: every byte counts
/// (see ARCHITECTURE.md).
pub(crate) struct Inbox<Answer> {
    queue: RefCell<VecDeque<Work<Answer>>>,
    /// Queued or in the call that runs now.
    unfinished_bytes: Cell<usize>,
    closed: Cell<bool>,
    taker: Cell<Taker>,
    readers: Cell<Option<Box<Readers>>>,
}

/// Sessions that found the inbox full, in the order in which they get their turn. Most inboxes have
/// none, and every idle session pays for its inbox.
type Readers = VecDeque<Outbox>;

/// Who is told that there is something to take out.
#[derive(Default)]
enum Taker {
    /// Nobody needs to be: somebody will look.
    #[default]
    None,
    /// The instance's task.
    Task(Waker),
    /// The instance sleeps: its number is sent, once.
    Bell(u64, UnboundedSender<u64>),
}

impl<Answer> Inbox<Answer> {
    pub(crate) fn new() -> Self {
        Self {
            queue: RefCell::default(),
            unfinished_bytes: Cell::new(0),
            closed: Cell::new(false),
            taker: Cell::default(),
            readers: Cell::default(),
        }
    }

    /// Puts in an event that is no message. Bounded by the number of sessions.
    pub(crate) fn push(&self, work: Work<Answer>) -> Result<(), InboxClosed> {
        if self.closed.get() {
            return Err(InboxClosed);
        }
        self.queue.borrow_mut().push_back(work);
        self.wake();
        Ok(())
    }

    /// Puts in a message. The session has asked [`Inbox::has_room`] before it read.
    pub(crate) fn push_message(
        &self,
        outbox: &Outbox,
        message: Incoming<'_>,
    ) -> Result<(), InboxClosed> {
        if self.closed.get() {
            return Err(InboxClosed);
        }
        let payload_bytes = message.payload_bytes();
        self.count(outbox, payload_bytes + MESSAGE_COST_BYTES);
        outbox.counts().receive(payload_bytes);
        let mut queue = self.queue.borrow_mut();
        if let Some(Work::Messages(batch)) = queue.back_mut()
            && !batch.is_full(payload_bytes)
        {
            batch.push(outbox, message);
            return Ok(());
        }
        let mut batch = outbox.lane().spare_batches.take();
        batch.push(outbox, message);
        queue.push_back(Work::Messages(batch));
        drop(queue);
        self.wake();
        Ok(())
    }

    /// Puts in a control frame. It counts as a message does.
    pub(crate) fn push_control(
        &self,
        outbox: &Outbox,
        control: Control<'_>,
    ) -> Result<(), InboxClosed> {
        if self.closed.get() {
            return Err(InboxClosed);
        }
        let call = ControlCall::from(control);
        self.count(outbox, call.cost_bytes());
        self.push(Work::Control(outbox.clone(), call))
    }

    fn count(&self, outbox: &Outbox, cost: usize) {
        let unfinished = &self.unfinished_bytes;
        unfinished.set(unfinished.get() + cost);
        outbox.add_in_flight(cost);
    }

    /// Whether the session may read more. If not, its task is woken when it may.
    pub(crate) fn has_room(&self, outbox: &Outbox) -> bool {
        if outbox.in_flight_bytes() >= SESSION_BYTES_MAX {
            return false;
        }
        if self.unfinished_bytes.get() < INBOX_BYTES_MAX || self.closed.get() {
            return true;
        }
        if !outbox.awaits_turn().replace(true) {
            let mut readers = self.readers.take().unwrap_or_default();
            readers.push_back(outbox.clone());
            self.readers.set(Some(readers));
        }
        false
    }

    /// Lets the next session read that found the inbox full, if there is room again. Every session
    /// calls this when it has had its own turn, so that nobody's turn is lost with who did not use it.
    pub(crate) fn next_turn(&self) {
        if self.unfinished_bytes.get() >= INBOX_BYTES_MAX {
            return;
        }
        while let Some(reader) = self.next_reader() {
            reader.awaits_turn().set(false);
            if reader.wake_if_there() {
                return;
            }
        }
    }

    fn next_reader(&self) -> Option<Outbox> {
        let mut readers = self.readers.take()?;
        let next = readers.pop_front();
        self.readers.set(Some(readers));
        next
    }

    /// Waits for the next thing to do.
    pub(crate) async fn next(&self) -> Work<Answer> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next thing to do, or the task is woken when there is one.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Work<Answer>> {
        if let Some(work) = self.take() {
            return Poll::Ready(work);
        }
        let waker = match self.taker.take() {
            Taker::Task(mut waker) => {
                waker.clone_from(context.waker());
                waker
            }
            Taker::None | Taker::Bell(..) => context.waker().clone(),
        };
        self.taker.set(Taker::Task(waker));
        Poll::Pending
    }

    /// Nobody takes anything out until the next thing to do has sent `serial` to `rings`, which it
    /// does once. Keeps no memory until then.
    pub(crate) fn rest(&self, serial: u64, rings: UnboundedSender<u64>) {
        let mut queue = self.queue.borrow_mut();
        assert!(queue.is_empty(), "an instance rests when nothing waits");
        *queue = VecDeque::new();
        // Those who still await their turn keep it.
        let readers = self.readers.take().filter(|readers| !readers.is_empty());
        self.readers.set(readers);
        self.taker.set(Taker::Bell(serial, rings));
    }

    /// The next thing to do, if there is one.
    pub(crate) fn take(&self) -> Option<Work<Answer>> {
        self.queue.borrow_mut().pop_front()
    }

    /// What was taken comes first again.
    pub(crate) fn put_back(&self, work: Work<Answer>) {
        self.queue.borrow_mut().push_front(work);
    }

    /// Throws away what waits of a session that its guest will not hear of, but for its end.
    pub(crate) fn discard(&self, outbox: &Outbox) {
        let mut given_back = 0;
        let mut queue = self.queue.borrow_mut();
        queue.retain_mut(|work| match work {
            Work::Messages(batch) => {
                given_back += batch.discard(outbox);
                !batch.is_empty()
            }
            Work::Control(from, call) if from.id() == outbox.id() => {
                outbox.finish_in_flight(call.cost_bytes());
                given_back += call.cost_bytes();
                false
            }
            _ => true,
        });
        drop(queue);
        self.give_back(given_back);
    }

    /// The call with that batch is over.
    pub(crate) fn finish(&self, mut batch: Batch) {
        let bytes = batch.payload_bytes + batch.entries.len() * MESSAGE_COST_BYTES;
        let lane = batch
            .entries
            .first()
            .map(|entry| entry.outbox.lane().clone());
        batch.finish();
        if let Some(lane) = lane {
            lane.spare_batches.give(batch);
        }
        self.give_back(bytes);
    }

    /// The call with that control frame is over.
    pub(crate) fn finish_control(&self, outbox: &Outbox, call: &ControlCall) {
        outbox.finish_in_flight(call.cost_bytes());
        self.give_back(call.cost_bytes());
    }

    /// Takes messages out for good. From now on each counts against its own session alone, until
    /// [`Outbox::finish_messages`].
    pub(crate) fn unpack(
        &self,
        batch: Batch,
    ) -> impl Iterator<Item = (Outbox, MessageKind, Vec<u8>)> {
        let bytes = batch.payload_bytes + batch.entries.len() * MESSAGE_COST_BYTES;
        self.give_back(bytes);
        batch.into_messages()
    }

    fn give_back(&self, bytes: usize) {
        let unfinished = &self.unfinished_bytes;
        unfinished.set(unfinished.get() - bytes);
        for _ in 0..TURNS_AT_ONCE {
            self.next_turn();
        }
    }

    /// The instance is gone: takes nothing more, and throws away what is in there.
    pub(crate) fn abandon(&self) {
        self.closed.set(true);
        let work = std::mem::take(&mut *self.queue.borrow_mut());
        for work in work {
            match work {
                Work::Messages(mut batch) => batch.finish(),
                Work::Control(outbox, call) => outbox.finish_in_flight(call.cost_bytes()),
                _ => {}
            }
        }
        let readers = self.readers.take();
        for reader in readers.into_iter().flat_map(|readers| *readers) {
            reader.awaits_turn().set(false);
            reader.wake();
        }
    }

    fn wake(&self) {
        match self.taker.take() {
            Taker::None => {}
            Taker::Task(task) => {
                task.wake_by_ref();
                self.taker.set(Taker::Task(task));
            }
            Taker::Bell(serial, rings) => {
                // A worker that has ended has no instances.
                let _ = rings.send(serial);
            }
        }
    }
}
