//! Who is called when, what is stored of it, and what stays right when messages cross.

use super::*;
use crate::storage::StoragePlace;

const WORKERS: usize = 2;

/// Two workers over one database.
struct Workers {
    timers: Vec<Timers>,
    parts: TimerParts,
}

fn workers(change: impl FnOnce(&mut StorageSettings)) -> Workers {
    let mut settings = StorageSettings::new(StoragePlace::Memory);
    change(&mut settings);
    let (storage, _thread) = Storage::open(&settings).expect("memory is there");
    again(TimerParts::new(storage, &settings).expect("tables can be made"))
}

/// Workers of another run over the same database.
fn again(parts: TimerParts) -> Workers {
    let (addresses, mail) = addresses(WORKERS);
    let worker = |(index, mail)| {
        let lane = Rc::new(Lane::new(std::time::Instant::now(), 0, index, WORKERS));
        Timers::new(index, lane, Some(parts.clone()), addresses.clone(), mail)
    };
    let timers = mail.into_iter().enumerate().map(worker).collect();
    Workers { timers, parts }
}

fn home(tenant: &str, key: &str) -> Owner {
    Owner::Home(Arc::new(here(tenant, "* / ", key)))
}

fn here(tenant: &str, route: &str, key: &str) -> Home {
    Home {
        tenant: tenant.into(),
        route: route.into(),
        key: key.into(),
        worker: 0,
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("a runtime can be made"), test);
}

impl Timers {
    async fn set_now(&self, owner: &Owner, name: &str) -> Result<(), TimerError> {
        self.set(owner, name, Duration::ZERO).await
    }

    /// What is due now, without waiting.
    fn due_now(&self) -> Option<Due> {
        let mut due = std::pin::pin!(self.due());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match due.as_mut().poll(&mut context) {
            std::task::Poll::Ready(due) => Some(due),
            std::task::Poll::Pending => panic!("nothing is due"),
        }
    }

    fn is_waiting(&self) -> bool {
        self.list.borrow_mut().take(u64::MAX).is_some()
    }
}

fn stored(parts: &TimerParts) -> Vec<(String, Row)> {
    let mut all = Vec::new();
    let read = stored::each(&parts.storage, |tenant, _, key, name, row| {
        all.push((format!("{tenant} {key} {name}"), row));
    });
    read.expect("reads");
    all
}

#[test]
fn a_timer_is_stored_until_its_handler_has_returned() {
    run(async {
        let workers = workers(|_| {});
        let (own, owner) = (&workers.timers[0], home("t", "room"));
        assert_eq!(own.set_now(&owner, "tea").await, Ok(()));
        let due = own.due_now().expect("it is due");
        assert_eq!(
            (&due.owner, &*due.name, due.wanted.get()),
            (&owner, "tea", true)
        );
        assert_eq!(stored(&workers.parts).len(), 1, "it is not done yet");
        own.settle(&due, Outcome::Done).await;
        assert_eq!(stored(&workers.parts), []);
        assert!(!own.is_waiting());
    });
}

#[test]
fn what_is_set_anew_in_its_own_call_comes_again() {
    run(async {
        let workers = workers(|_| {});
        let (own, owner) = (&workers.timers[0], home("t", "room"));
        for _ in 0..3 {
            assert_eq!(own.set_now(&owner, "tick").await, Ok(()));
            let due = own.due_now().expect("it is due");
            assert_eq!(own.set_now(&owner, "tick").await, Ok(()));
            own.settle(&due, Outcome::Done).await;
            assert_eq!(stored(&workers.parts).len(), 1);
            let next = own.due_now().expect("it is due again");
            own.settle(&next, Outcome::Failed).await;
        }
    });
}

#[test]
fn a_cancelled_timer_is_not_wanted_even_if_it_was_due() {
    run(async {
        let workers = workers(|_| {});
        let own = &workers.timers[0];
        for owner in [home("t", "room"), Owner::Session(7)] {
            assert_eq!(own.set_now(&owner, "tea").await, Ok(()));
            let due = own.due_now().expect("it is due");
            assert_eq!(own.cancel(&owner, "tea").await, Ok(()));
            assert_eq!(own.cancel(&owner, "tea").await, Ok(()));
            assert!(!due.wanted.get());
            own.settle(&due, Outcome::NotAsked).await;
            assert!(!own.is_waiting());
        }
        assert_eq!(stored(&workers.parts), []);
    });
}

#[test]
fn a_restart_finds_what_is_stored_and_nothing_else() {
    run(async {
        let first = workers(|_| {});
        let (own, owner) = (&first.timers[0], home("t", "room"));
        assert_eq!(own.set_now(&owner, "tea").await, Ok(()));
        let hour = Duration::from_secs(3_600);
        assert_eq!(own.set(&owner, "later", hour).await, Ok(()));
        assert_eq!(own.set_now(&Owner::Session(7), "lost").await, Ok(()));
        let second = again(first.parts);
        let load = |timers: &Timers| {
            timers.load(|tenant, route, key| (key == "room").then(|| here(tenant, route, key)))
        };
        assert_eq!(load(&second.timers[0]), Ok(0));
        assert_eq!(load(&second.timers[1]), Ok(0));
        assert!(
            !second.timers[1].is_waiting(),
            "it belongs to the other worker"
        );
        let due = second.timers[0].due_now().expect("it is due");
        assert_eq!((&due.owner, &*due.name), (&owner, "tea"));
        assert!(
            second.timers[0]
                .list
                .borrow_mut()
                .take(u64::MAX / 2)
                .is_some()
        );
        assert!(!second.timers[0].is_waiting());
        let third = again(second.parts);
        assert_eq!(
            third.timers[0].load(|_, _, _| None),
            Ok(2),
            "they have no home now"
        );
    });
}

