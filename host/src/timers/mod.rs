//! Timers: who set which, when each is due, and what is stored of them.
//!
//! Knows neither wasm nor instances: [`Timers::due`] says what is due, and whoever owns the
//! instances calls them and says what came of it. A timer that is stored is kept twice: in the
//! database, and in the list of the one worker that owns its instance. The database is written
//! first; the list follows, and generations keep it right when messages of two workers cross.

mod list;
mod stored;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::list::{Entry, List};
use self::stored::Row;
use crate::budget::Limit;
use crate::mailbox::Lane;
use crate::storage::{Storage, StorageError, StorageSettings};

/// The longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Timers of one instance.
pub(crate) const TIMERS_MAX: usize = 1_000;
/// The furthest time: ten years. It keeps every sum of times far from overflow.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// A timer whose handler failed so often is given up.
pub(crate) const TRIES_MAX: u32 = 10;
/// After the first failure; doubled after each further one.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a timer was not set or cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerError {
    NameTooLong,
    TooFar,
    /// So many are allowed.
    TooMany(u64),
    /// The database failed.
    Storage,
}

impl From<StorageError> for TimerError {
    fn from(_: StorageError) -> Self {
        Self::Storage
    }
}

/// Whose a timer is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// An instance for one session, by its serial number on its worker: nothing is stored.
    Session(u64),
    /// An instance that can be found again.
    Home(Arc<Home>),
}

/// Where an instance can be found again, on any run of the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Home {
    pub(crate) tenant: Arc<str>,
    /// The route's name, the same after a restart.
    pub(crate) route: Arc<str>,
    /// The instance's key; empty for a shared one.
    pub(crate) key: Box<str>,
    /// Which worker owns its timers now.
    pub(crate) worker: usize,
}

/// A timer that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) owner: Owner,
    pub(crate) name: Box<str>,
    generation: u64,
    /// How often its handler has failed.
    failures: u32,
    /// Turns false when it is cancelled or set anew before its call begins.
    pub(crate) wanted: Rc<Cell<bool>>,
}

/// What came of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The handler has returned.
    Done,
    /// The handler failed.
    Failed,
    /// The handler was never asked: its instance could not start or ended before.
    NotAsked,
}

/// What a worker is told of the timers that it owns and another one wrote.
enum Notice {
    Set(Arc<Home>, Box<str>, Entry),
    Cancelled(Arc<Home>, Box<str>, u64),
}

/// What a server's timers are made of; shared by its workers.
#[derive(Clone)]
pub(crate) struct TimerParts {
    storage: Storage,
    tenant_timers_max: u64,
}

impl TimerParts {
    /// Makes the tables if they are not there. Waits for the disk: not for a worker.
    pub(crate) fn new(storage: Storage, settings: &StorageSettings) -> Result<Self, StorageError> {
        storage.write_blocking(stored::prepare)?;
        Ok(Self {
            storage,
            tenant_timers_max: settings.tenant_timers_max,
        })
    }
}

/// How workers tell each other; one for each.
pub(crate) struct Mail(UnboundedReceiver<Notice>);

/// Where each worker is told, in order.
#[derive(Clone)]
pub(crate) struct Addresses(Arc<[UnboundedSender<Notice>]>);

/// The addresses of so many workers, and the inlet of each.
pub(crate) fn addresses(workers: usize) -> (Addresses, Vec<Mail>) {
    let (senders, inlets): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded_channel()).unzip();
    let mail = inlets.into_iter().map(Mail).collect();
    (Addresses(senders.into()), mail)
}

/// The timers of one worker.
pub(crate) struct Timers {
    worker: usize,
    lane: Rc<Lane>,
    /// Without a storage only instances for one session have timers.
    parts: Option<TimerParts>,
    addresses: Addresses,
    mail: RefCell<Option<Mail>>,
    list: RefCell<List>,
    generation: Cell<u64>,
}

impl Timers {
    pub(crate) fn new(
        worker: usize,
        lane: Rc<Lane>,
        parts: Option<TimerParts>,
        addresses: Addresses,
        mail: Mail,
    ) -> Self {
        Self {
            worker,
            lane,
            parts,
            addresses,
            mail: RefCell::new(Some(mail)),
            list: RefCell::default(),
            generation: Cell::new(0),
        }
    }

