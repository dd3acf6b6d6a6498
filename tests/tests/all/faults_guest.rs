//! Handlers that do harm, alone and beside a thousand healthy sessions. Every one of them ends by
//! itself; nobody else notices.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wharf_tests::deadline::{alone, eventually, scenario};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::http::Head;
use wharf_tests::meter::Meter;
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::server::{Child, run};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::ends::expect_failed;
use crate::faults_head::JITTER;
use crate::promises::covers;

const HEALTHY: usize = 1_000;
const PACE: Duration = Duration::from_millis(2);
const MIB: u64 = 1 << 20;

/// A server with healthy sessions on `/echo`, and hostile routes beside them on the same worker.
struct Village {
    server: Child,
    healthy: Vec<Peer>,
}

impl Village {
    async fn new(mounts: impl IntoIterator<Item = Mount>) -> Self {
        let site = mounts.into_iter().fold(Site::echo(), Site::mount);
        let server = Child::start(&site);
        let mut healthy = Vec::with_capacity(HEALTHY);
        for number in 0..HEALTHY {
            let mut peer = Peer::connect(server.address, "/echo").await;
            peer.expect_echo(&format!("neighbour {number}")).await;
            healthy.push(peer);
        }
        Self { server, healthy }
    }

    async fn enter(&self, target: &str) -> Peer {
        Peer::open(
            Stream::tcp(self.server.address).await,
            &Head::upgrade(target),
        )
        .await
    }

    /// Asserts that every healthy session is untouched.
    async fn assert_untouched(&mut self) {
        for (number, peer) in self.healthy.iter_mut().enumerate() {
            peer.expect_echo(&format!("neighbour {number} again")).await;
        }
        self.server.assert_healthy();
    }
}

#[test]
fn a_guest_that_spins_is_cut_at_its_deadline() {
    covers("guest.spins");
    covers("ends.handler-failed");
    alone(async {
        const DEADLINE: Duration = Duration::from_millis(500);
        let hostile = Mount::new("/hostile", "hostile").guest("cpu_per_call", "500ms");
        let mut village = Village::new([hostile]).await;
        let address = village.server.address;
        let before = Meter::during(address, "/echo", PACE, Duration::from_secs(3)).await;
        let mut results = Vec::new();
        for (name, target, deed) in [
            ("loop", "/hostile", Some("spin")),
            ("bulk memory", "/hostile", Some("spin-bulk")),
            ("host calls", "/hostile", Some("spin-host")),
            ("in open", "/hostile?open=spin", None),
            ("in close", "/hostile?close=spin", Some("")),
        ] {
            // Alone: how late after its deadline, by the server's own CPU clock.
            let mut peer = village.enter(target).await;
            let cpu = village.server.process().cpu_time();
            let start = Instant::now();
            match deed {
                Some("") => peer.leave(1000).await,
                Some(deed) => {
                    peer.send_text(deed).await;
                    expect_failed(&mut peer, Duration::from_secs(10)).await;
                }
                None => drop(expect_failed(&mut peer, Duration::from_secs(10)).await),
            }
            let (wall, used) = (start.elapsed(), village.server.process().cpu_time() - cpu);
            if deed != Some("") {
                assert!(
                    used >= DEADLINE.mul_f64(0.8),
                    "{name} was cut before its deadline: {used:?}"
                );
                assert!(
                    wall <= DEADLINE + Duration::from_millis(10) + JITTER,
                    "{name} was cut late: {wall:?}"
                );
            }
            results.push(format!("{name} {wall:.0?}"));
        }
        // One after the other without a pause, beside the healthy ones.
        let meter = Meter::start(address, "/echo", PACE);
        for _ in 0..8 {
            let mut peer = village.enter("/hostile").await;
            peer.send_text("spin").await;
            expect_failed(&mut peer, Duration::from_secs(10)).await;
        }
        let beside = meter.stop();
        figure(
            "guest.spins",
            format!(
                "deadline {DEADLINE:?} of CPU: {}; neighbour before: {before}; beside: {beside}",
                results.join(", ")
            ),
        );
        beside.assert_within(2.0, &before, JITTER);
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
        for target in ["/start-spin", "/realloc-spin"] {
            let start = Instant::now();
            let stream = Stream::tcp(village.server.address).await;
            match Peer::try_open(stream, &Head::upgrade(target)).await {
                Ok(mut peer) => {
                    peer.send_text("a message to be lifted into its memory")
                        .await;
                    expect_failed(&mut peer, Duration::from_secs(10)).await;
                }
                Err(refusal) => assert!((500..=503).contains(&refusal.status), "{refusal:?}"),
            }
            let took = start.elapsed();
            figure("guest.spins", format!("{target} cut after {took:.0?}"));
            assert!(took <= Duration::from_secs(2), "{took:?}");
        }
        village.assert_untouched().await;
    });
}

