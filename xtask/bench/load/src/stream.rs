//! One non-blocking connection, with or without TLS. It buffers nothing itself
//! but what TLS must.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::tls;

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Begins to connect; it is writable when that is done.
    pub(crate) fn connect(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        Ok(match tls {
            None => Self::Plain(tcp),
            Some(config) => {
                let name = tls::NAME.try_into()?;
                let client = ClientConnection::new(config.clone(), name)?;
                Self::Tls(Box::new(StreamOwned::new(client, tcp)))
            }
        })
    }

    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &mut tls.sock,
        }
    }

    /// `Ok(None)` when nothing can be read or written now.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        now(match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let written = now(match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        })?;
        // TLS says 0 when its buffer is full.
        Ok(written.filter(|written| *written > 0))
    }

    /// Passes on what TLS holds back.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => now(tls.flush()).map(drop),
        }
    }

    /// A short read of TCP means that all was read; TLS must be asked again.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Makes the end of the connection a reset, which leaves no port waiting.
    pub(crate) fn reset_on_drop(&mut self) -> io::Result<()> {
        socket2::SockRef::from(&*self.tcp()).set_linger(Some(Duration::ZERO))
    }
}

fn now<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        // Not connected yet: the poll will say when.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
        Err(error) => Err(error),
    }
}
