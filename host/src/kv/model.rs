//! The store against a model of plain maps: whatever is done in whatever order by several tenants,
//! each sees what it wrote, what it may store is counted right, and nobody sees anybody else's. In
//! the middle the database is closed, or lost as it stands on the disk, and opened again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use proptest::prelude::*;

use super::*;
use crate::storage::StoragePlace;

const TENANTS: [&str; 3] = ["a", "a/b", "b"];
const BUCKETS: [&str; 3] = ["b", "b/c", ""];
/// So few that sequences reach them.
const BYTES_MAX: u64 = 400;
const KEYS_MAX: u64 = 12;

type Place = (usize, usize, String);

/// What should be stored.
#[derive(Clone, Debug, Default)]
struct Model {
    values: BTreeMap<Place, Vec<u8>>,
}

/// Versions that a place has had and has no more.
type Stale = BTreeMap<Place, Vec<u64>>;

#[derive(Clone, Debug)]
enum Step {
    Set(Place, Vec<u8>),
    Delete(Place),
    Increment(Place, i64),
    /// With the version that the key has, or with a stale one.
    Swap(Place, bool, Vec<u8>),
    List(usize, usize, Option<String>),
    /// The server ends, in good order or by what is on the disk at that moment.
    Reopen(bool),
}

impl Model {
    fn usage(&self, tenant: usize) -> Usage {
        let own = self.values.iter().filter(|((of, ..), _)| *of == tenant);
        own.fold(Usage::default(), |usage, ((_, bucket, key), value)| Usage {
            keys: usage.keys + 1,
            bytes: usage.bytes + (BUCKETS[*bucket].len() + key.len() + value.len()) as u64,
        })
    }

    fn write(&mut self, place: &Place, value: &[u8]) -> Result<(), KvError> {
        let mut after = self.clone();
        let is_new = after.values.insert(place.clone(), value.to_vec()).is_none();
        let (before, usage) = (self.usage(place.0), after.usage(place.0));
        if usage.bytes > BYTES_MAX && usage.bytes > before.bytes {
            return Err(KvError::BytesFull(BYTES_MAX));
        }
        if is_new && usage.keys > KEYS_MAX {
            return Err(KvError::KeysFull(KEYS_MAX));
        }
        *self = after;
        Ok(())
    }

    fn increment(&mut self, place: &Place, delta: i64) -> Result<i64, KvError> {
        let old = match self.values.get(place) {
            Some(digits) => String::from_utf8_lossy(digits)
                .parse()
                .map_err(|_| KvError::NoNumber)?,
            None => 0_i64,
        };
        let sum = old.checked_add(delta).ok_or(KvError::Overflow)?;
        self.write(place, sum.to_string().as_bytes())?;
        Ok(sum)
    }
}

fn place() -> impl Strategy<Value = Place> {
    (0..TENANTS.len(), 0..BUCKETS.len(), key())
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "a", "b", "b/c", "c", "\0", "ä"]).prop_map(str::to_owned),
        1 => prop::sample::select((0..20).collect::<Vec<u32>>()).prop_map(|number| number.to_string()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        Just(b"7".to_vec()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (place(), value()).prop_map(|(place, value)| Step::Set(place, value)),
        2 => place().prop_map(Step::Delete),
        2 => (place(), any::<i64>()).prop_map(|(place, delta)| Step::Increment(place, delta)),
        2 => (place(), any::<bool>(), value())
            .prop_map(|(place, fresh, value)| Step::Swap(place, fresh, value)),
        1 => (0..TENANTS.len(), 0..BUCKETS.len(), prop::option::of(key()))
            .prop_map(|(tenant, bucket, after)| Step::List(tenant, bucket, after)),
        1 => any::<bool>().prop_map(Step::Reopen),
    ]
}

