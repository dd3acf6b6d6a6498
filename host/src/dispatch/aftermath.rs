//! What becomes of an instance whose guest has failed: its sessions are closed under one incident,
//! or a fresh instance goes on with what waits for it. Either way what the call was about is written
//! down as a dead letter.
//!
//! Makes no Store: the instance's task does that, as after sleep.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use wharf_protocol::Instant;

use super::counting::label;
use super::hosted::{Version, Wakefulness};
use super::runner::refuse_waiting;
use super::{Dispatcher, Hosted};
use crate::catalog::AfterTrap;
use crate::dead_letters::{DeadLetter, DeadLetters, DeadMessage};
use crate::fault::{Fault, HostFault, Incident};
use crate::mailbox::{Batch, ControlCall, Outbox, Stop};

/// From the first trap to the start of a fresh instance; twice as long after each further one, so
/// that a crash loop costs its worker little.
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// A guest call that failed.
pub(super) struct Failure {
    incident: Incident,
    call: Call,
}

/// What a failed call was about.
pub(super) enum Call {
    /// The start of an instance, for whatever waits in its inbox.
    Start,
    Connect,
    Open(Outbox),
    Messages(Vec<DeadMessage>),
    Control(DeadMessage),
    Close(Outbox),
    Timer(Box<str>),
    ExportState,
    /// Whatever the conversations of an instance were doing.
    Conversations,
}

impl Call {
    /// The function of the contract.
    fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Connect => "on-connect",
            Self::Open(_) => "on-open",
            Self::Messages(_) => "on-messages",
            Self::Control(_) => "on-control",
            Self::Close(_) => "on-close",
            Self::Timer(_) => "on-timer",
            Self::ExportState => "export-state",
            Self::Conversations => "converse",
        }
    }
}

impl Failure {
    /// Boxed: it is rare, and whatever may return it would hold room for it.
    pub(super) fn new(incident: impl Into<Incident>, call: Call) -> Box<Self> {
        let incident = incident.into();
        Box::new(Self { incident, call })
    }

    /// What happened.
    pub(super) fn incident(&self) -> &Incident {
        &self.incident
    }
}

/// When each of an instance's last traps was.
#[derive(Debug, Default)]
pub(super) struct Traps(VecDeque<Instant>);

impl Traps {
    /// One more: how long to wait before a fresh instance starts, or `None` if there were too many.
    fn note(&mut self, now: Instant, traps_max: u32, within: Duration) -> Option<Duration> {
        while let Some(first) = self.0.front()
            && *first + within <= now
        {
            self.0.pop_front();
        }
        let before = self.0.len() as u32;
        if before >= traps_max {
            return None;
        }
        self.0.push_back(now);
        let doubled = BACK_OFF.checked_mul(1 << before.min(16));
        doubled.map(|after| after.min(BACK_OFF_MAX))
    }
}

impl Dispatcher {
    /// Settles what is left of a failed call. How long to wait before a fresh instance goes on;
    /// `None` if there is to be none: then nobody finds this one any more.
    pub(super) fn settle(&self, hosted: &Hosted, failure: &Failure) -> Option<Duration> {
        let Failure { incident, call } = failure;
        hosted.counts().fail(&incident.fault);
        hosted.trials().fail(hosted.generation(), &incident.fault);
        let restart = self.restart_after(hosted, failure);
        let closed = match restart {
            Some(_) => self.restart(hosted, failure),
            None => {
                if matches!(call, Call::Start) {
                    refuse_waiting(hosted, incident);
                }
                self.forget(hosted);
                self.close_members(hosted, incident)
            }
        };
        report(hosted, failure, (closed, restart));
        self.write_down(hosted, failure, (closed, restart));
        restart
    }

