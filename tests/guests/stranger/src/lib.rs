//! One tenant among others who use the very same names for keys, topics and
//! timers. Does what chance says, and panics when it sees what another tenant
//! has left. `run TENANT SEED COUNT` answers `done OPERATIONS SEEN`, of which
//! `SEEN` is how often something was read; `name` answers the session's name,
//! and `find NAME` answers `mine` or `none`.

use std::time::Duration;

use wharf_guest::kv::Bucket;
use wharf_guest::{Handler, Message, Session, TimerHandler, Topic, timers};

const KEYS: u64 = 24;
const TOPICS: u64 = 6;
/// Counters of different tenants are so far apart.
const APART: i64 = 1_000_000_000;

#[derive(Default)]
struct Stranger {
    tenant: i64,
    state: u64,
    seen: u64,
}

impl Handler for Stranger {
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let words: Vec<&str> = message.as_text().unwrap_or_default().split(' ').collect();
        let answer = match *words {
            ["run", tenant, seed, count] => {
                self.tenant = tenant.parse().expect("a number");
                self.state = seed.parse().expect("a number");
                self.seen = 0;
                let count: u64 = count.parse().expect("a number");
                let bucket = Bucket::open("default").expect("it is granted");
                for _ in 0..count {
                    self.step(session, &bucket);
                }
                format!("done {count} {}", self.seen)
            }
            ["find", name] => match Session::find(name) {
                Some(found) if found == session => "mine".to_owned(),
                Some(_) => "foreign".to_owned(),
                None => "none".to_owned(),
            },
            ["name"] => session.name().expect("it is open"),
            _ => "run TENANT SEED COUNT, name, or find NAME".to_owned(),
        };
        let _ = session.send(&answer);
    }
}

impl TimerHandler for Stranger {
    fn on_timer(&mut self, name: &str) {
        // The name says whose it is, and an instance serves one tenant only.
        if self.tenant != 0 {
            self.own(name);
        }
    }
}

impl Stranger {
    fn step(&mut self, session: Session, bucket: &Bucket) {
        let key = format!("k{}", self.random(KEYS));
        let topic = format!("t{}", self.random(TOPICS));
        let topic = Topic::new(&topic);
        let tag = self.tag();
        match self.random(12) {
            0 | 1 => bucket
                .set(&key, format!("{tag}{}", self.random(1_000)))
                .expect("there is room"),
            2 | 3 => {
                if let Some(value) = bucket.get(&key).expect("it can be read") {
                    self.own(&String::from_utf8(value).expect("only text is set"));
                }
            }
            4 => bucket.delete(&key).expect("it can be deleted"),
            5 => {
                let _ = bucket.set(&format!("{tag}own"), tag.as_bytes());
                for key in bucket.keys().flatten() {
                    if !key.starts_with('k') {
                        self.own(&key);
                    }
                }
            }
            6 => self.count(bucket),
            7 => {
                let _ = topic.publish(&format!("{tag}{}", self.random(1_000)));
            }
            8 => {
                let _ = session.subscribe(topic, &tag);
            }
            9 => session.unsubscribe(topic),
            10 => {
                for member in topic.members().expect("it is granted") {
                    self.own(&member.info);
                }
            }
            _ => {
                let name = format!("{tag}{}", self.random(8));
                let after = Duration::from_millis(self.random(40));
                let _ = match self.random(3) {
                    0 => timers::cancel(&name),
                    _ => timers::set(&name, after),
                };
            }
        }
    }

    /// A counter under a name that all tenants use.
    fn count(&mut self, bucket: &Bucket) {
        let base = self.tenant * APART;
        if !bucket.exists("kcount").expect("it can be read") {
            let _ = bucket.set("kcount", base.to_string());
        }
        let count = bucket.increment("kcount", 1).expect("it holds a number");
        assert!(
            (base..base + APART).contains(&count),
            "tenant {} counts in {count}",
            self.tenant
        );
        self.seen += 1;
    }

    /// Asserts that something that was read bears this tenant's tag.
    fn own(&mut self, text: &str) {
        assert!(
            text.starts_with(&self.tag()),
            "tenant {} reads {text:?}",
            self.tenant
        );
        self.seen += 1;
    }

    fn tag(&self) -> String {
        format!("{}/", self.tenant)
    }

    /// Below `limit`: xorshift64*.
    fn random(&mut self, limit: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

wharf_guest::export!(Stranger, timers);
