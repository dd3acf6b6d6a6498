//! Pings, pongs and the time between them, through the connection.

use super::*;

/// The payload of the ping that is all that was written.
fn ping_payload(bench: &mut Bench) -> Vec<u8> {
    let written = bench.written();
    assert_eq!(written[..2], [PING, 8]);
    assert_eq!(written.len(), 10);
    written[2..].to_vec()
}

#[test]
fn a_ping_leaves_each_interval_while_it_is_answered() {
    let mut bench = Bench::server();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..5 {
        assert_eq!(
            bench.connection.deadline(),
            Some(bench.now + Duration::from_secs(30))
        );
        bench.pass(Duration::from_millis(29_999));
        bench.wake();
        assert_eq!(bench.written(), []);
        bench.pass(Duration::from_millis(1));
        bench.wake();
        let payload = ping_payload(&mut bench);
        assert_eq!(
            bench.connection.deadline(),
            Some(bench.now + Duration::from_secs(15))
        );
        bench.read(&frame(PONG, &payload));
        assert!(seen.insert(payload));
    }
    assert_eq!(bench.phase(), Phase::Open);
}

#[test]
fn a_ping_not_answered_in_time_ends_with_1011() {
    let mut bench = Bench::server();
    bench.pass(Duration::from_secs(30));
    bench.wake();
    ping_payload(&mut bench);
    bench.pass(Duration::from_millis(14_999));
    bench.wake();
    assert_eq!(bench.phase(), Phase::Open);
    bench.pass(Duration::from_millis(1));
    bench.wake();
    assert_eq!(bench.phase(), Phase::Aborted);
    let ending = bench.ending();
    assert_eq!(
        (ending.code, ending.reason.as_str()),
        (1011, "ping timeout")
    );
    assert_eq!(bench.written(), plain(CLOSE, b"\x03\xf3ping timeout"));
}

#[test]
fn only_an_equal_pong_counts() {
    let mut bench = Bench::server();
    bench.pass(Duration::from_secs(30));
    bench.wake();
    let mut payload = ping_payload(&mut bench);
    payload[7] ^= 1;
    for wrong in [&payload[..], &payload[..7], b"", b"something else"] {
        bench.read(&frame(PONG, wrong));
    }
    bench.read(&frame(TEXT, b"data is no pong"));
    bench.pass(Duration::from_secs(15));
    bench.wake();
    assert_eq!(bench.ending().code, 1011);
}

#[test]
fn an_earlier_pings_pong_does_not_count_for_the_next() {
    let mut bench = Bench::server();
    bench.pass(Duration::from_secs(30));
    bench.wake();
    let first = ping_payload(&mut bench);
    bench.read(&frame(PONG, &first));
    bench.pass(Duration::from_secs(30));
    bench.wake();
    ping_payload(&mut bench);
    bench.read(&frame(PONG, &first));
    bench.pass(Duration::from_secs(15));
    bench.wake();
    assert_eq!(bench.ending().code, 1011);
}

#[test]
fn pings_are_answered_also_with_our_own_off() {
    let mut bench = Bench::server();
    bench.connection.set_ping_interval(None, bench.now);
    assert_eq!(bench.connection.deadline(), None);
    bench.pass(Duration::from_secs(3_600));
    bench.wake();
    bench.read(&frame(PING, b"you?"));
    assert_eq!(bench.written(), plain(PONG, b"you?"));
}

#[test]
fn a_changed_interval_starts_anew() {
    let mut bench = Bench::server();
    bench.pass(Duration::from_secs(29));
    bench
        .connection
        .set_ping_interval(Some(Duration::from_secs(5)), bench.now);
    assert_eq!(
        bench.connection.deadline(),
        Some(bench.now + Duration::from_secs(5))
    );
    bench.pass(Duration::from_secs(5));
    bench.wake();
    ping_payload(&mut bench);
}

#[test]
fn a_changed_timeout_holds_for_the_ping_under_way() {
    let mut bench = Bench::server();
    bench.pass(Duration::from_secs(30));
    bench.wake();
    let sent = bench.now;
    bench.pass(Duration::from_secs(1));
    bench
        .connection
        .set_timeout(Duration::from_secs(3), bench.now);
    assert_eq!(
        bench.connection.deadline(),
        Some(sent + Duration::from_secs(3))
    );
}

#[test]
fn time_does_not_count_against_the_peer_while_reading_is_paused() {
    let mut bench = Bench::server();
    bench.pass(Duration::from_secs(30));
    bench.wake();
    let payload = ping_payload(&mut bench);
    bench.read(&frame(TEXT_START, b"a"));
    bench.pass(Duration::from_secs(10));
    bench.connection.pause_keepalive(bench.now);
    bench.pass(Duration::from_secs(4));
    bench.wake();
    bench.connection.resume_keepalive(bench.now);
    assert_eq!(
        bench.connection.deadline(),
        Some(bench.now + Duration::from_secs(5))
    );
    bench.read(&frame(PONG, &payload));
    bench.pass(Duration::from_secs(16));
    bench.connection.pause_keepalive(bench.now);
    bench.pass(Duration::from_secs(4));
    for _ in 0..100 {
        bench.wake();
        ping_payload(&mut bench);
        bench.pass(Duration::from_secs(15));
        let overdue = bench.connection.unread_pong(bench.now);
        assert_eq!(overdue, Some(Duration::from_secs(15)));
        bench.connection.vouch_for_peer();
        bench.wake();
        bench.pass(Duration::from_secs(15));
    }
    bench.connection.resume_keepalive(bench.now);
    assert_eq!(bench.read(&frame(CONTINUATION_END, b"b")), [text("ab")]);
}

#[test]
fn a_peer_that_nobody_vouches_for_is_given_up_in_a_pause() {
    let mut bench = Bench::server();
    bench.connection.pause_keepalive(bench.now);
    bench.pass(Duration::from_secs(30));
    bench.wake();
    ping_payload(&mut bench);
    bench.pass(Duration::from_secs(15));
    assert!(bench.connection.unread_pong(bench.now).is_some());
    bench.wake();
    assert_eq!(bench.ending().code, 1011);
}

#[test]
fn only_the_latest_pong_waits_for_room() {
    let mut bench = Bench::server();
    let sent = bench
        .connection
        .send(MessageKind::Binary, &[0; 5_000], &mut bench.out);
    assert_eq!(sent, Ok(()));
    let before = bench.out.len();
    for payload in 0..100_u8 {
        bench.read(&frame(PING, &[payload; 20]));
    }
    assert_eq!(bench.out.len(), before);
    bench.written();
    bench.connection.flushed(&mut bench.out);
    assert_eq!(bench.written(), plain(PONG, &[99; 20]));
    bench.connection.flushed(&mut bench.out);
    assert_eq!(bench.written(), []);
}

#[test]
fn a_ping_answered_at_once_leaves_no_older_pong_behind() {
    let mut bench = Bench::server();
    bench.out = vec![0; 4_096];
    bench.read(&frame(PING, b"older"));
    bench.written();
    bench.read(&frame(PING, b"newer"));
    assert_eq!(bench.written(), plain(PONG, b"newer"));
    bench.connection.flushed(&mut bench.out);
    assert_eq!(bench.written(), []);
}

#[test]
fn a_peer_that_pings_and_never_reads_costs_a_bounded_buffer() {
    let mut bench = Bench::server();
    let pings = frame(PING, &[7; 125]).repeat(1_000);
    for _ in 0..100 {
        bench.read(&pings);
    }
    assert!(bench.out.len() < 4_096 + 127);
}
