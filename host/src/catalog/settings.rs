//! What a route asks of its WebSockets. Every value has a default, and a worst case that says what
//! it can cost: the product of `sessions_max` and these is what a server must be able to hold.

use std::time::Duration;

/// A route's `[websocket]` settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocketSettings {
    /// Time between two pings of the host; `None` sends none. Default 30 s. Worst case: a dead peer
    /// holds its place for `ping_interval + timeout`; with `None` for as long as TCP believes in it.
    pub ping_interval: Option<Duration>,
    /// One window for writing a ping and getting its pong. Default 15 s.
    pub timeout: Duration,
    /// The largest payload of one frame, in bytes; over it: 1009. Default 1 MiB. Costs nothing: no
    /// memory is reserved by a declared length.
    pub max_frame_bytes: u64,
    /// The largest message, joined and inflated, in bytes; over it: 1009. Default 1 MiB. Worst
    /// case: each session holds that much while its message is incomplete.
    pub max_message_bytes: usize,
    /// The most frames that one message may come in; over it: 1008. Default 4,096.
    pub fragments_max: u32,
    /// From the first to the last frame of one message; over it: 1008. Default 30 s.
    pub message_duration_max: Duration,
    /// How long the peer has to answer our close frame. Default 5 s.
    pub close_timeout: Duration,
    /// Masks frames to the client, which RFC 6455 forbids to servers (section 5.1). Default off.
    pub mask_outgoing: bool,
    /// Agrees to permessage-deflate (RFC 7692) when the client offers it. Default on. Worst case:
    /// about 300 KiB for each session that compresses both ways and keeps its contexts.
    pub compression: bool,
    /// Messages below this many bytes go out uncompressed. Default 64.
    pub compress_min_bytes: usize,
    /// Keeps the deflate context from one message to the next, both ways: smaller messages for
    /// more memory. Default on.
    pub compression_context_takeover: bool,
    /// Base-two logarithm of the deflate window, 9 to 15. Default 15 (32 KiB).
    pub compression_window_bits: u8,
    /// Bytes of frames that may wait for a slow reader. Default 256 KiB. Worst case: that much for
    /// each session.
    pub outbox_bytes_max: usize,
    /// How long an outbox may stay over its bound before the session ends with 1008. Default 30 s.
    pub slow_consumer_timeout: Duration,
    /// How long a handler's `send` and `flush` wait for room. Default 5 s; the handler's wall time
    /// limit ends a longer wait.
    pub write_timeout: Duration,
    /// Bytes of messages that may wait for one instance; when it is reached, its sockets are not
    /// read. Default 1 MiB, at least one message always fits. Worst case: that much, and one
    /// message more, for each instance.
    pub inbox_bytes_max: usize,
    /// Messages that may wait for one instance. Default 4,096.
    pub inbox_messages_max: usize,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self {
            ping_interval: Some(Duration::from_secs(30)),
            timeout: Duration::from_secs(15),
            max_frame_bytes: 1 << 20,
            max_message_bytes: 1 << 20,
            fragments_max: 4_096,
            message_duration_max: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            mask_outgoing: false,
            compression: true,
            compress_min_bytes: 64,
            compression_context_takeover: true,
            compression_window_bits: 15,
            outbox_bytes_max: 256 << 10,
            slow_consumer_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(5),
            inbox_bytes_max: 1 << 20,
            inbox_messages_max: 4_096,
        }
    }
}
