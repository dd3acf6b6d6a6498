//! A request as a guest makes it, and its way out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::fields::Fields;
use super::response::FutureResponse;
use super::types::{self, ErrorCode, Method, Scheme};
use super::{HttpView, outgoing_handler};
use crate::outbound::{self, HeaderMap, OutboundError, PathAndQuery, Prepared, Target, Timeouts};
use crate::traces::OpenSpan;

/// What a guest may write at once.
const WRITE_BYTES_MAX: usize = 64 << 10;
/// What a path with its query may have.
const PATH_BYTES_MAX: usize = 8 << 10;

/// A request that has not been sent.
#[derive(Debug)]
pub struct OutgoingRequest {
    method: Method,
    scheme: Option<Scheme>,
    authority: Option<String>,
    path: Option<String>,
    headers: HeaderMap,
    /// Where the body will come from; `None` if nobody has asked for it.
    body: Option<oneshot::Receiver<Prepared>>,
}

/// What a guest wishes of the time that an exchange takes; never longer than the host's.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions {
    connect: Option<u64>,
    first_byte: Option<u64>,
    between_bytes: Option<u64>,
}

/// A request's body while it is written.
#[derive(Debug)]
pub struct OutgoingBody {
    /// Shared with the stream that writes it; one thread uses both.
    prepared: Arc<Mutex<Prepared>>,
    /// The stream has been given away.
    is_written: bool,
    /// What the headers say.
    length: Option<u64>,
    to: oneshot::Sender<Prepared>,
}

/// Where a guest writes a body.
struct BodyWriter(Arc<Mutex<Prepared>>);

impl OutputStream for BodyWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut prepared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let appended = prepared.append(&bytes);
        appended.map_err(|error| StreamError::LastOperationFailed(error.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for BodyWriter {
    async fn ready(&mut self) {}
}

impl HttpView<'_> {
    /// Begins the exchange that a guest asks for.
    fn begin(
        &self,
        request: OutgoingRequest,
        options: RequestOptions,
    ) -> Result<FutureResponse, ErrorCode> {
        let is_secure = match &request.scheme {
            None | Some(Scheme::Https) => true,
            Some(Scheme::Http) => false,
            Some(Scheme::Other(_)) => return Err(ErrorCode::HttpProtocolError),
        };
        let state = &*self.state;
        let authority = request.authority.as_deref().unwrap_or_default();
        let target = Target::of_http(&state.route.grants, authority, is_secure)?;
        let path = request.path.as_deref().filter(|path| !path.is_empty());
        let path = PathAndQuery::try_from(path.unwrap_or("/"));
        let mut headers = request.headers;
        let method = method(&request.method)?;
        let span = self.span(&method, &target);
        if let Some(span) = &span {
            span.propagate(&mut headers);
        }
        let body = request.body.unwrap_or_else(|| self.no_body());
        let request = outbound::Request {
            method,
            path: path.map_err(|_| OutboundError::InvalidRequest)?,
            headers,
            body,
        };
        let place = state.outbound.place(&state.route.tenant)?;
        let timeouts = self.timeouts(options);
        let exchange = state.outbound.send(target, request, timeouts, place);
        Ok(FutureResponse::new(exchange, span))
    }

    /// The span of a request, if the call that makes it is recorded.
    fn span(&self, method: &outbound::Method, target: &Target) -> Option<OpenSpan> {
        let traced = self.state.traced.as_ref()?;
        let tracer = &traced.tracer;
        tracer.ask_outside(traced.instance, method.as_str(), target)
    }

    fn no_body(&self) -> oneshot::Receiver<Prepared> {
        let (to, body) = oneshot::channel();
        // The receiver stands on the next line: it cannot be gone.
        let _ = to.send(self.prepared());
        body
    }

    fn prepared(&self) -> Prepared {
        let state = &*self.state;
        Prepared::new(&state.account, state.outbound.settings().request_bytes_max)
    }

    fn timeouts(&self, options: RequestOptions) -> Timeouts {
        let settings = self.state.outbound.settings();
        let shorter = |wish: Option<u64>, max: Duration| {
            wish.map_or(max, |wish| max.min(Duration::from_nanos(wish)))
        };
        Timeouts {
            connect: shorter(options.connect, settings.connect_timeout),
            first_byte: shorter(options.first_byte, settings.first_byte_timeout),
            total: settings.total_timeout,
            between_bytes: options.between_bytes.map(Duration::from_nanos),
        }
    }
}

/// The method; `CONNECT` would make a tunnel of a request.
fn method(method: &Method) -> Result<outbound::Method, ErrorCode> {
    let other = match method {
        Method::Get => return Ok(outbound::Method::GET),
        Method::Head => return Ok(outbound::Method::HEAD),
        Method::Post => return Ok(outbound::Method::POST),
        Method::Put => return Ok(outbound::Method::PUT),
        Method::Delete => return Ok(outbound::Method::DELETE),
        Method::Options => return Ok(outbound::Method::OPTIONS),
        Method::Trace => return Ok(outbound::Method::TRACE),
        Method::Patch => return Ok(outbound::Method::PATCH),
        Method::Connect => return Err(ErrorCode::HttpRequestMethodInvalid),
        Method::Other(other) => other,
    };
    match outbound::Method::from_bytes(other.as_bytes()) {
        Ok(method) if method != outbound::Method::CONNECT => Ok(method),
        _ => Err(ErrorCode::HttpRequestMethodInvalid),
    }
}

impl outgoing_handler::Host for HttpView<'_> {
    fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> wasmtime::Result<Result<Resource<FutureResponse>, ErrorCode>> {
        let options = match options {
            Some(options) => self.table.delete(options)?,
            None => RequestOptions::default(),
        };
        let request = self.table.delete(request)?;
        match self.begin(request, options) {
            Ok(response) => Ok(Ok(self.table.push(response)?)),
            Err(code) => Ok(Err(code)),
        }
    }
}

