//! The numbers and names that tell things apart, each with a type of its own so that look-alikes
//! cannot be swapped. Nothing here hands out authority: knowing an id opens nothing.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Joins what a client is told about a failure with what the log says about it.
///
/// 64 random bits, written as 16 hexadecimal digits: it gives away nothing about other incidents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct IncidentId(u64);

/// What all versions of a route share, given out by the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct RouteId(pub(crate) u32);

/// A compiled component, given out by the server and never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ProgramId(pub(crate) u32);

impl IncidentId {
    /// An id that nobody has had before.
    pub(crate) fn random() -> Self {
        Self(random_u64())
    }

    /// The id that is written so, as clients and logs have it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        id.map(Self)
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
pub(crate) fn random_u64() -> u64 {
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
    fn an_incident_is_found_by_what_is_written() {
        let incident = IncidentId::random();
        assert_eq!(IncidentId::parse(&incident.to_string()), Some(incident));
        for wrong in [
            "",
            "1",
            "+000000000000001",
            "000000000000000g",
            "00000000000000001",
        ] {
            assert_eq!(IncidentId::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn incidents_differ() {
        let incidents: HashSet<IncidentId> = (0..1_000).map(|_| IncidentId::random()).collect();
        assert_eq!(incidents.len(), 1_000);
        assert!(
            incidents
                .iter()
                .all(|incident| incident.to_string().len() == 16)
        );
    }
}
