//! Where in a topic's messages somebody is, and how a client that comes back says it. Pure.

use std::fmt;
use std::str::FromStr;

use crate::catalog::percent_decode;

/// The subprotocol of clients that keep positions.
pub(crate) const RECOVER_SUBPROTOCOL: &str = "wharf.recover.v1";

/// A message's place: messages of one epoch are numbered from 1 on, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: Epoch,
    pub(crate) offset: u64,
}

/// One life of a topic on this server: 64 random bits, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(pub(super) u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Err(());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| ())
    }
}

/// What a client said that it has seen of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It names no position: it is new.
    Nothing,
    /// Up to that message.
    UpTo(Position),
    /// It names one that cannot be read, so nobody knows what it missed.
    Unreadable,
}

/// Looks for `recover=TOPIC:EPOCH:OFFSET` in the request's query, the topic percent-encoded. Of
/// several for the same topic the last one counts.
pub(super) fn seen(query: Option<&str>, topic: &str) -> Seen {
    let pairs = query.unwrap_or_default().split('&');
    let values = pairs.filter_map(|pair| pair.strip_prefix("recover="));
    let mut found = Seen::Nothing;
    for value in values {
        let (name, rest) = value.split_once(':').unwrap_or((value, ""));
        if percent_decode(name).is_some_and(|name| name == topic) {
            found = position(rest).map_or(Seen::Unreadable, Seen::UpTo);
        }
    }
    found
}

fn position(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once(':')?;
    Some(Position {
        epoch: epoch.parse().ok()?,
        offset: offset.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_found_by_its_topic() {
        let check = |query: &str, expect: Seen| {
            assert_eq!(seen(Some(query), "room/ä:1"), expect, "{query}");
        };
        let at = |offset| {
            Seen::UpTo(Position {
                epoch: Epoch(0xab),
                offset,
            })
        };
        let topic = "room%2F%C3%A4%3A1";
        check(&format!("recover={topic}:00000000000000ab:7"), at(7));
        check(&format!("a=b&recover={topic}:00000000000000ab:0&c"), at(0));
        check(
            &format!("recover=x:00000000000000ab:1&recover={topic}:00000000000000ab:2"),
            at(2),
        );
        check("recover=room%2F:00000000000000ab:7", Seen::Nothing);
        check("", Seen::Nothing);
        check("recover=", Seen::Nothing);
        for wrong in [
            "",
            ":",
            ":ab:7",
            ":00000000000000ab",
            ":00000000000000ab:-1",
            ":00000000000000ab:x",
            ":+0000000000000ab:1",
        ] {
            check(&format!("recover={topic}{wrong}"), Seen::Unreadable);
        }
        assert_eq!(seen(None, "a"), Seen::Nothing);
    }

    #[test]
    fn an_epoch_can_be_read_again() {
        for epoch in [Epoch(0), Epoch(u64::MAX), Epoch(0x12)] {
            assert_eq!(epoch.to_string().parse(), Ok(epoch));
        }
    }
}
