//! A span under way that ends with its owner, whatever becomes of that.

use super::span::Value;
use super::{Span, Traces};
use crate::outbound::{HeaderMap, HeaderName, HeaderValue};
use crate::trace_context::TraceContext;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A span that is recorded when this is dropped.
#[derive(Debug)]
pub(crate) struct OpenSpan {
    traces: Traces,
    /// Boxed: what may have one is mostly without.
    span: Option<Box<Span>>,
}

impl OpenSpan {
    pub(super) fn new(traces: &Traces, span: Span) -> Self {
        Self {
            traces: traces.clone(),
            span: Some(Box::new(span)),
        }
    }

    /// Where it stands, for those below it.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        self.span.as_ref().map(|span| span.context())
    }

    /// Says something about it.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.span {
            span.set(key, value);
        }
    }

    /// It did not come out well.
    pub(crate) fn fail(&mut self, error: impl Into<String>) {
        if let Some(span) = &mut self.span {
            span.fail(error);
        }
    }

    /// Tells whoever is asked where it stands, unless the handler has said something of its own.
    pub(crate) fn propagate(&self, headers: &mut HeaderMap) {
        if headers.contains_key(TRACEPARENT) {
            return;
        }
        let value = self.context().map(|context| context.to_string());
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            self.traces.finish(*span);
        }
    }
}
