//! Everything at once: tenants that misbehave beside those that do not, and a shutdown in the middle.
//!
//! Short here, as a check that it works. `cargo xtask chaos` makes the long runs of it:
//! `WHARF_CHAOS_SECONDS` says how long the tenants misbehave, `WHARF_CHAOS_SESSIONS` how many sessions
//! are open when the server is told to end. `WHARF_CHAOS_SPINNERS`, `_FLOODERS`, `_BOMBERS` and
//! `_COMPILES` say how many do what; with zeroes one sees what each of them costs the others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wharf_tests::crowd::Crowd;
use wharf_tests::deadline::{alone, within};
use wharf_tests::figure::figure;
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::meter::Latencies;
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::server::Child;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::deploy_harbour::Harbour;
use crate::deployments::functions;
use crate::promises::covers;
use crate::village::ended;

/// Tenants that do nothing wrong, beside four that do.
const CALM: usize = 6;
/// Instances of the tenant that spins, sessions of the one that floods, instances that take memory,
/// uploads at a time of what is bad for compilers.
const SPINNERS: u64 = 20;
const FLOODERS: u64 = 4;
const BOMBERS: u64 = 4;
const COMPILES: u64 = 1;
/// Messages that a session writes at once when the server is told to end.
const BURST: usize = 8;

fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn chaos(site: Site) -> Site {
    let of =
        |tenant: &str, guest: &str| Mount::new(&format!("/{tenant}"), guest).set("tenant", tenant);
    let site = site
        .mount(of("spins", "hostile").guest("cpu_per_call", "500ms"))
        .mount(of("floods", "echo").shared())
        .mount(of("bombs", "hostile"))
        .section("tenant.bombs.limits", "memory_bytes_max", "128MiB")
        .section("tenant.floods.limits", "messages_in_per_second_max", 10_000);
    (0..CALM).fold(site, |site, number| {
        site.mount(of(&format!("calm{number}"), "echo").shared())
    })
}

/// Asks for a deed again and again, in a session of its own each time.
async fn misbehave(address: SocketAddr, target: &'static str, deed: &'static str, until: Instant) {
    while Instant::now() < until {
        let stream = Stream::dial(address, Dial::from(100)).await;
        // A tenant without room for one more instance is told so.
        if let Ok(mut peer) = Peer::try_open(stream, &Head::upgrade(target)).await {
            peer.send_text(deed).await;
            ended(&mut peer).await;
        }
    }
}

/// Sends as fast as the server reads; how many came back.
async fn flood(address: SocketAddr, until: Instant) -> u64 {
    let mut peer = Peer::connect(address, "/floods").await;
    let burst = Frame::text("flood").encode(peer.key).repeat(256);
    let mut answers = 0;
    while Instant::now() < until {
        // One that is not read for a while is no failure: that is what its limit is for.
        let write = tokio::time::timeout(Duration::from_millis(100), peer.stream.send(&burst));
        if let Ok(Err(_)) = write.await {
            return answers;
        }
        if write_was_cut(&mut peer, &mut answers).await {
            return answers;
        }
    }
    answers
}

/// Takes what has come back; whether the session has ended.
async fn write_was_cut(peer: &mut Peer, answers: &mut u64) -> bool {
    while let Some(incoming) = peer.poll_within(Duration::ZERO).await {
        match incoming {
            Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => return true,
            Incoming::Frame(_) => *answers += 1,
            Incoming::End(_) => return true,
        }
    }
    false
}

/// Uploads components that are bad for compilers, one after the other, to the server whose tenants are
/// measured; how many it refused.
fn compile_bombs(harbour: &Harbour, stop: &AtomicBool) -> u64 {
    let arithmetic = [0x20, 0, 0x41, 3, 0x6c, 0x41, 7, 0x6a, 0x21, 0];
    let bomb = harbour.write("bomb.wasm", functions(7, &arithmetic.repeat(700_000)));
    let (bomb, manifest) = (bomb.display().to_string(), "[route]\npath = \"/\"\n");
    let path = "/v1/tenants/bolt/deployments/bomb";
    let mut refused = 0;
    while !stop.load(Ordering::Relaxed) {
        let parts = (&*bomb, manifest);
        let (status, told) = harbour.put((&harbour.bolt, path), parts, "If-None-Match: *");
        assert_eq!(status, 422, "it is a bomb: {told}");
        let what = told["error"]["what"].as_str().unwrap_or_default();
        assert!(
            what.contains("compile_memory_bytes_max") || what.contains("compile_cpu_max"),
            "{told}"
        );
        refused += 1;
    }
    refused
}

