//! What is about to be deployed and has no record yet: its files must not be collected meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;

/// The artifacts in use, counted. Taken for moments by deploys, never by a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(Arc<Mutex<HashMap<Digest, usize>>>);

/// Keeps an artifact and what was compiled of it while it lives.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Pins,
    digest: Digest,
}

impl Pins {
    pub(super) fn pin(&self, digest: Digest) -> Pin {
        *self.lock().entry(digest).or_default() += 1;
        let pins = self.clone();
        Pin { pins, digest }
    }

    /// Does something while nobody can pin anything. Is told which artifacts are in use.
    pub(super) fn hold<T>(&self, work: impl FnOnce(Vec<Digest>) -> T) -> T {
        let pinned = self.lock();
        work(pinned.keys().copied().collect())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pins.lock();
        if let Some(count) = pinned.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                pinned.remove(&self.digest);
            }
        }
    }
}
