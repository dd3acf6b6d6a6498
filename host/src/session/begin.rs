//! The begin of a session: from an admitted request and its socket to a running task, on the
//! worker that has the place.

use std::time::Duration;

use wharf_protocol::{Connection, Keepalive, Role, deflate};

use super::Session;
use crate::dispatch::{Dispatcher, Seat, Ticket};
use crate::id::random_u64;
use crate::mailbox::{Outbox, OutboxParts, Stop, Work};
use crate::wire::{DetachedSocket, Socket, Wire};

/// How long a finished session waits for the peer's end of the stream.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// Reads in a row before other sessions of the thread get their turn.
pub(super) const READS_A_TURN: usize = 4;

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

fn start(seat: Seat, socket: Socket, read_ahead: Box<[u8]>, deflate: Option<deflate::Params>) {
    let Seat {
        dispatcher,
        usage,
        route,
        request,
        subprotocol,
        facts,
    } = seat;
    let lane = dispatcher.lane().clone();
    let topics = dispatcher.services().topics.clone();
    let settings = &route.websocket;
    let connection = Connection::new(
        Role::Server,
        route.protocol.clone(),
        Keepalive {
            ping_interval: settings.ping_interval,
            timeout: settings.timeout,
        },
        deflate,
        lane.clock.now(),
        random_u64(),
    );
    let hosted = usage.hosted().clone();
    let outbox = Outbox::new(OutboxParts {
        id: lane.next_session(),
        wire: Wire::new(socket, connection),
        lane,
        route: dispatcher.route_lane(&route),
        request,
        subprotocol: subprotocol.map(String::into_boxed_str),
        may_wait: hosted.is_exclusive(),
        facts,
    });
    hosted.members().insert(outbox.clone());
    dispatcher.count_session(&hosted, true);
    if hosted.inbox().push(Work::Open(outbox.clone())).is_err() {
        hosted.members().remove(outbox.id());
        dispatcher.count_session(&hosted, false);
        let incident = crate::id::IncidentId::random().to_string();
        outbox.stop(Stop::Now(wharf_protocol::Cause::HandlerFailed { incident }));
    } else if let Some(cause) = dispatcher.draining() {
        outbox.stop(Stop::Gracefully(cause));
    } else if hosted.is_closing() {
        outbox.stop(Stop::Gracefully(wharf_protocol::Cause::Restart));
    }
    let session = Session {
        outbox,
        usage: Some(usage),
        read_ahead,
        linger_until: None,
        paused: false,
        _counted: dispatcher.count_task(),
        topics: Some(topics),
    };
    // Boxed: a task of tokio's is a multiple of 128 bytes, and this keeps it at the least.
    tokio::task::spawn_local(Box::new(session));
}
