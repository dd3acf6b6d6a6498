//! A server that takes deployments, and how tests reach it: over curl, the `wharf` commands and
//! WebSockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use wharf_tests::deadline::eventually;
use wharf_tests::guests;
use wharf_tests::http::Head;
use wharf_tests::peer::{HttpPeer, Peer};
use wharf_tests::server::{Child, binary};
use wharf_tests::site::{Folder, Mount, Site};

use crate::admin_api::token;

/// A server with two tenants: `acme` below `/acme`, `bolt` on `bolt.example`. It lives in a folder, and
/// is started in there again after its end.
pub(crate) struct Harbour {
    server: Option<Child>,
    folder: Folder,
    site: Site,
    pub(crate) operator: String,
    pub(crate) acme: String,
    pub(crate) bolt: String,
    pub(crate) expired: String,
}

impl Harbour {
    pub(crate) fn new(change: impl FnOnce(Site) -> Site) -> Self {
        let made: Vec<_> = (0..4).map(|_| token()).collect();
        let [(operator, o), (acme, a), (bolt, b), (expired, e)] = &made[..] else {
            unreachable!("four were made")
        };
        let old = wharf_tests::site::Value::Date("2026-01-01");
        let folder = Folder::new();
        let site = Site::new()
            .workers(2)
            .section("admin", "listen", "127.0.0.1:0")
            .section("admin.token.op", "sha256", o.as_str())
            .section("admin.token.op", "operator", true)
            .section("admin.token.ann", "sha256", a.as_str())
            .section("admin.token.ann", "tenant", "acme")
            .section("admin.token.bob", "sha256", b.as_str())
            .section("admin.token.bob", "tenant", "bolt")
            .section("admin.token.old", "sha256", e.as_str())
            .section("admin.token.old", "tenant", "acme")
            .section("admin.token.old", "expires", old)
            .section(
                "deployments",
                "path",
                folder.file("deployments").display().to_string(),
            )
            .section("tenant.acme.deploy", "grants", NONE)
            .section("tenant.bolt", "hosts", ["bolt.example"])
            .section("tenant.bolt.deploy", "grants", NONE)
            .mount(Mount::new("/echo", "echo").shared());
        Self {
            server: None,
            folder,
            site: change(site),
            operator: operator.clone(),
            acme: acme.clone(),
            bolt: bolt.clone(),
            expired: expired.clone(),
        }
    }

    /// As [`Harbour::new`], started.
    pub(crate) fn start(change: impl FnOnce(Site) -> Site) -> Self {
        let mut harbour = Self::new(change);
        harbour.restart("");
        harbour
    }

