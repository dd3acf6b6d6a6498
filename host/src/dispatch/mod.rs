//! From a request to the instance that serves it, on whichever worker that lives.
//!
//! Owns the instances of one worker: starts them, gives them their work, lets them sleep, drops them
//! when nobody needs them or when they fail. Never touches a socket; never crosses a thread but by
//! [`PeerCommand`].

mod admission;
mod aftermath;
mod canary;
mod conversing;
mod counting;
mod hosted;
mod leaving;
mod overview;
mod placement;
mod rollout;
mod runner;
mod sleep;
mod swap;
mod timing;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wharf_protocol::Cause;

pub(crate) use self::admission::{Admission, PeerCommand, Refusal, Seat, Ticket};
use self::aftermath::Traps;
use self::counting::Ledger;
pub(crate) use self::counting::label;
pub(crate) use self::hosted::{Hosted, Inbox, Use};
use self::hosted::{Version, Wakefulness};
pub(crate) use self::leaving::Stay;
pub(crate) use self::overview::SessionRow;
use self::placement::InstanceKey;
pub(crate) use self::rollout::Served;
use crate::capability::Services;
use crate::catalog::{Catalog, Route, RouteId, Side, Target};
use crate::dead_letters::DeadLetters;
use crate::mailbox::{Lane, Outbox, Stop, Work};
use crate::topics::Topics;
use crate::trace_context::TraceContext;
use crate::traces::SessionFacts;

/// What is counted while the server runs; read from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sessions_open: AtomicUsize,
    pub(crate) instances_live: AtomicUsize,
    pub(crate) instances_asleep: AtomicUsize,
    pub(crate) instances_woken: AtomicU64,
    pub(crate) swaps: AtomicU64,
    pub(crate) swaps_failed: AtomicU64,
}

/// The dispatcher of one worker; a clone means the same.
#[derive(Clone)]
pub(crate) struct Dispatcher(Rc<Shared>);

struct Shared {
    worker: usize,
    services: Rc<Services>,
    served: RefCell<Served>,
    /// Every worker's, this one's too, in order.
    peers: Arc<[UnboundedSender<PeerCommand>]>,
    counters: Arc<Counters>,
    ledger: Ledger,
    /// Instances that serve several sessions, by key.
    keyed: RefCell<HashMap<InstanceKey, Rc<Hosted>>>,
    /// Those that stand beside one of these while a canary is under way. Never one with a key of its
    /// own: that is in one version.
    beside: RefCell<HashMap<InstanceKey, Rc<Hosted>>>,
    /// Sessions that were dealt out between a route and its canary.
    dealt: RefCell<HashMap<RouteId, u64>>,
    /// All instances of this worker, by serial number.
    hosted: RefCell<HashMap<u64, Rc<Hosted>>>,
    serial: Cell<u64>,
    sessions_here: Cell<usize>,
    /// What each session's task has a handle of.
    tasks: Rc<Topics>,
    /// Places given to requests that another worker accepted.
    promised: RefCell<HashMap<u64, Seat>>,
    draining: RefCell<Option<Cause>>,
    /// Whether what may be in one process only is in this one.
    stay: Cell<Stay>,
    /// Where sleeping instances say that they have something to do, by serial number: at most once
    /// for each time that they fall asleep.
    rings: UnboundedSender<u64>,
    rung: RefCell<Option<UnboundedReceiver<u64>>>,
    /// Who waits for a slot to wake in, by tenant.
    waiting: RefCell<HashMap<Arc<str>, Rc<Semaphore>>>,
    /// Instances that are to be replaced, when it is their turn.
    outdated: RefCell<VecDeque<Rc<Hosted>>>,
    /// The last traps of instances that went on, by serial number.
    traps: RefCell<HashMap<u64, Traps>>,
    /// `None` if nobody could read them.
    dead_letters: Option<DeadLetters>,
}

