//! The reading half of a session: when to read, one read, and where its messages go.

use std::io;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use wharf_protocol::{Event, Input, Instant, Message, MessageKind, Phase};

use super::begin::READS_A_TURN;
use super::{PeerHalf, Session};
use crate::dispatch::Inbox;
use crate::mailbox::{InboxClosed, Incoming, METERED_READ_BYTES_MAX, Outbox};
use crate::wire::{Buffers, Wire};

/// A joined message that is so long goes to its instance in its own buffer; the host answers only
/// shorter ones by itself.
const OWNED_BYTES_MIN: usize = 4 * 1024;

/// A binary message that is so long, and ends what was read, goes along with the read buffer.
const IN_PLACE_BYTES_MIN: usize = 8 * 1024;

/// What became of bytes that were read.
struct Received {
    /// How many of them: all, unless the tenant has no message left.
    used: usize,
    /// Where a long binary message is that ends the bytes: it is left to the caller.
    last: Option<Range<usize>>,
}

impl Session {
    /// Whether bytes from the socket can be used now. If not, a waker is registered wherever the
    /// hindrance goes away.
    pub(super) fn may_read(&self) -> bool {
        let outbox = &self.outbox;
        let wire = outbox.wire();
        match wire.connection().phase() {
            Phase::Open => {
                outbox.stopping().is_none()
                    && !outbox.is_above_high_water(&wire)
                    && self.inbox().is_some_and(|inbox| inbox.has_room(outbox))
                    && may_use_more(outbox)
            }
            // Only the peer's close frame is of interest.
            Phase::Closing => true,
            Phase::Concluding | Phase::Finished | Phase::Aborted => false,
        }
    }

