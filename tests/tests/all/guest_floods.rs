//! Handlers that send, log or create handles without end. What they fill is their own and bounded.

use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_tests::deadline::{alone, eventually};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::site::Mount;

use crate::promises::covers;
use crate::village::{MIB, PATIENCE, Village, ended, expect_failed};

#[test]
fn a_guest_that_sends_without_end_fills_its_own_queue() {
    covers("guest.floods");
    covers("ends.handler-limit");
    alone(async {
        const DEEDS: [&str; 3] = ["try-flood", "flood", "flood-small"];
        // A route for each deed: sessions that share an instance share its end.
        let mounts = DEEDS.map(|deed| Mount::new(&format!("/{deed}"), "hostile").shared());
        let mut village = Village::new(mounts).await;
        let mut results = Vec::new();
        for deed in DEEDS {
            let mut what = String::new();
            let peak = village.peak_of(async {
                let mut peer = village.enter_deaf(&format!("/{deed}")).await;
                peer.send_text(deed).await;
                what = if deed == "try-flood" {
                    read_what_was_taken(peer).await
                } else {
                    let code = ended(&mut peer).await;
                    assert!(matches!(code, Some(1008 | 1011)), "{deed}: {code:?}");
                    format!("{}", code.unwrap())
                };
            });
            let peak = peak.await;
            // 256 KiB queued, as much again while the queue grows, and a new instance.
            assert!(peak <= 2 * MIB, "{deed}: {peak}");
            results.push(format!("{deed}: {what}, + {}", bytes(peak)));
        }
        figure("guest.floods", results.join("; "));
        village.assert_untouched().await;
    });
}

/// The guest was told `full` and stopped: the session lives, and what was taken arrives.
async fn read_what_was_taken(mut peer: Peer) -> String {
    // Time for the guest to fill all that there is.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut read = 0;
    while let Some(Incoming::Frame(frame)) = peer.poll_within(Duration::from_millis(300)).await {
        read += frame.payload.len() as u64;
    }
    assert!(read >= 128 * 1024, "what was taken is delivered: {read}");
    peer.expect_echo("still here").await;
    peer.leave(1000).await;
    format!("full after {}", bytes(read))
}

#[test]
fn a_guest_that_logs_without_end_is_heard_at_a_mebibyte_a_second() {
    covers("guest.floods");
    alone(async {
        let wasi = Mount::new("/wasi", "wasi").guest("cpu_per_call", "3s");
        let mut village = Village::new([wasi]).await;
        let before = village.server.log().len();
        let start = Instant::now();
        let mut logger = village.enter("/wasi").await;
        logger.send_text("log").await;
        expect_failed(&mut logger, PATIENCE).await;
        let seconds = start.elapsed().as_secs_f64();
        let written = (village.server.log().len() - before) as f64;
        let mut next = village.enter("/wasi").await;
        // Half a second later there is room for a line, which tells how many had none.
        tokio::time::sleep(Duration::from_millis(500)).await;
        next.send_text("print after the flood").await;
        next.expect_text("ok").await;
        let limit = Duration::from_secs(5);
        let (dropped, _) = eventually(limit, "dropped lines are counted", || {
            let log = village.server.log();
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            match lines
                .filter_map(|line| line["dropped"].as_u64())
                .sum::<u64>()
            {
                0 => Err(format!("{} bytes of log", log.len())),
                count => Ok(count),
            }
        })
        .await;
        let rate = written / seconds / MIB as f64;
        figure(
            "guest.floods",
            format!(
                "{rate:.2} MiB/s of log for {seconds:.1} s, {dropped} lines dropped and counted"
            ),
        );
        // A second's worth may be written at once.
        assert!(
            written <= (seconds + 1.0) * MIB as f64,
            "{written} bytes of log in {seconds:.1} s"
        );
        village.assert_untouched().await;
    });
}

#[test]
fn a_guest_that_creates_handles_without_end_meets_a_limit() {
    covers("guest.floods");
    alone(async {
        let mut village = Village::new([Mount::new("/wasi", "wasi")]).await;
        let mut few = village.enter("/wasi").await;
        few.send_text("handles 400").await;
        few.expect_text("ok").await;
        let mut results = Vec::new();
        for command in ["handles 1025", "handles"] {
            let peak = village.peak_of(async {
                let mut peer = village.enter("/wasi").await;
                peer.send_text(command).await;
                expect_failed(&mut peer, PATIENCE).await;
            });
            let peak = peak.await;
            assert!(peak <= MIB, "{command}: {peak}");
            results.push(format!("`{command}` ends with 1011, + {}", bytes(peak)));
        }
        figure(
            "guest.floods",
            format!("limit 1,024: {}", results.join("; ")),
        );
        few.expect_echo("not touched").await;
        village.assert_untouched().await;
    });
}
