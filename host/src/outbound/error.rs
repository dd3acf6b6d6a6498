//! Why something outside was not reached, or did not answer as it should.

use std::fmt;

/// Why an exchange failed. Each says whose turn it is: the operator's list, the guest's request, the
/// network, or the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutboundError {
    /// The deployment was not granted this host and port.
    NotGranted,
    /// All addresses of the host are private or set aside.
    AddressProhibited,
    /// The tenant has so many connections, which is as many as it may have.
    TooMany(u64),
    /// What the request says cannot be sent.
    InvalidRequest,
    /// The request's bodies under way have more than so many bytes.
    RequestTooLarge(u64),
    /// The handler dropped the request's body without finishing it.
    RequestUnfinished,
    /// The host has no address.
    NameNotFound,
    /// Name, connection or TLS took too long.
    ConnectTimeout,
    /// Nobody listens there.
    Refused,
    /// No way leads there.
    Unreachable,
    /// The other end's certificate is not one to trust.
    Certificate,
    /// TLS failed otherwise.
    Tls,
    /// No response began in time.
    FirstByteTimeout,
    /// Nothing came of the response's body for longer than the handler wants to wait.
    StoodStill,
    /// The response was not complete in time.
    ResponseTimeout,
    /// The response's body has more than so many bytes.
    ResponseTooLarge(u64),
    /// The response's head is larger than so many bytes.
    HeadTooLarge(u32),
    /// The connection ended in the middle of the response.
    Terminated,
    /// What came is no HTTP.
    Protocol,
    /// A WebSocket was asked for and refused with this HTTP status.
    Rejected(u16),
    /// The answer is no WebSocket handshake, for this reason.
    NoWebSocket(&'static str),
}

impl fmt::Display for OutboundError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::NotGranted => "this host and port were not granted",
            Self::AddressProhibited => "the host's addresses are private",
            Self::TooMany(max) => {
                return write!(
                    formatter,
                    "the tenant has {max} connections, as many as it may"
                );
            }
            Self::InvalidRequest => "the request cannot be sent",
            Self::RequestTooLarge(max) => {
                return write!(formatter, "the request has more than {max} bytes");
            }
            Self::RequestUnfinished => "the request's body was not finished",
            Self::NameNotFound => "the host has no address",
            Self::ConnectTimeout => "connecting took too long",
            Self::Refused => "the connection was refused",
            Self::Unreachable => "the host cannot be reached",
            Self::Certificate => "the host's certificate is not trusted",
            Self::Tls => "TLS failed",
            Self::FirstByteTimeout => "no response began in time",
            Self::StoodStill => "the response stood still for too long",
            Self::ResponseTimeout => "the response was not complete in time",
            Self::ResponseTooLarge(max) => {
                return write!(formatter, "the response has more than {max} bytes");
            }
            Self::HeadTooLarge(max) => {
                return write!(formatter, "the response's head has more than {max} bytes");
            }
            Self::Terminated => "the connection ended in the middle of the response",
            Self::Protocol => "the response is no HTTP",
            Self::Rejected(status) => return write!(formatter, "the host answered {status}"),
            Self::NoWebSocket(why) => {
                return write!(formatter, "the answer is no WebSocket handshake: {why}");
            }
        };
        formatter.write_str(words)
    }
}

impl std::error::Error for OutboundError {}
