//! The way down: frames to one session's socket, bounded.
//!
//! Whoever may write to a session holds an [`Outbox`]: the capabilities of its instance and the
//! session's own task. It never calls either of them; it wakes the task by its waker. All of it
//! lives on one worker thread.

mod shared;

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wharf_protocol::{
    CONTROL_BYTES_MAX, Cause, Connection, Initiator, Instant, MessageKind, Phase,
};

use super::inbox::MESSAGE_COST_BYTES;
use super::{Facts, Lane, RouteLane, TenantLane};
use crate::clock::Armed;
use crate::metrics::Counts;
use crate::request::Request;
use crate::wire::Wire;

/// A batch of answers is written early once it has grown to this.
pub(super) const CORK_BYTES_MAX: usize = 64 * 1024;

/// From here on a copy costs more than a write of its own may.
const DIRECT_BYTES_MIN: usize = 8 * 1024;

/// Messages to one session that one guest call may have refused as full.
const REFUSALS_A_CALL_MAX: u32 = 1024;

/// What of the protocol sends a control frame.
type SendControl =
    fn(&mut Connection, &[u8], &mut Vec<u8>) -> Result<(), wharf_protocol::SendError>;

/// Limits of one session's queue. Worst case of memory: `outbox_bytes_max` and one message more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxConfig {
    /// A message that would pass this is refused as full, unless nothing waits.
    pub(crate) outbox_bytes_max: usize,
    /// The largest message that a handler may send.
    pub(crate) message_bytes_max: usize,
    /// How long `send` waits for room.
    pub(crate) write_timeout: Duration,
    /// How long a reader may be too slow before it is cut.
    pub(crate) slow_consumer_timeout: Duration,
}

impl OutboxConfig {
    /// From here on nothing more is read from the socket, so that TCP slows the peer down.
    fn high_water_bytes(&self) -> usize {
        self.outbox_bytes_max / 2
    }
}

/// Why a message was not queued. Mirrors `session-error` of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The session is closing or closed.
    Closed,
    /// No room in the queue.
    Full,
    /// Larger than the limit that it carries.
    TooLarge(u64),
}

/// What the session's task was asked to do from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Read no more, answer what was read, then close.
    Gracefully(Cause),
    /// Close now: whoever would answer is gone.
    Now(Cause),
}

/// What an outbox is made of.
pub(crate) struct OutboxParts {
    pub(crate) id: u64,
    pub(crate) wire: Wire,
    /// Shared by all sessions of a route.
    pub(crate) route: Rc<RouteLane>,
    /// `None` where the guest has no means to ask for it.
    pub(crate) request: Option<Request>,
    pub(crate) subprotocol: Option<Box<str>>,
    /// The instance serves this session alone, so a `send` that waits holds up nobody.
    pub(crate) may_wait: bool,
    /// What the handler attached at the handshake.
    pub(crate) facts: Option<Box<Facts>>,
    /// The instance opened the session: it is the client.
    pub(crate) is_opened: bool,
}

/// A handle to one session's sending side; a clone means the same session.
#[derive(Clone)]
pub(crate) struct Outbox(Rc<Shared>);

/// A handle that keeps nothing alive.
#[derive(Debug)]
pub(super) struct Away(Weak<Shared>);

impl Away {
    /// The session, if it is still there.
    pub(super) fn back(&self) -> Option<Outbox> {
        self.0.upgrade().map(Outbox)
    }
}

/// Every byte here is paid for by every idle session (see ARCHITECTURE.md).
struct Shared {
    id: u64,
    wire: RefCell<Wire>,
    route: Rc<RouteLane>,
    /// Boxed: most guests have no means to ask for it.
    request: Option<Box<Request>>,
    may_wait: bool,
    is_opened: bool,
    corked: Cell<bool>,
    awaits_turn: Cell<bool>,
    /// Bytes of this session that were read and that its instance has not finished with.
    in_flight_bytes: Cell<usize>,
    /// The session's task.
    task: Cell<Option<Waker>>,
    /// The deadline for which the task will be woken.
    armed: Cell<Option<Armed>>,
    extras: RefCell<Option<Box<Extras>>>,
}

