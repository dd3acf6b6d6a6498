//! A handler of a raw route. It tells its session of each control frame, `ping TEXT`, `pong TEXT` or
//! `close CODE REASON` (`close` for an empty one), and answers pings as `answer`. Other deeds:
//!
//! | text | what it does |
//! | --- | --- |
//! | `observe` | this session is told of every other that ends in this instance |
//! | `ping TEXT`, `pong TEXT` | sends one; says why if it cannot |
//! | `empty` | closes without a code |
//! | `answer DEED` | what it does from now on with control frames: see [`Deed`] |
//! | `storm` | pings without end |
//!
//! Anything else it echoes.

use std::collections::BTreeMap;

use wharf_guest::{CloseReason, ControlHandler, Ending, Handler, Message, Session};

#[derive(Default)]
struct Raw {
    deeds: BTreeMap<Session, Deed>,
}

/// What is done with a control frame, beyond telling of it.
#[derive(Clone, Copy, Default)]
enum Deed {
    /// A pong for a ping; `last words` and then 4001 for a close frame.
    #[default]
    Own,
    /// `empty`: an empty close frame for a close frame.
    Empty,
    /// `nothing`: no answer at all.
    Nothing,
    /// `floods`: pongs without end, for each.
    Floods,
    /// `trap`: it panics.
    Trap,
}

impl Handler for Raw {
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let text = message.as_text().unwrap_or("");
        let sent = match text.split_once(' ').unwrap_or((text, "")) {
            ("observe", _) => session.set_tags(&["observer"]),
            ("ping", payload) => session.ping(payload.as_bytes()),
            ("pong", payload) => session.pong(payload.as_bytes()),
            ("empty", _) => {
                session.close_as(None);
                Ok(())
            }
            ("answer", deed) => {
                self.deeds.insert(session, deed_of(deed));
                session.send("so be it")
            }
            ("storm", _) => loop {
                let _ = session.ping(b"storm");
            },
            _ => session.send(message),
        };
        if let Err(error) = sent {
            let _ = session.send(&format!("{error:?}"));
        }
    }

    fn on_close(&mut self, session: Session, ending: Ending) {
        self.deeds.remove(&session);
        let text = format!(
            "{} {:?} clean={} by {:?}",
            ending.code, ending.reason, ending.clean, ending.initiator
        );
        for observer in Session::with_tag("observer") {
            let _ = observer.try_send(&text);
        }
    }
}

impl ControlHandler for Raw {
    fn on_ping(&mut self, session: Session, payload: &[u8]) {
        tell(session, "ping", payload);
        match self.deed(session) {
            Deed::Own | Deed::Empty => drop(session.pong(payload)),
            deed => harm(session, deed),
        }
    }

    fn on_pong(&mut self, session: Session, payload: &[u8]) {
        tell(session, "pong", payload);
    }

    fn on_peer_close(&mut self, session: Session, reason: Option<CloseReason<'_>>) {
        match reason {
            Some(said) => tell(
                session,
                &format!("close {}", said.code),
                said.reason.as_bytes(),
            ),
            None => drop(session.send("close")),
        }
        match self.deed(session) {
            Deed::Own => {
                let _ = session.send("last words");
                session.close(4001, "its own");
            }
            Deed::Empty => session.close_as(None),
            deed => harm(session, deed),
        }
    }
}

impl Raw {
    fn deed(&self, session: Session) -> Deed {
        self.deeds.get(&session).copied().unwrap_or_default()
    }
}

fn deed_of(word: &str) -> Deed {
    match word {
        "empty" => Deed::Empty,
        "nothing" => Deed::Nothing,
        "floods" => Deed::Floods,
        "trap" => Deed::Trap,
        _ => Deed::Own,
    }
}

fn harm(session: Session, deed: Deed) {
    match deed {
        Deed::Floods => loop {
            let _ = session.pong(&[b'x'; 125]);
        },
        Deed::Trap => panic!("as it was told"),
        Deed::Own | Deed::Empty | Deed::Nothing => {}
    }
}

fn tell(session: Session, what: &str, payload: &[u8]) {
    let _ = session.send(&format!("{what} {}", String::from_utf8_lossy(payload)));
}

wharf_guest::export!(Raw, control);
