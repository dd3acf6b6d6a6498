//! What is sent and what must come back, made before anything is measured: a
//! ring of different messages that every connection goes round, each from
//! another place, so that a message that reaches a wrong connection differs
//! from what is expected there.

use anyhow::Context;
use flate2::{Compress, Compression, FlushCompress};

use crate::arguments::Messages;
use crate::frames;

/// Bytes of payload in a ring, about: small enough for a processor's cache.
const RING_BYTES: usize = 1 << 20;
const RING_MESSAGES_MAX: usize = 61;
const RING_MESSAGES_MIN: usize = 3;

/// How messages look on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Frames out, and the same bytes back.
    Raw,
    /// Masked frames out, plain frames back.
    Frames,
    /// Deflated frames out; whatever inflates to the same text back.
    Deflated,
}

pub(crate) struct Script {
    pub(crate) form: Form,
    /// Messages in the ring.
    pub(crate) count: usize,
    /// Frames to send: the ring, and its beginning once more, so that `depth`
    /// messages from any place lie together.
    sent: Vec<u8>,
    /// Where each frame begins in `sent`, and where the last one ends.
    sent_at: Vec<usize>,
    /// What comes back for the ring: frames, or payloads if deflated.
    pub(crate) echoed: Vec<u8>,
    /// Bytes of `echoed` for one message.
    pub(crate) echoed_bytes: usize,
}

impl Script {
    pub(crate) fn new(messages: &Messages, form: Form, prefix: &str) -> anyhow::Result<Self> {
        let count = (RING_BYTES / messages.size.max(1)).clamp(RING_MESSAGES_MIN, RING_MESSAGES_MAX);
        let opcode = if messages.text {
            frames::TEXT
        } else {
            frames::BINARY
        };
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut ring: Vec<Vec<u8>> = Vec::new();
        let mut echoed = Vec::new();
        for number in 0..count {
            let payload = if messages.text {
                random.text(number, messages.size)
            } else {
                random.bytes(messages.size)
            };
            let mut frame = Vec::new();
            let published = [prefix.as_bytes(), &payload].concat();
            let first = frames::FIN | opcode;
            match form {
                Form::Deflated => {
                    let deflated = deflate(&published).context("deflating a message")?;
                    frames::masked(
                        first | frames::DEFLATED,
                        &deflated,
                        random.key(),
                        &mut frame,
                    );
                    echoed.extend(payload);
                }
                Form::Frames => {
                    frames::masked(first, &published, random.key(), &mut frame);
                    frames::plain(first, &payload, &mut echoed);
                }
                Form::Raw => {
                    frames::masked(first, &published, random.key(), &mut frame);
                    echoed.extend_from_slice(&frame);
                }
            }
            ring.push(frame);
        }
        let mut script = Self {
            form,
            count,
            sent: Vec::new(),
            sent_at: vec![0],
            echoed_bytes: echoed.len() / count,
            echoed,
        };
        for number in 0..count + messages.depth {
            script.sent.extend_from_slice(&ring[number % count]);
            script.sent_at.push(script.sent.len());
        }
        Ok(script)
    }

    /// The bytes of `messages` messages (at most the depth) from place `from`.
    pub(crate) fn sent(&self, from: usize, messages: usize) -> &[u8] {
        &self.sent[self.sent_at[from]..self.sent_at[from + messages]]
    }

    /// How many of the messages from place `from` are whole after `bytes`
    /// bytes, and how many bytes of the next are.
    pub(crate) fn whole(&self, from: usize, bytes: usize) -> (usize, usize) {
        let end = self.sent_at[from] + bytes;
        let place = self.sent_at.partition_point(|at| *at <= end) - 1;
        (place - from, end - self.sent_at[place])
    }

    /// Where a connection enters the ring.
    pub(crate) fn start(&self, connection: usize) -> usize {
        connection * 7 % self.count
    }
}

/// A message of RFC 7692: a deflate stream without its last four bytes.
/// It refers to no earlier message, so it is right with and without context
/// takeover.
pub(crate) fn deflate(payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(payload.len() + 64);
    compress.compress_vec(payload, &mut out, FlushCompress::Sync)?;
    anyhow::ensure!(
        compress.total_in() == payload.len() as u64 && out.ends_with(&[0, 0, 255, 255]),
        "the message did not fit its buffer"
    );
    out.truncate(out.len() - 4);
    Ok(out)
}

/// A xorshift generator: the same messages in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }

    fn key(&mut self) -> [u8; 4] {
        (self.next() as u32).to_le_bytes()
    }

    /// Text that deflates about as a chat's JSON does.
    fn text(&mut self, number: usize, size: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "harbour", "ship", "crane", "anchor", "tide", "pilot", "cargo", "rope", "night",
            "signal", "quay", "the", "and", "of", "under", "seven",
        ];
        let mut text = format!("{{\"number\":{number},\"text\":\"");
        while text.len() < size {
            let random = self.next();
            text.push_str(WORDS[(random % 16) as usize]);
            text.push_str(&format!(" {} ", random >> 54));
        }
        text.truncate(size);
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Script};
    use crate::arguments::Messages;

    fn script(form: Form) -> Script {
        let messages = Messages {
            size: 300,
            text: true,
            depth: 4,
            connections: 1,
        };
        Script::new(&messages, form, "").expect("messages deflate")
    }

    #[test]
    fn a_window_wraps_round_the_ring() {
        let script = script(Form::Frames);
        let last = script.count - 1;
        let wrapped = script.sent(last, 4);
        assert!(wrapped.ends_with(script.sent(0, 3)));
        assert_eq!(script.whole(last, wrapped.len()), (4, 0));
        assert_eq!(script.whole(last, wrapped.len() - 1).0, 3);
        assert_eq!(script.whole(last, 0), (0, 0));
    }

    #[test]
    fn messages_differ_from_each_other() {
        let script = script(Form::Raw);
        assert_ne!(script.sent(0, 1)[8..], script.sent(1, 1)[8..]);
    }
}