/// What most sessions never have.
#[derive(Default)]
struct Extras {
    subprotocol: Option<Box<str>>,
    stop: Option<Stop>,
    /// Who waits for room or for the queue to empty.
    writers: Vec<Waker>,
    /// A message waits for its turn, which no other of its instance may pass.
    waits_in_turn: bool,
    /// How many messages were refused as full, in which guest call.
    refusals: (u32, u32),
    /// Since when the peer has not taken enough.
    slow_since: Option<Instant>,
    /// Bytes that its tenant knows to wait for the socket.
    unsent_bytes: usize,
    facts: Option<Box<Facts>>,
}

/// What a session without extras was asked to do.
static NO_STOP: Option<Stop> = None;

impl Outbox {
    pub(crate) fn new(parts: OutboxParts) -> Self {
        let extras = (parts.subprotocol.is_some() || parts.facts.is_some()).then(|| {
            Box::new(Extras {
                subprotocol: parts.subprotocol,
                facts: parts.facts,
                ..Extras::default()
            })
        });
        Self(Rc::new(Shared {
            id: parts.id,
            wire: RefCell::new(parts.wire),
            route: parts.route,
            request: parts.request.map(Box::new),
            may_wait: parts.may_wait,
            is_opened: parts.is_opened,
            corked: Cell::new(false),
            in_flight_bytes: Cell::new(0),
            awaits_turn: Cell::new(false),
            task: Cell::default(),
            armed: Cell::new(None),
            extras: RefCell::new(extras),
        }))
    }

    /// The extras, made if there are none.
    fn extras(&self) -> RefMut<'_, Box<Extras>> {
        RefMut::map(self.0.extras.borrow_mut(), Option::get_or_insert_default)
    }

    /// The number by which its instance knows the session.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// The worker that the session lives on.
    pub(crate) fn lane(&self) -> &Rc<Lane> {
        &self.0.route.lane
    }

    /// Where what its route does is counted.
    pub(crate) fn counts(&self) -> &Counts {
        &self.0.route.counts
    }

    /// What its tenant's sessions share.
    pub(crate) fn tenant(&self) -> &Rc<TenantLane> {
        &self.0.route.tenant
    }

    /// A handle that keeps nothing alive.
    pub(super) fn away(&self) -> Away {
        Away(Rc::downgrade(&self.0))
    }

    /// What the handshake said, if anybody may ask.
    pub(crate) fn request(&self) -> Option<&Request> {
        self.0.request.as_deref()
    }

    /// Whether the instance opened it, as a client.
    pub(crate) fn is_opened(&self) -> bool {
        self.0.is_opened
    }

    /// What was chosen from the client's offers.
    pub(crate) fn subprotocol(&self) -> Option<String> {
        let extras = self.0.extras.borrow();
        let subprotocol = extras.as_ref()?.subprotocol.as_deref();
        subprotocol.map(str::to_owned)
    }

    /// Unique across servers, never used again.
    pub(crate) fn name(&self) -> String {
        self.lane().session_name(self.0.id)
    }

    /// Reads what the handler attached; `None` until it attaches something.
    pub(crate) fn facts<T>(&self, read: impl FnOnce(Option<&Facts>) -> T) -> T {
        let extras = self.0.extras.borrow();
        read(extras.as_ref().and_then(|extras| extras.facts.as_deref()))
    }

    /// Changes what the handler attached.
    pub(crate) fn change_facts<T>(&self, change: impl FnOnce(&mut Facts) -> T) -> T {
        change(self.extras().facts.get_or_insert_default())
    }
}

/// Sending.
impl Outbox {
    /// Queues a message if there is room now.
    pub(crate) fn try_send(&self, kind: MessageKind, payload: &[u8]) -> Result<(), SendError> {
        if self.has_one_waiting() {
            self.count_refusal();
            return Err(SendError::Full);
        }
        self.send_now(kind, payload)
    }

    /// Queues a message when there is room for it, within the write timeout; until then no other
    /// message of the instance is queued. Only one can wait so.
    pub(crate) async fn send_in_turn(
        &self,
        kind: MessageKind,
        payload: &[u8],
    ) -> Result<(), SendError> {
        if self.has_one_waiting() {
            self.count_refusal();
            return Err(SendError::Full);
        }
        let _turn = Turn::take(self);
        loop {
            self.room_for(payload.len()).await?;
            match self.send_now(kind, payload) {
                Err(SendError::Full) => {}
                sent => return sent,
            }
        }
    }

