//! An HTTP client for the API: one request a connection, plain HTTP, JSON.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{parse, text};

/// How long a connection, and the head of an answer, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where an admin listener is: `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location(String);

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const RIGHT: &str =
            "right is http://HOST:PORT; for TLS, put a tunnel or a proxy in between";
        let authority = text.strip_prefix("http://").ok_or(RIGHT)?;
        let authority = authority.trim_end_matches('/');
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if has_port && !authority.contains('/') {
            Ok(Self(authority.to_owned()))
        } else {
            Err(RIGHT.to_owned())
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}", self.0)
    }
}

/// Asks one server.
#[derive(Debug)]
pub(super) struct Client {
    location: Location,
    token: Option<String>,
    /// How long an answer may take to begin.
    patience: Duration,
}

impl Client {
    pub(super) fn new(location: Location, token: Option<String>) -> Self {
        Self {
            location,
            token,
            patience: PATIENCE,
        }
    }

    /// Waits longer for an answer.
    pub(super) fn patient(mut self, beyond: Duration) -> Self {
        self.patience += beyond;
        self
    }

    /// Reads a document.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, "application/json", Bytes::new())
            .await
    }

    /// Sends something, and reads the document that comes back.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Value> {
        let response = self.send(method, path, content_type, body.into()).await?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = timeout(PATIENCE, body)
            .await
            .context("the answer takes too long")?;
        let body = body
            .map_err(|error| anyhow!(error))
            .context("the answer broke off")?;
        parse(&body.to_bytes())
    }

    /// Sends something, and gives the answer that has begun, if it is a good one.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let exchange = async {
            let stream = TcpStream::connect(&self.location.0).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header(HOST, &self.location.0)
                .header(CONTENT_TYPE, content_type);
            if let Some(token) = &self.token {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let request = request.body(Full::new(body))?;
            anyhow::Ok(sender.send_request(request).await?)
        };
        let response = timeout(self.patience, exchange).await;
        let place = || format!("ask {}", self.location);
        let response = response
            .map_err(|_| anyhow!("no answer within {} s", self.patience.as_secs()))
            .flatten()
            .with_context(place)?;
        if response.status().is_success() {
            return Ok(response);
        }
        self.refused(response).await
    }

    async fn refused(&self, response: Response<Incoming>) -> Result<Response<Incoming>> {
        let status = response.status();
        let body = Limited::new(response.into_body(), 64 << 10).collect();
        let body = timeout(PATIENCE, body)
            .await
            .context("the answer takes too long")?;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let error = parse(&body).unwrap_or_default();
        let error = &error["error"];
        if error.is_null() {
            bail!("{} answered {status}", self.location);
        }
        let (what, place, right) = (
            text(error, "what"),
            text(error, "where"),
            text(error, "right"),
        );
        let hint = match (status.as_u16(), &self.token) {
            (401, None) => "\nno token was given: set WHARF_TOKEN",
            _ => "",
        };
        bail!("{what} ({status}; {place})\nright would be: {right}{hint}")
    }
}

/// A part of a path, percent-encoded but for what never needs it (RFC 3986, section 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_plain_http_with_a_port() {
        let good = Location::from_str("http://[::1]:9090/").expect("a location");
        assert_eq!(good.to_string(), "http://[::1]:9090");
        for bad in [
            "https://a:1",
            "a:1",
            "http://a",
            "http://:1",
            "http://a:1/b",
            "",
        ] {
            assert!(Location::from_str(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_of_a_path_holds_anything() {
        assert_eq!(encoded("a/ä b-1"), "a%2F%C3%A4%20b-1");
    }
}
