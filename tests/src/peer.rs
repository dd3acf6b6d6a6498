//! A client without manners: it speaks HTTP and WebSocket byte by byte and says what came back.
//!
//! Every wait has a deadline. Nothing is answered by itself except, in the methods that say so,
//! the server's pings.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::deadline::{STEP, step, within};
use crate::frame::{Decoder, Frame, MASK, opcode};
use crate::http::{ACCEPT, Head, Response};
use crate::stream::Stream;

/// A connection on which HTTP is spoken.
#[derive(Debug)]
pub struct HttpPeer {
    /// The connection.
    pub stream: Stream,
    read: Vec<u8>,
}

/// How a connection ended, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A FIN: the server closed in order.
    Eof,
    /// An RST or another error.
    Reset,
}

/// What a WebSocket connection gives next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A frame.
    Frame(Frame),
    /// Nothing more.
    End(End),
}

impl HttpPeer {
    /// Connects over TCP.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(Stream::tcp(address).await)
    }

    /// Speaks HTTP on a connection that is already there.
    pub fn over(stream: Stream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Writes bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        step("write a request", self.stream.send(bytes.as_ref()))
            .await
            .expect("the server takes the request");
    }

    /// Writes bytes as they are; the server may have closed before it took all of them.
    pub async fn send_or_fail(&mut self, bytes: impl AsRef<[u8]>) {
        let _refused = step("write a request", self.stream.send(bytes.as_ref())).await;
    }

    /// The next response with its body; `None` when the connection ends first.
    pub async fn response(&mut self) -> Option<Response> {
        self.response_within(STEP).await
    }

    /// The next response with its body, within `limit`; `None` when the connection ends first.
    pub async fn response_within(&mut self, limit: Duration) -> Option<Response> {
        within(limit, "a response", async {
            loop {
                if let Some((mut response, length)) = Response::parse(&self.read) {
                    let end = length + response.content_length();
                    if self.read.len() >= end {
                        response.body = self.read[length..end].to_vec();
                        self.read.drain(..end);
                        return Some(response);
                    }
                }
                match self
                    .stream
                    .receive(|bytes| self.read.extend_from_slice(bytes))
                    .await
                {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    /// Waits for the end of the connection, dropping whatever comes before.
    pub async fn end_within(&mut self, limit: Duration) -> End {
        within(limit, "the end of the connection", async {
            loop {
                match self
                    .stream
                    .receive(|bytes| self.read.extend_from_slice(bytes))
                    .await
                {
                    Ok(0) => return End::Eof,
                    Ok(_) => {}
                    Err(_) => return End::Reset,
                }
            }
        })
        .await
    }

    /// Asserts that nothing follows and that the server closes.
    pub async fn expect_end(&mut self) {
        self.end_within(STEP).await;
        assert_eq!(
            String::from_utf8_lossy(&self.read),
            "",
            "nothing follows the last response"
        );
    }

    /// Sends the head and reads the response.
    pub async fn exchange(&mut self, head: &Head) -> Response {
        self.send_or_fail(head.bytes()).await;
        self.response()
            .await
            .expect("the server answers before it closes")
    }

    /// From a 101 on: the same connection as WebSocket.
    pub fn upgraded(self, response: Response) -> Peer {
        let mut decoder = Decoder::default();
        decoder.push(&self.read);
        Peer {
            stream: self.stream,
            decoder,
            response,
            key: Some(MASK),
            server_masks: false,
        }
    }
}

/// One request on a connection of its own, answered.
pub async fn exchange(address: SocketAddr, head: &Head) -> Response {
    HttpPeer::connect(address).await.exchange(head).await
}

/// A WebSocket connection after its handshake.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub stream: Stream,
    decoder: Decoder,
    /// What the server answered to the handshake.
    pub response: Response,
    /// Masks what [`Peer::send`] writes; `None` writes frames unmasked.
    pub key: Option<[u8; 4]>,
    /// Whether the server is expected to mask its frames.
    pub server_masks: bool,
}

impl Peer {
    /// Connects over TCP and upgrades.
    pub async fn connect(address: SocketAddr, target: &str) -> Self {
        Self::open(Stream::tcp(address).await, &Head::upgrade(target)).await
    }

    /// Upgrades on a connection that is already there.
    pub async fn open(stream: Stream, head: &Head) -> Self {
        match Self::try_open(stream, head).await {
            Ok(peer) => peer,
            Err(response) => panic!("no 101: {} {:?}", response.status, response.text()),
        }
    }

    /// Upgrades on a connection that is already there, or gives the refusal.
    pub async fn try_open(stream: Stream, head: &Head) -> Result<Self, Response> {
        let mut http = HttpPeer::over(stream);
        let response = http.exchange(head).await;
        if response.status != 101 {
            return Err(response);
        }
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        assert!(
            response
                .header("upgrade")
                .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
        );
        assert!(
            response
                .header("connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("upgrade"))
        );
        Ok(http.upgraded(response))
    }

    /// Writes bytes as they are.
    pub async fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        step("write", self.stream.send(bytes.as_ref()))
            .await
            .expect("the server takes the bytes");
    }

    /// Writes bytes as they are; the server may have closed before it took all of them.
    pub async fn raw_or_fail(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        step("write", self.stream.send(bytes.as_ref())).await
    }

    /// Writes a frame.
    pub async fn send(&mut self, frame: Frame) {
        let bytes = frame.encode(self.key);
        self.raw(bytes).await;
    }

    /// Writes a text message.
    pub async fn send_text(&mut self, text: impl AsRef<str>) {
        self.send(Frame::text(text.as_ref())).await;
    }

    /// Writes a binary message.
    pub async fn send_binary(&mut self, bytes: impl Into<Vec<u8>>) {
        self.send(Frame::binary(bytes)).await;
    }

    /// A frame that has already been read, without waiting.
    pub fn buffered(&mut self) -> Option<Frame> {
        self.decoder.take()
    }

    /// What comes next, within `limit`; `None` when nothing comes.
    pub async fn poll_within(&mut self, limit: Duration) -> Option<Incoming> {
        tokio::time::timeout(limit, self.receive()).await.ok()
    }

    async fn receive(&mut self) -> Incoming {
        loop {
            if let Some(frame) = self.decoder.take() {
                assert_eq!(
                    frame.masked, self.server_masks,
                    "masking of what the server sends"
                );
                return Incoming::Frame(frame);
            }
            match self.stream.receive(|bytes| self.decoder.push(bytes)).await {
                Ok(0) => return Incoming::End(End::Eof),
                Ok(_) => {}
                Err(_) => return Incoming::End(End::Reset),
            }
        }
    }

    /// What comes next.
    pub async fn next(&mut self) -> Incoming {
        step("a frame or the end", self.receive()).await
    }

    /// The next frame, whatever it is.
    pub async fn frame(&mut self) -> Frame {
        self.frame_within(STEP).await
    }

    /// The next frame within `limit`, whatever it is.
    pub async fn frame_within(&mut self, limit: Duration) -> Frame {
        match within(limit, "a frame", self.receive()).await {
            Incoming::Frame(frame) => frame,
            Incoming::End(end) => panic!("a frame was expected, the connection ended ({end:?})"),
        }
    }

    /// The next frame that is no ping, within `limit`; pings are answered.
    pub async fn next_but_pings_within(&mut self, limit: Duration) -> Incoming {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match within(left, "a frame that is no ping, or the end", self.receive()).await {
                Incoming::Frame(frame) if frame.opcode == opcode::PING => {
                    let pong = Frame::pong(frame.payload).encode(self.key);
                    let _gone = self.raw_or_fail(pong).await;
                }
                other => return other,
            }
        }
    }

    /// The next message; pings are answered, pongs skipped.
    pub async fn message(&mut self) -> Frame {
        self.message_within(STEP).await
    }

    /// The next message within `limit`; pings are answered, pongs skipped.
    pub async fn message_within(&mut self, limit: Duration) -> Frame {
        loop {
            match self.next_but_pings_within(limit).await {
                Incoming::Frame(frame) if frame.opcode == opcode::PONG => {}
                Incoming::Frame(frame) => {
                    assert!(
                        frame.opcode <= opcode::BINARY && frame.fin,
                        "a message was expected: {frame:?}"
                    );
                    return frame;
                }
                Incoming::End(end) => {
                    panic!("a message was expected, the connection ended ({end:?})")
                }
            }
        }
    }

    /// The next message as text.
    pub async fn text(&mut self) -> String {
        let frame = self.message().await;
        assert_eq!(frame.opcode, opcode::TEXT, "text was expected: {frame:?}");
        String::from_utf8(frame.payload).expect("the server sends text as UTF-8")
    }

    /// Asserts that the next message is this text.
    pub async fn expect_text(&mut self, text: &str) {
        assert_eq!(self.text().await, text);
    }

    /// Asserts that the next message is this and binary.
    pub async fn expect_binary(&mut self, bytes: &[u8]) {
        let frame = self.message().await;
        assert_eq!(
            (frame.opcode, frame.payload.as_slice()),
            (opcode::BINARY, bytes)
        );
    }

    /// Sends text and asserts that it comes back.
    pub async fn expect_echo(&mut self, text: &str) {
        self.send_text(text).await;
        self.expect_text(text).await;
    }

    /// Asserts that the next frame but pings is a close frame with the code; gives its reason.
    pub async fn expect_close(&mut self, code: u16) -> String {
        self.expect_close_within(code, STEP).await
    }

    /// As [`Peer::expect_close`], within `limit`.
    pub async fn expect_close_within(&mut self, code: u16, limit: Duration) -> String {
        match self.next_but_pings_within(limit).await {
            Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => match frame.close_reason() {
                Some((own, reason)) => {
                    assert_eq!(own, code, "close code (reason {reason:?})");
                    reason
                }
                None => panic!("a close frame with {code} was expected, an empty one came"),
            },
            other => panic!("a close frame with {code} was expected: {other:?}"),
        }
    }

    /// Skips messages until the close frame with the code; gives its reason.
    pub async fn drain_to_close_within(&mut self, code: u16, limit: Duration) -> String {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.next_but_pings_within(left).await {
                Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => {
                    let (own, reason) = frame.close_reason().unwrap_or((1005, String::new()));
                    assert_eq!(own, code, "close code (reason {reason:?})");
                    return reason;
                }
                Incoming::Frame(_) => {}
                Incoming::End(end) => {
                    panic!("a close frame with {code} was expected, the connection ended ({end:?})")
                }
            }
        }
    }

    /// Asserts that the next frame but pings is a close frame without a code.
    pub async fn expect_empty_close(&mut self) {
        match self.next_but_pings_within(STEP).await {
            Incoming::Frame(frame) => {
                assert_eq!((frame.opcode, frame.payload), (opcode::CLOSE, Vec::new()))
            }
            Incoming::End(end) => {
                panic!("an empty close frame was expected, the connection ended ({end:?})")
            }
        }
    }

    /// Asserts that nothing more comes and that the connection ends with a FIN.
    pub async fn expect_eof(&mut self) {
        self.expect_eof_within(STEP).await;
    }

    /// As [`Peer::expect_eof`], within `limit`.
    pub async fn expect_eof_within(&mut self, limit: Duration) {
        let incoming = within(limit, "the end of the connection", self.receive()).await;
        assert_eq!(incoming, Incoming::End(End::Eof));
    }

    /// Asserts that nothing more comes and that the connection ends, in order or not.
    pub async fn expect_end_within(&mut self, limit: Duration) -> End {
        match within(limit, "the end of the connection", self.receive()).await {
            Incoming::End(end) => end,
            Incoming::Frame(frame) => panic!("the end was expected: {frame:?}"),
        }
    }

    /// Asserts that nothing comes for `time`.
    pub async fn expect_silence(&mut self, time: Duration) {
        if let Some(incoming) = self.poll_within(time).await {
            panic!("silence was expected: {incoming:?}");
        }
    }

    /// Asserts a close by the server with the code, answers it and asserts the FIN.
    pub async fn expect_closed(&mut self, code: u16) -> String {
        let reason = self.expect_close(code).await;
        let _gone = self
            .raw_or_fail(Frame::close(code, "").encode(self.key))
            .await;
        self.expect_eof().await;
        reason
    }

    /// Closes from this side: the same code comes back, then the FIN.
    pub async fn leave(mut self, code: u16) {
        self.send(Frame::close(code, "")).await;
        self.expect_close(code).await;
        self.expect_eof().await;
    }
}
