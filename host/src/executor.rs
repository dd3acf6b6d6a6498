//! Runs many small futures of one kind as one task of tokio's: the sessions of a worker.
//!
//! A task of tokio's is aligned to 128 bytes and stands between other things in the heap; here a
//! future lies in a slab and costs its own size and a byte. Its waker is a number, copied and dropped
//! for nothing. Never runs a future on another thread than the one that it was spawned on; its waker
//! may be used on any. `unsafe` stands here for one call.

#![expect(
    unsafe_code,
    reason = "std asks for a promise about a waker that is made by hand"
)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use slab::Slab;
use tokio::task::coop::unconstrained;

/// Futures that are polled before tokio's other tasks get their turn. Not few: sessions that are read
/// one after the other share one call of their instance.
const POLLS_A_TURN: usize = 64;

/// What one future may do with its sockets before others get their turn, as tokio's tasks may.
const STEPS_A_POLL: u32 = 128;

/// A waker's number has the executor's in its upper half.
const INDEX_BITS: u32 = 32;
const _: () = assert!(usize::BITS == 2 * INDEX_BITS);

thread_local! {
    /// The queue of this thread's executor.
    static HERE: RefCell<Option<Rc<Queue>>> = const { RefCell::new(None) };
    /// What is left of [`STEPS_A_POLL`] to the future that is polled. Tasks of tokio's have its budget.
    static STEPS_LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Of all threads, by the executor's number: for those who wake from another one.
static DOORS: Mutex<Slab<Arc<Door>>> = Mutex::new(Slab::new());

/// One step with a socket. Pending when the future that is polled has had its turn; it is polled
/// again after the others.
pub(crate) fn poll_proceed(context: &Context<'_>) -> Poll<()> {
    match STEPS_LEFT.get() {
        0 => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
        left => {
            STEPS_LEFT.set(left - 1);
            Poll::Ready(())
        }
    }
}

/// The futures of one thread.
pub(crate) struct Executor<F> {
    /// `None` while one is polled.
    futures: RefCell<Slab<Option<F>>>,
    queue: Rc<Queue>,
    /// Its run is over: whatever comes now is dropped.
    is_over: Cell<bool>,
}

/// Which of an executor's futures are to be polled.
struct Queue {
    number: u32,
    ready: RefCell<Ready>,
    /// The task that polls them.
    driver: RefCell<Option<Waker>>,
    /// It will look anyway.
    is_awake: Cell<bool>,
    door: Arc<Door>,
}

#[derive(Default)]
struct Ready {
    line: VecDeque<u32>,
    /// For each index whether it stands in line.
    stands: Vec<bool>,
}

/// Where other threads leave word.
#[derive(Default)]
struct Door {
    /// Somebody did.
    was_used: AtomicBool,
    left: Mutex<Left>,
}

#[derive(Default)]
struct Left {
    woken: Vec<u32>,
    driver: Option<Waker>,
}

impl<F: Future<Output = ()> + Unpin> Executor<F> {
    /// The calling thread's executor. There is one on a thread.
    pub(crate) fn new() -> Self {
        let door = Arc::<Door>::default();
        let number = doors().insert(Arc::clone(&door));
        let queue = Rc::new(Queue {
            // No process has so many threads.
            number: number as u32,
            ready: RefCell::default(),
            driver: RefCell::default(),
            is_awake: Cell::new(false),
            door,
        });
        HERE.set(Some(Rc::clone(&queue)));
        Self {
            futures: RefCell::default(),
            queue,
            is_over: Cell::new(false),
        }
    }

    /// Polls it soon, and whenever it is woken, until it is over.
    pub(crate) fn spawn(&self, future: F) {
        if self.is_over.get() {
            return;
        }
        let index = self.futures.borrow_mut().insert(Some(future));
        self.queue.make_room_for(index);
        // No worker has so many sessions.
        self.queue.push(index as u32);
    }

    /// What polls the futures, for ever. One that panics is dropped and the others go on; all are
    /// dropped with it.
    pub(crate) async fn run(&self) {
        let _end = End(self);
        // tokio's budget would be one for all of them, and used up by the first ones.
        unconstrained(poll_fn(|context| {
            self.queue.begin(context.waker());
            for _ in 0..self.queue.count().min(POLLS_A_TURN) {
                match self.queue.pop() {
                    Some(index) => self.poll(index),
                    None => break,
                }
            }
            if !self.queue.ends() {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }))
        .await
    }

    fn poll(&self, index: u32) {
        let place = index as usize;
        let taken = self.futures.borrow_mut().get_mut(place).map(Option::take);
        // It was woken and is gone since.
        let Some(Some(mut future)) = taken else {
            return;
        };
        let waker = self.queue.waker(index);
        STEPS_LEFT.set(STEPS_A_POLL);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            Pin::new(&mut future).poll(&mut Context::from_waker(&waker))
        }));
        STEPS_LEFT.set(u32::MAX);
        if let Ok(Poll::Pending) = polled {
            self.futures.borrow_mut()[place] = Some(future);
            return;
        }
        self.futures.borrow_mut().remove(place);
        // The panic hook has told of it.
        drop(catch_unwind(AssertUnwindSafe(|| drop(future))));
    }
}

