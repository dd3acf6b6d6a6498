//! Running components: the engine, checked and pre-linked programs, and instances, each the owner
//! of one Store.
//!
//! Deadlines on a guest are held outside of its Store. After a trap, a timeout or a call that was
//! dropped half-way the Store is never entered again. Knows nothing of routes, tasks or sockets.

mod call;
mod engine;
mod examine;
mod inspect;
mod instance;
mod limits;
mod pieces;
mod precompiled;
mod program;
mod started;
mod state;
mod streaming;
#[cfg(test)]
pub(crate) mod tests;
mod ticker;
mod trap;

pub(crate) use self::call::is_pausing;
pub(crate) use self::engine::Engine;
pub use self::engine::EngineConfig;
pub(crate) use self::examine::check_file;
pub use self::examine::{Import, ProgramError, World};
pub use self::inspect::{Report, inspect};
pub(crate) use self::instance::Instance;
pub use self::limits::GuestLimits;
pub(crate) use self::limits::MEMORIES_MAX;
pub use self::precompiled::Precompiled;
pub(crate) use self::program::Program;
pub(crate) use self::streaming::{Floor, Incoming, Stage};
pub(crate) use crate::capability::bindings::{Acceptance, Rejection};
