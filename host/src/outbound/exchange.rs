//! One request and its response over a connection of its own. Redirects are not followed, nothing is
//! cached, no connection is used twice.
//!
//! A task of its own drives it; it ends when the exchange is over, its time is up, or whoever asked
//! lets go of it. At most one piece of the response waits to be taken.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, TRAILER, TRANSFER_ENCODING};
use hyper::http::uri::PathAndQuery;
use hyper::http::{HeaderMap, HeaderValue, Method};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::dial::Line;
use super::{Outbound, OutboundError, Place, Prepared, Target};

/// What a response's head may have, and the buffer of a connection.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;
pub(super) const HEADERS_MAX: usize = 100;
/// Read at once.
const READ_BYTES: usize = 8 << 10;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
    /// The whole body, once the handler has finished it.
    pub(crate) body: oneshot::Receiver<Prepared>,
}

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) total: Duration,
    /// From one piece of the body to the next.
    pub(crate) between_bytes: Option<Duration>,
}

/// The head of what came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
}

type Piece = Result<Bytes, OutboundError>;

/// A request under way. Dropping the task ends it.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) head: oneshot::Receiver<Result<Response, OutboundError>>,
    pub(crate) body: mpsc::Receiver<Piece>,
    /// What came behind the body, once all of it was taken or let go of.
    pub(crate) trailers: oneshot::Receiver<Result<HeaderMap, OutboundError>>,
    pub(crate) task: Task,
}

/// Ends what it stands for when it is dropped.
#[derive(Debug)]
pub(crate) struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Outbound {
    /// Begins an exchange in a task of its own.
    pub(crate) fn send(
        &self,
        target: Target,
        request: Request,
        timeouts: Timeouts,
        place: Place,
    ) -> Exchange {
        let (head_to, head) = oneshot::channel();
        let (body_to, body) = mpsc::channel(1);
        let (trailers_to, trailers) = oneshot::channel();
        let outbound = self.clone();
        let task = tokio::spawn(async move {
            let deadline = Instant::now() + timeouts.total;
            let mut answer = Answer {
                head: Some(head_to),
                body: body_to,
                trailers: trailers_to,
                body_bytes_max: outbound.settings().response_bytes_max,
                between_bytes: timeouts.between_bytes,
            };
            let work = outbound.converse(&target, &place, request, timeouts, &mut answer);
            let outcome = timeout_at(deadline, work).await;
            // What is left to say needs no connection.
            drop(place);
            match outcome.unwrap_or(Err(OutboundError::ResponseTimeout)) {
                // Who does not ask for trailers has dropped the other end.
                Ok(trailers) => drop(answer.trailers.send(Ok(trailers))),
                Err(error) => answer.fail(error).await,
            }
        });
        Exchange {
            head,
            body,
            trailers,
            task: Task(task),
        }
    }

    async fn converse(
        &self,
        target: &Target,
        place: &Place,
        request: Request,
        timeouts: Timeouts,
        answer: &mut Answer,
    ) -> Result<HeaderMap, OutboundError> {
        let body = request.body.await;
        let body = body.map_err(|_| OutboundError::RequestUnfinished)?;
        let connect = Instant::now() + timeouts.connect;
        let line = self.dial(target, place, connect).await?;
        let mut headers = request.headers;
        // hyper says how long the body is; a second word on it could differ.
        headers.remove(CONTENT_LENGTH);
        headers.insert(HOST, host(target)?);
        let mut outgoing = hyper::Request::new(framed(body, &mut headers)?);
        *outgoing.method_mut() = request.method;
        *outgoing.uri_mut() = request.path.into();
        *outgoing.headers_mut() = headers;
        let connected = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(Wire(line))
            .await;
        let (mut sender, connection) = connected.map_err(|error| http_error(&error))?;
        let first_byte = Instant::now() + timeouts.first_byte;
        driven(connection, async move {
            let response = timeout_at(first_byte, sender.send_request(outgoing)).await;
            let response = response.map_err(|_| OutboundError::FirstByteTimeout)?;
            let response = response.map_err(|error| http_error(&error))?;
            answer.pass(response).await
        })
        .await
    }
}

/// A request's body; one with trailers has to know them before.
type Body = Either<Full<Bytes>, WithTrailers<Full<Bytes>, Ready<Option<Trailers>>>>;
type Trailers = Result<HeaderMap, Infallible>;

