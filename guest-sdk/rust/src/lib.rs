//! Write WebSocket handlers for Wharf in Rust.
//!
//! A handler is a value with up to three methods. Wharf owns the socket: the
//! handshake, frames, pings, limits and closing. The handler sees sessions and
//! whole messages, inside a sandbox of its own.
//!
//! ```no_run
//! use wharf_guest::{Handler, Message, Session};
//!
//! #[derive(Default)]
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_message(&mut self, session: Session, message: Message<'_>) {
//!         // A session that has closed meanwhile needs no answer.
//!         let _ = session.send(message);
//!     }
//! }
//!
//! wharf_guest::export!(Echo);
//! # fn main() {}
//! ```
//!
//! The value is made by [`Default`] once per instance, in its first call.
//! How many sessions share it is decided by whoever deploys the handler: one
//! (`"session"`, the default), all with the same key (`"{room}"`) or all of a
//! worker thread (`"shared"`).
//!
//! # Sleep
//!
//! A deployment may let instances sleep (`idle = "30s"`): one that has nothing to
//! do loses its memory, this value with it, and the next message, timer or end of
//! a session is given to a fresh one. Its sessions stay open and notice nothing.
//! What stays is what the host keeps: [attachments](Session::attachment),
//! [tags](Session::tags), topics, [auto-responses](Session::set_auto_response),
//! timers, buckets. [`Handler::on_open`] is not called again, so what a handler
//! would like to have back it reads in [`Default`]:
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use wharf_guest::{Handler, Message, Session};
//!
//! struct Room {
//!     names: BTreeMap<Session, String>,
//! }
//!
//! impl Default for Room {
//!     /// Empty at the first start; after a sleep, who was there before.
//!     fn default() -> Self {
//!         let name = |session: Session| String::from_utf8(session.attachment()).ok();
//!         let all = Session::all().into_iter();
//!         let names = all.filter_map(|session| Some((session, name(session)?)));
//!         Room { names: names.collect() }
//!     }
//! }
//!
//! impl Handler for Room {
//!     fn on_message(&mut self, session: Session, message: Message<'_>) {
//!         let name = message.as_text().unwrap_or("?");
//!         self.names.insert(session, name.to_owned());
//!         // What is not attached is gone after a sleep.
//!         let _ = session.set_attachment(name.as_bytes());
//!     }
//! }
//!
//! wharf_guest::export!(Room);
//! # fn main() {}
//! ```
//!
//! # Hot swap
//!
//! A handler is replaced by its next version while its sockets stay open. One that
//! exports a [`Handover`] carries its memory over; one that does not lets its
//! sessions finish with the old version, unless its deployment says otherwise.
//!
//! # Time and chance
//!
//! `std::time::Instant`, `SystemTime` and `std::thread::sleep` panic in a handler
//! that is built for `wasm32-unknown-unknown`, and work in one for `wasm32-wasip2`;
//! [`clock`] works in both. A sleep holds up all sessions of its instance: set a
//! [timer](timers) instead. A `HashMap` takes its keys from the host's randomness
//! for `wasm32-wasip2`, and has the same in every run for `wasm32-unknown-unknown`:
//! where clients choose the keys, a `BTreeMap` is safer.
//!
//! # What goes wrong
//!
//! A panic ends the instance and closes its sessions with code 1011; nobody
//! else's. Calls on a session that is closed, or that belongs to another
//! instance, answer [`SendError::Closed`], `None` or nothing.
//!
//! The feature `arena`, on by default, sets the program's allocator to one that
//! makes room for messages quickly; turn it off to set another.
//!
//! This crate never copies a message: `on_message` borrows it from the batch
//! that the host wrote, and `send` hands the host the place where it lies.

#[cfg(any(test, all(feature = "arena", target_family = "wasm")))]
mod arena;
pub mod bindings;
pub mod client;
pub mod clock;
mod connect;
mod control;
#[cfg(feature = "conversation")]
pub mod conversation;
mod export;
pub mod handover;
mod health;
pub mod http;
pub mod kv;
pub mod log;
mod message;
mod session;
pub mod settings;
pub mod timers;
mod topic;

pub use bindings::wharf::websocket::sessions::SessionError as SendError;
pub use bindings::wharf::websocket::types::{Ending, Initiator, UpgradeRequest as Request};
pub use connect::{Acceptance, Handshake, Rejection};
#[doc(hidden)]
pub use control::control;
pub use control::{CloseReason, ControlHandler};
#[doc(hidden)]
pub use export::{Instance, deliver, deliver_packed, reject};
pub use handover::Handover;
pub use health::Health;
pub use message::Message;
pub use session::Session;
pub use timers::TimerHandler;
pub use topic::{Member, Topic, TopicError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What a WebSocket handler does. Every method may be left out.
///
/// One instance is never called twice at the same time, so `&mut self` needs
/// no lock. What is sent during one call leaves in one write.
pub trait Handler: Default {
    /// A session has opened; it can be sent to from now on. Not called again
    /// when its instance wakes from [sleep](crate#sleep).
    fn on_open(&mut self, session: Session) {
        let _ = session;
    }

    /// A whole message has arrived. Text is valid UTF-8.
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let _ = (session, message);
    }

    /// The last call about a session, in whatever way it ended, exactly once.
    /// The session is closed by now: sending to it answers
    /// [`SendError::Closed`].
    fn on_close(&mut self, session: Session, ending: Ending) {
        let _ = (session, ending);
    }
}
