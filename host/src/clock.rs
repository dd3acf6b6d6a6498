//! A worker's time: milliseconds since the server started, and the one list of deadlines that
//! all sessions of the worker share.
//!
//! A session owns no timer of its own: it arms a deadline here and is woken by its task's waker.
//! Deadlines are rounded up to [`GRANULARITY_MILLISECONDS`]. Never shared between threads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::poll_fn;
use std::num::NonZeroU64;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use wharf_protocol::Instant;

/// Deadlines fall due on multiples of this, so that many share one wake-up.
const GRANULARITY_MILLISECONDS: u64 = 8;

/// The lower bits of an [`Armed`], which tell apart what falls due at once.
const SEQUENCE_BITS: u32 = 24;
const SEQUENCE_MAX: u64 = (1 << SEQUENCE_BITS) - 1;

/// How long this thread has run. Not the time of day: nobody pays here for what other processes take
/// from the machine. A system call.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    Duration::from(time.expect("each thread has a clock of its own"))
}

/// Names an armed deadline, to disarm it. Ordered by due time.
///
/// The upper bits are the due time in steps of the granularity, for some hundred years; below them
/// stands a sequence number that is never zero. One word, because every session keeps one here and
/// one at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Armed(NonZeroU64);

impl Armed {
    fn new(at: Instant, sequence: NonZeroU64) -> Self {
        Self(sequence | (steps(at) << SEQUENCE_BITS))
    }

    /// Whether it wakes as early as one that is armed for `at` would.
    pub(crate) fn serves(self, at: Instant) -> bool {
        self.0.get() >> SEQUENCE_BITS <= steps(at)
    }

    /// When it falls due.
    pub(crate) fn due(self) -> Instant {
        let steps = self.0.get() >> SEQUENCE_BITS;
        Instant::from_millis(steps * GRANULARITY_MILLISECONDS)
    }
}

/// How many granules `at` is from the origin, rounded up.
fn steps(at: Instant) -> u64 {
    let steps = at.as_millis().div_ceil(GRANULARITY_MILLISECONDS);
    steps.min(u64::MAX >> SEQUENCE_BITS)
}

/// The clock of one worker.
pub(crate) struct Clock {
    origin: std::time::Instant,
    deadlines: RefCell<BTreeMap<Armed, Waker>>,
    sequence: Cell<NonZeroU64>,
    /// Wakes [`Clock::run`] when an earlier deadline than the one it sleeps for was armed.
    driver: RefCell<Option<Waker>>,
}

impl Clock {
    /// `origin` is shared by all workers of a server, so instants mean the same on each.
    pub(crate) fn new(origin: std::time::Instant) -> Self {
        Self {
            origin,
            deadlines: RefCell::default(),
            sequence: Cell::new(NonZeroU64::MIN),
            driver: RefCell::default(),
        }
    }

    /// When the server started.
    pub(crate) fn origin(&self) -> std::time::Instant {
        self.origin
    }

    /// Milliseconds since the origin.
    pub(crate) fn now(&self) -> Instant {
        let elapsed = self.origin.elapsed();
        Instant::from_millis(elapsed.as_secs() * 1000 + u64::from(elapsed.subsec_millis()))
    }

    /// Wakes `waker` once at or after `at`.
    pub(crate) fn arm(&self, at: Instant, waker: Waker) -> Armed {
        let mut deadlines = self.deadlines.borrow_mut();
        let first = deadlines.first_key_value().map(|(first, _)| first.due());
        // Sequence numbers come again after some millions: one that is taken is passed over.
        let armed = loop {
            if let Entry::Vacant(entry) = deadlines.entry(Armed::new(at, self.next_sequence())) {
                let armed = *entry.key();
                entry.insert(waker);
                break armed;
            }
        };
        let is_first = first.is_none_or(|first| armed.due() < first);
        if is_first && let Some(driver) = self.driver.borrow_mut().take() {
            driver.wake();
        }
        armed
    }

    fn next_sequence(&self) -> NonZeroU64 {
        let before = self.sequence.get();
        let sequence = NonZeroU64::MIN.saturating_add(before.get() % SEQUENCE_MAX);
        self.sequence.replace(sequence)
    }

    /// Forgets a deadline; one that has fallen due is gone already.
    pub(crate) fn disarm(&self, armed: Armed) {
        self.deadlines.borrow_mut().remove(&armed);
    }

