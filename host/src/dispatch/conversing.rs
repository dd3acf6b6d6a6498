//! The task of an instance whose sessions are conversations: begins them, gives them their
//! messages, and sees each to its end.
//!
//! All of it happens inside of the instance's Store, beside the guest. A conversation may last as
//! long as its session; once that has ended it has the wall time of a call to return. A fault ends
//! them all, as in [`super::runner`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use wharf_protocol::Instant;

use super::aftermath::{Call, Failure};
use super::hosted::{Answer, Inbox, Version};
use super::runner::{refuse_waiting, surroundings};
use super::{Dispatcher, Hosted};
use crate::clock::Armed;
use crate::fault::{Fault, GuestFault, Incident};
use crate::guest::{Acceptance, Floor, Incoming, Stage};
use crate::mailbox::{Batch, Connecting, Outbox, TimerCall, Work};
use crate::traces::{OpenSpan, Tracer};

/// Serves an instance from its start to its end.
pub(super) async fn serve(
    dispatcher: &Dispatcher,
    hosted: &Rc<Hosted>,
) -> Result<(), Box<Failure>> {
    let Version { route, program } = hosted.version();
    let start = Box::pin(Stage::start(
        &program,
        surroundings(dispatcher, hosted, &route),
    ));
    let stage = match start.await {
        Ok(stage) => stage,
        Err(fault) => return Err(Failure::new(fault, Call::Start)),
    };
    let director = Rc::new(Director {
        dispatcher: dispatcher.clone(),
        hosted: hosted.clone(),
        has_handshake: program.has_handshake(),
        wall: program.wall_per_call(),
        conversations: RefCell::default(),
        asked: RefCell::default(),
        questions: Cell::new(0),
        deadlines: RefCell::default(),
        alarm: Cell::new(None),
    });
    let run = stage.run(dispatcher.services(), async |floor| {
        director.direct(floor).await
    });
    let mut run = Box::pin(run);
    let counts = hosted.counts();
    let outcome = poll_fn(|context| counts.time(|| run.as_mut().poll(context))).await;
    director.disarm();
    if let Some(tracer) = director.tracer() {
        tracer.end_conversations(hosted.serial());
    }
    outcome.map_err(|fault| {
        let failure = Failure::new(fault, Call::Conversations);
        director.refuse_asked(failure.incident());
        director.record_failure(&failure.incident().fault);
        refuse_waiting(hosted, failure.incident());
        failure
    })
}

/// Who directs one instance from inside of its Store.
struct Director {
    dispatcher: Dispatcher,
    hosted: Rc<Hosted>,
    has_handshake: bool,
    wall: Duration,
    /// By the session's number.
    conversations: RefCell<BTreeMap<u64, Conversation>>,
    /// Calls that somebody waits for, by a number of their own.
    asked: RefCell<BTreeMap<u64, Question>>,
    questions: Cell<u64>,
    /// The earliest first; one whose matter is settled stays until its turn.
    deadlines: RefCell<VecDeque<(Instant, Concern)>>,
    /// The deadline for which the director will be woken.
    alarm: Cell<Option<(Instant, Armed)>>,
}

/// One session, until it has ended and its function has returned.
struct Conversation {
    outbox: Outbox,
    incoming: Incoming,
    state: State,
    /// Until its function has returned, if it is recorded.
    span: Option<OpenSpan>,
}

/// What a conversation waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its messages.
    Talking,
    /// That the guest reads what is left, because the server drains.
    Leaving { until: Instant },
    /// That its function returns.
    Ended { until: Instant },
    /// That the session ends.
    Returned,
}

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    Session(u64),
    Question(u64),
}

/// A call that somebody waits for.
struct Question {
    whom: Whom,
    span: Option<OpenSpan>,
}

/// Who waits for the end of a call.
enum Whom {
    Client(oneshot::Sender<Answer>),
    Timer(oneshot::Sender<Result<(), Fault>>),
}

