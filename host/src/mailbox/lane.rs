//! What all sessions of one worker thread share: its clock, its buffers, its corked outboxes and
//! the numbers that it hands out. Never shared between threads.

use std::cell::Cell;

use std::rc::Rc;
use std::sync::Arc;

use super::cork::Cork;
use super::{SpareBatches, TenantLane, TenantLanes};
use crate::budget::Budgets;
use crate::clock::Clock;
use crate::wire::Buffers;

/// One worker's shared parts.
pub(crate) struct Lane {
    pub(crate) clock: Clock,
    pub(crate) buffers: Buffers,
    pub(crate) cork: Cork,
    pub(super) spare_batches: SpareBatches,
    pub(super) tenants: TenantLanes,
    /// Unique to this run of the server; the first part of each session's name.
    run: u64,
    worker: usize,
    workers: usize,
    sessions_started: Cell<u64>,
}

impl Lane {
    pub(crate) fn new(origin: std::time::Instant, run: u64, worker: usize, workers: usize) -> Self {
        Self {
            clock: Clock::new(origin),
            buffers: Buffers::new(),
            cork: Cork::default(),
            spare_batches: SpareBatches::default(),
            tenants: TenantLanes::new(Budgets::default()),
            run,
            worker,
            workers,
            sessions_started: Cell::new(0),
        }
    }

    /// With limits for tenants.
    pub(crate) fn with_budgets(mut self, budgets: Budgets) -> Self {
        self.tenants = TenantLanes::new(budgets);
        self
    }

    /// What the sessions of a tenant share here.
    pub(crate) fn tenant(&self, tenant: &Arc<str>) -> Rc<TenantLane> {
        self.tenants.of(tenant)
    }

    /// The limits of tenants may have changed.
    pub(crate) fn follow_limits(&self) {
        self.tenants.follow_limits();
    }

    /// Lets sessions go on that waited for their tenant's rates, for ever. Each worker runs this
    /// once.
    pub(crate) async fn run_tenants(&self) {
        self.tenants.run().await;
    }

    /// A number that no session of this server had before.
    pub(crate) fn next_session(&self) -> u64 {
        let count = self.sessions_started.get() + 1;
        self.sessions_started.set(count);
        count * self.workers as u64 + self.worker as u64
    }

    /// The worker that handed out a session's number.
    pub(crate) fn worker_of(&self, session: u64) -> usize {
        (session % self.workers as u64) as usize
    }

    /// The name of a session: unique across servers, never used again.
    pub(crate) fn session_name(&self, session: u64) -> String {
        format!("{:016x}-{session:x}", self.run)
    }

    /// The session that a name means, if it is of this run of this server.
    pub(crate) fn session_named(&self, name: &str) -> Option<u64> {
        let (run, session) = name.split_once('-')?;
        let found = u64::from_str_radix(session, 16).ok()?;
        (run.len() == 16 && self.session_name(found) == name).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(worker: usize) -> Lane {
        Lane::new(std::time::Instant::now(), 0xabc, worker, 2)
    }

    #[test]
    fn two_workers_never_hand_out_the_same_number() {
        let (first, second) = (lane(0), lane(1));
        let mut numbers: Vec<u64> = (0..100)
            .flat_map(|_| [first.next_session(), second.next_session()])
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 200);
    }

    #[test]
    fn a_name_means_its_session_and_nothing_else_does() {
        let lane = lane(1);
        let session = lane.next_session();
        let name = lane.session_name(session);
        assert_eq!(lane.session_named(&name), Some(session));
        for wrong in [
            "",
            "-",
            "3",
            "0000000000000abc-",
            "0000000000000abd-3",
            "0000000000000abc-03",
        ] {
            assert_eq!(lane.session_named(wrong), None, "{wrong}");
        }
    }
}
