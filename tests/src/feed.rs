//! A WebSocket server for handlers to connect to, with habits good and bad, and what it has seen.
//!
//! Never part of what is tested: its handshake and its frames are written by hand.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;

use crate::deadline::step;
use crate::frame::{Decoder, Frame, opcode};
use crate::http::accept;

/// A running feed; ends with the test's runtime.
#[derive(Debug)]
pub struct Feed {
    /// Where it listens, on the loopback.
    pub address: SocketAddr,
    seen: UnboundedReceiver<Seen>,
    says: broadcast::Sender<String>,
}

/// What a client of the feed did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It asked for a WebSocket with this head.
    Head(String),
    /// It sent a frame that is no data.
    Control(Frame),
    /// It ended the stream, or the connection.
    End,
}

impl Feed {
    /// Starts one; with an acceptor it speaks TLS. All answers but the first are not as they should
    /// be, or what comes behind them is not:
    ///
    /// | path | answer |
    /// | --- | --- |
    /// | `/echo` | an echo that chooses the last subprotocol offered; the text `close CODE` is closed, and `cut` ends the stream |
    /// | `/early` | an echo whose first message is in the packet of the handshake |
    /// | `/status/N` | the HTTP status N |
    /// | `/never` | nothing |
    /// | `/cut` | the end of the stream |
    /// | `/noise` | what is no HTTP |
    /// | `/head` | a head of 64 KiB |
    /// | `/old` | HTTP/1.0 |
    /// | `/accept` | the accept value of another key |
    /// | `/plain` | without `Upgrade` |
    /// | `/extension`, `/subprotocol` | one that nobody offered |
    /// | `/masked` | then a masked frame |
    /// | `/utf8` | then a text that is none |
    /// | `/large/N` | then a message of N bytes |
    /// | `/endless` | then messages of 1,000 bytes without end |
    /// | `/silent` | then nothing, not even pongs |
    /// | `/deaf` | then it reads nothing any more |
    pub async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to, seen) = unbounded_channel();
        let says = broadcast::Sender::new(16);
        let here = says.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, to) = (
                    tls.clone(),
                    Reports {
                        to: to.clone(),
                        says: here.clone(),
                    },
                );
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &to).await,
                        // A client that does not trust it leaves.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &to).await,
                            Err(_) => None,
                        },
                    };
                    to.seen(Seen::End);
                });
            }
        });
        Self {
            address,
            seen,
            says,
        }
    }

    /// Sends a text on each connection that is open.
    pub fn say(&self, text: &str) {
        self.says
            .send(text.to_owned())
            .expect("a connection is open");
    }

    /// The next thing that one of its clients did.
    pub async fn next(&mut self) -> Seen {
        let next = step("what the client does", self.seen.recv()).await;
        next.expect("the feed runs as long as the test")
    }

    /// As [`Feed::next`], if there was something.
    pub fn ready(&mut self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }

    /// The next head.
    pub async fn head(&mut self) -> String {
        loop {
            if let Seen::Head(head) = self.next().await {
                return head;
            }
        }
    }

    /// Code and reason of the next close frame; `None` if the client ends without one.
    pub async fn close(&mut self) -> Option<(u16, String)> {
        loop {
            match self.next().await {
                Seen::Control(frame) if frame.opcode == opcode::CLOSE => {
                    return frame.close_reason();
                }
                Seen::End => return None,
                Seen::Head(_) | Seen::Control(_) => {}
            }
        }
    }
}

/// What a connection has to do with its feed.
struct Reports {
    to: UnboundedSender<Seen>,
    says: broadcast::Sender<String>,
}

impl Reports {
    fn seen(&self, seen: Seen) {
        // The test may be over.
        let _ = self.to.send(seen);
    }
}

