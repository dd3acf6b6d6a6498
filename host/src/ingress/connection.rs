//! One connection from its first byte to its end or its upgrade: heads with deadlines, hyper for
//! each exchange, and a close that does not cost the peer its answer.
//!
//! hyper exists only between a complete head and its answer, so a connection that is slow or idle
//! costs its own bytes and nothing else.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::Ingress;
use super::answer::Answer;
use super::asked::Asked;
use super::gate::{Gate, Signals, poll_append, poll_watch};
use super::head::{Scan, Violation};
use super::places::Kind;
use super::request::{self, Decision, Peer, Upgraded};
use crate::request::Remote;
use crate::session;
use crate::wire::Socket;

/// How long a closed connection is read on, so that unread bytes do not reset it before the peer
/// has read the answer.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Serves a connection until it ends or becomes a session.
pub(crate) async fn serve_connection(
    socket: Socket,
    remote: Remote,
    scheme: &'static str,
    ingress: Rc<Ingress>,
) {
    let Some(_place) = ingress.places.take(Kind::Connection) else {
        return turn_away(socket, &ingress).await;
    };
    let peer = Peer { remote, scheme };
    let mut open = Open {
        socket,
        bytes: Vec::new(),
    };
    let mut is_first = true;
    loop {
        let head_bytes = match open.head(&ingress, is_first).await {
            Head::Complete(head_bytes) => head_bytes,
            Head::Refused(answer) => return part(open.socket, answer, &ingress).await,
            Head::Gone => return,
        };
        is_first = false;
        // Boxed, so that a connection which waits for a head does not hold room for an exchange.
        let outcome = match Box::pin(handshake(open, head_bytes, &peer, &ingress)).await {
            Ok(outcome) => outcome,
            Err(open) => Box::pin(exchange(open, head_bytes, &peer, &ingress)).await,
        };
        open = match outcome {
            Outcome::Next(open) => open,
            Outcome::Session(upgraded, open) => {
                let Upgraded {
                    ticket,
                    deflate,
                    places: _places,
                } = upgraded;
                return session::begin(ticket, open.socket, open.bytes.into(), deflate);
            }
            Outcome::Close(open) => return linger(open.socket).await,
            Outcome::Gone => return,
        };
    }
}

/// A connection between two exchanges.
struct Open {
    socket: Socket,
    /// Read and not yet used.
    bytes: Vec<u8>,
}

enum Head {
    /// So many bytes of those read.
    Complete(usize),
    Refused(Answer),
    Gone,
}

impl Open {
    /// Waits for a complete head.
    async fn head(&mut self, ingress: &Ingress, is_first: bool) -> Head {
        let limits = ingress.places.limits();
        if !is_first && self.bytes.is_empty() {
            let next = timeout(limits.keep_alive_timeout, self.read());
            tokio::select! {
                () = ingress.drained() => return Head::Gone,
                read = next => match read {
                    Ok(Ok(1..)) => {}
                    _ => return Head::Gone,
                },
            }
        }
        let deadline = Instant::now() + limits.head_timeout;
        match timeout_at(deadline, self.complete_head(ingress)).await {
            Ok(Ok(Ok(head_bytes))) => Head::Complete(head_bytes),
            Ok(Ok(Err(violation))) => Head::Refused(violation.into()),
            Ok(Err(_)) => Head::Gone,
            Err(_) => Head::Refused(Answer::last(408, "The request's head took too long.")),
        }
    }

    async fn complete_head(&mut self, ingress: &Ingress) -> io::Result<Result<usize, Violation>> {
        let limits = ingress.places.limits().head();
        let mut scan = Scan::default();
        loop {
            match scan.advance(&self.bytes, limits) {
                Ok(None) => {}
                Ok(Some(head_bytes)) => return Ok(Ok(head_bytes)),
                Err(violation) => return Ok(Err(violation)),
            }
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|cx| poll_append(&mut self.socket, cx, &mut self.bytes)).await
    }
}

/// What an exchange ended with.
enum Outcome {
    /// The connection waits for another request.
    Next(Open),
    /// The 101 is out.
    Session(Upgraded, Open),
    /// The answer was the last one.
    Close(Open),
    /// The peer is not there any more.
    Gone,
}

/// What a pass over hyper found.
#[derive(PartialEq, Eq)]
enum Pass {
    /// What was waited for has happened.
    Reached,
    /// hyper wants no more of this connection.
    Ended,
    Failed,
}

