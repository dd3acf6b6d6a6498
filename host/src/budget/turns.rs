//! Whose guest runs next on a worker, where tenants compete for its processor: shares by weight, and
//! one at a time of those that use much.
//!
//! A guest that is interrupted waits for its turn here, as do calls of a tenant that has used more
//! than its share of the last moments while others ran. Turns go to the tenant that has had least for
//! its weight, and everything else of the worker that is ready runs in between, for as long as others
//! have calls. So whoever uses little waits for one turn at most, however many spin.
//!
//! CPU time is counted in epochs: one that ends while a guest runs is its tenant's. A call that
//! takes a hundredth of an epoch meets its end in one of a hundred cases, so the sum is right without
//! reading a clock for any of them. Never shared between threads; calls nobody but wakers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What is looked back on to see who uses much.
const WINDOW: Duration = Duration::from_millis(32);
/// What a microsecond is worth to a tenant of weight one.
const MICROSECOND: u64 = 1 << 10;
/// For so many windows after others ran on the worker turns are short: whoever has a message every
/// second does not wait longer because nobody had one for a moment.
const COMPANY: u64 = 32;
/// No tenant's number.
const NOBODY: u32 = 0;
/// How often in a row the rest of the worker runs without another tenant's call before a guest goes
/// on: first its sockets are read, then the instances run that what was read is for.
const QUIET_ROUNDS: u8 = 2;
/// How often it runs at most. Who has more calls than that uses more than its share.
const MOST_ROUNDS: u8 = 32;

/// The turns of one worker.
#[derive(Debug)]
pub(crate) struct Turns {
    origin: Instant,
    /// Whose guest ran last, by its number.
    last: Cell<u32>,
    shares: Cell<u32>,
    window: Cell<u64>,
    /// The weights of those whose guests ran in this window.
    active_weight: Cell<u64>,
    /// The first window in which nobody but whose guest ran last counts as present.
    alone_from: Cell<u64>,
    /// Somebody has the turn.
    given: Cell<bool>,
    /// What the tenant whose turn it was last had used for its weight.
    virtual_time: Cell<u64>,
    /// Tenants of which somebody waits.
    competing: RefCell<Vec<Rc<Share>>>,
}

