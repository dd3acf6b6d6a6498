//! Deployments in a running server: the registry says which versions there are, the publisher what is
//! served, and this holds them together. A version is checked by both before anything changes; then
//! it is recorded, and served after that. Killed in between, the next start serves what was recorded.
//!
//! Nothing here runs on a worker.

mod reload;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, anyhow};

use super::publisher::{Change, Publisher};
use super::publishing::Publishing;
use super::route::Route;
use crate::admin::{
    ChangeTarget, Declined, DeployEnd, DeployOutcome, DeployParcel, DeployTallies, Deployer,
    DeploymentDetail, DeploymentRow, DeploymentState, HistoryRow, VersionRow, Why,
};
use crate::catalog::{self, Deployed, Rollout};
use crate::config::{DeploymentSettings, Manifest, TenantPlace, TenantRules};
use crate::control::{
    self, DeployError, Deployment, DeploymentName, HistoryEntry, Registry, Step, Upload, Version,
};
use crate::digest::Digest;
use crate::guest::Precompiled;
use crate::storage::Storage;

/// What the history says of a canary that another version ends.
const SUPERSEDED: &str = "another version takes the place of the canary";

/// A deployment, by tenant and name.
type Key = (String, String);

/// The registry, and what of it is not served.
pub(super) struct Deployments {
    registry: Registry,
    component_bytes_max: usize,
    /// Why each of these is not served. Only operators and deploys look here.
    left_out: Mutex<HashMap<Key, String>>,
}

/// The same in a server that runs.
pub(super) struct Deploying {
    deployments: Deployments,
    publishing: Arc<Publishing>,
}

impl Deployments {
    /// Opens the registry.
    pub(super) fn open(settings: DeploymentSettings) -> Result<Self> {
        let component_bytes_max = settings.component_bytes_max;
        Ok(Self {
            registry: Registry::open(settings).map_err(|error| anyhow!(error))?,
            component_bytes_max,
            left_out: Mutex::default(),
        })
    }

    /// The registry's database, which one process at a time may have open.
    pub(super) fn storage(&self) -> Storage {
        self.registry.database()
    }

    /// The registry.
    pub(super) fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Serves the current version of every deployment. One that cannot be served is left out, which
    /// the log says, and the others are served. Where a canary was cut short it is the version before,
    /// and what is returned beside it begins again.
    pub(super) fn publish_all(&self, publisher: &Publisher) -> Result<(Change, Vec<Route>)> {
        let names = self.registry.names(None).map_err(|error| anyhow!(error))?;
        let keys = names.into_iter();
        let keys = keys.map(|(tenant, name)| (tenant, name.to_string()));
        self.offer(publisher, keys.collect())
    }

    /// The same for some of them that are not served.
    fn offer(&self, publisher: &Publisher, wanted: Vec<Key>) -> Result<(Change, Vec<Route>)> {
        let (mut routes, mut keys, mut canaries) = (Vec::new(), Vec::new(), Vec::new());
        for key in wanted {
            self.left_out().remove(&key);
            match self.current(&key.0, &key.1) {
                Ok((name, route)) => {
                    match self.before_canary(&key.0, &name, &route) {
                        Some(before) => {
                            routes.push(before);
                            canaries.push(route);
                        }
                        None => routes.push(route),
                    }
                    keys.push(key);
                }
                Err(error) => self.leave_out(key, &error.to_string()),
            }
        }
        let (change, unfit) = publisher.publish_fitting(routes)?;
        for (place, error) in &unfit {
            self.leave_out(keys[*place].clone(), &format!("{error:#}"));
        }
        let (served, left_out) = (keys.len() - unfit.len(), self.left_out().len());
        if served + left_out > 0 {
            tracing::info!(served, left_out, "deployments");
        }
        Ok((change, canaries))
    }

    /// Lets a canary begin again; if that cannot be, the version before is served to everybody.
    pub(super) fn begin_again(&self, publisher: &Publisher, canary: Route) -> Option<Change> {
        let (tenant, pattern) = (canary.tenant.clone(), canary.pattern.clone());
        let change = publisher.publish(canary);
        let refused = |error| {
            tracing::error!(
                tenant,
                pattern,
                "a canary does not begin again, the version before is served: {error:#}"
            )
        };
        change.map_err(refused).ok()
    }

