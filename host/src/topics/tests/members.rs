//! Who gets what, and who is there.

use super::*;

#[test]
fn a_message_reaches_all_members_on_all_workers_in_order() {
    let bench = Bench::new(2);
    let mut clients = [0, 1, 1].map(|worker| bench.member(on(worker), "t", ""));
    let mut stranger = bench.client(on(0));
    for (worker, text) in [(0, "a"), (1, "b"), (0, "c")] {
        assert_eq!(bench.publish(worker, "t", text), Ok(3));
    }
    for client in &mut clients {
        assert_eq!(client.received(), ["a", "b", "c"]);
    }
    assert!(stranger.received().is_empty());
    assert_eq!(bench.publish(0, "other", "x"), Ok(0));
}

#[test]
fn one_can_be_left_out_wherever_it_is() {
    let bench = Bench::new(2);
    let mut clients = [0, 1].map(|worker| bench.member(on(worker), "t", ""));
    for worker in [0, 1] {
        for left_out in [0, 1] {
            let published = bench.publish_but(worker, "t", "x", Some(&clients[left_out]));
            assert_eq!(published, Ok(1));
            assert!(clients[left_out].received().is_empty());
            assert_eq!(clients[1 - left_out].received(), ["x"]);
        }
    }
    let stranger = bench.client(on(0));
    assert_eq!(bench.publish_but(0, "t", "x", Some(&stranger)), Ok(2));
}

#[test]
fn everybody_knows_who_is_there() {
    let bench = Bench::new(2);
    let first = bench.member(on(0), "t", "one");
    let second = bench.member(on(1), "t", "two");
    let ids = [first.outbox.id(), second.outbox.id()];
    let mut expect = vec![(ids[0], "one".to_owned()), (ids[1], "two".to_owned())];
    expect.sort_unstable();
    for worker in [0, 1] {
        assert_eq!(bench.names(worker, "t"), expect);
        assert_eq!(bench.workers[worker].count("acme", "t"), 2);
        assert_eq!(bench.workers[worker].count("other", "t"), 0);
    }
    assert_eq!(bench.join(&second, "t", "changed"), Ok(()));
    for worker in [0, 1] {
        assert!(
            bench
                .names(worker, "t")
                .contains(&(ids[1], "changed".to_owned()))
        );
        assert_eq!(bench.workers[worker].count("acme", "t"), 2);
    }
    bench.at(&first).unsubscribe(&tenant("acme"), ids[0], "t");
    bench.at(&second).leave(ids[1]);
    bench.settle();
    for worker in [0, 1] {
        assert!(bench.names(worker, "t").is_empty());
        let hub = bench.workers[worker].0.hub.borrow();
        assert!(hub.topic("acme", "t").is_none(), "nothing is left of it");
    }
}

/// The membership was announced before anybody could know of it, so it is known.
#[test]
fn what_was_said_before_is_known_without_a_turn() {
    let bench = Bench::new(2);
    let client = bench.client(on(1));
    let joined = bench.workers[1].subscribe(&tenant("acme"), &client.outbox, "t", "");
    assert_eq!(joined, Ok(()));
    bench.workers[1].flush();
    assert_eq!(bench.workers[0].count("acme", "t"), 1);
    let message = (MessageKind::Text, &b"x"[..]);
    let published = bench.workers[0].publish(&tenant("acme"), "t", message, None);
    assert_eq!(published, Ok(1));
}

#[test]
fn tenants_share_nothing() {
    let bench = Bench::new(2);
    let mut ours = bench.member(on(0), "t", "");
    let mut theirs = bench.client(on(0));
    let other = tenant("other");
    assert_eq!(
        bench.workers[0].subscribe(&other, &theirs.outbox, "t", "x"),
        Ok(())
    );
    assert_eq!(bench.publish(1, "t", "ours"), Ok(1));
    let message = (MessageKind::Binary, &b"theirs"[..]);
    assert_eq!(bench.workers[1].publish(&other, "t", message, None), Ok(1));
    bench.settle();
    assert_eq!(ours.received(), ["ours"]);
    assert_eq!(theirs.received(), ["theirs"]);
    let (id, topics) = (theirs.outbox.id(), &bench.workers[0]);
    topics.unsubscribe(&tenant("acme"), id, "t");
    assert_eq!(
        topics.count("other", "t"),
        1,
        "of another tenant it is no member"
    );
}

