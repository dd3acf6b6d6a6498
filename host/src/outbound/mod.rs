//! Connections that handlers open to the world outside: to granted hosts and ports only, and only to
//! public addresses unless private ones were granted, too.
//!
//! One instance for all workers. Knows neither wasm nor sessions; what a guest may ask for is
//! `capability`'s.

mod address;
mod dial;
mod error;
mod exchange;
mod prepared;
mod settings;
mod trust;
mod websocket;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, uri::PathAndQuery};

pub(crate) use self::error::OutboundError;
pub(crate) use self::exchange::{Exchange, Request, Response, Task, Timeouts};
pub(crate) use self::prepared::{Account, Prepared};
pub use self::settings::OutboundSettings;
use self::trust::Trust;
pub(crate) use self::websocket::{Opened, Opening};
use crate::budget::{Budgets, Limit, TenantBudget, TenantLimits};
use crate::catalog::{Destination, Grants, split_authority};

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Outbound(Arc<Shared>);

struct Shared {
    settings: OutboundSettings,
    budgets: Budgets,
    trust: Trust,
    /// Contended only by those who open connections at the same time.
    tenants: Mutex<HashMap<Arc<str>, Places>>,
}

/// How many connections a tenant has.
struct Places {
    budget: Arc<TenantBudget>,
    connections: Arc<AtomicUsize>,
    websockets: Arc<AtomicUsize>,
}

