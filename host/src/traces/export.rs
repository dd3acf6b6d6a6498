//! The thread that takes spans out of the queue and sends them to the collector, many at a time.
//! What the collector does not take after some tries is dropped and counted: nothing is kept on disk,
//! and nobody waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::span::Span;
use super::{TraceCounters, TraceSettings, otlp};
use crate::outbound::{
    Account, HeaderMap, HeaderName, HeaderValue, Method, Outbound, OutboundError, PathAndQuery,
    Prepared, Request, Target, Timeouts,
};

/// Spans of one export.
const BATCH_SPANS_MAX: usize = 512;
/// Bytes of one export: more than so many spans have.
const BODY_BYTES_MAX: usize = 16 << 20;
/// How often an export is tried, and how long to wait before the next try.
const TRIES_MAX: u32 = 3;
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a server that ends waits for the collector.
const FAREWELL: Duration = Duration::from_secs(2);
/// A collector that takes nothing is told of once in this time.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// What the thread works with.
pub(super) struct Exporter {
    pub(super) settings: Arc<TraceSettings>,
    pub(super) counters: Arc<TraceCounters>,
    pub(super) outbound: Outbound,
}

/// Why an export failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// Another try may help.
    ForNow(Cause),
    /// The same spans would be refused again.
    ForGood(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Status(u16),
    Connection(OutboundError),
}

impl Exporter {
    /// Runs until nobody can put spans in any more, and what is there was sent.
    pub(super) fn run(self, spans: Receiver<Span>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        match builder.enable_all().build() {
            Ok(runtime) => {
                runtime.block_on(self.export_all(spans));
                // A look-up of a name that hangs is left alone.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!("traces are not exported: {error}"),
        }
    }

    async fn export_all(self, mut spans: Receiver<Span>) {
        let mut batch = Vec::new();
        let mut reported = None;
        while spans.recv_many(&mut batch, BATCH_SPANS_MAX).await > 0 {
            let until = Instant::now() + self.settings.export_every;
            while batch.len() < BATCH_SPANS_MAX {
                let left = BATCH_SPANS_MAX - batch.len();
                match timeout_at(until, spans.recv_many(&mut batch, left)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            let outcome = self.export(&batch, &spans).await;
            match outcome {
                Ok(()) => TraceCounters::count(&self.counters.exported, batch.len()),
                Err(refused) => {
                    TraceCounters::count(&self.counters.refused, batch.len());
                    let now = Instant::now();
                    if reported.is_none_or(|at| now.duration_since(at) >= REPORT_EVERY) {
                        reported = Some(now);
                        let (endpoint, spans) = (&self.settings.endpoint, batch.len());
                        tracing::warn!(%endpoint, spans, "spans were dropped: {refused}");
                    }
                }
            }
            batch.clear();
        }
    }

    /// Sends a batch, several times if need be.
    async fn export(&self, batch: &[Span], spans: &Receiver<Span>) -> Result<(), Refused> {
        let body = otlp::request(batch);
        let mut tries = 1;
        loop {
            let is_last = spans.is_closed();
            let limit = match is_last {
                true => FAREWELL.min(self.settings.timeout),
                false => self.settings.timeout,
            };
            let outcome = self.post(&body, limit).await;
            match outcome {
                Err(Refused::ForNow(_)) if tries < TRIES_MAX && !is_last => {
                    sleep(RETRY_AFTER * tries).await;
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn post(&self, body: &str, limit: Duration) -> Result<(), Refused> {
        let failed = |error| Refused::ForNow(Cause::Connection(error));
        let endpoint = &self.settings.endpoint;
        let target = Target::of_operator(&endpoint.host, endpoint.port, endpoint.is_secure);
        let place = self.outbound.place(&"traces".into()).map_err(failed)?;
        let (to, prepared) = oneshot::channel();
        let mut whole = Prepared::new(&Account::default(), BODY_BYTES_MAX);
        whole.append(body.as_bytes()).map_err(failed)?;
        // It is there before anybody waits for it.
        let _ = to.send(whole);
        let request = Request {
            method: Method::POST,
            path: self.path().map_err(failed)?,
            headers: self.headers(),
            body: prepared,
        };
        let timeouts = Timeouts {
            connect: limit,
            first_byte: limit,
            total: limit,
            between_bytes: None,
        };
        let exchange = self.outbound.send(target, request, timeouts, place);
        let head = exchange.head.await;
        let head = head.unwrap_or(Err(OutboundError::Terminated));
        judge(head.map_err(failed)?.status)
    }

    fn path(&self) -> Result<PathAndQuery, OutboundError> {
        let path = PathAndQuery::try_from(self.settings.endpoint.path());
        path.map_err(|_| OutboundError::InvalidRequest)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(HeaderName::from_static("content-type"), json);
        for (name, value) in &self.settings.headers {
            // The configuration has checked both.
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value.reveal());
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        headers
    }
}

/// What a status means (OTLP, "OTLP/HTTP Response").
fn judge(status: u16) -> Result<(), Refused> {
    match status {
        200..=299 => Ok(()),
        429 | 502 | 503 | 504 => Err(Refused::ForNow(Cause::Status(status))),
        _ => Err(Refused::ForGood(status)),
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ForNow(Cause::Status(status)) | Self::ForGood(status) => {
                write!(formatter, "the collector answered {status}")
            }
            Self::ForNow(Cause::Connection(error)) => {
                write!(formatter, "the collector was not reached: {error:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(judge(200), Ok(()));
        for status in [429, 502, 503, 504] {
            assert!(matches!(judge(status), Err(Refused::ForNow(_))), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500] {
            assert_eq!(judge(status), Err(Refused::ForGood(status)));
        }
    }
}
