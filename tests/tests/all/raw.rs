//! Raw routes through a real client: the handler sees the peer's control frames and answers them
//! itself; the host keeps the rules, its limits and the last word.

use std::time::Duration;

use wharf_tests::deadline::{STEP, alone, scenario};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::peer::Peer;
use wharf_tests::server::{Local, run, start};
use wharf_tests::site::{Folder, Mount, Site};

use crate::promises::covers;
use crate::village::{MIB, PATIENCE, Village, ended, expect_failed};

const SLEEPER_PATH: &str = "/sleeper";

fn raw(path: &str) -> Mount {
    Mount::new(path, "raw").websocket("raw", true)
}

async fn server() -> Local {
    let site = Site::new()
        .mount(raw("/own"))
        .mount(raw("/shared").shared())
        .mount(raw("/quick").shared().websocket("close_timeout", "300ms"))
        .mount(raw(SLEEPER_PATH).shared().set("idle", "50ms"));
    start(&site).await
}

async fn observer(server: &Local, path: &str) -> Peer {
    let mut observer = Peer::connect(server.address, path).await;
    observer.send_text("observe").await;
    observer.expect_echo("observing").await;
    observer
}

async fn expect_pong(peer: &mut Peer, payload: &[u8]) {
    let frame = peer.frame().await;
    assert_eq!((frame.opcode, &*frame.payload), (opcode::PONG, payload));
}

#[test]
fn a_raw_handler_sees_pings_and_pongs_in_their_place_and_answers_them() {
    covers("raw.frames");
    scenario(async {
        let server = server().await;
        for path in ["/own", "/shared", SLEEPER_PATH] {
            let mut peer = Peer::connect(server.address, path).await;
            // Between two messages, and between two fragments of one.
            let mut sent = Vec::new();
            for frame in [
                Frame::text("before"),
                Frame::ping("one"),
                Frame::text("frag").unfinished(),
                Frame::pong("unasked"),
                Frame::continuation("mented"),
            ] {
                sent.extend(frame.encode(peer.key));
            }
            peer.raw(sent).await;
            peer.expect_text("before").await;
            peer.expect_text("ping one").await;
            expect_pong(&mut peer, b"one").await;
            peer.expect_text("pong unasked").await;
            peer.expect_text("fragmented").await;
            if path == SLEEPER_PATH {
                // A ping is a reason to wake up.
                let asleep = || match server.server.stats().instances_live {
                    0..=2 => Ok(()),
                    live => Err(format!("{live} instances")),
                };
                wharf_tests::deadline::eventually(PATIENCE, "it sleeps", asleep).await;
                peer.send(Frame::ping("awake?")).await;
                peer.expect_text("ping awake?").await;
                expect_pong(&mut peer, b"awake?").await;
            }
            // Its own pings, and what it may not send.
            peer.send_text("ping whose").await;
            let ping = peer.frame().await;
            assert_eq!((ping.opcode, &*ping.payload), (opcode::PING, &b"whose"[..]));
            peer.send(Frame::pong("whose")).await;
            peer.expect_text("pong whose").await;
            peer.send_text(format!("pong {}", "x".repeat(126))).await;
            peer.expect_text("SessionError::TooLarge(125)").await;
            peer.send(Frame::close(1000, "")).await;
            peer.expect_text("close 1000 ").await;
        }
    });
}

#[test]
fn a_raw_handler_answers_the_close_with_its_own_words() {
    covers("raw.close");
    scenario(async {
        let server = server().await;
        let mut observer = observer(&server, "/shared").await;
        let mut peer = Peer::connect(server.address, "/shared").await;
        peer.send(Frame::close(3000, "bye")).await;
        peer.expect_text("close 3000 bye").await;
        peer.expect_text("last words").await;
        assert_eq!(peer.expect_close(4001).await, "its own");
        peer.expect_eof().await;
        observer
            .expect_text("3000 \"bye\" clean=true by Initiator::Peer")
            .await;
        // An empty one by an empty one.
        let mut peer = Peer::connect(server.address, "/shared").await;
        peer.send_text("answer empty").await;
        peer.expect_text("so be it").await;
        peer.send(Frame::close_empty()).await;
        peer.expect_text("close").await;
        peer.expect_empty_close().await;
        peer.expect_eof().await;
        observer
            .expect_text("1005 \"\" clean=true by Initiator::Peer")
            .await;
        // And one that it begins with.
        let mut peer = Peer::connect(server.address, "/shared").await;
        peer.send_text("empty").await;
        peer.expect_empty_close().await;
        peer.send(Frame::ping("not shown any more")).await;
        peer.send(Frame::close_empty()).await;
        peer.expect_eof().await;
        observer
            .expect_text("1005 \"\" clean=true by Initiator::Handler")
            .await;
    });
}

