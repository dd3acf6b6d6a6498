//! Everything that can end a connection, and the one table from it to the
//! close code, the reason, who ended it and what goes over the wire. Decides
//! nothing about when; the connection and its driver do.

use core::fmt;
use std::borrow::Cow;

use crate::close::{
    Afterwards, Close, Initiator, OnWire, REASON_BYTES_MAX, code_may_be_sent, cut_reason,
};

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

    /// The handler opened this session and serves nobody any more.
    Unattended,

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
            Self::PeerClosed(Some(PeerReason { code, reason })) => {
                gone("peer_closed", *code, reason, OnWire::Code)
            }
            Self::PeerClosed(None) => gone("peer_closed", 1005, "", OnWire::Empty),
            Self::ConnectionLost => Close {
                afterwards: Afterwards::Abort,
                ..gone("connection_lost", 1006, "", OnWire::Nothing)
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
            Self::Unattended => asked(Initiator::Host, "unattended", 1001, "going away"),
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

/// The peer has ended it.
fn gone<'a>(label: &'static str, code: u16, reason: &'a str, on_wire: OnWire) -> Close<'a> {
    Close {
        code,
        reason: Cow::Borrowed(reason),
        initiator: Initiator::Peer,
        on_wire,
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
        code: if code_may_be_sent(code) { code } else { 1011 },
        reason: Cow::Borrowed(cut_reason(reason)),
        initiator,
        on_wire: OnWire::CodeAndReason,
        afterwards: Afterwards::AwaitPeer,
        label,
    }
}

/// As [`asked`], by a close frame that says nothing.
pub(crate) fn asked_without_code(initiator: Initiator) -> Close<'static> {
    Close {
        code: 1005,
        on_wire: OnWire::Empty,
        ..asked(initiator, "closed", 1000, "")
    }
}

fn cut_owned(mut reason: String) -> Cow<'static, str> {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    Cow::Owned(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::REASON_BYTES_MAX;

    const VIOLATIONS: [Cause; 10] = [
        Cause::FrameUnmasked,
        Cause::FrameMasked,
        Cause::ReservedBits,
        Cause::OpcodeUnknown,
        Cause::ControlFragmented,
        Cause::ControlTooLong,
        Cause::LengthMalformed,
        Cause::ContinuationUnexpected,
        Cause::ContinuationExpected,
        Cause::CloseCodeInvalid,
    ];

    fn check(cause: Cause, code: u16, initiator: Initiator, afterwards: Afterwards) {
        let close = cause.close();
        assert_eq!(
            (close.code, close.initiator, close.afterwards),
            (code, initiator, afterwards)
        );
        assert!(close.reason.len() <= REASON_BYTES_MAX, "{cause}");
    }

    #[test]
    fn what_the_peer_does_wrong_fails_the_connection() {
        for cause in VIOLATIONS {
            check(cause, 1002, Initiator::Host, Afterwards::Finish);
        }
        for cause in [
            Cause::TextNotUtf8,
            Cause::ReasonNotUtf8,
            Cause::DeflateCorrupt,
        ] {
            check(cause, 1007, Initiator::Host, Afterwards::Finish);
        }
        for cause in [Cause::FragmentsTooMany, Cause::MessageTooSlow] {
            check(cause, 1008, Initiator::Host, Afterwards::Finish);
        }
        for cause in [
            Cause::FrameTooLong,
            Cause::MessageTooLong,
            Cause::InflatedTooLong,
        ] {
            check(cause, 1009, Initiator::Host, Afterwards::Finish);
        }
    }

    #[test]
    fn every_code_that_leaves_may_be_sent() {
        let incident = "1".to_owned();
        for cause in [
            Cause::HandlerClosed {
                code: 1005,
                reason: String::new(),
            },
            Cause::Kicked(OperatorReason {
                code: 0,
                reason: String::new(),
            }),
            Cause::HandlerFailed { incident },
            Cause::PingTimeout,
            Cause::Drain,
        ] {
            assert!(code_may_be_sent(cause.close().code), "{cause}");
        }
    }

    #[test]
    fn a_cause_says_itself_in_one_line() {
        assert_eq!(
            Cause::SlowConsumer.to_string(),
            "slow_consumer (1008 \"slow consumer\")"
        );
        assert_eq!(
            Cause::PeerClosed(None).to_string(),
            "peer_closed (1005 \"\")"
        );
    }

    #[test]
    fn a_long_reason_of_any_origin_is_cut_on_a_character_boundary() {
        let reason = "€".repeat(50);
        let expected = "€".repeat(41);
        let incident = format!("x{reason}");
        for (cause, expected) in [
            (
                Cause::HandlerClosed {
                    code: 1000,
                    reason: reason.clone(),
                },
                expected.clone(),
            ),
            (
                Cause::Kicked(OperatorReason { code: 1008, reason }),
                expected,
            ),
            (
                Cause::HandlerFailed { incident },
                format!("handler failed x{}", "€".repeat(35)),
            ),
        ] {
            assert_eq!(cause.close().reason, expected);
        }
    }
}
