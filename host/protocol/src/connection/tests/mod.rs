//! The connection's promises, each in a script of a few lines: bytes in;
//! messages, bytes and an ending out. The time is invented.

mod broadcast;
mod compression;
mod concluding;
mod direct;
mod endings;
mod frames;
mod keepalive;
mod limits;
mod raw;
mod text;

use core::time::Duration;
use std::sync::Arc;

use crate::{
    Config, Connection, Ending, Input, Instant, Keepalive, MessageKind, Phase, Role, deflate,
};

const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// The first byte of a frame that is not the last of its message.
const TEXT_START: u8 = 0x01;
const BINARY_START: u8 = 0x02;
const CONTINUATION: u8 = 0x00;
const CONTINUATION_END: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

type Message = (MessageKind, Vec<u8>);

/// A connection with its driver's side, and a clock that stands still.
struct Bench {
    connection: Connection,
    now: Instant,
    out: Vec<u8>,
}

impl Bench {
    fn with(role: Role, config: Config, deflate: Option<deflate::Params>) -> Self {
        let now = Instant::from_millis(1_000);
        let keepalive = Keepalive {
            ping_interval: Some(Duration::from_secs(30)),
            timeout: Duration::from_secs(15),
        };
        let connection = Connection::new(role, Arc::new(config), keepalive, deflate, now, 7);
        Self {
            connection,
            now,
            out: Vec::new(),
        }
    }

    fn server() -> Self {
        Self::with(Role::Server, Config::default(), None)
    }

    fn client() -> Self {
        Self::with(Role::Client, Config::default(), None)
    }

    /// Gives one read's bytes; the messages in it.
    fn read(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        let mut messages = Vec::new();
        while let Some(event) = self.connection.receive(&mut input, self.now, &mut self.out) {
            let message = event.message().expect("a connection that is not raw");
            messages.push((message.kind(), message.payload().to_vec()));
        }
        assert!(input.is_empty());
        messages
    }

    fn read_each_byte(&mut self, bytes: &[u8]) -> Vec<Message> {
        bytes.iter().flat_map(|byte| self.read(&[*byte])).collect()
    }

    /// What was to be written since the last call.
    fn written(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.out)
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    fn wake(&mut self) {
        self.connection.on_deadline(self.now, &mut self.out);
    }

    /// Everything before the peer's close or violation is answered.
    fn conclude(&mut self) {
        assert_eq!(self.phase(), Phase::Concluding);
        self.connection.conclude(self.now, &mut self.out);
    }

    fn phase(&self) -> Phase {
        self.connection.phase()
    }

    fn ending(&self) -> Ending {
        self.connection.ending().expect("ended").clone()
    }

    /// Asserts that the peer broke a rule: this close frame, then nothing.
    #[track_caller]
    fn failed(&mut self, code: u16) {
        self.conclude();
        self.finished(code);
    }

    #[track_caller]
    fn finished(&mut self, code: u16) {
        assert_eq!(self.phase(), Phase::Finished);
        let ending = self.ending();
        assert_eq!((ending.code, ending.clean), (code, false));
        assert_eq!(ending.initiator, crate::Initiator::Host);
        let (written, reason) = (self.written(), ending.reason.as_bytes());
        let close = &written[written.len() - reason.len() - 4..];
        let [high, low] = code.to_be_bytes();
        assert_eq!(close[..4], [CLOSE, reason.len() as u8 + 2, high, low]);
        assert_eq!(&close[4..], reason);
        assert_eq!(self.read(&frame(BINARY, b"late")), []);
        assert_eq!(self.written(), []);
    }
}

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = plain(first, payload);
    let body = frame.len() - payload.len();
    frame[1] |= 0x80;
    for (index, byte) in frame[body..].iter_mut().enumerate() {
        *byte ^= KEY[index % 4];
    }
    frame.splice(body..body, KEY);
    frame
}

/// A server's frame.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        medium @ 126..=0xffff => {
            frame.push(126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(
        CLOSE,
        &[&code.to_be_bytes()[..], reason.as_bytes()].concat(),
    )
}

fn text(payload: &str) -> Message {
    (MessageKind::Text, payload.as_bytes().to_vec())
}

fn binary(payload: &[u8]) -> Message {
    (MessageKind::Binary, payload.to_vec())
}

#[test]
fn an_idle_connection_is_small() {
    assert!(
        size_of::<Connection>() <= 200,
        "{} bytes",
        size_of::<Connection>()
    );
}

#[test]
fn a_connection_can_be_handed_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Connection>();
}
