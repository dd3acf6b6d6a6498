//! Two versions of a route side by side on one worker: which of them a new session finds, and where
//! an instance belongs when that changes. A key is always in one version.
//!
//! Asked once for each handshake, never for a message; a route without a canary pays for one look at
//! its entry in the catalog.

use std::sync::Arc;

use super::placement::InstanceKey;
use super::{Dispatcher, Hosted};
use crate::catalog::{Catalog, Rollout, Route, Side};
use crate::request::Request;

impl Dispatcher {
    /// Which version of the route a request finds. Where its instance has a key the key decides; an
    /// instance that lives stays what it is.
    pub(super) fn side_for(
        &self,
        key: &Option<InstanceKey>,
        route: &Route,
        request: &Request,
    ) -> Side {
        if let Some(InstanceKey::Keyed(..)) = key {
            return self.side_of_key(key, route);
        }
        let catalog = self.catalog();
        let Some(trial) = catalog
            .route(route.id)
            .and_then(|route| route.trial.as_ref())
        else {
            return Side::Stable;
        };
        if trial.canary.takes_marked(&request.said()) {
            return Side::Canary;
        }
        let mut dealt = self.0.dealt.borrow_mut();
        let before = dealt.entry(route.id).or_default();
        let takes = trial.canary.share.takes(*before);
        *before += 1;
        side(takes)
    }

    /// As [`Dispatcher::side_for`], for what no session asks: a timer is always the stable version's
    /// unless its key is in the canary.
    pub(super) fn side_of_key(&self, key: &Option<InstanceKey>, route: &Route) -> Side {
        let Some(InstanceKey::Keyed(_, text)) = key else {
            return Side::Stable;
        };
        let catalog = self.catalog();
        let found = catalog.route(route.id);
        side(found.is_some_and(|route| takes_key(route, text)))
    }

    /// Notes which side an instance follows in the new catalog, and answers that.
    pub(super) fn change_side(&self, hosted: &Hosted, route: &Arc<Route>) -> Side {
        let to = match (hosted.side(), &route.trial) {
            // Also if its key is no longer of the share: it does not go back for that.
            (Side::Canary, Some(_)) => Side::Canary,
            (Side::Canary, None) => Side::Stable,
            // Where memory is handed over, rooms that live come along. Others stay what they are until
            // they are empty, because a room has one version.
            (Side::Stable, Some(trial)) => match hosted.key() {
                Some(InstanceKey::Keyed(_, key)) => {
                    side(trial.route.rollout == Rollout::Swap && takes_key(route, key))
                }
                _ => Side::Stable,
            },
            (Side::Stable, None) => Side::Stable,
        };
        let has_left = hosted.side() == Side::Canary && to == Side::Stable;
        hosted.set_side(to);
        if has_left && matches!(hosted.key(), Some(InstanceKey::Shared(_))) {
            // Another instance of the version that it has, or will have, is found by that key.
            self.hide(hosted);
            hosted.make_spare();
        }
        to
    }

    /// Counts the versions apart that are on trial in the new catalog, and no longer those that were.
    pub(super) fn watch(&self, before: &Catalog, now: &Catalog) {
        let is_watched = |route: &&Arc<Route>| !route.watches().is_empty();
        for old in before.routes().filter(is_watched) {
            if now.route(old.id).is_none_or(|new| !is_watched(&new)) {
                self.route_lane(old).trials.watch(&[]);
                self.0.dealt.borrow_mut().remove(&old.id);
            }
        }
        for new in now.routes().filter(is_watched) {
            self.route_lane(new).trials.watch(&new.watches());
        }
        self.forget_unused_trials();
    }
}

fn takes_key(route: &Route, key: &str) -> bool {
    let trial = route.trial.as_ref();
    trial.is_some_and(|trial| trial.canary.takes_key(&route.name(), key))
}

fn side(is_canary: bool) -> Side {
    match is_canary {
        true => Side::Canary,
        false => Side::Stable,
    }
}
