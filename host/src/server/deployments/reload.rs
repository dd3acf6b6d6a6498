//! Other rules for tenants under what they have deployed: whether everything that is served could be
//! served by them, and what becomes of that which could not be served before.
//!
//! Reads manifests and no component, unless one is served anew. Moves nothing: that is the publisher's.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};

use super::{Deploying, Key};
use crate::config::TenantRules;
use crate::control::{self, DeployError};
use crate::server::publisher::Publisher;

impl Deploying {
    /// Whether every deployment that is served may be served by these rules, too: a mistake in a file
    /// must not end anybody's sessions.
    pub(in crate::server) fn check_rules(
        &self,
        publisher: &Publisher,
        rules: &BTreeMap<String, TenantRules>,
    ) -> Result<()> {
        for (tenant, name, is_tried) in publisher.deployed() {
            let new = rules.get(tenant);
            let old = self.registry().rules(tenant).ok();
            if let (Some(old), Some(new)) = (old, new)
                && old.is_same(new)
            {
                continue;
            }
            let Some(new) = new else {
                bail!(
                    "the tenant {tenant} may deploy nothing any more, and its deployment {name} is \
                     served; {}",
                    before(tenant, name, "a table [tenant.NAME.deploy]")
                );
            };
            self.check(tenant, name, (new, is_tried)).with_context(|| {
                let line = new.line.map(|line| format!(", line {line}"));
                let line = line.unwrap_or_default();
                format!(
                    "[tenant.{tenant}.deploy]{line}: the deployment {name} could not be served any \
                     more; {}",
                    before(tenant, name, "rules that allow what it asks for")
                )
            })?;
        }
        Ok(())
    }

    /// Whether what is served of a deployment asks for no more than that: of one that is on trial also
    /// the version that it goes back to.
    fn check(&self, tenant: &str, name: &str, (new, is_tried): (&TenantRules, bool)) -> Result<()> {
        let told = |error: DeployError| anyhow!(error);
        let found = self.registry().get(tenant, name).map_err(told)?;
        let previous = found.previous.filter(|_| is_tried);
        for version in [Some(found.current), previous].into_iter().flatten() {
            let manifest = control::manifest(&version.manifest).map_err(told)?;
            control::allow(&manifest, new).map_err(told)?;
        }
        Ok(())
    }

    /// These hold from now on.
    pub(in crate::server) fn set_rules(&self, rules: BTreeMap<String, TenantRules>) {
        self.registry().set_rules(rules);
    }

    /// Serves those that could not be served and now can be.
    pub(in crate::server) fn serve_left_out(&self) {
        let keys: Vec<Key> = self.deployments.left_out().keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let mut canaries = Vec::new();
        let plan = |publisher: &Publisher| {
            let (change, begin) = self.deployments.offer(publisher, keys)?;
            canaries = begin;
            Ok(change)
        };
        let mut done = self.publishing.change(plan, || anyhow::Ok(()));
        for canary in canaries {
            let plan = |publisher: &Publisher| publisher.publish(canary);
            done = done.and(self.publishing.change(plan, || anyhow::Ok(())));
        }
        if let Err(error) = done {
            tracing::error!("what could not be served is not tried again: {error:#}");
        }
    }
}

/// What somebody does who means it.
fn before(tenant: &str, name: &str, or: &str) -> String {
    format!("right would be {or}, or `wharf undeploy {name} --tenant {tenant}` before")
}
