//! The API of the operators' listener, over curl and the `wharf` commands: who may what, and what
//! it does to live sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wharf_tests::deadline::scenario;
use wharf_tests::figure::figure;
use wharf_tests::frame::Frame;
use wharf_tests::http::Head;
use wharf_tests::peer::{HttpPeer, Peer, exchange};
use wharf_tests::server::{Child, run};
use wharf_tests::site::{Mount, Site};

use crate::promises::covers;

/// A server with two tenants, an operator's token, one of each tenant, and one that has expired.
pub(crate) struct Served {
    pub(crate) server: Child,
    pub(crate) admin: SocketAddr,
    pub(crate) operator: String,
    pub(crate) acme: String,
    pub(crate) bolt: String,
    pub(crate) expired: String,
}

/// A new token and its hash.
pub(crate) fn token() -> (String, String) {
    let made = run(&["token", "--json"]);
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    (text("token"), text("sha256"))
}

/// Asks an admin listener with curl; the status and the JSON of the answer.
pub(crate) fn curl(admin: SocketAddr, token: &str, arguments: &[&str], path: &str) -> (u16, Value) {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--path-as-is",
    ]);
    command
        .args(["--write-out", "\n%{http_code}"])
        .args(arguments);
    if !token.is_empty() {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    command.arg(format!("http://{admin}{path}"));
    let output = command.output().expect("curl can be started");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    (status.parse().unwrap(), body)
}

impl Served {
    pub(crate) fn start() -> Self {
        let made: Vec<_> = (0..4).map(|_| token()).collect();
        let [(operator, o), (acme, a), (bolt, b), (expired, e)] = &made[..] else {
            unreachable!("four were made")
        };
        let herald = |path: &str, tenant: &str| {
            let mount = Mount::new(path, "herald").set("tenant", tenant);
            mount.grant("topics", true)
        };
        let probe = |path: &str, tenant: &str| Mount::new(path, "probe").set("tenant", tenant);
        let site = Site::new()
            .workers(2)
            .section("admin", "listen", "127.0.0.1:0")
            .section("admin.token.op", "sha256", o.as_str())
            .section("admin.token.op", "operator", true)
            .section("admin.token.acme", "sha256", a.as_str())
            .section("admin.token.acme", "tenant", "acme")
            .section("admin.token.bolt", "sha256", b.as_str())
            .section("admin.token.bolt", "tenant", "bolt")
            .section("admin.token.old", "sha256", e.as_str())
            .section("admin.token.old", "operator", true)
            .section(
                "admin.token.old",
                "expires",
                wharf_tests::site::Value::Date("2026-01-01"),
            )
            .mount(herald("/a/topics", "acme"))
            .mount(probe("/a/probe", "acme"))
            .mount(probe("/b/probe", "bolt"))
            .mount(
                Mount::new("/a/envoy", "envoy")
                    .set("tenant", "acme")
                    .grant("logging", true)
                    .grant("http", ["localhost:1"])
                    .config("greeting", "hello"),
            );
        let server = Child::start(&site);
        Self {
            admin: server.admin(),
            server,
            operator: operator.clone(),
            acme: acme.clone(),
            bolt: bolt.clone(),
            expired: expired.clone(),
        }
    }

    /// Asks with curl; the status and the JSON of the answer.
    pub(crate) fn curl(&self, token: &str, arguments: &[&str], path: &str) -> (u16, Value) {
        curl(self.admin, token, arguments, path)
    }

    fn get(&self, token: &str, path: &str) -> (u16, Value) {
        self.curl(token, &[], path)
    }

    /// The names of a tenant's sessions, read two at a time.
    fn pages_of_two(&self, tenant: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/tenants/{tenant}/sessions?limit=2{after}");
            let (status, page) = self.get(&self.operator, &path);
            assert_eq!(status, 200, "{page}");
            let rows = page["sessions"].as_array().unwrap();
            assert!(rows.len() <= 2);
            names.extend(
                rows.iter()
                    .map(|row| row["session"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return names,
            }
        }
    }

    /// Runs a `wharf` command against it; its standard output.
    pub(crate) fn wharf(&self, token: &str, arguments: &[&str]) -> Result<String, String> {
        let admin = format!("http://{}", self.admin);
        let output = Command::new(wharf_tests::server::binary())
            .args(arguments)
            .args(["--admin", &admin])
            .env("WHARF_TOKEN", token)
            .output()
            .expect("the command can be started");
        let (stdout, stderr) = (&output.stdout, &output.stderr);
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(stdout).into_owned()),
            false => Err(String::from_utf8_lossy(stderr).into_owned()),
        }
    }
}

