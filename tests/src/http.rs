//! HTTP/1.1 as bytes: request heads that may break every rule, and responses read strictly.
//!
//! Never normalises what a test writes. Reading accepts what RFC 9112 allows a server to send with
//! a Content-Length or without a body; it knows no chunked responses.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha1::{Digest as _, Sha1};

/// `Sec-WebSocket-Key` of RFC 6455, section 1.3, which every head of the tests carries.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The accept value that belongs to [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The accept value that belongs to a key (RFC 6455, section 4.2.2).
pub fn accept(key: &str) -> String {
    let hash = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    BASE64_STANDARD.encode(hash)
}

/// A request head under construction: a correct upgrade until a test spoils it.
#[derive(Clone, Debug)]
pub struct Head {
    /// The request line without its line end.
    pub request_line: String,
    /// Header lines without their line ends, in order.
    pub lines: Vec<String>,
}

impl Head {
    /// A correct WebSocket handshake for the target.
    pub fn upgrade(target: &str) -> Self {
        Self::get(target)
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Key", KEY)
            .header("Sec-WebSocket-Version", "13")
    }

    /// A plain GET of the target.
    pub fn get(target: &str) -> Self {
        Self {
            request_line: format!("GET {target} HTTP/1.1"),
            lines: vec!["Host: wharf.test".into()],
        }
    }

    /// Replaces the request line.
    #[must_use]
    pub fn request_line(mut self, line: &str) -> Self {
        self.request_line = line.into();
        self
    }

    /// Adds a header line `name: value`.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.line(format!("{name}: {value}"))
    }

    /// Adds a line as it is.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Takes every header of that name out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        let prefix = format!("{}:", name.to_ascii_lowercase());
        self.lines
            .retain(|line| !line.to_ascii_lowercase().starts_with(&prefix));
        self
    }

    /// Replaces the headers of that name by one.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// The head's bytes, with the empty line that ends it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.request_line);
        for line in &self.lines {
            let _ = write!(head, "{line}\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// A response head and, when its length is declared, its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// Filled by the reader of the connection.
    pub body: Vec<u8>,
}

impl Response {
    /// Reads a head from the front of `bytes`; gives it and its length once the empty line is there.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(bytes[..end - 4].to_vec()).expect("a response head is ASCII");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
        let headers = lines
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .unwrap_or_else(|| panic!("not a header line: {line:?}"));
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        Some((
            Self {
                status,
                headers,
                body: Vec::new(),
            },
            end,
        ))
    }

    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// Bytes that the body has by its Content-Length; 0 without one.
    pub fn content_length(&self) -> usize {
        self.header("content-length").map_or(0, |value| {
            value.parse().expect("a Content-Length is a number")
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
