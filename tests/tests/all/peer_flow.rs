//! Peers that do not read, and peers that leave in every way there is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wharf_tests::deadline::{alone, eventually};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::{Frame, MASK};
use wharf_tests::http::Head;
use wharf_tests::meter::{Latencies, Meter};
use wharf_tests::peer::{End, Incoming, Peer};
use wharf_tests::server::Child;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::promises::covers;

/// A client that sends as much as is taken and never reads.
struct Deaf {
    peer: Peer,
    block: Vec<u8>,
    at: usize,
    sent: u64,
}

impl Deaf {
    async fn connect(address: SocketAddr) -> Self {
        let stream = Stream::dial(address, Dial::small_buffers()).await;
        let peer = Peer::open(stream, &Head::upgrade("/echo")).await;
        Self {
            peer,
            block: Frame::binary([0x64; 16 * 1024]).encode(Some(MASK)),
            at: 0,
            sent: 0,
        }
    }

    /// Writes what fits; whether anything did.
    fn push(&mut self) -> bool {
        let mut any = false;
        while let Ok(count @ 1..) = self.peer.stream.send_now(&self.block[self.at..]) {
            self.at = (self.at + count) % self.block.len();
            self.sent += count as u64;
            any = true;
        }
        any
    }
}

#[test]
fn a_thousand_that_never_read_are_held_back_and_then_cut() {
    covers("peer.never-reads");
    covers("ends.slow-consumer");
    alone(async {
        const COUNT: usize = 1_000;
        let server = Child::start(&Site::echo().workers(2));
        let process = server.process();
        // Without the client that measures, which the server may not have let go of below.
        let without_clients = process.descriptors();
        let pace = Duration::from_millis(2);
        Meter::during(server.address, "/echo", pace, Duration::from_millis(500)).await;
        let (resident, descriptors) = (process.resident_bytes(), process.descriptors());
        let start = Instant::now();
        let deaf = crowd_of_deaf(server.address, COUNT).await;
        let held = process.resident_bytes().saturating_sub(resident) / COUNT as u64;
        let taken = deaf.iter().map(|client| client.sent).max().unwrap();
        let healthy = Meter::during(server.address, "/echo", pace, Duration::from_secs(2)).await;
        // Nobody is cut before the 30 s, everybody is after them and the 5 s for a close that is not read.
        assert!(
            process.descriptors() >= without_clients + COUNT,
            "nobody is cut at once"
        );
        let limit = Duration::from_secs(60);
        let ((), _) = eventually(limit, "the slow consumers are cut", || {
            let now = process.descriptors();
            if now <= descriptors {
                Ok(())
            } else {
                Err(format!("{now} descriptors, {descriptors} before"))
            }
        })
        .await;
        let cut = start.elapsed();
        figure(
            "peer.never-reads",
            format!(
                "{COUNT} clients: at most {} taken from each, {} held for each, all cut {cut:.1?} after the first came; healthy client beside them: {healthy}",
                bytes(taken),
                bytes(held)
            ),
        );
        assert!(held <= 512 * 1024, "at most 512 KiB a session: {held}");
        assert!(
            cut >= Duration::from_secs(30),
            "cut after 30 s, not before: {cut:?}"
        );
        server.assert_healthy();
    });
}

/// Clients that never read, all of which have pushed until nobody got a byte in for a second.
async fn crowd_of_deaf(address: SocketAddr, count: usize) -> Vec<Deaf> {
    let start = Instant::now();
    let mut deaf = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Deaf::connect(address).await;
        client.push();
        deaf.push(client);
    }
    let mut quiet = 0;
    while quiet < 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let moved = deaf
            .iter_mut()
            .fold(false, |moved, client| client.push() | moved);
        quiet = if moved { 0 } else { quiet + 1 };
        let limit = Duration::from_secs(25);
        assert!(
            start.elapsed() < limit,
            "reading stops at the high-water mark"
        );
    }
    deaf
}

/// The ways to leave that need no answer from the server.
const WAYS: usize = 7;

async fn come_and_go(address: SocketAddr, number: usize) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("way {}: {error}", number % WAYS);
    let from = Dial::from(2 + (number % 60) as u8);
    let mut stream = Stream::Tcp(from.tcp(address).await.map_err(fail)?);
    let head = Head::upgrade("/echo").bytes();
    match number % WAYS {
        // Nothing was asked.
        0 => {}
        // Half a head.
        1 => stream.send(&head[..40]).await.map_err(fail)?,
        // The whole head, the answer unread.
        2 => stream.send(&head).await.map_err(fail)?,
        way => {
            let mut peer = Peer::open(stream, &Head::upgrade("/echo")).await;
            match way {
                // In the middle of a frame.
                3 => {
                    peer.raw(&Frame::text("half of it").encode(Some(MASK))[..9])
                        .await
                }
                // With an echo under way.
                4 => peer.send_text("answer me").await,
                // Data after close: ignored, the close is answered.
                5 => {
                    let mut frames = Frame::close(1000, "").encode(Some(MASK));
                    frames.extend(Frame::text("too late").encode(Some(MASK)));
                    peer.raw(frames).await;
                    peer.expect_close(1000).await;
                    if let Incoming::Frame(frame) = peer.next().await {
                        return Err(format!("after the close: {frame:?}"));
                    }
                }
                // Half open: a FIN from this side, and the server ends too.
                _ => {
                    peer.stream.half_close().await.map_err(fail)?;
                    if let Incoming::Frame(frame) = peer.next().await {
                        return Err(format!("after the FIN: {frame:?}"));
                    }
                }
            }
            stream = peer.stream;
        }
    }
    stream.reset();
    Ok(())
}

