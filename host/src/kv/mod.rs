//! Keys and values of tenants: buckets, quotas, versions, pages of keys.
//!
//! Knows neither wasm nor routes. A tenant is part of every key and comes from the deployment; a
//! bucket of one tenant has nothing to do with that of the same name of another. What is counted
//! against a tenant's quota is stored in the same transaction as the value.

mod change;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use redb::TableDefinition;

use self::change::{At, Change, change};
use crate::budget::{Budgets, Limit, TenantBudget};
use crate::storage::{Room, Storage, StorageError, StorageSettings};

/// By tenant, bucket and key: the version of the value, and the value.
const VALUES: TableDefinition<(&str, &str, &str), (u64, &[u8])> = TableDefinition::new("kv.values");
/// By tenant: keys, bytes, and the last version that was given to one of its values.
const USAGE: TableDefinition<&str, (u64, u64, u64)> = TableDefinition::new("kv.usage");

/// The longest key, in bytes of UTF-8. The empty key is one, too.
pub(crate) const KEY_BYTES_MAX: usize = 1 << 10;
/// The largest value, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 1 << 20;
/// Keys in one page.
pub(crate) const PAGE_KEYS_MAX: usize = 1_000;

/// Why a bucket did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KvError {
    KeyTooLong,
    ValueTooLarge,
    /// The tenant has as many bytes as it may, which are so many.
    BytesFull(u64),
    /// The tenant has as many keys as it may, which are so many.
    KeysFull(u64),
    /// The value is no number that could be incremented.
    NoNumber,
    /// The sum would not be a number of 64 bits.
    Overflow,
    /// The database failed.
    Storage,
}

impl fmt::Display for KvError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooLong => {
                write!(formatter, "the key is longer than {KEY_BYTES_MAX} bytes")
            }
            Self::ValueTooLarge => {
                write!(
                    formatter,
                    "the value is larger than {VALUE_BYTES_MAX} bytes"
                )
            }
            Self::BytesFull(max) => {
                write!(
                    formatter,
                    "the quota is used up: {max} bytes of keys and values"
                )
            }
            Self::KeysFull(max) => write!(formatter, "the quota is used up: {max} keys"),
            Self::NoNumber => formatter
                .write_str("the value is no number: an increment needs decimal digits, such as 42"),
            Self::Overflow => formatter.write_str("the number would not fit into 64 bits"),
            Self::Storage => formatter.write_str("the storage failed"),
        }
    }
}

impl std::error::Error for KvError {}

impl From<StorageError> for KvError {
    fn from(_: StorageError) -> Self {
        // The thread that writes has told the operator the reason.
        Self::Storage
    }
}

/// What one tenant may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) bytes_max: u64,
    pub(crate) keys_max: u64,
}

/// What a tenant stores now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg(test)]
pub(crate) struct Usage {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

/// All buckets of a server; a clone means the same.
#[derive(Clone)]
pub(crate) struct Kv {
    storage: Storage,
    /// Of a tenant without limits of its own.
    quota: Quota,
    budgets: Budgets,
}

impl Kv {
    /// Makes the tables if they are not there. Waits for the disk: not for a worker.
    pub(crate) fn new(
        storage: Storage,
        settings: &StorageSettings,
        budgets: Budgets,
    ) -> Result<Self, StorageError> {
        storage.write_blocking(|transaction| {
            transaction.open_table(VALUES)?;
            transaction.open_table(USAGE)?;
            Ok::<_, StorageError>(())
        })?;
        let quota = Quota {
            bytes_max: settings.tenant_bytes_max,
            keys_max: settings.tenant_keys_max,
        };
        Ok(Self {
            storage,
            quota,
            budgets,
        })
    }

    /// A bucket of a tenant. Whether it may be opened is for the caller to know.
    pub(crate) fn bucket(&self, tenant: &Arc<str>, name: &str) -> Bucket {
        Bucket(Arc::new(Opened {
            kv: self.clone(),
            tenant: Arc::clone(tenant),
            budget: self.budgets.of(tenant),
            name: name.into(),
        }))
    }

    /// What a tenant stores.
    #[cfg(test)]
    pub(crate) fn usage(&self, tenant: &str) -> Result<Usage, StorageError> {
        let usage = self.storage.read()?.open_table(USAGE)?;
        let found = usage.get(tenant)?.map(|found| found.value());
        let (keys, bytes, _) = found.unwrap_or_default();
        Ok(Usage { keys, bytes })
    }
}

/// A bucket; a clone means the same.
#[derive(Clone)]
pub(crate) struct Bucket(Arc<Opened>);

struct Opened {
    kv: Kv,
    tenant: Arc<str>,
    budget: Arc<TenantBudget>,
    name: Box<str>,
}

/// Some of a bucket's keys, in the order of their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) keys: Vec<String>,
    /// Whether there are more behind the last one.
    pub(crate) more: bool,
}

impl Opened {
    fn quota(&self) -> Quota {
        let (own, every) = (self.budget.limits(), self.kv.quota);
        Quota {
            bytes_max: own.stored_bytes_max.unwrap_or(every.bytes_max),
            keys_max: own.stored_keys_max.unwrap_or(every.keys_max),
        }
    }
}

