//! What the API asks of whoever keeps the deployments, which lies above this: words and a trait.
//! Nothing here knows how a deploy is done.

use std::collections::BTreeMap;

/// Keeps, changes and serves deployments. Everything waits for the disk, a deploy for a compiler too:
/// it is called on threads that may stand still.
pub(crate) trait Deployer: Send + Sync {
    /// The largest component, in bytes.
    fn component_bytes_max(&self) -> usize;

    /// The deployments of a tenant, by name.
    fn list(&self, tenant: &str) -> Result<Vec<DeploymentRow>, Declined>;

    /// How many deployments each tenant has.
    fn count(&self) -> Result<BTreeMap<String, usize>, Declined>;

    /// One deployment, with its versions and what was done to it.
    fn get(&self, tenant: &str, name: &str) -> Result<DeploymentDetail, Declined>;

    /// The generation that a change has to expect; zero if there never was such a deployment. And
    /// whether there is one now.
    fn generation(&self, tenant: &str, name: &str) -> Result<(u64, bool), Declined>;

    /// Deploys a version; `observe` is told each step, in a word.
    fn deploy(
        &self,
        target: &ChangeTarget,
        parcel: &DeployParcel,
        observe: &mut dyn FnMut(&'static str),
    ) -> Result<DeployOutcome, Declined>;

    /// Makes the previous version the current one.
    fn roll_back(&self, target: &ChangeTarget) -> Result<DeployOutcome, Declined>;

    /// Removes a deployment. Its last generation.
    fn delete(&self, target: &ChangeTarget) -> Result<u64, Declined>;

    /// What became of deploys since the start.
    fn tallies(&self) -> DeployTallies;
}

/// What became of deploys since the start, and what of that is not recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeployTallies {
    /// By tenant.
    pub(crate) ended: BTreeMap<(String, DeployEnd), u64>,
    /// Deployments whose version before is served though the registry names the one that failed.
    pub(crate) unrecorded: usize,
}

/// What became of a deploy, or of a version later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeployEnd {
    /// A version was recorded and is served, to some or to all.
    Deployed,
    /// Nothing was changed.
    Refused,
    /// Somebody wanted the version before.
    RolledBack,
    /// A version on trial broke one of its limits.
    RolledBackAutomatically,
    /// Everybody finds what some had found.
    Promoted,
    /// All versions were removed.
    Deleted,
}

impl DeployEnd {
    /// For metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
            Self::RolledBackAutomatically => "rolled_back_automatically",
            Self::Promoted => "promoted",
            Self::Deleted => "deleted",
        }
    }
}

/// What is changed, by whom.
#[derive(Clone, Debug)]
pub(crate) struct ChangeTarget {
    pub(crate) tenant: String,
    pub(crate) name: String,
    /// The generation that it must have.
    pub(crate) expected: u64,
    /// The name of the token.
    pub(crate) by: String,
}

/// What was uploaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeployParcel {
    pub(crate) component: Vec<u8>,
    pub(crate) manifest: String,
    pub(crate) signature: Option<Vec<u8>>,
}

/// What has become of a deployment.
#[derive(Clone, Debug)]
pub(crate) struct DeployOutcome {
    pub(crate) deployment: DeploymentRow,
    /// How the version before gives way: `swap`, `drain` or `restart`, or not yet: `canary`; `None` if there was none, or
    /// nothing of it that instances notice has changed.
    pub(crate) rollout: Option<String>,
}

/// A deployment, as operators see it.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentRow {
    pub(crate) name: String,
    /// `None` where its records are damaged.
    pub(crate) state: Option<DeploymentState>,
    /// Why it is not served, if it is not.
    pub(crate) left_out: Option<String>,
}

/// What is recorded of a deployment.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentState {
    pub(crate) generation: u64,
    pub(crate) current: VersionRow,
    pub(crate) previous: Option<u64>,
    /// The hosts on which it is served; none: every host.
    pub(crate) hosts: Vec<String>,
    /// Where it is served, such as `/acme/rooms/{room}`.
    pub(crate) path: String,
}

/// A version.
#[derive(Clone, Debug)]
pub(crate) struct VersionRow {
    pub(crate) number: u64,
    /// SHA-256 of the component, in hexadecimal digits.
    pub(crate) component: String,
    pub(crate) component_bytes: u64,
    pub(crate) manifest: String,
    pub(crate) at_unix_ms: u64,
    pub(crate) by: String,
    /// The public key in base64.
    pub(crate) signed_by: Option<String>,
}

/// A deployment with its past.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentDetail {
    pub(crate) deployment: DeploymentRow,
    /// Those that are kept, oldest first.
    pub(crate) versions: Vec<VersionRow>,
    /// The last changes, oldest first.
    pub(crate) history: Vec<HistoryRow>,
}

/// A change that was made.
#[derive(Clone, Debug)]
pub(crate) struct HistoryRow {
    pub(crate) generation: u64,
    /// `deployed`, `promoted`, `rolled back` or `deleted`.
    pub(crate) change: &'static str,
    pub(crate) version: Option<u64>,
    pub(crate) component: Option<String>,
    pub(crate) at_unix_ms: u64,
    pub(crate) by: String,
}

/// Why nothing was done.
#[derive(Clone, Debug)]
pub(crate) struct Declined {
    pub(crate) why: Why,
    pub(crate) what: String,
    /// One for each thing that was wrong, if it is a list.
    pub(crate) reasons: Vec<String>,
    pub(crate) right: String,
}

/// What kind of thing hindered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A name that is none.
    Name,
    /// A manifest that cannot be read.
    Manifest,
    /// The tenant may not deploy, or not what this signer has signed.
    Forbidden,
    /// There is no such deployment.
    NotFound,
    /// The deployment is not in a state for that.
    Impossible,
    /// It has another generation.
    OtherGeneration,
    /// The component is too large.
    TooLarge,
    /// The component, or what its manifest asks for, cannot be served.
    Unfit,
    /// The disk is full or fails.
    Disk,
    /// The server is ending.
    Ending,
    /// What was kept is damaged, or the host failed.
    Host,
}
