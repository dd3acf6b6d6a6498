//! What all sessions of one tenant share on one worker thread: its part of the tenant's rates, what
//! waits in its queues, and who waits until there is something left. Never shared between threads.
//!
//! A tenant without such limits costs its messages one look at a flag.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::Outbox;
use super::inbox::MESSAGE_COST_BYTES;
use super::outbox::Away;
use crate::budget::{Budgets, Limit, Meter, PIECE, Share, TenantBudget, Turns};
use crate::metrics::Counts;

/// Bytes that a session of a tenant with such limits reads at once: what a tenant may owe for each.
pub(crate) const METERED_READ_BYTES_MAX: usize = 16 * 1024;
/// Sessions that are let in at once when there is something left again.
const TURNS_AT_ONCE: usize = 4;
/// Of what may wait in all, so much may change on a worker before it tells the others.
const UNTOLD_PART: i64 = 64;

/// One tenant's part of one worker.
#[derive(Debug)]
pub(crate) struct TenantLane {
    budget: Arc<TenantBudget>,
    /// Its share of the worker's processor.
    share: Rc<Share>,
    /// Whether anything below has a limit.
    metered: Cell<bool>,
    messages_in: Meter,
    bytes_in: Meter,
    messages_out: Meter,
    bytes_out: Meter,
    queued_bytes_max: Cell<Option<i64>>,
    /// Those of its routes here: from them follows what is in their inboxes.
    routes: RefCell<Vec<Rc<Counts>>>,
    /// Bytes that sockets did not take.
    unsent_bytes: Cell<usize>,
    /// What the budget knows of what waits here.
    told_bytes: Cell<i64>,
    /// Sessions that wait until something is left, in the order in which they get their turn.
    waiting: RefCell<VecDeque<Away>>,
}

impl TenantLane {
    fn new(budget: Arc<TenantBudget>, turns: &Rc<Turns>) -> Self {
        let lane = Self {
            share: turns.share(budget.limits().cpu_share),
            budget,
            metered: Cell::new(false),
            messages_in: Meter::default(),
            bytes_in: Meter::default(),
            messages_out: Meter::default(),
            bytes_out: Meter::default(),
            queued_bytes_max: Cell::default(),
            routes: RefCell::default(),
            unsent_bytes: Cell::default(),
            told_bytes: Cell::default(),
            waiting: RefCell::default(),
        };
        lane.follow_limits();
        lane
    }

    /// One that nobody limits.
    #[cfg(test)]
    pub(crate) fn unlimited() -> Rc<Self> {
        let budget = Budgets::default().of(&"test".into());
        Rc::new(Self::new(budget, &Turns::new()))
    }

    /// What the tenant may use in all.
    pub(crate) fn budget(&self) -> &Arc<TenantBudget> {
        &self.budget
    }

    /// Its share of the worker's processor.
    pub(crate) fn share(&self) -> &Rc<Share> {
        &self.share
    }

    /// Counts what is in a route's inboxes, too.
    pub(crate) fn add_route(&self, counts: &Rc<Counts>) {
        let mut routes = self.routes.borrow_mut();
        if !routes.iter().any(|known| Rc::ptr_eq(known, counts)) {
            routes.push(Rc::clone(counts));
        }
    }

    fn follow_limits(&self) {
        let limits = self.budget.limits();
        let rates = [
            (&self.messages_in, limits.messages_in_per_second_max),
            (&self.bytes_in, limits.bytes_in_per_second_max),
            (&self.messages_out, limits.messages_out_per_second_max),
            (&self.bytes_out, limits.bytes_out_per_second_max),
        ];
        for (meter, per_second_max) in rates {
            meter.set(per_second_max);
        }
        self.share.set_weight(limits.cpu_share);
        let queued = limits.queued_bytes_max;
        self.queued_bytes_max
            .set(queued.map(|max| i64::try_from(max).unwrap_or(i64::MAX)));
        let has_rate = rates.iter().any(|(_, max)| max.is_some());
        self.metered.set(has_rate || queued.is_some());
    }

    /// Whether what its sessions do counts against a limit.
    pub(crate) fn is_metered(&self) -> bool {
        self.metered.get()
    }

    /// Counts bytes that were read.
    pub(crate) fn charge_read(&self, bytes: usize) {
        self.bytes_in.charge(bytes);
    }

    /// Counts a message that was read.
    pub(crate) fn charge_message(&self) {
        self.messages_in.charge(1);
    }

    /// Counts a message that was sent.
    pub(crate) fn charge_sent(&self, bytes: usize) {
        self.messages_out.charge(1);
        self.bytes_out.charge(bytes);
    }

    /// Counts what sockets have not taken: it was `before`, and is `now`.
    pub(super) fn count_unsent(&self, before: usize, now: usize) {
        self.unsent_bytes
            .set(self.unsent_bytes.get() + now - before);
    }

    /// Whether more may be read. If not, says of what there is nothing left.
    pub(crate) fn may_read(&self) -> Result<(), Limit> {
        // Each message that was read and not finished with may want to be answered by one like it.
        let (messages, bytes) = self.unfinished();
        let budget = &self.budget;
        let rates = [
            (&self.messages_in, &budget.messages_in, 0, Limit::MessagesIn),
            (&self.bytes_in, &budget.bytes_in, 0, Limit::BytesIn),
            (
                &self.messages_out,
                &budget.messages_out,
                messages,
                Limit::MessagesOut,
            ),
            (&self.bytes_out, &budget.bytes_out, bytes, Limit::BytesOut),
        ];
        for (meter, allowance, reserved, limit) in rates {
            if !meter.has_more_than(reserved, allowance, || budget.now()) {
                return Err(limit);
            }
        }
        match self.queued_bytes_max.get() {
            Some(max) if self.queued_bytes(max) >= max => Err(Limit::QueuedBytes),
            _ => Ok(()),
        }
    }

