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
        self.conclude(now, out);
        if self.phase == Phase::Open {
            self.end_with(cause::asked(initiator, "closed", code, reason), now, out);
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
        let Close {
            code,
            reason,
            initiator,
            on_wire,
            afterwards,
            ..
        } = close;
        let mut payload = [0; CONTROL_BYTES_MAX];
        payload[..2].copy_from_slice(&code.to_be_bytes());
        let payload_bytes = match on_wire {
            OnWire::CodeAndReason => {
                payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
                Some(2 + reason.len())
            }
            OnWire::Code => Some(2),
            OnWire::Empty => Some(0),
            OnWire::Nothing => None,
        };
        if let Some(payload_bytes) = payload_bytes {
            self.push_frame(Opcode::Close, &payload[..payload_bytes], out);
        }
        self.phase = match afterwards {
            Afterwards::AwaitPeer => Phase::Closing,
            Afterwards::Finish => Phase::Finished,
            Afterwards::Abort => Phase::Aborted,
        };
        self.close_by = now + self.config.close_timeout;
        // Both frames are exchanged where ours answers the peer's.
        let clean = matches!(on_wire, OnWire::Code | OnWire::Empty);
        let reason = reason.into_owned();
        self.ending = Some(Box::new(Ending {
            code,
            reason,
            clean,
            initiator,
        }));
        self.release();
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
        let read = read_close(payload);
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
fn read_close(payload: &[u8]) -> Result<Option<PeerReason>, Cause> {
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
    if utf8::as_text(reason).is_none() {
        return Err(Cause::ReasonNotUtf8);
    }
    let reason = String::from_utf8_lossy(reason).into_owned();
    Ok(Some(PeerReason { code, reason }))
}
