//! The server's side of the opening handshake: the strict rules for a request
//! that wants to become a WebSocket (RFC 6455, section 4.2.1). Decides nothing
//! about routes, origins or limits.

use super::header::{self, Extension, Header};
use super::key;

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// As written, in upper case for every method that HTTP defines.
    pub method: &'a str,
    /// Major and minor version of HTTP.
    pub version: (u8, u8),
    /// All headers, in the order received, doubles kept.
    pub headers: &'a [Header<'a>],
}

/// A request that may be answered with 101.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of the response's `Sec-WebSocket-Accept`.
    pub accept: String,
    /// What the client offers in `Sec-WebSocket-Protocol`, in its order.
    pub subprotocols: Vec<String>,
    /// What the client offers in `Sec-WebSocket-Extensions`, in its order;
    /// what is malformed there is left out.
    pub extensions: Vec<Extension>,
}

/// Why a request is not answered with 101. The connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status: 400 or 426.
    pub status: u16,
    /// What was wrong, for a person.
    pub message: &'static str,
    /// Headers that the response must carry.
    pub headers: &'static [(&'static str, &'static str)],
}

/// Judges a request.
pub fn check(request: &RequestHead<'_>) -> Result<Upgrade, Refusal> {
    check_http(request)?;
    let headers = request.headers;
    if !header::has_token(headers, "upgrade", "websocket") {
        return Err(bad("Upgrade is not websocket"));
    }
    if !header::has_token(headers, "connection", "upgrade") {
        return Err(bad("Connection is not Upgrade"));
    }
    match header::single(headers, "sec-websocket-version") {
        Ok(Some(b"13")) => {}
        Ok(_) => {
            return Err(Refusal {
                status: 426,
                message: "Sec-WebSocket-Version is not 13",
                headers: &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")],
            });
        }
        Err(()) => return Err(bad("more than one Sec-WebSocket-Version")),
    }
    let key = match header::single(headers, "sec-websocket-key") {
        Ok(Some(key)) if key::is_valid(key) => key,
        Ok(Some(_)) => return Err(bad("Sec-WebSocket-Key is not 16 bytes in base64")),
        Ok(None) => return Err(bad("no Sec-WebSocket-Key")),
        Err(()) => return Err(bad("more than one Sec-WebSocket-Key")),
    };
    Ok(Upgrade {
        accept: key::accept(key),
        subprotocols: subprotocols(headers)?,
        extensions: header::values(headers, "sec-websocket-extensions")
            .flat_map(header::parse_extensions)
            .collect(),
    })
}

/// The rules that hold for HTTP itself. A library that reads heads will have
/// refused some of this already; here nothing relies on it.
fn check_http(request: &RequestHead<'_>) -> Result<(), Refusal> {
    let headers = request.headers;
    if request.method != "GET" {
        return Err(bad("method is not GET"));
    }
    if request.version < (1, 1) {
        return Err(bad("HTTP is older than 1.1"));
    }
    for (name, value) in headers {
        if !header::is_token(name.as_bytes()) {
            return Err(bad("malformed header name"));
        }
        if !header::is_value(value) {
            return Err(bad("control character in a header"));
        }
    }
    match header::single(headers, "host") {
        Ok(Some(host)) if is_host(host) => {}
        Ok(Some(_)) => return Err(bad("malformed Host")),
        Ok(None) => return Err(bad("no Host")),
        Err(()) => return Err(bad("more than one Host")),
    }
    if header::single(headers, "origin").is_err() {
        return Err(bad("more than one Origin"));
    }
    // Bytes of a body would be taken for frames, or the other way round.
    let has_body = header::values(headers, "content-length").any(|value| value != b"0")
        || header::values(headers, "transfer-encoding")
            .next()
            .is_some();
    if has_body {
        Err(bad("a handshake has no body"))
    } else {
        Ok(())
    }
}

/// Host and port as they may be written (RFC 3986, section 3.2.2), without
/// user information; enough to keep a look-alike out of comparisons.
fn is_host(host: &[u8]) -> bool {
    !host.is_empty()
        && host.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':')
                || matches!(byte, b'[' | b']' | b'%')
        })
}

