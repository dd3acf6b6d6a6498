//! What a deployment may set about the protocol, with its defaults. Shared by
//! all connections of a route; it never changes while one of them lives.

use core::time::Duration;

/// Which end of the connection this is (RFC 6455, section 5.1: a client masks
/// what it sends, a server does not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Accepts connections.
    Server,
    /// Opens connections.
    Client,
}

/// Limits and switches of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Largest payload that one frame may declare; more ends with 1009.
    pub max_frame_bytes: u64,
    /// Largest message, joined and inflated; more ends with 1009.
    pub max_message_bytes: usize,
    /// Most frames that one message may come in; more ends with 1008.
    pub fragments_max: u32,
    /// Longest time from a message's first byte to its last; more ends with
    /// 1008.
    pub message_duration_max: Duration,
    /// How long the peer has to answer our close frame.
    pub close_timeout: Duration,
    /// Masks what a server sends. RFC 6455 forbids it; some old peers want it.
    pub mask_outgoing: bool,
    /// Messages shorter than this leave uncompressed, even when compression
    /// was negotiated. Empty ones always do.
    pub compress_min_bytes: usize,
    /// Effort of the compressor, 0 (stored) to 9 (smallest).
    pub compression_level: u32,
    /// Pings, foreign pongs and the close frame of the peer are handed out as
    /// [`Event::Control`](crate::Event::Control), and not answered. All rules
    /// hold as ever, the own pings go on, and a close frame that nobody answers
    /// within the close timeout is answered with its own code.
    pub raw: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_frame_bytes: 1 << 20,
            max_message_bytes: 1 << 20,
            fragments_max: 4_096,
            message_duration_max: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            mask_outgoing: false,
            compress_min_bytes: 128,
            compression_level: 1,
            raw: false,
        }
    }
}

/// When the peer is asked for a sign of life. Each connection has its own and
/// may change it while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// From one ping to the next; `None` sends no pings. The peer's pings are
    /// answered either way.
    pub ping_interval: Option<Duration>,
    /// The window, from the moment a ping is handed out, in which it has to be
    /// written and its pong received.
    pub timeout: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            ping_interval: Some(Duration::from_secs(30)),
            timeout: Duration::from_secs(15),
        }
    }
}
