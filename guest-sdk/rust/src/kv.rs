//! Keys and values that outlive the instance: `wasi:keyvalue` in words that
//! read well. The deployment grants buckets by name; without a grant a
//! handler that uses this module is refused at its start.
//!
//! ```no_run
//! use wharf_guest::kv::Bucket;
//!
//! # fn visit() -> Result<(), wharf_guest::kv::Error> {
//! let scores = Bucket::open("scores")?;
//! let visits = scores.increment("visits", 1)?;
//! scores.set("last", &format!("number {visits}"))?;
//! # Ok(()) }
//! ```
//!
//! A change is durable when its call returns. Keys have at most 1,024 bytes,
//! values 1 MiB; what a tenant may store in all is the deployment's decision.

use std::fmt;

use crate::bindings::keyvalue::wasi::keyvalue::{atomics, store};

/// Why a bucket did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The deployment was not granted this bucket.
    Denied,
    /// In the host's words: too large, a quota used up, no number to
    /// increment, or the storage failed.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Denied => formatter.write_str("this bucket was not granted"),
            Error::Other(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::AccessDenied | store::Error::NoSuchStore => Error::Denied,
            store::Error::Other(reason) => Error::Other(reason),
        }
    }
}

/// Keys and values of this deployment's tenant, under one name. All instances
/// and all handlers of the tenant see the same.
#[derive(Debug)]
pub struct Bucket(store::Bucket);

impl Bucket {
    /// Opens a bucket. Every bucket that was granted exists.
    ///
    /// # Errors
    /// [`Error::Denied`] if it was not granted.
    pub fn open(name: &str) -> Result<Bucket, Error> {
        Ok(Bucket(store::open(name)?))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// If the key is too long or the storage failed.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key)?)
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.0.exists(key)?)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// If key or value are too large, a quota is used up or the storage failed.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.0.set(key, value.as_ref())?)
    }

    /// Removes a key; nothing if there is none.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        Ok(self.0.delete(key)?)
    }

    /// Adds to a number, at once for all who do so, and returns the sum. The
    /// value is decimal digits; a key without one counts from zero.
    ///
    /// # Errors
    /// As [`Bucket::set`]; also if the value is no number, or would be none
    /// of 64 bits.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        Ok(atomics::increment(&self.0, key, delta)?)
    }

    /// Replaces a value by what `change` makes of it, again if somebody else
    /// was faster, and returns the new one.
    ///
    /// # Errors
    /// As [`Bucket::set`].
    pub fn update(
        &self,
        key: &str,
        mut change: impl FnMut(Option<Vec<u8>>) -> Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let mut cas = atomics::Cas::new(&self.0, key)?;
        loop {
            let value = change(cas.current()?);
            match atomics::swap(cas, &value) {
                Ok(()) => return Ok(value),
                Err(atomics::CasError::CasFailed(fresh)) => cas = fresh,
                Err(atomics::CasError::StoreError(error)) => return Err(error.into()),
            }
        }
    }

    /// All keys, in the order of their bytes, fetched a page at a time.
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(self, None)
    }

    /// The keys behind a text, which need not be one.
    #[must_use]
    pub fn keys_after(&self, after: &str) -> Keys<'_> {
        Keys::new(self, Some(after.to_owned()))
    }

    /// The keys that begin with a text.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn keys_with_prefix(
        &self,
        prefix: &str,
    ) -> Result<impl Iterator<Item = Result<String, Error>> + '_, Error> {
        let prefix = prefix.to_owned();
        let itself = self.exists(&prefix)?.then(|| Ok(prefix.clone()));
        let others = self.keys_after(&prefix);
        let begins = move |key: &Result<String, Error>| match key {
            Ok(key) => key.starts_with(&prefix),
            Err(_) => true,
        };
        Ok(itself.into_iter().chain(others.take_while(begins)))
    }
}

/// The keys of a bucket. What is set or deleted meanwhile may be seen or not.
#[derive(Debug)]
pub struct Keys<'a> {
    bucket: &'a Bucket,
    page: std::vec::IntoIter<String>,
    /// Where the next page begins; none when this is the last.
    next: Option<Option<String>>,
}

impl<'a> Keys<'a> {
    fn new(bucket: &'a Bucket, after: Option<String>) -> Self {
        Keys {
            bucket,
            page: Vec::new().into_iter(),
            next: Some(after),
        }
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.page.next() {
                return Some(Ok(key));
            }
            let after = self.next.take()?;
            match self.bucket.0.list_keys(after.as_deref()) {
                Ok(response) => {
                    self.page = response.keys.into_iter();
                    self.next = response.cursor.map(Some);
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
