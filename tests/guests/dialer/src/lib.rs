//! A handler that opens WebSockets, on demand. Each text message of a client is
//! one command; words are separated by one space, TEXT goes to the end:
//!
//! | command | what it does | answer |
//! | --- | --- | --- |
//! | `open URL SUBPROTOCOLS…` | opens a connection | `open SUBPROTOCOL`, or `error …` |
//! | `header NAME VALUE URL` | the same with a header | the same |
//! | `within MILLISECONDS URL` | the same with a timeout | the same |
//! | `flood URL COUNT` | opens that many | `N open, then …` |
//! | `say TEXT` | sends a text on the newest connection | none, or `error …` |
//! | `bytes COUNT` | sends so many bytes on it | none, or `error …` |
//! | `close CODE REASON` | closes it | none |
//! | `keep TEXT` | attaches a text to it | `ok` |
//! | `who` | counts clients and connections | `CLIENTS in, CONNECTIONS out, request B, kept TEXT` |
//! | `trap` | panics | never |
//!
//! What a connection says goes to all clients: `got TEXT` or `got N bytes`; its end, too:
//! `ended CODE REASON, clean B, by WHOM`. Nothing is kept in memory, so it may sleep.

use wharf_guest::client::{self, Connect, Error};
use wharf_guest::{Ending, Handler, Message, Session};

#[derive(Default)]
struct Dialer;

impl Handler for Dialer {
    fn on_open(&mut self, session: Session) {
        // Nobody calls it for what was opened.
        assert!(
            !is_opened(session),
            "on-open of a connection that was opened"
        );
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        if is_opened(session) {
            return tell(&match message {
                Message::Text(text) => format!("got {text}"),
                Message::Binary(bytes) => format!("got {} bytes", bytes.len()),
            });
        }
        if let Some(answer) = message.as_text().and_then(obey) {
            let _ = session.send(&answer);
        }
    }

    fn on_close(&mut self, session: Session, ending: Ending) {
        if is_opened(session) {
            let Ending {
                code,
                reason,
                clean,
                initiator,
            } = ending;
            let initiator = format!("{initiator:?}").to_lowercase();
            let initiator = initiator.rsplit(':').next().unwrap_or_default();
            tell(&format!(
                "ended {code} {reason}, clean {clean}, by {initiator}"
            ));
        }
    }
}

fn obey(command: &str) -> Option<String> {
    let (verb, rest) = cut(command);
    let (first, second) = cut(rest);
    match verb {
        "open" => {
            let names = second.split(' ').filter(|name| !name.is_empty());
            let connect = names.fold(Connect::to(first), Connect::subprotocol);
            Some(shown(connect.open()))
        }
        "header" => {
            let (value, url) = cut(second);
            Some(shown(Connect::to(url).header(first, value).open()))
        }
        "within" => {
            let milliseconds = first.parse().expect("a number of milliseconds");
            let timeout = std::time::Duration::from_millis(milliseconds);
            Some(shown(Connect::to(second).timeout(timeout).open()))
        }
        "flood" => Some(flood(first, second.parse().expect("a number"))),
        "say" => failed(newest().send(rest)),
        "bytes" => {
            let count = first.parse().expect("a number of bytes");
            failed(newest().send(vec![7; count].as_slice()))
        }
        "close" => {
            newest().close(first.parse().expect("a code"), second);
            None
        }
        "keep" => {
            let kept = newest().set_attachment(rest.as_bytes());
            Some(kept.map_or_else(|error| format!("error {error:?}"), |()| "ok".to_owned()))
        }
        "who" => Some(who()),
        "trap" => panic!("asked to"),
        _ => Some(format!("no such command: {command}")),
    }
}

fn is_opened(session: Session) -> bool {
    client::all().contains(&session)
}

fn newest() -> Session {
    let newest = client::all().last().copied();
    newest.unwrap_or_else(|| Session::from_id(0))
}

fn tell(text: &str) {
    for client in Session::all() {
        let _ = client.send(text);
    }
}

fn shown(opened: Result<Session, Error>) -> String {
    match opened {
        Ok(session) => format!("open {}", session.subprotocol().unwrap_or_default()),
        Err(error) => format!("error {error}"),
    }
}

fn failed<E: std::fmt::Debug>(outcome: Result<(), E>) -> Option<String> {
    outcome.err().map(|error| format!("error {error:?}"))
}

fn flood(url: &str, count: usize) -> String {
    for opened in 0..count {
        if let Err(error) = client::connect(url) {
            return format!("{opened} open, then {error}");
        }
    }
    format!("{count} open")
}

fn who() -> String {
    let (inside, outside) = (Session::all().len(), client::all().len());
    let newest = newest();
    let found = newest.name().and_then(|name| Session::find(&name));
    assert_eq!(
        (Session::count(), found.is_some()),
        (inside as u64, outside > 0)
    );
    let (request, kept) = (newest.request().is_some(), newest.attachment());
    let kept = String::from_utf8_lossy(&kept).into_owned();
    format!("{inside} in, {outside} out, request {request}, kept {kept}")
}

fn cut(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

wharf_guest::export!(Dialer);