#[test]
fn a_guest_that_waits_for_ever_is_cut_and_never_entered_again() {
    covers("guest.waits");
    covers("ends.handler-failed");
    alone(async {
        let impatient = |path: &str, name: &str| {
            Mount::new(path, name)
                .guest("wall_per_call", "1s")
                .websocket("write_timeout", "60s")
        };
        let mut village =
            Village::new([impatient("/wasi", "wasi"), impatient("/hostile", "hostile")]).await;
        let mut results = Vec::new();
        for (target, deed) in [
            ("/wasi", "sleep"),
            ("/hostile", "wait-send"),
            ("/hostile", "wait-flush"),
        ] {
            let stream = Stream::dial(village.server.address, Dial::small_buffers()).await;
            let mut peer = Peer::open(stream, &Head::upgrade(target)).await;
            let start = Instant::now();
            peer.send_text(deed).await;
            // Not reading: send and flush have nothing to wait for otherwise.
            if deed != "sleep" {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
            }
            expect_failed(&mut peer, Duration::from_secs(10)).await;
            results.push(format!("{deed} {:.0?}", start.elapsed()));
            assert!(start.elapsed() <= Duration::from_secs(3));
        }
        village.assert_untouched().await;

        // Clients that leave in the middle of a call.
        const CANCELLED: usize = 100_000;
        let address = village.server.address;
        let process = village.server.process();
        let descriptors = process.descriptors();
        let resident = process.resident_bytes();
        let begin = Instant::now();
        leave_in_the_middle(address, CANCELLED / 4).await;
        let quarter = process.resident_bytes();
        leave_in_the_middle(address, CANCELLED * 3 / 4).await;
        let took = begin.elapsed();
        let ((), settled) = eventually(Duration::from_secs(5), "descriptors back", || {
            let now = village.server.process().descriptors();
            if now <= descriptors {
                Ok(())
            } else {
                Err(format!("{now}, {descriptors} before"))
            }
        })
        .await;
        let first = quarter.saturating_sub(resident);
        let rest = process.resident_bytes().saturating_sub(quarter);
        figure(
            "guest.waits",
            format!(
                "wall time 1 s: {}; {CANCELLED} calls cancelled in {took:.1?}, settled within {settled:.1?}, memory + {} in the first quarter, + {} in the rest",
                results.join(", "),
                bytes(first),
                bytes(rest)
            ),
        );
        assert!(
            rest <= 64 * MIB,
            "nothing is left behind by each call: {rest}"
        );
        let mut fresh = village.enter("/wasi").await;
        fresh.expect_echo("a new instance").await;
        village.assert_untouched().await;
    });
}

