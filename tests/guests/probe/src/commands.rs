//! The command language that `probe` and `gate` answer.
//!
//! Words are separated by one space; TEXT and REASON go to the end of the
//! line. "result" is `ok`, `error closed`, `error full` or
//! `error too-large LIMIT`.
//!
//! | command | answer |
//! | --- | --- |
//! | `echo TEXT` | TEXT |
//! | `repeat COUNT TEXT` | TEXT, COUNT times |
//! | `fill COUNT SIZE` | COUNT texts of SIZE bytes, by `send`; then `sent N RESULT` unless full |
//! | `try-fill COUNT SIZE` | as many as fit, by `try-send`; `filled` tells it later |
//! | `filled` | `N RESULT` of the last `fill` or `try-fill`: how many went, and what stopped them |
//! | `id`, `count`, `queued` | a number |
//! | `name`, `subprotocol` | a JSON string or null |
//! | `request` | JSON: scheme, authority, path, query, params, headers, remote_address, subprotocols |
//! | `tags` | a JSON array; `set-tags TAG…`: result |
//! | `attachment` | hexadecimal; `set-attachment HEX`, `set-attachment-size BYTES`: result |
//! | `list`, `list TAG` | a JSON array of session numbers |
//! | `find NAME` | a session number or null |
//! | `send ID TEXT`, `try-send ID TEXT` | result |
//! | `broadcast TEXT` | TEXT to all sessions of the instance; no other answer |
//! | `flush` | result |
//! | `close CODE REASON` | none; closes this session |
//! | `close-other ID CODE REASON` | `ok`; closes another |
//! | `ping-interval MS`, `ping-interval off`, `timeout MS` | `ok` |
//! | `auto-response REQUEST RESPONSE`, `auto-response off` | result; both are one word |
//! | `on ID COMMAND` | the answer of COMMAND about another session |
//! | `observe` | `ok`; see `lib.rs` |
//! | `events` | a JSON array |
//! | `trap` | none: the handler panics |

use std::collections::BTreeSet;
use std::time::Duration;

use wharf_guest::{Ending, Initiator, Message, SendError, Session};

use crate::json;

/// What the instance has seen.
#[derive(Default)]
pub(crate) struct Prober {
    events: Vec<String>,
    observers: BTreeSet<Session>,
    filled: String,
}

