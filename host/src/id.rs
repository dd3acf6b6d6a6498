//! The numbers and names that tell things apart, each with a type of its own so that look-alikes
//! cannot be swapped. Nothing here hands out authority: knowing an id opens nothing.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A session as its own instance sees it: a key for the guest's maps. An instance never sees a
/// number twice; another instance may see the same one for another session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId(pub u64);

/// A session's name: unique across servers and never used again.
///
/// 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionName(u128);

/// Joins what a client is told about a failure with what the log says about it.
///
/// 64 random bits, written as 16 hexadecimal digits: it gives away nothing about other incidents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IncidentId(u64);

/// A route's place in its catalog.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteId(pub u32);

/// A compiled component's place in the server's list of programs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ProgramId(pub u32);

impl SessionName {
    /// A name that nobody has had before.
    pub fn random() -> Self {
        Self(u128::from(random_u64()) << 64 | u128::from(random_u64()))
    }
}

impl IncidentId {
    /// An id that nobody has had before.
    pub fn random() -> Self {
        Self(random_u64())
    }
}

/// Reads what [`SessionName`]'s `Display` wrote; anything else is no session's name.
impl FromStr for SessionName {
    type Err = NotASessionName;

    fn from_str(text: &str) -> Result<Self, NotASessionName> {
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(digits) {
            return Err(NotASessionName);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| NotASessionName)
    }
}

/// The text is not 32 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotASessionName;

impl fmt::Display for NotASessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session's name is 32 hexadecimal digits in lower case")
    }
}

impl std::error::Error for NotASessionName {}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 64 bits that a peer cannot guess: SipHash, keyed by the operating system's randomness, over a
/// counter. Good for names and ping payloads; not meant for keys.
pub fn random_u64() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static KEYED: RandomState = RandomState::new();
    }
    KEYED.with(|keyed| {
        let mut hasher = keyed.build_hasher();
        hasher.write_u64(NEXT.fetch_add(1, Ordering::Relaxed));
        hasher.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_differ_and_come_back_from_their_text() {
        let names: HashSet<SessionName> = (0..1_000).map(|_| SessionName::random()).collect();
        assert_eq!(names.len(), 1_000);
        for name in names {
            assert_eq!(name.to_string().len(), 32);
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn only_the_exact_text_is_a_name() {
        let text = SessionName(0xabc).to_string();
        assert_eq!(text.parse(), Ok(SessionName(0xabc)));
        for wrong in [
            "",
            "abc",
            &text.to_uppercase(),
            &format!("+{}", &text[1..]),
            &format!("{text}0"),
        ] {
            assert_eq!(
                wrong.parse::<SessionName>(),
                Err(NotASessionName),
                "{wrong}"
            );
        }
    }

    #[test]
    fn incidents_differ() {
        assert_ne!(IncidentId::random(), IncidentId::random());
        assert_eq!(IncidentId::random().to_string().len(), 16);
    }
}