impl Director {
    /// Does the instance's work until nobody needs it any more.
    async fn direct(self: &Rc<Self>, floor: &Floor<'_>) -> Result<(), Fault> {
        poll_fn(|context| {
            // Everything that is there, so that the guest finds all of it when it is entered.
            while let Poll::Ready(work) = pin!(self.inbox().next()).poll(context) {
                match self.take(floor, work) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return Poll::Ready(Ok(())),
                    Err(fault) => return Poll::Ready(Err(fault)),
                }
            }
            match self.meet_deadlines(context) {
                Ok(()) => Poll::Pending,
                Err(fault) => Poll::Ready(Err(fault)),
            }
        })
        .await
    }

    fn inbox(&self) -> &Inbox {
        self.hosted.inbox()
    }

    fn take(
        self: &Rc<Self>,
        floor: &Floor<'_>,
        work: Work<Answer>,
    ) -> Result<ControlFlow<()>, Fault> {
        match work {
            Work::Connect(connecting) => self.connect(floor, connecting)?,
            Work::Open(outbox) => self.open(floor, outbox)?,
            Work::Messages(batch) => self.deliver(batch),
            // A raw route's component is no conversation.
            Work::Control(outbox, frame) => self.inbox().finish_control(&outbox, &frame),
            Work::Close(outbox, _) => self.close(outbox.id()),
            Work::Timer(call) => self.ring(floor, call)?,
            Work::Draining => self.drain(),
            Work::Vacated if self.is_over() => return Ok(ControlFlow::Break(())),
            // What it runs is never swapped.
            Work::Vacated | Work::Outdated => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn is_over(&self) -> bool {
        // Asked in any case: what the guest has opened converses, too, and is told to end.
        self.hosted.may_end() && self.conversations.borrow().is_empty()
    }

    fn open(self: &Rc<Self>, floor: &Floor<'_>, outbox: Outbox) -> Result<(), Fault> {
        let session = outbox.id();
        let of_messages = outbox.clone();
        let finished = move |count, bytes| of_messages.finish_messages(count, bytes);
        let incoming = Incoming::new(finished);
        let director = Rc::clone(self);
        floor.converse(session, &incoming, move || director.returned(session))?;
        let own = self.hosted.is_exclusive().then(|| self.hosted.serial());
        let span = self.tracer().and_then(|it| it.converse(session, own));
        let conversation = Conversation {
            outbox,
            incoming,
            state: State::Talking,
            span,
        };
        self.conversations
            .borrow_mut()
            .insert(session, conversation);
        Ok(())
    }

    fn deliver(&self, batch: Batch) {
        let conversations = self.conversations.borrow();
        for (outbox, kind, payload) in self.inbox().unpack(batch) {
            match conversations.get(&outbox.id()) {
                Some(conversation) => conversation.incoming.push(kind, payload),
                None => outbox.finish_messages(1, payload.len()),
            }
        }
    }

    /// The session has ended.
    fn close(&self, session: u64) {
        let mut conversations = self.conversations.borrow_mut();
        let Some(conversation) = conversations.get_mut(&session) else {
            return;
        };
        if conversation.state == State::Returned {
            drop(conversations);
            return self.settle(session);
        }
        conversation.incoming.end();
        let until = self.deadline(Concern::Session(session));
        conversation.state = State::Ended { until };
    }

    /// The session's function has returned.
    fn returned(&self, session: u64) {
        let mut conversations = self.conversations.borrow_mut();
        let Some(conversation) = conversations.get_mut(&session) else {
            return;
        };
        conversation.incoming.discard();
        conversation.span = None;
        if matches!(conversation.state, State::Ended { .. }) {
            drop(conversations);
            return self.settle(session);
        }
        conversation.state = State::Returned;
        let outbox = conversation.outbox.clone();
        drop(conversations);
        outbox.close(CLOSE_NORMAL, "");
    }

    /// Both have happened: nothing is left of the session.
    fn settle(&self, session: u64) {
        if let Some(settled) = self.conversations.borrow_mut().remove(&session) {
            self.dispatcher.release(&self.hosted, &settled.outbox);
        }
        if self.is_over() {
            // Wakes the director, who may be the caller's caller.
            let _ = self.inbox().push(Work::Vacated);
        }
    }

    /// What was read is answered first, but not for ever.
    fn drain(&self) {
        for (session, conversation) in self.conversations.borrow_mut().iter_mut() {
            if conversation.state == State::Talking {
                let until = self.deadline(Concern::Session(*session));
                conversation.state = State::Leaving { until };
            }
        }
    }

    fn connect(
        self: &Rc<Self>,
        floor: &Floor<'_>,
        connecting: Connecting<Answer>,
    ) -> Result<(), Fault> {
        let Connecting {
            request,
            answer,
            trace,
            ..
        } = connecting;
        if !self.has_handshake {
            // One without an opinion accepts.
            drop(answer.send(Ok(Ok(Acceptance::default()))));
            return Ok(());
        }
        let span = trace.and_then(|handshake| Some(self.tracer()?.below("on-connect", handshake)));
        let (director, question) = (Rc::clone(self), self.ask(Whom::Client(answer), span));
        floor.connect(&request, move |decision| {
            if let Some(Whom::Client(answer)) = director.answered(question) {
                // A client that has left no longer waits for it.
                let _ = answer.send(Ok(decision));
            }
        })
    }

    fn ring(self: &Rc<Self>, floor: &Floor<'_>, call: TimerCall) -> Result<(), Fault> {
        if !call.wanted.get() {
            let _ = call.answer.send(Ok(()));
            return Ok(());
        }
        let span = self.tracer().and_then(|it| it.sampled("on-timer"));
        let (director, question) = (Rc::clone(self), self.ask(Whom::Timer(call.answer), span));
        floor.timer(&call.name, move || {
            if let Some(Whom::Timer(answer)) = director.answered(question) {
                let _ = answer.send(Ok(()));
            }
        })
    }

    fn ask(&self, whom: Whom, span: Option<OpenSpan>) -> u64 {
        let number = self.questions.get() + 1;
        self.questions.set(number);
        self.deadline(Concern::Question(number));
        let question = Question { whom, span };
        self.asked.borrow_mut().insert(number, question);
        number
    }

    fn answered(&self, question: u64) -> Option<Whom> {
        let answered = self.asked.borrow_mut().remove(&question)?;
        Some(answered.whom)
    }

    fn tracer(&self) -> Option<&Tracer> {
        self.dispatcher.services().tracer.as_ref()
    }

    /// What runs has failed with the instance.
    fn record_failure(&self, fault: &Fault) {
        let mut conversations = self.conversations.borrow_mut();
        let spans = conversations.values_mut().map(|it| it.span.take());
        for mut span in spans.flatten() {
            span.set("error.type", fault.label());
            span.fail(fault.to_string());
        }
    }

    fn refuse_asked(&self, incident: &Incident) {
        for (_, question) in std::mem::take(&mut *self.asked.borrow_mut()) {
            if let Some(mut span) = question.span {
                span.set("error.type", incident.fault.label());
                span.fail(incident.fault.to_string());
            }
            match question.whom {
                Whom::Client(answer) => drop(answer.send(Err(incident.clone()))),
                Whom::Timer(answer) => drop(answer.send(Err(incident.fault.clone()))),
            }
        }
    }
}

/// Deadlines. All of them are as far away as a call may take, so they fall due in order.
impl Director {
    fn deadline(&self, concern: Concern) -> Instant {
        let until = self.now() + self.wall;
        self.deadlines.borrow_mut().push_back((until, concern));
        until
    }

    fn now(&self) -> Instant {
        self.dispatcher.lane().clock.now()
    }

    /// Acts on what is over its time, and sees to it that it is woken for the next.
    fn meet_deadlines(&self, context: &Context<'_>) -> Result<(), Fault> {
        loop {
            let first = self.deadlines.borrow().front().copied();
            let Some((until, concern)) = first else {
                return Ok(());
            };
            if self.stands(until, concern) {
                if self.now() < until {
                    self.arm(until, context);
                    return Ok(());
                }
                self.expire(concern)?;
            }
            self.deadlines.borrow_mut().pop_front();
        }
    }

    /// Whether what was waited for has not happened.
    fn stands(&self, until: Instant, concern: Concern) -> bool {
        match concern {
            Concern::Question(question) => self.asked.borrow().contains_key(&question),
            Concern::Session(session) => {
                let conversations = self.conversations.borrow();
                let state = conversations.get(&session).map(|found| found.state);
                state == Some(State::Leaving { until }) || state == Some(State::Ended { until })
            }
        }
    }

    fn expire(&self, concern: Concern) -> Result<(), Fault> {
        let mut conversations = self.conversations.borrow_mut();
        if let Concern::Session(session) = concern
            && let Some(conversation) = conversations.get_mut(&session)
            && matches!(conversation.state, State::Leaving { .. })
        {
            conversation.state = State::Talking;
            let incoming = conversation.incoming.clone();
            drop(conversations);
            incoming.discard();
            return Ok(());
        }
        Err(GuestFault::OutOfTime.into())
    }

    fn arm(&self, until: Instant, context: &Context<'_>) {
        if self.alarm.get().is_some_and(|(due, _)| due == until) {
            return;
        }
        self.disarm();
        let armed = (self.dispatcher.lane().clock).arm(until, context.waker().clone());
        self.alarm.set(Some((until, armed)));
    }

    fn disarm(&self) {
        if let Some((_, armed)) = self.alarm.take() {
            self.dispatcher.lane().clock.disarm(armed);
        }
    }
}

/// What a session gets whose function has returned (RFC 6455, section 7.4.1).
const CLOSE_NORMAL: u16 = 1000;