#[test]
fn joining_and_leaving_is_announced_where_it_is_wanted() {
    let bench = Bench::with(2, vec![rule("loud/*", |settings| settings.announce = true)]);
    let mut watchers = [0, 1].map(|worker| bench.member(on(worker), "loud/1", "w"));
    for watcher in &mut watchers {
        watcher.received();
    }
    let mut quiet = bench.member(on(0), "quiet", "");
    for worker in [0, 1] {
        let mut guest = bench.member(on(worker), "loud/1", "\"g\"");
        let name = guest.outbox.name();
        bench.member(on(worker), "quiet", "");
        let said = |what: &str| {
            format!(r#"{{"topic":"loud/1","{what}":{{"name":"{name}","info":"\"g\""}}}}"#)
        };
        bench.at(&guest).leave(guest.outbox.id());
        bench.settle();
        for watcher in &mut watchers {
            assert_eq!(watcher.received(), [said("joined"), said("left")]);
        }
        assert!(guest.received().is_empty());
    }
    assert!(quiet.received().is_empty());
}

/// Of a thousand, each would be told of half a million.
#[test]
fn who_leaves_in_a_drain_is_not_announced() {
    let bench = Bench::with(2, vec![rule("loud/*", |settings| settings.announce = true)]);
    let mut members = [0, 0, 1, 1].map(|worker| bench.member(on(worker), "loud/1", "m"));
    bench.settle();
    for topics in &bench.workers {
        topics.drain();
    }
    for member in &mut members {
        member.received();
    }
    for left in [3, 0] {
        bench.at(&members[left]).leave(members[left].outbox.id());
    }
    bench.settle();
    assert_eq!(bench.workers[0].count("acme", "loud/1"), 2);
    for member in &mut members {
        assert!(member.received().is_empty());
    }
}

#[test]
fn a_slow_member_misses_what_it_has_no_room_for_and_delays_nobody() {
    let bench = Bench::new(2);
    let slow_kind = |worker| Kind {
        socket_bytes: 64,
        outbox_bytes: 300,
        ..on(worker)
    };
    let mut slow = [0, 1].map(|worker| bench.member(slow_kind(worker), "t", ""));
    let mut fast = [0, 1].map(|worker| bench.member(on(worker), "t", ""));
    let texts: Vec<String> = (0..100).map(|number| format!("{number:0100}")).collect();
    for text in &texts {
        assert_eq!(bench.publish(0, "t", text), Ok(4));
    }
    for client in &mut fast {
        assert_eq!(client.received(), texts, "all, in order");
    }
    for client in &mut slow {
        let mut got = client.received();
        while client.outbox.queued_bytes() > 0 {
            client.turn(bench.at(client));
            got.extend(client.received());
        }
        assert_eq!(got, texts[..got.len()], "what there was room for, in order");
        assert!((2..10).contains(&got.len()), "{}", got.len());
        let stopping = client.outbox.stopping();
        assert!(stopping.is_none(), "that is no fault of its own");
    }
    assert!(bench.dropped() >= 180, "{}", bench.dropped());
}

#[test]
fn a_session_that_is_closing_is_no_member() {
    let bench = Bench::new(1);
    let client = bench.member(on(0), "t", "");
    client.outbox.close(1000, "");
    assert_eq!(bench.join(&client, "u", ""), Err(TopicError::Closed));
    assert_eq!(
        bench.publish(0, "t", "x"),
        Ok(1),
        "until its task has seen it"
    );
    assert_eq!(bench.dropped(), 1);
    let lost = bench.client(on(0));
    let now = bench.workers[0].0.lane.clock.now();
    {
        let mut wire = lost.outbox.wire();
        let (connection, out) = wire.protocol(&bench.workers[0].0.lane.buffers);
        connection.close_for(Cause::Drain, now, out);
        connection.close(1000, "", Initiator::Handler, now, out);
    }
    assert_eq!(bench.join(&lost, "t", ""), Err(TopicError::Closed));
}

/// Publishes without an end of the guest call.
fn publish_within(bench: &Bench, topic: &str, text: &str, except: Option<&Client>) {
    let message = (MessageKind::Text, text.as_bytes());
    let except = except.map(|client| client.outbox.id());
    let published = bench.workers[0].publish(&tenant("acme"), topic, message, except);
    assert!(published.is_ok());
}

#[test]
fn what_one_call_publishes_and_sends_arrives_in_its_order() {
    let bench = Bench::new(1);
    let mut both = bench.member(on(0), "t", "");
    assert_eq!(bench.join(&both, "u", ""), Ok(()));
    let mut other = bench.member(on(0), "t", "");
    publish_within(&bench, "t", "1", None);
    publish_within(&bench, "t", "2", Some(&both));
    publish_within(&bench, "u", "3", None);
    publish_within(&bench, "t", "4", None);
    let sent = both.outbox.try_send(MessageKind::Text, b"5");
    assert_eq!(sent, Ok(()));
    publish_within(&bench, "t", "6", None);
    bench.settle();
    assert_eq!(both.received(), ["1", "3", "4", "5", "6"]);
    assert_eq!(other.received(), ["1", "2", "4", "6"]);
    assert_eq!(bench.counters.deliveries.load(Ordering::Relaxed), 8);
}

#[test]
fn what_is_joined_is_for_those_who_were_members_then() {
    let bench = Bench::new(1);
    let mut leaves = bench.member(on(0), "t", "");
    let mut stays = bench.member(on(0), "t", "");
    let mut comes = bench.client(on(0));
    publish_within(&bench, "t", "before", None);
    bench.workers[0].unsubscribe(&tenant("acme"), leaves.outbox.id(), "t");
    let joined = bench.workers[0].subscribe(&tenant("acme"), &comes.outbox, "t", "");
    assert_eq!(joined, Ok(()));
    publish_within(&bench, "t", "after", None);
    stays.outbox.close(1000, "");
    publish_within(&bench, "t", "too late for one", None);
    bench.settle();
    assert_eq!(leaves.received(), ["before"]);
    assert_eq!(comes.received(), ["after", "too late for one"]);
    let received = stays.received();
    assert_eq!(received[..2], ["before", "after"]);
    assert_eq!(received.len(), 3, "and the close frame");
    assert_eq!(bench.dropped(), 1);
}

#[test]
fn of_what_is_joined_a_slow_member_gets_what_there_is_room_for() {
    let bench = Bench::new(1);
    let mut fast = bench.member(on(0), "t", "");
    let mut slow = bench.member(
        Kind {
            socket_bytes: 64,
            outbox_bytes: 300,
            ..on(0)
        },
        "t",
        "",
    );
    let texts: Vec<String> = (0..1_000).map(|number| format!("{number:0100}")).collect();
    for text in &texts {
        publish_within(&bench, "t", text, None);
    }
    bench.settle();
    // More than a socket takes at once here.
    let mut got = fast.received();
    while fast.outbox.queued_bytes() > 0 {
        fast.turn(&bench.workers[0]);
        got.extend(fast.received());
    }
    assert_eq!(got, texts, "all, in order");
    let mut got = slow.received();
    while slow.outbox.queued_bytes() > 0 {
        slow.turn(&bench.workers[0]);
        got.extend(slow.received());
    }
    assert_eq!(got, texts[..got.len()], "the first, in order");
    assert!((2..10).contains(&got.len()), "{}", got.len());
    let counters = &bench.counters;
    let deliveries = counters.deliveries.load(Ordering::Relaxed);
    assert_eq!(deliveries, 1_000 + got.len() as u64);
    assert_eq!(bench.dropped(), 1_000 - got.len() as u64);
}
