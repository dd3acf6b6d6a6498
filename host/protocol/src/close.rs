//! How a connection ends: the one table from what happened to the close code,
//! the reason, who ended it and what goes over the wire. Decides nothing about
//! when; the connection and its driver do.

use core::fmt;
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

/// Everything that can end a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A client's frame without a mask (RFC 6455, section 5.1).
    FrameUnmasked,
    /// A server's frame with a mask (RFC 6455, section 5.1).
    FrameMasked,
    /// A reserved bit that no extension has given a meaning, or not here.
    ReservedBits,
    /// An opcode that RFC 6455 does not define.
    OpcodeUnknown,
    /// A control frame without FIN.
    ControlFragmented,
    /// A control frame of more than 125 bytes.
    ControlTooLong,
    /// A payload length not written in the fewest bytes, or of 2^63 or more
    /// (RFC 6455, section 5.2).
    LengthMalformed,
    /// A continuation without a message to continue.
    ContinuationUnexpected,
    /// A new message before the last fragment of the one before.
    ContinuationExpected,
    /// A close frame whose code must not be sent, or of one byte.
    CloseCodeInvalid,
    /// A text message that is not UTF-8.
    TextNotUtf8,
    /// A close reason that is not UTF-8.
    ReasonNotUtf8,
    /// A compressed message that cannot be inflated.
    DeflateCorrupt,
    /// A frame over its limit.
    FrameTooLong,
    /// A message over its limit, joined from its fragments.
    MessageTooLong,
    /// A message over its limit, once inflated.
    InflatedTooLong,
    /// A message in more fragments than the limit.
    FragmentsTooMany,
    /// A message that took longer than the limit from first byte to last.
    MessageTooSlow,

    /// The peer's close frame, with what it carried.
    PeerClosed(Option<PeerReason>),
    /// The stream ended or failed without a close frame.
    ConnectionLost,
    /// A ping not answered in time.
    PingTimeout,

    /// The handler closed the session.
    HandlerClosed {
        /// What it asked for; a code that must not be sent becomes 1011.
        code: u16,
        /// Cut to [`REASON_BYTES_MAX`].
        reason: String,
    },
    /// The handler has come to its end by itself.
    HandlerReturned,
    /// The handler trapped, ran out of memory, or over its CPU or wall time.
    HandlerFailed {
        /// What an operator finds in the log; part of the reason.
        incident: String,
    },
    /// The handler broke a limit: it sends too fast or too much.
    HandlerOverLimit,

    /// The peer reads too slowly for what is sent to it.
    SlowConsumer,
    /// The tenant or the server is over its capacity.
    OverCapacity,
    /// The server goes away.
    Drain,
    /// The server restarts; the peer may come back.
    Restart,
    /// The operator suspended the tenant.
    TenantSuspended(OperatorReason),
    /// The operator ended this session.
    Kicked(OperatorReason),
}

/// What a peer's close frame carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReason {
    /// A code that may be sent.
    pub code: u16,
    /// Possibly empty.
    pub reason: String,
}

/// The operator's words to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorReason {
    /// 1008 unless said otherwise.
    pub code: u16,
    /// Possibly empty.
    pub reason: String,
}

