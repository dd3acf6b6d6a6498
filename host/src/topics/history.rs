//! The numbers of a topic's messages, and the last of them for those who come back. Pure: it takes
//! the time and knows no member.

use std::collections::VecDeque;
use std::sync::Arc;

use wharf_protocol::{Instant, MessageKind};

use super::position::{Epoch, Position, Seen};
use crate::catalog::TopicSettings;

/// What a kept message costs beyond its payload.
const MESSAGE_COST_BYTES: usize = 128;
/// What a topic costs that is there only for its history.
const TOPIC_COST_BYTES: usize = 1024;

/// One published message.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) kind: MessageKind,
    pub(super) payload: Arc<[u8]>,
    /// The session that does not get it.
    pub(super) except: Option<u64>,
}

/// A message that is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) offset: u64,
    pub(super) message: Published,
    until: Instant,
}

/// One life of a topic with history.
#[derive(Debug)]
pub(super) struct History {
    epoch: Epoch,
    /// The number of the last message.
    last: u64,
    kept: VecDeque<Kept>,
    payload_bytes: usize,
}

/// What somebody who comes back is told.
#[derive(Debug)]
pub(super) struct Resumption {
    /// What was missed, in order.
    pub(super) missed: Vec<Kept>,
    /// Where the topic is now.
    pub(super) now_at: Position,
    /// Whether all that was missed is there; `None` for who is new.
    pub(super) recovered: Option<bool>,
}

impl History {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            last: 0,
            kept: VecDeque::new(),
            payload_bytes: 0,
        }
    }

    /// Where the topic is now.
    pub(super) fn now_at(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.last,
        }
    }

    /// What it costs to keep what is kept.
    pub(super) fn cost_bytes(&self) -> usize {
        if self.kept.is_empty() {
            return 0;
        }
        TOPIC_COST_BYTES + self.payload_bytes + self.kept.len() * MESSAGE_COST_BYTES
    }

    /// Numbers a message and keeps it. If that would cost more than `cost_bytes_max`, the message
    /// is numbered and nothing is kept any more: what is kept has no gaps and ends with the last.
    pub(super) fn append(
        &mut self,
        message: Published,
        settings: &TopicSettings,
        cost_bytes_max: usize,
        now: Instant,
    ) -> Position {
        self.last += 1;
        let bytes = message.payload.len();
        self.payload_bytes += bytes;
        self.kept.push_back(Kept {
            offset: self.last,
            message,
            until: now + settings.history_for,
        });
        let over = |history: &Self| {
            history.kept.len() > settings.history_messages
                || history.payload_bytes > settings.history_bytes_max
        };
        while over(self) {
            self.drop_first();
        }
        self.expire(now);
        if self.cost_bytes() > cost_bytes_max {
            self.kept = VecDeque::new();
            self.payload_bytes = 0;
        }
        self.now_at()
    }

    /// Forgets what has been kept for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|first| first.until <= now) {
            self.drop_first();
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// When something will have been kept for long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.kept.front().map(|first| first.until)
    }

    /// What somebody gets who has seen so much.
    pub(super) fn resume(&self, seen: Seen) -> Resumption {
        let now_at = self.now_at();
        let told = |missed, recovered| Resumption {
            missed,
            now_at,
            recovered,
        };
        let seen = match seen {
            Seen::Nothing => return told(Vec::new(), None),
            Seen::Unreadable => return told(Vec::new(), Some(false)),
            Seen::UpTo(seen) => seen,
        };
        if seen.epoch != self.epoch || seen.offset > self.last {
            return told(Vec::new(), Some(false));
        }
        let missed = usize::try_from(self.last - seen.offset).unwrap_or(usize::MAX);
        match self.kept.len().checked_sub(missed) {
            Some(first) => told(self.kept.range(first..).cloned().collect(), Some(true)),
            None => told(Vec::new(), Some(false)),
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.kept.pop_front() {
            self.payload_bytes -= first.message.payload.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SETTINGS: TopicSettings = TopicSettings {
        history_messages: 3,
        history_for: Duration::from_millis(100),
        history_bytes_max: 10,
        announce: false,
        members_max: 1,
        bytes_per_second_max: None,
    };

    fn at(milliseconds: u64) -> Instant {
        Instant::from_millis(milliseconds)
    }

    fn append(history: &mut History, text: &str, now: u64) -> u64 {
        let message = Published {
            kind: MessageKind::Text,
            payload: text.as_bytes().into(),
            except: None,
        };
        let position = history.append(message, &SETTINGS, 1 << 20, at(now));
        position.offset
    }

    /// What is told to who has seen up to `offset` of `epoch`: the offsets missed.
    fn resumed(history: &History, epoch: u64, offset: u64) -> Option<Vec<u64>> {
        let seen = Seen::UpTo(Position {
            epoch: Epoch(epoch),
            offset,
        });
        let resumption = history.resume(seen);
        let missed = resumption.missed.iter().map(|kept| kept.offset).collect();
        match resumption.recovered {
            Some(true) => Some(missed),
            Some(false) => None,
            None => panic!("a position was given"),
        }
    }

    #[test]
    fn the_last_messages_are_kept() {
        let mut history = History::new(9);
        assert_eq!(resumed(&history, 9, 0), Some(vec![]));
        for (text, offset) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
            assert_eq!(append(&mut history, text, 0), offset);
        }
        assert_eq!(resumed(&history, 9, 4), Some(vec![]));
        assert_eq!(resumed(&history, 9, 3), Some(vec![4]));
        assert_eq!(resumed(&history, 9, 1), Some(vec![2, 3, 4]));
        assert_eq!(resumed(&history, 9, 0), None, "the first is gone");
        assert_eq!(resumed(&history, 9, 5), None, "from the future");
        assert_eq!(resumed(&history, 8, 4), None, "of another life");
        assert!(matches!(
            history.resume(Seen::Unreadable).recovered,
            Some(false)
        ));
        assert_eq!(history.resume(Seen::Nothing).recovered, None);
    }

    #[test]
    fn bytes_and_time_are_bounded() {
        let mut history = History::new(9);
        append(&mut history, "aaaa", 0);
        append(&mut history, "bbbb", 50);
        append(&mut history, "cccc", 60);
        assert_eq!(resumed(&history, 9, 0), None, "12 bytes are too many");
        assert_eq!(resumed(&history, 9, 1), Some(vec![2, 3]));
        assert_eq!(history.due(), Some(at(150)));
        history.expire(at(150));
        assert_eq!(resumed(&history, 9, 1), None);
        assert_eq!(resumed(&history, 9, 2), Some(vec![3]));
        history.expire(at(160));
        assert_eq!((history.due(), history.cost_bytes()), (None, 0));
        assert_eq!(resumed(&history, 9, 3), Some(vec![]), "nothing was missed");
        append(&mut history, "too long for it", 170);
        assert_eq!(resumed(&history, 9, 3), None);
        assert_eq!(resumed(&history, 9, 4), Some(vec![]));
    }

    #[test]
    fn without_room_nothing_is_kept_and_all_is_numbered() {
        let mut history = History::new(9);
        append(&mut history, "a", 0);
        let message = Published {
            kind: MessageKind::Binary,
            payload: Arc::from(&b"b"[..]),
            except: None,
        };
        let position = history.append(message, &SETTINGS, 100, at(0));
        assert_eq!((position.offset, history.cost_bytes()), (2, 0));
        assert_eq!(append(&mut history, "c", 0), 3);
        assert_eq!(resumed(&history, 9, 2), Some(vec![3]));
        assert_eq!(resumed(&history, 9, 1), None);
    }
}
