//! What holds for all connections that handlers open.

use std::path::PathBuf;
use std::time::Duration;

/// The limits of outgoing connections, for the whole server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundSettings {
    /// Requests of one tenant at a time, over all workers, and WebSockets that are being opened.
    /// Default 64. Worst case: a socket and 64 KiB for each.
    pub tenant_connections_max: usize,
    /// Open WebSockets of one tenant, over all workers. Default 1,024. Worst case: what as many
    /// sessions of the route cost, and 40 KiB each for TLS.
    pub tenant_websockets_max: usize,
    /// Open WebSockets of one instance. Default 256.
    pub instance_websockets_max: usize,
    /// From the name to the end of the TLS handshake. Default 2 s.
    pub connect_timeout: Duration,
    /// From the connection to the head of the response. Default 5 s.
    pub first_byte_timeout: Duration,
    /// All of it, to the last byte of the response. Default 8 s: shorter than a call may take, so
    /// that a handler hears of a slow host instead of being cut.
    pub total_timeout: Duration,
    /// Bytes of the requests that an instance prepares, together. Default 1 MiB.
    pub request_bytes_max: usize,
    /// Bytes of one response. Default 8 MiB. They are passed on as they are read.
    pub response_bytes_max: usize,
    /// Certificates to trust beside the machine's, as PEM.
    pub roots: Option<PathBuf>,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            tenant_connections_max: 64,
            tenant_websockets_max: 1024,
            instance_websockets_max: 256,
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(8),
            request_bytes_max: 1 << 20,
            response_bytes_max: 8 << 20,
            roots: None,
        }
    }
}
