//! A message that does not arrive whole in one read: joined from fragments and
//! chunks, inflated, and checked as it comes. Owns only bytes that arrived, in
//! a buffer that never passes the message limit.

use crate::buffer::make_room;
use crate::cause::Cause;
use crate::deflate::{InflateError, Inflater};
use crate::message::{Message, MessageKind};
use crate::time::Instant;
use crate::utf8::{Utf8, as_text};

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
    /// Of which the first `filled` bytes are the message's. What follows them is
    /// of no meaning, but spares the buffer from being cleared before it is read
    /// into.
    payload: Vec<u8>,
    filled: usize,
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
            filled: 0,
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
        self.filled = 0;
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
        let before = self.filled;
        let inflated = match inflater {
            Some(inflater) if self.compressed => {
                self.payload.truncate(before);
                let inflated = inflater.inflate(chunk, &mut self.payload, bytes_max);
                self.filled = self.payload.len();
                inflated
            }
            _ => {
                self.push(chunk, bytes_max);
                Ok(())
            }
        };
        self.check(before, inflated)
    }

    fn push(&mut self, chunk: &[u8], bytes_max: usize) {
        let used = &mut self.payload[self.filled..];
        let (over, behind) = chunk.split_at(chunk.len().min(used.len()));
        used[..over.len()].copy_from_slice(over);
        if !behind.is_empty() {
            make_room(&mut self.payload, behind.len(), bytes_max);
            self.payload.extend_from_slice(behind);
        }
        self.filled += chunk.len();
    }

    /// Room to read up to `wanted` more bytes into; the limit may leave less.
    pub(crate) fn room(&mut self, wanted: usize, bytes_max: usize) -> &mut [u8] {
        let end = self.filled.saturating_add(wanted).min(bytes_max);
        let missing = end.saturating_sub(self.payload.len());
        if missing > 0 {
            make_room(&mut self.payload, missing, bytes_max);
            self.payload.resize(end, 0);
        }
        self.payload.get_mut(self.filled..end).unwrap_or_default()
    }

    /// `count` bytes were read into the room: here they are, masked still.
    pub(crate) fn arrived(&mut self, count: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled += count;
        &mut self.payload[start..start + count]
    }

    /// Checks the last `count` bytes, unmasked by now.
    pub(crate) fn check_arrived(&mut self, count: usize) -> Result<(), Cause> {
        self.check(self.filled - count, Ok(()))
    }

    /// Whether so many bytes more do not fit into the buffer as it is.
    pub(crate) fn outgrows(&self, bytes: usize) -> bool {
        self.payload.capacity() < self.filled.saturating_add(bytes)
    }

    /// Goes on in another buffer.
    pub(crate) fn move_into(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= self.payload.capacity() {
            return;
        }
        core::mem::swap(&mut self.payload, &mut buffer);
        let filled = core::mem::take(&mut self.filled);
        self.push(&buffer[..filled], usize::MAX);
    }

    /// The payload of a message that is whole.
    pub(crate) fn into_payload(mut self) -> Vec<u8> {
        self.payload.truncate(self.filled);
        self.payload
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.state == State::Delivered
    }

    /// The last frame has ended.
    pub(crate) fn finish(
        &mut self,
        inflater: Option<&mut Inflater>,
        bytes_max: usize,
    ) -> Result<(), Cause> {
        if let (true, Some(inflater)) = (self.compressed, inflater) {
            let before = self.filled;
            self.payload.truncate(before);
            let inflated = inflater.finish(&mut self.payload, bytes_max);
            self.filled = self.payload.len();
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
                .feed(&self.payload[before..self.filled])
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
        self.filled
    }

    /// When the message's first byte arrived, moved by pauses of reading.
    pub(crate) fn started_mut(&mut self) -> &mut Instant {
        &mut self.started
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The message, once it is whole.
    pub(crate) fn message(&self) -> Option<Message<'_>> {
        if !self.is_whole() {
            return None;
        }
        let payload = &self.payload[..self.filled];
        match self.kind {
            // Checked as it came; what is known of it then has to be found out again.
            MessageKind::Text => as_text(payload).map(Message::Text),
            MessageKind::Binary => Some(Message::Binary(payload)),
        }
    }

    /// Bytes of memory that the payload has.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.payload.capacity()
    }
}
