//! A window to one other server: what the client asks for is fetched from an
//! upstream that the operator chose, over HTTP or over a WebSocket.
//!
//! | from the client | to the client |
//! | --- | --- |
//! | `get PATH` | `STATUS`, an empty line, and the body |
//! | `open PATH` | `open`; from now on the two talk to each other, until one of them closes |
//! | (anything else) | what to say instead |
//!
//! The operator writes the upstream into `[route.config]`, for WebSockets as
//! `feed`, grants both hosts, and may add a secret `token`, which goes along.

use wharf_guest::client::{self, Connect};
use wharf_guest::http::{Error, Request};
use wharf_guest::{Ending, Handler, Message, Session, log, settings};

/// One for each client.
#[derive(Default)]
struct Proxy {
    client: Option<Session>,
    upstream: Option<Session>,
}

impl Handler for Proxy {
    fn on_open(&mut self, session: Session) {
        self.client = Some(session);
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let other = if self.upstream == Some(session) {
            self.client
        } else {
            self.upstream
        };
        if let Some(other) = other {
            // If it has closed meanwhile, the next call says so.
            let _ = other.send(message);
            return;
        }
        let words = message.as_text().and_then(|text| text.split_once(' '));
        let answer = match words {
            Some(("get", path)) if path.starts_with('/') => {
                fetch(path).unwrap_or_else(|error| refused(path, &error.to_string()))
            }
            Some(("open", path)) if path.starts_with('/') => match open(path) {
                Ok(upstream) => {
                    self.upstream = Some(upstream);
                    "open".to_owned()
                }
                Err(error) => refused(path, &error.to_string()),
            },
            _ => "say get or open and a path, such as get /".to_owned(),
        };
        let _ = session.send(&answer);
    }

    fn on_close(&mut self, session: Session, ending: Ending) {
        // The client needs no such care: when it leaves, what it has opened is closed.
        if self.upstream == Some(session) {
            self.upstream = None;
            if let Some(client) = self.client {
                let _ = client.send(&format!("closed: {} {}", ending.code, ending.reason));
            }
        }
    }
}

fn fetch(path: &str) -> Result<String, Error> {
    let url = format!("{}{path}", settings::get("upstream").unwrap_or_default());
    let mut request = Request::get(&url);
    if let Some(token) = settings::get("token") {
        request = request.header("authorization", &format!("Bearer {token}"));
    }
    let response = request.send()?;
    Ok(format!("{}\n\n{}", response.status, response.text()))
}

fn open(path: &str) -> Result<Session, client::Error> {
    let url = format!("{}{path}", settings::get("feed").unwrap_or_default());
    let mut connect = Connect::to(&url);
    if let Some(token) = settings::get("token") {
        connect = connect.header("authorization", format!("Bearer {token}"));
    }
    connect.open()
}

fn refused(path: &str, error: &str) -> String {
    log::warn("upstream", &format!("{path}: {error}"));
    format!("no answer: {error}")
}

wharf_guest::export!(Proxy);
