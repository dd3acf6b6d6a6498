//! An HTTP client for the API: one request a connection, plain HTTP, JSON.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
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
        let call = Call {
            method,
            path,
            content_type,
            headers: Vec::new(),
            body: BoxBody::new(Full::new(body)),
            patience: self.patience,
        };
        match self.call(call).await? {
            Ok(response) => Ok(response),
            Err(refused) => bail!(refused),
        }
    }

    /// Sends something, and gives the answer that has begun, or what it says against it.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Result<Response<Incoming>, Refused>> {
        let patience = call.patience;
        let exchange = async {
            let stream = TcpStream::connect(&self.location.0).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let mut request = Request::builder()
                .method(call.method)
                .uri(call.path)
                .header(HOST, &self.location.0)
                .header(CONTENT_TYPE, call.content_type);
            if let Some(token) = &self.token {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            for (name, value) in call.headers {
                request = request.header(name, value);
            }
            anyhow::Ok(sender.send_request(request.body(call.body)?).await?)
        };
        let response = timeout(patience, exchange).await;
        let place = || format!("ask {}", self.location);
        let response = response
            .map_err(|_| anyhow!("no answer within {} s", patience.as_secs()))
            .flatten()
            .with_context(place)?;
        if response.status().is_success() {
            return Ok(Ok(response));
        }
        self.refused(response).await.map(Err)
    }

    async fn refused(&self, response: Response<Incoming>) -> Result<Refused> {
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
        let mut refused = Refused::new(status.as_u16(), error);
        if status.as_u16() == 401 && self.token.is_none() {
            refused.text += "\nno token was given: set WHARF_TOKEN";
        }
        Ok(refused)
    }
}

/// What is sent.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) content_type: &'a str,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: BoxBody<Bytes, Infallible>,
    /// How long the head of the answer may take.
    pub(super) patience: Duration,
}

/// An error of the API.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    /// At which part of the request something was wrong.
    pub(super) place: String,
    text: String,
}

impl Refused {
    /// Reads the value of `error` in an answer.
    pub(super) fn new(status: u16, error: &Value) -> Self {
        let (what, place) = (text(error, "what"), text(error, "where"));
        let reason = StatusCode::from_u16(status).ok();
        let reason = reason.and_then(|status| status.canonical_reason());
        let mut said = format!("{what} ({status} {}; {place})", reason.unwrap_or_default());
        for reason in error["reasons"].as_array().into_iter().flatten() {
            said += &format!("\n  {}", reason.as_str().unwrap_or_default());
        }
        said += &format!("\nright would be: {}", text(error, "right"));
        Self {
            status,
            place,
            text: said,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Refused {}

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
