//! Handlers that take time: they spin, or wait for what never comes. Each is cut at its deadline,
//! and its neighbours on the same worker go on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wharf_tests::crowd::Crowd;
use wharf_tests::deadline::{STEP, alone, eventually};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::http::Head;
use wharf_tests::meter::Latencies;
use wharf_tests::peer::Peer;
use wharf_tests::process::Process;
use wharf_tests::site::Mount;
use wharf_tests::stream::{Dial, Stream};

use crate::peer_heads::JITTER;
use crate::promises::covers;
use crate::village::{HEALTHY, MIB, PATIENCE, Village, expect_failed};

/// CPU time of a call in these tests.
const DEADLINE: Duration = Duration::from_millis(500);
/// Between two messages of each of the neighbours.
const PACE: Duration = Duration::from_millis(250);

/// A guest that spins, in a session of its own: where, and how long until its end.
async fn spin(village: &Village, name: &str, deed: &str) -> String {
    let cpu = village.process().cpu_time();
    let start = Instant::now();
    let mut peer = match deed {
        "open" => village.enter("/hostile?open=spin").await,
        _ => village.enter("/hostile").await,
    };
    if deed != "open" {
        peer.send_text(deed).await;
    }
    expect_failed(&mut peer, PATIENCE).await;
    let (wall, used) = (start.elapsed(), village.process().cpu_time() - cpu);
    judge(name, used);
    format!("{name} {used:.0?} of CPU, {wall:.0?}")
}

/// Whether the CPU time that a deed took is that of a guest cut at its deadline. Wall time would
/// tell as much about who else uses the machine.
fn judge(name: &str, used: Duration) {
    // The kernel's count of a thread that runs may lag by a tick or two.
    assert!(
        used >= DEADLINE.mul_f64(0.9),
        "{name} was cut before its deadline: {used:?}"
    );
    // As much as a fifth goes to interrupting it, while others compete.
    let limit = DEADLINE.mul_f64(1.2) + Duration::from_millis(10) + JITTER;
    assert!(used <= limit, "{name} was cut late: {used:?}");
}

#[test]
fn a_guest_that_spins_is_cut_at_its_deadline() {
    covers("guest.spins");
    covers("ends.handler-failed");
    alone(async {
        let hostile = Mount::new("/hostile", "hostile").guest("cpu_per_call", "500ms");
        let mut village = Village::new([hostile]).await;
        let mut results = Vec::new();
        for (name, deed) in [
            ("a loop", "spin"),
            ("bulk memory", "spin-bulk"),
            ("host calls", "spin-host"),
            ("in open", "open"),
        ] {
            results.push(spin(&village, name, deed).await);
        }
        // In on-close nobody is left to be told; the next one in is served all the same.
        village.enter("/hostile?close=spin").await.leave(1000).await;
        village.enter("/hostile").await.expect_echo("next").await;
        figure(
            "guest.spins",
            format!("deadline {DEADLINE:?}: {}", results.join(", ")),
        );
        village.assert_untouched().await;
    });
}

#[test]
fn neighbours_of_a_guest_that_spins_go_on() {
    covers("guest.spins");
    alone(async {
        let hostile = Mount::new("/hostile", "hostile").guest("cpu_per_call", "500ms");
        let mut village = Village::new([hostile]).await;
        let crowd = Crowd::start(village.server.address, "/echo", HEALTHY, PACE).await;
        let _warm = crowd.during(Duration::from_secs(1)).await;
        // Other users of the machine add to a measurement and never subtract: the best of three
        // rounds, each with and without, is the one to judge.
        let (mut before, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            before.push(crowd.during(Duration::from_secs(2)).await);
            // One after the other without a pause.
            for _ in 0..4 {
                let mut peer = village.enter("/hostile").await;
                peer.send_text("spin").await;
                expect_failed(&mut peer, PATIENCE).await;
            }
            beside.push(crowd.take());
        }
        let (before, beside) = (Latencies::best(before), Latencies::best(beside));
        crowd.stop();
        figure(
            "guest.spins",
            format!(
                "{HEALTHY} active neighbours on the same worker, before: {before}; beside a spinning guest: {beside}"
            ),
        );
        beside.assert_within(2.0, &before);
        village.assert_untouched().await;
    });
}

#[test]
fn a_guest_that_spins_in_start_or_realloc_is_cut() {
    covers("guest.spins");
    alone(async {
        let mounts = ["start-spin", "realloc-spin"]
            .map(|name| Mount::new(&format!("/{name}"), name).guest("cpu_per_call", "500ms"));
        let mut village = Village::new(mounts).await;
        let mut results = Vec::new();
        for name in ["start-spin", "realloc-spin"] {
            let cpu = village.process().cpu_time();
            let stream = Stream::tcp(village.server.address).await;
            match Peer::try_open(stream, &Head::upgrade(&format!("/{name}"))).await {
                Ok(mut peer) => {
                    peer.send_text("a message to be put into its memory").await;
                    expect_failed(&mut peer, PATIENCE).await;
                }
                Err(refusal) => assert!((500..=503).contains(&refusal.status), "{refusal:?}"),
            }
            let used = village.process().cpu_time() - cpu;
            judge(name, used);
            results.push(format!("{name} {used:.0?} of CPU"));
        }
        figure(
            "guest.spins",
            format!("deadline {DEADLINE:?}: {}", results.join(", ")),
        );
        village.assert_untouched().await;
    });
}

