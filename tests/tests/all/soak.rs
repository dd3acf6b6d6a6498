//! Everything that a server does, again and again: what it holds afterwards must not grow.
//!
//! Short here, as a check that it works; `WHARF_SOAK_SECONDS` asks for more of it, two hours in
//! `cargo xtask chaos soak`: the second half is the hour that counts, in the first the heap finds its
//! size. Never judges a latency.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wharf_tests::deadline::{alone_for, eventually};
use wharf_tests::deflate;
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::{Peer, exchange};
use wharf_tests::process::Process;
use wharf_tests::server::Child;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;
use crate::village::{MIB, PATIENCE, expect_failed};

const HOUR: Duration = Duration::from_secs(3_600);
/// A shorter run says nothing of a slope.
const SLOPE_AFTER: Duration = Duration::from_secs(600);
/// What memory may grow by in an hour.
const GROWTH_PER_HOUR_MAX: f64 = MIB as f64;
/// What a run too short to tell a slope from noise may end above where its second half began.
const NOISE_MAX: u64 = 8 * MIB;
/// Visitors at a time.
const VISITORS: usize = 60;
/// From one round of visits to the next.
const ROUND: Duration = Duration::from_millis(250);
/// Rounds between two versions of the handler that hands over.
const ROUNDS_A_VERSION: usize = 5;
const DEFLATED: u8 = 4;

fn site(version: u64) -> Site {
    let heir = Mount::new("/heir/{key}", "heir").set("instance", "{key}");
    let sleeper = Mount::new("/sleeper/{key}", "sleeper").set("idle", "20ms");
    let sleeper = sleeper.set("instance", "{key}").grant("topics", true);
    Site::echo()
        .workers(2)
        .section("admin", "listen", "127.0.0.1:0")
        .section("storage", "path", "wharf.redb")
        .section("storage", "cache_bytes", "4MiB")
        .topic("lobby", [("history_messages", 8.into())])
        .mount(Mount::new("/own", "echo"))
        .mount(Mount::new("/talk", "dialogue"))
        .mount(Mount::new("/hostile", "hostile"))
        .mount(Mount::new("/kv-write", "keep").grant("keyvalue", ["default"]))
        .mount(Mount::new("/herald", "herald").grant("topics", true))
        .mount(sleeper.grant("timers", true))
        .mount(heir.config("version", version.to_string()).rollout("swap"))
}

/// One visit of a kind; each leaves in order but one, which breaks off.
async fn visit(address: SocketAddr, number: usize) {
    match number % 10 {
        0 => echo(Peer::connect(address, "/echo").await, 20_000).await,
        1 => echo(Peer::connect(address, "/own").await, 300).await,
        2 => echo(Peer::connect(address, "/talk").await, 5_000).await,
        3 => echo(Peer::connect(address, "/kv-write").await, 500).await,
        4 => echo_deflated(address).await,
        5 => sleep_and_wake(address, number).await,
        6 => gather(address).await,
        7 => {
            let mut peer = Peer::connect(address, "/hostile").await;
            peer.send_text("trap").await;
            expect_failed(&mut peer, PATIENCE).await;
        }
        8 => {
            let mut peer = Peer::connect(address, &format!("/heir/{number}")).await;
            peer.send_text("x").await;
            assert!(peer.text().await.ends_with(" x"));
            peer.leave(1000).await;
        }
        _ => {
            // In the middle of a message.
            let mut peer = Peer::connect(address, "/own").await;
            let whole = Frame::binary(vec![1; 100_000]).encode(peer.key);
            peer.raw(&whole[..70_000]).await;
            peer.stream.reset();
        }
    }
}

async fn echo(mut peer: Peer, length: usize) {
    for round in 0..10 {
        peer.expect_echo(&format!("{round}{}", "x".repeat(length)))
            .await;
    }
    peer.leave(1000).await;
}

