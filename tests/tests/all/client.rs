//! WebSockets that handlers open, through real clients to real servers: what is said on them, and
//! which are refused.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};
use wharf_tests::deadline::scenario;
use wharf_tests::feed::Feed;
use wharf_tests::http::accept;
use wharf_tests::peer::Peer;
use wharf_tests::server::start;
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::tls::{Authority, NAME};

use crate::promises::covers;

/// The guest `dialer`, granted these hosts.
pub(crate) fn dialer<const N: usize>(path: &str, hosts: [&str; N]) -> Mount {
    Mount::new(path, "dialer").grant("websocket", hosts)
}

/// As [`dialer`], for a server of this machine.
pub(crate) fn inside(path: &str, server: SocketAddr) -> Mount {
    dialer(path, [server.to_string().as_str()]).grant("private_addresses", true)
}

/// Times that are short enough for a test.
pub(crate) fn quick() -> Site {
    Site::new()
        .section("outbound", "connect_timeout", "1s")
        .section("outbound", "first_byte_timeout", "500ms")
        .section("outbound", "total_timeout", "1s")
}

/// Sends a command and gives the answer.
pub(crate) async fn asked(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

/// tungstenite as a server that echoes until its client closes; on a thread of its own.
fn tungstenite() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let (_, key) = head.split_once("sec-websocket-key: ").unwrap();
            let accept = accept(&key[..24]);
            let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                          Connection: Upgrade\r\nSec-WebSocket-Accept: ";
            stream
                .write_all(format!("{answer}{accept}\r\n\r\n").as_bytes())
                .unwrap();
            let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
            while let Ok(message) = socket.read() {
                if matches!(message, Message::Text(_) | Message::Binary(_)) {
                    socket.send(message).unwrap();
                }
            }
        }
    });
    address
}

#[test]
fn a_handler_talks_to_servers_as_a_client() {
    covers("client.open");
    scenario(async {
        // Wharf itself deflates what is worth it, tungstenite checks masks and nothing more.
        let wharf = start(&Site::echo()).await;
        let servers = [
            format!("{}/", tungstenite()),
            format!("{}/echo", wharf.address),
        ];
        for url in &servers {
            let address = url.split('/').next().unwrap().parse().unwrap();
            let server = start(&quick().mount(inside("/", address))).await;
            let mut peer = Peer::connect(server.address, "/").await;
            let who = asked(&mut peer, "who").await;
            assert_eq!(who, "1 in, 0 out, request false, kept ");
            assert_eq!(asked(&mut peer, &format!("open ws://{url}")).await, "open ");
            for text in ["hello", "", "κόσμε", &"long ".repeat(20_000)] {
                assert_eq!(
                    asked(&mut peer, &format!("say {text}")).await,
                    format!("got {text}")
                );
            }
            for count in [0, 125, 126, 65_535, 65_536, 1_000_000] {
                let got = asked(&mut peer, &format!("bytes {count}")).await;
                assert_eq!(got, format!("got {count} bytes"));
            }
            let refused = asked(&mut peer, &format!("bytes {}", (1 << 20) + 1)).await;
            assert_eq!(refused, "error SessionError::TooLarge(1048576)");
            assert_eq!(asked(&mut peer, "keep this").await, "ok");
            let who = asked(&mut peer, "who").await;
            assert_eq!(who, "1 in, 1 out, request false, kept this");
            let ended = asked(&mut peer, "close 3000 enough").await;
            assert_eq!(ended, "ended 3000 enough, clean true, by handler", "{url}");
            let who = asked(&mut peer, "who").await;
            assert_eq!(who, "1 in, 0 out, request false, kept ");
        }
    });
}

