//! Tenants, quotas, numbers, versions and pages, over a database in memory.

use super::*;
use crate::storage::{StoragePlace, StorageSettings};

pub(super) fn kv(change: impl FnOnce(&mut StorageSettings)) -> Kv {
    let mut settings = StorageSettings::new(StoragePlace::Memory);
    change(&mut settings);
    let (storage, _thread) = Storage::open(&settings).expect("memory is there");
    Kv::new(storage, &settings, Budgets::default()).expect("tables can be made")
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime can be made").block_on(future)
}

impl Bucket {
    pub(super) fn set_now(&self, key: &str, value: &[u8]) -> Result<(), KvError> {
        let (key, value) = (key.to_owned(), value.to_vec());
        wait(async { self.set(self.room_for(value.len()).await, key, value).await })
    }

    pub(super) fn delete_now(&self, key: &str) -> Result<(), KvError> {
        wait(async { self.delete(self.room_for(0).await, key.to_owned()).await })
    }

    pub(super) fn increment_now(&self, key: &str, delta: i64) -> Result<i64, KvError> {
        wait(async {
            self.increment(self.room_for(0).await, key.to_owned(), delta)
                .await
        })
    }

    pub(super) fn swap_now(
        &self,
        key: &str,
        version: u64,
        value: &[u8],
    ) -> Result<Result<(), u64>, KvError> {
        let (key, value) = (key.to_owned(), value.to_vec());
        wait(async { self.swap(self.room_for(0).await, key, version, value).await })
    }
}

/// Names that would meet if something merely joined them.
fn awkward_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        "a",
        "a/b",
        "a\0",
        "\0",
        "/",
        "b",
        "ä",
        "😀",
        "a\u{10ffff}",
    ]
    .map(str::to_owned)
    .into();
    names.push("k".repeat(KEY_BYTES_MAX));
    names
}

