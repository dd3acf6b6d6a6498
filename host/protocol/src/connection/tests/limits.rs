//! Every limit has its code, and nothing is allocated by what a frame only
//! declares.

use super::*;
use crate::assembly::Assembly;

fn limited(config: Config) -> Bench {
    Bench::with(Role::Server, config, None)
}

fn small() -> Config {
    Config {
        max_message_bytes: 1_000,
        max_frame_bytes: 600,
        ..Config::default()
    }
}

/// A header that declares so many bytes, and none of them.
fn declares(first: u8, payload_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0xff];
    bytes.extend(payload_bytes.to_be_bytes());
    bytes.extend(KEY);
    bytes
}

#[test]
fn a_frame_over_its_limit_ends_with_1009_at_its_header() {
    let mut bench = limited(small());
    assert_eq!(bench.read(&frame(BINARY, &[0; 600])).len(), 1);
    let bytes = frame(BINARY, &[0; 601]);
    bench.read(&bytes[..8]);
    bench.failed(1009);
}

#[test]
fn a_declared_length_of_2_to_the_62_ends_with_1009_and_allocates_nothing() {
    let config = Config {
        max_frame_bytes: u64::MAX,
        ..Config::default()
    };
    for config in [Config::default(), config] {
        let mut bench = limited(config);
        bench.read(&declares(BINARY, 1 << 62));
        assert!(bench.connection.assembly.is_none());
        bench.failed(1009);
    }
}

#[test]
fn an_allowed_length_allocates_only_what_has_arrived() {
    let config = Config {
        max_frame_bytes: 1 << 40,
        max_message_bytes: usize::MAX,
        ..Config::default()
    };
    let mut bench = limited(config);
    bench.read(&declares(BINARY, 1 << 40));
    bench.read(&[1; 100]);
    let kept = bench
        .connection
        .assembly
        .as_ref()
        .map(|assembly| assembly.capacity());
    assert!(
        kept.is_some_and(|bytes| (100..=256).contains(&bytes)),
        "{kept:?}"
    );
}

#[test]
fn a_joined_message_over_its_limit_ends_with_1009() {
    let mut bench = limited(small());
    let fits = [
        frame(BINARY_START, &[1; 600]),
        frame(CONTINUATION_END, &[2; 400]),
    ]
    .concat();
    assert_eq!(bench.read(&fits)[0].1.len(), 1_000);
    bench.read(&frame(BINARY_START, &[1; 600]));
    bench.read(&frame(CONTINUATION, &[2; 400]));
    bench.read(&frame(CONTINUATION, b""));
    assert_eq!(bench.phase(), Phase::Open);
    bench.read(&frame(CONTINUATION, &[3; 1])[..6]);
    bench.failed(1009);
}

#[test]
fn the_buffer_of_a_message_never_passes_the_limit() {
    let mut bench = limited(Config {
        max_message_bytes: 100_000,
        ..Config::default()
    });
    let bytes = frame(BINARY, &[5; 100_000]);
    for chunk in bytes[..bytes.len() - 1].chunks(777) {
        bench.read(chunk);
    }
    let kept = bench
        .connection
        .assembly
        .as_ref()
        .map(|assembly| assembly.capacity());
    assert!(kept.is_some_and(|bytes| bytes <= 100_000), "{kept:?}");
}

#[test]
fn what_a_message_needed_is_given_back_after_it() {
    let mut bench = Bench::server();
    let bytes = [
        frame(BINARY_START, &[1; 5_000]),
        frame(CONTINUATION_END, b"x"),
    ]
    .concat();
    assert_eq!(bench.read_each_byte(&bytes).len(), 1);
    assert!(bench.connection.assembly.is_none());
    bench.read_each_byte(&frame(PING, b"abc"));
    assert!(bench.connection.control.is_none());
}

#[test]
fn a_message_in_4096_fragments_is_joined_and_one_more_ends_with_1008() {
    let start = frame(BINARY_START, b"");
    let middle = frame(CONTINUATION, b"");
    let mut bench = Bench::server();
    let fits = [
        &start[..],
        &middle.repeat(4_094),
        &frame(CONTINUATION_END, b"x"),
    ]
    .concat();
    assert_eq!(bench.read(&fits), [binary(b"x")]);
    bench.read(&[&start[..], &middle.repeat(4_095)].concat());
    assert_eq!(bench.phase(), Phase::Open);
    bench.read(&middle);
    bench.failed(1008);
}

#[test]
fn a_message_that_takes_longer_than_30_seconds_ends_with_1008() {
    let starts = [
        frame(TEXT_START, b"a"),
        frame(TEXT, b"a whole frame, cut")[..9].to_vec(),
    ];
    for start in starts {
        let mut bench = Bench::server();
        bench.connection.set_ping_interval(None, bench.now);
        bench.pass(Duration::from_secs(100));
        bench.read(&start);
        assert_eq!(
            bench.connection.deadline(),
            Some(bench.now + Duration::from_secs(30))
        );
        bench.pass(Duration::from_millis(29_999));
        bench.wake();
        assert_eq!(bench.phase(), Phase::Open);
        bench.pass(Duration::from_millis(1));
        bench.wake();
        bench.finished(1008);
    }
}

#[test]
fn the_time_of_one_message_does_not_count_against_the_next() {
    let mut bench = Bench::server();
    bench.connection.set_ping_interval(None, bench.now);
    for _ in 0..3 {
        bench.read(&frame(TEXT_START, b"a"));
        bench.pass(Duration::from_secs(20));
        assert_eq!(bench.read(&frame(CONTINUATION_END, b"b")), [text("ab")]);
        assert_eq!(bench.connection.deadline(), None);
    }
}

#[test]
fn an_assembly_is_smaller_than_a_page() {
    assert!(size_of::<Assembly>() <= 128);
}
