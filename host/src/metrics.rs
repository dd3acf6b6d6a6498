//! What is counted while messages flow, for each route of each worker: plain numbers that one thread
//! writes. No lock, no atomic, no I/O: whoever wants to know asks every worker and adds up.
//!
//! The number of rows is bounded by [`ROUTES_MAX`], what a row holds by its type: what peers and
//! handlers choose, such as close codes, is put into classes. Versions on trial have cells of their
//! own, however many rows there are: one that was counted with others could not be judged.

mod vitals;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wharf_protocol::{Ending, Initiator};

pub(crate) use self::vitals::{Stage, Trials, Vitals, Watch, latency_bound};
use crate::clock::thread_cpu_time;
use crate::fault::Fault;

/// Routes that are counted apart; what further ones do is counted together.
const ROUTES_MAX: usize = 1_000;
/// The tenant and the route under which the rest is counted.
const OTHERS: &str = "(others)";
/// One poll of a guest in so many is timed, because reading the clock is a system call.
const POLLS_A_SAMPLE: u32 = 64;
/// Batches of 1, of up to 2, 4, 8 and so on; the last holds all that are larger.
pub(crate) const BATCH_BUCKETS: usize = 12;
/// Pauses of up to so many seconds; a further bucket holds all that are longer.
const PAUSE_BOUNDS: [f64; 10] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0,
];

/// What became of a request for a session, once its route was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Handshake {
    /// 101.
    Accepted,
    /// A page of an origin that may not connect.
    ForeignOrigin,
    /// The handler's word, or its failure.
    Rejected,
    /// No room, or the server goes away.
    Unavailable,
    /// The tenant has as many sessions as it may, or has had as many handshakes.
    OverLimit,
}

impl Handshake {
    /// For metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::ForeignOrigin => "foreign_origin",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::OverLimit => "over_limit",
        }
    }
}

/// Numbers of one route. Only what is called "now" goes down again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) sessions_begun: u64,
    pub(crate) sessions_over: u64,
    /// Put into inboxes.
    pub(crate) messages_in: u64,
    pub(crate) bytes_in: u64,
    /// Of these, finished with.
    pub(crate) messages_done: u64,
    pub(crate) bytes_done: u64,
    /// Queued for a socket, or written.
    pub(crate) messages_out: u64,
    pub(crate) bytes_out: u64,
    /// Not queued because the session's queue was full.
    pub(crate) sends_refused: u64,
    /// Sessions that take less than is sent to them, now.
    pub(crate) slow_readers_now: i64,
    pub(crate) instances_live_now: i64,
    pub(crate) instances_asleep_now: i64,
    pub(crate) wakings: u64,
    /// Fresh instances for sessions whose old one had trapped.
    pub(crate) restarts: u64,
    /// Instances that the next version took the place of, and those where it could not.
    pub(crate) swaps_done: u64,
    pub(crate) swaps_failed: u64,
    /// How long each of these did not serve its sessions.
    pub(crate) swap_pauses: Pauses,
    /// Guest calls with messages, by how many, and the messages in them.
    pub(crate) batches: [u64; BATCH_BUCKETS],
    pub(crate) messages_batched: u64,
    /// An estimate from samples.
    pub(crate) guest_cpu: Duration,
    /// By class of the code, see [`code_label`], and who ended it.
    pub(crate) endings: BTreeMap<(u16, &'static str), u64>,
    pub(crate) handshakes: BTreeMap<Handshake, u64>,
    /// By [`crate::fault::Fault::label`].
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

impl Figures {
    /// Adds another worker's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sessions_begun += other.sessions_begun;
        self.sessions_over += other.sessions_over;
        self.messages_in += other.messages_in;
        self.bytes_in += other.bytes_in;
        self.messages_done += other.messages_done;
        self.bytes_done += other.bytes_done;
        self.messages_out += other.messages_out;
        self.bytes_out += other.bytes_out;
        self.sends_refused += other.sends_refused;
        self.slow_readers_now += other.slow_readers_now;
        self.instances_live_now += other.instances_live_now;
        self.instances_asleep_now += other.instances_asleep_now;
        self.wakings += other.wakings;
        self.restarts += other.restarts;
        self.swaps_done += other.swaps_done;
        self.swaps_failed += other.swaps_failed;
        self.swap_pauses.add(&other.swap_pauses);
        for (batches, more) in self.batches.iter_mut().zip(other.batches) {
            *batches += more;
        }
        self.messages_batched += other.messages_batched;
        self.guest_cpu += other.guest_cpu;
        add_all(&mut self.endings, &other.endings);
        add_all(&mut self.handshakes, &other.handshakes);
        add_all(&mut self.faults, &other.faults);
    }

    /// Sessions between their handshake and the end of their `on-close`.
    pub(crate) fn sessions_open(&self) -> u64 {
        self.sessions_begun.saturating_sub(self.sessions_over)
    }
}

