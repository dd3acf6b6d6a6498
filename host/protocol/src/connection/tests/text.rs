//! UTF-8 is checked as it arrives: 1007 within the frame that broke it, at the
//! byte that broke it.

use super::*;

/// Bytes of text frames that go bad, and how many bytes of the payloads
/// arrive before it shows.
#[track_caller]
fn fails_at(frames: &[(u8, &[u8])], good_bytes: usize) {
    let whole: Vec<u8> = frames
        .iter()
        .flat_map(|(first, payload)| frame(*first, payload))
        .collect();
    let mut bench = Bench::server();
    assert_eq!(bench.read(&whole), []);
    bench.failed(1007);

    let mut bench = Bench::server();
    let mut seen = 0;
    for (first, payload) in frames {
        let bytes = frame(*first, payload);
        let header = bytes.len() - payload.len();
        assert_eq!(bench.read(&bytes[..header]), []);
        for byte in &bytes[header..] {
            assert_eq!(bench.phase(), Phase::Open, "after {seen} bytes");
            bench.read(&[*byte]);
            seen += 1;
            if seen > good_bytes {
                return bench.failed(1007);
            }
        }
    }
    bench.failed(1007);
}

#[test]
fn bad_text_in_one_frame_ends_with_1007() {
    fails_at(&[(TEXT, b"abc\xffdef")], 3);
    fails_at(&[(TEXT, b"\xed\xa0\x80")], 1);
    fails_at(&[(TEXT, b"\xf4\x90\x80\x80")], 1);
    fails_at(&[(TEXT, b"\xc0\x80")], 0);
}

#[test]
fn bad_text_split_over_fragments_ends_with_1007_in_the_fragment_that_broke_it() {
    fails_at(
        &[
            (TEXT_START, b"\xce\xba"),
            (CONTINUATION, b"\xff"),
            (CONTINUATION_END, b""),
        ],
        2,
    );
    fails_at(
        &[
            (TEXT_START, b"\xf4"),
            (CONTINUATION, b"\x90"),
            (CONTINUATION_END, b""),
        ],
        1,
    );
    fails_at(&[(TEXT_START, b"\xe2\x82"), (CONTINUATION_END, b"a")], 2);
}

#[test]
fn a_fragment_fails_before_its_end_has_arrived() {
    let bytes = frame(TEXT, b"good then \xf5 bad and much more");
    let mut bench = Bench::server();
    assert_eq!(bench.read(&bytes[..6 + 11]), []);
    bench.failed(1007);
}

#[test]
fn text_that_ends_inside_a_character_ends_with_1007() {
    fails_at(&[(TEXT, b"ab\xe2\x82")], usize::MAX);
    fails_at(
        &[(TEXT_START, b"ab\xf0\x9f"), (CONTINUATION_END, b"\x98")],
        usize::MAX,
    );
}

#[test]
fn a_character_may_be_split_anywhere() {
    let payload = "κόσμε €😀".as_bytes();
    for cut in 0..=payload.len() {
        let bytes = [
            frame(TEXT_START, &payload[..cut]),
            frame(PING, b"\xff"),
            frame(CONTINUATION_END, &payload[cut..]),
        ];
        let expected = [text("κόσμε €😀")];
        assert_eq!(Bench::server().read(&bytes.concat()), expected);
        assert_eq!(Bench::server().read_each_byte(&bytes.concat()), expected);
    }
}

#[test]
fn binary_messages_may_hold_anything() {
    let bytes = [
        frame(BINARY_START, b"\xff\xc0"),
        frame(CONTINUATION_END, b"\xf5"),
    ]
    .concat();
    assert_eq!(Bench::server().read(&bytes), [binary(b"\xff\xc0\xf5")]);
}

#[test]
fn a_close_reason_that_is_not_utf8_ends_with_1007() {
    for reason in [&b"\xff"[..], b"ok\xe2\x82", b"\xed\xa0\x80"] {
        let bytes = frame(CLOSE, &[&[3, 232], reason].concat());
        let mut bench = Bench::server();
        bench.read(&bytes);
        bench.failed(1007);
        let mut bench = Bench::server();
        bench.read_each_byte(&bytes);
        bench.failed(1007);
    }
}
