//! The opening of a WebSocket to a granted host, over a connection of its own: dials, asks, and
//! judges the answer. What becomes of the connection then is not its business.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::http::uri::PathAndQuery;
use hyper::http::{HeaderMap, HeaderValue, StatusCode, Version};
use tokio::time::{Instant, timeout_at};
use wharf_protocol::deflate;
use wharf_protocol::handshake::{Accepted, ClientHandshake, Header, ResponseHead};

use super::exchange::{HEAD_BYTES_MAX, HEADERS_MAX, Wire, driven, host, http_error};
use super::{Outbound, OutboundError, Place, Target};
use crate::wire::Socket;

/// A WebSocket to open.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) target: Target,
    pub(crate) path: PathAndQuery,
    /// Beside those of the handshake.
    pub(crate) headers: HeaderMap,
    pub(crate) handshake: ClientHandshake,
    /// For all of it; never longer than the settings allow.
    pub(crate) timeout: Option<Duration>,
}

/// A WebSocket whose handshake is done.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) socket: Socket,
    /// What came right behind the handshake.
    pub(crate) read_ahead: Box<[u8]>,
    /// What the server chose.
    pub(crate) subprotocol: Option<String>,
    pub(crate) deflate: Option<deflate::Params>,
}

impl Outbound {
    /// Opens a WebSocket. Dropping the future ends the attempt. `place` is kept while it lasts.
    pub(crate) async fn open(
        &self,
        opening: Opening,
        place: Place,
    ) -> Result<Opened, OutboundError> {
        let settings = self.settings();
        let now = Instant::now();
        let total = opening.timeout.unwrap_or(settings.total_timeout);
        let deadline = now + total.min(settings.total_timeout);
        let connect = deadline.min(now + settings.connect_timeout);
        let line = self.dial(&opening.target, &place, connect).await?;
        let first_byte = deadline.min(Instant::now() + settings.first_byte_timeout);
        let asked = timeout_at(first_byte, ask(Wire(line), opening)).await;
        asked.unwrap_or(Err(OutboundError::FirstByteTimeout))
    }
}

/// Asks for a WebSocket, and takes the connection back from hyper.
async fn ask(line: Wire, opening: Opening) -> Result<Opened, OutboundError> {
    let request = request(&opening)?;
    let connected = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(line)
        .await;
    let (mut sender, connection) = connected.map_err(|error| http_error(&error))?;
    driven(connection.with_upgrades(), async move {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| http_error(&error))?;
        let accepted = judge(&opening.handshake, &response)?;
        let upgraded = hyper::upgrade::on(response).await;
        let upgraded = upgraded.map_err(|error| http_error(&error))?;
        let parts = upgraded.downcast::<Wire>();
        let parts = parts.map_err(|_| OutboundError::Protocol)?;
        Ok(Opened {
            socket: Socket::try_from(parts.io.0).map_err(|_| OutboundError::Unreachable)?,
            read_ahead: parts.read_buf.as_ref().into(),
            subprotocol: accepted.subprotocol,
            deflate: accepted.deflate,
        })
    })
    .await
}

fn request(opening: &Opening) -> Result<hyper::Request<Empty<Bytes>>, OutboundError> {
    let mut request = hyper::Request::new(Empty::new());
    *request.uri_mut() = opening.path.clone().into();
    *request.headers_mut() = opening.headers.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, host(&opening.target)?);
    for (name, value) in opening.handshake.headers() {
        let value = HeaderValue::from_str(&value).map_err(|_| OutboundError::InvalidRequest)?;
        headers.insert(name, value);
    }
    Ok(request)
}

/// Whether the answer is the one that the handshake wants.
fn judge(
    handshake: &ClientHandshake,
    response: &hyper::Response<Incoming>,
) -> Result<Accepted, OutboundError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(OutboundError::Rejected(response.status().as_u16()));
    }
    let headers = response.headers().iter();
    let headers: Vec<Header<'_>> = headers
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let accepted = handshake.check(&ResponseHead {
        version: match response.version() {
            Version::HTTP_11 => (1, 1),
            _ => (1, 0),
        },
        status: response.status().as_u16(),
        headers: &headers,
    });
    accepted.map_err(|refused| OutboundError::NoWebSocket(refused.message))
}