type Set = wasmtime::Result<Result<(), ()>>;
type This = Resource<OutgoingRequest>;

impl types::HostOutgoingRequest for HttpView<'_> {
    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<This> {
        let headers = self.table.delete(headers)?.map;
        Ok(self.table.push(OutgoingRequest {
            method: Method::Get,
            scheme: None,
            authority: None,
            path: None,
            headers,
            body: None,
        })?)
    }

    fn body(&mut self, this: This) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        let prepared = self.prepared();
        let request = self.table.get_mut(&this)?;
        if request.body.is_some() {
            return Ok(Err(()));
        }
        let length = request.headers.get("content-length");
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let (to, body) = oneshot::channel();
        request.body = Some(body);
        Ok(Ok(self.table.push(OutgoingBody {
            prepared: Arc::new(Mutex::new(prepared)),
            is_written: false,
            length,
            to,
        })?))
    }

    fn method(&mut self, this: This) -> wasmtime::Result<Method> {
        Ok(self.table.get(&this)?.method.clone())
    }

    fn set_method(&mut self, this: This, wanted: Method) -> Set {
        if method(&wanted).is_err() {
            return Ok(Err(()));
        }
        self.table.get_mut(&this)?.method = wanted;
        Ok(Ok(()))
    }

    fn path_with_query(&mut self, this: This) -> wasmtime::Result<Option<String>> {
        Ok(self.table.get(&this)?.path.clone())
    }

    fn set_path_with_query(&mut self, this: This, path: Option<String>) -> Set {
        if !path.as_deref().is_none_or(is_path) {
            return Ok(Err(()));
        }
        self.table.get_mut(&this)?.path = path;
        Ok(Ok(()))
    }

    fn scheme(&mut self, this: This) -> wasmtime::Result<Option<Scheme>> {
        Ok(self.table.get(&this)?.scheme.clone())
    }

    fn set_scheme(&mut self, this: This, scheme: Option<Scheme>) -> Set {
        if matches!(scheme, Some(Scheme::Other(_))) {
            return Ok(Err(()));
        }
        self.table.get_mut(&this)?.scheme = scheme;
        Ok(Ok(()))
    }

    fn authority(&mut self, this: This) -> wasmtime::Result<Option<String>> {
        Ok(self.table.get(&this)?.authority.clone())
    }

    fn set_authority(&mut self, this: This, authority: Option<String>) -> Set {
        let fits = |text: &str| outbound::is_authority(text);
        if !authority.as_deref().is_none_or(fits) {
            return Ok(Err(()));
        }
        self.table.get_mut(&this)?.authority = authority;
        Ok(Ok(()))
    }

    fn headers(&mut self, this: This) -> wasmtime::Result<Resource<Fields>> {
        let headers = self.table.get(&this)?.headers.clone();
        Ok(self.table.push(Fields::immutable(headers))?)
    }

    fn drop(&mut self, this: This) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

