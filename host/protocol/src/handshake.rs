//! The opening handshake (RFC 6455, section 4), read strictly and independent
//! of any HTTP library: it judges a head that has already been taken apart.

pub use crate::origin::{OriginRule, origin_allowed};

/// One header: name in any case, value as received.
pub type Header<'a> = (&'a str, &'a [u8]);

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
    /// malformed offers are left out.
    pub extensions: Vec<Extension>,
}

/// One element of `Sec-WebSocket-Extensions` (RFC 6455, section 9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The extension token.
    pub name: String,
    /// Parameters with their values, unquoted, in their order.
    pub parameters: Vec<(String, Option<String>)>,
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
pub fn check(_request: &RequestHead<'_>) -> Result<Upgrade, Refusal> {
    Err(Refusal {
        status: 400,
        message: "not a WebSocket handshake",
        headers: &[],
    })
}
