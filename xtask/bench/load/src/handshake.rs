//! The opening handshake from the client's side, with a key and an answer that
//! are always the same: RFC 6455's own example.

use anyhow::{Context, ensure};

use crate::arguments::Target;
use crate::tls;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// As browsers offer it.
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

pub(crate) fn request(target: &Target, connection: usize) -> Vec<u8> {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{}\r\n",
        target.path_for(connection),
        tls::NAME,
        target.address.port(),
        if target.deflate { DEFLATE } else { "" },
    )
    .into_bytes()
}

/// What a server agreed to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) deflate: bool,
    /// The server begins each message with an empty window.
    pub(crate) server_resets: bool,
}

/// Reads an answer: its length and what was agreed; `None` while it is
/// incomplete.
pub(crate) fn answer(bytes: &[u8]) -> anyhow::Result<Option<(usize, Agreed)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        ensure!(bytes.len() < 16_384, "an answer of more than 16 KiB");
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).context("an answer that is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    ensure!(
        status.starts_with("HTTP/1.1 101"),
        "the handshake was answered with `{status}`"
    );
    let (mut accepted, mut agreed) = (false, Agreed::default());
    for line in lines {
        let (name, value) = line.split_once(':').context("a header without a colon")?;
        if name.eq_ignore_ascii_case("sec-websocket-accept") {
            accepted = value.trim() == ACCEPT;
        }
        if name.eq_ignore_ascii_case("sec-websocket-extensions") {
            agreed.deflate = value.contains("permessage-deflate");
            agreed.server_resets = value.contains("server_no_context_takeover");
        }
    }
    ensure!(accepted, "the answer has no right Sec-WebSocket-Accept");
    Ok(Some((end + 4, agreed)))
}

#[cfg(test)]
mod tests {
    use super::{Agreed, answer};

    const RIGHT: &str = "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    #[test]
    fn an_answer_is_read_to_its_end() {
        let text = format!("{RIGHT}\r\nmore");
        assert_eq!(answer(RIGHT.as_bytes()).expect("incomplete"), None);
        let agreed = Agreed::default();
        assert_eq!(
            answer(text.as_bytes()).expect("right"),
            Some((text.len() - 4, agreed))
        );
    }

    #[test]
    fn deflate_is_noticed() {
        let text = format!(
            "{RIGHT}Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n"
        );
        let (_, agreed) = answer(text.as_bytes()).expect("right").expect("complete");
        assert!(agreed.deflate && agreed.server_resets);
    }

    #[test]
    fn another_status_is_an_error() {
        assert!(answer(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
    }
}
