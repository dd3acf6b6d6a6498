//! Numbers, history, and clients that come back.

use super::*;

const KEPT: usize = 5;

fn bench() -> Bench {
    Bench::with(
        2,
        vec![rule("kept/*", |settings| {
            settings.history_messages = KEPT;
            settings.announce = false;
        })],
    )
}

fn keeping(worker: usize, query: &str) -> Kind {
    Kind {
        recover: Some(query.to_owned().leak()),
        ..on(worker)
    }
}

/// Two topics, one at home on each worker.
fn topics_of_both(bench: &Bench) -> [String; 2] {
    let home = |topic: &str| {
        let hub = bench.workers[0].0.hub.borrow();
        hub.topic("acme", topic).expect("somebody is there").home
    };
    let mut found = [None, None];
    for number in 0..100 {
        let topic = format!("kept/{number}");
        let probe = bench.member(on(0), &topic, "");
        found[home(&topic)] = Some(topic.clone());
        bench.at(&probe).leave(probe.outbox.id());
        bench.settle();
    }
    found.map(|topic| topic.expect("one of a hundred"))
}

/// The value of a number or a text in an envelope.
fn value<'a>(envelope: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = envelope.split_once(&format!("\"{key}\":"))?;
    rest.split([',', '}'])
        .next()
        .map(|value| value.trim_matches('"'))
}

fn offsets(envelopes: &[String]) -> Vec<u64> {
    let offset = |envelope: &String| value(envelope, "offset")?.parse().ok();
    envelopes.iter().filter_map(offset).collect()
}

/// `recover=` of what a client has seen.
fn query(topic: &str, envelope: &str) -> String {
    let topic = topic.replace('/', "%2F");
    let (epoch, offset) = (value(envelope, "epoch"), value(envelope, "offset"));
    format!(
        "recover={topic}:{}:{}",
        epoch.unwrap_or(""),
        offset.unwrap_or("")
    )
}

