//! The begin of a session: from an admitted request and its socket, or from a connection that an
//! instance has opened, to a running task, on the worker that has the place.

use std::rc::Rc;
use std::time::Duration;

use wharf_protocol::{Connection, Keepalive, Role, deflate};

use super::{PeerHalf, Session};
use crate::capability::client::Launch;
use crate::catalog::Route;
use crate::dispatch::{Dispatcher, Seat, Ticket, Use};
use crate::executor::Executor;
use crate::id::random_u64;
use crate::mailbox::{Lane, Outbox, OutboxParts, Stop, Work};
use crate::wire::{DetachedSocket, Socket, Wire};

/// How long a finished session waits for the peer's end of the stream.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// Reads in a row before other sessions of the thread get their turn.
pub(super) const READS_A_TURN: usize = 4;

thread_local! {
    static SESSIONS: Rc<Executor<Session>> = Rc::new(Executor::new());
}

/// What runs the sessions of this thread, for ever. Each worker runs it once.
pub(crate) fn run() -> impl Future<Output = ()> {
    let sessions = SESSIONS.with(Rc::clone);
    async move { sessions.run().await }
}

/// Starts a session for a request that was answered with 101, wherever its place is.
pub(crate) fn begin(
    ticket: Ticket,
    socket: Socket,
    read_ahead: Box<[u8]>,
    deflate: Option<deflate::Params>,
) {
    match ticket {
        Ticket::Here(seat) => start(seat, socket, read_ahead, deflate),
        Ticket::There(promise) => match socket.detach() {
            Ok(socket) => promise.adopt(socket, read_ahead, deflate),
            Err(error) => tracing::warn!("a connection could not change its worker: {error}"),
        },
    }
}

/// Starts a session whose socket comes from another worker.
pub(crate) fn adopt(
    dispatcher: &Dispatcher,
    number: u64,
    socket: DetachedSocket,
    read_ahead: Box<[u8]>,
    deflate: Option<deflate::Params>,
) {
    let Some(seat) = dispatcher.claim(number) else {
        return;
    };
    match socket.attach() {
        Ok(socket) => start(seat, socket, read_ahead, deflate),
        Err(error) => tracing::warn!("a connection could not change its worker: {error}"),
    }
}

/// Starts the session of a connection that an instance of this worker has opened.
pub(crate) fn launch(dispatcher: &Dispatcher, launch: Launch) {
    let Launch {
        instance,
        opened,
        place,
        answer,
        trace,
    } = launch;
    // It has ended since, and whoever waits for the answer with it.
    let Some(usage) = dispatcher.use_opened(instance) else {
        return;
    };
    let hosted = usage.hosted();
    let route = hosted.route();
    let lane = dispatcher.lane();
    let outbox = Outbox::new(OutboxParts {
        id: lane.next_session(),
        wire: Wire::new(
            opened.socket,
            connection(Role::Client, &route, opened.deflate, lane),
        ),
        route: dispatcher.route_lane(&route),
        request: None,
        subprotocol: opened.subprotocol.map(String::into_boxed_str),
        may_wait: hosted.is_exclusive(),
        facts: None,
        is_opened: true,
    });
    hosted.members().insert(outbox.clone());
    dispatcher.count_session(hosted, true);
    if let Some(handshake) = trace {
        dispatcher.trace_session(&outbox, &route, handshake);
    }
    // A handler knows the session by the answer.
    if hosted.converses() {
        let _ = hosted.inbox().push(Work::Open(outbox.clone()));
    }
    if let Some(cause) = dispatcher.draining() {
        outbox.stop(Stop::Gracefully(cause));
    } else if hosted.is_closing() || dispatcher.has_left(&route) {
        outbox.stop(Stop::Gracefully(wharf_protocol::Cause::Restart));
    }
    // The call that opened it has failed meanwhile, and its guest would never know the session.
    if answer.send(outbox.id()).is_err() {
        outbox.stop(Stop::Now(wharf_protocol::Cause::Unattended));
    }
    let session = Box::new(Session::new(dispatcher, outbox, usage, opened.read_ahead));
    tokio::task::spawn_local(async move {
        session.await;
        drop(place);
    });
}

fn connection(
    role: Role,
    route: &Route,
    deflate: Option<deflate::Params>,
    lane: &Lane,
) -> Connection {
    let settings = &route.websocket;
    let keepalive = Keepalive {
        ping_interval: settings.ping_interval,
        timeout: settings.timeout,
    };
    let (config, now) = (route.protocol.clone(), lane.clock.now());
    Connection::new(role, config, keepalive, deflate, now, random_u64())
}

fn start(seat: Seat, socket: Socket, read_ahead: Box<[u8]>, deflate: Option<deflate::Params>) {
    let Seat {
        dispatcher,
        usage,
        route,
        request,
        subprotocol,
        facts,
        trace,
    } = seat;
    let lane = dispatcher.lane().clone();
    let connection = connection(Role::Server, &route, deflate, &lane);
    let hosted = usage.hosted().clone();
    let outbox = Outbox::new(OutboxParts {
        id: lane.next_session(),
        wire: Wire::new(socket, connection),
        route: dispatcher.route_lane(&route),
        request,
        subprotocol: subprotocol.map(String::into_boxed_str),
        may_wait: hosted.is_exclusive(),
        facts,
        is_opened: false,
    });
    hosted.members().insert(outbox.clone());
    dispatcher.count_session(&hosted, true);
    if let Some(handshake) = trace {
        dispatcher.trace_session(&outbox, &route, handshake);
    }
    if hosted.inbox().push(Work::Open(outbox.clone())).is_err() {
        dispatcher.release(&hosted, &outbox);
        let incident = crate::id::IncidentId::random().to_string();
        outbox.stop(Stop::Now(wharf_protocol::Cause::HandlerFailed { incident }));
    } else if let Some(cause) = dispatcher.draining() {
        outbox.stop(Stop::Gracefully(cause));
    } else if hosted.is_closing() || dispatcher.has_left(&route) {
        outbox.stop(Stop::Gracefully(wharf_protocol::Cause::Restart));
    }
    let session = Session::new(&dispatcher, outbox, usage, read_ahead);
    SESSIONS.with(|sessions| sessions.spawn(session));
}

impl Session {
    fn new(dispatcher: &Dispatcher, outbox: Outbox, usage: Use, read_ahead: Box<[u8]>) -> Self {
        Self {
            outbox,
            usage: Some(usage),
            peer_half: PeerHalf::Reading(read_ahead),
            topics: dispatcher.count_task(),
            in_topics: true,
            paused: false,
        }
    }
}
