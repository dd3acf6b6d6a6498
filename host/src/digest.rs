//! SHA-256: what a component, its compilation and its records are known by. Computes and compares;
//! reads no file.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use ring::digest::{Context, SHA256};

/// The bytes of a digest.
const BYTES: usize = 32;

/// A SHA-256 digest; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; BYTES]);

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_all(&[bytes])
    }

    /// The digest of several texts; where one ends and the next begins is part of it.
    pub(crate) fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        Self::from_context(context)
    }

    /// The digest of whatever a value feeds to a hasher.
    pub(crate) fn of_hashed(value: impl Hash) -> Self {
        let mut hasher = Hashing(Context::new(&SHA256));
        value.hash(&mut hasher);
        Self::from_context(hasher.0)
    }

    fn of_all(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        parts.iter().for_each(|part| context.update(part));
        Self::from_context(context)
    }

    fn from_context(context: Context) -> Self {
        let digest = context.finish();
        let bytes = digest.as_ref().try_into();
        Self(bytes.expect("SHA-256 has 32 bytes"))
    }

    /// Its 32 bytes: what is signed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// A digest that was kept as bytes.
    pub(crate) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no SHA-256: right are 64 hexadecimal digits");
        if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; BYTES];
        for (place, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * place..2 * place + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Takes in what is hashed; only [`Digest::of_hashed`] asks for the end.
struct Hashing(Context);

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finish();
        let (first, _) = digest.as_ref().split_at(8);
        u64::from_le_bytes(first.try_into().expect("eight bytes were split off"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256() {
        let shown = Digest::of(b"abc").to_string();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(shown, right);
        assert_eq!(right.parse(), Ok(Digest::of(b"abc")));
        assert_eq!(right.to_uppercase().parse(), Ok(Digest::of(b"abc")));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let long = "a".repeat(65);
        let odd = format!("+{}", "a".repeat(63));
        for wrong in ["", "abc", "../../etc/passwd", &long, &odd, &"ä".repeat(32)] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        let digest = Digest::of_parts(&[b"ab", b"c"]);
        assert_ne!(digest, Digest::of_parts(&[b"a", b"bc"]));
        assert_eq!(Digest::of_hashed("a"), Digest::of_hashed("a"));
        assert_ne!(Digest::of_hashed("a"), Digest::of_hashed("b"));
    }
}