    /// Messages that were read here and are not finished with, and their bytes.
    fn unfinished(&self) -> (u64, u64) {
        let routes = self.routes.borrow();
        let each = routes.iter().map(|counts| counts.unfinished());
        each.fold((0, 0), |(messages, bytes), (more, larger)| {
            (messages + more, bytes + larger)
        })
    }

    /// Whether more may be sent: what was read before is answered, up to a second's worth.
    pub(crate) fn may_send(&self) -> Result<(), Limit> {
        let owes = |meter: &Meter, allowance| {
            meter.owes_a_second()
                && !meter.has_left(allowance, || self.budget.now())
                && meter.owes_a_second()
        };
        if owes(&self.messages_out, &self.budget.messages_out) {
            return Err(Limit::MessagesOut);
        }
        if owes(&self.bytes_out, &self.budget.bytes_out) {
            return Err(Limit::BytesOut);
        }
        Ok(())
    }

    /// What waits on all workers, this one's part as it is now.
    fn queued_bytes(&self, max: i64) -> i64 {
        let here = self.queued_here();
        let untold = here - self.told_bytes.get();
        if untold != 0 && (here == 0 || untold.abs() >= max / UNTOLD_PART) {
            self.budget.queue(untold);
            self.told_bytes.set(here);
            return self.budget.queued_bytes();
        }
        self.budget.queued_bytes() + untold
    }

    fn queued_here(&self) -> i64 {
        let (messages, bytes) = self.unfinished();
        let unfinished = bytes + messages * MESSAGE_COST_BYTES as u64;
        unfinished as i64 + self.unsent_bytes.get() as i64
    }

    /// The session is woken when it is its turn.
    pub(crate) fn wait(self: &Rc<Self>, outbox: &Outbox, limit: Limit) {
        if outbox.awaits_turn().replace(true) {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.budget.hit(limit);
            outbox.lane().tenants.look_after(self);
        }
        waiting.push_back(outbox.away());
    }

    /// Lets the next session go on, if something is left. Every session that was let in calls this
    /// when it has had its turn.
    pub(crate) fn next_turn(&self) {
        if self.waiting.borrow().is_empty() || self.may_read().is_err() {
            return;
        }
        while let Some(away) = self.waiting.borrow_mut().pop_front() {
            if let Some(outbox) = away.back() {
                outbox.awaits_turn().set(false);
                if outbox.wake_if_there() {
                    return;
                }
            }
        }
    }

    /// Looks whether something is left again, and whether to look once more.
    fn serve(&self) -> bool {
        if let Some(max) = self.queued_bytes_max.get() {
            self.queued_bytes(max);
        }
        for _ in 0..TURNS_AT_ONCE {
            self.next_turn();
        }
        !self.waiting.borrow().is_empty() || self.told_bytes.get() != 0
    }
}

/// All tenants of one worker.
#[derive(Debug)]
pub(super) struct TenantLanes {
    budgets: Budgets,
    turns: Rc<Turns>,
    known: RefCell<HashMap<Arc<str>, Rc<TenantLane>>>,
    /// Those of whom somebody waits.
    looked_after: RefCell<Vec<Rc<TenantLane>>>,
    task: RefCell<Option<Waker>>,
}

impl TenantLanes {
    pub(super) fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            turns: Turns::new(),
            known: RefCell::default(),
            looked_after: RefCell::default(),
            task: RefCell::default(),
        }
    }

    /// What a tenant's sessions share here.
    pub(super) fn of(&self, tenant: &Arc<str>) -> Rc<TenantLane> {
        if let Some(lane) = self.known.borrow().get(tenant) {
            return Rc::clone(lane);
        }
        let lane = Rc::new(TenantLane::new(self.budgets.of(tenant), &self.turns));
        self.known
            .borrow_mut()
            .insert(Arc::clone(tenant), lane.clone());
        lane
    }

    /// The limits may have changed.
    pub(super) fn follow_limits(&self) {
        for lane in self.known.borrow().values() {
            lane.follow_limits();
        }
    }

    fn look_after(&self, lane: &Rc<TenantLane>) {
        let mut looked_after = self.looked_after.borrow_mut();
        if !looked_after.iter().any(|other| Rc::ptr_eq(other, lane)) {
            looked_after.push(Rc::clone(lane));
            if let Some(task) = self.task.borrow_mut().take() {
                task.wake();
            }
        }
    }

    /// Lets those go on who waited, for ever. Sleeps while nobody waits.
    pub(super) async fn run(&self) {
        loop {
            poll_fn(|context| {
                if !self.looked_after.borrow().is_empty() {
                    return Poll::Ready(());
                }
                *self.task.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
            tokio::time::sleep(PIECE).await;
            let lanes = self.looked_after.take();
            let mut again: Vec<_> = lanes.into_iter().filter(|lane| lane.serve()).collect();
            // Waking calls nobody, so nothing was added meanwhile.
            self.looked_after.borrow_mut().append(&mut again);
        }
    }
}
