//! The steps of a deploy: what is kept, compiled, checked and tried before one transaction makes a
//! version the current one; and what is removed afterwards.

use std::sync::Arc;

use super::error::DeployError;
use super::latest;
use super::name::DeploymentName;
use super::pins::Pin;
use super::records::{self, Changing, CompiledRecord, Head, Of, Version, View};
use super::registry::{Published, Registry, author, live, now_unix_ms};
use super::signature;
use super::trial;
use crate::config::Manifest;
use crate::digest::Digest;
use crate::guest::{Precompiled, Program, ProgramError, check_file};

/// What somebody brings.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// Whose it is; who may say so is for the caller to know.
    pub tenant: &'a str,
    /// The deployment's name.
    pub name: &'a str,
    /// The component's bytes.
    pub component: &'a [u8],
    /// The text of its `wharf.toml`.
    pub manifest: &'a str,
    /// 64 bytes of ed25519 over the 32 bytes of the component's SHA-256; only if the tenant's
    /// components have to be signed.
    pub signature: Option<&'a [u8]>,
    /// Who deploys it, for the history.
    pub by: &'a str,
}

/// How far a deploy has come; in this order. What is compiled already is not compiled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The component is on the disk, without its name.
    ArtifactWritten,
    /// The component is kept under its digest.
    ArtifactKept,
    /// It is compiled, and that is on the disk, without its name.
    Compiled,
    /// What was compiled is kept.
    CompiledKept,
    /// Its digest is recorded.
    CompiledRecorded,
    /// World, imports and limits are as they should be.
    Checked,
    /// An instance has started.
    Started,
    /// It is the current version.
    Recorded,
    /// That the registry has changed is noted beside it.
    Noted,
    /// What no version needs any more is removed.
    Collected,
}

/// A version that could become the current one. Its files are kept while it lives.
#[derive(Debug)]
pub struct Prepared {
    tenant: String,
    name: DeploymentName,
    version: Version,
    manifest: Manifest,
    component: Precompiled,
    /// Who brings it back, if it is a version from before.
    returns: Option<String>,
    /// Why the current version is not the one before it.
    supersedes: Option<String>,
    _pin: Pin,
}

impl Prepared {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The deployment's name.
    #[must_use]
    pub fn name(&self) -> &DeploymentName {
        &self.name
    }

    /// What it would be as a version; a new one gets its number when it is published.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What its manifest says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its component, compiled.
    #[must_use]
    pub fn component(&self) -> &Precompiled {
        &self.component
    }

    /// It takes the place of a current version that not everybody has found, or that has failed: that
    /// one is recorded as rolled back, with these words, in the same transaction, so that a rollback
    /// of this one leads to the version before. The generation rises by two.
    #[must_use]
    pub fn superseding(mut self, why: impl Into<String>) -> Self {
        self.supersedes = Some(why.into());
        self
    }
}

impl Registry {
    /// Does all of [`Registry::prepare`] and [`Registry::publish`]. Takes as long as compiling
    /// does; `observe` is told how far it is. `expected` is the generation that the deployment has
    /// now; zero if there never was one.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn deploy(
        &self,
        upload: &Upload<'_>,
        expected: u64,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Published, DeployError> {
        // Said before the work rather than after it; what counts is asked again at the end.
        self.expect(upload.tenant, upload.name, expected)?;
        let prepared = self.prepare(upload, observe)?;
        self.publish(prepared, expected, observe)
    }

    /// Keeps, compiles, checks and tries an upload. Changes no deployment.
    ///
    /// # Errors
    /// Why it could not be deployed.
    pub fn prepare(
        &self,
        upload: &Upload<'_>,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Prepared, DeployError> {
        let name = upload.name.parse()?;
        let rules = self.rules(upload.tenant)?;
        let manifest = self.permitted(upload.manifest, upload.tenant)?;
        let mut limits = manifest.route.guest.clone();
        let most = self.0.settings.component_bytes_max;
        limits.component_bytes_max = limits.component_bytes_max.min(most);
        check_file(upload.component, &limits)?;
        let artifact = Digest::of(upload.component);
        let signed_by = signature::signer(&rules.signers, &artifact, upload.signature)?;
        let pin = self.0.pins.pin(artifact);
        let artifacts = &self.0.artifacts;
        artifacts.keep(&artifact, upload.component, observe)?;
        let (component, program) = self.sound(&name, &artifact, &manifest, observe)?;
        observe(Step::Checked);
        let settings = manifest.route.settings.as_ref();
        trial::start(&Arc::new(program), upload.tenant, settings)?;
        observe(Step::Started);
        let version = Version {
            number: 0,
            artifact,
            bytes: upload.component.len() as u64,
            manifest: upload.manifest.to_owned(),
            at_unix_ms: now_unix_ms(),
            by: upload.by.to_owned(),
            signed_by,
        };
        Ok(Prepared {
            tenant: upload.tenant.to_owned(),
            name,
            version,
            manifest,
            component,
            returns: None,
            supersedes: None,
            _pin: pin,
        })
    }

