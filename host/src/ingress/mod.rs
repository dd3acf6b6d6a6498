//! From a listening socket to an admitted, upgraded stream: accept, TLS, one strict HTTP head, route,
//! Origin, admission, 101.
//!
//! Every wait here has a deadline and every count a bound. Knows no frames and no guests: what it
//! lets in goes to dispatch for a place and to session for its life.

mod answer;
mod asked;
mod connection;
mod gate;
mod head;
mod listener;
mod places;
mod request;
mod tls;

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::dispatch::Dispatcher;

pub(crate) use self::connection::serve_connection;
pub(crate) use self::listener::accept_loop;
pub use self::places::IngressLimits;
pub(crate) use self::places::Places;
pub(crate) use self::tls::Tls;
pub use self::tls::{TlsError, TlsFiles};

/// What the connections of one worker share.
pub(crate) struct Ingress {
    dispatcher: Dispatcher,
    places: Arc<Places>,
    tls: Option<Arc<Tls>>,
    phase: Cell<Phase>,
    phase_changed: Notify,
}

/// Who is let in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Whoever comes.
    Open,
    /// Whoever was accepted; others wait in the kernel's queue.
    Held,
    /// Whoever was accepted; others are let in by another process.
    Closed,
    /// Nobody.
    Draining,
}

impl Ingress {
    pub(crate) fn new(dispatcher: Dispatcher, places: Arc<Places>, tls: Option<Arc<Tls>>) -> Self {
        Self {
            dispatcher,
            places,
            tls,
            phase: Cell::new(Phase::Open),
            phase_changed: Notify::new(),
        }
    }

    /// Accepts nothing more; idle connections end, upgrades are answered with 503.
    pub(crate) fn drain(&self) {
        self.enter(Phase::Draining);
    }

    /// Accepts nothing for now.
    pub(crate) fn hold(&self) {
        self.enter(Phase::Held);
    }

    /// Accepts again what has come meanwhile.
    pub(crate) fn go_on(&self) {
        self.enter(Phase::Open);
    }

    /// Accepts nothing more and lets go of the listening sockets; what was accepted is served.
    pub(crate) fn close(&self) {
        self.enter(Phase::Closed);
    }

    /// Connections of the whole server that are no sessions, or not yet.
    pub(crate) fn connections(&self) -> usize {
        let kinds = [places::Kind::Connection, places::Kind::TlsHandshake];
        kinds.map(|kind| self.places.taken(kind)).iter().sum()
    }

    fn enter(&self, phase: Phase) {
        // A server that drains does nothing else any more.
        if !self.is_draining() {
            self.phase.set(phase);
            self.phase_changed.notify_waiters();
        }
    }

    fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    fn is_draining(&self) -> bool {
        self.phase.get() == Phase::Draining
    }

    /// Resolves when the server drains.
    async fn drained(&self) {
        // One thread: nothing can begin between this look and the wait.
        while !self.is_draining() {
            self.phase_changed.notified().await;
        }
    }

    /// Resolves when something may be accepted; `false` if that will never be.
    async fn opened(&self) -> bool {
        loop {
            match self.phase.get() {
                Phase::Open => return true,
                Phase::Held => self.phase_changed.notified().await,
                Phase::Closed | Phase::Draining => return false,
            }
        }
    }

    /// Resolves when nothing may be accepted.
    async fn shut(&self) {
        while self.is_open() {
            self.phase_changed.notified().await;
        }
    }
}
