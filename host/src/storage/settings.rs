//! Where a server stores what its components keep, and how much each tenant may keep there.
//! Every value has a default and a worst case.

use std::fmt;
use std::path::PathBuf;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoragePlace {
    /// In memory: gone when the server ends. For tests and for what need not last.
    Memory,
    /// In a file, which is created if it is not there. One process at a time has it open.
    File(PathBuf),
}

impl fmt::Display for StoragePlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => formatter.write_str("in memory"),
            Self::File(file) => file.display().fmt(formatter),
        }
    }
}

/// A server's `[storage]`. There is no storage unless it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// Where the database is.
    pub place: StoragePlace,
    /// Memory for pages of the database that were read or written, in bytes. Default 64 MiB. Worst
    /// case: that much for the server.
    pub cache_bytes: usize,
    /// Bytes of keys and values that one tenant may store, over all of its buckets. Default
    /// 256 MiB. Worst case: about twice that of disk for each tenant.
    pub tenant_bytes_max: u64,
    /// Keys that one tenant may store, over all of its buckets. Default 1,000,000.
    pub tenant_keys_max: u64,
    /// Timers that one tenant may have waiting in the storage. Default 100,000. Worst case: a
    /// kilobyte of memory and one of disk for each.
    pub tenant_timers_max: u64,
}

impl StorageSettings {
    /// A place, everything else at its default.
    #[must_use]
    pub fn new(place: StoragePlace) -> Self {
        Self {
            place,
            cache_bytes: 64 << 20,
            tenant_bytes_max: 256 << 20,
            tenant_keys_max: 1_000_000,
            tenant_timers_max: 100_000,
        }
    }
}