#[test]
fn a_hundred_thousand_bad_leavers_leave_nothing_behind() {
    covers("peer.leaving");
    covers("ends.lost");
    alone(async {
        const CYCLES: usize = 100_000;
        let dead_peers = Mount::new("/watched", "echo")
            .shared()
            .websocket("ping_interval", "1s")
            .websocket("timeout", "1s");
        let server = Child::start(&Site::echo().workers(2).mount(dead_peers));
        let address = server.address;
        Peer::connect(address, "/echo").await.leave(1000).await;
        let start_descriptors = server.process().descriptors();

        // 300 RST at once, in the middle of sessions.
        let mut sessions = Vec::new();
        for _ in 0..300 {
            let mut peer = Peer::connect(address, "/echo").await;
            peer.send_text("x").await;
            sessions.push(peer);
        }
        sessions.into_iter().for_each(|peer| peer.stream.reset());
        back_to(&server, start_descriptors, "300 RST").await;

        // 300 that stop without a FIN: they are still connected and say nothing any more.
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push((Peer::connect(address, "/watched").await, Instant::now()));
        }
        let mut slowest = Duration::ZERO;
        for (peer, since) in &mut silent {
            assert_eq!(cut_off(peer).await, Some(1011));
            slowest = slowest.max(since.elapsed());
        }
        back_to(&server, start_descriptors, "300 silent peers").await;

        let resident = server.process().resident_bytes();
        let begin = Instant::now();
        let mut tasks: JoinSet<Result<(), String>> = JoinSet::new();
        for number in 0..CYCLES {
            if tasks.len() >= 64 {
                tasks.join_next().await.unwrap().unwrap().unwrap();
            }
            tasks.spawn(come_and_go(address, number));
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        let took = begin.elapsed();
        let settled = back_to(&server, start_descriptors, "the cycles").await;
        let grown = server.process().resident_bytes().saturating_sub(resident);
        figure(
            "peer.leaving",
            format!(
                "{CYCLES} cycles in {took:.1?}: descriptors back to {start_descriptors} within {settled:.1?}, memory + {}; dead peers cut within {slowest:.1?} (pings each 1 s, timeout 1 s)",
                bytes(grown)
            ),
        );
        assert!(
            slowest <= Duration::from_secs(5),
            "a dead peer is cut at the ping timeout"
        );
        server.assert_healthy();
    });
}

/// Waits until the server has its descriptors back.
async fn back_to(server: &Child, descriptors: usize, after: &str) -> Duration {
    let ((), took) = eventually(
        Duration::from_secs(5),
        &format!("descriptors back after {after}"),
        || {
            let now = server.process().descriptors();
            if now <= descriptors {
                Ok(())
            } else {
                Err(format!("{now}, {descriptors} at the start"))
            }
        },
    )
    .await;
    took
}

/// Reads without ever answering a ping; the code of the close frame that ends it.
async fn cut_off(peer: &mut Peer) -> Option<u16> {
    let mut code = None;
    loop {
        match peer.next().await {
            Incoming::Frame(frame) => {
                if frame.opcode == wharf_tests::frame::opcode::CLOSE {
                    code = frame.close_reason().map(|(code, _)| code);
                }
            }
            Incoming::End(End::Eof | End::Reset) => return code,
        }
    }
}

#[test]
fn a_room_of_ten_thousand_does_not_wait_for_its_slow_readers() {
    covers("peer.slow-readers");
    alone(async {
        const FAST: usize = 9_900;
        const SLOW: usize = 100;
        // Each sample is one text to the whole room, timed until the last of the fast has it.
        const ROUNDS: usize = 10;
        let room = Mount::new("/rooms/{room}", "probe").set("instance", "{room}");
        let server = Child::start(&Site::new().workers(2).mount(room));
        let head = Head::upgrade("/rooms/1");
        let mut fast = Vec::with_capacity(FAST);
        for number in 0..FAST {
            let stream = Stream::dial(server.address, Dial::from(2 + (number % 8) as u8)).await;
            let mut peer = Peer::open(stream, &head).await;
            // The handshake is over before the room knows of the session.
            peer.send_text("id").await;
            peer.text().await;
            fast.push(peer);
        }
        let before = best_of_three(&mut fast, ROUNDS).await;
        let mut slow = Vec::with_capacity(SLOW);
        for _ in 0..SLOW {
            let stream = Stream::dial(server.address, Dial::small_buffers()).await;
            let mut peer = Peer::open(stream, &head).await;
            // Their queues are full from the start.
            peer.send_text("try-fill 10000 16000").await;
            slow.push(peer);
        }
        let beside = best_of_three(&mut fast, ROUNDS).await;
        figure(
            "peer.slow-readers",
            format!(
                "a text to {FAST} fast readers, by reader; alone: {before}; beside {SLOW} that do not read: {beside}"
            ),
        );
        beside.assert_within(1.5, &before);
        server.assert_healthy();
    });
}

/// Other users of the machine add to a measurement and never subtract.
async fn best_of_three(peers: &mut [Peer], rounds: usize) -> Latencies {
    let mut several = Vec::new();
    for _ in 0..3 {
        several.push(broadcasts(peers, rounds).await);
    }
    Latencies::best(several)
}

/// Texts to the whole room; the delay of each delivery.
async fn broadcasts(peers: &mut [Peer], rounds: usize) -> Latencies {
    let mut times = Vec::new();
    for round in 0..rounds {
        let text = format!("round {round}");
        let start = Instant::now();
        peers[0].send_text(format!("broadcast {text}")).await;
        for peer in &mut *peers {
            peer.expect_text(&text).await;
            times.push(start.elapsed());
        }
    }
    Latencies::of(times)
}