/// A route whose guest may wait a second in all.
fn impatient(name: &str) -> Mount {
    let mount = Mount::new(&format!("/{name}"), name).guest("wall_per_call", "1s");
    mount.websocket("write_timeout", "60s")
}

#[test]
fn a_guest_that_waits_for_ever_is_cut() {
    covers("guest.waits");
    covers("ends.handler-failed");
    alone(async {
        let mut village = Village::new([impatient("wasi"), impatient("hostile")]).await;
        let mut results = Vec::new();
        for (target, deed) in [
            ("/wasi", "sleep"),
            ("/hostile", "wait-send"),
            ("/hostile", "wait-flush"),
        ] {
            let mut peer = village.enter_deaf(target).await;
            let start = Instant::now();
            peer.send_text(deed).await;
            if deed != "sleep" {
                // Not reading: send and flush have nothing to wait for otherwise.
                tokio::time::sleep(Duration::from_millis(1_300)).await;
            }
            expect_failed(&mut peer, PATIENCE).await;
            let wall = start.elapsed();
            assert!(
                wall >= Duration::from_millis(990),
                "{deed} has its second: {wall:?}"
            );
            assert!(
                wall <= Duration::from_secs(3),
                "{deed} was cut late: {wall:?}"
            );
            results.push(format!("{deed} {wall:.1?}"));
        }
        figure(
            "guest.waits",
            format!("wall time 1 s: {}", results.join(", ")),
        );
        village.assert_untouched().await;
    });
}

#[test]
fn a_hundred_thousand_calls_are_cancelled_by_clients_that_leave() {
    covers("guest.waits");
    alone(async {
        const CANCELLED: usize = 100_000;
        let mut village = Village::new([impatient("wasi")]).await;
        let (address, process) = (village.server.address, village.process());
        // What is made for the first instance is kept.
        village.enter("/wasi").await.leave(1000).await;
        let (descriptors, resident) = (process.descriptors(), process.resident_bytes());
        let before = process.descriptor_names();
        let begin = Instant::now();
        leave_in_the_middle(address, CANCELLED / 4).await;
        let quarter = process.resident_bytes();
        leave_in_the_middle(address, CANCELLED * 3 / 4).await;
        let took = begin.elapsed();
        let ((), settled) = eventually(STEP, "descriptors back", || {
            let now = process.descriptors();
            if now <= descriptors {
                Ok(())
            } else {
                // Naming them takes a while when they are many.
                let few = now < descriptors + 20;
                let new = few.then(|| sockets_beyond(&before, process));
                Err(format!("{now}, {descriptors} before; new: {new:?}"))
            }
        })
        .await;
        let first = quarter.saturating_sub(resident);
        let rest = process.resident_bytes().saturating_sub(quarter);
        figure(
            "guest.waits",
            format!(
                "{CANCELLED} calls cancelled in {took:.1?}, settled within {settled:.1?}, memory + {} in the first quarter, + {} in the rest",
                bytes(first),
                bytes(rest)
            ),
        );
        // How many instances lived at once decides how many of the 10,240 slots were used; each of
        // these keeps some memory, its table and its call's stack. What each call left behind would
        // come on top, and more with each.
        let kept_by_slots = 10_240 * 64 * 1024;
        let kept = process.resident_bytes().saturating_sub(resident);
        assert!(
            kept <= kept_by_slots + 64 * MIB,
            "nothing is left behind by each call: {kept}"
        );
        village
            .enter("/wasi")
            .await
            .expect_echo("a new instance")
            .await;
        village.assert_untouched().await;
    });
}

/// The descriptors that were not there before.
fn sockets_beyond(before: &[String], process: Process) -> Vec<String> {
    let mut now = process.descriptor_names();
    for name in before {
        if let Some(at) = now.iter().position(|own| own == name) {
            now.swap_remove(at);
        }
    }
    now
}

/// Sessions whose guest waits for an hour when their clients reset the connection.
///
/// Each keeps its instance for the second of wall time that its call has, and there are 10,240: so
/// no more than 5,000 begin in a second, however fast the server is, and whatever was missed.
async fn leave_in_the_middle(address: SocketAddr, count: usize) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if number % 50 == 0 {
            tick.tick().await;
        }
        if tasks.len() >= 256 {
            tasks.join_next().await.unwrap().unwrap();
        }
        tasks.spawn(async move {
            let stream = Stream::dial(address, Dial::from(2 + (number % 60) as u8)).await;
            let mut peer = Peer::open(stream, &Head::upgrade("/wasi")).await;
            peer.expect_echo("hello").await;
            peer.send_text("sleep").await;
            peer.stream.reset();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
