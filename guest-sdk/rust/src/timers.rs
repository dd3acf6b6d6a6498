//! Alarms that outlive the instance's memory, each under a name.
//!
//! ```no_run
//! use std::time::Duration;
//! use wharf_guest::{Handler, Message, Session, TimerHandler, timers};
//!
//! #[derive(Default)]
//! struct Reminder;
//!
//! impl Handler for Reminder {
//!     fn on_message(&mut self, _session: Session, message: Message<'_>) {
//!         let _ = timers::set(message.as_text().unwrap_or("?"), Duration::from_secs(60));
//!     }
//! }
//!
//! impl TimerHandler for Reminder {
//!     fn on_timer(&mut self, name: &str) {
//!         for session in Session::all() {
//!             let _ = session.try_send(name);
//!         }
//!     }
//! }
//!
//! wharf_guest::export!(Reminder, timers);
//! # fn main() {}
//! ```
//!
//! The timers of an instance with a key (`"{room}"`) and of a shared one are
//! stored: they outlive sessions, sleep and a restart of the server, and start
//! the instance if it does not live. Those of an instance for one session
//! end with it. All of them wake an instance that sleeps. The deployment grants them: `[route.grants] timers = true`.

use std::time::Duration;

use crate::Handler;
use crate::bindings::timed::wharf::websocket::timers as wire;

pub use crate::bindings::timed::wharf::websocket::timers::TimerError as Error;

/// Receives the timers. Optional: implement it beside [`Handler`] and export
/// both with `export!(MyHandler, timers)`.
pub trait TimerHandler: Handler {
    /// A timer is due. It has happened when this returns; after a panic it
    /// comes again: after 1 s, then 2, 4 and so on, ten times in all. It may
    /// come twice when the server ends at the wrong moment.
    fn on_timer(&mut self, name: &str);
}

/// Calls [`TimerHandler::on_timer`] after that time, in order with the other
/// calls of the instance. A timer of the same name is replaced.
///
/// # Errors
/// If the name has more than 256 bytes, the time is more than ten years away,
/// there are too many timers, or the storage failed.
pub fn set(name: &str, after: Duration) -> Result<(), Error> {
    let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    wire::set(name, milliseconds)
}

/// Forgets a timer, also one that is due and waits for its call; nothing if
/// there is none.
///
/// # Errors
/// If the name is too long or the storage failed.
pub fn cancel(name: &str) -> Result<(), Error> {
    wire::cancel(name)
}
