//! How a connection ends: the words for it, and which codes and reasons may go
//! over the wire. Which end has which is said by the table in `cause`.

use std::borrow::Cow;

/// The longest reason that fits a close frame: 125 bytes of payload without
/// the code (RFC 6455, section 5.5).
pub const REASON_BYTES_MAX: usize = 123;

/// Who ended a session first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// The other end of the connection.
    Peer,
    /// The handler.
    Handler,
    /// This server.
    Host,
}

/// How a connection ended: decided once, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The close code; 1005 when the peer's close frame was empty, 1006 when
    /// the connection was lost without one.
    pub code: u16,
    /// The reason, at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// Whether both close frames were exchanged.
    pub clean: bool,
    /// Who ended it first.
    pub initiator: Initiator,
}

/// What the peer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnWire {
    /// A close frame with code and reason.
    CodeAndReason,
    /// A close frame with the code alone.
    Code,
    /// A close frame without a payload.
    Empty,
    /// Nothing.
    Nothing,
}

/// What follows the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Afterwards {
    /// The peer has the close timeout to answer.
    AwaitPeer,
    /// The closing handshake is over, or cannot be had: write what is left,
    /// then end the stream.
    Finish,
    /// The socket goes without waiting for anything.
    Abort,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// The code that the handler is told; the same on the wire unless
    /// `on_wire` says otherwise.
    pub code: u16,
    /// At most [`REASON_BYTES_MAX`] bytes.
    pub reason: Cow<'a, str>,
    /// Who ended it.
    pub initiator: Initiator,
    /// What the peer sees.
    pub on_wire: OnWire,
    /// What follows.
    pub afterwards: Afterwards,
    /// A short name for metrics and logs.
    pub label: &'static str,
}

/// Whether a close frame may carry the code: 1000 to 1003, 1007 to 1014 and
/// 3000 to 4999 (RFC 6455, section 7.4, and the IANA registry).
pub const fn code_may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The reason, cut to [`REASON_BYTES_MAX`] on a character boundary.
pub fn cut_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_be_sent_are_those_of_the_registry() {
        let sendable: Vec<u16> = (0..=u16::MAX)
            .filter(|code| code_may_be_sent(*code))
            .collect();
        let expected: Vec<u16> = (1000..=1003)
            .chain(1007..=1014)
            .chain(3000..=4999)
            .collect();
        assert_eq!(sendable, expected);
    }
}
