//! The server as a process among others: the sockets that it inherits, the service manager that it
//! reports to, and the process that takes its place.
//!
//! Knows the library by its handle only, and no session.

pub(crate) mod handover;
pub(crate) mod launcher;
pub(crate) mod link;
pub(crate) mod manager;
pub(crate) mod sockets;
