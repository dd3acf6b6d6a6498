//! One message for many connections: each form of its frame that they need is
//! made once. A connection whose frames are its own (masked, or deflated with
//! a window that it keeps) encodes for itself. Keeps nothing between messages.

use super::{Connection, SendError};
use crate::config::Role;
use crate::deflate::{Compressor, Direction};
use crate::frame::{self, HEADER_BYTES_MAX, Opcode};
use crate::message::MessageKind;

/// One message on its way to many connections.
pub struct Broadcast<'a> {
    kind: MessageKind,
    payload: &'a [u8],
    /// The uncompressed frame; empty until somebody needs it.
    plain: Vec<u8>,
    /// The compressed ones: few, since a route's settings decide.
    deflated: Vec<(Deflated, Vec<u8>)>,
}

/// What makes two compressed frames of one message equal.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Deflated {
    window_bits: u8,
    level: u32,
}

impl<'a> Broadcast<'a> {
    /// Nothing is encoded yet. Text has to be UTF-8.
    pub fn new(kind: MessageKind, payload: &'a [u8]) -> Self {
        Self {
            kind,
            payload,
            plain: Vec::new(),
            deflated: Vec::new(),
        }
    }

    /// The payload, as it was given.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// How many frames were encoded for all connections so far.
    pub fn forms(&self) -> usize {
        usize::from(!self.plain.is_empty()) + self.deflated.len()
    }

    /// Appends the uncompressed frame of a message to `out`, for connections that
    /// [send it as it is](Connection::sends_plain). The payload is the frame's end.
    pub fn append_plain(kind: MessageKind, payload: &[u8], out: &mut Vec<u8>) {
        append_frame(kind, false, payload, out);
    }

    fn plain(&mut self) -> &[u8] {
        if self.plain.is_empty() {
            append_frame(self.kind, false, self.payload, &mut self.plain);
        }
        &self.plain
    }

    fn deflated(&mut self, form: Deflated) -> &[u8] {
        let known = self.deflated.iter().position(|(known, _)| *known == form);
        let index = known.unwrap_or_else(|| {
            let direction = Direction {
                window_bits: form.window_bits,
                takeover: false,
            };
            let mut body = Vec::new();
            Compressor::new(direction, form.level).compress(self.payload, &mut body);
            let mut frame = Vec::new();
            append_frame(self.kind, true, &body, &mut frame);
            self.deflated.push((form, frame));
            self.deflated.len() - 1
        });
        &self.deflated[index].1
    }
}

fn append_frame(kind: MessageKind, compressed: bool, body: &[u8], out: &mut Vec<u8>) {
    let opcode = match kind {
        MessageKind::Text => Opcode::Text,
        MessageKind::Binary => Opcode::Binary,
    };
    let mut header = [0; HEADER_BYTES_MAX];
    let header_bytes = frame::write_header(&mut header, opcode, compressed, body.len(), None);
    out.reserve(header_bytes + body.len());
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(body);
}

impl Connection {
    /// Appends one message, which goes to others too, to `out`.
    ///
    /// # Errors
    /// As [`Connection::send`].
    #[inline]
    pub fn broadcast(
        &mut self,
        message: &mut Broadcast<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !self.may_send() {
            return Err(SendError::Closed);
        }
        if self.role == Role::Client || self.mask_keys.is_some() {
            return self.send(message.kind, message.payload, out);
        }
        let params = match self.deflate {
            Some(params) if self.compresses(message.payload) => params,
            _ => {
                out.extend_from_slice(message.plain());
                return Ok(());
            }
        };
        let direction = self.directions(params).0;
        if direction.takeover {
            return self.send(message.kind, message.payload, out);
        }
        let form = Deflated {
            window_bits: direction.window_bits,
            level: self.config.compression_level,
        };
        out.extend_from_slice(message.deflated(form));
        Ok(())
    }
}
