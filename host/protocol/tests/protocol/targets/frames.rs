//! A stream of frames, in one read and in many: the events must be the same.
//! The first bytes choose role, extension, limits and where to cut.

use std::sync::Arc;
use std::time::Duration;

use wharf_protocol::{
    Config, Connection, Ending, Input, Instant, Keepalive, MessageKind, Phase, Role, deflate,
};

/// All that a driver can see of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) messages: Vec<(MessageKind, Vec<u8>)>,
    /// Control frames that were handed out, each behind how many messages.
    pub(crate) controls: Vec<(usize, String)>,
    pub(crate) written: Vec<u8>,
    pub(crate) phase: Phase,
    pub(crate) ending: Option<Ending>,
}

/// What the first byte chooses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup(pub(crate) u8);

impl Setup {
    /// A server without extensions, with limits as the differential test sets
    /// them to tungstenite.
    #[allow(dead_code, reason = "the fuzzer has no differential test")]
    pub(crate) const LIKE_TUNGSTENITE: Self = Self(128);
    /// The same as a client.
    #[allow(dead_code, reason = "the fuzzer has no differential test")]
    pub(crate) const CLIENT_LIKE_TUNGSTENITE: Self = Self(128 + 1);

    fn connection(self) -> Connection {
        let Self(bits) = self;
        let role = if bits & 1 == 0 {
            Role::Server
        } else {
            Role::Client
        };
        let params = deflate::Params {
            server_no_context_takeover: bits & 4 != 0,
            client_no_context_takeover: bits & 4 != 0,
            server_max_window_bits: if bits & 8 == 0 { 15 } else { 9 },
            client_max_window_bits: if bits & 8 == 0 { 15 } else { 9 },
        };
        let (max_frame_bytes, max_message_bytes) = match bits & (128 + 16) {
            0 => (4_000, 10_000),
            128 => (2_000, 2_000),
            _ => (4_000, 100),
        };
        let config = Config {
            max_frame_bytes,
            max_message_bytes,
            fragments_max: if bits & 32 == 0 { 64 } else { 3 },
            raw: bits & 32 != 0,
            ..Config::default()
        };
        let keepalive = Keepalive {
            ping_interval: None,
            timeout: Duration::from_secs(15),
        };
        let params = (bits & 2 != 0).then_some(params);
        let now = Instant::from_millis(0);
        let mut connection = Connection::new(role, Arc::new(config), keepalive, params, now, 1);
        if bits & 64 != 0 {
            let initiator = wharf_protocol::Initiator::Handler;
            connection.close(1000, "", initiator, now, &mut Vec::new());
        }
        connection
    }

    /// Reads the stream in pieces of these lengths, over and over.
    pub(crate) fn run(self, stream: &[u8], pieces: &[usize]) -> Seen {
        let now = Instant::from_millis(0);
        let mut connection = self.connection();
        let (mut messages, mut written) = (Vec::new(), Vec::new());
        let mut controls = Vec::new();
        let mut stream = stream.to_vec();
        let mut rest = &mut stream[..];
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            let length = pieces.next().map_or(rest.len(), |length| *length);
            let (piece, behind) = rest.split_at_mut(length.clamp(1, rest.len()));
            rest = behind;
            let mut input = Input::new(piece);
            while let Some(event) = connection.receive(&mut input, now, &mut written) {
                match event.message() {
                    Some(message) => messages.push((message.kind(), message.payload().to_vec())),
                    None => controls.push((messages.len(), format!("{event:?}"))),
                }
            }
            assert!(input.is_empty(), "bytes are left");
        }
        if connection.phase() == Phase::Concluding {
            connection.conclude(now, &mut written);
        }
        let phase = connection.phase();
        Seen {
            messages,
            controls,
            written,
            phase,
            ending: connection.ending().cloned(),
        }
    }
}

/// The stream whole, byte by byte, and cut as the input says.
pub(crate) fn frames(data: &[u8]) {
    let [setup, first, second, stream @ ..] = data else {
        return;
    };
    let setup = Setup(*setup);
    let whole = setup.run(stream, &[]);
    for (kind, payload) in &whole.messages {
        assert!(payload.len() <= 10_000);
        assert!(*kind == MessageKind::Binary || std::str::from_utf8(payload).is_ok());
    }
    assert_eq!(whole, setup.run(stream, &[1]));
    assert_eq!(
        whole,
        setup.run(stream, &[usize::from(*first), usize::from(*second)])
    );
}
