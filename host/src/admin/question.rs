//! What the admin listener asks of workers, and how the answers come together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use wharf_protocol::{MessageKind, OperatorReason};

use crate::dispatch::SessionRow;
use crate::metrics::Report;
use crate::topics::TopicError;

/// A worker that does not answer within this is counted as silent: a guest may hold it for the
/// length of one bulk operation.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a worker answers.
pub(crate) type Reply<A> = oneshot::Sender<A>;

/// A member of a topic: its session's name, and what it says of itself.
pub(crate) type Member = (String, Arc<str>);

/// What a worker is asked.
#[derive(Debug)]
pub(crate) enum Question {
    /// What it has counted.
    Report { reply: Reply<Report> },
    /// Which routes there are, each with its tenant.
    Routes {
        reply: Reply<Vec<(Arc<str>, String)>>,
    },
    /// The tenant's sessions with a number above `after`, the lowest first.
    Sessions {
        tenant: String,
        after: u64,
        limit: usize,
        reply: Reply<Vec<SessionRow>>,
    },
    /// One of the tenant's sessions, by name.
    Session {
        tenant: String,
        name: String,
        reply: Reply<Option<SessionRow>>,
    },
    /// End it. Whether it was there.
    Kick {
        tenant: String,
        name: String,
        reason: OperatorReason,
        reply: Reply<bool>,
    },
    /// The tenant's topics behind `after`, by name, with how many members each has.
    Topics {
        tenant: String,
        after: String,
        limit: usize,
        reply: Reply<Vec<(Arc<str>, usize)>>,
    },
    /// Who is a member, by the session's name, and what each says of itself.
    Members {
        tenant: String,
        topic: String,
        reply: Reply<Result<Vec<Member>, TopicError>>,
    },
    /// Send a message to all members. To how many it is on its way.
    Publish {
        tenant: String,
        topic: String,
        message: (MessageKind, Vec<u8>),
        reply: Reply<Result<u64, TopicError>>,
    },
}

/// Asks every worker; the answers of those that gave one in time, in order.
pub(super) async fn ask_all<A>(
    workers: &[UnboundedSender<Question>],
    question: impl Fn(Reply<A>) -> Question,
) -> Vec<Option<A>> {
    let mut asked = Vec::new();
    for worker in workers {
        let (reply, answer) = oneshot::channel();
        // One that has ended will not answer.
        let _ = worker.send(question(reply));
        asked.push(answer);
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut answers = Vec::new();
    for answer in asked {
        let answer = tokio::time::timeout_at(deadline, answer).await;
        answers.push(answer.ok().and_then(Result::ok));
    }
    answers
}
