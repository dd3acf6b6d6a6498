//! Collects the outboxes that a guest call wrote to, so that each leaves in one write when the
//! call ends, when it first waits, or when it has filled a write.
//!
//! Holds handles only; the bytes stay in their outboxes.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use wharf_protocol::MessageKind;

use super::Outbox;
use super::joined::{Audience, Joined, Way};
use crate::metrics::TopicCounters;

/// So often a call may be found to wait for its next turn before what was sent leaves: a turn is a
/// millisecond, and whoever else has one meanwhile lets it leave, too. A handler that sends to a
/// thousand sessions takes longer than one for a message to each, and would pay for a write of each.
const PAUSES_MAX: u32 = 8;

/// The outboxes of one worker that have bytes to write.
#[derive(Default)]
pub(crate) struct Cork {
    waiting: RefCell<Vec<Outbox>>,
    joined: Joined,
    calls: Cell<u32>,
    /// Since the last release.
    pauses: Cell<u32>,
}

impl Cork {
    /// A guest call begins.
    pub(crate) fn begin_call(&self) {
        self.calls.set(self.calls.get().wrapping_add(1));
    }

    /// Tells the calls of a worker apart.
    pub(super) fn call(&self) -> u32 {
        self.calls.get()
    }

    /// Remembers an outbox; the outbox sees to it that it is added once.
    pub(crate) fn add(&self, outbox: Outbox) {
        self.waiting.borrow_mut().push(outbox);
    }

    /// Sends a message to many sessions, but not to `except`, if there is room in their queues when
    /// it is their turn. Text has to be UTF-8.
    pub(crate) fn join(
        &self,
        audience: &Audience,
        message: (MessageKind, &[u8]),
        except: Option<u64>,
        counters: &Arc<TopicCounters>,
    ) {
        self.joined.add(audience, message, except, counters);
    }

    /// Puts what was joined for many into the queue of each, so that what is sent now comes behind.
    #[inline]
    pub(crate) fn settle(&self) {
        if self.joined.waits() {
            self.joined.hand_out(Way::Queue);
        }
    }

    /// A guest call lets others run and goes on then: what was collected may wait a little for more.
    pub(crate) fn pause(&self) {
        self.settle();
        self.pauses.set(self.pauses.get() + 1);
        if self.pauses.get() >= PAUSES_MAX {
            self.release();
        }
    }

    /// Writes what was collected.
    pub(crate) fn release(&self) {
        self.pauses.set(0);
        self.joined.hand_out(Way::Write);
        // Writing wakes tasks and calls no one, so nothing is added meanwhile.
        for outbox in self.waiting.borrow_mut().drain(..) {
            outbox.write_now();
        }
    }
}
