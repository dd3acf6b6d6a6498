//! The load of an ordinary day on a small machine: many quiet sessions and some that talk.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wharf_tests::deadline::alone;
use wharf_tests::figure::{bytes, figure};
use wharf_tests::http::Head;
use wharf_tests::meter::{Latencies, Meter};
use wharf_tests::peer::Peer;
use wharf_tests::server::Child;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::promises::covers;

async fn sessions(address: SocketAddr, target: &str, count: usize) -> Vec<Peer> {
    let mut peers = Vec::with_capacity(count);
    for number in 0..count {
        let stream = Stream::dial(address, Dial::from(2 + (number % 8) as u8)).await;
        peers.push(Peer::open(stream, &Head::upgrade(target)).await);
    }
    peers
}

/// Echoes a message each `pause` until the time is over.
async fn talk(
    mut peer: Peer,
    number: usize,
    pause: Duration,
    until: Instant,
) -> (Vec<Duration>, Peer) {
    let mut times = Vec::new();
    // Not all in the same moment.
    tokio::time::sleep(pause.mul_f64((number % 100) as f64 / 100.0)).await;
    while Instant::now() < until {
        let start = Instant::now();
        peer.expect_echo(&format!("session {number} message {}", times.len()))
            .await;
        times.push(start.elapsed());
        tokio::time::sleep(pause.saturating_sub(start.elapsed())).await;
    }
    (times, peer)
}

#[test]
fn ten_thousand_idle_and_a_thousand_active_for_a_minute() {
    covers("load.minute");
    covers("numbers.idle");
    alone(async {
        const IDLE: usize = 10_000;
        const ACTIVE: usize = 1_000;
        const MINUTE: Duration = Duration::from_secs(60);
        let own_instance = Mount::new("/own", "echo");
        let server = Child::start(&Site::echo().workers(2).mount(own_instance));
        let process = server.process();
        Meter::during(
            server.address,
            "/echo",
            Duration::from_millis(2),
            Duration::from_millis(500),
        )
        .await;

        let before = process.resident_bytes();
        let shared = sessions(server.address, "/echo", IDLE / 2).await;
        let after_shared = process.resident_bytes();
        let own = sessions(server.address, "/own", IDLE / 2).await;
        let after_own = process.resident_bytes();
        let active = sessions(server.address, "/echo", ACTIVE).await;

        let cpu = process.cpu_time();
        let quiet = shared.into_iter().chain(own).collect();
        let (times, mut quiet) = minute(active, quiet, MINUTE).await;
        let cpu = process.cpu_time() - cpu;
        let messages = times.len();
        let latencies = Latencies::of(times);
        for peer in &mut quiet {
            peer.expect_echo("still here").await;
        }
        let half = IDLE as u64 / 2;
        figure(
            "load.minute",
            format!(
                "{IDLE} idle and {ACTIVE} active sessions for {MINUTE:?}: {messages} messages, {latencies}, {:.1} µs of CPU each; an idle session holds {} with a shared instance, {} with its own",
                cpu.as_secs_f64() * 1e6 / messages as f64,
                bytes(after_shared.saturating_sub(before) / half),
                bytes(after_own.saturating_sub(after_shared) / half)
            ),
        );
        server.assert_healthy();
    });
}

/// The active ones talk, the quiet ones answer pings, as every client does. The round trips, and
/// the quiet ones.
async fn minute(active: Vec<Peer>, quiet: Vec<Peer>, time: Duration) -> (Vec<Duration>, Vec<Peer>) {
    let until = Instant::now() + time;
    let answering = tokio::spawn(answer_until(quiet, until));
    let mut talking = JoinSet::new();
    for (number, peer) in active.into_iter().enumerate() {
        talking.spawn(talk(peer, number, Duration::from_millis(250), until));
    }
    let mut times = Vec::new();
    for (more, peer) in talking.join_all().await {
        times.extend(more);
        drop(peer);
    }
    (times, answering.await.unwrap())
}

/// Answers the pings of all of them, round after round.
async fn answer_until(mut quiet: Vec<Peer>, until: Instant) -> Vec<Peer> {
    while Instant::now() < until {
        for (number, peer) in quiet.iter_mut().enumerate() {
            answer_pings(peer).await;
            if number % 16 == 0 {
                // tokio lets a task read only so often before it yields.
                tokio::task::yield_now().await;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    quiet
}

/// Answers the pings that have come in; anything else is an error.
async fn answer_pings(peer: &mut Peer) {
    while let Some(incoming) = peer.poll_within(Duration::ZERO).await {
        let wharf_tests::peer::Incoming::Frame(frame) = incoming else {
            panic!("an idle session ended: {incoming:?}")
        };
        assert_eq!(
            frame.opcode,
            wharf_tests::frame::opcode::PING,
            "an idle session gets pings only: {frame:?}"
        );
        peer.send(wharf_tests::frame::Frame::pong(frame.payload))
            .await;
    }
}
