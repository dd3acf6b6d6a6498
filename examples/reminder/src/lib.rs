//! Reminders for a room. Deployed with `instance = "{room}"`, a reminder is
//! a timer of that room's instance: it outlives the people in the room,
//! the instance and the server. Messages are words:
//!
//! | from the client | answer |
//! | --- | --- |
//! | `in SECONDS TEXT` | `ok`; after that time, to everybody in the room: `now TEXT` |
//! | `forget TEXT` | `ok` |
//! | (comes in) | `missed TEXT` for each that came while nobody was there |

use std::time::Duration;

use wharf_guest::kv::Bucket;
use wharf_guest::{Handler, Message, Session, TimerHandler, timers};

#[derive(Default)]
struct Reminder;

impl Handler for Reminder {
    fn on_open(&mut self, session: Session) {
        let Ok(missed) = Bucket::open("missed") else {
            return;
        };
        for text in missed
            .keys_with_prefix(&room(session))
            .into_iter()
            .flatten()
            .flatten()
        {
            let said = text.split_once('\n').map_or("", |(_, text)| text);
            if session.send(&format!("missed {said}")).is_ok() {
                let _ = missed.delete(&text);
            }
        }
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let words: Vec<&str> = message
            .as_text()
            .unwrap_or_default()
            .splitn(3, ' ')
            .collect();
        // The timer's name says all: which room, and what to say there.
        let name = |text: &str| room(session) + text;
        let done = match *words {
            ["in", seconds, text] => {
                let seconds = Duration::from_secs(seconds.parse().unwrap_or(0));
                timers::set(&name(text), seconds)
            }
            ["forget", ..] => timers::cancel(&name(&words[1..].join(" "))),
            _ => return session.close(4000, "in SECONDS TEXT, or forget TEXT"),
        };
        let _ = match done {
            Ok(()) => session.send("ok"),
            Err(error) => session.send(&error.to_string()),
        };
    }
}

impl TimerHandler for Reminder {
    fn on_timer(&mut self, name: &str) {
        let people: Vec<Session> = Session::all().into_iter().collect();
        let text = name.split_once('\n').map_or("", |(_, text)| text);
        if people.is_empty() {
            // A panic here is no loss: the timer comes again.
            let missed = Bucket::open("missed").expect("it was granted");
            missed.set(name, "").expect("there is room for it");
        }
        for session in people {
            let _ = session.try_send(&format!("now {text}"));
        }
    }
}

/// The room's name and a line's end, which separates it from what follows.
fn room(session: Session) -> String {
    let params = session
        .request()
        .map(|request| request.params)
        .unwrap_or_default();
    params
        .first()
        .map_or(String::new(), |(_, room)| room.clone())
        + "\n"
}

wharf_guest::export!(Reminder, timers);
