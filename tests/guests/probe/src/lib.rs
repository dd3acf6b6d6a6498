//! A well-behaved handler that does what its client says and tells what it
//! sees, so that a test can observe a session from both sides.
//!
//! Binary messages come back as they are. A text message is one command of
//! `commands.rs`; the answer is one text message. `observe` makes its session
//! an observer: from then on it gets, as JSON, every opening and every ending
//! of the instance's sessions:
//!
//! ```json
//! {"event":"open","session":2}
//! {"event":"close","session":2,"code":1000,"reason":"","clean":true,"initiator":"peer"}
//! ```
//!
//! `events` answers with a list of all of them since the instance started.

mod commands;
mod json;

use commands::Prober;
use wharf_guest::{Ending, Handler, Message, Session};

#[derive(Default)]
struct Probe(Prober);

impl Handler for Probe {
    fn on_open(&mut self, session: Session) {
        self.0.opened(session);
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        self.0.message(session, message);
    }

    fn on_close(&mut self, session: Session, ending: Ending) {
        self.0.closed(session, &ending);
    }
}

wharf_guest::export!(Probe);
