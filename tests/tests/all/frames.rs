//! Frames that break a rule, each on a session of its own: the close code on the wire, then the FIN.

use std::time::Duration;

use wharf_tests::deadline::scenario;
use wharf_tests::figure::figure;
use wharf_tests::frame::{Frame, MASK, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::Peer;
use wharf_tests::server::start;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;

/// Something that a peer must not send, and the code that it must get for it.
pub(crate) struct Offence {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) code: u16,
}

fn offence(name: impl Into<String>, code: u16, frames: &[Frame]) -> Offence {
    let bytes = frames
        .iter()
        .flat_map(|frame| frame.encode(Some(MASK)))
        .collect();
    Offence {
        name: name.into(),
        bytes,
        code,
    }
}

/// Sends each offence on a session of its own and asserts the close.
pub(crate) async fn punished(address: std::net::SocketAddr, offences: &[Offence]) {
    for Offence { name, bytes, code } in offences {
        let mut peer = Peer::connect(address, "/echo").await;
        peer.raw(bytes).await;
        let incoming = peer.next().await;
        match &incoming {
            wharf_tests::peer::Incoming::Frame(frame) => {
                assert_eq!(frame.opcode, opcode::CLOSE, "{name}: {frame:?}");
                assert_eq!(
                    frame.close_reason().map(|(code, _)| code),
                    Some(*code),
                    "{name}"
                );
            }
            wharf_tests::peer::Incoming::End(end) => panic!("{name}: no close frame, {end:?}"),
        }
        let _gone = peer
            .raw_or_fail(Frame::close(*code, "").encode(Some(MASK)))
            .await;
        peer.expect_eof().await;
    }
}

fn check(offences: Vec<Offence>) {
    scenario(async move {
        let server = start(&Site::echo()).await;
        punished(server.address, &offences).await;
        Peer::connect(server.address, "/echo")
            .await
            .expect_echo("served on")
            .await;
    });
}

/// Unmasked frames of every kind.
pub(crate) fn unmasked() -> Vec<Offence> {
    [
        Frame::text("hi"),
        Frame::binary([1]),
        Frame::text(""),
        Frame::ping("p"),
        Frame::pong(""),
        Frame::close(1000, ""),
    ]
    .into_iter()
    .map(|frame| Offence {
        name: format!("unmasked {frame:?}"),
        bytes: frame.encode(None),
        code: 1002,
    })
    .collect()
}

/// Reserved bits, opcodes, control and continuation rules.
pub(crate) fn broken_rules() -> Vec<Offence> {
    let mut all = reserved_bits();
    all.extend(unknown_opcodes());
    all.extend(bad_control_frames());
    all.extend(bad_continuations());
    all.extend(lying_lengths());
    all
}

fn reserved_bits() -> Vec<Offence> {
    let mut all = Vec::new();
    for bits in 1..=7 {
        for frame in [
            Frame::text("hi"),
            Frame::binary([1]),
            Frame::ping(""),
            Frame::close(1000, ""),
        ] {
            all.push(offence(
                format!("reserved {bits:03b} {frame:?}"),
                1002,
                &[frame.rsv(bits)],
            ));
        }
    }
    all
}

