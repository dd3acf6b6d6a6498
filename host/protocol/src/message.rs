//! What goes in and what comes out: the bytes of one read, and whole messages.
//! Holds no state of a connection.

/// What a message's payload is (RFC 6455, section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8. On a received message this has been checked.
    Text,
    /// Any bytes.
    Binary,
}

/// One whole message: joined, inflated, unmasked. Its payload is borrowed from
/// the input or from the connection until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Text or binary.
    pub fn kind(self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Binary(_) => MessageKind::Binary,
        }
    }

    /// The payload's bytes.
    pub fn payload(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// A control frame, whole, unmasked and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Wants a pong with the same payload, of at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong that does not answer a ping of [`Keepalive`](crate::Keepalive).
    Pong(&'a [u8]),
    /// The code and the reason of a close frame, if it had any.
    Close(Option<(u16, &'a str)>),
}

/// What [`Connection::receive`](crate::Connection::receive) found. Unless a
/// connection is [raw](crate::Config::raw), control frames are handled inside
/// and show only in what they cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// One whole message, lent from the input.
    Message(Message<'a>),
    /// One whole message, joined from several frames or reads:
    /// [`Connection::take_payload`](crate::Connection::take_payload) has its
    /// buffer.
    Joined(Message<'a>),
    /// A control frame of an open connection that is [raw](crate::Config::raw).
    Control(Control<'a>),
}

impl<'a> Event<'a> {
    /// The message, wherever it lies, if it is one.
    pub fn message(self) -> Option<Message<'a>> {
        match self {
            Self::Message(message) | Self::Joined(message) => Some(message),
            Self::Control(_) => None,
        }
    }
}

/// The bytes of one read, and how much of them has been taken. They are
/// unmasked in place, so the buffer's contents are of no use afterwards.
#[derive(Debug, Default)]
pub struct Input<'a> {
    rest: &'a mut [u8],
}

impl<'a> Input<'a> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes have not been taken yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything has been taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been taken yet.
    pub(crate) fn peek(&self) -> &[u8] {
        self.rest
    }

    /// Takes the next `count` bytes, or all if there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> &'a mut [u8] {
        let rest = core::mem::take(&mut self.rest);
        let (taken, rest) = rest.split_at_mut(count.min(rest.len()));
        self.rest = rest;
        taken
    }

    /// Takes everything and forgets it.
    pub(crate) fn discard(&mut self) {
        self.rest = &mut [];
    }
}
