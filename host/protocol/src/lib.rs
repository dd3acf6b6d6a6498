//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692) as a pure state
//! machine: bytes and the time in; messages, bytes to write and a deadline
//! out. Never does I/O, reads no clock, asks for no randomness, spawns
//! nothing: a driver does, and this crate compiles for bare WebAssembly.
//!
//! Modules, in the order in which a connection's bytes meet them: [`handshake`]
//! (and the `Origin` rule), `frame`, `mask`, `assembly` with [`deflate`] and
//! `utf8`, `connection`; beside them `cause` (every way to end), `keepalive`
//! and `time`.
//!
//! A driver gives each read to [`Connection::receive`], writes what it finds in
//! `out`, and calls [`Connection::on_deadline`] at [`Connection::deadline`]:
//!
//! ```
//! use std::sync::Arc;
//! use wharf_protocol::{Config, Connection, Input, Instant, Keepalive, Phase, Role};
//!
//! let (now, seed) = (Instant::from_millis(0), 4711);
//! let (config, keepalive) = (Arc::new(Config::default()), Keepalive::default());
//! let mut connection = Connection::new(Role::Server, config, keepalive, None, now, seed);
//!
//! // "Hello", masked, as in RFC 6455, section 5.7; then an empty close frame.
//! let mut read = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x88\x80\0\0\0\0";
//! let (mut input, mut out, mut answers) = (Input::new(&mut read), Vec::new(), Vec::new());
//! while let Some(event) = connection.receive(&mut input, now, &mut out) {
//!     let Some(message) = event.message() else { continue };
//!     answers.push((message.kind(), message.payload().to_vec()));
//! }
//! for (kind, payload) in answers {
//!     connection.send(kind, &payload, &mut out)?;
//! }
//! assert_eq!(connection.phase(), Phase::Concluding);
//! connection.conclude(now, &mut out);
//! assert_eq!(out, b"\x81\x05Hello\x88\x00");
//! assert_eq!(connection.ending().map(|ending| ending.code), Some(1005));
//! # Ok::<(), wharf_protocol::SendError>(())
//! ```

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
pub use connection::{Broadcast, Connection, DIRECT_BYTES_MAX, Phase, PlainHeader, SendError};
pub use frame::CONTROL_BYTES_MAX;
pub use message::{Control, Event, Input, Message, MessageKind};
pub use origin::{OriginRule, origin_allowed};
pub use time::Instant;
pub use utf8::as_text;