#[test]
fn the_owning_worker_is_told_whoever_sets_it() {
    run(async {
        let workers = workers(|_| {});
        let owner = home("t", "");
        assert_eq!(workers.timers[1].set_now(&owner, "tea").await, Ok(()));
        assert!(!workers.timers[1].is_waiting());
        let due = workers.timers[0]
            .due_now()
            .expect("it is due where it belongs");
        assert_eq!(workers.timers[1].cancel(&owner, "tea").await, Ok(()));
        assert_eq!(workers.timers[1].set_now(&owner, "other").await, Ok(()));
        let other = workers.timers[0].due_now().expect("the other one is due");
        assert_eq!(&*other.name, "other");
        assert!(!due.wanted.get(), "the first was cancelled meanwhile");
    });
}

#[test]
fn messages_that_cross_change_nothing() {
    let mut list = List::default();
    let (owner, entry) = (home("t", "r"), |generation| Entry {
        due_milliseconds: generation,
        generation,
        failures: 0,
    });
    list.insert(&owner, "a", entry(2));
    list.insert(&owner, "a", entry(1));
    list.remove(&owner, "a", 1);
    let due = list.take(u64::MAX).expect("the later one stays");
    assert_eq!(due.generation, 2);
    list.insert(&owner, "a", entry(3));
    list.put_back(&due, 100, 1);
    let due = list.take(u64::MAX).expect("it was set anew");
    assert_eq!((due.generation, due.failures), (3, 0));
    list.forget(&owner);
    list.put_back(&due, 100, 1);
    assert!(list.take(u64::MAX).is_none());
}

#[test]
fn limits_are_told_and_hold_nobody_elses_timers() {
    run(async {
        let workers = workers(|settings| settings.tenant_timers_max = TIMERS_MAX as u64 + 2);
        let own = &workers.timers[0];
        let (room, other) = (home("t", "room"), home("t", "other"));
        let long = "n".repeat(NAME_BYTES_MAX + 1);
        for owner in [&room, &Owner::Session(1)] {
            assert_eq!(
                own.set_now(owner, &long).await,
                Err(TimerError::NameTooLong)
            );
            assert_eq!(own.cancel(owner, &long).await, Err(TimerError::NameTooLong));
            let after = DELAY_MAX + Duration::from_millis(1);
            assert_eq!(own.set(owner, "n", after).await, Err(TimerError::TooFar));
            for number in 0..TIMERS_MAX {
                assert_eq!(own.set(owner, &number.to_string(), DELAY_MAX).await, Ok(()));
            }
            let full = Err(TimerError::TooMany(TIMERS_MAX as u64));
            assert_eq!(own.set(owner, "n", DELAY_MAX).await, full);
            assert_eq!(
                own.set(owner, "0", DELAY_MAX).await,
                Ok(()),
                "an old one may change"
            );
        }
        assert_eq!(own.set(&other, "1", DELAY_MAX).await, Ok(()));
        assert_eq!(own.set(&other, "2", DELAY_MAX).await, Ok(()));
        let full = Err(TimerError::TooMany(TIMERS_MAX as u64 + 2));
        assert_eq!(
            own.set(&other, "3", DELAY_MAX).await,
            full,
            "the tenant has no more"
        );
        assert_eq!(own.set(&home("u", "room"), "1", DELAY_MAX).await, Ok(()));
        assert_eq!(own.cancel(&room, "5").await, Ok(()));
        assert_eq!(
            own.set(&other, "3", DELAY_MAX).await,
            Ok(()),
            "there is room again"
        );
    });
}

#[test]
fn a_failing_timer_comes_ever_later_and_is_given_up() {
    let mut failures = 0;
    let mut waits = Vec::new();
    while let Some((count, after)) = retry(failures, Outcome::Failed) {
        assert_eq!(count, failures + 1);
        failures = count;
        waits.push(after.as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    assert_eq!(
        retry(3, Outcome::NotAsked),
        Some((3, RETRY_AFTER)),
        "nobody failed"
    );
    assert_eq!(retry(3, Outcome::Done), None);
    run(async {
        let workers = workers(|_| {});
        let (own, owner) = (&workers.timers[0], home("t", "room"));
        assert_eq!(own.set_now(&owner, "bad").await, Ok(()));
        let first = own.due_now().expect("it is due");
        own.settle(&first, Outcome::Failed).await;
        let (_, row) = stored(&workers.parts)[0];
        assert_eq!(row.failures, 1, "a restart knows it, too");
        let mut due = own
            .list
            .borrow_mut()
            .take(u64::MAX)
            .expect("it comes again");
        due.failures = TRIES_MAX - 1;
        own.settle(&due, Outcome::Failed).await;
        assert_eq!(stored(&workers.parts), [], "it is given up");
    });
}

#[test]
fn the_timers_of_a_session_end_with_it() {
    run(async {
        let workers = workers(|_| {});
        let own = &workers.timers[0];
        assert_eq!(own.set_now(&Owner::Session(1), "a").await, Ok(()));
        assert_eq!(own.set_now(&Owner::Session(2), "b").await, Ok(()));
        own.forget(1);
        let due = own.due_now().expect("the other one is due");
        assert_eq!(due.owner, Owner::Session(2));
        assert!(!own.is_waiting());
    });
}
