//! permessage-deflate through the connection: both directions, every window,
//! and the bound on what a message inflates to.

use super::*;
use crate::deflate::Params;

pub(super) const PLAIN: Params = Params {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};

fn pair(params: Params, config: Config) -> (Bench, Bench) {
    let server = Bench::with(Role::Server, config.clone(), Some(params));
    (server, Bench::with(Role::Client, config, Some(params)))
}

fn send(bench: &mut Bench, payload: &[u8]) -> Vec<u8> {
    let sent = bench
        .connection
        .send(MessageKind::Binary, payload, &mut bench.out);
    assert_eq!(sent, Ok(()));
    bench.written()
}

/// Text that compresses like text, different for each seed.
fn words(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut payload = Vec::new();
    while payload.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        payload.extend(format!("word-{} ", (state >> 24) % 50).into_bytes());
    }
    payload.truncate(bytes);
    payload
}

#[test]
fn the_examples_of_rfc_7692_are_read() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two_blocks = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    for payloads in [
        &[&hello[..], &again[..]][..],
        &[&stored],
        &[&last, &hello],
        &[&two_blocks, &again],
    ] {
        let mut bench = Bench::with(Role::Server, Config::default(), Some(PLAIN));
        for payload in payloads {
            let bytes = frame(TEXT | COMPRESSED, payload);
            assert_eq!(
                bench.read_each_byte(&bytes),
                [text("Hello")],
                "{payload:x?}"
            );
        }
    }
}

#[test]
fn a_compressed_message_in_fragments_is_joined() {
    let bytes = [
        frame(TEXT_START | COMPRESSED, &[0xf2, 0x48, 0xcd]),
        frame(PING, b""),
        frame(CONTINUATION_END, &[0xc9, 0xc9, 0x07, 0x00]),
        frame(TEXT, b"plain"),
    ];
    let mut bench = Bench::with(Role::Server, Config::default(), Some(PLAIN));
    let expected = [text("Hello"), text("plain")];
    assert_eq!(bench.read(&bytes.concat()), expected);
    assert_eq!(bench.read_each_byte(&bytes.concat()), expected);
}

#[test]
fn an_empty_message_may_be_a_zero_byte_or_nothing() {
    let mut bench = Bench::with(Role::Server, Config::default(), Some(PLAIN));
    let hello = frame(
        TEXT | COMPRESSED,
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    );
    for payload in [&b"\0"[..], b""] {
        assert_eq!(bench.read(&frame(TEXT | COMPRESSED, payload)), [text("")]);
        assert_eq!(bench.read(&hello), [text("Hello")]);
    }
}

#[test]
fn the_bit_belongs_to_the_first_frame_of_a_message_only() {
    for bytes in [
        [
            frame(TEXT_START | COMPRESSED, &[0xf2]),
            frame(CONTINUATION_END | COMPRESSED, b""),
        ]
        .concat(),
        frame(PING | COMPRESSED, b""),
        frame(CLOSE | COMPRESSED, b""),
        frame(TEXT | 0x20, b""),
    ] {
        let mut bench = Bench::with(Role::Server, Config::default(), Some(PLAIN));
        bench.read(&bytes);
        bench.failed(1002);
    }
}

#[test]
fn every_window_and_both_takeovers_go_both_ways() {
    for bits in 9..=15 {
        for forgetful in [false, true] {
            let params = Params {
                server_no_context_takeover: forgetful,
                client_no_context_takeover: forgetful,
                server_max_window_bits: bits,
                client_max_window_bits: 24 - bits,
            };
            let config = Config {
                compress_min_bytes: 0,
                ..Config::default()
            };
            let (mut server, mut client) = pair(params, config);
            for (round, length) in [1, 10, 200, 5_000, 100, 100_000, 3, 70_000]
                .iter()
                .enumerate()
            {
                let payload = words(*length, round as u32);
                let bytes = send(&mut server, &payload);
                assert_eq!(bytes[0], BINARY | COMPRESSED);
                assert_eq!(client.read(&bytes), [binary(&payload)]);
                let bytes = send(&mut client, &payload);
                assert_eq!(server.read(&bytes), [binary(&payload)]);
            }
        }
    }
}

#[test]
fn the_window_is_kept_with_takeover_and_forgotten_without() {
    let forgetful = Params {
        server_no_context_takeover: true,
        ..PLAIN
    };
    let payload = words(1_000, 1);
    let (mut server, _) = pair(PLAIN, Config::default());
    let (first, second) = (
        send(&mut server, &payload).len(),
        send(&mut server, &payload).len(),
    );
    assert!(second < first / 4, "{second} after {first}");
    let (mut server, _) = pair(forgetful, Config::default());
    let (first, second) = (send(&mut server, &payload), send(&mut server, &payload));
    assert_eq!(first, second);
}

#[test]
fn what_does_not_compress_survives_every_width_of_the_header() {
    let noise: Vec<u8> = (0..70_000_u64)
        .map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37) as u8)
        .collect();
    let config = Config {
        compress_min_bytes: 0,
        ..Config::default()
    };
    for length in (115..=130).chain(65_500..=65_540).chain([70_000]) {
        let (mut server, mut client) = pair(PLAIN, config.clone());
        let bytes = send(&mut server, &noise[..length]);
        assert_eq!(client.read(&bytes), [binary(&noise[..length])]);
        let bytes = send(&mut client, &noise[..length]);
        assert_eq!(server.read(&bytes), [binary(&noise[..length])]);
    }
}

