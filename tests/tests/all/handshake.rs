//! The opening handshake, one rule after the other, over a plain TCP connection.

use std::time::{Duration, Instant};

use wharf_tests::deadline::scenario;
use wharf_tests::http::{Head, KEY};
use wharf_tests::peer::{HttpPeer, Peer, exchange};
use wharf_tests::server::start;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;

/// Asserts that the bytes are answered with the status and that the server then closes.
pub(crate) async fn refused(address: std::net::SocketAddr, name: &str, bytes: &[u8], status: u16) {
    let mut http = HttpPeer::connect(address).await;
    http.send_or_fail(bytes).await;
    let response = http
        .response()
        .await
        .unwrap_or_else(|| panic!("{name}: closed without an answer"));
    assert_eq!(response.status, status, "{name}: {response:?}");
    http.expect_end().await;
}

/// Asserts that a head is let in and that the session works.
async fn let_in(address: std::net::SocketAddr, name: &str, head: &Head) {
    match Peer::try_open(Stream::tcp(address).await, head).await {
        Ok(mut peer) => peer.expect_echo(name).await,
        Err(response) => panic!("{name}: {response:?}"),
    }
}

#[test]
fn a_correct_handshake_is_let_in() {
    covers("handshake.get");
    covers("handshake.upgrade");
    covers("handshake.connection");
    scenario(async {
        let server = start(&Site::echo()).await;
        let upgrade = Head::upgrade("/echo");
        for (name, head) in [
            ("plain", upgrade.clone()),
            (
                "case",
                upgrade
                    .clone()
                    .with("Upgrade", "WebSocket")
                    .with("Connection", "UPGRADE"),
            ),
            (
                "list",
                upgrade.clone().with("Connection", "keep-alive, Upgrade"),
            ),
            (
                "two lines",
                upgrade
                    .clone()
                    .with("Connection", "keep-alive")
                    .header("Connection", "upgrade"),
            ),
            (
                "query",
                upgrade.clone().request_line("GET /echo?a=1&b HTTP/1.1"),
            ),
            (
                "absolute form",
                upgrade
                    .clone()
                    .request_line("GET http://wharf.test/echo HTTP/1.1"),
            ),
            (
                "unknown headers",
                upgrade
                    .clone()
                    .header("X-Other", "1")
                    .header("Accept", "*/*"),
            ),
        ] {
            let_in(server.address, name, &head).await;
        }
    });
}

#[test]
fn only_get_upgrades() {
    covers("handshake.get");
    scenario(async {
        let server = start(&Site::echo()).await;
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "GOT"] {
            let head = Head::upgrade("/echo").request_line(&format!("{method} /echo HTTP/1.1"));
            refused(server.address, method, &head.bytes(), 400).await;
        }
    });
}

#[test]
fn http_is_1_1_at_least() {
    covers("handshake.http-version");
    scenario(async {
        let server = start(&Site::echo()).await;
        for version in ["HTTP/1.0", "HTTP/0.9"] {
            let head = Head::upgrade("/echo").request_line(&format!("GET /echo {version}"));
            refused(server.address, version, &head.bytes(), 400).await;
        }
    });
}

#[test]
fn there_is_one_host() {
    covers("handshake.host");
    scenario(async {
        let server = start(&Site::echo()).await;
        let upgrade = Head::upgrade("/echo");
        for (name, head) in [
            ("none", upgrade.clone().without("Host")),
            ("two", upgrade.clone().header("Host", "other.test")),
            ("two equal", upgrade.clone().header("Host", "wharf.test")),
            (
                "two in one",
                upgrade.clone().with("Host", "wharf.test, other.test"),
            ),
            ("user", upgrade.clone().with("Host", "user@wharf.test")),
            ("path", upgrade.clone().with("Host", "wharf.test/x")),
        ] {
            refused(server.address, name, &head.bytes(), 400).await;
        }
    });
}