    /// Loads the previous version, to be published again. Changes no deployment.
    ///
    /// # Errors
    /// Why it could not be served.
    pub fn prepare_rollback(
        &self,
        tenant: &str,
        name: &str,
        by: &str,
    ) -> Result<Prepared, DeployError> {
        let name: DeploymentName = name.parse()?;
        let of = Of {
            tenant,
            name: &name,
        };
        let view = View::new(self.storage())?;
        let previous = live(view.head(&of)?)?.previous;
        let version = view.version(&of, previous.ok_or(DeployError::NoPrevious)?)?;
        let pin = self.0.pins.pin(version.artifact);
        let (manifest, component) = self.load(&of, &version)?;
        Ok(Prepared {
            tenant: tenant.to_owned(),
            name,
            version,
            manifest,
            component,
            returns: Some(by.to_owned()),
            supersedes: None,
            _pin: pin,
        })
    }

    /// Makes what was prepared the current version.
    ///
    /// # Errors
    /// Why nothing was changed: above all [`DeployError::Conflict`].
    pub fn publish(
        &self,
        prepared: Prepared,
        expected: u64,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Published, DeployError> {
        let (tenant, name) = (prepared.tenant.as_str(), &prepared.name);
        let of = Of { tenant, name };
        let mut version = prepared.version;
        let head = match &prepared.returns {
            None => {
                let supersedes = prepared.supersedes.as_deref();
                self.record_deploy(&of, &mut version, (expected, supersedes))?
            }
            Some(by) => self.record_rollback(&of, &version, (expected, by))?,
        };
        observe(Step::Recorded);
        self.note();
        observe(Step::Noted);
        self.collect();
        observe(Step::Collected);
        let (generation, artifact) = (head.generation, version.artifact);
        match &prepared.returns {
            None => {
                let by = &version.by;
                tracing::info!(tenant, deployment = %name, generation, %artifact, by, "deployed");
            }
            Some(by) => {
                tracing::info!(tenant, deployment = %name, generation, %artifact, by, "rolled back");
            }
        }
        Ok(Published {
            deployment: self.deployment(&of, &head)?,
            manifest: prepared.manifest,
            component: prepared.component,
        })
    }

    /// Makes the previous version the current one, whichever generation that is now: for whoever
    /// knows that nobody else changes anything, and serves it already. Loads nothing, so what has
    /// happened to the component meanwhile is no hindrance. Returns the new generation.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn take_back(&self, tenant: &str, name: &str, by: &str) -> Result<u64, DeployError> {
        self.turn((tenant, name), |changing, of, old| {
            changing.roll_back(of, old, author(by))
        })
    }

