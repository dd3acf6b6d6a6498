//! Streams of frames, mostly good, for the properties to try.

use proptest::prelude::*;

/// One frame as it will be written.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(first: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            first,
            payload: payload.into(),
        }
    }

    /// Appends the frame as a client writes it: masked.
    pub(crate) fn write(&self, stream: &mut Vec<u8>) {
        let key = [0x5a, 0xc3, 0x0f, 0x99];
        self.write_start(0x80, stream);
        stream.extend(key);
        let masked = self.payload.iter().zip(key.iter().cycle());
        stream.extend(masked.map(|(byte, key)| byte ^ key));
    }

    /// Appends the frame as a server writes it.
    fn write_plain(&self, stream: &mut Vec<u8>) {
        self.write_start(0, stream);
        stream.extend(&self.payload);
    }

    fn write_start(&self, mask: u8, stream: &mut Vec<u8>) {
        stream.push(self.first);
        match self.payload.len() {
            short @ 0..=125 => stream.push(mask | short as u8),
            medium @ 126..=0xffff => {
                stream.push(mask | 126);
                stream.extend((medium as u16).to_be_bytes());
            }
            long => {
                stream.push(mask | 127);
                stream.extend((long as u64).to_be_bytes());
            }
        }
    }
}

/// What a client sends.
pub(crate) fn stream(frames: &[Frame]) -> Vec<u8> {
    let mut stream = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut stream));
    stream
}

/// What a server sends.
pub(crate) fn plain_stream(frames: &[Frame]) -> Vec<u8> {
    let mut stream = Vec::new();
    frames
        .iter()
        .for_each(|frame| frame.write_plain(&mut stream));
    stream
}

/// A message in one frame or several, perhaps with a ping in between.
pub(crate) fn message() -> impl Strategy<Value = Vec<Frame>> {
    let text = "[a-zκ€😀]{0,60}".prop_map(|text| (0x01, text.into_bytes()));
    let binary = prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (0x02, bytes));
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let control = prop::option::of((0x89_u8..=0x8a, prop::collection::vec(any::<u8>(), 0..126)));
    (prop_oneof![text, binary], cuts, control).prop_map(|((opcode, payload), cuts, control)| {
        let mut cuts: Vec<usize> = cuts
            .iter()
            .map(|cut| cut.index(payload.len() + 1))
            .collect();
        cuts.sort_unstable();
        let mut frames = Vec::new();
        let mut start = 0;
        for cut in cuts {
            let first = if frames.is_empty() { opcode } else { 0x00 };
            frames.push(Frame::new(first, &payload[start..cut]));
            start = cut;
        }
        let first = if frames.is_empty() { opcode } else { 0x00 };
        frames.push(Frame::new(0x80 | first, &payload[start..]));
        if let Some((first, payload)) = control {
            frames.insert(frames.len() / 2, Frame::new(first, payload));
        }
        frames
    })
}

/// The last frames of a stream: what ends it, or nothing.
pub(crate) fn last() -> impl Strategy<Value = Vec<Frame>> {
    let close = |code: u16, reason: &[u8]| {
        vec![Frame::new(0x88, [&code.to_be_bytes()[..], reason].concat())]
    };
    prop_oneof![
        Just(Vec::new()),
        Just(vec![Frame::new(0x88, Vec::new())]),
        Just(close(1000, b"bye")),
        Just(close(4_999, "κόσμε".as_bytes())),
        Just(close(1005, b"")),
        Just(close(999, b"")),
        Just(close(2_000, b"")),
        Just(close(1000, b"\xff")),
        Just(vec![Frame::new(0x88, [3])]),
        Just(vec![Frame::new(0x83, b"?".to_vec())]),
        Just(vec![Frame::new(0x8b, Vec::new())]),
        Just(vec![Frame::new(0x09, Vec::new())]),
        Just(vec![Frame::new(0x89, vec![0; 126])]),
        Just(vec![Frame::new(0xc1, b"x".to_vec())]),
        Just(vec![Frame::new(0x92, b"x".to_vec())]),
        Just(vec![Frame::new(0x80, b"x".to_vec())]),
        Just(vec![
            Frame::new(0x01, b"x".to_vec()),
            Frame::new(0x81, b"y".to_vec())
        ]),
        Just(vec![Frame::new(0x81, b"\xed\xa0\x80".to_vec())]),
        Just(vec![Frame::new(0x81, b"cut \xe2\x82".to_vec())]),
        Just(vec![
            Frame::new(0x01, b"\xf0\x9f".to_vec()),
            Frame::new(0x80, b"\x98".to_vec())
        ]),
        Just(vec![
            Frame::new(0x01, b"\xf4".to_vec()),
            Frame::new(0x00, b"\x90".to_vec())
        ]),
        Just(vec![Frame::new(0x82, vec![0; 3_000])]),
        Just(vec![
            Frame::new(0x02, vec![0; 1_500]),
            Frame::new(0x80, vec![0; 1_500])
        ]),
    ]
}
