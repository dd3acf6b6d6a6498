//! Where the work of each route on this worker is counted.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use super::Dispatcher;
use crate::catalog::Route;
use crate::mailbox::{Lane, RouteLane};
use crate::metrics::{Books, Report, VersionKey, Vitals};

/// What the routes of this worker share each among their sessions.
#[derive(Default)]
pub(super) struct Ledger {
    books: Books,
    /// By the address of the route. Held weakly: that keeps the address from others, and lets the
    /// route go, which every worker's ledger knows.
    lanes: RefCell<HashMap<usize, Known>>,
}

type Known = (Weak<Route>, Rc<RouteLane>);

impl Ledger {
    /// The shared parts of a route. A route of another catalog has others, and counts on.
    pub(super) fn lane(&self, of_worker: &Rc<Lane>, route: &Arc<Route>) -> Rc<RouteLane> {
        let address = Arc::as_ptr(route).addr();
        let mut lanes = self.lanes.borrow_mut();
        if let Some((_, lane)) = lanes.get(&address) {
            return Rc::clone(lane);
        }
        lanes.retain(|_, (route, _)| route.strong_count() > 0);
        let label = label(route);
        let lane = Rc::new(RouteLane {
            lane: Rc::clone(of_worker),
            config: *route.outbox,
            counts: self.books.of(&route.tenant, &label),
            trials: self.books.trials_of(&route.tenant, &label),
            tenant: of_worker.tenant(&route.tenant),
        });
        lane.tenant.add_route(&lane.counts);
        lanes.insert(address, (Arc::downgrade(route), Rc::clone(&lane)));
        lane
    }
}

/// What its route is called in metrics: the deployment's name; or `/rooms/{room}`, with the host and
/// the subprotocols if it has any.
pub(crate) fn label(route: &Route) -> String {
    if let Some(deployment) = &route.deployment {
        return deployment.name.to_string();
    }
    let mut label = route.hosts.join(",") + &route.pattern;
    for (place, name) in route.subprotocols.iter().enumerate() {
        label += if place == 0 { " " } else { "," };
        label += name;
    }
    label
}

impl Dispatcher {
    /// What the sessions of a route share here.
    pub(crate) fn route_lane(&self, route: &Arc<Route>) -> Rc<RouteLane> {
        self.0.ledger.lane(self.lane(), route)
    }

    /// Counts an HTTP request that was refused.
    pub(crate) fn count_refusal(&self, status: u16) {
        self.0.ledger.books.refuse(status);
    }

    /// Drops what was counted of versions on trial whose routes are not here any more.
    pub(super) fn forget_unused_trials(&self) {
        self.0.ledger.books.forget_unused_trials();
    }

    /// What was counted here of versions on trial.
    pub(crate) fn trials(&self) -> BTreeMap<VersionKey, Vitals> {
        self.0.ledger.books.trials()
    }

    /// All that was counted here.
    pub(crate) fn report(&self) -> Report {
        self.0.ledger.books.report()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{ProgramId, Target};

    fn route() -> Arc<Route> {
        Route::new("/", Target::Component(ProgramId(0))).into()
    }

    #[test]
    fn a_route_that_is_served_no_more_is_kept_by_no_worker() {
        let lane = Rc::new(Lane::new(std::time::Instant::now(), 0, 0, 2));
        let workers = [Ledger::default(), Ledger::default()];
        let old = route();
        let gone = Arc::downgrade(&old);
        for ledger in &workers {
            let first = ledger.lane(&lane, &old);
            assert!(Rc::ptr_eq(&first, &ledger.lane(&lane, &old)));
        }
        drop(old);
        assert_eq!(gone.strong_count(), 0);
        let new = route();
        for ledger in &workers {
            let _of_new = ledger.lane(&lane, &new);
            assert_eq!(
                ledger.lanes.borrow().len(),
                1,
                "what was kept of the old one"
            );
        }
    }
}
