//! One WebSocket connection as a state machine: bytes and time in; messages,
//! bytes to write and a deadline out. Never reads a clock or touches a socket;
//! the driver does both.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::close::{Cause, Ending, Initiator};
use crate::config::{Config, Keepalive, Role};
use crate::deflate;
use crate::message::{Event, Input, MessageKind};
use crate::time::Instant;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Messages go both ways.
    Open,
    /// Our close frame is out, the peer's is awaited. Keep reading: data is
    /// discarded, the peer's close frame ends the connection.
    Closing,
    /// Nothing more will be said: write what `out` holds, end our half of the
    /// stream, read and discard what still comes (for the close timeout at
    /// most: a socket that is closed on unread bytes resets the connection,
    /// and the close frame is lost with it), then drop the socket.
    Finished,
    /// Drop the socket; write what can be written without waiting.
    Aborted,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// A close frame has been sent, or the connection has ended.
    Closed,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection is closing or closed"),
        }
    }
}

impl core::error::Error for SendError {}

/// One connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    _role: Role,
    _config: Arc<Config>,
    phase: Phase,
    ending: Option<Box<Ending>>,
}

impl Connection {
    /// A connection whose handshake was just completed. `deflate` is what was
    /// negotiated; `seed` comes from the operating system's randomness and
    /// makes ping payloads and masks unguessable.
    pub fn new(
        role: Role,
        config: Arc<Config>,
        _keepalive: Keepalive,
        _deflate: Option<deflate::Params>,
        _now: Instant,
        _seed: u64,
    ) -> Self {
        Self {
            _role: role,
            _config: config,
            phase: Phase::Open,
            ending: None,
        }
    }

    /// Takes bytes from `input` until a message is whole; `None` when all have
    /// been taken. Call it until then. Answers to control frames are appended
    /// to `out`; look at [`Connection::phase`] afterwards.
    pub fn receive<'a, 'i: 'a>(
        &'a mut self,
        input: &mut Input<'i>,
        _now: Instant,
        _out: &mut Vec<u8>,
    ) -> Option<Event<'a>> {
        input.discard();
        None
    }

    /// Appends one message to `out`. Text has to be UTF-8.
    pub fn send(
        &mut self,
        _kind: MessageKind,
        _payload: &[u8],
        _out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        Err(SendError::Closed)
    }

    /// Starts the closing handshake; once one has started, does nothing. A
    /// code that must not be sent becomes 1011, a reason is cut to 123 bytes
    /// on a character boundary.
    pub fn close(
        &mut self,
        _code: u16,
        _reason: &str,
        _initiator: Initiator,
        _now: Instant,
        _out: &mut Vec<u8>,
    ) {
    }

    /// Ends the connection as the table of [`Cause`] says; once it is ending,
    /// does nothing.
    pub fn close_for(&mut self, _cause: Cause, _now: Instant, _out: &mut Vec<u8>) {}

    /// The socket gave its end or an error: 1006, unless a close frame was
    /// seen or sent before.
    pub fn end_of_stream(&mut self, _now: Instant) {}

    /// When [`Connection::on_deadline`] wants to be called; may change with
    /// every other call.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due at `now`: a ping is appended to `out`, or a wait has
    /// come to its end. Called early, it does nothing.
    pub fn on_deadline(&mut self, _now: Instant, _out: &mut Vec<u8>) {}

    /// Reading is paused: time does not count against the peer until
    /// [`Connection::resume_keepalive`].
    pub fn pause_keepalive(&mut self, _now: Instant) {}

    /// Reading goes on: every wait on the peer is moved by the pause.
    pub fn resume_keepalive(&mut self, _now: Instant) {}

    /// Sets how often pings are sent, and starts anew from `now`.
    pub fn set_ping_interval(&mut self, _interval: Option<Duration>, _now: Instant) {}

    /// Sets the window for the answer to a ping, also to the one under way.
    pub fn set_timeout(&mut self, _timeout: Duration, _now: Instant) {}

    /// How far the connection has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How the connection ended; `Some` once it is finished or aborted.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_deref()
    }

    /// The driver has written everything that `out` held: a pong that waits
    /// for room goes out now.
    pub fn flushed(&mut self, _out: &mut Vec<u8>) {}
}
