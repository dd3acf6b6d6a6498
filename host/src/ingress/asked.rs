//! The head of a request as the rest of ingress looks at it: taken over from hyper, or read where it
//! lies.
//!
//! Reads only what asks for a WebSocket the way clients do it; whatever is unusual is left to hyper.
//! Relies on [`super::head`], which has judged the bytes.

use hyper::body::Incoming;
use hyper::{Request, Version};

/// Headers that a handshake has room for without growing.
const USUAL_HEADERS: usize = 16;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) version: (u8, u8),
    /// Of a target that names one.
    pub(super) authority: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    /// Names in lower case.
    pub(super) headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Asked<'a> {
    /// As hyper has read it.
    pub(super) fn of(head: &'a Request<Incoming>) -> Self {
        let headers = head.headers().iter();
        Self {
            method: head.method().as_str(),
            version: match head.version() {
                Version::HTTP_11 => (1, 1),
                _ => (1, 0),
            },
            authority: head.uri().authority().map(|named| named.as_str()),
            path: head.uri().path(),
            query: head.uri().query(),
            headers: headers
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect(),
        }
    }

    /// A whole head that asks for a WebSocket and for nothing else, in plain characters. `None`: hyper
    /// is to read it. Names of headers may have been put into lower case in any case.
    pub(super) fn read(head: &'a mut [u8]) -> Option<Self> {
        let mut lines = head.split_mut(|byte| *byte == b'\n').map(|line| {
            let end = line.len().saturating_sub(1);
            &mut line[..end]
        });
        let first: &'a [u8] = lines.next()?;
        let target = first.strip_prefix(b"GET ")?.strip_suffix(b" HTTP/1.1")?;
        if target.first() != Some(&b'/') || !target.iter().all(is_plain) {
            return None;
        }
        let target = std::str::from_utf8(target).ok()?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut headers = Vec::with_capacity(USUAL_HEADERS);
        for line in lines.take_while(|line| !line.is_empty()) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at_mut(colon);
            name.make_ascii_lowercase();
            headers.push((std::str::from_utf8(name).ok()?, value[1..].trim_ascii()));
        }
        let asked = Self {
            method: "GET",
            version: (1, 1),
            authority: None,
            path,
            query,
            headers,
        };
        asked.is_handshake().then_some(asked)
    }

    /// Whether nothing in the headers is for anybody else than the handshake and its handler.
    fn is_handshake(&self) -> bool {
        let mut is_upgrade = false;
        let mut has_key = false;
        for (name, value) in &self.headers {
            if !value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
                return false;
            }
            match *name {
                "upgrade" => is_upgrade = true,
                "sec-websocket-key" => has_key = true,
                // Beside it, only keeping the connection is without meaning.
                "connection" if !is_plain_connection(value) => return false,
                "content-length" | "transfer-encoding" | "expect" | "te" | "trailer" => {
                    return false;
                }
                _ => {}
            }
        }
        is_upgrade && has_key
    }

    /// The values of the headers of that name, which is in lower case.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.headers.iter();
        headers
            .filter(move |(found, _)| *found == name)
            .map(|(_, value)| *value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }
}

/// What every reader of URIs takes as it is.
fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%?&=+,;:@!$'()*".contains(byte)
}

fn is_plain_connection(value: &[u8]) -> bool {
    let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    words.all(|word| {
        word.eq_ignore_ascii_case(b"upgrade") || word.eq_ignore_ascii_case(b"keep-alive")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDSHAKE: &str = "GET /rooms/a%20b?x=1&y HTTP/1.1\r\nHost: example.com:80\r\n\
        UPGRADE: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Twice:  a \r\nx-twice:\tb\r\n\r\n";

    #[test]
    fn a_handshake_is_read_where_it_lies() {
        let mut head = HANDSHAKE.to_owned().into_bytes();
        let asked = Asked::read(&mut head).expect("it is plain");
        assert_eq!((asked.method, asked.version), ("GET", (1, 1)));
        assert_eq!((asked.path, asked.query), ("/rooms/a%20b", Some("x=1&y")));
        let names: Vec<&str> = asked.headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names[..3], ["host", "upgrade", "connection"]);
        assert_eq!(names[4..], ["x-twice", "x-twice"]);
        let twice: Vec<&[u8]> = asked.values("x-twice").collect();
        assert_eq!(twice, [b"a", b"b"]);
        assert!(asked.has("sec-websocket-key") && !asked.has("origin"));
    }

    #[test]
    fn whatever_is_unusual_is_left_to_hyper() {
        for (usual, other) in [
            ("GET /", "\r\nGET /"),
            ("GET /", "POST /"),
            ("GET /", "GET http://example.com/"),
            ("GET /", "GET \""),
            ("/rooms", "/r\u{f6}\u{f6}ms"),
            ("/rooms", "/<rooms>"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("UPGRADE: websocket\r\n", ""),
            ("Sec-WebSocket-Key", "X"),
            ("keep-alive", "close"),
            ("keep-alive", "TE"),
            ("X-Twice:  a", "X-Twice: \u{e4}"),
            ("X-Twice:  a", "Content-Length: 0"),
            ("X-Twice:  a", "Transfer-Encoding: chunked"),
            ("X-Twice:  a", "Expect: 100-continue"),
        ] {
            let mut head = HANDSHAKE.replacen(usual, other, 1).into_bytes();
            assert_eq!(Asked::read(&mut head), None, "{other}");
        }
    }
}
