//! What arrives at a connection: bytes become headers, payloads and whole
//! messages. A message that is whole in its read is lent straight from it; only
//! what a read cuts in two is kept.

use super::{Connection, ControlPayload, FrameUnderWay, Phase};
use crate::assembly::Assembly;
use crate::cause::Cause;
use crate::config::Role;
use crate::deflate::Inflater;
use crate::frame::{self, HEADER_BYTES_MAX, Header, Opcode, Rules};
use crate::mask;
use crate::message::{Event, Input, MessageKind};
use crate::time::Instant;
use crate::utf8;

/// What one frame, or a part of it, came to.
enum Step<'i> {
    /// There may be more in the input.
    Again,
    /// A message that lies whole in the input.
    Whole(MessageKind, &'i [u8]),
    /// The message of the assembly is whole.
    Assembled,
    /// The input is used up.
    Starved,
}

impl Connection {
    /// Takes bytes from `input` until a message is whole; `None` when all have
    /// been taken. Call it until then. Answers to control frames are appended
    /// to `out`; look at [`Connection::phase`] afterwards. A frame that is cut
    /// short by the end of the input is kept, as far as it has arrived.
    #[inline]
    pub fn receive<'a, 'i: 'a>(
        &'a mut self,
        input: &mut Input<'i>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<Event<'a>> {
        loop {
            match self.step(input, now, out) {
                Ok(Step::Again) => {}
                Ok(Step::Whole(kind, payload)) => return Some(Event::Message { kind, payload }),
                Ok(Step::Assembled) => break,
                Ok(Step::Starved) => {
                    self.assembly.take_if(|assembly| !assembly.is_open());
                    return None;
                }
                Err(cause) => self.stop_reading(cause, now),
            }
        }
        let (kind, payload) = self.assembly.as_ref()?.message();
        Some(Event::Message { kind, payload })
    }

    #[inline]
    fn step<'i>(
        &mut self,
        input: &mut Input<'i>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Step<'i>, Cause> {
        if matches!(
            self.phase,
            Phase::Concluding | Phase::Finished | Phase::Aborted
        ) {
            input.discard();
        }
        if input.is_empty() {
            return Ok(Step::Starved);
        }
        if let Some(frame) = self.frame {
            return self.advance(frame, input, now, out);
        }
        let Some(header) = self.next_header(input)? else {
            return Ok(Step::Starved);
        };
        let whole = header.payload_bytes <= input.remaining() as u64;
        if !header.opcode.is_control() && self.phase == Phase::Open {
            let single = header.fin && header.opcode != Opcode::Continuation;
            self.admit(&header)?;
            if whole && single && !header.compressed {
                return self.lend(&header, input);
            }
            self.assemble(&header, now);
        }
        let frame = FrameUnderWay {
            opcode: header.opcode,
            fin: header.fin,
            key: header.key,
            payload_bytes_left: header.payload_bytes,
        };
        self.advance(frame, input, now, out)
    }

    /// Takes a header, or keeps as much of it as there is.
    #[inline]
    fn next_header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Cause> {
        let rules = Rules {
            masked: self.role == Role::Server,
            deflate: self.deflate.is_some(),
        };
        if self.held_bytes > 0 {
            return self.complete_header(input, rules);
        }
        match frame::parse(input.peek(), rules)? {
            Some(header) => {
                input.take(usize::from(header.header_bytes));
                Ok(Some(header))
            }
            None => {
                let start = input.take(HEADER_BYTES_MAX);
                self.held[..start.len()].copy_from_slice(start);
                self.held_bytes = start.len() as u8;
                Ok(None)
            }
        }
    }

    /// Goes on with a header of which a part was kept.
    #[cold]
    fn complete_header(
        &mut self,
        input: &mut Input<'_>,
        rules: Rules,
    ) -> Result<Option<Header>, Cause> {
        let held = usize::from(self.held_bytes);
        let added = input.remaining().min(HEADER_BYTES_MAX - held);
        self.held[held..held + added].copy_from_slice(&input.peek()[..added]);
        match frame::parse(&self.held[..held + added], rules)? {
            Some(header) => {
                self.held_bytes = 0;
                input.take(usize::from(header.header_bytes) - held);
                Ok(Some(header))
            }
            None => {
                self.held_bytes += added as u8;
                input.take(added);
                Ok(None)
            }
        }
    }