    fn has_one_waiting(&self) -> bool {
        let extras = self.0.extras.borrow();
        extras.as_ref().is_some_and(|extras| extras.waits_in_turn)
    }

    fn send_now(&self, kind: MessageKind, payload: &[u8]) -> Result<(), SendError> {
        self.settle();
        let limit = self.0.route.config.message_bytes_max;
        if payload.len() > limit {
            return Err(SendError::TooLarge(limit as u64));
        }
        let mut wire = self.0.wire.borrow_mut();
        if !wire.connection().may_send() {
            return Err(SendError::Closed);
        }
        if self.is_over_budget() {
            self.count_refusal();
            return Err(SendError::Full);
        }
        if payload.len() >= DIRECT_BYTES_MIN && self.send_directly(&mut wire, kind, payload) {
            self.count_sent(payload.len());
            return Ok(());
        }
        if !self.has_room(&wire, payload.len()) {
            // What the call has corked so far may leave first.
            self.write(&mut wire);
            if !self.has_room(&wire, payload.len()) {
                self.count_refusal();
                return Err(SendError::Full);
            }
        }
        wire.send(kind, payload, &self.lane().buffers)
            .map_err(|_| SendError::Closed)?;
        self.count_sent(payload.len());
        if wire.queued_bytes() >= CORK_BYTES_MAX {
            self.write(&mut wire);
        }
        self.cork(&wire);
        Ok(())
    }

    /// What is joined for many comes before this.
    #[inline]
    fn settle(&self) {
        self.lane().cork.settle();
    }

    /// Whether messages of so many bytes in all fit into the queue, once what waits was tried to be
    /// written.
    pub(crate) fn make_room(&self, bytes: usize) -> bool {
        self.settle();
        self.write_now();
        self.queued_bytes() + bytes <= self.0.route.config.outbox_bytes_max
    }

    /// Whether its tenant may send nothing more now. If so, the session's task is woken when it may.
    fn is_over_budget(&self) -> bool {
        let tenant = self.tenant();
        if !tenant.is_metered() {
            return false;
        }
        let refused = tenant.may_send();
        refused
            .inspect_err(|limit| tenant.wait(self, *limit))
            .is_err()
    }