    /// Starts it, anew if it runs, with what comes before the command in a shell. What it was is killed.
    pub(crate) fn restart(&mut self, before: &str) {
        self.server = None;
        let config = self.folder.write("wharf.toml", self.site.toml());
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{before} exec \"$0\" \"$@\""))
            .arg(binary())
            .args(["serve", "--log-format", "json", "--config"])
            .arg(config);
        self.server = Some(Child::spawn(Folder::new(), command));
    }

    /// Lets it read again what has changed; or what it says against that.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let told = |log: &str| log.matches(READ).count() + log.matches(KEPT).count();
        let before = told(&self.server().log());
        self.folder.write("wharf.toml", self.site.toml());
        self.server().signal("HUP");
        let look = || {
            let log = self.server().log();
            match told(&log) > before {
                true => Ok(log),
                false => Err(log),
            }
        };
        let (log, _) = eventually(RELOADED_WITHIN, "the reload is told", look).await;
        let is_told = |line: &&str| line.contains(READ) || line.contains(KEPT);
        let last = log.lines().rfind(is_told).unwrap_or_default();
        match last.contains(READ) {
            true => Ok(()),
            false => Err(last.to_owned()),
        }
    }

    /// Changes what the next start reads.
    pub(crate) fn change(&mut self, change: impl FnOnce(Site) -> Site) {
        self.site = change(std::mem::take(&mut self.site));
    }

    pub(crate) fn server(&self) -> &Child {
        self.server.as_ref().expect("it runs")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.server().admin()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.folder.write(name, content)
    }

    /// Asks with curl; status, answer.
    pub(crate) fn curl(&self, token: &str, arguments: &[&str], path: &str) -> (u16, Value) {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--path-as-is",
        ]);
        command
            .args(["--write-out", "\n%{http_code}"])
            .args(arguments);
        if !token.is_empty() {
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        command.arg(format!("http://{}{path}", self.admin()));
        let output = command.output().expect("curl can be started");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        (status.parse().unwrap(), body)
    }

    /// Uploads with curl.
    pub(crate) fn put(
        &self,
        (token, path): (&str, &str),
        parts: (&str, &str),
        header: &str,
    ) -> (u16, Value) {
        self.put_with((token, path), parts, header, &[])
    }

    /// The same with further arguments of curl.
    pub(crate) fn put_with(
        &self,
        (token, path): (&str, &str),
        (guest, manifest): (&str, &str),
        header: &str,
        more: &[&str],
    ) -> (u16, Value) {
        let manifest = self.write("manifest.toml", manifest);
        let component = match guest.contains('/') {
            true => PathBuf::from(guest),
            false => guests::path(guest),
        };
        let component = format!("component=@{}", component.display());
        let manifest = format!("manifest=<{}", manifest.display());
        let arguments = [
            "-X", "PUT", "-F", &component, "-F", &manifest, "--header", header,
        ];
        self.curl(token, &[&arguments, more].concat(), path)
    }

    /// Runs a `wharf` command against it.
    pub(crate) fn command(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .args(["--admin", &format!("http://{}", self.admin())])
            .env("WHARF_TOKEN", token)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, token: &str, arguments: &[&str]) -> Output {
        self.command(token, arguments)
            .output()
            .expect("the command can be started")
    }

    /// As [`Harbour::run`]: standard output, or standard error.
    pub(crate) fn wharf(&self, token: &str, arguments: &[&str]) -> Result<String, String> {
        said(&mut self.command(token, arguments))
    }

    /// The command that deploys `heir` as `name` of acme.
    pub(crate) fn deploying(&self, name: &str, manifest: &str) -> Command {
        let manifest = self.write(&format!("{name}.toml"), manifest);
        let (manifest, guest) = (manifest.display().to_string(), guests::path("heir"));
        let guest = guest.display().to_string();
        let (from, to) = (
            ["deploy", &guest, "--manifest", &manifest],
            ["--name", name],
        );
        self.command(&self.acme, &[&from[..], &to, &["--json"]].concat())
    }

    /// Deploys `heir` as `name` of acme; what is told of it, or standard error.
    pub(crate) fn try_deploy(&self, name: &str, manifest: &str) -> Result<Value, String> {
        let told = said(&mut self.deploying(name, manifest))?;
        Ok(serde_json::from_str(&told).unwrap())
    }

    /// Deploys `heir` as `name` of acme, with a number that it answers with.
    pub(crate) fn deploy_heir(&self, name: &str, version: u32) -> Value {
        let told = self.try_deploy(name, &heir(name, version));
        told.unwrap_or_else(|error| panic!("{error}"))
    }

    /// What Prometheus would read.
    pub(crate) fn metrics(&self) -> String {
        let (status, text) = self.curl("", &[], "/metrics");
        assert_eq!(status, 200, "{text}");
        text.as_str().expect("it is no JSON").to_owned()
    }

    /// The disk takes no byte of any file any more, or all of them again. Only after a restart behind
    /// [`HEEDLESS`].
    pub(crate) fn break_disk(&self, breaks: bool) {
        let most = if breaks { "0:" } else { "unlimited:" };
        let mut command = Command::new("prlimit");
        command.args(["--pid", &self.server().process().0.to_string()]);
        command.arg(format!("--fsize={most}"));
        let status = command
            .status()
            .expect("prlimit, of util-linux, can be started");
        assert!(status.success(), "{status}");
    }

    pub(crate) async fn connect(&self, path: &str) -> Peer {
        Peer::connect(self.server().address, path).await
    }

    /// The status of a handshake on a host.
    pub(crate) async fn status(&self, host: &str, path: &str) -> u16 {
        let head = Head::upgrade(path).with("Host", host);
        let mut peer = HttpPeer::connect(self.server().address).await;
        peer.exchange(&head).await.status
    }
}

/// What the log says of a reload.
const READ: &str = "routes and pages read again";
const KEPT: &str = "nothing is changed, what was served goes on";
/// On a machine with other things to do.
const RELOADED_WITHIN: Duration = Duration::from_secs(10);

/// What comes before a server whose writes may fail: else the first one would end it.
pub(crate) const HEEDLESS: &str = "trap '' XFSZ;";

/// What a command writes to standard output, or to standard error if it fails.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("the command can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// A table with nothing in it.
const NONE: wharf_tests::site::Value = wharf_tests::site::Value::Table;

/// A manifest of `heir`.
pub(crate) fn heir(path: &str, version: u32) -> String {
    format!("[route]\npath = \"/{path}\"\n[route.config]\nversion = \"{version}\"\n")
}

/// Says something and expects an answer.
pub(crate) async fn ask(peer: &mut Peer, text: &str, answer: &str) {
    peer.send_text(text).await;
    peer.expect_text(answer).await;
}
