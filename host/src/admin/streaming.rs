//! What comes over time, one JSON object a line: a tenant's log, for as long as the reader reads, and
//! the steps of a deploy.
//!
//! The log is bounded: the reader that falls behind misses lines and is told how many; one that reads nothing
//! for a minute is cut; so many may listen and no more.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::answer::{Refusal, streamed};
use super::listener::Deadline;
use super::office::Office;
use crate::capability::LogLine;

/// Readers of one tenant's log, and of all.
const TENANT_READERS_MAX: usize = 8;
const READERS_MAX: usize = 64;
/// An empty line says that the stream lives, and finds out whether the reader does.
const LIFE_SIGN: Duration = Duration::from_secs(10);
/// A reader that has taken nothing for so long is cut.
const READER_TIMEOUT: Duration = Duration::from_secs(60);

/// `GET /v1/tenants/{tenant}/logs`
pub(super) fn logs(
    office: &Office,
    tenant: &str,
    deadline: &Deadline,
) -> Result<hyper::Response<super::answer::Body>, Refusal> {
    let (lines, readers) = office.logs.listen(tenant);
    if readers > TENANT_READERS_MAX || std::rc::Rc::strong_count(&office.streams) > READERS_MAX {
        let what = "too many read logs already";
        let right = "at most 8 readers of a tenant's log, and 64 of all";
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, what, "the log", right);
        return Err(refusal.retry_after(10));
    }
    let (pieces, stream) = mpsc::channel(1);
    let (counted, deadline) = (office.streams.clone(), deadline.clone());
    tokio::task::spawn_local(async move {
        pump(lines, pieces, &deadline).await;
        drop(counted);
    });
    let body = Box::pin(Stream(stream));
    Ok(streamed(StatusCode::OK, "application/jsonl", body))
}

/// Hands on lines until nobody takes them any more.
async fn pump(
    mut lines: broadcast::Receiver<LogLine>,
    pieces: mpsc::Sender<Bytes>,
    deadline: &Deadline,
) {
    loop {
        let line = tokio::select! {
            line = timeout(LIFE_SIGN, lines.recv()) => line,
            () = pieces.closed() => return,
        };
        let text = match line {
            Ok(Ok(line)) => shown(&line),
            Ok(Err(RecvError::Lagged(missed))) => json!({ "missed_lines": missed }).to_string(),
            Ok(Err(RecvError::Closed)) => return,
            Err(_) => String::new(),
        };
        // Waits while the connection takes nothing, until the deadline closes it.
        if pieces.send(Bytes::from(text + "\n")).await.is_err() {
            return;
        }
        deadline.extend(READER_TIMEOUT);
    }
}

fn shown(line: &LogLine) -> String {
    let since = line.at.duration_since(SystemTime::UNIX_EPOCH);
    json!({
        "at": since.unwrap_or_default().as_secs_f64(),
        "level": line.level.as_str(),
        "route": *line.route,
        "component": *line.component,
        "session_number": line.session,
        "source": line.source,
        "context": line.context,
        "text": *line.text,
    })
    .to_string()
}

/// Where a thread writes the lines of an answer. A few of them: whoever does not read them holds up
/// nobody.
pub(super) struct Lines(mpsc::Sender<Bytes>);

/// More than a deploy has steps.
const LINES_MAX: usize = 32;

impl Lines {
    /// And the answer that they become.
    pub(super) fn new() -> (Self, super::answer::Body) {
        let (lines, stream) = mpsc::channel(LINES_MAX);
        (Self(lines), Box::pin(Stream(stream)))
    }

    pub(super) fn send(&self, line: &serde_json::Value) {
        // The reader may have left.
        let _ = self.0.try_send(Bytes::from(format!("{line}\n")));
    }
}

/// What the pump has handed on.
struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