    /// Whether there will be a fresh instance.
    fn restart_after(&self, hosted: &Hosted, failure: &Failure) -> Option<Duration> {
        let AfterTrap::Restart {
            traps_max,
            traps_within,
        } = hosted.route().after_trap
        else {
            return None;
        };
        let is_first_start =
            matches!(failure.call, Call::Start) && hosted.wakefulness() == Wakefulness::Awake;
        // Nobody has been served yet; and what the host cannot do it cannot do the next time either.
        if is_first_start || matches!(failure.incident.fault, Fault::Host(_)) {
            return None;
        }
        let mut traps = self.0.traps.borrow_mut();
        let own = traps.entry(hosted.serial()).or_default();
        own.note(self.lane().clock.now(), traps_max, traps_within)
    }

    /// Everything but the failed call stays as it was. How many sessions were closed.
    fn restart(&self, hosted: &Hosted, failure: &Failure) -> usize {
        self.lose_store(hosted, Wakefulness::Waking);
        hosted.counts().change(|figures| figures.restarts += 1);
        match &failure.call {
            // Its guest does not know of it, or only half: it comes again.
            Call::Open(outbox) => {
                hosted.inbox().discard(outbox);
                self.release(hosted, outbox);
                outbox.stop(Stop::Now(failure.incident.cause()));
                return 1;
            }
            // It was told, once.
            Call::Close(outbox) => self.release(hosted, outbox),
            // The next version takes over without the state.
            Call::ExportState => self.update(hosted),
            Call::Start
            | Call::Connect
            | Call::Messages(_)
            | Call::Control(_)
            | Call::Timer(_)
            | Call::Conversations => {}
        }
        0
    }

    /// Ends the sessions of an instance that is gone; how many there were.
    fn close_members(&self, hosted: &Hosted, incident: &Incident) -> usize {
        let sessions = hosted.members().all();
        for outbox in &sessions {
            self.release(hosted, outbox);
            outbox.stop(Stop::Now(incident.cause()));
        }
        sessions.len()
    }

    /// Its guest knows the session no longer.
    pub(crate) fn release(&self, hosted: &Hosted, outbox: &Outbox) {
        if hosted.members().remove(outbox.id()).is_some() {
            self.count_session(hosted, false);
            if let Some(tracer) = &self.services().tracer {
                let ending = outbox.wire().connection().ending().cloned();
                tracer.end_session(outbox.id(), ending.as_ref());
            }
        }
    }

    /// A copy of what a failed call was given, for its letter.
    pub(super) fn copy_batch(&self, hosted: &Hosted, batch: &Batch) -> Vec<DeadMessage> {
        let Some(letters) = self.letters_of(hosted) else {
            return Vec::new();
        };
        let (each, mut left) = letters.payload_bounds();
        let copies = batch.iter().map(|(session, message)| {
            let payload = message.payload();
            let kept = payload.len().min(each).min(left);
            left -= kept;
            DeadMessage {
                session: self.lane().session_name(session).into(),
                kind: match message.kind() {
                    wharf_protocol::MessageKind::Text => "text",
                    wharf_protocol::MessageKind::Binary => "binary",
                },
                payload_bytes: payload.len(),
                payload: payload[..kept].into(),
            }
        });
        copies.collect()
    }

    /// As [`Self::copy_batch`], of a control frame.
    pub(super) fn copy_frame(&self, outbox: &Outbox, frame: &ControlCall) -> DeadMessage {
        let (kind, payload) = match frame {
            ControlCall::Ping(payload) => ("ping", &**payload),
            ControlCall::Pong(payload) => ("pong", &**payload),
            ControlCall::Close(said) => {
                let reason = said.as_ref().map_or("", |said| &said.reason);
                ("close", reason.as_bytes())
            }
        };
        let letters = self.0.dead_letters.as_ref();
        let each = letters.map_or(0, |letters| letters.payload_bounds().0);
        DeadMessage {
            session: outbox.name().into(),
            kind,
            payload_bytes: payload.len(),
            payload: payload[..payload.len().min(each)].into(),
        }
    }

