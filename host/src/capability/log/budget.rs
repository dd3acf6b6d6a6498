//! How much one tenant may log: two buckets, of bytes and of lines, that fill with time. Pure.

use std::time::Instant;

use super::LogLimits;

/// What a tenant may log now, and how many of its lines could not be.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: Bucket,
    lines: Bucket,
    dropped: u64,
}

/// What came of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It may be logged.
    Yes,
    /// It is dropped and counted; the first since the count was last taken.
    First,
    /// It is dropped and counted.
    No,
}

impl Budget {
    pub(super) fn new(limits: &LogLimits, now: Instant) -> Self {
        Self {
            bytes: Bucket::new(limits.tenant_bytes_per_second_max, now),
            lines: Bucket::new(limits.tenant_lines_per_second_max, now),
            dropped: 0,
        }
    }

    /// Takes a line of so many bytes, envelope and all, within limits that may have changed.
    pub(super) fn admit(&mut self, limits: &LogLimits, bytes: u64, now: Instant) -> Admitted {
        self.bytes.set(limits.tenant_bytes_per_second_max);
        self.lines.set(limits.tenant_lines_per_second_max);
        self.bytes.fill(now);
        self.lines.fill(now);
        if self.bytes.left >= bytes && self.lines.left >= 1 {
            self.bytes.left -= bytes;
            self.lines.left -= 1;
            return Admitted::Yes;
        }
        self.dropped += 1;
        if self.dropped == 1 {
            Admitted::First
        } else {
            Admitted::No
        }
    }

    /// How many lines were dropped since this was last asked.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// Holds one second's worth at most: what was not used does not add up.
#[derive(Debug)]
struct Bucket {
    per_second_max: u64,
    left: u64,
    filled_at: Instant,
}

impl Bucket {
    fn new(per_second_max: u64, now: Instant) -> Self {
        Self {
            per_second_max,
            left: per_second_max,
            filled_at: now,
        }
    }

    /// Other limits hold at once: what is left beyond them is gone.
    fn set(&mut self, per_second_max: u64) {
        self.per_second_max = per_second_max;
        self.left = self.left.min(per_second_max);
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_micros();
        let new = elapsed.saturating_mul(u128::from(self.per_second_max)) / 1_000_000;
        if new > 0 {
            let new = u64::try_from(new).unwrap_or(u64::MAX);
            self.left = self.left.saturating_add(new).min(self.per_second_max);
            self.filled_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A budget within its limits.
    struct Limited(LogLimits, Budget);

    impl Limited {
        fn admit(&mut self, bytes: u64, now: Instant) -> Admitted {
            self.1.admit(&self.0, bytes, now)
        }

        fn take_dropped(&mut self) -> u64 {
            self.1.take_dropped()
        }
    }

    fn budget(bytes: u64, lines: u64, now: Instant) -> Limited {
        let limits = LogLimits {
            tenant_bytes_per_second_max: bytes,
            tenant_lines_per_second_max: lines,
        };
        let budget = Budget::new(&limits, now);
        Limited(limits, budget)
    }

    /// How many of 5,000 lines of a KiB are logged.
    fn admitted(budget: &mut Limited, at: Instant) -> usize {
        let flood = (0..5_000).map(|_| budget.admit(1024, at));
        flood.filter(|admitted| *admitted == Admitted::Yes).count()
    }

    #[test]
    fn a_flood_is_cut_at_the_bytes_of_a_second_and_counted() {
        let start = Instant::now();
        let mut budget = budget(1 << 20, 1_000_000, start);
        assert_eq!(admitted(&mut budget, start), 1024);
        assert_eq!(budget.take_dropped(), 5_000 - 1024);
        assert_eq!(budget.take_dropped(), 0);
        let later = start + Duration::from_secs(1);
        assert_eq!(admitted(&mut budget, later), 1024);
        let much_later = start + Duration::from_secs(3_600);
        let unused_does_not_add_up = admitted(&mut budget, much_later);
        assert_eq!(unused_does_not_add_up, 1024);
    }

    #[test]
    fn a_flood_is_cut_at_the_lines_of_a_second() {
        let start = Instant::now();
        let mut budget = budget(1 << 30, 100, start);
        assert_eq!(admitted(&mut budget, start), 100);
        let later = start + Duration::from_millis(500);
        assert_eq!(admitted(&mut budget, later), 50);
        assert_eq!(budget.take_dropped(), 9_850);
    }

    #[test]
    fn other_limits_hold_at_once() {
        let start = Instant::now();
        let mut budget = budget(1 << 30, 100, start);
        budget.0.tenant_lines_per_second_max = 3;
        assert_eq!(admitted(&mut budget, start), 3);
        budget.0.tenant_lines_per_second_max = 100;
        let later = start + Duration::from_millis(100);
        assert_eq!(admitted(&mut budget, later), 10);
    }

    #[test]
    fn the_first_dropped_line_of_a_count_is_told_apart() {
        let now = Instant::now();
        let mut budget = budget(1 << 20, 1, now);
        let lines: Vec<Admitted> = (0..4).map(|_| budget.admit(1, now)).collect();
        assert_eq!(
            lines,
            [Admitted::Yes, Admitted::First, Admitted::No, Admitted::No]
        );
        assert_eq!(budget.take_dropped(), 3);
        assert_eq!(budget.admit(1, now), Admitted::First);
    }
}
