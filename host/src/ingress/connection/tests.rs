//! A connection from the peer's side: what is written to it, and what comes back.

use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::*;
use crate::capability::Services;
use crate::catalog::{Catalog, Page, ProgramId, Route, Target};
use crate::dispatch::{Counters, Dispatcher, DispatcherParts, Served};
use crate::ingress::{IngressLimits, Places};
use crate::mailbox::Lane;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn ingress(limits: IngressLimits) -> Rc<Ingress> {
    let page = Page {
        body: "<p>".into(),
        content_type: "text/html",
    };
    let catalog = Catalog::new(vec![
        Route::new("/", Target::Page(page)),
        Route::new("/echo", Target::Component(ProgramId(0))),
    ])
    .expect("the routes fit together");
    let (peer, _) = mpsc::unbounded_channel();
    let dispatcher = Dispatcher::new(DispatcherParts {
        worker: 0,
        services: Rc::new(Services::alone(Rc::new(Lane::new(
            std::time::Instant::now(),
            0,
            0,
            1,
        )))),
        served: Served {
            catalog: catalog.into(),
            programs: Arc::default(),
        },
        peers: Arc::new([peer]),
        counters: Arc::new(Counters::default()),
        dead_letters: None,
    });
    Rc::new(Ingress::new(
        dispatcher,
        Arc::new(Places::new(limits)),
        None,
    ))
}

/// A connection under service, and the peer's end of it.
fn connect(ingress: &Rc<Ingress>) -> (DuplexStream, impl Future<Output = ()> + use<>) {
    let (peer, server) = tokio::io::duplex(1 << 20);
    (
        peer,
        serve_connection(
            Socket::Memory(server),
            Remote::Memory,
            "http",
            Rc::clone(ingress),
        ),
    )
}

/// What is answered until the server ends the stream, without the dates.
async fn answer_to(ingress: &Rc<Ingress>, chunks: &[&[u8]]) -> String {
    let (mut peer, serving) = connect(ingress);
    let talking = async move {
        for chunk in chunks {
            peer.write_all(chunk).await.expect("the server reads");
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer)
            .await
            .expect("the server ends the stream");
        String::from_utf8(answer).expect("answers are text")
    };
    let (answer, ()) = tokio::join!(talking, serving);
    let lines = answer
        .split("\r\n")
        .filter(|line| !line.starts_with("date: "));
    lines.collect::<Vec<_>>().join("|")
}

/// Checks the status lines, in order, and that the last answer's body holds a text.
#[track_caller]
fn check(chunks: &[&[u8]], statuses: &[&str], body: &str) {
    check_under(IngressLimits::default(), chunks, statuses, body);
}

#[track_caller]
fn check_under(limits: IngressLimits, chunks: &[&[u8]], statuses: &[&str], body: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    let answer = runtime.block_on(answer_to(&ingress(limits), chunks));
    let status = |line: &str| {
        line.get(..3)
            .filter(|code| code.parse::<u16>().is_ok())
            .map(str::to_owned)
    };
    let found: Vec<String> = answer.split("HTTP/1.1 ").filter_map(status).collect();
    assert_eq!(found, statuses, "{answer}");
    assert!(answer.contains(body), "{answer}");
}

