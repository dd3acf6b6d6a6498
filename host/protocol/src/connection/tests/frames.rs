//! What frames may look like and in which order they may come (behaviour:
//! 1002 for each rule broken).

use super::*;
use crate::SendError;

/// One read with this ends with the code.
#[track_caller]
fn fails(bytes: &[u8], code: u16) {
    let mut bench = Bench::server();
    assert_eq!(bench.read(bytes), []);
    bench.failed(code);
    let mut bench = Bench::server();
    assert_eq!(bench.read_each_byte(bytes), []);
    bench.failed(code);
}

#[test]
fn whole_messages_are_delivered_in_order() {
    let mut bench = Bench::server();
    let bytes = [
        frame(TEXT, b"one"),
        frame(BINARY, &[0, 255]),
        frame(TEXT, b""),
        frame(BINARY, b""),
    ];
    let expected = [text("one"), binary(&[0, 255]), text(""), binary(b"")];
    assert_eq!(bench.read(&bytes.concat()), expected);
    assert_eq!(bench.read_each_byte(&bytes.concat()), expected);
    assert_eq!(bench.phase(), Phase::Open);
    assert_eq!(bench.written(), []);
}

#[test]
fn every_width_of_the_length_is_read() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
        let payload = vec![7; length];
        let bytes = frame(BINARY, &payload);
        let mut bench = Bench::server();
        assert_eq!(bench.read(&bytes), [binary(&payload)]);
        let messages: Vec<_> = bytes
            .chunks(11)
            .flat_map(|chunk| bench.read(chunk))
            .collect();
        assert_eq!(messages, [binary(&payload)]);
    }
}

#[test]
fn every_width_of_the_length_is_written() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
        let payload = vec![b'x'; length];
        let mut bench = Bench::server();
        let sent = bench
            .connection
            .send(MessageKind::Text, &payload, &mut bench.out);
        assert_eq!(sent, Ok(()));
        assert_eq!(bench.written(), plain(TEXT, &payload));
    }
}

#[test]
fn fragments_are_joined() {
    let bytes = [
        frame(TEXT_START, b"a"),
        frame(CONTINUATION, b""),
        frame(CONTINUATION, b"b"),
        frame(CONTINUATION_END, b"c"),
        frame(BINARY, b"d"),
    ];
    let expected = [text("abc"), binary(b"d")];
    assert_eq!(Bench::server().read(&bytes.concat()), expected);
    assert_eq!(Bench::server().read_each_byte(&bytes.concat()), expected);
    let mut bench = Bench::server();
    let messages: Vec<_> = bytes.iter().flat_map(|bytes| bench.read(bytes)).collect();
    assert_eq!(messages, expected);
}

#[test]
fn control_frames_come_between_fragments() {
    let bytes = [
        frame(TEXT_START, b"a"),
        frame(PING, b"now"),
        frame(PONG, b"unasked"),
        frame(CONTINUATION_END, b"b"),
    ];
    for mut bench in [Bench::server(), Bench::server()] {
        assert_eq!(bench.read_each_byte(&bytes.concat()), [text("ab")]);
        assert_eq!(bench.written(), plain(PONG, b"now"));
    }
}

#[test]
fn an_unmasked_frame_ends_with_1002() {
    fails(&plain(TEXT, b"hello"), 1002);
    fails(&plain(PING, b""), 1002);
    fails(&plain(CLOSE, &[3, 232]), 1002);
}

#[test]
fn a_servers_masked_frame_ends_with_1002() {
    let mut bench = Bench::client();
    assert_eq!(bench.read(&plain(TEXT, b"hello")), [text("hello")]);
    assert_eq!(bench.read(&frame(TEXT, b"hello")), []);
    bench.conclude();
    assert_eq!(bench.ending().code, 1002);
}

#[test]
fn a_reserved_bit_without_its_extension_ends_with_1002() {
    for bits in [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70] {
        for first in [TEXT, BINARY, TEXT_START, PING, CLOSE] {
            fails(&frame(first | bits, b"ab"), 1002);
        }
    }
}

