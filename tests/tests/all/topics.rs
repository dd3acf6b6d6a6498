//! Topics through real clients on two workers: who gets what, who is there, and what is refused.

use wharf_tests::deadline::{alone, scenario};
use wharf_tests::deflate::Inflater;
use wharf_tests::figure::{bytes, figure};
use wharf_tests::guests;
use wharf_tests::http::Head;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Local, start};
use wharf_tests::site::{Mount, Site, Value};
use wharf_tests::stream::{Dial, Stream};

use crate::promises::covers;
use crate::village::{MIB, PATIENCE, Village, expect_failed};

/// Rooms of herald: the key decides about the worker.
pub(crate) fn herald() -> Mount {
    Mount::new("/herald/{key}", "herald")
        .set("instance", "{key}")
        .grant("topics", true)
}

/// Two workers; the topics `quiet/*` have defaults, `loud/*` say who joins and leaves.
fn site() -> Site {
    let announce = ("announce", Value::Flag(true));
    Site::new()
        .workers(2)
        .mount(herald())
        .topic("loud/*", [announce])
}

/// What a client is told.
pub(crate) async fn ask(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

/// A client of the instance with that key, and a key of the other worker.
pub(crate) async fn keys_of_both(server: &Local) -> [String; 2] {
    let mut found = [None, None];
    for number in 0..100 {
        let key = format!("k{number}");
        let mut peer = Peer::connect(server.address, &format!("/herald/{key}")).await;
        let id: usize = ask(&mut peer, "id").await.parse().unwrap();
        peer.leave(1000).await;
        found[id % 2] = Some(key);
        if let [Some(first), Some(second)] = &found {
            return [first.clone(), second.clone()];
        }
    }
    panic!("a hundred keys are all on one worker")
}

async fn enter(server: &Local, key: &str, query: &str) -> Peer {
    Peer::connect(server.address, &format!("/herald/{key}?{query}")).await
}

#[test]
fn a_message_reaches_all_members_but_the_one_left_out() {
    covers("topics.fan-out");
    scenario(async {
        let server = start(&site()).await;
        let keys = keys_of_both(&server).await;
        let mut peers = Vec::new();
        for number in 0..6 {
            let key = &keys[number % 2];
            let mut peer = enter(&server, key, "").await;
            assert_eq!(ask(&mut peer, "sub t ").await, "ok");
            peers.push(peer);
        }
        let mut outsider = enter(&server, &keys[0], "").await;
        until(&mut outsider, "count t", "6").await;
        assert_eq!(ask(&mut outsider, "pub t from outside").await, "6");
        assert_eq!(ask(&mut outsider, "pub other x").await, "0");
        for peer in &mut peers {
            peer.expect_text("from outside").await;
        }
        for publisher in [0, 1] {
            peers[publisher].send_text("pub-but t not for me").await;
            peers[publisher].expect_text("5").await;
            for (number, peer) in peers.iter_mut().enumerate() {
                if number != publisher {
                    peer.expect_text("not for me").await;
                }
            }
        }
        // Bursts of one publisher keep their order, and everybody gets all of them.
        for number in 0..500 {
            peers[0].send_text(format!("shout t {number}")).await;
        }
        for peer in &mut peers {
            for number in 0..500 {
                peer.expect_text(&number.to_string()).await;
            }
        }
        assert_eq!(ask(&mut peers[5], "unsub t").await, "ok");
        assert_eq!(ask(&mut peers[5], "pub t last").await, "5");
        peers[4].expect_text("last").await;
    });
}

#[test]
fn bytes_stay_bytes() {
    covers("topics.fan-out");
    scenario(async {
        let server = start(&site()).await;
        let keys = keys_of_both(&server).await;
        let mut first = enter(&server, &keys[0], "join=bytes").await;
        let mut second = enter(&server, &keys[1], "join=bytes").await;
        until(&mut second, "count bytes", "2").await;
        first.send_binary([0xff, 0, 0xfe]).await;
        first.expect_binary(&[0xff, 0, 0xfe]).await;
        second.expect_binary(&[0xff, 0, 0xfe]).await;
    });
}

#[test]
fn everybody_knows_who_is_there_until_they_end_in_whatever_way() {
    covers("topics.presence");
    scenario(async {
        let server = start(&site()).await;
        let keys = keys_of_both(&server).await;
        let mut lookers = [
            enter(&server, &keys[0], "").await,
            enter(&server, &keys[1], "").await,
        ];
        // Of an instance of its own, so that a trap ends nobody else.
        let mut subjects = Vec::new();
        for (number, key) in [&keys[0], &keys[1]].into_iter().enumerate() {
            for way in ["close", "reset", "half", "handler", "trap", "violation"] {
                let mut subject = enter(&server, key, &format!("join=t&as={way}{number}")).await;
                let name = ask(&mut subject, "name").await;
                subjects.push((way, format!("{name}={way}{number}"), subject));
            }
        }
        for looker in &mut lookers {
            until(looker, "count t", "12").await;
            let who = ask(looker, "who t").await;
            let mut members: Vec<&str> = who.split(' ').collect();
            let mut expect: Vec<&str> = subjects.iter().map(|(_, name, _)| name.as_str()).collect();
            members.sort_unstable();
            expect.sort_unstable();
            assert_eq!(members, expect);
        }
        let mut left = subjects.len();
        let mut last = Vec::new();
        for (way, _, mut subject) in subjects {
            match way {
                "close" => subject.leave(1000).await,
                "reset" => subject.stream.reset(),
                "half" => subject.stream.half_close().await.unwrap(),
                "handler" => {
                    subject.send_text("close 4000").await;
                    subject.expect_closed(4000).await;
                }
                "violation" => {
                    subject.raw([0xff, 0xff, 0xff]).await;
                    subject.expect_close(1002).await;
                }
                _ => {
                    last.push(subject);
                    continue;
                }
            }
            left -= 1;
            for looker in &mut lookers {
                until(looker, "count t", &left.to_string()).await;
            }
        }
        // A trap ends all that share its instance, the lookers too.
        let key = "an-instance-of-its-own";
        let mut looker = enter(&server, key, "").await;
        for mut subject in last {
            subject.send_text("trap").await;
            subject.expect_close(1011).await;
        }
        until(&mut looker, "count t", "0").await;
    });
}

/// Asks until the answer is as expected: other workers hear of it within moments.
async fn until(peer: &mut Peer, command: &str, expect: &str) {
    let begun = std::time::Instant::now();
    loop {
        let answer = ask(peer, command).await;
        if answer == expect {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{command}: {answer}, not {expect}"
        );
    }
}

#[test]
fn a_session_has_left_before_its_handler_hears_of_its_end() {
    covers("topics.presence");
    scenario(async {
        let server = start(&site()).await;
        let keys = keys_of_both(&server).await;
        let mut watcher = enter(&server, &keys[1], "join=w").await;
        assert_eq!(ask(&mut watcher, "count w").await, "1");
        let mut leaver = enter(&server, &keys[0], "join=a&join=b&watch=w").await;
        assert_eq!(ask(&mut leaver, "count a").await, "1");
        leaver.leave(1000).await;
        watcher.expect_text("closed Ok(0) Ok(0)").await;
    });
}

#[test]
fn a_topic_that_asks_for_it_says_who_joins_and_leaves() {
    covers("topics.announce");
    scenario(async {
        let server = start(&site()).await;
        let keys = keys_of_both(&server).await;
        let mut watchers = Vec::new();
        for key in &keys {
            let mut watcher = enter(&server, key, "").await;
            assert_eq!(ask(&mut watcher, "sub loud/1 w").await, "ok");
            watchers.push(watcher);
        }
        let _first_hears_of_second = watchers[0].text().await;
        for key in &keys {
            let mut guest = enter(&server, key, "join=quiet/1").await;
            let name = ask(&mut guest, "name").await;
            assert_eq!(ask(&mut guest, "sub loud/1 guest").await, "ok");
            guest.leave(1000).await;
            for watcher in &mut watchers {
                for what in ["joined", "left"] {
                    let expect = format!(
                        r#"{{"topic":"loud/1","{what}":{{"name":"{name}","info":"guest"}}}}"#
                    );
                    watcher.expect_text(&expect).await;
                }
            }
        }
    });
}

#[test]
fn topics_are_of_a_tenant_and_granted_by_name() {
    covers("topics.grants");
    scenario(async {
        let mount =
            |path: &str, tenant: &str| Mount::new(path, "herald").shared().set("tenant", tenant);
        let site = Site::new()
            .workers(2)
            .mount(mount("/acme", "acme").grant("topics", true))
            .mount(mount("/acme/rooms", "acme").grant("topics", ["room/*", "lobby"]))
            .mount(mount("/other", "other").grant("topics", true));
        let server = start(&site).await;
        let mut acme = Peer::connect(server.address, "/acme").await;
        let mut rooms = Peer::connect(server.address, "/acme/rooms").await;
        let mut other = Peer::connect(server.address, "/other").await;
        for (topic, answer) in [
            ("room/1", "ok"),
            ("lobby", "ok"),
            ("lobby2", "denied"),
            ("room", "denied"),
            ("acme/room/1", "denied"),
        ] {
            assert_eq!(ask(&mut rooms, &format!("sub {topic} i")).await, answer);
        }
        for command in ["pub room x", "who room", "count room"] {
            assert_eq!(ask(&mut rooms, command).await, "denied");
        }
        assert_eq!(ask(&mut other, "sub room/1 spy").await, "ok");
        assert_eq!(ask(&mut acme, "sub room/1 a").await, "ok");
        assert_eq!(ask(&mut acme, "count room/1").await, "2");
        assert_eq!(ask(&mut other, "count room/1").await, "1");
        assert!(!ask(&mut other, "who room/1").await.contains(' '));
        acme.send_text("shout room/1 ours").await;
        rooms.expect_text("ours").await;
        acme.expect_text("ours").await;
        // The spy's next message is its own answer, so it got nothing in between.
        assert_eq!(ask(&mut other, "count lobby").await, "0");
    });
}

#[test]
fn a_component_that_imports_topics_without_a_grant_is_refused_by_name() {
    covers("topics.grants");
    scenario(async {
        let refused = wharf::Server::builder()
            .route(wharf::Route::new("/").component_file(guests::path("herald")))
            .start()
            .await
            .map(drop)
            .unwrap_err();
        let message = format!("{refused:#}");
        for part in [
            "wharf:websocket/topics@0.1.0",
            "not granted",
            "[route.grants]",
        ] {
            assert!(message.contains(part), "{message}");
        }
    });
}

#[test]
fn a_foreign_session_cannot_be_subscribed() {
    covers("topics.grants");
    scenario(async {
        let server = start(&Site::new().mount(herald())).await;
        let mut victim = enter(&server, "victim", "").await;
        let id = ask(&mut victim, "id").await;
        let mut thief = enter(&server, "thief", "").await;
        assert_eq!(ask(&mut thief, &format!("sub-id {id} t")).await, "closed");
        assert_eq!(ask(&mut thief, "sub-id 99999999 t").await, "closed");
        assert_eq!(ask(&mut thief, "count t").await, "0");
    });
}

#[test]
fn every_limit_is_answered_with_its_number() {
    covers("topics.limits");
    scenario(async {
        let few = ("members_max", Value::Number(2));
        let slow = ("bytes_per_second_max", Value::Number(100));
        let site = Site::new()
            .mount(herald().websocket("max_message_bytes", 4096))
            .topic("few", [few])
            .topic("slow", [slow]);
        let server = start(&site).await;
        let mut peer = enter(&server, "a", "").await;
        let long = |length: usize| "x".repeat(length);
        for (command, answer) in [
            (format!("sub {} ", long(257)), "limit 256"),
            (format!("sub {} {}", long(256), long(1024)), "ok"),
            (format!("sub t {}", long(1025)), "limit 1024"),
            (format!("pub {} x", long(257)), "limit 256"),
            ("sub-many 200".to_owned(), "127 limit 128"),
            ("sub t ".to_owned(), "limit 128"),
            (format!("unsub {}", long(256)), "ok"),
            ("sub slow ".to_owned(), "ok"),
        ] {
            assert_eq!(ask(&mut peer, &command).await, answer, "{command:.40}");
        }
        peer.send_text("many slow 5 47").await;
        for number in 0..2 {
            peer.expect_text(&format!("{number} {}", long(47))).await;
        }
        peer.expect_text("2 limit 100").await;
        let mut members = Vec::new();
        for answer in ["ok", "ok", "limit 2"] {
            let mut member = enter(&server, "b", "").await;
            assert_eq!(ask(&mut member, "sub few ").await, answer);
            members.push(member);
        }
        assert_eq!(ask(&mut members[0], "many t 1 5000").await, "0 limit 4096");
    });
}

#[test]
fn a_slow_member_delays_nobody() {
    covers("topics.slow-members");
    alone(async {
        const COUNT: usize = 4_000;
        const SIZE: usize = 1_000;
        let site = Site::new().workers(2).mount(herald());
        let server = start(&site).await;
        let keys = keys_of_both(&server).await;
        let mut publisher = enter(&server, &keys[0], "").await;
        let (mut slow, mut fast) = (Vec::new(), Vec::new());
        for number in 0..8 {
            let target = format!("/herald/{}?join=t", keys[number % 2]);
            let stream = Stream::dial(server.address, Dial::small_buffers()).await;
            let mut peer = Peer::open(stream, &Head::upgrade(&target)).await;
            ask(&mut peer, "name").await;
            slow.push(peer);
            let mut peer = enter(&server, &keys[number % 2], "join=t").await;
            ask(&mut peer, "name").await;
            fast.push(peer);
        }
        // The other worker hears of its members a moment later.
        until(&mut publisher, "count t", "16").await;
        let mut sent = 0;
        let text = "x".repeat(SIZE);
        while sent < COUNT {
            let batch = ask(&mut publisher, &format!("many t 100 {SIZE}")).await;
            assert_eq!(batch, "100 ok");
            for peer in &mut fast {
                for number in 0..100 {
                    peer.expect_text(&format!("{number} {text}")).await;
                }
            }
            sent += 100;
        }
        let stats = server.server.stats();
        assert_eq!(
            stats.topic_deliveries + stats.topic_deliveries_dropped,
            (16 * COUNT) as u64,
            "each was queued or counted as dropped"
        );
        assert!(
            stats.topic_deliveries_dropped > 0,
            "their queues are bounded"
        );
        figure(
            "topics.slow-members",
            format!(
                "8 members got all of {COUNT} messages ({}) in order beside 8 that read nothing; \
                 {} of {} deliveries dropped",
                bytes((COUNT * SIZE) as u64),
                stats.topic_deliveries_dropped,
                16 * COUNT,
            ),
        );
        assert_eq!(
            ask(&mut publisher, "count t").await,
            "16",
            "nobody was cut yet"
        );
    });
}

#[test]
fn compressed_members_get_the_same_message() {
    covers("topics.deflate");
    scenario(async {
        let site = Site::new().workers(2).mount(herald()).mount(
            Mount::new("/kept/{key}", "herald")
                .set("instance", "{key}")
                .grant("topics", true)
                .websocket("compression_context_takeover", true),
        );
        let server = start(&site).await;
        let offer = |target: &str| {
            Head::upgrade(target).header("Sec-WebSocket-Extensions", "permessage-deflate")
        };
        let mut peers = Vec::new();
        for path in ["/herald/a", "/herald/b", "/kept/a"] {
            let head = offer(&format!("{path}?join=t"));
            peers.push(Peer::open(Stream::tcp(server.address).await, &head).await);
        }
        let mut plain = enter(&server, "c", "join=t").await;
        until(&mut plain, "count t", "4").await;
        let text = "words and words ".repeat(40);
        let mut inflaters = [(); 3].map(|()| Inflater::new(15));
        for round in 0..3 {
            plain.send_text(format!("shout t {text}{round}")).await;
            plain.expect_text(&format!("{text}{round}")).await;
            for (peer, inflater) in peers.iter_mut().zip(&mut inflaters) {
                let frame = peer.frame().await;
                assert!(frame.payload.len() < 100, "{}", frame.payload.len());
                let got = inflater.message(&frame.payload);
                assert_eq!(got, format!("{text}{round}").as_bytes());
            }
        }
    });
}

#[test]
fn a_guest_that_floods_topics_is_cut_and_its_neighbours_are_not() {
    covers("guest.topics");
    alone(async {
        let mounts = ["flood", "flood-sub", "churn"].map(|deed| {
            Mount::new(&format!("/{deed}/{{key}}"), "herald")
                .set("instance", "{key}")
                .set("tenant", "hostile")
                .grant("topics", true)
        });
        let mut village = Village::new(mounts).await;
        let mut results = Vec::new();
        for (deed, command) in [
            ("flood", "flood t"),
            ("flood-sub", "flood-sub"),
            ("churn", "churn t"),
        ] {
            let peak = village.peak_of(async {
                let mut members = Vec::new();
                for key in ["a", "b", "c", "d"] {
                    let target = format!("/{deed}/{key}?join=t");
                    members.push(village.enter_deaf(&target).await);
                }
                let mut hostile = village.enter(&format!("/{deed}/e")).await;
                hostile.send_text(command).await;
                expect_failed(&mut hostile, PATIENCE).await;
            });
            let peak = peak.await;
            assert!(peak <= 16 * MIB, "{deed}: {peak}");
            results.push(format!("{deed}: cut, + {}", bytes(peak)));
        }
        figure("guest.topics", results.join("; "));
        village.assert_untouched().await;
    });
}
