//! Time as the driver tells it: milliseconds on a monotonic clock. Nothing in
//! this crate reads a clock; every rule that needs the time is handed `now`.

use core::ops::Add;
use core::time::Duration;

/// A moment on the driver's monotonic clock, in milliseconds since a start
/// that only the driver knows. Moments of two drivers do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment `milliseconds` after the driver's start.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the driver's start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates, so that "never" can be written as a very long duration.
    fn add(self, duration: Duration) -> Self {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(milliseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_moves_an_instant_and_is_found_again() {
        let start = Instant::from_millis(10);
        let later = start + Duration::from_secs(5);
        assert_eq!(later.as_millis(), 5_010);
        assert_eq!(later.saturating_since(start), Duration::from_secs(5));
    }

    #[test]
    fn time_never_runs_backwards_or_overflows() {
        let start = Instant::from_millis(10);
        assert_eq!(
            start.saturating_since(start + Duration::from_secs(1)),
            Duration::ZERO
        );
        assert_eq!((start + Duration::MAX).as_millis(), u64::MAX);
    }
}
