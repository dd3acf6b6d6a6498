//! What the server's handle and the admin listener tell each other: when it started, and whether it
//! drains.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

/// A wish for an upgrade. Whoever has it answers, or drops it: then it has failed.
#[derive(Debug)]
pub struct UpgradeRequest {
    /// The program to start; without one, the one whose file this process was started from.
    pub program: Option<PathBuf>,
    /// How long sessions may stay here that need not leave.
    pub drain_for: Option<Duration>,
    /// How long the new process may take until it is ready.
    pub ready_within: Option<Duration>,
    /// The number of the new process, or why there is none.
    pub answer: oneshot::Sender<Result<u32, String>>,
}

/// Read and written from any thread, never for a message.
#[derive(Debug)]
pub(crate) struct Status {
    started: Instant,
    draining: AtomicBool,
    gone: Event,
    /// The last answer to an operator has left.
    answered: Event,
    drain_wanted: Notify,
    upgrades: Upgrades,
    rights: OnceLock<Vec<(&'static str, String)>>,
    /// Sessions of the process that was here before, while it has some.
    predecessor: Mutex<Option<u64>>,
}

/// The way of a wish to whoever can fulfil it; there is room for one.
#[derive(Debug)]
struct Upgrades {
    wanted: mpsc::Sender<UpgradeRequest>,
    wishes: tokio::sync::Mutex<mpsc::Receiver<UpgradeRequest>>,
    are_heard: AtomicBool,
}

/// Something that happens once.
#[derive(Debug, Default)]
struct Event {
    has_happened: AtomicBool,
    now: Notify,
}

impl Event {
    fn happen(&self) {
        self.has_happened.store(true, Ordering::Release);
        self.now.notify_waiters();
    }

    async fn happened(&self) {
        let mut told = std::pin::pin!(self.now.notified());
        // Listens before it looks, so that nothing falls in between.
        told.as_mut().enable();
        if !self.has_happened.load(Ordering::Acquire) {
            told.await;
        }
    }
}

/// Why a wish for an upgrade was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoUpgrade {
    /// Nobody here can.
    NotHere,
    /// One is under way.
    Busy,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            draining: AtomicBool::new(false),
            gone: Event::default(),
            answered: Event::default(),
            drain_wanted: Notify::new(),
            upgrades: Upgrades::default(),
            rights: OnceLock::new(),
            predecessor: Mutex::default(),
        }
    }
}

impl Default for Upgrades {
    fn default() -> Self {
        let (wanted, wishes) = mpsc::channel(1);
        Self {
            wanted,
            wishes: wishes.into(),
            are_heard: AtomicBool::new(false),
        }
    }
}

impl Status {
    /// The server asks its clients to leave.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Another process serves operators from now on.
    pub(crate) fn be_gone(&self) {
        self.begin_drain();
        self.gone.happen();
    }

    /// Resolves when another process serves operators.
    pub(super) async fn gone(&self) {
        self.gone.happened().await;
    }

    /// Everybody who was accepted before that has an answer.
    pub(super) fn is_answered(&self) {
        self.answered.happen();
    }

    /// Resolves then.
    pub(crate) async fn answered(&self) {
        self.answered.happened().await;
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

    /// An operator wants an upgrade.
    pub(super) fn ask_for_upgrade(&self, request: UpgradeRequest) -> Result<(), NoUpgrade> {
        if !self.upgrades.are_heard.load(Ordering::Relaxed) {
            return Err(NoUpgrade::NotHere);
        }
        let sent = self.upgrades.wanted.try_send(request);
        sent.map_err(|_| NoUpgrade::Busy)
    }

    /// Resolves when an operator wants one.
    pub(crate) async fn upgrade_wanted(&self) -> UpgradeRequest {
        self.upgrades.are_heard.store(true, Ordering::Relaxed);
        let mut wishes = self.upgrades.wishes.lock().await;
        wishes
            .recv()
            .await
            .expect("the sender lives as long as this")
    }

    /// Which rights the process has given up.
    pub(crate) fn show_rights(&self, rows: Vec<(&'static str, String)>) {
        // They never change.
        let _ = self.rights.set(rows);
    }

    pub(super) fn rights(&self) -> &[(&'static str, String)] {
        self.rights.get().map_or(&[], Vec::as_slice)
    }

    /// How many sessions are left in the process that was here before.
    pub(crate) fn show_predecessor(&self, sessions: Option<u64>) {
        let lock = self.predecessor.lock();
        *lock.unwrap_or_else(PoisonError::into_inner) = sessions;
    }

    pub(super) fn predecessor(&self) -> Option<u64> {
        let lock = self.predecessor.lock();
        *lock.unwrap_or_else(PoisonError::into_inner)
    }
}
