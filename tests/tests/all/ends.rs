//! Every way in which a session ends, seen from both sides: the code on the wire, and what the
//! guest's `on-close` got.

use std::time::{Duration, Instant};

use wharf_tests::deadline::scenario;
use wharf_tests::frame::{Frame, MASK, opcode};
use wharf_tests::http::Head;
use wharf_tests::observer::{Ending, Observer};
use wharf_tests::peer::{Incoming, Peer, exchange};
use wharf_tests::server::{Local, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::promises::covers;
use crate::village::expect_failed;

fn probe() -> Mount {
    Mount::new("/probe", "probe").shared()
}

async fn observed(mount: Mount) -> (Local, Observer) {
    let server = start(&Site::new().mount(mount)).await;
    let observer = Observer::watch(server.address, "/probe").await;
    (server, observer)
}

#[test]
fn a_peer_that_closes_with_a_code() {
    covers("ends.peer-code");
    covers("session.close");
    scenario(async {
        let (_server, mut observer) = observed(probe()).await;
        for (code, reason) in [
            (1000, ""),
            (1001, "tab closed"),
            (3000, "€uro"),
            (4999, "x"),
        ] {
            let mut subject = observer.subject().await;
            subject.peer.send(Frame::close(code, reason)).await;
            subject.peer.expect_close(code).await;
            subject.peer.expect_eof().await;
            observer
                .expect_ending(subject.id, Ending::new(code.into(), reason, true, "peer"))
                .await;
        }
    });
}

#[test]
fn a_peer_that_closes_with_no_code() {
    covers("ends.peer-empty");
    scenario(async {
        let (_server, mut observer) = observed(probe()).await;
        let mut subject = observer.subject().await;
        subject.peer.send(Frame::close_empty()).await;
        subject.peer.expect_empty_close().await;
        subject.peer.expect_eof().await;
        observer
            .expect_ending(subject.id, Ending::new(1005, "", true, "peer"))
            .await;
    });
}

#[test]
fn a_connection_that_is_lost() {
    covers("ends.lost");
    scenario(async {
        let (_server, mut observer) = observed(probe()).await;
        let lost = Ending::new(1006, "", false, "peer");
        let reset = observer.subject().await;
        reset.peer.stream.reset();
        observer.expect_ending(reset.id, lost.clone()).await;

        let mut half_open = observer.subject().await;
        half_open.peer.stream.half_close().await.unwrap();
        half_open
            .peer
            .expect_end_within(Duration::from_secs(5))
            .await;
        observer.expect_ending(half_open.id, lost.clone()).await;

        let mut in_a_frame = observer.subject().await;
        in_a_frame
            .peer
            .raw(&Frame::text("half of it").encode(Some(MASK))[..9])
            .await;
        drop(in_a_frame.peer);
        observer.expect_ending(in_a_frame.id, lost).await;
    });
}

#[test]
fn messages_before_a_close_are_answered_first() {
    covers("ends.peer-code");
    covers("session.messages");
    scenario(async {
        let (_server, mut observer) = observed(probe()).await;
        let mut subject = observer.subject().await;
        let mut frames = Vec::new();
        for number in 0..50 {
            frames.extend(Frame::text(format!("echo {number}")).encode(Some(MASK)));
        }
        frames.extend(Frame::close(1000, "done").encode(Some(MASK)));
        subject.peer.raw(frames).await;
        for number in 0..50 {
            subject.peer.expect_text(&number.to_string()).await;
        }
        subject.peer.expect_close(1000).await;
        subject.peer.expect_eof().await;
        observer
            .expect_ending(subject.id, Ending::new(1000, "done", true, "peer"))
            .await;
    });
}

#[test]
fn a_ping_that_is_not_answered() {
    covers("ends.ping-timeout");
    covers("settings.timeout");
    scenario(async {
        let (_server, mut observer) = observed(probe()).await;
        let mut subject = observer.subject().await;
        assert_eq!(subject.ask("timeout 400").await, "ok");
        let asked = Instant::now();
        assert_eq!(subject.ask("ping-interval 200").await, "ok");
        let ping = subject.peer.frame().await;
        assert_eq!(ping.opcode, opcode::PING);
        // The window runs from the ping, whatever else is said; further pings may come.
        let (code, reason) = loop {
            let frame = subject.peer.frame().await;
            if frame.opcode != opcode::PING {
                break frame.close_reason().unwrap();
            }
        };
        let waited = asked.elapsed();
        assert_eq!((code, reason.as_str()), (1011, "ping timeout"));
        assert!(
            waited >= Duration::from_millis(550),
            "the interval and the whole window: {waited:?}"
        );
        // Without waiting for our answer.
        subject.peer.expect_end_within(Duration::from_secs(4)).await;
        observer
            .expect_ending(subject.id, Ending::new(1011, "ping timeout", false, "host"))
            .await;
    });
}

#[test]
fn a_handler_that_closes() {
    covers("ends.handler");
    covers("session.close");
    scenario(async {
        let (_server, mut observer) = observed(probe()).await;
        for code in [1000, 1003, 1011, 3000, 4999] {
            let mut subject = observer.subject().await;
            subject
                .peer
                .send_text(format!("close {code} because of that"))
                .await;
            assert_eq!(subject.peer.expect_closed(code).await, "because of that");
            observer
                .expect_ending(
                    subject.id,
                    Ending::new(code.into(), "because of that", true, "handler"),
                )
                .await;
        }
        // One session closes another.
        let (mut subject, mut other) = (observer.subject().await, observer.subject().await);
        assert_eq!(
            subject
                .ask(&format!("close-other {} 4001 leave", other.id))
                .await,
            "ok"
        );
        assert_eq!(other.peer.expect_closed(4001).await, "leave");
        observer
            .expect_ending(other.id, Ending::new(4001, "leave", true, "handler"))
            .await;
        // Messages behind the close are not delivered, and nothing is sent any more.
        let mut late = observer.subject().await;
        late.peer.send_text("close 4002 first").await;
        late.peer.send_text("echo too late").await;
        late.peer.expect_closed(4002).await;
        observer
            .expect_ending(late.id, Ending::new(4002, "first", true, "handler"))
            .await;
    });
}

#[test]
fn later_closes_change_nothing_and_bad_codes_do_not_go_out() {
    covers("ends.handler");
    covers("session.close");
    scenario(async {
        let server = start(&Site::new().mount(Mount::new("/hostile", "hostile"))).await;
        let open = async || Peer::connect(server.address, "/hostile").await;
        for (deed, code, reason) in [
            ("close-twice", 4001, "first"),
            ("close-code", 1011, "must not be sent"),
            ("send-after-close", 4004, "closed first"),
        ] {
            let mut peer = open().await;
            peer.send_text(deed).await;
            assert_eq!(peer.expect_closed(code).await, reason, "{deed}");
        }
    });
}

#[test]
fn a_peer_that_does_not_answer_our_close_has_5_seconds() {
    covers("ends.close-timeout");
    scenario(async {
        let (_server, mut observer) = observed(probe()).await;
        let mut subject = observer.subject().await;
        let asked = Instant::now();
        subject.peer.send_text("close 4000 bye").await;
        assert_eq!(subject.peer.expect_close(4000).await, "bye");
        // Whatever the peer says instead of a close frame does not count.
        subject.peer.send_text("echo still talking").await;
        subject.peer.expect_end_within(Duration::from_secs(8)).await;
        let waited = asked.elapsed();
        assert!(
            waited >= Duration::from_millis(4_900),
            "the peer has its 5 s: {waited:?}"
        );
        assert!(waited <= Duration::from_secs(7), "and not more: {waited:?}");
        observer
            .expect_ending(subject.id, Ending::new(4000, "bye", false, "handler"))
            .await;
    });
}

#[test]
fn a_reason_is_cut_to_123_bytes_on_a_character() {
    covers("ends.reason-cut");
    scenario(async {
        let (_server, mut observer) = observed(probe()).await;
        let cut = [
            ("a".repeat(200), "a".repeat(123)),
            ("€".repeat(200), "€".repeat(41)),
        ];
        let off = [(
            format!("a{}", "€".repeat(100)),
            format!("a{}", "€".repeat(40)),
        )];
        for (reason, left) in cut.into_iter().chain(off) {
            let mut subject = observer.subject().await;
            subject.peer.send_text(format!("close 4000 {reason}")).await;
            assert_eq!(subject.peer.expect_closed(4000).await, left);
            observer
                .expect_ending(subject.id, Ending::new(4000, &left, true, "handler"))
                .await;
        }
    });
}

#[test]
fn a_protocol_error_is_told_to_both() {
    covers("ends.protocol-error");
    covers("session.close");
    scenario(async {
        let mount = probe()
            .websocket("message_duration_max", "300ms")
            .websocket("max_message_bytes", 1_000);
        let (_server, mut observer) = observed(mount).await;
        let offences = [
            (Frame::text("x").encode(None), 1002),
            (Frame::text(b"\xff").encode(Some(MASK)), 1007),
            (Frame::close(1005, "").encode(Some(MASK)), 1002),
            (Frame::binary([0; 1_001]).encode(Some(MASK)), 1009),
            (Frame::text("a").unfinished().encode(Some(MASK)), 1008),
        ];
        for (bytes, code) in offences {
            let mut subject = observer.subject().await;
            subject.peer.raw(bytes).await;
            let reason = subject.peer.expect_closed(code).await;
            let ending = observer.ending(subject.id).await;
            // RFC 6455, section 7.1.7: the peer's answer to a failed connection is not awaited.
            assert_eq!(
                ending,
                Ending {
                    clean: ending.clean,
                    ..Ending::new(code.into(), &reason, false, "host")
                }
            );
            assert_eq!(observer.endings(subject.id).await, 1);
        }
    });
}

#[test]
fn a_reader_that_is_too_slow() {
    covers("ends.slow-consumer");
    scenario(async {
        let (server, mut observer) =
            observed(probe().websocket("slow_consumer_timeout", "1s")).await;
        let stream = Stream::dial(server.address, Dial::small_buffers()).await;
        let mut subject = observer
            .subject_over(stream, &Head::upgrade("/probe"))
            .await;
        // The handler keeps the queue full; the client reads nothing.
        let press = format!("on {} try-fill 1000 16000", subject.id);
        let start = Instant::now();
        let mut was_full = false;
        loop {
            observer.peer.send_text(&press).await;
            let filled = observer.ask("filled").await;
            if filled.ends_with("closed") {
                break;
            }
            was_full |= filled == "0 error full";
            assert!(start.elapsed() < Duration::from_secs(30), "{filled}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(was_full, "the queue was full before the end");
        // The time begins once the socket takes nothing more, so after the first text was sent.
        let waited = start.elapsed();
        assert!(
            waited >= Duration::from_secs(1),
            "the whole time: {waited:?}"
        );
        assert_eq!(
            subject
                .peer
                .drain_to_close_within(1008, Duration::from_secs(10))
                .await,
            "slow consumer"
        );
        let _gone = subject
            .peer
            .raw_or_fail(Frame::close(1008, "").encode(Some(MASK)))
            .await;
        let ending = observer.ending(subject.id).await;
        assert_eq!(
            ending,
            Ending {
                clean: ending.clean,
                ..Ending::new(1008, "slow consumer", false, "host")
            }
        );
    });
}

#[test]
fn a_reader_that_catches_up_in_time_is_not_cut() {
    covers("ends.slow-consumer");
    scenario(async {
        let (server, mut observer) =
            observed(probe().websocket("slow_consumer_timeout", "3s")).await;
        let stream = Stream::dial(server.address, Dial::small_buffers()).await;
        let mut subject = observer
            .subject_over(stream, &Head::upgrade("/probe"))
            .await;
        for _ in 0..4 {
            // Full, then read empty before the time is over: the clock starts anew each time.
            subject.peer.send_text("try-fill 100 16000").await;
            tokio::time::sleep(Duration::from_millis(1_000)).await;
            while let Some(incoming) = subject.peer.poll_within(Duration::from_millis(200)).await {
                assert!(matches!(incoming, Incoming::Frame(_)), "{incoming:?}");
            }
        }
        subject.peer.send_text("echo still here").await;
        subject.peer.expect_text("still here").await;
        subject.peer.leave(1000).await;
    });
}

#[test]
fn a_handler_that_sends_too_much_loses_the_session() {
    covers("ends.handler-limit");
    scenario(async {
        let (server, mut observer) = observed(probe()).await;
        let stream = Stream::dial(server.address, Dial::small_buffers()).await;
        let mut subject = observer
            .subject_over(stream, &Head::upgrade("/probe"))
            .await;
        // It does not stop when it is told that the queue is full.
        subject
            .peer
            .send_text(format!("repeat 100000 {}", "x".repeat(1_000)))
            .await;
        let reason = subject
            .peer
            .drain_to_close_within(1008, Duration::from_secs(10))
            .await;
        assert_ne!(reason, "slow consumer");
        let _gone = subject
            .peer
            .raw_or_fail(Frame::close(1008, "").encode(Some(MASK)))
            .await;
        let ending = observer.ending(subject.id).await;
        assert_eq!(
            ending,
            Ending {
                clean: ending.clean,
                ..Ending::new(1008, &reason, false, "host")
            }
        );
    });
}

#[test]
fn a_handler_that_fails_ends_its_sessions_and_its_store() {
    covers("ends.handler-failed");
    covers("session.trap");
    scenario(async {
        let (server, mut observer) = observed(probe().guest("cpu_per_call", "200ms")).await;
        let mut bystander = observer.subject().await;
        let mut subject = observer.subject().await;
        subject.peer.send_text("trap").await;
        let limit = Duration::from_secs(5);
        let incident = expect_failed(&mut subject.peer, limit).await;
        // All sessions of the Store end the same way, under the same incident; none is told of any ending.
        assert_eq!(expect_failed(&mut bystander.peer, limit).await, incident);
        let reason = match observer.peer.next().await {
            Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => frame.close_reason(),
            other => panic!("on-close ran in a Store that is gone, or no close came: {other:?}"),
        };
        assert_eq!(reason, Some((1011, format!("handler failed {incident}"))));
        // The next session has a new Store, which knows nothing of the old one.
        let mut fresh = Peer::connect(server.address, "/probe").await;
        fresh.send_text("events").await;
        let events = fresh.text().await;
        assert_eq!(events.matches("\"open\"").count(), 1, "{events}");
        assert!(!events.contains("\"close\""), "{events}");
    });
}

#[test]
fn a_server_without_room_for_another_instance_says_so() {
    covers("ends.capacity");
    covers("handshake.capacity");
    scenario(async {
        let site = Site::new()
            .section("engine", "instances_max", 2)
            .mount(Mount::new("/own", "probe"));
        let server = start(&site).await;
        let mut first = Peer::connect(server.address, "/own").await;
        let _second = Peer::connect(server.address, "/own").await;
        let third = Peer::try_open(Stream::tcp(server.address).await, &Head::upgrade("/own")).await;
        match third {
            // Known only after the 101.
            Ok(mut peer) => drop(peer.expect_closed(1013).await),
            Err(refusal) => {
                assert_eq!(refusal.status, 503);
                assert!(refusal.header("retry-after").is_some());
            }
        }
        first.send_text("echo not touched").await;
        first.expect_text("not touched").await;
        first.leave(1000).await;
        let response = exchange(server.address, &Head::upgrade("/own")).await;
        assert!(matches!(response.status, 101 | 503));
    });
}