    /// Wakes what is due, for ever. Each worker runs this once.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.wake_due();
            let mut changed = pin!(self.changed(next));
            match next {
                None => changed.await,
                Some(due) => {
                    let at = self.origin + Duration::from_millis(due.as_millis());
                    let mut sleep = pin!(tokio::time::sleep_until(at.into()));
                    poll_fn(|context| {
                        if changed.as_mut().poll(context).is_ready() {
                            return Poll::Ready(());
                        }
                        sleep.as_mut().poll(context)
                    })
                    .await;
                }
            }
        }
    }

    /// Wakes everything due; returns the next deadline.
    fn wake_due(&self) -> Option<Instant> {
        let now = self.now().as_millis();
        loop {
            let mut deadlines = self.deadlines.borrow_mut();
            let first = deadlines.first_entry()?;
            let due = first.key().due();
            if due.as_millis() > now {
                return Some(due);
            }
            let waker = first.remove();
            drop(deadlines);
            waker.wake();
        }
    }

    /// Resolves when a deadline earlier than `known` was armed.
    async fn changed(&self, known: Option<Instant>) {
        poll_fn(|context| {
            let first = self
                .deadlines
                .borrow()
                .first_key_value()
                .map(|(armed, _)| armed.due());
            let earlier = match (first, known) {
                (Some(first), Some(known)) => first < known,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if earlier {
                return Poll::Ready(());
            }
            *self.driver.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// One deadline on a worker's clock, disarmed when nobody waits for it any more.
pub(crate) struct Alarm<'a> {
    clock: &'a Clock,
    armed: Option<Armed>,
}

impl<'a> Alarm<'a> {
    /// Nothing is armed.
    pub(crate) fn new(clock: &'a Clock) -> Self {
        Self { clock, armed: None }
    }

    /// Wakes `waker` once at or after `at`, and at no time that was set before.
    pub(crate) fn set(&mut self, at: Instant, waker: &Waker) {
        self.unset();
        self.armed = Some(self.clock.arm(at, waker.clone()));
    }

    /// Whether what was set still lies ahead.
    pub(crate) fn is_ahead_of(&self, now: Instant) -> bool {
        self.armed.is_some_and(|armed| armed.due() > now)
    }

    /// Wakes nobody.
    pub(crate) fn unset(&mut self) {
        if let Some(armed) = self.armed.take() {
            self.clock.disarm(armed);
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.unset();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn wakes_what_is_due_and_nothing_that_was_disarmed() {
        let clock = Clock::new(std::time::Instant::now());
        let kept = Arc::new(Count(AtomicUsize::new(0)));
        let dropped = Arc::new(Count(AtomicUsize::new(0)));
        clock.arm(Instant::from_millis(0), kept.clone().into());
        let armed = clock.arm(Instant::from_millis(0), dropped.clone().into());
        clock.disarm(armed);
        clock.arm(Instant::from_millis(3_600_000), kept.clone().into());
        let next = clock.wake_due();
        assert_eq!(next, Some(Instant::from_millis(3_600_000)));
        assert_eq!(kept.0.load(Ordering::Relaxed), 1);
        assert_eq!(dropped.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_that_is_armed_serves_later_deadlines_and_those_that_share_its_granule() {
        let clock = Clock::new(std::time::Instant::now());
        let armed = clock.arm(Instant::from_millis(1_003), Waker::noop().clone());
        for (at, served) in [(1_000, false), (1_001, true), (1_003, true), (5_000, true)] {
            assert_eq!(armed.serves(Instant::from_millis(at)), served, "{at} ms");
        }
    }

    #[test]
    fn deadlines_stay_apart_when_their_numbers_come_again() {
        let clock = Clock::new(std::time::Instant::now());
        let due = Instant::from_millis(1_001);
        let first = clock.arm(due, Waker::noop().clone());
        assert_eq!(first.due(), Instant::from_millis(1_008));
        let number = clock.sequence.get();
        clock
            .sequence
            .set(NonZeroU64::MIN.saturating_add(SEQUENCE_MAX - 1));
        let last = clock.arm(due, Waker::noop().clone());
        let second = clock.arm(due, Waker::noop().clone());
        assert_eq!(clock.deadlines.borrow().len(), 3);
        assert!(first < second && second < last);
        assert_eq!(clock.sequence.get(), number.saturating_add(1));
        clock.disarm(first);
        clock.disarm(last);
        assert_eq!(clock.wake_due(), Some(second.due()));
        let never = clock.arm(Instant::from_millis(u64::MAX), Waker::noop().clone());
        assert!(never.due() > Instant::from_millis(1 << 40));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_earlier_deadline_shortens_the_sleep() {
        let clock = std::rc::Rc::new(Clock::new(std::time::Instant::now()));
        let count = Arc::new(Count(AtomicUsize::new(0)));
        clock.arm(Instant::from_millis(3_600_000), Waker::noop().clone());
        let arming = async {
            tokio::task::yield_now().await;
            clock.arm(Instant::from_millis(1), count.clone().into());
            while count.0.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = clock.run() => unreachable!("the clock runs for ever"),
            () = arming => {}
        }
    }
}
