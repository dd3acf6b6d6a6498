//! When to ask the peer for a sign of life, and when to give it up. Pure: told
//! the time, it answers what to do; it neither sends nor waits.

use core::time::Duration;

use crate::config::Keepalive;
use crate::time::Instant;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    SendPing,
    Expire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AwaitingInterval,
    AwaitingPong,
}

/// The pings of one connection. Every idle connection has one, so it is kept
/// dense: times that mean nothing stay where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinger {
    /// Milliseconds; zero when pings are off.
    interval_millis: u32,
    timeout_millis: u32,
    /// From when the interval runs, or the time for the pong: when the last ping was sent.
    since: Instant,
    /// While a pong is awaited: only one with this payload counts.
    payload: [u8; 8],
    /// While paused: since when.
    paused_since: Instant,
    is_paused: bool,
    state: State,
}

impl Pinger {
    pub(crate) fn new(keepalive: Keepalive, now: Instant) -> Self {
        Self {
            interval_millis: interval_millis(keepalive.ping_interval),
            timeout_millis: millis(keepalive.timeout),
            since: now,
            payload: [0; 8],
            paused_since: now,
            is_paused: false,
            state: State::AwaitingInterval,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.interval_millis == 0 {
            return None;
        }
        let millis = match self.state {
            State::AwaitingInterval => self.interval_millis,
            State::AwaitingPong => self.timeout_millis,
        };
        Some(self.since + Duration::from_millis(u64::from(millis)))
    }

    pub(crate) fn on_deadline(&self, now: Instant) -> Due {
        match (self.deadline(), self.state) {
            (Some(deadline), State::AwaitingInterval) if now >= deadline => Due::SendPing,
            (Some(deadline), State::AwaitingPong) if now >= deadline => Due::Expire,
            _ => Due::Nothing,
        }
    }

    pub(crate) fn ping_sent(&mut self, payload: [u8; 8], now: Instant) {
        (self.payload, self.since) = (payload, now);
        self.state = State::AwaitingPong;
    }

    /// The next ping follows an interval after the one that is answered. Whether
    /// this answers one.
    pub(crate) fn pong_received(&mut self, answer: &[u8]) -> bool {
        let answers = self.state == State::AwaitingPong && answer == self.payload;
        if answers {
            self.state = State::AwaitingInterval;
        }
        answers
    }

    /// While paused no pong can be read: for how long one is overdue that the peer may have sent.
    pub(crate) fn unread_pong(&self, now: Instant) -> Option<Duration> {
        let is_due = self.is_paused && self.on_deadline(now) == Due::Expire;
        is_due.then(|| now.saturating_since(self.since))
    }

    /// The peer is known to be there, as if it had answered.
    pub(crate) fn vouched_for(&mut self) {
        self.state = State::AwaitingInterval;
    }

    pub(crate) fn pause(&mut self, now: Instant) {
        if !core::mem::replace(&mut self.is_paused, true) {
            self.paused_since = now;
        }
    }

    /// How long the pause was: every wait on the peer is moved by it. The interval is no such wait.
    pub(crate) fn resume(&mut self, now: Instant) -> Duration {
        if !core::mem::take(&mut self.is_paused) {
            return Duration::ZERO;
        }
        let pause = now.saturating_since(self.paused_since);
        if self.state == State::AwaitingPong {
            self.since = now.min(self.since + pause);
        }
        pause
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Starts anew: a ping under way is forgotten.
    pub(crate) fn set_interval(&mut self, interval: Option<Duration>, now: Instant) {
        self.interval_millis = interval_millis(interval);
        self.state = State::AwaitingInterval;
        self.since = now;
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout_millis = millis(timeout);
    }
}

/// 49 days are as good as never.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// An interval of zero would ping without end: a millisecond is the least.
fn interval_millis(interval: Option<Duration>) -> u32 {
    interval.map_or(0, |interval| millis(interval).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_millis(5_000);

    fn pinger(interval: u64, timeout: u64) -> Pinger {
        let keepalive = Keepalive {
            ping_interval: Some(Duration::from_millis(interval)),
            timeout: Duration::from_millis(timeout),
        };
        Pinger::new(keepalive, START)
    }

    fn after(millis: u64) -> Instant {
        START + Duration::from_millis(millis)
    }

    #[test]
    fn a_ping_is_due_after_the_interval_and_its_answer_within_the_timeout() {
        let mut pinger = pinger(100, 40);
        assert_eq!(pinger.on_deadline(after(99)), Due::Nothing);
        assert_eq!(pinger.on_deadline(after(100)), Due::SendPing);
        pinger.ping_sent([1; 8], after(100));
        assert_eq!(pinger.on_deadline(after(139)), Due::Nothing);
        assert_eq!(pinger.on_deadline(after(140)), Due::Expire);
        pinger.pong_received(&[1; 8]);
        assert_eq!(pinger.deadline(), Some(after(200)));
    }

    #[test]
    fn a_late_answer_within_a_long_timeout_brings_the_next_ping_at_once() {
        let mut pinger = pinger(100, 1_000);
        pinger.ping_sent([1; 8], after(100));
        assert_eq!(pinger.on_deadline(after(250)), Due::Nothing);
        pinger.pong_received(&[1; 8]);
        assert_eq!(pinger.on_deadline(after(250)), Due::SendPing);
    }

    #[test]
    fn an_unasked_or_different_pong_changes_nothing() {
        let mut pinger = pinger(100, 40);
        pinger.pong_received(&[0; 8]);
        assert_eq!(pinger.deadline(), Some(after(100)));
        pinger.ping_sent([1; 8], after(100));
        pinger.pong_received(&[2; 8]);
        pinger.pong_received(&[1; 9]);
        assert_eq!(pinger.deadline(), Some(after(140)));
    }

    #[test]
    fn a_pause_moves_the_wait_for_a_pong() {
        let mut pinger = pinger(100, 40);
        pinger.ping_sent([1; 8], after(100));
        pinger.pause(after(110));
        pinger.pause(after(120));
        assert!(pinger.is_paused());
        assert_eq!(pinger.resume(after(120)), Duration::from_millis(10));
        assert_eq!(pinger.resume(after(199)), Duration::ZERO);
        assert_eq!(pinger.deadline(), Some(after(150)));
    }

    #[test]
    fn pings_go_on_in_a_pause_and_somebody_vouches_for_the_peer() {
        let mut pinger = pinger(100, 40);
        pinger.pause(after(10));
        assert_eq!(pinger.on_deadline(after(100)), Due::SendPing);
        pinger.ping_sent([1; 8], after(100));
        assert_eq!(pinger.unread_pong(after(139)), None);
        let overdue = Some(Duration::from_millis(40));
        assert_eq!(pinger.unread_pong(after(140)), overdue);
        pinger.vouched_for();
        assert_eq!(pinger.deadline(), Some(after(200)));
        pinger.ping_sent([2; 8], after(200));
        assert_eq!(
            pinger.on_deadline(after(240)),
            Due::Expire,
            "nobody vouches"
        );
        // All of its time is still to come: nothing was read before.
        pinger.resume(after(230));
        assert_eq!(pinger.unread_pong(after(999)), None);
        assert_eq!(pinger.deadline(), Some(after(270)));
    }

    #[test]
    fn off_is_off_and_zero_is_a_millisecond() {
        let mut pinger = pinger(100, 40);
        pinger.set_interval(None, after(10));
        assert_eq!(
            (pinger.deadline(), pinger.on_deadline(after(9_999))),
            (None, Due::Nothing)
        );
        pinger.set_interval(Some(Duration::ZERO), after(10));
        assert_eq!(pinger.deadline(), Some(after(11)));
        pinger.set_interval(Some(Duration::MAX), after(10));
        assert_eq!(pinger.on_deadline(after(u64::from(u32::MAX))), Due::Nothing);
    }
}
