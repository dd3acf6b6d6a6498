//! Timers through real clients: with sessions and without, over a restart, and after a trap.

use std::time::{Duration, Instant};

use wharf_tests::deadline::{eventually, scenario};
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, Local, start};
use wharf_tests::site::{Folder, Mount, Site};

use crate::promises::covers;

/// What a retry may take on a busy machine: the first comes after a second.
const PATIENCE: Duration = Duration::from_secs(20);

fn store(path: &str) -> Mount {
    let mount = Mount::new(path, "store").grant("keyvalue", ["default"]);
    mount.grant("timers", true)
}

fn rooms() -> Mount {
    store("/rooms/{room}").set("instance", "{room}")
}

/// Two workers, storage in memory, and every instance model.
async fn server() -> Local {
    let site = Site::new()
        .workers(2)
        .section("storage", "path", "memory")
        .mount(rooms())
        .mount(store("/shared").shared())
        .mount(store("/own"));
    start(&site).await
}

/// The answer to a command; timers may come before it.
async fn answer(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    loop {
        let said = peer.text().await;
        if !said.starts_with("timer ") {
            return said;
        }
    }
}

async fn ask(peer: &mut Peer, command: &str, expect: &str) {
    assert_eq!(answer(peer, command).await, expect, "{command:?}");
}

/// Asks until the answer is that: what happens without a session announces itself nowhere.
async fn ask_until(peer: &mut Peer, command: &str, expect: &str) {
    let start = Instant::now();
    loop {
        let said = answer(peer, command).await;
        if said == expect {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{command:?}: {said:?}, not {expect:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_timer_comes_in_every_instance_model() {
    covers("timers.named");
    scenario(async {
        let server = server().await;
        for path in ["/rooms/a", "/rooms/b", "/rooms/c", "/shared", "/own"] {
            let mut peer = Peer::connect(server.address, path).await;
            ask(&mut peer, "timer\tnever\t3600000", "ok").await;
            ask(&mut peer, "timer\ttea\t3600000", "ok").await;
            // The same name again replaces it.
            ask(&mut peer, "timer\ttea\t20", "ok").await;
            if path == "/shared" {
                // It may come on the other worker, where this session is not.
                ask_until(&mut peer, "get\tdefault\tfired tea", "4").await;
            } else {
                peer.expect_text("timer tea").await;
            }
            ask(&mut peer, "timer\tagain\t1", "ok").await;
            if path != "/shared" {
                peer.expect_text("timer again").await;
                peer.expect_text("timer again").await;
            }
            ask(&mut peer, "cancel\tagain", "ok").await;
            peer.leave(1000).await;
        }
    });
}

#[test]
fn a_timer_starts_the_room_that_nobody_is_in_and_ends_it_again() {
    covers("timers.named");
    scenario(async {
        let server = server().await;
        let mut observer = Peer::connect(server.address, "/own").await;
        for room in ["a", "b", "c", "d"] {
            let mut peer = Peer::connect(server.address, &format!("/rooms/{room}")).await;
            ask(&mut peer, &format!("timer\ttea {room}\t300"), "ok").await;
            peer.leave(1000).await;
        }
        let gone = || match server.server.stats().instances_live {
            1 => Ok(()),
            live => Err(format!("{live} instances")),
        };
        eventually(PATIENCE, "the rooms end", gone).await;
        for room in ["a", "b", "c", "d"] {
            ask_until(
                &mut observer,
                &format!("get\tdefault\tfired tea {room}"),
                "1",
            )
            .await;
        }
        eventually(PATIENCE, "the rooms end again", gone).await;
    });
}

#[test]
fn a_timer_outlives_the_server() {
    covers("timers.durable");
    scenario(async {
        let mut folder = Folder::new();
        for round in ["TERM", "KILL"] {
            let site = Site::new().section("storage", "path", "wharf.redb");
            let site = site.mount(rooms()).mount(store("/own"));
            let mut server = Child::start_in(folder, &site);
            let mut peer = Peer::connect(server.address, "/rooms/a").await;
            let set = format!("timer\t{round}\t2000");
            ask(&mut peer, &set, "ok").await;
            ask(&mut peer, "timer\tcancelled\t2000", "ok").await;
            ask(&mut peer, "cancel\tcancelled", "ok").await;
            server.signal(round);
            server.exit_within(wharf_tests::deadline::STEP).await;
            let again = Child::start_in(std::mem::take(&mut server.folder), &site);
            let mut peer = Peer::connect(again.address, "/own").await;
            let fired = format!("get\tdefault\tfired {round}");
            ask_until(&mut peer, &fired, "1").await;
            ask(&mut peer, "get\tdefault\tfired cancelled", "none").await;
            folder = restarted(again).await;
        }
    });
}

async fn restarted(mut server: Child) -> Folder {
    server.signal("TERM");
    server.exit_within(wharf_tests::deadline::STEP).await;
    std::mem::take(&mut server.folder)
}

#[test]
fn a_timer_whose_handler_traps_comes_again() {
    covers("timers.retried");
    scenario(async {
        let server = server().await;
        let mut peer = Peer::connect(server.address, "/rooms/a").await;
        let mut observer = Peer::connect(server.address, "/own").await;
        ask(&mut peer, "timer\ttrap-once\t1", "ok").await;
        peer.expect_close(1011).await;
        ask_until(&mut observer, "get\tdefault\tfired trap-once", "2").await;
        // A session of its own ends with its instance, and its timers with both.
        let mut own = Peer::connect(server.address, "/own").await;
        ask(&mut own, "timer\ttrap-own\t1", "ok").await;
        own.expect_close(1011).await;
        ask(&mut observer, "get\tdefault\tfired trap-own", "1").await;
    });
}

#[test]
fn the_examples_do_what_their_tables_say() {
    covers("kv.store");
    covers("timers.named");
    scenario(async {
        let counter = Mount::new("/counters/{counter}", "counter").set("instance", "{counter}");
        let reminder = Mount::new("/rooms/{room}", "reminder").set("instance", "{room}");
        let reminder = reminder.grant("keyvalue", ["missed"]);
        let site = Site::new()
            .section("storage", "path", "memory")
            .mount(counter.grant("keyvalue", ["counters"]))
            .mount(reminder.grant("timers", true));
        let server = start(&site).await;
        let mut first = Peer::connect(server.address, "/counters/a").await;
        first.expect_text("0").await;
        let mut second = Peer::connect(server.address, "/counters/a").await;
        second.expect_text("0").await;
        first.send_text("+").await;
        first.expect_text("1").await;
        second.expect_text("1").await;
        second.send_text("mute").await;
        second.send_text("-").await;
        first.expect_text("0").await;
        second.send_text("watch").await;
        second.send_text("-").await;
        first.expect_text("-1").await;
        second.expect_text("-1").await;
        let mut other = Peer::connect(server.address, "/counters/b").await;
        other.expect_text("0").await;

        let mut peer = Peer::connect(server.address, "/rooms/kitchen").await;
        ask(&mut peer, "in 3600 the soup", "ok").await;
        ask(&mut peer, "forget the soup", "ok").await;
        ask(&mut peer, "in 0 the tea", "ok").await;
        peer.expect_text("now the tea").await;
        ask(&mut peer, "in 1 the cake", "ok").await;
        peer.leave(1000).await;
        // Whether somebody is back in time or not, it is said.
        let mut peer = Peer::connect(server.address, "/rooms/kitchen").await;
        let said = peer.text().await;
        assert!(
            ["now the cake", "missed the cake"].contains(&said.as_str()),
            "{said}"
        );
    });
}
