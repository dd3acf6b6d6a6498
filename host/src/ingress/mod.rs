//! From a listening socket to an admitted, upgraded stream: accept, TLS, one strict HTTP head, route,
//! Origin, admission, 101.
//!
//! Every wait here has a deadline and every count a bound. Knows no frames and no guests: what it
//! lets in goes to dispatch for a place and to session for its life.

mod answer;
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
    draining: Cell<bool>,
    drain_began: Notify,
}

impl Ingress {
    pub(crate) fn new(dispatcher: Dispatcher, places: Arc<Places>, tls: Option<Arc<Tls>>) -> Self {
        let (draining, drain_began) = (Cell::new(false), Notify::new());
        Self {
            dispatcher,
            places,
            tls,
            draining,
            drain_began,
        }
    }

    /// Accepts nothing more; idle connections end, upgrades are answered with 503.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.drain_began.notify_waiters();
    }

    fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Resolves when the server drains.
    async fn drained(&self) {
        // One thread: nothing can begin between this look and the wait.
        if !self.is_draining() {
            self.drain_began.notified().await;
        }
    }
}
