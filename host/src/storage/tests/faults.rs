//! A disk that is full or broken, in the middle of writing: an error for who asks, nothing lost that
//! was said to be durable, and a storage that works again when the disk does.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;
use crate::storage::disk::Does;

const BLOBS: TableDefinition<u64, &[u8]> = TableDefinition::new("blobs");
const NO_ROOM: i32 = 28;
const BROKEN: i32 = 5;
/// Far more than what the storage takes to try again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What fails from now on, and with which number of the system's.
#[derive(Debug, Default)]
pub(in crate::storage) struct Faults(Mutex<(Vec<Does>, i32)>);

impl Faults {
    pub(in crate::storage) fn check(&self, does: Does) -> io::Result<()> {
        let faults = self.0.lock().expect("no test panics here");
        if faults.0.contains(&does) {
            return Err(io::Error::from_raw_os_error(faults.1));
        }
        Ok(())
    }

    fn set(&self, fails: &[Does], number: i32) {
        *self.0.lock().expect("no test panics here") = (fails.to_vec(), number);
    }
}

/// A storage on a disk that does what a test says.
struct Bench {
    folder: Folder,
    health: Arc<Health>,
    storage: Storage,
    thread: JoinHandle<()>,
    /// What was said to be durable.
    written: Vec<u64>,
    next: u64,
}

impl Bench {
    fn new(test: &str) -> Self {
        let folder = Folder::new(test);
        let health = Arc::<Health>::default();
        let (storage, thread) = open(&folder, &health);
        Self {
            folder,
            health,
            storage,
            thread,
            written: Vec::new(),
            next: 0,
        }
    }

    fn fail(&self, fails: &[Does], number: i32) {
        self.health.faults.set(fails, number);
    }

    /// Writes a value of 32 KiB under a new number.
    fn write(&mut self) -> Result<(), StorageError> {
        let number = self.next;
        self.next += 1;
        let storage = self.storage.clone();
        let work = move |transaction: &WriteTransaction| {
            let mut blobs = transaction.open_table(BLOBS)?;
            blobs.insert(number, blob(number).as_slice())?;
            Ok(())
        };
        let written = runtime().block_on(async {
            let room = storage.room_for(0).await;
            storage.write(room, work).await
        });
        if written.is_ok() {
            self.written.push(number);
        }
        written
    }

    /// Writes until that fails, and says why.
    fn write_until_it_fails(&mut self) -> String {
        for _ in 0..10_000 {
            if let Err(error) = self.write() {
                return error.to_string();
            }
        }
        panic!("nothing fails");
    }

    /// Everything that was said to be durable is there.
    fn check(&self) -> Result<(), StorageError> {
        let blobs = self.storage.read()?.open_table(BLOBS)?;
        for number in &self.written {
            let found = blobs.get(number)?;
            let found = found.unwrap_or_else(|| panic!("{number} was durable and is lost"));
            assert_eq!(found.value(), blob(*number), "{number}");
        }
        Ok(())
    }

    fn eventually(&mut self, what: &str, mut act: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !act(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What a new server finds.
    fn reopen(self) -> Self {
        drop(self.storage);
        self.thread.join().expect("it ends");
        let health = Arc::<Health>::default();
        let (storage, thread) = open(&self.folder, &health);
        Self {
            health,
            storage,
            thread,
            ..self
        }
    }
}

fn open(folder: &Folder, health: &Arc<Health>) -> (Storage, JoinHandle<()>) {
    let mut settings = folder.settings("a.redb");
    // So small that reading means reading.
    settings.cache_bytes = 64 << 10;
    Storage::open_on(&settings, Arc::clone(health)).expect("it opens")
}

fn blob(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(4 << 10)
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_and_is_read_meanwhile() {
    let mut bench = Bench::new("full");
    for _ in 0..20 {
        assert_eq!(bench.write(), Ok(()));
    }
    for _ in 0..2 {
        bench.fail(&[Does::Resize], NO_ROOM);
        let why = bench.write_until_it_fails();
        assert!(why.contains("No space left"), "{why}");
        bench.eventually("it can be read", |bench| bench.check().is_ok());
        let why = bench.write().expect_err("there is still no room");
        assert!(why.to_string().contains("No space left"), "{why}");
        assert_eq!(bench.check(), Ok(()), "refusing has no price");
        bench.fail(&[], 0);
        bench.eventually("it can be written", |bench| bench.write().is_ok());
        assert_eq!(bench.check(), Ok(()));
    }
    let bench = bench.reopen();
    assert_eq!(bench.check(), Ok(()));
}

#[test]
fn a_disk_that_breaks_in_the_middle_of_a_write_loses_nothing_that_was_durable() {
    let mut bench = Bench::new("eio");
    for _ in 0..20 {
        assert_eq!(bench.write(), Ok(()));
    }
    bench.fail(&[Does::Write, Does::Read], BROKEN);
    let why = bench.write_until_it_fails();
    assert!(why.contains("os error 5"), "{why}");
    bench.eventually("nothing can be read", |bench| bench.check().is_err());
    bench.fail(&[], 0);
    // Without anybody who writes.
    bench.eventually("it can be read again", |bench| bench.check().is_ok());
    bench.eventually("it can be written again", |bench| bench.write().is_ok());
    assert_eq!(bench.reopen().check(), Ok(()));
}

#[test]
fn a_reader_that_finds_the_disk_broken_has_it_opened_again() {
    let mut bench = Bench::new("read");
    for _ in 0..100 {
        assert_eq!(bench.write(), Ok(()));
    }
    bench.fail(&[Does::Read], BROKEN);
    let error = bench.check().expect_err("it cannot be read");
    bench.storage.report(&error);
    bench.fail(&[], 0);
    bench.eventually("it can be read again", |bench| bench.check().is_ok());
    bench.eventually("and be written", |bench| bench.write().is_ok());
}

#[test]
fn after_a_flush_that_failed_nothing_is_written_until_the_server_is_started_again() {
    let mut bench = Bench::new("flush");
    for _ in 0..20 {
        assert_eq!(bench.write(), Ok(()));
    }
    bench.fail(&[Does::Flush], BROKEN);
    let why = bench.write_until_it_fails();
    assert!(why.contains("os error 5"), "{why}");
    bench.fail(&[], 0);
    for _ in 0..3 {
        assert!(bench.write().is_err(), "what is on the disk is not known");
    }
    assert!(bench.health.is_doubtful());
    let mut bench = bench.reopen();
    assert_eq!((bench.check(), bench.write()), (Ok(()), Ok(())));
}