    /// The version before a deployment's current one, if that was deployed with a canary and nothing
    /// has happened since: neither was it promoted, nor taken back.
    fn before_canary(&self, tenant: &str, name: &DeploymentName, current: &Route) -> Option<Route> {
        current.canary.as_ref()?;
        let history = self.registry.history(tenant, name.as_str()).ok()?;
        if history.last()?.change != control::Change::Deployed {
            return None;
        }
        // There is none, or it is damaged: then the current one is for everybody.
        let before = self
            .registry
            .prepare_rollback(tenant, name.as_str(), "")
            .ok()?;
        let place = &self.registry.rules(tenant).ok()?.place;
        let version = (name, before.version().artifact);
        Some(route(
            version,
            (before.manifest(), before.component()),
            place,
        ))
    }

    fn current(&self, tenant: &str, name: &str) -> Result<(DeploymentName, Route), DeployError> {
        let published = self.registry.current(tenant, name)?;
        let Deployment { name, current, .. } = published.deployment;
        let place = &self.registry.rules(tenant)?.place;
        let what = (&published.manifest, &published.component);
        let route = route((&name, current.artifact), what, place);
        Ok((name, route))
    }

    fn leave_out(&self, key: Key, why: &str) {
        let (tenant, deployment) = (&key.0, &key.1);
        tracing::error!(tenant, deployment, "not served: {why}");
        self.left_out().insert(key, why.to_owned());
    }

    fn left_out(&self) -> MutexGuard<'_, HashMap<Key, String>> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, tenant: &str, name: &str, found: Option<&Deployment>) -> DeploymentRow {
        let key = (tenant.to_owned(), name.to_owned());
        DeploymentRow {
            name: name.to_owned(),
            state: found.map(|deployment| self.state(deployment)),
            left_out: self.left_out().get(&key).cloned(),
        }
    }

    fn state(&self, deployment: &Deployment) -> DeploymentState {
        let current = &deployment.current;
        let place = self.registry.rules(&deployment.tenant);
        let place = place.map_or_else(|_| TenantPlace::default(), |rules| rules.place.clone());
        let manifest = control::manifest(&current.manifest).ok();
        let own_host = manifest.as_ref().and_then(|own| own.route.host.clone());
        DeploymentState {
            generation: deployment.generation,
            current: shown(current),
            previous: deployment.previous.as_ref().map(|version| version.number),
            hosts: own_host.map_or(place.hosts.clone(), |host| vec![host]),
            path: manifest.map_or_else(String::new, |own| place.path(&own.route.path)),
        }
    }
}

/// How a version is served.
fn route(
    (name, artifact): (&DeploymentName, Digest),
    (manifest, component): (&Manifest, &Precompiled),
    place: &TenantPlace,
) -> Route {
    let own_host = manifest.route.host.as_deref().map(catalog::host_of);
    let mut route = Route::from(manifest.route.clone());
    route.pattern = place.path(&manifest.route.path);
    route.hosts = own_host
        .clone()
        .map_or_else(|| place.hosts.clone(), |host| vec![host]);
    route.deployment = Some(Deployed {
        name: name.as_str().into(),
        host: own_host.map(Into::into),
        path_prefix: place.path_prefix.as_str().into(),
    });
    route.component_compiled(name.as_str(), artifact, component.clone())
}

impl Deploying {
    pub(super) fn new(deployments: Deployments, publishing: &Arc<Publishing>) -> Self {
        Self {
            deployments,
            publishing: Arc::clone(publishing),
        }
    }

    fn registry(&self) -> &Registry {
        &self.deployments.registry
    }

