//! What a guest may use, and the limiter that wasmtime asks at every growth.
//!
//! CPU and wall time are kept elsewhere, outside of the Store (see [`super::call`]).

use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::budget::{InstancePlace, Limit, TenantBudget};
use crate::fault::HostFault;

/// The limits of a program. Every value has a default and a worst case that says what it can cost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GuestLimits {
    /// Linear memory of one instance, in bytes, over all of its memories. Default 64 MiB. Worst
    /// case: every live instance holds that much.
    pub memory_bytes_max: usize,
    /// Table entries of one instance, over all of its tables. Default 100,000. Worst case: 8 bytes
    /// for each.
    pub table_elements_max: usize,
    /// CPU time of one call into the guest, its start included. Default 1 s. A call that takes
    /// longer than two milliseconds lets others of its worker in between.
    pub cpu_per_call: Duration,
    /// Wall time of one call, with what it waits for. Default 10 s.
    pub wall_per_call: Duration,
    /// Bytes that one call from the guest to the host may pass. Default 8 MiB; keep it above the
    /// message limit. More than the message limit is answered, more than this is a fault. Worst
    /// case: that much for a moment on each worker.
    pub hostcall_bytes_max: usize,
    /// Handles to resources that an instance may hold. Default 1,024. Each conversation of the
    /// instance adds eight, for its stream and what it waits with. Worst case: some 100 bytes each.
    pub handles_max: usize,
    /// Size of the component's file, in bytes. Default 64 MiB.
    pub component_bytes_max: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            table_elements_max: 100_000,
            cpu_per_call: Duration::from_secs(1),
            wall_per_call: Duration::from_secs(10),
            hostcall_bytes_max: 8 << 20,
            handles_max: 1_024,
            component_bytes_max: 64 << 20,
        }
    }
}

/// Core modules, memories and tables in one component: more than any toolchain makes.
pub(super) const CORE_INSTANCES_MAX: usize = 128;
pub(crate) const MEMORIES_MAX: usize = 8;
pub(super) const TABLES_MAX: usize = 32;

/// Counts what one Store has and refuses what would pass its limits, or its tenant's.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: Budget,
    table: Budget,
    refused: bool,
    tenant: Arc<TenantBudget>,
    /// The tenant was at its limit.
    refused_tenant: bool,
    /// The instance's own among those of the tenant.
    _place: InstancePlace,
}

/// A sum over all memories or tables.
#[derive(Debug)]
struct Budget {
    used: usize,
    max: usize,
    /// The last growth, to be taken back if it fails for another reason.
    last: usize,
}

impl Budget {
    fn new(max: usize) -> Self {
        Self {
            used: 0,
            max,
            last: 0,
        }
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let growth = desired.saturating_sub(current);
        let fits = self
            .used
            .checked_add(growth)
            .is_some_and(|used| used <= self.max);
        self.last = if fits { growth } else { 0 };
        self.used += self.last;
        fits
    }

    fn take_back(&mut self) {
        self.used -= std::mem::take(&mut self.last);
    }
}

impl Limiter {
    /// `succeeds`: the instance takes over from one that is still there.
    pub(super) fn new(
        limits: &GuestLimits,
        tenant: Arc<TenantBudget>,
        succeeds: bool,
    ) -> Result<Self, HostFault> {
        let place = match succeeds {
            true => Some(tenant.successor()),
            false => tenant.instance(),
        };
        Ok(Self {
            memory: Budget::new(limits.memory_bytes_max),
            table: Budget::new(limits.table_elements_max),
            refused: false,
            tenant,
            refused_tenant: false,
            _place: place.ok_or(HostFault::OverBudget(Limit::Instances))?,
        })
    }

    /// Whether the tenant had no memory left for it.
    pub(super) fn has_refused_tenant(&self) -> bool {
        self.refused_tenant
    }

    /// Whether a growth was refused since the last call of [`Limiter::forget`].
    pub(super) fn has_refused(&self) -> bool {
        self.refused
    }

    /// A new call begins: what an earlier one was refused and survived does not explain its end.
    pub(super) fn forget(&mut self) {
        self.refused = false;
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.tenant.give_back_memory(self.memory.used);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let mut fits = self.memory.grow(current, desired);
        if fits && !self.tenant.grow_memory(self.memory.last) {
            self.memory.take_back();
            self.refused_tenant = true;
            fits = false;
        }
        self.refused |= !fits;
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.tenant.give_back_memory(self.memory.last);
        self.memory.take_back();
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = self.table.grow(current, desired);
        self.refused |= !fits;
        Ok(fits)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.table.take_back();
        self.refused = true;
        Ok(())
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budgets, TenantLimits};

    fn limiter(memory_bytes_max: usize) -> Limiter {
        of_tenant(memory_bytes_max, Budgets::default().of(&"test".into()))
    }

    fn of_tenant(memory_bytes_max: usize, tenant: Arc<TenantBudget>) -> Limiter {
        let limits = GuestLimits {
            memory_bytes_max,
            ..GuestLimits::default()
        };
        Limiter::new(&limits, tenant, false).expect("there is a place")
    }

    #[test]
    fn memory_is_counted_against_the_tenant_until_the_store_is_gone() {
        let limits = TenantLimits {
            memory_bytes_max: Some(100),
            ..TenantLimits::default()
        };
        let budgets = Budgets::new([("acme".to_owned(), limits)].into());
        let tenant = budgets.of(&"acme".into());
        let [mut first, mut second] = [80, 80].map(|max| of_tenant(max, tenant.clone()));
        let grow = |limiter: &mut Limiter, desired| {
            let grown = limiter.memory_growing(0, desired, None);
            grown.expect("the limiter never fails")
        };
        assert!(grow(&mut first, 80));
        assert!(!grow(&mut second, 21));
        assert!(second.has_refused_tenant() && second.has_refused());
        assert!(grow(&mut second, 20));
        assert_eq!((tenant.memory_bytes(), tenant.instances()), (100, 2));
        drop(first);
        assert_eq!((tenant.memory_bytes(), tenant.instances()), (20, 1));
    }

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = limiter(100);
        let mut grow = |current, desired| {
            limiter
                .memory_growing(current, desired, None)
                .expect("the limiter never fails")
        };
        assert!(grow(0, 60), "the first memory");
        assert!(grow(0, 40), "the second fills the limit");
        assert!(!grow(60, 61));
        assert!(!grow(0, usize::MAX));
        assert!(limiter.has_refused());
        limiter.forget();
        assert!(!limiter.has_refused());
    }

    #[test]
    fn a_growth_that_failed_does_not_count() {
        let mut limiter = limiter(100);
        assert!(
            limiter
                .memory_growing(0, 100, None)
                .expect("the limiter never fails")
        );
        limiter
            .memory_grow_failed(wasmtime::Error::msg("no memory"))
            .expect("ignored");
        assert!(limiter.has_refused());
        assert!(
            limiter
                .memory_growing(0, 100, None)
                .expect("the limiter never fails")
        );
    }
}
