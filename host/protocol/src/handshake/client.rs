//! The client's side of the opening handshake (RFC 6455, section 4.1): what
//! to send, and whether the answer may be believed. Knows no address and sends
//! nothing: `Host`, and what else the request says, is the driver's.

use core::fmt;

use super::header::{self, Header};
use super::key;
use crate::deflate;

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// Major and minor version of HTTP.
    pub version: (u8, u8),
    /// The HTTP status.
    pub status: u16,
    /// All headers, in the order received, doubles kept.
    pub headers: &'a [Header<'a>],
}

/// One handshake that was asked for.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    key: String,
    subprotocols: Vec<String>,
    deflate: Option<deflate::Config>,
}

/// What the server agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// One of those that were offered.
    pub subprotocol: Option<String>,
    /// For [`Connection::new`](crate::Connection::new).
    pub deflate: Option<deflate::Params>,
}

/// Why a handshake cannot be asked for, or why a response is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRefused {
    /// What was wrong, for a person.
    pub message: &'static str,
}

impl fmt::Display for ClientRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl core::error::Error for ClientRefused {}

impl ClientHandshake {
    /// A handshake with 16 bytes of the driver's randomness, the subprotocols
    /// to offer, and whether to offer compression. Refused when a subprotocol
    /// is no token or stands there twice.
    pub fn new(
        nonce: [u8; 16],
        subprotocols: Vec<String>,
        deflate: Option<deflate::Config>,
    ) -> Result<Self, ClientRefused> {
        for (place, name) in subprotocols.iter().enumerate() {
            if !header::is_token(name.as_bytes()) {
                return Err(wrong("a subprotocol that is no token"));
            }
            if subprotocols[..place].contains(name) {
                return Err(wrong("a subprotocol offered twice"));
            }
        }
        Ok(Self {
            key: key::encode(nonce),
            subprotocols,
            deflate,
        })
    }