/// Whether a text can stand in a request's line: what begins otherwise could name another host.
fn is_path(text: &str) -> bool {
    let begins = text.is_empty() || text.starts_with(['/', '?']);
    begins && text.len() <= PATH_BYTES_MAX && PathAndQuery::try_from(text).is_ok()
}

impl types::HostOutgoingBody for HttpView<'_> {
    fn write(
        &mut self,
        this: Resource<OutgoingBody>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let body = self.table.get_mut(&this)?;
        if std::mem::replace(&mut body.is_written, true) {
            return Ok(Err(()));
        }
        let writer: DynOutputStream = Box::new(BodyWriter(Arc::clone(&body.prepared)));
        Ok(Ok(self.table.push_child(writer, &this)?))
    }

    fn finish(
        &mut self,
        this: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> wasmtime::Result<Result<(), ErrorCode>> {
        let body = self.table.delete(this)?;
        let trailers = match trailers {
            Some(trailers) => self.table.delete(trailers)?,
            None => Fields::default(),
        };
        if !trailers.may_trail() {
            return Ok(Err(ErrorCode::HttpProtocolError));
        }
        let empty = self.prepared();
        let mut prepared = body.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut prepared = std::mem::replace(&mut *prepared, empty);
        prepared.set_trailers(trailers.map);
        let bytes = prepared.len() as u64;
        if body.length.is_some_and(|length| length != bytes) {
            return Ok(Err(ErrorCode::HttpRequestBodySize(Some(bytes))));
        }
        // Who has dropped the request needs no body.
        let _ = body.to.send(prepared);
        Ok(Ok(()))
    }

    fn drop(&mut self, this: Resource<OutgoingBody>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

type Options = Resource<RequestOptions>;

impl types::HostRequestOptions for HttpView<'_> {
    fn new(&mut self) -> wasmtime::Result<Options> {
        Ok(self.table.push(RequestOptions::default())?)
    }

    fn connect_timeout(&mut self, this: Options) -> wasmtime::Result<Option<u64>> {
        Ok(self.table.get(&this)?.connect)
    }

    fn set_connect_timeout(&mut self, this: Options, wish: Option<u64>) -> Set {
        self.table.get_mut(&this)?.connect = wish;
        Ok(Ok(()))
    }

    fn first_byte_timeout(&mut self, this: Options) -> wasmtime::Result<Option<u64>> {
        Ok(self.table.get(&this)?.first_byte)
    }

    fn set_first_byte_timeout(&mut self, this: Options, wish: Option<u64>) -> Set {
        self.table.get_mut(&this)?.first_byte = wish;
        Ok(Ok(()))
    }

    fn between_bytes_timeout(&mut self, this: Options) -> wasmtime::Result<Option<u64>> {
        Ok(self.table.get(&this)?.between_bytes)
    }

    fn set_between_bytes_timeout(&mut self, this: Options, wish: Option<u64>) -> Set {
        self.table.get_mut(&this)?.between_bytes = wish;
        Ok(Ok(()))
    }

    fn drop(&mut self, this: Options) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
