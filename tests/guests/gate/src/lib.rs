//! A handler that decides about handshakes by the request's query, and is
//! `probe` otherwise: it answers the same commands.
//!
//! The query is a list of `NAME=VALUE` or `NAME`, separated by `&`; a `+` in a
//! value is a space, nothing else is decoded.
//!
//! | in the query | what on-connect does |
//! | --- | --- |
//! | (nothing) | accepts |
//! | `status=CODE` | rejects with the status; `body=TEXT` is the answer's body |
//! | `header=NAME:VALUE` | adds a header, to an acceptance or a rejection; may be repeated |
//! | `protocol=NAME` | picks a subprotocol, offered or not |
//! | `tag=TAG` | gives the session a tag; may be repeated |
//! | `attachment=TEXT` | gives the session an attachment |
//! | `attachment-size=BYTES` | one of that size |
//! | `body-size=BYTES`, `header-size=BYTES` | a body, a header value of that size |
//! | `trap`, `spin` | traps; never returns |
//! | `allocate=BYTES` | allocates and touches that much |

#[path = "../../probe/src/commands.rs"]
mod commands;
#[path = "../../probe/src/json.rs"]
mod json;

use commands::Prober;
use wharf_guest::{Acceptance, Ending, Handler, Handshake, Message, Rejection, Request, Session};

#[derive(Default)]
struct Gate(Prober);

impl Handler for Gate {
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

impl Handshake for Gate {
    fn on_connect(&mut self, request: &Request) -> Result<Acceptance, Rejection> {
        let mut acceptance = Acceptance::default();
        let mut status = None;
        let mut body = Vec::new();
        for item in request.query.as_deref().unwrap_or_default().split('&') {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            let value = value.replace('+', " ");
            match name {
                "status" => status = Some(value.parse().expect("a status")),
                "body" => body = value.into_bytes(),
                "body-size" => body = vec![b'x'; size(&value)],
                "header" => acceptance.headers.push(header(&value)),
                "header-size" => {
                    acceptance
                        .headers
                        .push(("x-large".to_owned(), vec![b'x'; size(&value)]));
                }
                "protocol" => acceptance.subprotocol = Some(value),
                "tag" => acceptance.tags.push(value),
                "attachment" => acceptance.attachment = value.into_bytes(),
                "attachment-size" => acceptance.attachment = vec![7; size(&value)],
                "trap" => panic!("the client asked for it"),
                "spin" => loop {
                    std::hint::black_box(0);
                },
                "allocate" => drop(std::hint::black_box(vec![1_u8; size(&value)])),
                _ => {}
            }
        }
        match status {
            None => Ok(acceptance),
            Some(status) => Err(Rejection {
                status,
                headers: acceptance.headers,
                body,
            }),
        }
    }
}

fn header(item: &str) -> (String, Vec<u8>) {
    let (name, value) = item.split_once(':').expect("NAME:VALUE");
    (name.to_owned(), value.as_bytes().to_vec())
}

fn size(word: &str) -> usize {
    word.parse().expect("a size in bytes")
}

wharf_guest::export!(Gate, handshake);
