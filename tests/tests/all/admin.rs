//! The operators' listener: health, readiness and metrics, read as Prometheus and a load balancer
//! would.

use std::net::SocketAddr;
use std::time::Duration;

use wharf_tests::deadline::scenario;
use wharf_tests::frame::Frame;
use wharf_tests::http::Head;
use wharf_tests::peer::{Peer, exchange};
use wharf_tests::server::Child;
use wharf_tests::site::{Mount, Site};

use crate::promises::covers;

const ACME: [&str; 2] = ["tenant=\"acme\"", "route=\"/a\""];
const BOLT: [&str; 2] = ["tenant=\"bolt\"", "route=\"/b\""];

fn site() -> Site {
    Site::new()
        .workers(2)
        .section("admin", "listen", "127.0.0.1:0")
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let response = exchange(address, &Head::get(path)).await;
    (response.status, String::from_utf8(response.body).unwrap())
}

async fn ask(peer: &mut Peer, command: &str, answer: &str) {
    peer.send_text(command).await;
    peer.expect_text(answer).await;
}

/// The sum over all rows of a metric whose labels hold all of `labels`.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let rows = text.lines().filter(|line| {
        let is_named = line.strip_prefix(name);
        is_named.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    rows.map(|row| row.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

#[test]
fn a_server_that_drains_lives_and_is_not_ready() {
    covers("admin.health");
    scenario(async {
        let mut server = Child::start(&site().mount(Mount::new("/probe", "probe")));
        let admin = server.admin();
        assert_ne!(admin.port(), server.address.port());
        assert_eq!(get(admin, "/healthz").await, (200, "ok\n".into()));
        assert_eq!(get(admin, "/readyz").await, (200, "ready\n".into()));
        assert_eq!(get(admin, "/nothing").await.0, 401);
        assert_eq!(get(server.address, "/healthz").await.0, 404);
        let mut stays = Peer::connect(server.address, "/probe").await;
        ask(&mut stays, "echo here", "here").await;
        server.signal("TERM");
        assert_eq!(stays.expect_close(1001).await, "going away");
        assert_eq!(get(admin, "/readyz").await, (503, "draining\n".into()));
        assert_eq!(get(admin, "/healthz").await.0, 200);
        stays.send(Frame::close(1001, "")).await;
        stays.expect_eof().await;
        assert!(server.exit_within(Duration::from_secs(10)).await.success());
    });
}

#[test]
fn metrics_say_what_happened_to_whom() {
    covers("admin.metrics");
    scenario(async {
        let site = site()
            .mount(Mount::new("/a", "probe").set("tenant", "acme").shared())
            .mount(
                Mount::new("/b", "probe")
                    .set("tenant", "bolt")
                    .set("idle", "20ms"),
            );
        let server = Child::start(&site);
        let admin = server.admin();
        let mut leaving = Peer::connect(server.address, "/a").await;
        let mut staying = Peer::connect(server.address, "/a").await;
        for _ in 0..10 {
            ask(&mut staying, "echo 12345", "12345").await;
        }
        leaving.send(Frame::close(4321, "")).await;
        leaving.expect_close(4321).await;
        let mut trapped = Peer::connect(server.address, "/b").await;
        trapped.send_text("trap").await;
        trapped.expect_closed(1011).await;
        let mut sleeper = Peer::connect(server.address, "/b").await;
        let foreign = Head::upgrade("/a").header("Origin", "https://evil.test");
        assert_eq!(exchange(server.address, &foreign).await.status, 403);
        assert_eq!(
            exchange(server.address, &Head::upgrade("/none"))
                .await
                .status,
            404
        );

        let asleep = || async {
            let (status, text) = get(admin, "/metrics").await;
            assert_eq!(status, 200);
            let sleeping = value(&text, "wharf_instances_asleep", &BOLT);
            (sleeping == 1.0).then_some(()).ok_or(text)
        };
        while asleep().await.is_err() {}
        ask(&mut sleeper, "echo awake", "awake").await;

        check(&get(admin, "/metrics").await.1);
        server.assert_healthy();
    });
}

/// What the clients above did, as the metrics have it.
fn check(text: &str) {
    let expect = |name: &str, labels: &[&str], expected: f64| {
        assert_eq!(
            value(text, name, labels),
            expected,
            "{name} {labels:?}\n{text}"
        );
    };
    let with = |tenant: [&'static str; 2], more: &[&'static str]| [&tenant, more].concat();
    expect("wharf_sessions_open", &ACME, 1.0);
    expect("wharf_sessions_total", &ACME, 2.0);
    expect(
        "wharf_handshakes_total",
        &with(ACME, &["outcome=\"accepted\""]),
        2.0,
    );
    expect(
        "wharf_handshakes_total",
        &with(ACME, &["outcome=\"foreign_origin\""]),
        1.0,
    );
    expect(
        "wharf_endings_total",
        &with(ACME, &["code=\"4xxx\"", "initiator=\"peer\""]),
        1.0,
    );
    expect(
        "wharf_endings_total",
        &with(BOLT, &["code=\"1011\"", "initiator=\"host\""]),
        1.0,
    );
    expect(
        "wharf_faults_total",
        &with(BOLT, &["kind=\"guest_trap\""]),
        1.0,
    );
    expect("wharf_messages_in_total", &ACME, 10.0);
    expect("wharf_bytes_in_total", &ACME, 100.0);
    expect("wharf_messages_out_total", &ACME, 10.0);
    expect("wharf_bytes_out_total", &ACME, 50.0);
    expect(
        "wharf_batch_messages_bucket",
        &with(ACME, &["le=\"1.0\""]),
        10.0,
    );
    expect("wharf_batch_messages_sum", &ACME, 10.0);
    expect("wharf_inbox_messages", &ACME, 0.0);
    expect("wharf_wakings_total", &BOLT, 1.0);
    expect("wharf_http_refused_total", &["status=\"404\""], 1.0);
    expect("wharf_workers_silent", &[], 0.0);
    assert!(value(text, "process_resident_memory_bytes", &[]) > 1e6);
    assert!(text.ends_with("# EOF\n"));
}
