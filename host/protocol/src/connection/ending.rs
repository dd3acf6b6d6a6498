//! How a connection comes to its end: the first cause decides, what follows
//! can only make it clean or cut it short.

use super::{Connection, Phase};
use crate::cause::{self, Cause, PeerReason};
use crate::close::{Afterwards, Close, Ending, Initiator, OnWire, code_may_be_sent};
use crate::frame::{CONTROL_BYTES_MAX, Opcode};
use crate::time::Instant;
use crate::utf8;

impl Connection {
    /// Starts the closing handshake; once one has started, does nothing. A
    /// code that must not be sent becomes 1011, a reason is cut to 123 bytes
    /// on a character boundary.
    pub fn close(
        &mut self,
        code: u16,
        reason: &str,
        initiator: Initiator,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        self.start_close(cause::asked(initiator, "closed", code, reason), now, out);
    }

    /// As [`Connection::close`], with a close frame that says nothing (RFC 6455,
    /// section 7.1.5: 1005).
    pub fn close_without_code(&mut self, initiator: Initiator, now: Instant, out: &mut Vec<u8>) {
        self.start_close(cause::asked_without_code(initiator), now, out);
    }

    fn start_close(&mut self, close: Close<'_>, now: Instant, out: &mut Vec<u8>) {
        if self.awaits_answer() && close.initiator == Initiator::Handler {
            return self.answer(&close, now, out);
        }
        self.conclude(now, out);
        if self.phase == Phase::Open {
            self.end_with(close, now, out);
        }
    }

    /// The handler's own words go out; that the peer has closed, and how, stands.
    fn answer(&mut self, close: &Close<'_>, now: Instant, out: &mut Vec<u8>) {
        let Some(cause) = self.cause.take() else {
            return;
        };
        self.push_close(close, out);
        let by_peer = Close {
            on_wire: OnWire::Nothing,
            ..cause.close()
        };
        self.end_with(by_peer, now, out);
        if let Some(ending) = &mut self.ending {
            ending.clean = true;
        }
    }

    /// Ends the connection as the table of [`Cause`] says; once it is ending,
    /// does nothing.
    pub fn close_for(&mut self, cause: Cause, now: Instant, out: &mut Vec<u8>) {
        self.conclude(now, out);
        if self.phase == Phase::Open {
            self.end(&cause, now, out);
        }
    }

    /// Everything that came before the peer's close frame, or before its
    /// violation, has been answered: our close frame goes out. Does nothing
    /// unless the connection is [`Phase::Concluding`].
    pub fn conclude(&mut self, now: Instant, out: &mut Vec<u8>) {
        if let Some(cause) = self.cause.take() {
            self.phase = Phase::Open;
            self.end(&cause, now, out);
        }
    }

    /// What the peer sent leaves nothing to read. What it sent before may
    /// still be answered; while closing nothing is, and the wait is over.
    #[cold]
    pub(super) fn stop_reading(&mut self, cause: Cause, now: Instant) {
        match self.phase {
            Phase::Open => {
                self.phase = Phase::Concluding;
                self.close_by = now + self.config.close_timeout;
                self.cause = Some(Box::new(cause));
                self.assembly = None;
                self.inflater = None;
            }
            Phase::Closing => self.phase = Phase::Finished,
            Phase::Concluding | Phase::Finished | Phase::Aborted => {}
        }
    }

    /// The socket gave its end or an error: 1006, unless a close frame was
    /// seen or sent before.
    pub fn end_of_stream(&mut self, now: Instant) {
        match self.phase {
            Phase::Open => self.end(&Cause::ConnectionLost, now, &mut Vec::new()),
            Phase::Concluding => {
                self.conclude(now, &mut Vec::new());
                self.phase = Phase::Aborted;
                if let Some(ending) = &mut self.ending {
                    ending.clean = false;
                }
            }
            Phase::Closing => self.phase = Phase::Aborted,
            Phase::Finished | Phase::Aborted => {}
        }
    }

    /// Ends an open connection.
    #[cold]
    pub(super) fn end(&mut self, cause: &Cause, now: Instant, out: &mut Vec<u8>) {
        debug_assert_eq!(self.phase, Phase::Open);
        self.end_with(cause.close(), now, out);
    }

    fn end_with(&mut self, close: Close<'_>, now: Instant, out: &mut Vec<u8>) {
        self.push_close(&close, out);
        self.phase = match close.afterwards {
            Afterwards::AwaitPeer => Phase::Closing,
            Afterwards::Finish => Phase::Finished,
            Afterwards::Abort => Phase::Aborted,
        };
        self.close_by = now + self.config.close_timeout;
        self.ending = Some(Box::new(Ending {
            code: close.code,
            // Both frames are exchanged where ours answers the peer's.
            clean: close.initiator == Initiator::Peer && close.on_wire != OnWire::Nothing,
            initiator: close.initiator,
            reason: close.reason.into_owned(),
        }));
        self.release();
    }

    /// The close frame that goes over the wire, if one does.
    fn push_close(&mut self, close: &Close<'_>, out: &mut Vec<u8>) {
        let mut payload = [0; CONTROL_BYTES_MAX];
        payload[..2].copy_from_slice(&close.code.to_be_bytes());
        let reason = close.reason.as_bytes();
        let payload_bytes = match close.on_wire {
            OnWire::CodeAndReason => {
                payload[2..2 + reason.len()].copy_from_slice(reason);
                2 + reason.len()
            }
            OnWire::Code => 2,
            OnWire::Empty => 0,
            OnWire::Nothing => return,
        };
        self.push_frame(Opcode::Close, &payload[..payload_bytes], out);
    }

    /// Gives back what only messages need.
    fn release(&mut self) {
        self.assembly = None;
        self.inflater = None;
        self.compressor = None;
        self.pong = None;
    }

    /// The peer's close frame, with its whole payload.
    pub(super) fn close_received(&mut self, payload: &[u8], now: Instant) {
        let read = close_reason(payload).map(|read| read.map(owned));
        match (self.phase, read) {
            (Phase::Open, Ok(reason)) => self.stop_reading(Cause::PeerClosed(reason), now),
            (Phase::Closing, Ok(_)) => {
                self.phase = Phase::Finished;
                if let Some(ending) = &mut self.ending {
                    ending.clean = true;
                }
            }
            (_, Err(cause)) => self.stop_reading(cause, now),
            (Phase::Concluding | Phase::Finished | Phase::Aborted, Ok(_)) => {}
        }
    }
}

/// Reads a close frame's payload (RFC 6455, sections 5.5.1 and 7.4).
pub(super) fn close_reason(payload: &[u8]) -> Result<Option<(u16, &str)>, Cause> {
    let Some((&code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Cause::CloseCodeInvalid)
        };
    };
    let code = u16::from_be_bytes(code);
    if !code_may_be_sent(code) {
        return Err(Cause::CloseCodeInvalid);
    }
    let reason = utf8::as_text(reason).ok_or(Cause::ReasonNotUtf8)?;
    Ok(Some((code, reason)))
}

fn owned((code, reason): (u16, &str)) -> PeerReason {
    let reason = reason.to_owned();
    PeerReason { code, reason }
}
