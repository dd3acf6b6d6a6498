//! The server killed at random moments while it acknowledges writes, and what a guest that fills
//! whatever there is to fill gets for it.
//!
//! `WHARF_CRASH_ROUNDS=1000` makes the long run of what CI does twenty times.

use std::time::{Duration, Instant};

use wharf_tests::deadline::{STEP, alone, within};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::Frame;
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::server::Child;
use wharf_tests::site::{Folder, Mount, Site};

use crate::promises::covers;
use crate::village::{MIB, Village, expect_failed};

const ROUNDS: u64 = 20;
/// Clients that write at the same time: their writes share commits.
const WRITERS: usize = 8;

fn site() -> Site {
    let mount = Mount::new("/", "store").grant("keyvalue", ["default"]);
    let site = Site::new()
        .workers(2)
        .section("storage", "path", "wharf.redb");
    // After a long run there is much to count in one call.
    site.mount(mount.grant("timers", true).guest("cpu_per_call", "10s"))
}

/// What one client was told, over all rounds.
#[derive(Clone, Copy, Default)]
struct Acknowledged {
    /// Increments of its own key.
    sum: u64,
    /// Keys that it set, numbered.
    keys: u64,
}

/// A number that differs from run to run.
fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_nanos() as u64 | 1
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Sends a command; the answer, or nothing if the server is gone.
async fn answer(peer: &mut Peer, command: &str) -> Option<String> {
    let frame = Frame::text(command).encode(peer.key);
    peer.raw_or_fail(frame).await.ok()?;
    match peer.next_but_pings_within(STEP).await {
        Incoming::Frame(frame) => Some(String::from_utf8(frame.payload).unwrap()),
        Incoming::End(_) => None,
    }
}

/// Writes until the server is gone.
async fn write(mut peer: Peer, writer: usize, mut known: Acknowledged) -> Acknowledged {
    loop {
        let sum = answer(&mut peer, &format!("add\tdefault\tsum {writer}\t1")).await;
        let Some(sum) = sum else { return known };
        // It may count one that was written and not told.
        known.sum = sum.parse().unwrap();
        let key = format!("set\tdefault\tkey {writer} {}\t{}", known.keys, known.keys);
        match answer(&mut peer, &key).await {
            Some(said) => assert_eq!(said, "ok"),
            None => return known,
        }
        known.keys += 1;
    }
}

