//! The interface `wharf:websocket/client` (wit/client.wit): WebSockets that a guest opens.
//!
//! Checks what the guest asks for and whether it was granted; how a connection is made is
//! `outbound`'s. What was opened is sent up, to whoever makes sessions: this makes none.

use std::sync::Arc;
use std::time::Duration;

use send_wrapper::SendWrapper;
use tokio::sync::{mpsc, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, WasmStr};
use wharf_protocol::handshake::ClientHandshake;

use super::{HostView, Surroundings, http};
use crate::id::random_u64;
use crate::outbound::{Opened, Opening, OutboundError, PathAndQuery, Place, Target, is_authority};
use crate::trace_context::TraceContext;
use crate::traces::OpenSpan;

/// The interface's name in a component's imports.
const INTERFACE: &str = "wharf:websocket/client@0.1.0";

/// Its functions, as the contract names them.
pub(crate) const FUNCTIONS: &[&str] = &["connect", "list"];

const URL_BYTES_MAX: usize = 8 << 10;
/// What all offered subprotocols may have together.
const SUBPROTOCOLS_BYTES_MAX: usize = 4 << 10;
/// What the handshake itself says begins so.
const HANDSHAKE_HEADERS: &str = "sec-websocket-";
/// The answer of a server that agrees (RFC 6455, section 4.1).
const SWITCHING_PROTOCOLS: u16 = 101;

/// A connection that an instance has opened, on its way to becoming one of its sessions.
pub(crate) struct Launch {
    /// The instance's serial number.
    pub(crate) instance: u64,
    pub(crate) opened: Opened,
    /// Held as long as the connection lasts.
    pub(crate) place: Place,
    /// The session's number.
    pub(crate) answer: oneshot::Sender<u64>,
    /// Where its handshake stands, if that is recorded.
    pub(crate) trace: Option<TraceContext>,
}

/// Where a worker's launches go: at most one for each call that is under way.
pub(crate) type Launches = mpsc::UnboundedSender<Launch>;

/// What a guest may say about a connection.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Options {
    subprotocols: Vec<String>,
    headers: Vec<(String, Vec<u8>)>,
    #[component(name = "timeout-milliseconds")]
    timeout_milliseconds: Option<u64>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "invalid-url")]
    InvalidUrl,
    #[component(name = "invalid-subprotocol")]
    InvalidSubprotocol,
    #[component(name = "invalid-header")]
    InvalidHeader,
    #[component(name = "not-granted")]
    NotGranted,
    #[component(name = "address-prohibited")]
    AddressProhibited,
    #[component(name = "too-many")]
    TooMany(u64),
    #[component(name = "name-not-found")]
    NameNotFound,
    #[component(name = "unreachable")]
    Unreachable,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "certificate")]
    Certificate,
    #[component(name = "tls")]
    Tls,
    #[component(name = "rejected")]
    Rejected(u16),
    #[component(name = "not-websocket")]
    NotWebSocket,
}

impl From<OutboundError> for Error {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::NotGranted => Self::NotGranted,
            OutboundError::AddressProhibited => Self::AddressProhibited,
            OutboundError::TooMany(max) => Self::TooMany(max),
            OutboundError::NameNotFound => Self::NameNotFound,
            OutboundError::Refused | OutboundError::Unreachable => Self::Unreachable,
            OutboundError::ConnectTimeout
            | OutboundError::FirstByteTimeout
            | OutboundError::StoodStill
            | OutboundError::ResponseTimeout => Self::Timeout,
            OutboundError::Certificate => Self::Certificate,
            OutboundError::Tls => Self::Tls,
            OutboundError::Rejected(status) => Self::Rejected(status),
            OutboundError::InvalidRequest => Self::InvalidUrl,
            // The rest of what can be wrong with an answer; a handshake has no body.
            OutboundError::NoWebSocket(_)
            | OutboundError::HeadTooLarge(_)
            | OutboundError::Terminated
            | OutboundError::Protocol
            | OutboundError::RequestTooLarge(_)
            | OutboundError::RequestUnfinished
            | OutboundError::ResponseTooLarge(_) => Self::NotWebSocket,
        }
    }
}

type Answer = Result<u64, Error>;
type Waiting<'a> = Box<dyn Future<Output = wasmtime::Result<(Answer,)>> + Send + 'a>;

/// Defines the interface.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut client = linker.instance(INTERFACE)?;
    client.func_wrap_async("connect", connect)?;
    client.func_wrap(
        "list",
        |store: StoreContextMut<'_, T>, (tag,): (Option<WasmStr>,)| {
            let tag = match &tag {
                Some(tag) => Some(tag.to_str(&store)?),
                None => None,
            };
            let members = &store.data().surroundings().members;
            Ok((members.list_opened(tag.as_deref()),))
        },
    )
}

fn connect<T: HostView>(
    store: StoreContextMut<'_, T>,
    (url, options): (WasmStr, Options),
) -> Waiting<'_> {
    Box::new(SendWrapper::new(async move {
        let around = store.data().surroundings().clone();
        let opening = prepare(&around, &url.to_str(&store)?, options);
        Ok((match opening {
            Ok(opening) => open(&around, opening).await,
            Err(error) => Err(error),
        },))
    }))
}

