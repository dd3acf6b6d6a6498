//! Each end of a connection, from both sides: what the peer sees and what the
//! handler is told.

use super::*;
use crate::{Cause, Initiator, OperatorReason};

#[track_caller]
fn ended(bench: &Bench, phase: Phase, code: u16, reason: &str, clean: bool, who: Initiator) {
    assert_eq!(bench.phase(), phase);
    let expected = Ending {
        code,
        reason: reason.to_owned(),
        clean,
        initiator: who,
    };
    assert_eq!(bench.ending(), expected);
}

fn reply(code: u16, reason: &str) -> Vec<u8> {
    plain(
        CLOSE,
        &[&code.to_be_bytes()[..], reason.as_bytes()].concat(),
    )
}

#[test]
fn a_peers_code_is_answered_with_the_same_code() {
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999] {
        let mut bench = Bench::server();
        bench.read(&close_frame(code, "bye κ"));
        bench.conclude();
        assert_eq!(bench.written(), reply(code, ""));
        ended(
            &bench,
            Phase::Finished,
            code,
            "bye κ",
            true,
            Initiator::Peer,
        );
    }
}

#[test]
fn a_peers_empty_close_is_answered_with_an_empty_close_and_told_as_1005() {
    let mut bench = Bench::server();
    bench.read(&frame(CLOSE, b""));
    bench.conclude();
    assert_eq!(bench.written(), plain(CLOSE, b""));
    ended(&bench, Phase::Finished, 1005, "", true, Initiator::Peer);
}

#[test]
fn a_close_code_that_must_not_be_sent_ends_with_1002() {
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let mut bench = Bench::server();
        bench.read(&close_frame(code, ""));
        bench.failed(1002);
    }
    let mut bench = Bench::server();
    bench.read(&frame(CLOSE, &[3]));
    bench.failed(1002);
}

#[test]
fn data_after_the_peers_close_is_not_delivered() {
    let mut bench = Bench::server();
    let bytes = [
        close_frame(1000, ""),
        frame(TEXT, b"late"),
        frame(PING, b"late"),
    ]
    .concat();
    assert_eq!(bench.read(&bytes), []);
    bench.conclude();
    assert_eq!(bench.written(), reply(1000, ""));
    assert_eq!(bench.read(&frame(TEXT, b"later")), []);
    assert_eq!(bench.written(), []);
}

#[test]
fn a_lost_connection_is_told_as_1006() {
    let mut bench = Bench::server();
    bench.read(&frame(TEXT_START, b"half"));
    bench.connection.end_of_stream(bench.now);
    ended(&bench, Phase::Aborted, 1006, "", false, Initiator::Peer);
    assert_eq!(bench.written(), []);
    assert_eq!(bench.connection.deadline(), None);
}

#[test]
fn the_end_of_the_stream_after_both_close_frames_changes_nothing() {
    let mut bench = Bench::server();
    bench.read(&close_frame(1000, ""));
    bench.conclude();
    bench.connection.end_of_stream(bench.now);
    ended(&bench, Phase::Finished, 1000, "", true, Initiator::Peer);
}

#[test]
fn a_handlers_close_is_seen_by_the_peer_and_told_once_answered() {
    let mut bench = Bench::server();
    bench
        .connection
        .close(4_001, "done", Initiator::Handler, bench.now, &mut bench.out);
    assert_eq!(bench.written(), reply(4_001, "done"));
    assert_eq!(
        (bench.phase(), bench.connection.ending()),
        (Phase::Closing, None)
    );
    assert_eq!(bench.read(&frame(TEXT, b"crossed")), []);
    assert_eq!(bench.phase(), Phase::Closing);
    bench.read(&close_frame(4_001, ""));
    ended(
        &bench,
        Phase::Finished,
        4_001,
        "done",
        true,
        Initiator::Handler,
    );
    assert_eq!(bench.written(), []);
}

#[test]
fn later_closes_change_nothing() {
    let mut bench = Bench::server();
    bench.connection.close(
        4_001,
        "first",
        Initiator::Handler,
        bench.now,
        &mut bench.out,
    );
    bench.written();
    bench
        .connection
        .close(4_002, "second", Initiator::Host, bench.now, &mut bench.out);
    bench
        .connection
        .close_for(Cause::Drain, bench.now, &mut bench.out);
    assert_eq!(bench.written(), []);
    bench.read(&close_frame(1000, "other"));
    bench
        .connection
        .close_for(Cause::PingTimeout, bench.now, &mut bench.out);
    ended(
        &bench,
        Phase::Finished,
        4_001,
        "first",
        true,
        Initiator::Handler,
    );
}

#[test]
fn a_peer_that_does_not_answer_our_close_has_5_seconds() {
    let mut bench = Bench::server();
    bench
        .connection
        .close(1000, "", Initiator::Handler, bench.now, &mut bench.out);
    assert_eq!(
        bench.connection.deadline(),
        Some(bench.now + Duration::from_secs(5))
    );
    bench.pass(Duration::from_millis(4_999));
    bench.wake();
    bench.read(&frame(BINARY, &[0; 100]));
    assert_eq!(bench.phase(), Phase::Closing);
    bench.pass(Duration::from_millis(1));
    bench.wake();
    ended(&bench, Phase::Aborted, 1000, "", false, Initiator::Handler);
}

