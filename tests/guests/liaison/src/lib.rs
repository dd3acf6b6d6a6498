//! A handler of a raw route that opens a WebSocket, and tells its client of each control frame that
//! comes over that: `ping TEXT`, `pong TEXT`, `close CODE REASON`. It answers pings, and a close with
//! 4010. Its client's own control frames it tells of as `from the client: …`.
//!
//! | text | what it does | answer |
//! | --- | --- | --- |
//! | `open URL` | opens a connection | `open`, or `error …` |
//! | `ping TEXT` | pings over it | none |
//!
//! Anything else goes over the connection, and what comes over it to the client.

use wharf_guest::{CloseReason, ControlHandler, Ending, Handler, Message, Session, client};

#[derive(Default)]
struct Liaison {
    client: Option<Session>,
    upstream: Option<Session>,
}

impl Handler for Liaison {
    fn on_open(&mut self, session: Session) {
        self.client = Some(session);
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        if Some(session) == self.upstream {
            return self.pass(self.client, message);
        }
        let text = message.as_text().unwrap_or_default();
        match text.split_once(' ') {
            Some(("open", url)) => {
                let opened = client::connect(url);
                let answer = match &opened {
                    Ok(_) => "open".to_owned(),
                    Err(error) => format!("error {error}"),
                };
                self.upstream = opened.ok();
                let _ = session.send(&answer);
            }
            Some(("ping", payload)) => {
                if let Some(upstream) = self.upstream {
                    let _ = upstream.ping(payload.as_bytes());
                }
            }
            _ => self.pass(self.upstream, message),
        }
    }

    fn on_close(&mut self, session: Session, ending: Ending) {
        if Some(session) == self.upstream {
            self.tell(session, &format!("ended {}", ending.code));
        }
    }
}

impl ControlHandler for Liaison {
    fn on_ping(&mut self, session: Session, payload: &[u8]) {
        self.tell(
            session,
            &format!("ping {}", String::from_utf8_lossy(payload)),
        );
        let _ = session.pong(payload);
    }

    fn on_pong(&mut self, session: Session, payload: &[u8]) {
        self.tell(
            session,
            &format!("pong {}", String::from_utf8_lossy(payload)),
        );
    }

    fn on_peer_close(&mut self, session: Session, reason: Option<CloseReason<'_>>) {
        let said = reason.map(|said| format!("close {} {}", said.code, said.reason));
        self.tell(session, &said.unwrap_or_else(|| "close".to_owned()));
        session.close(4010, "seen");
    }
}

impl Liaison {
    fn pass(&self, to: Option<Session>, message: Message<'_>) {
        if let Some(to) = to {
            let _ = to.send(message);
        }
    }

    fn tell(&self, from: Session, text: &str) {
        let Some(client) = self.client else { return };
        let prefix = if Some(from) == self.upstream {
            ""
        } else {
            "from the client: "
        };
        let _ = client.try_send(&format!("{prefix}{text}"));
    }
}

wharf_guest::export!(Liaison, control);
