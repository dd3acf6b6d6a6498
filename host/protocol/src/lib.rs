//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692) as a pure state
//! machine: bytes and the time in; messages, bytes to write and a deadline
//! out. Never does I/O, reads no clock, asks for no randomness, spawns
//! nothing: a driver does, and this crate compiles for bare WebAssembly.

mod close;
mod config;
mod connection;
pub mod deflate;
pub mod handshake;
mod message;
mod origin;
mod time;

pub use close::{
    Afterwards, Cause, Close, Ending, Initiator, OnWire, OperatorReason, PeerReason,
    REASON_BYTES_MAX, cut as cut_reason, may_be_sent as code_may_be_sent,
};
pub use config::{Config, Keepalive, Role};
pub use connection::{Connection, Phase, SendError};
pub use message::{Event, Input, MessageKind};
pub use origin::{OriginRule, origin_allowed};
pub use time::Instant;