    /// Whether a data frame may come now, and be so long.
    #[inline]
    fn admit(&mut self, header: &Header) -> Result<(), Cause> {
        let mut joined_bytes = 0;
        let mut compressed = header.compressed;
        let open = self.assembly.as_mut().filter(|assembly| assembly.is_open());
        match (header.opcode, open) {
            (Opcode::Continuation, Some(assembly)) => {
                assembly.count_fragment(self.config.fragments_max)?;
                joined_bytes = assembly.payload_bytes() as u64;
                compressed = assembly.is_compressed();
            }
            (Opcode::Continuation, None) => return Err(Cause::ContinuationUnexpected),
            (_, Some(_)) => return Err(Cause::ContinuationExpected),
            (_, None) => {}
        }
        if header.payload_bytes > self.config.max_frame_bytes {
            return Err(Cause::FrameTooLong);
        }
        let room = (self.config.max_message_bytes as u64).saturating_sub(joined_bytes);
        if !compressed && header.payload_bytes > room {
            return Err(Cause::MessageTooLong);
        }
        Ok(())
    }

    /// Hands out a message that lies whole in the input.
    #[inline]
    fn lend<'i>(&mut self, header: &Header, input: &mut Input<'i>) -> Result<Step<'i>, Cause> {
        let payload = input.take(header.payload_bytes as usize);
        mask::apply(header.key, payload);
        if header.opcode == Opcode::Binary {
            return Ok(Step::Whole(MessageKind::Binary, payload));
        }
        if !utf8::is_utf8(payload) {
            return Err(Cause::TextNotUtf8);
        }
        Ok(Step::Whole(MessageKind::Text, payload))
    }

    /// Gets the assembly ready for a frame that has been admitted.
    fn assemble(&mut self, header: &Header, now: Instant) {
        let kind = match header.opcode {
            Opcode::Text => MessageKind::Text,
            Opcode::Binary => MessageKind::Binary,
            _ => return,
        };
        if let (true, Some(params)) = (header.compressed, self.deflate) {
            let direction = self.directions(params).1;
            self.inflater
                .get_or_insert_with(|| Box::new(Inflater::new(direction)));
        }
        let assembly = self
            .assembly
            .get_or_insert_with(|| Box::new(Assembly::new()));
        assembly.start(kind, header.compressed, now);
    }

    /// Takes what there is of a frame's payload.
    fn advance<'i>(
        &mut self,
        mut frame: FrameUnderWay,
        input: &mut Input<'i>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Step<'i>, Cause> {
        let wanted = usize::try_from(frame.payload_bytes_left).unwrap_or(usize::MAX);
        let chunk = input.take(wanted);
        mask::apply(frame.key, chunk);
        frame.key = mask::rotated(frame.key, chunk.len());
        frame.payload_bytes_left -= chunk.len() as u64;
        let ended = frame.payload_bytes_left == 0;
        self.frame = if ended { None } else { Some(frame) };
        if frame.opcode.is_control() {
            return Ok(self.advance_control(frame.opcode, chunk, ended, now, out));
        }
        if self.phase == Phase::Open
            && let Some(assembly) = &mut self.assembly
        {
            let bytes_max = self.config.max_message_bytes;
            assembly.append(chunk, self.inflater.as_deref_mut(), bytes_max)?;
            if ended && frame.fin {
                assembly.finish(self.inflater.as_deref_mut(), bytes_max)?;
                return Ok(Step::Assembled);
            }
        }
        Ok(if ended { Step::Again } else { Step::Starved })
    }

    /// Handles a control frame, once it is whole.
    fn advance_control<'i>(
        &mut self,
        opcode: Opcode,
        chunk: &[u8],
        ended: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Step<'i> {
        if !ended {
            self.control
                .get_or_insert_with(ControlPayload::empty)
                .push(chunk);
            return Step::Starved;
        }
        let held = self.control.take().map(|mut held| {
            held.push(chunk);
            held
        });
        let payload = held.as_ref().map_or(chunk, |held| held.as_slice());
        match opcode {
            Opcode::Close => self.close_received(payload, now),
            Opcode::Ping => self.ping_received(payload, out),
            _ => self.pinger.pong_received(payload),
        }
        Step::Again
    }
}
