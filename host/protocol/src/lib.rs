//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692) as a pure state
//! machine: bytes and the time in; messages, bytes to write and a deadline
//! out. Never does I/O, reads no clock, asks for no randomness, spawns
//! nothing: a driver does, and this crate compiles for bare WebAssembly.
//!
//! Modules, in the order in which a connection's bytes meet them: [`handshake`]
//! (and the `Origin` rule), `frame`, `mask`, `assembly` with [`deflate`] and
//! `utf8`, `connection`; beside them `cause` (every way to end), `keepalive`
//! and `time`.

mod assembly;
mod buffer;
mod cause;
mod close;
mod config;
mod connection;
pub mod deflate;
mod frame;
pub mod handshake;
mod keepalive;
mod mask;
mod message;
mod origin;
mod random;
mod time;
mod utf8;

pub use cause::{Cause, OperatorReason, PeerReason};
pub use close::{
    Afterwards, Close, Ending, Initiator, OnWire, REASON_BYTES_MAX, code_may_be_sent, cut_reason,
};
pub use config::{Config, Keepalive, Role};
pub use connection::{Connection, Phase, SendError};
pub use message::{Event, Input, MessageKind};
pub use origin::{OriginRule, origin_allowed};
pub use time::Instant;
