//! A small HTTP server for handlers to ask, with habits good and bad. One request a connection.
//!
//! Never part of what is tested; its answers are written by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A running upstream; ends with the test's runtime.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens, on the loopback.
    pub address: SocketAddr,
    /// Connections that it has accepted.
    pub accepted: Arc<AtomicUsize>,
}

impl Upstream {
    /// Starts one; with an acceptor it speaks TLS.
    ///
    /// | path | answer |
    /// | --- | --- |
    /// | `/hello` | `hello` |
    /// | `/said` | the request as it came, body and all |
    /// | `/redirect` | 302 to `/hello` |
    /// | `/trailed` | `hello` in chunks, and trailers |
    /// | `/never` | nothing |
    /// | `/stuck` | a head and half of a body, then nothing |
    /// | `/cut` | a head and half of a body, then the end |
    /// | `/endless` | a body without end |
    /// | `/noise` | what is no HTTP |
    /// | `/head` | a head of 64 KiB |
    /// | `/tail` | trailers of 64 KiB |
    pub async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream).await,
                        // A client that does not trust it leaves.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, accepted }
    }
}

/// Answers one request; `None` when the client has left.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
    let request = read(&mut stream).await?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let whole = |status: &str, headers: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
    };
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let answer = match path {
        "/hello" => whole("200 OK", "x-mood: good\r\n", "hello"),
        "/said" => whole("200 OK", "", &request),
        "/redirect" => whole("302 Found", "location: /hello\r\n", ""),
        "/trailed" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             3\r\nhel\r\n2\r\nlo\r\n0\r\nx-sum: 532\r\nX-Last: yes\r\n\r\n"
            .to_owned(),
        "/cut" | "/stuck" => half.to_owned(),
        "/noise" => "\u{1}\u{2}\u{3} noise\r\n\r\n".to_owned(),
        "/head" => whole("200 OK", &format!("x: {}\r\n", "y".repeat(64 << 10)), ""),
        "/tail" => {
            let tail = "y".repeat(64 << 10);
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: {tail}\r\n\r\n")
        }
        "/endless" => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        "/never" => String::new(),
        _ => whole("404 Not Found", "", "nothing here"),
    };
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    match path {
        "/endless" => loop {
            stream.write_all(&[b'x'; 16 << 10]).await.ok()?;
        },
        // Until the client leaves.
        "/never" | "/stuck" => {
            let _ = stream.read(&mut [0; 1]).await;
        }
        _ => {}
    }
    stream.shutdown().await.ok()
}

/// A request, with as much body as it says.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_it = name.eq_ignore_ascii_case("content-length");
            is_it.then(|| value.parse::<usize>().ok())?
        });
        let is_chunked = head.contains("transfer-encoding: chunked");
        // Trailers, if there are any, end with an empty line too.
        let is_whole = match is_chunked {
            true => body.contains("0\r\n") && body.ends_with("\r\n\r\n"),
            false => body.len() >= length.unwrap_or(0),
        };
        if is_whole {
            return Some(text);
        }
    }
}
