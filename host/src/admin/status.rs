//! What the server's handle and the admin listener tell each other: when it started, and whether it
//! drains.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

/// Read and written from any thread, never for a message.
#[derive(Debug)]
pub(crate) struct Status {
    started: Instant,
    draining: AtomicBool,
    drain_wanted: Notify,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            draining: AtomicBool::new(false),
            drain_wanted: Notify::new(),
        }
    }
}

impl Status {
    /// The server asks its clients to leave.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// An operator wants that.
    pub(crate) fn ask_for_drain(&self) {
        self.begin_drain();
        self.drain_wanted.notify_one();
    }

    /// Resolves when an operator wants it.
    pub(crate) async fn drain_wanted(&self) {
        self.drain_wanted.notified().await;
    }

    /// Whether it does.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// When the server was ready.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }
}
