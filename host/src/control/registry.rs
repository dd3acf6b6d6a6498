//! The registry: which deployments there are, with their versions, and the way back.
//!
//! A deploy goes up one step at a time, and nothing counts before the last: the component is kept,
//! compiled, checked and tried, then one transaction makes it the current version. Killed in
//! between, the old version is the current one, and what lies about is removed at the next start.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::artifacts::{Artifacts, PARTS};
use super::compiler::Compiler;
use super::error::DeployError;
use super::files::Folder;
use super::latest;
use super::name::DeploymentName;
use super::permission;
use super::pins::Pins;
use super::records::{self, Author, Changing, Head, HistoryEntry, Of, Version, View};
use crate::config::{DeploymentSettings, Manifest, TenantRules};
use crate::digest::Digest;
use crate::guest::{Engine, EngineConfig, MEMORIES_MAX, Precompiled, ProgramError};
use crate::storage::{Storage, StoragePlace, StorageSettings};

/// The registry's file in the folder of the deployments.
const REGISTRY: &str = "registry.redb";
/// Pages of the registry in memory: all of it, for most.
const CACHE_BYTES: usize = 4 << 20;
/// Room for as many trials as there may be uploads at once, of components with as many memories as
/// one may have.
const TRIALS: EngineConfig = EngineConfig {
    instances_max: 8 * MEMORIES_MAX as u32,
};
/// What a manifest is called in messages.
const MANIFEST: &str = "wharf.toml";

/// All deployments of a server; a clone means the same. One process at a time has a folder open.
#[derive(Clone)]
pub struct Registry(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) settings: DeploymentSettings,
    /// Who may deploy what. Written by a reload alone, read for each deploy.
    rules: RwLock<BTreeMap<String, Arc<TenantRules>>>,
    pub(super) storage: Storage,
    pub(super) artifacts: Artifacts,
    pub(super) compiler: Compiler,
    /// For checks and [`TRIALS`]: compatible with the one that serves.
    pub(super) engine: Engine,
    /// What that means.
    pub(super) compatibility: Digest,
    pub(super) pins: Pins,
}

/// What a tenant has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Whose it is.
    pub tenant: String,
    /// Its name.
    pub name: DeploymentName,
    /// Rises with every change: what a further change has to expect.
    pub generation: u64,
    /// The version that is served.
    pub current: Version,
    /// The version that a rollback brings back.
    pub previous: Option<Version>,
}

/// What is to be served from now on.
#[derive(Clone, Debug)]
pub struct Published {
    /// The deployment as it is now.
    pub deployment: Deployment,
    /// The current version's manifest; its route's tenant is filled in.
    pub manifest: Manifest,
    /// The current version's component.
    pub component: Precompiled,
}

impl Registry {
    /// Opens the folder, and makes it if it is not there. Compares every page of the registry with
    /// its checksum. Waits for the disk.
    ///
    /// # Errors
    /// What hinders: another process has it open, the disk, damage.
    pub fn open(mut settings: DeploymentSettings) -> Result<Self, DeployError> {
        let tenants = std::mem::take(&mut settings.tenants);
        let path = &settings.folder;
        let at_disk =
            |error: &_| DeployError::disk(format_args!("the folder {}", path.display()), error);
        let folder = Folder::open(path, &PARTS).map_err(|error| at_disk(&error))?;
        let storage = open_storage(&path.join(REGISTRY))?;
        storage.write_blocking(records::prepare)?;
        // Nobody else has the registry open, so nobody writes drafts.
        folder.clear_drafts().map_err(|error| at_disk(&error))?;
        let changes = View::new(&storage)?.changes()?;
        latest::check(&folder, changes)?;
        let engine =
            Engine::new(&TRIALS).map_err(|error| ProgramError::NoEngine(error.to_string()))?;
        let registry = Self(Arc::new(Shared {
            compiler: Compiler::new(&settings),
            compatibility: engine.compatibility(),
            artifacts: Artifacts(folder),
            pins: Pins::default(),
            settings,
            rules: RwLock::default(),
            storage,
            engine,
        }));
        registry.set_rules(tenants);
        registry.collect();
        Ok(registry)
    }

