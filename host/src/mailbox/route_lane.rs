//! What all sessions of one route on one worker thread share: the limits of their queues, and where
//! what they do is counted. Never shared between threads.

use std::rc::Rc;

use super::{Lane, OutboxConfig, TenantLane};
use crate::metrics::{Counts, Trials};

/// One route's shared parts on one worker. In one piece, so that a session keeps one word for it.
pub(crate) struct RouteLane {
    pub(crate) lane: Rc<Lane>,
    pub(crate) config: OutboxConfig,
    pub(crate) counts: Rc<Counts>,
    /// Where its versions on trial are counted apart.
    pub(crate) trials: Rc<Trials>,
    pub(crate) tenant: Rc<TenantLane>,
}

#[cfg(test)]
impl RouteLane {
    /// One whose numbers nobody reads.
    pub(crate) fn uncounted(lane: &Rc<Lane>, config: OutboxConfig) -> Rc<Self> {
        Rc::new(Self {
            lane: Rc::clone(lane),
            config,
            counts: Rc::default(),
            trials: Rc::default(),
            tenant: TenantLane::unlimited(),
        })
    }
}