/// What a dispatcher is made of.
pub(crate) struct DispatcherParts {
    pub(crate) worker: usize,
    pub(crate) services: Rc<Services>,
    pub(crate) served: Served,
    pub(crate) peers: Arc<[UnboundedSender<PeerCommand>]>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) dead_letters: Option<DeadLetters>,
}

impl Dispatcher {
    pub(crate) fn new(parts: DispatcherParts) -> Self {
        let (rings, rung) = unbounded_channel();
        let tasks = Rc::new(parts.services.topics.clone());
        Self(Rc::new(Shared {
            worker: parts.worker,
            services: parts.services,
            served: RefCell::new(parts.served),
            peers: parts.peers,
            counters: parts.counters,
            ledger: Ledger::default(),
            keyed: RefCell::default(),
            beside: RefCell::default(),
            dealt: RefCell::default(),
            hosted: RefCell::default(),
            serial: Cell::new(0),
            sessions_here: Cell::new(0),
            tasks,
            promised: RefCell::default(),
            draining: RefCell::default(),
            stay: Cell::default(),
            rings,
            rung: RefCell::new(Some(rung)),
            waiting: RefCell::default(),
            outdated: RefCell::default(),
            traps: RefCell::default(),
            dead_letters: parts.dead_letters,
        }))
    }

    /// What the sessions of this worker share.
    pub(crate) fn lane(&self) -> &Rc<Lane> {
        &self.0.services.lane
    }

    /// What the instances of this worker share.
    pub(crate) fn services(&self) -> &Rc<Services> {
        &self.0.services
    }

    /// Ends every session: nothing more is read, what was read is answered, then each is closed
    /// for `cause`. Sessions that begin later are closed at once.
    pub(crate) fn drain(&self, cause: &Cause) {
        *self.0.draining.borrow_mut() = Some(cause.clone());
        self.services().topics.drain();
        let all: Vec<_> = self.0.hosted.borrow().values().cloned().collect();
        for hosted in all {
            for outbox in hosted.members().all() {
                outbox.stop(Stop::Gracefully(cause.clone()));
            }
            if hosted.converses() {
                // One that has ended has nobody to tell.
                let _ = hosted.inbox().push(Work::Draining);
            }
        }
    }

    /// Why this worker takes no new sessions, if it does not.
    pub(crate) fn draining(&self) -> Option<Cause> {
        self.0.draining.borrow().clone()
    }

    /// Counts a session that begins or has had its `on-close`.
    pub(crate) fn count_session(&self, hosted: &Hosted, begins: bool) {
        match begins {
            true => {
                hosted
                    .counts()
                    .change(|figures| figures.sessions_begun += 1);
                hosted.trials().begin_session(hosted.generation());
            }
            false => hosted.counts().change(|figures| figures.sessions_over += 1),
        }
        hosted.tenant().budget().count_session(begins);
        let (count, here) = (&self.0.counters.sessions_open, &self.0.sessions_here);
        if begins {
            count.fetch_add(1, Ordering::Relaxed);
            here.set(here.get() + 1);
        } else {
            count.fetch_sub(1, Ordering::Relaxed);
            here.set(here.get() - 1);
        }
    }

    /// Records a session from now on, below its handshake.
    pub(crate) fn trace_session(&self, outbox: &Outbox, route: &Route, handshake: TraceContext) {
        if let Some(tracer) = &self.services().tracer {
            let facts = SessionFacts {
                name: &outbox.name(),
                tenant: &route.tenant,
                route: &route.pattern,
            };
            tracer.begin_session(outbox.id(), handshake, &facts);
        }
    }

    /// Sessions of the whole server between their handshake and the end of their `on-close`.
    pub(crate) fn sessions_open(&self) -> usize {
        self.0.counters.sessions_open.load(Ordering::Relaxed)
    }

    /// Sessions of this worker between their handshake and the end of their `on-close`.
    pub(crate) fn sessions_here(&self) -> usize {
        self.0.sessions_here.get()
    }

