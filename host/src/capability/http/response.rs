//! A response as a guest waits for it and reads it. Its pieces stay with the connection until the
//! guest takes them: at most one waits.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, error::TryRecvError};
use tokio::sync::oneshot;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynInputStream, DynPollable, InputStream, Pollable, StreamError, StreamResult, subscribe,
};

use super::HttpView;
use super::fields::Fields;
use super::types::{self, ErrorCode};
use crate::outbound::{Exchange, HeaderMap, OutboundError, Response, Task};
use crate::traces::OpenSpan;

type Piece = Result<Bytes, OutboundError>;

/// A response that may not have come yet.
#[derive(Debug)]
pub struct FutureResponse {
    /// Until the response was taken.
    exchange: Option<Exchange>,
    /// Once it has come.
    head: Option<Result<Response, OutboundError>>,
    /// Until it has come, or nobody waits for it any more.
    span: Option<OpenSpan>,
}

impl FutureResponse {
    pub(super) fn new(exchange: Exchange, span: Option<OpenSpan>) -> Self {
        Self {
            exchange: Some(exchange),
            head: None,
            span,
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FutureResponse {
    async fn ready(&mut self) {
        if self.head.is_some() {
            return;
        }
        if let Some(exchange) = &mut self.exchange {
            // A task that ended without a word has lost its connection.
            let head = (&mut exchange.head).await;
            let head = head.unwrap_or(Err(OutboundError::Terminated));
            if let Some(mut span) = self.span.take() {
                match &head {
                    Ok(response) => span.set("http.response.status_code", response.status),
                    Err(error) => span.fail(format!("{error:?}")),
                }
            }
            self.head = Some(head);
        }
    }
}

/// A response whose head has come.
#[derive(Debug)]
pub struct IncomingResponse {
    status: u16,
    headers: HeaderMap,
    /// Until it was taken.
    body: Option<IncomingBody>,
}

/// What is left of an exchange.
#[derive(Debug)]
pub struct IncomingBody {
    /// Until the stream was taken.
    pieces: Option<Receiver<Piece>>,
    trailers: Late,
    task: Arc<Task>,
}

type Late = oneshot::Receiver<Result<HeaderMap, OutboundError>>;

/// Trailers that may not have come yet. What was not read of the body goes by unread meanwhile.
#[derive(Debug)]
pub struct FutureTrailers {
    /// Until they have come.
    late: Option<Late>,
    /// Until they were taken.
    came: Option<Result<HeaderMap, OutboundError>>,
    /// Lives as long as somebody waits.
    _task: Arc<Task>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for FutureTrailers {
    async fn ready(&mut self) {
        if let Some(late) = &mut self.late {
            // A task that ended without a word has lost its connection.
            let came = late.await.unwrap_or(Err(OutboundError::Terminated));
            (self.late, self.came) = (None, Some(came));
        }
    }
}

/// Where a guest reads a body.
struct BodyReader {
    pieces: Receiver<Piece>,
    /// What came and was not read yet.
    current: Option<Piece>,
    /// Lives as long as somebody reads.
    _task: Arc<Task>,
}

impl InputStream for BodyReader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.current.is_none() {
            match self.pieces.try_recv() {
                Ok(piece) => self.current = Some(piece),
                Err(TryRecvError::Empty) => return Ok(Bytes::new()),
                Err(TryRecvError::Disconnected) => return Err(StreamError::Closed),
            }
        }
        match &mut self.current {
            Some(Ok(piece)) => {
                let taken = piece.split_to(size.min(piece.len()));
                if piece.is_empty() {
                    self.current = None;
                }
                Ok(taken)
            }
            Some(Err(error)) => {
                let error = *error;
                self.current = None;
                self.pieces.close();
                Err(StreamError::LastOperationFailed(error.into()))
            }
            None => Ok(Bytes::new()),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for BodyReader {
    async fn ready(&mut self) {
        if self.current.is_none() {
            self.current = self.pieces.recv().await;
        }
    }
}

type Taken = Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>;

impl types::HostFutureIncomingResponse for HttpView<'_> {
    fn subscribe(
        &mut self,
        this: Resource<FutureResponse>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn get(&mut self, this: Resource<FutureResponse>) -> wasmtime::Result<Taken> {
        let future = self.table.get_mut(&this)?;
        if future.exchange.is_none() {
            return Ok(Some(Err(())));
        }
        let Some(head) = future.head.take() else {
            return Ok(None);
        };
        let Some(exchange) = future.exchange.take() else {
            return Ok(Some(Err(())));
        };
        let response = match head {
            Ok(response) => response,
            Err(error) => return Ok(Some(Ok(Err(error.into())))),
        };
        let body = IncomingBody {
            pieces: Some(exchange.body),
            trailers: exchange.trailers,
            task: Arc::new(exchange.task),
        };
        let response = self.table.push(IncomingResponse {
            status: response.status,
            headers: response.headers,
            body: Some(body),
        })?;
        Ok(Some(Ok(Ok(response))))
    }

    fn drop(&mut self, this: Resource<FutureResponse>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostIncomingResponse for HttpView<'_> {
    fn status(&mut self, this: Resource<IncomingResponse>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&this)?.status)
    }

    fn headers(&mut self, this: Resource<IncomingResponse>) -> wasmtime::Result<Resource<Fields>> {
        let headers = self.table.get(&this)?.headers.clone();
        Ok(self.table.push(Fields::immutable(headers))?)
    }

    fn consume(
        &mut self,
        this: Resource<IncomingResponse>,
    ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>> {
        match self.table.get_mut(&this)?.body.take() {
            Some(body) => Ok(Ok(self.table.push(body)?)),
            None => Ok(Err(())),
        }
    }

    fn drop(&mut self, this: Resource<IncomingResponse>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostIncomingBody for HttpView<'_> {
    fn stream(
        &mut self,
        this: Resource<IncomingBody>,
    ) -> wasmtime::Result<Result<Resource<DynInputStream>, ()>> {
        let body = self.table.get_mut(&this)?;
        let Some(pieces) = body.pieces.take() else {
            return Ok(Err(()));
        };
        let reader: DynInputStream = Box::new(BodyReader {
            pieces,
            current: None,
            _task: Arc::clone(&body.task),
        });
        Ok(Ok(self.table.push_child(reader, &this)?))
    }

    fn finish(
        &mut self,
        this: Resource<IncomingBody>,
    ) -> wasmtime::Result<Resource<FutureTrailers>> {
        let body = self.table.delete(this)?;
        Ok(self.table.push(FutureTrailers {
            late: Some(body.trailers),
            came: None,
            _task: body.task,
        })?)
    }

    fn drop(&mut self, this: Resource<IncomingBody>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

type Trailers = Option<Result<Result<Option<Resource<Fields>>, ErrorCode>, ()>>;

impl types::HostFutureTrailers for HttpView<'_> {
    fn subscribe(
        &mut self,
        this: Resource<FutureTrailers>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn get(&mut self, this: Resource<FutureTrailers>) -> wasmtime::Result<Trailers> {
        let future = self.table.get_mut(&this)?;
        let trailers = match (future.came.take(), future.late.is_some()) {
            (Some(trailers), _) => trailers,
            (None, true) => return Ok(None),
            (None, false) => return Ok(Some(Err(()))),
        };
        Ok(Some(Ok(match trailers {
            Ok(trailers) if trailers.is_empty() => Ok(None),
            Ok(trailers) => Ok(Some(self.table.push(Fields::immutable(trailers))?)),
            Err(error) => Err(error.into()),
        })))
    }

    fn drop(&mut self, this: Resource<FutureTrailers>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
