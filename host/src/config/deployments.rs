//! `[deployments]`: where components that are deployed while the server runs are kept, what compiling
//! them may cost, and what each tenant may ask for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::document::Section;
use super::route;
use crate::catalog::{Grants, InstanceModel, WebSocketSettings};
use crate::guest::GuestLimits;

/// Bytes of a public key of ed25519.
const KEY_BYTES: usize = 32;

/// A server's `[deployments]`. Nobody may deploy anything unless it is there and names the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentSettings {
    /// The folder of artifacts, compiled components and the registry, made if it is not there. Only
    /// the server may write in it.
    pub folder: PathBuf,
    /// The program that compiles: it is called as `PROGRAM compile OPTIONS` and does what
    /// [`crate::compile_in_this_process`] does. `None`: the server compiles in its own process, so
    /// the two limits below do not hold, and a component that is made for it can take all the memory
    /// that there is. The `wharf` command fills in itself.
    pub compiler: Option<PathBuf>,
    /// Memory of one compilation, in bytes. Default 512 MiB. One component is compiled at a time.
    pub compile_memory_bytes_max: u64,
    /// CPU time of one compilation. Default 10 s. It has four times that to be over.
    pub compile_cpu_max: Duration,
    /// Size of a component, in bytes; a manifest may ask for less. Default 64 MiB.
    pub component_bytes_max: usize,
    /// Versions of a deployment that are kept with their components, the current and the previous
    /// one included. Default 5. Worst case: that many components and their compilations, about ten
    /// times as large, for each deployment.
    pub versions_kept: u32,
    /// Deployments of one tenant. Default 100.
    pub tenant_deployments_max: u32,
    /// Who may deploy, by name.
    pub tenants: BTreeMap<String, TenantRules>,
}

/// What a tenant's manifests may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// What its components may use at most. Default: nothing.
    pub grants: Grants,
    /// The largest limits that a manifest may set. Default: those of a route.
    pub guest: GuestLimits,
    /// The largest message, outbox and compression that a manifest may set. Default: those of a route.
    pub websocket: WebSocketSettings,
    /// The ed25519 keys of which one has to have signed each component. Default: none; components
    /// need no signature.
    pub signers: Vec<[u8; KEY_BYTES]>,
}

impl DeploymentSettings {
    /// A folder, everything else at its default: nobody may deploy yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            compiler: None,
            compile_memory_bytes_max: 512 << 20,
            compile_cpu_max: Duration::from_secs(10),
            component_bytes_max: 64 << 20,
            versions_kept: 5,
            tenant_deployments_max: 100,
            tenants: BTreeMap::new(),
        }
    }
}

/// Reads the section, if there is one. `folder` is the config file's.
pub(super) fn deployments(
    top: &Section<'_, '_>,
    folder: &Path,
    has_storage: bool,
) -> Option<DeploymentSettings> {
    const PATH: &str = "right is the path of a folder, such as \"deployments\"";
    const COMPILER: &str = "right is the path of a program, such as \"/usr/bin/wharf\"";
    const GIB: u64 = 1 << 30;
    let section = top.section("deployments", "[deployments]")?;
    let path = section.text("path", PATH);
    if path.is_none() && !section.has("path") {
        section.missing("path", PATH);
    }
    if path.as_deref() == Some("") {
        section.refuse("path", PATH);
    }
    let mut settings = DeploymentSettings::new(folder.join(path.unwrap_or_default()));
    if let Some(file) = section.text("compiler", COMPILER) {
        let file = folder.join(file);
        if !file.is_file() {
            section.refuse(
                "compiler",
                format_args!("there is no file {}", file.display()),
            );
        }
        settings.compiler = Some(file);
    }
    section.size(
        "compile_memory_bytes_max",
        64 << 20..=64 * GIB,
        &mut settings.compile_memory_bytes_max,
    );
    section.duration("compile_cpu_max", &mut settings.compile_cpu_max);
    section.size(
        "component_bytes_max",
        8..=GIB,
        &mut settings.component_bytes_max,
    );
    section.count("versions_kept", 2..=1_000, &mut settings.versions_kept);
    section.count(
        "tenant_deployments_max",
        0..=100_000,
        &mut settings.tenant_deployments_max,
    );
    for tenant in section.sections("tenant", "[[deployments.tenant]]") {
        if let Some((name, rules)) = rules(&tenant, has_storage)
            && settings.tenants.insert(name, rules).is_some()
        {
            tenant.refuse("name", "there is a tenant of that name already");
        }
        tenant.finish();
    }
    section.finish();
    Some(settings)
}

/// Reads one `[[deployments.tenant]]`.
fn rules(section: &Section<'_, '_>, has_storage: bool) -> Option<(String, TenantRules)> {
    let mut rules = TenantRules {
        signers: signers(section),
        ..TenantRules::default()
    };
    if let Some(section) = section.section("grants", "[deployments.tenant.grants]") {
        rules.grants = route::grants(&section);
        if rules.grants.need_storage(&InstanceModel::Shared) && !has_storage {
            route::refuse_storage(&section, &rules.grants);
        }
        section.finish();
    }
    if let Some(section) = section.section("websocket", "[deployments.tenant.websocket]") {
        route::websocket(&section, &mut rules.websocket);
        section.finish();
    }
    if let Some(section) = section.section("guest", "[deployments.tenant.guest]") {
        route::guest_limits(&section, &mut rules.guest);
        section.finish();
    }
    let name = route::name(section, "name");
    if name.is_none() && !section.has("name") {
        section.missing("name", route::NAME);
    }
    Some((name?, rules))
}

fn signers(section: &Section<'_, '_>) -> Vec<[u8; KEY_BYTES]> {
    const SIGNERS: &str = "right is a list of ed25519 public keys, each 32 bytes in base64";
    let texts = section.texts("signers", SIGNERS).unwrap_or_default();
    let read = |text: &String| BASE64.decode(text).ok()?.try_into().ok();
    let keys: Option<Vec<[u8; KEY_BYTES]>> = texts.iter().map(read).collect();
    if keys.is_none() {
        section.refuse("signers", SIGNERS);
    }
    keys.unwrap_or_default()
}
