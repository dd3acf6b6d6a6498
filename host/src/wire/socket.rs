//! One connection's byte stream, whatever carries it, and its move from one worker to another.
//!
//! Never looks at the bytes. A socket belongs to the tokio runtime that registered it; to move, it
//! is detached on one thread and attached on the other.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use send_wrapper::SendWrapper;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server::TlsStream};

use super::stream::Stream;

/// A byte stream to one peer.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Plain TCP.
    Tcp(Stream),
    /// TLS over TCP, its handshake done.
    Tls(Box<TlsStream<Rehome>>),
    /// TLS over a connection that a handler opened; it stays on its worker.
    TlsOpened(Box<client::TlsStream<TcpStream>>),
    /// The server's end of an in-memory connection.
    Memory(DuplexStream),
}

/// A socket that no runtime drives: it can go to another thread.
#[derive(Debug)]
pub(crate) struct DetachedSocket(Detached);

#[derive(Debug)]
enum Detached {
    Tcp(std::net::TcpStream),
    Tls(Box<TlsStream<Rehome>>, std::net::TcpStream),
    Memory(DuplexStream),
}

impl Socket {
    /// Who is on the other side, by asking the system: nothing is kept for it. `None` for a
    /// connection in memory, and for one that is already lost.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        let address = SockRef::from(&self.tcp()?).peer_addr();
        address.ok()?.as_socket()
    }

    /// Whether the other side's machine has said nothing for `silence` although it was asked to,
    /// or has ended the connection. Asks the system: what arrived need not be read for it.
    pub(crate) fn is_lost(&self, silence: Duration) -> bool {
        self.tcp().is_some_and(|stream| lost(&stream, silence))
    }

    fn tcp(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Tls(stream) => {
                let stream = stream.get_ref().0.stream.as_ref()?;
                Some(stream.as_fd())
            }
            Self::TlsOpened(stream) => Some(stream.get_ref().0.as_fd()),
            Self::Memory(_) => None,
        }
    }

    /// Takes the socket off this thread's runtime. Bytes that the kernel or TLS holds stay with it.
    pub(crate) fn detach(self) -> io::Result<DetachedSocket> {
        Ok(DetachedSocket(match self {
            Self::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Self::Tls(mut tls) => {
                let stream = tls.get_mut().0.leave()?;
                Detached::Tls(tls, stream)
            }
            Self::TlsOpened(_) => return Err(io::ErrorKind::Unsupported.into()),
            Self::Memory(stream) => Detached::Memory(stream),
        }))
    }
}

impl DetachedSocket {
    /// Registers the socket with the runtime of the calling thread.
    pub(crate) fn attach(self) -> io::Result<Socket> {
        Ok(match self.0 {
            Detached::Tcp(stream) => Socket::Tcp(Stream::new(stream)?),
            Detached::Tls(mut tls, stream) => {
                tls.get_mut().0.settle(stream)?;
                Socket::Tls(tls)
            }
            Detached::Memory(stream) => Socket::Memory(stream),
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::TlsOpened(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::TlsOpened(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::TlsOpened(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::TlsOpened(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsOpened(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsOpened(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

sockopt_impl!(
    /// What the system knows of a connection (tcp(7), `TCP_INFO`).
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info
);

/// The state of a connection that was reset, or given up (linux/tcp.h).
const TCP_CLOSE: u8 = 7;

/// Every segment from the other side carries an acknowledgement, also those that only answer a
/// keepalive or a probe of a closed window. Such probes are up to two minutes apart: one of them
/// may still be on its way to somebody who is there.
fn lost(stream: &impl AsFd, silence: Duration) -> bool {
    let Ok(info) = getsockopt(stream, TcpInfo) else {
        return false;
    };
    let heard = Duration::from_millis(info.tcpi_last_ack_recv.into());
    let is_unanswered = info.tcpi_retransmits > 0 || info.tcpi_probes > 1;
    info.tcpi_state == TCP_CLOSE || (heard >= silence && is_unanswered)
}

/// The TCP stream under a TLS session: it can leave while the TLS state stays.
#[derive(Debug)]
pub(crate) struct Rehome {
    /// `None` only between [`Socket::detach`] and [`DetachedSocket::attach`], on its way to another
    /// thread.
    stream: Option<SendWrapper<Stream>>,
}

impl Rehome {
    /// Wraps a stream for a TLS handshake to run over.
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream: Some(SendWrapper::new(stream)),
        }
    }

    fn leave(&mut self) -> io::Result<std::net::TcpStream> {
        self.stream.take().ok_or_else(away)?.take().into_std()
    }

    fn settle(&mut self, stream: std::net::TcpStream) -> io::Result<()> {
        self.stream = Some(SendWrapper::new(Stream::new(stream)?));
        Ok(())
    }

    fn here(&mut self) -> io::Result<Pin<&mut Stream>> {
        let stream = self.stream.as_deref_mut();
        stream.map(Pin::new).ok_or_else(away)
    }
}

fn away() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the stream is on its way to another worker",
    )
}

impl AsyncRead for Rehome {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().here()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Rehome {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().here()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().here()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream
            .as_deref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().here()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().here()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

    use super::*;
    use crate::wire::{Listener, reactor};

    fn runtime() -> LocalRuntime {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default());
        let runtime = runtime.expect("a runtime can be built");
        runtime.block_on(async {
            tokio::task::spawn_local(reactor().expect("there is a descriptor"));
        });
        runtime
    }

    /// Reads half of a text here, moves, and reads the rest on another thread.
    fn moves(socket: Socket, here: &LocalRuntime) {
        let detached = here.block_on(async {
            let mut socket = socket;
            let mut half = [0; 4];
            socket
                .read_exact(&mut half)
                .await
                .expect("the peer has written");
            assert_eq!(&half, b"four");
            socket.detach().expect("a socket can be detached")
        });
        let there = std::thread::spawn(|| {
            runtime().block_on(async {
                let mut socket = detached.attach().expect("a socket can be attached");
                let mut rest = String::new();
                socket
                    .read_to_string(&mut rest)
                    .await
                    .expect("the peer ends the stream");
                rest
            })
        });
        assert_eq!(there.join().expect("the other thread ends"), "teen");
    }

    #[test]
    fn a_tcp_socket_moves_with_its_bytes() {
        let here = runtime();
        let socket = here.block_on(async {
            let (listener, address) = Listener::anywhere();
            let mut peer = TcpStream::connect(address).await.expect("it listens");
            peer.write_all(b"fourteen").await.expect("it is open");
            Socket::Tcp(listener.accept().await.expect("the peer is there").0)
        });
        moves(socket, &here);
    }

    #[test]
    fn a_connection_in_memory_moves_with_its_bytes() {
        let here = runtime();
        let (mut peer, socket) = tokio::io::duplex(64);
        here.block_on(peer.write_all(b"fourteen"))
            .expect("it is open");
        drop(peer);
        moves(Socket::Memory(socket), &here);
    }
}