impl<F> Drop for Executor<F> {
    fn drop(&mut self) {
        let number = self.queue.number;
        // The number may be another thread's soon. A thread that ends may have forgotten it already.
        let _ = HERE.try_with(|here| here.borrow_mut().take_if(|queue| queue.number == number));
        drop(doors().try_remove(number as usize));
    }
}

/// The end of an executor's run.
struct End<'a, F>(&'a Executor<F>);

impl<F> Drop for End<'_, F> {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        drop(self.0.futures.take());
    }
}

impl Queue {
    fn make_room_for(&self, index: usize) {
        let stands = &mut self.ready.borrow_mut().stands;
        if stands.len() <= index {
            stands.resize(index + 1, false);
        }
    }

    fn push(&self, index: u32) {
        let mut ready = self.ready.borrow_mut();
        match ready.stands.get_mut(index as usize) {
            Some(stands) if !*stands => *stands = true,
            _ => return,
        }
        ready.line.push_back(index);
        if !self.is_awake.replace(true)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    fn pop(&self) -> Option<u32> {
        let mut ready = self.ready.borrow_mut();
        let index = ready.line.pop_front()?;
        ready.stands[index as usize] = false;
        Some(index)
    }

    fn count(&self) -> usize {
        self.ready.borrow().line.len()
    }

    /// The task that polls them does so now. Takes in what other threads have left.
    fn begin(&self, driver: &Waker) {
        self.is_awake.set(true);
        let mut known = self.driver.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(driver)) {
            self.door.left().driver = Some(driver.clone());
            *known = Some(driver.clone());
        }
        for index in self.door.take() {
            self.push(index);
        }
    }

    /// Whether none is left, so that the task sleeps until one is woken.
    fn ends(&self) -> bool {
        let ends = self.count() == 0;
        self.is_awake.set(!ends);
        ends
    }

    fn waker(&self, index: u32) -> Waker {
        let number = (self.number as usize) << INDEX_BITS | index as usize;
        let data = std::ptr::without_provenance(number);
        // SAFETY: the functions take the pointer for a number and never follow it; they may be called
        // on any thread and as often as somebody likes.
        unsafe { Waker::from_raw(RawWaker::new(data, &NUMBERED)) }
    }
}

impl Door {
    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, index: u32) {
        let mut left = self.left();
        left.woken.push(index);
        self.was_used.store(true, Ordering::Relaxed);
        if let Some(driver) = &left.driver {
            driver.wake_by_ref();
        }
    }

    fn take(&self) -> Vec<u32> {
        // Who uses it after this look wakes the driver once more.
        if !self.was_used.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut left = self.left();
        self.was_used.store(false, Ordering::Relaxed);
        std::mem::take(&mut left.woken)
    }
}

fn doors() -> MutexGuard<'static, Slab<Arc<Door>>> {
    DOORS.lock().unwrap_or_else(PoisonError::into_inner)
}

static NUMBERED: RawWakerVTable = RawWakerVTable::new(
    |number| RawWaker::new(number, &NUMBERED),
    wake,
    wake,
    |_| {},
);