/// Serves one client; `None` when it has left.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, feed: &Reports) -> Option<()> {
    let head = read_head(&mut stream).await?;
    feed.seen(Seen::Head(head.clone()));
    let path = head.split(' ').nth(1).unwrap_or_default();
    let mut answer = answer(&head, path).into_bytes();
    if path == "/early" {
        answer.extend(Frame::text("early").encode(None));
    }
    stream.write_all(&answer).await.ok()?;
    stream.flush().await.ok()?;
    let number = path.rsplit('/').next().and_then(|last| last.parse().ok());
    let first = match path {
        "/masked" => Some(Frame::text("masked").encode(Some([1, 2, 3, 4]))),
        "/utf8" => Some(Frame::new(opcode::TEXT, *b"\xff").encode(None)),
        _ if path.starts_with("/large/") => {
            Some(Frame::binary(vec![7; number.unwrap_or(0)]).encode(None))
        }
        _ => None,
    };
    if let Some(first) = first {
        stream.write_all(&first).await.ok()?;
        stream.flush().await.ok()?;
    }
    match path {
        "/cut" => stream.shutdown().await.ok(),
        "/deaf" => std::future::pending().await,
        "/endless" => endless(stream, feed).await,
        _ => converse(stream, feed, path != "/silent").await,
    }
}

fn answer(head: &str, path: &str) -> String {
    let value = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    };
    let accept = match path {
        "/accept" => accept("another key"),
        _ => accept(value("sec-websocket-key")),
    };
    let offered = value("sec-websocket-protocol");
    let extra = match path {
        "/extension" => "Sec-WebSocket-Extensions: x-other\r\n".to_owned(),
        "/subprotocol" => "Sec-WebSocket-Protocol: other\r\n".to_owned(),
        "/head" => format!("X: {}\r\n", "y".repeat(64 << 10)),
        _ => match offered.rsplit(", ").next() {
            None | Some("") => String::new(),
            Some(last) => format!("Sec-WebSocket-Protocol: {last}\r\n"),
        },
    };
    let upgrade = if path == "/plain" {
        ""
    } else {
        "Upgrade: websocket\r\n"
    };
    let version = if path == "/old" { "1.0" } else { "1.1" };
    match path {
        "/never" | "/cut" => String::new(),
        "/noise" => "\u{1}\u{2}\u{3} noise\r\n\r\n".to_owned(),
        _ => match path.strip_prefix("/status/") {
            Some(status) => {
                format!("HTTP/1.1 {status} Status\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n")
            }
            None => format!(
                "HTTP/{version} 101 Switching Protocols\r\n{upgrade}Connection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n{extra}\r\n"
            ),
        },
    }
}

/// Echoes data, answers pings and closes if `answers`, and reports the rest.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    feed: &Reports,
    answers: bool,
) -> Option<()> {
    let mut decoder = Decoder::default();
    let mut says = feed.says.subscribe();
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Some(frame) = decoder.take() else {
            tokio::select! {
                read = stream.read(&mut bytes) => match read {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => decoder.push(&bytes[..count]),
                },
                Ok(text) = says.recv() => {
                    stream.write_all(&Frame::text(text).encode(None)).await.ok()?;
                    stream.flush().await.ok()?;
                }
            }
            continue;
        };
        // RFC 6455, section 5.1.
        assert!(frame.masked, "a client masks its frames: {frame:?}");
        let command = String::from_utf8_lossy(&frame.payload).into_owned();
        let answer = match frame.opcode {
            _ if !answers => None,
            opcode::PING => Some(Frame::pong(&frame.payload)),
            opcode::CLOSE => Some(Frame::new(opcode::CLOSE, frame.payload.clone())),
            opcode::PONG => None,
            _ if command == "cut" => return stream.shutdown().await.ok(),
            _ => Some(match command.strip_prefix("close ") {
                Some(code) => Frame::close(code.parse().expect("a code"), "done"),
                None => Frame {
                    masked: false,
                    ..frame.clone()
                },
            }),
        };
        if frame.opcode >= opcode::CLOSE {
            feed.seen(Seen::Control(frame));
        }
        if let Some(answer) = answer {
            stream.write_all(&answer.encode(None)).await.ok()?;
            stream.flush().await.ok()?;
        }
    }
}

/// Sends without end, whatever comes.
async fn endless(stream: impl AsyncRead + AsyncWrite + Unpin, feed: &Reports) -> Option<()> {
    let (read, mut write) = tokio::io::split(stream);
    let reading = converse(tokio::io::join(read, tokio::io::sink()), feed, false);
    let frame = Frame::binary(vec![7; 1_000]).encode(None);
    let frames = frame.repeat(16);
    let writing = async {
        loop {
            write.write_all(&frames).await.ok()?;
        }
    };
    tokio::select! {
        end = reading => end,
        end = writing => end,
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    loop {
        // Byte by byte: frames that come right behind stay where they are.
        let byte = stream.read_u8().await.ok()?;
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            return String::from_utf8(head).ok();
        }
    }
}