impl Bucket {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.get_with_version(key)?.map(|(_, value)| value))
    }

    /// The value of a key, with a version that no other value of that key has had.
    pub(crate) fn get_with_version(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, KvError> {
        self.look(key, |(version, value)| (version, value.to_vec()))
    }

    /// The version of a key's value; zero if it has none.
    pub(crate) fn version(&self, key: &str) -> Result<u64, KvError> {
        Ok(self.look(key, |(version, _)| version)?.unwrap_or(0))
    }

    /// Whether there is such a key.
    pub(crate) fn exists(&self, key: &str) -> Result<bool, KvError> {
        Ok(self.look(key, |_| ())?.is_some())
    }

    fn look<T>(
        &self,
        key: &str,
        see: impl FnOnce((u64, &[u8])) -> T,
    ) -> Result<Option<T>, KvError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(KvError::KeyTooLong);
        }
        let values = self.table()?;
        let found = values
            .get((&*self.0.tenant, &*self.0.name, key))
            .map_err(|error| self.failed(error))?;
        Ok(found.map(|found| see(found.value())))
    }

    /// The keys behind `after`, or from the first one on; [`PAGE_KEYS_MAX`] of them at most.
    pub(crate) fn keys(&self, after: Option<&str>) -> Result<Page, KvError> {
        let (tenant, bucket) = (&*self.0.tenant, &*self.0.name);
        let from = match after {
            Some(after) => Bound::Excluded((tenant, bucket, after)),
            None => Bound::Included((tenant, bucket, "")),
        };
        let values = self.table()?;
        let range = values
            .range::<(&str, &str, &str)>((from, Bound::Unbounded))
            .map_err(|error| self.failed(error))?;
        let mut page = Page::default();
        for entry in range {
            let (found, _) = entry.map_err(|error| self.failed(error))?;
            let (of_tenant, of_bucket, key) = found.value();
            if (of_tenant, of_bucket) != (tenant, bucket) {
                break;
            }
            if page.keys.len() == PAGE_KEYS_MAX {
                page.more = true;
                break;
            }
            page.keys.push(key.to_owned());
        }
        Ok(page)
    }

    /// Waits until a value of so many bytes may be written.
    pub(crate) async fn room_for(&self, value_bytes: usize) -> Room {
        self.0.kv.storage.room_for(value_bytes).await
    }

    /// Sets the value of a key.
    pub(crate) async fn set(&self, room: Room, key: String, value: Vec<u8>) -> Result<(), KvError> {
        self.change(room, key, move |_| Ok((Change::Write(value), ())))
            .await
    }

    /// Removes a key; nothing if there is none.
    pub(crate) async fn delete(&self, room: Room, key: String) -> Result<(), KvError> {
        self.change(room, key, |_| Ok((Change::Remove, ()))).await
    }

    /// Adds to the number that a key has, in decimal digits; a key without a value has zero.
    pub(crate) async fn increment(
        &self,
        room: Room,
        key: String,
        delta: i64,
    ) -> Result<i64, KvError> {
        self.change(room, key, move |old| {
            let number = match old {
                Some((_, digits)) => number(digits)?,
                None => 0,
            };
            let sum = number.checked_add(delta).ok_or(KvError::Overflow)?;
            Ok((Change::Write(sum.to_string().into_bytes()), sum))
        })
        .await
    }

    /// Sets the value of a key if its version is still that one; zero stands for no value. Answers
    /// with the version that it has instead.
    pub(crate) async fn swap(
        &self,
        room: Room,
        key: String,
        version: u64,
        value: Vec<u8>,
    ) -> Result<Result<(), u64>, KvError> {
        self.change(room, key, move |old| {
            let found = old.map_or(0, |(version, _)| version);
            if found == version {
                Ok((Change::Write(value), Ok(())))
            } else {
                Ok((Change::Nothing, Err(found)))
            }
        })
        .await
    }

    async fn change<T: Send + 'static>(
        &self,
        room: Room,
        key: String,
        decide: impl FnOnce(Option<(u64, &[u8])>) -> Result<(Change, T), KvError> + Send + 'static,
    ) -> Result<T, KvError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(KvError::KeyTooLong);
        }
        let opened = Arc::clone(&self.0);
        let work = move |transaction: &_| {
            let at = At {
                tenant: &opened.tenant,
                bucket: &opened.name,
                key: &key,
            };
            change(transaction, opened.quota(), &at, decide)
        };
        let changed = self.0.kv.storage.write(room, work).await?;
        if let Err(KvError::BytesFull(_) | KvError::KeysFull(_)) = &changed {
            self.0.budget.hit(Limit::Stored);
        }
        changed
    }

    fn table(&self) -> Result<change::Values, KvError> {
        let transaction = self
            .0
            .kv
            .storage
            .read()
            .map_err(|error| self.failed(error))?;
        transaction
            .open_table(VALUES)
            .map_err(|error| self.failed(error))
    }

    /// Reading failed: the reason is for the operator, and none of the guest's business.
    fn failed(&self, error: impl Into<StorageError>) -> KvError {
        self.0.kv.storage.report(&error.into());
        KvError::Storage
    }
}

/// Reads what [`Bucket::increment`] has written, and what a guest would write by hand.
fn number(digits: &[u8]) -> Result<i64, KvError> {
    let text = std::str::from_utf8(digits).map_err(|_| KvError::NoNumber)?;
    text.parse().map_err(|_| KvError::NoNumber)
}