/// One of the connections that a tenant may have; free again when all of its clones are dropped.
#[derive(Clone)]
pub(crate) struct Place(#[allow(dead_code, reason = "held, not read")] Arc<Taken>);

struct Taken(Arc<AtomicUsize>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A host and a port that were granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// In lower case, without brackets.
    host: String,
    port: u16,
    is_secure: bool,
    allows_private: bool,
}

impl Outbound {
    pub(crate) fn new(settings: OutboundSettings, budgets: Budgets) -> Result<Self, String> {
        Ok(Self(Arc::new(Shared {
            trust: Trust::new(settings.roots.as_deref())?,
            settings,
            budgets,
            tenants: Mutex::default(),
        })))
    }

    pub(crate) fn settings(&self) -> &OutboundSettings {
        &self.0.settings
    }

    /// A place for one more connection of a tenant; nobody waits for one.
    pub(crate) fn place(&self, tenant: &Arc<str>) -> Result<Place, OutboundError> {
        self.place_in(tenant, |places, limits, settings| {
            let max = limits.outbound_connections_max;
            (&places.connections, max, settings.tenant_connections_max)
        })
    }

    /// A place for one more WebSocket of a tenant, for as long as it lasts; nobody waits for one.
    pub(crate) fn websocket_place(&self, tenant: &Arc<str>) -> Result<Place, OutboundError> {
        self.place_in(tenant, |places, limits, settings| {
            let max = limits.outbound_websockets_max;
            (&places.websockets, max, settings.tenant_websockets_max)
        })
    }

    fn place_in(
        &self,
        tenant: &Arc<str>,
        which: impl for<'a> FnOnce(
            &'a Places,
            &TenantLimits,
            &OutboundSettings,
        ) -> (&'a Arc<AtomicUsize>, Option<u64>, usize),
    ) -> Result<Place, OutboundError> {
        let shared = &*self.0;
        let mut tenants = shared
            .tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let places = tenants.entry(Arc::clone(tenant)).or_insert_with(|| Places {
            budget: shared.budgets.of(tenant),
            connections: Arc::default(),
            websockets: Arc::default(),
        });
        let limits = places.budget.limits();
        let (taken, own_max, every_max) = which(places, &limits, &shared.settings);
        let max = own_max.unwrap_or(every_max as u64);
        // Only taken under the lock, so nobody comes in between.
        if taken.load(Ordering::Relaxed) as u64 >= max {
            places.budget.hit(Limit::Outbound);
            return Err(OutboundError::TooMany(max));
        }
        taken.fetch_add(1, Ordering::Relaxed);
        Ok(Place(Arc::new(Taken(Arc::clone(taken)))))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// Whether a text can name a host and a port.
pub(crate) fn is_authority(text: &str) -> bool {
    Destination::parse(text).is_ok() && !text.starts_with("*.")
}

impl Target {
    /// Whom `host:port` means as the host of an HTTP request, if these grants cover it.
    pub(crate) fn of_http(
        grants: &Grants,
        authority: &str,
        is_secure: bool,
    ) -> Result<Self, OutboundError> {
        Self::granted(grants, &grants.http, authority, is_secure)
    }

    /// As [`Target::of_http`], for a WebSocket.
    pub(crate) fn of_websocket(
        grants: &Grants,
        authority: &str,
        is_secure: bool,
    ) -> Result<Self, OutboundError> {
        Self::granted(grants, &grants.websocket, authority, is_secure)
    }

    /// A host that the operator names for the server itself: it may be anywhere.
    pub(crate) fn of_operator(host: &str, port: u16, is_secure: bool) -> Self {
        Self {
            host: host.to_owned(),
            port,
            is_secure,
            allows_private: true,
        }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn granted(
        grants: &Grants,
        entries: &[Destination],
        authority: &str,
        is_secure: bool,
    ) -> Result<Self, OutboundError> {
        let (host, port) = split_authority(authority).ok_or(OutboundError::InvalidRequest)?;
        let port = port.unwrap_or(if is_secure { 443 } else { 80 });
        if !entries.iter().any(|entry| entry.covers(&host, port)) {
            return Err(OutboundError::NotGranted);
        }
        Ok(Self {
            host,
            port,
            is_secure,
            allows_private: grants.private_addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_list_is_not_granted() {
        let entry = Destination::parse("api.example:443").expect("an entry");
        let grants = Grants {
            http: vec![entry],
            ..Grants::default()
        };
        assert!(Target::of_http(&grants, "api.example", true).is_ok());
        let other = Target::of_websocket(&grants, "api.example", true);
        assert_eq!(other, Err(OutboundError::NotGranted));
        for (authority, is_secure, error) in [
            ("api.example", false, OutboundError::NotGranted),
            ("api.example:80", true, OutboundError::NotGranted),
            ("other.example", true, OutboundError::NotGranted),
            (
                "api.example:443@evil.example",
                true,
                OutboundError::InvalidRequest,
            ),
            ("evil.example@api.example", true, OutboundError::NotGranted),
            ("api.example:", true, OutboundError::InvalidRequest),
            ("", true, OutboundError::NotGranted),
        ] {
            let answer = Target::of_http(&grants, authority, is_secure);
            assert_eq!(answer, Err(error), "{authority}");
        }
    }

    #[test]
    fn a_tenant_has_so_many_places_and_another_its_own() {
        let settings = OutboundSettings {
            tenant_connections_max: 2,
            tenant_websockets_max: 1,
            ..OutboundSettings::default()
        };
        let own = TenantLimits {
            outbound_connections_max: Some(0),
            ..TenantLimits::default()
        };
        let budgets = Budgets::new([("mute".to_owned(), own)].into());
        let outbound = Outbound::new(settings, budgets).expect("nothing can fail");
        let (loud, calm): (Arc<str>, Arc<str>) = ("loud".into(), "calm".into());
        let mute = outbound.place(&"mute".into());
        assert_eq!(mute.err(), Some(OutboundError::TooMany(0)), "its own limit");
        let first = outbound.place(&loud);
        let _second = outbound.place(&loud).expect("there are two");
        assert_eq!(outbound.place(&loud).err(), Some(OutboundError::TooMany(2)));
        assert!(outbound.place(&calm).is_ok());
        let websocket = outbound.websocket_place(&loud);
        assert!(websocket.is_ok(), "they are counted apart");
        let another = outbound.websocket_place(&loud).err();
        assert_eq!(another, Some(OutboundError::TooMany(1)));
        drop(first);
        assert!(outbound.place(&loud).is_ok());
    }
}
