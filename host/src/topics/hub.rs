//! All topics of one worker, without time or waiting of their own: what the sessions here ask for.
//! What other workers ask for is in `arrivals`.
//!
//! Whoever calls sees to it that what was put into the links and the outboxes leaves.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wharf_protocol::Instant;

use super::envelope::Change;
use super::history::Published;
use super::position::{Position, seen};
use super::relay::{COMMAND_COST_BYTES, Command, Deed, Links, Toll, TopicName};
use super::topic::{Delivery, Tally, Topic};
use super::{
    INFO_BYTES_MAX, RELAY_BYTES_MAX, SESSION_TOPICS_MAX, TENANT_HISTORY_BYTES_MAX, TopicCounters,
    TopicError,
};
use crate::budget::Limit;
use crate::catalog::{TOPIC_NAME_BYTES_MAX, TopicRule, TopicSettings};
use crate::mailbox::{Lane, Outbox};
use crate::request::Request;

/// All topics of one worker.
pub(super) struct Hub {
    pub(super) lane: Rc<Lane>,
    pub(super) worker: usize,
    pub(super) links: Links,
    pub(super) tenants: HashMap<Arc<str>, Tenant>,
    /// Tenants that have commands waiting, each once.
    pub(super) turns: VecDeque<Arc<str>>,
    /// When to look at which history, once for each that keeps something.
    pub(super) expiries: BTreeSet<(Instant, TopicName)>,
    pub(super) counters: Arc<TopicCounters>,
    /// All sessions of the server are asked to leave: nobody is told of each who does.
    pub(super) is_draining: bool,
    /// The topics of each session here that has any.
    sessions: HashMap<u64, Memberships>,
    rules: Rc<[Rule]>,
}

/// A rule with its settings ready to be shared.
struct Rule {
    rule: TopicRule,
    settings: Arc<TopicSettings>,
}

/// The topics of one session.
struct Memberships {
    tenant: Arc<str>,
    names: Vec<Arc<str>>,
}

/// The topics of one tenant.
#[derive(Default)]
pub(super) struct Tenant {
    pub(super) topics: HashMap<Arc<str>, Topic>,
    /// Commands of other workers that wait for their turn.
    pub(super) arrived: VecDeque<Command>,
    /// Bytes from this worker that another has not finished with.
    under_way: Arc<AtomicUsize>,
    /// What all its histories here cost.
    pub(super) history_bytes: usize,
}

impl Hub {
    pub(super) fn new(
        lane: Rc<Lane>,
        worker: usize,
        links: Links,
        rules: &[TopicRule],
        counters: Arc<TopicCounters>,
    ) -> Self {
        let rules = rules.iter().map(|rule| Rule {
            rule: rule.clone(),
            settings: Arc::new(rule.settings.clone()),
        });
        Self {
            lane,
            worker,
            links,
            tenants: HashMap::new(),
            turns: VecDeque::new(),
            expiries: BTreeSet::new(),
            counters,
            is_draining: false,
            sessions: HashMap::new(),
            rules: rules.collect(),
        }
    }

    pub(super) fn topic(&self, tenant: &str, name: &str) -> Option<&Topic> {
        self.tenants.get(tenant)?.topics.get(name)
    }

    pub(super) fn topic_mut(&mut self, name: &TopicName) -> Option<&mut Topic> {
        let tenant = self.tenants.get_mut(&name.tenant)?;
        tenant.topics.get_mut(&name.name)
    }