#[test]
fn no_tenant_and_no_bucket_sees_the_keys_of_another() {
    let kv = kv(|_| {});
    let mut all = Vec::new();
    for tenant in ["a", "a/b", "b", "ab", "ä"] {
        for bucket in ["a", "b", "a/b", "b/a", "", "ab"] {
            let bucket_name = bucket;
            let bucket = kv.bucket(&tenant.into(), bucket);
            for key in awkward_names() {
                let value = format!("{tenant:?} {bucket_name:?} {key:?}");
                assert_eq!(bucket.get(&key), Ok(None), "{value}: not written yet");
                assert_eq!(bucket.set_now(&key, value.as_bytes()), Ok(()));
                all.push((bucket.clone(), key, value));
            }
        }
    }
    for (bucket, key, value) in &all {
        assert_eq!(bucket.get(key), Ok(Some(value.clone().into_bytes())));
        let mut names = awkward_names();
        names.sort();
        assert_eq!(bucket.keys(None).expect("lists").keys, names);
    }
    let (bucket, key, _) = &all[0];
    assert_eq!(bucket.delete_now(key), Ok(()));
    assert_eq!(bucket.get(key), Ok(None));
    for (bucket, key, value) in &all[1..] {
        assert_eq!(bucket.get(key), Ok(Some(value.clone().into_bytes())));
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_stored() {
    let kv = kv(|_| {});
    let bucket = kv.bucket(&"t".into(), "b");
    let key = "k".repeat(KEY_BYTES_MAX + 1);
    assert_eq!(bucket.get(&key), Err(KvError::KeyTooLong));
    assert_eq!(bucket.exists(&key), Err(KvError::KeyTooLong));
    assert_eq!(bucket.set_now(&key, b""), Err(KvError::KeyTooLong));
    assert_eq!(bucket.delete_now(&key), Err(KvError::KeyTooLong));
    let large = vec![1; VALUE_BYTES_MAX + 1];
    assert_eq!(bucket.set_now("k", &large), Err(KvError::ValueTooLarge));
    assert_eq!(bucket.set_now("k", &large[1..]), Ok(()));
    assert_eq!(bucket.get("k"), Ok(Some(large[1..].to_vec())));
}

#[test]
fn a_quota_of_keys_is_a_tenants_own() {
    let kv = kv(|settings| settings.tenant_keys_max = 3);
    let tenant = "t".into();
    let (first, second) = (kv.bucket(&tenant, "a"), kv.bucket(&tenant, "b"));
    for (bucket, key) in [(&first, "1"), (&first, "2"), (&second, "1")] {
        assert_eq!(bucket.set_now(key, b"v"), Ok(()));
    }
    assert_eq!(second.set_now("2", b"v"), Err(KvError::KeysFull(3)));
    assert_eq!(second.increment_now("2", 1), Err(KvError::KeysFull(3)));
    assert_eq!(
        second.set_now("1", b"another"),
        Ok(()),
        "an old key may change"
    );
    assert_eq!(kv.bucket(&"u".into(), "a").set_now("1", b"v"), Ok(()));
    assert_eq!(first.delete_now("2"), Ok(()));
    assert_eq!(second.set_now("2", b"v"), Ok(()), "there is room again");
}

#[test]
fn a_quota_of_bytes_counts_names_and_values() {
    let kv = kv(|settings| settings.tenant_bytes_max = 20);
    let bucket = kv.bucket(&"t".into(), "b");
    assert_eq!(bucket.set_now("key", &[0; 16]), Ok(()));
    assert_eq!(kv.usage("t"), Ok(Usage { keys: 1, bytes: 20 }));
    assert_eq!(bucket.set_now("", b""), Err(KvError::BytesFull(20)));
    assert_eq!(bucket.set_now("key", &[0; 17]), Err(KvError::BytesFull(20)));
    assert_eq!(
        bucket.get("key"),
        Ok(Some(vec![0; 16])),
        "nothing has changed"
    );
    assert_eq!(bucket.set_now("key", b""), Ok(()));
    assert_eq!(bucket.set_now("", &[0; 15]), Ok(()));
    assert_eq!(bucket.delete_now("key"), Ok(()));
    assert_eq!(bucket.delete_now("key"), Ok(()), "twice is as good as once");
    assert_eq!(bucket.delete_now(""), Ok(()));
    assert_eq!(kv.usage("t"), Ok(Usage::default()));
}

#[test]
fn a_lowered_quota_lets_what_is_there_shrink() {
    let mut settings = StorageSettings::new(StoragePlace::Memory);
    let (storage, _thread) = Storage::open(&settings).expect("memory is there");
    let before =
        Kv::new(storage.clone(), &settings, Budgets::default()).expect("tables can be made");
    let bucket = before.bucket(&"t".into(), "b");
    assert_eq!(bucket.set_now("k", &[0; 100]), Ok(()));
    settings.tenant_bytes_max = 50;
    let after = Kv::new(storage, &settings, Budgets::default()).expect("the tables are there");
    let bucket = after.bucket(&"t".into(), "b");
    assert_eq!(bucket.set_now("k", &[0; 101]), Err(KvError::BytesFull(50)));
    assert_eq!(bucket.set_now("k", &[0; 99]), Ok(()));
    assert_eq!(bucket.delete_now("k"), Ok(()));
}

#[test]
fn numbers_are_decimal_digits() {
    let kv = kv(|_| {});
    let bucket = kv.bucket(&"t".into(), "b");
    assert_eq!(bucket.increment_now("n", 5), Ok(5));
    assert_eq!(bucket.increment_now("n", -7), Ok(-2));
    assert_eq!(bucket.get("n"), Ok(Some(b"-2".to_vec())));
    assert_eq!(bucket.set_now("n", b"41"), Ok(()));
    assert_eq!(bucket.increment_now("n", 1), Ok(42));
    for wrong in [
        b"".as_slice(),
        b"4.2",
        b" 1",
        b"\xff",
        b"9223372036854775808",
    ] {
        assert_eq!(bucket.set_now("n", wrong), Ok(()));
        assert_eq!(bucket.increment_now("n", 1), Err(KvError::NoNumber));
        assert_eq!(bucket.get("n"), Ok(Some(wrong.to_vec())), "it is as it was");
    }
    assert_eq!(bucket.set_now("n", i64::MAX.to_string().as_bytes()), Ok(()));
    assert_eq!(bucket.increment_now("n", 1), Err(KvError::Overflow));
    assert_eq!(bucket.increment_now("n", i64::MIN), Ok(-1));
}

#[test]
fn a_swap_is_for_the_value_that_was_seen_and_no_equal_one() {
    let kv = kv(|_| {});
    let bucket = kv.bucket(&"t".into(), "b");
    assert_eq!(bucket.version("k"), Ok(0));
    assert_eq!(bucket.swap_now("k", 0, b"one"), Ok(Ok(())));
    let (version, value) = bucket
        .get_with_version("k")
        .expect("reads")
        .expect("is there");
    assert_eq!(value, b"one");
    let newer = bucket.swap_now("k", 0, b"two");
    assert_eq!(newer, Ok(Err(version)), "it exists by now");
    // Deleted and set anew with the same bytes, it is not the same value.
    assert_eq!(bucket.delete_now("k"), Ok(()));
    assert_eq!(bucket.swap_now("k", version, b"two"), Ok(Err(0)));
    assert_eq!(bucket.set_now("k", b"one"), Ok(()));
    let again = bucket.version("k").expect("reads");
    assert!(again > version, "{again} is a version of its own");
    assert_eq!(bucket.swap_now("k", version, b"two"), Ok(Err(again)));
    assert_eq!(bucket.swap_now("k", again, b"two"), Ok(Ok(())));
    assert_eq!(bucket.get("k"), Ok(Some(b"two".to_vec())));
}

#[test]
fn keys_come_in_pages_that_begin_anywhere() {
    let kv = kv(|_| {});
    let bucket = kv.bucket(&"t".into(), "b");
    let count = PAGE_KEYS_MAX + 10;
    let names: Vec<String> = (0..count).map(|number| format!("{number:05}")).collect();
    for name in &names {
        assert_eq!(bucket.set_now(name, b""), Ok(()));
    }
    // A neighbour that sorts right behind.
    assert_eq!(kv.bucket(&"t".into(), "b\0").set_now("x", b""), Ok(()));
    let first = bucket.keys(None).expect("lists");
    assert_eq!(
        (first.keys.as_slice(), first.more),
        (&names[..PAGE_KEYS_MAX], true)
    );
    let rest = bucket
        .keys(first.keys.last().map(String::as_str))
        .expect("lists");
    assert_eq!(
        (rest.keys.as_slice(), rest.more),
        (&names[PAGE_KEYS_MAX..], false)
    );
    let from = bucket.keys(Some("00004x")).expect("lists");
    assert_eq!(from.keys[0], "00005");
    assert_eq!(bucket.keys(Some("x")), Ok(Page::default()));
    let exactly = bucket.keys(Some("00009")).expect("lists");
    assert_eq!((exactly.keys.len(), exactly.more), (PAGE_KEYS_MAX, false));
}
