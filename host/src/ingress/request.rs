//! What a request asks for, and whether it may have it: route, page or session, in that order of
//! checks. Talks to the catalog and to dispatch; never touches the socket.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response};
use wharf_protocol::{deflate, handshake, origin_allowed};

use super::Ingress;
use super::answer::{self, Answer, Body, Switching};
use super::asked::Asked;
use super::places::{Kind, Place};
use crate::budget;
use crate::catalog::{Choice, Found, LookupError, NoChoice, Route};
use crate::dispatch::{Admission, Ticket};
use crate::metrics::Handshake;
use crate::request::{Remote, Request, Said};
use crate::traces::OpenSpan;

/// How long a request may wait for its handler's word; a call has its own, shorter limit, but many
/// may wait for one instance.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(30);

const NOT_AN_UPGRADE: &str = "This is a WebSocket endpoint: connect with a WebSocket client, or from a page with \
     `new WebSocket(…)`. A plain HTTP request has no answer here.";

/// A session that begins once the 101 has been written.
pub(super) struct Upgraded {
    pub(super) ticket: Ticket,
    pub(super) deflate: Option<deflate::Params>,
    /// Its place among the handshakes of the server, and of its tenant.
    pub(super) places: (Place, budget::Handshake),
}

/// Where a request came from.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) remote: Remote,
    pub(super) scheme: &'static str,
}

/// What a request gets.
pub(super) enum Decision {
    Page(Response<Body>),
    Session(Switching, Upgraded),
}

/// Answers a request that hyper has read; with 101, the session-to-be comes along.
pub(super) async fn respond(
    ingress: &Rc<Ingress>,
    peer: &Peer,
    head: hyper::Request<Incoming>,
    upgrading: impl FnOnce(),
) -> (Response<Body>, Option<Upgraded>) {
    match decide(ingress, peer, &Asked::of(&head), upgrading).await {
        Ok(Decision::Page(response)) => (response, None),
        Ok(Decision::Session(switching, upgraded)) => (switching.to_response(), Some(upgraded)),
        Err(answer) => (answer.into_response(), None),
    }
}

/// Judges a request, and finds a session its place.
pub(super) async fn decide(
    ingress: &Rc<Ingress>,
    peer: &Peer,
    asked: &Asked<'_>,
    upgrading: impl FnOnce(),
) -> Result<Decision, Answer> {
    // Recorded when it is dropped, also if the client leaves before it has an answer.
    let mut span = None;
    let decided = judge(ingress, peer, asked, (upgrading, &mut span)).await;
    if let Some(span) = &mut span {
        let status = decided.as_ref().err().map_or(101, Answer::status);
        span.set("http.response.status_code", status);
        if status >= 500 {
            span.fail("");
        }
    }
    decided.inspect_err(|answer| ingress.dispatcher.count_refusal(answer.status()))
}

/// Begins the span of a handshake, if it is one that is recorded.
fn trace(ingress: &Ingress, peer: &Peer, asked: &Asked<'_>, route: &Route) -> Option<OpenSpan> {
    let tracer = ingress.dispatcher.services().tracer.as_ref()?;
    let mut parents = asked.values("traceparent");
    // Two of them are none (W3C Trace Context, section 3.2).
    let parent = parents.next().filter(|_| parents.next().is_none());
    let mut span = tracer.handshake(parent, &route.pattern)?;
    span.set("http.request.method", "GET");
    span.set("http.route", &*route.pattern);
    span.set("url.scheme", peer.scheme);
    span.set("url.path", asked.path);
    span.set("wharf.tenant", &*route.tenant);
    Some(span)
}

