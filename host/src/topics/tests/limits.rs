//! What has a bound, and the answer when it is reached.

use super::*;

fn limit(number: usize) -> Result<(), TopicError> {
    Err(TopicError::Limit(number as u64))
}

#[test]
fn names_infos_and_memberships_have_a_bound() {
    let bench = Bench::new(1);
    let client = bench.client(on(0));
    let long = |bytes: usize| "x".repeat(bytes);
    assert_eq!(bench.join(&client, &long(257), ""), limit(256));
    assert_eq!(bench.join(&client, "t", &long(1025)), limit(INFO_BYTES_MAX));
    assert_eq!(bench.publish(0, &long(257), "").map(drop), limit(256));
    assert_eq!(bench.join(&client, &long(256), &long(1024)), Ok(()));
    for number in 1..SESSION_TOPICS_MAX {
        assert_eq!(bench.join(&client, &format!("t{number}"), ""), Ok(()));
    }
    assert_eq!(bench.join(&client, "more", ""), limit(SESSION_TOPICS_MAX));
    assert_eq!(
        bench.join(&client, "t1", "changed"),
        Ok(()),
        "it is one already"
    );
    bench.workers[0].unsubscribe(&tenant("acme"), client.outbox.id(), "t1");
    assert_eq!(bench.join(&client, "more", ""), Ok(()));
}

#[test]
fn members_have_a_bound_across_workers() {
    let bench = Bench::with(2, vec![rule("t", |settings| settings.members_max = 3)]);
    let kept = [0, 1, 1].map(|worker| bench.member(on(worker), "t", ""));
    for worker in [0, 1] {
        assert_eq!(bench.join(&bench.client(on(worker)), "t", ""), limit(3));
    }
    bench.at(&kept[0]).leave(kept[0].outbox.id());
    bench.settle();
    assert_eq!(bench.join(&bench.client(on(1)), "t", ""), Ok(()));
}

#[test]
fn bytes_a_second_have_a_bound() {
    let slow = rule("t", |settings| settings.bytes_per_second_max = Some(100));
    let bench = Bench::with(1, vec![slow]);
    let mut member = bench.member(on(0), "t", "");
    let text = "x".repeat(60);
    assert_eq!(bench.publish(0, "t", &text), Ok(1));
    assert_eq!(bench.publish(0, "t", &text).map(drop), limit(100));
    assert_eq!(bench.publish(0, "free", &text), Ok(0));
    assert_eq!(member.received().len(), 1);
}

#[test]
fn what_is_under_way_to_a_slow_worker_has_a_bound_for_each_tenant() {
    let bench = Bench::new(2);
    let mut member = bench.member(on(1), "t", "");
    let text = vec![b'x'; 64 << 10];
    let publish = |tenant_name: &str| {
        let message = (MessageKind::Binary, text.as_slice());
        bench.workers[0].publish(&tenant(tenant_name), "t", message, None)
    };
    let theirs = bench.client(on(1));
    assert_eq!(
        bench.workers[1].subscribe(&tenant("other"), &theirs.outbox, "t", ""),
        Ok(())
    );
    bench.settle();
    let mut sent = 0;
    let refused = loop {
        match publish("acme") {
            Ok(1) => sent += 1,
            other => break other,
        }
    };
    assert_eq!(refused, Err(TopicError::Limit(RELAY_BYTES_MAX as u64)));
    assert_eq!(sent, RELAY_BYTES_MAX / (text.len() + 256));
    assert_eq!(publish("other"), Ok(1), "another tenant has its own");
    let (mut arrived, mut rounds) = (0, 0);
    while arrived < 10 && rounds < 100 {
        bench.settle();
        arrived += member.received().len();
        member.turn(&bench.workers[1]);
        rounds += 1;
    }
    assert_eq!(publish("acme"), Ok(1), "there is room again");
}

#[test]
fn presence_lists_no_more_than_it_should() {
    let bench = Bench::new(1);
    let small = Kind {
        socket_bytes: 1,
        ..on(0)
    };
    let members: Vec<Client> = (0..PRESENCE_MEMBERS_MAX)
        .map(|_| bench.member(small, "t", ""))
        .collect();
    assert_eq!(bench.names(0, "t").len(), members.len());
    let _one_more = bench.member(small, "t", "");
    let listed = bench.workers[0].presence("acme", "t").map(drop);
    assert_eq!(listed, limit(PRESENCE_MEMBERS_MAX));
    assert_eq!(
        bench.workers[0].count("acme", "t"),
        members.len() as u64 + 1
    );
}
