//! What a version of a route does that is on trial: its calls, how long they take, how they fail.
//! Counted for such versions only, and for these each call is timed: a canary that is judged by one
//! call in 64 would be judged late.
//!
//! Counts and never judges.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::fault::{Fault, GuestFault};

/// The first bucket of call times; each further one goes twice as far.
const FIRST_BOUND: Duration = Duration::from_micros(64);
/// Buckets of call times: the last that has a bound ends at 8.4 s, one more holds what is longer.
const LATENCY_BUCKETS: usize = 19;

/// A version whose calls and failures are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) generation: u64,
    /// What was counted in one stage says nothing of the other.
    pub(crate) stage: Stage,
    /// Calls that take longer are counted as slow.
    pub(crate) slow_above: Option<Duration>,
}

/// How far a version has come that is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Some find it.
    Canary,
    /// Everybody does, and it may still be taken back.
    Watched,
}

impl Stage {
    /// For metrics and the API.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Watched => "watched",
        }
    }
}

/// What a version has done since it is watched. Only rises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    /// Sessions that began with it.
    pub(crate) sessions: u64,
    /// Calls that came to their end.
    pub(crate) calls: u64,
    /// Of these, longer than [`Watch::slow_above`].
    pub(crate) slow: u64,
    /// Failures of the guest but for the next.
    pub(crate) traps: u64,
    /// Calls over their CPU or wall time.
    pub(crate) timeouts: u64,
    /// The calls by how long they took, see [`latency_bound`].
    pub(crate) latencies: [u64; LATENCY_BUCKETS],
    /// The time of all calls together.
    pub(crate) called: Duration,
}

impl Vitals {
    /// Adds another worker's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.calls += other.calls;
        self.slow += other.slow;
        self.traps += other.traps;
        self.timeouts += other.timeouts;
        for (count, more) in self.latencies.iter_mut().zip(other.latencies) {
            *count += more;
        }
        self.called += other.called;
    }

    /// A time that 99 of 100 calls have kept: the bound of the bucket in which the slowest of them
    /// is, so up to twice what it took. `None` without calls, or if it is beyond all bounds.
    pub(crate) fn p99_bound(&self) -> Option<Duration> {
        let wanted = self.calls - self.calls / 100;
        let mut seen = 0;
        let bucket = self.latencies.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        latency_bound(bucket.filter(|_| self.calls > 0)?)
    }

    fn call(&mut self, took: Duration, slow_above: Option<Duration>) {
        self.calls += 1;
        self.slow += u64::from(slow_above.is_some_and(|bound| took > bound));
        self.latencies[latency_bucket(took)] += 1;
        self.called += took;
    }

    fn fail(&mut self, fault: &Fault) {
        match fault {
            Fault::Guest(GuestFault::OutOfCpu | GuestFault::OutOfTime) => self.timeouts += 1,
            Fault::Guest(_) => self.traps += 1,
            // No version of a handler can do anything about those.
            Fault::Host(_) => {}
        }
    }
}

/// The longest call that a bucket holds; the last has no bound.
pub(crate) fn latency_bound(bucket: usize) -> Option<Duration> {
    (bucket + 1 < LATENCY_BUCKETS).then(|| FIRST_BOUND * (1 << bucket))
}

fn latency_bucket(took: Duration) -> usize {
    let holds = |bucket: &usize| latency_bound(*bucket).is_none_or(|bound| took <= bound);
    (0..LATENCY_BUCKETS)
        .find(holds)
        .unwrap_or(LATENCY_BUCKETS - 1)
}

/// The versions of one route on one worker that are on trial: one or two, most often none.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    is_any: Cell<bool>,
    watched: RefCell<Vec<(Watch, Vitals)>>,
}

impl Trials {
    /// From now on these are counted apart. One that goes on keeps its numbers, but for those of its
    /// calls if another time counts as slow.
    pub(crate) fn watch(&self, watches: &[Watch]) {
        let mut watched = self.watched.borrow_mut();
        let renewed = watches.iter().map(|new| {
            let same = |(old, _): &&(Watch, Vitals)| {
                (old.generation, old.stage) == (new.generation, new.stage)
            };
            let mut vitals = Vitals::default();
            if let Some((old, counted)) = watched.iter().find(same) {
                vitals = counted.clone();
                if old.slow_above != new.slow_above {
                    (vitals.calls, vitals.slow, vitals.called) = (0, 0, Duration::ZERO);
                    vitals.latencies = Default::default();
                }
            }
            (*new, vitals)
        });
        let renewed = renewed.collect();
        *watched = renewed;
        self.is_any.set(!watches.is_empty());
    }

