//! The first sessions of a new version: who finds it, for how long, and what it may do wrong
//! meanwhile. Rules only: `dispatch` asks them for each new session, `server` judges by them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Route;
use crate::digest::Digest;
use crate::request::Said;

/// Keys that a canary may name.
pub(crate) const CANARY_KEYS_MAX: usize = 1_000;
/// The whole, in the unit of [`Share`].
const WHOLE: u16 = 10_000;

/// How a new version begins: some of the sessions find it, and what it does to them decides whether
/// all follow or these go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The part of the new sessions that find it; with an instance for each key, the part of the keys.
    /// Default 5 %, or none if `keys` or `mark` say who does.
    pub share: Share,
    /// Keys of instances that it gets in any case, up to 1,000.
    pub keys: Vec<String>,
    /// The requests that find it in any case. Only where instances have no keys: a key is always in
    /// one version, whoever asks for it.
    pub mark: Option<Mark>,
    /// How long it has to behave until everybody follows. Default 10 min.
    pub duration: Duration,
    /// Calls of its handler that have to be over before everybody follows, of conversations sessions
    /// that have begun; until then it goes on beyond `duration`. Default 1: what nobody has used is
    /// not followed.
    pub calls_min: u32,
    /// How long it is watched after that, by the same limits; if it breaks one then, the whole version
    /// is taken back. Default: not at all.
    pub watch: Option<Duration>,
    /// Failures of its handler, but for those below, that are borne. Default 3. One more takes it back.
    pub traps_max: u32,
    /// Calls over their CPU or wall time that are borne. Default 3.
    pub timeouts_max: u32,
    /// What 99 of 100 calls of its handler have to keep, from the hundredth call on. Default: they are
    /// not judged. Not for conversations, whose call lasts as long as the session.
    pub latency_p99_max: Option<Duration>,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            share: Share(500),
            keys: Vec::new(),
            mark: None,
            duration: Duration::from_secs(600),
            calls_min: 1,
            watch: None,
            traps_max: 3,
            timeouts_max: 3,
            latency_p99_max: None,
        }
    }
}

impl Canary {
    /// Whether the instance with that key is one of the canary: the same answer for the route, its
    /// key and the share, on every worker and after every start. A larger share only adds keys.
    pub(crate) fn takes_key(&self, route: &str, key: &str) -> bool {
        if self.keys.iter().any(|named| named == key) {
            return true;
        }
        let digest = Digest::of_parts(&[route.as_bytes(), key.as_bytes()]);
        let bytes = digest.as_bytes();
        let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        (number % u32::from(WHOLE)) < u32::from(self.share.0)
    }

    /// Whether the request is marked as one that finds the canary.
    pub(crate) fn takes_marked(&self, said: &Said<'_>) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.is_on(said))
    }
}

/// A part of all, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(WHOLE);

    /// Reads `5%` or `0.25%`: from 0 to 100, in steps of 0.01.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return None;
        }
        let hundredths: u16 = format!("{part:0<2}").parse().ok()?;
        let whole: u16 = whole.parse().ok()?;
        let share = whole.checked_mul(100)?.checked_add(hundredths)?;
        (share <= WHOLE).then_some(Self(share))
    }

    /// Whether the session that comes after `before` others is one of the share. Spread evenly: of
    /// any that come in a row, the share holds to within one.
    pub(crate) fn takes(self, before: u64) -> bool {
        let taken =
            |count: u64| (count * u64::from(self.0) + u64::from(WHOLE / 2)) / u64::from(WHOLE);
        // Repeats after so many, which keeps the product small.
        let before = before % u64::from(WHOLE);
        taken(before + 1) > taken(before)
    }

    /// As a number from 0 to 1.
    pub(crate) fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(formatter, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(formatter, "{whole}.{}%", part / 10),
            (whole, part) => write!(formatter, "{whole}.{part:02}%"),
        }
    }
}

/// What a request carries that finds the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A header with that name, in lower case, and that value.
    Header(String, String),
    /// A cookie.
    Cookie(String, String),
    /// A parameter of the query, as the client wrote it.
    Query(String, String),
}

impl Mark {
    fn is_on(&self, said: &Said<'_>) -> bool {
        let pair = |text: &str, name: &str, value: &str| {
            let (found, has) = text.split_once('=').unwrap_or((text, ""));
            (found.trim(), has.trim()) == (name, value)
        };
        match self {
            Self::Header(name, value) => values(said, name).any(|found| found.trim() == value),
            Self::Cookie(name, value) => values(said, "cookie")
                .flat_map(|cookies| cookies.split(';'))
                .any(|cookie| pair(cookie, name, value)),
            Self::Query(name, value) => (said.query.iter())
                .flat_map(|query| query.split('&'))
                .any(|found| pair(found, name, value)),
        }
    }
}