/// How long something took, by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pauses {
    counts: [u64; PAUSE_BOUNDS.len() + 1],
    sum: Duration,
}

impl Pauses {
    /// One more.
    pub(crate) fn note(&mut self, pause: Duration) {
        let seconds = pause.as_secs_f64();
        self.counts[PAUSE_BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += pause;
    }

    /// Adds another worker's.
    fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// The bound of each class in seconds, with how many are in it.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = PAUSE_BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.counts)
    }

    /// All of them together.
    pub(crate) fn sum(&self) -> Duration {
        self.sum
    }
}

fn add_all<K: Copy + Ord>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        *to.entry(*key).or_default() += count;
    }
}

/// The numbers of one route on one worker.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    figures: RefCell<Figures>,
    polls: Cell<u32>,
}

impl Counts {
    /// Counts something.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.borrow_mut());
    }

    /// A message was put into an inbox.
    pub(crate) fn receive(&self, bytes: usize) {
        let mut figures = self.figures.borrow_mut();
        figures.messages_in += 1;
        figures.bytes_in += bytes as u64;
    }

    /// Messages are finished with.
    pub(crate) fn finish(&self, messages: usize, bytes: usize) {
        let mut figures = self.figures.borrow_mut();
        figures.messages_done += messages as u64;
        figures.bytes_done += bytes as u64;
    }

    /// Messages that were put into inboxes and are not finished with, and their bytes.
    pub(crate) fn unfinished(&self) -> (u64, u64) {
        let figures = self.figures.borrow();
        let messages = figures.messages_in.saturating_sub(figures.messages_done);
        let bytes = figures.bytes_in.saturating_sub(figures.bytes_done);
        (messages, bytes)
    }

    /// A guest call with so many messages is over.
    pub(crate) fn finish_batch(&self, messages: usize, bytes: usize) {
        self.finish(messages, bytes);
        let bucket = bucket_of(messages);
        let mut figures = self.figures.borrow_mut();
        figures.batches[bucket] += 1;
        figures.messages_batched += messages as u64;
    }

    /// A message is on its way to a socket.
    pub(crate) fn send(&self, bytes: usize) {
        self.send_all(1, bytes);
    }

    /// Some messages are on their way to a socket.
    pub(crate) fn send_all(&self, messages: usize, bytes: usize) {
        let mut figures = self.figures.borrow_mut();
        figures.messages_out += messages as u64;
        figures.bytes_out += bytes as u64;
    }

    /// A session has ended.
    pub(crate) fn end(&self, ending: &Ending) {
        let key = (code_class(ending.code), initiator_label(ending.initiator));
        self.change(|figures| *figures.endings.entry(key).or_default() += 1);
    }

    /// A request for a session has its answer.
    pub(crate) fn shake_hands(&self, outcome: Handshake) {
        self.change(|figures| *figures.handshakes.entry(outcome).or_default() += 1);
    }

    /// A guest has failed.
    pub(crate) fn fail(&self, fault: &Fault) {
        self.change(|figures| *figures.faults.entry(fault.label()).or_default() += 1);
    }

    /// Lets a guest run; measures some of the times and takes them for all.
    pub(crate) fn time<T>(&self, run: impl FnOnce() -> T) -> T {
        let polls = self.polls.get().wrapping_add(1);
        self.polls.set(polls);
        if !polls.is_multiple_of(POLLS_A_SAMPLE) {
            return run();
        }
        let began = thread_cpu_time();
        let outcome = run();
        let took = thread_cpu_time().saturating_sub(began);
        self.change(|figures| figures.guest_cpu += took * POLLS_A_SAMPLE);
        outcome
    }
}

