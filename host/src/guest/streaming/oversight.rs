//! The deadlines of a Store that is entered once and for long, held outside of it.
//!
//! CPU time is counted from one wake-up to the next wait: what a guest does about one message, or
//! about whatever else it waited for, has the budget of a call. Letting others run is no wait. Wall
//! time is only counted while the guest holds up its Store although somebody wants something of
//! it; a conversation that waits for messages may do so for ever.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::super::call::{CpuMeter, Overrun};
use super::super::ticker::{ShardIndex, Ticker};
use crate::budget::{Share, Waiting};
use crate::capability::Services;

/// What watches over one Store.
pub(super) struct Oversight<'a> {
    pub(super) ticker: &'a Ticker,
    pub(super) shard: ShardIndex,
    pub(super) meter: &'a CpuMeter,
    pub(super) share: &'a Rc<Share>,
    pub(super) wall: Duration,
    pub(super) services: &'a Services,
    /// Set whenever who directs the Store was asked: the guest does not hold it up.
    pub(super) attended: &'a Cell<bool>,
}

impl Oversight<'_> {
    /// Runs the Store to its end or to its first deadline. What is left of it then is dropped,
    /// which unwinds the guest.
    pub(super) async fn run<T>(
        &self,
        mut store: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        let mut noting: Option<Noting> = None;
        let mut goes_on = false;
        let mut held_up: Option<Pin<Box<Sleep>>> = None;
        let mut turn: Option<Pin<Box<Waiting>>> = None;
        poll_fn(|context| {
            if turn.is_none() && !goes_on && !self.share.may_begin() {
                turn = Some(Box::pin(self.share.turn()));
            }
            if let Some(waiting) = &mut turn {
                self.meter
                    .begin_turn(ready!(waiting.as_mut().poll(context)));
                turn = None;
            }
            let noting = match &noting {
                Some(noting) if noting.note.inner.will_wake(context.waker()) => noting,
                _ => noting.insert(Noting::new(context.waker())),
            };
            self.attended.set(false);
            let polled = self.poll(store.as_mut(), noting, goes_on);
            goes_on = noting.note.noted.load(Ordering::Relaxed) || self.meter.is_yielding();
            // What is written now may wake the Store, which is no work that it had left.
            self.services.release();
            if polled.is_ready() {
                return polled;
            }
            if self.attended.get() {
                held_up = None;
                return Poll::Pending;
            }
            let held_up = held_up.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.wall)));
            match held_up.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(Overrun::Wall.into())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// `goes_on`: the guest did not wait since the last time, it only let others run.
    fn poll<T>(
        &self,
        store: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
        noting: &Noting,
        goes_on: bool,
    ) -> Poll<wasmtime::Result<T>> {
        noting.note.noted.store(false, Ordering::Relaxed);
        let _running = self.ticker.enter(self.shard);
        if goes_on {
            self.meter.begin_slice();
        } else {
            // Reading the clock would cost every message: the first epoch begins the slice.
            self.meter.reset();
            self.services.lane.cork.begin_call();
        }
        let polled = store.poll(&mut Context::from_waker(&noting.waker));
        self.meter.end_slice();
        self.meter.end_turn();
        polled
    }
}

/// A waker that notes when the Store wakes itself: it has more to do and did not wait.
struct Noting {
    note: Arc<Note>,
    waker: Waker,
}

struct Note {
    noted: AtomicBool,
    inner: Waker,
}

impl Noting {
    fn new(inner: &Waker) -> Self {
        let note = Arc::new(Note {
            noted: AtomicBool::new(false),
            inner: inner.clone(),
        });
        let waker = Waker::from(Arc::clone(&note));
        Self { note, waker }
    }
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.noted.store(true, Ordering::Relaxed);
        self.inner.wake_by_ref();
    }
}
