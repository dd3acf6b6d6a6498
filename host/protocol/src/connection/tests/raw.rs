//! A raw connection: the peer's control frames are handed out and not answered,
//! and every rule holds as on any other.

use core::time::Duration;

use super::{Bench, CLOSE, CONTINUATION_END, PING, PONG, TEXT, TEXT_START, close_frame, frame};
use crate::{Config, Ending, Initiator, Input, Phase, Role, SendError};

fn bench() -> Bench {
    let config = Config {
        raw: true,
        ..Config::default()
    };
    Bench::with(Role::Server, config, None)
}

impl Bench {
    /// Gives one read's bytes; what is in it, as a person would write it.
    fn events(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        let mut events = Vec::new();
        while let Some(event) = self.connection.receive(&mut input, self.now, &mut self.out) {
            events.push(match event.message() {
                Some(message) => format!("{:?}", message.payload()),
                None => format!("{event:?}"),
            });
        }
        assert!(input.is_empty());
        events
    }

    fn answer(&mut self, code: u16, reason: &str) {
        let initiator = Initiator::Handler;
        (self.connection).close(code, reason, initiator, self.now, &mut self.out);
    }
}

fn by_peer(code: u16, reason: &str) -> Ending {
    Ending {
        code,
        reason: reason.to_owned(),
        clean: true,
        initiator: Initiator::Peer,
    }
}

#[test]
fn control_frames_are_handed_out_in_their_place_and_not_answered() {
    let mut stream = frame(PING, b"one");
    stream.extend(frame(TEXT_START, b"a"));
    stream.extend(frame(PONG, &[]));
    stream.extend(frame(CONTINUATION_END, b"b"));
    stream.extend(close_frame(3000, "bye"));
    stream.extend(frame(TEXT, b"late"));
    let expected = [
        "Control(Ping([111, 110, 101]))",
        "Control(Pong([]))",
        "[97, 98]",
        "Control(Close(Some((3000, \"bye\"))))",
    ];
    let mut bench = bench();
    assert_eq!(bench.events(&stream), expected);
    let mut each_byte = self::bench();
    let events = stream.iter().flat_map(|byte| each_byte.events(&[*byte]));
    assert_eq!(events.collect::<Vec<_>>(), expected);
    for mut bench in [bench, each_byte] {
        assert_eq!(bench.written(), []);
        assert!(bench.connection.awaits_answer());
    }
}

#[test]
fn a_close_frame_is_answered_by_the_handlers_own() {
    let mut bench = bench();
    bench.events(&close_frame(3000, "bye"));
    bench.connection.pong(b"x", &mut bench.out).unwrap();
    bench.answer(4001, "my word");
    assert_eq!(
        bench.written(),
        [
            &[PONG, 1, b'x', CLOSE, 9, 0x0f, 0xa1][..],
            b"my word".as_slice()
        ]
        .concat()
    );
    assert_eq!(bench.phase(), Phase::Finished);
    assert_eq!(bench.ending(), by_peer(3000, "bye"));
    assert_eq!(
        bench.connection.ping(&[], &mut Vec::new()),
        Err(SendError::Closed)
    );
}

#[test]
fn an_empty_close_frame_is_answered_by_an_empty_one() {
    let mut bench = bench();
    assert_eq!(bench.events(&frame(CLOSE, &[])), ["Control(Close(None))"]);
    let initiator = Initiator::Handler;
    (bench.connection).close_without_code(initiator, bench.now, &mut bench.out);
    assert_eq!(bench.written(), [CLOSE, 0]);
    assert_eq!(bench.ending(), by_peer(1005, ""));
}

#[test]
fn a_handler_may_begin_with_an_empty_close_frame() {
    let mut bench = bench();
    let initiator = Initiator::Handler;
    (bench.connection).close_without_code(initiator, bench.now, &mut bench.out);
    assert_eq!(bench.written(), [CLOSE, 0]);
    assert_eq!(bench.phase(), Phase::Closing);
    // Its answer is the handshake's last word, and nobody is asked about it.
    assert_eq!(bench.events(&frame(PING, b"late")), [""; 0]);
    assert_eq!(bench.events(&frame(CLOSE, &[])), [""; 0]);
    assert_eq!(bench.written(), []);
    let ending = bench.ending();
    assert_eq!((ending.code, ending.clean), (1005, true));
    assert_eq!(ending.initiator, Initiator::Handler);
}

#[test]
fn a_close_frame_that_nobody_answers_is_answered_in_the_end() {
    let mut bench = bench();
    bench.events(&close_frame(3000, "bye"));
    bench.pass(Duration::from_millis(4_999));
    bench.wake();
    assert_eq!(bench.phase(), Phase::Concluding);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.connection.deadline(), Some(bench.now));
    bench.wake();
    assert_eq!(bench.written(), [CLOSE, 2, 0x0b, 0xb8]);
    assert_eq!(bench.ending(), by_peer(3000, "bye"));
}

#[test]
fn the_host_may_cut_while_a_close_frame_waits() {
    let mut bench = bench();
    bench.events(&close_frame(3000, "bye"));
    let cause = crate::Cause::SlowConsumer;
    (bench.connection).close_for(cause, bench.now, &mut bench.out);
    assert_eq!(bench.written(), [CLOSE, 2, 0x0b, 0xb8]);
    assert_eq!(bench.phase(), Phase::Finished);
}

#[test]
fn what_breaks_a_rule_is_not_handed_out() {
    for (bytes, code) in [
        (frame(PING, &[0; 126]), 1002),
        (frame(PING & 0x7f, b"no end"), 1002),
        (close_frame(1005, ""), 1002),
        (frame(CLOSE, &[3]), 1002),
        (frame(CLOSE, &[3, 232, 0xff]), 1007),
    ] {
        let mut bench = bench();
        assert_eq!(bench.events(&bytes), [""; 0]);
        assert!(!bench.connection.awaits_answer());
        bench.conclude();
        assert_eq!(bench.ending().code, code);
    }
}

#[test]
fn the_hosts_own_ping_is_its_own_business() {
    let mut bench = bench();
    bench.pass(Duration::from_secs(30));
    bench.wake();
    let ping = bench.written();
    assert_eq!(bench.events(&frame(PONG, b"foreign")).len(), 1);
    assert_eq!(bench.events(&frame(PONG, &ping[2..])), [""; 0]);
    bench.pass(Duration::from_secs(29));
    bench.wake();
    assert_eq!((bench.phase(), bench.written()), (Phase::Open, vec![]));
}

#[test]
fn a_handlers_ping_carries_125_bytes_at_most() {
    let mut bench = bench();
    let mut out = Vec::new();
    assert_eq!(bench.connection.ping(&[7; 125], &mut out), Ok(()));
    assert_eq!(out[..3], [PING, 125, 7]);
    for sent in [
        bench.connection.ping(&[7; 126], &mut out),
        bench.connection.pong(&[7; 126], &mut out),
    ] {
        assert_eq!(sent, Err(SendError::ControlTooLong));
    }
    assert_eq!(out.len(), 127);
}