/// Sessions whose guest waits for an hour when their clients reset the connection.
async fn leave_in_the_middle(address: SocketAddr, count: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
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

#[test]
fn a_guest_that_breaks_ends_alone() {
    covers("guest.memory");
    covers("ends.handler-failed");
    alone(async {
        const LIMIT: u64 = 16 * MIB;
        let hostile = Mount::new("/hostile", "hostile")
            .guest("memory_bytes_max", LIMIT)
            .guest("cpu_per_call", "2s");
        let mut village = Village::new([hostile]).await;
        let process = village.server.process();
        let mut results = Vec::new();
        for deed in ["grow", "touch", "recurse", "trap", "panic"] {
            process.reset_peak();
            let resident = process.resident_bytes();
            let mut peer = village.enter("/hostile").await;
            peer.send_text(deed).await;
            if deed == "grow" {
                let report = peer.text().await;
                let pages: u64 = report.trim_start_matches("grow ").parse().unwrap();
                assert!(pages * 65_536 <= LIMIT, "{report}");
            } else {
                expect_failed(&mut peer, Duration::from_secs(10)).await;
            }
            let peak = process.peak_bytes().saturating_sub(resident);
            results.push(format!("{deed} + {}", bytes(peak)));
            assert!(peak <= LIMIT + 2 * MIB, "{deed}: bound = its limit: {peak}");
        }
        for target in [
            "/hostile?open=trap",
            "/hostile?open=touch",
            "/hostile?open=recurse",
        ] {
            let mut peer = village.enter(target).await;
            expect_failed(&mut peer, Duration::from_secs(10)).await;
        }
        for target in [
            "/hostile?close=trap",
            "/hostile?close=touch",
            "/hostile?close=recurse",
        ] {
            village.enter(target).await.leave(1000).await;
        }
        village.assert_untouched().await;
        figure(
            "guest.memory",
            format!(
                "limit {}: {}; 0 of {HEALTHY} others touched",
                bytes(LIMIT),
                results.join(", ")
            ),
        );
    });
}

#[test]
fn a_guest_that_breaks_where_it_is_started_or_given_room_ends_alone() {
    covers("guest.memory");
    covers("ends.handler-failed");
    alone(async {
        const BROKEN: [&str; 5] = [
            "start-trap",
            "realloc-trap",
            "realloc-outside",
            "realloc-unaligned",
            "recurse",
        ];
        let mounts = BROKEN.iter().chain(&["table-grow"]);
        let mounts = mounts.map(|name| Mount::new(&format!("/{name}"), name));
        let mut village = Village::new(mounts).await;
        let process = village.server.process();
        let mut worst = 0;
        for name in BROKEN {
            process.reset_peak();
            let resident = process.resident_bytes();
            let stream = Stream::tcp(village.server.address).await;
            match Peer::try_open(stream, &Head::upgrade(&format!("/{name}"))).await {
                Ok(mut peer) => {
                    peer.send_text("a message").await;
                    expect_failed(&mut peer, Duration::from_secs(10)).await;
                }
                Err(refusal) => {
                    assert!((500..=503).contains(&refusal.status), "{name}: {refusal:?}")
                }
            }
            worst = worst.max(process.peak_bytes().saturating_sub(resident));
        }
        // What asks for more than its limit from its start on is not even served.
        for name in ["start-memory", "start-table"] {
            let file = wharf_tests::guests::path(name);
            let output = run(&["serve", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success() && text.contains("_max"),
                "{name}: {text}"
            );
        }
        // A refused growth is an answer: this one goes on.
        let resident = process.resident_bytes();
        village
            .enter("/table-grow")
            .await
            .expect_echo("grown as far as it goes")
            .await;
        let table = process.peak_bytes().saturating_sub(resident);
        village.assert_untouched().await;
        figure(
            "guest.memory",
            format!(
                "{} guests that break when started or given room: + {} at most; a table at its limit + {}",
                BROKEN.len(),
                bytes(worst),
                bytes(table)
            ),
        );
        assert!(worst <= 4 * MIB && table <= 4 * MIB, "{worst}, {table}");
    });
}

#[test]
fn a_guest_that_floods_fills_nothing_but_its_own_queue() {
    covers("guest.floods");
    covers("ends.handler-failed");
    alone(async {
        // A route for each deed: sessions that share an instance share its end.
        let flooding = ["/try-flood", "/flood", "/flood-small"].map(|path| {
            Mount::new(path, "hostile")
                .shared()
                .guest("cpu_per_call", "1s")
        });
        let wasi = Mount::new("/wasi", "wasi").guest("cpu_per_call", "3s");
        let mut village = Village::new(flooding.into_iter().chain([wasi])).await;
        let process = village.server.process();
        let mut results = Vec::new();
        for deed in ["try-flood", "flood", "flood-small"] {
            process.reset_peak();
            let resident = process.resident_bytes();
            let stream = Stream::dial(village.server.address, Dial::small_buffers()).await;
            let mut peer = Peer::open(stream, &Head::upgrade(&format!("/{deed}"))).await;
            peer.send_text(deed).await;
            if deed == "try-flood" {
                // Its report found the queue full too: it is the guest that knows; the session lives.
                tokio::time::sleep(Duration::from_millis(500)).await;
                let mut read = 0;
                while let Some(Incoming::Frame(frame)) =
                    peer.poll_within(Duration::from_millis(300)).await
                {
                    read += frame.payload.len();
                }
                assert!(read >= 128 * 1024, "what was taken is delivered: {read}");
                peer.expect_echo("still here").await;
                peer.leave(1000).await;
            } else {
                let code = ended(&mut peer, Duration::from_secs(20)).await;
                assert!(matches!(code, Some(1008 | 1011)), "{deed}: {code:?}");
            }
            let peak = process.peak_bytes().saturating_sub(resident);
            results.push(format!("{deed} + {}", bytes(peak)));
            // The queue, the guest's own memory, and what a write holds.
            assert!(peak <= 2 * MIB, "{deed}: {peak}");
        }

        let before = village.server.log().len();
        let start = Instant::now();
        let mut logger = village.enter("/wasi").await;
        logger.send_text("log").await;
        expect_failed(&mut logger, Duration::from_secs(20)).await;
        let seconds = start.elapsed().as_secs_f64();
        let mut again = village.enter("/wasi").await;
        again.send_text("print after the flood").await;
        again.expect_text("ok").await;
        let (dropped, _) = eventually(Duration::from_secs(5), "dropped lines are counted", || {
            let log = village.server.log();
            let count: u64 = log
                .lines()
                .filter_map(|line| {
                    serde_json::from_str::<serde_json::Value>(line).ok()?["dropped"].as_u64()
                })
                .sum();
            if count > 0 {
                Ok(count)
            } else {
                Err(format!("{} bytes of log", log.len()))
            }
        })
        .await;
        let log = village.server.log();
        let printed = log[before..].matches(&"x".repeat(99)).count() as f64 * 100.0;
        assert!(
            printed <= (seconds + 2.0) * MIB as f64,
            "{printed} bytes of lines in {seconds:.1} s"
        );
        results.push(format!(
            "log {:.2} MiB/s, {dropped} lines dropped and counted",
            printed / seconds / MIB as f64
        ));

        let mut few = village.enter("/wasi").await;
        few.send_text("handles 1000").await;
        few.expect_text("ok").await;
        let mut many = village.enter("/wasi").await;
        many.send_text("handles 1100").await;
        expect_failed(&mut many, Duration::from_secs(10)).await;
        results.push("1,000 handles kept, 1,100 are a failure".into());
        figure("guest.floods", results.join("; "));
        village.assert_untouched().await;
    });
}

/// Reads whatever comes until the close frame or the end; the code.
async fn ended(peer: &mut Peer, limit: Duration) -> Option<u16> {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match peer.next_but_pings_within(left).await {
            Incoming::Frame(frame) if frame.opcode == wharf_tests::frame::opcode::CLOSE => {
                return frame.close_reason().map(|(code, _)| code);
            }
            Incoming::Frame(_) => {}
            Incoming::End(_) => return None,
        }
    }
}

#[test]
fn lists_that_cannot_be_are_refused_before_they_are_copied() {
    covers("guest.lists");
    alone(async {
        let mut village = Village::new([Mount::new("/hostile", "hostile")]).await;
        let process = village.server.process();
        let mut warm = village.enter("/hostile").await;
        warm.send_text("bad-kind").await;
        expect_failed(&mut warm, Duration::from_secs(10)).await;
        let mut worst = 0;
        let deeds = [
            "list-binary",
            "list-text",
            "list-attachment",
            "list-reason",
            "list-tags",
            "list-end",
            "bad-utf8",
            "bad-kind",
        ];
        for deed in deeds {
            process.reset_peak();
            let resident = process.resident_bytes();
            let mut peer = village.enter("/hostile").await;
            peer.send_text(deed).await;
            expect_failed(&mut peer, Duration::from_secs(10)).await;
            worst = worst.max(process.peak_bytes().saturating_sub(resident));
        }
        assert!(worst <= 2 * MIB, "at most twice the message limit: {worst}");
        // Lists that exist in the guest's memory and are too large for the host: answered or a failure, not copied.
        let mut answers = Vec::new();
        for deed in ["large-binary", "large-text", "amplify-tags"] {
            let mut peer = village.enter("/hostile").await;
            process.reset_peak();
            let resident = process.resident_bytes();
            peer.send_text(deed).await;
            let limit = Duration::from_secs(10);
            let answer = match peer.next_but_pings_within(limit).await {
                Incoming::Frame(frame) => {
                    match frame.close_reason().filter(|_| frame.opcode == 8) {
                        Some((code, _)) => format!("{deed} {code}"),
                        None => String::from_utf8(frame.payload).unwrap(),
                    }
                }
                Incoming::End(end) => panic!("{deed}: {end:?}"),
            };
            assert!(
                answer.contains("too-large:") || answer.ends_with(" 1011"),
                "{answer}"
            );
            // The guest's own 32 MiB are its own.
            let peak = process.peak_bytes().saturating_sub(resident);
            let own = if deed == "amplify-tags" {
                16 * MIB
            } else {
                32 * MIB
            };
            answers.push(format!(
                "{answer} + {} beyond the guest's own",
                bytes(peak.saturating_sub(own))
            ));
            assert!(peak <= own + 4 * MIB, "{deed}: {peak}");
        }
        figure(
            "guest.lists",
            format!(
                "{} impossible lists: + {} at most; {}",
                deeds.len(),
                bytes(worst),
                answers.join(", ")
            ),
        );
        village.assert_untouched().await;
    });
}

#[test]
fn sessions_of_others_answer_as_closed_ones() {
    covers("session.messages");
    scenario(async {
        let server = Child::start(&Site::new().mount(Mount::new("/hostile", "hostile")));
        let _neighbour = Peer::connect(server.address, "/hostile").await;
        let mut peer = Peer::connect(server.address, "/hostile").await;
        let _after = Peer::connect(server.address, "/hostile").await;
        for (deed, answer) in [
            ("foreign", "foreign ok"),
            ("attachment", "attachment too-large:16384"),
            ("tags", "tags too-large:10 too-large:256"),
            ("auto-response", "auto-response too-large:2048"),
        ] {
            peer.send_text(deed).await;
            peer.expect_text(answer).await;
        }
        server.assert_healthy();
    });
}

#[test]
fn what_was_not_granted_is_refused_before_it_runs() {
    covers("guest.imports");
    scenario(async {
        let wanted = [
            "stranger:danger/files@1.2.3",
            "stranger:danger/network@1.2.3",
        ];
        let file = wharf_tests::guests::path("ungranted");
        let file = file.to_str().unwrap();
        for arguments in [
            vec!["serve", file, "--listen", "127.0.0.1:0"],
            vec!["check", file],
        ] {
            let output = run(&arguments);
            let text =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!output.status.success(), "{arguments:?}: {text}");
            for import in wanted {
                assert!(
                    text.contains(import),
                    "{arguments:?}: each import is named: {text}"
                );
            }
        }
        let route = wharf::Route::new("/x").component_file(wharf_tests::guests::path("ungranted"));
        let error = wharf::Server::builder()
            .route(route)
            .start()
            .await
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(wanted.iter().all(|import| text.contains(import)), "{text}");
        figure(
            "guest.imports",
            "refused by serve, check and the library, 2 of 2 imports named, nothing was run",
        );
    });
}