fn closing(head: &str) -> String {
    head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_page_is_served() {
    check(&[closing(GET).as_bytes()], &["200"], "||<p>");
    check(
        &[closing(&GET.replace("GET", "HEAD")).as_bytes()],
        &["200"],
        "content-length: 3||",
    );
    check(
        &[closing(&GET.replace("GET", "POST")).as_bytes()],
        &["405"],
        "allow: GET, HEAD",
    );
    check(
        &[closing(&GET.replace("/ ", "/none ")).as_bytes()],
        &["404"],
        "Nothing is served",
    );
}

#[test]
fn a_head_may_come_in_pieces_and_others_behind_it() {
    let bytes = closing(GET);
    let pieces: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
    check(&pieces, &["200"], "<p>");
    let pipelined = [GET, GET, GET, &closing(GET)].concat();
    check(
        &[pipelined.as_bytes()],
        &["200", "200", "200", "200"],
        "<p>",
    );
}

#[test]
fn a_broken_head_is_refused_with_its_reason() {
    check(
        &[b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"],
        &["400"],
        "space before its colon",
    );
    check(
        &[b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"],
        &["400"],
        "exactly one Host",
    );
    check(&[b"GET / HTTP/1.1\r\n\r\n"], &["400"], "exactly one Host");
    check(
        &[b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"],
        &["400"],
        "no host name",
    );
    check(
        &[b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"],
        &["400"],
        "another host",
    );
    check(
        &[&[GET.as_bytes(), b"GET  / HTTP/1.1\r\n\r\n"].concat()],
        &["200", "400"],
        "first line",
    );
}

#[test]
fn a_body_is_refused() {
    let with = |header: &str| GET.replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));
    check(
        &[with("Content-Length: 5").as_bytes()],
        &["400"],
        "a body is not accepted",
    );
    check(&[with("Content-Length: +0").as_bytes()], &["400"], "");
    check(
        &[with("Transfer-Encoding: chunked").as_bytes()],
        &["400"],
        "",
    );
    check(
        &[with("Content-Length: 0\r\nTransfer-Encoding: chunked").as_bytes()],
        &["400"],
        "",
    );
    check(
        &[with("Content-Length: 0\r\nConnection: close").as_bytes()],
        &["200"],
        "<p>",
    );
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let target = GET.replace("/ ", &format!("/{} ", "a".repeat(16 << 10)));
    check(&[target.as_bytes()], &["414"], "target is too long");
    let header = GET.replace(
        "\r\n\r\n",
        &format!("\r\nX: {}\r\n\r\n", "a".repeat(64 << 10)),
    );
    check(&[header.as_bytes()], &["431"], "head is too large");
    let headers = GET.replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: y\r\n".repeat(2_000)));
    check(&[headers.as_bytes()], &["431"], "");
}

#[test]
fn a_slow_head_is_answered_with_408() {
    let limits = || IngressLimits {
        head_timeout: Duration::from_millis(20),
        ..Default::default()
    };
    check_under(limits(), &[b"GET / HT"], &["408"], "took too long");
    check_under(limits(), &[], &["408"], "took too long");
    check_under(
        limits(),
        &[GET.as_bytes(), b"GET"],
        &["200", "408"],
        "took too long",
    );
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let limits = IngressLimits {
        keep_alive_timeout: Duration::from_millis(20),
        ..Default::default()
    };
    check_under(limits, &[GET.as_bytes()], &["200"], "<p>");
}

#[test]
fn a_connection_too_many_is_told_so() {
    let limits = IngressLimits {
        connections_max: 0,
        ..Default::default()
    };
    check_under(limits, &[], &["503"], "retry-after: 5");
}

#[test]
fn a_plain_request_for_a_websocket_is_told_what_this_is() {
    let echo = closing(&GET.replace("/ ", "/echo "));
    check(&[echo.as_bytes()], &["400"], "This is a WebSocket endpoint");
}

#[test]
fn while_draining_the_answer_closes_and_no_session_begins() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    let ingress = ingress(IngressLimits::default());
    ingress.drain();
    let page = runtime.block_on(answer_to(&ingress, &[GET.as_bytes()]));
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("|connection: close|"),
        "{page}"
    );
    let upgrade = "GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let refused = runtime.block_on(answer_to(&ingress, &[upgrade.as_bytes()]));
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after"),
        "{refused}"
    );
}

#[test]
fn a_foreign_page_is_refused() {
    let upgrade = "GET /echo HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    check(&[upgrade.as_bytes()], &["403"], "Pages of this origin");
}