    /// Makes the previous version the current one, and the other way round. It was compiled when it
    /// was deployed, so this takes a few milliseconds.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn roll_back(
        &self,
        tenant: &str,
        name: &str,
        expected: u64,
        by: &str,
    ) -> Result<Published, DeployError> {
        let prepared = self.prepare_rollback(tenant, name, by)?;
        self.publish(prepared, expected, &mut |_| {})
    }

    /// Removes a deployment with all of its versions. Returns its last generation.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn delete(
        &self,
        tenant: &str,
        name: &str,
        expected: u64,
        by: &str,
    ) -> Result<u64, DeployError> {
        let name = &name.parse()?;
        let of = Of { tenant, name };
        let head = self.storage().write_blocking(|transaction| {
            let mut changing = Changing::new(transaction)?;
            let old = live(Some(changing.expect(&of, expected)?))?;
            changing.delete(&of, &old, author(by))
        })?;
        self.note();
        self.collect();
        tracing::info!(tenant, deployment = %name, generation = head.generation, by, "deleted");
        Ok(head.generation)
    }

    /// The generation that a change has to expect; zero if there never was such a deployment. A
    /// deleted one keeps its own.
    ///
    /// # Errors
    /// A name that is none, and what the disk has.
    pub fn generation(&self, tenant: &str, name: &str) -> Result<u64, DeployError> {
        let name = &name.parse()?;
        let head = View::new(self.storage())?.head(&Of { tenant, name })?;
        Ok(head.unwrap_or_default().generation)
    }

    /// Whether that is the generation that the deployment has.
    pub(super) fn expect(
        &self,
        tenant: &str,
        name: &str,
        expected: u64,
    ) -> Result<(), DeployError> {
        let found = self.generation(tenant, name)?;
        if found == expected {
            return Ok(());
        }
        Err(DeployError::Conflict { expected, found })
    }

    /// A deployment.
    ///
    /// # Errors
    /// [`DeployError::NotFound`], and what the disk has.
    pub fn get(&self, tenant: &str, name: &str) -> Result<Deployment, DeployError> {
        let name = &name.parse()?;
        let of = Of { tenant, name };
        let head = live(View::new(self.storage())?.head(&of)?)?;
        self.deployment(&of, &head)
    }

    /// The deployments of a tenant, or of all of them, by name.
    ///
    /// # Errors
    /// What the disk has.
    pub fn list(&self, tenant: Option<&str>) -> Result<Vec<Deployment>, DeployError> {
        let names = self.names(tenant)?.into_iter();
        names
            .map(|(tenant, name)| self.get(&tenant, name.as_str()))
            .collect()
    }

    /// Which deployments a tenant has, or all tenants have, each with its tenant; also those whose
    /// records are damaged.
    ///
    /// # Errors
    /// What the disk has.
    pub fn names(
        &self,
        tenant: Option<&str>,
    ) -> Result<Vec<(String, DeploymentName)>, DeployError> {
        let mut names = Vec::new();
        View::new(self.storage())?.each_head(tenant, |tenant, name, head| {
            if head.is_ok_and(|head| head.current.is_none()) {
                return Ok(());
            }
            names.push((tenant.to_owned(), name.clone()));
            Ok(())
        })?;
        Ok(names)
    }

    /// The versions of a deployment that are kept, oldest first.
    ///
    /// # Errors
    /// [`DeployError::NotFound`], and what the disk has.
    pub fn versions(&self, tenant: &str, name: &str) -> Result<Vec<Version>, DeployError> {
        let name = &name.parse()?;
        let of = Of { tenant, name };
        let view = View::new(self.storage())?;
        live(view.head(&of)?)?;
        view.versions(&of)
    }

    /// What was done to a deployment, oldest first; the last hundred changes. A deleted deployment
    /// keeps its history.
    ///
    /// # Errors
    /// [`DeployError::NotFound`] if there never was one, and what the disk has.
    pub fn history(&self, tenant: &str, name: &str) -> Result<Vec<HistoryEntry>, DeployError> {
        let name = &name.parse()?;
        let of = Of { tenant, name };
        let view = View::new(self.storage())?;
        view.head(&of)?.ok_or(DeployError::NotFound)?;
        view.history(&of)
    }

    /// What is to be served of a deployment, checked against its digests and against what its tenant
    /// may have now. What was compiled is compiled again if it is damaged, or by another build of the
    /// host.
    ///
    /// # Errors
    /// [`DeployError::NotFound`]; [`DeployError::Damaged`] if there is nothing sound to serve;
    /// [`DeployError::UnknownTenant`] and [`DeployError::NotAllowed`]; and what the disk has.
    pub fn current(&self, tenant: &str, name: &str) -> Result<Published, DeployError> {
        let name = &name.parse()?;
        let of = Of { tenant, name };
        let head = live(View::new(self.storage())?.head(&of)?)?;
        let deployment = self.deployment(&of, &head)?;
        let (manifest, component) = self.load(&of, &deployment.current)?;
        Ok(Published {
            deployment,
            manifest,
            component,
        })
    }

    /// A component as it was uploaded, after its digest was compared.
    ///
    /// # Errors
    /// [`DeployError::Damaged`], also if it is not there; and what the disk has.
    pub fn artifact(&self, digest: &Digest) -> Result<Vec<u8>, DeployError> {
        self.0.artifacts.component(digest)
    }

    pub(super) fn deployment(&self, of: &Of<'_>, head: &Head) -> Result<Deployment, DeployError> {
        let view = View::new(self.storage())?;
        let current = head.current.ok_or(DeployError::NotFound)?;
        let version = |number| view.version(of, number);
        Ok(Deployment {
            tenant: of.tenant.to_owned(),
            name: of.name.clone(),
            generation: head.generation,
            current: version(current)?,
            previous: head.previous.map(version).transpose()?,
        })
    }

    /// A manifest, if it asks for nothing that its tenant may not have.
    pub(super) fn permitted(&self, text: &str, tenant: &str) -> Result<Manifest, DeployError> {
        let rules = self.rules(tenant)?;
        let mut manifest = manifest(text)?;
        tenant.clone_into(&mut manifest.route.tenant);
        permission::allow(&manifest, &rules)?;
        Ok(manifest)
    }

    /// What a tenant may deploy.
    ///
    /// # Errors
    /// [`DeployError::UnknownTenant`]: nothing.
    pub fn rules(&self, tenant: &str) -> Result<Arc<TenantRules>, DeployError> {
        let all = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        let rules = all.get(tenant).map(Arc::clone);
        rules.ok_or_else(|| DeployError::UnknownTenant(tenant.to_owned()))
    }

    /// Other rules from now on, for all tenants. Says nothing of what is deployed already.
    pub fn set_rules(&self, tenants: BTreeMap<String, TenantRules>) {
        let mut all = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *all);
        let tenants = tenants.into_iter().map(|(tenant, rules)| {
            // Whoever is in the middle of a deploy sees by this that nothing has changed.
            let same = before.get(&tenant).filter(|old| old.is_same(&rules));
            let rules = same.map_or_else(|| Arc::new(rules), Arc::clone);
            (tenant, rules)
        });
        *all = tenants.collect();
    }

    /// The database itself, for whoever gives it to another process.
    pub(crate) fn database(&self) -> Storage {
        self.0.storage.clone()
    }

    /// The database, opened again if its disk had failed and may work now.
    pub(super) fn storage(&self) -> &Storage {
        self.0.storage.mend();
        &self.0.storage
    }

    /// A version's manifest and component, as sound as when they were deployed.
    pub(super) fn load(
        &self,
        of: &Of<'_>,
        version: &Version,
    ) -> Result<(Manifest, Precompiled), DeployError> {
        let manifest = self.permitted(&version.manifest, of.tenant)?;
        let (component, _) = self.sound(of.name, &version.artifact, &manifest, &mut |_| {})?;
        Ok((manifest, component))
    }
}

fn open_storage(file: &Path) -> Result<Storage, DeployError> {
    let mut settings = StorageSettings::new(StoragePlace::File(file.to_owned()));
    settings.cache_bytes = CACHE_BYTES;
    Storage::open_checked(&settings).map_err(DeployError::Damaged)
}

/// Reads a manifest.
pub(crate) fn manifest(text: &str) -> Result<Manifest, DeployError> {
    Manifest::parse(text, Path::new(MANIFEST)).map_err(DeployError::Manifest)
}

/// A deployment that is there and not deleted.
pub(super) fn live(head: Option<Head>) -> Result<Head, DeployError> {
    head.filter(|head| head.current.is_some())
        .ok_or(DeployError::NotFound)
}

pub(super) fn author(by: &str) -> Author<'_> {
    let at_unix_ms = now_unix_ms();
    Author { by, at_unix_ms }
}

pub(super) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is wrong anyway.
    since.map_or(0, |since| since.as_millis() as u64)
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Registry")
            .field(&self.0.settings.folder)
            .finish()
    }
}
