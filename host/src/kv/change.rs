//! One change of one key, with what it does to its tenant's quota, inside of a transaction. The
//! only place that writes to the tables of keys and values.

use redb::{ReadOnlyTable, ReadableTable, WriteTransaction};

use super::{KvError, Quota, USAGE, VALUE_BYTES_MAX, VALUES};
use crate::storage::StorageError;

/// A key and the value behind it as they are read.
pub(super) type Values =
    ReadOnlyTable<(&'static str, &'static str, &'static str), (u64, &'static [u8])>;

/// Which key.
pub(super) struct At<'a> {
    pub(super) tenant: &'a str,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
}

/// What is done with it.
pub(super) enum Change {
    Nothing,
    Remove,
    Write(Vec<u8>),
}

/// Looks at the value with its version, decides, and does what was decided, if the quota allows.
pub(super) fn change<T>(
    transaction: &WriteTransaction,
    quota: Quota,
    at: &At<'_>,
    decide: impl FnOnce(Option<(u64, &[u8])>) -> Result<(Change, T), KvError>,
) -> Result<Result<T, KvError>, StorageError> {
    let mut values = transaction.open_table(VALUES)?;
    let mut usage = transaction.open_table(USAGE)?;
    let place = (at.tenant, at.bucket, at.key);
    let old = values.get(place)?;
    let old_bytes = old.as_ref().map(|old| cost(at, old.value().1));
    let (change, outcome) = match decide(old.as_ref().map(|old| old.value())) {
        Ok(decided) => decided,
        Err(error) => return Ok(Err(error)),
    };
    drop(old);
    let found = usage.get(at.tenant)?.map(|found| found.value());
    let (keys, bytes, version) = found.unwrap_or_default();
    let (keys_without, bytes_without) = match old_bytes {
        Some(old_bytes) => (keys.saturating_sub(1), bytes.saturating_sub(old_bytes)),
        None => (keys, bytes),
    };
    match change {
        Change::Nothing => {}
        Change::Remove if old_bytes.is_none() => {}
        Change::Remove => {
            values.remove(place)?;
            usage.insert(at.tenant, (keys_without, bytes_without, version))?;
        }
        Change::Write(value) => {
            if value.len() > VALUE_BYTES_MAX {
                return Ok(Err(KvError::ValueTooLarge));
            }
            let new_bytes = bytes_without + cost(at, &value);
            // Over a quota that was lowered meanwhile, what does not grow is still let through.
            if new_bytes > quota.bytes_max && new_bytes > bytes {
                return Ok(Err(KvError::BytesFull(quota.bytes_max)));
            }
            if old_bytes.is_none() && keys >= quota.keys_max {
                return Ok(Err(KvError::KeysFull(quota.keys_max)));
            }
            values.insert(place, (version + 1, value.as_slice()))?;
            usage.insert(at.tenant, (keys_without + 1, new_bytes, version + 1))?;
        }
    }
    Ok(Ok(outcome))
}

/// What is counted for a key with its value.
fn cost(at: &At<'_>, value: &[u8]) -> u64 {
    (at.bucket.len() + at.key.len() + value.len()) as u64
}
