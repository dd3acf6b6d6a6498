//! The compressor of one direction. Its state, 371 KiB with a window of 15
//! bits, is made with the first message that is worth it; without context
//! takeover it goes back after each.

use flate2::{Compress, Compression, FlushCompress};

use super::{Direction, TAIL, spare};

/// Room that zlib wants at least, so that a flush is never split.
const SPARE_BYTES_MIN: usize = 64;

pub(crate) struct Compressor {
    direction: Direction,
    level: u32,
    state: Option<Compress>,
}

impl Compressor {
    pub(crate) fn new(direction: Direction, level: u32) -> Self {
        Self {
            direction,
            level: level.min(9),
            state: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn holds_state(&self) -> bool {
        self.state.is_some()
    }

    /// Appends the compressed message to `out`, without its tail (RFC 7692,
    /// section 7.2.1).
    pub(crate) fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let Direction {
            window_bits,
            takeover,
        } = self.direction;
        let state = self.state.get_or_insert_with(|| {
            spare::take_compress(window_bits, self.level).unwrap_or_else(|| {
                Compress::new_with_window_bits(Compression::new(self.level), false, window_bits)
            })
        });
        let mut rest = payload;
        loop {
            out.reserve(rest.len() + SPARE_BYTES_MIN);
            let before = state.total_in();
            state
                .compress_vec(rest, out, FlushCompress::Sync)
                .expect("a compressor between its start and its end takes any bytes");
            rest = &rest[(state.total_in() - before) as usize..];
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
        debug_assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        if !takeover && let Some(state) = self.state.take() {
            spare::keep_compress(state, window_bits, self.level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::{Direction, Inflater};

    #[test]
    fn a_message_appends_to_what_is_there_and_keeps_to_its_window() {
        let long: Vec<u8> = (0..200_000_u32)
            .flat_map(|n| (n % 1_009).to_le_bytes())
            .collect();
        for window_bits in 9..=15 {
            for level in [0, 1, 6, 9, 99] {
                let direction = Direction {
                    window_bits,
                    takeover: true,
                };
                let mut compressor = Compressor::new(direction, level);
                let mut inflater = Inflater::new(direction);
                for payload in [&long[..], b"short", &long[..70_000]] {
                    let mut out = b"before".to_vec();
                    compressor.compress(payload, &mut out);
                    let mut found = Vec::new();
                    let inflated = inflater.inflate(&out[6..], &mut found, payload.len());
                    assert_eq!(inflated, Ok(()));
                    assert_eq!(inflater.finish(&mut found, payload.len()), Ok(()));
                    assert!(found == payload, "{window_bits} bits, level {level}");
                }
            }
        }
    }
}
