//! One instance as the dispatcher knows it: its queue, its sessions, and how many still need it.
//! The Store itself belongs to the runner alone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use wharf_protocol::Cause;

use super::placement::InstanceKey;
use crate::catalog::{Route, Side};
use crate::fault::Incident;
use crate::guest::{Acceptance, Program, Rejection};
use crate::mailbox::{self, Members, RouteLane, Stop, TenantLane, Work};
use crate::metrics::{Counts, Trials};

/// What a handler said about a handshake.
pub(crate) type Answer = Result<Result<Acceptance, Rejection>, Incident>;
/// The queue of an instance.
pub(crate) type Inbox = mailbox::Inbox<Answer>;

/// Whether an instance has a Store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakefulness {
    /// It has one, or is about to start with one.
    Awake,
    /// It has neither Store nor task.
    Asleep,
    /// Its task is back, and makes a Store if there is need of it.
    Waking,
}

/// What an instance runs, and for which route.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) route: Arc<Route>,
    pub(crate) program: Arc<Program>,
}

/// One instance.
pub(crate) struct Hosted {
    serial: u64,
    /// Boxed: most have none, and each session with an instance of its own pays for the room.
    key: Option<Box<InstanceKey>>,
    version: RefCell<Version>,
    /// What it shares with the other instances of its route and its tenant here.
    lane: Rc<RouteLane>,
    inbox: Inbox,
    members: Members,
    users: Cell<u32>,
    wakefulness: Cell<Wakefulness>,
    retired: Cell<Retired>,
    side: Cell<Side>,
}

/// Whether an instance serves on while a newer version is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retired {
    /// It is the newest, or will be replaced.
    No,
    /// So is it, but another one of its version has its key: nobody new comes to it.
    Spare,
    /// It serves the sessions that it has.
    Serving,
    /// These were asked to leave, too.
    Closing,
}

impl Hosted {
    pub(super) fn new(
        serial: u64,
        key: Option<InstanceKey>,
        (version, side): (Version, Side),
        lane: Rc<RouteLane>,
    ) -> Self {
        Self {
            serial,
            key: key.map(Box::new),
            version: RefCell::new(version),
            lane,
            inbox: Inbox::new(),
            members: Members::default(),
            users: Cell::new(0),
            wakefulness: Cell::new(Wakefulness::Awake),
            retired: Cell::new(Retired::No),
            side: Cell::new(side),
        }
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn key(&self) -> Option<&InstanceKey> {
        self.key.as_deref()
    }

    /// What it runs now.
    pub(super) fn version(&self) -> Version {
        self.version.borrow().clone()
    }

    pub(super) fn set_version(&self, version: Version) {
        *self.version.borrow_mut() = version;
    }

    pub(crate) fn route(&self) -> Arc<Route> {
        Arc::clone(&self.version.borrow().route)
    }

    /// Which version of its route it is.
    pub(crate) fn generation(&self) -> u64 {
        self.version.borrow().route.generation
    }

    /// Whether each of its sessions is a conversation.
    pub(crate) fn converses(&self) -> bool {
        self.version.borrow().program.converses()
    }

    pub(super) fn program(&self) -> Arc<Program> {
        Arc::clone(&self.version.borrow().program)
    }

    pub(super) fn is_retired(&self) -> bool {
        matches!(self.retired.get(), Retired::Serving | Retired::Closing)
    }

    /// Which of the versions of its route it follows.
    pub(super) fn side(&self) -> Side {
        self.side.get()
    }

    pub(super) fn set_side(&self, side: Side) {
        self.side.set(side);
    }

    /// Whether a session that begins only now must be closed at once.
    pub(crate) fn is_closing(&self) -> bool {
        self.retired.get() == Retired::Closing
    }

    /// Sessions that begin from now on are closed at once.
    pub(super) fn close_newcomers(&self) {
        self.retired.set(Retired::Closing);
    }

    /// From now on it lives only as long as its sessions, and stays the version that it is.
    pub(super) fn retire(&self) {
        self.outlive_nobody(Retired::Serving);
    }

    /// From now on it lives only as long as its sessions, and follows new versions as before.
    pub(super) fn make_spare(&self) {
        self.outlive_nobody(Retired::Spare);
    }

    fn outlive_nobody(&self, retired: Retired) {
        self.retired.set(retired);
        if self.is_vacant() {
            // One that has ended needs no notice.
            let _ = self.inbox.push(Work::Vacated);
        }
    }

    /// Where what its route does here is counted.
    pub(crate) fn counts(&self) -> &Rc<Counts> {
        &self.lane.counts
    }

    /// Where the versions of its route are counted apart that are on trial.
    pub(crate) fn trials(&self) -> &Trials {
        &self.lane.trials
    }

    /// What its tenant's sessions and instances share here.
    pub(crate) fn tenant(&self) -> &Rc<TenantLane> {
        &self.lane.tenant
    }

    /// Its queue.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Its sessions.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    pub(super) fn wakefulness(&self) -> Wakefulness {
        self.wakefulness.get()
    }

    pub(super) fn set_wakefulness(&self, wakefulness: Wakefulness) {
        self.wakefulness.set(wakefulness);
    }

    /// Whether it serves one session alone.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.key.is_none()
    }

    /// Whether it lives on without sessions.
    fn outlives_its_users(&self) -> bool {
        let is_found = self.retired.get() == Retired::No;
        is_found && matches!(self.key(), Some(InstanceKey::Shared(_)))
    }

    /// Whether nobody needs it any more.
    fn is_vacant(&self) -> bool {
        self.users.get() == 0 && !self.outlives_its_users()
    }

    /// Whether it can end. If nobody needs it, what its guest has opened is closed first: its guest
    /// hears of that, and the last of them asks here again.
    pub(super) fn may_end(&self) -> bool {
        if !self.is_vacant() {
            return false;
        }
        let opened = self.members.opened();
        for outbox in &opened {
            outbox.stop(Stop::Now(Cause::Unattended));
        }
        opened.is_empty()
    }
}

/// Ties one session to its instance, from its handshake to its end.
pub(crate) struct Use {
    hosted: Rc<Hosted>,
    /// Whether the instance lives for it.
    needs: bool,
}

impl Use {
    /// Keeps the instance alive.
    pub(super) fn new(hosted: Rc<Hosted>) -> Self {
        hosted.users.set(hosted.users.get() + 1);
        let needs = true;
        Self { hosted, needs }
    }

    /// For a session that the instance has opened: that keeps nobody alive.
    pub(super) fn opened(hosted: Rc<Hosted>) -> Self {
        let needs = false;
        Self { hosted, needs }
    }

    /// The instance.
    pub(crate) fn hosted(&self) -> &Rc<Hosted> {
        &self.hosted
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let hosted = &self.hosted;
        if self.needs {
            hosted.users.set(hosted.users.get() - 1);
        }
        if hosted.is_vacant() {
            // Behind what the session put in; an instance that has ended needs no notice.
            let _ = hosted.inbox.push(Work::Vacated);
        }
    }
}