async fn echo_deflated(address: SocketAddr) {
    let head = Head::upgrade("/echo").header("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut peer = Peer::open(Stream::tcp(address).await, &head).await;
    for _ in 0..5 {
        let mut frame = Frame::binary(deflate::message(&[7; 50_000]));
        frame.rsv = DEFLATED;
        peer.send(frame).await;
        let answer = peer.message().await;
        assert_eq!((answer.opcode, answer.rsv), (opcode::BINARY, DEFLATED));
    }
    peer.leave(1000).await;
}

async fn sleep_and_wake(address: SocketAddr, number: usize) {
    let mut peer = Peer::connect(address, &format!("/sleeper/{number}")).await;
    for command in ["keep this", "tag seat", "timer soon 60"] {
        peer.send_text(command).await;
        peer.expect_text("ok").await;
    }
    let woken = peer.text().await;
    assert!(woken.starts_with("timer soon, "), "{woken:?}");
    peer.leave(1000).await;
}

async fn gather(address: SocketAddr) {
    let mut peer = Peer::connect(address, "/herald").await;
    peer.send_text("sub lobby someone").await;
    // Whoever else is there may say something first.
    while peer.text().await != "ok" {}
    peer.send_text(format!("shout lobby {}", "y".repeat(2_000)))
        .await;
    peer.text().await;
    peer.send(Frame::close(1000, "")).await;
    peer.drain_to_close_within(1000, PATIENCE).await;
}

/// A session that is there all the time, under every version.
struct Resident {
    peer: Peer,
    version: u64,
}

impl Resident {
    async fn enter(address: SocketAddr) -> Self {
        let peer = Peer::connect(address, "/heir/resident").await;
        Self { peer, version: 1 }
    }

    /// Asks which version it has; the newest may be on their way.
    async fn follow(&mut self, newest: u64) {
        self.peer.send_text("x").await;
        let told = self.peer.text().await;
        let version = told.split(' ').next().and_then(|word| word.parse().ok());
        let may = self.version.max(newest.saturating_sub(3))..=newest;
        let version = version.filter(|version| may.contains(version));
        self.version = version.unwrap_or_else(|| panic!("{told:?}, not {may:?}"));
    }
}

/// Memory that is the process's own; pages of its file come as they are first needed.
fn own_bytes(process: Process) -> u64 {
    process.resident_bytes() - process.file_bytes()
}

/// Bytes an hour, by least squares.
fn slope(samples: &Samples) -> f64 {
    let count = samples.len() as f64;
    let hours = |time: Duration| time.as_secs_f64() / HOUR.as_secs_f64();
    let mean_time = samples.iter().map(|(time, _)| hours(*time)).sum::<f64>() / count;
    let mean_bytes = samples.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / count;
    let (mut product, mut square) = (0.0, 0.0);
    for (time, bytes) in samples {
        let from_mean = hours(*time) - mean_time;
        product += from_mean * (*bytes as f64 - mean_bytes);
        square += from_mean * from_mean;
    }
    product / square
}

/// Sends one visitor of each kind, several times over, and waits for their ends; how many came.
async fn round(address: SocketAddr) -> u64 {
    let mut visiting = JoinSet::new();
    for number in 0..VISITORS {
        visiting.spawn(visit(address, number));
    }
    let mut visits = 0;
    while let Some(done) = visiting.join_next().await {
        done.expect("a visitor is served");
        visits += 1;
    }
    visits
}

/// Memory of the process as time went by, or of a part of that.
type Samples = [(Duration, u64)];

fn second_half(samples: &Samples) -> &Samples {
    &samples[samples.len() / 2..]
}

/// Memory at the beginning, at three quarters and at the end.
fn quarters(samples: &Samples) -> [u64; 5] {
    std::array::from_fn(|quarter| samples[(samples.len() - 1) * quarter / 4].1)
}

/// How memory went.
fn told(samples: &Samples, wanted: Duration) -> String {
    let course = quarters(samples).map(bytes).join(", ");
    let slope = match wanted >= SLOPE_AFTER {
        true => format!("{:.2} MiB/h", slope(second_half(samples)) / MIB as f64),
        false => "too short for a slope".to_owned(),
    };
    format!("{course} by quarters; in the second half {slope}")
}

fn judge(samples: &Samples, wanted: Duration) {
    if wanted >= 2 * HOUR {
        let slope = slope(second_half(samples));
        assert!(slope < GROWTH_PER_HOUR_MAX, "{slope:.0} bytes an hour");
    }
    let [_, _, half, _, end] = quarters(samples);
    assert!(end <= half + NOISE_MAX, "{end} bytes, {half} at half time");
}

#[test]
fn memory_does_not_grow_with_what_is_over() {
    covers("soak.memory");
    let wanted = std::env::var("WHARF_SOAK_SECONDS").ok();
    let wanted = wanted.map_or(10, |text| text.parse().expect("a number of seconds"));
    let wanted = Duration::from_secs(wanted);
    alone_for(wanted + Duration::from_secs(300), async {
        let mut version = 1;
        let server = Child::start(&site(version));
        let (address, process) = (server.address, server.process());
        let admin = server.admin();
        let (begun, mut samples, mut visits) = (Instant::now(), Vec::new(), 0);
        // One stays, and follows each version.
        let mut resident = Resident::enter(address).await;
        let mut descriptors = None;
        while begun.elapsed() < wanted {
            let round_begun = Instant::now();
            visits += round(address).await;
            resident.follow(version).await;
            if samples.len() % ROUNDS_A_VERSION == 0 {
                version += 1;
                server.folder.write("wharf.toml", site(version).toml());
                server.signal("HUP");
            }
            let metrics = exchange(admin, &Head::get("/metrics")).await;
            assert_eq!(metrics.status, 200);
            let least = *descriptors.get_or_insert_with(|| process.descriptors());
            let probe = || match process.descriptors() {
                open if open <= least + 2 => Ok(()),
                open => Err(format!("{open} of {least}")),
            };
            eventually(PATIENCE, "what is over has no descriptor", probe).await;
            samples.push((begun.elapsed(), own_bytes(process)));
            // A steady pace: as much in each hour, whatever the machine.
            tokio::time::sleep(ROUND.saturating_sub(round_begun.elapsed())).await;
        }
        server.assert_healthy();
        figure(
            "soak.memory",
            format!(
                "{visits} visits and {} versions in {wanted:?}: {}",
                version - 1,
                told(&samples, wanted)
            ),
        );
        judge(&samples, wanted);
    });
}