#[test]
fn a_handshake_says_what_a_client_has_to_say_and_what_the_handler_adds() {
    covers("client.handshake");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let server = start(&quick().mount(inside("/", feed.address))).await;
        let mut peer = Peer::connect(server.address, "/").await;
        let url = format!("ws://{}/echo?q=1", feed.address);
        let mut keys = Vec::new();
        for command in [
            format!("open {url}"),
            format!("header Authorization Bearer-x {url}"),
        ] {
            assert_eq!(asked(&mut peer, &command).await, "open ");
            let head = feed.head().await.to_lowercase();
            assert!(head.starts_with("get /echo?q=1 http/1.1\r\n"), "{head}");
            for line in [
                &format!("host: {}", feed.address),
                "upgrade: websocket",
                "connection: upgrade",
                "sec-websocket-version: 13",
            ] {
                assert_eq!(
                    head.matches(&format!("\r\n{line}\r\n")).count(),
                    1,
                    "{head}"
                );
            }
            assert!(!head.contains("sec-websocket-protocol"), "{head}");
            let is_own = command.starts_with("header");
            assert_eq!(
                head.contains("\r\nauthorization: bearer-x\r\n"),
                is_own,
                "{head}"
            );
            let (_, key) = head.split_once("sec-websocket-key: ").unwrap();
            keys.push(key[..24].to_owned());
        }
        assert_ne!(keys[0], keys[1], "a key is used once");
        let answer = asked(
            &mut peer,
            &format!("open ws://{}/echo v3 v2 v1", feed.address),
        )
        .await;
        assert_eq!(answer, "open v1");
        let head = feed.head().await.to_lowercase();
        assert!(
            head.contains("\r\nsec-websocket-protocol: v3, v2, v1\r\n"),
            "{head}"
        );
        // What came in the packet of the handshake is not lost.
        peer.send_text(format!("open ws://{}/early", feed.address))
            .await;
        let mut both = [peer.text().await, peer.text().await];
        both.sort();
        assert_eq!(both, ["got early", "open "]);
    });
}

#[test]
fn an_answer_that_is_none_is_not_believed() {
    covers("client.handshake");
    scenario(async {
        let feed = Feed::start(None).await;
        let at = feed.address;
        let server = start(&quick().mount(inside("/", at))).await;
        let mut peer = Peer::connect(server.address, "/").await;
        for (path, expect) in [
            ("status/302", "the host answered 302"),
            ("status/401", "the host answered 401"),
            ("status/200", "the host answered 200"),
            ("never", "it took too long"),
            ("cut", "does not speak WebSocket"),
            ("noise", "does not speak WebSocket"),
            ("head", "does not speak WebSocket"),
            ("old", "does not speak WebSocket"),
            ("accept", "does not speak WebSocket"),
            ("plain", "does not speak WebSocket"),
            ("extension", "does not speak WebSocket"),
            ("subprotocol", "does not speak WebSocket"),
        ] {
            let answer = asked(&mut peer, &format!("open ws://{at}/{path}")).await;
            assert!(
                answer.starts_with("error ") && answer.contains(expect),
                "{path}: {answer}"
            );
        }
    });
}

#[test]
fn what_cannot_be_asked_is_refused() {
    covers("client.handshake");
    scenario(async {
        let feed = Feed::start(None).await;
        let at = feed.address;
        let server = start(&quick().mount(inside("/", at))).await;
        let mut peer = Peer::connect(server.address, "/").await;
        let long = "x".repeat(5_000);
        let large = "x".repeat(17_000);
        for (command, expect) in [
            (format!("open http://{at}/echo"), "no address"),
            (format!("open ws://{at}/echo#part"), "no address"),
            (format!("open ws://user@{at}/echo"), "no address"),
            (
                format!("open ws://{at}/{}", "x".repeat(9_000)),
                "no address",
            ),
            (format!("open ws://{at}/echo a,b"), "a subprotocol"),
            (format!("open ws://{at}/echo v1 v1"), "a subprotocol"),
            (format!("open ws://{at}/echo {long}"), "a subprotocol"),
            (
                format!("header Host other.example ws://{at}/echo"),
                "a header",
            ),
            (format!("header Upgrade h2c ws://{at}/echo"), "a header"),
            (
                format!("header Sec-WebSocket-Key x ws://{at}/echo"),
                "a header",
            ),
            (
                format!("header Sec-WebSocket-Extensions x ws://{at}/echo"),
                "a header",
            ),
            (
                format!("header Content-Length 5 ws://{at}/echo"),
                "a header",
            ),
            (format!("header a(b) c ws://{at}/echo"), "a header"),
            (format!("header x a\r\nb ws://{at}/echo"), "a header"),
            (format!("header x {large} ws://{at}/echo"), "a header"),
            (format!("within 50 ws://{at}/never"), "it took too long"),
        ] {
            let answer = asked(&mut peer, &command).await;
            let shown: String = command.chars().take(80).collect();
            assert!(
                answer.starts_with("error ") && answer.contains(expect),
                "{shown}: {answer}"
            );
        }
        let who = asked(&mut peer, "who").await;
        assert_eq!(who, "1 in, 0 out, request false, kept ");
    });
}

