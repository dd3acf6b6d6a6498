//! One topic as one worker knows it: who its members are, here and elsewhere, and how a message
//! gets to those here. Knows no other topic and sends nothing to other workers.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use wharf_protocol::{Broadcast, Instant, MessageKind};

use super::budget::Budget;
use super::envelope::{self, Change};
use super::history::{History, Published, Resumption};
use super::position::{Position, RECOVER_SUBPROTOCOL};
use super::relay::TopicName;
use crate::catalog::TopicSettings;
use crate::id::random_u64;
use crate::mailbox::{Audience, Lane, Outbox};
use crate::metrics::TopicCounters;

/// One topic.
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) settings: Arc<TopicSettings>,
    /// The worker that numbers and keeps its messages.
    pub(super) home: usize,
    /// Every member's info, by session number.
    roster: BTreeMap<u64, Arc<str>>,
    /// How many members each worker has.
    by_worker: Box<[usize]>,
    /// The members whose sessions live on this worker, but for those that recover.
    here: Audience,
    /// Members here that keep positions.
    recovering: Vec<Recovering>,
    /// Where each member here stands in its list.
    places: HashMap<u64, Place>,
    /// At home, if the topic has a history.
    pub(super) history: Option<History>,
    pub(super) budget: Option<Budget>,
    /// When its history will be looked at, if it keeps something.
    pub(super) looked_at: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Place {
    Here(usize),
    Recovering(usize),
}

/// A member that keeps positions.
struct Recovering {
    outbox: Outbox,
    /// The home has not said yet what it missed; what comes before that is part of it.
    awaits_resumption: bool,
}

/// What became of a message's deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) queued: u64,
    /// Not queued because the session had no room, or was closing.
    pub(super) dropped: u64,
}

/// A message that goes to members: as it was published, and where in the topic it stands.
pub(super) struct Delivery<'a> {
    pub(super) kind: MessageKind,
    pub(super) payload: &'a [u8],
    pub(super) except: Option<u64>,
    pub(super) at: Option<Position>,
}

impl<'a> Delivery<'a> {
    pub(super) fn of(message: &'a Published, at: Option<Position>) -> Self {
        Self {
            kind: message.kind,
            payload: &message.payload,
            except: message.except,
            at,
        }
    }
}

impl Topic {
    pub(super) fn new(
        name: TopicName,
        settings: Arc<TopicSettings>,
        (worker, home, workers): (usize, usize, usize),
        now: Instant,
    ) -> Self {
        let numbers = settings.has_history() && worker == home;
        let budget = settings.bytes_per_second_max;
        Self {
            name,
            home,
            roster: BTreeMap::new(),
            by_worker: vec![0; workers].into(),
            here: Audience::default(),
            recovering: Vec::new(),
            places: HashMap::new(),
            history: numbers.then(|| History::new(random_u64())),
            budget: budget.map(|bytes_per_second_max| Budget::new(bytes_per_second_max, now)),
            looked_at: None,
            settings,
        }
    }

    /// Whether nothing would be lost if it were forgotten.
    pub(super) fn is_idle(&self) -> bool {
        let keeps = self
            .history
            .as_ref()
            .is_some_and(|history| history.due().is_some());
        self.roster.is_empty() && !keeps
    }

    pub(super) fn members(&self) -> usize {
        self.roster.len()
    }

    /// To how many members a message goes.
    pub(super) fn recipients(&self, except: Option<u64>) -> u64 {
        let excepted = except.is_some_and(|except| self.roster.contains_key(&except));
        self.roster.len() as u64 - u64::from(excepted)
    }

    /// How many other workers have members.
    pub(super) fn workers_but(&self, worker: usize) -> usize {
        let others = self.by_worker.iter().enumerate();
        others
            .filter(|(other, members)| *other != worker && **members > 0)
            .count()
    }

    pub(super) fn members_at(&self, worker: usize) -> usize {
        self.by_worker[worker]
    }

    pub(super) fn roster(&self) -> impl Iterator<Item = (u64, &Arc<str>)> {
        self.roster.iter().map(|(session, info)| (*session, info))
    }

    pub(super) fn info(&self, session: u64) -> Option<&Arc<str>> {
        self.roster.get(&session)
    }

    /// Notes who is a member. Whether that is news.
    pub(super) fn note(&mut self, worker: usize, session: u64, info: Arc<str>) -> bool {
        match self.roster.insert(session, info.clone()) {
            Some(known) => known != info,
            None => {
                self.by_worker[worker] += 1;
                true
            }
        }
    }

    /// Notes that one is a member no more; what it had said of itself.
    pub(super) fn strike(&mut self, worker: usize, session: u64) -> Option<Arc<str>> {
        let info = self.roster.remove(&session)?;
        self.by_worker[worker] -= 1;
        match self.places.remove(&session) {
            Some(place @ Place::Here(index)) => {
                let here = Rc::make_mut(&mut self.here);
                here.swap_remove(index);
                let moved = here.get(index).map(Outbox::id);
                self.places.extend(moved.map(|moved| (moved, place)));
            }
            Some(place @ Place::Recovering(index)) => {
                self.recovering.swap_remove(index);
                let moved = self.recovering.get(index);
                let moved = moved.map(|member| (member.outbox.id(), place));
                self.places.extend(moved);
            }
            None => {}
        }
        Some(info)
    }