    /// Where the letters of its route go, if anywhere.
    fn letters_of(&self, hosted: &Hosted) -> Option<&DeadLetters> {
        let letters = self.0.dead_letters.as_ref();
        letters.filter(|_| hosted.route().dead_letters)
    }

    fn write_down(
        &self,
        hosted: &Hosted,
        failure: &Failure,
        (closed, restart): (usize, Option<Duration>),
    ) {
        let is_full = failure.incident.fault == HostFault::InstancesExhausted.into();
        // Nobody would learn anything from one.
        let Some(letters) = self.letters_of(hosted).filter(|_| !is_full) else {
            return;
        };
        let Version { route, program } = hosted.version();
        let Failure { incident, call } = failure;
        let (mut sessions, mut messages, mut timer) = (Vec::new(), Vec::new(), None);
        match call {
            Call::Open(outbox) | Call::Close(outbox) => sessions.push(outbox.name().into()),
            Call::Messages(batch) => messages.clone_from(batch),
            Call::Control(frame) => messages.push(frame.clone()),
            Call::Timer(name) => timer = Some(name.clone()),
            Call::Start | Call::Connect | Call::ExportState | Call::Conversations => {}
        }
        for DeadMessage { session, .. } in &messages {
            if !sessions.contains(session) {
                sessions.push(session.clone());
            }
        }
        letters.keep(DeadLetter {
            incident: incident.id,
            at: SystemTime::now(),
            tenant: route.tenant.clone(),
            route: label(&route).into(),
            component: program.name().into(),
            generation: route.generation,
            worker: self.0.worker,
            call: call.name(),
            kind: incident.fault.label(),
            error: incident.fault.to_string(),
            outcome: match restart {
                Some(_) => "restarted",
                None => "closed",
            },
            sessions_closed: closed,
            timer,
            sessions,
            messages,
        });
    }
}

/// Says in the log what happened, without a word of what the guest was given.
fn report(hosted: &Hosted, failure: &Failure, (closed, restart): (usize, Option<Duration>)) {
    let Incident { id, fault } = &failure.incident;
    let Version { route, program } = hosted.version();
    let (incident, component, route) = (id, program.name(), &route.pattern);
    let (label, call) = (fault.label(), failure.call.name());
    macro_rules! say {
        ($level:ident) => {
            match restart {
                Some(after) => tracing::$level!(
                    %incident, component, route, label, call, sessions_closed = closed, ?after,
                    "{fault}; a fresh instance goes on"
                ),
                None => tracing::$level!(
                    %incident, component, route, label, call, sessions = closed, "{fault}"
                ),
            }
        };
    }
    match fault.level() {
        tracing::Level::ERROR => say!(error),
        tracing::Level::WARN => say!(warn),
        _ => say!(debug),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_traps_too_often_is_given_up() {
        let mut traps = Traps::default();
        let within = Duration::from_secs(60);
        let mut at = |seconds: u64| traps.note(Instant::from_millis(seconds * 1_000), 3, within);
        let milliseconds = |count| Some(Duration::from_millis(count));
        assert_eq!(at(0), milliseconds(50));
        assert_eq!(at(1), milliseconds(100));
        assert_eq!(at(59), milliseconds(200));
        assert_eq!(at(59), None);
        assert_eq!(at(60), milliseconds(200), "the first is forgotten");
        assert_eq!(at(60), None);
        assert_eq!(at(200), milliseconds(50), "all are forgotten");
    }

    #[test]
    fn a_crash_loop_waits_longer_and_longer() {
        let mut traps = Traps::default();
        let within = Duration::from_secs(3_600);
        let mut next = || traps.note(Instant::from_millis(0), 100, within);
        let waits: Vec<_> = std::iter::from_fn(&mut next).collect();
        assert_eq!(waits.len(), 100);
        assert!(waits.is_sorted());
        assert_eq!(waits.last(), Some(&BACK_OFF_MAX));
    }
}