#[test]
fn a_websocket_goes_to_granted_hosts_only_and_to_nothing_private_behind_a_name() {
    covers("client.guarded");
    scenario(async {
        let feed = Feed::start(None).await;
        let port = feed.address.port();
        let names = [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
            format!("[::ffff:127.0.0.1]:{port}"),
            format!("2130706433:{port}"),
            "169.254.169.254:80".to_owned(),
        ];
        // All of them granted, and private addresses are not.
        let hosts = names.each_ref().map(String::as_str);
        let open = dialer("/open", ["localhost:1"]).grant("private_addresses", true);
        // The grant of HTTP is another one.
        let open = open.grant("http", [names[0].as_str()]);
        let server = start(&quick().mount(dialer("/", hosts)).mount(open)).await;
        let mut peer = Peer::connect(server.address, "/").await;
        for name in &names {
            let answer = asked(&mut peer, &format!("open ws://{name}/echo")).await;
            assert!(answer.contains("addresses are private"), "{name}: {answer}");
        }
        let mut peer = Peer::connect(server.address, "/open").await;
        for (url, expect) in [
            (format!("ws://127.0.0.1:{port}/"), "not granted"),
            (format!("wss://localhost:{port}/"), "not granted"),
            ("wss://localhost/".to_owned(), "not granted"),
            ("ws://localhost:1/".to_owned(), "nobody answers"),
        ] {
            let answer = asked(&mut peer, &format!("open {url}")).await;
            assert!(answer.contains(expect), "{url}: {answer}");
        }
    });
}

#[test]
fn a_secure_websocket_has_to_show_a_certificate_to_trust() {
    covers("client.guarded");
    scenario(async {
        let authority = Authority::new();
        let feed = Feed::start(Some(authority.acceptor("localhost"))).await;
        let other = Feed::start(Some(authority.acceptor(NAME))).await;
        let plain = Feed::start(None).await;
        let folder = Folder::new();
        let roots = folder.write("roots.pem", authority.certificate());
        let hosts = [&feed, &other, &plain];
        let hosts = hosts.map(|feed| format!("localhost:{}", feed.address.port()));
        let mount = || {
            let hosts = hosts.each_ref().map(String::as_str);
            dialer("/", hosts).grant("private_addresses", true)
        };
        let trusting = quick().section("outbound", "roots", roots.display().to_string());
        let trusting = start(&trusting.mount(mount())).await;
        let strange = start(&quick().mount(mount())).await;
        for (server, host, expect) in [
            (&trusting, &hosts[0], "open "),
            (&trusting, &hosts[1], "certificate is not trusted"),
            (&trusting, &hosts[2], "error"),
            (&strange, &hosts[0], "certificate is not trusted"),
        ] {
            let mut peer = Peer::connect(server.address, "/").await;
            let answer = asked(&mut peer, &format!("open wss://{host}/echo")).await;
            assert!(answer.contains(expect), "{host}: {answer}");
            if expect == "open " {
                assert_eq!(asked(&mut peer, "bytes 100000").await, "got 100000 bytes");
                let ended = asked(&mut peer, "close 1000 bye").await;
                assert_eq!(ended, "ended 1000 bye, clean true, by handler");
            }
        }
    });
}

#[test]
fn opening_websockets_is_refused_by_name_where_it_was_not_granted() {
    covers("client.guarded");
    let folder = Folder::new();
    let site = Site::new().mount(Mount::new("/", "dialer").grant("http", ["localhost:1"]));
    let config = folder.write("wharf.toml", site.toml());
    let output = wharf_tests::server::run(&["serve", "--config", &config.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for name in ["wharf:websocket/client", "[route.grants] websocket"] {
        assert!(said.contains(name), "{name} is not in {said}");
    }
    let component = wharf_tests::guests::path("dialer").display().to_string();
    let output = wharf_tests::server::run(&["check", &component]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("with the grant websocket"), "{said}");
}
