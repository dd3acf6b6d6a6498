//! How many bytes a second may be published in a topic: a bucket that fills with time. Pure.

use wharf_protocol::Instant;

/// What is left of a topic's bytes a second. Holds one second's worth at most.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_per_second_max: u64,
    left: u64,
    filled_at: Instant,
}

impl Budget {
    pub(super) fn new(bytes_per_second_max: u64, now: Instant) -> Self {
        Self {
            bytes_per_second_max,
            left: bytes_per_second_max,
            filled_at: now,
        }
    }

    /// Takes `bytes`, or says what the limit is. A message that is larger than a whole second's
    /// worth takes all of a full bucket: it is slow, not impossible.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Result<(), u64> {
        let milliseconds = now.as_millis() - self.filled_at.as_millis();
        let new = self.bytes_per_second_max.saturating_mul(milliseconds) / 1000;
        if new > 0 {
            self.left = self.left.saturating_add(new).min(self.bytes_per_second_max);
            self.filled_at = now;
        }
        let wanted = (bytes as u64).min(self.bytes_per_second_max);
        match self.left.checked_sub(wanted) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.bytes_per_second_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_what_it_may_and_no_more() {
        let at = Instant::from_millis;
        let mut budget = Budget::new(1000, at(0));
        assert_eq!(budget.take(600, at(0)), Ok(()));
        assert_eq!(budget.take(600, at(0)), Err(1000));
        assert_eq!(budget.take(400, at(0)), Ok(()));
        assert_eq!(budget.take(1, at(0)), Err(1000));
        assert_eq!(budget.take(100, at(100)), Ok(()));
        assert_eq!(budget.take(1, at(100)), Err(1000));
        assert_eq!(budget.take(5000, at(1099)), Err(1000));
        assert_eq!(budget.take(5000, at(60_000)), Ok(()), "a full bucket");
        assert_eq!(budget.take(1, at(60_000)), Err(1000));
    }

    #[test]
    fn slow_buckets_fill_too() {
        let at = Instant::from_millis;
        let mut budget = Budget::new(10, at(0));
        assert_eq!(budget.take(10, at(0)), Ok(()));
        for milliseconds in 1..100 {
            assert_eq!(budget.take(1, at(milliseconds)), Err(10), "{milliseconds}");
        }
        assert_eq!(budget.take(1, at(100)), Ok(()));
    }
}