impl Prober {
    pub(crate) fn opened(&mut self, session: Session) {
        self.tell(format!(r#"{{"event":"open","session":{}}}"#, session.id()));
    }

    pub(crate) fn closed(&mut self, session: Session, ending: &Ending) {
        self.observers.remove(&session);
        let initiator = match ending.initiator {
            Initiator::Peer => "peer",
            Initiator::Handler => "handler",
            Initiator::Host => "host",
        };
        self.tell(format!(
            r#"{{"event":"close","session":{},"code":{},"reason":{},"clean":{},"initiator":"{initiator}"}}"#,
            session.id(),
            ending.code,
            json::string(&ending.reason),
            ending.clean,
        ));
    }

    pub(crate) fn message(&mut self, session: Session, message: Message<'_>) {
        let Message::Text(command) = message else {
            let _ = session.send(message);
            return;
        };
        if let Some(answer) = self.run(session, command) {
            let _ = session.send(&answer);
        }
    }

    fn tell(&mut self, event: String) {
        for observer in &self.observers {
            let _ = observer.send(&event);
        }
        self.events.push(event);
    }

    /// Runs one command about a session; `None` when nothing is to be answered.
    fn run(&mut self, session: Session, command: &str) -> Option<String> {
        let (verb, rest) = cut(command);
        match verb {
            "on" => {
                let (id, command) = cut(rest);
                self.run(Session::from_id(number(id)), command)
            }
            "observe" => {
                self.observers.insert(session);
                Some("ok".to_owned())
            }
            "events" => Some(json::array(self.events.clone())),
            "filled" => Some(self.filled.clone()),
            "fill" => {
                self.filled = fill(rest, |text| session.send(text));
                Some(format!("sent {}", self.filled))
            }
            "try-fill" => {
                self.filled = fill(rest, |text| session.try_send(text));
                None
            }
            "trap" => panic!("the client asked for it"),
            _ => ask(session, verb, rest).or_else(|| act(session, verb, rest)),
        }
    }
}

/// Commands that only look.
fn ask(session: Session, verb: &str, rest: &str) -> Option<String> {
    let ids = |list: Vec<Session>| json::array(list.into_iter().map(|s| s.id().to_string()));
    Some(match verb {
        "echo" => rest.to_owned(),
        "id" => session.id().to_string(),
        "count" => Session::count().to_string(),
        "queued" => session.queued_bytes().to_string(),
        "name" => json::optional(session.name().as_deref()),
        "subprotocol" => json::optional(session.subprotocol().as_deref()),
        "request" => request(session),
        "tags" => json::array(session.tags().iter().map(|tag| json::string(tag))),
        "attachment" => session
            .attachment()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        "list" if rest.is_empty() => ids(Session::all()),
        "list" => ids(Session::with_tag(rest)),
        "find" => Session::find(rest).map_or("null".to_owned(), |found| found.id().to_string()),
        _ => return None,
    })
}

/// Commands that do something.
fn act(session: Session, verb: &str, rest: &str) -> Option<String> {
    let (first, second) = cut(rest);
    let other = || Session::from_id(number(first));
    let outcome = match verb {
        "set-tags" => session.set_tags(&rest.split_whitespace().collect::<Vec<_>>()),
        "set-attachment" => session.set_attachment(&bytes(rest)),
        "set-attachment-size" => session.set_attachment(&vec![7; size(rest)]),
        "send" => other().send(second),
        "try-send" => other().try_send(second),
        "flush" => session.flush(),
        "auto-response" if rest == "off" => session.clear_auto_response(),
        "auto-response" => session.set_auto_response(first, second),
        "ping-interval" if rest == "off" => {
            session.set_ping_interval(None);
            Ok(())
        }
        "ping-interval" => {
            session.set_ping_interval(Some(Duration::from_millis(number(rest))));
            Ok(())
        }
        "timeout" => {
            session.set_timeout(Duration::from_millis(number(rest)));
            Ok(())
        }
        "close-other" => {
            let (code, reason) = cut(second);
            other().close(code.parse().expect("a close code"), reason);
            Ok(())
        }
        "close" => {
            session.close(first.parse().expect("a close code"), second);
            return None;
        }
        "broadcast" => {
            for session in Session::all() {
                let _ = session.send(rest);
            }
            return None;
        }
        "repeat" => {
            for _ in 0..number(first) {
                let _ = session.send(second);
            }
            return None;
        }
        _ => return Some(format!("unknown command {verb}")),
    };
    Some(result(outcome))
}

fn request(session: Session) -> String {
    let Some(request) = session.request() else {
        return "null".to_owned();
    };
    let pair = |name: &str, value: &str| json::array([json::string(name), json::string(value)]);
    let params = request.params.iter().map(|(name, value)| pair(name, value));
    let headers = request.headers.iter();
    let headers = headers.map(|(name, value)| pair(name, &String::from_utf8_lossy(value)));
    let subprotocols = request.subprotocols.iter().map(|offer| json::string(offer));
    format!(
        r#"{{"scheme":{},"authority":{},"path":{},"query":{},"params":{},"headers":{},"remote_address":{},"subprotocols":{}}}"#,
        json::string(&request.scheme),
        json::string(&request.authority),
        json::string(&request.path),
        json::optional(request.query.as_deref()),
        json::array(params),
        json::array(headers),
        json::string(&request.remote_address),
        json::array(subprotocols),
    )
}

/// Sends `COUNT SIZE` texts until one does not go.
fn fill(arguments: &str, send: impl Fn(&str) -> Result<(), SendError>) -> String {
    let (count, bytes) = cut(arguments);
    let text = "x".repeat(size(bytes));
    let count = number(count);
    for sent in 0..count {
        let outcome = send(&text);
        if outcome.is_err() {
            return format!("{sent} {}", result(outcome));
        }
    }
    format!("{count} ok")
}

fn result(outcome: Result<(), SendError>) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(SendError::Closed) => "error closed".to_owned(),
        Err(SendError::Full) => "error full".to_owned(),
        Err(SendError::TooLarge(limit)) => format!("error too-large {limit}"),
    }
}

fn cut(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

fn size(word: &str) -> usize {
    word.parse().expect("a size in bytes")
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal"))
        .collect()
}
