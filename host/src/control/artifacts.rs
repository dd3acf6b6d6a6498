//! The components of all deployments and what was compiled of them, each under the digest of the
//! component. What is read is compared with its digest first; what is wrong is not handed out.

use std::collections::HashSet;
use std::fs::File;

use super::deploying::Step;
use super::error::DeployError;
use super::files::{Draft, Folder};
use crate::digest::Digest;
use crate::guest::Precompiled;

/// The parts of the folder.
pub(super) const PARTS: [&str; 2] = [COMPONENTS, COMPILED];
const COMPONENTS: &str = "artifacts";
const COMPILED: &str = "compiled";

/// The files of components.
#[derive(Debug)]
pub(super) struct Artifacts(pub(super) Folder);

fn component_name(digest: &Digest) -> String {
    format!("{digest}.wasm")
}

fn compiled_name(source: &Digest) -> String {
    format!("{source}.code")
}

impl Artifacts {
    /// Keeps a component.
    pub(super) fn keep(
        &self,
        digest: &Digest,
        component: &[u8],
        observe: &mut dyn FnMut(Step),
    ) -> Result<(), DeployError> {
        let name = component_name(digest);
        // It is written even if it is there already: then what is there is whole again.
        self.0
            .write(COMPONENTS, &name, component, || {
                observe(Step::ArtifactWritten)
            })
            .map_err(|error| {
                DeployError::disk(format_args!("keep the artifact {digest}"), &error)
            })?;
        observe(Step::ArtifactKept);
        Ok(())
    }

    /// A component as it was uploaded.
    pub(super) fn component(&self, digest: &Digest) -> Result<Vec<u8>, DeployError> {
        let found = self
            .0
            .read(COMPONENTS, &component_name(digest))
            .map_err(|error| {
                DeployError::disk(format_args!("read the artifact {digest}"), &error)
            })?;
        match found {
            Some(bytes) if Digest::of(&bytes) == *digest => Ok(bytes),
            Some(_) => Err(damaged(digest, "is not what was uploaded")),
            None => Err(damaged(digest, "is not there")),
        }
    }

    /// Its file, for somebody who compares what he reads with the digest.
    pub(super) fn open(&self, digest: &Digest) -> Result<File, DeployError> {
        self.0
            .open_file(COMPONENTS, &component_name(digest))
            .map_err(|error| DeployError::disk(format_args!("read the artifact {digest}"), &error))
    }

    /// Keeps what was compiled of a component.
    pub(super) fn keep_compiled(&self, source: &Digest, draft: &Draft) -> Result<(), DeployError> {
        let kept = self.0.keep(draft, COMPILED, &compiled_name(source));
        kept.map_err(|error| DeployError::disk("keep what was compiled", &error))
    }

    /// What was compiled of a component, if it is there and has the digest that it had.
    pub(super) fn compiled(
        &self,
        source: &Digest,
        code: &Digest,
    ) -> Result<Option<Precompiled>, DeployError> {
        let found = self
            .0
            .read(COMPILED, &compiled_name(source))
            .map_err(|error| DeployError::disk("read what was compiled", &error))?;
        Ok(found.and_then(|bytes| Precompiled::kept(bytes, code)))
    }

    /// Removes everything but these components and what was compiled of them; returns how many
    /// components that were.
    pub(super) fn collect(&self, keep: &HashSet<Digest>) -> std::io::Result<usize> {
        let mut removed = 0;
        for (part, ending) in [(COMPONENTS, ".wasm"), (COMPILED, ".code")] {
            for name in self.0.names(part)? {
                // What has another name is not ours to remove.
                let digest = name.strip_suffix(ending).and_then(|name| name.parse().ok());
                if digest.is_some_and(|digest| !keep.contains(&digest)) {
                    self.0.remove(part, &name)?;
                    removed += usize::from(part == COMPONENTS);
                }
            }
        }
        Ok(removed)
    }
}

fn damaged(digest: &Digest, what: &str) -> DeployError {
    DeployError::Damaged(format!("the artifact {digest} {what}: upload it again"))
}