/// The body as it is sent. Trailers can follow a chunked body only, and are named before it (RFC
/// 9110, section 6.6.2).
fn framed(body: Prepared, headers: &mut HeaderMap) -> Result<Body, OutboundError> {
    let (bytes, trailers) = body.take();
    let body = Full::from(bytes);
    if trailers.is_empty() {
        return Ok(Either::Left(body));
    }
    let names: Vec<&str> = trailers.keys().map(|name| name.as_str()).collect();
    let names = HeaderValue::from_str(&names.join(", "));
    headers.insert(TRAILER, names.map_err(|_| OutboundError::InvalidRequest)?);
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    Ok(Either::Right(body.with_trailers(ready(Some(Ok(trailers))))))
}

/// The Host header: with the port if it is not the scheme's.
pub(super) fn host(target: &Target) -> Result<HeaderValue, OutboundError> {
    let host = if target.host.contains(':') {
        format!("[{}]", target.host)
    } else {
        target.host.clone()
    };
    let usual = if target.is_secure { 443 } else { 80 };
    let text = if target.port == usual {
        host
    } else {
        format!("{host}:{}", target.port)
    };
    HeaderValue::from_str(&text).map_err(|_| OutboundError::InvalidRequest)
}

/// Runs `work`, and the connection as long as it lasts.
pub(super) async fn driven<T>(connection: impl Future, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return done,
        _ = connection => {}
    }
    work.await
}

pub(super) fn http_error(error: &hyper::Error) -> OutboundError {
    if error.is_parse_too_large() {
        OutboundError::HeadTooLarge(HEAD_BYTES_MAX as u32)
    } else if error.is_parse() {
        OutboundError::Protocol
    } else {
        OutboundError::Terminated
    }
}

/// Where the response goes.
struct Answer {
    /// Until the head was passed on.
    head: Option<oneshot::Sender<Result<Response, OutboundError>>>,
    body: mpsc::Sender<Piece>,
    trailers: oneshot::Sender<Result<HeaderMap, OutboundError>>,
    body_bytes_max: usize,
    between_bytes: Option<Duration>,
}

impl Answer {
    /// Passes a response on, piece by piece; what came behind them. Who has let go of the body may
    /// still wait for that; who has let go of everything has ended this task.
    async fn pass(
        &mut self,
        response: hyper::Response<Incoming>,
    ) -> Result<HeaderMap, OutboundError> {
        let (parts, mut body) = response.into_parts();
        let head = Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
        };
        if let Some(to) = self.head.take() {
            let _ = to.send(Ok(head));
        }
        let mut left = self.body_bytes_max;
        while let Some(frame) = self.next(&mut body).await? {
            let piece = match frame.into_data() {
                Ok(piece) => piece,
                // Nothing comes behind them.
                Err(frame) => return Ok(frame.into_trailers().unwrap_or_default()),
            };
            let Some(rest) = left.checked_sub(piece.len()) else {
                return Err(OutboundError::ResponseTooLarge(self.body_bytes_max as u64));
            };
            left = rest;
            if !piece.is_empty() {
                let _ = self.body.send(Ok(piece)).await;
            }
        }
        Ok(HeaderMap::new())
    }

    /// What comes next of the body. How long the guest takes for what came before does not count.
    async fn next(&self, body: &mut Incoming) -> Result<Option<Frame<Bytes>>, OutboundError> {
        let frame = match self.between_bytes {
            Some(between) => timeout(between, body.frame()).await,
            None => Ok(body.frame().await),
        };
        let frame = frame.map_err(|_| OutboundError::StoodStill)?;
        frame.transpose().map_err(|error| http_error(&error))
    }

    async fn fail(self, error: OutboundError) {
        match self.head {
            Some(to) => drop(to.send(Err(error))),
            // The connection is closed by now: only this word waits to be taken.
            None => {
                let _ = self.body.send(Err(error)).await;
                let _ = self.trailers.send(Err(error));
            }
        }
    }
}

/// A connection as hyper wants it.
pub(super) struct Wire(pub(super) Line);

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES];
        let room = buf.remaining().min(READ_BYTES);
        let mut read = ReadBuf::new(&mut bytes[..room]);
        std::task::ready!(Pin::new(&mut self.get_mut().0).poll_read(cx, &mut read))?;
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
