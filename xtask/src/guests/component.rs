//! From a core module to a checked component. It links nothing in: a guest
//! that imports what the contract does not name fails here.

use std::path::Path;

use anyhow::{Context, Result};
use wasmparser::{Validator, WasmFeatures};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{Resolve, WorldId};

use super::{Built, Workshop};

/// The world of a guest that brings none itself.
const WORLD: &str = "websocket-handler";

/// Makes a component of what the language's tools built, and validates it.
pub(super) fn finish(workshop: &Workshop, built: Built) -> Result<Vec<u8>> {
    let component = match built {
        Built::Core(module) => encode(&module)?,
        Built::Bare(mut module) => {
            let (resolve, world) = contract(workshop, None)?;
            wit_component::embed_component_metadata(
                &mut module,
                &resolve,
                world,
                StringEncoding::UTF8,
            )
            .context("describing the module's world")?;
            encode(&module)?
        }
        Built::Component(component) => component,
    };
    Validator::new_with_features(WasmFeatures::default())
        .validate_all(&component)
        .context("the component is not valid")?;
    Ok(component)
}

/// The contract, parsed, and the only world of the file `own`, or that of a plain handler.
pub(super) fn contract(workshop: &Workshop, own: Option<&Path>) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(workshop.root.join("wit"))
        .context("reading wit")?;
    let world = match own {
        Some(file) => {
            let package = resolve
                .push_file(file)
                .with_context(|| format!("reading {}", file.display()))?;
            resolve.select_world(&[package], None)?
        }
        None => resolve.select_world(&[package], Some(WORLD))?,
    };
    Ok((resolve, world))
}

fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .module(module)
        .context("the module does not fit its world")?
        .validate(true)
        .encode()
        .context("the module does not fit its world")
}