/// Checks what a client was told against what is there, from key `since` on.
async fn check(peer: &mut Peer, writer: usize, known: Acknowledged, since: u64) {
    let sum = answer(peer, &format!("add\tdefault\tsum {writer}\t0"))
        .await
        .unwrap();
    let sum: u64 = sum.parse().unwrap();
    let told = known.sum;
    assert!(
        (told..=told + 1).contains(&sum),
        "writer {writer}: {sum}, told {told}"
    );
    for key in since..known.keys {
        let found = answer(peer, &format!("get\tdefault\tkey {writer} {key}")).await;
        assert_eq!(
            found,
            Some(key.to_string()),
            "writer {writer} was told of key {key}"
        );
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_server_is_killed() {
    covers("kv.crash");
    let asked = std::env::var("WHARF_CRASH_ROUNDS").ok();
    let rounds = asked.map_or(ROUNDS, |rounds| {
        rounds.parse().expect("WHARF_CRASH_ROUNDS is a number")
    });
    // Built before the clock starts.
    wharf_tests::server::binary();
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limit = Duration::from_secs(60 + rounds * 10);
    runtime.block_on(within(limit, "all rounds", async {
        let mut state = seed();
        let mut folder = Folder::new();
        let mut known = [Acknowledged::default(); WRITERS];
        let mut since = [0; WRITERS];
        let mut slowest = Duration::ZERO;
        for _ in 0..rounds {
            let start = Instant::now();
            let mut server = Child::start_in(folder, &site());
            slowest = slowest.max(start.elapsed());
            let mut peer = Peer::connect(server.address, "/").await;
            for writer in 0..WRITERS {
                check(&mut peer, writer, known[writer], since[writer]).await;
                since[writer] = known[writer].keys;
            }
            let mut writers = tokio::task::JoinSet::new();
            for (writer, known) in known.into_iter().enumerate() {
                let peer = Peer::connect(server.address, "/").await;
                writers.spawn(async move { (writer, write(peer, writer, known).await) });
            }
            tokio::time::sleep(Duration::from_micros(random(&mut state) % 150_000)).await;
            server.signal("KILL");
            while let Some(written) = writers.join_next().await {
                let (writer, told) = written.unwrap();
                known[writer] = told;
            }
            server.exit_within(STEP).await;
            folder = std::mem::take(&mut server.folder);
        }
        let keys = known.iter().map(|known| known.keys).sum::<u64>();
        check_all(folder, known).await;
        let seconds = begun.elapsed().as_secs();
        let text = format!(
            "{rounds} times killed in {seconds} s, {keys} keys acknowledged, 0 lost; slowest start {} ms",
            slowest.as_millis()
        );
        figure("kv.crash", text);
    }));
}

/// Every key of every round, and that the quota counts just those that are there.
async fn check_all(folder: Folder, known: [Acknowledged; WRITERS]) {
    let mut server = Child::start_in(folder, &site());
    let mut peer = Peer::connect(server.address, "/").await;
    for (writer, known) in known.into_iter().enumerate() {
        check(&mut peer, writer, known, 0).await;
    }
    // Not by their names: after a long run these would not fit into a message.
    let count = answer(&mut peer, "count\tdefault").await.unwrap();
    let count: u64 = count.parse().unwrap();
    server.signal("TERM");
    server.exit_within(STEP).await;
    let site = site().section("storage", "tenant_keys_max", count + 3);
    let server = Child::start_in(std::mem::take(&mut server.folder), &site);
    let mut peer = Peer::connect(server.address, "/").await;
    let filled = answer(&mut peer, "fill\tdefault\t1").await.unwrap();
    assert!(
        filled.starts_with("3 the quota is used up"),
        "{filled}, with {count} keys"
    );
}

#[test]
fn a_guest_that_fills_its_storage_is_told_so_and_fills_nobody_elses() {
    covers("guest.stores");
    alone(async {
        let deeds = [
            ("fill\tdefault\t65536", "/fill"),
            ("timers", "/timers"),
            ("open\tdefault", "/open"),
        ];
        let store = |path: &str| {
            let mount = Mount::new(path, "store").grant("keyvalue", ["default"]);
            mount.grant("timers", true).set("tenant", "greedy")
        };
        let frugal = store("/frugal").set("tenant", "frugal");
        let mounts = deeds.map(|(_, path)| store(path).guest("wall_per_call", "20s"));
        let mut village = Village::stored(mounts.into_iter().chain([frugal])).await;
        let mut results = Vec::new();
        for (deed, path) in deeds {
            let mut peer = village.enter(path).await;
            let mut said = String::new();
            let peak = village.peak_of(async {
                peer.send_text(deed).await;
                if path == "/open" {
                    said = expect_failed(&mut peer, STEP).await;
                    "cut with an incident".clone_into(&mut said);
                } else {
                    said = peer.text().await;
                }
            });
            let peak = peak.await;
            match path {
                "/fill" => assert!(said.starts_with("127 the quota is used up"), "{said}"),
                "/timers" => assert!(said.starts_with("1000 "), "{said}"),
                _ => {}
            }
            assert!(peak <= 24 * MIB, "{path}: {peak}");
            results.push(format!("{path}: {said}, + {}", bytes(peak)));
        }
        let mut peer = village.enter("/frugal").await;
        peer.send_text("set\tdefault\tk\tv").await;
        peer.expect_text("ok").await;
        figure("guest.stores", results.join("; "));
        village.assert_untouched().await;
    });
}
