//! Dead letters: what the guest calls that failed were about, kept in memory for whoever has to find
//! out why. Bounded for each route and each tenant; the oldest make room.
//!
//! What is in them is the tenant's: it is shown over the admin API to who may see it, and never goes
//! into a log or a file. Knows neither wasm nor HTTP.

mod shelf;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::shelf::Shelf;
use crate::id::IncidentId;

/// Routes whose letters are kept apart. One more takes the place of the one that has failed least
/// lately: routes that are deployed come and go.
const ROUTES_MAX: usize = 1_000;

/// How much is kept. Worst case: `tenant_bytes_max` for each tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterSettings {
    /// Letters of one route. Default 100.
    pub route_letters_max: usize,
    /// Bytes of the letters of one route. Default 1 MiB. The payloads of one letter may have a
    /// quarter of it.
    pub route_bytes_max: usize,
    /// Bytes of the letters of one tenant. Default 8 MiB.
    pub tenant_bytes_max: usize,
    /// Bytes that are kept of one payload; 0 keeps none. Default 4 KiB.
    pub payload_bytes_max: usize,
}

impl Default for DeadLetterSettings {
    fn default() -> Self {
        Self {
            route_letters_max: 100,
            route_bytes_max: 1 << 20,
            tenant_bytes_max: 8 << 20,
            payload_bytes_max: 4 << 10,
        }
    }
}

/// What one failed call was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// What its clients and the log were told.
    pub(crate) incident: IncidentId,
    pub(crate) at: SystemTime,
    pub(crate) tenant: Arc<str>,
    pub(crate) route: Arc<str>,
    pub(crate) component: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) worker: usize,
    /// The function of the contract that was called, or `start`.
    pub(crate) call: &'static str,
    /// As in metrics.
    pub(crate) kind: &'static str,
    /// What the fault says of itself.
    pub(crate) error: String,
    /// What became of the instance: `restarted` or `closed`.
    pub(crate) outcome: &'static str,
    /// Sessions that were closed for it.
    pub(crate) sessions_closed: usize,
    /// The timer that the call was about.
    pub(crate) timer: Option<Box<str>>,
    /// The sessions that the call was about, by name.
    pub(crate) sessions: Vec<Box<str>>,
    /// What it was given, in order.
    pub(crate) messages: Vec<DeadMessage>,
}

/// One message of a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadMessage {
    /// The name of its session.
    pub(crate) session: Box<str>,
    /// `text`, `binary`, or of a raw route `ping`, `pong`, `close`.
    pub(crate) kind: &'static str,
    /// How long the payload was.
    pub(crate) payload_bytes: usize,
    /// Its beginning.
    pub(crate) payload: Box<[u8]>,
}

impl DeadLetter {
    /// What it takes, about.
    fn bytes(&self) -> usize {
        const FIXED: usize = size_of::<DeadLetter>() + 32;
        let names = self.sessions.iter().map(|name| name.len() + 16);
        let messages = self.messages.iter();
        let messages = messages.map(|message| {
            size_of::<DeadMessage>() + message.session.len() + message.payload.len()
        });
        FIXED + self.error.len() + names.sum::<usize>() + messages.sum::<usize>()
    }
}

/// Which route, of which tenant.
pub(crate) type RouteKey = (Arc<str>, Arc<str>);

/// What is counted of a route's letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LetterFigures {
    /// Kept now.
    pub(crate) kept: usize,
    /// Written since the start.
    pub(crate) written: u64,
    /// Of these, dropped because there were too many.
    pub(crate) dropped: u64,
}

/// A route, and what is counted of its letters.
pub(crate) type LetterRow = (RouteKey, LetterFigures);

/// The letters of all tenants; a clone means the same.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: DeadLetterSettings,
    /// Taken when a guest has failed and when an operator asks, never for a message.
    shelves: Mutex<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    by_route: BTreeMap<RouteKey, Shelf>,
    written: u64,
}

impl DeadLetters {
    pub(crate) fn new(settings: DeadLetterSettings) -> Self {
        let shelves = Mutex::default();
        Self(Arc::new(Shared { settings, shelves }))
    }

    /// How much of payloads a letter may have: of each, and of all of them.
    pub(crate) fn payload_bounds(&self) -> (usize, usize) {
        let settings = &self.0.settings;
        (settings.payload_bytes_max, settings.route_bytes_max / 4)
    }

