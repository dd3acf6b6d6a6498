//! Peers that attack before they are sessions: slow, big, ambiguous and foreign heads, half TLS.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wharf_tests::deadline::{alone, scenario};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::http::{Head, KEY};
use wharf_tests::meter::Meter;
use wharf_tests::peer::{HttpPeer, Peer, exchange};
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::stream::{Dial, Stream};
use wharf_tests::tls::Authority;

use crate::handshake::{FOREIGN, refused, smuggled};
use crate::promises::covers;

/// How often each of the slow clients sends a byte and looks for an answer.
const TICK: Duration = Duration::from_millis(500);
/// Parts that the clients take their turns in.
const SLICES: usize = 50;
/// A p99 below this says more about who else uses the machine than about the server: a ratio is
/// judged beyond it only, and printed always.
pub(crate) const JITTER: Duration = Duration::from_millis(50);

/// A client that hands its bytes out one at a time.
struct Dribbler {
    stream: Stream,
    since: Instant,
    sent: usize,
    answer: Vec<u8>,
    ended: Option<Duration>,
}

impl Dribbler {
    async fn connect(address: SocketAddr, from: u8) -> Self {
        let since = Instant::now();
        let stream = Stream::dial(address, Dial::from(from)).await;
        Self {
            stream,
            since,
            sent: 0,
            answer: Vec::new(),
            ended: None,
        }
    }

    /// Sends the next byte unless the server has ended this.
    fn tick(&mut self, bytes: &[u8]) {
        if self.ended.is_some() {
            return;
        }
        let mut buffer = [0; 1024];
        loop {
            match self.stream.as_tcp().try_read(&mut buffer) {
                Ok(0) => break self.ended = Some(self.since.elapsed()),
                Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => break self.ended = Some(self.since.elapsed()),
            }
        }
        if self.answer.is_empty() && self.sent < bytes.len() {
            // An error is seen at the next read.
            self.sent += self
                .stream
                .send_now(&bytes[self.sent..=self.sent])
                .unwrap_or(0);
        }
    }
}

/// Opens the clients and drives them until the server has ended all of them.
async fn dribble(
    address: SocketAddr,
    count: usize,
    bytes: &[u8],
    limit: Duration,
    mut all_open: impl FnMut(),
) -> Vec<Dribbler> {
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = Dribbler::connect(address, 2 + (number % 8) as u8).await;
        client.tick(bytes);
        clients.push(client);
    }
    all_open();
    let start = Instant::now();
    let mut slices = tokio::time::interval(TICK / SLICES as u32);
    for slice in (0..SLICES).cycle() {
        // A slice of the clients at a time: all at once would measure this process.
        slices.tick().await;
        clients
            .iter_mut()
            .skip(slice)
            .step_by(SLICES)
            .for_each(|client| client.tick(bytes));
        let open = clients
            .iter()
            .filter(|client| client.ended.is_none())
            .count();
        assert!(
            start.elapsed() < limit,
            "{open} of {count} are still open after {limit:?}"
        );
        if open == 0 {
            break;
        }
    }
    clients
}

#[test]
fn ten_thousand_slow_handshakes_end_at_the_deadline() {
    covers("peer.slow-handshake");
    alone(async {
        const COUNT: usize = 10_000;
        let server = Child::start(&Site::echo().workers(2));
        let interval = Duration::from_millis(2);
        let before = Meter::during(server.address, "/echo", interval, Duration::from_secs(3)).await;
        let resident = server.process().resident_bytes();
        let meter = Meter::start(server.address, "/echo", interval);
        let mut grown = 0;
        let head = Head::upgrade("/echo").bytes();
        let clients = dribble(
            server.address,
            COUNT,
            &head,
            Duration::from_secs(15),
            || {
                grown = server.process().resident_bytes().saturating_sub(resident);
            },
        )
        .await;
        let during = meter.stop();
        for client in &clients {
            let answer = String::from_utf8_lossy(&client.answer);
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
        }
        let times: Vec<_> = clients.iter().filter_map(|client| client.ended).collect();
        let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        figure(
            "peer.slow-handshake",
            format!(
                "{COUNT} ended after {first:.1?} to {last:.1?}; {} each; healthy client before: {before}; beside them: {during}",
                bytes(grown / COUNT as u64)
            ),
        );
        assert!(
            *first >= Duration::from_millis(4_900)
                && *last <= Duration::from_secs(5) + 2 * TICK + Duration::from_secs(3)
        );
        assert!(grown / COUNT as u64 <= 4096, "at most 4 KiB each");
        during.assert_within(2.0, &before);
        server.assert_healthy();
    });
}

