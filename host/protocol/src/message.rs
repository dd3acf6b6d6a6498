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

/// What [`Connection::receive`](crate::Connection::receive) found. Control
/// frames are handled inside and show only in what they cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// One whole message: joined, inflated, unmasked.
    Message {
        /// Text or binary.
        kind: MessageKind,
        /// The payload, borrowed from the input or from the connection until
        /// the next call.
        payload: &'a [u8],
    },
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
