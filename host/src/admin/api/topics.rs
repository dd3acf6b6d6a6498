//! Topics of a tenant: which there are, who is in one, and a message to all of them.

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use serde_json::json;
use wharf_protocol::MessageKind;

use super::{Answer, Refusal, bad, body, limit, ok, page, query, silent};
use crate::admin::office::Office;
use crate::admin::question::{Question, ask_all};
use crate::catalog::{TOPIC_NAME_BYTES_MAX, percent_decode};
use crate::topics::TopicError;

/// What a message may have.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// `GET /v1/tenants/{tenant}/topics`
pub(super) async fn list(office: &Office, request: &Request<Incoming>, tenant: &str) -> Answer {
    let limit = limit(request)?;
    let after = query(request, "after")?.unwrap_or_default();
    let question = |reply| Question::Topics {
        tenant: tenant.to_owned(),
        after: after.clone(),
        limit: limit + 1,
        reply,
    };
    let mut rows = ask_one(office, question).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more);
    let next = next.map(|(name, _)| name.to_string());
    let rows = rows.iter();
    let rows = rows.map(|(name, members)| json!({ "topic": **name, "members": members }));
    page("topics", rows.collect(), next)
}

/// `GET /v1/tenants/{tenant}/topics/{topic}`
pub(super) async fn members(office: &Office, tenant: &str, topic: &str) -> Answer {
    let topic = topic_name(topic)?;
    let question = |reply| Question::Members {
        tenant: tenant.to_owned(),
        topic: topic.clone(),
        reply,
    };
    let members = ask_one(office, question).await?.map_err(refused)?;
    let rows = members.iter();
    let rows: Vec<_> = rows
        .map(|(session, info)| json!({ "session": session, "info": **info }))
        .collect();
    ok(&json!({ "topic": topic, "members": rows }))
}

/// `POST /v1/tenants/{tenant}/topics/{topic}`
pub(super) async fn publish(
    office: &Office,
    request: Request<Incoming>,
    tenant: &str,
    topic: &str,
) -> Answer {
    let topic = topic_name(topic)?;
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("text/plain").split(';').next();
    let is_binary = content_type.map(str::trim) == Some("application/octet-stream");
    let payload = body(request, MESSAGE_BYTES_MAX).await?;
    let kind = if is_binary {
        MessageKind::Binary
    } else {
        let right = "UTF-8, or Content-Type: application/octet-stream for a binary message";
        std::str::from_utf8(&payload).map_err(|_| bad("the text is no UTF-8", "body", right))?;
        MessageKind::Text
    };
    // By one worker, which tells the others.
    let question = |reply| Question::Publish {
        tenant: tenant.to_owned(),
        topic: topic.clone(),
        message: (kind, payload.to_vec()),
        reply,
    };
    let members = ask_one(office, question).await?.map_err(refused)?;
    ok(&json!({ "topic": topic, "members": members }))
}

/// Asks the first worker: each knows all topics.
async fn ask_one<A>(
    office: &Office,
    question: impl Fn(tokio::sync::oneshot::Sender<A>) -> Question,
) -> Result<A, Refusal> {
    let first = &office.workers[..1];
    let mut answers = ask_all(first, question).await;
    answers.pop().flatten().ok_or_else(silent)
}

/// Names of topics may hold anything; the path holds them percent-encoded.
fn topic_name(part: &str) -> Result<String, Refusal> {
    let decoded = percent_decode(part);
    let fits = decoded.filter(|name| (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len()));
    fits.ok_or_else(|| {
        let right = format!("1 to {TOPIC_NAME_BYTES_MAX} bytes of UTF-8, percent-encoded");
        bad("the topic's name cannot be one", "path", &right)
    })
}

fn refused(error: TopicError) -> Refusal {
    let what = match error {
        TopicError::Limit(limit) => format!("a limit of the topic is reached: {limit}"),
        TopicError::Closed => "the topic takes nothing now".to_owned(),
    };
    let right = "fewer or smaller messages; what is listed is listed of topics with fewer members";
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, what, "topic", right).retry_after(1)
}
