//! What a deployment says about topics: which ones a route may use, and what is kept and allowed in
//! each. Pure: it knows patterns and numbers, no member and no message.

use std::fmt;
use std::time::Duration;

/// Bytes that a topic's name may have.
pub(crate) const TOPIC_NAME_BYTES_MAX: usize = 256;

/// A topic's name, or the beginning of one with `*` at its end: `lobby`, `room/*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPattern {
    text: String,
    any_end: bool,
}

impl TopicPattern {
    /// Every topic.
    #[must_use]
    pub fn any() -> Self {
        Self {
            text: String::new(),
            any_end: true,
        }
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is empty, too long, or has a `*` that is not its last character.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (text, any_end) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        if text.contains('*') {
            return Err("a `*` stands at the end or nowhere, as in \"room/*\"".to_owned());
        }
        if text.is_empty() && !any_end {
            return Err("a topic has a name, such as \"lobby\" or \"room/*\"".to_owned());
        }
        if text.len() > TOPIC_NAME_BYTES_MAX {
            return Err(format!(
                "a topic's name has at most {TOPIC_NAME_BYTES_MAX} bytes"
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            any_end,
        })
    }

    /// Whether the topic of that name is meant.
    #[must_use]
    pub fn covers(&self, topic: &str) -> bool {
        if self.any_end {
            topic.starts_with(&self.text)
        } else {
            topic == self.text
        }
    }

    /// Whether everything that another pattern covers is covered.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.covers(&other.text) && (self.any_end || !other.any_end)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.any_end { "*" } else { "" };
        write!(f, "{}{end}", self.text)
    }
}

/// A `[[topic]]` of the configuration: what holds for the topics of one tenant that a pattern covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// Whose topics.
    pub tenant: String,
    /// Which of them; of several rules the first that covers a topic holds.
    pub name: TopicPattern,
    /// What holds for them.
    pub settings: TopicSettings,
}

/// What is kept and allowed in one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many of the last messages are kept for those who come back. Default 0: none. Worst case:
    /// see `history_bytes_max`.
    pub history_messages: usize,
    /// How long a message is kept. Default 1 min.
    pub history_for: Duration,
    /// Bytes of payloads that are kept; the oldest make room. Default 128 KiB. Worst case: that much
    /// for each topic, and 64 MiB for all topics of a tenant on one worker.
    pub history_bytes_max: usize,
    /// Tells the members who joins and who leaves. Default off.
    pub announce: bool,
    /// Sessions of this server that may be members; a further one is refused. Default 100,000. Worst
    /// case: about 200 bytes and the info for each, on every worker.
    pub members_max: usize,
    /// Payload bytes a second that may be published, counted by each worker thread; more is refused.
    /// `None`, the default, does not count.
    pub bytes_per_second_max: Option<u64>,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            history_messages: 0,
            history_for: Duration::from_secs(60),
            history_bytes_max: 128 << 10,
            announce: false,
            members_max: 100_000,
            bytes_per_second_max: None,
        }
    }
}

impl TopicSettings {
    /// Whether messages are numbered and kept.
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.history_messages > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_a_name_or_a_beginning() {
        let check = |pattern: &str, topic: &str, expect: bool| {
            let parsed = TopicPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.covers(topic), expect, "{pattern} {topic}");
            assert_eq!(parsed.to_string(), pattern);
        };
        check("lobby", "lobby", true);
        check("lobby", "lobby2", false);
        check("lobby", "", false);
        check("room/*", "room/1", true);
        check("room/*", "room/", true);
        check("room/*", "room", false);
        check("room/*", "Room/1", false);
        check("*", "", true);
        check("*", "anything/at/all", true);
        assert_eq!(TopicPattern::parse("*"), Ok(TopicPattern::any()));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (pattern, expect) in [
            ("", "has a name"),
            ("a*b", "at the end"),
            ("**", "at the end"),
        ] {
            let error = TopicPattern::parse(pattern).expect_err(pattern);
            assert!(error.contains(expect), "{pattern}: {error}");
        }
        assert!(TopicPattern::parse(&"x".repeat(257)).is_err());
    }
}