fn unknown_opcodes() -> Vec<Offence> {
    [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
        .into_iter()
        .map(|code| offence(format!("opcode {code}"), 1002, &[Frame::new(code, "x")]))
        .collect()
}

fn bad_control_frames() -> Vec<Offence> {
    vec![
        offence("fragmented ping", 1002, &[Frame::ping("p").unfinished()]),
        offence("fragmented pong", 1002, &[Frame::pong("p").unfinished()]),
        offence(
            "fragmented close",
            1002,
            &[Frame::close(1000, "").unfinished()],
        ),
        offence("ping of 126", 1002, &[Frame::ping([0; 126])]),
        offence("pong of 126", 1002, &[Frame::pong([0; 126])]),
        offence("close of 126", 1002, &[Frame::close(1000, [b'r'; 124])]),
        offence("close of 1", 1002, &[Frame::new(opcode::CLOSE, [3])]),
    ]
}

fn bad_continuations() -> Vec<Offence> {
    vec![
        offence("nothing to continue", 1002, &[Frame::continuation("x")]),
        offence(
            "nothing to continue, unfinished",
            1002,
            &[Frame::continuation("x").unfinished()],
        ),
        offence(
            "text in text",
            1002,
            &[Frame::text("a").unfinished(), Frame::text("b")],
        ),
        offence(
            "binary in text",
            1002,
            &[Frame::text("a").unfinished(), Frame::binary([1])],
        ),
        offence(
            "text in binary",
            1002,
            &[
                Frame::binary([1]).unfinished(),
                Frame::text("b").unfinished(),
            ],
        ),
    ]
}

fn lying_lengths() -> Vec<Offence> {
    let declared = |length: u64| Offence {
        name: format!("declares {length}"),
        bytes: Frame::binary([]).encode_declaring(length, Some(MASK)),
        code: 1009,
    };
    let mut high_bit = declared(1 << 63);
    high_bit.code = 1002;
    vec![
        declared((1 << 20) + 1),
        declared(1 << 32),
        declared(1 << 62),
        high_bit,
    ]
}

/// Text that is no UTF-8, as early as it can be known.
pub(crate) fn bad_utf8() -> Vec<Offence> {
    let bad: [&[u8]; 9] = [
        b"\xff",
        b"a\x80",
        b"\xc0\xaf",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"ok \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xf8\x88\x80\x80\x80",
    ];
    let mut all = Vec::new();
    for bytes in bad {
        all.push(offence(
            format!("{bytes:x?} whole"),
            1007,
            &[Frame::text(bytes)],
        ));
        all.push(offence(
            format!("{bytes:x?} in an unfinished message"),
            1007,
            &[Frame::text(bytes).unfinished()],
        ));
        let mut split = vec![Frame::text("").unfinished()];
        split.extend(
            bytes
                .iter()
                .map(|&byte| Frame::continuation([byte]).unfinished()),
        );
        all.push(offence(format!("{bytes:x?} split"), 1007, &split));
        let mut reason = Frame::close(1000, bytes);
        reason.payload.truncate(125);
        all.push(offence(format!("{bytes:x?} as a reason"), 1007, &[reason]));
        let half = Frame::text([bytes, b"this never comes"].concat()).encode(Some(MASK));
        let cut = half.len() - b"this never comes".len();
        all.push(Offence {
            name: format!("{bytes:x?} in half a frame"),
            bytes: half[..cut].to_vec(),
            code: 1007,
        });
    }
    for bytes in [b"\xce".as_slice(), b"\xe1\xbd", b"a\xf0\x9f\x98"] {
        all.push(offence(
            format!("{bytes:x?} ends too early"),
            1007,
            &[Frame::text(bytes)],
        ));
        let parts = [Frame::text(bytes).unfinished(), Frame::continuation("")];
        all.push(offence(
            format!("{bytes:x?} ends too early, in parts"),
            1007,
            &parts,
        ));
        all.push(offence(
            format!("{bytes:x?} ends a reason too early"),
            1007,
            &[Frame::close(1000, bytes)],
        ));
    }
    all
}

#[test]
fn unmasked_frames_are_protocol_errors() {
    covers("frames.unmasked");
    check(unmasked());
}

#[test]
fn reserved_bits_are_protocol_errors() {
    covers("frames.reserved-bits");
    check(reserved_bits());
}

#[test]
fn unknown_opcodes_are_protocol_errors() {
    covers("frames.opcode");
    check(unknown_opcodes());
}

#[test]
fn control_frames_are_whole_and_short() {
    covers("frames.control");
    check(bad_control_frames());
}

#[test]
fn continuations_stand_in_their_place() {
    covers("frames.continuation");
    check(bad_continuations());
}

#[test]
fn a_message_in_parts_with_control_frames_between_is_joined() {
    covers("frames.continuation");
    covers("frames.control");
    scenario(async {
        let server = start(&Site::echo()).await;
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.send(Frame::text("Hä").unfinished()).await;
        peer.send(Frame::ping([7; 125])).await;
        assert_eq!(peer.frame().await, Frame::pong([7; 125]));
        peer.send(Frame::pong("nobody asked")).await;
        peer.send(Frame::continuation("").unfinished()).await;
        // A character split over two frames.
        peer.send(Frame::continuation([0xe2, 0x82]).unfinished())
            .await;
        peer.send(Frame::continuation([0xac])).await;
        peer.expect_text("Hä€").await;
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            peer.send_binary(payload.clone()).await;
            peer.expect_binary(&payload).await;
        }
        peer.leave(1000).await;
    });
}

#[test]
fn close_codes_that_must_not_be_sent_are_protocol_errors() {
    covers("frames.close-code");
    let bad = [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65_535,
    ];
    check(
        bad.into_iter()
            .map(|code| offence(format!("code {code}"), 1002, &[Frame::close(code, "")]))
            .collect(),
    );
}

#[test]
fn close_codes_that_may_be_sent_come_back() {
    covers("frames.close-code");
    scenario(async {
        let server = start(&Site::echo()).await;
        for code in (1000..=1003)
            .chain(1007..=1014)
            .chain([3000, 3999, 4000, 4999])
        {
            Peer::connect(server.address, "/echo")
                .await
                .leave(code)
                .await;
        }
    });
}

#[test]
fn bad_text_ends_within_the_frame_that_broke_it() {
    covers("frames.utf8");
    check(bad_utf8());
}