    /// Makes a session of this worker a member, or changes what it says of itself.
    pub(super) fn subscribe(
        &mut self,
        tenant: &Arc<str>,
        outbox: &Outbox,
        name: &str,
        info: &str,
    ) -> Result<(), TopicError> {
        check(name.len(), TOPIC_NAME_BYTES_MAX)?;
        check(info.len(), INFO_BYTES_MAX)?;
        if !outbox.wire().connection().may_send() {
            return Err(TopicError::Closed);
        }
        let session = outbox.id();
        let topic = self.topic(tenant, name);
        let known = topic.and_then(|topic| topic.info(session));
        if known.is_some_and(|known| **known == *info) {
            return Ok(());
        }
        let is_new = known.is_none();
        if is_new {
            let names = self.sessions.get(&session).map_or(0, |one| one.names.len());
            check(names + 1, SESSION_TOPICS_MAX)?;
            let members = topic.map_or(0, Topic::members);
            check(members + 1, self.settings(tenant, name).members_max)?;
            if topic.is_none() {
                self.admit_topic(tenant)?;
            }
        }
        let others = self.links.workers() - 1;
        let cost = COMMAND_COST_BYTES + info.len();
        self.admit(tenant, others * cost)?;

        let info: Arc<str> = info.into();
        let name = self.enter(session, tenant, name, is_new);
        let (worker, lane) = (self.worker, self.lane.clone());
        let topic = self.topic_mut(&name).expect("it was entered just now");
        topic.note(worker, session, info.clone());
        let recovers = is_new && topic.add(outbox);
        let tally = topic.announce(&lane, Change::Joined, session, &info);
        let home = topic.home;
        self.count(tally);
        self.tell_others(&name, cost, || Deed::Join {
            session,
            info: info.clone(),
        });
        if recovers {
            let said = outbox.request().map(Request::said);
            let seen = seen(said.and_then(|said| said.query), &name.name);
            self.ask_home(&name, home, Deed::Resume { session, seen }, 0);
        }
        Ok(())
    }

    /// Ends a membership, if there is one.
    pub(super) fn unsubscribe(&mut self, tenant: &Arc<str>, session: u64, name: &str) {
        let Some(memberships) = self.sessions.get_mut(&session) else {
            return;
        };
        let place = memberships.names.iter().position(|known| **known == *name);
        let Some(place) = place else { return };
        let name = memberships.names.swap_remove(place);
        if memberships.names.is_empty() {
            self.sessions.remove(&session);
        }
        self.strike(
            TopicName {
                tenant: tenant.clone(),
                name,
            },
            session,
        );
    }

    /// The session has ended, or is closing: it is a member of nothing any more.
    /// Whether it was one.
    pub(super) fn leave(&mut self, session: u64) -> bool {
        let Some(Memberships { tenant, names }) = self.sessions.remove(&session) else {
            return false;
        };
        for name in names {
            let tenant = tenant.clone();
            self.strike(TopicName { tenant, name }, session);
        }
        true
    }

    /// Sends a message to all members; to how many it is on its way.
    pub(super) fn publish(
        &mut self,
        tenant: &Arc<str>,
        name: &str,
        mut delivery: Delivery<'_>,
    ) -> Result<u64, TopicError> {
        check(name.len(), TOPIC_NAME_BYTES_MAX)?;
        let bytes = delivery.payload.len();
        let cost = COMMAND_COST_BYTES + bytes;
        let now = self.lane.clock.now();
        let settings = self.settings(tenant, name);
        let name = self.name(tenant, name);
        if let Some(budget) = self
            .topic_mut(&name)
            .and_then(|topic| topic.budget.as_mut())
        {
            budget.take(bytes, now).map_err(TopicError::Limit)?;
        }
        let topic = self.topic(tenant, &name.name);
        let recipients = topic.map_or(0, |topic| topic.recipients(delivery.except));
        let others = topic.map_or(0, |topic| topic.workers_but(self.worker));
        let home = self.home_of(&name);
        if settings.has_history() && home != self.worker {
            self.admit(tenant, cost)?;
            let message = published(&delivery);
            self.ask_home(&name, home, Deed::Publish { message }, bytes);
            return Ok(recipients);
        }
        self.admit(tenant, others * cost)?;
        let is_kept = settings.has_history();
        let message = (is_kept || others > 0).then(|| published(&delivery));
        if let Some(message) = message.as_ref().filter(|_| is_kept) {
            delivery.at = self.number(&name, message, now);
        }
        self.hand_out(&name, &delivery, message.as_ref());
        Ok(recipients)
    }

