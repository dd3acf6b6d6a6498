//! The store against a model of plain maps: whatever is done in whatever order by several tenants,
//! each sees what it wrote, what it may store is counted right, and nobody sees anybody else's.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::kv;
use super::*;

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

#[derive(Clone, Debug)]
enum Step {
    Set(Place, Vec<u8>),
    Delete(Place),
    Increment(Place, i64),
    /// With the version that the key has, or with a stale one.
    Swap(Place, bool, Vec<u8>),
    List(usize, usize, Option<String>),
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
    ]
}

/// The store, and what it should hold.
struct Both {
    kv: Kv,
    model: Model,
}

impl Both {
    fn new() -> Self {
        let kv = kv(|settings| {
            settings.tenant_bytes_max = BYTES_MAX;
            settings.tenant_keys_max = KEYS_MAX;
        });
        Self {
            kv,
            model: Model::default(),
        }
    }

    fn bucket(&self, (tenant, bucket, _): &Place) -> Bucket {
        self.kv.bucket(&TENANTS[*tenant].into(), BUCKETS[*bucket])
    }

    /// Does a step on both sides and compares what they answer.
    fn take(&mut self, step: Step) {
        match step {
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
            let done = bucket.swap_now(&place.2, version + 1, value);
            assert_eq!(done, Ok(Err(version)));
        }
    }

    /// Compares all that is stored, and what is counted.
    fn compare(&self) {
        for (tenant, name) in TENANTS.iter().enumerate() {
            assert_eq!(self.kv.usage(name), Ok(self.model.usage(tenant)), "{name}");
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
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_plain_maps_would(steps in prop::collection::vec(step(), 1..60)) {
        let mut both = Both::new();
        for step in steps {
            both.take(step);
            both.compare();
        }
    }
}
