//! Long frames read straight into their message: the same events and endings as
//! through a buffer of the driver's, wherever the reads were cut.

use super::*;
use crate::Event;

/// Reads a stream in reads of at most these lengths, over and over, straight
/// into the message wherever that can be.
fn read_directly(
    bench: &mut Bench,
    mut stream: &[u8],
    reads: &[usize],
    reuse: bool,
) -> (Vec<Message>, usize) {
    let (mut messages, mut direct_bytes) = (Vec::new(), 0);
    let mut reads = reads.iter().cycle();
    while !stream.is_empty() {
        let length = *reads.next().expect("endless");
        if reuse && bench.connection.wants_buffer() {
            bench.connection.give_buffer(vec![0xee; 100_000]);
        }
        let Some(room) = bench.connection.direct_room() else {
            let (now, rest) = stream.split_at(length.min(stream.len()));
            stream = rest;
            messages.extend(bench.read(now));
            continue;
        };
        let count = length.min(room.len()).min(stream.len());
        room[..count].copy_from_slice(&stream[..count]);
        stream = &stream[count..];
        direct_bytes += count;
        if let Some(Event::Joined(message)) = bench.connection.received_directly(count, bench.now) {
            messages.push((message.kind(), message.payload().to_vec()));
        }
    }
    (messages, direct_bytes)
}

fn stream() -> (Vec<u8>, Vec<Message>) {
    let long: String = "grüße ".chars().cycle().take(60_000).collect();
    let bytes: Vec<u8> = (0..90_000_u32).map(|n| (n % 251) as u8).collect();
    let (start, rest) = bytes.split_at(70_001);
    let stream = [
        frame(TEXT, long.as_bytes()),
        frame(TEXT, b"short"),
        frame(BINARY_START, start),
        frame(PING, b"between"),
        frame(CONTINUATION_END, rest),
        frame(BINARY, &bytes[..5_000]),
    ];
    let messages = vec![
        text(&long),
        text("short"),
        binary(&bytes),
        binary(&bytes[..5_000]),
    ];
    (stream.concat(), messages)
}

#[test]
fn any_reads_give_the_same_messages() {
    let (stream, expected) = stream();
    for reads in [
        &[1_000][..],
        &[70_000],
        &[3, 4_097, 1],
        &[usize::MAX / 2],
        &[10, 40_000],
    ] {
        for reuse in [false, true] {
            let mut bench = Bench::server();
            let (messages, direct_bytes) = read_directly(&mut bench, &stream, reads, reuse);
            assert!(messages == expected, "reads of {reads:?}");
            assert!(direct_bytes > 0 || reads[0] > stream.len());
            assert_eq!(bench.written(), plain(PONG, b"between"));
        }
    }
}

#[test]
fn a_payload_is_taken_once_and_leaves_nothing() {
    let bytes = vec![7; 50_000];
    let stream = frame(BINARY, &bytes);
    let mut bench = Bench::server();
    assert_eq!(bench.read(&stream[..20_000]), []);
    let room = bench
        .connection
        .direct_room()
        .expect("a long frame is under way");
    let count = room.len();
    room.copy_from_slice(&stream[20_000..]);
    assert_eq!(bench.connection.take_payload(), None);
    assert!(
        bench
            .connection
            .received_directly(count, bench.now)
            .is_some()
    );
    assert_eq!(bench.connection.take_payload(), Some(bytes));
    assert_eq!(bench.connection.take_payload(), None);
    assert!(bench.connection.direct_room().is_none());
}

#[test]
fn text_that_is_none_ends_the_connection_where_it_is_read() {
    let mut bytes = vec![b'a'; 50_000];
    bytes[30_000] = 0xff;
    let stream = frame(TEXT, &bytes);
    let mut bench = Bench::server();
    let (messages, _) = read_directly(&mut bench, &stream[..30_100], &[20, 10_000], false);
    assert_eq!(messages, []);
    assert!(bench.connection.direct_room().is_none());
    bench.failed(1007);
}

#[test]
fn room_follows_what_has_arrived_and_not_what_was_declared() {
    let config = Config {
        max_frame_bytes: 1 << 40,
        max_message_bytes: 1 << 40,
        ..Config::default()
    };
    let mut bench = Bench::with(Role::Server, config, None);
    let mut header = vec![BINARY, 0xff];
    header.extend((1_u64 << 39).to_be_bytes());
    header.extend(KEY);
    assert_eq!(bench.read(&header), []);
    for (arrives, expected) in [
        (4_095, None),
        (1, Some(4 * 4_096)),
        (100_000, Some(crate::DIRECT_BYTES_MAX)),
    ] {
        assert_eq!(bench.read(&vec![0; arrives]), []);
        let room = bench.connection.direct_room();
        assert_eq!(room.map(|room| room.len()), expected);
    }
}

#[test]
fn neither_compressed_nor_closing_is_read_directly() {
    let params = compression::PLAIN;
    let mut bench = Bench::with(Role::Server, Config::default(), Some(params));
    // A block of 50,000 stored bytes, which inflate to themselves.
    let header = [
        &[0][..],
        &50_000_u16.to_le_bytes(),
        &(!50_000_u16).to_le_bytes(),
    ];
    let payload = [&header.concat()[..], &[7; 50_000]].concat();
    let stream = frame(BINARY | COMPRESSED, &payload);
    assert_eq!(bench.read(&stream[..10_000]), []);
    assert!(bench.connection.direct_room().is_none() && !bench.connection.wants_buffer());
    assert!(bench.read(&stream[10_000..]) == [binary(&[7; 50_000])]);

    let mut bench = Bench::server();
    assert_eq!(bench.read(&frame(BINARY, &[0; 50_000])[..10_000]), []);
    bench.connection.close(
        1000,
        "",
        crate::Initiator::Handler,
        bench.now,
        &mut bench.out,
    );
    assert!(bench.connection.direct_room().is_none());
}
