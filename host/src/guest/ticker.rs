//! One thread for each engine that moves its epoch on every millisecond, so that a guest that
//! spins is interrupted; ten times as often while a tenant that uses more than its share holds up
//! others. It sleeps while no guest runs.
//!
//! Workers tell it of their calls by counters that threads do not share (see [`SHARDS`]), because
//! every call passes here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::scheduling;

/// Time between two epochs: what a deadline on CPU time is rounded up to.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// The same while somebody is held up: it bounds for how long. Where this thread shares the
/// worker's processor the guest has four fifths of it, the rest goes to both and to looking at sockets.
const SHORT_TICK: Duration = Duration::from_micros(100);
/// For so many ticks they stay short after a turn of somebody greedy: turns come one after the other.
const SHORT_TICKS: u32 = 320;
/// The thread sleeps after so many ticks without a call: waking it costs a caller some
/// microseconds, so it does not sleep in the gaps of steady traffic.
const IDLE_TICKS: u32 = 100;
/// Threads that run guests share a counter only when there are many more of them than this.
const SHARDS: usize = 64;

/// In a shard's upper half: calls that were entered, to tell idle from busy between two ticks. In
/// its lower half: calls that run now.
const ENTERED: u64 = 1 << 32;
const RUNNING: u64 = 1;

/// The thread and what it shares with callers.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    shards: Box<[Shard]>,
    pace: Pace,
    awake: AtomicBool,
    stopping: AtomicBool,
}

/// How long epochs are; a clone means the same engine's.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace(Arc<Pacing>);

#[derive(Debug, Default)]
struct Pacing {
    /// How many epochs from now on are short.
    short_ticks: AtomicU32,
    /// The one that ended last was.
    is_short: AtomicBool,
}

impl Pace {
    /// Makes epochs short for a while.
    pub(super) fn hurry(&self) {
        self.0.short_ticks.store(SHORT_TICKS, Ordering::Relaxed);
    }

    /// How long the epoch was that ended last.
    pub(super) fn epoch(&self) -> Duration {
        match self.0.is_short.load(Ordering::Relaxed) {
            true => SHORT_TICK,
            false => TICK,
        }
    }

    /// How long the next epoch is to be.
    fn next(&self) -> Duration {
        let left = self.0.short_ticks.load(Ordering::Relaxed);
        if left > 0 {
            // Who hurries meanwhile is heard at the next turn.
            self.0.short_ticks.store(left - 1, Ordering::Relaxed);
        }
        self.0.is_short.store(left > 0, Ordering::Relaxed);
        self.epoch()
    }
}

/// Alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

/// Names the counter of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardIndex(usize);

impl ShardIndex {
    /// The counter for calls that the current thread makes.
    pub(super) fn of_this_thread() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static INDEX: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        Self(INDEX.with(|index| *index))
    }
}

/// While this lives, a guest may be running.
pub(super) struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(RUNNING, Ordering::Release);
    }
}

impl Ticker {
    /// Starts the thread, which calls `tick` at every epoch.
    pub(super) fn start(tick: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            pace: Pace::default(),
            awake: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("wharf-epochs".to_owned())
            .spawn(move || of_thread.run(tick))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Call before guest code runs; epochs move on until the guard is dropped.
    pub(super) fn enter(&self, shard: ShardIndex) -> Running<'_> {
        let counter = &self.shared.shards[shard.0].0;
        // Sequentially consistent on both sides: either the thread sees this call before it falls
        // asleep, or this sees that the thread sleeps.
        counter.fetch_add(ENTERED + RUNNING, Ordering::SeqCst);
        if !self.shared.awake.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(counter)
    }

    /// How long its epochs are.
    pub(super) fn pace(&self) -> &Pace {
        &self.shared.pace
    }

    #[cold]
    fn wake(&self) {
        self.shared.awake.store(true, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    #[cfg(test)]
    fn is_awake(&self) -> bool {
        self.shared.awake.load(Ordering::SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The last engine may be dropped by the thread itself; it cannot wait for its own end.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn run(&self, tick: impl Fn()) {
        scheduling::be_in_time();
        let mut seen = 0;
        let mut idle_ticks = 0;
        while !self.stopping.load(Ordering::SeqCst) {
            if !self.awake.load(Ordering::SeqCst) {
                thread::park();
                continue;
            }
            thread::park_timeout(self.pace.next());
            tick();
            let (entered, running) = self.calls();
            let idle = running == 0 && entered == seen;
            idle_ticks = if idle { idle_ticks + 1 } else { 0 };
            seen = entered;
            if idle_ticks >= IDLE_TICKS {
                idle_ticks = 0;
                self.awake.store(false, Ordering::SeqCst);
                if self.calls() != (seen, 0) {
                    self.awake.store(true, Ordering::SeqCst);
                }
            }
        }
    }

    /// How many calls were ever entered (modulo the counter), and how many run.
    fn calls(&self) -> (u64, u64) {
        self.shards
            .iter()
            .fold((0, 0), |(entered, running), shard| {
                let count = shard.0.load(Ordering::SeqCst);
                (
                    (entered + (count >> 32)) % ENTERED,
                    running + count % ENTERED,
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn ticks_while_a_guest_runs_and_sleeps_afterwards() {
        let (ticked, ticks) = mpsc::channel();
        let ticker = Ticker::start(move || {
            let _ = ticked.send(());
        })
        .expect("a thread");
        assert!(!ticker.is_awake(), "nothing runs yet");
        let shard = ShardIndex::of_this_thread();
        let running = ticker.enter(shard);
        for _ in 0..2 * IDLE_TICKS {
            ticks.recv_timeout(Duration::from_secs(5)).expect("a tick");
        }
        assert!(ticker.is_awake(), "a call runs");
        drop(running);
        let mut waits = 0;
        while ticker.is_awake() {
            let _ = ticks.recv_timeout(TICK);
            waits += 1;
            assert!(waits < 100 * IDLE_TICKS, "it never sleeps");
        }
        drop(ticker.enter(shard));
        assert!(ticker.is_awake());
        drop(ticker);
    }

    #[test]
    fn epochs_are_short_for_a_while_after_somebody_hurries() {
        let pace = Pace::default();
        assert_eq!((pace.next(), pace.epoch()), (TICK, TICK));
        pace.hurry();
        for _ in 0..SHORT_TICKS {
            assert_eq!((pace.next(), pace.epoch()), (SHORT_TICK, SHORT_TICK));
        }
        assert_eq!(pace.next(), TICK);
    }

    #[test]
    fn a_ticker_that_never_ticked_ends() {
        drop(Ticker::start(|| {}).expect("a thread"));
    }
}