#[test]
fn everybody_sees_the_same_numbers_and_others_bare_messages() {
    let bench = bench();
    for topic in topics_of_both(&bench) {
        let mut keepers = [0, 1].map(|worker| bench.member(keeping(worker, ""), &topic, ""));
        let mut bare = bench.member(on(1), &topic, "");
        for worker in [0, 1, 1, 0] {
            assert_eq!(bench.publish(worker, &topic, "x\""), Ok(3));
        }
        assert_eq!(bare.received(), ["x\""; 4]);
        let seen = keepers.each_mut().map(Client::received);
        assert_eq!(seen[0], seen[1]);
        assert_eq!(
            offsets(&seen[0]),
            [0, 1, 2, 3, 4],
            "where it began, and four messages"
        );
        assert!(
            seen[0][1].ends_with(r#""offset":1,"text":"x\""}"#),
            "{}",
            seen[0][1]
        );
    }
}

#[test]
fn who_comes_back_gets_what_it_missed_before_anything_newer() {
    let bench = bench();
    for topic in topics_of_both(&bench) {
        for worker in [0, 1] {
            let mut first = bench.member(keeping(worker, ""), &topic, "");
            bench.publish(0, &topic, "seen").expect("published");
            let seen = first.received().pop().expect("a message");
            bench.at(&first).leave(first.outbox.id());
            for text in ["missed", "missed too"] {
                bench.publish(1, &topic, text).expect("published");
            }
            // Not settled in between: the answer of the home is still under way.
            let mut again = bench.client(keeping(worker, &query(&topic, &seen)));
            let (at, acme) = (bench.at(&again), tenant("acme"));
            assert_eq!(at.subscribe(&acme, &again.outbox, &topic, ""), Ok(()));
            let message = (MessageKind::Text, &b"new"[..]);
            assert!(at.publish(&acme, &topic, message, None).is_ok());
            bench.settle();
            let got = again.received();
            let texts: Vec<_> = got.iter().map(|envelope| value(envelope, "text")).collect();
            assert_eq!(
                texts,
                [Some("missed"), Some("missed too"), None, Some("new")]
            );
            assert_eq!(value(&got[2], "recovered"), Some("true"));
            let last = offsets(std::slice::from_ref(&seen))[0];
            assert_eq!(offsets(&got), [last + 1, last + 2, last + 2, last + 3]);
            bench.at(&again).leave(again.outbox.id());
            bench.settle();
        }
    }
}

#[test]
fn who_cannot_be_recovered_is_told() {
    let bench = bench();
    for topic in topics_of_both(&bench) {
        for worker in [0, 1] {
            let mut first = bench.member(keeping(worker, ""), &topic, "");
            let began = first.received().pop().expect("where it began");
            for number in 0..=KEPT {
                bench
                    .publish(1, &topic, &number.to_string())
                    .expect("published");
            }
            let last = first.received().pop().expect("messages");
            let topic_only = query(&topic, "").replace("::", "");
            let cases = [
                (query(&topic, &began), false, "too far back"),
                (query(&topic, &last), true, "nothing was missed"),
                (
                    format!("{topic_only}:0123456789abcdef:1"),
                    false,
                    "another life",
                ),
                (format!("{topic_only}:nonsense"), false, "unreadable"),
            ];
            for (query, recovered, why) in cases {
                let mut again = bench.member(keeping(worker, &query), &topic, "");
                let got = again.received();
                assert_eq!(got.len(), 1, "{why}: {got:?}");
                let expect = recovered.to_string();
                assert_eq!(value(&got[0], "recovered"), Some(expect.as_str()), "{why}");
                assert_eq!(offsets(&got), offsets(std::slice::from_ref(&last)), "{why}");
                bench.at(&again).leave(again.outbox.id());
            }
        }
    }
}

#[test]
fn what_does_not_fit_into_the_queue_is_not_recovered_in_part() {
    let bench = bench();
    let [topic, _] = topics_of_both(&bench);
    let mut first = bench.member(keeping(0, ""), &topic, "");
    let began = first.received().pop().expect("where it began");
    for _ in 0..3 {
        bench
            .publish(0, &topic, &"x".repeat(200))
            .expect("published");
    }
    let narrow = Kind {
        outbox_bytes: 500,
        socket_bytes: 10,
        ..keeping(0, &query(&topic, &began))
    };
    let mut again = bench.member(narrow, &topic, "");
    let mut got = again.received();
    while again.outbox.queued_bytes() > 0 {
        again.turn(&bench.workers[0]);
        got.extend(again.received());
    }
    got.extend(again.received());
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(value(&got[0], "recovered"), Some("false"));
}

/// Its own message is left out, but its number is not missing.
#[test]
fn who_is_left_out_learns_the_number() {
    let bench = bench();
    for topic in topics_of_both(&bench) {
        let mut keeper = bench.member(keeping(1, ""), &topic, "");
        keeper.received();
        let published = bench.publish_but(0, &topic, "mine", Some(&keeper));
        assert_eq!(published, Ok(0));
        let got = keeper.received();
        assert_eq!((offsets(&got), value(&got[0], "text")), (vec![1], None));
    }
}

#[test]
fn a_topic_lives_on_while_it_keeps_something_and_then_begins_anew() {
    let short = rule("kept/*", |settings| {
        settings.history_messages = KEPT;
        settings.history_for = Duration::from_millis(1);
    });
    let bench = Bench::with(1, vec![short]);
    let mut first = bench.member(keeping(0, ""), "kept/1", "");
    bench.publish(0, "kept/1", "x").expect("published");
    let seen = first.received().pop().expect("a message");
    bench.workers[0].leave(first.outbox.id());
    let lane = bench.workers[0].0.lane.clone();
    let begun = lane.clock.now();
    while lane.clock.now() < begun + Duration::from_millis(10) {
        std::thread::yield_now();
    }
    bench.settle();
    {
        let hub = bench.workers[0].0.hub.borrow();
        assert!(hub.topic("acme", "kept/1").is_none());
        assert_eq!(
            (hub.expiries.len(), hub.tenants["acme"].history_bytes),
            (0, 0)
        );
    }
    let mut again = bench.member(keeping(0, &query("kept/1", &seen)), "kept/1", "");
    assert_eq!(value(&again.received()[0], "recovered"), Some("false"));
}