    /// Gives a message to the members here, and sends it to the workers that have others.
    pub(super) fn hand_out(
        &mut self,
        name: &TopicName,
        delivery: &Delivery<'_>,
        message: Option<&Published>,
    ) -> u64 {
        let Some(topic) = self.topic(&name.tenant, &name.name) else {
            return 0;
        };
        let here = topic.deliver(delivery, &self.lane, &self.counters);
        let mut missed = 0;
        if let Some(message) = message {
            let members: Vec<usize> = (0..self.links.workers())
                .map(|worker| topic.members_at(worker))
                .collect();
            let cost = COMMAND_COST_BYTES + message.payload.len();
            for (worker, count) in members.into_iter().enumerate() {
                if worker == self.worker || count == 0 {
                    continue;
                }
                // The other worker is a slow consumer: its members see the gap by the numbers.
                if self.under_way(&name.tenant) > RELAY_BYTES_MAX + cost {
                    missed += count as u64;
                    continue;
                }
                let deed = Deed::Deliver {
                    message: message.clone(),
                    at: delivery.at,
                };
                self.send(worker, name, deed, cost);
            }
        }
        self.counters.add(0, missed);
        here + missed
    }

    /// Numbers and keeps a message of a topic whose home is here, unless the tenant may have no more
    /// topics.
    pub(super) fn number(
        &mut self,
        name: &TopicName,
        message: &Published,
        now: Instant,
    ) -> Option<Position> {
        if self.topic(&name.tenant, &name.name).is_none() {
            self.admit_topic(&name.tenant).ok()?;
        }
        self.ensure(name, now);
        let tenant = self.tenants.get_mut(&name.tenant)?;
        let topic = tenant.topics.get_mut(&name.name)?;
        let history = topic.history.as_mut()?;
        let others = tenant.history_bytes - history.cost_bytes();
        let room = TENANT_HISTORY_BYTES_MAX.saturating_sub(others);
        let at = history.append(message.clone(), &topic.settings, room, now);
        tenant.history_bytes = others + history.cost_bytes();
        if let Some(due) = history.due()
            && topic.looked_at.is_none()
        {
            topic.looked_at = Some(due);
            self.expiries.insert((due, name.clone()));
        }
        Some(at)
    }

    /// Puts a topic there that is not yet known.
    pub(super) fn ensure(&mut self, name: &TopicName, now: Instant) {
        if self.topic(&name.tenant, &name.name).is_some() {
            return;
        }
        let settings = self.settings(&name.tenant, &name.name);
        let place = (self.worker, self.home_of(name), self.links.workers());
        let topic = Topic::new(name.clone(), settings, place, now);
        let tenant = self.tenants.entry(name.tenant.clone()).or_default();
        tenant.topics.insert(name.name.clone(), topic);
    }

    /// Forgets a topic that nobody needs.
    pub(super) fn forget_if_idle(&mut self, name: &TopicName) {
        let Some(tenant) = self.tenants.get_mut(&name.tenant) else {
            return;
        };
        if tenant.topics.get(&name.name).is_some_and(Topic::is_idle)
            && let Some(topic) = tenant.topics.remove(&name.name)
            && let Some(due) = topic.looked_at
        {
            self.expiries.remove(&(due, name.clone()));
        }
    }

    /// Asks a topic's home, which may be here.
    pub(super) fn ask_home(&mut self, name: &TopicName, home: usize, deed: Deed, bytes: usize) {
        if home == self.worker {
            self.carry_out(name, deed);
        } else {
            self.send(home, name, deed, COMMAND_COST_BYTES + bytes);
        }
    }

    /// Sends a command to another worker, on the tenant's account.
    pub(super) fn send(&mut self, worker: usize, name: &TopicName, deed: Deed, cost: usize) {
        let tenant = self.tenants.entry(name.tenant.clone()).or_default();
        let toll = Toll::pay(&tenant.under_way, cost);
        self.links.put(worker, name, deed, toll);
    }