    /// Whether there is any: if not, no call need be timed.
    pub(crate) fn is_any(&self) -> bool {
        self.is_any.get()
    }

    /// A call into a guest of that generation is over.
    pub(crate) fn call(&self, generation: u64, took: Duration) {
        self.change(generation, |watch, vitals| {
            vitals.call(took, watch.slow_above)
        });
    }

    /// A guest of that generation has failed.
    pub(crate) fn fail(&self, generation: u64, fault: &Fault) {
        self.change(generation, |_, vitals| vitals.fail(fault));
    }

    /// It would not take over from the version before.
    pub(crate) fn refuse(&self, generation: u64) {
        self.change(generation, |_, vitals| vitals.traps += 1);
    }

    /// A session begins with that generation.
    pub(crate) fn begin_session(&self, generation: u64) {
        self.change(generation, |_, vitals| vitals.sessions += 1);
    }

    /// What was counted of each.
    pub(crate) fn all(&self) -> Vec<(Watch, Vitals)> {
        self.watched.borrow().clone()
    }

    fn change(&self, generation: u64, change: impl FnOnce(&Watch, &mut Vitals)) {
        let mut watched = self.watched.borrow_mut();
        let mut watched = watched.iter_mut();
        if let Some((watch, vitals)) = watched.find(|(watch, _)| watch.generation == generation) {
            change(watch, vitals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::HostFault;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn watch(generation: u64, slow_above: u32) -> Watch {
        Watch {
            generation,
            stage: Stage::Canary,
            slow_above: Some(MILLISECOND * slow_above),
        }
    }

    fn of(trials: &Trials, generation: u64) -> Vitals {
        let mut all = trials.all().into_iter();
        let found = all.find(|(watch, _)| watch.generation == generation);
        found.map(|(_, vitals)| vitals).unwrap_or_default()
    }

    #[test]
    fn a_call_is_in_the_first_bucket_that_holds_it() {
        for (microseconds, bound) in [
            (0, 64),
            (64, 64),
            (65, 128),
            (1_000, 1_024),
            (8_000_000, 8_388_608),
        ] {
            let bucket = latency_bucket(Duration::from_micros(microseconds));
            assert_eq!(latency_bound(bucket), Some(Duration::from_micros(bound)));
        }
        assert_eq!(latency_bound(latency_bucket(Duration::from_secs(9))), None);
    }

    #[test]
    fn ninety_nine_of_a_hundred_keep_the_time_that_is_named() {
        let mut vitals = Vitals::default();
        assert_eq!(vitals.p99_bound(), None);
        for _ in 0..99 {
            vitals.call(MILLISECOND, None);
        }
        vitals.call(MILLISECOND * 50, None);
        assert_eq!(vitals.p99_bound(), Some(Duration::from_micros(1_024)));
        vitals.call(MILLISECOND * 50, None);
        assert_eq!(vitals.p99_bound(), Some(Duration::from_micros(65_536)));
    }

    #[test]
    fn only_what_is_watched_is_counted() {
        let trials = Trials::default();
        trials.call(1, MILLISECOND);
        assert!(!trials.is_any());
        trials.watch(&[watch(2, 5)]);
        assert!(trials.is_any());
        trials.call(1, MILLISECOND);
        trials.call(2, MILLISECOND * 5);
        trials.call(2, MILLISECOND * 6);
        for fault in [
            GuestFault::OutOfCpu.into(),
            GuestFault::OutOfTime.into(),
            GuestFault::Trap("unreachable".to_owned()).into(),
            Fault::from(HostFault::InstancesExhausted),
        ] {
            trials.fail(2, &fault);
        }
        let vitals = of(&trials, 2);
        assert_eq!((vitals.calls, vitals.slow), (2, 1));
        assert_eq!((vitals.traps, vitals.timeouts), (1, 2));
    }

    #[test]
    fn what_was_counted_stays_until_it_means_nothing_any_more() {
        let trials = Trials::default();
        trials.watch(&[watch(2, 5)]);
        trials.call(2, MILLISECOND * 6);
        trials.refuse(2);
        trials.watch(&[watch(2, 5)]);
        assert_eq!((of(&trials, 2).slow, of(&trials, 2).traps), (1, 1));
        trials.watch(&[watch(2, 7)]);
        assert_eq!((of(&trials, 2).calls, of(&trials, 2).traps), (0, 1));
        let promoted = Watch {
            stage: Stage::Watched,
            ..watch(2, 7)
        };
        trials.watch(&[promoted]);
        assert_eq!(of(&trials, 2), Vitals::default());
    }
}
