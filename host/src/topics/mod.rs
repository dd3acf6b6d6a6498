//! Topics: a message is encoded once for all members and put into their outboxes, wherever they live
//! on this server.
//!
//! Each worker has one [`Topics`], with every member's name and the outboxes of its own members.
//! Workers tell each other by messages who joins, who leaves and what is published, so that each
//! answers from what it knows. Knows neither wasm nor HTTP, and grants nothing: names are checked
//! by whoever calls, and the tenant is never read from a guest.

mod arrivals;
mod budget;
mod envelope;
mod history;
mod hub;
mod position;
mod relay;
#[cfg(test)]
mod tests;
mod topic;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use wharf_protocol::MessageKind;

use self::hub::Hub;
pub(crate) use self::position::RECOVER_SUBPROTOCOL;
use self::relay::Links;
pub(crate) use self::relay::{Parcel, RELAY_BYTES_MAX};
use self::topic::Delivery;
use crate::catalog::TopicRule;
use crate::clock::Armed;
use crate::mailbox::{Lane, Outbox};
pub(crate) use crate::metrics::TopicCounters;

/// Topics that one session may be a member of.
pub(crate) const SESSION_TOPICS_MAX: usize = 128;
/// Bytes that a member may say of itself.
pub(crate) const INFO_BYTES_MAX: usize = 1024;
/// Members that [`Topics::presence`] lists; where there are more, only their count is known.
pub(crate) const PRESENCE_MEMBERS_MAX: usize = 10_000;
/// What the histories of a tenant may cost on one worker. Beyond it messages are delivered and
/// numbered, and nothing is kept.
const TENANT_HISTORY_BYTES_MAX: usize = 64 << 20;

/// Why something was not done. Mirrors `topic-error` of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicError {
    /// The limit that it carries is reached.
    Limit(u64),
    /// The session is closing or closed.
    Closed,
}

/// What a worker's topics are made of.
pub(crate) struct TopicsParts {
    pub(crate) lane: Rc<Lane>,
    pub(crate) worker: usize,
    /// The way to every worker, this one too, in order.
    pub(crate) peers: Arc<[UnboundedSender<Parcel>]>,
    pub(crate) inlet: UnboundedReceiver<Parcel>,
    pub(crate) rules: Arc<[TopicRule]>,
    pub(crate) counters: Arc<TopicCounters>,
}

/// The topics of one worker; a clone means the same.
#[derive(Clone)]
pub(crate) struct Topics(Rc<Shared>);

struct Shared {
    hub: RefCell<Hub>,
    inlet: RefCell<UnboundedReceiver<Parcel>>,
    lane: Rc<Lane>,
    /// The task that does what other workers ask for.
    task: RefCell<Option<Waker>>,
    armed: Cell<Option<Armed>>,
}

/// What the sessions of this worker ask for. Nothing leaves before [`Topics::flush`] and the
/// release of the cork.
impl Topics {
    pub(crate) fn new(parts: TopicsParts) -> Self {
        let links = Links::new(parts.worker, &parts.peers);
        let lane = parts.lane;
        let hub = Hub::new(
            lane.clone(),
            parts.worker,
            links,
            &parts.rules,
            parts.counters,
        );
        Self(Rc::new(Shared {
            hub: RefCell::new(hub),
            inlet: RefCell::new(parts.inlet),
            lane,
            task: RefCell::default(),
            armed: Cell::new(None),
        }))
    }

    /// Makes a session a member, or changes what it says of itself.
    pub(crate) fn subscribe(
        &self,
        tenant: &Arc<str>,
        outbox: &Outbox,
        name: &str,
        info: &str,
    ) -> Result<(), TopicError> {
        self.current().subscribe(tenant, outbox, name, info)
    }

    /// Ends a session's membership, if there is one.
    pub(crate) fn unsubscribe(&self, tenant: &Arc<str>, session: u64, name: &str) {
        self.current().unsubscribe(tenant, session, name);
    }

    /// Ends all memberships of a session.
    pub(crate) fn leave(&self, session: u64) {
        let mut hub = self.0.hub.borrow_mut();
        if !hub.leave(session) {
            return;
        }
        // No guest call ends now that would send it.
        hub.links.flush();
        drop(hub);
        self.0.lane.cork.release();
    }

