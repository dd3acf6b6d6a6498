//! WebSockets that the handler opens itself. The deployment grants hosts and
//! ports (`[route.grants] websocket = ["feed.example:443"]`); without a grant a
//! handler that uses this module is refused at its start.
//!
//! ```no_run
//! use wharf_guest::{Ending, Handler, Message, Session, client};
//!
//! /// Passes on what a feed says.
//! #[derive(Default)]
//! struct Feed {
//!     upstream: Option<Session>,
//! }
//!
//! impl Handler for Feed {
//!     fn on_open(&mut self, _client: Session) {
//!         if self.upstream.is_none() {
//!             self.upstream = client::connect("wss://feed.example/prices").ok();
//!         }
//!     }
//!
//!     fn on_message(&mut self, session: Session, message: Message<'_>) {
//!         if Some(session) == self.upstream {
//!             for client in Session::all() {
//!                 let _ = client.send(message);
//!             }
//!         }
//!     }
//!
//!     fn on_close(&mut self, session: Session, _ending: Ending) {
//!         if Some(session) == self.upstream {
//!             self.upstream = None;
//!         }
//!     }
//! }
//!
//! wharf_guest::export!(Feed);
//! # fn main() {}
//! ```
//!
//! What is opened is a [`Session`] like any other: its messages come to
//! [`Handler::on_message`](crate::Handler::on_message), its end to
//! [`Handler::on_close`](crate::Handler::on_close), only
//! [`Handler::on_open`](crate::Handler::on_open) is not called for it.
//! [`Session::all`] does not have it: that are the clients; [`all`] does.
//!
//! It lives as long as its instance, [sleep](crate#sleep) included, and keeps
//! none alive: when the last client of an instance has left, what it has opened
//! is closed with 1001.

use std::fmt;
use std::time::Duration;

use crate::Session;
use crate::bindings::client::wharf::websocket::client as wire;

/// Why there is no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The address is none: right is `wss://host/path`, or `ws`, with or
    /// without a port, of 8 KiB at most.
    Address,
    /// A subprotocol that is no token, stands there twice, or is one too many:
    /// they have 4 KiB together.
    Subprotocol,
    /// A header that cannot be sent, that only the host may set, such as
    /// `host`, or that is one too many: they have 16 KiB together.
    Header,
    /// The route was not granted this host and port.
    NotGranted,
    /// The host's addresses are private, which the route was not granted.
    Private,
    /// The instance or its tenant has as many as it may have.
    TooMany(u64),
    /// The host has no address.
    NoSuchHost,
    /// Nobody listens there, or no way leads there.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The host's certificate is not one to trust.
    Certificate,
    /// TLS failed otherwise.
    Tls,
    /// The host answered with this HTTP status.
    Rejected(u16),
    /// The host's answer is no WebSocket handshake.
    NoWebSocket,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Error::Address => "no address such as wss://host/path",
            Error::Subprotocol => "a subprotocol that cannot be offered",
            Error::Header => "a header that cannot be sent",
            Error::NotGranted => "the route was not granted this host and port",
            Error::Private => "the host's addresses are private, which the route was not granted",
            Error::TooMany(max) => return write!(formatter, "there are {max} already"),
            Error::NoSuchHost => "the host has no address",
            Error::Unreachable => "nobody answers at this host and port",
            Error::Timeout => "it took too long",
            Error::Certificate => "the host's certificate is not trusted",
            Error::Tls => "TLS failed",
            Error::Rejected(status) => return write!(formatter, "the host answered {status}"),
            Error::NoWebSocket => "the host does not speak WebSocket there",
        })
    }
}

impl std::error::Error for Error {}

impl From<wire::ConnectError> for Error {
    fn from(error: wire::ConnectError) -> Self {
        use wire::ConnectError as Wire;
        match error {
            Wire::InvalidUrl => Error::Address,
            Wire::InvalidSubprotocol => Error::Subprotocol,
            Wire::InvalidHeader => Error::Header,
            Wire::NotGranted => Error::NotGranted,
            Wire::AddressProhibited => Error::Private,
            Wire::TooMany(max) => Error::TooMany(max),
            Wire::NameNotFound => Error::NoSuchHost,
            Wire::Unreachable => Error::Unreachable,
            Wire::Timeout => Error::Timeout,
            Wire::Certificate => Error::Certificate,
            Wire::Tls => Error::Tls,
            Wire::Rejected(status) => Error::Rejected(status),
            Wire::NotWebsocket => Error::NoWebSocket,
        }
    }
}

/// Opens a WebSocket, such as `wss://host/path`. Waits until the handshake is
/// done; meanwhile the instance serves nobody else.
///
/// # Errors
/// As [`Connect::open`].
pub fn connect(url: &str) -> Result<Session, Error> {
    Connect::to(url).open()
}

/// All WebSockets that this instance has opened and that are open.
#[must_use]
pub fn all() -> Vec<Session> {
    wrap(wire::list(None))
}

/// Those of them that carry `tag`.
#[must_use]
pub fn with_tag(tag: &str) -> Vec<Session> {
    wrap(wire::list(Some(tag)))
}

/// A WebSocket on its way to being opened.
///
/// ```no_run
/// # use std::time::Duration;
/// # use wharf_guest::client::{Connect, Error};
/// # fn open() -> Result<(), Error> {
/// let upstream = Connect::to("wss://feed.example/prices")
///     .subprotocol("prices.v2")
///     .subprotocol("prices.v1")
///     .header("authorization", "Bearer …")
///     .timeout(Duration::from_secs(1))
///     .open()?;
/// let chosen = upstream.subprotocol();
/// # let _ = chosen; Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    url: &'a str,
    options: wire::Options,
}

impl<'a> Connect<'a> {
    /// To an address.
    #[must_use]
    pub fn to(url: &'a str) -> Self {
        let options = wire::Options {
            subprotocols: Vec::new(),
            headers: Vec::new(),
            timeout_milliseconds: None,
        };
        Connect { url, options }
    }

    /// Offers a subprotocol, behind those that were offered before.
    #[must_use]
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.options.subprotocols.push(name.to_owned());
        self
    }

    /// Adds a header to the handshake.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let header = (name.to_owned(), value.as_ref().to_vec());
        self.options.headers.push(header);
        self
    }

    /// How long all of it may take. The server's own limits hold, too.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.options.timeout_milliseconds = Some(milliseconds);
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// If what was asked for cannot be sent or was not granted, if there are too
    /// many, or if the host does not answer as it should.
    pub fn open(self) -> Result<Session, Error> {
        let opened = wire::connect(self.url, &self.options)?;
        Ok(Session::from_id(opened))
    }
}

fn wrap(ids: Vec<u64>) -> Vec<Session> {
    ids.into_iter().map(Session::from_id).collect()
}