/// The values of a header.
fn values<'a>(said: &'a Said<'a>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let headers = said.headers.iter();
    let own = headers.filter(move |(found, _)| found.eq_ignore_ascii_case(name));
    own.filter_map(|(_, value)| std::str::from_utf8(value).ok())
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name, value) => write!(formatter, "header {name}: {value}"),
            Self::Cookie(name, value) => write!(formatter, "cookie {name}={value}"),
            Self::Query(name, value) => write!(formatter, "query {name}={value}"),
        }
    }
}

/// The next version of a route, while only some find it.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) route: Arc<Route>,
    pub(crate) canary: Canary,
}

/// Which of the two versions of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that everybody finds who does not find the canary.
    Stable,
    /// The next one. Where there is none any more, what became of it: the stable one.
    Canary,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(share: &str) -> Canary {
        Canary {
            share: Share::parse(share).expect("a share"),
            ..Canary::default()
        }
    }

    #[test]
    fn a_share_is_read_and_shown() {
        for text in ["0%", "5%", "0.5%", "0.25%", "12.05%", "99.99%", "100%"] {
            assert_eq!(
                Share::parse(text).map(|share| share.to_string()),
                Some(text.to_owned())
            );
        }
        assert_eq!(Share::parse("5 %"), Share::parse("5%"));
        assert_eq!(Share::parse("2.50%"), Share::parse("2.5%"));
        for wrong in [
            "", "%", "5", "-1%", "100.01%", "0.001%", "1.%", ".5%", "1e1%", "99999%", "+5%",
        ] {
            assert_eq!(Share::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_share_of_sessions_is_kept_among_any_that_come_in_a_row() {
        for text in ["0%", "0.01%", "1%", "5%", "33%", "50%", "99%", "100%"] {
            let share = Share::parse(text).expect("a share");
            for from in [0, 7, 9_990, 123_456] {
                let mut taken = 0.0;
                for count in 1..=2_000_u32 {
                    taken += f64::from(u8::from(share.takes(from + u64::from(count) - 1)));
                    let wanted = f64::from(count) * share.fraction();
                    assert!((taken - wanted).abs() <= 1.0, "{text}: {taken} of {count}");
                }
            }
        }
    }

    #[test]
    fn a_share_of_keys_is_kept_and_a_larger_one_only_adds() {
        let keys: Vec<String> = (0..10_000).map(|number| format!("room-{number}")).collect();
        let taken = |share: &str| -> Vec<bool> {
            let canary = of(share);
            keys.iter()
                .map(|key| canary.takes_key("* /{room} ", key))
                .collect()
        };
        let mut before = taken("0%");
        assert!(!before.contains(&true));
        // Four standard deviations of so many throws.
        for (share, wanted, slack) in [("1%", 100, 40), ("5%", 500, 88), ("50%", 5_000, 200)] {
            let now = taken(share);
            let count = now.iter().filter(|taken| **taken).count();
            assert!(count.abs_diff(wanted) <= slack, "{share}: {count}");
            assert!(
                before.iter().zip(&now).all(|(before, now)| !before || *now),
                "{share}"
            );
            before = now;
        }
        assert!(!taken("100%").contains(&false));
    }

    #[test]
    fn a_key_is_the_same_one_for_ever() {
        // Written down: rooms must not change sides because the host was built anew.
        let canary = of("10%");
        let taken =
            (0..40).filter(|number| canary.takes_key("* /{room} ", &format!("room-{number}")));
        assert_eq!(taken.collect::<Vec<u32>>(), EXPECTED);
    }

    /// As another program computes it.
    const EXPECTED: &[u32] = &[1, 12, 15, 16, 30, 35];

    #[test]
    fn named_keys_are_of_the_canary_whatever_the_share() {
        let mut canary = of("0%");
        canary.keys = vec!["lobby".to_owned()];
        assert!(canary.takes_key("any", "lobby"));
        assert!(!canary.takes_key("any", "lobby2"));
    }

    #[test]
    fn a_mark_is_found_where_it_stands() {
        let said = Said {
            query: Some("a=1&canary=yes&b"),
            headers: vec![
                ("cookie", b"theme=dark; canary=yes"),
                ("X-Canary", b" yes "),
                ("x-other", b"\xff"),
            ],
            ..Said::default()
        };
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let kinds = [Mark::Header, Mark::Cookie, Mark::Query];
        let names = ["x-canary", "canary", "canary"];
        for (kind, name) in kinds.into_iter().zip(names) {
            let (name, value) = owned(name, "yes");
            let mark = kind(name.clone(), value);
            assert!(mark.is_on(&said), "{mark}");
            assert!(!mark.is_on(&Said::default()), "{mark}");
            let other = kind(name, "no".to_owned());
            assert!(!other.is_on(&said), "{other}");
        }
    }
}
