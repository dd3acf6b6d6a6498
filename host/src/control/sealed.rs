//! Records as bytes: their fields, behind a digest that holds them, their table and their key
//! together. A record with another bit, or in another's place, is not read.

use crate::digest::Digest;

/// Bytes of the digest in front.
const SEAL_BYTES: usize = 32;

/// Writes the fields of a record.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(super) fn maybe(self, number: Option<u64>) -> Self {
        // No version and no time is zero.
        self.number(number.unwrap_or(0))
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self = self.number(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub(super) fn digest(mut self, digest: &Digest) -> Self {
        self.0.extend(digest.as_bytes());
        self
    }

    /// The record, sealed for its place.
    pub(super) fn seal(self, table: &str, key: &str) -> Vec<u8> {
        let seal = Digest::of_parts(&[table.as_bytes(), key.as_bytes(), &self.0]);
        let mut sealed = seal.as_bytes().to_vec();
        sealed.extend(self.0);
        sealed
    }
}

/// Reads the fields of a record, in the order in which they were written.
#[derive(Debug)]
pub(super) struct Reader<'r>(&'r [u8]);

impl<'r> Reader<'r> {
    /// The fields of a record; nothing if it is not what was sealed for this place.
    pub(super) fn open(sealed: &'r [u8], table: &str, key: &str) -> Option<Self> {
        let (seal, fields) = sealed.split_first_chunk::<SEAL_BYTES>()?;
        let right = Digest::of_parts(&[table.as_bytes(), key.as_bytes(), fields]);
        (right.as_bytes() == seal).then_some(Self(fields))
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub(super) fn maybe(&mut self) -> Option<Option<u64>> {
        Some(Some(self.number()?).filter(|number| *number != 0))
    }

    pub(super) fn bytes(&mut self) -> Option<&'r [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        let (digest, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(Digest::from_bytes(*digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let digest = Digest::of(b"a");
        let writer = Writer::default().number(7).maybe(None).bytes(b"text");
        let sealed = writer.digest(&digest).seal("table", "key");
        let mut reader = Reader::open(&sealed, "table", "key").expect("it is whole");
        assert_eq!(reader.number(), Some(7));
        assert_eq!(reader.maybe(), Some(None));
        assert_eq!(reader.text().as_deref(), Some("text"));
        assert_eq!(reader.digest(), Some(digest));
        assert_eq!(reader.number(), None, "there is no more");
    }

    #[test]
    fn another_bit_or_another_place_is_refused() {
        let sealed = Writer::default().number(7).bytes(b"x").seal("t", "key");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Reader::open(&flipped, "t", "key").is_none(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(Reader::open(&sealed[..length], "t", "key").is_none());
        }
        assert!(Reader::open(&sealed, "t", "kez").is_none());
        assert!(Reader::open(&sealed, "tk", "ey").is_none());
    }
}
