//! What the handshake said, kept for as long as the session lives.
//!
//! Plain data: it knows neither hyper nor WIT. Ingress fills it; capabilities show it to the guest.

/// The HTTP request that asked for a session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Request {
    /// `http` or `https`: how the client reached the listener.
    pub(crate) scheme: &'static str,
    /// The Host header's value.
    pub(crate) authority: String,
    /// The target's path as the client wrote it, percent-encoding included.
    pub(crate) path: String,
    /// What follows the first `?` of the target.
    pub(crate) query: Option<String>,
    /// What the route's placeholders matched, percent-decoded, in route order.
    pub(crate) params: Vec<(String, String)>,
    /// Names in lower case, in the order received.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Address and port of the client.
    pub(crate) remote_address: String,
    /// What the client offers in Sec-WebSocket-Protocol, in its order.
    pub(crate) subprotocols: Vec<String>,
    /// The one of them that the route's own list picked; the handler's acceptance may name another.
    pub(crate) subprotocol: Option<String>,
}
