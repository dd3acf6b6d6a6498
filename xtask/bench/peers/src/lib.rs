//! What the peers share: one thread, one runtime, one listener on a free port
//! of loopback, and what their fan-out needs. Each peer is a program of its
//! own and is written as its authors' examples are; `/` echoes, and what comes
//! in on `/fan-out` goes to all connections there.

use std::future::Future;
use std::io::Write;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Where publications go out to all.
pub const FAN_OUT: &str = "/fan-out";
/// Publications that a slow connection may be behind.
const BEHIND_MAX: usize = 1024;

/// Binds, says where, and runs `serve` on the only thread.
pub fn run<F>(serve: impl FnOnce(TcpListener) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "listening on {}", listener.local_addr()?)?;
        stdout.flush()?;
        serve(listener).await
    })
}

/// Accepts for ever; each connection gets a task.
pub async fn accept<F>(
    listener: TcpListener,
    connection: impl Fn(TcpStream) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that ends in an error ends nothing else.
        tokio::spawn(connection(stream));
    }
}

/// One queue that all connections of the fan-out read.
pub fn publications<M: Clone>() -> broadcast::Sender<M> {
    broadcast::Sender::new(BEHIND_MAX)
}

/// How a peer's messages are told apart.
pub trait Data: Sized {
    /// Text or binary, not a control frame.
    fn is_data(&self) -> bool;
}

impl Data for tokio_tungstenite::tungstenite::Message {
    fn is_data(&self) -> bool {
        self.is_text() || self.is_binary()
    }
}

impl Data for tokio_websockets::Message {
    fn is_data(&self) -> bool {
        self.is_text() || self.is_binary()
    }
}

impl Data for axum::extract::ws::Message {
    fn is_data(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Binary(_))
    }
}

/// Echoes as the examples of most libraries do: one write for each message.
pub async fn echo_each<S, M, E>(mut socket: S) -> anyhow::Result<()>
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Data,
    E: std::error::Error + Send + Sync + 'static,
{
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_data() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// Echoes with one write for all that has arrived, as `Stream::forward` does.
pub async fn echo_corked<S, M, E>(mut socket: S) -> anyhow::Result<()>
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Data,
    E: std::error::Error + Send + Sync + 'static,
{
    while let Some(message) = socket.next().await {
        let mut next = Some(message);
        while let Some(message) = next.take() {
            let message = message?;
            if message.is_data() {
                socket.feed(message).await?;
            }
            next = socket.next().now_or_never().flatten();
        }
        socket.flush().await?;
    }
    Ok(())
}

/// Publishes what comes in and delivers what all publish, with one write for
/// all that waits.
pub async fn fan_out<S, M, E>(mut socket: S, all: broadcast::Sender<M>) -> anyhow::Result<()>
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Data + Clone,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut publications = all.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(message) = message else { return Ok(()) };
                let message = message?;
                if message.is_data() {
                    // There is a receiver: this connection.
                    let _ = all.send(message);
                }
            }
            publication = publications.recv() => {
                let Some(mut publication) = received(publication) else { return Ok(()) };
                loop {
                    socket.feed(publication).await?;
                    match publications.try_recv() {
                        Ok(next) => publication = next,
                        Err(TryRecvError::Empty) => break,
                        Err(_) => return Ok(()),
                    }
                }
                socket.flush().await?;
            }
        }
    }
}

fn received<M>(publication: Result<M, RecvError>) -> Option<M> {
    // One that fell behind is cut off: the load generator will say so.
    publication.ok()
}

/// Whether the program was told to write each message by itself.
pub fn writes_each() -> bool {
    std::env::args().any(|argument| argument == "--each")
}