/// Answers a head that asks for a WebSocket in the usual way, without hyper. Any other is given back.
async fn handshake(
    open: Open,
    head_bytes: usize,
    peer: &Peer,
    ingress: &Rc<Ingress>,
) -> Result<Outcome, Open> {
    let Open {
        mut socket,
        bytes: mut head,
    } = open;
    let mut ahead = head.split_off(head_bytes);
    let Some(asked) = Asked::read(&mut head) else {
        head.append(&mut ahead);
        return Err(Open {
            socket,
            bytes: head,
        });
    };
    let is_upgrading = Cell::new(false);
    let mut deciding = pin!(request::decide(ingress, peer, &asked, || is_upgrading.set(true)));
    let decided = poll_fn(|cx| {
        if let Poll::Ready(decided) = deciding.as_mut().poll(cx) {
            return Poll::Ready(Some(decided));
        }
        let has_left = poll_watch(&mut socket, cx, &mut ahead).is_ready();
        match has_left && is_upgrading.get() {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    });
    let Some(decided) = decided.await else {
        return Ok(Outcome::Gone);
    };
    let (bytes, upgraded, closes) = match decided {
        Ok(Decision::Session(switching, upgraded)) => (switching.to_bytes(), Some(upgraded), false),
        // A page is shown only to who asks for no WebSocket.
        Ok(Decision::Page(_)) => return Ok(Outcome::Gone),
        Err(answer) => {
            let closes = answer.closes();
            (answer.into_bytes(), None, closes)
        }
    };
    let writing = async {
        socket.write_all(&bytes).await?;
        socket.flush().await
    };
    if !matches!(
        timeout(ingress.places.limits().response_timeout, writing).await,
        Ok(Ok(()))
    ) {
        return Ok(Outcome::Gone);
    }
    let open = Open {
        socket,
        bytes: ahead,
    };
    Ok(match upgraded {
        Some(upgraded) => Outcome::Session(upgraded, open),
        None if closes => Outcome::Close(open),
        None => Outcome::Next(open),
    })
}

/// Hands one head to hyper and its answer to the peer.
async fn exchange(open: Open, head_bytes: usize, peer: &Peer, ingress: &Rc<Ingress>) -> Outcome {
    let signals = Rc::new(Signals::default());
    let upgraded = RefCell::new(None);
    let is_upgrading = Cell::new(false);
    let is_last = Cell::new(false);
    let gate = Gate::new(open.socket, open.bytes, head_bytes, Rc::clone(&signals));
    let answer = async |head| {
        let (response, session) =
            request::respond(ingress, peer, head, || is_upgrading.set(true)).await;
        upgraded.replace(session);
        // hyper would wait for the body that such an answer often refuses.
        is_last.set(
            response
                .headers()
                .get(CONNECTION)
                .is_some_and(|value| value == "close"),
        );
        signals.answered.set(true);
        Ok::<_, Infallible>(response)
    };
    let service = service_fn(|head| Box::pin(answer(head)));
    let limits = ingress.places.limits();
    let mut builder = http1::Builder::new();
    builder
        .auto_date_header(false)
        .keep_alive(!ingress.is_draining());
    let mut connection = builder.serve_connection(gate, service);
    let mut pass = drive(
        |cx| connection.poll_without_shutdown(cx),
        || signals.answered.get() || (signals.peer_left.get() && is_upgrading.get()),
    )
    .await;
    if pass == Pass::Reached && signals.answered.get() && !signals.flushed.get() {
        let flushed = drive(
            |cx| connection.poll_without_shutdown(cx),
            || signals.flushed.get(),
        );
        pass = timeout(limits.response_timeout, flushed)
            .await
            .unwrap_or(Pass::Failed);
    }
    let Gate { socket, ahead, .. } = connection.into_parts().io;
    let open = Open {
        socket,
        bytes: ahead,
    };
    match (pass, upgraded.take(), signals.flushed.get()) {
        (Pass::Reached | Pass::Ended, Some(upgraded), true) => Outcome::Session(upgraded, open),
        (_, Some(_), _) => Outcome::Gone,
        (Pass::Reached, None, true) if !is_last.get() => Outcome::Next(open),
        (Pass::Reached | Pass::Ended, None, true) => Outcome::Close(open),
        // hyper has answered by itself, or could not.
        (Pass::Ended | Pass::Failed, None, _) if !signals.peer_left.get() => Outcome::Close(open),
        _ => Outcome::Gone,
    }
}

/// Polls hyper until something has happened that it does not tell.
async fn drive(
    mut poll: impl FnMut(&mut std::task::Context<'_>) -> Poll<hyper::Result<()>>,
    has_happened: impl Fn() -> bool,
) -> Pass {
    poll_fn(|cx| match poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Pass::Ended),
        Poll::Ready(Err(error)) => {
            tracing::debug!("an HTTP exchange failed: {error}");
            Poll::Ready(Pass::Failed)
        }
        Poll::Pending if has_happened() => Poll::Ready(Pass::Reached),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Answers without reading, while there is a place for that.
async fn turn_away(socket: Socket, ingress: &Ingress) {
    let Some(_place) = ingress.places.take(Kind::Farewell) else {
        return;
    };
    part(
        socket,
        Answer::full("The server has too many connections."),
        ingress,
    )
    .await;
}

/// Writes a last answer and ends the connection.
fn part(mut socket: Socket, answer: Answer, ingress: &Ingress) -> impl Future<Output = ()> + use<> {
    let within = ingress.places.limits().response_timeout;
    ingress.dispatcher.count_refusal(answer.status());
    Box::pin(async move {
        let bytes = answer.into_bytes();
        let written = timeout(within, socket.write_all(&bytes)).await;
        if matches!(written, Ok(Ok(()))) {
            linger(socket).await;
        }
    })
}

/// Ends our half, then reads and forgets for a while.
async fn linger(mut socket: Socket) {
    let farewell = async {
        socket.shutdown().await?;
        let mut left = LINGER_BYTES_MAX;
        let mut bytes = vec![0; 4 << 10];
        while left > 0 {
            match socket.read(&mut bytes).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        io::Result::Ok(())
    };
    // Whatever happens, the connection is over.
    let _ = timeout(LINGER, farewell).await;
}

#[cfg(test)]
mod tests;
