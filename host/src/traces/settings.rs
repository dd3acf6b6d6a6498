//! What is traced, and where it goes.

use std::fmt;
use std::time::Duration;

use crate::catalog::Secret;
use crate::outbound::{HeaderName, HeaderValue};

/// Which sessions are traced, and the collector that gets their spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// Where the collector is.
    pub(crate) endpoint: Endpoint,
    /// Headers of each export, such as `authorization`.
    pub headers: Vec<(String, Secret)>,
    /// One handshake in so many is traced, with its session. Default 1,000.
    pub sample_one_in: u64,
    /// A client's `traceparent` is the parent of its handshake, and decides whether it is traced.
    /// Default off: whoever can connect could have everything recorded.
    pub accept_traceparent: bool,
    /// Spans that wait to be exported; more are dropped and counted. Default 4,096. Worst case:
    /// about a kilobyte for each.
    pub queue_spans_max: usize,
    /// Calls of a session that are recorded; later ones are left out, and counted as dropped.
    /// Default 1,000.
    pub session_spans_max: u32,
    /// How long spans wait for others to be sent with. Default 5 s.
    pub export_every: Duration,
    /// How long the collector has for an answer. Default 10 s.
    pub timeout: Duration,
}

/// A collector's address: `http://HOST:PORT`, or `https`, and perhaps a path in front of `/v1/traces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_secure: bool,
    /// Without a slash at its end.
    pub(super) prefix: String,
}

impl TraceSettings {
    /// Sends to a collector that speaks OTLP over HTTP, such as `http://127.0.0.1:4318`. Everything
    /// else is at its default.
    ///
    /// # Errors
    /// When that is no such address; the message says what would be right.
    pub fn new(endpoint: &str) -> Result<Self, String> {
        Ok(Self {
            endpoint: Endpoint::parse(endpoint)?,
            headers: Vec::new(),
            sample_one_in: 1_000,
            accept_traceparent: false,
            queue_spans_max: 4_096,
            session_spans_max: 1_000,
            export_every: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        })
    }

    /// Where the collector listens.
    pub(crate) fn port(&self) -> u16 {
        self.endpoint.port
    }
}

/// Whether a header of that name and value may be sent with an export.
pub(crate) fn is_header(name: &str, value: &Secret) -> bool {
    let name = HeaderName::from_bytes(name.as_bytes());
    let own = [
        "content-type",
        "content-length",
        "host",
        "transfer-encoding",
    ];
    let is_free = name.is_ok_and(|name| !own.contains(&name.as_str()));
    is_free && HeaderValue::from_str(value.reveal()).is_ok()
}

impl Endpoint {
    fn parse(text: &str) -> Result<Self, String> {
        const RIGHT: &str = "right is the address of a collector that speaks OTLP over HTTP, such as \
            \"http://127.0.0.1:4318\"; /v1/traces is added";
        let parsed = || {
            let (is_secure, rest) = match text.strip_prefix("https://") {
                Some(rest) => (true, rest),
                None => (false, text.strip_prefix("http://")?),
            };
            let (authority, path) = match rest.find('/') {
                Some(slash) => rest.split_at(slash),
                None => (rest, ""),
            };
            let (host, port) = crate::catalog::split_authority(authority)?;
            let fits = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>".contains(&byte);
            let has_path = path.bytes().all(fits) && !path.ends_with("/v1/traces");
            (!host.is_empty() && has_path).then(|| Self {
                host,
                port: port.unwrap_or(if is_secure { 443 } else { 80 }),
                is_secure,
                prefix: path.trim_end_matches('/').to_owned(),
            })
        };
        parsed().ok_or_else(|| RIGHT.to_owned())
    }

    /// What a request asks for.
    pub(super) fn path(&self) -> String {
        format!("{}/v1/traces", self.prefix)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        let (host, port, path) = (&self.host, self.port, self.path());
        match host.contains(':') {
            true => write!(formatter, "{scheme}://[{host}]:{port}{path}"),
            false => write!(formatter, "{scheme}://{host}:{port}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_the_address_of_a_collector() {
        for (text, expect) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://otlp.example", "https://otlp.example:443/v1/traces"),
            (
                "https://a.example/otlp",
                "https://a.example:443/otlp/v1/traces",
            ),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ] {
            let settings = TraceSettings::new(text).expect(text);
            assert_eq!(settings.endpoint.to_string(), expect);
        }
        for wrong in [
            "",
            "127.0.0.1:4318",
            "grpc://a:4317",
            "http://",
            "http://:4318",
            "http://a:port",
            "http://a:1/v1/traces",
            "http://a:1/x?y",
            "http://a:1/a b",
        ] {
            assert!(TraceSettings::new(wrong).is_err(), "{wrong}");
        }
    }
}
