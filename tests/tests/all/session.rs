//! What a handler can do with its sessions, and keepalive as it sets it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use wharf_tests::deadline::scenario;
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::observer::{Ending, Observer};
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::server::{Child, Local, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::promises::covers;

async fn probe(mount: impl FnOnce(Mount) -> Mount) -> Local {
    start(&Site::new().mount(mount(Mount::new("/probe", "probe").shared()))).await
}

async fn ask(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

#[test]
fn messages_go_both_ways_in_order_and_in_their_kind() {
    covers("session.messages");
    scenario(async {
        let server = probe(|mount| mount).await;
        let mut peer = Peer::connect(server.address, "/probe").await;
        peer.send_binary([0, 0xff, 1]).await;
        peer.expect_binary(&[0, 0xff, 1]).await;
        assert_eq!(ask(&mut peer, "echo text").await, "text");
        peer.send_text("repeat 1000 again").await;
        peer.send_text("echo then").await;
        for _ in 0..1_000 {
            peer.expect_text("again").await;
        }
        peer.expect_text("then").await;
        assert_eq!(ask(&mut peer, "queued").await, "0");
        assert_eq!(ask(&mut peer, "flush").await, "ok");
    });
}

#[test]
fn a_full_queue_says_so_and_never_grows() {
    covers("session.messages");
    scenario(async {
        let server = probe(|mount| mount).await;
        let mut observer = Observer::watch(server.address, "/probe").await;
        let stream = Stream::dial(server.address, Dial::small_buffers()).await;
        let mut subject = observer
            .subject_over(stream, &Head::upgrade("/probe"))
            .await;
        let mut sent = 0;
        for round in 0.. {
            observer
                .peer
                .send_text(format!("on {} try-fill 1000 10000", subject.id))
                .await;
            let filled = observer.ask("filled").await;
            let count: usize = filled.split(' ').next().unwrap().parse().unwrap();
            sent += count;
            assert!(
                count == 1_000 || filled.ends_with(" error full"),
                "{filled}"
            );
            let queued: u64 = observer
                .ask(&format!("on {} queued", subject.id))
                .await
                .parse()
                .unwrap();
            assert!(queued <= 256 * 1024, "{queued} bytes are queued");
            if count == 0 && round > 5 {
                break;
            }
            assert!(round < 1_000, "the queue gets full");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Nobody else feels it, and what was taken arrives.
        assert_eq!(observer.ask("echo free").await, "free");
        for _ in 0..sent {
            assert_eq!(subject.peer.message().await.payload.len(), 10_000);
        }
        assert_eq!(subject.ask("queued").await, "0");
    });
}

#[test]
fn send_and_flush_wait_for_a_session_of_its_own() {
    covers("session.messages");
    scenario(async {
        // An instance of its own: waiting harms nobody else.
        let server = start(&Site::new().mount(Mount::new("/own", "probe"))).await;
        let stream = Stream::dial(server.address, Dial::small_buffers()).await;
        let mut peer = Peer::open(stream, &Head::upgrade("/own")).await;
        peer.send_text("fill 1000 10000").await;
        for _ in 0..1_000 {
            assert_eq!(peer.message().await.payload.len(), 10_000);
        }
        assert_eq!(peer.text().await, "sent 1000 ok");
        // A client that does not read: not before the write timeout.
        let impatient = Mount::new("/own", "probe").websocket("write_timeout", "500ms");
        let server = start(&Site::new().mount(impatient)).await;
        let stream = Stream::dial(server.address, Dial::small_buffers()).await;
        let mut peer = Peer::open(stream, &Head::upgrade("/own")).await;
        let start = Instant::now();
        peer.send_text("fill 1000000 10000").await;
        peer.send_text("filled").await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let answer = loop {
            let frame = peer.message().await;
            if frame.payload.len() < 10_000 {
                break String::from_utf8(frame.payload).unwrap();
            }
        };
        assert!(answer.ends_with("error full"), "{answer}");
        assert!(start.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn a_session_can_be_found_and_others_cannot_be_reached() {
    covers("session.messages");
    covers("session.close");
    scenario(async {
        let server =
            probe(|mount| mount.set("path", "/probe/{room}").set("instance", "{room}")).await;
        let mut first = Peer::connect(server.address, "/probe/a").await;
        let mut second = Peer::connect(server.address, "/probe/a").await;
        let mut foreign = Peer::connect(server.address, "/probe/b").await;
        let (id, other) = (ask(&mut first, "id").await, ask(&mut second, "id").await);
        let name = ask(&mut first, "name").await;
        let bare = name.trim_matches('"').to_owned();
        assert_ne!(name, ask(&mut second, "name").await);
        assert_eq!(ask(&mut second, &format!("find {bare}")).await, id);
        assert_eq!(ask(&mut second, "count").await, "2");
        assert_eq!(ask(&mut second, "set-tags red").await, "ok");
        assert_eq!(ask(&mut first, "list red").await, format!("[{other}]"));
        assert_eq!(ask(&mut first, &format!("send {other} hello")).await, "ok");
        second.expect_text("hello").await;
        assert_eq!(ask(&mut foreign, "count").await, "1");
        assert_eq!(ask(&mut foreign, &format!("find {bare}")).await, "null");
        for number in [&id, &other] {
            if *number != ask(&mut foreign, "id").await {
                assert_eq!(
                    ask(&mut foreign, &format!("send {number} hello")).await,
                    "error closed"
                );
            }
        }
        second.leave(1000).await;
        assert_eq!(
            ask(&mut first, &format!("send {other} hello")).await,
            "error closed"
        );
        assert_eq!(ask(&mut first, "count").await, "1");
    });
}

/// The payload of the next ping.
async fn ping(peer: &mut Peer, within: Duration) -> Vec<u8> {
    let frame = peer.frame_within(within).await;
    assert_eq!(frame.opcode, opcode::PING, "{frame:?}");
    frame.payload
}

#[test]
fn pings_cannot_be_guessed_and_only_an_equal_pong_counts() {
    covers("keepalive.payload");
    covers("settings.ping-interval");
    covers("settings.timeout");
    scenario(async {
        let server = probe(|mount| {
            mount
                .websocket("ping_interval", "100ms")
                .websocket("timeout", "300ms")
        })
        .await;
        let second = Duration::from_secs(5);
        let mut seen = HashSet::new();
        for _ in 0..3 {
            let mut honest = Peer::connect(server.address, "/probe").await;
            for _ in 0..10 {
                let payload = ping(&mut honest, second).await;
                assert!(payload.len() >= 8, "{payload:?}");
                assert!(seen.insert(payload.clone()), "no payload comes twice");
                honest.send(Frame::pong(payload)).await;
            }
        }
        for wrong in [
            "empty",
            "changed",
            "longer",
            "a ping",
            "a message",
            "an old one",
        ] {
            let mut liar = Peer::connect(server.address, "/probe").await;
            let first = ping(&mut liar, second).await;
            liar.send(Frame::pong(first.clone())).await;
            let mut payload = ping(&mut liar, second).await;
            let answer = match wrong {
                "empty" => Frame::pong(""),
                "changed" => {
                    payload[0] ^= 1;
                    Frame::pong(payload)
                }
                "longer" => Frame::pong([payload, vec![0]].concat()),
                "a ping" => Frame::ping(payload),
                "a message" => Frame::binary(payload),
                _ => Frame::pong(first),
            };
            liar.send(answer).await;
            let until = Instant::now() + second;
            let code = loop {
                let left = until.saturating_duration_since(Instant::now());
                match liar.poll_within(left).await {
                    Some(Incoming::Frame(frame)) if frame.opcode == opcode::CLOSE => {
                        break frame.close_reason().unwrap().0;
                    }
                    Some(Incoming::Frame(_)) => {}
                    other => panic!("{wrong}: {other:?}"),
                }
            };
            assert_eq!(code, 1011, "{wrong}");
        }
    });
}

#[test]
fn the_handler_sets_keepalive() {
    covers("keepalive.mutable");
    covers("keepalive.pongs");
    scenario(async {
        let server = probe(|mount| mount.websocket("ping_interval", "off")).await;
        let mut observer = Observer::watch(server.address, "/probe").await;
        let mut subject = observer.subject().await;
        let peer = &mut subject.peer;
        peer.expect_silence(Duration::from_millis(500)).await;
        assert_eq!(ask(peer, "ping-interval 50").await, "ok");
        for _ in 0..5 {
            let payload = ping(peer, Duration::from_secs(2)).await;
            peer.send(Frame::pong(payload)).await;
        }
        // Off: the peer's own pings are answered all the same.
        peer.send_text("ping-interval off").await;
        loop {
            let frame = peer.frame().await;
            match frame.opcode {
                opcode::PING => peer.send(Frame::pong(frame.payload)).await,
                _ => break assert_eq!(frame, Frame::text("ok")),
            }
        }
        peer.expect_silence(Duration::from_millis(500)).await;
        for payload in ["", "still there?", &"p".repeat(125)] {
            peer.send(Frame::ping(payload)).await;
            assert_eq!(peer.frame().await, Frame::pong(payload));
        }
        // A new window, then a new interval: the pinger starts again.
        assert_eq!(ask(peer, "timeout 100").await, "ok");
        let start = Instant::now();
        assert_eq!(ask(peer, "ping-interval 300").await, "ok");
        ping(peer, Duration::from_secs(2)).await;
        assert!(
            start.elapsed() >= Duration::from_millis(250),
            "not before the interval: {:?}",
            start.elapsed()
        );
        assert_eq!(subject.peer.expect_close(1011).await, "ping timeout");
        observer
            .expect_ending(subject.id, Ending::new(1011, "ping timeout", false, "host"))
            .await;
    });
}

#[test]
fn the_defaults_are_those_that_are_documented() {
    covers("settings.ping-interval");
    covers("settings.timeout");
    covers("frames.duration");
    covers("numbers.idle");
    scenario(async {
        let off = Mount::new("/off", "echo")
            .shared()
            .websocket("ping_interval", "off");
        let server = start(&Site::echo().mount(off)).await;
        let open =
            async |target: &str| (Peer::connect(server.address, target).await, Instant::now());
        let near = |since: Instant, seconds: u64| {
            let elapsed = since.elapsed();
            let limits =
                Duration::from_millis(seconds * 1_000 - 200)..Duration::from_secs(seconds + 2);
            assert!(
                limits.contains(&elapsed),
                "{elapsed:?}, {seconds} s by default"
            );
        };
        let long = Duration::from_secs(35);
        tokio::join!(
            async {
                let (mut peer, opened) = open("/echo").await;
                ping(&mut peer, long).await;
                near(opened, 30);
                let pinged = Instant::now();
                assert_eq!(peer.expect_close_within(1011, long).await, "ping timeout");
                near(pinged, 15);
            },
            async {
                let (mut peer, opened) = open("/echo").await;
                peer.send(Frame::text("a").unfinished()).await;
                let incoming = loop {
                    match peer.poll_within(long).await {
                        Some(Incoming::Frame(frame)) if frame.opcode == opcode::PING => {}
                        other => break other,
                    }
                };
                let Some(Incoming::Frame(frame)) = incoming else {
                    panic!("{incoming:?}")
                };
                assert_eq!(frame.close_reason().map(|(code, _)| code), Some(1008));
                near(opened, 30);
            },
            async {
                let (mut peer, _) = open("/off").await;
                peer.expect_silence(Duration::from_secs(50)).await;
                peer.expect_echo("idle for as long as it likes").await;
            },
        );
    });
}

#[test]
fn masking_is_off_and_warned_about_when_on() {
    covers("settings.masking");
    scenario(async {
        let masked = Mount::new("/masked", "echo")
            .shared()
            .websocket("mask_outgoing", true);
        let server = Child::start(&Site::echo().mount(masked));
        Peer::connect(server.address, "/echo")
            .await
            .expect_echo("in clear")
            .await;
        let mut peer = Peer::connect(server.address, "/masked").await;
        peer.server_masks = true;
        peer.expect_echo("masked").await;
        let log = server.log();
        let warning = log
            .lines()
            .find(|line| line.contains("mask_outgoing"))
            .unwrap_or_else(|| panic!("{log}"));
        assert!(
            warning.contains("WARN") && warning.contains("/masked"),
            "{warning}"
        );
        assert!(
            !log.lines()
                .any(|line| line.contains("mask_outgoing") && line.contains("/echo"))
        );
    });
}