    /// The headers of the request, but for `Host`.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("Upgrade", "websocket".to_owned()),
            ("Connection", "Upgrade".to_owned()),
            ("Sec-WebSocket-Key", self.key.clone()),
            ("Sec-WebSocket-Version", "13".to_owned()),
        ];
        if !self.subprotocols.is_empty() {
            headers.push(("Sec-WebSocket-Protocol", self.subprotocols.join(", ")));
        }
        if let Some(config) = &self.deflate {
            headers.push(("Sec-WebSocket-Extensions", deflate::offer(config)));
        }
        headers
    }

    /// Judges the response.
    pub fn check(&self, response: &ResponseHead<'_>) -> Result<Accepted, ClientRefused> {
        let headers = response.headers;
        if response.version < (1, 1) {
            return Err(wrong("HTTP is older than 1.1"));
        }
        if response.status != 101 {
            return Err(wrong("status is not 101"));
        }
        let upgrade = header::single(headers, "upgrade").ok().flatten();
        if !upgrade.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")) {
            return Err(wrong("Upgrade is not websocket"));
        }
        if !header::has_token(headers, "connection", "upgrade") {
            return Err(wrong("Connection is not Upgrade"));
        }
        let accept = key::accept(self.key.as_bytes());
        if header::single(headers, "sec-websocket-accept") != Ok(Some(accept.as_bytes())) {
            return Err(wrong("Sec-WebSocket-Accept does not answer the key"));
        }
        Ok(Accepted {
            subprotocol: self.subprotocol(headers)?,
            deflate: self.deflate(headers)?,
        })
    }

    fn subprotocol(&self, headers: &[Header<'_>]) -> Result<Option<String>, ClientRefused> {
        let Ok(chosen) = header::single(headers, "sec-websocket-protocol") else {
            return Err(wrong("more than one Sec-WebSocket-Protocol"));
        };
        let Some(chosen) = chosen else {
            return Ok(None);
        };
        let offered = self
            .subprotocols
            .iter()
            .find(|offered| offered.as_bytes() == chosen);
        offered
            .cloned()
            .map(Some)
            .ok_or(wrong("a subprotocol that was not offered"))
    }

    fn deflate(&self, headers: &[Header<'_>]) -> Result<Option<deflate::Params>, ClientRefused> {
        let extensions: Vec<_> = header::values(headers, "sec-websocket-extensions")
            .flat_map(header::parse_extensions)
            .collect();
        let said =
            header::values(headers, "sec-websocket-extensions").any(|value| !value.is_empty());
        let refused = wrong("extensions that were not offered");
        match &self.deflate {
            Some(config) if !(said && extensions.is_empty()) => {
                deflate::accept(config, &extensions).map_err(|_| refused)
            }
            None if !said => Ok(None),
            _ => Err(refused),
        }
    }
}

const fn wrong(message: &'static str) -> ClientRefused {
    ClientRefused { message }
}

#[cfg(test)]
mod tests {
    use super::super::{RequestHead, check};
    use super::*;

    fn handshake() -> ClientHandshake {
        ClientHandshake::new(
            *b"the sample nonce",
            vec!["chat.v1".to_owned(), "chat.v2".to_owned()],
            Some(deflate::Config::default()),
        )
        .expect("the names are tokens")
    }

    const ACCEPT: Header<'static> = ("Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

    fn answer(extra: &[Header<'_>]) -> Result<Accepted, ClientRefused> {
        let mut headers: Vec<Header<'_>> = vec![
            ("upgrade", b"WebSocket"),
            ("connection", b"upgrade"),
            ACCEPT,
        ];
        headers.extend_from_slice(extra);
        handshake().check(&ResponseHead {
            version: (1, 1),
            status: 101,
            headers: &headers,
        })
    }

    #[test]
    fn the_servers_side_accepts_what_the_clients_side_asks() {
        let mut headers = handshake().headers();
        headers.push(("Host", "server.example".to_owned()));
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let request = RequestHead {
            method: "GET",
            version: (1, 1),
            headers: &headers,
        };
        let upgrade = check(&request).expect("accepted");
        assert_eq!(upgrade.accept.as_bytes(), ACCEPT.1);
        assert_eq!(upgrade.subprotocols, ["chat.v1", "chat.v2"]);
        let (params, response) =
            deflate::negotiate(&deflate::Config::default(), &upgrade.extensions).expect("granted");
        let accepted = answer(&[
            ("Sec-WebSocket-Protocol", b"chat.v2"),
            ("Sec-WebSocket-Extensions", response.as_bytes()),
        ]);
        let expected = Accepted {
            subprotocol: Some("chat.v2".to_owned()),
            deflate: Some(params),
        };
        assert_eq!(accepted, Ok(expected));
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        let check_version = |version, status, headers: &[Header<'_>]| {
            let response = ResponseHead {
                version,
                status,
                headers,
            };
            handshake().check(&response).is_err()
        };
        let check = |status, headers: &[Header<'_>]| check_version((1, 1), status, headers);
        let good: [Header<'_>; 3] = [
            ("Upgrade", b"websocket"),
            ("Connection", b"Upgrade"),
            ACCEPT,
        ];
        assert!(!check(101, &good));
        assert!(check(200, &good));
        assert!(check_version((1, 0), 101, &good));
        for index in 0..good.len() {
            let mut headers = good.to_vec();
            headers.remove(index);
            assert!(check(101, &headers));
        }
        let wrong: Header<'_> = ("Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOp=");
        assert!(check(101, &[good[0], good[1], wrong]));
        assert!(check(101, &[good[0], good[1], ACCEPT, ACCEPT]));
        for upgrade in ["h2c, websocket", "websocket2", ""] {
            let upgrade = ("Upgrade", upgrade.as_bytes());
            assert!(check(101, &[upgrade, good[1], ACCEPT]));
        }
    }

    #[test]
    fn what_was_not_offered_must_not_be_chosen() {
        for (name, value) in [
            ("Sec-WebSocket-Protocol", &b"chat.v3"[..]),
            ("Sec-WebSocket-Protocol", b"CHAT.V1"),
            ("Sec-WebSocket-Extensions", b"x-other"),
            ("Sec-WebSocket-Extensions", b"permessage-deflate; ="),
        ] {
            assert!(answer(&[(name, value)]).is_err(), "{name}: {value:?}");
        }
        let plain = ClientHandshake::new(*b"the sample nonce", Vec::new(), None);
        let plain = plain.expect("nothing is offered");
        let headers: [Header<'_>; 4] = [
            ("Upgrade", b"websocket"),
            ("Connection", b"Upgrade"),
            ACCEPT,
            ("Sec-WebSocket-Extensions", b"permessage-deflate"),
        ];
        assert!(
            plain
                .check(&ResponseHead {
                    version: (1, 1),
                    status: 101,
                    headers: &headers
                })
                .is_err()
        );
    }

    #[test]
    fn what_cannot_be_offered_is_not() {
        for names in [
            &["a b"][..],
            &[""],
            &["a,b"],
            &["é"],
            &["a\r\n"],
            &["a", "b", "a"],
        ] {
            let offered = names.iter().map(|name| (*name).to_owned()).collect();
            let refused = ClientHandshake::new([0; 16], offered, None);
            assert!(refused.is_err(), "{names:?}");
        }
    }
}