    /// Sets a timer; durable when it returns, if its owner can be found again.
    pub(crate) async fn set(
        &self,
        owner: &Owner,
        name: &str,
        after: Duration,
    ) -> Result<(), TimerError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(TimerError::NameTooLong);
        }
        if after > DELAY_MAX {
            return Err(TimerError::TooFar);
        }
        let home = match owner {
            Owner::Session(_) => return self.set_unstored(owner, name, after),
            Owner::Home(home) => home,
        };
        let parts = self.parts.as_ref().ok_or(TimerError::Storage)?;
        let due_unix = unix_milliseconds() + milliseconds(after);
        let (of_row, of_name) = (Arc::clone(home), name.to_owned());
        let budget = Arc::clone(self.lane.tenant(&home.tenant).budget());
        let own_max = budget.limits().stored_timers_max;
        let tenant_max = own_max.unwrap_or(parts.tenant_timers_max);
        let room = parts.storage.room_for(name.len()).await;
        let written = parts.storage.write(room, move |transaction| {
            stored::set(transaction, &of_row, &of_name, due_unix, tenant_max)
        });
        let generation = written.await?.inspect_err(|error| {
            if matches!(error, TimerError::TooMany(_)) {
                budget.hit(Limit::Stored);
            }
        })?;
        let entry = Entry {
            due_milliseconds: self.at(due_unix),
            generation,
            failures: 0,
        };
        self.tell(home, |home| Notice::Set(home, name.into(), entry));
        Ok(())
    }

    fn set_unstored(&self, owner: &Owner, name: &str, after: Duration) -> Result<(), TimerError> {
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        let entry = Entry {
            due_milliseconds: self.lane.clock.now().as_millis() + milliseconds(after),
            generation,
            failures: 0,
        };
        let mut list = self.list.borrow_mut();
        if !list.has(owner, name) && list.count(owner) >= TIMERS_MAX {
            return Err(TimerError::TooMany(TIMERS_MAX as u64));
        }
        list.insert(owner, name, entry);
        Ok(())
    }

    /// Forgets a timer.
    pub(crate) async fn cancel(&self, owner: &Owner, name: &str) -> Result<(), TimerError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(TimerError::NameTooLong);
        }
        let home = match owner {
            Owner::Session(_) => {
                self.list.borrow_mut().remove(owner, name, u64::MAX);
                return Ok(());
            }
            Owner::Home(home) => home,
        };
        let parts = self.parts.as_ref().ok_or(TimerError::Storage)?;
        let (of_row, of_name) = (Arc::clone(home), name.to_owned());
        let room = parts.storage.room_for(0).await;
        let written = parts.storage.write(room, move |transaction| {
            stored::remove(transaction, &of_row, &of_name, u64::MAX)
        });
        if let Some(generation) = written.await? {
            self.tell(home, |home| {
                Notice::Cancelled(home, name.into(), generation)
            });
        }
        Ok(())
    }

    /// An instance for one session is gone, and its timers with it.
    pub(crate) fn forget(&self, serial: u64) {
        self.list.borrow_mut().forget(&Owner::Session(serial));
    }

    /// Takes over what is stored: `home` says where a row's instance lives, if anywhere, by its
    /// tenant, route and key. Returns how many belong nowhere.
    pub(crate) fn load(
        &self,
        home: impl Fn(&str, &str, &str) -> Option<Home>,
    ) -> Result<usize, StorageError> {
        let Some(parts) = &self.parts else {
            return Ok(0);
        };
        let mut homeless = 0;
        stored::each(
            &parts.storage,
            |tenant, route, key, name, row: Row| match home(tenant, route, key) {
                Some(home) if home.worker == self.worker => {
                    let entry = Entry {
                        due_milliseconds: self.at(row.due_unix),
                        generation: row.generation,
                        failures: row.failures,
                    };
                    let owner = Owner::Home(Arc::new(home));
                    self.list.borrow_mut().insert(&owner, name, entry);
                }
                Some(_) => {}
                None => homeless += 1,
            },
        )?;
        Ok(homeless)
    }

    /// Waits for the next timer that is due. One at a time asks.
    pub(crate) async fn due(&self) -> Due {
        let mut mail = self.mail.take().expect("one at a time asks");
        let due = list::next(&self.lane.clock, &self.list, &mut mail.0, |notice| {
            self.heed(notice);
        });
        let due = due.await;
        *self.mail.borrow_mut() = Some(mail);
        due
    }

    /// A timer that is due comes a moment later. Nothing is stored of that.
    pub(crate) fn put_off(&self, due: &Due) {
        let due_milliseconds = self.lane.clock.now().as_millis() + milliseconds(RETRY_AFTER);
        let mut list = self.list.borrow_mut();
        list.put_back(due, due_milliseconds, due.failures);
    }

    /// What came of a timer that was due; resolves when it is stored.
    pub(crate) async fn settle(&self, due: &Due, outcome: Outcome) {
        let retry = retry(due.failures, outcome);
        if let Err(error) = self.store(due, retry).await {
            tracing::error!(
                timer = &*due.name,
                "what came of a timer could not be stored, it comes again after a restart: {error}"
            );
        }
        let mut list = self.list.borrow_mut();
        match retry {
            None => list.remove(&due.owner, &due.name, due.generation),
            Some((failures, after)) => {
                let due_milliseconds = self.lane.clock.now().as_millis() + milliseconds(after);
                list.put_back(due, due_milliseconds, failures);
            }
        }
        if outcome == Outcome::Failed && retry.is_none() {
            tracing::error!(
                timer = &*due.name,
                owner = ?due.owner,
                "a timer is given up: its handler failed {TRIES_MAX} times"
            );
        }
    }

    async fn store(&self, due: &Due, retry: Option<(u32, Duration)>) -> Result<(), StorageError> {
        let (Owner::Home(home), Some(parts)) = (&due.owner, &self.parts) else {
            return Ok(());
        };
        let (home, name, generation) = (Arc::clone(home), due.name.clone(), due.generation);
        let room = parts.storage.room_for(0).await;
        let written = parts.storage.write(room, move |transaction| match retry {
            None => stored::remove(transaction, &home, &name, generation).map(drop),
            Some((failures, after)) => {
                let due_unix = unix_milliseconds() + milliseconds(after);
                stored::postpone(transaction, &home, &name, generation, due_unix, failures)
            }
        });
        written.await
    }

    fn tell(&self, home: &Arc<Home>, notice: impl FnOnce(Arc<Home>) -> Notice) {
        let notice = notice(Arc::clone(home));
        if home.worker == self.worker {
            self.heed(notice);
        } else {
            // A worker that has ended has its timers in the database.
            let _ = self.addresses.0[home.worker].send(notice);
        }
    }

    fn heed(&self, notice: Notice) {
        let mut list = self.list.borrow_mut();
        match notice {
            Notice::Set(home, name, entry) => list.insert(&Owner::Home(home), &name, entry),
            Notice::Cancelled(home, name, generation) => {
                list.remove(&Owner::Home(home), &name, generation);
            }
        }
    }

    /// A time of day on this worker's clock. While the server runs, a timer keeps to that clock:
    /// setting the time of day moves nothing.
    fn at(&self, due_unix: u64) -> u64 {
        let now = self.lane.clock.now().as_millis();
        now + due_unix.saturating_sub(unix_milliseconds())
    }
}

/// Whether a timer comes again: how often it has failed by then, and after which time.
fn retry(failures: u32, outcome: Outcome) -> Option<(u32, Duration)> {
    match outcome {
        Outcome::Done => None,
        Outcome::NotAsked => Some((failures, RETRY_AFTER)),
        Outcome::Failed if failures + 1 >= TRIES_MAX => None,
        Outcome::Failed => Some((failures + 1, RETRY_AFTER * 2_u32.pow(failures))),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

/// The time of day. Before 1970 counts as 1970: what is due is due.
fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, milliseconds)
}
