//! The deadlines of one call into a guest, held outside of its Store.
//!
//! CPU time is counted at epochs, which come every millisecond or oftener while a guest runs: a call
//! that is over within two of them is not interrupted, unless its tenant has used more than its
//! share; a longer one waits for its turn at each. Wall time is a timer that is armed only if the
//! call is not over when it first waits.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use send_wrapper::SendWrapper;
use wasmtime::UpdateDeadline;

use super::ticker::{Pace, ShardIndex, Ticker};
use crate::budget::{Share, Turn};
use crate::clock::thread_cpu_time;

/// Counts the CPU time of the call that runs in one Store. Used by one thread; atomic only because
/// a Store's data has to be `Send`.
#[derive(Debug)]
pub(super) struct CpuMeter {
    budget: Duration,
    /// Microseconds used in slices that are over.
    used: AtomicU64,
    /// When the running slice began, in microseconds of the thread's CPU time and plus one; zero
    /// until an epoch ends in a call, because reading the clock would cost every call.
    slice: AtomicU64,
    /// The guest was interrupted, and goes on when it is its turn.
    yielding: AtomicBool,
    /// Whose it is. A Store never leaves its thread.
    share: SendWrapper<Rc<Share>>,
    pace: Pace,
    /// The guest had to wait for its turn, and has it.
    has_turn: AtomicBool,
    turn: SendWrapper<RefCell<Option<Turn>>>,
}

impl CpuMeter {
    pub(super) fn new(budget: Duration, share: &Rc<Share>, pace: &Pace) -> Arc<Self> {
        Arc::new(Self {
            budget,
            used: AtomicU64::new(0),
            slice: AtomicU64::new(0),
            yielding: AtomicBool::new(false),
            share: SendWrapper::new(Rc::clone(share)),
            pace: pace.clone(),
            has_turn: AtomicBool::new(false),
            turn: SendWrapper::new(RefCell::new(None)),
        })
    }

    /// A new call begins.
    pub(super) fn reset(&self) {
        self.used.store(0, Ordering::Relaxed);
        self.slice.store(0, Ordering::Relaxed);
    }

    /// An epoch has ended while the guest ran.
    pub(super) fn tick(self: &Arc<Self>) -> wasmtime::Result<UpdateDeadline> {
        let epoch = self.pace.epoch();
        self.share.tick(epoch);
        if self.slice.load(Ordering::Relaxed) == 0 {
            if !self.share.is_greedy() {
                self.begin_slice();
                return Ok(UpdateDeadline::Continue(1));
            }
            // Who uses more than its share is interrupted at once, and charged all of the epoch.
            self.used
                .fetch_add(epoch.as_micros() as u64, Ordering::Relaxed);
        }
        self.end_slice();
        if self.used() >= self.budget {
            return Err(Overrun::Cpu.into());
        }
        self.yielding.store(true, Ordering::Relaxed);
        let meter = Arc::clone(self);
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(SendWrapper::new(async move {
                let turn = meter.share.turn().await;
                meter.begin_turn(turn);
                meter.yielding.store(false, Ordering::Relaxed);
            })),
        ))
    }

    /// The guest has its turn until [`CpuMeter::end_turn`].
    pub(super) fn begin_turn(&self, turn: Turn) {
        if self.share.has_company() {
            self.pace.hurry();
        }
        self.has_turn.store(true, Ordering::Relaxed);
        *self.turn.borrow_mut() = Some(turn);
    }

    /// The guest stands still: whoever waits has the next turn.
    pub(super) fn end_turn(&self) {
        if self.has_turn.load(Ordering::Relaxed) {
            self.has_turn.store(false, Ordering::Relaxed);
            let turn = self.turn.borrow_mut().take();
            drop(turn);
        }
    }

    /// Whether the guest stands still only to let others run.
    pub(super) fn is_yielding(&self) -> bool {
        self.yielding.load(Ordering::Relaxed)
    }

    fn used(&self) -> Duration {
        Duration::from_micros(self.used.load(Ordering::Relaxed))
    }

    pub(super) fn begin_slice(&self) {
        self.slice
            .store(thread_cpu_microseconds(), Ordering::Relaxed);
    }

    pub(super) fn end_slice(&self) {
        let began = self.slice.swap(0, Ordering::Relaxed);
        if began != 0 {
            let slice = thread_cpu_microseconds().saturating_sub(began);
            self.used.fetch_add(slice, Ordering::Relaxed);
        }
    }
}

/// Microseconds that this thread has run, plus one: zero stands for no time.
fn thread_cpu_microseconds() -> u64 {
    thread_cpu_time().as_micros() as u64 + 1
}

thread_local! {
    /// Of the call that was polled last on this thread.
    static PAUSES: Cell<bool> = const { Cell::new(false) };
}

/// Whether the call that was polled just now on this thread stands still only to let others run.
pub(crate) fn is_pausing() -> bool {
    PAUSES.get()
}

/// Which deadline a call has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overrun {
    Cpu,
    Wall,
}

impl fmt::Display for Overrun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cpu => "the call used up its CPU time",
            Self::Wall => "the call used up its wall time",
        })
    }
}

impl std::error::Error for Overrun {}

/// The deadlines of a call.
pub(super) struct Deadlines<'a> {
    pub(super) ticker: &'a Ticker,
    pub(super) shard: ShardIndex,
    pub(super) meter: &'a CpuMeter,
    pub(super) share: &'a Rc<Share>,
    pub(super) wall: Duration,
}

impl Deadlines<'_> {
    /// Runs a call to its end or to its first deadline. What is left of it then is dropped, which
    /// unwinds the guest.
    /// The call stays where it is pinned: an `async fn` that took it would hold room for it twice.
    pub(super) async fn run<T>(
        &self,
        mut call: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        self.meter.reset();
        if !self.share.may_begin() {
            // Boxed: every instance's task would hold room for it.
            let turn = Box::pin(self.share.turn()).await;
            self.meter.begin_turn(turn);
        }
        let first = poll_fn(|context| {
            let _running = self.ticker.enter(self.shard);
            let polled = call.as_mut().poll(context);
            self.meter.end_turn();
            self.note(&polled);
            Poll::Ready(polled)
        });
        match first.await {
            Poll::Ready(result) => result,
            // Boxed: few calls come here, and every instance's task would hold room for it.
            Poll::Pending => Box::pin(self.go_on(call)).await,
        }
    }

    async fn go_on<T>(
        &self,
        mut call: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        self.meter.end_slice();
        let mut timer = pin!(tokio::time::sleep(self.wall));
        poll_fn(|context| {
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Overrun::Wall.into()));
            }
            self.poll_slice(call.as_mut(), context)
        })
        .await
    }

    fn poll_slice<T>(
        &self,
        call: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
        context: &mut Context<'_>,
    ) -> Poll<wasmtime::Result<T>> {
        let _running = self.ticker.enter(self.shard);
        self.meter.begin_slice();
        let polled = call.poll(context);
        self.meter.end_slice();
        self.meter.end_turn();
        self.note(&polled);
        polled
    }

    fn note<T>(&self, polled: &Poll<T>) {
        PAUSES.set(polled.is_pending() && self.meter.is_yielding());
    }
}