#[test]
fn text_is_any_unicode() {
    covers("frames.utf8");
    scenario(async {
        let server = start(&Site::echo()).await;
        let mut peer = Peer::connect(server.address, "/echo").await;
        for text in [
            "",
            "\0",
            "κόσμε",
            "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
            "\u{d7ff}\u{e000}\u{feff}",
        ] {
            peer.expect_echo(text).await;
            // The same again, each byte in a frame of its own.
            peer.send(Frame::text("").unfinished()).await;
            for byte in text.bytes() {
                peer.send(Frame::continuation([byte]).unfinished()).await;
            }
            peer.send(Frame::continuation("")).await;
            peer.expect_text(text).await;
        }
    });
}

#[test]
fn frames_and_messages_have_a_limit() {
    covers("frames.too-big");
    covers("settings.max-frame");
    covers("settings.max-message");
    scenario(async {
        let small_frames = Mount::new("/echo", "echo")
            .shared()
            .websocket("max_frame_bytes", 1_000);
        let server = start(&Site::new().mount(small_frames)).await;
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.send_binary([0; 1_000]).await;
        peer.expect_binary(&[0; 1_000]).await;
        peer.send(Frame::binary([1; 1_000]).unfinished()).await;
        peer.send(Frame::continuation([1; 1_000])).await;
        peer.expect_binary(&[1; 2_000]).await;
        punished(
            server.address,
            &[offence("frame", 1009, &[Frame::binary([0; 1_001])])],
        )
        .await;

        let small_messages = Mount::new("/echo", "echo")
            .shared()
            .websocket("max_message_bytes", 1_000);
        let server = start(&Site::new().mount(small_messages)).await;
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.send_binary([0; 1_000]).await;
        peer.expect_binary(&[0; 1_000]).await;
        let joined = [
            Frame::binary([0; 600]).unfinished(),
            Frame::continuation([0; 401]).unfinished(),
        ];
        punished(
            server.address,
            &[
                offence("message", 1009, &[Frame::binary([0; 1_001])]),
                offence("joined", 1009, &joined),
            ],
        )
        .await;
    });
}

#[test]
fn a_message_of_1_mib_is_the_largest_by_default() {
    covers("settings.max-message");
    covers("frames.too-big");
    check(vec![
        offence(
            "a byte more",
            1009,
            &[Frame::binary(vec![0; (1 << 20) + 1])],
        ),
        offence(
            "joined",
            1009,
            &[
                Frame::binary(vec![0; 1 << 20]).unfinished(),
                Frame::continuation([0]),
            ],
        ),
    ]);
}

#[test]
fn a_declared_length_over_the_limit_ends_at_the_header() {
    covers("frames.declared-length");
    check(lying_lengths());
}

#[test]
fn a_message_comes_in_4096_fragments_at_most() {
    covers("frames.fragments");
    scenario(async {
        let server = start(&Site::echo()).await;
        let parts = |count: usize| {
            let mut bytes = Frame::text("").unfinished().encode(Some(MASK));
            for _ in 2..count {
                bytes.extend(Frame::continuation("x").unfinished().encode(Some(MASK)));
            }
            bytes
        };
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.raw(parts(4_096)).await;
        peer.send(Frame::continuation("x")).await;
        peer.expect_text(&"x".repeat(4_095)).await;
        let mut peer = Peer::connect(server.address, "/echo").await;
        let _gone = peer.raw_or_fail(parts(4_098)).await;
        peer.expect_closed(1008).await;
    });
}

#[test]
fn a_message_has_a_time_from_first_to_last() {
    covers("frames.duration");
    scenario(async {
        let hasty = Mount::new("/echo", "echo")
            .shared()
            .websocket("message_duration_max", "300ms");
        let server = start(&Site::new().mount(hasty)).await;
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.send(Frame::text("a").unfinished()).await;
        peer.expect_closed(1008).await;
        // A single frame that dribbles in counts too.
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.raw(&Frame::text("slow").encode(Some(MASK))[..7]).await;
        peer.expect_closed(1008).await;
        // Messages that are complete do not.
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.expect_echo("one").await;
        peer.expect_silence(Duration::from_millis(600)).await;
        peer.expect_echo("two").await;
    });
}

#[test]
fn what_comes_behind_the_handshake_is_delivered() {
    covers("peer.read-ahead");
    covers("session.messages");
    scenario(async {
        let server = start(&Site::echo().workers(2)).await;
        for count in [1, 2, 100] {
            let mut bytes = Head::upgrade("/echo").bytes();
            for number in 0..count {
                bytes.extend(Frame::text(format!("message {number}")).encode(Some(MASK)));
            }
            let mut http = wharf_tests::peer::HttpPeer::over(Stream::tcp(server.address).await);
            http.send(bytes).await;
            let response = http.response().await.unwrap();
            assert_eq!(response.status, 101);
            let mut peer = http.upgraded(response);
            for number in 0..count {
                peer.expect_text(&format!("message {number}")).await;
            }
            peer.leave(1000).await;
        }
        figure(
            "peer.read-ahead",
            "103 of 103 messages in the handshake's own packets delivered",
        );
    });
}