    /// Sends a message to all members but `except`; to how many it is on its way. Text has to be
    /// UTF-8.
    pub(crate) fn publish(
        &self,
        tenant: &Arc<str>,
        name: &str,
        (kind, payload): (MessageKind, &[u8]),
        except: Option<u64>,
    ) -> Result<u64, TopicError> {
        let delivery = Delivery {
            kind,
            payload,
            except,
            at: None,
        };
        let mut hub = self.current();
        let due = hub.due();
        let answer = hub.publish(tenant, name, delivery);
        if hub.due() != due {
            self.wake();
        }
        answer
    }

    /// The members, by session number, with what they say of themselves; if there are not too many.
    pub(crate) fn presence(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Vec<(u64, Arc<str>)>, TopicError> {
        let hub = self.current();
        let Some(topic) = hub.topic(tenant, name) else {
            return Ok(Vec::new());
        };
        if topic.members() > PRESENCE_MEMBERS_MAX {
            return Err(TopicError::Limit(PRESENCE_MEMBERS_MAX as u64));
        }
        let members = topic
            .roster()
            .map(|(session, info)| (session, info.clone()));
        Ok(members.collect())
    }

    /// The tenant's topics behind `after`, by name, with how many members each has. Looks at all of
    /// them, so it is for people.
    pub(crate) fn names(&self, tenant: &str, after: &str, limit: usize) -> Vec<(Arc<str>, usize)> {
        let hub = self.current();
        let all = hub.tenants.get(tenant).into_iter();
        let all = all.flat_map(|tenant| &tenant.topics);
        let behind = all.filter(|(name, topic)| ***name > *after && topic.members() > 0);
        let mut names: Vec<_> = behind
            .map(|(name, topic)| (name.clone(), topic.members()))
            .collect();
        names.sort_unstable();
        names.truncate(limit);
        names
    }

    /// How many members there are.
    pub(crate) fn count(&self, tenant: &str, name: &str) -> u64 {
        let hub = self.current();
        hub.topic(tenant, name)
            .map_or(0, |topic| topic.members() as u64)
    }

    /// From now on nobody is told who leaves: all are asked to.
    pub(crate) fn drain(&self) {
        self.0.hub.borrow_mut().is_draining = true;
    }

    /// Sends other workers what they are to know: what a call caused leaves together.
    pub(crate) fn flush(&self) {
        self.0.hub.borrow_mut().links.flush();
    }

    /// The topics, with all that other workers have said until now. What was said before somebody
    /// could know of it here is therefore known here too.
    fn current(&self) -> std::cell::RefMut<'_, Hub> {
        let mut hub = self.0.hub.borrow_mut();
        let mut inlet = self.0.inlet.borrow_mut();
        while let Ok(parcel) = inlet.try_recv() {
            hub.take_in(parcel);
            self.wake();
        }
        hub
    }

    fn wake(&self) {
        if let Some(task) = self.0.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }
}

impl Topics {
    /// The topics of a server with one worker and no rules.
    pub(crate) fn alone(lane: Rc<Lane>) -> Self {
        let (peer, inlet) = tokio::sync::mpsc::unbounded_channel();
        Self::new(TopicsParts {
            lane,
            worker: 0,
            peers: [peer].into(),
            inlet,
            rules: [].into(),
            counters: Arc::default(),
        })
    }
}

/// The task that does what other workers ask for.
impl Topics {
    /// Runs for ever. Each worker runs this once.
    pub(crate) async fn run(&self) {
        loop {
            poll_fn(|context| self.poll_work(context)).await;
            self.work();
            tokio::task::yield_now().await;
        }
    }

    /// Does one turn of it.
    fn work(&self) {
        let mut hub = self.0.hub.borrow_mut();
        hub.work();
        hub.links.flush();
        drop(hub);
        self.0.lane.cork.release();
    }

    fn poll_work(&self, context: &mut Context<'_>) -> Poll<()> {
        *self.0.task.borrow_mut() = Some(context.waker().clone());
        let mut hub = self.0.hub.borrow_mut();
        // A channel that is closed has nothing more to say: the server is ending.
        while let Poll::Ready(Some(parcel)) = self.0.inlet.borrow_mut().poll_recv(context) {
            hub.take_in(parcel);
        }
        let clock = &self.0.lane.clock;
        let now = clock.now();
        if hub.has_work(now) {
            return Poll::Ready(());
        }
        let armed = self.0.armed.take().filter(|armed| armed.due() > now);
        match hub.due() {
            Some(due) if armed.is_none_or(|armed| armed.due() > due) => {
                if let Some(armed) = armed {
                    clock.disarm(armed);
                }
                self.0
                    .armed
                    .set(Some(clock.arm(due, context.waker().clone())));
            }
            _ => self.0.armed.set(armed),
        }
        Poll::Pending
    }
}