async fn judge(
    ingress: &Rc<Ingress>,
    peer: &Peer,
    asked: &Asked<'_>,
    (upgrading, span): (impl FnOnce(), &mut Option<OpenSpan>),
) -> Result<Decision, Answer> {
    let host = check_message(asked)?;
    let catalog = ingress.dispatcher.catalog();
    let found = catalog
        .lookup(host, asked.path)
        .map_err(|error| match error {
            LookupError::NotFound => Answer::text(404, "Nothing is served on this path."),
            LookupError::Malformed => Answer::text(
                400,
                "The path holds a broken percent escape or a control character.",
            ),
        })?;
    let asks_for_upgrade = asked.has("upgrade") || asked.has("sec-websocket-key");
    match found.page() {
        Some(page) if !asks_for_upgrade => return show(page, asked.method).map(Decision::Page),
        Some(_) if !found.has_websocket() => return Err(no_websocket()),
        _ => {}
    }
    let upgrade = check_handshake(asked)?;
    let choice = choose(&found, &upgrade.subprotocols)?;
    *span = trace(ingress, peer, asked, choice.route);
    let lane = ingress.dispatcher.route_lane(choice.route);
    let count = |outcome| lane.counts.shake_hands(outcome);
    check_origin(asked, host, &choice).inspect_err(|_| count(Handshake::ForeignOrigin))?;
    let place = find_place(ingress).inspect_err(|_| count(Handshake::Unavailable))?;
    let allowed = lane.tenant.budget().shake_hands().map_err(over_limit);
    let allowed = allowed.inspect_err(|_| count(Handshake::OverLimit))?;
    upgrading();
    let negotiated = choice.route.websocket.deflate();
    let negotiated = negotiated.and_then(|config| deflate::negotiate(&config, &upgrade.extensions));
    let request = request_of(peer, host, asked, &choice, &upgrade.subprotocols);
    let Admission {
        subprotocol,
        headers,
        ticket,
    } = admit(ingress, choice.route, request, span).await?;
    let (deflate, extension) = negotiated.unzip();
    let mut foreign = HeaderMap::new();
    answer::add_foreign(&mut foreign, headers);
    let switching = Switching {
        accept: upgrade.accept,
        subprotocol,
        extension,
        foreign,
    };
    if !switching.is_writable() {
        return Err(Answer::last(
            500,
            "The handshake's answer could not be written.",
        ));
    }
    count(Handshake::Accepted);
    let upgraded = Upgraded {
        ticket,
        deflate,
        places: (place, allowed),
    };
    Ok(Decision::Session(switching, upgraded))
}

/// A place with the handler, and its word.
async fn admit(
    ingress: &Ingress,
    route: &Arc<Route>,
    request: Request,
    span: &Option<OpenSpan>,
) -> Result<Admission, Answer> {
    let lane = ingress.dispatcher.route_lane(route);
    let context = span.as_ref().and_then(OpenSpan::context);
    let admission = ingress.dispatcher.admit(route, request, context);
    let admission = tokio::time::timeout(ADMISSION_TIMEOUT, admission);
    let admission = admission.await.map_err(|_| {
        lane.counts.shake_hands(Handshake::Unavailable);
        Answer::full("The handler is too busy.")
    })?;
    admission.map_err(|refusal| {
        lane.counts.shake_hands(match refusal.status {
            503 => Handshake::Unavailable,
            _ => Handshake::Rejected,
        });
        Answer::refusal(refusal)
    })
}

/// What RFC 9112 asks of every request here, bodies being refused; returns the Host.
fn check_message<'a>(asked: &Asked<'a>) -> Result<&'a str, Answer> {
    let bad = |text| Err(Answer::last(400, text));
    if asked.has("transfer-encoding") {
        return bad(
            "A request with a body is not accepted here, and Transfer-Encoding announces one.",
        );
    }
    if asked.values("content-length").any(|length| length != b"0") {
        return bad(
            "A request with a body is not accepted here, and Content-Length announces one.",
        );
    }
    let mut hosts = asked.values("host");
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return bad("A request has exactly one Host header.");
    };
    let host = std::str::from_utf8(host).ok();
    let Some(host) = host.filter(|host| is_authority(host)) else {
        return bad("The Host header is no host name.");
    };
    let named = asked.authority;
    if named.is_some_and(|named| !named.eq_ignore_ascii_case(host)) {
        return bad("The target names another host than the Host header.");
    }
    if !asked.path.starts_with('/') {
        return bad("The target is no path.");
    }
    Ok(host)
}

