//! Where the work of each route on this worker is counted.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::Dispatcher;
use crate::catalog::Route;
use crate::mailbox::{Lane, RouteLane};
use crate::metrics::{Books, Report, VersionKey, Vitals};

/// What the routes of this worker share each among their sessions.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    books: Books,
    /// By the address of the route, which is kept so that no other takes it.
    lanes: RefCell<HashMap<usize, Known>>,
}

type Known = (Arc<Route>, Rc<RouteLane>);

impl Ledger {
    /// The shared parts of a route. A route of another catalog has others, and counts on.
    pub(super) fn lane(&self, of_worker: &Lane, route: &Arc<Route>) -> Rc<RouteLane> {
        let address = Arc::as_ptr(route).addr();
        let mut lanes = self.lanes.borrow_mut();
        if let Some((_, lane)) = lanes.get(&address) {
            return Rc::clone(lane);
        }
        lanes.retain(|_, (route, _)| Arc::strong_count(route) > 1);
        let label = label(route);
        let lane = Rc::new(RouteLane {
            config: *route.outbox,
            counts: self.books.of(&route.tenant, &label),
            trials: self.books.trials_of(&route.tenant, &label),
            tenant: of_worker.tenant(&route.tenant),
        });
        lane.tenant.add_route(&lane.counts);
        lanes.insert(address, (Arc::clone(route), Rc::clone(&lane)));
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
