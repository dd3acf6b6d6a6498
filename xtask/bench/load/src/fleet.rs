//! All connections of a run and the poll that says which are ready. The modes
//! hand in what is to be done with the progress of each.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use crate::arguments::{Messages, Target};
use crate::connection::{Connection, Progress};
use crate::handshake;
use crate::latency::Latencies;
use crate::script::{Form, Script};
use crate::stream::Stream;
use crate::tls;

/// A server that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Handshakes under way at a time while a fleet grows.
const OPENING_MAX: usize = 64;
const READ_BYTES: usize = 256 * 1024;

pub(crate) struct Fleet<'a> {
    poll: Poll,
    events: Events,
    target: &'a Target,
    pub(crate) script: &'a Script,
    tls: Option<Arc<ClientConfig>>,
    pub(crate) connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// All connections begin at the same place of the ring.
    in_step: bool,
}

impl Target {
    pub(crate) fn form(&self) -> Form {
        match (self.raw, self.deflate) {
            (true, _) => Form::Raw,
            (false, true) => Form::Deflated,
            (false, false) => Form::Frames,
        }
    }

    /// The messages of a run against this server.
    pub(crate) fn script(&self, messages: &Messages, prefix: &str) -> anyhow::Result<Script> {
        Script::new(messages, self.form(), prefix)
    }
}

impl<'a> Fleet<'a> {
    pub(crate) fn new(target: &'a Target, script: &'a Script) -> anyhow::Result<Self> {
        let trust = target.trust.as_deref();
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            target,
            script,
            tls: trust.map(|file: &Path| tls::trusting(file)).transpose()?,
            connections: Vec::new(),
            buffer: vec![0; READ_BYTES],
            in_step: false,
        })
    }

    /// Every connection is to receive the same messages.
    pub(crate) fn in_step(mut self) -> Self {
        self.in_step = true;
        self
    }

    /// Opens connections until there are `count`; says how long each took.
    pub(crate) fn open(&mut self, count: usize) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::new();
        let mut opened = self.connections.len();
        while opened < count {
            while self.connections.len() < count && self.connections.len() - opened < OPENING_MAX {
                let connection = self.connect(self.connections.len())?;
                self.connections.push(connection);
            }
            self.turn(|_, _, connection, progress| {
                ensure!(
                    !progress.end_of_stream,
                    "the server closed a connection that opens"
                );
                if progress.opened {
                    opened += 1;
                    latencies.record(connection.began.elapsed().as_nanos() as u64, 1);
                }
                Ok(())
            })?;
        }
        Ok(latencies)
    }

    /// Puts a new connection, which is yet to open, into an old one's place.
    pub(crate) fn replace(&mut self, index: usize) -> anyhow::Result<()> {
        self.connections[index] = self.connect(index)?;
        Ok(())
    }

    fn connect(&self, index: usize) -> anyhow::Result<Connection> {
        let mut stream = Stream::connect(self.target.address, self.tls.as_ref())
            .with_context(|| format!("connection {index} cannot be made"))?;
        self.poll.registry().register(
            stream.tcp(),
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let request = handshake::request(self.target, index);
        let start = if self.in_step {
            0
        } else {
            self.script.start(index)
        };
        Ok(Connection::new(stream, request, self.script, start))
    }

    /// Waits until something is ready and handles all that is.
    pub(crate) fn turn(
        &mut self,
        mut take: impl FnMut(&Script, usize, &mut Connection, Progress) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + SILENCE_MAX;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut self.events, Some(left)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            if !self.events.is_empty() {
                break;
            }
            if left.is_zero() {
                bail!(
                    "the server has said nothing for {} s",
                    SILENCE_MAX.as_secs()
                );
            }
        }
        for event in &self.events {
            let Token(index) = event.token();
            let connection = &mut self.connections[index];
            connection
                .on_ready(self.script, &mut self.buffer, event.is_read_closed())
                .and_then(|progress| take(self.script, index, connection, progress))
                .with_context(|| format!("connection {index}"))?;
        }
        Ok(())
    }

    /// Ends all connections at once, without ports that stay behind.
    pub(crate) fn reset(mut self) -> anyhow::Result<()> {
        for connection in &mut self.connections {
            connection.stream().reset_on_drop()?;
        }
        Ok(())
    }
}
