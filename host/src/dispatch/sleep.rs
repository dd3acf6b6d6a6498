//! Sleep: an instance without work for its route's `idle` loses its Store and its task. What is
//! known of it stays: its sessions, its inbox, its timers. The next thing that is put into the inbox
//! brings it back, with a fresh Store.
//!
//! Runs no guest: the instance's task does that, see `runner`.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::hosted::{Answer, Inbox, Wakefulness};
use super::{Counters, Dispatcher, Hosted, runner};
use crate::clock::{Alarm, Clock};
use crate::fault::Fault;
use crate::guest::Instance;
use crate::mailbox::Work;

/// How long an instance that wakes waits for a slot while all are taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// Measures how long an instance has nothing to do.
pub(super) struct Idleness<'a> {
    clock: &'a Clock,
    idle: Option<Duration>,
    alarm: Alarm<'a>,
}

impl<'a> Idleness<'a> {
    /// `idle`: how long it may last; `None` for ever.
    pub(super) fn new(clock: &'a Clock, idle: Option<Duration>) -> Self {
        let alarm = Alarm::new(clock);
        Self { clock, idle, alarm }
    }

    /// The next thing to do; `None` when there was nothing for too long.
    pub(super) async fn next(&mut self, inbox: &Inbox) -> Option<Work<Answer>> {
        let Some(idle) = self.idle else {
            return Some(inbox.next().await);
        };
        let mut until = None;
        poll_fn(|context| {
            if let Poll::Ready(work) = inbox.poll_next(context) {
                return Poll::Ready(Some(work));
            }
            let now = self.clock.now();
            let until = *until.get_or_insert(now + idle);
            if now >= until {
                self.alarm.unset();
                return Poll::Ready(None);
            }
            // One that was set for an earlier pause serves this one too: it looks again by then.
            // Setting it anew for every message would cost more.
            if !self.alarm.is_ahead_of(now) {
                self.alarm.set(until, context.waker());
            }
            Poll::Pending
        })
        .await
    }
}

impl Dispatcher {
    /// Brings back the instances that something is put in for, as long as the worker runs.
    pub(crate) async fn run_wakings(&self) {
        let rung = self.0.rung.borrow_mut().take();
        let mut rung = rung.expect("a worker does it once");
        while let Some(serial) = rung.recv().await {
            let hosted = self.0.hosted.borrow().get(&serial).cloned();
            if let Some(hosted) = hosted
                && hosted.wakefulness() == Wakefulness::Asleep
            {
                hosted.set_wakefulness(Wakefulness::Waking);
                tokio::task::spawn_local(runner::run(self.clone(), hosted));
            }
        }
    }

    /// The instance has lost its Store, and its task is about to end.
    pub(super) fn put_to_sleep(&self, hosted: &Hosted) {
        self.lose_store(hosted, Wakefulness::Asleep);
        let serial = hosted.serial();
        let sessions = hosted.members().count();
        tracing::debug!(serial, sessions, "instance sleeps");
        hosted.inbox().rest(serial, self.0.rings.clone());
    }

    /// It has no Store any more.
    pub(super) fn lose_store(&self, hosted: &Hosted, wakefulness: Wakefulness) {
        if hosted.wakefulness() == Wakefulness::Awake {
            self.0.counters.count_asleep(true);
            hosted.counts().change(|figures| {
                figures.instances_live_now -= 1;
                figures.instances_asleep_now += 1;
            });
        }
        hosted.set_wakefulness(wakefulness);
    }

    /// Gives a Store to an instance that sleeps. While all slots are taken it waits for one, in turn
    /// with the others of its tenant here: each look costs a part of a start.
    pub(super) async fn wake<Start>(
        &self,
        hosted: &Hosted,
        start: impl Fn() -> Start,
    ) -> Result<Instance, Fault>
    where
        Start: Future<Output = Result<Instance, Fault>>,
    {
        let began = Instant::now();
        let mut outcome = start().await;
        if is_full(&outcome) {
            let turns = self.turns_of(&hosted.route().tenant);
            let waiting = async {
                let _turn = turns.acquire().await;
                loop {
                    tokio::time::sleep(LOOK).await;
                    let outcome = start().await;
                    if !is_full(&outcome) {
                        return outcome;
                    }
                }
            };
            if let Ok(late) = tokio::time::timeout(PATIENCE, waiting).await {
                outcome = late;
            }
        }
        if outcome.is_ok() {
            hosted.set_wakefulness(Wakefulness::Awake);
            self.0.counters.count_asleep(false);
            hosted.counts().change(|figures| {
                figures.wakings += 1;
                figures.instances_asleep_now -= 1;
                figures.instances_live_now += 1;
            });
            let microseconds = began.elapsed().as_micros();
            tracing::debug!(serial = hosted.serial(), microseconds, "instance wakes");
        }
        outcome
    }

    /// One of a tenant's instances looks for a slot at a time: nobody else waits for one that is
    /// slow to start.
    fn turns_of(&self, tenant: &Arc<str>) -> Rc<Semaphore> {
        let mut waiting = self.0.waiting.borrow_mut();
        let turns = waiting.entry(Arc::clone(tenant));
        Rc::clone(turns.or_insert_with(|| Semaphore::new(1).into()))
    }
}

/// Whether there was no slot.
fn is_full(outcome: &Result<Instance, Fault>) -> bool {
    outcome.as_ref().is_err_and(Fault::is_for_want_of_room)
}

impl Counters {
    /// An instance falls asleep, or wakes.
    fn count_asleep(&self, falls: bool) {
        let (from, to) = if falls {
            (&self.instances_live, &self.instances_asleep)
        } else {
            self.instances_woken.fetch_add(1, Ordering::Relaxed);
            (&self.instances_asleep, &self.instances_live)
        };
        from.fetch_sub(1, Ordering::Relaxed);
        to.fetch_add(1, Ordering::Relaxed);
    }
}
