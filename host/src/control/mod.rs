//! Deployments: components that tenants bring while the server runs, checked and compiled before
//! anything changes, kept under their digests, with versions that can be taken back.
//!
//! Knows no HTTP and no socket, and serves nothing: whoever asks gets what is to be served from now
//! on. Everything here waits for the disk or for a compiler: not for a worker.

mod artifacts;
mod compiler;
mod deploying;
mod error;
mod files;
mod latest;
mod name;
mod permission;
mod pins;
mod records;
mod registry;
mod sealed;
mod signature;
#[cfg(test)]
mod tests;
mod trial;

pub use self::compiler::{CompileLimits, compile_in_this_process};
pub use self::deploying::{Prepared, Step, Upload};
pub use self::error::{CompileError, DeployError};
pub use self::name::DeploymentName;
pub(crate) use self::permission::allow;
pub use self::records::{Change, HistoryEntry, Version};
pub(crate) use self::registry::manifest;
pub use self::registry::{Deployment, Published, Registry};