/// A route's version on trial, and how far it is.
pub(crate) type VersionKey = (RouteKey, u64, Stage);

/// What topics have done since the server started; shared by all workers, who add what a guest call
/// caused at once.
#[derive(Debug, Default)]
pub(crate) struct TopicCounters {
    /// Messages that were queued for a member, or written.
    pub(crate) deliveries: AtomicU64,
    /// Messages that a member did not get: it had no room, or was closing.
    pub(crate) dropped: AtomicU64,
}

impl TopicCounters {
    /// Counts what became of some deliveries.
    pub(crate) fn add(&self, deliveries: u64, dropped: u64) {
        self.deliveries.fetch_add(deliveries, Ordering::Relaxed);
        if dropped > 0 {
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }
}

/// A tenant, and what its route is called.
pub(crate) type RouteKey = (Arc<str>, Arc<str>);

/// The numbers of all routes on one worker.
#[derive(Debug, Default)]
pub(crate) struct Books {
    routes: RefCell<BTreeMap<RouteKey, Rc<Counts>>>,
    /// One for each route that is here now.
    trials: RefCell<BTreeMap<RouteKey, Rc<Trials>>>,
    refusals: RefCell<BTreeMap<u16, u64>>,
}

/// What one worker has counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// By tenant and route.
    pub(crate) routes: BTreeMap<RouteKey, Figures>,
    /// HTTP requests that were refused, by status.
    pub(crate) refusals: BTreeMap<u16, u64>,
    /// Of versions on trial.
    pub(crate) trials: BTreeMap<VersionKey, Vitals>,
}

impl Report {
    /// Adds another worker's.
    pub(crate) fn add(&mut self, other: Self) {
        for (key, figures) in other.routes {
            self.routes.entry(key).or_default().add(&figures);
        }
        add_all(&mut self.refusals, &other.refusals);
        for (key, vitals) in other.trials {
            self.trials.entry(key).or_default().add(&vitals);
        }
    }
}

impl Books {
    /// The numbers of a route, which its name tells from others of the tenant.
    pub(crate) fn of(&self, tenant: &Arc<str>, route: &str) -> Rc<Counts> {
        let mut books = self.routes.borrow_mut();
        let mut key = (Arc::clone(tenant), Arc::from(route));
        if books.len() >= ROUTES_MAX && !books.contains_key(&key) {
            key = (OTHERS.into(), OTHERS.into());
        }
        Rc::clone(books.entry(key).or_default())
    }

    /// The cells of a route's versions on trial, which no other route shares.
    pub(crate) fn trials_of(&self, tenant: &Arc<str>, route: &str) -> Rc<Trials> {
        let key = (Arc::clone(tenant), Arc::from(route));
        Rc::clone(self.trials.borrow_mut().entry(key).or_default())
    }

    /// Drops the cells that nobody counts in.
    pub(crate) fn forget_unused_trials(&self) {
        let mut trials = self.trials.borrow_mut();
        trials.retain(|_, trials| Rc::strong_count(trials) > 1);
    }

    /// An HTTP request was refused.
    pub(crate) fn refuse(&self, status: u16) {
        *self.refusals.borrow_mut().entry(status).or_default() += 1;
    }

    /// All of it, as it is now.
    pub(crate) fn report(&self) -> Report {
        let routes = self.routes.borrow();
        let rows = routes.iter();
        Report {
            routes: rows
                .map(|(key, counts)| (key.clone(), counts.figures.borrow().clone()))
                .collect(),
            refusals: self.refusals.borrow().clone(),
            trials: self.trials(),
        }
    }

    /// Of versions on trial.
    pub(crate) fn trials(&self) -> BTreeMap<VersionKey, Vitals> {
        let trials = self.trials.borrow();
        let watching = trials.iter().filter(|(_, trials)| trials.is_any());
        let all = watching.flat_map(|(key, trials)| {
            let all = trials.all().into_iter();
            all.map(|(watch, vitals)| ((key.clone(), watch.generation, watch.stage), vitals))
        });
        all.collect()
    }
}

