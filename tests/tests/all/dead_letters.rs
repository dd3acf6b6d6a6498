//! Dead letters through the API and the command: who sees whose, how many are kept, and what never
//! gets out.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use wharf_tests::deadline::{eventually, scenario};
use wharf_tests::http::Head;
use wharf_tests::peer::{Peer, exchange};
use wharf_tests::server::{Child, run};
use wharf_tests::site::{Mount, Site};

use crate::admin_api::{curl, token};
use crate::promises::covers;

/// A server whose dead letters can be read.
pub(crate) struct LetterOffice {
    server: Child,
    admin: SocketAddr,
    operator: String,
    acme: String,
}

impl LetterOffice {
    /// With an operator's token, and one of the tenant acme.
    pub(crate) fn start(site: Site) -> Self {
        let ((operator, o), (acme, a)) = (token(), token());
        let site = site
            .section_default("engine", "instances_max", 256)
            .section("admin", "listen", "127.0.0.1:0")
            .section("admin.token.op", "sha256", o.as_str())
            .section("admin.token.op", "operator", true)
            .section("admin.token.acme", "sha256", a.as_str())
            .section("admin.token.acme", "tenant", "acme");
        let server = Child::start(&site);
        Self {
            admin: server.admin(),
            server,
            operator,
            acme,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub(crate) fn assert_healthy(&self) {
        self.server.assert_healthy();
    }

    /// A tenant's letters as they are listed.
    pub(crate) fn letters(&self, tenant: &str) -> Vec<Value> {
        let (status, answer) = self.get(&format!("/v1/tenants/{tenant}/dead-letters"));
        assert_eq!(status, 200, "{answer}");
        answer["dead_letters"].as_array().unwrap().clone()
    }

    /// As [`Self::letters`], when there are so many.
    pub(crate) async fn letters_once(&self, tenant: &str, count: usize) -> Vec<Value> {
        let probe = || {
            let letters = self.letters(tenant);
            (letters.len() >= count)
                .then(|| letters.clone())
                .ok_or(format!("{letters:?}"))
        };
        let found = eventually(Duration::from_secs(20), "letters are kept", probe).await;
        found.0
    }

    /// The letter of an incident.
    pub(crate) fn letter(&self, incident: &str) -> Value {
        let (status, letter) = self.get(&format!("/v1/dead-letters/{incident}"));
        assert_eq!(status, 200, "{letter}");
        letter
    }

    fn get(&self, path: &str) -> (u16, Value) {
        curl(self.admin, &self.operator, &[], path)
    }

    /// Runs `wharf` with a token; what it prints, and whether all was well.
    fn wharf(&self, token: &str, arguments: &[&str]) -> (String, bool) {
        let admin = format!("http://{}", self.admin);
        let output = run(&[arguments, &["--admin", &admin, "--token", token]].concat());
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.success())
    }

    async fn metrics(&self) -> String {
        exchange(self.admin, &Head::get("/metrics")).await.text()
    }
}

/// Says something to a new session, which it does not survive; the incident.
async fn die(server: &LetterOffice, path: &str, text: &str) -> String {
    let mut peer = Peer::connect(server.address(), path).await;
    peer.send_text(text).await;
    let reason = peer.expect_closed(1011).await;
    reason.rsplit_once(' ').unwrap().1.to_owned()
}

fn mount(path: &str, tenant: &str) -> Mount {
    Mount::new(path, "hostile").set("tenant", tenant)
}

#[test]
fn a_letter_is_for_its_tenant_and_for_operators() {
    covers("dead-letters.access");
    scenario(async {
        let site = Site::new()
            .mount(mount("/a", "acme"))
            .mount(mount("/b", "bolt"));
        let server = LetterOffice::start(site);
        let (operator, acme) = (server.operator.clone(), server.acme.clone());
        let own = die(&server, "/a", "trap").await;
        let other = die(&server, "/b", "panic").await;
        let ask = |token: &str, arguments: &[&str], path: &str| {
            curl(server.admin, token, arguments, path).0
        };
        let (of_acme, of_bolt) = (
            "/v1/tenants/acme/dead-letters",
            "/v1/tenants/bolt/dead-letters",
        );
        let one = |of: &str, incident: &str| format!("{of}/{incident}");
        for (token, path, expect) in [
            ("", of_acme.to_owned(), 401),
            ("", format!("/v1/dead-letters/{own}"), 401),
            (&*acme, of_acme.to_owned(), 200),
            (&*acme, one(of_acme, &own), 200),
            (&*acme, format!("/v1/dead-letters/{own}"), 200),
            (&*acme, of_bolt.to_owned(), 403),
            (&*acme, one(of_bolt, &other), 403),
            (&*acme, format!("/v1/dead-letters/{other}"), 404),
            (&*acme, one(of_acme, &other), 404),
            (&*operator, one(of_acme, &other), 404),
            (&*operator, one(of_bolt, &other), 200),
            (&*operator, format!("/v1/dead-letters/{other}"), 200),
            (&*operator, "/v1/dead-letters/..".to_owned(), 400),
            (
                &*operator,
                "/v1/dead-letters/0123456789abcdef".to_owned(),
                404,
            ),
        ] {
            assert_eq!(ask(token, &[], &path), expect, "{path}");
        }
        let delete = ["--request", "DELETE"];
        assert_eq!(ask(&acme, &delete, of_bolt), 403);
        assert_eq!(ask(&acme, &delete, &one(of_acme, &other)), 404);
        assert_eq!(
            ask(&operator, &delete, &format!("/v1/dead-letters/{own}")),
            405
        );
        assert_eq!(server.letters("bolt").len(), 1);
        assert_eq!(ask(&acme, &delete, &one(of_acme, &own)), 200);
        assert_eq!(ask(&acme, &delete, &one(of_acme, &own)), 404);
        assert!(server.letters("acme").is_empty());
    });
}

#[test]
fn the_command_finds_a_letter_by_what_the_client_was_told() {
    covers("dead-letters.access");
    scenario(async {
        let site = Site::new()
            .mount(mount("/a", "acme"))
            .mount(mount("/b", "bolt"));
        let server = LetterOffice::start(site);
        let incident = die(&server, "/b", "panic").await;
        let operator = server.operator.clone();
        let letters = |more: &[&str]| server.wharf(&operator, &[&["dead-letters"], more].concat());

        // Whose it is need not be said, though there are two tenants.
        let (text, good) = letters(&[&incident]);
        assert!(
            good && text.contains("guest_trap") && text.contains("panic"),
            "{text}"
        );
        let (text, good) = letters(&[&incident, "--json"]);
        let letter: Value = serde_json::from_str(&text).unwrap();
        assert!(good && letter["messages"][0]["text"] == "panic", "{text}");
        assert_eq!(letter["tenant"], "bolt");

        let (text, good) = letters(&[]);
        assert!(!good && text.contains("--tenant"), "{text}");
        let (text, good) = letters(&["--tenant", "bolt"]);
        assert!(
            good && text.contains(&incident) && text.contains("on-messages"),
            "{text}"
        );
        let (text, good) = server.wharf(&server.acme, &["dead-letters", &incident]);
        assert!(!good && text.contains("no dead letter"), "{text}");

        let (text, good) = letters(&[&incident, "--delete"]);
        assert!(good && text.contains("1 deleted"), "{text}");
        let (_, good) = letters(&[&incident]);
        assert!(!good);
        die(&server, "/b", "trap").await;
        let (text, good) = letters(&["--tenant", "bolt", "--delete-all"]);
        assert!(good && text.contains("1 deleted"), "{text}");
    });
}

#[test]
fn the_oldest_make_room_and_payloads_are_cut() {
    covers("dead-letters.bounds");
    scenario(async {
        let site = Site::new()
            .section("dead_letters", "route_letters_max", 3)
            .section("dead_letters", "payload_bytes_max", 9)
            .mount(mount("/a", "acme"))
            .mount(mount("/silent", "acme").set("dead_letters", false));
        let server = LetterOffice::start(site);
        let mut incidents = Vec::new();
        for _ in 0..5 {
            incidents.push(die(&server, "/a", "list-binary").await);
        }
        die(&server, "/silent", "trap").await;
        let letters = server.letters("acme");
        let kept: Vec<_> = letters.iter().map(|letter| &letter["incident"]).collect();
        let expect: Vec<_> = incidents
            .iter()
            .rev()
            .take(3)
            .map(|one| json!(one))
            .collect();
        assert_eq!(kept, expect.iter().collect::<Vec<_>>());
        let letter = server.letter(&incidents[4]);
        let message = &letter["messages"][0];
        assert_eq!(message["text"], "list-bina");
        assert_eq!(
            (&message["bytes"], &message["is_cut"]),
            (&json!(11), &json!(true))
        );

        // A page at a time.
        let page = |after: &str| {
            let path = format!("/v1/tenants/acme/dead-letters?limit=2{after}");
            server.get(&path).1
        };
        let first = page("");
        assert_eq!(first["dead_letters"].as_array().unwrap().len(), 2);
        let second = page(&format!("&after={}", first["next"].as_str().unwrap()));
        assert_eq!(second["dead_letters"][0]["incident"], incidents[2]);
        assert_eq!(second["next"], Value::Null);

        let metrics = server.metrics().await;
        for line in [
            "wharf_dead_letters{tenant=\"acme\",route=\"/a\"} 3",
            "wharf_dead_letters_written_total{tenant=\"acme\",route=\"/a\"} 5",
            "wharf_dead_letters_dropped_total{tenant=\"acme\",route=\"/a\"} 2",
        ] {
            assert!(
                metrics.lines().any(|found| found == line),
                "{line}\n{metrics}"
            );
        }
        assert!(!metrics.contains("wharf_dead_letters{tenant=\"acme\",route=\"/silent\"}"));
        let log = server.server.log();
        assert!(
            log.contains(&incidents[0]) && !log.contains("list-bina"),
            "{log}"
        );
    });
}
