//! The decision before the handshake is answered: who may come in, and with
//! which subprotocol, headers, tags and attachment.

use crate::{Handler, Request};

/// Decides whether a client gets its WebSocket. Optional: implement it beside
/// [`Handler`] and export both with `export!(MyHandler, handshake)`.
pub trait Handshake: Handler {
    /// Called before the handshake is answered, in the instance that will
    /// serve the session.
    ///
    /// # Errors
    /// The HTTP answer that the client gets in place of a WebSocket.
    fn on_connect(&mut self, request: &Request) -> Result<Acceptance, Rejection>;
}

/// The client may come in. `Acceptance::default()` adds nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// One of those that the client offered.
    pub subprotocol: Option<String>,
    /// Headers for the answer, beside those of the handshake.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The tags with which the session starts.
    pub tags: Vec<String>,
    /// The attachment with which the session starts.
    pub attachment: Vec<u8>,
}

/// The client may not come in, and gets this HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// 400 to 599.
    pub status: u16,
    /// Headers for the answer.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The answer's body.
    pub body: Vec<u8>,
}

impl Rejection {
    /// An answer with a status (400 to 599) and a plain text.
    #[must_use]
    pub fn new(status: u16, text: &str) -> Rejection {
        let content_type = (
            "content-type".to_owned(),
            b"text/plain; charset=utf-8".to_vec(),
        );
        Rejection {
            status,
            headers: vec![content_type],
            body: text.as_bytes().to_vec(),
        }
    }
}