    /// Checks what was prepared against all that is served, records it, and serves it. What a new
    /// version takes the place of was never the version before, if it was a canary or has failed.
    fn publish(
        &self,
        (prepared, is_new): (control::Prepared, bool),
        (target, rules): (&ChangeTarget, &Arc<TenantRules>),
        observe: &mut dyn FnMut(&'static str),
    ) -> Result<DeployOutcome, Declined> {
        let (tenant, name) = (&target.tenant, &target.name);
        let recorder = self.publishing.recorder();
        let version = (prepared.name(), prepared.version().artifact);
        let what = (prepared.manifest(), prepared.component());
        let mut route = route(version, what, &rules.place);
        if !is_new {
            // What is brought back is for everybody at once.
            route.canary = None;
        }
        let mut rollout = None;
        let superseded = Cell::new(None);
        let plan = |publisher: &Publisher| {
            let change = publisher.publish(route)?;
            rollout = change.rollout();
            if is_new {
                let is_canary = publisher.has_canary(tenant, name);
                let why = is_canary.then(|| SUPERSEDED.to_owned());
                superseded.set(why.or_else(|| recorder.owed(tenant, name)));
            }
            Ok(change)
        };
        let record = || {
            self.expect_rules(tenant, rules)?;
            let prepared = match superseded.take() {
                Some(why) => prepared.superseding(why),
                None => prepared,
            };
            let observe = &mut |step| word(step).into_iter().for_each(&mut *observe);
            let recorded = self
                .registry()
                .publish(prepared, target.expected, observe)?;
            recorder.settle(tenant, name);
            Ok::<_, Declined>(recorded)
        };
        let (replaced, published) = self.publishing.change(plan, record)?;
        observe("served");
        self.deployments
            .left_out()
            .remove(&(tenant.clone(), name.clone()));
        Ok(DeployOutcome {
            deployment: self
                .deployments
                .row(tenant, name, Some(&published.deployment)),
            rollout: match replaced.canaries {
                0 => rollout.map(|rollout: Rollout| rollout.to_string()),
                _ => Some("canary".to_owned()),
            },
        })
    }

    /// Counts what became of a change; of tenants that may deploy, who are few.
    fn count<T>(&self, target: &ChangeTarget, end: DeployEnd, done: &Result<T, Declined>) {
        let end = done.as_ref().map_or(DeployEnd::Refused, |_| end);
        if self.registry().rules(&target.tenant).is_ok() {
            self.publishing.recorder().count(&target.tenant, end);
        }
    }

    fn deploy_one(
        &self,
        target: &ChangeTarget,
        parcel: &DeployParcel,
        observe: &mut dyn FnMut(&'static str),
    ) -> Result<DeployOutcome, Declined> {
        self.expect(target)?;
        let rules = self.registry().rules(&target.tenant)?;
        let upload = Upload {
            tenant: &target.tenant,
            name: &target.name,
            component: &parcel.component,
            manifest: &parcel.manifest,
            signature: parcel.signature.as_deref(),
            by: &target.by,
        };
        let prepared = self.registry().prepare(&upload, &mut |step| {
            word(step).into_iter().for_each(&mut *observe);
        })?;
        self.publish((prepared, true), (target, &rules), observe)
    }

    fn roll_back_one(&self, target: &ChangeTarget) -> Result<DeployOutcome, Declined> {
        self.expect(target)?;
        let (tenant, name) = (&target.tenant, &target.name);
        let rules = self.registry().rules(tenant)?;
        let prepared = self.registry().prepare_rollback(tenant, name, &target.by)?;
        self.publish((prepared, false), (target, &rules), &mut |_| {})
    }

    fn delete_one(&self, target: &ChangeTarget) -> Result<u64, Declined> {
        self.expect(target)?;
        let (tenant, name) = (&target.tenant, &target.name);
        let plan = |publisher: &Publisher| publisher.withdraw_deployment(tenant, name);
        let record = || {
            let deleted = self
                .registry()
                .delete(tenant, name, target.expected, &target.by)?;
            self.publishing.recorder().settle(tenant, name);
            Ok::<_, Declined>(deleted)
        };
        let (_, generation) = self.publishing.change(plan, record)?;
        self.deployments
            .left_out()
            .remove(&(tenant.clone(), name.clone()));
        Ok(generation)
    }

    /// Whether a tenant has the rules yet by which its deploy was checked.
    fn expect_rules(&self, tenant: &str, rules: &Arc<TenantRules>) -> Result<(), Declined> {
        let now = self.registry().rules(tenant)?;
        if Arc::ptr_eq(&now, rules) {
            return Ok(());
        }
        Err(Declined {
            why: Why::Impossible,
            what: format!("what the tenant {tenant} may deploy was changed meanwhile"),
            reasons: Vec::new(),
            right: "trying again, by the rules that hold now".to_owned(),
        })
    }

    /// Says before the work what would be said after it.
    fn expect(&self, target: &ChangeTarget) -> Result<(), Declined> {
        if self.publishing.is_ending() {
            return Err(Declined {
                why: Why::Ending,
                what: "the server is ending".to_owned(),
                reasons: Vec::new(),
                right: "trying again when it is back".to_owned(),
            });
        }
        let (expected, found) = (
            target.expected,
            self.generation(&target.tenant, &target.name)?.0,
        );
        if expected != found {
            return Err(DeployError::Conflict { expected, found }.into());
        }
        Ok(())
    }
}

impl Deployer for Deploying {
    fn component_bytes_max(&self) -> usize {
        self.deployments.component_bytes_max
    }

    fn list(&self, tenant: &str) -> Result<Vec<DeploymentRow>, Declined> {
        let names = self.registry().names(Some(tenant))?.into_iter();
        let rows = names.map(|(tenant, name)| {
            let name = name.as_str();
            match self.registry().get(&tenant, name) {
                Ok(found) => Ok(self.deployments.row(&tenant, name, Some(&found))),
                Err(DeployError::Damaged(_)) => Ok(self.deployments.row(&tenant, name, None)),
                Err(error) => Err(error.into()),
            }
        });
        rows.collect()
    }

    fn count(&self) -> Result<BTreeMap<String, usize>, Declined> {
        let mut counts = BTreeMap::new();
        for (tenant, _) in self.registry().names(None)? {
            *counts.entry(tenant).or_default() += 1;
        }
        Ok(counts)
    }

    fn get(&self, tenant: &str, name: &str) -> Result<DeploymentDetail, Declined> {
        let found = self.registry().get(tenant, name)?;
        let versions = self.registry().versions(tenant, name)?;
        let history = self.registry().history(tenant, name)?;
        Ok(DeploymentDetail {
            deployment: self.deployments.row(tenant, name, Some(&found)),
            versions: versions.iter().map(shown).collect(),
            history: history.into_iter().map(told).collect(),
        })
    }

    fn generation(&self, tenant: &str, name: &str) -> Result<(u64, bool), Declined> {
        let generation = self.registry().generation(tenant, name)?;
        match self.registry().get(tenant, name) {
            Err(DeployError::NotFound) => Ok((generation, false)),
            _ => Ok((generation, true)),
        }
    }

    fn deploy(
        &self,
        target: &ChangeTarget,
        parcel: &DeployParcel,
        observe: &mut dyn FnMut(&'static str),
    ) -> Result<DeployOutcome, Declined> {
        let done = self.deploy_one(target, parcel, observe);
        self.count(target, DeployEnd::Deployed, &done);
        done
    }

    fn roll_back(&self, target: &ChangeTarget) -> Result<DeployOutcome, Declined> {
        let done = self.roll_back_one(target);
        self.count(target, DeployEnd::RolledBack, &done);
        done
    }

    fn delete(&self, target: &ChangeTarget) -> Result<u64, Declined> {
        let done = self.delete_one(target);
        self.count(target, DeployEnd::Deleted, &done);
        done
    }

    fn tallies(&self) -> DeployTallies {
        self.publishing.recorder().tallies()
    }
}

/// What somebody who waits is told of a step; nothing of those that are over at once.
fn word(step: Step) -> Option<&'static str> {
    match step {
        Step::ArtifactKept => Some("kept"),
        Step::Compiled => Some("compiled"),
        Step::Checked => Some("checked"),
        Step::Started => Some("started"),
        Step::Recorded => Some("recorded"),
        Step::ArtifactWritten
        | Step::CompiledKept
        | Step::CompiledRecorded
        | Step::Noted
        | Step::Collected => None,
    }
}

fn shown(version: &Version) -> VersionRow {
    VersionRow {
        number: version.number,
        component: version.artifact.to_string(),
        component_bytes: version.bytes,
        manifest: version.manifest.clone(),
        at_unix_ms: version.at_unix_ms,
        by: version.by.clone(),
        signed_by: version.signed_by.clone(),
    }
}

fn told(entry: HistoryEntry) -> HistoryRow {
    HistoryRow {
        generation: entry.generation,
        change: match entry.change {
            control::Change::Deployed => "deployed",
            control::Change::RolledBack => "rolled back",
            control::Change::Promoted => "promoted",
            control::Change::Deleted => "deleted",
        },
        version: entry.version,
        component: entry.artifact.map(|digest| digest.to_string()),
        at_unix_ms: entry.at_unix_ms,
        by: entry.by,
    }
}
