//! Compares what a server sends on one connection with the script, byte by
//! byte. Pings and close frames between messages are handed out; everything
//! else that is not expected is an error that says where.

use anyhow::{Context, bail, ensure};
use flate2::{Decompress, FlushDecompress};

use crate::frames;
use crate::script::{Form, Script};

/// A control frame is at most this long (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: usize = 2 + 125;

/// What a server sent besides messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Ping(Vec<u8>),
    /// With its code; 1005 if it carried none.
    Close(u16),
}

pub(crate) struct Verifier {
    /// Where in the script's `echoed` the next byte belongs.
    position: usize,
    /// The beginning of a control frame that is still incomplete.
    control: Vec<u8>,
    inflating: Option<Box<Inflating>>,
}

struct Inflating {
    state: Decompress,
    /// The server begins each message anew.
    resets: bool,
    received: Vec<u8>,
    inflated: Vec<u8>,
}

impl Verifier {
    /// `start` is a place in the ring.
    pub(crate) fn new(script: &Script, start: usize) -> Self {
        Self {
            position: start * script.echoed_bytes,
            control: Vec::new(),
            inflating: None,
        }
    }

    /// Must be called if deflate was negotiated.
    pub(crate) fn inflate(&mut self, resets: bool) {
        self.inflating = Some(Box::new(Inflating {
            state: Decompress::new(false),
            resets,
            received: Vec::new(),
            inflated: Vec::new(),
        }));
    }

    /// Takes bytes from the server; the answer is how many messages they end.
    pub(crate) fn take(
        &mut self,
        script: &Script,
        bytes: &[u8],
        controls: &mut Vec<Control>,
    ) -> anyhow::Result<usize> {
        match self.inflating.take() {
            None => self.take_frames(script, bytes, controls),
            Some(mut inflating) => {
                let ended = self.take_deflated(script, &mut inflating, bytes, controls);
                self.inflating = Some(inflating);
                ended
            }
        }
    }

    fn take_frames(
        &mut self,
        script: &Script,
        mut bytes: &[u8],
        controls: &mut Vec<Control>,
    ) -> anyhow::Result<usize> {
        let mut ended = 0;
        while !bytes.is_empty() {
            if !self.control.is_empty() {
                bytes = self.continue_control(bytes, controls)?;
                continue;
            }
            let expected = &script.echoed[self.position..];
            let length = expected.len().min(bytes.len());
            let same = if expected[..length] == bytes[..length] {
                length
            } else {
                same_bytes(expected, bytes)
            };
            let begin = self.position / script.echoed_bytes;
            self.position += same;
            ended += self.position / script.echoed_bytes - begin;
            let at_boundary = self.position.is_multiple_of(script.echoed_bytes);
            if same < length {
                let is_control = script.form == Form::Frames && bytes[same] & 0x08 != 0;
                ensure!(
                    at_boundary && is_control,
                    "wrong byte {:#04x} instead of {:#04x}, at byte {} of an echo of {} bytes",
                    bytes[same],
                    expected[same],
                    self.position % script.echoed_bytes,
                    script.echoed_bytes
                );
                self.control.push(bytes[same]);
                bytes = &bytes[same + 1..];
            } else {
                bytes = &bytes[same..];
            }
            if self.position == script.echoed.len() {
                self.position = 0;
            }
        }
        Ok(ended)
    }

    fn continue_control<'a>(
        &mut self,
        bytes: &'a [u8],
        controls: &mut Vec<Control>,
    ) -> anyhow::Result<&'a [u8]> {
        for (index, byte) in bytes.iter().enumerate() {
            self.control.push(*byte);
            let whole = frames::parse(&self.control).is_some_and(|parsed| {
                self.control.len() == parsed.header_bytes + parsed.payload_bytes
            });
            if whole {
                controls.extend(control(&self.control)?);
                self.control.clear();
                return Ok(&bytes[index + 1..]);
            }
            ensure!(
                self.control.len() < CONTROL_BYTES_MAX,
                "a control frame of more than 125 bytes"
            );
        }
        Ok(&[])
    }

    fn take_deflated(
        &mut self,
        script: &Script,
        inflating: &mut Inflating,
        bytes: &[u8],
        controls: &mut Vec<Control>,
    ) -> anyhow::Result<usize> {
        inflating.received.extend_from_slice(bytes);
        let received = std::mem::take(&mut inflating.received);
        let mut rest = received.as_slice();
        let mut ended = 0;
        while let Some(parsed) = frames::parse(rest) {
            let length = parsed.header_bytes + parsed.payload_bytes;
            let Some(frame) = rest.get(..length) else {
                break;
            };
            rest = &rest[length..];
            if parsed.first & 0x08 != 0 {
                controls.extend(control(frame)?);
                continue;
            }
            ensure!(
                parsed.first & frames::FIN != 0,
                "a message came back in fragments"
            );
            let payload = &frame[parsed.header_bytes..];
            let message = if parsed.first & frames::DEFLATED != 0 {
                inflating.inflate(payload)?
            } else {
                payload
            };
            let expected = &script.echoed[self.position..self.position + script.echoed_bytes];
            ensure!(
                message == expected,
                "a message came back different after inflating"
            );
            self.position = (self.position + script.echoed_bytes) % script.echoed.len();
            ended += 1;
        }
        inflating.received.extend_from_slice(rest);
        Ok(ended)
    }
}