#[test]
fn big_heads_are_refused_before_they_are_read() {
    covers("peer.big-head");
    alone(async {
        const COUNT: u64 = 500;
        let server = Child::start(&Site::echo());
        let big = Head::upgrade("/echo")
            .header("X-Big", &"b".repeat(65_536))
            .bytes();
        let many = (0..2_000)
            .fold(Head::upgrade("/echo"), |head, number| {
                head.header(&format!("X-{number}"), "1")
            })
            .bytes();
        let long = Head::upgrade(&format!("/echo?{}", "q".repeat(16_384))).bytes();
        let kinds = [
            ("64 KiB header", &big, 431),
            ("2,000 headers", &many, 431),
            ("16 KiB target", &long, 414),
        ];
        for (name, head, status) in kinds {
            refused(server.address, name, head, status).await;
        }
        // Heads that stop just before the limit, all at once: what they cost while they wait.
        let resident = server.process().resident_bytes();
        let mut waiting = Vec::new();
        for _ in 0..COUNT {
            let mut http = HttpPeer::connect(server.address).await;
            http.send(&big[..16_000]).await;
            waiting.push(http);
        }
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.expect_echo("all of them were read").await;
        let grown = server.process().resident_bytes().saturating_sub(resident) / COUNT;
        for http in &mut waiting {
            http.send_or_fail(&big[16_000..]).await;
            let response = http.response().await;
            assert_eq!(response.map(|response| response.status), Some(431));
        }
        figure(
            "peer.big-head",
            format!(
                "431, 431, 414; a head of 16,000 bytes that waits costs {}",
                bytes(grown)
            ),
        );
        assert!(
            grown <= 24 * 1024,
            "about what may be read of a head: {grown}"
        );
        server.assert_healthy();
    });
}

#[test]
fn ambiguous_heads_are_all_refused() {
    covers("peer.smuggling");
    scenario(async {
        let server = start(&Site::echo()).await;
        let mut heads = smuggled();
        let upgrade = Head::upgrade("/echo");
        heads.push(("no Host", upgrade.clone().without("Host").bytes()));
        heads.push((
            "3-byte key",
            upgrade.clone().with("Sec-WebSocket-Key", "Zm9v").bytes(),
        ));
        heads.push((
            "two keys, both good",
            upgrade.clone().header("Sec-WebSocket-Key", KEY).bytes(),
        ));
        heads.push((
            "POST",
            upgrade.clone().request_line("POST /echo HTTP/1.1").bytes(),
        ));
        heads.push((
            "HTTP/1.0",
            upgrade.request_line("GET /echo HTTP/1.0").bytes(),
        ));
        for (name, head) in &heads {
            refused(server.address, name, head, 400).await;
        }
        figure(
            "peer.smuggling",
            format!(
                "{} of {} heads refused with 400 and a close",
                heads.len(),
                heads.len()
            ),
        );
    });
}

#[test]
fn foreign_origins_stay_out() {
    covers("peer.origin");
    scenario(async {
        let server = start(&Site::new().mount(Mount::new("/echo", "echo").shared())).await;
        let mut inside = 0;
        for origin in FOREIGN {
            let response = exchange(
                server.address,
                &Head::upgrade("/echo").header("Origin", origin),
            )
            .await;
            inside += u32::from(response.status != 403);
        }
        figure(
            "peer.origin",
            format!("{inside} of {} foreign origins in", FOREIGN.len()),
        );
        assert_eq!(inside, 0);
    });
}

/// A record that announces 512 bytes of ClientHello and holds a part of them.
fn half_a_hello() -> Vec<u8> {
    let mut bytes = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    bytes.resize(200, 0x5a);
    bytes
}

#[test]
fn half_a_client_hello_waits_no_longer_than_the_deadline() {
    covers("peer.tls");
    alone(async {
        const COUNT: usize = 10_000;
        let authority = Authority::new();
        let identity = authority.identity(1);
        let folder = Folder::new();
        folder.write("cert.pem", &identity.certificate);
        folder.write("key.pem", &identity.key);
        let site = Site::echo()
            .workers(2)
            .section("tls", "certificate", "cert.pem")
            .section("tls", "key", "key.pem");
        let server = Child::start_in(folder, &site);
        let mut healthy = Peer::open(
            authority.stream(server.address).await,
            &Head::upgrade("/echo"),
        )
        .await;
        healthy.expect_echo("before").await;
        let resident = server.process().resident_bytes();

        let hello = half_a_hello();
        let mut clients = Vec::with_capacity(COUNT);
        for number in 0..COUNT {
            let mut stream = Stream::dial(server.address, Dial::from(2 + (number % 8) as u8)).await;
            // Beyond the cap the server may close at once.
            let _closed = stream.send(&hello).await;
            clients.push((HttpPeer::over(stream), Instant::now()));
            if number % 1_000 == 0 {
                healthy.expect_echo("in the middle").await;
            }
        }
        let grown = server.process().resident_bytes().saturating_sub(resident);
        let mut slowest = Duration::ZERO;
        for (client, since) in &mut clients {
            client.end_within(Duration::from_secs(12)).await;
            slowest = slowest.max(since.elapsed());
        }
        healthy.expect_echo("after").await;
        let mut late = Peer::open(
            authority.stream(server.address).await,
            &Head::upgrade("/echo"),
        )
        .await;
        late.expect_echo("there is room again").await;
        figure(
            "peer.tls",
            format!(
                "{COUNT} half ClientHellos ended within {slowest:.1?} of their start; {} each",
                bytes(grown / COUNT as u64)
            ),
        );
        assert!(
            slowest <= Duration::from_secs(8),
            "the handshake deadline is 5 s"
        );
        server.assert_healthy();
    });
}
