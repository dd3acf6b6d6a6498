//! A chat over topics. Each session has an instance of its own, and what joins
//! them is the topic `room/NAME`: the host brings what is published to all
//! members, says who joins and leaves, and gives those who come back what they
//! missed (see `server.toml`). This handler keeps nothing but two names.
//!
//! | to the page | when |
//! | --- | --- |
//! | `here` and `NAME`, `INFO` for each member, with tabs between | it has joined |
//! | `WHO`, a tab, `TEXT`, published in the topic | somebody has said something |

use wharf_guest::{Handler, Message, Request, Session, Topic};

const TEXT_CHARACTERS_MAX: usize = 4000;

#[derive(Default)]
struct PresenceChat {
    room: String,
    who: String,
}

impl Handler for PresenceChat {
    fn on_open(&mut self, session: Session) {
        let Some(request) = session.request() else {
            return;
        };
        let room = request.params.iter().find(|(name, _)| name == "room");
        self.room = format!("room/{}", room.map_or("", |(_, room)| room));
        self.who = who(&request);
        if let Err(reason) = session.subscribe(&self.room, &self.who) {
            return session.close(4000, &format!("no place in this room: {reason:?}"));
        }
        let mut words = vec!["here".to_owned()];
        for member in Topic::new(&self.room).members().unwrap_or_default() {
            words.extend([member.name, member.info]);
        }
        let _ = session.send(&words.join("\t"));
    }

    fn on_message(&mut self, _session: Session, message: Message<'_>) {
        let text = message.as_text().unwrap_or_default();
        let text: String = text.chars().take(TEXT_CHARACTERS_MAX).collect();
        // Refused if the room's bytes a second are used up: it is not said then.
        let _ = Topic::new(&self.room).publish(&format!("{}\t{text}", self.who));
    }
}

/// What the client calls itself in `?who=NAME`: letters, digits and `-`.
fn who(request: &Request) -> String {
    let pairs = request.query.iter().flat_map(|query| query.split('&'));
    let named = pairs.filter_map(|pair| pair.strip_prefix("who=")).next();
    let fits = |character: &char| character.is_alphanumeric() || *character == '-';
    let name: String = named
        .unwrap_or_default()
        .chars()
        .filter(fits)
        .take(32)
        .collect();
    if name.is_empty() {
        "somebody".to_owned()
    } else {
        name
    }
}

wharf_guest::export!(PresenceChat);
