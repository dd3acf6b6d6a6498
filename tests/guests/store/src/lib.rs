//! A handler that stores what its client says, and sets timers. Each text
//! message is one command, its words with tabs between them:
//!
//! | command | answer |
//! | --- | --- |
//! | `set BUCKET KEY VALUE`, `delete BUCKET KEY` | `ok` |
//! | `get BUCKET KEY` | the value, or `none` |
//! | `exists BUCKET KEY` | `true` or `false` |
//! | `add BUCKET KEY DELTA` | the sum |
//! | `append BUCKET KEY TEXT` | the value, with TEXT at its end |
//! | `keys BUCKET`, `keys BUCKET PREFIX` | the keys, with tabs between them |
//! | `count BUCKET` | how many keys there are |
//! | `timer NAME MILLISECONDS`, `cancel NAME` | `ok` |
//! | `fill BUCKET BYTES` | sets keys with values of so many bytes until refused: `COUNT ERROR` |
//! | `open BUCKET` | opens it again and again, and keeps the handles: must trap |
//! | `timers` | sets timers until refused: `COUNT ERROR` |
//! | `trap` | none: the handler panics |
//!
//! A command that is refused answers `error REASON`. When a timer is due, `timer NAME` goes to
//! all sessions of the instance, and the key `fired NAME` of the bucket `default`
//! counts it. A timer whose name begins with `trap` panics after counting,
//! `trap-once` only the first time; one that begins with `again` sets itself again.

use std::fmt::Display;
use std::time::Duration;

use wharf_guest::kv::{self, Bucket};
use wharf_guest::{Handler, Message, Session, TimerHandler, timers};

const DEFAULT: &str = "default";

#[derive(Default)]
struct Store;

impl Handler for Store {
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let Some(text) = message.as_text() else {
            let _ = session.send(message);
            return;
        };
        let words: Vec<&str> = text.split('\t').collect();
        let answer = perform(&words).unwrap_or_else(|error| format!("error {error}"));
        let _ = session.send(&answer);
    }
}

impl TimerHandler for Store {
    fn on_timer(&mut self, name: &str) {
        let bucket = Bucket::open(DEFAULT).expect("the test grants it");
        let fired = bucket
            .increment(&format!("fired {name}"), 1)
            .expect("it counts");
        if name.starts_with("trap") && (name != "trap-once" || fired == 1) {
            panic!("the timer asked for it");
        }
        if name.starts_with("again") {
            timers::set(name, Duration::from_millis(10)).expect("it was set before");
        }
        for session in Session::all() {
            let _ = session.try_send(&format!("timer {name}"));
        }
    }
}

fn perform(words: &[&str]) -> Result<String, String> {
    let done = |()| "ok".to_owned();
    match *words {
        ["timer", name, milliseconds] => {
            let milliseconds = milliseconds.parse().map_err(said)?;
            timers::set(name, Duration::from_millis(milliseconds))
                .map(done)
                .map_err(said)
        }
        ["cancel", name] => timers::cancel(name).map(done).map_err(said),
        ["timers"] => Ok(until_refused(|number| {
            timers::set(&format!("timer {number}"), Duration::from_secs(3_600))
        })),
        ["trap"] => panic!("the client asked for it"),
        // Handles that are kept are never given back.
        ["open", bucket] => loop {
            std::mem::forget(Bucket::open(bucket).map_err(said)?);
        },
        [command, bucket, ref rest @ ..] => {
            let bucket = Bucket::open(bucket).map_err(said)?;
            with_bucket(command, &bucket, rest).map_err(said)
        }
        _ => Err("there is no such command".to_owned()),
    }
}

fn with_bucket(command: &str, bucket: &Bucket, rest: &[&str]) -> Result<String, kv::Error> {
    let done = |()| "ok".to_owned();
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    match (command, rest) {
        ("set", [key, value]) => bucket.set(key, value).map(done),
        ("delete", [key]) => bucket.delete(key).map(done),
        ("get", [key]) => Ok(bucket.get(key)?.map_or("none".to_owned(), text)),
        ("exists", [key]) => Ok(bucket.exists(key)?.to_string()),
        ("add", [key, delta]) => {
            let delta = delta.parse().unwrap_or(0);
            Ok(bucket.increment(key, delta)?.to_string())
        }
        ("append", [key, more]) => {
            let join = |old: Option<Vec<u8>>| [&old.unwrap_or_default(), more.as_bytes()].concat();
            bucket.update(key, join).map(text)
        }
        ("count", []) => {
            let keys = bucket
                .keys()
                .try_fold(0_u64, |count, key| key.map(|_| count + 1));
            Ok(keys?.to_string())
        }
        ("keys", []) => Ok(bucket.keys().collect::<Result<Vec<_>, _>>()?.join("\t")),
        ("keys", [prefix]) => {
            let keys = bucket.keys_with_prefix(prefix)?;
            Ok(keys.collect::<Result<Vec<_>, _>>()?.join("\t"))
        }
        ("fill", [bytes]) => {
            let value = vec![b'x'; bytes.parse().unwrap_or(0)];
            Ok(until_refused(|number| {
                bucket.set(&number.to_string(), &value)
            }))
        }
        _ => Err(kv::Error::Other("there is no such command".to_owned())),
    }
}

fn until_refused<E: Display>(mut deed: impl FnMut(u64) -> Result<(), E>) -> String {
    let mut count = 0;
    loop {
        match deed(count) {
            Ok(()) => count += 1,
            Err(error) => return format!("{count} {error}"),
        }
    }
}

fn said(error: impl Display) -> String {
    error.to_string()
}

wharf_guest::export!(Store, timers);
