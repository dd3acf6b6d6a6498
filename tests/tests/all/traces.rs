//! Traces, as a collector gets them: which spans there are, what is above what, and that nobody
//! waits for a collector that does not listen.

use std::time::Duration;

use serde_json::json;
use wharf_tests::collector::{Collector, Span};
use wharf_tests::deadline::scenario;
use wharf_tests::feed::Feed;
use wharf_tests::http::Head;
use wharf_tests::peer::{Peer, exchange};
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;
use wharf_tests::upstream::Upstream;

use crate::client::{asked, inside};
use crate::promises::covers;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

/// A server that traces everything, and exports at once.
fn traced(collector: &Collector) -> Site {
    Site::new()
        .section("traces", "endpoint", collector.endpoint())
        .section("traces", "sample_one_in", 1)
        .section("traces", "export_every", "5ms")
}

/// A client that says where it stands in a trace.
fn traceparent(target: &str, flags: &str) -> Head {
    let value = format!("00-{TRACE}-{CLIENT}-{flags}");
    Head::upgrade(target).header("traceparent", &value)
}

async fn open(server: &wharf_tests::server::Local, head: &Head) -> Peer {
    Peer::open(Stream::tcp(server.address).await, head).await
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {name}: {spans:?}"));
    assert!(found.next().is_none(), "{name} twice: {spans:?}");
    first
}

fn is_below(child: &Span, parent: &Span) {
    assert_eq!(child.trace, parent.trace, "{child:?} {parent:?}");
    assert_eq!(
        child.parent.as_ref(),
        Some(&parent.id),
        "{child:?} {parent:?}"
    );
    assert!(child.times.0 >= parent.times.0, "{child:?} {parent:?}");
    assert!(child.times.0 <= child.times.1);
}

/// What the handshake of the first test says of itself.
fn says(handshake: &Span) {
    for (key, value) in [
        ("http.request.method", json!("GET")),
        ("http.route", json!("/x/{key}")),
        ("url.path", json!("/x/1")),
        ("url.scheme", json!("http")),
        ("http.response.status_code", json!(101)),
        ("wharf.tenant", json!("acme")),
    ] {
        assert_eq!(handshake.attributes[key], value, "{key}");
    }
}

#[test]
fn a_session_is_one_trace_from_its_client_to_its_upstream() {
    covers("traces.spans");
    covers("traces.traceparent");
    scenario(async {
        let (collector, upstream) = (
            Collector::start("200 OK").await,
            Upstream::start(None).await,
        );
        let host = upstream.address.to_string();
        let envoy = Mount::new("/x/{key}", "envoy").grant("logging", true);
        let envoy = envoy.config("greeting", "hello").set("tenant", "acme");
        let envoy = envoy
            .grant("http", [host.as_str()])
            .grant("private_addresses", true);
        let site = traced(&collector).section("traces", "accept_traceparent", true);
        let server = start(&site.mount(envoy)).await;
        let mut peer = open(&server, &traceparent("/x/1?secret=1", "01")).await;
        peer.send_text(format!("fetch GET http://{host}/said"))
            .await;
        let said = peer.text().await.to_ascii_lowercase();
        peer.leave(4321).await;
        let all = [
            "GET /x/{key}",
            "session",
            "on-open",
            "on-messages",
            "GET",
            "on-close",
        ];
        let spans = collector.spans_named(&all).await;

        let handshake = named(&spans, "GET /x/{key}");
        assert_eq!((handshake.trace.as_str(), handshake.kind), (TRACE, 2));
        assert_eq!(handshake.parent.as_deref(), Some(CLIENT));
        says(handshake);
        let session = named(&spans, "session");
        is_below(session, handshake);
        assert_eq!(session.attributes["wharf.close.code"], 4321);
        assert_eq!(session.attributes["wharf.close.initiator"], "peer");
        for call in ["on-open", "on-messages", "on-close"] {
            is_below(named(&spans, call), session);
        }
        let call = named(&spans, "on-messages");
        assert_eq!(call.attributes["messaging.batch.message_count"], 1);
        let request = named(&spans, "GET");
        is_below(request, call);
        assert_eq!(request.kind, 3);
        assert_eq!(request.attributes["http.response.status_code"], 200);
        assert_eq!(request.attributes["server.port"], upstream.address.port());
        let told = format!("traceparent: 00-{TRACE}-{}-01", request.id);
        assert!(said.contains(&told), "{told} in {said}");
        assert!(spans.iter().all(|span| span.error.is_none()), "{spans:?}");
        // What a query says is nobody's business.
        assert!(!format!("{spans:?}").contains("secret"));
        let export = &collector.exports()[0];
        assert!(
            export.head.starts_with("POST /v1/traces HTTP/1.1\r\n"),
            "{}",
            export.head
        );
    });
}

