//! Responses that are no sessions: short texts for people, and pages.

use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::head::Violation;
use crate::catalog::Page;
use crate::dispatch::Refusal;

/// Seconds after which a client that found the server full may try again.
const RETRY_AFTER_SECONDS: u32 = 5;

pub(super) type Body = Full<Bytes>;

/// Headers that the server alone decides about.
const OURS: [HeaderName; 11] = [
    header::CONNECTION,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::TE,
    header::DATE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
];

/// Why a request gets no session and no page.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Box<HeaderMap>,
    body: Bytes,
    /// Nothing more is read from this connection.
    closes: bool,
}

impl Answer {
    /// A sentence, after which the connection may go on.
    pub(super) fn text(status: u16, text: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        Self {
            status,
            headers: Box::new(headers),
            body: Bytes::from(format!("{text}\n")),
            closes: false,
        }
    }

    /// A sentence, after which the connection ends.
    pub(super) fn last(status: u16, text: &str) -> Self {
        Self {
            closes: true,
            ..Self::text(status, text)
        }
    }

    /// The server has no place now.
    pub(super) fn full(text: &str) -> Self {
        Self::last(503, text).with(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// What dispatch said, the handler's own words included.
    pub(super) fn refusal(refusal: Refusal) -> Self {
        let mut headers = HeaderMap::new();
        add_foreign(&mut headers, refusal.headers);
        if let Some(seconds) = refusal.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let status = if (400..600).contains(&refusal.status) {
            refusal.status
        } else {
            500
        };
        Self {
            status,
            headers: Box::new(headers),
            body: refusal.body.into(),
            closes: status == 503,
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        *response.headers_mut() = *self.headers;
        stamp(response.headers_mut());
        if self.closes {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Whether the connection ends after it.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// The response as bytes, for where hyper has not begun.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let reason = status.canonical_reason().unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        let length = self.body.len();
        let mut headers = self.headers;
        stamp(&mut headers);
        write_headers(&headers, &mut bytes);
        if self.closes {
            bytes.extend_from_slice(b"connection: close\r\n");
        }
        bytes.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl From<Violation> for Answer {
    fn from(violation: Violation) -> Self {
        Self::last(violation.status, violation.message)
    }
}

/// A page; hyper leaves the body out where the request was HEAD.
pub(super) fn page(page: &Page) -> Response<Body> {
    let mut response = Response::new(Full::new(page.body.clone()));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(page.content_type),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    stamp(headers);
    response
}

/// What a 101 says.
#[derive(Debug)]
pub(super) struct Switching {
    pub(super) accept: String,
    pub(super) subprotocol: Option<String>,
    pub(super) extension: Option<String>,
    /// The handler's own, checked.
    pub(super) foreign: HeaderMap,
}

impl Switching {
    /// Nothing else is said, so that a handshake stays small.
    fn ours(&self) -> impl Iterator<Item = (HeaderName, &str)> {
        let optional = [
            (header::SEC_WEBSOCKET_PROTOCOL, self.subprotocol.as_deref()),
            (header::SEC_WEBSOCKET_EXTENSIONS, self.extension.as_deref()),
        ];
        let optional = optional.into_iter();
        [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept.as_str()),
        ]
        .into_iter()
        .chain(optional.filter_map(|(name, value)| Some((name, value?))))
    }

    /// Whether all that it says may stand in headers.
    pub(super) fn is_writable(&self) -> bool {
        self.ours()
            .all(|(_, value)| HeaderValue::from_str(value).is_ok())
    }

    pub(super) fn to_response(&self) -> Response<Body> {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        *headers = self.foreign.clone();
        for (name, value) in self.ours() {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        response
    }

    /// As bytes, for where hyper has not begun.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        for (name, value) in self.ours() {
            write_header(name.as_str(), value.as_bytes(), &mut bytes);
        }
        write_headers(&self.foreign, &mut bytes);
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

fn write_headers(headers: &HeaderMap, to: &mut Vec<u8>) {
    for (name, value) in headers {
        write_header(name.as_str(), value.as_bytes(), to);
    }
}

fn write_header(name: &str, value: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

fn stamp(headers: &mut HeaderMap) {
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(header::DATE, date);
    }
}

/// Adds what a handler wants in its response; what it may not set, or what is no header, is left
/// out with a line in the log.
pub(super) fn add_foreign(to: &mut HeaderMap, headers: Vec<(String, Vec<u8>)>) {
    for (name, value) in headers {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        match (parsed, HeaderValue::from_maybe_shared(Bytes::from(value))) {
            (Ok(name), Ok(value)) if !OURS.contains(&name) => drop(to.append(name, value)),
            _ => tracing::warn!(
                header = name,
                "a handler's response header was left out: not its to set, or malformed"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(answer: Answer) -> String {
        let text = String::from_utf8(answer.into_bytes()).expect("responses are text");
        let lines = text
            .split("\r\n")
            .filter(|line| !line.starts_with("date: "));
        lines.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn an_answer_is_a_short_text() {
        assert_eq!(
            bytes(Answer::last(408, "Too slow.")),
            "HTTP/1.1 408 Request Timeout|content-type: text/plain; charset=utf-8|connection: close|content-length: 10||Too slow.\n"
        );
        assert!(bytes(Answer::full("Full.")).contains("|retry-after: 5|"));
    }

    #[test]
    fn a_handler_cannot_set_what_is_the_servers() {
        let headers = [
            ("X-Room", "a"),
            ("Connection", "close"),
            ("content-length", "5"),
            ("sec-websocket-accept", "x"),
            ("bad name", "x"),
            ("x-split", "a\r\nb: c"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ];
        let refusal = Refusal {
            status: 200,
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.into()))
                .into(),
            body: b"no".to_vec(),
            retry_after_seconds: None,
        };
        let response = Answer::refusal(refusal).into_response();
        assert_eq!(response.status(), 500);
        let mut seen: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        seen.retain(|name| *name != "date");
        assert_eq!(seen, ["x-room", "set-cookie", "set-cookie"]);
    }
}
