//! Reminders for a room. Deployed with `instance = "{room}"`, a reminder is
//! a timer of that room's instance: it outlives the people in the room,
//! the instance and the server. Its deployment lets the instance sleep while
//! nobody says anything (`idle`): its memory is lost then, what is attached to
//! a session is not. Messages are words:
//!
//! | from the client | answer |
//! | --- | --- |
//! | `i am NAME` | `ok`; attached to the session |
//! | `who` | the names of those who are there, and how many messages this memory has seen |
//! | `in SECONDS TEXT` | `ok`; after that time, to everybody in the room: `now TEXT` |
//! | `forget TEXT` | `ok` |
//! | (comes in) | `missed TEXT` for each that came while nobody was there |

use std::time::Duration;

use wharf_guest::kv::Bucket;
use wharf_guest::{Handler, Message, Session, TimerHandler, timers};

/// Begins anew after each sleep, which is why nothing of weight is in here.
#[derive(Default)]
struct Reminder {
    messages: u64,
}

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
        self.messages += 1;
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
            ["i", "am", name] => {
                let answer = match session.set_attachment(name.as_bytes()) {
                    Ok(()) => "ok".to_owned(),
                    Err(error) => format!("{error:?}"),
                };
                return say(session, &answer);
            }
            ["who"] => return say(session, &self.who()),
            _ => return session.close(4000, "in SECONDS TEXT, forget TEXT, i am NAME, or who"),
        };
        match done {
            Ok(()) => say(session, "ok"),
            Err(error) => say(session, &error.to_string()),
        }
    }
}

/// Whoever is gone needs no answer.
fn say(session: Session, text: &str) {
    let _ = session.send(text);
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

impl Reminder {
    /// Read from the sessions each time: they know it also after a sleep.
    fn who(&self) -> String {
        let attached = Session::all().into_iter().map(Session::attachment);
        let names = attached.map(|name| String::from_utf8_lossy(&name).into_owned());
        let named: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        let messages = self.messages;
        format!("{}; messages since I woke: {messages}", named.join(", "))
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