    /// While nothing is read, what the peer may have sent does not count against it.
    pub(super) fn pause(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.paused, true) {
            self.outbox.wire().connection_mut().pause_keepalive(now);
        }
    }

    pub(super) fn resume(&mut self, now: Instant) {
        if std::mem::take(&mut self.paused) {
            self.outbox.wire().connection_mut().resume_keepalive(now);
        }
    }

    pub(super) fn read_ahead_bytes(&self) -> usize {
        match &self.peer_half {
            PeerHalf::Reading(bytes) => bytes.len(),
            PeerHalf::Lingering(_) => 0,
        }
    }

    /// Uses what came behind the handshake.
    pub(super) fn receive_read_ahead(&mut self, now: Instant) {
        let PeerHalf::Reading(bytes) = &mut self.peer_half else {
            return;
        };
        let mut bytes = std::mem::take(bytes);
        let Received { used, last } = self.receive(&mut bytes, now);
        if let Some(payload) = last {
            self.deliver_binary(&bytes[payload]);
        }
        if used < bytes.len() {
            self.peer_half = PeerHalf::Reading(bytes[used..].into());
        }
    }

    /// Uses all that was read, whatever the tenant has left: it is to be answered.
    pub(super) fn use_read_ahead(&mut self, now: Instant) {
        let mut left = usize::MAX;
        while self.read_ahead_bytes() < left {
            left = self.read_ahead_bytes();
            if left > 0 {
                self.receive_read_ahead(now);
            }
        }
    }

    /// Reads once and uses what came. Ready when there may be more.
    pub(super) fn read_once(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        let outbox = self.outbox.clone();
        let buffers = &outbox.lane().buffers;
        let directly = outbox.wire().poll_read_directly(context, buffers);
        if let Some(polled) = directly {
            match ready!(polled) {
                Ok(0) => self.end_of_stream(now),
                Ok(count) => {
                    charge_read(&outbox, count);
                    self.receive_directly(count, now);
                }
                Err(error) => self.fail(&error, now),
            }
            return Poll::Ready(());
        }
        let mut buffer = buffers.read();
        let room = match outbox.tenant().is_metered() {
            true => &mut buffer[..METERED_READ_BYTES_MAX],
            false => &mut buffer[..],
        };
        let outcome = ready!(outbox.wire().poll_read(context, room));
        match outcome {
            Ok(0) => self.end_of_stream(now),
            Ok(count) => {
                charge_read(&outbox, count);
                let Received { used, last } = self.receive(&mut buffer[..count], now);
                if used < count {
                    self.peer_half = PeerHalf::Reading(buffer[used..count].into());
                }
                if let Some(payload) = last {
                    match buffers.lend_read(&mut buffer) {
                        Some(lent) => self.deliver(Incoming::InPlace(lent, payload)),
                        None => self.deliver_binary(&buffer[payload]),
                    }
                }
            }
            Err(error) => self.fail(&error, now),
        }
        Poll::Ready(())
    }

    fn deliver_binary(&self, payload: &[u8]) {
        self.deliver(Incoming::Lent(Message::Binary(payload)));
    }

    fn deliver(&self, message: Incoming<'_>) {
        if let Some(inbox) = self.inbox() {
            // Whoever ended the instance has asked this session to stop.
            let _ = inbox.push_message(&self.outbox, message);
        }
    }

    fn end_of_stream(&self, now: Instant) {
        self.outbox.wire().connection_mut().end_of_stream(now);
    }

    fn fail(&self, error: &io::Error, now: Instant) {
        self.lose(&mut self.outbox.wire(), error, now);
    }

    /// Feeds the protocol, and hands what it finds to the instance.
    fn receive(&self, bytes: &mut [u8], now: Instant) -> Received {
        let outbox = &self.outbox;
        let count = bytes.len();
        let all_used = Received {
            used: count,
            last: None,
        };
        let Some(inbox) = self.inbox() else {
            return all_used;
        };
        let is_metered = outbox.tenant().is_metered();
        let all = bytes.as_ptr_range();
        let mut wire = outbox.wire();
        let (connection, out) = wire.protocol(&outbox.lane().buffers);
        let mut last = None;
        let mut input = Input::new(bytes);
        while let Some(event) = connection.receive(&mut input, now, out) {
            let delivered = match event {
                Event::Joined(message) if message.payload().len() >= OWNED_BYTES_MIN => {
                    let kind = message.kind();
                    let payload = connection.take_payload().unwrap_or_default();
                    inbox.push_message(outbox, Incoming::Owned(kind, payload))
                }
                Event::Message(Message::Binary(payload))
                    if payload.len() >= IN_PLACE_BYTES_MIN
                        && !is_metered
                        && payload.as_ptr_range().end == all.end =>
                {
                    let length = all.end as usize - all.start as usize;
                    last = Some(length - payload.len()..length);
                    Ok(())
                }
                Event::Control(control) => inbox.push_control(outbox, control),
                Event::Message(message) | Event::Joined(message) => match answer(outbox, message) {
                    Some(text) => {
                        // Refused only when the session is closing, and then nobody waits for it.
                        let _ = connection.send(MessageKind::Text, text.as_bytes(), out);
                        outbox.count_sent(text.len());
                        Ok(())
                    }
                    None => inbox.push_message(outbox, Incoming::Lent(message)),
                },
            };
            // Whoever ended the instance has asked this session to stop.
            if delivered == Err(InboxClosed) {
                return all_used;
            }
            if is_metered {
                outbox.tenant().charge_message();
                // What is left of the bytes goes on from here when something is left.
                if outbox.tenant().may_read().is_err() {
                    break;
                }
            }
        }
        let used = count - input.remaining();
        Received { used, last }
    }

    /// What was read straight into the message under way has arrived.
    fn receive_directly(&self, count: usize, now: Instant) {
        let outbox = &self.outbox;
        let Some(inbox) = self.inbox() else { return };
        let mut wire = outbox.wire();
        let connection = wire.connection_mut();
        let Some(event) = connection.received_directly(count, now) else {
            return;
        };
        if outbox.tenant().is_metered() {
            outbox.tenant().charge_message();
        }
        let kind = event.message().map(Message::kind);
        if let Some((kind, payload)) = kind.zip(connection.take_payload()) {
            // Whoever ended the instance has asked this session to stop.
            let _ = inbox.push_message(outbox, Incoming::Owned(kind, payload));
        }
    }

    pub(super) fn inbox(&self) -> Option<&Inbox> {
        self.usage.as_ref().map(|usage| usage.hosted().inbox())
    }
}

/// Whether the session's tenant has something left of what it may read. If not, the session's task is
/// woken when it has.
fn may_use_more(outbox: &Outbox) -> bool {
    let tenant = outbox.tenant();
    if !tenant.is_metered() {
        return true;
    }
    let left = tenant.may_read();
    left.inspect_err(|limit| tenant.wait(outbox, *limit))
        .is_ok()
}

fn charge_read(outbox: &Outbox, bytes: usize) {
    if outbox.tenant().is_metered() {
        outbox.tenant().charge_read(bytes);
    }
}

/// What the host answers by itself.
fn answer(outbox: &Outbox, message: Message<'_>) -> Option<Box<str>> {
    match message {
        Message::Text(text) => outbox.auto_response(text),
        Message::Binary(_) => None,
    }
}

/// Reads and forgets until the stream ends (ready) or has nothing now (pending).
pub(super) fn discard(wire: &mut Wire, context: &mut Context<'_>, buffers: &Buffers) -> Poll<()> {
    let mut buffer = buffers.read();
    for _ in 0..READS_A_TURN {
        match ready!(wire.poll_read(context, &mut buffer)) {
            Ok(0) | Err(_) => return Poll::Ready(()),
            Ok(_) => {}
        }
    }
    // It goes on when others had their turn.
    context.waker().wake_by_ref();
    Poll::Pending
}
