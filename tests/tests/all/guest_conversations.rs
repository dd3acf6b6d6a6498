//! Conversations that do harm: each is cut at its limits or held back, and only its own sessions end.

use std::time::Duration;

use wharf_tests::deadline::alone;
use wharf_tests::figure::{bytes, figure};
use wharf_tests::site::Mount;

use crate::peer_heads::JITTER;
use crate::promises::covers;
use crate::village::{MIB, PATIENCE, Village, ended, expect_failed};

/// CPU time of a wake-up in these tests.
const DEADLINE: Duration = Duration::from_millis(500);

fn hostile(path: &str) -> Mount {
    Mount::new(path, "hostile-talker")
        .guest("cpu_per_call", "500ms")
        .guest("wall_per_call", "2s")
        .guest("memory_bytes_max", "16MiB")
}

async fn village() -> Village {
    Village::new([hostile("/hostile"), hostile("/shared").shared()]).await
}

#[test]
fn a_conversation_that_spins_traps_or_grows_is_cut() {
    covers("guest.converses");
    alone(async {
        let mut village = village().await;
        let mut results = Vec::new();
        for deed in ["trap", "grow", "spin", "yield"] {
            let cpu = village.process().cpu_time();
            let mut peer = village.enter("/hostile").await;
            let mut beside = village.enter("/hostile").await;
            beside.expect_echo("an instance of its own").await;
            peer.send_text(deed).await;
            expect_failed(&mut peer, PATIENCE).await;
            beside.expect_echo("and is untouched").await;
            beside.leave(1000).await;
            let used = village.process().cpu_time() - cpu;
            if ["spin", "yield"].contains(&deed) {
                // Between the turns of one that yields its worker works, too.
                let turns = if deed == "yield" { 2 } else { 1 };
                let limit = DEADLINE.mul_f64(1.2) * turns + Duration::from_millis(10) + JITTER;
                assert!(
                    used >= DEADLINE.mul_f64(0.8) && used <= limit,
                    "{deed}: {used:?}"
                );
            }
            results.push(format!("{deed} {used:.0?} of CPU"));
        }
        // One Store, one fate; the next one in gets a fresh instance.
        let mut peers = Vec::new();
        for _ in 0..3 {
            let mut peer = village.enter("/shared").await;
            peer.expect_echo("together").await;
            peers.push(peer);
        }
        peers[1].send_text("trap").await;
        let mut incidents = Vec::new();
        for peer in &mut peers {
            incidents.push(expect_failed(peer, PATIENCE).await);
        }
        incidents.dedup();
        assert_eq!(incidents.len(), 1, "one incident for all");
        village.enter("/shared").await.expect_echo("afresh").await;
        figure(
            "guest.converses",
            format!("deadline {DEADLINE:?}: {}", results.join(", ")),
        );
        village.assert_untouched().await;
    });
}

#[test]
fn sends_that_nobody_awaits_are_bounded() {
    covers("guest.converses");
    alone(async {
        let mut village = village().await;
        let mut results = Vec::new();
        for deed in ["flood 10000", "sends 10000", "sends 10"] {
            let mut peer = village.enter_deaf("/hostile").await;
            let growth = village
                .peak_of(async {
                    peer.send_text(deed).await;
                    // The flood waits for us until its write timeout or the slow reader's end; the
                    // others are cut, for too many refusals or for their CPU time.
                    if deed.starts_with("flood") {
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    } else {
                        let code = ended(&mut peer).await;
                        assert!([Some(1008), Some(1011), None].contains(&code), "{code:?}");
                    }
                })
                .await;
            assert!(growth < 4 * MIB, "{deed}: {}", bytes(growth));
            results.push(format!("{deed}: + {}", bytes(growth)));
        }
        let mut peer = village.enter("/hostile").await;
        peer.send_text("push 100").await;
        let answer = loop {
            let said = peer.text().await;
            if said.ends_with("refused") {
                break said;
            }
        };
        results.push(format!("10,000 sends of 100 B begun at once: {answer}"));
        figure("guest.converses", results.join(", "));
        village.assert_untouched().await;
    });
}

#[test]
fn check_says_which_world_a_component_is() {
    covers("guest.imports");
    for (guest, world) in [
        ("talker", "websocket-conversation"),
        ("echo", "websocket-handler"),
    ] {
        let path = wharf_tests::guests::path(guest);
        let output = wharf_tests::server::run(&["check", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains(&format!("{world} of wharf:websocket")),
            "{said}"
        );
    }
}
