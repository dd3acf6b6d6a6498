//! Rates of a tenant that several workers use together: one count of time for all of them, from
//! which each takes a piece now and then, and a balance on each worker. Pure, but for one atomic.
//!
//! What is given out is time: a tenant that may read 1,000 messages a second has a second for them,
//! and a worker that was given 20 ms of it may read 20. So one word is enough whatever the rate is,
//! and a rate that changes needs no conversion.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What one worker takes at a time. What it does not use of that is lost to the others until it
/// does: so much for each worker is how far a second may be off.
pub(crate) const PIECE: Duration = Duration::from_millis(20);
/// What was not used adds up to this.
const BURST: Duration = Duration::from_secs(1);

/// The time of a rate that was given out, for all workers.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// Microseconds since the origin. Read and changed about once in [`PIECE`] by each worker.
    given_until: AtomicU64,
}

impl Allowance {
    /// Gives out `wanted` or what is left of it, at `now` since the origin, which is behind any time
    /// before by no more than clocks differ.
    fn give(&self, wanted: u64, now: Duration) -> u64 {
        let (now, mut given) = (now + BURST, 0);
        let now = now.as_micros() as u64;
        let full = now.saturating_sub(BURST.as_micros() as u64);
        // Cannot fail: the closure gives a value for any.
        let _ = self
            .given_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
                let until = until.max(full);
                given = wanted.min(now.saturating_sub(until));
                Some(until + given)
            });
        given
    }

    /// Takes one of `per_second_max`. If there is none, says how long until there is.
    pub(crate) fn take_one(&self, per_second_max: u64, now: Duration) -> Result<(), Duration> {
        let needed = 1_000_000 / per_second_max.max(1);
        let (now, mut wait) = (now + BURST, None);
        let now = now.as_micros() as u64;
        let full = now.saturating_sub(BURST.as_micros() as u64);
        let _ = self
            .given_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
                let until = until.max(full) + needed;
                wait = until.checked_sub(now + 1).map(|missing| missing + 1);
                wait.is_none().then_some(until)
            });
        match wait {
            None => Ok(()),
            Some(missing) => Err(Duration::from_micros(missing)),
        }
    }
}

/// One worker's balance of a rate. May be negative: what has happened is charged in any case.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Zero is no limit.
    per_second_max: Cell<u64>,
    left: Cell<f64>,
}

impl Meter {
    /// Sets or takes away the limit.
    pub(crate) fn set(&self, per_second_max: Option<u64>) {
        self.per_second_max
            .set(per_second_max.map_or(0, |max| max.max(1)));
        if per_second_max.is_none() {
            self.left.set(0.0);
        }
    }

    /// Counts what has happened.
    pub(crate) fn charge(&self, amount: usize) {
        if self.per_second_max.get() > 0 {
            self.left.set(self.left.get() - amount as f64);
        }
    }

    /// Whether something is left, if need be of what the allowance still has.
    pub(crate) fn has_left(&self, allowance: &Allowance, now: impl FnOnce() -> Duration) -> bool {
        self.has_more_than(0, allowance, now)
    }

    /// Whether something is left beside what is `reserved`.
    pub(crate) fn has_more_than(
        &self,
        reserved: u64,
        allowance: &Allowance,
        now: impl FnOnce() -> Duration,
    ) -> bool {
        let (per_second_max, reserved) = (self.per_second_max.get(), reserved as f64);
        if per_second_max == 0 || self.left.get() > reserved {
            return true;
        }
        let per_microsecond = per_second_max as f64 / 1e6;
        let missing = ((reserved - self.left.get()) / per_microsecond) as u64;
        let wanted = missing.saturating_add(PIECE.as_micros() as u64);
        let given = allowance.give(wanted, now());
        self.left
            .set(self.left.get() + given as f64 * per_microsecond);
        self.left.get() > reserved
    }

    /// Whether more than a second's worth is owed.
    pub(crate) fn owes_a_second(&self) -> bool {
        let per_second_max = self.per_second_max.get();
        per_second_max > 0 && self.left.get() < -(per_second_max as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn one_at_a_time_comes_at_its_rate_and_says_when() {
        let allowance = Allowance::default();
        for _ in 0..10 {
            assert_eq!(
                allowance.take_one(10, at(5_000)),
                Ok(()),
                "a second's worth"
            );
        }
        assert_eq!(allowance.take_one(10, at(5_000)), Err(at(100)));
        assert_eq!(allowance.take_one(10, at(5_060)), Err(at(40)));
        assert_eq!(allowance.take_one(10, at(5_100)), Ok(()));
        assert_eq!(allowance.take_one(10, at(5_100)), Err(at(100)));
        for _ in 0..10 {
            assert_eq!(allowance.take_one(10, at(60_000)), Ok(()));
        }
        assert!(
            allowance.take_one(10, at(60_000)).is_err(),
            "no more adds up"
        );
    }

    /// How many of a rate two workers use in ten seconds, in steps of a millisecond, with so many
    /// at a time.
    fn used(per_second_max: u64, at_a_time: usize) -> usize {
        let (allowance, meters) = (Allowance::default(), [Meter::default(), Meter::default()]);
        for meter in &meters {
            meter.set(Some(per_second_max));
        }
        let mut used = 0;
        for now in 0..10_000 {
            for meter in &meters {
                while meter.has_left(&allowance, || at(now)) {
                    meter.charge(at_a_time);
                    used += at_a_time;
                }
            }
        }
        used
    }

    #[test]
    fn two_workers_keep_to_a_rate_together() {
        // Ten seconds, the second that had added up, and a piece for each worker.
        for (per_second_max, at_a_time) in
            [(1_000, 1), (1_000_000, 1_000), (50, 1), (1 << 30, 65_536)]
        {
            let used = used(per_second_max, at_a_time) as f64 / per_second_max as f64;
            assert!((10.9..=11.1).contains(&used), "{per_second_max}: {used}");
        }
    }

    #[test]
    fn what_is_owed_is_paid_before_anything_else() {
        let (allowance, meter) = (Allowance::default(), Meter::default());
        meter.set(Some(100));
        assert!(meter.has_left(&allowance, || at(0)));
        meter.charge(350);
        assert!(meter.owes_a_second());
        // 98 are left of the second that had added up; the other 250 take 2.5 s.
        let paid = (0..10_000).find(|now| meter.has_left(&allowance, || at(*now)));
        let paid = paid.expect("it is paid some day");
        assert!((2_490..=2_520).contains(&paid), "{paid}");
        assert!(!meter.owes_a_second());
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let (allowance, meter) = (Allowance::default(), Meter::default());
        meter.charge(1 << 40);
        assert!(meter.has_left(&allowance, || unreachable!("nobody asks for the time")));
        assert!(!meter.owes_a_second());
    }
}
