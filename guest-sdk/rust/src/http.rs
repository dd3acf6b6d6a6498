//! Requests to the world outside: `wasi:http` in words that read well. The
//! deployment grants hosts and ports; without a grant a handler that uses
//! this module is refused at its start.
//!
//! ```no_run
//! use wharf_guest::http::{self, Request};
//!
//! # fn ask() -> Result<(), http::Error> {
//! let page = http::get("https://api.example/weather?city=Oslo")?;
//! if page.status == 200 {
//!     let text = page.text();
//!     # let _ = text;
//! }
//! let answer = Request::post("https://api.example/orders")
//!     .header("authorization", "Bearer …")
//!     .header("content-type", "application/json")
//!     .body(r#"{"coffee": 1}"#)
//!     .send()?;
//! # let _ = answer; Ok(()) }
//! ```
//!
//! A call waits until all of the response is there; meanwhile the instance
//! serves nobody else. Redirects are not followed: they come back as the
//! responses that they are.

use std::fmt;
use std::time::Duration;

use crate::bindings::http::wasi::http::outgoing_handler;
use crate::bindings::http::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme, http_error_code,
};
use crate::bindings::http::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// What one write may hold (wasi:io/streams), and one read fetches.
const PIECE_BYTES_MAX: u64 = 4096;
const READ_BYTES: u64 = 64 * 1024;

/// Why there is no response.
#[derive(Debug)]
pub enum Error {
    /// The address is none: right is `https://host/path`, or `http` with a
    /// port.
    Address,
    /// A method that HTTP does not have, or `CONNECT`.
    Method,
    /// A header has a name or a value that HTTP cannot carry, or one that
    /// only the host may set, such as `host`; or there are too many.
    Header,
    /// The host's or the network's answer: the host was not granted, its
    /// addresses are private, it took too long, there was too much of it.
    Failed(ErrorCode),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Address => formatter.write_str("no address such as https://host/path"),
            Error::Method => formatter.write_str("a method that cannot be sent"),
            Error::Header => formatter.write_str("a header that cannot be sent"),
            Error::Failed(code) => match words(code) {
                Some(words) => write!(formatter, "{words} ({code:?})"),
                None => write!(formatter, "{code:?}"),
            },
        }
    }
}

impl std::error::Error for Error {}

/// What a code means here, where its name does not say whose turn it is.
fn words(code: &ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::HttpRequestDenied => "the route was not granted this host and port",
        ErrorCode::DestinationIpProhibited => {
            "the host's addresses are private, which the route was not granted"
        }
        ErrorCode::ConnectionLimitReached => "the tenant has as many connections as it may have",
        ErrorCode::DnsError(_) => "the host has no address",
        ErrorCode::ConnectionRefused => "nobody listens at this host and port",
        ErrorCode::ConnectionTimeout => "connecting took too long",
        ErrorCode::ConnectionReadTimeout => "no response began in time",
        ErrorCode::HttpResponseTimeout => "the response was not complete in time",
        ErrorCode::TlsCertificateError => "the host's certificate is not trusted",
        _ => return None,
    })
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Error::Failed(code)
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        let code = match &error {
            StreamError::LastOperationFailed(error) => http_error_code(error),
            StreamError::Closed => None,
        };
        Error::Failed(code.unwrap_or(ErrorCode::HttpProtocolError))
    }
}

/// Asks for what is there.
///
/// # Errors
/// As [`Request::send`].
pub fn get(url: &str) -> Result<Response, Error> {
    Request::get(url).send()
}

/// A request on its way to being sent.
#[derive(Debug)]
pub struct Request<'a> {
    method: Method,
    url: &'a str,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    between_bytes: Option<Duration>,
}

impl<'a> Request<'a> {
    /// Asks for what is at an address.
    #[must_use]
    pub fn get(url: &'a str) -> Self {
        Self::new("GET", url)
    }

    /// Sends something to an address.
    #[must_use]
    pub fn post(url: &'a str) -> Self {
        Self::new("POST", url)
    }

    /// A request with any method but `CONNECT`.
    #[must_use]
    pub fn new(method: &str, url: &'a str) -> Self {
        let method = match method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            other => Method::Other(other.to_owned()),
        };
        Request {
            method,
            url,
            headers: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            between_bytes: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Adds a trailer: a header that stands behind the body, such as a
    /// checksum of it.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.into()));
        self
    }