#[test]
fn upgrade_says_websocket() {
    covers("handshake.upgrade");
    scenario(async {
        let server = start(&Site::echo()).await;
        let upgrade = Head::upgrade("/echo");
        for (name, head) in [
            ("missing", upgrade.clone().without("Upgrade")),
            ("other", upgrade.clone().with("Upgrade", "h2c")),
            ("longer", upgrade.clone().with("Upgrade", "websockets")),
            ("empty", upgrade.clone().with("Upgrade", "")),
        ] {
            refused(server.address, name, &head.bytes(), 400).await;
        }
    });
}

#[test]
fn connection_says_upgrade() {
    covers("handshake.connection");
    scenario(async {
        let server = start(&Site::echo()).await;
        let upgrade = Head::upgrade("/echo");
        for (name, head) in [
            ("missing", upgrade.clone().without("Connection")),
            ("other", upgrade.clone().with("Connection", "keep-alive")),
            ("longer", upgrade.clone().with("Connection", "upgraded")),
            (
                "part",
                upgrade.clone().with("Connection", "keep-alive-upgrade"),
            ),
        ] {
            refused(server.address, name, &head.bytes(), 400).await;
        }
    });
}

#[test]
fn the_key_is_16_bytes_in_base64() {
    covers("handshake.key");
    scenario(async {
        let server = start(&Site::echo()).await;
        let upgrade = Head::upgrade("/echo");
        refused(
            server.address,
            "missing",
            &upgrade.clone().without("Sec-WebSocket-Key").bytes(),
            400,
        )
        .await;
        for (name, key) in [
            ("empty", ""),
            ("3 bytes", "Zm9v"),
            ("15 bytes", "dGhlIHNhbXBsZSBub25j"),
            ("17 bytes", "dGhlIHNhbXBsZSBub25jZWU="),
            ("no padding", "dGhlIHNhbXBsZSBub25jZQ"),
            ("other alphabet", "dGhlIHNhbXBsZSBub2-_ZQ=="),
            ("space inside", "dGhlIHNhbXBsZSBu b25jZQ=="),
            ("24 letters that are no base64", "************************"),
        ] {
            refused(
                server.address,
                name,
                &upgrade.clone().with("Sec-WebSocket-Key", key).bytes(),
                400,
            )
            .await;
        }
    });
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    covers("handshake.version");
    scenario(async {
        let server = start(&Site::echo()).await;
        for version in ["8", "7", "0", "14", "130", "thirteen", ""] {
            let head = Head::upgrade("/echo").with("Sec-WebSocket-Version", version);
            let response = exchange(server.address, &head).await;
            assert_eq!(response.status, 426, "{version:?}: {response:?}");
            assert_eq!(response.header("sec-websocket-version"), Some("13"));
        }
    });
}

/// Heads that a front end and this server could read differently.
pub(crate) fn smuggled() -> Vec<(&'static str, Vec<u8>)> {
    let upgrade = Head::upgrade("/echo");
    let head = |head: Head| head.bytes();
    vec![
        (
            "CL with TE",
            head(
                upgrade
                    .clone()
                    .header("Content-Length", "5")
                    .header("Transfer-Encoding", "chunked"),
            ),
        ),
        (
            "two CL",
            head(
                upgrade
                    .clone()
                    .header("Content-Length", "0")
                    .header("Content-Length", "5"),
            ),
        ),
        (
            "two Host",
            head(upgrade.clone().header("Host", "other.test")),
        ),
        (
            "two keys",
            head(upgrade.clone().header("Sec-WebSocket-Key", KEY)),
        ),
        (
            "space before the colon",
            head(upgrade.clone().line("X-Space : 1")),
        ),
        (
            "tab before the colon",
            head(upgrade.clone().line("X-Tab\t: 1")),
        ),
        ("NUL in a value", head(upgrade.clone().line("X-Nul: a\0b"))),
        ("NUL in a name", head(upgrade.clone().line("X-N\0l: a"))),
        ("obs-fold", head(upgrade.clone().line("X-Fold: a\r\n b"))),
        (
            "obs-fold with a tab",
            head(upgrade.clone().line("X-Fold: a\r\n\tb")),
        ),
        ("a bare CR", head(upgrade.clone().line("X-Cr: a\rb"))),
        (
            "a line without a colon",
            head(upgrade.clone().line("nonsense")),
        ),
        ("an empty name", head(upgrade.line(": 1"))),
    ]
}

