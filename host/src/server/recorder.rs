//! What becomes of deployments on trial, written into the registry, and how often what became of
//! deployments. A promotion is recorded before it is made; a version that fails is taken back whether
//! that can be recorded or not, and then it is tried again until it is.
//!
//! Serves nothing and judges nothing. Every call comes from whoever makes a change, one at a time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::admin::{DeployEnd, DeployTallies};
use crate::control::{DeployError, Registry};

/// How long a disk that failed is left alone.
const REST: Duration = Duration::from_secs(1);

/// A deployment, by tenant and name.
type Key = (String, String);

/// Writes into the registry, if there is one.
#[derive(Default)]
pub(super) struct Recorder {
    registry: Option<Registry>,
    /// Contended by whoever makes a change, and by operators who look.
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    /// Rollbacks that the disk did not take, each with whose words it has.
    owed: BTreeMap<Key, String>,
    failed_at: Option<Instant>,
    ended: BTreeMap<(String, DeployEnd), u64>,
}

impl Recorder {
    pub(super) fn new(registry: Option<Registry>) -> Self {
        Self {
            registry,
            said: Mutex::default(),
        }
    }

    /// Records that everybody finds a deployment's current version.
    pub(super) fn promote(&self, tenant: &str, name: &str, by: &str) -> Result<(), DeployError> {
        let Some(registry) = &self.registry else {
            return Ok(());
        };
        match registry.promote(tenant, name, by) {
            Ok(_) => {
                self.count(tenant, DeployEnd::Promoted);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(
                    tenant,
                    deployment = name,
                    "a promotion is not recorded, so the canary goes on: {error}"
                );
                self.said().failed_at = Some(Instant::now());
                Err(error)
            }
        }
    }

    /// Records that a deployment's current version is taken back; if the disk does not take it, later.
    pub(super) fn take_back(&self, (tenant, name): (&str, &str), by: &str, end: DeployEnd) {
        self.count(tenant, end);
        let key = (tenant.to_owned(), name.to_owned());
        if let Err(error) = self.write_rollback(&key, by) {
            tracing::error!(
                tenant,
                deployment = name,
                "the version before is served; that is not recorded yet, so a restart would try the \
                 one that is taken back again: {error}"
            );
            self.said().owed.insert(key, by.to_owned());
        }
    }

    /// Tries again what the disk did not take, unless it has failed a moment ago.
    pub(super) fn try_again(&self) {
        if self.rests() {
            return;
        }
        let owed = self.said().owed.clone();
        for (key, by) in owed {
            match self.write_rollback(&key, &by) {
                Ok(()) => {
                    let (tenant, deployment) = (&key.0, &key.1);
                    tracing::info!(tenant, deployment, "a rollback is recorded after all");
                    self.said().owed.remove(&key);
                }
                Err(error) => {
                    tracing::debug!("a rollback is still not recorded: {error}");
                    return;
                }
            }
        }
    }

    fn write_rollback(&self, (tenant, name): &Key, by: &str) -> Result<(), DeployError> {
        let Some(registry) = &self.registry else {
            return Ok(());
        };
        let written = registry.take_back(tenant, name, by).map(drop);
        if written.is_err() {
            self.said().failed_at = Some(Instant::now());
        }
        written
    }

    /// Whether the disk has failed a moment ago.
    pub(super) fn rests(&self) -> bool {
        let failed_at = self.said().failed_at;
        failed_at.is_some_and(|at| at.elapsed() < REST)
    }

    /// Whether anything is not recorded.
    pub(super) fn is_owing(&self) -> bool {
        !self.said().owed.is_empty()
    }

    /// Whose words the rollback of a deployment has that is not recorded.
    pub(super) fn owed(&self, tenant: &str, name: &str) -> Option<String> {
        let key = (tenant.to_owned(), name.to_owned());
        self.said().owed.get(&key).cloned()
    }

    /// A deployment was changed in the registry, and all of its past with it.
    pub(super) fn settle(&self, tenant: &str, name: &str) {
        let key = (tenant.to_owned(), name.to_owned());
        self.said().owed.remove(&key);
    }

    /// Counts what became of a deploy or a deployment.
    pub(super) fn count(&self, tenant: &str, end: DeployEnd) {
        let key = (tenant.to_owned(), end);
        *self.said().ended.entry(key).or_default() += 1;
    }

    /// What was counted.
    pub(super) fn tallies(&self) -> DeployTallies {
        let said = self.said();
        DeployTallies {
            ended: said.ended.clone(),
            unrecorded: said.owed.len(),
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
