//! Peers that attack with frames: broken rules, floods of small things, bombs. Memory is that of a
//! server in a process of its own.

use std::time::{Duration, Instant};

use wharf_tests::deadline::{alone, scenario, step};
use wharf_tests::deflate::{Deflater, Inflater, bomb};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::{Frame, MASK, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::frames::{bad_utf8, broken_rules, punished, unmasked};
use crate::promises::covers;

const MIB: u64 = 1 << 20;

/// Peak memory that `attack` adds to a server that has already served the same kind of thing.
async fn peak_of(server: &Child, attack: impl Future<Output = ()>) -> u64 {
    let process = server.process();
    process.reset_peak();
    let (before, code) = (process.resident_bytes(), process.file_bytes());
    attack.await;
    // Code that runs for the first time is no memory of the attack.
    let code = process.file_bytes().saturating_sub(code);
    process.peak_bytes().saturating_sub(before + code)
}

#[test]
fn an_unmasked_frame_is_1002() {
    covers("peer.unmasked");
    scenario(async {
        let server = start(&Site::echo()).await;
        let offences = unmasked();
        punished(server.address, &offences).await;
        figure(
            "peer.unmasked",
            format!(
                "1002 and FIN for {} of {} frames",
                offences.len(),
                offences.len()
            ),
        );
    });
}

#[test]
fn broken_frame_rules_end_with_a_close_frame_and_a_fin() {
    covers("peer.frame-rules");
    covers("frames.declared-length");
    alone(async {
        const COUNT: u64 = 500;
        let server = Child::start(&Site::echo());
        let offences = broken_rules();
        punished(server.address, &offences).await;
        // Lengths within the limit, declared by many and sent by none.
        let mut warm = Peer::connect(server.address, "/echo").await;
        warm.send_binary(vec![0; 1 << 20]).await;
        warm.message().await;
        let (virtual_before, resident_before) = (
            server.process().virtual_bytes(),
            server.process().resident_bytes(),
        );
        let mut waiting = Vec::new();
        for _ in 0..COUNT {
            let mut peer = Peer::connect(server.address, "/echo").await;
            peer.raw(Frame::binary([7]).encode_declaring(MIB, Some(MASK)))
                .await;
            waiting.push(peer);
        }
        warm.expect_echo("all of them were read").await;
        let reserved = server
            .process()
            .virtual_bytes()
            .saturating_sub(virtual_before)
            / COUNT;
        let resident = server
            .process()
            .resident_bytes()
            .saturating_sub(resident_before)
            / COUNT;
        figure(
            "peer.frame-rules",
            format!(
                "close frame and FIN for {} of {} offences; a session that declared 1 MiB holds {} resident, {} virtual",
                offences.len(),
                offences.len(),
                bytes(resident),
                bytes(reserved)
            ),
        );
        assert!(
            reserved < MIB / 4,
            "1 MiB was declared, {reserved} bytes were reserved"
        );
        server.assert_healthy();
    });
}

#[test]
fn bad_utf8_is_1007_within_the_frame() {
    covers("peer.utf8");
    scenario(async {
        let server = start(&Site::echo()).await;
        let offences = bad_utf8();
        punished(server.address, &offences).await;
        figure(
            "peer.utf8",
            format!(
                "1007 within the frame for {} of {} texts",
                offences.len(),
                offences.len()
            ),
        );
    });
}

#[test]
fn two_hundred_thousand_fragments_cost_one_message() {
    covers("peer.fragments");
    alone(async {
        const COUNT: usize = 200_000;
        let flat = Mount::new("/flat", "echo")
            .shared()
            .websocket("fragments_max", 1_000_000);
        let server = Child::start(&Site::echo().mount(flat));
        let mut results = Vec::new();
        for (name, payload) in [("empty", ""), ("1-byte", "x")] {
            let mut fragments = Frame::text("").unfinished().encode(Some(MASK));
            for _ in 1..COUNT {
                fragments.extend(Frame::continuation(payload).unfinished().encode(Some(MASK)));
            }
            let capped = peak_of(&server, async {
                let mut peer = Peer::connect(server.address, "/echo").await;
                let _cut = peer.raw_or_fail(&fragments).await;
                peer.expect_close(1008).await;
            })
            .await;
            let joined = peak_of(&server, async {
                let mut peer = Peer::connect(server.address, "/flat").await;
                peer.raw(&fragments).await;
                peer.send(Frame::continuation("end")).await;
                peer.expect_text(&(payload.repeat(COUNT - 1) + "end")).await;
                peer.leave(1000).await;
            })
            .await;
            results.push(format!(
                "{name}: {} to 1008 at the cap, {} as one flat buffer",
                bytes(capped),
                bytes(joined)
            ));
            assert!(
                capped <= MIB && joined <= MIB,
                "bound = the message limit: {capped}, {joined}"
            );
        }
        figure("peer.fragments", results.join("; "));
        server.assert_healthy();
    });
}

/// Pings with a serial number each, back to back.
#[derive(Default)]
struct Flood {
    /// The number of the next ping.
    next: u64,
    /// What of the last block has not been sent.
    rest: Vec<u8>,
    sent: u64,
}

impl Flood {
    /// Sends what is taken now.
    fn push(&mut self, peer: &mut Peer) -> usize {
        let count = peer
            .stream
            .send_now(&self.rest)
            .expect("the session stays open");
        self.rest.drain(..count);
        self.sent += count as u64;
        count
    }

    /// Sends `flood` bytes, or until nothing has been taken for three seconds.
    async fn run(&mut self, peer: &mut Peer, flood: u64) {
        let mut progress = Instant::now();
        while self.sent < flood && progress.elapsed() < Duration::from_secs(3) {
            if self.rest.is_empty() {
                for _ in 0..512 {
                    let mut payload = [0x2e; 125];
                    payload[..8].copy_from_slice(&self.next.to_be_bytes());
                    self.rest.extend(Frame::ping(payload).encode(Some(MASK)));
                    self.next += 1;
                }
            }
            if self.push(peer) > 0 {
                progress = Instant::now();
            } else {
                // Readiness is learnt from the driver; a stalled socket never becomes ready.
                let writable = peer.stream.as_tcp().writable();
                let _stalled = tokio::time::timeout(Duration::from_millis(50), writable).await;
            }
        }
    }

    /// Completes what was begun and reads until the last ping is answered; how many pongs came.
    async fn settle(&mut self, peer: &mut Peer) -> u64 {
        let (mut pongs, mut last) = (0, None);
        while last != Some(self.next - 1) {
            if !self.rest.is_empty() {
                self.push(peer);
            }
            let patience = if self.rest.is_empty() { 10_000 } else { 20 };
            let frame = match peer.poll_within(Duration::from_millis(patience)).await {
                Some(Incoming::Frame(frame)) => frame,
                Some(end) => panic!("the session stays open: {end:?}"),
                None => {
                    assert!(!self.rest.is_empty(), "the last ping is answered");
                    continue;
                }
            };
            if frame.opcode == opcode::PONG {
                let number = u64::from_be_bytes(*frame.payload.first_chunk().unwrap());
                assert!(last.is_none_or(|last| number > last), "pongs come in order");
                last = Some(number);
                pongs += 1;
            }
        }
        pongs
    }
}

#[test]
fn a_flood_of_pings_leaves_one_pong_waiting() {
    covers("peer.ping-flood");
    covers("keepalive.pongs");
    alone(async {
        let server = Child::start(&Site::echo());
        let stream = Stream::dial(server.address, Dial::small_receive_buffer()).await;
        let mut peer = Peer::open(stream, &Head::upgrade("/echo")).await;
        let mut flood = Flood::default();
        let peak = peak_of(&server, flood.run(&mut peer, 256 * MIB)).await;
        let sent = flood.sent;
        // Only from here on the client reads.
        let pongs = flood.settle(&mut peer).await;
        figure(
            "peer.ping-flood",
            format!(
                "{} of pings taken from a client that did not read, {pongs} of {} pongs kept; + {}",
                bytes(sent),
                flood.next,
                bytes(peak)
            ),
        );
        assert!(peak <= MIB, "bound 1 MiB: {peak}");
        peer.leave(1000).await;
        server.assert_healthy();
    });
}

#[test]
fn a_deflate_bomb_ends_at_the_message_limit() {
    covers("peer.deflate-bomb");
    covers("frames.too-big");
    alone(async {
        let server = Child::start(&Site::echo());
        let head = Head::upgrade("/echo").header("Sec-WebSocket-Extensions", "permessage-deflate");
        let open = async || Peer::open(Stream::tcp(server.address).await, &head).await;
        // A large message that is allowed, so that buffers and inflater have been used once.
        let mut warm = open().await;
        warm.send(Frame::binary(bomb(1 << 20)).rsv(4)).await;
        assert_eq!(
            Inflater::new(15)
                .message(&warm.message().await.payload)
                .len(),
            1 << 20
        );
        warm.leave(1000).await;

        let big = bomb(512 << 20);
        let refused = async |frames: Vec<u8>| {
            let mut peer = open().await;
            let _cut = peer.raw_or_fail(frames).await;
            peer.expect_close(1009).await;
        };
        let frame = Frame::binary(big.as_slice()).rsv(4).encode(Some(MASK));
        let whole = peak_of(&server, refused(frame)).await;
        // A quarter of it in fragments, unfinished: the limit is passed long before.
        let mut parts = big[..big.len() / 4].chunks(1_000);
        let first = Frame::binary(parts.next().unwrap()).rsv(4).unfinished();
        let mut frames = first.encode(Some(MASK));
        frames.extend(
            parts.flat_map(|part| Frame::continuation(part).unfinished().encode(Some(MASK))),
        );
        let in_fragments = peak_of(&server, refused(frames)).await;
        let nested = peak_of(&server, async {
            let mut peer = open().await;
            peer.send(Frame::binary(Deflater::new(15).message(&big)).rsv(4))
                .await;
            let frame = peer.message().await;
            let inner = Inflater::new(15).message(&frame.payload);
            assert_eq!(inner, big, "only the outer layer is opened");
            peer.leave(1000).await;
        })
        .await;
        figure(
            "peer.deflate-bomb",
            format!(
                "{} for 512 MiB: 1009, + {}; in fragments + {}; nested + {}",
                bytes(big.len() as u64),
                bytes(whole),
                bytes(in_fragments),
                bytes(nested)
            ),
        );
        for peak in [whole, in_fragments, nested] {
            assert!(
                peak <= MIB + 64 * 1024,
                "bound = message limit + 64 KiB: {peak}"
            );
        }
        let mut after = Peer::connect(server.address, "/echo").await;
        step("an echo after the bombs", after.expect_echo("served on")).await;
        server.assert_healthy();
    });
}
