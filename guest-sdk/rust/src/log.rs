//! Messages to the tenant's log: `wasi:logging` in words that read well. The
//! deployment grants it; without the grant a handler that uses this module is
//! refused at its start.
//!
//! ```no_run
//! # let (name, reason) = ("Ada", "full");
//! wharf_guest::log::warn("rooms", &format!("{name} could not join: {reason}"));
//! ```
//!
//! The context is one word that groups messages: a module, a part of the
//! program. A call never waits and never fails; what is more than the tenant
//! may log is dropped and counted.

use crate::bindings::logging::wasi::logging::logging::{Level, log};

/// How the program flows, value by value.
pub fn trace(context: &str, message: &str) {
    log(Level::Trace, context, message);
}

/// What helps to find a mistake.
pub fn debug(context: &str, message: &str) {
    log(Level::Debug, context, message);
}

/// What an operator may want to know.
pub fn info(context: &str, message: &str) {
    log(Level::Info, context, message);
}

/// What may go wrong.
pub fn warn(context: &str, message: &str) {
    log(Level::Warn, context, message);
}

/// What went wrong.
pub fn error(context: &str, message: &str) {
    log(Level::Error, context, message);
}