impl Inflating {
    fn inflate(&mut self, payload: &[u8]) -> anyhow::Result<&[u8]> {
        if self.resets {
            self.state.reset(false);
        }
        self.inflated.clear();
        for part in [payload, &[0, 0, 255, 255]] {
            let mut taken = 0;
            // A full buffer may hide that more is to come out.
            while taken < part.len() || self.inflated.len() == self.inflated.capacity() {
                self.inflated.reserve(4096);
                let before = (self.state.total_in(), self.state.total_out());
                self.state
                    .decompress_vec(&part[taken..], &mut self.inflated, FlushDecompress::Sync)
                    .context("inflating a message")?;
                let after = (self.state.total_in(), self.state.total_out());
                taken += (after.0 - before.0) as usize;
                if before == after {
                    ensure!(taken == part.len(), "a deflated message does not go on");
                    break;
                }
            }
        }
        Ok(&self.inflated)
    }
}

/// How many bytes from the start are the same.
fn same_bytes(expected: &[u8], bytes: &[u8]) -> usize {
    expected
        .iter()
        .zip(bytes)
        .take_while(|(a, b)| a == b)
        .count()
}

fn control(frame: &[u8]) -> anyhow::Result<Option<Control>> {
    let payload = &frame[2..];
    Ok(match frame[0] & 0x0F {
        frames::PING => Some(Control::Ping(payload.to_vec())),
        frames::PONG => None,
        frames::CLOSE if payload.len() >= 2 => {
            Some(Control::Close(u16::from_be_bytes([payload[0], payload[1]])))
        }
        frames::CLOSE => Some(Control::Close(1005)),
        opcode => bail!("a frame with the unknown opcode {opcode:#x}"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Control, Verifier};
    use crate::arguments::Messages;
    use crate::frames;
    use crate::script::{Form, Script, deflate};

    fn script() -> Script {
        let messages = Messages {
            size: 200,
            text: false,
            depth: 1,
            connections: 1,
        };
        Script::new(&messages, Form::Frames, "").expect("nothing is deflated")
    }

    #[test]
    fn the_ring_is_followed_in_any_pieces() {
        let script = script();
        for piece in [1, 3, 204, 205, 5000] {
            let mut verifier = Verifier::new(&script, 5);
            let from = 5 * script.echoed_bytes;
            let stream = [&script.echoed[from..], &script.echoed[..from]].concat();
            let mut ended = 0;
            for bytes in stream.chunks(piece) {
                ended += verifier
                    .take(&script, bytes, &mut Vec::new())
                    .expect("as expected");
            }
            assert_eq!(ended, script.count);
        }
    }

    #[test]
    fn one_wrong_byte_is_found() {
        let script = script();
        let mut bytes = script.echoed.clone();
        bytes[1000] ^= 1;
        let mut verifier = Verifier::new(&script, 0);
        let error = verifier
            .take(&script, &bytes, &mut Vec::new())
            .expect_err("a byte is wrong");
        assert!(error.to_string().starts_with("wrong byte"), "{error}");
    }

    #[test]
    fn control_frames_stand_between_messages() {
        let script = script();
        let mut bytes = script.echoed[..script.echoed_bytes].to_vec();
        bytes.extend([0x89, 2, 7, 8]);
        bytes.extend(&script.echoed[script.echoed_bytes..2 * script.echoed_bytes]);
        bytes.extend([0x88, 2, 3, 232]);
        for piece in [1, 7, 1000] {
            let (mut verifier, mut controls) = (Verifier::new(&script, 0), Vec::new());
            let mut ended = 0;
            for bytes in bytes.chunks(piece) {
                ended += verifier
                    .take(&script, bytes, &mut controls)
                    .expect("as expected");
            }
            assert_eq!(ended, 2);
            assert_eq!(controls, [Control::Ping(vec![7, 8]), Control::Close(1000)]);
        }
    }

    #[test]
    fn deflated_messages_are_inflated_and_compared() {
        let messages = Messages {
            size: 9_000,
            text: true,
            depth: 1,
            connections: 1,
        };
        let script = Script::new(&messages, Form::Deflated, "").expect("text deflates");
        let mut bytes = Vec::new();
        for payload in script.echoed.chunks(script.echoed_bytes).take(3) {
            let deflated = deflate(payload).expect("text deflates");
            let first = frames::FIN | frames::TEXT | frames::DEFLATED;
            frames::plain(first, &deflated, &mut bytes);
        }
        for (start, is_right) in [(0, true), (1, false)] {
            let mut verifier = Verifier::new(&script, start);
            verifier.inflate(false);
            let mut controls = Vec::new();
            let ended: anyhow::Result<usize> = bytes
                .chunks(100)
                .map(|bytes| verifier.take(&script, bytes, &mut controls))
                .sum();
            assert_eq!(ended.ok(), is_right.then_some(3));
        }
    }
}
