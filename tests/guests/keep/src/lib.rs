//! An echo that goes through the storage, for the benchmark: on `/kv-write` every message is set
//! as its session's value before it goes back, on any other path a value is read for each.
//! Deployed with an instance for each session.

use wharf_guest::kv::Bucket;
use wharf_guest::{Handler, Message, Session};

#[derive(Default)]
struct Keep {
    bucket: Option<Bucket>,
    key: String,
    writes: bool,
}

impl Handler for Keep {
    fn on_open(&mut self, session: Session) {
        let bucket = Bucket::open("default").expect("the benchmark grants it");
        self.key = session.name().unwrap_or_default();
        self.writes = session
            .request()
            .is_some_and(|request| request.path == "/kv-write");
        bucket.set(&self.key, "first").expect("there is room");
        self.bucket = Some(bucket);
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let bucket = self.bucket.as_ref().expect("opened with the session");
        if self.writes {
            bucket
                .set(&self.key, message.as_bytes())
                .expect("there is room");
        } else {
            let _ = bucket.get(&self.key).expect("it is there");
        }
        let _ = session.send(message);
    }

    fn on_close(&mut self, _session: Session, _ending: wharf_guest::Ending) {
        if let Some(bucket) = &self.bucket {
            let _ = bucket.delete(&self.key);
        }
    }
}

wharf_guest::export!(Keep);
