//! The command that builds a handler: started in its folder, ended when nobody waits for it any more.
//!
//! Its output goes to standard error as it comes; nothing is read of it.

use std::fmt;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Between two looks at a build that runs.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a build gets to clean up when it is ended.
const GRACE: Duration = Duration::from_millis(200);
/// What a shell says of a program that it does not find.
const NOT_FOUND: i32 = 127;

/// How a handler is built.
#[derive(Debug)]
pub(super) struct Build {
    folder: PathBuf,
    /// For the shell; `None` is cargo.
    command: Option<String>,
}

impl Build {
    /// Cargo builds what has a Cargo.toml; of anything else somebody has to say how.
    pub(super) fn new(folder: &Path, command: Option<&str>) -> Result<Self> {
        if command.is_none() && !folder.join("Cargo.toml").is_file() {
            bail!(
                "{} has no Cargo.toml: say how it is built, such as `--build 'npm run build'`",
                folder.display()
            );
        }
        Ok(Self {
            folder: folder.to_owned(),
            command: command.map(str::to_owned),
        })
    }

    /// Runs it to its end; says how long it took.
    pub(super) async fn run(&self) -> Result<Duration> {
        let began = Instant::now();
        let mut running = self.start()?;
        let status = loop {
            if let Some(status) = running.ended()? {
                break status;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        if !status.success() {
            return Err(failed(status, self.command.is_some()));
        }
        Ok(began.elapsed())
    }

    fn start(&self) -> Result<Running> {
        let (program, arguments) = match &self.command {
            Some(command) => ("sh", vec!["-c", command]),
            None => ("cargo", vec!["build", "--release"]),
        };
        let mut build = Command::new(program);
        build
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            // So that all that it starts can be ended with it.
            .process_group(0);
        match build.spawn() {
            Ok(child) => Ok(Running(Some(child))),
            Err(error) if error.kind() == ErrorKind::NotFound && self.folder.is_dir() => {
                Err(anyhow!(
                    "{program} is not on the search path (PATH): right is Rust, from https://rustup.rs, \
                     or `--build COMMAND`"
                ))
            }
            Err(error) => Err(error).with_context(|| format!("starting {self}")),
        }
    }
}

/// As one would type it.
impl fmt::Display for Build {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.command.as_deref().unwrap_or("cargo build --release"))
    }
}

fn failed(status: ExitStatus, in_shell: bool) -> anyhow::Error {
    match (status.code(), status.signal()) {
        (Some(NOT_FOUND), _) if in_shell => {
            anyhow!("the build failed: the shell does not find a program of `--build`")
        }
        (Some(code), _) => anyhow!("the build failed with {code}"),
        (None, Some(signal)) => anyhow!("the build was ended by the signal {signal}"),
        (None, None) => anyhow!("the build failed"),
    }
}

/// A build that runs, until it has ended. Dropping it ends it, and all that it has started.
struct Running(Option<Child>);

impl Running {
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.0 else {
            return Ok(None);
        };
        let status = child.try_wait().context("waiting for the build")?;
        if status.is_some() {
            self.0 = None;
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else {
            return;
        };
        // It is not waited for before the second signal, so the number stays its group's.
        let group = Pid::from_raw(child.id().cast_signed());
        // A group that has ended already needs no signal.
        let _ = killpg(group, Signal::SIGTERM);
        std::thread::sleep(GRACE);
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait();
    }
}
