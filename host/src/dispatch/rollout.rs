//! From one version of what is served to the next, while sessions live: who is replaced, who stays
//! for a while, who is asked to come again.
//!
//! New requests find the new version at once. Decides nothing: what is wanted stands in the routes.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wharf_protocol::Cause;

use super::hosted::Wakefulness;
use super::{Dispatcher, Hosted};
use crate::catalog::{Catalog, ProgramId, Rollout, Route, Side};
use crate::guest::Program;
use crate::id::random_u64;
use crate::mailbox::{Stop, Work};

/// Instances that are replaced before others of the worker get their turn: one takes some fifty
/// microseconds, and nobody should notice them.
const SWAPS_A_TURN: usize = 2;

/// What a worker serves: a catalog, and the programs that its routes name.
#[derive(Clone, Default)]
pub(crate) struct Served {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) programs: Arc<HashMap<ProgramId, Arc<Program>>>,
}

impl Dispatcher {
    /// Serves that from now on. Requests that come later find it; instances follow as each route's
    /// [`Rollout`] says.
    pub(crate) fn publish(&self, served: Served) {
        let before = self.0.served.replace(served).catalog;
        let catalog = self.catalog();
        let mut all: Vec<_> = self.0.hosted.borrow().values().cloned().collect();
        // The oldest first: the map has no order.
        all.sort_unstable_by_key(|hosted| hosted.serial());
        for hosted in all {
            match catalog.route(hosted.route().id) {
                None => {
                    self.retire(&hosted);
                    self.close_all(&hosted, &Cause::Drain);
                }
                Some(_) if hosted.is_retired() => {}
                Some(route) => self.follow(hosted, route),
            }
        }
        self.watch(&before, &catalog);
        if catalog.routes().any(|route| route.grants.timers) {
            self.load_timers(|route| before.route(route.id).is_none());
        }
    }

    /// Brings an instance to where it belongs now.
    fn follow(&self, hosted: Rc<Hosted>, route: &Arc<Route>) {
        let from = hosted.side();
        let to = self.change_side(&hosted, route);
        let new = route.side(to);
        let rollout = match from {
            Side::Stable => new.rollout,
            Side::Canary => new.rollout_of_canary,
        };
        match rollout {
            // What is asked of sessions may differ.
            _ if new.generation == hosted.route().generation => self.update(&hosted),
            Rollout::Swap => self.replace(hosted),
            Rollout::Drain { deadline } => {
                self.retire(&hosted);
                self.close_later(hosted, deadline);
            }
            Rollout::Restart { jitter } => {
                self.retire(&hosted);
                self.close_one_by_one(hosted, jitter);
            }
        }
    }

    /// Nobody new comes to the instance.
    pub(super) fn retire(&self, hosted: &Hosted) {
        self.hide(hosted);
        hosted.retire();
    }

    /// It runs the newest version when it starts next.
    pub(super) fn update(&self, hosted: &Hosted) {
        if let Some(version) = self.newest(hosted.route().id, hosted.side()) {
            hosted.set_version(version);
        }
    }

    fn replace(&self, hosted: Rc<Hosted>) {
        if hosted.wakefulness() != Wakefulness::Awake {
            // It has no memory to hand over, and starts with what it finds.
            return self.update(&hosted);
        }
        let mut outdated = self.0.outdated.borrow_mut();
        outdated.push_back(hosted);
        if outdated.len() == 1 {
            let dispatcher = self.clone();
            tokio::task::spawn_local(async move { dispatcher.replace_outdated().await });
        }
    }

    /// Tells the outdated instances, a few at a time: sessions are served in between.
    async fn replace_outdated(&self) {
        loop {
            for _ in 0..SWAPS_A_TURN {
                // It stays in front while it is told: whoever comes meanwhile starts no second task.
                let Some(hosted) = self.0.outdated.borrow().front().cloned() else {
                    return;
                };
                // One that has ended needs no newer version.
                let _ = hosted.inbox().push(Work::Outdated);
                self.0.outdated.borrow_mut().pop_front();
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn close_all(&self, hosted: &Hosted, cause: &Cause) {
        hosted.close_newcomers();
        for outbox in hosted.members().all() {
            outbox.stop(Stop::Gracefully(cause.clone()));
        }
        if hosted.program().converses() {
            // One that has ended has nobody to tell.
            let _ = hosted.inbox().push(Work::Draining);
        }
    }

    fn close_later(&self, hosted: Rc<Hosted>, deadline: Duration) {
        let dispatcher = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(deadline).await;
            dispatcher.close_all(&hosted, &Cause::Restart);
        });
    }

    /// Closes each session at a moment of its own; whoever came in meanwhile is closed at the end.
    pub(super) fn close_one_by_one(&self, hosted: Rc<Hosted>, jitter: Duration) {
        // A guest of conversations is told once, for all of them.
        let (end, each) = match hosted.program().converses() {
            true => (part_of(jitter), Vec::new()),
            false => (jitter, hosted.members().all()),
        };
        let moments = each.into_iter().map(|outbox| (part_of(jitter), outbox));
        let mut moments: Vec<_> = moments.collect();
        moments.sort_unstable_by_key(|(after, _)| *after);
        let dispatcher = self.clone();
        tokio::task::spawn_local(async move {
            let begin = tokio::time::Instant::now();
            for (after, outbox) in moments {
                tokio::time::sleep_until(begin + after).await;
                outbox.stop(Stop::Gracefully(Cause::Restart));
            }
            tokio::time::sleep_until(begin + end).await;
            dispatcher.close_all(&hosted, &Cause::Restart);
        });
    }
}

/// A random part of it.
fn part_of(whole: Duration) -> Duration {
    whole.mul_f64(random_u64() as f64 / u64::MAX as f64)
}
