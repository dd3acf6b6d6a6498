//! A handler that counts and hands its counts over, so that a test sees which
//! version answers and what it knows. Each text message is answered with
//! `VERSION TOTAL OWN TEXT`: the setting `version`, the messages of the
//! instance, those of the session.
//!
//! | setting | it |
//! | --- | --- |
//! | `export = "trap"` | panics when it is asked for its state |
//! | `import = "refuse"` | takes no state |
//! | `import = "trap"`, `"spin"` | panics, or never ends, over the state |
//! | `import = "greet"` | says `hello from VERSION` to all sessions |
//! | `message = "trap"` | panics over the text `boom` |
//! | `message = "spin"` | never ends over it |
//! | `rounds = "NUMBER"` | counts so far over each message |
//! | `hoard = "BYTES"` | hands over so much more |
//! | `health = "TEXT"` | says of its health that it is TEXT |

// It counts for a host: alone it does nothing.
#![cfg(target_family = "wasm")]

use std::collections::BTreeMap;

use wharf_guest::{Ending, Handler, Handover, Health, Message, Session, settings};

struct Heir {
    version: String,
    opened: u64,
    total: u64,
    own: BTreeMap<Session, u64>,
}

impl Default for Heir {
    fn default() -> Self {
        Self {
            version: setting("version"),
            opened: 0,
            total: 0,
            own: BTreeMap::new(),
        }
    }
}

impl Handler for Heir {
    fn on_open(&mut self, session: Session) {
        self.opened += 1;
        self.own.insert(session, 0);
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let text = message.as_text().unwrap_or("?");
        if text == "boom" {
            match setting("message").as_str() {
                "trap" => panic!("it was told to"),
                "spin" => loop {
                    std::hint::spin_loop();
                },
                _ => {}
            }
        }
        for round in 0..setting("rounds").parse().unwrap_or(0_u64) {
            std::hint::black_box(round);
        }
        self.total += 1;
        let own = self.own.entry(session).or_default();
        *own += 1;
        let Self { version, total, .. } = self;
        let _ = session.send(&format!("{version} {total} {own} {text}"));
    }

    fn on_close(&mut self, session: Session, _ending: Ending) {
        self.own.remove(&session);
    }
}

impl Handover for Heir {
    fn export_state(&mut self) -> Vec<u8> {
        assert_ne!(setting("export"), "trap", "it was told to");
        let own = self.own.iter();
        let own = own.map(|(session, count)| format!("\n{} {count}", session.id()));
        let text = format!("{}{}", self.total, own.collect::<String>());
        let more = setting("hoard").parse().unwrap_or(0);
        [text.as_bytes(), "\n".repeat(more).as_bytes()].concat()
    }

    fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
        match setting("import").as_str() {
            "refuse" => return Err("it was told to".to_owned()),
            "trap" => panic!("it was told to"),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "greet" => {
                for session in Session::all() {
                    let _ = session.send(&format!("hello from {}", self.version));
                }
            }
            _ => {}
        }
        let text = str::from_utf8(state).map_err(|error| error.to_string())?;
        let mut lines = text.trim_end().lines();
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
        self.total = number(lines.next().unwrap_or_default())?;
        for line in lines {
            let (id, count) = line.split_once(' ').ok_or("a line has two numbers")?;
            self.own
                .insert(Session::from_id(number(id)?), number(count)?);
        }
        Ok(())
    }
}

impl Health for Heir {
    fn check(&mut self) -> Result<(), String> {
        match setting("health") {
            well if well.is_empty() => Ok(()),
            trap if trap == "trap" => panic!("it was told to"),
            ill => Err(ill),
        }
    }
}

fn setting(name: &str) -> String {
    settings::get(name).unwrap_or_default()
}

wharf_guest::export!(Heir, handover, health);
