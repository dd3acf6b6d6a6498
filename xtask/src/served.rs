//! A `wharf serve` process for a task that needs one: started on a free port,
//! stopped as an operator would, and never left behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::process;

/// Compiling a large component in a slow build of the host takes this long; a
/// demo may first wait for another cargo that has the build folder.
const START_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// The server gives its sessions 5 s to close; the rest is for a busy machine.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);
const READY: &str = "listening on http://";

/// A server that is ready; dropping it kills it.
pub(crate) struct Served {
    child: Child,
    /// `ADDR:PORT`, as the server said.
    pub(crate) address: String,
    log: PathBuf,
}

/// Builds the host and says where its binary lies.
pub(crate) fn build_host(root: &Path) -> anyhow::Result<PathBuf> {
    // With the package of the tests, for features that both share: one build serves them all.
    let build = [
        "build",
        "--package",
        "wharf",
        "--package",
        "wharf-tests",
        "--bin",
        "wharf",
    ];
    process::run(process::cargo(root).args(build))?;
    Ok(target(root).join("debug").join("wharf"))
}

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

impl Served {
    /// Starts `wharf serve` and waits until it is ready. Its log goes to
    /// `target/logs/NAME.log`.
    pub(crate) fn start(root: &Path, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let folder = root.join("target").join("logs");
        std::fs::create_dir_all(&folder)?;
        let log = folder.join(format!("{name}.log"));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| format!("creating {}", log.display()))?)
            .spawn()
            .context("`wharf serve` could not be started")?;
        let stdout = child
            .stdout
            .take()
            .context("the server's output is piped")?;
        let mut served = Self {
            child,
            address: String::new(),
            log,
        };
        let lines = process::lines(stdout);
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some((_, address)) = line.split_once(READY) {
                        served.address = address.trim().trim_end_matches('/').to_owned();
                        return Ok(served);
                    }
                }
                Err(_) => bail!(
                    "the server did not say `{READY}…`; its log:\n{}",
                    served.log_text()
                ),
            }
        }
    }

    /// Asks the server to drain, and wants it gone, in order, within its time.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .context("`kill` could not be started")?;
        ensure!(
            asked.success(),
            "the server was gone before it was stopped; its log:\n{}",
            self.log_text()
        );
        let status =
            process::wait_within(&mut self.child, STOP_TIME_MAX).context("draining the server")?;
        ensure!(
            status.success(),
            "the server ended with {status}; its log:\n{}",
            self.log_text()
        );
        Ok(())
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Already gone after `stop`: both calls then do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