/// The largest batch that a bucket holds; the last has no bound.
pub(crate) fn bucket_bound(bucket: usize) -> f64 {
    if bucket + 1 == BATCH_BUCKETS {
        f64::INFINITY
    } else {
        f64::from(1_u32 << bucket)
    }
}

fn bucket_of(messages: usize) -> usize {
    let above = messages.max(1).next_power_of_two().trailing_zeros() as usize;
    above.min(BATCH_BUCKETS - 1)
}

/// Codes that an endpoint chooses freely share a class (RFC 6455, section 7.4.2).
fn code_class(code: u16) -> u16 {
    match code {
        1000..=1015 => code,
        3000..=3999 => 3000,
        4000..=4999 => 4000,
        _ => 0,
    }
}

/// A class of codes as a label.
pub(crate) fn code_label(class: u16) -> String {
    match class {
        3000 => "3xxx".to_owned(),
        4000 => "4xxx".to_owned(),
        0 => "other".to_owned(),
        code => code.to_string(),
    }
}

fn initiator_label(initiator: Initiator) -> &'static str {
    match initiator {
        Initiator::Peer => "peer",
        Initiator::Handler => "handler",
        Initiator::Host => "host",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_in_the_first_bucket_that_holds_it() {
        for (messages, bound) in [(1, 1.0), (2, 2.0), (3, 4.0), (16, 16.0), (17, 32.0)] {
            assert_eq!(bucket_bound(bucket_of(messages)), bound, "{messages}");
        }
        assert_eq!(bucket_of(1 << 20), BATCH_BUCKETS - 1);
    }

    #[test]
    fn a_pause_is_in_the_first_class_that_holds_it() {
        let mut pauses = Pauses::default();
        for microseconds in [0, 100, 101, 1_000, 1_001, 2_000_000] {
            pauses.note(Duration::from_micros(microseconds));
        }
        let mut twice = pauses.clone();
        twice.add(&pauses);
        assert_eq!(twice.sum(), Duration::from_micros(2 * 2_002_202));
        let counts: Vec<_> = twice.classes().filter(|(_, count)| *count > 0).collect();
        let expect = [(0.000_1, 4), (0.000_25, 2), (0.001, 2), (0.002_5, 2)];
        assert_eq!(counts[..4], expect);
        assert_eq!(counts[4], (f64::INFINITY, 2));
    }

    #[test]
    fn rows_and_their_labels_are_bounded() {
        let books = Books::default();
        let tenant: Arc<str> = "acme".into();
        for route in 0..2 * ROUTES_MAX {
            let counts = books.of(&tenant, &route.to_string());
            counts.receive(3);
            for code in 0..=u16::MAX / 8 {
                counts.change(|figures| {
                    *figures
                        .endings
                        .entry((code_class(code), "peer"))
                        .or_default() += 1;
                });
            }
            if route == 1 {
                assert_eq!(counts.figures.borrow().endings.len(), 19);
            }
        }
        let report = books.report();
        assert_eq!(report.routes.len(), ROUTES_MAX + 1);
        let mut sum = Figures::default();
        for figures in report.routes.values() {
            sum.add(figures);
        }
        assert_eq!(sum.messages_in, 2 * ROUTES_MAX as u64, "nothing is lost");
    }

    #[test]
    fn versions_on_trial_of_routes_without_a_row_are_counted_apart() {
        let (books, tenant) = (Books::default(), Arc::from("acme"));
        let watch = Watch {
            generation: 2,
            stage: Stage::Canary,
            slow_above: None,
        };
        let of_route = |route: u64| books.trials_of(&tenant, &route.to_string());
        let held: Vec<_> = (0..ROUTES_MAX as u64 + 2).map(of_route).collect();
        for (route, trials) in (0..).zip(&held) {
            trials.watch(&[watch]);
            (0..route % 7).for_each(|_| trials.refuse(2));
        }
        books.forget_unused_trials();
        for (key, vitals) in books.trials() {
            let route: u64 = key.0.1.parse().expect("a number");
            assert_eq!(vitals.traps, route % 7, "{route}");
        }
        assert_eq!(books.trials().len(), ROUTES_MAX + 2);
        drop(held);
        books.forget_unused_trials();
        assert!(books.trials().is_empty());
    }
}
