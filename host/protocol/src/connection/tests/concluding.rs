//! Between the peer's last word and ours: what it sent before is still
//! answered, and only then comes the close frame.

use super::*;
use crate::{Cause, Initiator};

/// What the peer may end with, and the code it leads to.
fn last_words() -> [(Vec<u8>, u16); 3] {
    [
        (close_frame(3_000, "bye"), 3_000),
        (frame(0x83, b""), 1002),
        (frame(TEXT, b"\xff"), 1007),
    ]
}

#[test]
fn what_came_before_a_close_or_a_violation_is_answered_before_our_close_frame() {
    for (last, code) in last_words() {
        let mut bench = Bench::server();
        assert_eq!(
            bench.read(&[frame(TEXT, b"echo"), last].concat()),
            [text("echo")]
        );
        assert_eq!(
            (bench.phase(), bench.written()),
            (Phase::Concluding, vec![])
        );
        assert!(bench.connection.may_send());
        assert_eq!(bench.connection.ending(), None);
        let sent = bench
            .connection
            .send(MessageKind::Text, b"echo", &mut bench.out);
        assert_eq!((sent, bench.written()), (Ok(()), plain(TEXT, b"echo")));
        bench.conclude();
        assert_eq!(
            (bench.phase(), bench.ending().code),
            (Phase::Finished, code)
        );
        let written = bench.written();
        assert_eq!(
            (written[0], &written[2..4]),
            (CLOSE, &code.to_be_bytes()[..])
        );
        assert!(!bench.connection.may_send());
    }
}

#[test]
fn nothing_more_is_read_while_concluding() {
    for (last, code) in last_words() {
        let mut bench = Bench::server();
        bench.read(&last);
        let late = [
            frame(TEXT, b"late"),
            frame(PING, b"late"),
            close_frame(4_000, ""),
        ]
        .concat();
        assert_eq!(bench.read(&late), []);
        assert_eq!(
            (bench.phase(), bench.written()),
            (Phase::Concluding, vec![])
        );
        bench.conclude();
        assert_eq!(bench.ending().code, code);
    }
}

#[test]
fn concluding_has_the_close_timeout_and_then_happens_by_itself() {
    for (last, code) in last_words() {
        let mut bench = Bench::server();
        bench.read(&last);
        assert_eq!(
            bench.connection.deadline(),
            Some(bench.now + Duration::from_secs(5))
        );
        bench.pass(Duration::from_millis(4_999));
        bench.wake();
        assert_eq!(bench.phase(), Phase::Concluding);
        bench.pass(Duration::from_millis(1));
        bench.wake();
        assert_eq!(
            (bench.phase(), bench.ending().code),
            (Phase::Finished, code)
        );
    }
}

#[test]
fn a_stream_that_ends_while_concluding_is_told_with_the_peers_code_but_not_clean() {
    for (last, code) in last_words() {
        let mut bench = Bench::server();
        bench.read(&last);
        bench.connection.end_of_stream(bench.now);
        assert_eq!((bench.phase(), bench.written()), (Phase::Aborted, vec![]));
        let ending = bench.ending();
        assert_eq!((ending.code, ending.clean), (code, false));
    }
}

#[test]
fn a_close_of_ours_while_concluding_only_hurries_the_peers() {
    let causes = [Cause::Drain, Cause::HandlerReturned, Cause::SlowConsumer];
    for cause in causes {
        let mut bench = Bench::server();
        bench.read(&close_frame(3_000, "bye"));
        bench.connection.close_for(cause, bench.now, &mut bench.out);
        assert_eq!(bench.written(), plain(CLOSE, &3_000_u16.to_be_bytes()));
        let ending = bench.ending();
        assert_eq!((ending.code, ending.clean), (3_000, true));
        assert_eq!(ending.initiator, Initiator::Peer);
    }
    let mut bench = Bench::server();
    bench.read(&frame(0x83, b""));
    bench
        .connection
        .close(1000, "", Initiator::Handler, bench.now, &mut bench.out);
    assert_eq!(
        (bench.phase(), bench.ending().code),
        (Phase::Finished, 1002)
    );
}

#[test]
fn concluding_twice_or_out_of_place_does_nothing() {
    let mut bench = Bench::server();
    bench.connection.conclude(bench.now, &mut bench.out);
    assert_eq!((bench.phase(), bench.written()), (Phase::Open, vec![]));
    bench.read(&close_frame(1000, ""));
    bench.conclude();
    bench.written();
    bench.connection.conclude(bench.now, &mut bench.out);
    assert_eq!((bench.phase(), bench.written()), (Phase::Finished, vec![]));
}

#[test]
fn no_ping_leaves_while_concluding() {
    let mut bench = Bench::server();
    bench.pass(Duration::from_secs(29));
    bench.read(&close_frame(1000, ""));
    bench.pass(Duration::from_secs(2));
    bench.wake();
    assert_eq!(
        (bench.phase(), bench.written()),
        (Phase::Concluding, vec![])
    );
}