#[test]
fn a_stream_that_ends_instead_of_an_answer_leaves_the_close_unclean() {
    let mut bench = Bench::server();
    bench
        .connection
        .close(1000, "", Initiator::Handler, bench.now, &mut bench.out);
    bench.connection.end_of_stream(bench.now);
    ended(&bench, Phase::Aborted, 1000, "", false, Initiator::Handler);
}

#[test]
fn a_broken_frame_instead_of_an_answer_leaves_the_close_unclean_and_is_not_answered() {
    for bytes in [frame(0x83, b""), close_frame(1005, ""), frame(CLOSE, b"x")] {
        let mut bench = Bench::server();
        bench
            .connection
            .close(1000, "", Initiator::Handler, bench.now, &mut bench.out);
        bench.written();
        bench.read(&bytes);
        ended(&bench, Phase::Finished, 1000, "", false, Initiator::Handler);
        assert_eq!(bench.written(), []);
    }
}

#[test]
fn data_of_any_kind_is_passed_over_while_the_answer_is_awaited() {
    let mut bench = Bench::server();
    bench.read(&frame(TEXT_START, b"half")[..7]);
    bench
        .connection
        .close(1000, "", Initiator::Handler, bench.now, &mut bench.out);
    bench.written();
    let mut bytes = frame(TEXT_START, b"half")[7..].to_vec();
    bytes.extend(frame(CONTINUATION_END, b"\xff not text"));
    bytes.extend(frame(CONTINUATION_END, b"nothing to continue"));
    bytes.extend(frame(BINARY, &vec![0; 2 << 20]));
    bytes.extend(frame(PING, b"still"));
    let messages: Vec<_> = bytes
        .chunks(1_000)
        .flat_map(|chunk| bench.read(chunk))
        .collect();
    assert_eq!(messages, []);
    assert_eq!(
        (bench.phase(), bench.written()),
        (Phase::Closing, plain(PONG, b"still"))
    );
    bench.read(&frame(CLOSE, b""));
    ended(&bench, Phase::Finished, 1000, "", true, Initiator::Handler);
}

#[test]
fn a_code_that_must_not_be_sent_is_sent_as_1011() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 2000, 5000] {
        let mut bench = Bench::server();
        bench
            .connection
            .close(code, "", Initiator::Handler, bench.now, &mut bench.out);
        assert_eq!(bench.written(), reply(1011, ""));
    }
}

#[test]
fn a_reason_is_cut_to_123_bytes_on_a_character_boundary() {
    for (reason, kept) in [
        ("x".repeat(123), 123),
        ("x".repeat(124), 123),
        ("€".repeat(42), 123),
        (format!("x{}", "€".repeat(42)), 121),
        ("😀".repeat(31), 120),
    ] {
        let mut bench = Bench::server();
        bench
            .connection
            .close(1000, &reason, Initiator::Handler, bench.now, &mut bench.out);
        assert_eq!(bench.written(), reply(1000, &reason[..kept]));
    }
}

#[test]
fn each_cause_of_the_host_is_seen_by_the_peer_as_the_table_says() {
    let operator = OperatorReason {
        code: 4_100,
        reason: "maintenance".to_owned(),
    };
    let incident = "7f3a".to_owned();
    for (cause, code, reason, who) in [
        (Cause::HandlerReturned, 1000, "", Initiator::Handler),
        (
            Cause::HandlerFailed { incident },
            1011,
            "handler failed 7f3a",
            Initiator::Host,
        ),
        (
            Cause::HandlerOverLimit,
            1008,
            "handler over its limit",
            Initiator::Host,
        ),
        (Cause::SlowConsumer, 1008, "slow consumer", Initiator::Host),
        (Cause::OverCapacity, 1013, "over capacity", Initiator::Host),
        (Cause::Drain, 1001, "going away", Initiator::Host),
        (Cause::Restart, 1012, "restarting", Initiator::Host),
        (
            Cause::TenantSuspended(OperatorReason::default()),
            1008,
            "",
            Initiator::Host,
        ),
        (
            Cause::Kicked(operator),
            4_100,
            "maintenance",
            Initiator::Host,
        ),
    ] {
        let mut bench = Bench::server();
        bench.connection.close_for(cause, bench.now, &mut bench.out);
        assert_eq!(bench.written(), reply(code, reason));
        assert_eq!(bench.phase(), Phase::Closing);
        bench.read(&close_frame(code, ""));
        ended(&bench, Phase::Finished, code, reason, true, who);
    }
}

#[test]
fn a_ping_timeout_is_said_with_1011_and_not_waited_for() {
    let mut bench = Bench::server();
    bench
        .connection
        .close_for(Cause::PingTimeout, bench.now, &mut bench.out);
    assert_eq!(bench.written(), reply(1011, "ping timeout"));
    ended(
        &bench,
        Phase::Aborted,
        1011,
        "ping timeout",
        false,
        Initiator::Host,
    );
}

#[test]
fn a_client_closes_and_is_closed_the_same_way() {
    let mut client = Bench::client();
    client
        .connection
        .close(1000, "bye", Initiator::Handler, client.now, &mut client.out);
    let mut server = Bench::server();
    server.read(&client.written());
    server.conclude();
    client.read(&server.written());
    ended(
        &client,
        Phase::Finished,
        1000,
        "bye",
        true,
        Initiator::Handler,
    );
    ended(&server, Phase::Finished, 1000, "bye", true, Initiator::Peer);
}
