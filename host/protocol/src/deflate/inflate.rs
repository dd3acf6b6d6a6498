//! The inflater of one direction, bounded: it stops at the first byte beyond
//! what the message may have. Its state, 47 KiB with a window of 15 bits, is made with the first
//! compressed message; without context takeover it goes back after each.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Direction, TAIL, spare};
use crate::buffer::make_room;

/// Text commonly inflates to about so many times its size.
const EXPANSION: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// Not a deflate stream.
    Corrupt,
    /// More output than allowed.
    TooLong,
}

pub(crate) struct Inflater {
    direction: Direction,
    state: Option<Decompress>,
    /// Some of the message's bytes have been seen.
    fed: bool,
    /// The last byte seen was the end of a final block (RFC 7692, section
    /// 7.2.3.4 allows them); what follows starts a stream of its own.
    ended: bool,
}

impl Inflater {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            state: None,
            fed: false,
            ended: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn holds_state(&self) -> bool {
        self.state.is_some()
    }

    /// Appends what `input` inflates to, while `output` stays within
    /// `bytes_max`. After an error `output` holds what came before it.
    pub(crate) fn inflate(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), InflateError> {
        self.fed |= !input.is_empty();
        let mut rest = input;
        while !rest.is_empty() {
            rest = self.run(rest, output, bytes_max)?;
        }
        Ok(())
    }

    /// The message is over: inflates the tail that the wire left out.
    pub(crate) fn finish(
        &mut self,
        output: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), InflateError> {
        // Some peers send an empty message as no bytes instead of the one zero
        // of section 7.2.3.6; there is no block then for the tail to end.
        if self.fed && !self.ended {
            self.inflate(&TAIL, output, bytes_max)?;
        }
        self.fed = false;
        self.ended = false;
        if !self.direction.takeover
            && let Some(state) = self.state.take()
        {
            spare::keep_decompress(state, self.direction.window_bits);
        }
        Ok(())
    }

    /// Inflates until `input` is used up, with all that it gives, or until a
    /// final block ends; what is left of `input`.
    fn run<'a>(
        &mut self,
        input: &'a [u8],
        output: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<&'a [u8], InflateError> {
        let bits = self.direction.window_bits;
        let state = self.state.get_or_insert_with(|| {
            spare::take_decompress(bits)
                .unwrap_or_else(|| Decompress::new_with_window_bits(false, bits))
        });
        self.ended = false;
        let mut rest = input;
        loop {
            let (seen, made) = (state.total_in(), state.total_out());
            let full = output.len() == output.capacity();
            let wanted = if full {
                rest.len().saturating_mul(EXPANSION).max(1)
            } else {
                1
            };
            let room = make_room(output, wanted, bytes_max);
            let status = if room {
                state.decompress_vec(rest, output, FlushDecompress::None)
            } else {
                // Full: whether there is more shows in a byte of its own.
                state.decompress(rest, &mut [0], FlushDecompress::None)
            };
            rest = &rest[(state.total_in() - seen) as usize..];
            let made = state.total_out() > made;
            if output.len() > bytes_max || (made && !room) {
                output.truncate(bytes_max);
                return Err(InflateError::TooLong);
            }
            if status.map_err(|_| InflateError::Corrupt)? == Status::StreamEnd {
                self.state = None;
                self.ended = true;
                return Ok(rest);
            }
            let full = output.len() == output.capacity();
            if rest.is_empty() && (!full || !made) {
                return Ok(rest);
            }
            if !made && state.total_in() == seen {
                return Err(InflateError::Corrupt);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    /// `Hello` in a final block, with the empty header that RFC 7692, section
    /// 7.2.3.4, puts behind it.
    const HELLO_LAST: [u8; 8] = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];

    fn inflater(takeover: bool) -> Inflater {
        Inflater::new(Direction {
            window_bits: 15,
            takeover,
        })
    }

    fn message(inflater: &mut Inflater, input: &[u8], bytes_max: usize) -> Vec<u8> {
        let mut output = Vec::new();
        assert_eq!(inflater.inflate(input, &mut output, bytes_max), Ok(()));
        assert_eq!(inflater.finish(&mut output, bytes_max), Ok(()));
        output
    }

    #[test]
    fn a_final_block_ends_no_more_than_itself() {
        let mut inflater = inflater(true);
        for input in [
            &HELLO_LAST[..],
            &HELLO_LAST[..7],
            &HELLO,
            &HELLO_LAST,
            &HELLO,
        ] {
            assert_eq!(message(&mut inflater, input, 5), b"Hello");
        }
        let twice = [&HELLO_LAST[..7], &HELLO_LAST].concat();
        assert_eq!(message(&mut inflater, &twice, 10), b"HelloHello");
    }

    #[test]
    fn the_limit_counts_every_byte_and_not_one_more() {
        let mut output = Vec::new();
        assert_eq!(
            inflater(true).inflate(&HELLO, &mut output, 4),
            Err(InflateError::TooLong)
        );
        assert_eq!(output, b"Hell");
        assert_eq!(message(&mut inflater(true), &HELLO, 5), b"Hello");
        assert_eq!(message(&mut inflater(true), b"\0", 0), b"");
    }

    #[test]
    fn a_state_used_again_remembers_nothing() {
        let back_reference = [0xf2, 0x00, 0x11, 0x00, 0x00];
        let mut keeping = inflater(true);
        assert_eq!(message(&mut keeping, &HELLO, 100), b"Hello");
        assert_eq!(message(&mut keeping, &back_reference, 100), b"Hello");
        let mut forgetting = inflater(false);
        assert_eq!(message(&mut forgetting, &HELLO, 100), b"Hello");
        let refused = forgetting.inflate(&back_reference, &mut Vec::new(), 100);
        assert_eq!(refused, Err(InflateError::Corrupt));
    }
}