    /// Keeps a letter; the oldest of its route, then of its tenant, make room.
    pub(crate) fn keep(&self, letter: DeadLetter) {
        let settings = &self.0.settings;
        let mut shelves = self.shelves();
        shelves.written += 1;
        let number = shelves.written;
        let tenant = Arc::clone(&letter.tenant);
        let key = (Arc::clone(&tenant), Arc::clone(&letter.route));
        shelves.make_room_for(&key);
        let shelf = shelves.by_route.entry(key).or_default();
        shelf.put(number, letter);
        while shelf.len() > settings.route_letters_max || shelf.bytes() > settings.route_bytes_max {
            shelf.drop_oldest();
        }
        while shelves.bytes_of(&tenant) > settings.tenant_bytes_max {
            shelves.drop_oldest_of(&tenant);
        }
    }

    /// A tenant's letters with a number below `before`, the newest first, each with its number.
    pub(crate) fn list(
        &self,
        tenant: &str,
        before: u64,
        limit: usize,
    ) -> Vec<(u64, Arc<DeadLetter>)> {
        let shelves = self.shelves();
        let all = shelves.of_tenant(tenant).flat_map(Shelf::iter);
        let mut found: Vec<_> = all.filter(|(number, _)| *number < before).collect();
        found.sort_unstable_by_key(|(number, _)| u64::MAX - number);
        found.truncate(limit);
        found
    }

    /// The letter of an incident, if one of the tenants that `reaches` allows has it.
    pub(crate) fn find(
        &self,
        incident: IncidentId,
        reaches: impl Fn(&str) -> bool,
    ) -> Option<Arc<DeadLetter>> {
        let shelves = self.shelves();
        let own = shelves.by_route.iter();
        let mut own = own.filter(|((tenant, _), _)| reaches(tenant));
        own.find_map(|(_, shelf)| shelf.find(incident))
    }

    /// Throws one of a tenant's letters away. Whether it was there.
    pub(crate) fn delete(&self, tenant: &str, incident: IncidentId) -> bool {
        let mut shelves = self.shelves();
        let mut own = shelves.of_tenant_mut(tenant);
        own.any(|shelf| shelf.delete(incident))
    }

    /// Throws all of a tenant's letters away; how many there were.
    pub(crate) fn delete_all(&self, tenant: &str) -> usize {
        let mut shelves = self.shelves();
        shelves.of_tenant_mut(tenant).map(Shelf::clear).sum()
    }

    /// What is counted, by tenant and route.
    pub(crate) fn figures(&self) -> Vec<LetterRow> {
        let shelves = self.shelves();
        let rows = shelves.by_route.iter();
        rows.map(|(key, shelf)| (key.clone(), shelf.figures()))
            .collect()
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // What panicked there has dropped or added a whole letter.
        let shelves = &self.0.shelves;
        shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn of_tenant(&self, tenant: &str) -> impl Iterator<Item = &Shelf> {
        let all = self.by_route.iter();
        let own = all.filter(move |((of, _), _)| **of == *tenant);
        own.map(|(_, shelf)| shelf)
    }

    fn of_tenant_mut(&mut self, tenant: &str) -> impl Iterator<Item = &mut Shelf> {
        let all = self.by_route.iter_mut();
        let own = all.filter(move |((of, _), _)| **of == *tenant);
        own.map(|(_, shelf)| shelf)
    }

    fn make_room_for(&mut self, key: &RouteKey) {
        if self.by_route.len() < ROUTES_MAX || self.by_route.contains_key(key) {
            return;
        }
        let all = self.by_route.iter();
        let quietest = all.min_by_key(|(_, shelf)| shelf.last_written());
        if let Some(key) = quietest.map(|(key, _)| key.clone()) {
            self.by_route.remove(&key);
        }
    }

    fn bytes_of(&self, tenant: &str) -> usize {
        self.of_tenant(tenant).map(Shelf::bytes).sum()
    }

    fn drop_oldest_of(&mut self, tenant: &str) {
        let own = self.of_tenant_mut(tenant);
        let own = own.filter(|shelf| shelf.len() > 0);
        if let Some(shelf) = own.min_by_key(|shelf| shelf.oldest()) {
            shelf.drop_oldest();
        }
    }
}

#[cfg(test)]
mod tests;
