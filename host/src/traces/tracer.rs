//! The traces of one worker: which of its sessions are recorded, and the call or conversation that
//! each instance is in. Lives on one thread. What is not recorded leaves nothing here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use wharf_protocol::{Ending, Initiator};

use super::span::{Kind, Span};
use super::{OpenSpan, TraceCounters, Traces};
use crate::outbound::Target;
use crate::trace_context::TraceContext;

/// Sessions of one worker that are recorded at a time; further ones are not.
const SESSIONS_MAX: usize = 10_000;

/// One worker's traces; a clone means the same.
#[derive(Clone)]
pub(crate) struct Tracer(Rc<Shared>);

struct Shared {
    traces: Traces,
    /// By number.
    sessions: RefCell<HashMap<u64, Recorded>>,
    /// The call that runs now, by its instance's serial number: an instance has one at a time.
    calls: RefCell<HashMap<u64, Span>>,
    /// The conversation that an instance was made for, if it has one of its own and that is recorded.
    conversations: RefCell<HashMap<u64, TraceContext>>,
}

/// A session that is recorded.
struct Recorded {
    span: Span,
    calls_left: u32,
}

/// What is said of a session.
pub(crate) struct SessionFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) route: &'a str,
}

/// What a guest call is about.
pub(crate) enum CallAbout<I> {
    /// Sessions, by number; each as often as it has messages.
    Sessions(I),
    /// A handshake, if that is recorded.
    Handshake(Option<TraceContext>),
    /// Nothing that could be recorded: it is the first of a trace, one in so many.
    Itself,
}

impl Tracer {
    pub(crate) fn new(traces: Traces) -> Self {
        Self(Rc::new(Shared {
            traces,
            sessions: RefCell::default(),
            calls: RefCell::default(),
            conversations: RefCell::default(),
        }))
    }

    /// Begins the span of a handshake, if it is one that is recorded: its client's word, if that
    /// counts, or one in so many.
    pub(crate) fn handshake(&self, traceparent: Option<&[u8]>, route: &str) -> Option<OpenSpan> {
        let traces = &self.0.traces;
        let said = traceparent
            .filter(|_| traces.settings.accept_traceparent)
            .and_then(TraceContext::parse);
        let parent = match said {
            Some((parent, true)) => Some(parent),
            Some((_, false)) => return None,
            None if traces.samples() => None,
            None => return None,
        };
        let span = Span::begin(format!("GET {route}"), Kind::Server, parent);
        Some(OpenSpan::new(traces, span))
    }

    /// Begins a span that has no parent, if it is one in so many.
    pub(crate) fn sampled(&self, name: &'static str) -> Option<OpenSpan> {
        let traces = &self.0.traces;
        traces.samples().then(|| traces.open(name))
    }

    /// Begins a span below another.
    pub(crate) fn below(&self, name: &'static str, parent: TraceContext) -> OpenSpan {
        let span = Span::begin(name, Kind::Internal, Some(parent));
        OpenSpan::new(&self.0.traces, span)
    }

    /// Begins the span of a conversation, if its session is recorded. `own`: the serial number of the
    /// instance, if it has that for itself, so that whatever comes out of it is this one's.
    pub(crate) fn converse(&self, session: u64, own: Option<u64>) -> Option<OpenSpan> {
        let of_session = self.0.sessions.borrow().get(&session)?.span.context();
        let span = Span::begin("converse", Kind::Consumer, Some(of_session));
        if let Some(instance) = own {
            let mut conversations = self.0.conversations.borrow_mut();
            // The first: what it opens converses in the same instance.
            conversations.entry(instance).or_insert(span.context());
        }
        Some(OpenSpan::new(&self.0.traces, span))
    }

    /// An instance of conversations has ended.
    pub(crate) fn end_conversations(&self, instance: u64) {
        self.0.conversations.borrow_mut().remove(&instance);
    }

