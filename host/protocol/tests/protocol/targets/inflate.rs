//! Compressed messages: what arbitrary bytes inflate to is bounded and is what
//! zlib alone makes of them; what is compressed comes back.

use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use wharf_protocol::{
    Config, Connection, Input, Instant, Keepalive, MessageKind, Phase, Role, deflate,
};

const LIMIT_BYTES: usize = 4_096;

/// The payload of a compressed message, then a payload to compress.
pub(crate) fn inflate(data: &[u8]) {
    let [setup, rest @ ..] = data else { return };
    arbitrary(rest);
    round_trip(*setup, rest);
}

fn connection(role: Role, params: deflate::Params) -> Connection {
    let config = Config {
        max_frame_bytes: 1 << 20,
        max_message_bytes: LIMIT_BYTES,
        compress_min_bytes: 0,
        ..Config::default()
    };
    let now = Instant::from_millis(0);
    Connection::new(
        role,
        Arc::new(config),
        Keepalive::default(),
        Some(params),
        now,
        1,
    )
}

/// The one message in `bytes`, if they are a good one, and how it ended if not.
fn read(connection: &mut Connection, mut bytes: Vec<u8>) -> Result<Vec<u8>, u16> {
    let (now, mut out) = (Instant::from_millis(0), Vec::new());
    let mut input = Input::new(&mut bytes);
    let event = connection.receive(&mut input, now, &mut out);
    if let Some(message) = event.and_then(|event| event.message()) {
        return Ok(message.payload().to_vec());
    }
    assert_eq!(connection.phase(), Phase::Concluding);
    connection.conclude(now, &mut out);
    Err(connection.ending().map_or(0, |ending| ending.code))
}

fn arbitrary(payload: &[u8]) {
    let params = params(0);
    let mut client = connection(Role::Client, params);
    let found = read(&mut client, frame(payload));
    if let Ok(message) = &found {
        assert!(message.len() <= LIMIT_BYTES);
    }
    if let Some(expected) = by_zlib(payload) {
        assert_eq!(found, expected);
    }
}

/// A server's compressed binary message.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xc2];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        medium @ 126..=0xffff => {
            frame.push(126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// What zlib alone makes of a message; `None` where a final block or nothing
/// at all leaves that to RFC 7692.
fn by_zlib(payload: &[u8]) -> Option<Result<Vec<u8>, u16>> {
    if payload.is_empty() {
        return None;
    }
    let mut zlib = Decompress::new(false);
    let mut output = Vec::with_capacity(LIMIT_BYTES + 1);
    for mut input in [payload, &[0, 0, 0xff, 0xff]] {
        while !input.is_empty() {
            let before = zlib.total_in();
            let status = zlib.decompress_vec(input, &mut output, FlushDecompress::None);
            if output.len() > LIMIT_BYTES {
                return Some(Err(1009));
            }
            match status {
                Ok(Status::StreamEnd) => return None,
                Ok(_) => input = &input[(zlib.total_in() - before) as usize..],
                Err(_) => return Some(Err(1007)),
            }
        }
    }
    Some(Ok(output))
}

fn params(bits: u8) -> deflate::Params {
    deflate::Params {
        server_no_context_takeover: bits & 1 != 0,
        client_no_context_takeover: bits & 2 != 0,
        server_max_window_bits: 9 + (bits >> 2) % 7,
        client_max_window_bits: 15 - (bits >> 2) % 7,
    }
}

/// The bytes in messages of several lengths, there and back.
fn round_trip(setup: u8, data: &[u8]) {
    let mut server = connection(Role::Server, params(setup));
    let mut client = connection(Role::Client, params(setup));
    let mut out = Vec::new();
    for payload in data.chunks(usize::from(setup) * 16 + 1).take(8) {
        server
            .send(MessageKind::Binary, payload, &mut out)
            .expect("open");
        assert_eq!(
            read(&mut client, std::mem::take(&mut out)).as_deref(),
            Ok(payload)
        );
        client
            .send(MessageKind::Binary, payload, &mut out)
            .expect("open");
        assert_eq!(
            read(&mut server, std::mem::take(&mut out)).as_deref(),
            Ok(payload)
        );
    }
}
