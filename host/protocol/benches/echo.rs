//! What the protocol costs per echoed message, without sockets: frames of one
//! read in, the same messages out. Prints nanoseconds a message, the best of
//! several rounds; `cargo bench -p wharf-protocol`.

#![allow(
    clippy::print_stdout,
    missing_docs,
    reason = "a program that prints its measurement"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant as Clock;

use wharf_protocol::{Config, Connection, Input, Instant, Keepalive, MessageKind, Role, deflate};

const ROUNDS: usize = 7;

struct Case {
    name: &'static str,
    kind: MessageKind,
    payload_bytes: usize,
    per_read: usize,
    /// 0 is the whole batch in one read.
    read_bytes: usize,
    deflate: Option<deflate::Params>,
}

fn main() {
    let takeover = deflate::Params {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
    };
    let forgetful = deflate::Params {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        ..takeover
    };
    let case = |name, kind, payload_bytes, per_read| Case {
        name,
        kind,
        payload_bytes,
        per_read,
        read_bytes: 0,
        deflate: None,
    };
    let (text, binary) = (MessageKind::Text, MessageKind::Binary);
    for case in [
        case("binary 125 B, 1 a read", binary, 125, 1),
        case("binary 125 B, 16 a read", binary, 125, 16),
        case("text 125 B, 16 a read", text, 125, 16),
        case("binary 16 KiB, 1 a read", binary, 16 << 10, 1),
        case("text 16 KiB, 1 a read", text, 16 << 10, 1),
        Case {
            read_bytes: 128 << 10,
            ..case("binary 1 MiB, 128 KiB a read", binary, 1 << 20, 1)
        },
        Case {
            deflate: Some(takeover),
            ..case("text 1 KiB, deflate, takeover", text, 1 << 10, 16)
        },
        Case {
            deflate: Some(forgetful),
            ..case("text 1 KiB, deflate, none", text, 1 << 10, 16)
        },
    ] {
        let best = (0..ROUNDS)
            .map(|_| round(&case))
            .fold(f64::INFINITY, f64::min);
        println!("{:32} {best:10.1} ns a message", case.name);
    }
}

/// Nanoseconds a message.
fn round(case: &Case) -> f64 {
    let config = Arc::new(Config::default());
    let now = Instant::from_millis(0);
    let connection = |role| {
        Connection::new(
            role,
            config.clone(),
            Keepalive::default(),
            case.deflate,
            now,
            1,
        )
    };
    let mut server = connection(Role::Server);
    let words = b"{\"room\":\"harbour\",\"user\":4711,\"text\":\"moored at quay 7\"} ";
    let payload: Vec<u8> = words
        .iter()
        .copied()
        .cycle()
        .take(case.payload_bytes)
        .collect();
    let batches = (40_000_000 / (case.payload_bytes * case.per_read + 2_000)).clamp(4, 20_000);

    // Sent ahead, so that only the server's side is timed.
    let mut client = connection(Role::Client);
    let (mut scratch, mut out, mut spent) = (Vec::new(), Vec::new(), 0);
    for _ in 0..batches {
        scratch.clear();
        for _ in 0..case.per_read {
            client
                .send(case.kind, &payload, &mut scratch)
                .expect("open");
        }
        let read_bytes = if case.read_bytes == 0 {
            scratch.len()
        } else {
            case.read_bytes
        };
        let start = Clock::now();
        let mut echoed = 0;
        for read in scratch.chunks_mut(read_bytes) {
            echoed += echo(&mut server, read, &payload, now, &mut out);
        }
        spent += start.elapsed().as_nanos();
        assert_eq!(echoed, case.per_read);
        black_box(&out);
        out.clear();
    }
    spent as f64 / (batches * case.per_read) as f64
}

/// Echoes what a read holds. What is sent is the known payload: the one
/// received is borrowed from the connection.
fn echo(
    server: &mut Connection,
    read: &mut [u8],
    payload: &[u8],
    now: Instant,
    out: &mut Vec<u8>,
) -> usize {
    let mut input = Input::new(read);
    let mut echoed = 0;
    while let Some(event) = server.receive(&mut input, now, out) {
        let message = event.message().expect("only messages are sent");
        let kind = message.kind();
        assert_eq!(black_box(message.payload()).len(), payload.len());
        server.send(kind, payload, out).expect("open");
        echoed += 1;
    }
    echoed
}
