//! Traces: what one session in so many went through, as spans for an OpenTelemetry collector.
//!
//! A span that is not sampled is never made; one that is costs its worker a few allocations, and goes
//! into a bounded queue which nobody waits for. A thread of its own takes them out and sends them.
//! Nothing here calls a guest or a socket of a session.

mod export;
mod open;
mod otlp;
mod settings;
mod span;
mod tracer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{self, Sender};

pub(crate) use self::open::OpenSpan;
pub use self::settings::TraceSettings;
pub(crate) use self::settings::is_header;
pub(crate) use self::span::{Kind, Span};
pub(crate) use self::tracer::{CallAbout, SessionFacts, Tracer};
use crate::id::random_u64;
use crate::outbound::Outbound;

/// Where the spans of a server go; a clone means the same.
#[derive(Clone, Debug)]
pub(crate) struct Traces {
    settings: Arc<TraceSettings>,
    queue: Sender<Span>,
    counters: Arc<TraceCounters>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct TraceCounters {
    exported: AtomicU64,
    /// The queue was full, or a session had more than its share.
    dropped: AtomicU64,
    /// The collector did not take them.
    refused: AtomicU64,
}

/// [`TraceCounters`] as they are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceFigures {
    pub(crate) exported: u64,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
}

impl TraceCounters {
    fn count(counter: &AtomicU64, spans: usize) {
        counter.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> TraceFigures {
        TraceFigures {
            exported: self.exported.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl Traces {
    /// Begins to export over `outbound`, on a thread that ends when the last clone is gone.
    pub(crate) fn start(
        settings: TraceSettings,
        outbound: Outbound,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, spans) = mpsc::channel(settings.queue_spans_max);
        let settings = Arc::new(settings);
        let counters = Arc::<TraceCounters>::default();
        let exporter = export::Exporter {
            settings: Arc::clone(&settings),
            counters: Arc::clone(&counters),
            outbound,
        };
        let thread = std::thread::Builder::new().name("wharf-traces".into());
        let thread = thread.spawn(move || exporter.run(spans))?;
        let traces = Self {
            settings,
            queue,
            counters,
        };
        Ok((traces, thread))
    }

    pub(crate) fn counters(&self) -> &Arc<TraceCounters> {
        &self.counters
    }

    /// Whether something that has no parent is recorded.
    pub(crate) fn samples(&self) -> bool {
        random_u64().is_multiple_of(self.settings.sample_one_in)
    }

    /// Begins a span that has no parent, and is recorded.
    pub(crate) fn open(&self, name: &'static str) -> OpenSpan {
        OpenSpan::new(self, Span::begin(name, Kind::Internal, None))
    }

    /// A span is over. Nobody waits for room in the queue.
    pub(crate) fn finish(&self, mut span: Span) {
        span.end();
        if self.queue.try_send(span).is_err() {
            TraceCounters::count(&self.counters.dropped, 1);
        }
    }
}
