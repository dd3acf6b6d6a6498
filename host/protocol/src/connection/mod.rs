//! One WebSocket connection as a state machine: bytes and time in; messages,
//! bytes to write and a deadline out. Never reads a clock or touches a socket;
//! the driver does both.

mod broadcast;
mod ending;
mod receive;
mod send;
mod timing;

use core::fmt;
use std::sync::Arc;

pub use self::broadcast::Broadcast;

use crate::assembly::Assembly;
use crate::cause::Cause;
use crate::close::Ending;
use crate::config::{Config, Keepalive, Role};
use crate::deflate::{Compressor, Direction, Inflater, Params};
use crate::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Opcode};
use crate::keepalive::Pinger;
use crate::random::{MaskKeys, Random};
use crate::time::Instant;

pub use self::receive::DIRECT_BYTES_MAX;
pub use self::send::PlainHeader;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Messages go both ways.
    Open,
    /// The peer has closed or broken a rule. Nothing more is read, messages
    /// may still be sent: the driver answers what came before and then calls
    /// [`Connection::conclude`].
    Concluding,
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
    /// A control frame carries 125 bytes at most (RFC 6455, section 5.5).
    ControlTooLong,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection is closing or closed"),
            Self::ControlTooLong => f.write_str("a control frame carries 125 bytes at most"),
        }
    }
}

impl core::error::Error for SendError {}

/// One connection after its handshake. Small while it is idle: what only a
/// message under way or a rare frame needs is boxed, and given back after it.
pub struct Connection {
    config: Arc<Config>,
    role: Role,
    phase: Phase,
    deflate: Option<Params>,
    /// The start of a header whose end has not arrived.
    held: [u8; HEADER_BYTES_MAX],
    held_bytes: u8,
    frame: Option<FrameUnderWay>,
    assembly: Option<Box<Assembly>>,
    /// Of a control frame that reads cut in two; while one is handed out, whole.
    control: Option<Box<ControlPayload>>,
    /// The latest ping's payload, waiting for room.
    pong: Option<Box<ControlPayload>>,
    inflater: Option<Box<Inflater>>,
    compressor: Option<Box<Compressor>>,
    mask_keys: Option<Box<MaskKeys>>,
    random: Random,
    pinger: Pinger,
    /// While concluding or closing: when the time for it is up.
    close_by: Instant,
    /// While concluding: why.
    cause: Option<Box<Cause>>,
    ending: Option<Box<Ending>>,
}

/// A frame whose header has been read and whose payload has not ended.
#[derive(Clone, Copy)]
struct FrameUnderWay {
    opcode: Opcode,
    fin: bool,
    /// Turned to the next byte.
    key: [u8; 4],
    payload_bytes_left: u64,
}

/// The payload of a control frame, as far as it has arrived.
struct ControlPayload {
    bytes: [u8; CONTROL_BYTES_MAX],
    length: u8,
}

impl ControlPayload {
    fn empty() -> Box<Self> {
        Box::new(Self {
            bytes: [0; CONTROL_BYTES_MAX],
            length: 0,
        })
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.length);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len() as u8;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Connection {
    /// A connection whose handshake was just completed. `deflate` is what was
    /// negotiated; `seed` comes from the operating system's randomness and
    /// makes ping payloads and masks unguessable.
    pub fn new(
        role: Role,
        config: Arc<Config>,
        keepalive: Keepalive,
        deflate: Option<Params>,
        now: Instant,
        seed: u64,
    ) -> Self {
        let masks = role == Role::Client || config.mask_outgoing;
        Self {
            config,
            role,
            phase: Phase::Open,
            deflate,
            held: [0; HEADER_BYTES_MAX],
            held_bytes: 0,
            frame: None,
            assembly: None,
            control: None,
            pong: None,
            inflater: None,
            compressor: None,
            mask_keys: masks.then(Box::default),
            random: Random::new(seed),
            pinger: Pinger::new(keepalive, now),
            close_by: now,
            cause: None,
            ending: None,
        }
    }

    /// Which end of the connection this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How far the connection has come.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether [`Connection::send`] takes messages.
    #[inline]
    pub fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Concluding)
    }

    /// Whether the peer's close frame waits for the handler's own, on a connection
    /// that is [raw](Config::raw). At [`Connection::deadline`] it waits no longer.
    pub fn awaits_answer(&self) -> bool {
        let by_peer = matches!(self.cause.as_deref(), Some(Cause::PeerClosed(_)));
        self.config.raw && self.phase == Phase::Concluding && by_peer
    }

    /// How the connection ended; `Some` once it is finished or aborted.
    pub fn ending(&self) -> Option<&Ending> {
        match self.phase {
            Phase::Open | Phase::Concluding | Phase::Closing => None,
            Phase::Finished | Phase::Aborted => self.ending.as_deref(),
        }
    }

    /// What was negotiated for compression.
    pub fn deflate(&self) -> Option<Params> {
        self.deflate
    }

    /// The direction that we compress, then the one that we inflate.
    fn directions(&self, params: Params) -> (Direction, Direction) {
        match self.role {
            Role::Server => (params.server(), params.client()),
            Role::Client => (params.client(), params.server()),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("phase", &self.phase)
            .field("deflate", &self.deflate)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
