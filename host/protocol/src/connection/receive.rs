//! What arrives at a connection: bytes become headers, payloads and whole
//! messages. A message that is whole in its read is lent straight from it; only
//! what a read cuts in two is kept.

use super::ending::close_reason;
use super::{Connection, ControlPayload, FrameUnderWay, Phase};
use crate::assembly::Assembly;
use crate::cause::Cause;
use crate::config::Role;
use crate::deflate::Inflater;
use crate::frame::{self, HEADER_BYTES_MAX, Header, Opcode, Rules};
use crate::mask;
use crate::message::{Control, Event, Input, Message, MessageKind};
use crate::time::Instant;
use crate::utf8;

/// The end of a shorter frame is read as everything else is, together with what
/// follows it.
const DIRECT_BYTES_MIN: usize = 4 << 10;
/// The most that is read straight into a message at once.
pub const DIRECT_BYTES_MAX: usize = 256 << 10;

/// What one frame, or a part of it, came to.
enum Step<'i> {
    /// There may be more in the input.
    Again,
    /// A message that lies whole in the input.
    Whole(Message<'i>),
    /// The message of the assembly is whole.
    Assembled,
    /// A control frame to hand out that lies whole in the input.
    Control(Control<'i>),
    /// A control frame to hand out, whose payload was held.
    HeldControl(Opcode),
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
                Ok(Step::Whole(message)) => return Some(Event::Message(message)),
                Ok(Step::Assembled) => break,
                Ok(Step::Control(control)) => return Some(Event::Control(control)),
                Ok(Step::HeldControl(opcode)) => return self.held_control(opcode),
                Ok(Step::Starved) => {
                    self.assembly.take_if(|assembly| !assembly.is_open());
                    return None;
                }
                Err(cause) => self.stop_reading(cause, now),
            }
        }
        self.assembled()
    }

    /// The control frame whose payload was held, and checked when it was whole.
    #[cold]
    fn held_control(&self, opcode: Opcode) -> Option<Event<'_>> {
        let payload = self.control.as_ref()?.as_slice();
        Some(Event::Control(match opcode {
            Opcode::Ping => Control::Ping(payload),
            Opcode::Close => Control::Close(close_reason(payload).ok()?),
            _ => Control::Pong(payload),
        }))
    }

    /// The message of the assembly.
    fn assembled(&self) -> Option<Event<'_>> {
        let message = self.assembly.as_ref()?.message()?;
        Some(Event::Joined(message))
    }

    /// Takes the payload of the message that was found last, if it was
    /// [joined](Event::Joined). What it says has been checked: text is UTF-8.
    pub fn take_payload(&mut self) -> Option<Vec<u8>> {
        let assembly = self.assembly.take_if(|assembly| assembly.is_whole())?;
        Some(assembly.into_payload())
    }

    /// Room for what comes next of a long frame: a driver that reads straight
    /// into it, and then says so by [`Connection::received_directly`], spares a
    /// copy. `None` when there is no such frame under way. Room follows what has
    /// arrived, not what was declared: four times as much, and at most
    /// [`DIRECT_BYTES_MAX`].
    pub fn direct_room(&mut self) -> Option<&mut [u8]> {
        let left = self.direct_bytes()?;
        let bytes_max = self.config.max_message_bytes;
        let assembly = self.assembly.as_mut()?;
        let earned = assembly.payload_bytes().saturating_mul(4);
        let room = assembly.room(left.min(earned).min(DIRECT_BYTES_MAX), bytes_max);
        (!room.is_empty()).then_some(room)
    }

    /// Takes `count` bytes that were read into [`Connection::direct_room`]; the
    /// message that they make whole. As [`Connection::receive`] otherwise.
    pub fn received_directly(&mut self, count: usize, now: Instant) -> Option<Event<'_>> {
        let mut frame = self.frame?;
        let assembly = self.assembly.as_mut()?;
        let chunk = assembly.arrived(count);
        mask::apply(frame.key, chunk);
        frame.key = mask::rotated(frame.key, count);
        frame.payload_bytes_left -= count as u64;
        let ended = frame.payload_bytes_left == 0;
        self.frame = if ended { None } else { Some(frame) };
        let mut outcome = assembly.check_arrived(count);
        if ended && frame.fin && outcome.is_ok() {
            outcome = assembly.finish(None, self.config.max_message_bytes);
        }
        match outcome {
            Ok(()) => self.assembled(),
            Err(cause) => {
                self.stop_reading(cause, now);
                None
            }
        }
    }

    /// Whether a buffer that is large enough for the message under way would
    /// spare it from growing one.
    pub fn wants_buffer(&self) -> bool {
        let assembly = self.assembly.as_ref();
        self.direct_bytes()
            .zip(assembly)
            .is_some_and(|(bytes, assembly)| assembly.outgrows(bytes))
    }

    /// Gives the message under way a used buffer, whatever is in it.
    pub fn give_buffer(&mut self, buffer: Vec<u8>) {
        if let Some(assembly) = &mut self.assembly {
            assembly.move_into(buffer);
        }
    }

    /// How much is left of a frame, if that is long and much of its message has arrived.
    fn direct_bytes(&self) -> Option<usize> {
        let frame = self.frame.filter(|frame| !frame.opcode.is_control())?;
        let assembly = self.assembly.as_ref()?;
        let left = usize::try_from(frame.payload_bytes_left).ok()?;
        let is_plain = assembly.is_open() && !assembly.is_compressed();
        let is_long = left.min(assembly.payload_bytes()) >= DIRECT_BYTES_MIN;
        (self.phase == Phase::Open && is_plain && is_long).then_some(left)
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
        if header.opcode.is_control() {
            // What was handed out.
            self.control = None;
        }
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
            return Ok(Step::Whole(Message::Binary(payload)));
        }
        let text = utf8::as_text(payload).ok_or(Cause::TextNotUtf8)?;
        Ok(Step::Whole(Message::Text(text)))
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

    /// Keeps what there is of a control frame, until it is whole.
    fn advance_control<'i>(
        &mut self,
        opcode: Opcode,
        chunk: &'i [u8],
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
        let Some(mut held) = self.control.take() else {
            let shown = self.control_received(opcode, chunk, now, out);
            return shown.map_or(Step::Again, Step::Control);
        };
        held.push(chunk);
        let is_shown = self.control_received(opcode, held.as_slice(), now, out);
        if is_shown.is_none() {
            return Step::Again;
        }
        self.control = Some(held);
        Step::HeldControl(opcode)
    }

    /// Handles a whole control frame, or finds that it is to be handed out.
    fn control_received<'p>(
        &mut self,
        opcode: Opcode,
        payload: &'p [u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<Control<'p>> {
        let hands_out = self.config.raw && self.phase == Phase::Open;
        match opcode {
            Opcode::Close => {
                self.close_received(payload, now);
                let reason = close_reason(payload).ok()?;
                return hands_out.then_some(Control::Close(reason));
            }
            Opcode::Ping if hands_out => return Some(Control::Ping(payload)),
            // Whoever would answer has closed.
            Opcode::Ping if self.config.raw => {}
            Opcode::Ping => self.ping_received(payload, out),
            _ => {
                let is_ours = self.pinger.pong_received(payload);
                return (hands_out && !is_ours).then_some(Control::Pong(payload));
            }
        }
        None
    }
}
