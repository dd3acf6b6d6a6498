//! What a component may import: one thin adapter per WIT interface, and the rule that says which
//! imports are granted.
//!
//! Adapters translate between wasmtime and the mailbox. They decide nothing about routes or tasks,
//! and know an instance only through the view that its Store gives them.

use std::rc::Rc;
use std::sync::Arc;

use wasmtime::component::ResourceTable;

use crate::budget::Budgets;
use crate::catalog::Route;
use crate::kv::Kv;
use crate::mailbox::{Lane, Members, TenantLane};
use crate::outbound::{Outbound, OutboundSettings};
use crate::timers::{Owner, Timers};
use crate::topics::Topics;
use crate::traces::{OpenSpan, Tracer};

pub(crate) mod bindings;
pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod conversation;
mod grant;
pub(crate) mod http;
pub(crate) mod keyvalue;
mod log;
pub(crate) mod logging;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod timers;
pub(crate) mod topics;
mod wasi;

pub use self::grant::Capability;
pub(crate) use self::grant::{PACKAGE, VERSION, judge};
pub use self::log::LogLimits;
pub(crate) use self::log::{GuestLogs, InstanceLog, LogLine};
pub(crate) use self::wasi::{WasiState, link as link_wasi};

/// What a worker offers to all of its instances. Lives on one thread.
pub(crate) struct Services {
    pub(crate) lane: Rc<Lane>,
    /// The buckets of all tenants; only if the server has a storage.
    pub(crate) kv: Option<Kv>,
    /// The timers of this worker's instances.
    pub(crate) timers: Rc<Timers>,
    pub(crate) topics: Topics,
    /// Where the instances of all tenants log to.
    pub(crate) logs: GuestLogs,
    /// The way to granted hosts.
    pub(crate) outbound: Outbound,
    /// Where connections that instances have opened become their sessions.
    pub(crate) launches: client::Launches,
    /// `None` if nothing is traced.
    pub(crate) tracer: Option<Tracer>,
}

impl Services {
    /// A guest call has ended, or waits for the first time: what it caused leaves now.
    pub(crate) fn release(&self) {
        self.topics.flush();
        self.lane.cork.release();
    }

    /// A guest call lets others run for a moment: what it caused leaves at the latest when it has done
    /// so a few times.
    pub(crate) fn pause(&self) {
        self.topics.flush();
        self.lane.cork.pause();
    }

    /// Begins a span that has no parent, if it is one that is recorded.
    pub(crate) fn sampled_span(&self, name: &'static str) -> Option<OpenSpan> {
        self.tracer.as_ref()?.sampled(name)
    }

    /// Those of the only worker of a server that stores nothing: for an instance that is tried, and
    /// has no session.
    pub(crate) fn alone(lane: Rc<Lane>) -> Self {
        let (addresses, mail) = crate::timers::addresses(1);
        let mail = mail.into_iter().next().expect("there is one worker");
        let topics = Topics::alone(Rc::clone(&lane));
        let timers = Timers::new(0, Rc::clone(&lane), None, addresses, mail);
        Self {
            lane,
            kv: None,
            timers: Rc::new(timers),
            topics,
            logs: GuestLogs::default(),
            outbound: Outbound::new(OutboundSettings::default(), Budgets::default())
                .expect("it reads no file"),
            launches: tokio::sync::mpsc::unbounded_channel().0,
            tracer: None,
        }
    }
}

/// What an instance finds around it: its sessions, its deployment, and its worker's services. It
/// outlives the instance's memory.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) members: Members,
    /// The deployment: whose it is, and what it was granted.
    pub(crate) route: Arc<Route>,
    pub(crate) services: Rc<Services>,
    /// Whose the timers are that it sets.
    pub(crate) timer_owner: Owner,
    /// Its serial number on its worker.
    pub(crate) instance: u64,
    /// It takes the place of an instance that is still there, and will not be in a moment.
    pub(crate) succeeds: bool,
}

impl Surroundings {
    /// What its tenant's instances share on this worker.
    pub(crate) fn tenant(&self) -> Rc<TenantLane> {
        self.services.lane.tenant(&self.route.tenant)
    }
}

/// How an adapter finds the surroundings of the calling instance in its Store.
pub(crate) trait HostView: Send + 'static {
    /// What the instance finds around it.
    fn surroundings(&self) -> &Surroundings;
    /// Where the instance logs to; only if its program imports WASI or logging.
    fn log(&self) -> &InstanceLog;
    /// What `wasi:http` works on; only if its program imports it.
    fn http(&mut self) -> http::HttpView<'_>;
    /// What the instance's handles stand for, beside those of WASI.
    fn resources(&mut self) -> &mut ResourceTable;
}