#[test]
fn short_and_empty_messages_leave_uncompressed() {
    let (mut server, mut client) = pair(PLAIN, Config::default());
    for length in [0, 127] {
        let payload = words(length, 1);
        let bytes = send(&mut server, &payload);
        assert_eq!(bytes, plain(BINARY, &payload));
        assert_eq!(client.read(&bytes), [binary(&payload)]);
    }
    assert!(server.connection.compressor.is_none());
    assert!(client.connection.inflater.is_none());
}

#[test]
fn bad_text_inside_a_compressed_message_ends_with_1007_before_its_end() {
    let stored = |payload: &[u8]| {
        let length = payload.len() as u16;
        let header = [&[0x00], &length.to_le_bytes()[..], &(!length).to_le_bytes()].concat();
        [&header, payload].concat()
    };
    let mut bench = Bench::with(Role::Server, Config::default(), Some(PLAIN));
    let bytes = frame(
        TEXT | COMPRESSED,
        &stored(b"good \xce\xba then \xff bad and more"),
    );
    for byte in &bytes[..6 + 5 + 12] {
        assert_eq!(bench.phase(), Phase::Open);
        bench.read(&[*byte]);
    }
    bench.read(&bytes[6 + 5 + 12..6 + 5 + 14]);
    bench.failed(1007);

    let mut bench = Bench::with(Role::Server, Config::default(), Some(PLAIN));
    bench.read(&frame(TEXT_START | COMPRESSED, &stored(b"\xf0\x9f")));
    bench.read(&frame(CONTINUATION, &stored(b"\x98\x80 ok \xf4")));
    assert_eq!(bench.phase(), Phase::Open);
    bench.read(&frame(CONTINUATION, &stored(b"\x90")));
    bench.failed(1007);
}

#[test]
fn what_is_no_deflate_stream_ends_with_1007() {
    for payload in [
        &[0x07, 0xff][..],
        &[0x06],
        &[0x00, 0x01, 0x00, 0x00, 0x00],
        &[0xff; 40],
    ] {
        let mut bench = Bench::with(Role::Server, Config::default(), Some(PLAIN));
        bench.read(&frame(BINARY | COMPRESSED, payload));
        bench.failed(1007);
    }
}

#[test]
fn a_message_that_inflates_to_the_limit_is_delivered_and_one_byte_more_ends_with_1009() {
    for limit in [200, 1_000, 65_536, 100_001] {
        let generous = Config {
            max_message_bytes: 1 << 20,
            ..Config::default()
        };
        let config = Config {
            max_message_bytes: limit,
            ..Config::default()
        };
        let mut client = Bench::with(Role::Client, generous, Some(PLAIN));
        let mut server = Bench::with(Role::Server, config, Some(PLAIN));
        let bytes = send(&mut client, &vec![b'x'; limit]);
        assert_eq!(server.read(&bytes)[0].1.len(), limit);
        let bytes = send(&mut client, &vec![b'x'; limit + 1]);
        server.read(&bytes);
        server.failed(1009);
    }
}

#[test]
fn a_bomb_ends_with_1009_when_the_output_passes_the_limit_in_bounded_memory() {
    let generous = Config {
        max_message_bytes: 1 << 30,
        ..Config::default()
    };
    let mut client = Bench::with(Role::Client, generous, Some(PLAIN));
    let bomb = send(&mut client, &vec![0; 64 << 20]);
    let mut server = Bench::with(Role::Server, Config::default(), Some(PLAIN));
    let mut fed = 0;
    for chunk in bomb.chunks(100) {
        server.read(chunk);
        fed += chunk.len();
        let kept = server
            .connection
            .assembly
            .as_ref()
            .map_or(0, |assembly| assembly.capacity());
        assert!(kept <= 1 << 20, "{kept}");
        if server.phase() != Phase::Open {
            break;
        }
    }
    assert!(fed < bomb.len() / 32, "{fed} of {}", bomb.len());
    server.failed(1009);
}

#[test]
fn compressed_frames_are_bounded_by_the_frame_limit_alone() {
    let config = Config {
        max_message_bytes: 50,
        max_frame_bytes: 100,
        ..Config::default()
    };
    let mut bench = Bench::with(Role::Server, config, Some(PLAIN));
    let hello = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let empty_blocks = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(15);
    let bytes = frame(
        TEXT | COMPRESSED,
        &[&empty_blocks[..], &hello, &[0x00]].concat(),
    );
    assert_eq!(bench.read(&bytes), [text("Hello")]);
    bench.read(&frame(TEXT | COMPRESSED, &[0x00; 101])[..8]);
    bench.failed(1009);
}

#[test]
fn without_takeover_nothing_is_held_between_messages() {
    let params = Params {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        ..PLAIN
    };
    let (mut server, mut client) = pair(params, Config::default());
    let payload = words(2_000, 3);
    let bytes = send(&mut client, &payload);
    assert_eq!(server.read(&bytes), [binary(&payload)]);
    send(&mut server, &payload);
    let compressor = server.connection.compressor.as_ref();
    let inflater = server.connection.inflater.as_ref();
    assert!(compressor.is_some_and(|compressor| !compressor.holds_state()));
    assert!(inflater.is_some_and(|inflater| !inflater.holds_state()));
}
