//! UTF-8 checked as it arrives: a text is refused at the first byte after
//! which nothing could make it valid, wherever the bytes were cut. Keeps at
//! most three bytes and never the text.

/// The bytes so far are no prefix of any UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

/// How far a text has been checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8 {
    /// The start of a character whose end has not arrived.
    pending: [u8; 4],
    pending_bytes: u8,
}

impl Utf8 {
    /// Checks what comes next.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), NotUtf8> {
        while self.pending_bytes > 0 {
            let Some((&next, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            self.complete(next)?;
        }
        match simdutf8::compat::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(NotUtf8),
            Err(error) => {
                let tail = &bytes[error.valid_up_to()..];
                self.pending[..tail.len()].copy_from_slice(tail);
                self.pending_bytes = tail.len() as u8;
                Ok(())
            }
        }
    }

    /// Whether the text may end here.
    pub(crate) fn is_complete(&self) -> bool {
        self.pending_bytes == 0
    }

    /// Adds a byte to the character under way. Four bytes are enough to decide
    /// any of them.
    fn complete(&mut self, next: u8) -> Result<(), NotUtf8> {
        let count = usize::from(self.pending_bytes);
        self.pending[count] = next;
        match core::str::from_utf8(&self.pending[..=count]) {
            Ok(_) => self.pending_bytes = 0,
            Err(error) if error.error_len().is_some() => return Err(NotUtf8),
            Err(_) => self.pending_bytes += 1,
        }
        Ok(())
    }
}

/// The text, if that is what the bytes are: all of it, in UTF-8.
#[inline]
pub fn as_text(bytes: &[u8]) -> Option<&str> {
    simdutf8::basic::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds byte by byte; the count of bytes accepted before the refusal.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        bytes.iter().position(|byte| utf8.feed(&[*byte]).is_err())
    }

    #[test]
    fn a_character_may_be_cut_anywhere() {
        let text = "aκ€😀ß".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut utf8 = Utf8::default();
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    assert_eq!(utf8.feed(part), Ok(()));
                }
                assert!(utf8.is_complete());
            }
        }
    }

    #[test]
    fn the_first_byte_that_cannot_be_saved_is_refused() {
        for (bytes, at) in [
            (&b"ab\xff"[..], 2),
            (b"\x80", 0),
            (b"\xc0", 0),
            (b"\xc1", 0),
            (b"\xc3\x28", 1),
            (b"\xe0\x80", 1),
            (b"\xed\xa0", 1),
            (b"\xe2\x82\x28", 2),
            (b"\xf0\x80", 1),
            (b"\xf4\x90", 1),
            (b"\xf5", 0),
            (b"\xf0\x9f\x98\x28", 3),
        ] {
            assert_eq!(refused_at(bytes), Some(at), "{bytes:x?}");
            assert_eq!(Utf8::default().feed(bytes), Err(NotUtf8), "{bytes:x?}");
        }
    }

    #[test]
    fn a_text_that_stops_inside_a_character_is_not_complete() {
        for bytes in [&b"\xc3"[..], b"a\xe2\x82", b"\xf0\x9f\x98"] {
            let mut utf8 = Utf8::default();
            assert_eq!(utf8.feed(bytes), Ok(()));
            assert!(!utf8.is_complete());
        }
    }

    #[test]
    fn agrees_with_the_standard_library_on_every_pair_and_many_triples() {
        for a in 0..=255_u8 {
            for b in 0..=255_u8 {
                for c in [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff] {
                    let bytes = [a, b, c];
                    let mut utf8 = Utf8::default();
                    let fed = bytes.iter().all(|byte| utf8.feed(&[*byte]).is_ok());
                    let valid = core::str::from_utf8(&bytes).is_ok();
                    assert_eq!(fed && utf8.is_complete(), valid, "{bytes:x?}");
                    assert_eq!(as_text(&bytes).is_some(), valid, "{bytes:x?}");
                }
            }
        }
    }
}
