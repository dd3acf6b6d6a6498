//! One live WebSocket as its handler holds it: a number, and what the host
//! does with it. It keeps no state of its own.

use std::time::Duration;

use crate::bindings::wharf::websocket::sessions as host;
use crate::bindings::wharf::websocket::types::CloseReasonParam;
use crate::{Message, Request, SendError};

/// A WebSocket session that is bound to this instance.
///
/// It is a small number, free to copy and to keep as a key in a map. An
/// instance never sees the same number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session(u64);

impl Session {
    /// All open sessions of this instance, but for those that it has
    /// [opened](crate::client) itself.
    #[must_use]
    pub fn all() -> Vec<Session> {
        wrap(host::list(None))
    }

    /// The open sessions of this instance that carry `tag`.
    #[must_use]
    pub fn with_tag(tag: &str) -> Vec<Session> {
        wrap(host::list(Some(tag)))
    }

    /// How many sessions of this instance are open.
    #[must_use]
    pub fn count() -> u64 {
        host::count()
    }

    /// The session of this instance that has this [`name`](Session::name).
    #[must_use]
    pub fn find(name: &str) -> Option<Session> {
        host::find(name).map(Session)
    }

    /// A session by its number. A number that is not a session of this
    /// instance behaves as one that is closed.
    #[must_use]
    pub fn from_id(id: u64) -> Session {
        Session(id)
    }

    /// The session's number in this instance.
    #[must_use]
    pub fn id(self) -> u64 {
        self.0
    }

    /// Queues a message. While the session's queue is full it waits, for the
    /// route's write timeout at most; an instance that other sessions share
    /// does not wait.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Full`], or [`SendError::TooLarge`]
    /// with the limit in bytes.
    pub fn send<'a>(self, message: impl Into<Message<'a>>) -> Result<(), SendError> {
        host::send(self.0, message.into().into_param())
    }

    /// Queues a message if there is room for it now; never waits.
    ///
    /// # Errors
    /// As [`send`](Session::send).
    pub fn try_send<'a>(self, message: impl Into<Message<'a>>) -> Result<(), SendError> {
        host::try_send(self.0, message.into().into_param())
    }

    /// Bytes that are queued and not yet written to the socket.
    #[must_use]
    pub fn queued_bytes(self) -> u64 {
        host::queued_bytes(self.0)
    }

    /// Waits until all that was queued before has been written.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the session ends first, [`SendError::Full`]
    /// when the write timeout passes.
    pub fn flush(self) -> Result<(), SendError> {
        host::flush(self.0)
    }

    /// Starts the closing handshake; later calls change nothing. Codes: 1000
    /// to 1003, 1007 to 1014, 3000 to 4999. The reason is cut to 123 bytes.
    pub fn close(self, code: u16, reason: &str) {
        host::close(self.0, CloseReasonParam { code, reason });
    }

    /// The HTTP request that asked for this session; none for one that the
    /// instance has opened itself.
    #[must_use]
    pub fn request(self) -> Option<Request> {
        host::request(self.0)
    }

    /// The subprotocol that was agreed on.
    #[must_use]
    pub fn subprotocol(self) -> Option<String> {
        host::subprotocol(self.0)
    }

    /// A name that is unique across the cluster and never used again.
    #[must_use]
    pub fn name(self) -> Option<String> {
        host::name(self.0)
    }

    /// The bytes that stay with the session while its instance sleeps, moves
    /// or is replaced.
    #[must_use]
    pub fn attachment(self) -> Vec<u8> {
        host::attachment(self.0)
    }

    /// Replaces the attachment, 16 KiB at most.
    ///
    /// # Errors
    /// [`SendError::Closed`], or [`SendError::TooLarge`] with the limit.
    pub fn set_attachment(self, value: &[u8]) -> Result<(), SendError> {
        host::set_attachment(self.0, value)
    }

    /// The words by which [`with_tag`](Session::with_tag) finds this session.
    #[must_use]
    pub fn tags(self) -> Vec<String> {
        host::tags(self.0)
    }

    /// Replaces the tags: 10 at most, of 256 characters at most.
    ///
    /// # Errors
    /// [`SendError::Closed`], or [`SendError::TooLarge`] with the limit.
    pub fn set_tags<S: AsRef<str>>(self, tags: &[S]) -> Result<(), SendError> {
        let tags: Vec<&str> = tags.iter().map(AsRef::as_ref).collect();
        host::set_tags(self.0, &tags)
    }

    /// Time between the host's pings; `None` turns them off. The peer's pings
    /// are answered all the same.
    pub fn set_ping_interval(self, interval: Option<Duration>) {
        host::set_ping_interval(self.0, interval.map(milliseconds));
    }

    /// Time within which a ping must be written and answered.
    pub fn set_timeout(self, timeout: Duration) {
        host::set_timeout(self.0, milliseconds(timeout));
    }

    /// The host answers the text `request` with the text `response` by
    /// itself, without a call to the handler. 2 KiB each at most.
    ///
    /// # Errors
    /// [`SendError::Closed`], or [`SendError::TooLarge`] with the limit.
    pub fn set_auto_response(self, request: &str, response: &str) -> Result<(), SendError> {
        host::set_auto_response(self.0, Some((request, response)))
    }

    /// Ends what [`set_auto_response`](Session::set_auto_response) began.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub fn clear_auto_response(self) -> Result<(), SendError> {
        host::set_auto_response(self.0, None)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn wrap(ids: Vec<u64>) -> Vec<Session> {
    ids.into_iter().map(Session).collect()
}
