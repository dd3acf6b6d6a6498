//! Why something was not deployed. Whoever answers for it over HTTP finds a status for each.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::config::ConfigError;
use crate::guest::ProgramError;
use crate::storage::StorageError;

/// Why nothing was changed. Each says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeployError {
    /// The deployment's name is none.
    Name,
    /// That tenant may deploy nothing here.
    UnknownTenant(String),
    /// The manifest is wrong: one line for each problem.
    Manifest(ConfigError),
    /// The manifest asks for what the tenant may not have: one text for each.
    NotAllowed(Vec<String>),
    /// The tenant's components have to be signed, and this one is not, or not by a key that counts.
    Signature(String),
    /// The component cannot run: its world, its imports, its size.
    Program(ProgramError),
    /// It could not be compiled within the limits.
    Compile(CompileError),
    /// An instance of it does not start.
    Start(String),
    /// The server could not try it, for reasons of its own.
    NotTried(String),
    /// An instance of it says that it is not well.
    Health(String),
    /// Somebody else has changed the deployment meanwhile.
    Conflict {
        /// The generation that was to be changed.
        expected: u64,
        /// The generation that it has.
        found: u64,
    },
    /// There is no such deployment.
    NotFound,
    /// There is no version to go back to.
    NoPrevious,
    /// The tenant has so many deployments, which is as many as it may have.
    TooMany(u32),
    /// What was kept is not what was stored: it is not used. Says what, and what helps.
    Damaged(String),
    /// The disk could not do its part: full, broken or read-only. For the operator.
    Disk(String),
}

/// Why a component could not be compiled, though it may well be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// It took more memory than it may, in bytes.
    OutOfMemory(u64),
    /// It took longer than it may.
    OutOfTime(Duration),
    /// The compiler ended in another way than it should.
    Crashed(String),
    /// The compiler could not be started.
    NotStarted(String),
}

impl fmt::Display for DeployError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => formatter.write_str(
                "a deployment's name has 1 to 63 characters, each of a to z, 0 to 9 or `-`",
            ),
            Self::UnknownTenant(tenant) => write!(
                formatter,
                "the tenant {tenant:?} may deploy nothing here: the operator gives it a table \
                 [tenant.NAME.deploy]"
            ),
            Self::Manifest(error) => error.fmt(formatter),
            Self::NotAllowed(what) => {
                formatter.write_str("the manifest asks for what its tenant may not have:")?;
                what.iter()
                    .try_for_each(|what| write!(formatter, "\n  {what}"))
            }
            Self::Signature(why) => formatter.write_str(why),
            Self::Program(error) => error.fmt(formatter),
            Self::Compile(error) => error.fmt(formatter),
            Self::Start(why) => write!(
                formatter,
                "an instance of the component does not start: {why}"
            ),
            Self::NotTried(why) => write!(
                formatter,
                "the server could not try an instance of the component: {why}"
            ),
            Self::Health(why) => write!(
                formatter,
                "an instance of the component says that it is not well: {why}"
            ),
            Self::Conflict { expected, found } => write!(
                formatter,
                "the deployment has generation {found}, not {expected}: it was changed meanwhile; \
                 look at it and try again"
            ),
            Self::NotFound => formatter.write_str("there is no such deployment"),
            Self::NoPrevious => formatter.write_str("there is no previous version to go back to"),
            Self::TooMany(max) => write!(
                formatter,
                "the tenant has {max} deployments, which is as many as it may have: delete one"
            ),
            Self::Damaged(what) => formatter.write_str(what),
            Self::Disk(why) => write!(formatter, "nothing was changed, for want of a disk: {why}"),
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(max) => write!(
                formatter,
                "compiling the component takes more than {max} bytes of memory \
                 (compile_memory_bytes_max); a smaller one would do"
            ),
            Self::OutOfTime(max) => write!(
                formatter,
                "compiling the component takes more than {} s of CPU time (compile_cpu_max); a \
                 smaller one, or smaller functions, would do",
                max.as_secs_f64()
            ),
            Self::Crashed(how) => write!(formatter, "the compiler failed: {how}"),
            Self::NotStarted(why) => write!(formatter, "the compiler could not be started: {why}"),
        }
    }
}

impl std::error::Error for DeployError {}
impl std::error::Error for CompileError {}

impl From<ProgramError> for DeployError {
    fn from(error: ProgramError) -> Self {
        Self::Program(error)
    }
}

impl From<CompileError> for DeployError {
    fn from(error: CompileError) -> Self {
        Self::Compile(error)
    }
}

impl From<StorageError> for DeployError {
    fn from(error: StorageError) -> Self {
        Self::Disk(format!("the registry: {error}"))
    }
}

impl DeployError {
    /// Something about a file.
    pub(super) fn disk(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::Disk(format!("{what}: {error}"))
    }
}
