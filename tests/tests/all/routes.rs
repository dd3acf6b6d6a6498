//! Which route answers, what its handler is told of the request, and plain HTTP beside it.

use serde_json::{Value, json};
use wharf_tests::deadline::scenario;
use wharf_tests::http::Head;
use wharf_tests::peer::{HttpPeer, Peer, exchange};
use wharf_tests::server::{Child, Local, start};
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;

/// The request as the handler of that session sees it.
async fn request(server: &Local, head: &Head) -> Value {
    let mut peer = Peer::open(Stream::tcp(server.address).await, head).await;
    peer.send_text("request").await;
    serde_json::from_str(&peer.text().await).unwrap()
}

#[test]
fn a_path_has_parameters_a_tail_and_a_host() {
    covers("routes.paths");
    scenario(async {
        let site = Site::new()
            .mount(Mount::new("/rooms/{room}", "probe").shared())
            .mount(Mount::new("/rooms/{room}/desks/{desk}", "probe").shared())
            .mount(Mount::new("/files/{*tail}", "probe").shared())
            .mount(Mount::new("/rooms/lobby", "echo").shared())
            .mount(
                Mount::new("/hosted", "probe")
                    .set("host", "a.example")
                    .shared(),
            )
            .mount(
                Mount::new("/hosted", "echo")
                    .set("host", "b.example")
                    .shared(),
            );
        let server = start(&site).await;
        let params =
            async |target: &str| request(&server, &Head::upgrade(target)).await["params"].clone();
        assert_eq!(params("/rooms/7").await, json!([["room", "7"]]));
        assert_eq!(
            params("/rooms/7/desks/%C3%A4").await,
            json!([["room", "7"], ["desk", "ä"]])
        );
        assert_eq!(params("/rooms/a%20b%2Fc").await, json!([["room", "a b/c"]]));
        assert_eq!(params("/files/a/b.txt").await, json!([["tail", "a/b.txt"]]));
        assert_eq!(params("/files/").await, json!([["tail", ""]]));
        // What is written out comes before a parameter.
        Peer::connect(server.address, "/rooms/lobby")
            .await
            .expect_echo("request")
            .await;
        for target in [
            "/rooms",
            "/rooms/",
            "/rooms/7/desks",
            "/rooms/7/",
            "/rooms/%ff",
            "/rooms/%00",
            "/hosted",
        ] {
            let status = exchange(server.address, &Head::upgrade(target))
                .await
                .status;
            assert!(matches!(status, 400 | 404), "{target}: {status}");
        }
        let at = |host: &str| Head::upgrade("/hosted").with("Host", host);
        for host in ["a.example", "A.EXAMPLE", "a.example:8080"] {
            assert_eq!(request(&server, &at(host)).await["authority"], host);
        }
        let mut other = Peer::open(Stream::tcp(server.address).await, &at("b.example")).await;
        other.expect_echo("request").await;
        assert_eq!(exchange(server.address, &at("c.example")).await.status, 404);
    });
}

#[test]
fn routes_on_one_path_are_told_apart_by_subprotocol() {
    covers("routes.subprotocols");
    scenario(async {
        let site = Site::new()
            .mount(
                Mount::new("/api", "probe")
                    .shared()
                    .set("subprotocols", ["v1.probe", "v2.probe"]),
            )
            .mount(
                Mount::new("/api", "echo")
                    .shared()
                    .set("subprotocols", ["v1.echo"]),
            )
            .mount(Mount::new("/open", "echo").shared())
            .mount(
                Mount::new("/open", "probe")
                    .shared()
                    .set("subprotocols", ["probe"]),
            );
        let server = start(&site).await;
        let open = async |target: &str, offers: &str| {
            let head = Head::upgrade(target).header("Sec-WebSocket-Protocol", offers);
            Peer::open(Stream::tcp(server.address).await, &head).await
        };
        for (target, offers, chosen) in [
            ("/api", "v1.probe", Some("v1.probe")),
            ("/api", "v2.probe, v1.probe", Some("v2.probe")),
            ("/api", "unknown, v1.probe", Some("v1.probe")),
            ("/api", "v1.echo, v1.probe", Some("v1.echo")),
            ("/open", "unknown", None),
            ("/open", "unknown, probe", Some("probe")),
        ] {
            let mut peer = open(target, offers).await;
            assert_eq!(
                peer.response.header("sec-websocket-protocol"),
                chosen,
                "{target} {offers}"
            );
            if chosen.is_some_and(|name| name.contains("probe")) {
                peer.send_text("subprotocol").await;
                assert_eq!(peer.text().await, json!(chosen).to_string());
                peer.send_text("request").await;
                let request: Value = serde_json::from_str(&peer.text().await).unwrap();
                let offered: Vec<&str> = offers.split(", ").collect();
                assert_eq!(request["subprotocols"], json!(offered));
            } else {
                peer.expect_echo("subprotocol").await;
            }
        }
        // Where every route asks for one, offering none of them leads nowhere.
        for head in [
            Head::upgrade("/api"),
            Head::upgrade("/api").header("Sec-WebSocket-Protocol", "unknown"),
        ] {
            assert_eq!(exchange(server.address, &head).await.status, 400);
        }
    });
}

