//! From a granted target to a connection: the name is resolved once, every address is checked, and
//! the connection goes to one of those that were checked.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::is_public;
use super::{Outbound, OutboundError, Place, Target};
use crate::wire::{Socket, Stream};

/// A connection to a target, with or without TLS.
pub(crate) enum Line {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl TryFrom<Line> for Socket {
    type Error = io::Error;

    fn try_from(line: Line) -> io::Result<Self> {
        Ok(match line {
            Line::Plain(stream) => Self::Tcp(Stream::new(stream.into_std()?)?),
            Line::Secure(stream) => Self::TlsOpened(stream),
        })
    }
}

impl Outbound {
    /// Connects to a target until `deadline`.
    pub(crate) async fn dial(
        &self,
        target: &Target,
        place: &Place,
        deadline: Instant,
    ) -> Result<Line, OutboundError> {
        let dialled = timeout_at(deadline, self.dial_unhurried(target, place)).await;
        dialled.unwrap_or(Err(OutboundError::ConnectTimeout))
    }

    async fn dial_unhurried(&self, target: &Target, place: &Place) -> Result<Line, OutboundError> {
        let stream = connect(&addresses(target, place).await?).await?;
        // Requests are written at once; what cannot be set costs time, not correctness.
        let _ = stream.set_nodelay(true);
        if !target.is_secure {
            return Ok(Line::Plain(stream));
        }
        let name = match target.host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(target.host.clone())
                .map_err(|_| OutboundError::InvalidRequest)?,
        };
        let connected = self.connector().await?.connect(name, stream).await;
        let stream = connected.map_err(|error| tls_error(&error))?;
        Ok(Line::Secure(Box::new(stream)))
    }
}

impl Outbound {
    async fn connector(&self) -> Result<TlsConnector, OutboundError> {
        if let Some(connector) = self.0.trust.ready() {
            return Ok(connector);
        }
        let outbound = self.clone();
        let read = tokio::task::spawn_blocking(move || outbound.0.trust.connector());
        read.await.map_err(|_| OutboundError::Tls)
    }
}

/// The addresses of a target that may be used. The system's look-up cannot be stopped, so it keeps
/// the place until it is over: a guest that lets go of requests has no more of them than of others.
async fn addresses(target: &Target, place: &Place) -> Result<Vec<SocketAddr>, OutboundError> {
    let system = |host: &str, port| (host, port).to_socket_addrs().map(Iterator::collect);
    look_up(target, place, system).await
}

async fn look_up(
    target: &Target,
    place: &Place,
    ask: impl FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<Vec<SocketAddr>, OutboundError> {
    let (host, port, place) = (target.host.clone(), target.port, place.clone());
    let found = tokio::task::spawn_blocking(move || {
        let found = ask(&host, port);
        drop(place);
        found
    });
    let found = found.await.unwrap_or_else(|ended| Err(ended.into()));
    let found = found.map_err(|_| OutboundError::NameNotFound)?;
    usable(&found, target.allows_private)
}

/// Those of the addresses that may be used; a name that has only others leads inside.
fn usable(found: &[SocketAddr], allows_private: bool) -> Result<Vec<SocketAddr>, OutboundError> {
    if found.is_empty() {
        return Err(OutboundError::NameNotFound);
    }
    let may = |address: &&SocketAddr| allows_private || is_public(address.ip());
    let usable: Vec<SocketAddr> = found.iter().filter(may).copied().collect();
    if usable.is_empty() {
        return Err(OutboundError::AddressProhibited);
    }
    Ok(usable)
}

/// Connects to the first address that answers.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, OutboundError> {
    let mut last = OutboundError::Unreachable;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = OutboundError::Refused;
            }
            Err(_) => last = OutboundError::Unreachable,
        }
    }
    Err(last)
}

fn tls_error(error: &io::Error) -> OutboundError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => OutboundError::Certificate,
        _ => OutboundError::Tls,
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;
    use crate::outbound::OutboundSettings;

    fn all(addresses: &[&str]) -> Vec<SocketAddr> {
        let parse = |text: &&str| text.parse().expect("an address");
        addresses.iter().map(parse).collect()
    }

    #[test]
    fn a_look_up_that_nobody_waits_for_keeps_its_place_until_it_is_over() {
        let settings = OutboundSettings {
            tenant_connections_max: 1,
            ..OutboundSettings::default()
        };
        let outbound = Outbound::new(settings, Budgets::default()).expect("it reads no file");
        let tenant = "t".into();
        let target = Target {
            host: "slow.example".to_owned(),
            port: 80,
            is_secure: false,
            allows_private: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let place = outbound.place(&tenant).expect("there is one");
            let (begin, begun) = tokio::sync::oneshot::channel();
            let (release, released) = std::sync::mpsc::channel();
            let slow = move |_: &str, _| {
                let _ = begin.send(());
                released.recv().expect("it is let go on");
                Ok(Vec::new())
            };
            tokio::select! {
                _ = look_up(&target, &place, slow) => panic!("it is not over"),
                _ = begun => {}
            }
            // Whoever asked has let go of everything.
            drop(place);
            let full = outbound.place(&tenant).err();
            assert!(matches!(full, Some(OutboundError::TooMany(_))), "{full:?}");
            release.send(()).expect("it waits for this");
            while outbound.place(&tenant).is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        });
    }

    #[test]
    fn of_a_names_addresses_only_public_ones_are_used() {
        let mixed = all(&["10.0.0.1:80", "1.1.1.1:80", "[::1]:80"]);
        assert_eq!(usable(&mixed, false), Ok(all(&["1.1.1.1:80"])));
        assert_eq!(usable(&mixed, true), Ok(mixed.clone()));
        let inside = all(&["169.254.169.254:80", "[::ffff:127.0.0.1]:80"]);
        assert_eq!(
            usable(&inside, false),
            Err(OutboundError::AddressProhibited)
        );
        assert_eq!(usable(&[], true), Err(OutboundError::NameNotFound));
    }
}
