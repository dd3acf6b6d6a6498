//! The server as a library and as a process: start, connections without a socket, drain, signals.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_tests::deadline::{scenario, within};
use wharf_tests::frame::{Frame, MASK};
use wharf_tests::guests;
use wharf_tests::http::Head;
use wharf_tests::observer::Ending;
use wharf_tests::peer::{HttpPeer, Peer};
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::stream::{Dial, Stream};
use wharf_tests::tls::Authority;

use crate::promises::covers;

/// Room for few instances: each reserves address space, and tests run side by side.
fn small() -> wharf::Builder {
    wharf::Server::builder().engine(|engine| engine.instances_max = 64)
}

#[test]
fn two_servers_live_in_one_process() {
    covers("server.embedded");
    scenario(async {
        let build = |path: &str| {
            let route = wharf::Route::new(path).component_file(guests::path("echo"));
            small().listen("127.0.0.1:0").workers(1).route(route)
        };
        let first = build("/first").start().await.unwrap();
        let route = wharf::Route::new("/second").component_bytes("echo", guests::bytes("echo"));
        let second = small()
            .listen("127.0.0.1:0")
            .workers(2)
            .route(route)
            .start()
            .await
            .unwrap();
        assert_ne!(first.local_addr(), second.local_addr());
        let mut over_tcp = Peer::connect(first.local_addr(), "/first").await;
        over_tcp.expect_echo("over TCP").await;
        let memory = Stream::Memory(second.connect().unwrap());
        let mut in_memory = Peer::open(memory, &Head::upgrade("/second")).await;
        in_memory.expect_echo("in memory").await;
        assert_eq!(
            (first.stats().sessions_open, second.stats().sessions_open),
            (1, 1)
        );
        within(Duration::from_secs(5), "shutdown", first.shutdown())
            .await
            .unwrap();
        over_tcp.expect_end_within(Duration::from_secs(4)).await;
        in_memory.expect_echo("not touched").await;
        // A port that is given is the one that is used, and one that is taken is an error that says so.
        let address = second.local_addr().to_string();
        let error = build("/x").listen(&address).start().await.unwrap_err();
        assert!(format!("{error:#}").contains(&address), "{error:#}");
        within(Duration::from_secs(5), "shutdown", second.shutdown())
            .await
            .unwrap();
        let again = small().listen(&address).start().await.unwrap();
        assert_eq!(again.local_addr().to_string(), address);
    });
}

#[test]
fn a_server_without_a_listener_serves_in_memory() {
    covers("server.embedded");
    scenario(async {
        let route = wharf::Route::new("/echo").component_file(guests::path("echo"));
        let server = small().workers(1).route(route).start().await.unwrap();
        let mut peers = Vec::new();
        for _ in 0..10 {
            let stream = Stream::Memory(server.connect().unwrap());
            peers.push(Peer::open(stream, &Head::upgrade("/echo")).await);
        }
        for peer in &mut peers {
            peer.expect_echo("hello").await;
            peer.expect_echo(&"large ".repeat(100_000)).await;
        }
        for peer in peers {
            peer.leave(1000).await;
        }
        let (left, _) =
            wharf_tests::deadline::eventually(Duration::from_secs(4), "sessions end", || {
                match server.stats().sessions_open {
                    0 => Ok(0),
                    open => Err(format!("{open} open")),
                }
            })
            .await;
        assert_eq!(left, 0);
    });
}

#[test]
fn a_drain_answers_what_was_read_then_closes_and_waits() {
    covers("ends.drain");
    covers("server.embedded");
    scenario(async {
        let server = start(&Site::new().workers(2).mount(Mount::new("/probe", "probe"))).await;
        let stream = Stream::dial(server.address, Dial::small_buffers()).await;
        let mut busy = Peer::open(stream, &Head::upgrade("/probe")).await;
        let mut quiet = Peer::connect(server.address, "/probe").await;
        let mut stubborn = Peer::connect(server.address, "/probe").await;
        busy.send_text(format!("repeat 200 {}", "x".repeat(1_000)))
            .await;
        assert_eq!(busy.message().await.payload.len(), 1_000);
        let drain = server.server.drain(Duration::from_secs(10));
        let start = Instant::now();
        let clients = async {
            assert_eq!(quiet.expect_close(1001).await, "going away");
            quiet.send(Frame::close(1001, "")).await;
            quiet.expect_eof().await;
            for number in 1..200 {
                assert_eq!(
                    busy.message().await.payload.len(),
                    1_000,
                    "answer {number} to what was read"
                );
            }
            busy.expect_closed(1001).await;
            stubborn.expect_close(1001).await;
            stubborn.expect_end_within(Duration::from_secs(8)).await;
            start.elapsed()
        };
        let (left, waited) = tokio::join!(drain, clients);
        assert_eq!(left, 0);
        assert!(
            waited >= Duration::from_millis(4_900),
            "the peer's close is waited for: {waited:?}"
        );
        // Nobody new gets in.
        let refused = match Dial::default().tcp(server.address).await {
            Err(_) => true,
            Ok(stream) => {
                let mut http = HttpPeer::over(Stream::Tcp(stream));
                http.send_or_fail(Head::upgrade("/probe").bytes()).await;
                http.response()
                    .await
                    .is_none_or(|response| response.status == 503)
            }
        };
        assert!(refused);
    });
}

