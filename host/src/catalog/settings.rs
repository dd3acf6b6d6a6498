//! What a route asks of its WebSockets. Every value has a default, and a worst case that says what
//! it can cost: the product of `sessions_max` and these is what a server must be able to hold.

use std::time::Duration;

use wharf_protocol::deflate;

use crate::mailbox::OutboxConfig;

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
    /// The handler answers pings and close frames of the peer itself; its component has to export
    /// `control-handler`. Default off. Worst case: a peer that has closed is kept for
    /// `close_timeout`, until the host answers.
    pub raw: bool,
    /// Masks frames to the client, which RFC 6455 forbids to servers (section 5.1). Default off.
    pub mask_outgoing: bool,
    /// Agrees to permessage-deflate (RFC 7692) when the client offers it. Default on. Worst case:
    /// nothing for an idle session, unless contexts are kept.
    pub compression: bool,
    /// Messages below this many bytes go out uncompressed. Default 128.
    pub compress_min_bytes: usize,
    /// The compressor's effort, 0 (none) to 9 (smallest). Default 1.
    pub compression_level: u32,
    /// Keeps the deflate contexts from one message to the next, both ways: smaller messages for
    /// more memory. Default off. Worst case when on: about 420 KiB for each session that has
    /// compressed and inflated a message.
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
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        let protocol = wharf_protocol::Config::default();
        let keepalive = wharf_protocol::Keepalive::default();
        Self {
            ping_interval: keepalive.ping_interval,
            timeout: keepalive.timeout,
            max_frame_bytes: protocol.max_frame_bytes,
            max_message_bytes: protocol.max_message_bytes,
            fragments_max: protocol.fragments_max,
            message_duration_max: protocol.message_duration_max,
            close_timeout: protocol.close_timeout,
            raw: protocol.raw,
            mask_outgoing: protocol.mask_outgoing,
            compression: true,
            compress_min_bytes: protocol.compress_min_bytes,
            compression_level: protocol.compression_level,
            compression_context_takeover: false,
            compression_window_bits: 15,
            outbox_bytes_max: 256 << 10,
            slow_consumer_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(5),
        }
    }
}

impl WebSocketSettings {
    /// What the protocol needs of it.
    pub fn protocol(&self) -> wharf_protocol::Config {
        wharf_protocol::Config {
            max_frame_bytes: self.max_frame_bytes,
            max_message_bytes: self.max_message_bytes,
            fragments_max: self.fragments_max,
            message_duration_max: self.message_duration_max,
            close_timeout: self.close_timeout,
            mask_outgoing: self.mask_outgoing,
            compress_min_bytes: self.compress_min_bytes,
            compression_level: self.compression_level,
            raw: self.raw,
        }
    }

    /// What bounds the messages that wait to be sent.
    pub(crate) fn outbox(&self) -> OutboxConfig {
        OutboxConfig {
            outbox_bytes_max: self.outbox_bytes_max,
            message_bytes_max: self.max_message_bytes,
            write_timeout: self.write_timeout,
            slow_consumer_timeout: self.slow_consumer_timeout,
        }
    }

    /// What is granted to a client that offers permessage-deflate; `None` declines every offer.
    pub fn deflate(&self) -> Option<deflate::Config> {
        self.compression.then_some(deflate::Config {
            server_no_context_takeover: !self.compression_context_takeover,
            client_no_context_takeover: !self.compression_context_takeover,
            server_max_window_bits: self.compression_window_bits,
            client_max_window_bits: self.compression_window_bits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_protocol() {
        let settings = WebSocketSettings::default();
        assert_eq!(settings.protocol(), wharf_protocol::Config::default());
    }

    #[test]
    fn contexts_are_kept_only_when_asked() {
        let mut settings = WebSocketSettings::default();
        let granted = settings.deflate().expect("compression is on");
        assert!(granted.server_no_context_takeover && granted.client_no_context_takeover);
        settings.compression_context_takeover = true;
        assert_eq!(settings.deflate(), Some(deflate::Config::default()));
    }

    #[test]
    fn without_compression_every_offer_is_declined() {
        let settings = WebSocketSettings {
            compression: false,
            ..WebSocketSettings::default()
        };
        assert_eq!(settings.deflate(), None);
    }
}