impl Default for OperatorReason {
    fn default() -> Self {
        Self {
            code: 1008,
            reason: String::new(),
        }
    }
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

impl Cause {
    /// The table. A new cause does not compile until it has its line.
    pub fn close(&self) -> Close<'_> {
        match self {
            Self::FrameUnmasked => violation("frame_unmasked", "frame without mask"),
            Self::FrameMasked => violation("frame_masked", "frame with mask"),
            Self::ReservedBits => violation("reserved_bits", "reserved bit without extension"),
            Self::OpcodeUnknown => violation("opcode_unknown", "unknown opcode"),
            Self::ControlFragmented => violation("control_fragmented", "fragmented control frame"),
            Self::ControlTooLong => violation("control_too_long", "control frame over 125 bytes"),
            Self::LengthMalformed => violation("length_malformed", "malformed payload length"),
            Self::ContinuationUnexpected => {
                violation("continuation_unexpected", "nothing to continue")
            }
            Self::ContinuationExpected => {
                violation("continuation_expected", "continuation expected")
            }
            Self::CloseCodeInvalid => violation("close_code_invalid", "invalid close code"),
            Self::TextNotUtf8 => refused(1007, "text_not_utf8", "text is not UTF-8"),
            Self::ReasonNotUtf8 => refused(1007, "reason_not_utf8", "close reason is not UTF-8"),
            Self::DeflateCorrupt => refused(1007, "deflate_corrupt", "message cannot be inflated"),
            Self::FrameTooLong => refused(1009, "frame_too_long", "frame too long"),
            Self::MessageTooLong => refused(1009, "message_too_long", "message too long"),
            Self::InflatedTooLong => refused(1009, "inflated_too_long", "message too long"),
            Self::FragmentsTooMany => refused(1008, "fragments_too_many", "too many fragments"),
            Self::MessageTooSlow => refused(1008, "message_too_slow", "message took too long"),
            Self::PeerClosed(Some(PeerReason { code, reason })) => Close {
                code: *code,
                reason: Cow::Borrowed(reason),
                initiator: Initiator::Peer,
                on_wire: OnWire::Code,
                afterwards: Afterwards::Finish,
                label: "peer_closed",
            },
            Self::PeerClosed(None) => Close {
                code: 1005,
                reason: Cow::Borrowed(""),
                initiator: Initiator::Peer,
                on_wire: OnWire::Empty,
                afterwards: Afterwards::Finish,
                label: "peer_closed",
            },
            Self::ConnectionLost => Close {
                code: 1006,
                reason: Cow::Borrowed(""),
                initiator: Initiator::Peer,
                on_wire: OnWire::Nothing,
                afterwards: Afterwards::Abort,
                label: "connection_lost",
            },
            Self::PingTimeout => Close {
                afterwards: Afterwards::Abort,
                ..refused(1011, "ping_timeout", "ping timeout")
            },
            Self::HandlerClosed { code, reason } => {
                asked(Initiator::Handler, "handler_closed", *code, reason)
            }
            Self::HandlerReturned => asked(Initiator::Handler, "handler_returned", 1000, ""),
            Self::HandlerFailed { incident } => Close {
                reason: cut_owned(format!("handler failed {incident}")),
                ..asked(Initiator::Host, "handler_failed", 1011, "handler failed")
            },
            Self::HandlerOverLimit => asked(
                Initiator::Host,
                "handler_over_limit",
                1008,
                "handler over its limit",
            ),
            Self::SlowConsumer => asked(Initiator::Host, "slow_consumer", 1008, "slow consumer"),
            Self::OverCapacity => asked(Initiator::Host, "over_capacity", 1013, "over capacity"),
            Self::Drain => asked(Initiator::Host, "drain", 1001, "going away"),
            Self::Restart => asked(Initiator::Host, "restart", 1012, "restarting"),
            Self::TenantSuspended(OperatorReason { code, reason }) => {
                asked(Initiator::Host, "tenant_suspended", *code, reason)
            }
            Self::Kicked(OperatorReason { code, reason }) => {
                asked(Initiator::Host, "kicked", *code, reason)
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let close = self.close();
        write!(f, "{} ({} {:?})", close.label, close.code, close.reason)
    }
}

/// The peer broke the protocol (RFC 6455, section 7.1.7).
fn violation(label: &'static str, reason: &'static str) -> Close<'static> {
    refused(1002, label, reason)
}

/// The connection fails: what the peer sends next means nothing any more, so
/// its answer is not awaited.
fn refused(code: u16, label: &'static str, reason: &'static str) -> Close<'static> {
    Close {
        code,
        reason: Cow::Borrowed(reason),
        initiator: Initiator::Host,
        on_wire: OnWire::CodeAndReason,
        afterwards: Afterwards::Finish,
        label,
    }
}

/// Our side starts an orderly closing handshake.
pub(crate) fn asked<'a>(
    initiator: Initiator,
    label: &'static str,
    code: u16,
    reason: &'a str,
) -> Close<'a> {
    Close {
        code: if may_be_sent(code) { code } else { 1011 },
        reason: Cow::Borrowed(cut(reason)),
        initiator,
        on_wire: OnWire::CodeAndReason,
        afterwards: Afterwards::AwaitPeer,
        label,
    }
}

/// Whether a close frame may carry the code: 1000 to 1003, 1007 to 1014 and
/// 3000 to 4999 (RFC 6455, section 7.4, and the IANA registry).
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The reason, cut to [`REASON_BYTES_MAX`] on a character boundary.
pub fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

fn cut_owned(mut reason: String) -> Cow<'static, str> {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    Cow::Owned(reason)
}