#[test]
fn ambiguous_heads_get_400_and_a_close() {
    covers("handshake.smuggling");
    scenario(async {
        let server = start(&Site::echo()).await;
        for (name, bytes) in smuggled() {
            refused(server.address, name, &bytes, 400).await;
        }
    });
}

#[test]
fn the_head_is_16_kib_or_100_headers_at_most() {
    covers("handshake.head-limits");
    scenario(async {
        let server = start(&Site::echo()).await;
        let padded = |bytes: usize| {
            let spare = bytes - Head::upgrade("/echo").header("X-Pad", "").bytes().len();
            Head::upgrade("/echo").header("X-Pad", &"p".repeat(spare))
        };
        let many = |count: usize| {
            (5..count).fold(Head::upgrade("/echo"), |head, number| {
                head.header(&format!("X-{number}"), "1")
            })
        };
        assert_eq!(padded(16_384).bytes().len(), 16_384);
        let_in(server.address, "16 KiB", &padded(16_384)).await;
        refused(
            server.address,
            "16 KiB and a byte",
            &padded(16_385).bytes(),
            431,
        )
        .await;
        refused(server.address, "64 KiB", &padded(65_536).bytes(), 431).await;
        let_in(server.address, "100 headers", &many(100)).await;
        refused(server.address, "101 headers", &many(101).bytes(), 431).await;
        refused(server.address, "2,000 headers", &many(2_000).bytes(), 431).await;
    });
}

#[test]
fn the_target_is_8_kib_at_most() {
    covers("handshake.target-limit");
    scenario(async {
        let server = start(&Site::echo()).await;
        let target = |bytes: usize| format!("/echo?{}", "q".repeat(bytes - 6));
        let_in(server.address, "8 KiB", &Head::upgrade(&target(8_192))).await;
        for bytes in [8_193, 16_384, 40_000] {
            refused(
                server.address,
                &format!("{bytes}"),
                &Head::upgrade(&target(bytes)).bytes(),
                414,
            )
            .await;
        }
    });
}

#[test]
fn a_head_has_5_seconds() {
    covers("handshake.head-deadline");
    scenario(async {
        let server = start(&Site::echo()).await;
        let head = Head::upgrade("/echo").bytes();
        let start = Instant::now();
        let mut http = HttpPeer::connect(server.address).await;
        // A byte now and then does not win more time.
        let response = {
            let mut rest = head[..head.len() - 1].chunks(head.len() / 8);
            loop {
                if let Some(bytes) = rest.next() {
                    http.send_or_fail(bytes).await;
                }
                let next = http.response_within(Duration::from_secs(8));
                if let Ok(response) = tokio::time::timeout(Duration::from_millis(600), next).await {
                    break response;
                }
            }
        };
        let elapsed = start.elapsed();
        assert_eq!(response.map(|response| response.status), Some(408));
        http.expect_end().await;
        assert!(
            elapsed >= Duration::from_millis(4_900),
            "the head has its 5 s: {elapsed:?}"
        );
        assert!(
            elapsed <= Duration::from_secs(7),
            "408 at the deadline: {elapsed:?}"
        );
    });
}

#[test]
fn an_unknown_route_is_not_found() {
    covers("handshake.unknown-route");
    scenario(async {
        let server = start(&Site::echo()).await;
        for target in [
            "/", "/other", "/echo/", "/echo/x", "/ECHO", "/echo%2f", "//echo",
        ] {
            assert_eq!(
                exchange(server.address, &Head::upgrade(target))
                    .await
                    .status,
                404,
                "{target}"
            );
            assert_eq!(
                exchange(server.address, &Head::get(target)).await.status,
                404,
                "{target}"
            );
        }
    });
}

