//! A server that takes deployments, and how tests reach it: over curl, the `wharf` commands and
//! WebSockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
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
        (guest, manifest): (&str, &str),
        header: &str,
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
        self.curl(token, &arguments, path)
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
        let output = self.run(token, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Deploys `heir` as `name` of acme, with a number that it answers with.
    pub(crate) fn deploy_heir(&self, name: &str, version: u32) -> Value {
        let manifest = self.write(&format!("{name}.toml"), heir(name, version));
        let (manifest, guest) = (manifest.display().to_string(), guests::path("heir"));
        let guest = guest.display().to_string();
        let arguments = [
            "deploy",
            &guest,
            "--name",
            name,
            "--manifest",
            &manifest,
            "--json",
        ];
        let told = self
            .wharf(&self.acme, &arguments)
            .unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&told).unwrap()
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