    pub(super) fn count(&self, tally: Tally) {
        self.counters.add(tally.queued, tally.dropped);
    }

    fn tell_others(&mut self, name: &TopicName, cost: usize, deed: impl Fn() -> Deed) {
        for worker in 0..self.links.workers() {
            if worker != self.worker {
                self.send(worker, name, deed(), cost);
            }
        }
    }

    /// Whether a tenant may put more under way; one command always may.
    fn admit(&self, tenant: &str, bytes: usize) -> Result<(), TopicError> {
        let under_way = self.under_way(tenant);
        if under_way > 0 && under_way + bytes > RELAY_BYTES_MAX {
            return Err(TopicError::Limit(RELAY_BYTES_MAX as u64));
        }
        Ok(())
    }

    /// Whether a tenant may have one more topic; what other workers have begun is known here too.
    fn admit_topic(&self, tenant: &Arc<str>) -> Result<(), TopicError> {
        let lane = self.lane.tenant(tenant);
        let Some(max) = lane.budget().limits().topics_max else {
            return Ok(());
        };
        let topics = self.tenants.get(tenant).map_or(0, |one| one.topics.len());
        if (topics as u64) < max {
            return Ok(());
        }
        lane.budget().hit(Limit::Topics);
        Err(TopicError::Limit(max))
    }

    fn under_way(&self, tenant: &str) -> usize {
        let tenant = self.tenants.get(tenant);
        tenant.map_or(0, |tenant| tenant.under_way.load(Ordering::Relaxed))
    }

    /// Notes a membership; the topic is there afterwards.
    fn enter(&mut self, session: u64, tenant: &Arc<str>, name: &str, is_new: bool) -> TopicName {
        let name = self.name(tenant, name);
        self.ensure(&name, self.lane.clock.now());
        if is_new {
            let memberships = self.sessions.entry(session).or_insert_with(|| Memberships {
                tenant: tenant.clone(),
                names: Vec::new(),
            });
            memberships.names.push(name.name.clone());
        }
        name
    }

    fn strike(&mut self, name: TopicName, session: u64) {
        let worker = self.worker;
        let Some(topic) = self.topic_mut(&name) else {
            return;
        };
        let Some(info) = topic.strike(worker, session) else {
            return;
        };
        self.announce(&name, Change::Left, session, &info);
        let cost = COMMAND_COST_BYTES + info.len();
        self.tell_others(&name, cost, || Deed::Leave {
            session,
            info: info.clone(),
        });
        self.forget_if_idle(&name);
    }

    /// The name, shared with the topic if there is one.
    fn name(&self, tenant: &Arc<str>, name: &str) -> TopicName {
        match self.topic(tenant, name) {
            Some(topic) => topic.name.clone(),
            None => TopicName {
                tenant: tenant.clone(),
                name: name.into(),
            },
        }
    }

    /// What holds for a topic: of the tenant's rules the first that covers it, or the defaults.
    fn settings(&self, tenant: &str, name: &str) -> Arc<TopicSettings> {
        if let Some(topic) = self.topic(tenant, name) {
            return topic.settings.clone();
        }
        let covers = |rule: &&Rule| rule.rule.tenant == tenant && rule.rule.name.covers(name);
        let rule = self.rules.iter().find(covers);
        rule.map_or_else(Arc::default, |rule| rule.settings.clone())
    }

    /// The same on every worker: the hasher has no random keys.
    fn home_of(&self, name: &TopicName) -> usize {
        let mut hasher = std::hash::DefaultHasher::new();
        name.hash(&mut hasher);
        (hasher.finish() % self.links.workers() as u64) as usize
    }
}

fn published(delivery: &Delivery<'_>) -> Published {
    Published {
        kind: delivery.kind,
        payload: delivery.payload.into(),
        except: delivery.except,
    }
}

fn check(size: usize, max: usize) -> Result<(), TopicError> {
    if size <= max {
        Ok(())
    } else {
        Err(TopicError::Limit(max as u64))
    }
}