/// Wakes the future of such a number; if it is gone, the next one that has it, which finds nothing to
/// do.
fn wake(number: *const ()) {
    let number = number.addr();
    let (executor, index) = ((number >> INDEX_BITS) as u32, number as u32);
    let is_here = HERE.try_with(|here| match &*here.borrow() {
        Some(queue) if queue.number == executor => {
            queue.push(index);
            true
        }
        _ => false,
    });
    // A thread that ends has no executor any more.
    if is_here.unwrap_or(false) {
        return;
    }
    let door = doors().get(executor as usize).cloned();
    if let Some(door) = door {
        door.leave(index);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::sync::oneshot;
    use tokio::task::yield_now;
    use tokio::time::{sleep, timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    type Any = Pin<Box<dyn Future<Output = ()>>>;

    /// Runs a test beside its executor.
    fn run<T: Future<Output = ()>>(test: impl FnOnce(Rc<Executor<Any>>) -> T) {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default());
        runtime.expect("a runtime can be built").block_on(async {
            let executor = Rc::new(Executor::new());
            let driven = Rc::clone(&executor);
            tokio::task::spawn_local(async move { driven.run().await });
            let done = timeout(SOON, test(executor)).await;
            done.expect("nobody waits for ever");
        });
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Counts its drops.
    #[derive(Clone, Default)]
    struct Drops(Rc<Cell<usize>>);

    impl Drop for Drops {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn each_goes_on_when_it_is_woken() {
        const MANY: usize = 3 * POLLS_A_TURN;
        run(|executor| async move {
            let ended = Rc::new(Cell::new(0));
            let mut senders = Vec::new();
            for number in 0..MANY {
                let (sender, receiver) = oneshot::channel();
                let ended = Rc::clone(&ended);
                executor.spawn(Box::pin(async move {
                    assert_eq!(receiver.await, Ok(number));
                    ended.set(ended.get() + 1);
                }));
                senders.push(sender);
            }
            yield_now().await;
            for (number, sender) in senders.into_iter().enumerate().rev() {
                sender.send(number).expect("it waits");
                until(|| ended.get() == MANY - number).await;
            }
            assert!(executor.futures.borrow().is_empty());
        });
    }

    #[test]
    fn one_that_always_has_more_to_do_leaves_turns_to_all_others() {
        run(|executor| async move {
            let (rounds, of_busy) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let counted = Rc::clone(&of_busy);
            executor.spawn(Box::pin(poll_fn(move |context| {
                counted.set(counted.get() + 1);
                context.waker().wake_by_ref();
                Poll::Pending
            })));
            let counted = Rc::clone(&rounds);
            executor.spawn(Box::pin(async move {
                for _ in 0..100 {
                    counted.set(counted.get() + 1);
                    yield_now().await;
                }
            }));
            // The test's own task is one of tokio's.
            until(|| rounds.get() == 100).await;
            assert!(of_busy.get() >= 100);
        });
    }

    #[test]
    fn another_thread_may_wake() {
        run(|executor| async move {
            let (done, mut threads) = (Rc::new(Cell::new(0)), Vec::new());
            for _ in 0..100 {
                let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
                let woken = Arc::new(AtomicBool::new(false));
                let (of_thread, counted) = (Arc::clone(&woken), Rc::clone(&done));
                threads.push(std::thread::spawn(move || {
                    let waker = receiver.recv().expect("it is polled");
                    of_thread.store(true, Ordering::Release);
                    waker.wake();
                }));
                let mut sender = Some(sender);
                executor.spawn(Box::pin(async move {
                    poll_fn(|context| {
                        if let Some(sender) = sender.take() {
                            sender.send(context.waker().clone()).expect("it waits");
                        }
                        match woken.load(Ordering::Acquire) {
                            true => Poll::Ready(()),
                            false => Poll::Pending,
                        }
                    })
                    .await;
                    counted.set(counted.get() + 1);
                }));
            }
            until(|| done.get() == 100).await;
            for thread in threads {
                thread.join().expect("it has woken");
            }
        });
    }

    #[test]
    fn one_that_panics_is_dropped_alone() {
        run(|executor| async move {
            let (drops, ended) = (Drops::default(), Rc::new(Cell::new(false)));
            let (held, told) = (drops.clone(), Rc::clone(&ended));
            executor.spawn(Box::pin(async move {
                let _held = held;
                yield_now().await;
                panic!("as the test wants it");
            }));
            executor.spawn(Box::pin(async move {
                sleep(Duration::from_millis(5)).await;
                told.set(true);
            }));
            until(|| ended.get()).await;
            assert_eq!(drops.0.get(), 1);
            assert!(executor.futures.borrow().is_empty());
        });
    }

    #[test]
    fn all_are_dropped_when_the_run_ends_and_whoever_comes_later_too() {
        let (drops, executor) = (Drops::default(), Executor::<Any>::new());
        let endless = |drops: &Drops| {
            let held = drops.clone();
            Box::pin(async move {
                let _held = held;
                std::future::pending::<()>().await;
            })
        };
        for _ in 0..3 {
            executor.spawn(endless(&drops));
        }
        let mut driver = Box::pin(executor.run());
        let polled = driver
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        assert_eq!(drops.0.get(), 0);
        drop(driver);
        assert_eq!(drops.0.get(), 3);
        executor.spawn(endless(&drops));
        assert_eq!(drops.0.get(), 4);
    }

    #[test]
    fn a_waker_that_outlives_its_future_harms_nobody() {
        run(|executor| async move {
            let (sender, mut kept) = oneshot::channel();
            let mut sender = Some(sender);
            executor.spawn(Box::pin(poll_fn(move |context| {
                let sender = sender.take().expect("it is polled once");
                sender.send(context.waker().clone()).expect("it is awaited");
                Poll::Ready(())
            })));
            until(|| executor.futures.borrow().is_empty()).await;
            let waker = kept.try_recv().expect("it was sent");
            waker.wake_by_ref();
            let (sender, receiver) = oneshot::channel();
            let ended = Rc::new(Cell::new(false));
            let told = Rc::clone(&ended);
            // Has the same number.
            executor.spawn(Box::pin(async move {
                assert_eq!(receiver.await, Ok(()));
                told.set(true);
            }));
            yield_now().await;
            waker.wake_by_ref();
            yield_now().await;
            assert!(!ended.get());
            sender.send(()).expect("it waits");
            until(|| ended.get()).await;
            drop(executor);
            waker.wake();
        });
    }

    #[test]
    fn one_may_spawn_another() {
        run(|executor| async move {
            let (ended, inner) = (Rc::new(Cell::new(false)), Rc::clone(&executor));
            let told = Rc::clone(&ended);
            executor.spawn(Box::pin(async move {
                inner.spawn(Box::pin(async move { told.set(true) }));
            }));
            until(|| ended.get()).await;
        });
    }
}
