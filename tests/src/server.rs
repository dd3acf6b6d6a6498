//! Servers under test: in this process through the library's builder, or the real binary as a child.
//!
//! Never uses a fixed port. A child is killed when its handle is dropped.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use crate::deadline::STEP;
use crate::guests;
use crate::process::Process;
use crate::site::{Folder, Site};

/// How long a child may take until it says that it listens: compiling guests included.
const START: Duration = Duration::from_secs(60);

/// A server in this process.
#[derive(Debug)]
pub struct Local {
    /// Where it listens.
    pub address: SocketAddr,
    /// The library's handle.
    pub server: wharf::Server,
    folder: Folder,
}

/// Starts a server in this process, as its configuration file would have it. Unless the site says
/// otherwise it has room for few instances: each reserves address space, and tests run side by side.
pub async fn start(site: &Site) -> Local {
    let folder = Folder::new();
    let site = site.clone().section_default("engine", "instances_max", 256);
    let config = folder.write("wharf.toml", site.toml());
    let config = wharf::Config::load(&config).unwrap_or_else(|error| panic!("{error}"));
    let server = wharf::Server::builder()
        .configured(config)
        .start()
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", site.toml()));
    Local {
        address: server.local_addr(),
        server,
        folder,
    }
}

impl Local {
    /// Serves what that site says from now on, as a reload of the configuration file would.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn reload(&self, site: &Site) -> anyhow::Result<wharf::Replaced> {
        let config = self.folder.write("next.toml", site.toml());
        let config = wharf::Config::load(&config)?;
        let description = wharf::Server::builder().configured(config);
        self.server.reload(description).await
    }
}

/// The `wharf` binary as a child process.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    /// Its folder: the configuration file and what a test puts there.
    pub folder: Folder,
}

impl Child {
    /// Writes the configuration and starts `wharf serve --config`.
    pub fn start(site: &Site) -> Self {
        Self::start_in(Folder::new(), site)
    }

    /// As [`Child::start`], in a folder that already holds what the configuration names.
    pub fn start_in(folder: Folder, site: &Site) -> Self {
        let config = folder.write("wharf.toml", site.toml());
        let mut command = Command::new(binary());
        command
            .arg("serve")
            .arg("--config")
            .arg(config)
            .args(["--log-format", "json"]);
        Self::spawn(folder, command)
    }

    /// Starts a command that prints `listening on http://ADDR` when it is ready.
    pub fn spawn(folder: Folder, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, first_line) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = child.stderr.take().unwrap();
        collect_lines(stdout, lines);
        collect(stderr, Arc::clone(&log));
        match first_line.recv_timeout(START) {
            Ok(line) => {
                let address = line
                    .split_once("://")
                    .and_then(|(before, address)| {
                        before
                            .starts_with("listening on http")
                            .then_some(address)?
                            .trim_end_matches('/')
                            .parse()
                            .ok()
                    })
                    .unwrap_or_else(|| panic!("not the ready line: {line:?}"));
                Self {
                    child,
                    address,
                    log,
                    folder,
                }
            }
            Err(error) => {
                let _ = child.kill();
                let status = child.wait();
                panic!(
                    "the server did not get ready ({error}, {status:?}):\n{}",
                    log.lock().unwrap()
                );
            }
        }
    }

    /// The process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Where it serves operators. Its log may come a moment later than its word that it is ready.
    pub fn admin(&self) -> SocketAddr {
        let begin = Instant::now();
        loop {
            let log = self.log();
            let found = log.split_once("operators are served on http://");
            if let Some((address, _)) = found.and_then(|(_, rest)| rest.split_once('"')) {
                return address.parse().unwrap();
            }
            assert!(begin.elapsed() < STEP, "no admin listener:\n{}", tail(&log));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asserts that it is alive and has not panicked.
    pub fn assert_healthy(&self) {
        assert!(
            self.process().is_alive(),
            "the server ended:\n{}",
            tail(&self.log())
        );
        let log = self.log();
        assert!(
            !log.contains("panicked"),
            "the server panicked:\n{}",
            tail(&log)
        );
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.process().signal(name);
    }

    /// Waits for its end.
    pub async fn exit_within(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(
                start.elapsed() < limit,
                "the server did not end within {limit:?}:\n{}",
                tail(&self.log())
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), tail(&self.log()).as_bytes());
        }
    }
}

/// Runs the binary with arguments until it ends.
pub fn run(arguments: &[&str]) -> std::process::Output {
    Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", binary().display()))
}

/// The `wharf` binary of this build: what `WHARF_BIN` names, or built once by cargo.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("WHARF_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let output = guests::repository_command(guests::cargo())
        .args([
            "build",
            "--package",
            "wharf",
            // For features that both share: one build serves them all.
            "--package",
            "wharf-tests",
            "--bin",
            "wharf",
            "--message-format",
            "json",
        ])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "`cargo build --package wharf` failed"
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the binary that it built")
}

fn collect(from: impl std::io::Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        // By lines: where a read ends, there may be half of a character.
        let mut line = Vec::new();
        while let Ok(1..) = from.read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line);
            to.lock().unwrap().push_str(&text);
            line.clear();
        }
    });
}

fn collect_lines(from: BufReader<impl std::io::Read + Send + 'static>, to: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            // Later lines have no reader; the pipe must be emptied all the same.
            let _ = to.send(line);
        }
    });
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n") + "\n"
}
