//! What the listeners accept: the limits, and how much of them is taken. One count for the whole
//! server, read and changed by every worker at most a few times for each connection, never for a
//! message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::head::HeadLimits;

/// Connections over their limit that are told so at once; more are dropped without a word.
const FAREWELLS_MAX: usize = 256;

/// What is accepted from the network, for the whole server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IngressLimits {
    /// Sessions at once; over it an upgrade is answered with 503. Default 1,000,000: other limits,
    /// descriptors above all, come first. Worst case: each costs about 1 KiB and its route's
    /// buffers.
    pub sessions_max: usize,
    /// Connections that are no sessions (yet); over it a connection is answered with 503. Default
    /// 16,384. Worst case: each holds `head_bytes_max`.
    pub connections_max: usize,
    /// Upgrades that wait for their handler's word; over it they are answered with 503. Default
    /// 4,096. Worst case: each holds about 40 KiB.
    pub handshakes_concurrent_max: usize,
    /// TLS handshakes at once; more wait, within the same deadline. Default 1,024. Worst case: each
    /// holds about 40 KiB.
    pub tls_handshakes_concurrent_max: usize,
    /// How long a TLS handshake may take. Default 5 s.
    pub tls_handshake_timeout: Duration,
    /// How long a request's head may take; over it: 408. Default 5 s.
    pub head_timeout: Duration,
    /// Bytes of a request's head; over it: 431. Default 16 KiB.
    pub head_bytes_max: usize,
    /// Headers of a request; over it: 431. Default 100, which is also the most.
    pub headers_max: usize,
    /// Bytes of a request's target; over it: 414. Default 8 KiB.
    pub target_bytes_max: usize,
    /// How long a connection may wait for its next request. Default 60 s.
    pub keep_alive_timeout: Duration,
    /// How long the peer may take to read a response. Default 30 s.
    pub response_timeout: Duration,
}

impl Default for IngressLimits {
    fn default() -> Self {
        Self {
            sessions_max: 1_000_000,
            connections_max: 16_384,
            handshakes_concurrent_max: 4_096,
            tls_handshakes_concurrent_max: 1_024,
            tls_handshake_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(5),
            head_bytes_max: 16 << 10,
            headers_max: 100,
            target_bytes_max: 8 << 10,
            keep_alive_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(30),
        }
    }
}

impl IngressLimits {
    pub(super) fn head(&self) -> HeadLimits {
        HeadLimits {
            head_bytes_max: self.head_bytes_max,
            target_bytes_max: self.target_bytes_max,
            headers_max: self.headers_max,
        }
    }
}

/// The limits, and how many places of each kind are taken.
#[derive(Debug, Default)]
pub(crate) struct Places {
    limits: IngressLimits,
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    tls_handshakes: AtomicUsize,
    farewells: AtomicUsize,
}

/// The kinds of places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Connection,
    Handshake,
    TlsHandshake,
    /// A connection too many that is told so.
    Farewell,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    kind: Kind,
}

impl Places {
    pub(crate) fn new(limits: IngressLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(super) fn limits(&self) -> &IngressLimits {
        &self.limits
    }

    /// How many places of a kind are taken.
    pub(super) fn taken(&self, kind: Kind) -> usize {
        self.counter(kind).load(Ordering::Relaxed)
    }

    /// Takes a place if one is free.
    pub(super) fn take(self: &Arc<Self>, kind: Kind) -> Option<Place> {
        let max = match kind {
            Kind::Connection => self.limits.connections_max,
            Kind::Handshake => self.limits.handshakes_concurrent_max,
            Kind::TlsHandshake => self.limits.tls_handshakes_concurrent_max,
            Kind::Farewell => FAREWELLS_MAX,
        };
        // Counted first: two workers that take the last place see each other.
        let place = Place {
            of: Arc::clone(self),
            kind,
        };
        let before = self.counter(kind).fetch_add(1, Ordering::Relaxed);
        (before < max).then_some(place)
    }

    fn counter(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Connection => &self.connections,
            Kind::Handshake => &self.handshakes,
            Kind::TlsHandshake => &self.tls_handshakes,
            Kind::Farewell => &self.farewells,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.counter(self.kind).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let limits = IngressLimits {
            handshakes_concurrent_max: 1,
            ..IngressLimits::default()
        };
        let places = Arc::new(Places::new(limits));
        let first = places.take(Kind::Handshake);
        assert!(first.is_some());
        assert!(places.take(Kind::Handshake).is_none());
        assert!(places.take(Kind::Connection).is_some());
        drop(first);
        assert_eq!(places.taken(Kind::Handshake), 0);
        assert!(places.take(Kind::Handshake).is_some());
    }
}