#[test]
fn the_handler_sees_the_request() {
    covers("session.request");
    scenario(async {
        let server = start(&Site::new().mount(Mount::new("/rooms/{room}", "probe").shared())).await;
        let head = Head::upgrade("/rooms/b%C3%BCro?a=1&b=%20&c")
            .header("Cookie", "session=1; theme=dark")
            .header("X-Twice", "first")
            .header("x-twice", "second")
            .header("Sec-WebSocket-Protocol", "one, two");
        let mut peer = Peer::open(Stream::tcp(server.address).await, &head).await;
        let own_address = peer.stream.as_tcp().local_addr().unwrap().to_string();
        peer.send_text("request").await;
        let request: Value = serde_json::from_str(&peer.text().await).unwrap();
        assert_eq!(request["scheme"], "http");
        assert_eq!(request["authority"], "wharf.test");
        assert_eq!(request["path"], "/rooms/b%C3%BCro");
        assert_eq!(request["query"], "a=1&b=%20&c");
        assert_eq!(request["params"], json!([["room", "büro"]]));
        assert_eq!(request["remote_address"], own_address);
        assert_eq!(request["subprotocols"], json!(["one", "two"]));
        let headers = request["headers"].as_array().unwrap();
        let of = |name: &str| -> Vec<&str> {
            let named = headers.iter().filter(|header| header[0] == name);
            named.filter_map(|header| header[1].as_str()).collect()
        };
        assert_eq!(of("cookie"), ["session=1; theme=dark"]);
        assert_eq!(
            of("x-twice"),
            ["first", "second"],
            "in the order received, names in lower case"
        );
        assert_eq!(of("sec-websocket-version"), ["13"]);
    });
}

#[test]
fn the_handler_decides_about_the_handshake() {
    covers("handshake.rejection");
    scenario(async {
        let server = start(&Site::new().mount(Mount::new("/gate", "gate").shared())).await;
        let ask = async |query: &str| {
            exchange(server.address, &Head::upgrade(&format!("/gate?{query}"))).await
        };
        let rejected =
            ask("status=401&header=www-authenticate:Basic&header=X-Why:because&body=who+are+you")
                .await;
        assert_eq!(rejected.status, 401);
        assert_eq!(rejected.header("www-authenticate"), Some("Basic"));
        assert_eq!(rejected.header("x-why"), Some("because"));
        assert_eq!(rejected.text(), "who are you");
        for status in [400, 403, 418, 429, 503, 599] {
            assert_eq!(ask(&format!("status={status}")).await.status, status);
        }
        // What is no rejection, or would split the response, is the handler's failure.
        for query in [
            "status=200",
            "status=101",
            "status=302",
            "status=0",
            "status=65535",
        ] {
            let status = ask(query).await.status;
            assert!(matches!(status, 500..=503), "{query}: {status}");
        }
        for query in [
            "status=403&header=x:a\r\nb",
            "status=403&header=x+y:z",
            "trap",
            "spin",
            "allocate=100000000",
        ] {
            let response = ask(&query.replace('\r', "%0d").replace('\n', "%0a")).await;
            assert!(
                (400..=599).contains(&response.status),
                "{query}: {}",
                response.status
            );
            assert_eq!(response.header("b"), None);
        }
    });
}