    /// Gives up when nothing of the response's body comes for so long; otherwise only the server's
    /// limits hold.
    #[must_use]
    pub fn between_bytes(mut self, timeout: Duration) -> Self {
        self.between_bytes = Some(timeout);
        self
    }

    /// Sends it and waits for all of the response.
    ///
    /// # Errors
    /// If there is no response, or not all of it.
    pub fn send(self) -> Result<Response, Error> {
        let (scheme, authority, path) = parts(self.url).ok_or(Error::Address)?;
        let headers = Fields::from_list(&self.headers).map_err(|_| Error::Header)?;
        let request = OutgoingRequest::new(headers);
        request
            .set_method(&self.method)
            .map_err(|()| Error::Method)?;
        let is_set = request.set_scheme(Some(&scheme)).is_ok()
            && request.set_authority(Some(authority)).is_ok()
            && request.set_path_with_query(Some(path)).is_ok();
        if !is_set {
            return Err(Error::Address);
        }
        let is_bare = self.body.is_empty() && self.trailers.is_empty();
        let body = if is_bare { None } else { request.body().ok() };
        let future = outgoing_handler::handle(request, self.options())?;
        if let Some(body) = body {
            write(body, &self.body, &self.trailers)?;
        }
        future.subscribe().block();
        match future.get() {
            Some(Ok(response)) => Response::read(&response?),
            // It is ready, and taken once.
            Some(Err(())) | None => Err(Error::Failed(ErrorCode::HttpProtocolError)),
        }
    }
}

impl Request<'_> {
    fn options(&self) -> Option<RequestOptions> {
        let timeout = self.between_bytes?;
        let options = RequestOptions::new();
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        // This host takes every timeout; one that does not has its own.
        let _ = options.set_between_bytes_timeout(Some(nanoseconds));
        Some(options)
    }
}

/// All of a response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

impl Response {
    fn read(response: &IncomingResponse) -> Result<Self, Error> {
        let headers = response.headers().entries();
        let status = response.status();
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        // A body that was taken by somebody else is none.
        if let Ok(incoming) = response.consume()
            && let Ok(stream) = incoming.stream()
        {
            read(&stream, &mut body)?;
            drop(stream);
            trailers = read_trailers(incoming)?;
        }
        Ok(Response {
            status,
            headers,
            body,
            trailers,
        })
    }

    /// The first value of a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// The first value of a header that stood behind the body, if it is text.
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&str> {
        value(&self.trailers, name)
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn value<'a>(fields: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a str> {
    let is_it = |(key, _): &&(String, Vec<u8>)| key.eq_ignore_ascii_case(name);
    let (_, value) = fields.iter().find(is_it)?;
    std::str::from_utf8(value).ok()
}

/// `https://host:port/path?query` in its parts.
fn parts(url: &str) -> Option<(Scheme, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return None,
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    Some((scheme, authority, if path.is_empty() { "/" } else { path }))
}

fn write(body: OutgoingBody, bytes: &[u8], trailers: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let stream: OutputStream = body
        .write()
        .map_err(|()| Error::Failed(ErrorCode::HttpProtocolError))?;
    for piece in bytes.chunks(PIECE_BYTES_MAX as usize) {
        stream.blocking_write_and_flush(piece)?;
    }
    drop(stream);
    let trailers = match trailers {
        [] => None,
        trailers => Some(Fields::from_list(trailers).map_err(|_| Error::Header)?),
    };
    Ok(OutgoingBody::finish(body, trailers)?)
}

/// What came behind a body that was read.
fn read_trailers(body: IncomingBody) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let future = IncomingBody::finish(body);
    future.subscribe().block();
    match future.get() {
        Some(Ok(trailers)) => Ok(trailers?.map_or_else(Vec::new, |fields| fields.entries())),
        // It is ready, and taken once.
        Some(Err(())) | None => Err(Error::Failed(ErrorCode::HttpProtocolError)),
    }
}

fn read(stream: &InputStream, into: &mut Vec<u8>) -> Result<(), Error> {
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(piece) => into.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
