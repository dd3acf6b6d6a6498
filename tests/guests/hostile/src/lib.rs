//! A handler that does harm, on demand: each text message names one deed.
//!
//! With `?open=DEED` or `?close=DEED` in the request's query, the deed is done
//! in that call instead. Where a deed ends by itself, what came of it is sent
//! as one text to every session of the instance that is still open; an
//! unknown deed is echoed, so a session that behaves can share the instance.
//! The deeds are in `deeds.rs`, those that need the raw ABI in `raw.rs`.

// Its deeds exist on no other machine.
#![cfg(target_family = "wasm")]

mod deeds;
mod raw;

use std::collections::BTreeMap;

use wharf_guest::{Ending, Handler, Message, Session};

#[derive(Default)]
struct Hostile {
    at_close: BTreeMap<Session, String>,
}

impl Handler for Hostile {
    fn on_open(&mut self, session: Session) {
        let query = session
            .request()
            .and_then(|request| request.query)
            .unwrap_or_default();
        for item in query.split('&') {
            match item.split_once('=') {
                Some(("open", deed)) => perform(session, deed),
                Some(("close", deed)) => {
                    self.at_close.insert(session, deed.to_owned());
                }
                _ => {}
            }
        }
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        match message {
            Message::Text(deed) => perform(session, deed),
            Message::Binary(_) => {
                let _ = session.send(message);
            }
        }
    }

    fn on_close(&mut self, session: Session, _ending: Ending) {
        if let Some(deed) = self.at_close.remove(&session) {
            perform(session, &deed);
        }
    }
}

fn perform(session: Session, deed: &str) {
    let report = deeds::perform(session, deed);
    for session in Session::all() {
        let _ = session.try_send(&report);
    }
}

wharf_guest::export!(Hostile);
