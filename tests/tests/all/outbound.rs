//! HTTP requests of handlers, through real clients to a real upstream; and what hostile handlers and
//! hostile upstreams make of them.

use std::sync::atomic::Ordering;

use wharf_tests::deadline::{alone, scenario};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::tls::{Authority, NAME};
use wharf_tests::upstream::Upstream;

use crate::promises::covers;
use crate::village::{MIB, Village};

/// The guest `envoy`, granted these hosts.
fn envoy<const N: usize>(path: &str, hosts: [&str; N]) -> Mount {
    let mount = Mount::new(path, "envoy").grant("logging", true);
    mount.config("greeting", "hello").grant("http", hosts)
}

/// As [`envoy`], for an upstream of this machine.
fn inside(path: &str, upstream: &Upstream) -> Mount {
    let host = upstream.address.to_string();
    envoy(path, [host.as_str()]).grant("private_addresses", true)
}

/// Times that are short enough for a test.
fn quick() -> Site {
    Site::new()
        .section("outbound", "connect_timeout", "1s")
        .section("outbound", "first_byte_timeout", "500ms")
        .section("outbound", "total_timeout", "1s")
        .section("outbound", "request_bytes_max", "64KiB")
        .section("outbound", "response_bytes_max", "256KiB")
}

/// Sends a command and gives the answer.
async fn asked(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

#[test]
fn a_handler_asks_and_is_answered() {
    covers("http.outgoing");
    scenario(async {
        let upstream = Upstream::start(None).await;
        let host = upstream.address;
        let server = start(&quick().mount(inside("/", &upstream))).await;
        let mut peer = Peer::connect(server.address, "/").await;
        for (command, answer) in [
            (format!("fetch GET http://{host}/hello"), "200 5 hello"),
            (format!("fetch GET http://{host}"), "404 12 nothing here"),
            (format!("fetch GET http://{host}/redirect"), "302 0 "),
            (format!("header location http://{host}/redirect"), "/hello"),
            (format!("header X-Mood http://{host}/hello"), "good"),
        ] {
            assert_eq!(asked(&mut peer, &command).await, answer, "{command}");
        }
        let said = asked(&mut peer, &format!("fetch POST http://{host}/said coffee")).await;
        for part in [
            "200 ",
            "POST /said HTTP/1.1\r\n",
            &format!("host: {host}\r\n"),
            "content-length: 6\r\n",
            "\r\n\r\ncoffee",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
    });
}

#[test]
fn trailers_are_sent_and_read() {
    covers("http.outgoing");
    scenario(async {
        let upstream = Upstream::start(None).await;
        let host = upstream.address;
        let server = start(&quick().mount(inside("/", &upstream))).await;
        let mut peer = Peer::connect(server.address, "/").await;
        for (command, answer) in [
            (format!("trailer x-sum http://{host}/trailed"), "532"),
            (format!("trailer x-last http://{host}/trailed"), "yes"),
            (format!("trailer x-other http://{host}/trailed"), "none"),
            (format!("trailer x-mood http://{host}/hello"), "none"),
            (format!("fetch GET http://{host}/trailed"), "200 5 hello"),
        ] {
            assert_eq!(asked(&mut peer, &command).await, answer, "{command}");
        }
        let command = format!("trail x-sum 12 http://{host}/said coffee");
        let said = asked(&mut peer, &command).await;
        for part in [
            "trailer: x-sum\r\n",
            "transfer-encoding: chunked\r\n",
            "6\r\ncoffee\r\n0\r\nx-sum: 12\r\n\r\n",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
        for name in ["content-type", "authorization", "set-cookie"] {
            let answer = asked(&mut peer, &format!("trail {name} x http://{host}/said")).await;
            assert!(answer.contains("HttpProtocolError"), "{name}: {answer}");
        }
        let answer = asked(&mut peer, &format!("trail host x http://{host}/said")).await;
        assert!(answer.contains("a header that cannot be sent"), "{answer}");
    });
}

#[test]
fn the_example_shows_a_web_site() {
    covers("http.outgoing");
    scenario(async {
        let upstream = Upstream::start(None).await;
        let folder = Folder::new();
        folder.write("token", "s3cr3t-token\n");
        let host = upstream.address.to_string();
        let mount = Mount::new("/", "proxy")
            .grant("http", [host.as_str()])
            .grant("websocket", ["localhost:1"])
            .grant("private_addresses", true)
            .grant("logging", true)
            .config("upstream", format!("http://{host}"))
            .secret_file("token", "token");
        let server = Child::start_in(folder, &Site::new().mount(mount));
        let mut peer = Peer::connect(server.address, "/").await;
        assert_eq!(asked(&mut peer, "get /hello").await, "200\n\nhello");
        let said = asked(&mut peer, "get /said").await;
        assert!(
            said.contains("authorization: Bearer s3cr3t-token"),
            "{said}"
        );
        let right = asked(&mut peer, "hello").await;
        assert!(right.starts_with("say get"), "{right}");
        assert!(!server.log().contains("s3cr3t-token"));
    });
}

#[test]
fn nothing_but_granted_hosts_is_reached_and_nothing_private_behind_a_name() {
    covers("http.guarded");
    scenario(async {
        let upstream = Upstream::start(None).await;
        let port = upstream.address.port();
        let names = [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
            format!("[::ffff:127.0.0.1]:{port}"),
            format!("2130706433:{port}"),
            format!("0.0.0.0:{port}"),
            "169.254.169.254:80".to_owned(),
            "10.0.0.1:80".to_owned(),
        ];
        // All of them granted, and private addresses are not.
        let hosts = names.each_ref().map(String::as_str);
        let open = envoy("/open", ["localhost:1"]).grant("private_addresses", true);
        let server = start(&quick().mount(envoy("/", hosts)).mount(open)).await;
        let mut peer = Peer::connect(server.address, "/").await;
        for name in &names {
            let answer = asked(&mut peer, &format!("fetch GET http://{name}/hello")).await;
            assert!(answer.contains("IpProhibited"), "{name}: {answer}");
        }
        let mut peer = Peer::connect(server.address, "/open").await;
        for (url, expect) in [
            (format!("http://127.0.0.1:{port}/hello"), "RequestDenied"),
            (format!("http://localhost:{port}/hello"), "RequestDenied"),
            (format!("https://localhost:{port}/hello"), "RequestDenied"),
            (
                format!("http://localhost:1@127.0.0.1:{port}/"),
                "no address",
            ),
            ("ftp://localhost:1/".to_owned(), "no address"),
        ] {
            let answer = asked(&mut peer, &format!("fetch GET {url}")).await;
            assert!(answer.contains(expect), "{url}: {answer}");
        }
        let answer = asked(&mut peer, "fetch CONNECT http://localhost:1/").await;
        assert!(answer.contains("a method"), "{answer}");
        assert_eq!(upstream.accepted.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_host_has_to_show_a_certificate_to_trust() {
    covers("http.guarded");
    scenario(async {
        let authority = Authority::new();
        let upstream = Upstream::start(Some(authority.acceptor("localhost"))).await;
        let other = Upstream::start(Some(authority.acceptor(NAME))).await;
        let folder = Folder::new();
        let roots = folder.write("roots.pem", authority.certificate());
        let ports = [&upstream, &other].map(|upstream| upstream.address.port());
        let hosts = ports.map(|port| format!("localhost:{port}"));
        let mount = |path: &str| {
            envoy(path, hosts.each_ref().map(String::as_str)).grant("private_addresses", true)
        };
        let trusting = quick().section("outbound", "roots", roots.display().to_string());
        let trusting = start(&trusting.mount(mount("/"))).await;
        let strange = start(&quick().mount(mount("/"))).await;
        for (server, host, expect) in [
            (&trusting, &hosts[0], "200 5 hello"),
            (&trusting, &hosts[1], "TlsCertificateError"),
            (&strange, &hosts[0], "TlsCertificateError"),
        ] {
            let mut peer = Peer::connect(server.address, "/").await;
            let answer = asked(&mut peer, &format!("fetch GET https://{host}/hello")).await;
            assert!(answer.contains(expect), "{host}: {answer}");
        }
    });
}

#[test]
fn http_is_refused_by_name_where_it_was_not_granted() {
    covers("http.guarded");
    let folder = Folder::new();
    let mount = Mount::new("/", "envoy").grant("logging", true);
    let site = Site::new().mount(mount.config("greeting", "hello"));
    let config = folder.write("wharf.toml", site.toml());
    let output = wharf_tests::server::run(&["serve", "--config", &config.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for name in [
        "wasi:http/types",
        "wasi:http/outgoing-handler",
        "[route.grants] http",
    ] {
        assert!(said.contains(name), "{name} is not in {said}");
    }
}

#[test]
fn hostile_upstreams_and_hostile_handlers_meet_their_limits() {
    covers("http.limits");
    alone(async {
        let upstream = Upstream::start(None).await;
        let host = upstream.address;
        let site = quick().section("outbound", "tenant_connections_max", 16);
        let calm = inside("/calm", &upstream).set("tenant", "calm");
        let loud = inside("/loud", &upstream).set("tenant", "loud");
        let mut village = Village::on(site, [loud, calm]).await;
        let mut results = Vec::new();
        for (path, expect) in [
            ("never", "ConnectionReadTimeout"),
            ("stuck", "HttpResponseTimeout"),
            ("cut", "ConnectionTerminated"),
            ("endless", "HttpResponseBodySize(Some(262144))"),
            ("noise", "HttpProtocolError"),
            ("head", "HttpResponseHeaderSectionSize(Some(16384))"),
            ("tail", "ConnectionTerminated"),
        ] {
            let mut peer = village.enter("/loud").await;
            let peak = village.peak_of(async {
                let answer = asked(&mut peer, &format!("fetch GET http://{host}/{path}")).await;
                assert!(answer.contains(expect), "{path}: {answer}");
            });
            let peak = peak.await;
            assert!(peak <= 2 * MIB, "{path}: {peak}");
            results.push(format!("{path}: + {}", bytes(peak)));
        }
        // One who wants to wait less than the server lets it.
        let mut peer = village.enter("/loud").await;
        let answer = asked(&mut peer, &format!("hasty 100 http://{host}/stuck")).await;
        assert!(answer.contains("ConnectionReadTimeout"), "{answer}");
        let answer = asked(&mut peer, &format!("hasty 100 http://{host}/hello")).await;
        assert_eq!(answer, "200 5 hello");
        let mut peer = village.enter("/loud").await;
        let answer = asked(&mut peer, &format!("body 65537 http://{host}/said")).await;
        assert!(
            answer.contains("HttpRequestBodySize(Some(65536))"),
            "{answer}"
        );
        let answer = asked(&mut peer, &format!("body 65536 http://{host}/said")).await;
        assert!(answer.starts_with("200 "), "{answer}");
        // One tenant's flood leaves another its connections.
        let answer = asked(&mut peer, &format!("flood {host} 1000")).await;
        assert!(
            answer.starts_with("16 begun, then") && answer.contains("LimitReached"),
            "{answer}"
        );
        let mut calm = village.enter("/calm").await;
        let answer = asked(&mut calm, &format!("fetch GET http://{host}/hello")).await;
        assert_eq!(answer, "200 5 hello");
        figure(
            "http.limits",
            format!("{}; flood of 1,000: 16 connections", results.join("; ")),
        );
        village.assert_untouched().await;
    });
}
