//! One span: what was done, from when to when, and how it came out. Plain data, sent to another
//! thread when it is over.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use crate::trace_context::TraceContext;

/// Spans that one may point to beside its parent.
const LINKS_MAX: usize = 16;

/// Which side of an exchange a span is, with OTLP's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
    Consumer = 5,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.try_into().unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// A span under way, or one that is over.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(super) context: TraceContext,
    pub(super) parent: Option<TraceContext>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) begin: SystemTime,
    /// The wall clock may be set meanwhile; a duration must not be.
    pub(super) began: Instant,
    pub(super) end: SystemTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) links: Vec<TraceContext>,
    pub(super) error: Option<String>,
}

impl Span {
    /// Begins one now: below its parent, or as the first of a trace.
    pub(crate) fn begin(
        name: impl Into<Cow<'static, str>>,
        kind: Kind,
        parent: Option<TraceContext>,
    ) -> Self {
        let begin = SystemTime::now();
        Self {
            context: parent.map_or_else(TraceContext::root, TraceContext::child),
            parent,
            name: name.into(),
            kind,
            begin,
            began: Instant::now(),
            end: begin,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }

    /// Where it stands, for those below it.
    pub(crate) fn context(&self) -> TraceContext {
        self.context
    }

    /// Says something about it.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push((key, value.into()));
    }

    /// Points to a span that it has to do with, too.
    pub(crate) fn link(&mut self, other: TraceContext) {
        if self.links.len() < LINKS_MAX && !self.links.contains(&other) {
            self.links.push(other);
        }
    }

    /// It did not come out well.
    pub(crate) fn fail(&mut self, error: impl Into<String>) {
        self.error = Some(error.into());
    }

    pub(super) fn end(&mut self) {
        self.end = self.begin + self.began.elapsed();
    }
}