impl Turns {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            origin: Instant::now(),
            last: Cell::new(NOBODY),
            shares: Cell::new(0),
            window: Cell::new(1),
            active_weight: Cell::new(0),
            alone_from: Cell::new(0),
            given: Cell::new(false),
            virtual_time: Cell::new(0),
            competing: RefCell::default(),
        })
    }

    /// The share of one more tenant.
    pub(crate) fn share(self: &Rc<Self>, weight: u32) -> Rc<Share> {
        let number = self.shares.get() + 1;
        self.shares.set(number);
        Rc::new(Share {
            turns: Rc::clone(self),
            number,
            weight: Cell::new(weight),
            window: Cell::new(0),
            used_us: Cell::new(0),
            is_over: Cell::new(false),
            is_greedy: Cell::new(false),
            virtual_time: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// Begins a new window if the last one is over.
    fn look_at(&self, now: Duration) {
        let window = 1 + (now.as_micros() / WINDOW.as_micros()) as u64;
        if window != self.window.get() {
            self.window.set(window);
            self.active_weight.set(0);
        }
    }

    /// A guest of this tenant runs now; whether those of others did since one of its own.
    fn now_runs(&self, number: u32) -> bool {
        let last = self.last.replace(number);
        let others_did = last != number && last != NOBODY;
        if others_did {
            self.alone_from.set(self.window.get() + COMPANY);
        }
        others_did
    }

    /// Gives the turn to the tenant that has had least for its weight.
    fn give(&self) {
        while !self.given.get() {
            let mut competing = self.competing.borrow_mut();
            let next = competing.iter().enumerate();
            let next = next.min_by_key(|(_, share)| share.virtual_time.get());
            let Some((place, share)) = next.map(|(place, share)| (place, Rc::clone(share))) else {
                return;
            };
            let waiter = share.waiting.borrow_mut().pop_front();
            if share.waiting.borrow().is_empty() {
                competing.swap_remove(place);
            }
            drop(competing);
            self.virtual_time.set(share.virtual_time.get());
            if let Some(waiter) = waiter.filter(|waiter| !waiter.is_gone.get()) {
                self.given.set(true);
                waiter.has_turn.set(true);
                if let Some(waker) = waiter.waker.borrow_mut().take() {
                    waker.wake();
                }
            }
        }
    }
}

/// One tenant's share of one worker.
#[derive(Debug)]
pub(crate) struct Share {
    turns: Rc<Turns>,
    number: u32,
    weight: Cell<u32>,
    /// The window that what follows is about.
    window: Cell<u64>,
    used_us: Cell<u64>,
    /// It has used more than its share in this window.
    is_over: Cell<bool>,
    /// It has in this window or the one before: its calls wait for their turns.
    is_greedy: Cell<bool>,
    /// Time for its weight.
    virtual_time: Cell<u64>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug, Default)]
struct Waiter {
    waker: RefCell<Option<Waker>>,
    has_turn: Cell<bool>,
    is_gone: Cell<bool>,
}

impl Share {
    /// Changes the weight.
    pub(crate) fn set_weight(&self, weight: u32) {
        self.weight.set(weight);
    }

    /// A call into a guest begins. Whether it may at once; otherwise it waits for a [`Share::turn`].
    pub(crate) fn may_begin(&self) -> bool {
        if self.turns.last.get() != self.number {
            self.turns.now_runs(self.number);
            self.enter_window();
        }
        !self.is_greedy.get() || !self.is_still_greedy()
    }

    #[cold]
    fn is_still_greedy(&self) -> bool {
        self.turns.look_at(self.turns.origin.elapsed());
        self.enter_window();
        self.is_greedy.get()
    }

    /// An epoch ended while a guest of the tenant ran.
    pub(crate) fn tick(&self, epoch: Duration) {
        self.tick_at(self.turns.origin.elapsed(), epoch);
    }

    fn tick_at(&self, now: Duration, epoch: Duration) {
        let weight = u64::from(self.weight.get());
        let epoch = epoch.as_micros() as u64;
        self.turns.look_at(now);
        self.turns.now_runs(self.number);
        self.enter_window();
        self.used_us.set(self.used_us.get() + epoch);
        let worth = epoch * MICROSECOND / weight;
        self.virtual_time.set(self.virtual_time.get() + worth);
        let active = self.turns.active_weight.get();
        // Alone it may have everything.
        if active > weight && self.used_us.get() * active > WINDOW.as_micros() as u64 * weight {
            self.is_over.set(true);
            self.is_greedy.set(true);
        }
    }

    fn enter_window(&self) {
        let (window, turns) = (self.turns.window.get(), &self.turns);
        let before = self.window.replace(window);
        if before == window {
            return;
        }
        turns
            .active_weight
            .set(turns.active_weight.get() + u64::from(self.weight.get()));
        self.used_us.set(0);
        let was_over = self.is_over.replace(false);
        self.is_greedy.set(was_over && before + 1 == window);
    }

    /// Whether the tenant uses more than its share.
    pub(crate) fn is_greedy(&self) -> bool {
        self.is_greedy.get()
    }

    /// Whether others have run on the worker lately, whom a long turn would hold up.
    pub(crate) fn has_company(&self) -> bool {
        self.turns.window.get() < self.turns.alone_from.get()
    }

    /// Waits for the turn of a guest of this tenant.
    pub(crate) fn turn(self: &Rc<Self>) -> Waiting {
        Waiting {
            share: Rc::clone(self),
            waiter: Rc::default(),
            between: None,
        }
    }

    fn compete(self: &Rc<Self>, waiter: &Rc<Waiter>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            // What it did not use while it had nothing to do does not add up.
            let least = self.turns.virtual_time.get();
            self.virtual_time.set(self.virtual_time.get().max(least));
            self.turns.competing.borrow_mut().push(Rc::clone(self));
        }
        waiting.push_back(Rc::clone(waiter));
        drop(waiting);
        self.turns.give();
    }
}

/// Resolves when it is the guest's turn and all that was ready before has run.
#[must_use = "it does nothing unless it is polled"]
pub(crate) struct Waiting {
    share: Rc<Share>,
    waiter: Rc<Waiter>,
    /// `None` before the first poll.
    between: Option<Between>,
}

/// How often the others have run since the turn came.
#[derive(Debug, Default)]
struct Between {
    rounds: u8,
    quiet_rounds: u8,
}

impl Between {
    /// Whether the others run once more before the turn; `they_had_calls` since the last look.
    fn goes_on(&mut self, they_had_calls: bool) -> bool {
        let was_quiet = self.rounds > 0 && !they_had_calls;
        self.quiet_rounds = if was_quiet { self.quiet_rounds + 1 } else { 0 };
        self.rounds += 1;
        self.quiet_rounds < QUIET_ROUNDS && self.rounds <= MOST_ROUNDS
    }
}

