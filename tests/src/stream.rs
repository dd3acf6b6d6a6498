//! The client's end of one connection: TCP, TLS over TCP, or in memory.
//!
//! Never buffers and never retries; what a test writes is what the server gets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::deadline::step;

/// One connection to a server under test.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// The in-process server's own in-memory connection.
    Memory(DuplexStream),
}

/// How to reach the server over TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dial {
    /// Last byte of the loopback address to come from; spreads connections over several addresses
    /// when one has too few ports.
    pub from: Option<u8>,
    /// Receive buffer of the client's socket, so that a client that does not read fills up soon.
    pub receive_buffer_bytes: Option<u32>,
    /// Send buffer of the client's socket.
    pub send_buffer_bytes: Option<u32>,
}

impl Dial {
    /// A client that will not read: its kernel buffers hold little.
    pub fn small_buffers() -> Self {
        Self {
            from: None,
            receive_buffer_bytes: Some(4096),
            send_buffer_bytes: Some(16 * 1024),
        }
    }

    /// A client that will not read, but sends a lot.
    pub fn small_receive_buffer() -> Self {
        Self {
            send_buffer_bytes: None,
            ..Self::small_buffers()
        }
    }

    /// A client from 127.0.0.`last`.
    pub fn from(last: u8) -> Self {
        Self {
            from: Some(last),
            ..Self::default()
        }
    }

    /// Connects, with TCP_NODELAY.
    pub async fn tcp(self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(last) = self.from {
            socket.bind(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)),
                0,
            ))?;
        }
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Stream {
    /// Connects over TCP.
    pub async fn tcp(address: SocketAddr) -> Self {
        Self::dial(address, Dial::default()).await
    }

    /// Connects over TCP in a way of the test's own.
    pub async fn dial(address: SocketAddr, dial: Dial) -> Self {
        Self::Tcp(
            step("connect", dial.tcp(address))
                .await
                .unwrap_or_else(|error| panic!("connect to {address}: {error}")),
        )
    }

    /// Writes all of it.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }

    /// Writes what fits now, without waiting; 0 when nothing does. TCP only.
    pub fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.as_tcp().try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Reads what is there, waiting for at least a byte, and hands it to `sink`; 0 at the end.
    pub async fn receive(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<usize> {
        std::future::poll_fn(|context| {
            let mut buffer = [0; 16 * 1024];
            let mut buffer = ReadBuf::new(&mut buffer);
            std::task::ready!(Pin::new(&mut *self).poll_read(context, &mut buffer))?;
            sink(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// Vanishes without a word, as a machine that lost its power: from now on nothing that the server
    /// sends arrives, and nothing is acknowledged. TCP only.
    pub fn vanish(&self) {
        /// `ret #0`: drop the packet (linux/filter.h: BPF_RET).
        const DROP: SockFilter = SockFilter::new(6, 0, 0, 0);
        let socket = SockRef::from(self.as_tcp());
        socket
            .attach_filter(&[DROP])
            .expect("filters are for everybody");
    }

    /// Its own address, as the server sees it. TCP only.
    pub fn local_address(&self) -> SocketAddr {
        self.as_tcp().local_addr().expect("it is connected")
    }

    /// Sends a FIN and keeps reading.
    pub async fn half_close(&mut self) -> io::Result<()> {
        self.shutdown().await
    }

    /// Ends the connection with an RST. TCP only.
    pub fn reset(self) {
        self.as_tcp()
            .set_zero_linger()
            .expect("a TCP socket takes SO_LINGER");
    }

    /// The TCP socket.
    ///
    /// # Panics
    /// When the connection is no plain TCP.
    pub fn as_tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(_) | Self::Memory(_) => panic!("this needs a plain TCP connection"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Memory(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Memory(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Memory(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