    /// Adds a session of this worker. Whether it keeps positions here.
    pub(super) fn add(&mut self, outbox: &Outbox) -> bool {
        let recovers = self.settings.has_history()
            && outbox.subprotocol().as_deref() == Some(RECOVER_SUBPROTOCOL);
        let place = if recovers {
            self.recovering.push(Recovering {
                outbox: outbox.clone(),
                awaits_resumption: true,
            });
            Place::Recovering(self.recovering.len() - 1)
        } else {
            Rc::make_mut(&mut self.here).push(outbox.clone());
            Place::Here(self.here.len() - 1)
        };
        self.places.insert(outbox.id(), place);
        recovers
    }

    /// Gives a message to the members here, for how many it is. What becomes of it is counted when
    /// what is joined leaves.
    pub(super) fn deliver(
        &self,
        delivery: &Delivery<'_>,
        lane: &Lane,
        counters: &Arc<TopicCounters>,
    ) -> u64 {
        if !self.here.is_empty() {
            let message = (delivery.kind, delivery.payload);
            lane.cork
                .join(&self.here, message, delivery.except, counters);
        }
        let numbered = self.deliver_numbered(delivery);
        counters.add(numbered.queued, numbered.dropped);
        self.here.len() as u64 + numbered.queued + numbered.dropped
    }

    /// Queues a message for those that keep positions.
    fn deliver_numbered(&self, delivery: &Delivery<'_>) -> Tally {
        let mut tally = Tally::default();
        let Some(at) = delivery.at.filter(|_| !self.recovering.is_empty()) else {
            return tally;
        };
        let name = &self.name.name;
        let full = envelope::message(name, at, delivery.kind, delivery.payload);
        // Whom it is not for needs to know that this number is not missing.
        let empty = envelope::place(name, at, None);
        let mut full = Broadcast::new(MessageKind::Text, full.as_bytes());
        let mut empty = Broadcast::new(MessageKind::Text, empty.as_bytes());
        for member in &self.recovering {
            if member.awaits_resumption {
                continue;
            }
            let form = match delivery.except == Some(member.outbox.id()) {
                true => &mut empty,
                false => &mut full,
            };
            tally.count(member.outbox.try_broadcast(form).is_ok());
        }
        tally
    }

    /// Tells the members here who joined or left, if the topic is to say so.
    pub(super) fn announce(&self, lane: &Lane, change: Change, who: u64, info: &str) -> Tally {
        let mut tally = Tally::default();
        if !self.settings.announce || self.places.is_empty() {
            return tally;
        }
        let text = envelope::announcement(&self.name.name, change, &lane.session_name(who), info);
        let mut form = Broadcast::new(MessageKind::Text, text.as_bytes());
        let recovering = self.recovering.iter().map(|member| &member.outbox);
        let members = self.here.iter().chain(recovering);
        for outbox in members.filter(|outbox| outbox.id() != who) {
            tally.count(outbox.try_broadcast(&mut form).is_ok());
        }
        tally
    }

    /// Gives a session here what it missed. What does not fit into its queue as a whole is not
    /// given at all: the session learns that it cannot be recovered.
    pub(super) fn resume(&mut self, session: u64, resumption: &Resumption) -> Tally {
        let mut tally = Tally::default();
        let topic = self.name.name.clone();
        let Some(Place::Recovering(place)) = self.places.get(&session) else {
            return tally;
        };
        let Some(member) = self.recovering.get_mut(*place) else {
            return tally;
        };
        if !std::mem::take(&mut member.awaits_resumption) {
            return tally;
        }
        let others = resumption
            .missed
            .iter()
            .filter(|kept| kept.message.except != Some(session));
        let missed: Vec<String> = others
            .map(|kept| {
                let at = Position {
                    offset: kept.offset,
                    ..resumption.now_at
                };
                envelope::message(&topic, at, kept.message.kind, &kept.message.payload)
            })
            .collect();
        let bytes = missed.iter().map(String::len).sum();
        let fits = member.outbox.make_room(bytes);
        let recovered = resumption.recovered.map(|recovered| recovered && fits);
        let last = envelope::place(&topic, resumption.now_at, recovered);
        for text in missed.iter().filter(|_| fits).chain([&last]) {
            let mut form = Broadcast::new(MessageKind::Text, text.as_bytes());
            tally.count(member.outbox.try_broadcast(&mut form).is_ok());
        }
        tally
    }
}

impl Tally {
    fn count(&mut self, is_queued: bool) {
        if is_queued {
            self.queued += 1;
        } else {
            self.dropped += 1;
        }
    }
}
