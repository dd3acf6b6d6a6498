//! One connection as the load generator sees it: the handshake, what it may
//! still send, and what must come back. It decides nothing about load: the
//! modes allow messages and learn what ended.

use std::collections::VecDeque;
use std::net::Shutdown;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::frames;
use crate::handshake;
use crate::latency::Latencies;
use crate::script::{Form, Script};
use crate::stream::Stream;
use crate::verifier::{Control, Verifier};

pub(crate) struct Connection {
    stream: Stream,
    state: State,
    pub(crate) began: Instant,
    /// Where in the script's ring the next message to write is.
    place: usize,
    /// Bytes of it that are written already.
    offset: usize,
    /// Messages that may be written.
    allowed: usize,
    control_out: Vec<u8>,
    verifier: Verifier,
    /// When messages that have not come back were written, and how many.
    sent: VecDeque<(Instant, usize)>,
}

enum State {
    AwaitingAnswer {
        request: Vec<u8>,
        written: usize,
        received: Vec<u8>,
    },
    Open,
    /// The end of the server's stream was seen, and told.
    Ended,
}

/// What happened on a connection that was ready.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) opened: bool,
    /// Messages that came back.
    pub(crate) ended: usize,
    /// The server's close frame, with its code.
    pub(crate) closed: Option<u16>,
    pub(crate) end_of_stream: bool,
}

impl Connection {
    /// `start` is a place in the script's ring.
    pub(crate) fn new(stream: Stream, request: Vec<u8>, script: &Script, start: usize) -> Self {
        Self {
            stream,
            state: State::AwaitingAnswer {
                request,
                written: 0,
                received: Vec::new(),
            },
            began: Instant::now(),
            place: start,
            offset: 0,
            allowed: 0,
            control_out: Vec::new(),
            verifier: Verifier::new(script, start),
            sent: VecDeque::new(),
        }
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Writes `messages` more, now as far as the socket takes them.
    pub(crate) fn send(&mut self, script: &Script, messages: usize) -> anyhow::Result<()> {
        self.allowed += messages;
        self.sent.push_back((Instant::now(), messages));
        self.write(script)
    }

    /// Notes that `messages` of those sent have come back.
    pub(crate) fn came_back(&mut self, mut messages: usize, latencies: &mut Latencies) {
        let now = Instant::now();
        while messages > 0 {
            let Some((at, count)) = self.sent.front_mut() else {
                return;
            };
            let these = messages.min(*count);
            latencies.record((now - *at).as_nanos() as u64, these);
            messages -= these;
            *count -= these;
            if *count == 0 {
                self.sent.pop_front();
            }
        }
    }

    /// Begins to close: by a close frame, or by the end of the raw stream.
    pub(crate) fn close(&mut self, script: &Script) -> anyhow::Result<()> {
        if script.form == Form::Raw {
            return Ok(self.stream.tcp().shutdown(Shutdown::Write)?);
        }
        let code = 1000u16.to_be_bytes();
        frames::masked(
            frames::FIN | frames::CLOSE,
            &code,
            [9; 4],
            &mut self.control_out,
        );
        self.write(script)
    }

    /// Writes and reads whatever the socket allows. If the poll says that the
    /// server's stream is `over`, it reads up to its end: no poll says it again.
    pub(crate) fn on_ready(
        &mut self,
        script: &Script,
        buffer: &mut [u8],
        over: bool,
    ) -> anyhow::Result<Progress> {
        let mut progress = Progress::default();
        if matches!(self.state, State::Ended) {
            return Ok(progress);
        }
        self.write(script)?;
        loop {
            let read = match self.stream.read(buffer) {
                Ok(Some(read)) => read,
                Ok(None) => break,
                Err(error) => return Err(error).context("reading"),
            };
            if read == 0 {
                progress.end_of_stream = true;
                self.state = State::Ended;
                break;
            }
            self.take(script, &buffer[..read], &mut progress)?;
            if read < buffer.len() && !over && !self.stream.is_tls() {
                break;
            }
        }
        Ok(progress)
    }

    fn take(
        &mut self,
        script: &Script,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let State::AwaitingAnswer {
            request, received, ..
        } = &mut self.state
        else {
            return self.take_messages(script, bytes, progress);
        };
        received.extend_from_slice(bytes);
        let length = if script.form == Form::Raw {
            ensure!(
                request.starts_with(received),
                "the request did not come back as it was sent"
            );
            (received.len() == request.len()).then_some(request.len())
        } else {
            handshake::answer(received)?
                .map(|(length, agreed)| {
                    if script.form == Form::Deflated {
                        ensure!(agreed.deflate, "the server declines permessage-deflate");
                        self.verifier.inflate(agreed.server_resets);
                    }
                    Ok(length)
                })
                .transpose()?
        };
        if let Some(length) = length {
            let rest = received.split_off(length);
            self.state = State::Open;
            progress.opened = true;
            self.take_messages(script, &rest, progress)?;
        }
        Ok(())
    }

    fn take_messages(
        &mut self,
        script: &Script,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let mut controls = Vec::new();
        progress.ended += self.verifier.take(script, bytes, &mut controls)?;
        for control in controls {
            match control {
                Control::Close(code) => progress.closed = Some(code),
                Control::Ping(payload) => {
                    let first = frames::FIN | frames::PONG;
                    frames::masked(first, &payload, [5; 4], &mut self.control_out);
                    self.write(script)?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, script: &Script) -> anyhow::Result<()> {
        if let State::AwaitingAnswer {
            request, written, ..
        } = &mut self.state
        {
            while *written < request.len() {
                match self.stream.write(&request[*written..]).context("writing")? {
                    Some(more) => *written += more,
                    None => break,
                }
            }
        } else {
            self.write_frames(script)?;
        }
        self.stream.flush().context("writing")
    }

    fn write_frames(&mut self, script: &Script) -> anyhow::Result<()> {
        loop {
            // A control frame may stand between messages, not within one.
            if self.offset == 0 && !self.control_out.is_empty() {
                match self.stream.write(&self.control_out).context("writing")? {
                    Some(written) if written == self.control_out.len() => self.control_out.clear(),
                    Some(_) => bail!("a socket took a part of a control frame"),
                    None => return Ok(()),
                }
            }
            if self.allowed == 0 {
                return Ok(());
            }
            let bytes = &script.sent(self.place, self.allowed)[self.offset..];
            let Some(written) = self.stream.write(bytes).context("writing")? else {
                return Ok(());
            };
            let (whole, rest) = script.whole(self.place, self.offset + written);
            self.allowed -= whole;
            self.place = (self.place + whole) % script.count;
            self.offset = rest;
        }
    }
}
