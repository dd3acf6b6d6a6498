//! Why a deploy was refused, in the words of the API: one match from the registry's errors.

use crate::admin::{Declined, Why};
use crate::control::{CompileError, DeployError};
use crate::guest::ProgramError;

impl From<DeployError> for Declined {
    fn from(error: DeployError) -> Self {
        let (why, right) = judged(&error);
        let text = error.to_string();
        // What is a list is told as one; its first line says of what.
        let (what, reasons) = match &error {
            DeployError::Manifest(_) => ("the manifest cannot be used", lines(&text)),
            DeployError::NotAllowed(what) => (first(&text), what.clone()),
            DeployError::Program(ProgramError::ImportsRefused(_)) => {
                let reasons = text.lines().skip(1);
                (
                    first(&text),
                    reasons.map(|line| line.trim().to_owned()).collect(),
                )
            }
            _ => (&*text, Vec::new()),
        };
        Self {
            why,
            what: what.trim_end_matches(':').to_owned(),
            reasons,
            right: right.to_owned(),
        }
    }
}

impl From<anyhow::Error> for Declined {
    /// What the server itself cannot serve, though the registry would have it.
    fn from(error: anyhow::Error) -> Self {
        Self {
            why: Why::Unfit,
            what: format!("{error:#}"),
            reasons: Vec::new(),
            right: "a manifest that fits to what is served already".to_owned(),
        }
    }
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// What kind of thing it is, and what would be right.
fn judged(error: &DeployError) -> (Why, &'static str) {
    const SMALLER: &str = "a smaller component";
    const RUNS: &str = "a component that `wharf check` would run, with the grants of its manifest";
    const HOST: &str = "the operator finds more in the server's log";
    match error {
        DeployError::Name => (Why::Name, "1 to 63 of the characters a to z, 0 to 9 and -"),
        DeployError::UnknownTenant(_) => (
            Why::Forbidden,
            "a table [tenant.NAME.deploy] in the server's configuration",
        ),
        DeployError::Manifest(_) => (Why::Manifest, "docs/deploying.md has the keys"),
        DeployError::NotAllowed(_) => (
            Why::Unfit,
            "asking for less, or more in the server's [tenant.NAME.deploy]",
        ),
        DeployError::Signature(_) => (
            Why::Forbidden,
            "64 bytes of ed25519 over the component's SHA-256, by one of the tenant's `signers`",
        ),
        DeployError::Program(ProgramError::TooLarge { .. }) => (Why::TooLarge, SMALLER),
        DeployError::Program(ProgramError::NoEngine(_)) => (Why::Host, HOST),
        DeployError::Program(_) => (Why::Unfit, RUNS),
        DeployError::Compile(CompileError::NotStarted(_)) => (Why::Host, HOST),
        DeployError::Compile(_) => (Why::Unfit, SMALLER),
        DeployError::NotTried(_) => (Why::Host, HOST),
        DeployError::Start(_) => (Why::Unfit, "a component whose instances start"),
        DeployError::Health(_) => (
            Why::Unfit,
            "a component whose `health` says that it is well",
        ),
        DeployError::Conflict { .. } => (
            Why::OtherGeneration,
            "the generation that it has now: look what was changed, then decide",
        ),
        DeployError::NotFound => (
            Why::NotFound,
            "a deployment of the tenant, as GET …/deployments lists them",
        ),
        DeployError::NoPrevious => (Why::Impossible, "a deployment with two versions"),
        DeployError::TooMany(_) => (
            Why::Impossible,
            "fewer deployments, or a larger tenant_deployments_max",
        ),
        DeployError::Damaged(_) => (Why::Host, HOST),
        DeployError::Disk(_) => (
            Why::Disk,
            "room on a disk that works; what is served goes on",
        ),
    }
}