    /// Counts a message that is on its way.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.counts().send(bytes);
        if self.tenant().is_metered() {
            self.tenant().charge_sent(bytes);
        }
    }

    /// Spares a long message the way through the queue, if nothing is in there and no other answer
    /// to this session is likely to follow in the same call.
    fn send_directly(&self, wire: &mut Wire, kind: MessageKind, payload: &[u8]) -> bool {
        let answers_one = self.in_flight_bytes() <= payload.len() + MESSAGE_COST_BYTES;
        if !answers_one && payload.len() < CORK_BYTES_MAX {
            return false;
        }
        let mut context = Context::from_waker(Waker::noop());
        let message = (kind, payload);
        match wire.poll_send_directly(&mut context, message, &self.lane().buffers) {
            None => return false,
            Some(Poll::Ready(Ok(()))) => {}
            // The task finds the error, or waits with a waker of its own.
            Some(Poll::Ready(Err(_)) | Poll::Pending) => self.wake(),
        }
        true
    }

    /// Whether a `send` that finds no room may wait for it.
    pub(crate) fn may_wait(&self) -> bool {
        self.0.may_wait
    }

    /// Waits until a message of that size fits, for the write timeout at most.
    pub(crate) async fn room_for(&self, bytes: usize) -> Result<(), SendError> {
        self.wait_until(|wire| !self.is_over_budget() && self.has_room(wire, bytes))
            .await
    }

    /// Waits until all that was queued has been written, for the write timeout at most.
    pub(crate) async fn flushed(&self) -> Result<(), SendError> {
        self.settle();
        self.write_now();
        self.wait_until(|wire| wire.queued_bytes() == 0).await
    }

    /// Bytes queued and not yet taken by the socket.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.settle();
        self.0.wire.borrow().queued_bytes()
    }

    /// Starts the closing handshake; later calls change nothing.
    pub(crate) fn close(&self, code: u16, reason: &str) {
        self.start_close(|connection, now, out| {
            connection.close(code, reason, Initiator::Handler, now, out);
        });
    }

    /// As [`Outbox::close`], by a close frame that says nothing.
    pub(crate) fn close_without_code(&self) {
        self.start_close(|connection, now, out| {
            connection.close_without_code(Initiator::Handler, now, out);
        });
    }

    fn start_close(&self, close: impl FnOnce(&mut Connection, Instant, &mut Vec<u8>)) {
        self.settle();
        let now = self.lane().clock.now();
        let mut wire = self.0.wire.borrow_mut();
        let (connection, out) = wire.protocol(&self.lane().buffers);
        close(connection, now, out);
        self.cork(&wire);
        drop(wire);
        self.wake();
    }

    /// Queues a ping if there is room now.
    pub(crate) fn try_ping(&self, payload: &[u8]) -> Result<(), SendError> {
        self.try_control(payload, Connection::ping)
    }

    /// Queues a pong if there is room now.
    pub(crate) fn try_pong(&self, payload: &[u8]) -> Result<(), SendError> {
        self.try_control(payload, Connection::pong)
    }

    fn try_control(&self, payload: &[u8], send: SendControl) -> Result<(), SendError> {
        self.settle();
        let mut wire = self.0.wire.borrow_mut();
        if !self.has_room(&wire, payload.len()) {
            self.write(&mut wire);
        }
        if !self.has_room(&wire, payload.len()) && wire.connection().may_send() {
            drop(wire);
            self.count_refusal();
            return Err(SendError::Full);
        }
        let (connection, out) = wire.protocol(&self.lane().buffers);
        send(connection, payload, out).map_err(|error| match error {
            wharf_protocol::SendError::Closed => SendError::Closed,
            wharf_protocol::SendError::ControlTooLong => {
                SendError::TooLarge(CONTROL_BYTES_MAX as u64)
            }
        })?;
        self.cork(&wire);
        Ok(())
    }

    /// Restarts the pinger with another interval; `None` turns it off.
    pub(crate) fn set_ping_interval(&self, interval: Option<Duration>) {
        let now = self.lane().clock.now();
        self.0
            .wire
            .borrow_mut()
            .connection_mut()
            .set_ping_interval(interval, now);
        self.wake();
    }

    /// Restarts the pinger with another window.
    pub(crate) fn set_timeout(&self, timeout: Duration) {
        let now = self.lane().clock.now();
        self.0
            .wire
            .borrow_mut()
            .connection_mut()
            .set_timeout(timeout, now);
        self.wake();
    }

    /// Writes what waits. What the socket does not take is left to the session's task.
    pub(crate) fn write_now(&self) {
        self.0.corked.set(false);
        let mut wire = self.0.wire.borrow_mut();
        self.write(&mut wire);
    }

    fn has_room(&self, wire: &Wire, bytes: usize) -> bool {
        let queued = wire.queued_bytes();
        queued == 0 || queued + bytes <= self.0.route.config.outbox_bytes_max
    }

    /// A handler that goes on sending in one call, however often it is told that there is no room,
    /// loses the session.
    fn count_refusal(&self) {
        self.counts().change(|figures| figures.sends_refused += 1);
        let call = self.lane().cork.call();
        let mut extras = self.extras();
        let (of_call, count) = extras.refusals;
        let count = if of_call == call { count + 1 } else { 1 };
        extras.refusals = (call, count);
        drop(extras);
        if count == REFUSALS_A_CALL_MAX {
            self.stop(Stop::Now(Cause::HandlerOverLimit));
        }
    }

    fn cork(&self, wire: &Wire) {
        if wire.queued_bytes() > 0 && !self.0.corked.replace(true) {
            self.lane().cork.add(self.clone());
        }
    }

    fn write(&self, wire: &mut Wire) {
        if wire.is_blocked() {
            self.count_unsent(wire.queued_bytes());
            if self.is_above_high_water(wire) && self.extras().slow_since.is_none() {
                // The task waits for the socket only: its time begins now.
                self.wake();
            }
            return;
        }
        let mut context = Context::from_waker(Waker::noop());
        match wire.poll_flush(&mut context, &self.lane().buffers) {
            Poll::Ready(Ok(())) => self.wake_writers(),
            // The task finds the error, or waits with a waker of its own.
            Poll::Ready(Err(_)) | Poll::Pending => self.wake(),
        }
    }

    async fn wait_until(&self, mut reached: impl FnMut(&Wire) -> bool) -> Result<(), SendError> {
        let clock = &self.lane().clock;
        let deadline = clock.now() + self.0.route.config.write_timeout;
        let mut armed = None;
        let result = poll_fn(|context| {
            let wire = self.0.wire.borrow();
            if !wire.connection().may_send() {
                return Poll::Ready(Err(SendError::Closed));
            }
            if reached(&wire) {
                return Poll::Ready(Ok(()));
            }
            if clock.now() >= deadline {
                return Poll::Ready(Err(SendError::Full));
            }
            let waker = context.waker();
            armed.get_or_insert_with(|| clock.arm(deadline, waker.clone()));
            let writers = &mut self.extras().writers;
            if !writers.iter().any(|writer| writer.will_wake(waker)) {
                writers.push(waker.clone());
            }
            Poll::Pending
        })
        .await;
        if let Some(armed) = armed {
            clock.disarm(armed);
        }
        result
    }

    fn wake_writers(&self) {
        if let Some(extras) = &mut *self.0.extras.borrow_mut() {
            for writer in extras.writers.drain(..) {
                writer.wake();
            }
        }
    }
}

