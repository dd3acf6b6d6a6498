//! A message that does not arrive whole in one read: joined from fragments and
//! chunks, inflated, and checked as it comes. Owns only bytes that arrived, in
//! a buffer that never passes the message limit.

use crate::buffer::make_room;
use crate::cause::Cause;
use crate::deflate::{InflateError, Inflater};
use crate::message::MessageKind;
use crate::time::Instant;
use crate::utf8::Utf8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Kept for the next message of the same read.
    Idle,
    /// More is to come.
    Open,
    /// Whole, and lent out until the next call.
    Delivered,
}

/// One message under way.
#[derive(Debug)]
pub(crate) struct Assembly {
    state: State,
    kind: MessageKind,
    compressed: bool,
    fragments: u32,
    started: Instant,
    utf8: Utf8,
    payload: Vec<u8>,
}

impl Assembly {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Idle,
            kind: MessageKind::Binary,
            compressed: false,
            fragments: 0,
            started: Instant::from_millis(0),
            utf8: Utf8::default(),
            payload: Vec::new(),
        }
    }

    /// Begins a message with its first frame.
    pub(crate) fn start(&mut self, kind: MessageKind, compressed: bool, now: Instant) {
        self.state = State::Open;
        self.kind = kind;
        self.compressed = compressed;
        self.fragments = 1;
        self.started = now;
        self.utf8 = Utf8::default();
        self.payload.clear();
    }

    /// Another frame of the message begins.
    pub(crate) fn count_fragment(&mut self, fragments_max: u32) -> Result<(), Cause> {
        if self.fragments >= fragments_max {
            return Err(Cause::FragmentsTooMany);
        }
        self.fragments += 1;
        Ok(())
    }

    /// Takes the next unmasked bytes. `inflater` is used by compressed
    /// messages only.
    pub(crate) fn append(
        &mut self,
        chunk: &[u8],
        inflater: Option<&mut Inflater>,
        bytes_max: usize,
    ) -> Result<(), Cause> {
        let before = self.payload.len();
        let inflated = match inflater {
            Some(inflater) if self.compressed => {
                inflater.inflate(chunk, &mut self.payload, bytes_max)
            }
            _ => {
                make_room(&mut self.payload, chunk.len(), bytes_max);
                self.payload.extend_from_slice(chunk);
                Ok(())
            }
        };
        self.check(before, inflated)
    }

    /// The last frame has ended.
    pub(crate) fn finish(
        &mut self,
        inflater: Option<&mut Inflater>,
        bytes_max: usize,
    ) -> Result<(), Cause> {
        if let (true, Some(inflater)) = (self.compressed, inflater) {
            let before = self.payload.len();
            let inflated = inflater.finish(&mut self.payload, bytes_max);
            self.check(before, inflated)?;
        }
        if self.kind == MessageKind::Text && !self.utf8.is_complete() {
            return Err(Cause::TextNotUtf8);
        }
        self.state = State::Delivered;
        Ok(())
    }

    /// Checks the text from `before` on, ahead of what stopped the inflater
    /// behind it: so the outcome does not depend on how the bytes were cut.
    fn check(&mut self, before: usize, inflated: Result<(), InflateError>) -> Result<(), Cause> {
        if self.kind == MessageKind::Text {
            self.utf8
                .feed(&self.payload[before..])
                .map_err(|_| Cause::TextNotUtf8)?;
        }
        inflated.map_err(|error| match error {
            InflateError::Corrupt => Cause::DeflateCorrupt,
            InflateError::TooLong => Cause::InflatedTooLong,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.compressed
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// When the message's first byte arrived, moved by pauses of reading.
    pub(crate) fn started_mut(&mut self) -> &mut Instant {
        &mut self.started
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The message, once it is whole.
    pub(crate) fn message(&self) -> (MessageKind, &[u8]) {
        (self.kind, &self.payload)
    }

    /// Bytes of memory that the payload has.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.payload.capacity()
    }
}
