//! What is stored of timers, and the changes of it, each inside of a transaction. The only place
//! that reads and writes the tables of timers.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Home, TIMERS_MAX, TimerError};
use crate::storage::{Storage, StorageError};

/// Tenant, route, instance and name.
type Place = (&'static str, &'static str, &'static str, &'static str);
/// Milliseconds since 1970, failures, generation.
type Waiting = (u64, u32, u64);

/// What waits.
const TIMERS: TableDefinition<Place, Waiting> = TableDefinition::new("timers.waiting");
/// By tenant: how many it has, and the last generation that was given to one of them.
const TENANTS: TableDefinition<&str, (u64, u64)> = TableDefinition::new("timers.tenants");
/// By tenant, route and instance: how many it has.
const INSTANCES: TableDefinition<(&str, &str, &str), u64> =
    TableDefinition::new("timers.instances");

/// One stored timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) due_unix: u64,
    pub(super) failures: u32,
    pub(super) generation: u64,
}

/// Makes the tables.
pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), StorageError> {
    transaction.open_table(TIMERS)?;
    transaction.open_table(TENANTS)?;
    transaction.open_table(INSTANCES)?;
    Ok(())
}

/// Sets a timer; returns its generation.
pub(super) fn set(
    transaction: &WriteTransaction,
    home: &Home,
    name: &str,
    due_unix: u64,
    tenant_max: u64,
) -> Result<Result<u64, TimerError>, StorageError> {
    let mut timers = transaction.open_table(TIMERS)?;
    let mut tenants = transaction.open_table(TENANTS)?;
    let mut instances = transaction.open_table(INSTANCES)?;
    let place = (&*home.tenant, &*home.route, &*home.key, name);
    let instance = (place.0, place.1, place.2);
    let is_new = timers.get(place)?.is_none();
    let of_tenant = tenants.get(place.0)?.map(|found| found.value());
    let (mut count, last) = of_tenant.unwrap_or_default();
    if is_new {
        let own = instances.get(instance)?.map_or(0, |found| found.value());
        for (has, max) in [(own, TIMERS_MAX as u64), (count, tenant_max)] {
            if has >= max {
                return Ok(Err(TimerError::TooMany(max)));
            }
        }
        instances.insert(instance, own + 1)?;
        count += 1;
    }
    let generation = last + 1;
    timers.insert(place, (due_unix, 0, generation))?;
    tenants.insert(place.0, (count, generation))?;
    Ok(Ok(generation))
}

/// Removes a timer that is not later than a generation; returns its own.
pub(super) fn remove(
    transaction: &WriteTransaction,
    home: &Home,
    name: &str,
    generation: u64,
) -> Result<Option<u64>, StorageError> {
    let mut timers = transaction.open_table(TIMERS)?;
    let place = (&*home.tenant, &*home.route, &*home.key, name);
    let found = timers.get(place)?.map(|found| found.value().2);
    let Some(found) = found.filter(|found| *found <= generation) else {
        return Ok(None);
    };
    timers.remove(place)?;
    let mut tenants = transaction.open_table(TENANTS)?;
    let of_tenant = tenants.get(place.0)?.map(|found| found.value());
    let (count, last) = of_tenant.unwrap_or_default();
    // The last generation stays, so that none is given out twice.
    tenants.insert(place.0, (count.saturating_sub(1), last))?;
    let mut instances = transaction.open_table(INSTANCES)?;
    let instance = (place.0, place.1, place.2);
    let own = instances.get(instance)?.map_or(0, |found| found.value());
    match own.checked_sub(1) {
        None | Some(0) => drop(instances.remove(instance)?),
        Some(rest) => drop(instances.insert(instance, rest)?),
    }
    Ok(Some(found))
}

/// A timer comes again later, if it still is the one of that generation.
pub(super) fn postpone(
    transaction: &WriteTransaction,
    home: &Home,
    name: &str,
    generation: u64,
    due_unix: u64,
    failures: u32,
) -> Result<(), StorageError> {
    let mut timers = transaction.open_table(TIMERS)?;
    let place = (&*home.tenant, &*home.route, &*home.key, name);
    let found = timers.get(place)?.map(|found| found.value().2);
    if found == Some(generation) {
        timers.insert(place, (due_unix, failures, generation))?;
    }
    Ok(())
}

/// Shows every stored timer: tenant, route, instance, name, and what is stored of it.
pub(super) fn each(
    storage: &Storage,
    mut see: impl FnMut(&str, &str, &str, &str, Row),
) -> Result<(), StorageError> {
    let timers = storage.read()?.open_table(TIMERS)?;
    for entry in timers.iter()? {
        let (place, row) = entry?;
        let (tenant, route, key, name) = place.value();
        let (due_unix, failures, generation) = row.value();
        let row = Row {
            due_unix,
            failures,
            generation,
        };
        see(tenant, route, key, name, row);
    }
    Ok(())
}