/// Tokens, each once (RFC 6455, section 4.1).
fn subprotocols(headers: &[Header<'_>]) -> Result<Vec<String>, Refusal> {
    let mut found: Vec<String> = Vec::new();
    for element in header::values(headers, "sec-websocket-protocol").flat_map(header::elements) {
        let name = core::str::from_utf8(element).unwrap_or_default();
        if !header::is_token(element) {
            return Err(bad("malformed Sec-WebSocket-Protocol"));
        }
        if found.iter().any(|known| known == name) {
            return Err(bad("a subprotocol offered twice"));
        }
        found.push(name.to_owned());
    }
    Ok(found)
}

const fn bad(message: &'static str) -> Refusal {
    Refusal {
        status: 400,
        message,
        headers: &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [Header<'static>; 5] = [
        ("Host", b"server.example"),
        ("Upgrade", b"websocket"),
        ("Connection", b"Upgrade"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", b"13"),
    ];

    fn head<'a>(headers: &'a [Header<'a>]) -> RequestHead<'a> {
        RequestHead {
            method: "GET",
            version: (1, 1),
            headers,
        }
    }

    /// The good request with one header in place of that of the same name.
    fn with<'a>(name: &'a str, value: &'a [u8]) -> Vec<Header<'a>> {
        let mut headers = without(name);
        headers.push((name, value));
        headers
    }

    fn without<'a>(name: &str) -> Vec<Header<'a>> {
        GOOD.into_iter()
            .filter(|(found, _)| !found.eq_ignore_ascii_case(name))
            .collect()
    }

    fn and<'a>(name: &'a str, value: &'a [u8]) -> Vec<Header<'a>> {
        let mut headers = GOOD.to_vec();
        headers.push((name, value));
        headers
    }

    fn status(headers: &[Header<'_>]) -> Option<u16> {
        check(&head(headers)).err().map(|refusal| refusal.status)
    }

    #[test]
    fn the_handshake_of_rfc_6455_is_accepted() {
        let headers = and("Sec-WebSocket-Protocol", b"chat, superchat");
        let upgrade = check(&head(&headers)).expect("accepted");
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(upgrade.subprotocols, ["chat", "superchat"]);
        assert!(upgrade.extensions.is_empty());
    }

    #[test]
    fn what_browsers_send_is_accepted() {
        for headers in [
            with("Connection", b"keep-alive, Upgrade"),
            with("UPGRADE", b"WebSocket"),
            with("upgrade", b"h2c, websocket"),
            with("Host", b"[::1]:8080"),
            and("Content-Length", b"0"),
            and("Origin", b"https://server.example"),
        ] {
            assert_eq!(status(&headers), None, "{headers:?}");
        }
    }

    #[test]
    fn another_method_or_an_older_http_is_400() {
        let refused = |method, version| {
            let request = RequestHead {
                method,
                version,
                headers: &GOOD,
            };
            check(&request).err().map(|refusal| refusal.status)
        };
        for method in ["POST", "get", "HEAD", "CONNECT", ""] {
            assert_eq!(refused(method, (1, 1)), Some(400));
        }
        assert_eq!(refused("GET", (1, 0)), Some(400));
        assert_eq!(refused("GET", (0, 9)), Some(400));
        assert_eq!(refused("GET", (2, 0)), None);
    }

    #[test]
    fn a_missing_or_doubled_header_is_400() {
        for name in ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key"] {
            assert_eq!(status(&without(name)), Some(400), "{name}");
        }
        for (name, value) in [
            ("host", &b"server.example"[..]),
            ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", b"13"),
        ] {
            assert_eq!(status(&and(name, value)), Some(400), "{name}");
        }
        let mut headers = and("Origin", b"https://a.example");
        headers.push(("Origin", b"https://b.example"));
        assert_eq!(status(&headers), Some(400));
    }

    #[test]
    fn a_wrong_value_is_400() {
        for (name, value) in [
            ("Host", &b""[..]),
            ("Host", b"user@server.example"),
            ("Host", b"a.example, b.example"),
            ("Upgrade", b"h2c"),
            ("Connection", b"close"),
            ("Sec-WebSocket-Key", b"AQID"),
            ("Sec-WebSocket-Protocol", b"a b"),
            ("Sec-WebSocket-Protocol", b"a, a"),
            ("Sec-WebSocket-Protocol", b"\xff"),
            ("Content-Length", b"5"),
            ("Transfer-Encoding", b"chunked"),
            ("X-Folded", b"a\r\n b"),
            ("X-Nul", b"a\0b"),
            ("X-Space ", b"a"),
            ("", b"a"),
        ] {
            assert_eq!(status(&with(name, value)), Some(400), "{name}: {value:?}");
        }
    }

    #[test]
    fn length_with_transfer_encoding_is_400() {
        let mut headers = and("Content-Length", b"0");
        headers.push(("Transfer-Encoding", b"chunked"));
        assert_eq!(status(&headers), Some(400));
    }

    #[test]
    fn another_version_is_426_and_says_13() {
        for headers in [
            with("Sec-WebSocket-Version", b"8"),
            with("Sec-WebSocket-Version", b"013"),
            with("Sec-WebSocket-Version", b"13, 8"),
            without("Sec-WebSocket-Version"),
        ] {
            let refusal = check(&head(&headers)).expect_err("refused");
            assert_eq!(refusal.status, 426);
            assert!(refusal.headers.contains(&("Sec-WebSocket-Version", "13")));
        }
    }

    #[test]
    fn a_bad_extension_header_is_no_reason_to_refuse() {
        let headers = and("Sec-WebSocket-Extensions", b"permessage-deflate; =\"");
        assert_eq!(
            check(&head(&headers)).map(|upgrade| upgrade.extensions),
            Ok(Vec::new())
        );
    }
}
