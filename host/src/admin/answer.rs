//! Answers of the admin listener: JSON, texts, and errors that say what was wrong, where, and what
//! would be right.

use std::convert::Infallible;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// What is sent: all at once, or as it comes.
pub(super) type Body = Pin<Box<dyn hyper::body::Body<Data = Bytes, Error = Infallible>>>;

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    what: String,
    place: String,
    right: String,
    /// One for each thing that is wrong, where there are several.
    reasons: Vec<String>,
    retry_after_seconds: Option<u64>,
}

impl Refusal {
    /// `what` is wrong at `place`; `right` would be right.
    pub(super) fn new(
        status: StatusCode,
        what: impl Into<String>,
        place: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self {
            status,
            what: what.into(),
            place: place.into(),
            right: right.into(),
            reasons: Vec::new(),
            retry_after_seconds: None,
        }
    }

    /// Says each thing that is wrong.
    pub(super) fn reasons(mut self, reasons: Vec<String>) -> Self {
        self.reasons = reasons;
        self
    }

    /// Says when to come back.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is said of it.
    pub(super) fn document(&self) -> Value {
        let mut error = json!({ "what": self.what, "where": self.place, "right": self.right });
        if !self.reasons.is_empty() {
            error["reasons"] = json!(self.reasons);
        }
        error
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = json(self.status, &json!({ "error": self.document() }));
        if let Some(seconds) = self.retry_after_seconds {
            response
                .headers_mut()
                .insert("retry-after", HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let name = HeaderName::from_static("www-authenticate");
            let scheme = HeaderValue::from_static("Bearer realm=\"wharf\"");
            response.headers_mut().insert(name, scheme);
        }
        response
    }
}

/// A JSON document.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    with_type(status, "application/json", format!("{value}\n"))
}

/// A text of some type.
pub(super) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Body> {
    streamed(status, content_type, Box::pin(Full::new(text.into())))
}

/// What comes over time.
pub(super) fn streamed(
    status: StatusCode,
    content_type: &'static str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
