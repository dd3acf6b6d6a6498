//! What a component may import: one thin adapter per WIT interface, and the rule that says which
//! imports are granted.
//!
//! Adapters translate between wasmtime and the mailbox. They decide nothing about routes or tasks,
//! and know an instance only through the view that its Store gives them.

use std::rc::Rc;
use std::sync::Arc;

use crate::catalog::Route;
use crate::mailbox::{Lane, Members};

pub(crate) mod bindings;
mod grant;
mod log;
pub(crate) mod sessions;
mod wasi;

pub use self::grant::Capability;
pub(crate) use self::grant::{PACKAGE, VERSION, judge};
pub(crate) use self::log::GuestLog;
pub(crate) use self::wasi::{WasiState, link as link_wasi};

/// What a worker offers to all of its instances. Lives on one thread.
pub(crate) struct Services {
    pub(crate) lane: Rc<Lane>,
}

/// What an instance finds around it: its sessions, its deployment, and its worker's services. It
/// outlives the instance's memory.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) members: Members,
    /// The deployment: whose it is, and what it was granted.
    #[expect(
        dead_code,
        reason = "the grants of the first capability beside sessions read it"
    )]
    pub(crate) route: Arc<Route>,
    #[expect(
        dead_code,
        reason = "the first capability beside sessions is found here"
    )]
    pub(crate) services: Rc<Services>,
}

/// How an adapter finds the surroundings of the calling instance in its Store.
pub(crate) trait HostView: Send + 'static {
    /// What the instance finds around it.
    fn surroundings(&self) -> &Surroundings;
}
