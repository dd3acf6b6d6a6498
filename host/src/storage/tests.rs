//! Opening, in all the ways that it can fail; groups of writes; what outlives a restart.

mod faults;

use std::fs;
use std::path::PathBuf;

use redb::Database;

pub(super) use self::faults::Faults;
use super::*;

const NUMBERS: TableDefinition<u64, u64> = TableDefinition::new("numbers");

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("wharf-storage-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        Self(folder)
    }

    fn settings(&self, file: &str) -> StorageSettings {
        StorageSettings::new(StoragePlace::File(self.0.join(file)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn memory() -> (Storage, JoinHandle<()>) {
    Storage::open(&StorageSettings::new(StoragePlace::Memory)).expect("memory is there")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime can be made")
}

#[test]
fn what_is_written_is_there_after_a_restart() {
    let folder = Folder::new("restart");
    let settings = folder.settings("a.redb");
    for round in 0..3 {
        let (storage, thread) = Storage::open(&settings).expect("it opens");
        let seen: Result<_, StorageError> = storage.write_blocking(move |transaction| {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let last = numbers.last()?.map(|(key, _)| key.value());
            numbers.insert(round, round)?;
            Ok(last)
        });
        assert_eq!(seen, Ok(round.checked_sub(1)));
        drop(storage);
        thread.join().expect("the thread ends with its last handle");
    }
}

#[test]
fn a_file_that_is_given_away_can_be_had_by_another_process_and_taken_back() {
    let folder = Folder::new("given-away");
    let settings = folder.settings("a.redb");
    let (storage, thread) = Storage::open(&settings).expect("it opens");
    let insert = |storage: &Storage, number: u64| {
        let storage = storage.clone();
        runtime().block_on(async move {
            let room = storage.room_for(8).await;
            let work = move |transaction: &WriteTransaction| {
                let mut numbers = transaction.open_table(NUMBERS)?;
                numbers.insert(number, number)?;
                Ok(numbers.iter()?.count())
            };
            storage.write(room, work).await
        })
    };
    assert_eq!(insert(&storage, 1), Ok(1));
    storage.give_away();
    for _ in 0..2 {
        assert_eq!(insert(&storage, 2), Err(StorageError::given_away()));
        assert_eq!(storage.read().err(), Some(StorageError::given_away()));
    }
    let (other, of_other) = Storage::open(&settings).expect("nobody has it");
    assert_eq!(insert(&other, 3), Ok(2));
    let refused = storage.take_back().expect_err("the other has it");
    assert!(refused.contains("another process has it open"), "{refused}");
    drop(other);
    of_other
        .join()
        .expect("the thread ends with its last handle");
    assert_eq!(storage.take_back(), Ok(()));
    assert_eq!(insert(&storage, 4), Ok(3));
    drop(storage);
    thread.join().expect("the thread ends with its last handle");
}

#[test]
fn many_writes_at_once_are_all_done() {
    const WRITES: u64 = 5_000;
    let (storage, thread) = memory();
    runtime().block_on(async {
        let mut writes = tokio::task::JoinSet::new();
        for number in 0..WRITES {
            let storage = storage.clone();
            writes.spawn(async move {
                let room = storage.room_for(8).await;
                let work = move |transaction: &WriteTransaction| {
                    transaction.open_table(NUMBERS)?.insert(number, 1)?;
                    Ok(number)
                };
                assert_eq!(storage.write(room, work).await, Ok(number));
            });
        }
        while let Some(written) = writes.join_next().await {
            written.expect("each is told that its own write was done");
        }
    });
    let numbers = storage
        .read()
        .expect("reads")
        .open_table(NUMBERS)
        .expect("is there");
    let count = redb::ReadableTableMetadata::len(&numbers).expect("counts");
    assert_eq!(count, WRITES);
    drop((numbers, storage));
    thread.join().expect("it ends");
}

#[test]
fn a_write_that_nobody_waits_for_is_done_all_the_same() {
    let (storage, thread) = memory();
    runtime().block_on(async {
        let room = storage.room_for(8).await;
        let work = |transaction: &WriteTransaction| {
            transaction.open_table(NUMBERS)?.insert(7, 7)?;
            Ok(())
        };
        let mut write = Box::pin(storage.write(room, work));
        let first = std::future::poll_fn(|context| {
            std::task::Poll::Ready(write.as_mut().poll(context).is_ready())
        });
        first.await;
    });
    // The queue is in order: this one is behind it.
    let found = runtime().block_on(async {
        let room = storage.room_for(0).await;
        let look = |transaction: &WriteTransaction| {
            let numbers = transaction.open_table(NUMBERS)?;
            Ok(numbers.get(7)?.map(|found| found.value()))
        };
        storage.write(room, look).await
    });
    assert_eq!(found, Ok(Some(7)));
    drop(storage);
    thread.join().expect("it ends");
}

#[test]
fn the_room_for_what_waits_is_bounded() {
    let (storage, _thread) = memory();
    runtime().block_on(async {
        let all = storage.room_for(WAITING_BYTES_MAX).await;
        let mut next = Box::pin(storage.room_for(0));
        std::future::poll_fn(|context| {
            assert!(next.as_mut().poll(context).is_pending(), "there is no room");
            std::task::Poll::Ready(())
        })
        .await;
        drop(all);
        next.await;
    });
}

#[test]
fn what_cannot_be_opened_says_what_would_be_right() {
    let folder = Folder::new("refused");
    let check = |settings: &StorageSettings, expect: &str| {
        let reason = Storage::open(settings)
            .map(drop)
            .expect_err("it is refused");
        let file = settings.place.to_string();
        assert!(reason.contains(&file), "{reason} does not name {file}");
        assert!(reason.contains(expect), "{reason} does not say {expect:?}");
    };
    let open = folder.settings("open.redb");
    let (_storage, _thread) = Storage::open(&open).expect("the first one opens");
    check(&open, "another process has it open");
    check(
        &folder.settings("nowhere/a.redb"),
        "its folder does not exist",
    );
    check(&folder.settings("."), "it is a folder");
    fs::write(folder.0.join("text"), "no database at all, just a text").expect("written");
    check(&folder.settings("text"), "no storage of Wharf");
    fs::write(folder.0.join("zeros"), vec![0; 1 << 20]).expect("written");
    check(&folder.settings("zeros"), "no storage of Wharf");
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let folder = Folder::new("later");
    let settings = folder.settings("a.redb");
    let database = Database::create(folder.0.join("a.redb")).expect("it can be made");
    let transaction = database.begin_write().expect("begins");
    let mut meta = transaction.open_table(META).expect("opens");
    meta.insert(FORMAT_KEY, FORMAT + 1).expect("inserts");
    drop(meta);
    transaction.commit().expect("commits");
    drop(database);
    let reason = Storage::open(&settings)
        .map(drop)
        .expect_err("it is refused");
    assert!(reason.contains("its tables have version 2"), "{reason}");
}

#[test]
fn a_file_that_was_cut_is_refused_or_read() {
    let folder = Folder::new("cut");
    let file = folder.0.join("a.redb");
    let settings = folder.settings("a.redb");
    let (storage, thread) = Storage::open(&settings).expect("it opens");
    let wrote: Result<(), StorageError> = storage.write_blocking(|transaction| {
        let mut numbers = transaction.open_table(NUMBERS)?;
        (0..10_000).try_for_each(|number| numbers.insert(number, number).map(drop))?;
        Ok(())
    });
    wrote.expect("it writes");
    drop(storage);
    thread.join().expect("it ends");
    let whole = fs::read(&file).expect("it is there");
    for bytes in [1, 64, 4_096, whole.len() / 2] {
        fs::write(&file, &whole[..bytes]).expect("it can be cut");
        let reason = Storage::open(&settings).map(drop).expect_err("it is cut");
        assert!(reason.contains("a.redb"), "{reason}");
    }
    fs::write(&file, &whole).expect("it can be restored");
    let (storage, thread) = Storage::open(&settings).expect("it is whole again");
    drop(storage);
    thread.join().expect("it ends");
}
