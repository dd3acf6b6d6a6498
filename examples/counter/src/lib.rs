//! A counter for everybody. Deployed with `instance = "{counter}"`, each
//! counter is an instance of its own; its number is stored, so it outlives
//! the instance and the server. Messages are single words:
//!
//! | from the client | to everybody who watches |
//! | --- | --- |
//! | (comes in) | (to it alone) `COUNT` |
//! | `+` or `-` | `COUNT` |
//! | `mute` | nothing; the client gets no counts until it says `watch` |

use wharf_guest::kv::{Bucket, Error};
use wharf_guest::{Handler, Message, Session};

const WATCHES: &str = "watches";

#[derive(Default)]
struct Counter;

impl Handler for Counter {
    fn on_open(&mut self, session: Session) {
        let _ = session.set_tags(&[WATCHES]);
        match count(session, 0) {
            Ok(count) => drop(session.send(&count.to_string())),
            Err(error) => session.close(1011, &error.to_string()),
        }
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let delta = match message.as_text() {
            Some("+") => 1,
            Some("-") => -1,
            Some("mute") => return watch(session, &[]),
            Some("watch") => return watch(session, &[WATCHES]),
            _ => return session.close(4000, "say + or -, mute or watch"),
        };
        match count(session, delta) {
            // The number is on the disk by now: nobody sees one that could be lost.
            Ok(count) => tell(&count.to_string()),
            Err(error) => session.close(1011, &error.to_string()),
        }
    }
}

/// A session that is gone needs no tags.
fn watch(session: Session, tags: &[&str]) {
    let _ = session.set_tags(tags);
}

/// Adds to the counter that the session's path names, and returns the sum.
fn count(session: Session, delta: i64) -> Result<i64, Error> {
    let request = session.request();
    let params = request.map(|request| request.params).unwrap_or_default();
    let name = params.first().map_or("", |(_, name)| name.as_str());
    Bucket::open("counters")?.increment(name, delta)
}

fn tell(text: &str) {
    for session in Session::with_tag(WATCHES) {
        let _ = session.try_send(text);
    }
}

wharf_guest::export!(Counter);