/// A folder of one case's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static CASES: AtomicU64 = AtomicU64::new(0);
        let case = CASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("wharf-kv-model-{}-{case}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        Self(folder)
    }

    fn file(&self, generation: u32) -> PathBuf {
        self.0.join(format!("{generation}.redb"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(file: PathBuf) -> (Kv, JoinHandle<()>) {
    let mut settings = StorageSettings::new(StoragePlace::File(file));
    settings.tenant_bytes_max = BYTES_MAX;
    settings.tenant_keys_max = KEYS_MAX;
    let (storage, thread) = Storage::open(&settings).expect("it opens");
    let kv = Kv::new(storage, &settings, Budgets::default()).expect("tables can be made");
    (kv, thread)
}

/// The store, and what it should hold.
struct Both {
    /// Always there, but in the moment of its end.
    store: Option<(Kv, JoinHandle<()>)>,
    model: Model,
    stale: Stale,
    generation: u32,
    folder: Folder,
}

impl Drop for Both {
    fn drop(&mut self) {
        self.end();
    }
}

impl Both {
    fn new() -> Self {
        let folder = Folder::new();
        Self {
            store: Some(open(folder.file(0))),
            model: Model::default(),
            stale: Stale::default(),
            generation: 0,
            folder,
        }
    }

    fn kv(&self) -> &Kv {
        &self.store.as_ref().expect("it is open").0
    }

    fn end(&mut self) {
        if let Some((kv, thread)) = self.store.take() {
            drop(kv);
            thread.join().expect("the thread ends with its last handle");
        }
    }

    /// What was said to be durable is on the disk, so a copy of the file is what a crash would leave.
    fn reopen(&mut self, in_good_order: bool) {
        let mut file = self.folder.file(self.generation);
        if in_good_order {
            self.end();
        } else {
            self.generation += 1;
            let copy = self.folder.file(self.generation);
            std::fs::copy(&file, &copy).expect("a file can be copied");
            self.end();
            file = copy;
        }
        self.store = Some(open(file));
    }

    fn bucket(&self, (tenant, bucket, _): &Place) -> Bucket {
        self.kv().bucket(&TENANTS[*tenant].into(), BUCKETS[*bucket])
    }

    /// Does a step on both sides and compares what they answer.
    fn take(&mut self, step: Step) {
        self.note_version(&step);
        match step {
            Step::Reopen(in_good_order) => self.reopen(in_good_order),
            Step::Set(place, value) => {
                let done = self.bucket(&place).set_now(&place.2, &value);
                assert_eq!(done, self.model.write(&place, &value));
            }
            Step::Delete(place) => {
                assert_eq!(self.bucket(&place).delete_now(&place.2), Ok(()));
                self.model.values.remove(&place);
            }
            Step::Increment(place, delta) => {
                let sum = self.bucket(&place).increment_now(&place.2, delta);
                assert_eq!(sum, self.model.increment(&place, delta));
            }
            Step::Swap(place, fresh, value) => self.swap(&place, fresh, &value),
            Step::List(tenant, bucket, from) => {
                let own = |(of, place, key): &&Place| {
                    (*of, *place) == (tenant, bucket) && from.as_ref().is_none_or(|from| key > from)
                };
                let keys = self.model.values.keys().filter(own);
                let keys: Vec<String> = keys.map(|(.., key)| key.clone()).collect();
                let bucket = self.bucket(&(tenant, bucket, String::new()));
                assert_eq!(bucket.keys(from.as_deref()), Ok(Page { keys, more: false }));
            }
        }
    }

    fn swap(&mut self, place: &Place, fresh: bool, value: &[u8]) {
        let bucket = self.bucket(place);
        let version = bucket.version(&place.2).expect("reads");
        if fresh {
            let done = bucket.swap_now(&place.2, version, value);
            assert_eq!(done, self.model.write(place, value).map(Ok));
        } else {
            let stale = self.stale.get(place).into_iter().flatten();
            for old in stale.filter(|old| **old != version).chain([&(version + 1)]) {
                let done = bucket.swap_now(&place.2, *old, value);
                assert_eq!(done, Ok(Err(version)), "{old} was another value's");
            }
        }
    }

    /// Remembers the version that a step may end.
    fn note_version(&mut self, step: &Step) {
        if let Step::Set(place, _)
        | Step::Delete(place)
        | Step::Increment(place, _)
        | Step::Swap(place, true, _) = step
        {
            let version = self.bucket(place).version(&place.2).expect("reads");
            self.stale.entry(place.clone()).or_default().push(version);
        }
    }

    /// Compares all that is stored, and what is counted.
    fn compare(&self) {
        for (tenant, name) in TENANTS.iter().enumerate() {
            assert_eq!(
                self.kv().usage(name),
                Ok(self.model.usage(tenant)),
                "{name}"
            );
            for (bucket, _) in BUCKETS.iter().enumerate() {
                let keys = self.bucket(&(tenant, bucket, String::new())).keys(None);
                let own = |key: &&Place| (key.0, key.1) == (tenant, bucket);
                let of_model = self.model.values.keys().filter(own).map(|key| &key.2);
                assert!(keys.expect("lists").keys.iter().eq(of_model), "{name}");
            }
        }
        for (place, value) in &self.model.values {
            assert_eq!(self.bucket(place).get(&place.2), Ok(Some(value.clone())));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_plain_maps_would(steps in prop::collection::vec(step(), 1..60)) {
        let mut both = Both::new();
        for step in steps {
            both.take(step);
            both.compare();
        }
    }
}
