//! Sends every message back as it came: text as text, bytes as bytes.

use wharf_guest::{Handler, Message, Session};

#[derive(Default)]
struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        // A session that has closed meanwhile needs no answer.
        let _ = session.send(message);
    }
}

wharf_guest::export!(Echo);