#[test]
fn what_fails_is_an_error_in_its_trace() {
    covers("traces.spans");
    scenario(async {
        let collector = Collector::start("200 OK").await;
        let site = traced(&collector)
            .mount(Mount::new("/gate", "gate"))
            .mount(Mount::new("/x", "hostile"));
        let server = start(&site).await;
        let mut peer = open(&server, &Head::upgrade("/x")).await;
        peer.send_text("trap").await;
        peer.expect_closed(1011).await;
        let spans = collector.spans_named(&["on-messages", "session"]).await;
        let (call, session) = (named(&spans, "on-messages"), named(&spans, "session"));
        is_below(call, session);
        assert_eq!(call.attributes["error.type"], "guest_trap");
        assert!(call.error.as_ref().unwrap().contains("trapped"), "{call:?}");
        assert!(session.error.is_some());
        assert_eq!(named(&spans, "GET /x").parent, None);

        let refused = exchange(server.address, &Head::upgrade("/gate?status=403")).await;
        assert_eq!(refused.status, 403);
        let spans = collector.spans_named(&["GET /gate", "on-connect"]).await;
        let handshake = named(&spans, "GET /gate");
        is_below(named(&spans, "on-connect"), handshake);
        assert_eq!(handshake.attributes["http.response.status_code"], 403);
    });
}

#[test]
fn a_batch_of_several_sessions_is_below_one_and_points_to_the_others() {
    covers("traces.spans");
    scenario(async {
        let collector = Collector::start("200 OK").await;
        let patient = Mount::new("/x", "hostile").shared();
        let patient = patient
            .guest("cpu_per_call", "30s")
            .guest("wall_per_call", "30s");
        let server = start(&traced(&collector).mount(patient)).await;
        let mut peers = Vec::new();
        for _ in 0..3 {
            peers.push(open(&server, &Head::upgrade("/x")).await);
        }
        // While one holds the instance, the others' messages come together.
        peers[0].send_text("settings").await;
        for peer in &mut peers[1..] {
            peer.send_text("one").await;
            peer.send_text("two").await;
        }
        for peer in &mut peers {
            for _ in 0..5 {
                peer.text().await;
            }
        }
        drop(peers);
        let spans = collector.spans_named(&["on-messages", "on-close"]).await;
        let links: usize = spans.iter().map(|span| span.links.len()).sum();
        let count = |span: &Span| span.attributes["messaging.batch.message_count"].as_i64();
        let calls = spans.iter().filter(|span| span.name == "on-messages");
        assert_eq!(calls.filter_map(count).sum::<i64>(), 5);
        assert!(links > 0, "{spans:?}");
    });
}

