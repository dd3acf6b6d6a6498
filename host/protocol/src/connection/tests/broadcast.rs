//! One message for many connections: the same bytes as if each had encoded it
//! for itself, made once where they can be shared.

use super::*;
use crate::Broadcast;
use crate::deflate::Params;

const SHARED: Params = Params {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};

fn benches(config: &Config, deflate: Option<Params>) -> (Bench, Bench) {
    let bench = || Bench::with(Role::Server, config.clone(), deflate);
    (bench(), bench())
}

/// What each of two connections writes, and how many frames were encoded for both.
fn broadcast(config: &Config, deflate: Option<Params>, payload: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut first, mut second) = benches(config, deflate);
    let mut message = Broadcast::new(MessageKind::Text, payload);
    for bench in [&mut first, &mut second] {
        let sent = bench.connection.broadcast(&mut message, &mut bench.out);
        assert_eq!(sent, Ok(()));
    }
    (vec![first.written(), second.written()], message.forms())
}

fn alone(config: &Config, deflate: Option<Params>, payload: &[u8]) -> Vec<u8> {
    let (mut bench, _) = benches(config, deflate);
    let sent = bench
        .connection
        .send(MessageKind::Text, payload, &mut bench.out);
    assert_eq!(sent, Ok(()));
    bench.written()
}

#[test]
fn a_broadcast_is_what_each_would_have_sent_and_is_made_once() {
    let config = Config::default();
    let long = "words and words ".repeat(100);
    for payload in ["", "short", &long] {
        for (deflate, forms) in [(None, 1), (Some(SHARED), 1)] {
            let (written, made) = broadcast(&config, deflate, payload.as_bytes());
            let expect = alone(&config, deflate, payload.as_bytes());
            assert_eq!(written, [expect.clone(), expect]);
            assert_eq!(made, forms);
        }
    }
}

#[test]
fn a_window_that_is_kept_is_the_connections_own() {
    let kept = Params {
        server_no_context_takeover: false,
        ..SHARED
    };
    let config = Config::default();
    let payload = "words and words ".repeat(100);
    let (written, made) = broadcast(&config, Some(kept), payload.as_bytes());
    assert_eq!(made, 0);
    for bytes in written {
        let mut client = Bench::with(Role::Client, Config::default(), Some(kept));
        assert_eq!(client.read(&bytes), [text(&payload)]);
    }
}

#[test]
fn a_mask_is_the_connections_own() {
    let config = Config {
        mask_outgoing: true,
        ..Config::default()
    };
    let (written, made) = broadcast(&config, None, b"secret");
    assert_eq!(made, 0);
    assert!(written.iter().all(|bytes| bytes.len() == 2 + 4 + 6));
}

#[test]
fn each_window_has_its_form_and_a_closed_connection_takes_none() {
    let payload = "words and words ".repeat(100);
    let mut message = Broadcast::new(MessageKind::Text, payload.as_bytes());
    for (bits, forms) in [(15, 1), (9, 2), (15, 2)] {
        let params = Params {
            server_max_window_bits: bits,
            ..SHARED
        };
        let mut bench = Bench::with(Role::Server, Config::default(), Some(params));
        let sent = bench.connection.broadcast(&mut message, &mut bench.out);
        assert_eq!((sent, message.forms()), (Ok(()), forms));
    }
    let mut bench = Bench::server();
    let (now, out) = (bench.now, &mut bench.out);
    let handler = crate::Initiator::Handler;
    bench.connection.close(1000, "", handler, now, out);
    let sent = bench.connection.broadcast(&mut message, &mut bench.out);
    assert_eq!(sent, Err(crate::SendError::Closed));
}
