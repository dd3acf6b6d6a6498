//! From the admin listener's socket to a request: connections are bounded in number, heads in size,
//! and every wait has a deadline, held outside of hyper.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::office::Office;

/// Connections at once; one more is closed without a word.
const CONNECTIONS_MAX: usize = 256;
/// From the connection to the end of its first head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// From a head to its answer, with the body of the request.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// From an answer to the end of the next head, with the time that the answer takes to be read.
const NEXT_TIMEOUT: Duration = Duration::from_secs(75);
/// What is read and dropped after an answer to a request that was not read to its end.
const LINGER_BYTES_MAX: usize = 64 << 20;
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// How long no connection is accepted after an error such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked at whether the last answer has left, when another process serves.
const LOOK: Duration = Duration::from_millis(5);

/// Until when a connection has to come further, or is closed.
#[derive(Clone, Debug)]
pub(super) struct Deadline(Rc<Cell<Instant>>);

impl Deadline {
    fn new(within: Duration) -> Self {
        Self(Rc::new(Cell::new(Instant::now() + within)))
    }

    /// It has `within` from now on.
    pub(super) fn extend(&self, within: Duration) {
        self.0.set(Instant::now() + within);
    }

    async fn passed(&self) {
        loop {
            let until = self.0.get();
            sleep_until(until).await;
            if self.0.get() <= until {
                return;
            }
        }
    }
}

/// Accepts for as long as it is polled, or until another process does; then whoever was accepted is
/// answered yet.
pub(super) async fn serve(listener: TcpListener, office: Office) {
    let office = Rc::new(office);
    let connections = Rc::new(());
    loop {
        let accepted = tokio::select! {
            biased;
            () = office.status.gone() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) if Rc::strong_count(&connections) <= CONNECTIONS_MAX => {
                let (office, counted) = (Rc::clone(&office), Rc::clone(&connections));
                tokio::task::spawn_local(async move {
                    serve_connection(stream, peer, office).await;
                    drop(counted);
                });
            }
            Ok(_) => tracing::debug!("an admin connection too many"),
            Err(error) => {
                tracing::warn!("the admin listener cannot accept: {error}");
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while Rc::strong_count(&connections) > 1 {
        sleep(LOOK).await;
    }
    office.status.is_answered();
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, office: Rc<Office>) {
    // Answers are short, and a log line is to be seen when it comes.
    let _ = stream.set_nodelay(true);
    let deadline = Deadline::new(HEAD_TIMEOUT);
    let service = service_fn(|request| {
        deadline.extend(EXCHANGE_TIMEOUT);
        let (office, deadline) = (Rc::clone(&office), deadline.clone());
        Box::pin(async move {
            let response = office.serve(peer.ip(), request, &deadline).await;
            deadline.extend(NEXT_TIMEOUT);
            Ok::<_, Infallible>(response)
        })
    });
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let served = async {
        tokio::select! {
            served = poll_fn(|context| connection.poll_without_shutdown(context)) => return served,
            // The exchange that is under way is the last one.
            () = office.status.gone() => std::pin::Pin::new(&mut connection).graceful_shutdown(),
        }
        poll_fn(|context| connection.poll_without_shutdown(context)).await
    };
    tokio::select! {
        served = served => match served {
            Ok(()) => linger(connection.into_parts().io.into_inner()).await,
            Err(error) => tracing::debug!(%peer, "an admin connection failed: {error}"),
        },
        () = deadline.passed() => tracing::debug!(%peer, "an admin connection was too slow"),
    }
}

/// Closes a connection. Its client may still send what was refused unread, and would not see the answer
/// if the socket were closed over it: that is read for a while, and dropped.
async fn linger(mut stream: TcpStream) {
    let reading = async {
        stream.shutdown().await?;
        let mut dropped = [0; 4_096];
        let mut bytes = 0;
        while bytes < LINGER_BYTES_MAX {
            match stream.read(&mut dropped).await? {
                0 => break,
                count => bytes += count,
            }
        }
        std::io::Result::Ok(())
    };
    // A client that has gone already needs nothing.
    let _ = timeout(LINGER_TIMEOUT, reading).await;
}
