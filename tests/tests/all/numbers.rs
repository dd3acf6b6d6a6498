//! The numbers that Wharf is at least as good as.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wharf_tests::deadline::{alone, scenario, within};
use wharf_tests::figure::figure;
use wharf_tests::frame::Frame;
use wharf_tests::http::Head;
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::promises::covers;

async fn ask(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

#[test]
fn a_room_holds_32768_sessions() {
    covers("numbers.room");
    covers("server.embedded");
    alone(async {
        const SESSIONS: usize = 32_768;
        let room = Mount::new("/rooms/{room}", "probe").set("instance", "{room}");
        // In-memory connections: a process may not open this many descriptors.
        let server = start(&Site::new().mount(room)).await;
        let head = Head::upgrade("/rooms/full");
        let mut peers = Vec::with_capacity(SESSIONS);
        for _ in 0..SESSIONS {
            let stream = Stream::Memory(server.server.connect().unwrap());
            peers.push(Peer::open(stream, &head).await);
        }
        // The handshake of the last is over before the room knows of it.
        while ask(&mut peers[0], "count").await != SESSIONS.to_string() {}
        let start = Instant::now();
        peers[SESSIONS - 1]
            .send_text("broadcast to all of you")
            .await;
        for peer in &mut peers {
            peer.expect_text("to all of you").await;
        }
        figure(
            "numbers.room",
            format!(
                "{SESSIONS} sessions in a room, a text to all of them in {:.1?}",
                start.elapsed()
            ),
        );
        assert_eq!(server.server.stats().sessions_open, SESSIONS);
    });
}

#[test]
fn a_session_has_10_tags_of_256_characters() {
    covers("numbers.tags");
    scenario(async {
        let server = start(&Site::new().mount(Mount::new("/probe", "probe").shared())).await;
        let mut peer = Peer::connect(server.address, "/probe").await;
        let tags = |count: usize, length: usize| -> String {
            let tags: Vec<String> = (0..count).map(|at| format!("{at:é>length$}")).collect();
            tags.join(" ")
        };
        assert_eq!(
            ask(&mut peer, &format!("set-tags {}", tags(10, 256))).await,
            "ok"
        );
        let kept: Vec<String> = serde_json::from_str(&ask(&mut peer, "tags").await).unwrap();
        assert_eq!(kept.join(" "), tags(10, 256));
        for (count, length) in [(11, 1), (1, 257)] {
            let answer = ask(&mut peer, &format!("set-tags {}", tags(count, length))).await;
            assert!(answer.starts_with("error too-large "), "{answer}");
        }
        // What was refused has changed nothing.
        let kept: Vec<String> = serde_json::from_str(&ask(&mut peer, "tags").await).unwrap();
        assert_eq!(kept.len(), 10);
        let id = ask(&mut peer, "id").await;
        assert_eq!(
            ask(&mut peer, &format!("list {}", kept[9])).await,
            format!("[{id}]")
        );
        assert_eq!(ask(&mut peer, "list none").await, "[]");
    });
}

#[test]
fn an_attachment_has_16_kib() {
    covers("numbers.attachment");
    scenario(async {
        let server = start(&Site::new().mount(Mount::new("/probe", "probe").shared())).await;
        let mut peer = Peer::connect(server.address, "/probe").await;
        assert_eq!(ask(&mut peer, "set-attachment-size 16384").await, "ok");
        assert_eq!(ask(&mut peer, "attachment").await, "07".repeat(16_384));
        assert_eq!(
            ask(&mut peer, "set-attachment-size 16385").await,
            "error too-large 16384"
        );
        assert_eq!(ask(&mut peer, "attachment").await.len(), 2 * 16_384);
        assert_eq!(ask(&mut peer, "set-attachment 00ff").await, "ok");
        assert_eq!(ask(&mut peer, "attachment").await, "00ff");
    });
}

#[test]
fn an_auto_response_has_2_kib_each_way() {
    covers("numbers.auto-response");
    scenario(async {
        let server = start(&Site::new().mount(Mount::new("/probe", "probe").shared())).await;
        let mut peer = Peer::connect(server.address, "/probe").await;
        let (question, answer) = ("q".repeat(2_048), "a".repeat(2_048));
        assert_eq!(
            ask(&mut peer, &format!("auto-response {question} {answer}")).await,
            "ok"
        );
        assert_eq!(ask(&mut peer, &question).await, answer);
        // Only that text, as text.
        assert_eq!(ask(&mut peer, "echo by the guest").await, "by the guest");
        peer.send_binary(question.as_bytes()).await;
        peer.expect_binary(question.as_bytes()).await;
        for (question, answer) in [
            (format!("{question}q"), "a".into()),
            ("q".into(), format!("{answer}a")),
        ] {
            assert_eq!(
                ask(&mut peer, &format!("auto-response {question} {answer}")).await,
                "error too-large 2048"
            );
        }
        assert_eq!(ask(&mut peer, "auto-response off").await, "ok");
        assert!(
            ask(&mut peer, &question)
                .await
                .starts_with("unknown command")
        );
        // The guest is not woken: one that spins at every call answers none by itself.
        let site = Site::new().mount(Mount::new("/probe", "probe").guest("cpu_per_call", "100ms"));
        let server = start(&site).await;
        let mut peer = Peer::connect(server.address, "/probe").await;
        assert_eq!(ask(&mut peer, "auto-response ping pong").await, "ok");
        for _ in 0..1_000 {
            peer.send_text("ping").await;
        }
        for _ in 0..1_000 {
            peer.expect_text("pong").await;
        }
    });
}

/// Reads until the close frame, answers it and waits for the end; the code.
async fn see_out(mut peer: Peer) -> u16 {
    let code = loop {
        match peer.next_but_pings_within(Duration::from_secs(30)).await {
            Incoming::Frame(frame) => {
                if let Some((code, _)) = frame
                    .close_reason()
                    .filter(|_| frame.opcode == wharf_tests::frame::opcode::CLOSE)
                {
                    break code;
                }
            }
            Incoming::End(end) => panic!("a session ended without a close frame: {end:?}"),
        }
    };
    peer.send(Frame::close(code, "")).await;
    peer.expect_eof().await;
    code
}

#[test]
fn ten_thousand_sessions_drain_in_2_seconds() {
    covers("numbers.drain");
    covers("ends.drain");
    alone(async {
        const SESSIONS: usize = 10_000;
        let mut server = Child::start(&Site::echo().workers(2));
        let mut sessions = JoinSet::new();
        for number in 0..SESSIONS {
            let stream = Stream::dial(server.address, Dial::from(2 + (number % 8) as u8)).await;
            sessions.spawn(see_out(Peer::open(stream, &Head::upgrade("/echo")).await));
        }
        let start = Instant::now();
        server.signal("TERM");
        let mut codes = Vec::new();
        within(Duration::from_secs(30), "all sessions to end", async {
            while let Some(code) = sessions.join_next().await {
                codes.push(code.unwrap());
            }
        })
        .await;
        let status = server.exit_within(Duration::from_secs(10)).await;
        let took = start.elapsed();
        assert!(status.success(), "{status}: {}", server.log());
        assert!(codes.iter().all(|code| *code == 1001) && codes.len() == SESSIONS);
        figure(
            "numbers.drain",
            format!("{SESSIONS} × 1001 and the process gone in {took:.2?}"),
        );
        assert!(took <= Duration::from_secs(2), "{took:?}");
    });
}