#[test]
fn the_host_has_the_last_word_on_a_raw_route() {
    covers("raw.host");
    scenario(async {
        let server = server().await;
        let mut observer = observer(&server, "/quick").await;
        // A close that nobody answers is answered when its time is up.
        let mut peer = Peer::connect(server.address, "/quick").await;
        peer.send_text("answer nothing").await;
        peer.expect_text("so be it").await;
        peer.send(Frame::ping("no pong")).await;
        peer.send(Frame::close(3000, "bye")).await;
        peer.expect_text("ping no pong").await;
        peer.expect_text("close 3000 bye").await;
        peer.expect_close(3000).await;
        peer.expect_eof().await;
        observer
            .expect_text("3000 \"bye\" clean=true by Initiator::Peer")
            .await;
        // What breaks a rule is not the handler's to answer.
        for (frame, code) in [
            (Frame::ping("x".repeat(126)), 1002),
            (Frame::close(1005, ""), 1002),
            (Frame::close(1000, [0xff]), 1007),
        ] {
            let mut peer = Peer::connect(server.address, "/quick").await;
            peer.send(frame).await;
            peer.expect_close(code).await;
            let told = observer.text().await;
            assert!(told.starts_with(&format!("{code} ")), "{told}");
        }
        // Nor is the server's leave.
        let mut peer = Peer::connect(server.address, "/own").await;
        peer.send_text("answer nothing").await;
        peer.expect_text("so be it").await;
        let drained = tokio::spawn(async move { server.server.drain(STEP).await });
        peer.expect_closed(1001).await;
        observer.drain_to_close_within(1001, STEP).await;
        observer.send(Frame::close(1001, "")).await;
        assert_eq!(drained.await.unwrap(), 0, "sessions that were left");
    });
}

#[test]
fn the_hosts_own_pings_go_on_unless_they_are_off() {
    covers("raw.host");
    scenario(async {
        let beat = |path: &str| raw(path).websocket("ping_interval", "100ms");
        let site = Site::new()
            .mount(beat("/").websocket("timeout", "10s"))
            .mount(beat("/strict").websocket("timeout", "200ms"));
        let server = start(&site).await;
        let mut peer = Peer::connect(server.address, "/").await;
        for _ in 0..3 {
            let ping = peer.frame().await;
            assert_eq!(ping.opcode, opcode::PING);
            // The pong is the host's; the handler sees the one after it only.
            peer.send(Frame::pong(ping.payload)).await;
        }
        peer.send(Frame::pong("mine")).await;
        let told = peer.message().await;
        assert_eq!(told.payload, b"pong mine");
        // One that is never answered ends the session, whatever the handler thinks.
        let mut peer = Peer::connect(server.address, "/strict").await;
        assert_eq!(peer.frame().await.opcode, opcode::PING);
        let close = peer.frame().await.close_reason();
        assert_eq!(close, Some((1011, "ping timeout".to_owned())));
    });
}

