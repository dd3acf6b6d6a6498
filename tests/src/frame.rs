//! WebSocket frames as bytes, written and read without any rule (RFC 6455, section 5.2).
//!
//! Never shares code with `wharf-protocol` and never refuses to encode something: a test has to be
//! able to send what no correct peer would.

/// Opcodes of RFC 6455, section 11.8.
pub mod opcode {
    /// A further fragment of the message under way.
    pub const CONTINUATION: u8 = 0x0;
    /// A text message or its first fragment.
    pub const TEXT: u8 = 0x1;
    /// A binary message or its first fragment.
    pub const BINARY: u8 = 0x2;
    /// The closing handshake.
    pub const CLOSE: u8 = 0x8;
    /// A ping.
    pub const PING: u8 = 0x9;
    /// A pong.
    pub const PONG: u8 = 0xA;
}

/// The masking key of every frame that a test does not say otherwise about.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame, its payload in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The FIN bit.
    pub fin: bool,
    /// The three reserved bits, RSV1 the highest: 0 to 7.
    pub rsv: u8,
    /// 0 to 15; see [`opcode`].
    pub opcode: u8,
    /// Whether the frame was masked when it was read. Writing takes the key as an argument.
    pub masked: bool,
    /// Payload, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole frame with the opcode given.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            fin: true,
            rsv: 0,
            opcode,
            masked: false,
            payload: payload.into(),
        }
    }

    /// A whole text message.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::new(opcode::TEXT, text.as_ref())
    }

    /// A whole binary message.
    pub fn binary(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(opcode::BINARY, bytes)
    }

    /// A continuation frame, the last one unless [`Frame::unfinished`] follows.
    pub fn continuation(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(opcode::CONTINUATION, bytes.as_ref())
    }

    /// A ping.
    pub fn ping(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(opcode::PING, bytes.as_ref())
    }

    /// A pong.
    pub fn pong(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(opcode::PONG, bytes.as_ref())
    }

    /// A close frame with any code, valid or not.
    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_ref());
        Self::new(opcode::CLOSE, payload)
    }

    /// A close frame without a code.
    pub fn close_empty() -> Self {
        Self::new(opcode::CLOSE, Vec::new())
    }

    /// Clears the FIN bit.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// Sets the reserved bits (RSV1 is 4).
    #[must_use]
    pub fn rsv(mut self, bits: u8) -> Self {
        self.rsv = bits;
        self
    }

    /// Code and reason of a close frame; `None` when it is empty.
    pub fn close_reason(&self) -> Option<(u16, String)> {
        let code = u16::from_be_bytes(*self.payload.first_chunk()?);
        Some((
            code,
            String::from_utf8_lossy(&self.payload[2..]).into_owned(),
        ))
    }

    /// The frame's bytes, masked with the key if there is one.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        self.encode_declaring(self.payload.len() as u64, mask)
    }

    /// The frame's bytes with a length field that says `length`, whatever the payload is.
    pub fn encode_declaring(&self, length: u64, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(14 + self.payload.len());
        bytes.push(u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode);
        let mask_bit = if mask.is_some() { 0x80 } else { 0 };
        if length < 126 {
            bytes.push(mask_bit | length as u8);
        } else if length <= 0xffff {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        } else {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        match mask {
            None => bytes.extend_from_slice(&self.payload),
            Some(key) => {
                bytes.extend_from_slice(&key);
                bytes.extend(
                    self.payload
                        .iter()
                        .zip(key.iter().cycle())
                        .map(|(byte, key)| byte ^ key),
                );
            }
        }
        bytes
    }
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    at: usize,
}

impl Decoder {
    /// Adds bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes of a frame that is not complete yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// The next complete frame.
    pub fn take(&mut self) -> Option<Frame> {
        let bytes = &self.bytes[self.at..];
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, mut header) = match second & 0x7f {
            126 => (
                u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
                4,
            ),
            127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
            short => (u64::from(short), 2),
        };
        let masked = second & 0x80 != 0;
        let mut key = [0; 4];
        if masked {
            key = *bytes.get(header..)?.first_chunk()?;
            header += 4;
        }
        let end = header + usize::try_from(length).ok()?;
        let payload = bytes.get(header..end)?;
        let payload = payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        self.at += end;
        Some(Frame {
            fin: first & 0x80 != 0,
            rsv: first >> 4 & 7,
            opcode: first & 0xf,
            masked,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_in_any_chopping() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let frame = Frame::binary(vec![0xa5; length]).rsv(2).unfinished();
            for mask in [None, Some(MASK)] {
                let bytes = frame.encode(mask);
                for chunk in [1, 7, bytes.len()] {
                    let mut decoder = Decoder::default();
                    let mut frames = Vec::new();
                    for part in bytes.chunks(chunk.max(length / 64)) {
                        decoder.push(part);
                        frames.extend(decoder.take());
                    }
                    assert_eq!(
                        frames,
                        [Frame {
                            masked: mask.is_some(),
                            ..frame.clone()
                        }]
                    );
                    assert!(decoder.rest().is_empty());
                }
            }
        }
    }

    #[test]
    fn a_length_can_lie() {
        let bytes = Frame::binary([]).encode_declaring(1 << 62, Some(MASK));
        assert_eq!(bytes[..10], [0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0]);
    }
}
