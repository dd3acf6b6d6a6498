//! Sleep through real clients: what an instance loses and keeps, what wakes it, and what happens
//! when it cannot wake.

use std::net::SocketAddr;
use std::time::Duration;

use wharf_tests::deadline::{STEP, alone, eventually, scenario, within};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::{Incoming, Peer, exchange};
use wharf_tests::server::{Child, Local, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;
use crate::village::{MIB, PATIENCE, Village, ended};

const MODELS: [&str; 3] = ["session", "{key}", "shared"];
/// Several times what an instance may be idle.
const WHILE: Duration = Duration::from_millis(200);

/// Sleepers that are idle after a moment.
fn sleepers(path: &str, instance: &str) -> Mount {
    let mount = Mount::new(&format!("{path}/{{key}}"), "sleeper").set("instance", instance);
    let mount = mount.grant("topics", true).grant("timers", true);
    mount.set("idle", "20ms")
}

/// Sleepers of one model, and a herald that never sleeps.
fn site(instance: &str) -> Site {
    let herald = Mount::new("/herald", "herald").grant("topics", true);
    let site = Site::new().section("storage", "path", "memory");
    site.mount(herald).mount(sleepers("", instance))
}

async fn ask(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

async fn tell(peer: &mut Peer, commands: &[&str]) {
    for command in commands {
        assert_eq!(ask(peer, command).await, "ok", "{command:?}");
    }
}

/// Waits until so many instances sleep and so many do not.
async fn until_asleep(server: &Local, asleep: usize, live: usize) {
    let probe = || {
        let stats = server.server.stats();
        let is_so = stats.instances_asleep == asleep && stats.instances_live == live;
        is_so.then_some(()).ok_or(format!("{stats:?}"))
    };
    eventually(PATIENCE, "instances fall asleep", probe).await;
}

fn woken(server: &Local) -> u64 {
    server.server.stats().instances_woken
}

#[test]
fn a_sleeping_instance_keeps_its_sessions_and_loses_its_memory() {
    covers("sleep.keeps");
    scenario(async {
        for instance in MODELS {
            let server = start(&site(instance)).await;
            let mut herald = Peer::connect(server.address, "/herald").await;
            let mut peer = Peer::connect(server.address, "/a").await;
            tell(&mut peer, &["keep this", "tag seat", "join news"]).await;
            tell(&mut peer, &["auto hello host", "timer never 3600000"]).await;
            let name = ask(&mut peer, "name").await;
            let id = ask(&mut peer, &format!("find {name}")).await;
            tell(&mut peer, &["ping 30"]).await;
            until_asleep(&server, 1, 1).await;
            let before = woken(&server);

            // The host goes on without the guest: pings both ways, its own answers, topics.
            let ping = peer.frame().await;
            assert_eq!(ping.opcode, opcode::PING, "{instance}");
            peer.send(Frame::pong(ping.payload)).await;
            assert_eq!(ask(&mut peer, "hello").await, "host");
            peer.send(Frame::ping("mine")).await;
            let pong = loop {
                let frame = peer.frame().await;
                if frame.opcode == opcode::PONG {
                    break frame;
                }
            };
            assert_eq!(pong.payload, b"mine");
            assert_eq!(ask(&mut herald, "pub news flash").await, "1");
            peer.expect_text("flash").await;
            assert_eq!(woken(&server), before, "{instance}: nothing of it wakes");
            until_asleep(&server, 1, 1).await;

            let memory = ask(&mut peer, "memory").await;
            assert_eq!(
                memory, "opened 0, messages 1, found [\"this\"]",
                "{instance}"
            );
            assert_eq!(woken(&server), before + 1);
            assert_eq!(ask(&mut peer, "tagged seat").await, "1");
            assert_eq!(ask(&mut peer, "name").await, name);
            assert_eq!(ask(&mut peer, &format!("find {name}")).await, id);
        }
    });
}

#[test]
fn a_session_that_comes_to_a_sleeping_instance_is_the_only_one_that_opens() {
    covers("sleep.wakes");
    scenario(async {
        for instance in ["{key}", "shared"] {
            let server = start(&site(instance)).await;
            let mut first = Peer::connect(server.address, "/a").await;
            tell(&mut first, &["keep first"]).await;
            until_asleep(&server, 1, 0).await;
            let mut second = Peer::connect(server.address, "/a").await;
            second.send_text("memory").await;
            let memory = second.text().await;
            // Between opening and asking it may have slept once more.
            assert!(
                memory.starts_with("opened 1, messages 1, found [\"first\"]")
                    || memory.starts_with("opened 0, messages 1, found [\"first\"]"),
                "{memory}"
            );
            assert_eq!(ask(&mut first, "tagged none").await, "0");
        }
    });
}

#[test]
fn a_timer_wakes_a_sleeping_instance() {
    covers("sleep.wakes");
    covers("timers.named");
    scenario(async {
        for instance in MODELS {
            let server = start(&site(instance)).await;
            let mut peer = Peer::connect(server.address, "/a").await;
            tell(&mut peer, &["keep this", "timer no 900", "timer tea 1000"]).await;
            tell(&mut peer, &["cancel no"]).await;
            until_asleep(&server, 1, 0).await;
            let before = woken(&server);
            peer.expect_text("timer tea, opened 0, messages 0, found [\"this\"]")
                .await;
            assert_eq!(woken(&server), before + 1, "{instance}");
            until_asleep(&server, 1, 0).await;
        }
    });
}

#[test]
fn the_end_of_a_session_wakes_its_instance_for_the_last_call() {
    covers("sleep.wakes");
    covers("session.close");
    scenario(async {
        for instance in MODELS {
            let server = start(&site(instance)).await;
            let mut herald = Peer::connect(server.address, "/herald").await;
            assert_eq!(ask(&mut herald, "sub endings x").await, "ok");
            for end in ["1000 Initiator::Peer", "1006 Initiator::Peer"] {
                let mut peer = Peer::connect(server.address, "/a").await;
                tell(&mut peer, &["tag any"]).await;
                until_asleep(&server, 1, 1).await;
                if end.starts_with("1000") {
                    peer.leave(1000).await;
                } else {
                    drop(peer);
                }
                let said = herald.text().await;
                let expect = format!("{end}, opened 0, messages 0, found []");
                assert_eq!(said, expect, "{instance}");
            }
            // Only the shared one outlives its sessions, and sleeps again.
            until_asleep(&server, usize::from(instance == "shared"), 1).await;
        }
    });
}

#[test]
fn an_instance_does_not_sleep_in_a_call() {
    covers("sleep.busy");
    scenario(async {
        let mount = sleepers("", "session").websocket("write_timeout", "10s");
        let server = start(&Site::new().mount(mount.grant("timers", true))).await;
        let mut peer = Peer::connect(server.address, "/a").await;
        // Far more than sockets and outbox hold: the call waits for this client.
        peer.send_text("fill 300 65536").await;
        assert_eq!(peer.text().await.len(), 65_536);
        let before = woken(&server);
        // What comes meanwhile waits behind the call, for longer than the instance may be idle.
        peer.send_text("memory").await;
        tokio::time::sleep(WHILE).await;
        assert_eq!(server.server.stats().instances_asleep, 0);
        for _ in 1..300 {
            assert_eq!(peer.text().await.len(), 65_536);
        }
        peer.expect_text("ok").await;
        let memory = peer.text().await;
        assert!(memory.contains("messages 2"), "{memory}");
        assert_eq!(woken(&server), before);
    });
}

#[test]
fn messages_that_race_with_sleep_are_all_answered_in_order() {
    covers("sleep.wakes");
    scenario(async {
        for instance in MODELS {
            let mount = sleepers("", instance).set("idle", "1ms");
            let site = Site::new().section("storage", "path", "memory");
            let server = start(&site.mount(mount).workers(2)).await;
            let mut peers = Vec::new();
            for _ in 0..8 {
                peers.push(Peer::connect(server.address, "/a").await);
            }
            for round in 0..100_u64 {
                for (number, peer) in peers.iter_mut().enumerate() {
                    peer.send_text(format!("keep {round}")).await;
                    if (round + number as u64).is_multiple_of(3) {
                        peer.send_text("tagged nothing").await;
                    }
                }
                for (number, peer) in peers.iter_mut().enumerate() {
                    peer.expect_text("ok").await;
                    if (round + number as u64).is_multiple_of(3) {
                        peer.expect_text("0").await;
                    }
                }
                // Around the granularity of the clock, so that some come as it falls asleep.
                tokio::time::sleep(Duration::from_millis(round % 20)).await;
            }
            assert!(
                woken(&server) > 8,
                "{instance}: {:?}",
                server.server.stats()
            );
        }
    });
}

/// Two slots, of which a herald that hears endings has one.
async fn narrow() -> (Local, Peer) {
    let awake = Mount::new("/awake", "echo");
    let site = site("{key}").mount(awake);
    let server = start(&site.section("engine", "instances_max", 2)).await;
    let mut herald = Peer::connect(server.address, "/herald").await;
    assert_eq!(ask(&mut herald, "sub endings x").await, "ok");
    (server, herald)
}

#[test]
fn an_instance_that_wakes_waits_for_a_slot() {
    covers("sleep.capacity");
    scenario(async {
        let (server, _herald) = narrow().await;
        let mut peer = Peer::connect(server.address, "/a").await;
        tell(&mut peer, &["keep this"]).await;
        until_asleep(&server, 1, 1).await;
        let other = Peer::connect(server.address, "/awake").await;
        peer.send_text("memory").await;
        peer.expect_silence(WHILE).await;
        other.leave(1000).await;
        peer.expect_text("opened 0, messages 1, found [\"this\"]")
            .await;
    });
}

#[test]
fn a_session_whose_instance_finds_no_slot_is_turned_away_and_the_others_sleep_on() {
    covers("sleep.capacity");
    covers("ends.capacity");
    scenario(async {
        let (server, mut herald) = narrow().await;
        let mut first = Peer::connect(server.address, "/a").await;
        let mut second = Peer::connect(server.address, "/a").await;
        tell(&mut first, &["keep first"]).await;
        tell(&mut second, &["keep second"]).await;
        until_asleep(&server, 1, 1).await;
        let other = Peer::connect(server.address, "/awake").await;
        first.send_text("memory").await;
        first.expect_closed(1013).await;
        assert_eq!(server.server.stats().instances_asleep, 1);
        // Its ending has another try, which this lets succeed.
        other.leave(1000).await;
        let ending = herald.text().await;
        assert!(
            ending.starts_with("1013 Initiator::Host, opened 0"),
            "{ending}"
        );
        // By then it may have slept again.
        assert!(ask(&mut second, "memory").await.contains("\"second\""));

        until_asleep(&server, 1, 1).await;
        let _other = Peer::connect(server.address, "/awake").await;
        let head = Head::upgrade("/a");
        let refused = Peer::try_open(Stream::tcp(server.address).await, &head).await;
        let refused = refused.expect_err("there is no slot");
        assert_eq!(refused.status, 503);
        assert_eq!(server.server.stats().sessions_open, 3);
    });
}

#[test]
fn a_drain_wakes_each_sleeping_instance_once_and_needs_few_slots() {
    covers("sleep.drain");
    covers("ends.drain");
    scenario(async {
        const SESSIONS: usize = 200;
        let site = Site::new().section("storage", "path", "memory");
        let site = site.mount(sleepers("", "session"));
        let site = site.section("engine", "instances_max", 8);
        let server = start(&site).await;
        let mut peers = Vec::new();
        for number in 0..SESSIONS {
            let peer = Peer::connect(server.address, "/a").await;
            peers.push(peer);
            if number % 4 == 3 {
                until_asleep(&server, number + 1, 0).await;
            }
        }
        let before = woken(&server);
        let drain = server.server.drain(STEP);
        let leave = async {
            for peer in &mut peers {
                peer.expect_closed(1001).await;
            }
        };
        let (left, ()) = tokio::join!(drain, leave);
        assert_eq!(left, 0);
        assert_eq!(woken(&server) - before, SESSIONS as u64);
    });
}

#[test]
fn a_shutdown_wakes_nobody() {
    covers("sleep.drain");
    scenario(async {
        let server = start(&site("session")).await;
        let mut peers = Vec::new();
        for _ in 0..8 {
            peers.push(Peer::connect(server.address, "/a").await);
        }
        until_asleep(&server, 8, 0).await;
        server.server.shutdown().await.expect("it ends in order");
        for peer in &mut peers {
            peer.expect_end_within(STEP).await;
        }
    });
}

#[test]
fn without_idle_nothing_sleeps() {
    covers("numbers.idle");
    scenario(async {
        let server = start(&Site::new().mount(sleepers("", "session").set("idle", "off"))).await;
        let mut peer = Peer::connect(server.address, "/a").await;
        peer.expect_silence(WHILE).await;
        assert_eq!(server.server.stats().instances_asleep, 0);
        let memory = ask(&mut peer, "memory").await;
        assert_eq!(memory, "opened 1, messages 1, found []");
    });
}

#[test]
fn the_reminder_sleeps_and_knows_its_people() {
    covers("sleep.keeps");
    covers("sleep.wakes");
    scenario(async {
        let mount = Mount::new("/{room}", "reminder").set("instance", "{room}");
        let mount = mount.grant("keyvalue", ["missed"]).grant("timers", true);
        let site = Site::new().section("storage", "path", "memory");
        let server = start(&site.mount(mount.set("idle", "20ms"))).await;
        let mut ada = Peer::connect(server.address, "/kitchen").await;
        let mut bob = Peer::connect(server.address, "/kitchen").await;
        tell(&mut ada, &["i am Ada", "in 1 the tea"]).await;
        tell(&mut bob, &["i am Bob"]).await;
        until_asleep(&server, 1, 0).await;
        ada.expect_text("now the tea").await;
        bob.expect_text("now the tea").await;
        until_asleep(&server, 1, 0).await;
        let said = ask(&mut bob, "who").await;
        assert_eq!(said, "Ada, Bob; messages since I woke: 1");
    });
}

#[test]
fn a_guest_that_sleeps_and_wakes_badly_ends_alone() {
    covers("guest.sleeps");
    alone(async {
        const HOARD: u64 = 48 * MIB;
        const LADEN: u64 = 1_000;
        let hostile = sleepers("/hostile", "session").guest("cpu_per_call", "500ms");
        let mut village = Village::stored([hostile]).await;
        let process = village.process();

        let mut badly = Vec::new();
        for deed in ["trap", "spin"] {
            let mut peer = village.enter("/hostile/a").await;
            tell(&mut peer, &[&format!("keep {deed}")]).await;
            // It wakes for this or has never slept: then it answers, and sleeps.
            loop {
                peer.send_text("tagged x").await;
                match peer.next_but_pings_within(PATIENCE).await {
                    Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => {
                        assert_eq!(frame.close_reason().map(|(code, _)| code), Some(1011));
                        break;
                    }
                    Incoming::Frame(_) => tokio::time::sleep(Duration::from_millis(40)).await,
                    Incoming::End(end) => panic!("a close frame was expected: {end:?}"),
                }
            }
            badly.push(deed);
        }

        let before = process.resident_bytes();
        let mut peers = Vec::new();
        for _ in 0..4 {
            let mut peer = village.enter("/hostile/a").await;
            tell(&mut peer, &["hoard 48"]).await;
            peers.push(peer);
        }
        let (_, took) = eventually(PATIENCE, "what is hoarded is given back", || {
            let grown = process.resident_bytes().saturating_sub(before);
            (grown < 4 * MIB).then_some(()).ok_or(bytes(grown))
        })
        .await;
        drop(peers);

        let before = process.resident_bytes();
        let mut peers = Vec::new();
        for _ in 0..LADEN {
            let mut peer = village.enter("/hostile/a").await;
            tell(&mut peer, &["load"]).await;
            peers.push(peer);
        }
        let laden = process.resident_bytes().saturating_sub(before) / LADEN;
        assert!(laden < 48 * 1024, "16 KiB, 10 tags and a pair: {laden}");
        for peer in &mut peers {
            assert_eq!(ask(peer, "tagged x").await, "0");
        }
        drop(peers);
        village.assert_untouched().await;
        figure(
            "guest.sleeps",
            format!(
                "wakes into {}: 1011 for its session alone; 4 × {} are back {took:.0?} after the last; a sleeping session with all that it may carry holds {}",
                badly.join(", "),
                bytes(HOARD),
                bytes(laden)
            ),
        );
    });
}

#[test]
fn sleeping_and_waking_again_and_again_leaves_nothing() {
    covers("sleep.churn");
    alone(async {
        const SESSIONS: usize = 500;
        const ROUNDS: usize = 20;
        // Long enough that all are awake at a time, in each round: a slot that was used once keeps a
        // little memory for the next instance, and these are the slots of the first round.
        let echo = Mount::new("/{key}", "echo").set("idle", "200ms");
        let server = Child::start(&Site::new().mount(echo));
        let process = server.process();
        let mut peers = Vec::new();
        for _ in 0..SESSIONS {
            peers.push(Peer::connect(server.address, "/a").await);
        }
        let mut resident = Vec::new();
        for round in 0..ROUNDS {
            for peer in &mut peers {
                peer.send_text(format!("round {round}")).await;
            }
            for peer in &mut peers {
                peer.expect_text(&format!("round {round}")).await;
            }
            tokio::time::sleep(WHILE * 2).await;
            resident.push(process.resident_bytes());
        }
        let (middle, last) = (resident[ROUNDS / 2], resident[ROUNDS - 1]);
        let grown = last.saturating_sub(middle);
        // Less than a kilobyte for each that slept and woke.
        assert!(grown < 4 * MIB, "{resident:?}");
        for mut peer in peers {
            peer.send(Frame::close(1000, "")).await;
            assert_eq!(ended(&mut peer).await, Some(1000));
        }
        figure(
            "sleep.churn",
            format!(
                "{SESSIONS} instances that sleep and wake {ROUNDS} times: + {} over the second half",
                bytes(grown)
            ),
        );
        server.assert_healthy();
    });
}

/// Waits until so many instances sleep, as the metrics have it.
async fn until_so_many_sleep(admin: SocketAddr, count: usize) {
    let wanted = format!("}} {count}");
    let all_sleep = async {
        loop {
            let metrics = exchange(admin, &Head::get("/metrics")).await.body;
            let metrics = String::from_utf8(metrics).expect("metrics are text");
            let mut lines = metrics.lines();
            let asleep = lines.find(|line| line.starts_with("wharf_instances_asleep{"));
            if asleep.is_some_and(|line| line.ends_with(&wanted)) {
                return;
            }
            tokio::time::sleep(WHILE).await;
        }
    };
    within(PATIENCE, "instances fall asleep", all_sleep).await;
}

#[test]
fn ten_thousand_that_sleep_on_sockets_cost_little() {
    covers("sleep.memory");
    alone(async {
        const FEW: usize = 1_000;
        const MANY: usize = 10_000;
        /// What those take that are awake at a time is not the cost of those that sleep.
        const AWAKE_MAX: usize = 64;
        /// The goal (ARCHITECTURE.md); it takes about 800.
        const EACH_BYTES_MAX: u64 = 1_024;
        let echo = Mount::new("/{key}", "echo").set("idle", "20ms");
        let site = Site::new().mount(echo);
        let server = Child::start(&site.section("admin", "listen", "127.0.0.1:0"));
        let (process, admin) = (server.process(), server.admin());
        let mut peers = Vec::new();
        let mut resident = Vec::new();
        for count in [FEW, MANY] {
            while peers.len() < count {
                for _ in 0..AWAKE_MAX.min(count - peers.len()) {
                    let mut peer = Peer::connect(server.address, "/a").await;
                    peer.expect_echo("good night").await;
                    peers.push(peer);
                }
                until_so_many_sleep(admin, peers.len()).await;
            }
            resident.push(process.resident_bytes());
        }
        let each = resident[1].saturating_sub(resident[0]) / (MANY - FEW) as u64;
        figure(
            "sleep.memory",
            format!(
                "{MANY} sessions asleep on sockets: {}, {each} B for each beyond {FEW}",
                bytes(resident[1])
            ),
        );
        assert!(each <= EACH_BYTES_MAX, "{each} B, {resident:?}");
        // The last and the first of them are still there.
        for peer in [0, MANY - 1] {
            peers[peer].expect_echo("good morning").await;
        }
    });
}