#[test]
fn a_raw_route_and_its_component_have_to_fit() {
    covers("raw.fits");
    let refusal = |mount: Mount| {
        let folder = Folder::new();
        let config = folder.write("wharf.toml", Site::new().mount(mount).toml());
        let output = run(&["serve", "--config", config.to_str().unwrap()]);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let not_raw = refusal(Mount::new("/", "raw"));
    let right =
        "wharf:websocket/control@0.1.0: the route is not raw; `[route.websocket] raw = true`";
    assert!(not_raw.contains(right), "{not_raw}");
    let no_handler = refusal(Mount::new("/", "echo").websocket("raw", true));
    let right = "does not export wharf:websocket/control-handler@0.1.0";
    assert!(no_handler.contains(right), "{no_handler}");
    let conversation = refusal(Mount::new("/", "talker").websocket("raw", true));
    assert!(conversation.contains("a conversation"), "{conversation}");
}

#[test]
fn the_heartbeat_example_ends_who_does_not_answer() {
    covers("raw.frames");
    scenario(async {
        let heart = Mount::new("/", "heartbeat").websocket("raw", true);
        let heart = heart.websocket("ping_interval", "off");
        let server = start(&Site::new().mount(heart.grant("timers", true))).await;
        let beat = async |peer: &mut Peer| {
            let ping = peer.frame().await;
            assert_eq!(ping.opcode, opcode::PING);
            Frame::pong(ping.payload)
        };
        let mut peer = Peer::connect(server.address, "/").await;
        for number in 1..=2 {
            let pong = beat(&mut peer).await;
            peer.send(pong).await;
            peer.expect_text(&format!("beat {number}")).await;
        }
        peer.send(Frame::pong("no beat")).await;
        peer.send(Frame::ping("x")).await;
        expect_pong(&mut peer, b"x").await;
        peer.send(Frame::close(1001, "")).await;
        assert_eq!(peer.expect_close(1000).await, "after 2 beats");
        let mut peer = Peer::connect(server.address, "/").await;
        for _ in 0..3 {
            beat(&mut peer).await;
        }
        let close = peer.frame().await.close_reason();
        assert_eq!(close, Some((4000, "no sign of life".to_owned())));
    });
}

#[test]
fn a_raw_handler_that_does_harm_is_cut_at_its_limits() {
    covers("guest.controls");
    alone(async {
        let hostile = |path: &str| {
            let mount = raw(path).websocket("close_timeout", "300ms");
            mount.guest("cpu_per_call", "500ms")
        };
        let mut village = Village::new([hostile("/hostile")]).await;
        let mut results = Vec::new();
        // Pongs and pings without end, for one who does not read.
        for deed in ["answer floods", "storm"] {
            let mut peer = village.enter_deaf("/hostile").await;
            peer.send_text(deed).await;
            let growth = village.peak_of(async {
                if deed == "answer floods" {
                    peer.expect_text("so be it").await;
                    peer.send(Frame::ping("one")).await;
                }
                let code = ended(&mut peer).await;
                assert!([Some(1008), Some(1011), None].contains(&code), "{code:?}");
            });
            let growth = growth.await;
            assert!(growth < 4 * MIB, "{deed}: {}", bytes(growth));
            results.push(format!("{deed}: cut, + {}", bytes(growth)));
        }
        let mut peer = village.enter("/hostile").await;
        peer.send_text("answer trap").await;
        peer.expect_text("so be it").await;
        peer.send(Frame::ping("one")).await;
        expect_failed(&mut peer, PATIENCE).await;
        // Never an answer: a thousand closes are answered by the host, and leave nothing.
        let growth = village.peak_of(async {
            let mut peers = Vec::new();
            for _ in 0..1_000 {
                let mut peer = village.enter("/hostile").await;
                peer.send_text("answer nothing").await;
                peer.expect_text("so be it").await;
                peer.send(Frame::close(3000, "bye")).await;
                peers.push(peer);
            }
            for peer in &mut peers {
                peer.drain_to_close_within(3000, PATIENCE).await;
            }
        });
        let growth = growth.await;
        results.push(format!("1,000 closes unanswered: + {}", bytes(growth)));
        // Pings without end by one who never reads: held back, as messages are.
        let mut flooder = village.enter_deaf("/hostile").await;
        let ping = Frame::ping([b'x'; 125]).encode(flooder.key);
        let block = ping.repeat(64 * 1024 / ping.len());
        let growth = village.peak_of(async {
            for _ in 0..16 * 64 {
                let written = flooder.raw_or_fail(&block);
                match tokio::time::timeout(Duration::from_millis(500), written).await {
                    Ok(Ok(())) => {}
                    // No room is left on the way, or the session was cut.
                    Ok(Err(_)) | Err(_) => break,
                }
            }
        });
        let growth = growth.await;
        assert!(growth < 2 * MIB, "pings: {}", bytes(growth));
        results.push(format!(
            "64 MiB of pings, nothing read: + {}",
            bytes(growth)
        ));
        figure("guest.controls", results.join("; "));
        village.assert_untouched().await;
    });
}
