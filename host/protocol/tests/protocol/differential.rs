//! The same frames to tungstenite: the same messages must come out, and the
//! same class of end. Streams with one fault at most: of two faults at once
//! both find one, but not always the same.

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};
use wharf_protocol::{MessageKind, Phase};

use crate::scripts;
use crate::targets::Setup;

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The stream just stopped.
    Open,
    Closed(u16),
    Failed(u16),
}

type Outcome = (Vec<(MessageKind, Vec<u8>)>, End);

/// A peer that has sent all of this and reads nothing.
struct Sent(Cursor<Vec<u8>>);

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn theirs(role: TheirRole, stream: &[u8]) -> Outcome {
    let config = WebSocketConfig::default()
        .max_message_size(Some(2_000))
        .max_frame_size(Some(2_000));
    let sent = Sent(Cursor::new(stream.to_vec()));
    let mut socket = WebSocket::from_raw_socket(sent, role, Some(config));
    let mut messages = Vec::new();
    let mut end = End::Open;
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => messages.push((MessageKind::Text, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => messages.push((MessageKind::Binary, bytes.to_vec())),
            Ok(Message::Close(None)) => end = End::Closed(1005),
            // What it makes of a close frame that it takes for a violation.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                end = End::Failed(1002);
            }
            Ok(Message::Close(Some(close))) => end = End::Closed(close.code.into()),
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return (messages, end),
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => {
                return (messages, end);
            }
            Err(Error::Protocol(_)) => return (messages, End::Failed(1002)),
            Err(Error::Utf8(_)) => return (messages, End::Failed(1007)),
            Err(Error::Capacity(_)) => return (messages, End::Failed(1009)),
            Err(other) => panic!("{other}"),
        }
    }
}

fn ours(setup: Setup, stream: &[u8]) -> Outcome {
    let seen = setup.run(stream, &[]);
    let end = match (seen.phase, seen.ending) {
        (Phase::Open, _) => End::Open,
        (_, Some(ending)) if ending.clean => End::Closed(ending.code),
        (_, Some(ending)) => End::Failed(ending.code),
        (phase, None) => panic!("{phase:?} without an ending"),
    };
    (seen.messages, end)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_frames_give_tungstenite_the_same_messages_and_end(
        messages in prop::collection::vec(scripts::message(), 0..6),
        last in scripts::last(),
    ) {
        let frames = [messages.concat(), last].concat();
        let (setup, stream) = (Setup::LIKE_TUNGSTENITE, scripts::stream(&frames));
        prop_assert_eq!(ours(setup, &stream), theirs(TheirRole::Server, &stream));
        let (setup, stream) = (Setup::CLIENT_LIKE_TUNGSTENITE, scripts::plain_stream(&frames));
        prop_assert_eq!(ours(setup, &stream), theirs(TheirRole::Client, &stream));
    }
}