#[test]
fn the_handler_completes_the_handshake() {
    covers("handshake.rejection");
    covers("session.request");
    scenario(async {
        let server = start(&Site::new().mount(Mount::new("/gate", "gate").shared())).await;
        let ask = async |query: &str| {
            exchange(server.address, &Head::upgrade(&format!("/gate?{query}"))).await
        };
        let accepted = ask("header=x-hello:world").await;
        assert_eq!(
            (accepted.status, accepted.header("x-hello")),
            (101, Some("world"))
        );
        let head = Head::upgrade("/gate?protocol=two&tag=red&tag=blue&attachment=note")
            .header("Sec-WebSocket-Protocol", "one, two");
        let mut peer = Peer::open(Stream::tcp(server.address).await, &head).await;
        assert_eq!(peer.response.header("sec-websocket-protocol"), Some("two"));
        for (command, answer) in [
            ("subprotocol", "\"two\""),
            ("tags", r#"["red","blue"]"#),
            ("attachment", "6e6f7465"),
        ] {
            peer.send_text(command).await;
            peer.expect_text(answer).await;
        }
        // One that was not offered must not be named (RFC 6455, section 4.2.2).
        assert!(matches!(
            ask("protocol=three").await.status,
            101 | 500..=503
        ));
        assert_eq!(
            ask("protocol=three").await.header("sec-websocket-protocol"),
            None
        );
    });
}

fn site_with_pages() -> (Folder, Site) {
    let folder = Folder::new();
    folder.write("index.html", "<!doctype html>one");
    folder.write("two.html", "two".repeat(20_000));
    let site = Site::echo()
        .page("/", "index.html")
        .page("/two", "two.html")
        .page("/echo", "index.html");
    (folder, site)
}

#[test]
fn plain_http_is_answered_on_the_same_listener() {
    covers("http.plain");
    scenario(async {
        let (folder, site) = site_with_pages();
        let server = Child::start_in(folder, &site);
        let mut http = HttpPeer::connect(server.address).await;
        let page = http.exchange(&Head::get("/")).await;
        assert_eq!(
            (page.status, page.text().as_str()),
            (200, "<!doctype html>one")
        );
        assert!(
            page.header("content-type")
                .unwrap()
                .starts_with("text/html")
        );
        // The connection is kept; then it becomes a WebSocket.
        assert_eq!(
            http.exchange(&Head::get("/two?x=1")).await.body.len(),
            60_000
        );
        assert_eq!(http.exchange(&Head::get("/missing")).await.status, 404);
        // A page and a WebSocket share a path.
        assert_eq!(http.exchange(&Head::get("/echo")).await.status, 200);
        let response = http.exchange(&Head::upgrade("/echo")).await;
        assert_eq!(response.status, 101);
        http.upgraded(response).expect_echo("after pages").await;
        for method in ["POST", "DELETE"] {
            let head = Head::get("/")
                .request_line(&format!("{method} / HTTP/1.1"))
                .header("Content-Length", "0");
            assert_eq!(exchange(server.address, &head).await.status, 405);
        }
        server.assert_healthy();
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    covers("http.pipelining");
    scenario(async {
        let (folder, site) = site_with_pages();
        let server = Child::start_in(folder, &site);
        let mut http = HttpPeer::connect(server.address).await;
        let targets = [
            "/", "/two", "/missing", "/two", "/", "/missing", "/two", "/",
        ];
        http.send(targets.map(|target| Head::get(target).bytes()).concat())
            .await;
        for target in targets {
            let response = http.response().await.unwrap();
            let seen = (response.status, response.body.len());
            assert_eq!(
                seen,
                match target {
                    "/" => (200, 18),
                    "/two" => (200, 60_000),
                    _ => (404, response.body.len()),
                }
            );
        }
        // A WebSocket at the end of the line.
        http.send([Head::get("/").bytes(), Head::upgrade("/echo").bytes()].concat())
            .await;
        assert_eq!(http.response().await.unwrap().status, 200);
        let response = http.response().await.unwrap();
        assert_eq!(response.status, 101);
        http.upgraded(response).expect_echo("last").await;

        // Who asks without reading is not read for long: a few requests wait, the rest stay outside.
        let request = Head::get("/two")
            .header("X-Pad", &"p".repeat(1_000))
            .bytes();
        let mut deaf =
            Stream::dial(server.address, wharf_tests::stream::Dial::small_buffers()).await;
        let (mut taken, mut quiet) = (0, 0);
        while quiet < 20 {
            let count = deaf.send_now(&request).unwrap();
            taken += count;
            quiet = if count == 0 { quiet + 1 } else { 0 };
            if count == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            }
            assert!(
                taken < 4 << 20,
                "the server reads on and on: {taken} bytes of requests"
            );
        }
        server.assert_healthy();
    });
}
