//! What each tenant may use of the server, and what it uses now: one [`TenantBudget`] for each, for
//! all workers.
//!
//! Counts and answers; what becomes of somebody who is over a limit is decided by whoever asks. No
//! message passes here: a worker takes a piece of each rate now and then (see [`rate`]), and what is
//! counted at once is what happens once for a session or an instance.

mod limits;
mod rate;
mod turns;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub(crate) use self::limits::Limit;
pub use self::limits::TenantLimits;
pub(crate) use self::rate::{Allowance, Meter, PIECE};
pub(crate) use self::turns::{Share, Turn, Turns, Waiting};

/// The budgets of all tenants; a clone means the same.
#[derive(Clone, Debug)]
pub(crate) struct Budgets(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    origin: Instant,
    /// Contended by those who meet a tenant for the first time on a worker, and by a reload.
    tenants: Mutex<Tenants>,
}

#[derive(Debug, Default)]
struct Tenants {
    named: BTreeMap<String, Arc<TenantLimits>>,
    others: Arc<TenantLimits>,
    known: HashMap<Arc<str>, Arc<TenantBudget>>,
}

impl Tenants {
    fn limits(&self, tenant: &str) -> Arc<TenantLimits> {
        Arc::clone(self.named.get(tenant).unwrap_or(&self.others))
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl Budgets {
    /// The limits of tenants by name; whoever is not named has the defaults.
    pub(crate) fn new(named: BTreeMap<String, TenantLimits>) -> Self {
        let budgets = Self(Arc::new(Shared {
            origin: Instant::now(),
            tenants: Mutex::default(),
        }));
        budgets.replace(named);
        budgets
    }

    /// Other limits from now on. What is used beyond them stays; there will be no more of it.
    pub(crate) fn replace(&self, named: BTreeMap<String, TenantLimits>) {
        let mut tenants = self
            .0
            .tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let named = named.into_iter();
        tenants.named = named.map(|(name, limits)| (name, limits.into())).collect();
        for budget in tenants.known.values() {
            budget.set_limits(tenants.limits(&budget.tenant));
        }
    }

    /// The tenants whose limits are named.
    pub(crate) fn named(&self) -> Vec<Arc<str>> {
        let tenants = self
            .0
            .tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let names = tenants.named.keys();
        names.map(|name| Arc::from(name.as_str())).collect()
    }

    /// The budget of a tenant.
    pub(crate) fn of(&self, tenant: &Arc<str>) -> Arc<TenantBudget> {
        let mut tenants = self
            .0
            .tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = tenants.known.get(tenant) {
            return Arc::clone(budget);
        }
        let limits = tenants.limits(tenant);
        let budget = Arc::new(TenantBudget::new(Arc::clone(tenant), self.0.origin, limits));
        tenants.known.insert(Arc::clone(tenant), budget.clone());
        budget
    }

    /// All that were ever asked for, by name.
    pub(crate) fn all(&self) -> Vec<Arc<TenantBudget>> {
        let tenants = self
            .0
            .tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = tenants.known.values().cloned().collect();
        all.sort_unstable_by(|one, other| one.tenant.cmp(&other.tenant));
        all
    }
}

/// What one tenant may use, and uses.
#[derive(Debug)]
pub(crate) struct TenantBudget {
    tenant: Arc<str>,
    origin: Instant,
    /// Written by a reload alone; read for handshakes, starts of instances and growths of memory.
    limits: RwLock<Arc<TenantLimits>>,
    sessions: AtomicU64,
    handshakes: AtomicU64,
    instances: AtomicU64,
    memory_bytes: AtomicU64,
    /// What the workers have said last; see [`TenantBudget::queue`].
    queued_bytes: AtomicI64,
    handshake_rate: Allowance,
    pub(crate) messages_in: Allowance,
    pub(crate) bytes_in: Allowance,
    pub(crate) messages_out: Allowance,
    pub(crate) bytes_out: Allowance,
    hits: [AtomicU64; Limit::ALL.len()],
}

impl TenantBudget {
    fn new(tenant: Arc<str>, origin: Instant, limits: Arc<TenantLimits>) -> Self {
        Self {
            tenant,
            origin,
            limits: RwLock::new(limits),
            sessions: AtomicU64::default(),
            handshakes: AtomicU64::default(),
            instances: AtomicU64::default(),
            memory_bytes: AtomicU64::default(),
            queued_bytes: AtomicI64::default(),
            handshake_rate: Allowance::default(),
            messages_in: Allowance::default(),
            bytes_in: Allowance::default(),
            messages_out: Allowance::default(),
            bytes_out: Allowance::default(),
            hits: Default::default(),
        }
    }

    /// Whose it is.
    pub(crate) fn tenant(&self) -> &Arc<str> {
        &self.tenant
    }

    /// Its limits now.
    pub(crate) fn limits(&self) -> Arc<TenantLimits> {
        let limits = self.limits.read();
        Arc::clone(&limits.unwrap_or_else(PoisonError::into_inner))
    }

    fn set_limits(&self, limits: Arc<TenantLimits>) {
        let now = self.limits.write();
        *now.unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Since all rates began to be counted.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Counts that a limit was reached.
    pub(crate) fn hit(&self, limit: Limit) {
        self.hits[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each limit was reached that ever was.
    pub(crate) fn hits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = Limit::ALL.iter().zip(&self.hits);
        let counted = counted.map(|(limit, hits)| (limit.label(), hits.load(Ordering::Relaxed)));
        counted.filter(|(_, hits)| *hits > 0)
    }

    /// A session begins or is over.
    pub(crate) fn count_session(&self, begins: bool) {
        if begins {
            self.sessions.fetch_add(1, Ordering::Relaxed);
        } else {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Lets a handshake go on, if it may become a session. What is returned is kept until it has.
    pub(crate) fn shake_hands(self: &Arc<Self>) -> Result<Handshake, Refused> {
        let limits = self.limits();
        // Counted first: two workers that take the last place see each other.
        let before = self.handshakes.fetch_add(1, Ordering::Relaxed);
        let handshake = Handshake(Arc::clone(self));
        let taken = self.sessions.load(Ordering::Relaxed) + before;
        if limits.sessions_max.is_some_and(|max| taken >= max) {
            self.hit(Limit::Sessions);
            return Err(Refused::Sessions);
        }
        if let Some(max) = limits.handshakes_per_second_max
            && let Err(wait) = self.take_handshake(max)
        {
            self.hit(Limit::Handshakes);
            return Err(Refused::Rate(wait));
        }
        Ok(handshake)
    }

    fn take_handshake(&self, per_second_max: u64) -> Result<(), Duration> {
        match per_second_max {
            0 => Err(Duration::from_secs(1)),
            max => self.handshake_rate.take_one(max, self.now()),
        }
    }

    /// A place for one more instance.
    pub(crate) fn instance(self: &Arc<Self>) -> Option<InstancePlace> {
        let max = self.limits().instances_max.unwrap_or(u64::MAX);
        let before = self.instances.fetch_add(1, Ordering::Relaxed);
        let place = InstancePlace(Arc::clone(self));
        if before >= max {
            self.hit(Limit::Instances);
            return None;
        }
        Some(place)
    }

    /// A place for an instance that takes over from another in a moment: both are there until then.
    pub(crate) fn successor(self: &Arc<Self>) -> InstancePlace {
        self.instances.fetch_add(1, Ordering::Relaxed);
        InstancePlace(Arc::clone(self))
    }

    /// Lets an instance have more memory, if the tenant may.
    pub(crate) fn grow_memory(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let max = self.limits().memory_bytes_max.unwrap_or(u64::MAX);
        let before = self.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= max {
            return true;
        }
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.hit(Limit::Memory);
        false
    }

    /// An instance has that much memory no more.
    pub(crate) fn give_back_memory(&self, bytes: usize) {
        self.memory_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// A worker says by how much more or less waits in its queues than it had said before.
    pub(crate) fn queue(&self, change: i64) {
        self.queued_bytes.fetch_add(change, Ordering::Relaxed);
    }

    /// Instances that have memory now.
    #[cfg(test)]
    pub(crate) fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    /// Linear memory of its instances now.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// What waits in the queues of all workers, as they said last.
    pub(crate) fn queued_bytes(&self) -> i64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }
}

/// Why a handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The tenant has as many sessions as it may.
    Sessions,
    /// It has had as many handshakes; there may be one more after so long.
    Rate(Duration),
}

/// A handshake that may become a session.
#[derive(Debug)]
pub(crate) struct Handshake(Arc<TenantBudget>);

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of an instance that has memory.
#[derive(Debug)]
pub(crate) struct InstancePlace(Arc<TenantBudget>);

impl Drop for InstancePlace {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(limits: TenantLimits) -> (Budgets, Arc<TenantBudget>) {
        let budgets = Budgets::new(BTreeMap::from([("acme".to_owned(), limits)]));
        let budget = budgets.of(&"acme".into());
        (budgets, budget)
    }

    #[test]
    fn sessions_and_handshakes_share_the_places() {
        let limits = TenantLimits {
            sessions_max: Some(2),
            ..TenantLimits::default()
        };
        let (budgets, budget) = budgets(limits);
        budget.count_session(true);
        let second = budget.shake_hands().expect("there are two");
        assert_eq!(budget.shake_hands().err(), Some(Refused::Sessions));
        drop(second);
        assert!(budget.shake_hands().is_ok());
        assert!(budgets.of(&"other".into()).shake_hands().is_ok());
        assert_eq!(budget.hits().collect::<Vec<_>>(), [("sessions", 1)]);
    }

    #[test]
    fn memory_and_instances_are_given_back() {
        let limits = TenantLimits {
            instances_max: Some(1),
            memory_bytes_max: Some(100),
            ..TenantLimits::default()
        };
        let (_, budget) = budgets(limits);
        let only = budget.instance();
        assert!(only.is_some());
        assert!(budget.instance().is_none());
        let successor = budget.successor();
        drop(only);
        assert!(budget.instance().is_none(), "the successor has the place");
        drop(successor);
        assert!(budget.instance().is_some());
        assert!(budget.grow_memory(60));
        assert!(!budget.grow_memory(41));
        budget.give_back_memory(20);
        assert!(budget.grow_memory(60));
        assert_eq!(budget.memory_bytes(), 100);
    }

    #[test]
    fn other_limits_hold_at_once() {
        let (budgets, budget) = budgets(TenantLimits::default());
        assert!(budget.shake_hands().is_ok());
        let none = TenantLimits {
            handshakes_per_second_max: Some(0),
            ..TenantLimits::default()
        };
        budgets.replace(BTreeMap::from([("acme".to_owned(), none)]));
        assert!(matches!(budget.shake_hands(), Err(Refused::Rate(_))));
        budgets.replace(BTreeMap::new());
        assert!(budget.shake_hands().is_ok());
    }

    #[test]
    fn every_limit_has_its_own_count() {
        for (place, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, place);
        }
    }
}
