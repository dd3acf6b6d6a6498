//! Collects the outboxes that a guest call wrote to, so that each leaves in one write when the
//! call ends, when it first waits, or when it has filled a write.
//!
//! Holds handles only; the bytes stay in their outboxes.

use std::cell::{Cell, RefCell};

use super::Outbox;

/// The outboxes of one worker that have bytes to write.
#[derive(Default)]
pub(crate) struct Cork {
    waiting: RefCell<Vec<Outbox>>,
    calls: Cell<u32>,
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

    /// Writes what was collected.
    pub(crate) fn release(&self) {
        // Writing wakes tasks and calls no one, so nothing is added meanwhile.
        for outbox in self.waiting.borrow_mut().drain(..) {
            outbox.write_now();
        }
    }
}
