//! Admission of a request: a place with the instance that will serve it, and the handler's own
//! word on the handshake. Happens before the handshake is answered.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use wharf_protocol::deflate;

use super::hosted::Use;
use super::{Dispatcher, placement};
use crate::catalog::{Route, Side};
use crate::fault::{Fault, HostFault, Incident};
use crate::guest::{Acceptance, Rejection};
use crate::mailbox::{Connecting, Facts, SendError, Work};
use crate::request::Request;
use crate::topics::RECOVER_SUBPROTOCOL;
use crate::trace_context::TraceContext;
use crate::wire::DetachedSocket;

/// Seconds after which a client may try again when the server is full or going away.
const RETRY_AFTER_SECONDS: u32 = 5;

/// An HTTP answer instead of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) retry_after_seconds: Option<u32>,
}

/// A request that may become a session.
pub(crate) struct Admission {
    pub(crate) subprotocol: Option<String>,
    /// What the handler adds to the response.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Dropping it gives the place back.
    pub(crate) ticket: Ticket,
}

/// A place with an instance, here or on another worker.
pub(crate) enum Ticket {
    Here(Seat),
    There(Promise),
}

/// A place on this worker.
pub(crate) struct Seat {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) usage: Use,
    pub(crate) route: Arc<Route>,
    /// `None` where the guest has no means to ask for it.
    pub(crate) request: Option<Request>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) facts: Option<Box<Facts>>,
    /// Where the handshake's span stands, if it is recorded.
    pub(crate) trace: Option<TraceContext>,
}

/// A place on another worker, kept there under a number.
pub(crate) struct Promise {
    number: u64,
    owner: Option<UnboundedSender<PeerCommand>>,
}

/// What one worker asks of another.
pub(crate) enum PeerCommand {
    /// Admit a request; the socket stays where it is.
    Admit {
        route: Arc<Route>,
        request: Request,
        trace: Option<TraceContext>,
        reply: oneshot::Sender<Result<Promised, Refusal>>,
    },
    /// Take over the socket of an admitted request.
    Adopt {
        number: u64,
        socket: DetachedSocket,
        read_ahead: Box<[u8]>,
        deflate: Option<deflate::Params>,
    },
    /// The client of an admitted request has left.
    Release { number: u64 },
}

