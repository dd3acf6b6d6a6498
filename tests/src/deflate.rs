//! Payloads for permessage-deflate (RFC 7692), made without the server's protocol crate.
//!
//! Never holds what it deflates: a bomb of any size is fed from one small block.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Deflates one message as section 7.2.1 says: a sync flush, its last four bytes cut off.
pub fn message(payload: &[u8]) -> Vec<u8> {
    let mut deflater = Deflater::new(15);
    deflater.message(payload)
}

/// A deflater that keeps its window over messages.
#[derive(Debug)]
pub struct Deflater(Compress);

impl Deflater {
    /// With a window of 2 to the power of `bits` bytes, 9 to 15.
    pub fn new(bits: u8) -> Self {
        Self(Compress::new_with_window_bits(
            Compression::default(),
            false,
            bits,
        ))
    }

    /// Deflates one message, its window carried over from the one before.
    pub fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.feed(payload, &mut out);
        self.finish(out)
    }

    /// Deflates `blocks` times the block as one message.
    pub fn repeated(&mut self, block: &[u8], blocks: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..blocks {
            self.feed(block, &mut out);
        }
        self.finish(out)
    }

    fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            out.reserve(4096);
            let before = self.0.total_in();
            self.0
                .compress_vec(input, out, FlushCompress::None)
                .expect("deflate takes any bytes");
            input = &input[(self.0.total_in() - before) as usize..];
        }
    }

    fn finish(&mut self, mut out: Vec<u8>) -> Vec<u8> {
        loop {
            out.reserve(4096);
            self.0
                .compress_vec(&[], &mut out, FlushCompress::Sync)
                .expect("deflate can be flushed");
            if out.len() < out.capacity() {
                break;
            }
        }
        assert!(
            out.ends_with(&[0, 0, 0xff, 0xff]),
            "a sync flush ends with an empty block"
        );
        out.truncate(out.len() - 4);
        out
    }
}

/// Zeros, `bytes` of them, as one deflated message.
pub fn bomb(bytes: usize) -> Vec<u8> {
    Deflater::new(15).repeated(&[0; 65_536], bytes / 65_536)
}

/// An inflater that keeps its window over messages.
#[derive(Debug)]
pub struct Inflater(Decompress);

impl Inflater {
    /// With a window of 2 to the power of `bits` bytes, 9 to 15.
    pub fn new(bits: u8) -> Self {
        Self(Decompress::new_with_window_bits(false, bits))
    }

    /// Inflates one message.
    pub fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut input = payload.to_vec();
        input.extend_from_slice(&[0, 0, 0xff, 0xff]);
        let mut out = Vec::new();
        let start = self.0.total_in();
        loop {
            out.reserve(4096);
            let at = (self.0.total_in() - start) as usize;
            self.0
                .decompress_vec(&input[at..], &mut out, FlushDecompress::Sync)
                .expect("the server deflates correctly");
            if (self.0.total_in() - start) as usize == input.len() && out.len() < out.capacity() {
                return out;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_with_the_window_carried_over() {
        for bits in 9..=15 {
            let (mut deflater, mut inflater) = (Deflater::new(bits), Inflater::new(bits));
            for text in ["", "Hello", "Hello", &"Hello".repeat(5000)] {
                assert_eq!(
                    inflater.message(&deflater.message(text.as_bytes())),
                    text.as_bytes()
                );
            }
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(
            message(b"Hello"),
            [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]
        );
    }

    #[test]
    fn a_bomb_is_small() {
        assert!(bomb(64 << 20).len() < 70_000);
    }
}
