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
//! The value is made by [`Default`] once per instance, before the first call.
//! How many sessions share it is decided by whoever deploys the handler: one
//! (`"session"`, the default), all with the same key (`"{room}"`) or all of a
//! worker thread (`"shared"`).
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
mod connect;
mod export;
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
pub use export::{Instance, deliver, reject};
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
    /// A session has opened; it can be sent to from now on.
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