/// What is to be opened, if it can be and was granted.
fn prepare(around: &Surroundings, url: &str, options: Options) -> Result<Opening, Error> {
    let (is_secure, authority, path) = parts(url).ok_or(Error::InvalidUrl)?;
    let target = Target::of_websocket(&around.route.grants, authority, is_secure);
    let target = target?;
    let offered: usize = options.subprotocols.iter().map(String::len).sum();
    if offered > SUBPROTOCOLS_BYTES_MAX {
        return Err(Error::InvalidSubprotocol);
    }
    let deflate = around.route.websocket.deflate();
    let handshake = ClientHandshake::new(nonce(), options.subprotocols, deflate);
    let handshake = handshake.map_err(|_| Error::InvalidSubprotocol)?;
    let headers = http::checked_headers(&options.headers);
    let headers = headers.filter(|headers| {
        let mut names = headers.keys().map(|name| name.as_str());
        !names.any(|name| name.starts_with(HANDSHAKE_HEADERS) || name == "content-length")
    });
    Ok(Opening {
        target,
        path,
        headers: headers.ok_or(Error::InvalidHeader)?,
        handshake,
        timeout: options.timeout_milliseconds.map(Duration::from_millis),
    })
}

/// Security, host with port, and path of a URL (RFC 6455, section 3: without a fragment).
fn parts(url: &str) -> Option<(bool, &str, PathAndQuery)> {
    if url.len() > URL_BYTES_MAX || url.contains('#') {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let is_secure = match scheme.to_ascii_lowercase().as_str() {
        "wss" => true,
        "ws" => false,
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = match path.as_bytes().first() {
        None => "/".parse(),
        Some(b'?') => format!("/{path}").parse(),
        Some(_) => path.parse(),
    };
    is_authority(authority).then_some(())?;
    Some((is_secure, authority, path.ok()?))
}

fn nonce() -> [u8; 16] {
    let halves = [random_u64(), random_u64()].map(u64::to_ne_bytes);
    let mut nonce = [0; 16];
    nonce.copy_from_slice(halves.as_flattened());
    nonce
}

/// Opens a connection, and has a session made of it.
async fn open(around: &Surroundings, mut opening: Opening) -> Answer {
    let outbound = &around.services.outbound;
    let tenant = &around.route.tenant;
    let of_instance = outbound.settings().instance_websockets_max;
    if around.members.count_opened() >= of_instance {
        return Err(Error::TooMany(of_instance as u64));
    }
    let place = outbound.websocket_place(tenant)?;
    let attempt = outbound.place(tenant)?;
    let authority = opening.target.to_string();
    let mut span = span(around, &mut opening);
    let opened = outbound.open(opening, attempt).await;
    if let Some(span) = &mut span {
        match &opened {
            Ok(_) => span.set("http.response.status_code", SWITCHING_PROTOCOLS),
            Err(OutboundError::Rejected(status)) => span.set("http.response.status_code", *status),
            Err(_) => {}
        }
        if let Err(error) = &opened {
            span.fail(error.to_string());
        }
    }
    let opened = opened.map_err(|error| {
        let (route, tenant) = (&around.route.pattern, Arc::clone(tenant));
        tracing::debug!(%authority, route, %tenant, "a WebSocket was not opened: {error}");
        Error::from(error)
    })?;
    let (answer, session) = oneshot::channel();
    let launched = around.services.launches.send(Launch {
        instance: around.instance,
        opened,
        place,
        answer,
        trace: span.as_ref().and_then(OpenSpan::context),
    });
    drop(span);
    // A worker that ends takes no more, and an instance that has ended hears no answer.
    launched.map_err(|_| Error::Unreachable)?;
    session.await.map_err(|_| Error::Unreachable)
}

/// The span of a handshake, if the call that wants it is recorded; the other side is told of it.
fn span(around: &Surroundings, opening: &mut Opening) -> Option<OpenSpan> {
    let tracer = around.services.tracer.as_ref()?;
    let span = tracer.ask_outside(around.instance, "GET", &opening.target)?;
    span.propagate(&mut opening.headers);
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address() {
        for (url, expect) in [
            ("ws://a.example", (false, "a.example", "/")),
            (
                "WSS://a.example:8443/p/q?r=s",
                (true, "a.example:8443", "/p/q?r=s"),
            ),
            ("wss://[::1]:80?r", (true, "[::1]:80", "/?r")),
        ] {
            let (is_secure, authority, path) = parts(url).expect(url);
            assert_eq!((is_secure, authority, path.as_str()), expect);
        }
    }

    #[test]
    fn what_is_none() {
        let long = format!("ws://a.example/{}", "x".repeat(URL_BYTES_MAX));
        for url in [
            "",
            "a.example",
            "http://a.example/",
            "ws:/a.example",
            "ws://",
            "ws:///path",
            "ws://a.example/#fragment",
            "ws://user@a.example/",
            "ws://a.example:0/",
            "ws://a.example:99999/",
            "ws://*.example/",
            "ws://a.example/a b",
            "ws://a.example/\r\nx: y",
            &long,
        ] {
            assert!(parts(url).is_none(), "{url}");
        }
    }
}
