//! How a server makes room for its successor: what may be in one process only leaves first, the rest
//! when its time has come.
//!
//! Decides nothing about when. Until the last step everything can go on as it was.

use std::time::Duration;

use wharf_protocol::Cause;

use super::Dispatcher;
use crate::catalog::Route;

/// Where that is which may be in one process only: rooms, topics, what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stay {
    #[default]
    Here,
    /// It is about to leave, or has left and may come back.
    Leaving,
    /// In another process.
    Gone,
}

impl Dispatcher {
    pub(crate) fn stay(&self) -> Stay {
        self.0.stay.get()
    }

    /// Whether sessions of the route have to begin in another process.
    pub(crate) fn has_left(&self, route: &Route) -> bool {
        self.stay() != Stay::Here && route.shares_state()
    }

    /// Asks the sessions to come again whose routes share something, each with 1012 after what was
    /// read is answered, and takes no new ones.
    pub(crate) fn leave(&self) {
        self.0.stay.set(Stay::Leaving);
        let all: Vec<_> = self.0.hosted.borrow().values().cloned().collect();
        for hosted in all.iter().filter(|hosted| hosted.route().shares_state()) {
            self.retire(hosted);
            self.close_all(hosted, &Cause::Restart);
        }
    }

    /// Instances that have not left yet: some of their sessions have not ended, or a call has not.
    pub(crate) fn leaving(&self) -> usize {
        let all = self.0.hosted.borrow();
        let leaving = all.values().filter(|hosted| hosted.route().shares_state());
        leaving.count()
    }

    /// Nothing left after all: sessions may begin everywhere.
    pub(crate) fn come_back(&self) {
        self.0.stay.set(Stay::Here);
    }

    /// What has left is in another process from now on.
    pub(crate) fn be_gone(&self) {
        self.0.stay.set(Stay::Gone);
    }

    /// Asks all sessions to come again, each at a moment of its own within `spread`.
    pub(crate) fn close_within(&self, spread: Duration) {
        let all: Vec<_> = self.0.hosted.borrow().values().cloned().collect();
        for hosted in all {
            self.retire(&hosted);
            self.close_one_by_one(hosted, spread);
        }
    }
}