impl Future for Waiting {
    type Output = Turn;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn> {
        let this = self.get_mut();
        if this.between.is_none() {
            this.between = Some(Between::default());
            this.share.compete(&this.waiter);
        }
        if !this.waiter.has_turn.get() {
            *this.waiter.waker.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        let they_had_calls = this.share.turns.now_runs(this.share.number);
        let between = this.between.get_or_insert_default();
        if between.goes_on(they_had_calls) {
            // The runtime polls it again once nothing else is ready and it has looked at its sockets.
            let mut yielded = pin!(tokio::task::yield_now());
            let _ = yielded.as_mut().poll(context);
            return Poll::Pending;
        }
        this.waiter.has_turn.set(false);
        Poll::Ready(Turn(Rc::clone(&this.share.turns)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiter.is_gone.set(true);
        if self.waiter.has_turn.get() {
            drop(Turn(Rc::clone(&self.share.turns)));
        }
    }
}

/// The turn of a guest, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Rc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.given.set(false);
        self.0.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_tenant_alone_may_have_everything() {
        let turns = Turns::new();
        let only = turns.share(100);
        for now in 0..1_000 {
            assert!(only.may_begin());
            only.tick_at(at(now), at(1));
        }
    }

    #[test]
    fn who_uses_more_than_its_share_beside_others_waits_until_it_does_not() {
        let turns = Turns::new();
        let [loud, calm] = [100, 100].map(|weight| turns.share(weight));
        let mut waited = 0;
        for now in 0..1_000 {
            assert!(calm.may_begin(), "at {now}");
            waited += u32::from(!loud.is_greedy());
            loud.tick_at(at(now), at(1));
        }
        assert!(waited < 40, "it was noticed late: {waited}");
        loud.turns.look_at(at(1_100));
        loud.enter_window();
        assert!(!loud.is_greedy());
    }

    #[test]
    fn short_epochs_count_for_less() {
        let turns = Turns::new();
        let [loud, calm] = [100, 100].map(|weight| turns.share(weight));
        for quarter in 0..400 {
            let now = Duration::from_micros(250 * quarter);
            assert!(calm.may_begin() && !loud.is_greedy(), "at {now:?}");
            // Two of five are less than half.
            if quarter % 5 < 2 {
                loud.tick_at(now, Duration::from_micros(250));
            }
        }
    }

    #[test]
    fn weights_decide_how_much_is_much() {
        let turns = Turns::new();
        let [small, large] = [100, 300].map(|weight| turns.share(weight));
        for now in 0..960 {
            large.enter_window();
            small.enter_window();
            // A third is more than a quarter, two thirds are less than three.
            match now % 3 {
                0 => small.tick_at(at(now), at(1)),
                _ => large.tick_at(at(now), at(1)),
            }
            if now > 64 {
                assert!(small.is_greedy(), "at {now}");
                assert!(!large.is_greedy(), "at {now}");
            }
        }
    }

    /// Lets the guests of tenants with these weights spin; how many turns each tenant had of 400.
    fn shares(guests: [(u32, usize); 2]) -> [u64; 2] {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build_local(tokio::runtime::LocalOptions::default());
        let had = Rc::new([Cell::new(0_u64), Cell::new(0)]);
        runtime.expect("a runtime").block_on(async {
            let turns = Turns::new();
            for (tenant, (weight, count)) in guests.into_iter().enumerate() {
                let share = turns.share(weight);
                for _ in 0..count {
                    let (share, had) = (Rc::clone(&share), Rc::clone(&had));
                    tokio::task::spawn_local(async move {
                        loop {
                            let turn = share.turn().await;
                            share.tick(at(1));
                            had[tenant].set(had[tenant].get() + 1);
                            drop(turn);
                        }
                    });
                }
            }
            while had.iter().map(Cell::get).sum::<u64>() < 400 {
                tokio::task::yield_now().await;
            }
        });
        [had[0].get(), had[1].get()]
    }

    #[test]
    fn turns_are_shared_by_tenants_and_not_by_guests() {
        for (guests, expect) in [
            ([(100, 50), (100, 1)], [200, 200]),
            ([(100, 1), (300, 7)], [100, 300]),
            ([(100, 3), (1, 3)], [396, 4]),
        ] {
            let had = shares(guests);
            for (had, expect) in had.into_iter().zip(expect) {
                assert!(had.abs_diff(expect) <= 4, "{guests:?}: {had}, {expect}");
            }
        }
    }

    #[test]
    fn a_guest_goes_on_once_the_others_have_no_more_calls() {
        let turns = Turns::new();
        let [loud, calm] = [100, 100].map(|weight| turns.share(weight));
        let mut context = Context::from_waker(Waker::noop());
        for (calls, expect) in [(0, 2), (1, 3), (7, 9), (200, MOST_ROUNDS)] {
            let mut waiting = pin!(loud.turn());
            let mut rounds = 0;
            while waiting.as_mut().poll(&mut context).is_pending() {
                rounds += 1;
                assert!(rounds > calls || calm.may_begin());
            }
            assert_eq!(rounds, expect, "{calls} calls");
        }
    }

    #[test]
    fn others_are_company_for_a_while() {
        let turns = Turns::new();
        let [loud, calm] = [100, 100].map(|weight| turns.share(weight));
        let tick = |window: u32| {
            loud.tick_at(WINDOW * window, Duration::from_millis(1));
            loud.has_company()
        };
        assert!((0..100).all(|window| !tick(window)), "nobody else ran");
        assert!(calm.may_begin());
        assert!((100..131).all(tick), "somebody ran");
        assert!(!tick(132));
    }

    #[test]
    fn who_leaves_while_it_waits_takes_no_turn_along() {
        let turns = Turns::new();
        let share = turns.share(100);
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = [(); 3].map(|()| Box::pin(share.turn()));
        for one in &mut waiting {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        let [first, second, third] = waiting;
        assert!(first.waiter.has_turn.get());
        drop(second);
        drop(first);
        assert!(third.waiter.has_turn.get());
        drop(third);
        assert!(!turns.given.get());
    }
}
