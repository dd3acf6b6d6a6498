//! permessage-deflate (RFC 7692): what was agreed, how it is agreed, and the
//! compressor and inflater of a connection. Knows nothing of frames.

/// What both ends agreed on. The window sizes are what each side's compressor
/// keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// The server starts each message with an empty window.
    pub server_no_context_takeover: bool,
    /// The client starts each message with an empty window.
    pub client_no_context_takeover: bool,
    /// Base-2 logarithm of the server's window, 9 to 15.
    pub server_max_window_bits: u8,
    /// Base-2 logarithm of the client's window, 9 to 15.
    pub client_max_window_bits: u8,
}

/// What this side asks for or grants; the defaults leave both windows at their
/// largest and kept from message to message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server's compressor forgets after each message, also when the
    /// client did not ask for it: less memory, less compression.
    pub server_no_context_takeover: bool,
    /// The client's compressor has to forget after each message.
    pub client_no_context_takeover: bool,
    /// Largest window of the server's compressor, 9 to 15 bits.
    pub server_max_window_bits: u8,
    /// Largest window of the client's compressor, 9 to 15 bits; holds only
    /// where the client allows the server to choose it.
    pub client_max_window_bits: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        }
    }
}

/// The first of the client's offers that can be met, and the value of the
/// response's `Sec-WebSocket-Extensions`. `None` leaves messages uncompressed.
pub fn negotiate(
    _config: &Config,
    _offers: &[crate::handshake::Extension],
) -> Option<(Params, String)> {
    None
}
