//! The task of one live WebSocket: reads its socket, feeds the protocol, hands whole messages to
//! its instance, writes what waits, and sees the session to its one end.
//!
//! Never calls a guest and never waits for one: it puts events into the instance's inbox and is
//! woken when they are done with. Everything that can wake it is looked at in one pass, in the
//! order of [`Session::step`].

mod begin;
mod reading;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use wharf_protocol::{Cause, Ending, Instant, Phase, Role};

pub(crate) use self::begin::{adopt, begin, launch, run};
use crate::dispatch::Use;
use crate::mailbox::{Outbox, SlowReader, Stop, Work};
use crate::topics::Topics;

/// One session, as its task owns it.
pub(crate) struct Session {
    outbox: Outbox,
    /// Keeps the instance until the session's ending has been put into its inbox.
    usage: Option<Use>,
    peer_half: PeerHalf,
    /// Those of its worker. Having them tells the dispatcher that this session's task lives.
    topics: Rc<Topics>,
    /// It may be a member of some: until it takes no more messages.
    in_topics: bool,
    /// The keepalive is told while nothing is read.
    paused: bool,
}

/// How far the peer's half of the stream is.
enum PeerHalf {
    /// What was read and not used yet: what came right behind the handshake, or more messages than
    /// the tenant has left.
    Reading(Box<[u8]>),
    /// Nothing more will be said: until when to wait for the peer.
    Lingering(Instant),
}

/// What a step found.
enum Step {
    /// Wait for a waker or the deadline.
    Wait(Option<Instant>),
    /// The socket can be dropped.
    Over,
}

/// Runs the session to its end. Written by hand: what an `async fn` is called with takes room twice.
impl Future for Session {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        ready!(session.turn(context));
        session.outbox.release_task();
        Poll::Ready(())
    }
}