/// The answer to [`PeerCommand::Admit`].
pub(crate) struct Promised {
    number: u64,
    subprotocol: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Promised {
    /// The number under which the place is kept.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Promise {
    /// Sends the socket to the worker that has the place.
    pub(crate) fn adopt(
        mut self,
        socket: DetachedSocket,
        read_ahead: Box<[u8]>,
        deflate: Option<deflate::Params>,
    ) {
        if let Some(owner) = self.owner.take() {
            let number = self.number;
            // A worker that is gone has dropped its sessions; this one goes the same way.
            let _ = owner.send(PeerCommand::Adopt {
                number,
                socket,
                read_ahead,
                deflate,
            });
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take() {
            let _ = owner.send(PeerCommand::Release {
                number: self.number,
            });
        }
    }
}

impl Dispatcher {
    /// Finds a place for a request and asks the handler about it. `trace`: where the handshake's
    /// span stands, if it is recorded.
    pub(crate) async fn admit(
        &self,
        route: &Arc<Route>,
        request: Request,
        trace: Option<TraceContext>,
    ) -> Result<Admission, Refusal> {
        let peers = &self.0.peers;
        let place = placement::place(route, &request, self.0.worker, peers.len());
        if place.worker == self.0.worker {
            let asked = (request, trace);
            let (seat, headers) = self.admit_here(place.key, route, asked).await?;
            let subprotocol = seat.subprotocol.clone();
            return Ok(Admission {
                subprotocol,
                headers,
                ticket: Ticket::Here(seat),
            });
        }
        let (reply, answer) = oneshot::channel();
        let route = route.clone();
        let owner = &peers[place.worker];
        let sent = owner.send(PeerCommand::Admit {
            route,
            request,
            trace,
            reply,
        });
        sent.map_err(|_| Refusal::going_away())?;
        let promised = answer.await.map_err(|_| Refusal::going_away())??;
        let promise = Promise {
            number: promised.number,
            owner: Some(owner.clone()),
        };
        Ok(Admission {
            subprotocol: promised.subprotocol,
            headers: promised.headers,
            ticket: Ticket::There(promise),
        })
    }

    /// Admits for another worker, and keeps the place under a number.
    pub(crate) async fn promise(
        &self,
        route: Arc<Route>,
        request: Request,
        trace: Option<TraceContext>,
    ) -> Result<Promised, Refusal> {
        let workers = self.0.peers.len();
        let place = placement::place(&route, &request, self.0.worker, workers);
        let asked = (request, trace);
        let (seat, headers) = self.admit_here(place.key, &route, asked).await?;
        let number = self.lane().next_session();
        let subprotocol = seat.subprotocol.clone();
        self.0.promised.borrow_mut().insert(number, seat);
        Ok(Promised {
            number,
            subprotocol,
            headers,
        })
    }

    /// Hands out a promised place, once.
    pub(crate) fn claim(&self, number: u64) -> Option<Seat> {
        self.0.promised.borrow_mut().remove(&number)
    }

    async fn admit_here(
        &self,
        key: Option<placement::InstanceKey>,
        route: &Arc<Route>,
        (request, trace): (Request, Option<TraceContext>),
    ) -> Result<(Seat, Vec<(String, Vec<u8>)>), Refusal> {
        if self.draining().is_some() || self.has_left(route) {
            return Err(Refusal::going_away());
        }
        let side = self.side_for(&key, route, &request);
        let asked = (&request, trace);
        let (usage, answer) = match self.ask((&key, side), route, asked).await? {
            Some(answered) => answered,
            // It ended before it came to this request, by no fault of it: a fresh one will do.
            None => {
                (self.ask((&key, side), route, asked).await?).ok_or_else(Refusal::going_away)?
            }
        };
        let acceptance = answer.map_err(Refusal::by_handler)?;
        let Acceptance {
            subprotocol,
            headers,
            tags,
            attachment,
        } = acceptance;
        if let Some(chosen) = &subprotocol
            && !request.said().subprotocols.contains(&chosen.as_str())
        {
            return Err(Refusal::unusable(
                route,
                "chose a subprotocol that was not offered",
            ));
        }
        let facts = attached(tags, &attachment)
            .map_err(|_| Refusal::unusable(route, "attached more than a session may carry"))?;
        let subprotocol = subprotocol.or_else(|| request.subprotocol().map(str::to_owned));
        let asks = usage.hosted().program().asks_for_requests();
        // What the client has seen of topics is asked for when it subscribes.
        let recovers = subprotocol.as_deref() == Some(RECOVER_SUBPROTOCOL);
        let request = (asks || recovers).then_some(request);
        // The instance may be of another version than the route that was found.
        let (dispatcher, route) = (self.clone(), usage.hosted().route());
        Ok((
            Seat {
                dispatcher,
                usage,
                route,
                request,
                subprotocol,
                facts,
                trace,
            },
            headers,
        ))
    }

    /// Asks the instance about a handshake; `None` if it ended before it answered. Goes through the
    /// inbox, so that the answer comes after all that the instance has to do before.
    async fn ask(
        &self,
        (key, side): (&Option<placement::InstanceKey>, Side),
        route: &Route,
        (request, trace): (&Request, Option<TraceContext>),
    ) -> Result<Option<(Use, Result<Acceptance, Rejection>)>, Refusal> {
        let Some(hosted) = self.instance_for(key.clone(), side, route) else {
            return Err(Refusal::plain(404, "There is no WebSocket here.\n"));
        };
        let usage = Use::new(hosted);
        let (answer, answered) = oneshot::channel();
        let connecting = Connecting {
            request: request.clone(),
            trace,
            answer,
        };
        let queued = usage.hosted().inbox().push(Work::Connect(connecting));
        let Ok(()) = queued else { return Ok(None) };
        match answered.await {
            Ok(Ok(answer)) => Ok(Some((usage, answer))),
            Ok(Err(incident)) => Err(Refusal::for_incident(&incident)),
            Err(_) => Ok(None),
        }
    }
}

/// What the acceptance attaches to the session; nothing costs nothing.
fn attached(tags: Vec<String>, attachment: &[u8]) -> Result<Option<Box<Facts>>, SendError> {
    if tags.is_empty() && attachment.is_empty() {
        return Ok(None);
    }
    let mut facts = Box::<Facts>::default();
    facts.set_tags(tags)?;
    facts.set_attachment(attachment)?;
    Ok(Some(facts))
}

impl Refusal {
    /// The handler's acceptance cannot be kept.
    fn unusable(route: &Route, what: &str) -> Self {
        tracing::warn!(
            route = route.pattern,
            "the handler {what}; the client got 500"
        );
        Self::plain(500, &format!("The handler {what}.\n"))
    }

    /// A short text for the person who looks at it.
    pub(crate) fn plain(status: u16, text: &str) -> Self {
        let headers = vec![(
            "content-type".to_owned(),
            b"text/plain; charset=utf-8".to_vec(),
        )];
        Self {
            status,
            headers,
            body: text.into(),
            retry_after_seconds: None,
        }
    }

    /// The server takes no new sessions now.
    pub(crate) fn going_away() -> Self {
        let retry_after_seconds = Some(RETRY_AFTER_SECONDS);
        Self {
            retry_after_seconds,
            ..Self::plain(503, "The server takes no new sessions now.\n")
        }
    }

    fn by_handler(rejection: Rejection) -> Self {
        let Rejection {
            status,
            headers,
            body,
        } = rejection;
        Self {
            status,
            headers,
            body,
            retry_after_seconds: None,
        }
    }

    fn for_incident(Incident { id, fault }: &Incident) -> Self {
        match fault {
            Fault::Host(HostFault::InstancesExhausted) => {
                let retry_after_seconds = Some(RETRY_AFTER_SECONDS);
                Self {
                    retry_after_seconds,
                    ..Self::plain(503, "The server is full.\n")
                }
            }
            Fault::Host(HostFault::OverBudget(limit)) => {
                let retry_after_seconds = Some(RETRY_AFTER_SECONDS);
                let what = limit.label();
                let text = format!("The tenant of this address is at its limit of {what}.\n");
                Self {
                    retry_after_seconds,
                    ..Self::plain(503, &text)
                }
            }
            Fault::Guest(_) | Fault::Host(_) => {
                Self::plain(500, &format!("The handler failed. Incident {id}\n"))
            }
        }
    }
}