/// A host with an optional port, and nothing that would mean something else elsewhere.
fn is_authority(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%[]:!$&'()*+,;=".contains(&byte);
    !host.is_empty() && host.bytes().all(fits)
}

fn check_handshake(asked: &Asked<'_>) -> Result<handshake::Upgrade, Answer> {
    let request = handshake::RequestHead {
        method: asked.method,
        version: asked.version,
        headers: &asked.headers,
    };
    handshake::check(&request).map_err(|refusal| {
        let plain = asked.method == Method::GET.as_str() && !asked.has("upgrade");
        let text = if plain {
            NOT_AN_UPGRADE
        } else {
            refusal.message
        };
        let mut answer = Answer::last(refusal.status, text);
        for (name, value) in refusal.headers {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                continue;
            };
            answer = answer.with(name, HeaderValue::from_static(value));
        }
        answer
    })
}

fn no_websocket() -> Answer {
    Answer::text(404, "There is no WebSocket on this path.")
}

fn choose<'c>(found: &Found<'c>, offered: &[String]) -> Result<Choice<'c>, Answer> {
    found.choose(offered).map_err(|reason| match reason {
        NoChoice::NoWebSocket => no_websocket(),
        NoChoice::Subprotocols(wanted) => {
            let wanted = wanted.join("`, `");
            Answer::last(
                400,
                &format!("Sec-WebSocket-Protocol has to offer one of `{wanted}` here."),
            )
        }
    })
}

fn check_origin(asked: &Asked<'_>, host: &str, choice: &Choice<'_>) -> Result<(), Answer> {
    let mut origins = asked.values("origin");
    let origin = origins.next();
    if origins.next().is_some() {
        return Err(Answer::last(
            400,
            "A request has at most one Origin header.",
        ));
    }
    if origin_allowed(origin, host, &choice.route.origins) {
        return Ok(());
    }
    Err(Answer::last(
        403,
        "Pages of this origin may not connect here.",
    ))
}

fn find_place(ingress: &Rc<Ingress>) -> Result<Place, Answer> {
    if ingress.is_draining() {
        return Err(Answer::full("The server takes no new sessions now."));
    }
    let places = &ingress.places;
    let sessions = ingress.dispatcher.sessions_open() + places.taken(Kind::Handshake);
    let place = places.take(Kind::Handshake);
    match place {
        Some(place) if sessions < places.limits().sessions_max => Ok(place),
        _ => Err(Answer::full("The server is full.")),
    }
}

fn over_limit(refused: budget::Refused) -> Answer {
    match refused {
        budget::Refused::Sessions => {
            Answer::full("The tenant of this address has as many sessions as it may.")
        }
        budget::Refused::Rate(wait) => {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Answer::last(
                429,
                "The tenant of this address has had as many handshakes as it may.",
            )
            .with(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
        }
    }
}

fn request_of(
    peer: &Peer,
    host: &str,
    asked: &Asked<'_>,
    choice: &Choice<'_>,
    offered: &[String],
) -> Request {
    let params = choice.params.iter();
    Request::new(&Said {
        subprotocol: choice.subprotocol.as_deref(),
        scheme: peer.scheme,
        authority: host,
        path: asked.path,
        query: asked.query,
        remote: peer.remote,
        params: params
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        subprotocols: offered.iter().map(String::as_str).collect(),
        headers: asked.headers.clone(),
    })
}

fn show(page: &crate::catalog::Page, method: &str) -> Result<Response<Body>, Answer> {
    if matches!(method, "GET" | "HEAD") {
        return Ok(answer::page(page));
    }
    let allow = HeaderValue::from_static("GET, HEAD");
    Err(Answer::text(405, "This is a page: it answers GET and HEAD.").with(header::ALLOW, allow))
}
