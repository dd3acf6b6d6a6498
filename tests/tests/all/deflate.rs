//! permessage-deflate (RFC 7692): what is agreed on, and that both sides then hold to it.

use wharf_tests::deadline::scenario;
use wharf_tests::deflate::{Deflater, Inflater, message};
use wharf_tests::figure::figure;
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::Peer;
use wharf_tests::server::start;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
/// RSV1: this message is deflated.
const DEFLATED: u8 = 4;

async fn offered(address: std::net::SocketAddr, offer: &str) -> Peer {
    let head = Head::upgrade("/echo").header(EXTENSIONS, offer);
    Peer::open(Stream::tcp(address).await, &head).await
}

/// The parameters agreed on, sorted; `None` when there is no extension.
fn agreed(peer: &Peer) -> Option<Vec<String>> {
    let value = peer.response.header("sec-websocket-extensions")?;
    let mut parts: Vec<String> = value
        .split(';')
        .map(|part| part.trim().to_owned())
        .collect();
    assert_eq!(parts.remove(0), "permessage-deflate");
    parts.sort();
    Some(parts)
}

/// The value of a parameter agreed on.
fn parameter(peer: &Peer, name: &str) -> Option<u8> {
    agreed(peer)?
        .iter()
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

fn flag(peer: &Peer, name: &str) -> bool {
    agreed(peer).is_some_and(|parts| parts.iter().any(|part| part == name))
}

/// Text that has no repetition nearer than 300 bytes, then itself again and again.
fn compressible(bytes: usize) -> String {
    let block: String = (0..300_u32)
        .map(|at| char::from(b'!' + (at * at % 89) as u8))
        .collect();
    block.chars().cycle().take(bytes).collect()
}

async fn echoes(
    peer: &mut Peer,
    deflater: &mut Deflater,
    inflater: &mut Inflater,
    text: &str,
) -> usize {
    peer.send(Frame::text(deflater.message(text.as_bytes())).rsv(DEFLATED))
        .await;
    let frame = peer.message().await;
    assert_eq!(
        (frame.opcode, frame.rsv),
        (opcode::TEXT, DEFLATED),
        "a long text comes back deflated"
    );
    assert_eq!(
        String::from_utf8(inflater.message(&frame.payload)).unwrap(),
        text
    );
    frame.payload.len()
}

/// An echo route that keeps contexts from one message to the next.
fn keeping() -> Site {
    let mount = Mount::new("/echo", "echo").shared();
    Site::new().mount(mount.websocket("compression_context_takeover", true))
}

#[test]
fn windows_of_9_to_15_bits_are_agreed_on_and_kept() {
    covers("deflate.window-bits");
    scenario(async {
        let server = start(&keeping()).await;
        for bits in 9..=15 {
            let offer = format!(
                "permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}"
            );
            let mut peer = offered(server.address, &offer).await;
            let server_bits = parameter(&peer, "server_max_window_bits").unwrap();
            assert!((9..=bits).contains(&server_bits), "{:?}", peer.response);
            let client_bits = parameter(&peer, "client_max_window_bits").unwrap_or(15);
            assert!((9..=15).contains(&client_bits), "{:?}", peer.response);
            let (mut deflater, mut inflater) =
                (Deflater::new(client_bits.min(bits)), Inflater::new(bits));
            for length in [1_000, 5_000, 200_000] {
                echoes(
                    &mut peer,
                    &mut deflater,
                    &mut inflater,
                    &compressible(length),
                )
                .await;
            }
            peer.leave(1000).await;
        }
    });
}

#[test]
fn context_is_kept_or_not_as_agreed() {
    covers("deflate.context-takeover");
    scenario(async {
        let server = start(&keeping()).await;
        let text = compressible(300);

        let mut peer = offered(server.address, "permessage-deflate").await;
        assert!(
            !flag(&peer, "server_no_context_takeover")
                && !flag(&peer, "client_no_context_takeover")
        );
        let (mut deflater, mut inflater) = (Deflater::new(15), Inflater::new(15));
        let first = echoes(&mut peer, &mut deflater, &mut inflater, &text).await;
        let second = echoes(&mut peer, &mut deflater, &mut inflater, &text).await;
        assert!(
            second < first / 2,
            "the second is a reference to the first: {first}, then {second} bytes"
        );

        let mut peer = offered(
            server.address,
            "permessage-deflate; server_no_context_takeover",
        )
        .await;
        assert!(flag(&peer, "server_no_context_takeover"));
        let mut deflater = Deflater::new(15);
        for _ in 0..3 {
            echoes(&mut peer, &mut deflater, &mut Inflater::new(15), &text).await;
        }

        let mut peer = offered(
            server.address,
            "permessage-deflate; client_no_context_takeover",
        )
        .await;
        assert!(flag(&peer, "client_no_context_takeover"));
        let mut inflater = Inflater::new(15);
        for _ in 0..3 {
            echoes(&mut peer, &mut Deflater::new(15), &mut inflater, &text).await;
        }

        // Contexts cost memory: unless the route wants them, none are kept.
        let server = start(&Site::echo()).await;
        let mut peer = offered(server.address, "permessage-deflate").await;
        assert!(flag(&peer, "server_no_context_takeover"));
        assert!(flag(&peer, "client_no_context_takeover"));
        for _ in 0..3 {
            echoes(
                &mut peer,
                &mut Deflater::new(15),
                &mut Inflater::new(15),
                &text,
            )
            .await;
        }
    });
}

#[test]
fn deflated_messages_obey_the_rules_of_messages() {
    covers("deflate.context-takeover");
    covers("frames.utf8");
    covers("frames.reserved-bits");
    scenario(async {
        let server = start(&Site::echo()).await;
        let mut peer = offered(server.address, "permessage-deflate").await;
        // In fragments, split anywhere, with a ping between; then one that is not deflated at all.
        let deflated = message(compressible(1_000).as_bytes());
        let (head, tail) = deflated.split_at(7);
        peer.send(Frame::text(head).rsv(DEFLATED).unfinished())
            .await;
        peer.send(Frame::ping("p")).await;
        peer.send(Frame::continuation(tail)).await;
        assert_eq!(peer.frame().await, Frame::pong("p"));
        let frame = peer.message().await;
        assert_eq!(
            Inflater::new(15).message(&frame.payload),
            compressible(1_000).as_bytes()
        );
        peer.send_text("").await;
        peer.expect_text("").await;

        for (name, frames, code) in [
            (
                "text that is no UTF-8",
                vec![Frame::text(message(b"a\xff")).rsv(DEFLATED)],
                1007,
            ),
            (
                "no deflate stream",
                vec![Frame::text([0xff; 20]).rsv(DEFLATED)],
                1007,
            ),
            (
                "RSV1 on a continuation",
                vec![
                    Frame::text("").rsv(DEFLATED).unfinished(),
                    Frame::continuation("x").rsv(DEFLATED),
                ],
                1002,
            ),
            ("RSV1 on a ping", vec![Frame::ping("").rsv(DEFLATED)], 1002),
            ("RSV2", vec![Frame::text("").rsv(2)], 1002),
        ] {
            let mut peer = offered(server.address, "permessage-deflate").await;
            for frame in frames {
                let _gone = peer.raw_or_fail(frame.encode(peer.key)).await;
            }
            let reason = peer.expect_closed(code).await;
            assert!(reason.len() <= 123, "{name}");
        }
    });
}

#[test]
fn compression_can_be_switched_off() {
    covers("deflate.declined");
    scenario(async {
        let off = Mount::new("/echo", "echo")
            .shared()
            .websocket("compression", false);
        let server = start(&Site::new().mount(off)).await;
        let mut peer = offered(server.address, "permessage-deflate").await;
        assert_eq!(agreed(&peer), None);
        peer.expect_echo(&compressible(1_000)).await;
    });
}

/// Offers that cannot be met.
const BAD: &[&str] = &[
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=0",
    "permessage-deflate; server_max_window_bits=015",
    "permessage-deflate; server_max_window_bits=-9",
    "permessage-deflate; server_max_window_bits=99999999999999999999",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=x",
    "permessage-deflate; client_max_window_bits=16",
    "permessage-deflate; client_max_window_bits=7",
    "permessage-deflate; client_max_window_bits=",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_no_context_takeover=true",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits=10; server_max_window_bits=11",
    "permessage-deflate; unknown",
    "permessage-deflate; mystery=1",
    "permessage-deflat",
    "x-webkit-deflate-frame",
    "permessage-bzip2",
    "permessage-deflate;",
    "permessage-deflate; =",
    "; permessage-deflate",
    ";;;",
    ",",
    "\"permessage-deflate\"",
];

#[test]
fn an_offer_that_cannot_be_met_is_declined() {
    covers("deflate.declined");
    covers("peer.deflate-parameters");
    scenario(async {
        let server = start(&Site::echo()).await;
        for offer in BAD {
            let mut peer = offered(server.address, offer).await;
            assert_eq!(agreed(&peer), None, "{offer}");
            peer.expect_echo(&compressible(1_000)).await;
            // What was declined must not be used.
            peer.send(Frame::text(message(b"x")).rsv(DEFLATED)).await;
            peer.expect_closed(1002).await;
            // A second offer that can be met is taken.
            let both = format!("{offer}, permessage-deflate; server_max_window_bits=10");
            if !offer.contains([';', '"'])
                || offer.starts_with("permessage-deflate; ") && !offer.ends_with('=')
            {
                let peer = offered(server.address, &both).await;
                assert_eq!(
                    parameter(&peer, "server_max_window_bits"),
                    Some(10),
                    "{both}"
                );
            }
        }
        figure(
            "peer.deflate-parameters",
            format!(
                "{} of {} bad offers declined with 101",
                BAD.len(),
                BAD.len()
            ),
        );
    });
}