    /// A session begins below its handshake.
    pub(crate) fn begin_session(
        &self,
        session: u64,
        handshake: TraceContext,
        facts: &SessionFacts<'_>,
    ) {
        let mut sessions = self.0.sessions.borrow_mut();
        if sessions.len() >= SESSIONS_MAX {
            return TraceCounters::count(&self.0.traces.counters.dropped, 1);
        }
        let mut span = Span::begin("session", Kind::Internal, Some(handshake));
        span.set("wharf.session", facts.name);
        span.set("wharf.tenant", facts.tenant);
        span.set("http.route", facts.route);
        let calls_left = self.0.traces.settings.session_spans_max;
        sessions.insert(session, Recorded { span, calls_left });
    }

    /// Its handler hears no more of a session; `None`: its socket lives still, to be closed for a
    /// failure.
    pub(crate) fn end_session(&self, session: u64, ending: Option<&Ending>) {
        let Some(Recorded { mut span, .. }) = self.0.sessions.borrow_mut().remove(&session) else {
            return;
        };
        match ending {
            Some(ending) => {
                span.set("wharf.close.code", ending.code);
                span.set("wharf.close.clean", ending.clean);
                let initiator = match ending.initiator {
                    Initiator::Peer => "peer",
                    Initiator::Handler => "handler",
                    Initiator::Host => "host",
                };
                span.set("wharf.close.initiator", initiator);
            }
            None => span.fail("its handler failed"),
        }
        self.0.traces.finish(span);
    }

    /// An instance is called; recorded if what the call is about is.
    pub(crate) fn begin_call(
        &self,
        instance: u64,
        name: &'static str,
        about: CallAbout<impl ExactSizeIterator<Item = u64>>,
    ) {
        let span = match about {
            CallAbout::Sessions(sessions) => self.begin_call_about(name, sessions),
            CallAbout::Handshake(parent) => {
                parent.map(|parent| Span::begin(name, Kind::Internal, Some(parent)))
            }
            CallAbout::Itself => {
                let is_sampled = self.0.traces.samples();
                is_sampled.then(|| Span::begin(name, Kind::Internal, None))
            }
        };
        if let Some(span) = span {
            self.0.calls.borrow_mut().insert(instance, span);
        }
    }

    /// Below the first recorded session, with links to the others.
    fn begin_call_about(
        &self,
        name: &'static str,
        about: impl ExactSizeIterator<Item = u64>,
    ) -> Option<Span> {
        let mut sessions = self.0.sessions.borrow_mut();
        if sessions.is_empty() {
            return None;
        }
        let messages = about.len();
        let (mut call, mut last): (Option<Span>, _) = (None, None);
        for session in about {
            if last.replace(session) == Some(session) {
                continue;
            }
            let Some(recorded) = sessions.get_mut(&session) else {
                continue;
            };
            let of_session = recorded.span.context();
            match &mut call {
                Some(call) if Some(of_session) != call.parent => call.link(of_session),
                Some(_) => {}
                None if recorded.calls_left == 0 => {
                    TraceCounters::count(&self.0.traces.counters.dropped, 1);
                    return None;
                }
                None => {
                    recorded.calls_left -= 1;
                    call = Some(Span::begin(name, Kind::Consumer, Some(of_session)));
                }
            }
        }
        let mut call = call?;
        call.set("messaging.batch.message_count", messages);
        Some(call)
    }

    /// The call of an instance is over; `error` if it failed.
    pub(crate) fn end_call(&self, instance: u64, error: Option<(&'static str, String)>) {
        let Some(mut span) = self.0.calls.borrow_mut().remove(&instance) else {
            return;
        };
        if let Some((kind, error)) = error {
            span.set("error.type", kind);
            span.fail(error);
        }
        self.0.traces.finish(span);
    }

    /// Begins a span for what an instance asks of the world outside, if its call or conversation is
    /// recorded.
    pub(crate) fn ask_outside(
        &self,
        instance: u64,
        method: &str,
        target: &Target,
    ) -> Option<OpenSpan> {
        let of_call = self.0.calls.borrow().get(&instance).map(Span::context);
        let parent = match of_call {
            Some(call) => call,
            None => *self.0.conversations.borrow().get(&instance)?,
        };
        let mut span = Span::begin(method.to_owned(), Kind::Client, Some(parent));
        span.set("http.request.method", method);
        span.set("server.address", target.host());
        span.set("server.port", target.port());
        Some(OpenSpan::new(&self.0.traces, span))
    }
}