#[test]
fn a_new_version_is_traced_too() {
    covers("traces.spans");
    scenario(async {
        let collector = Collector::start("200 OK").await;
        let heir = |version: &str| {
            let mount = Mount::new("/h", "heir").shared();
            mount.config("version", version)
        };
        let server = start(&traced(&collector).mount(heir("1"))).await;
        let mut peer = open(&server, &Head::upgrade("/h")).await;
        peer.send_text("x").await;
        peer.expect_text("1 1 1 x").await;
        let site = traced(&collector).mount(heir("2"));
        server.reload(&site).await.unwrap();
        peer.send_text("y").await;
        peer.expect_text("2 2 2 y").await;
        let spans = collector.spans_named(&["publish", "swap"]).await;
        let swap = named(&spans, "swap");
        assert_eq!(swap.attributes["wharf.sessions"], 1);
        let generation = |key: &str| swap.attributes[key].as_i64().unwrap();
        assert!(generation("wharf.generation.to") > generation("wharf.generation.from"));
        assert_eq!(
            named(&spans, "publish").attributes["wharf.routes.changed"],
            1
        );
    });
}

#[test]
fn a_conversation_is_a_span_and_what_it_asks_is_below_it() {
    covers("traces.spans");
    scenario(async {
        let (collector, upstream) = (
            Collector::start("200 OK").await,
            Upstream::start(None).await,
        );
        let host = upstream.address.to_string();
        let scribe = |path: &str| {
            let mount = Mount::new(path, "scribe").grant("keyvalue", ["default"]);
            let mount = mount.grant("topics", true).grant("http", [host.as_str()]);
            mount.grant("private_addresses", true)
        };
        let site = traced(&collector)
            .section("storage", "path", "memory")
            .mount(scribe("/own"))
            .mount(scribe("/shared").shared())
            .mount(Mount::new("/hostile", "hostile-talker"));
        let server = start(&site).await;
        let fetch = format!("fetch http://{host}/hello");
        for path in ["/own", "/shared"] {
            let mut peer = open(&server, &Head::upgrade(path)).await;
            peer.send_text(&fetch).await;
            peer.expect_text("200 hello").await;
            peer.leave(1000).await;
        }
        let two = ["session", "session", "converse", "converse", "GET"];
        let spans = collector.spans_named(&two).await;
        // Of an instance that many share nobody can say who asks.
        let request = named(&spans, "GET");
        let of_trace = |name: &str| {
            let mut found = spans.iter().filter(|span| span.trace == request.trace);
            found.find(|span| span.name == name).unwrap()
        };
        is_below(request, of_trace("converse"));
        is_below(of_trace("converse"), of_trace("session"));
        assert_eq!(of_trace("session").attributes["http.route"], "/own");
        assert!(spans.iter().all(|span| span.error.is_none()), "{spans:?}");

        let mut peer = open(&server, &Head::upgrade("/hostile")).await;
        peer.send_text("trap").await;
        peer.expect_closed(1011).await;
        let three = [["session"; 3], ["converse"; 3]].concat();
        let spans = collector.spans_named(&three).await;
        let failed = |name: &str| {
            let mut found = spans.iter().filter(|span| span.error.is_some());
            found.find(|span| span.name == name).unwrap()
        };
        is_below(failed("converse"), failed("session"));
        assert_eq!(failed("converse").attributes["error.type"], "guest_trap");
    });
}

