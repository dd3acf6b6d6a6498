//! What the handshake said, kept for as long as the session lives.
//!
//! Plain data: it knows neither hyper nor WIT. Ingress writes it; capabilities show it to the
//! guest. Every session keeps one and few guests ever ask, so it is a single piece of memory, read
//! from its beginning whenever somebody asks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Header names that take one byte instead of their text.
const KNOWN_NAMES: [&str; 28] = [
    "host",
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "origin",
    "user-agent",
    "cookie",
    "accept-encoding",
    "accept-language",
    "accept",
    "cache-control",
    "pragma",
    "authorization",
    "referer",
    "dnt",
    "content-length",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "forwarded",
];

/// The HTTP request that asked for a session; a clone means the same one.
///
/// One piece of memory: the chosen subprotocol, the scheme, the authority and so on in the order of
/// [`Said`], each text behind its length, each list behind its count.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Request(Arc<[u8]>);

/// A request in its parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Said<'a> {
    /// The one of the offered subprotocols that the route's own list picked; the handler's
    /// acceptance may name another.
    pub(crate) subprotocol: Option<&'a str>,
    /// `http` or `https`: how the client reached the listener.
    pub(crate) scheme: &'a str,
    /// The Host header's value.
    pub(crate) authority: &'a str,
    /// The target's path as the client wrote it, percent-encoding included.
    pub(crate) path: &'a str,
    /// What follows the first `?` of the target.
    pub(crate) query: Option<&'a str>,
    /// Where the client is.
    pub(crate) remote: Remote,
    /// What the route's placeholders matched, percent-decoded, in route order.
    pub(crate) params: Vec<(&'a str, &'a str)>,
    /// What the client offers in Sec-WebSocket-Protocol, in its order.
    pub(crate) subprotocols: Vec<&'a str>,
    /// Names in lower case, in the order received.
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Remote {
    /// Through a listener.
    Address(SocketAddr),
    /// From this process.
    #[default]
    Memory,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Memory => f.write_str("memory"),
        }
    }
}

impl Request {
    /// Keeps a copy of what was said.
    pub(crate) fn new(said: &Said<'_>) -> Self {
        let mut writer = Writer(Vec::with_capacity(512));
        writer.option(said.subprotocol);
        writer.text(said.scheme);
        writer.text(said.authority);
        writer.text(said.path);
        writer.option(said.query);
        writer.remote(said.remote);
        writer.number(said.params.len());
        for (name, value) in &said.params {
            writer.text(name);
            writer.text(value);
        }
        writer.number(said.subprotocols.len());
        for name in &said.subprotocols {
            writer.text(name);
        }
        writer.number(said.headers.len());
        for (name, value) in &said.headers {
            writer.name(name);
            writer.bytes(value);
        }
        Self(writer.0.into())
    }

    /// The subprotocol alone, which is wanted for each session.
    pub(crate) fn subprotocol(&self) -> Option<&str> {
        Reader(&self.0).option()
    }

    /// All of its parts.
    pub(crate) fn said(&self) -> Said<'_> {
        let mut reader = Reader(&self.0);
        Said {
            subprotocol: reader.option(),
            scheme: reader.text(),
            authority: reader.text(),
            path: reader.text(),
            query: reader.option(),
            remote: reader.remote(),
            params: reader.list(|reader| (reader.text(), reader.text())),
            subprotocols: reader.list(Reader::text),
            headers: reader.list(|reader| (reader.name(), reader.bytes())),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said().fmt(f)
    }
}

/// Appends parts.
struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn number(&mut self, mut number: usize) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option(&mut self, text: Option<&str>) {
        self.number(usize::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// An address behind its length, which tells its family, and the port; nothing for memory.
    fn remote(&mut self, remote: Remote) {
        let Remote::Address(address) = remote else {
            return self.number(0);
        };
        match address.ip() {
            IpAddr::V4(ip) => self.bytes(&ip.octets()),
            IpAddr::V6(ip) => self.bytes(&ip.octets()),
        }
        self.number(usize::from(address.port()));
    }

    /// The place of a known name, or the length of another beyond all places.
    fn name(&mut self, name: &str) {
        match KNOWN_NAMES.iter().position(|known| *known == name) {
            Some(place) => self.number(place),
            None => {
                self.number(KNOWN_NAMES.len() + name.len());
                self.0.extend_from_slice(name.as_bytes());
            }
        }
    }
}

/// Takes parts from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> usize {
        let mut number = 0;
        let mut shift = 0;
        while let Some((byte, rest)) = self.0.split_first() {
            self.0 = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        number
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn bytes(&mut self) -> &'a [u8] {
        let count = self.number();
        self.take(count)
    }

    fn text(&mut self) -> &'a str {
        text(self.bytes())
    }

    fn option(&mut self) -> Option<&'a str> {
        (self.number() == 1).then(|| self.text())
    }

    fn remote(&mut self) -> Remote {
        let ip = self.bytes();
        let ip = match (<[u8; 4]>::try_from(ip), <[u8; 16]>::try_from(ip)) {
            (Ok(octets), _) => IpAddr::from(octets),
            (_, Ok(octets)) => IpAddr::from(octets),
            _ => return Remote::Memory,
        };
        Remote::Address(SocketAddr::new(ip, self.number() as u16))
    }

    fn name(&mut self) -> &'a str {
        let number = self.number();
        match KNOWN_NAMES.get(number) {
            Some(known) => known,
            None => text(self.take(number - KNOWN_NAMES.len())),
        }
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = self.number();
        (0..count).map(|_| item(self)).collect()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it was written from text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &Said<'_>) {
        assert_eq!(Request::new(said).said(), *said);
    }

    #[test]
    fn what_was_said_is_read_again() {
        check(&Said::default());
        check(&Said {
            remote: Remote::Address("[2001:db8::1]:443".parse().unwrap()),
            ..Said::default()
        });
        let long = "a".repeat(100_000);
        check(&Said {
            subprotocol: Some("b"),
            scheme: "https",
            authority: "example.com:80",
            path: "/%20/é",
            query: Some(""),
            remote: Remote::Address("192.0.2.1:65535".parse().unwrap()),
            params: vec![("room", "ä"), ("empty", "")],
            subprotocols: vec!["a", "b"],
            headers: vec![
                ("host", b"example.com:80"),
                ("x", b"\xff\x00"),
                ("x", b""),
                ("forwarded", long.as_bytes()),
                (&long, b"a long name"),
            ],
        });
    }

    #[test]
    fn what_a_browser_says_takes_little_more_than_its_values() {
        let headers: Vec<(&str, &[u8])> = KNOWN_NAMES
            .iter()
            .map(|name| (*name, b"value".as_slice()))
            .collect();
        let count = headers.len();
        let request = Request::new(&Said {
            headers,
            ..Said::default()
        });
        assert!(request.0.len() <= 16 + count * (2 + 5));
    }
}
