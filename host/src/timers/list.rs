//! The timers of one worker by owner and name, and in the order in which they are due. In memory
//! only, and rules only: it reads no clock.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::sync::mpsc::UnboundedReceiver;
use wharf_protocol::Instant;

use super::{Due, Notice, Owner};
use crate::clock::{Alarm, Clock};

/// One timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// On the worker's clock.
    pub(super) due_milliseconds: u64,
    /// Greater than that of every earlier timer of its owner and name.
    pub(super) generation: u64,
    pub(super) failures: u32,
}

type Key = (Owner, Rc<str>);

struct Kept {
    entry: Entry,
    /// Handed out and not settled yet.
    is_out: bool,
    wanted: Rc<Cell<bool>>,
}

/// All timers of a worker.
#[derive(Default)]
pub(super) struct List {
    kept: BTreeMap<Key, Kept>,
    due: BTreeSet<(u64, Key)>,
    /// Wakes who waits for what is due, when that may have changed.
    waiting: Option<Waker>,
}

impl List {
    /// Sets a timer, unless a later one is there.
    pub(super) fn insert(&mut self, owner: &Owner, name: &str, entry: Entry) {
        let key = (owner.clone(), Rc::from(name));
        if let Some(kept) = self.kept.get(&key) {
            if kept.entry.generation >= entry.generation {
                return;
            }
            kept.wanted.set(false);
            self.due.remove(&(kept.entry.due_milliseconds, key.clone()));
        }
        self.enter(key, entry);
    }

    fn enter(&mut self, key: Key, entry: Entry) {
        self.due.insert((entry.due_milliseconds, key.clone()));
        let kept = Kept {
            entry,
            is_out: false,
            wanted: Rc::new(Cell::new(true)),
        };
        self.kept.insert(key, kept);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Removes a timer, unless it is later than that generation.
    pub(super) fn remove(&mut self, owner: &Owner, name: &str, generation: u64) {
        let key = (owner.clone(), Rc::from(name));
        let Some(kept) = self.kept.get(&key) else {
            return;
        };
        if kept.entry.generation <= generation {
            kept.wanted.set(false);
            self.due.remove(&(kept.entry.due_milliseconds, key.clone()));
            self.kept.remove(&key);
        }
    }

    /// A timer that was due comes again, unless it was set anew or cancelled meanwhile.
    pub(super) fn put_back(&mut self, due: &Due, due_milliseconds: u64, failures: u32) {
        let key: Key = (due.owner.clone(), Rc::from(&*due.name));
        let is_same = |kept: &Kept| kept.is_out && kept.entry.generation == due.generation;
        if self.kept.get(&key).is_some_and(is_same) {
            let entry = Entry {
                due_milliseconds,
                generation: due.generation,
                failures,
            };
            self.enter(key, entry);
        }
    }

    pub(super) fn has(&self, owner: &Owner, name: &str) -> bool {
        self.kept.contains_key(&(owner.clone(), Rc::from(name)))
    }

    /// How many timers an owner has.
    pub(super) fn count(&self, owner: &Owner) -> usize {
        self.of(owner).count()
    }

    /// Removes all timers of an owner.
    pub(super) fn forget(&mut self, owner: &Owner) {
        let names: Vec<Key> = self.of(owner).map(|(key, _)| key.clone()).collect();
        for (owner, name) in names {
            self.remove(&owner, &name, u64::MAX);
        }
    }

    fn of(&self, owner: &Owner) -> impl Iterator<Item = (&Key, &Kept)> {
        let from = (owner.clone(), Rc::from(""));
        let range = self.kept.range(from..);
        range.take_while(move |((of, _), _)| of == owner)
    }

    /// Hands out the first timer that is due by then.
    pub(super) fn take(&mut self, now_milliseconds: u64) -> Option<Due> {
        let (due_milliseconds, key) = self.due.first()?.clone();
        if due_milliseconds > now_milliseconds {
            return None;
        }
        self.due.remove(&(due_milliseconds, key.clone()));
        let kept = self.kept.get_mut(&key).expect("what is due is kept");
        kept.is_out = true;
        Some(Due {
            owner: key.0,
            name: (*key.1).into(),
            generation: kept.entry.generation,
            failures: kept.entry.failures,
            wanted: Rc::clone(&kept.wanted),
        })
    }

    fn first_milliseconds(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }
}

/// Waits for the next timer that is due, and for notices meanwhile.
pub(super) async fn next(
    clock: &Clock,
    list: &RefCell<List>,
    mail: &mut UnboundedReceiver<Notice>,
    heed: impl Fn(Notice),
) -> Due {
    let mut alarm = Alarm::new(clock);
    poll_fn(|context| {
        while let Poll::Ready(Some(notice)) = mail.poll_recv(context) {
            heed(notice);
        }
        let mut list = list.borrow_mut();
        if let Some(due) = list.take(clock.now().as_millis()) {
            return Poll::Ready(due);
        }
        list.waiting = Some(context.waker().clone());
        match list.first_milliseconds() {
            Some(first) => alarm.set(Instant::from_millis(first), context.waker()),
            None => alarm.unset(),
        }
        Poll::Pending
    })
    .await
}