    /// Records that everybody finds the current version, whichever generation that is now. Returns
    /// the new generation.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn promote(&self, tenant: &str, name: &str, by: &str) -> Result<u64, DeployError> {
        self.turn((tenant, name), |changing, of, old| {
            changing.promote(of, old, author(by))
        })
    }

    fn turn(
        &self,
        (tenant, name): (&str, &str),
        turn: impl FnOnce(&mut Changing<'_>, &Of<'_>, &Head) -> Result<Head, DeployError>,
    ) -> Result<u64, DeployError> {
        let name = &name.parse()?;
        let of = Of { tenant, name };
        let head = self.storage().write_blocking(|transaction| {
            let mut changing = Changing::new(transaction)?;
            let old = live(Some(changing.head(&of)?))?;
            turn(&mut changing, &of, &old)
        })?;
        self.note();
        Ok(head.generation)
    }

    /// Writes a new version, which gets its number.
    fn record_deploy(
        &self,
        of: &Of<'_>,
        version: &mut Version,
        (expected, supersedes): (u64, Option<&str>),
    ) -> Result<Head, DeployError> {
        let settings = &self.0.settings;
        self.storage().write_blocking(|transaction| {
            let mut changing = Changing::new(transaction)?;
            let mut old = changing.expect(of, expected)?;
            if let Some(why) = supersedes {
                old = changing.roll_back(of, &live(Some(old))?, author(why))?;
            }
            let max = settings.tenant_deployments_max;
            if old.current.is_none() && changing.count(of.tenant)? >= max {
                return Err(DeployError::TooMany(max));
            }
            version.number = old.generation + 1;
            changing.deploy(of, &old, version, settings.versions_kept)
        })
    }

    /// Makes the previous version the current one, if it is still that.
    fn record_rollback(
        &self,
        of: &Of<'_>,
        version: &Version,
        (expected, by): (u64, &str),
    ) -> Result<Head, DeployError> {
        self.storage().write_blocking(|transaction| {
            let mut changing = Changing::new(transaction)?;
            let old = live(Some(changing.expect(of, expected)?))?;
            if old.previous != Some(version.number) {
                let found = old.generation;
                return Err(DeployError::Conflict { expected, found });
            }
            changing.roll_back(of, &old, author(by))
        })
    }

    /// A component that was compiled before or is compiled now, and is as its manifest says.
    pub(super) fn sound(
        &self,
        name: &DeploymentName,
        artifact: &Digest,
        manifest: &Manifest,
        observe: &mut dyn FnMut(Step),
    ) -> Result<(Precompiled, Program), DeployError> {
        if let Some(kept) = self.kept(artifact)? {
            match self.check(name, &kept, manifest) {
                Err(DeployError::Program(ProgramError::CompiledElsewhere(reason))) => {
                    tracing::warn!(%artifact, reason, "compiled again");
                }
                checked => return checked.map(|program| (kept, program)),
            }
        }
        let compiled = self.compile(artifact, observe)?;
        let program = self.check(name, &compiled, manifest)?;
        Ok((compiled, program))
    }

    /// What was compiled before, if it is all there and of this engine.
    fn kept(&self, artifact: &Digest) -> Result<Option<Precompiled>, DeployError> {
        let record = match View::new(self.storage())?.compiled(artifact) {
            Ok(Some(record)) if record.engine == self.0.compatibility => record,
            Ok(_) => return Ok(None),
            Err(DeployError::Damaged(what)) => {
                tracing::warn!(%artifact, what, "compiled again");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let kept = self.0.artifacts.compiled(artifact, &record.code)?;
        if kept.is_none() {
            tracing::warn!(%artifact, "what was compiled is damaged: compiled again");
        }
        Ok(kept)
    }

    fn compile(
        &self,
        artifact: &Digest,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Precompiled, DeployError> {
        let shared = &self.0;
        // For its error, which says more than that of a compiler that finds another digest.
        shared.artifacts.component(artifact)?;
        let input = shared.artifacts.open(artifact)?;
        let folder = &shared.artifacts.0;
        let (draft, bytes) = shared
            .compiler
            .compile(&shared.engine, artifact, input, folder)?;
        let code = Digest::of(&bytes);
        observe(Step::Compiled);
        shared.artifacts.keep_compiled(artifact, &draft)?;
        observe(Step::CompiledKept);
        let engine = shared.compatibility;
        let record = CompiledRecord { engine, code };
        records::note_compiled(&shared.storage, artifact, &record)?;
        observe(Step::CompiledRecorded);
        Ok(Precompiled::kept(bytes, &code).expect("the digest was taken of these bytes"))
    }

    fn check(
        &self,
        name: &DeploymentName,
        component: &Precompiled,
        manifest: &Manifest,
    ) -> Result<Program, DeployError> {
        let route = &manifest.route;
        let mut grants = route.grants.clone();
        grants.settings = route.settings.is_some();
        grants.raw = route.websocket.raw;
        let engine = &self.0.engine;
        let program = Program::load(engine, name.as_str(), component, &route.guest, &grants)?;
        if route.idle.is_some() && program.converses() {
            let why = "[route] idle: a conversation cannot sleep, leave it out";
            return Err(DeployError::NotAllowed(vec![why.to_owned()]));
        }
        Ok(program)
    }

    /// Notes beside the registry that it has changed. It has, so a failure is no reason to say that
    /// it has not.
    pub(super) fn note(&self) {
        let changes = View::new(self.storage()).and_then(|view| view.changes());
        let folder = &self.0.artifacts.0;
        if let Err(error) = changes.and_then(|changes| latest::write(folder, changes)) {
            tracing::warn!("the latest change is not noted: {error}");
        }
    }

    /// Removes the files that no version needs. What cannot be removed costs room, no more.
    pub(super) fn collect(&self) {
        let shared = &self.0;
        let collected = shared.pins.hold(|pinned| {
            let mut keep = View::new(&shared.storage)?.artifacts()?;
            keep.extend(pinned);
            records::forget_compiled(&shared.storage, &keep)?;
            let removed = shared.artifacts.collect(&keep);
            removed.map_err(|error| DeployError::disk("remove old artifacts", &error))
        });
        match collected {
            Ok(0) => {}
            Ok(artifacts) => tracing::info!(artifacts, "removed what no version needs"),
            Err(error) => tracing::warn!("old artifacts stay: {error}"),
        }
    }
}