impl Session {
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.outbox.register(context);
        let now = self.outbox.lane().clock.now();
        self.outbox.disarm_passed(now);
        let step = self.step(context, now);
        if let Some(inbox) = self.inbox() {
            inbox.next_turn();
        }
        if self.outbox.tenant().is_metered() {
            self.outbox.tenant().next_turn();
        }
        match step {
            Step::Over => Poll::Ready(()),
            Step::Wait(deadline) => {
                self.outbox.arm(deadline);
                Poll::Pending
            }
        }
    }

    /// One pass: requests from outside, deadlines, reading, the answer to a close, writing.
    fn step(&mut self, context: &mut Context<'_>, now: Instant) -> Step {
        self.obey(now);
        self.meet_deadline(now);
        let mut read = Poll::Ready(());
        if matches!(self.peer_half, PeerHalf::Reading(_)) {
            read = self.read(context, now);
        }
        self.conclude(now);
        let written = self.write(context, now);
        self.leave_topics();
        self.report();
        let phase = self.outbox.wire().connection().phase();
        match phase {
            Phase::Aborted => Step::Over,
            Phase::Finished => self.part(context, now, written.is_ready()),
            Phase::Open | Phase::Concluding | Phase::Closing => {
                if (read.is_ready() || self.paused) && self.may_read() {
                    // More may be there, or the write above made room to read again: take turns
                    // with the others of this thread.
                    context.waker().wake_by_ref();
                }
                Step::Wait(self.deadline())
            }
        }
    }

    /// Does what the dispatcher or the server asked for.
    fn obey(&mut self, now: Instant) {
        if matches!(&*self.outbox.stopping(), Some(Stop::Gracefully(_))) {
            self.use_read_ahead(now);
        }
        let cause = match &*self.outbox.stopping() {
            Some(Stop::Now(cause)) => cause.clone(),
            // What was read is answered first.
            Some(Stop::Gracefully(cause)) if self.outbox.in_flight_bytes() == 0 => cause.clone(),
            _ => return,
        };
        self.close_for(cause);
    }

    fn meet_deadline(&mut self, now: Instant) {
        let outbox = &self.outbox;
        let mut wire = outbox.wire();
        if wire
            .connection()
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            wire.vouch_for_peer(now);
            let (connection, out) = wire.protocol(&outbox.lane().buffers);
            connection.on_deadline(now, out);
        }
    }

    /// Answers a close, or closes for a violation, once everything before it is answered. A close
    /// that the handler answers itself waits for it, until the protocol's deadline.
    fn conclude(&mut self, now: Instant) {
        let outbox = &self.outbox;
        let mut wire = outbox.wire();
        let connection = wire.connection();
        let is_due = connection.phase() == Phase::Concluding && outbox.in_flight_bytes() == 0;
        if is_due && !connection.awaits_answer() {
            let (connection, out) = wire.protocol(&outbox.lane().buffers);
            connection.conclude(now, out);
        }
    }

    /// Writes what waits, and follows how fast the peer takes it.
    fn write(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        let outbox = self.outbox.clone();
        let mut wire = outbox.wire();
        let before = wire.queued_bytes();
        let written = wire.poll_flush(context, &outbox.lane().buffers);
        if let Poll::Ready(Err(error)) = &written {
            self.lose(&mut wire, error, now);
        }
        let progress = wire.queued_bytes() < before;
        let slow = outbox.follow_reader(&wire, progress, now);
        let may_send = wire.connection().may_send();
        drop(wire);
        if slow == SlowReader::Cut && may_send {
            self.close_for(Cause::SlowConsumer);
        }
        written.map(|_| ())
    }

    /// Whatever ends a session ends its memberships first, before its handler hears of it.
    fn leave_topics(&mut self) {
        if self.in_topics && !self.outbox.wire().connection().may_send() {
            self.in_topics = false;
            self.topics.leave(self.outbox.id());
        }
    }

    /// Puts the ending into the inbox, once.
    fn report(&mut self) {
        let Some(ending) = self.ending() else { return };
        let Some(usage) = self.usage.take() else {
            return;
        };
        tracing::debug!(
            session = self.outbox.name(),
            code = ending.code,
            clean = ending.clean,
            initiator = ?ending.initiator,
            "session ended: {}", ending.reason
        );
        self.outbox.counts().end(&ending);
        // An instance that is gone has no `on-close` to run.
        let inbox = usage.hosted().inbox();
        let _ = inbox.push(Work::Close(self.outbox.clone(), ending));
        inbox.next_turn();
    }

    fn ending(&self) -> Option<Ending> {
        self.outbox.wire().connection().ending().cloned()
    }

    /// Ends our half of the stream. Where the peer may still be sending, waits for its end: a
    /// socket that is closed on unread bytes resets the connection, and our close frame is lost.
    fn part(&mut self, context: &mut Context<'_>, now: Instant, all_written: bool) -> Step {
        let outbox = self.outbox.clone();
        let mut wire = outbox.wire();
        let until = match self.peer_half {
            PeerHalf::Lingering(until) => until,
            PeerHalf::Reading(_) => now + begin::LINGER,
        };
        self.peer_half = PeerHalf::Lingering(until);
        if now >= until {
            return Step::Over;
        }
        if !all_written {
            return Step::Wait(Some(until));
        }
        let ending = wire.connection().ending();
        let is_clean = ending.is_some_and(|ending| ending.clean);
        // After both close frames the server is the first to end the stream (RFC 6455, section
        // 7.1.1).
        if is_clean && wire.connection().role() == Role::Client {
            match reading::discard(&mut wire, context, &outbox.lane().buffers) {
                Poll::Pending => return Step::Wait(Some(until)),
                Poll::Ready(()) => {}
            }
        }
        match wire.poll_shutdown(context) {
            Poll::Pending => return Step::Wait(Some(until)),
            Poll::Ready(Err(_)) => return Step::Over,
            Poll::Ready(Ok(())) => {}
        }
        // After both close frames the peer has nothing to send (RFC 6455, section 7.1.1).
        if is_clean {
            return Step::Over;
        }
        match reading::discard(&mut wire, context, &outbox.lane().buffers) {
            Poll::Pending => Step::Wait(Some(until)),
            Poll::Ready(()) => Step::Over,
        }
    }

    fn close_for(&mut self, cause: Cause) {
        let outbox = &self.outbox;
        let now = outbox.lane().clock.now();
        let mut wire = outbox.wire();
        let (connection, out) = wire.protocol(&outbox.lane().buffers);
        connection.close_for(cause, now, out);
    }

    /// The socket failed under us.
    fn lose(&self, wire: &mut crate::wire::Wire, error: &io::Error, now: Instant) {
        tracing::trace!(session = self.outbox.id(), "connection lost: {error}");
        wire.connection_mut().end_of_stream(now);
    }

    /// The earliest of what the task waits for.
    fn deadline(&self) -> Option<Instant> {
        let wire = self.outbox.wire();
        let protocol = wire.connection().deadline();
        let slow = self
            .outbox
            .slow_until()
            .filter(|_| wire.connection().may_send());
        [protocol, slow].into_iter().flatten().min()
    }
}

/// Kept apart for its early returns: what ends a read loop.
impl Session {
    fn read(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        for _ in 0..begin::READS_A_TURN {
            if !self.may_read() {
                self.pause(now);
                return Poll::Pending;
            }
            self.resume(now);
            if self.read_ahead_bytes() > 0 {
                self.receive_read_ahead(now);
                continue;
            }
            ready!(self.read_once(context, now));
        }
        Poll::Ready(())
    }
}