#[test]
fn on_close_hears_of_a_drain() {
    covers("ends.drain");
    scenario(async {
        // The guest prints what on-close got: in a drain no other session is left to tell.
        let mut server = Child::start(&Site::new().mount(Mount::new("/wasi", "wasi").shared()));
        let mut peer = Peer::connect(server.address, "/wasi").await;
        peer.send_text("print hello").await;
        peer.expect_text("ok").await;
        server.signal("TERM");
        assert_eq!(peer.expect_closed(1001).await, "going away");
        drop(peer);
        assert!(server.exit_within(Duration::from_secs(5)).await.success());
        let log = server.log();
        let endings: Vec<Ending> = log.lines().filter_map(printed_ending).collect();
        assert_eq!(
            endings,
            [Ending::new(1001, "going away", true, "host")],
            "{log}"
        );
    });
}

/// The closing that a guest's log line tells of.
fn printed_ending(line: &str) -> Option<Ending> {
    let line: Value = serde_json::from_str(line).ok()?;
    let event: Value = serde_json::from_str(line["message"].as_str()?).ok()?;
    (event["event"] == "close").then(|| Ending::of(&event))
}

#[test]
fn a_second_signal_ends_at_once() {
    covers("ends.drain");
    scenario(async {
        let mut server = Child::start(&Site::echo());
        let mut stubborn = Peer::connect(server.address, "/echo").await;
        server.signal("TERM");
        stubborn.expect_close(1001).await;
        assert!(server.process().is_alive(), "the drain waits for the peer");
        let start = Instant::now();
        server.signal("TERM");
        // The peer would have had 5 s.
        server.exit_within(Duration::from_secs(4)).await;
        assert!(start.elapsed() < Duration::from_secs(4));
        stubborn.expect_end_within(Duration::from_secs(4)).await;
    });
}

/// Puts a new certificate and its key in place, as tools that renew them do: each in one step.
fn install(authority: &Authority, folder: &Folder, serial: u8) {
    let identity = authority.identity(serial.into());
    for (name, pem) in [
        ("key.pem", &identity.key),
        ("cert.pem", &identity.certificate),
    ] {
        let new = folder.write(&format!("{name}.new"), pem);
        std::fs::rename(new, folder.file(name)).unwrap();
    }
}

/// Whether the server's certificate has the serial number.
async fn serves(authority: &Authority, address: SocketAddr, serial: u8) -> bool {
    let stream = authority.connect(address).await.unwrap();
    let certificate = &stream.get_ref().1.peer_certificates().unwrap()[0];
    // DER: an INTEGER of one byte.
    certificate
        .windows(3)
        .any(|window| window == [2, 1, serial])
}

#[test]
fn tls_serves_the_same_and_takes_a_new_certificate() {
    covers("handshake.get");
    covers("session.request");
    scenario(async {
        let authority = Authority::new();
        let folder = Folder::new();
        install(&authority, &folder, 0x11);
        let site = Site::echo()
            .mount(Mount::new("/probe", "probe").shared())
            .section("tls", "certificate", "cert.pem")
            .section("tls", "key", "key.pem");
        let server = Child::start_in(folder, &site);
        let mut first = Peer::open(
            authority.stream(server.address).await,
            &Head::upgrade("/echo"),
        )
        .await;
        first.expect_echo(&"over TLS ".repeat(20_000)).await;
        let mut probe = Peer::open(
            authority.stream(server.address).await,
            &Head::upgrade("/probe"),
        )
        .await;
        probe.send_text("request").await;
        let request: Value = serde_json::from_str(&probe.text().await).unwrap();
        assert_eq!(request["scheme"], "https");
        // Behind the handshake, in the same record.
        let mut http = HttpPeer::over(authority.stream(server.address).await);
        http.send(
            [
                Head::upgrade("/echo").bytes(),
                Frame::text("early").encode(Some(MASK)),
            ]
            .concat(),
        )
        .await;
        let response = http.response().await.unwrap();
        http.upgraded(response).expect_text("early").await;

        install(&authority, &server.folder, 0x22);
        let start = Instant::now();
        while !serves(&authority, server.address, 0x22).await {
            assert!(
                start.elapsed() < Duration::from_secs(15),
                "the new certificate is served"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        first.expect_echo("old sessions go on").await;
        // No plain HTTP on a port that speaks TLS.
        let mut plain = HttpPeer::connect(server.address).await;
        plain.send_or_fail(Head::upgrade("/echo").bytes()).await;
        assert!(
            plain
                .response()
                .await
                .is_none_or(|response| response.status == 400)
        );
        server.assert_healthy();
    });
}
