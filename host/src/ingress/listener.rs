//! The accept loop: it accepts and does nothing else. TLS and HTTP run in the connection's own task.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Ingress;
use super::connection::serve_connection;
use crate::request::Remote;
use crate::wire::{Listener, Socket, Stream};

/// How long accepting pauses when the process has no descriptors or memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// What an error of accept means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    /// With that one connection; the next may be fine.
    Connection,
    /// The process or the machine has nothing left; descriptors come back when connections end.
    Exhausted,
    /// Anything else: tried again after a pause, because ending would take the server down.
    Listener,
}

/// Accepts until the server drains. Several workers may run it on one listening socket.
pub(crate) async fn accept_loop(listener: Listener, ingress: Rc<Ingress>) {
    let mut paused = false;
    while ingress.opened().await {
        let accepted = tokio::select! {
            biased;
            () = ingress.shut() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                if std::mem::take(&mut paused) {
                    tracing::info!("accepting connections again");
                }
                tokio::task::spawn_local(welcome(stream, remote, Rc::clone(&ingress)));
            }
            Err(error) => match trouble(&error) {
                Trouble::Connection => {}
                trouble => {
                    if !std::mem::replace(&mut paused, true) {
                        log(trouble, &error);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

fn log(trouble: Trouble, error: &io::Error) {
    match trouble {
        Trouble::Exhausted => tracing::error!(
            "accepting pauses until connections end: {error}; raise the limit of open files (`ulimit -n`) or lower `connections_max` and `sessions_max`"
        ),
        _ => tracing::error!("accepting fails and is tried again: {error}"),
    }
}

fn trouble(error: &io::Error) -> Trouble {
    /// Of Linux; the standard library has no names for them.
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    match error.raw_os_error() {
        Some(EMFILE | ENFILE | ENOBUFS | ENOMEM) => Trouble::Exhausted,
        _ => match error.kind() {
            ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted => {
                Trouble::Connection
            }
            _ => Trouble::Listener,
        },
    }
}

/// From an accepted stream to a connection that speaks HTTP.
async fn welcome(stream: Stream, remote: SocketAddr, ingress: Rc<Ingress>) {
    // Without it small messages wait for acknowledgements; a stream that refuses it still works.
    let _ = stream.set_nodelay(true);
    let (socket, scheme) = match &ingress.tls {
        None => (Socket::Tcp(stream), "http"),
        Some(tls) => match Box::pin(tls.accept(stream, &ingress.places)).await {
            Ok(stream) => (Socket::Tls(Box::new(stream)), "https"),
            Err(error) => return tracing::debug!(%remote, "no TLS connection: {error}"),
        },
    };
    serve_connection(socket, Remote::Address(remote), scheme, ingress).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_a_pause() {
        assert_eq!(
            trouble(&io::Error::from_raw_os_error(24)),
            Trouble::Exhausted
        );
        assert_eq!(
            trouble(&io::Error::from_raw_os_error(23)),
            Trouble::Exhausted
        );
        assert_eq!(
            trouble(&io::Error::from_raw_os_error(103)),
            Trouble::Connection
        );
        assert_eq!(
            trouble(&io::Error::from_raw_os_error(22)),
            Trouble::Listener
        );
    }
}
