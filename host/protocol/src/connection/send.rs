//! What leaves a connection: each frame's header and payload go straight to
//! the end of `out`, with one reservation. Nothing is kept here but a pong that
//! waits for room.

use super::{Connection, ControlPayload, Phase, SendError};
use crate::deflate::Compressor;
use crate::frame::{self, CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Opcode};
use crate::mask;
use crate::message::MessageKind;

/// A pong is written at once while `out` holds less than this; beyond, only
/// the latest waits, so that a peer that pings and never reads costs nothing.
const PONG_AT_ONCE_BYTES_MAX: usize = 4_096;

/// A header that needs nothing done to what follows it; its bytes.
pub struct PlainHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

impl core::ops::Deref for PlainHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn opcode(kind: MessageKind) -> Opcode {
    match kind {
        MessageKind::Text => Opcode::Text,
        MessageKind::Binary => Opcode::Binary,
    }
}

impl Connection {
    /// Appends one message to `out`. Text has to be UTF-8.
    #[inline]
    pub fn send(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !self.may_send() {
            return Err(SendError::Closed);
        }
        debug_assert!(
            kind == MessageKind::Binary || core::str::from_utf8(payload).is_ok(),
            "text is not UTF-8"
        );
        let opcode = opcode(kind);
        if self.compresses(payload) {
            self.push_compressed(opcode, payload, out);
        } else {
            self.push_frame(opcode, payload, out);
        }
        Ok(())
    }

    /// Appends a ping to `out`. The pong that answers it shows only where the
    /// connection is [raw](crate::Config::raw).
    ///
    /// # Errors
    /// [`SendError::ControlTooLong`] over 125 bytes, else as [`Connection::send`].
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
        self.control(Opcode::Ping, payload, out)
    }

    /// Appends a pong to `out`, asked for or not (RFC 6455, section 5.5.3).
    ///
    /// # Errors
    /// As [`Connection::ping`].
    pub fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
        self.control(Opcode::Pong, payload, out)
    }

    fn control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !self.may_send() {
            return Err(SendError::Closed);
        }
        if payload.len() > CONTROL_BYTES_MAX {
            return Err(SendError::ControlTooLong);
        }
        self.push_frame(opcode, payload, out);
        Ok(())
    }

    /// Whether messages of up to so many bytes leave as they are, in the frames that
    /// [`Broadcast::append_plain`](super::Broadcast::append_plain) makes.
    #[inline]
    pub fn sends_plain(&self, payload_bytes: usize) -> bool {
        let compresses = self.deflate.is_some() && payload_bytes >= self.config.compress_min_bytes;
        self.may_send() && !compresses && self.mask_keys.is_none()
    }

    /// The header of a message that may leave as it is, without a copy: the
    /// driver writes it, and the payload right behind it. `None` where
    /// [`Connection::send`] would change the payload, or refuse it.
    pub fn plain_header(&self, kind: MessageKind, payload_bytes: usize) -> Option<PlainHeader> {
        if !self.sends_plain(payload_bytes) {
            return None;
        }
        let mut bytes = [0; HEADER_BYTES_MAX];
        let length = frame::write_header(&mut bytes, opcode(kind), false, payload_bytes, None);
        Some(PlainHeader { bytes, length })
    }

    /// The driver has written everything that `out` held: a pong that waits
    /// for room goes out now.
    pub fn flushed(&mut self, out: &mut Vec<u8>) {
        if let Some(pong) = self.pong.take()
            && matches!(self.phase, Phase::Open | Phase::Concluding | Phase::Closing)
        {
            self.push_frame(Opcode::Pong, pong.as_slice(), out);
        }
    }

    /// Answers a ping, now or when there is room (RFC 6455, section 5.5.3: the
    /// latest is enough).
    pub(super) fn ping_received(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if out.len() < PONG_AT_ONCE_BYTES_MAX {
            self.pong = None;
            self.push_frame(Opcode::Pong, payload, out);
        } else {
            let pong = self.pong.get_or_insert_with(ControlPayload::empty);
            pong.length = 0;
            pong.push(payload);
        }
    }

    /// Appends one uncompressed final frame.
    #[inline]
    pub(super) fn push_frame(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        let key = self.next_key();
        let mut header = [0; HEADER_BYTES_MAX];
        let header_bytes = frame::write_header(&mut header, opcode, false, payload.len(), key);
        out.reserve(header_bytes + payload.len());
        out.extend_from_slice(&header[..header_bytes]);
        out.extend_from_slice(payload);
        if let Some(key) = key {
            let start = out.len() - payload.len();
            mask::apply(key, &mut out[start..]);
        }
    }

    #[inline]
    pub(super) fn compresses(&self, payload: &[u8]) -> bool {
        self.deflate.is_some()
            && !payload.is_empty()
            && payload.len() >= self.config.compress_min_bytes
    }

    /// Appends one compressed frame: the payload behind a gap for the header,
    /// which is then closed or widened if compression changed its size.
    fn push_compressed(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        let Some(params) = self.deflate else { return };
        let key = self.next_key();
        let direction = self.directions(params).0;
        let level = self.config.compression_level;
        let compressor = self
            .compressor
            .get_or_insert_with(|| Box::new(Compressor::new(direction, level)));

        let start = out.len();
        let gap = frame::header_bytes(payload.len(), key.is_some());
        out.reserve(gap + payload.len());
        out.resize(start + gap, 0);
        compressor.compress(payload, out);

        let body_bytes = out.len() - start - gap;
        let mut header = [0; HEADER_BYTES_MAX];
        let header_bytes = frame::write_header(&mut header, opcode, true, body_bytes, key);
        if header_bytes > gap {
            out.resize(out.len() + header_bytes - gap, 0);
        }
        if header_bytes != gap {
            let body = start + gap..start + gap + body_bytes;
            out.copy_within(body, start + header_bytes);
        }
        out[start..start + header_bytes].copy_from_slice(&header[..header_bytes]);
        out.truncate(start + header_bytes + body_bytes);
        if let Some(key) = key {
            mask::apply(key, &mut out[start + header_bytes..]);
        }
    }

    #[inline]
    fn next_key(&mut self) -> Option<[u8; 4]> {
        self.mask_keys
            .as_mut()
            .map(|keys| keys.next(&mut self.random))
    }
}
