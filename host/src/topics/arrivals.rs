//! What other workers ask of this one's topics. Who is a member is known at once; whatever writes to
//! sessions waits for its tenant's turn, so that one tenant's messages do not hold up another's.

use wharf_protocol::Instant;

use super::envelope::Change;
use super::history::Resumption;
use super::hub::Hub;
use super::position::Seen;
use super::relay::{COMMAND_COST_BYTES, Command, Deed, Parcel, TopicName};
use super::topic::Delivery;

/// Deliveries in a row before the sessions of this worker get their turn: about a millisecond.
const DELIVERIES_A_TURN: u64 = 4096;

impl Hub {
    /// Sorts in what came from another worker.
    pub(super) fn take_in(&mut self, parcel: Parcel) {
        for command in parcel {
            let waits = match &command.deed {
                Deed::Join { session, info } => {
                    self.ensure(&command.topic, self.lane.clock.now());
                    let worker = self.lane.worker_of(*session);
                    let topic = self.topic_mut(&command.topic);
                    topic.is_some_and(|topic| {
                        topic.note(worker, *session, info.clone()) && topic.settings.announce
                    })
                }
                Deed::Leave { session, .. } => {
                    let worker = self.lane.worker_of(*session);
                    let topic = self.topic_mut(&command.topic);
                    let announces = topic.is_some_and(|topic| {
                        topic.strike(worker, *session);
                        topic.settings.announce
                    });
                    self.forget_if_idle(&command.topic);
                    announces
                }
                Deed::Deliver { .. }
                | Deed::Publish { .. }
                | Deed::Resume { .. }
                | Deed::Resumed { .. } => true,
            };
            if waits {
                self.queue(command);
            }
        }
    }

    /// Whether something waits for its turn, or is due.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        !self.turns.is_empty() || self.due().is_some_and(|due| due <= now)
    }

    /// When the next history is to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.expiries.first().map(|(due, _)| *due)
    }

    /// Does a turn's worth of what waits, one command of each tenant after the other.
    pub(super) fn work(&mut self) {
        self.expire(self.lane.clock.now());
        let mut done = 0;
        while done < DELIVERIES_A_TURN
            && let Some(name) = self.turns.pop_front()
        {
            let Some(tenant) = self.tenants.get_mut(&name) else {
                continue;
            };
            let Some(command) = tenant.arrived.pop_front() else {
                continue;
            };
            if !tenant.arrived.is_empty() {
                self.turns.push_back(name);
            }
            let Command { topic, deed, toll } = command;
            done += 1 + self.carry_out(&topic, deed);
            drop(toll);
        }
    }

    /// Does one thing; how many deliveries that were.
    pub(super) fn carry_out(&mut self, name: &TopicName, deed: Deed) -> u64 {
        match deed {
            Deed::Join { session, info } => self.announce(name, Change::Joined, session, &info),
            Deed::Leave { session, info } => self.announce(name, Change::Left, session, &info),
            Deed::Deliver { message, at } => self.hand_out(name, &Delivery::of(&message, at), None),
            Deed::Publish { message } => {
                let at = self.number(name, &message, self.lane.clock.now());
                let delivery = Delivery::of(&message, at);
                self.hand_out(name, &delivery, Some(&message))
            }
            Deed::Resume { session, seen } => self.resume(name, session, seen),
            Deed::Resumed {
                session,
                resumption,
            } => {
                let Some(topic) = self.topic_mut(name) else {
                    return 0;
                };
                let tally = topic.resume(session, &resumption);
                self.count(tally);
                tally.queued + tally.dropped
            }
        }
    }

    /// Tells the members here who joined or left, if the topic is to say so. When all are asked to
    /// leave, the leaving of n members would be n² messages that nobody is there to read.
    pub(super) fn announce(
        &mut self,
        name: &TopicName,
        change: Change,
        session: u64,
        info: &str,
    ) -> u64 {
        if self.is_draining && change == Change::Left {
            return 0;
        }
        let Some(topic) = self.topic(&name.tenant, &name.name) else {
            return 0;
        };
        let tally = topic.announce(&self.lane, change, session, info);
        self.count(tally);
        tally.queued + tally.dropped
    }

    /// Says what a session missed of a topic whose home is here.
    fn resume(&mut self, name: &TopicName, session: u64, seen: Seen) -> u64 {
        let now = self.lane.clock.now();
        self.expire(now);
        self.ensure(name, now);
        let history = self
            .topic_mut(name)
            .and_then(|topic| topic.history.as_mut());
        let Some(resumption) = history.map(|history| history.resume(seen)) else {
            return 0;
        };
        let bytes = cost(&resumption);
        let worker = self.lane.worker_of(session);
        let deed = Deed::Resumed {
            session,
            resumption,
        };
        if worker == self.worker {
            return self.carry_out(name, deed);
        }
        self.send(worker, name, deed, bytes);
        self.forget_if_idle(name);
        0
    }

    fn queue(&mut self, command: Command) {
        let key = command.topic.tenant.clone();
        let tenant = self.tenants.entry(key.clone()).or_default();
        tenant.arrived.push_back(command);
        if tenant.arrived.len() == 1 {
            self.turns.push_back(key);
        }
    }

    /// Forgets what was kept for long enough.
    fn expire(&mut self, now: Instant) {
        while let Some((due, _)) = self.expiries.first()
            && *due <= now
            && let Some((_, name)) = self.expiries.pop_first()
        {
            let Some(tenant) = self.tenants.get_mut(&name.tenant) else {
                continue;
            };
            let Some(topic) = tenant.topics.get_mut(&name.name) else {
                continue;
            };
            topic.looked_at = None;
            if let Some(history) = &mut topic.history {
                let before = history.cost_bytes();
                history.expire(now);
                tenant.history_bytes -= before - history.cost_bytes();
                topic.looked_at = history.due();
            }
            match topic.looked_at {
                Some(due) => drop(self.expiries.insert((due, name))),
                None => self.forget_if_idle(&name),
            }
        }
    }
}

/// What an answer costs on its way: payloads are shared, not copied.
fn cost(resumption: &Resumption) -> usize {
    COMMAND_COST_BYTES * (1 + resumption.missed.len())
}