/// What the session's task and its dispatcher do with it.
impl Outbox {
    /// The wire, for the session's task.
    pub(crate) fn wire(&self) -> RefMut<'_, Wire> {
        self.0.wire.borrow_mut()
    }

    /// Asks the task to end the session. The first request stands, but for one to end now.
    pub(crate) fn stop(&self, stop: Stop) {
        let mut extras = self.extras();
        if extras.stop.is_none() || matches!(stop, Stop::Now(_)) {
            extras.stop = Some(stop);
        }
        drop(extras);
        self.wake();
    }

    /// What the task was asked to do.
    pub(crate) fn stopping(&self) -> Ref<'_, Option<Stop>> {
        Ref::map(self.0.extras.borrow(), |extras| match extras {
            Some(extras) => &extras.stop,
            None => &NO_STOP,
        })
    }

    /// Wakes the session's task.
    pub(crate) fn wake(&self) {
        self.wake_if_there();
    }

    /// Wakes the session's task, if it still has one.
    pub(super) fn wake_if_there(&self) -> bool {
        let task = self.0.task.take();
        let is_there = task.is_some();
        if let Some(task) = task {
            task.wake_by_ref();
            self.0.task.set(Some(task));
        }
        is_there
    }

    /// Whether it is in its inbox's list of those that wait to read.
    pub(super) fn awaits_turn(&self) -> &Cell<bool> {
        &self.0.awaits_turn
    }

    /// Keeps the task's waker.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let task = match self.0.task.take() {
            Some(mut waker) => {
                waker.clone_from(context.waker());
                waker
            }
            None => context.waker().clone(),
        };
        self.0.task.set(Some(task));
    }

    /// The task is over: nobody is to be woken, nothing is to be kept.
    pub(crate) fn release_task(&self) {
        if let Some(armed) = self.0.armed.take() {
            self.lane().clock.disarm(armed);
        }
        self.0.task.set(None);
        self.set_slow_since(None);
        self.count_unsent(0);
        self.wake_writers();
    }

    /// Makes sure that the task is woken at the earliest of its deadlines.
    pub(crate) fn arm(&self, deadline: Option<Instant>) {
        let armed = self.0.armed.get();
        let Some(deadline) = deadline else { return };
        if armed.is_some_and(|armed| armed.serves(deadline)) {
            return;
        }
        let clock = &self.lane().clock;
        if let Some(armed) = armed {
            clock.disarm(armed);
        }
        if let Some(task) = self.0.task.take() {
            self.0.armed.set(Some(clock.arm(deadline, task.clone())));
            self.0.task.set(Some(task));
        }
    }

    /// Forgets an armed deadline that has passed.
    pub(crate) fn disarm_passed(&self, now: Instant) {
        if self.0.armed.get().is_some_and(|armed| armed.due() <= now) {
            self.0.armed.set(None);
        }
    }

    /// Counts what was put into the inbox.
    pub(crate) fn add_in_flight(&self, bytes: usize) {
        self.0
            .in_flight_bytes
            .set(self.0.in_flight_bytes.get() + bytes);
    }

    /// Counts what the instance has finished with, and wakes the task that waited for it.
    pub(crate) fn finish_in_flight(&self, bytes: usize) {
        let before = self.0.in_flight_bytes.get();
        let left = before - bytes;
        self.0.in_flight_bytes.set(left);
        let ending =
            self.stopping().is_some() || self.0.wire.borrow().connection().phase() != Phase::Open;
        if before >= super::inbox::SESSION_BYTES_MAX || (left == 0 && ending) {
            self.wake();
        }
    }

    /// Counts messages that were taken out of the inbox for good and are finished with now.
    pub(crate) fn finish_messages(&self, count: usize, payload_bytes: usize) {
        self.counts().finish(count, payload_bytes);
        self.finish_in_flight(payload_bytes + count * MESSAGE_COST_BYTES);
    }

    /// Bytes read and not yet finished with.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.0.in_flight_bytes.get()
    }

    /// Whether so much waits to be written that nothing more should be read.
    pub(crate) fn is_above_high_water(&self, wire: &Wire) -> bool {
        wire.queued_bytes() >= self.0.route.config.high_water_bytes()
    }

    /// Follows how fast the peer reads.
    /// `progress`: whether the socket has taken anything since the last call.
    pub(crate) fn follow_reader(&self, wire: &Wire, progress: bool, now: Instant) -> SlowReader {
        self.count_unsent(wire.queued_bytes());
        if !self.is_above_high_water(wire) {
            self.set_slow_since(None);
            self.wake_writers_if_room(wire);
            return SlowReader::No;
        }
        let over = wire.queued_bytes() >= self.0.route.config.outbox_bytes_max;
        let slow_since = self.extras().slow_since;
        let since = match slow_since {
            Some(since) if over || !progress => since,
            _ => now,
        };
        self.set_slow_since(Some(since));
        let until = since + self.0.route.config.slow_consumer_timeout;
        if now >= until {
            SlowReader::Cut
        } else {
            SlowReader::Yes
        }
    }

    /// Tells the tenant how much the socket has not taken.
    fn count_unsent(&self, bytes: usize) {
        let mut extras = self.0.extras.borrow_mut();
        let extras = match &mut *extras {
            Some(extras) => extras,
            None if bytes == 0 => return,
            None => extras.get_or_insert_default(),
        };
        let before = std::mem::replace(&mut extras.unsent_bytes, bytes);
        if before != bytes {
            self.tenant().count_unsent(before, bytes);
        }
    }

    fn set_slow_since(&self, since: Option<Instant>) {
        let mut extras = self.0.extras.borrow_mut();
        let before = match &mut *extras {
            Some(extras) => std::mem::replace(&mut extras.slow_since, since),
            None => return,
        };
        let change = i64::from(since.is_some()) - i64::from(before.is_some());
        if change != 0 {
            self.counts()
                .change(|figures| figures.slow_readers_now += change);
        }
    }

    /// Until when a reader that is too slow now has to have caught up.
    pub(crate) fn slow_until(&self) -> Option<Instant> {
        let since = self.0.extras.borrow().as_ref()?.slow_since?;
        Some(since + self.0.route.config.slow_consumer_timeout)
    }

    /// What the host answers by itself, if `text` asks for it.
    pub(crate) fn auto_response(&self, text: &str) -> Option<Box<str>> {
        let extras = self.0.extras.borrow();
        let pair = extras.as_ref()?.facts.as_ref()?.auto_response()?;
        (*pair.request == *text).then(|| pair.response.clone())
    }

    fn wake_writers_if_room(&self, wire: &Wire) {
        if wire.queued_bytes() < self.0.route.config.high_water_bytes() {
            self.wake_writers();
        }
    }
}

/// Held by the message that waits for its turn.
struct Turn<'a>(&'a Outbox);

impl<'a> Turn<'a> {
    fn take(outbox: &'a Outbox) -> Self {
        outbox.extras().waits_in_turn = true;
        Self(outbox)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.extras().waits_in_turn = false;
    }
}

/// Whether the peer reads fast enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlowReader {
    No,
    /// It has until [`Outbox::slow_until`].
    Yes,
    /// Its time is up.
    Cut,
}
