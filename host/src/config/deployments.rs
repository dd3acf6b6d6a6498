//! `[deployments]`: where components that are deployed while the server runs are kept, and what
//! compiling them may cost. What each tenant may deploy stands in its own table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Section;
use super::tenant::TenantRules;

/// A server's `[deployments]`. Nobody may deploy anything unless it is there and the tenant has rules.
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
    /// Who may deploy, by name. A server adds the rules of its tenants.
    pub tenants: BTreeMap<String, TenantRules>,
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
pub(super) fn deployments(top: &Section<'_, '_>, folder: &Path) -> Option<DeploymentSettings> {
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
    section.finish();
    Some(settings)
}