#[test]
fn an_unknown_opcode_ends_with_1002() {
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        fails(&frame(0x80 | opcode, b""), 1002);
        fails(&frame(0x80 | opcode, b"payload"), 1002);
    }
}

#[test]
fn a_fragmented_control_frame_ends_with_1002() {
    for opcode in [CLOSE, PING, PONG] {
        fails(&frame(opcode & 0x7f, b""), 1002);
    }
}

#[test]
fn a_control_frame_over_125_bytes_ends_with_1002() {
    for first in [CLOSE, PING, PONG] {
        fails(&frame(first, &[0; 126]), 1002);
        fails(&[first, 0xff], 1002);
    }
    let mut bench = Bench::server();
    bench.read(&frame(PING, &[1; 125]));
    assert_eq!(bench.written(), plain(PONG, &[1; 125]));
}

#[test]
fn a_continuation_out_of_place_ends_with_1002() {
    fails(&frame(CONTINUATION, b"a"), 1002);
    fails(&frame(CONTINUATION_END, b"a"), 1002);
    fails(
        &[frame(BINARY_START, b"a"), frame(BINARY, b"b")].concat(),
        1002,
    );
    fails(
        &[frame(TEXT_START, b"a"), frame(TEXT_START, b"b")].concat(),
        1002,
    );
    let mut bench = Bench::server();
    let whole = [frame(TEXT_START, b"a"), frame(CONTINUATION_END, b"b")].concat();
    assert_eq!(bench.read(&whole), [text("ab")]);
    assert_eq!(bench.read(&frame(CONTINUATION_END, b"c")), []);
    bench.failed(1002);
}

#[test]
fn a_length_that_is_not_in_the_fewest_bytes_ends_with_1002() {
    fails(&[BINARY, 0x80 | 126, 0, 125], 1002);
    fails(&[BINARY, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 1002);
    fails(&[BINARY, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002);
}

#[test]
fn a_broken_rule_is_seen_in_the_first_two_bytes() {
    fails(&[0x83, 0x80], 1002);
    fails(&[0xc1, 0x80], 1002);
    fails(&[0x81, 0x05], 1002);
    let mut bench = Bench::server();
    assert_eq!(bench.read(&[0x83]), []);
    assert_eq!(bench.phase(), Phase::Open);
}

#[test]
fn messages_before_the_broken_rule_are_delivered() {
    let mut bench = Bench::server();
    let bytes = [frame(TEXT, b"good"), frame(0x83, b""), frame(TEXT, b"late")].concat();
    assert_eq!(bench.read(&bytes), [text("good")]);
    bench.failed(1002);
}

#[test]
fn a_client_masks_what_it_sends_with_a_key_of_its_own_each() {
    let (mut client, mut server) = (Bench::client(), Bench::server());
    for _ in 0..7 {
        let sent = client
            .connection
            .send(MessageKind::Text, b"same", &mut client.out);
        assert_eq!(sent, Ok(()));
    }
    let bytes = client.written();
    let frames: std::collections::HashSet<_> = bytes.chunks(2 + 4 + 4).collect();
    assert_eq!(frames.len(), 7);
    assert_eq!(server.read(&bytes), vec![text("same"); 7]);
}

#[test]
fn a_server_masks_only_when_told_to() {
    let config = Config {
        mask_outgoing: true,
        ..Config::default()
    };
    let mut server = Bench::with(Role::Server, config, None);
    let sent = server
        .connection
        .send(MessageKind::Binary, b"x", &mut server.out);
    assert_eq!(sent, Ok(()));
    let written = server.written();
    assert_eq!((written[0], written[1], written.len()), (BINARY, 0x81, 7));
}

#[test]
fn nothing_is_sent_after_a_close_frame() {
    let mut bench = Bench::server();
    bench.connection.close(
        1000,
        "",
        crate::Initiator::Handler,
        bench.now,
        &mut bench.out,
    );
    let written = bench.written();
    let sent = bench
        .connection
        .send(MessageKind::Text, b"late", &mut bench.out);
    assert_eq!(sent, Err(SendError::Closed));
    assert_eq!(
        (written, bench.written()),
        (plain(CLOSE, &[3, 232]), vec![])
    );
}