#[test]
fn tenants_that_misbehave_hold_nobody_up() {
    covers("chaos.tenants");
    alone(async {
        let time = Duration::from_secs(asked("WHARF_CHAOS_SECONDS", 3));
        let harbour = Arc::new(Harbour::start(chaos));
        let server = harbour.server();
        let address = server.address;
        let mut crowds = Vec::new();
        for number in 0..CALM {
            let target = format!("/calm{number}");
            let pause = Duration::from_millis(200);
            crowds.push(Crowd::start(address, &target, 40, pause).await);
        }
        let measure = async |time: Duration| {
            crowds.iter().for_each(Crowd::forget);
            tokio::time::sleep(time).await;
            Latencies::merged(crowds.iter().map(Crowd::take))
        };
        measure(Duration::from_secs(1)).await;
        let before = measure(time).await;

        let until = Instant::now() + time;
        let mut hostile = JoinSet::new();
        let spinners = asked("WHARF_CHAOS_SPINNERS", SPINNERS);
        for _ in 0..spinners {
            hostile.spawn(misbehave(address, "/spins", "spin", until));
        }
        let bombers = asked("WHARF_CHAOS_BOMBERS", BOMBERS);
        for _ in 0..bombers {
            hostile.spawn(misbehave(address, "/bombs", "touch", until));
        }
        let mut floods = JoinSet::new();
        for _ in 0..asked("WHARF_CHAOS_FLOODERS", FLOODERS) {
            floods.spawn(flood(address, until));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let uploads: Vec<_> = (0..asked("WHARF_CHAOS_COMPILES", COMPILES))
            .map(|_| {
                let (uploading, stopping) = (Arc::clone(&harbour), Arc::clone(&stop));
                std::thread::spawn(move || compile_bombs(&uploading, &stopping))
            })
            .collect();
        let beside = measure(time).await;
        stop.store(true, Ordering::Relaxed);
        let mut flooded = 0;
        while let Some(answers) = floods.join_next().await {
            flooded += answers.unwrap();
        }
        while let Some(done) = hostile.join_next().await {
            done.unwrap();
        }
        let bombs: u64 = uploads.into_iter().map(|all| all.join().unwrap()).sum();
        let after = measure(time).await;
        for crowd in crowds {
            crowd.stop();
        }
        figure(
            "chaos.tenants",
            format!(
                "{CALM} tenants of ten, alone: {before}; beside one that spins in {spinners} instances, one that floods ({flooded} answers), one that bombs memory in {bombers} and one that uploads {bombs} bombs, for {time:?}: {beside}; afterwards: {after}"
            ),
        );
        // A compiler, the spinner and all clients share the cores with the server here.
        beside.assert_within(2.0, &before);
        server.assert_healthy();
    });
}

/// A session that writes bursts until it is told to leave; how many of its bursts were answered in
/// part, and its close code.
async fn talk(mut peer: Peer, answered: Arc<AtomicU64>) -> (bool, u16) {
    let burst = Frame::text("at the end").encode(peer.key).repeat(BURST);
    loop {
        // The server may have closed before it took it.
        let _gone = peer.raw_or_fail(&burst).await;
        for answers in 0..BURST {
            match peer.next_but_pings_within(Duration::from_secs(60)).await {
                Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => {
                    let code = frame.close_reason().map_or(1005, |(code, _)| code);
                    let _gone = peer
                        .raw_or_fail(Frame::close(code, "").encode(peer.key))
                        .await;
                    return (answers > 0, code);
                }
                Incoming::Frame(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                Incoming::End(_) => return (answers > 0, 1006),
            }
        }
    }
}

/// A session that says nothing until it is told to leave.
async fn listen(mut peer: Peer) -> (bool, u16) {
    match peer.next_but_pings_within(Duration::from_secs(120)).await {
        Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => {
            let code = frame.close_reason().map_or(1005, |(code, _)| code);
            let _gone = peer
                .raw_or_fail(Frame::close(code, "").encode(peer.key))
                .await;
            (false, code)
        }
        _ => (true, 1006),
    }
}

#[test]
fn a_server_that_ends_under_load_answers_what_it_has_read() {
    covers("chaos.sigterm");
    alone(async {
        let sessions = asked("WHARF_CHAOS_SESSIONS", 1_000);
        let mut server = Child::start(&Site::echo().workers(2));
        let answered = Arc::new(AtomicU64::new(0));
        let mut all = JoinSet::new();
        for number in 0..sessions {
            let stream = Stream::dial(server.address, Dial::from(2 + (number % 60) as u8)).await;
            let peer = Peer::open(stream, &Head::upgrade("/echo")).await;
            match number % 10 {
                0 => drop(all.spawn(talk(peer, Arc::clone(&answered)))),
                _ => drop(all.spawn(listen(peer))),
            }
        }
        // All that talk are in the middle of it.
        let (wanted, patience) = (sessions / 10 * BURST as u64 * 4, Duration::from_secs(60));
        within(patience, "the sessions to talk", async {
            while answered.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let begin = Instant::now();
        server.signal("TERM");
        let (mut in_part, mut codes) = (0, Vec::new());
        within(patience, "all sessions to end", async {
            while let Some(end) = all.join_next().await {
                let (partly, code) = end.unwrap();
                in_part += u64::from(partly);
                codes.push(code);
            }
        })
        .await;
        let status = server.exit_within(Duration::from_secs(20)).await;
        let took = begin.elapsed();
        let right = codes.iter().filter(|code| **code == 1001).count();
        figure(
            "chaos.sigterm",
            format!(
                "{right} × 1001 of {sessions} sessions, {} of them in the middle of bursts of {BURST}, {} answers before; {in_part} bursts answered in part; the process gone in {took:.2?}",
                sessions / 10,
                answered.load(Ordering::Relaxed),
            ),
        );
        assert!(status.success(), "{status}: {}", server.log());
        assert_eq!((right as u64, in_part), (sessions, 0));
    });
}