#[test]
fn a_websocket_that_a_handler_opens_is_in_its_trace() {
    covers("traces.spans");
    scenario(async {
        let collector = Collector::start("200 OK").await;
        let mut feed = Feed::start(None).await;
        let site = traced(&collector).mount(inside("/", feed.address));
        let server = start(&site).await;
        let mut peer = open(&server, &Head::upgrade("/")).await;
        let url = format!("ws://{}", feed.address);
        assert_eq!(asked(&mut peer, &format!("open {url}/echo")).await, "open ");
        let head = feed.head().await.to_lowercase();
        assert_eq!(asked(&mut peer, "say hello").await, "got hello");
        let ended = asked(&mut peer, "close 3000 enough").await;
        assert!(ended.starts_with("ended 3000"), "{ended}");
        let refused = asked(&mut peer, &format!("open {url}/status/418")).await;
        assert!(refused.starts_with("error"), "{refused}");
        peer.leave(1000).await;
        let all = ["GET /", "session", "session", "GET", "GET"];
        let spans = collector.spans_named(&all).await;

        let handshake = named(&spans, "GET /");
        let of_client = |span: &&Span| span.parent.as_ref() == Some(&handshake.id);
        let client = spans.iter().find(of_client).unwrap();
        let answered = |status: u16| {
            let mut asked = spans.iter().filter(|span| span.name == "GET");
            let is_so = |span: &&Span| span.attributes["http.response.status_code"] == status;
            asked.find(is_so).unwrap()
        };
        let opened = answered(101);
        assert_eq!((opened.kind, opened.error.as_ref()), (3, None));
        let told = format!("traceparent: 00-{}-{}-01", opened.trace, opened.id);
        assert!(head.contains(&told), "{told} in {head}");
        let asks = spans
            .iter()
            .find(|span| Some(&span.id) == opened.parent.as_ref());
        is_below(opened, asks.unwrap());
        is_below(asks.unwrap(), client);
        // What was opened is a session like any other.
        let mut sessions = spans.iter().filter(|span| span.name == "session");
        let of_feed = sessions
            .find(|span| span.parent.as_ref() == Some(&opened.id))
            .unwrap();
        is_below(of_feed, opened);
        assert_eq!(of_feed.attributes["wharf.close.code"], 3000);
        assert!(answered(418).error.is_some());
    });
}

#[test]
fn clients_decide_only_where_they_may() {
    covers("traces.traceparent");
    scenario(async {
        let collector = Collector::start("200 OK").await;
        // One in a billion: nothing but what clients ask for.
        let seldom = |accept: bool| {
            let site = traced(&collector).section("traces", "sample_one_in", 1_000_000_000);
            let site = site.section("traces", "accept_traceparent", accept);
            site.mount(Mount::new("/echo", "echo"))
        };
        let deaf = start(&seldom(false)).await;
        let mut peer = open(&deaf, &traceparent("/echo", "01")).await;
        peer.expect_echo("x").await;
        peer.leave(1000).await;
        let server = start(&seldom(true)).await;
        for head in [
            traceparent("/echo", "00"),
            Head::upgrade("/echo"),
            traceparent("/echo", "01"),
        ] {
            let mut peer = open(&server, &head).await;
            peer.expect_echo("x").await;
            peer.leave(1000).await;
        }
        let spans = collector.spans_named(&["session", "on-close"]).await;
        assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:?}");
        assert_eq!(
            named(&spans, "session").attributes["wharf.close.code"],
            1000
        );
    });
}

#[test]
fn nobody_waits_for_a_collector() {
    covers("traces.bounds");
    scenario(async {
        // Nothing listens on port 1; one that answers 500 has refused for good.
        let refusing = Collector::start("500 Internal Server Error").await;
        for endpoint in ["http://127.0.0.1:1".to_owned(), refusing.endpoint()] {
            let site = Site::new()
                .section("admin", "listen", "127.0.0.1:0")
                .section("traces", "endpoint", endpoint.as_str())
                .section("traces", "sample_one_in", 1)
                .section("traces", "queue_spans_max", 16)
                .section("traces", "session_spans_max", 100)
                .section("traces", "export_every", "1ms")
                .mount(Mount::new("/echo", "echo"));
            let mut server = Child::start(&site);
            let mut peer = Peer::connect(server.address, "/echo").await;
            for _ in 0..300 {
                peer.expect_echo("x").await;
            }
            peer.leave(1000).await;
            let metrics = exchange(server.admin(), &Head::get("/metrics"))
                .await
                .text();
            let count = |outcome: &str| -> u64 {
                let name = format!("wharf_spans_total{{outcome=\"{outcome}\"}} ");
                let mut lines = metrics.lines();
                let value = lines.find_map(|line| line.strip_prefix(&name));
                value.unwrap().parse().unwrap()
            };
            assert!(
                count("dropped") >= 200,
                "beyond the session's share\n{metrics}"
            );
            assert_eq!(count("exported"), 0);
            server.signal("TERM");
            assert!(server.exit_within(Duration::from_secs(10)).await.success());
            assert!(!server.log().contains("panicked"), "{}", server.log());
        }
    });
}