async fn ask(peer: &mut Peer, command: &str, answer: &str) {
    peer.send_text(command).await;
    peer.expect_text(answer).await;
}

fn error_of(answer: &Value) -> [&str; 3] {
    ["what", "where", "right"].map(|key| {
        let text = answer["error"][key].as_str();
        text.unwrap_or_else(|| panic!("no {key} in {answer}"))
    })
}

#[test]
fn a_token_reaches_its_own_tenant_and_nothing_else() {
    covers("control.tokens");
    scenario(async {
        let served = Served::start();
        let own = "/v1/tenants/acme/sessions";
        for (token, path, expected) in [
            ("", own, 401),
            ("wharf_guess", own, 401),
            (&*served.expired, own, 401),
            (&served.bolt, own, 403),
            (&served.bolt, "/v1/tenants/acme/logs", 403),
            (&served.bolt, "/v1/tenants/nobody", 403),
            (&served.bolt, "/v1/status", 403),
            (&served.acme, own, 200),
            (&served.operator, own, 200),
            (&served.operator, "/v1/status", 200),
            (&served.operator, "/v1/tenants/nobody", 404),
            (&served.operator, "/v1/nothing", 404),
            ("", "/openapi.json", 200),
        ] {
            let (status, answer) = served.get(token, path);
            assert_eq!(status, expected, "{path}: {answer}");
            if status >= 400 {
                assert!(error_of(&answer).iter().all(|text| !text.is_empty()));
            }
        }
        let (status, answer) = served.curl(&served.acme, &["--request", "POST"], "/v1/drain");
        assert_eq!(status, 403, "{answer}");
        let (_, answer) = served.get(&served.acme, "/v1/tenants");
        assert_eq!(answer["tenants"].as_array().unwrap().len(), 1, "{answer}");
        let log = served.server.log();
        assert!(
            log.contains(r#""token":"bolt""#) && log.contains(r#""denial":"Expired""#),
            "{log}"
        );
        for token in [&served.operator, &served.acme, &served.expired] {
            assert!(!log.contains(token.as_str()), "a token is in the log");
        }
        served.server.assert_healthy();
    });
}

/// Guesses on one connection until the time is up: how often each status was the answer.
async fn guess(admin: SocketAddr, number: usize, until: Instant) -> BTreeMap<u16, u64> {
    let mut peer = HttpPeer::connect(admin).await;
    let mut statuses = BTreeMap::new();
    let mut guesses = 0;
    while Instant::now() < until {
        guesses += 1;
        let token = format!("Bearer wharf_{number}_{guesses}");
        let head = Head::get("/v1/status").header("Authorization", &token);
        let response = peer.exchange(&head).await;
        *statuses.entry(response.status).or_default() += 1;
    }
    statuses
}

#[test]
fn ten_thousand_guesses_a_second_are_not_looked_at() {
    covers("control.tokens");
    scenario(async {
        let served = Served::start();
        let mut peer = Peer::connect(served.server.address, "/a/probe").await;
        let began = Instant::now();
        let until = began + Duration::from_secs(3);
        let guessing: Vec<_> = (0..8)
            .map(|number| tokio::spawn(guess(served.admin, number, until)))
            .collect();
        // Whoever comes from elsewhere is heard meanwhile.
        let elsewhere = ["--interface", "127.0.0.2"];
        let heard = served.curl(&served.operator, &elsewhere, "/v1/status").0;
        ask(&mut peer, "echo here", "here").await;
        let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
        for guesses in guessing {
            for (status, count) in guesses.await.unwrap() {
                *statuses.entry(status).or_default() += count;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let looked_at = statuses.get(&401).copied().unwrap_or(0);
        let all: u64 = statuses.values().sum();
        assert_eq!(heard, 200);
        assert!(
            statuses.keys().all(|status| matches!(status, 401 | 429)),
            "{statuses:?}"
        );
        // Ten, and one for each second.
        assert!(
            looked_at as f64 <= 10.0 + seconds + 1.0,
            "{statuses:?} in {seconds} s"
        );
        let log = served.server.log();
        let lines = log
            .lines()
            .filter(|line| line.contains(r#""target":"audit""#))
            .count();
        assert!(
            lines as f64 <= looked_at as f64 + seconds + 10.0,
            "{lines} lines"
        );
        let rate = all as f64 / seconds;
        figure(
            "control.tokens",
            format!(
                "{all} guesses, {rate:.0} a second: {looked_at} looked at, 0 in, {lines} lines in the log"
            ),
        );
        served.server.assert_healthy();
    });
}

#[test]
fn names_are_names_or_400() {
    covers("control.names");
    scenario(async {
        let served = Served::start();
        let long = "x".repeat(300);
        let names = [
            "..", "%2e%2e", "a%2fb", "%00", "ACME", "a_b", ".", &long, "%c3%a4",
        ];
        for name in names {
            let (status, answer) = served.get(&served.operator, &format!("/v1/tenants/{name}"));
            assert_eq!(status, 400, "{name}: {answer}");
            assert!(
                answer["error"]["right"]
                    .as_str()
                    .unwrap()
                    .contains("a to z")
            );
        }
        let (status, _) = served.get(&served.operator, "/v1/tenants/a/b");
        assert_eq!(status, 404);
        for (query, expected) in [
            ("limit=0", 400),
            ("limit=1001", 400),
            ("limit=x", 400),
            ("after=zz", 400),
            ("after=%zz", 400),
            ("limit=1&after=", 400),
            ("limit=1", 200),
        ] {
            let path = format!("/v1/tenants/acme/sessions?{query}");
            assert_eq!(served.get(&served.acme, &path).0, expected, "{query}");
        }
        let head = Head::get("/v1/status").header("x-long", &"x".repeat(20_000));
        assert_eq!(exchange(served.admin, &head).await.status, 431);
        served.server.assert_healthy();
        figure(
            "control.names",
            format!("{} names that are none: each 400", names.len()),
        );
    });
}

#[test]
fn sessions_are_listed_in_pages_and_kicked_with_a_code() {
    covers("admin.sessions");
    scenario(async {
        let served = Served::start();
        let address = served.server.address;
        let mut peers = Vec::new();
        for _ in 0..5 {
            peers.push(Peer::connect(address, "/a/probe").await);
        }
        let mut other = Peer::connect(address, "/b/probe").await;
        let mut names = served.pages_of_two("acme");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 5);

        peers[0].send_text("name").await;
        let name: Value = serde_json::from_str(&peers[0].text().await).unwrap();
        let name = name.as_str().unwrap();
        let path = format!("/v1/tenants/acme/sessions/{name}");
        let (status, row) = served.get(&served.acme, &path);
        assert_eq!(
            (status, &row["state"], &row["route"]),
            (200, &json!("open"), &json!("/a/probe"))
        );
        // Another tenant's is not there, whoever asks under whose name.
        let foreign = format!("/v1/tenants/bolt/sessions/{name}/kick");
        let post = ["--request", "POST"];
        assert_eq!(served.curl(&served.bolt, &post, &foreign).0, 404);
        for wrong in [
            r#"{"code":1005}"#,
            r#"{"kode":1}"#,
            "[]",
            "{",
            r#"{"code":"1000"}"#,
        ] {
            let body = ["--data", wrong];
            assert_eq!(
                served.curl(&served.acme, &body, &format!("{path}/kick")).0,
                400,
                "{wrong}"
            );
        }
        let kick = ["kick", name, "--code", "4001", "--reason", "too loud"];
        let told = served.wharf(&served.acme, &kick).unwrap();
        assert_eq!(told, format!("{name} was told 4001\n"));
        assert_eq!(peers[0].expect_closed(4001).await, "too loud");
        assert_eq!(served.get(&served.acme, &path).0, 404);
        assert!(
            served
                .wharf(&served.acme, &kick)
                .unwrap_err()
                .contains("no such session")
        );
        ask(&mut peers[1], "echo here", "here").await;
        ask(&mut other, "echo here", "here").await;
        served.server.assert_healthy();
    });
}

#[test]
fn a_session_shows_where_it_comes_from_whether_its_handler_asks_or_not() {
    covers("admin.sessions");
    scenario(async {
        let served = Served::start();
        for path in ["/a/probe", "/a/envoy"] {
            let peer = Peer::connect(served.server.address, path).await;
            let (_, page) = served.get(&served.acme, "/v1/tenants/acme/sessions");
            let rows = page["sessions"].as_array().unwrap();
            let row = rows.iter().find(|row| row["route"] == path).unwrap();
            let from = peer.stream.local_address().to_string();
            assert_eq!(row["remote_address"], from, "{path}");
        }
    });
}

#[test]
fn a_message_reaches_all_members_of_a_topic() {
    covers("admin.topics");
    scenario(async {
        let served = Served::start();
        let address = served.server.address;
        let mut members = Vec::new();
        for number in 0..3 {
            let mut peer = Peer::connect(address, "/a/topics").await;
            peer.send_text(format!("sub news {number}")).await;
            peer.expect_text("ok").await;
            members.push(peer);
        }
        let publish = ["publish", "news", "it rains", "--tenant", "acme"];
        let told = served.wharf(&served.operator, &publish).unwrap();
        assert_eq!(told, "on its way to 3 members\n");
        for peer in &mut members {
            peer.expect_text("it rains").await;
        }
        let (status, answer) = served.get(&served.acme, "/v1/tenants/acme/topics/news");
        assert_eq!(
            (status, answer["members"].as_array().unwrap().len()),
            (200, 3)
        );
        let listed = served.wharf(&served.acme, &["topics", "--json"]).unwrap();
        assert_eq!(
            listed,
            "{\"topics\":[{\"members\":3,\"topic\":\"news\"}]}\n"
        );
        // The same name is another topic of another tenant's.
        let (_, answer) = served.get(&served.bolt, "/v1/tenants/bolt/topics/news");
        assert_eq!(answer["members"], json!([]));
        let big = served.server.folder.write("big", vec![b'x'; (1 << 20) + 1]);
        let data = format!("@{}", big.display());
        let (status, _) = served.curl(
            &served.acme,
            &["--data-binary", &data, "--header", "Expect:"],
            "/v1/tenants/acme/topics/news",
        );
        assert_eq!(status, 413);
        served.server.assert_healthy();
    });
}

#[test]
fn the_log_comes_as_it_is_written() {
    covers("admin.logs");
    scenario(async {
        let served = Served::start();
        let mut peer = Peer::connect(served.server.address, "/a/envoy").await;
        let mut follow = Command::new(wharf_tests::server::binary());
        let admin = format!("http://{}", served.admin);
        follow
            .args(["logs", "--follow", "--json", "--admin", &admin])
            .env("WHARF_TOKEN", &served.acme)
            .stdout(std::process::Stdio::piped());
        let mut follow = follow.spawn().unwrap();
        let stdout = std::io::BufReader::new(follow.stdout.take().unwrap());
        let mut lines = std::io::BufRead::lines(stdout);
        let (seen, mut first) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || drop(seen.send(lines.next())));
        let line = loop {
            // The command may not listen yet.
            ask(&mut peer, "log warn rooms full up", "ok").await;
            if let Ok(line) = first.try_recv() {
                break line.unwrap().unwrap();
            }
        };
        let line: Value = serde_json::from_str(&line).unwrap();
        for (key, expected) in [
            ("route", "/a/envoy"),
            ("level", "WARN"),
            ("source", "log"),
            ("context", "rooms"),
            ("text", "full up"),
        ] {
            assert_eq!(line[key], expected, "{line}");
        }
        follow.kill().unwrap();
        follow.wait().unwrap();
        served.server.assert_healthy();
    });
}

#[test]
fn a_drain_by_command_ends_the_server() {
    covers("admin.drain");
    scenario(async {
        let mut served = Served::start();
        let mut peer = Peer::connect(served.server.address, "/a/probe").await;
        ask(&mut peer, "echo here", "here").await;
        let status = served.wharf(&served.operator, &["status"]).unwrap();
        assert!(status.contains("sessions open"), "{status}");
        let tenants = served.wharf(&served.operator, &["tenants"]).unwrap();
        assert!(
            tenants.starts_with("TENANT  SESSIONS") && tenants.contains("\nbolt "),
            "{tenants}"
        );
        let refused = served.wharf(&served.acme, &["drain"]).unwrap_err();
        assert!(
            refused.contains("403") && refused.contains("an operator's token"),
            "{refused}"
        );
        let told = served.wharf(&served.operator, &["drain"]).unwrap();
        assert!(told.contains("1 sessions are asked to leave"), "{told}");
        assert_eq!(
            exchange(served.admin, &Head::get("/readyz")).await.status,
            503
        );
        peer.expect_close(1001).await;
        peer.send(Frame::close(1001, "")).await;
        let status = served.server.exit_within(Duration::from_secs(10)).await;
        assert!(status.success());
        let gone = served.wharf(&served.operator, &["status"]).unwrap_err();
        assert!(gone.contains("ask http://127.0.0.1:"), "{gone}");
    });
}

#[test]
fn completions_know_the_commands() {
    covers("admin.cli");
    let script = run(&["completions", "bash"]);
    let script = String::from_utf8(script.stdout).unwrap();
    assert!(script.contains("wharf__") && script.contains("kick"));
}
