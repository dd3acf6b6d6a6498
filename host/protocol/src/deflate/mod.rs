//! permessage-deflate (RFC 7692): what was agreed, how it is agreed, and the
//! compressor and inflater of a connection. Knows nothing of frames.

mod compress;
mod inflate;
mod negotiate;
mod spare;

pub(crate) use compress::Compressor;
pub(crate) use inflate::{InflateError, Inflater};
pub use negotiate::{DeflateRefused, accept, negotiate, offer};

/// What a message's compressed bytes end with, and is left out on the wire
/// (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

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
    /// Largest window of the server's compressor; outside of 9 to 15 bits the
    /// nearest of them.
    pub server_max_window_bits: u8,
    /// Largest window of the client's compressor; outside of 9 to 15 bits the
    /// nearest of them. Holds only where the client lets the server choose.
    pub client_max_window_bits: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: WINDOW_BITS_MAX,
            client_max_window_bits: WINDOW_BITS_MAX,
        }
    }
}

/// RFC 7692 allows 8 too, but zlib's raw deflate cannot keep to 256 bytes.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOW_BITS_MAX: u8 = 15;

/// One side's half of [`Params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) window_bits: u8,
    /// The window is kept from message to message.
    pub(crate) takeover: bool,
}

impl Params {
    pub(crate) const fn server(self) -> Direction {
        Direction {
            window_bits: self.server_max_window_bits,
            takeover: !self.server_no_context_takeover,
        }
    }

    pub(crate) const fn client(self) -> Direction {
        Direction {
            window_bits: self.client_max_window_bits,
            takeover: !self.client_no_context_takeover,
        }
    }
}
