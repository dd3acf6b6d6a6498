//! What a component may import: one thin adapter per WIT interface, and the rule that says which
//! imports are granted.
//!
//! Adapters translate between wasmtime and the mailbox. They decide nothing about routes or tasks,
//! and know an instance only through the view that its Store gives them.

pub(crate) mod bindings;
mod grant;
mod log;
pub(crate) mod sessions;
mod wasi;

pub use self::grant::Capability;
pub(crate) use self::grant::{PACKAGE, VERSION, judge};
pub(crate) use self::log::GuestLog;
pub(crate) use self::wasi::{WasiState, link as link_wasi};
