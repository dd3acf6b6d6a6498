//! Whether a version on trial goes on, has passed, or is taken back: a pure rule over its limits, what
//! was counted of it, and the time.

use std::fmt;
use std::time::{Duration, Instant};

use crate::catalog::Canary;
use crate::metrics::Vitals;

/// Calls from which on the slowest of a hundred say something.
const CALLS_MIN: u64 = 100;

/// What becomes of a version on trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its time is not over.
    GoesOn,
    /// It has behaved for as long as it had to.
    Passes,
    /// It has done more than is borne.
    Fails(Breach),
}

/// Which limit it has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    Traps {
        count: u64,
        max: u32,
    },
    Timeouts {
        count: u64,
        max: u32,
    },
    Latency {
        slow: u64,
        calls: u64,
        max: Duration,
    },
}

impl Breach {
    /// For metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Traps { .. } => "traps",
            Self::Timeouts { .. } => "timeouts",
            Self::Latency { .. } => "latency",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traps { count, max } => {
                write!(
                    formatter,
                    "its handler failed {count} times, traps_max is {max}"
                )
            }
            Self::Timeouts { count, max } => {
                write!(
                    formatter,
                    "{count} calls were over their time, timeouts_max is {max}"
                )
            }
            Self::Latency { slow, calls, max } => write!(
                formatter,
                "{slow} of {calls} calls took longer than {max:?}, which is latency_p99_max: more than one of a hundred"
            ),
        }
    }
}

/// How a version on trial is judged beside its limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    /// How long it has to behave.
    pub(super) until: Instant,
    /// How often it has to be used in that time or after it.
    pub(super) uses_min: u32,
    /// Whether each session of it is one call, which ends with the session.
    pub(super) converses: bool,
}

/// Judges what was counted of a version so far.
pub(super) fn judge(canary: &Canary, vitals: &Vitals, now: Instant, term: Term) -> Verdict {
    if let Some(breach) = breach(canary, vitals) {
        return Verdict::Fails(breach);
    }
    let uses = match term.converses {
        true => vitals.sessions,
        false => vitals.calls,
    };
    match now >= term.until && uses >= u64::from(term.uses_min) {
        true => Verdict::Passes,
        false => Verdict::GoesOn,
    }
}

fn breach(canary: &Canary, vitals: &Vitals) -> Option<Breach> {
    let &Vitals {
        traps,
        timeouts,
        calls,
        slow,
        ..
    } = vitals;
    let (traps_max, timeouts_max) = (canary.traps_max, canary.timeouts_max);
    if traps > u64::from(traps_max) {
        let (count, max) = (traps, traps_max);
        return Some(Breach::Traps { count, max });
    }
    if timeouts > u64::from(timeouts_max) {
        let (count, max) = (timeouts, timeouts_max);
        return Some(Breach::Timeouts { count, max });
    }
    let max = canary.latency_p99_max?;
    let is_slow = calls >= CALLS_MIN && slow * 100 > calls;
    is_slow.then_some(Breach::Latency { slow, calls, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary() -> Canary {
        Canary {
            traps_max: 2,
            timeouts_max: 1,
            latency_p99_max: Some(Duration::from_millis(50)),
            ..Canary::default()
        }
    }

    fn at(canary: &Canary, vitals: Vitals, seconds: u64) -> Verdict {
        let began = Instant::now();
        let term = Term {
            until: began + canary.duration,
            uses_min: canary.calls_min,
            converses: false,
        };
        judge(canary, &vitals, began + Duration::from_secs(seconds), term)
    }

    #[test]
    fn one_that_nobody_has_used_goes_on() {
        let now = Instant::now();
        for (calls, sessions, converses, expect) in [
            (0, 0, false, Verdict::GoesOn),
            (0, 9, false, Verdict::GoesOn),
            (4, 9, false, Verdict::GoesOn),
            (5, 0, false, Verdict::Passes),
            (0, 4, true, Verdict::GoesOn),
            (0, 5, true, Verdict::Passes),
        ] {
            let vitals = Vitals {
                calls,
                sessions,
                ..Vitals::default()
            };
            let term = Term {
                until: now,
                uses_min: 5,
                converses,
            };
            let verdict = judge(&canary(), &vitals, now, term);
            assert_eq!(verdict, expect, "{calls} {sessions} {converses}");
        }
    }

    #[test]
    fn one_that_behaves_passes_when_its_time_is_over() {
        let vitals = Vitals {
            traps: 2,
            timeouts: 1,
            calls: 1_000,
            slow: 10,
            ..Vitals::default()
        };
        assert_eq!(at(&canary(), vitals.clone(), 599), Verdict::GoesOn);
        assert_eq!(at(&canary(), vitals, 600), Verdict::Passes);
    }

    #[test]
    fn one_more_than_is_borne_takes_it_back_even_at_the_end() {
        for seconds in [0, 600, 10_000] {
            let vitals = Vitals {
                traps: 3,
                ..Vitals::default()
            };
            let breach = Breach::Traps { count: 3, max: 2 };
            assert_eq!(at(&canary(), vitals, seconds), Verdict::Fails(breach));
            let vitals = Vitals {
                timeouts: 2,
                ..Vitals::default()
            };
            let breach = Breach::Timeouts { count: 2, max: 1 };
            assert_eq!(at(&canary(), vitals, seconds), Verdict::Fails(breach));
        }
    }

    #[test]
    fn calls_are_judged_from_the_hundredth_on() {
        for (calls, slow, fails) in [
            (99, 99, false),
            (100, 1, false),
            (100, 2, true),
            (10_000, 100, false),
            (10_000, 101, true),
        ] {
            let vitals = Vitals {
                calls,
                slow,
                ..Vitals::default()
            };
            let verdict = at(&canary(), vitals.clone(), 1);
            let max = Duration::from_millis(50);
            let breach = Breach::Latency { slow, calls, max };
            let expected = if fails {
                Verdict::Fails(breach)
            } else {
                Verdict::GoesOn
            };
            assert_eq!(verdict, expected, "{slow} of {calls}");
            let unjudged = Canary {
                latency_p99_max: None,
                ..canary()
            };
            assert_eq!(at(&unjudged, vitals, 1), Verdict::GoesOn);
        }
    }
}
