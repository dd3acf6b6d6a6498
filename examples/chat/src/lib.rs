//! Chat rooms. Deployed with `instance = "{room}"`, each room is an instance
//! of its own: its sessions are the people in the room, and `names` is all
//! that it remembers. Messages are words with tabs between them:
//!
//! | from the page | to everybody in the room |
//! | --- | --- |
//! | `join NAME` | `joined NAME COUNT` |
//! | `say TEXT` | `said NAME TEXT` |
//! | (leaves) | `left NAME COUNT` |
//!
//! Its next version takes the names over: nobody in the room notices.

use std::collections::BTreeMap;

use wharf_guest::{Ending, Handler, Handover, Message, Session};

const NAME_CHARACTERS_MAX: usize = 32;
const TEXT_CHARACTERS_MAX: usize = 4000;

#[derive(Default)]
struct Chat {
    names: BTreeMap<Session, String>,
}

impl Handler for Chat {
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let words = message.as_text().and_then(|text| text.split_once('\t'));
        match (words, self.names.get(&session)) {
            (Some(("join", name)), None) => {
                let name = clean(name, NAME_CHARACTERS_MAX).replace('\n', " ");
                self.names.insert(session, name.clone());
                self.tell(&format!("joined\t{name}\t{}", self.names.len()));
            }
            (Some(("say", text)), Some(name)) => {
                self.tell(&format!(
                    "said\t{name}\t{}",
                    clean(text, TEXT_CHARACTERS_MAX)
                ));
            }
            _ => session.close(4000, "join first, then say"),
        }
    }

    fn on_close(&mut self, session: Session, _ending: Ending) {
        if let Some(name) = self.names.remove(&session) {
            self.tell(&format!("left\t{name}\t{}", self.names.len()));
        }
    }
}

impl Handover for Chat {
    fn export_state(&mut self) -> Vec<u8> {
        let people = self.names.iter();
        let lines = people.map(|(session, name)| format!("{}\t{name}\n", session.id()));
        lines.collect::<String>().into_bytes()
    }

    fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
        let text = str::from_utf8(state).map_err(|error| error.to_string())?;
        for line in text.lines() {
            let person = line.split_once('\t');
            let person = person.and_then(|(id, name)| Some((id.parse().ok()?, name)));
            let (id, name) = person.ok_or_else(|| format!("{line:?} is nobody"))?;
            self.names.insert(Session::from_id(id), name.to_owned());
        }
        Ok(())
    }
}

impl Chat {
    /// Sends to everybody who has joined. One who does not read loses what
    /// does not fit into the queue; nobody waits for them.
    fn tell(&self, text: &str) {
        for session in self.names.keys() {
            let _ = session.try_send(text);
        }
    }
}

/// A word as it may go to others: without tabs and the like, not too long.
fn clean(word: &str, characters_max: usize) -> String {
    let visible = |character: &char| !character.is_control() || *character == '\n';
    word.trim()
        .chars()
        .filter(visible)
        .take(characters_max)
        .collect()
}

wharf_guest::export!(Chat, handover);