    /// The topics, as a session's task has them. Keeps count of the task for as long as what is
    /// returned lives: a session that has ended may still wait for its peer's end of the stream.
    pub(crate) fn count_task(&self) -> Rc<Topics> {
        self.0.tasks.clone()
    }

    /// Whether no session and no session's task is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.sessions_here() == 0 && Rc::strong_count(&self.0.tasks) == 1
    }

    /// What is served now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.served.borrow().catalog)
    }

    /// The instance for a key, or a new one of the newest version on that side.
    fn instance_for(
        &self,
        key: Option<InstanceKey>,
        side: Side,
        route: &Route,
    ) -> Option<Rc<Hosted>> {
        let of_key = match (&key, side) {
            (Some(InstanceKey::Shared(_)), Side::Canary) => &self.0.beside,
            _ => &self.0.keyed,
        };
        if let Some(key) = &key
            && let Some(hosted) = of_key.borrow().get(key)
        {
            return Some(hosted.clone());
        }
        let hosted = Rc::new(self.start((self.newest(route.id, side)?, side), key));
        if let Some(key) = hosted.key() {
            of_key.borrow_mut().insert(key.clone(), hosted.clone());
        }
        self.0
            .hosted
            .borrow_mut()
            .insert(hosted.serial(), hosted.clone());
        self.0
            .counters
            .instances_live
            .fetch_add(1, Ordering::Relaxed);
        hosted
            .counts()
            .change(|figures| figures.instances_live_now += 1);
        tokio::task::spawn_local(runner::run(self.clone(), hosted.clone()));
        Some(hosted)
    }

    /// The version of a route that is served here now: the catalog of another worker may be a moment
    /// older or newer.
    fn newest(&self, route: RouteId, side: Side) -> Option<Version> {
        let served = self.0.served.borrow();
        let route = served.catalog.route(route)?.side(side);
        let Target::Component(program) = route.target else {
            return None;
        };
        Some(Version {
            route: Arc::clone(route),
            program: Arc::clone(served.programs.get(&program)?),
        })
    }

    /// Ties a session to the instance of this worker that has opened it.
    pub(crate) fn use_opened(&self, serial: u64) -> Option<Use> {
        let hosted = self.0.hosted.borrow().get(&serial).cloned();
        hosted.map(Use::opened)
    }

    fn start(&self, (version, side): (Version, Side), key: Option<InstanceKey>) -> Hosted {
        let serial = self.0.serial.get() + 1;
        self.0.serial.set(serial);
        let program = version.program.name();
        tracing::debug!(serial, program, ?key, "instance starts");
        let lane = self.route_lane(&version.route);
        Hosted::new(serial, key, (version, side), lane)
    }

    /// Nobody finds this instance any more.
    fn forget(&self, hosted: &Hosted) {
        if hosted.is_exclusive() {
            self.services().timers.forget(hosted.serial());
        }
        self.hide(hosted);
        self.0.traps.borrow_mut().remove(&hosted.serial());
        if self
            .0
            .hosted
            .borrow_mut()
            .remove(&hosted.serial())
            .is_some()
        {
            let (counters, counts) = (&self.0.counters, hosted.counts());
            let counted = match hosted.wakefulness() {
                Wakefulness::Awake => {
                    counts.change(|figures| figures.instances_live_now -= 1);
                    &counters.instances_live
                }
                Wakefulness::Asleep | Wakefulness::Waking => {
                    counts.change(|figures| figures.instances_asleep_now -= 1);
                    &counters.instances_asleep
                }
            };
            counted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whoever comes for its key gets another instance.
    fn hide(&self, hosted: &Hosted) {
        let Some(key) = hosted.key() else { return };
        for of_key in [&self.0.keyed, &self.0.beside] {
            let mut of_key = of_key.borrow_mut();
            let found = of_key.get(key);
            if found.is_some_and(|found| found.serial() == hosted.serial()) {
                of_key.remove(key);
            }
        }
    }
}