/// Origins that are not `http://wharf.test`, however much they look like it.
pub(crate) const FOREIGN: &[&str] = &[
    "http://evil.example",
    "https://evil.example",
    "null",
    "http://wharf.test.evil.example",
    "http://evilwharf.test",
    "http://evil.example/wharf.test",
    "http://wharf.test@evil.example",
    "http://evil.example@wharf.test",
    "http://wharf.test:8081",
    "http://wharf.test.",
    "http://wharf.test/",
    "http://wharf.test/path",
    "http://wharf.test?query",
    "http://wharf.test#fragment",
    "http://wharf.test%00.evil.example",
    "http://wharf.test\\.evil.example",
    "http://wharf.test evil.example",
    "http://evil.example http://wharf.test",
    "http://sub.wharf.test",
    "http://wharf.te",
    "http://xn--whrf-loa.test",
    "wharf.test",
    "//wharf.test",
    "http://",
    "file://",
    "",
    "http://[::1]",
    "http://127.0.0.1",
];

#[test]
fn a_foreign_origin_is_forbidden_by_default() {
    covers("handshake.origin");
    scenario(async {
        let server = start(&Site::echo()).await;
        let upgrade = Head::upgrade("/echo");
        let_in(server.address, "no origin", &upgrade).await;
        let_in(
            server.address,
            "same",
            &upgrade.clone().header("Origin", "http://wharf.test"),
        )
        .await;
        let with_port = upgrade.clone().with("Host", "wharf.test:8080");
        let_in(
            server.address,
            "same port",
            &with_port.clone().header("Origin", "http://wharf.test:8080"),
        )
        .await;
        let other_port = with_port.header("Origin", "http://wharf.test:8081");
        assert_eq!(exchange(server.address, &other_port).await.status, 403);
        for origin in FOREIGN {
            let response =
                exchange(server.address, &upgrade.clone().header("Origin", origin)).await;
            assert_eq!(response.status, 403, "{origin}");
        }
        let two = upgrade
            .header("Origin", "http://wharf.test")
            .header("Origin", "http://evil.example");
        assert!(matches!(
            exchange(server.address, &two).await.status,
            400 | 403
        ));
    });
}

#[test]
fn a_route_lists_its_origins() {
    covers("handshake.origin");
    scenario(async {
        let listed = Mount::new("/listed", "echo")
            .shared()
            .set("origins", ["https://a.example", "https://b.example:444"]);
        let open = Mount::new("/open", "echo").shared().set("origins", "any");
        let server = start(&Site::new().mount(listed).mount(open)).await;
        let status = async |target: &str, origin: &str| {
            exchange(
                server.address,
                &Head::upgrade(target).header("Origin", origin),
            )
            .await
            .status
        };
        for origin in ["https://a.example", "https://b.example:444"] {
            assert_eq!(status("/listed", origin).await, 101, "{origin}");
        }
        for origin in [
            "http://a.example",
            "https://b.example",
            "https://a.example.evil.example",
            "null",
            "https://c.example",
        ] {
            assert_eq!(status("/listed", origin).await, 403, "{origin}");
        }
        assert_eq!(
            exchange(server.address, &Head::upgrade("/listed"))
                .await
                .status,
            101
        );
        for origin in ["https://anything.example", "null"] {
            assert_eq!(status("/open", origin).await, 101, "{origin}");
        }
    });
}

#[test]
fn a_full_server_says_when_to_come_back() {
    covers("handshake.capacity");
    scenario(async {
        let server = start(&Site::echo().section("limits", "sessions_max", 2)).await;
        let mut first = Peer::connect(server.address, "/echo").await;
        let second = Peer::connect(server.address, "/echo").await;
        let refusal = exchange(server.address, &Head::upgrade("/echo")).await;
        assert!(matches!(refusal.status, 429 | 503), "{refusal:?}");
        let seconds: u32 = refusal.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds >= 1);
        first.expect_echo("not touched").await;
        second.leave(1000).await;
        // The place is free again as soon as the session has ended on the server's side.
        let mut attempts = 0;
        loop {
            attempts += 1;
            if exchange(server.address, &Head::upgrade("/echo"))
                .await
                .status
                == 101
            {
                break;
            }
            assert!(attempts < 200, "the place is given back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        first.expect_echo("still not touched").await;
    });
}
