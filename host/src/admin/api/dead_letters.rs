//! Dead letters of a tenant: which there are, what is in one, and throwing them away.
//!
//! They are kept by no worker, so nobody is asked but the list itself.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Refusal, bad, limit, ok, page, query};
use crate::admin::office::Office;
use crate::dead_letters::{DeadLetter, DeadMessage};
use crate::id::IncidentId;

/// `GET /v1/tenants/{tenant}/dead-letters`: the newest first, without payloads.
pub(super) fn list(office: &Office, request: &Request<Incoming>, tenant: &str) -> Answer {
    let limit = limit(request)?;
    let before = cursor(request)?;
    let mut rows = office.dead_letters.list(tenant, before, limit + 1);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more);
    let next = next.map(|(number, _)| number.to_string());
    let rows = rows.iter().map(|(_, letter)| summary(letter));
    page("dead_letters", rows.collect(), next)
}

/// `GET /v1/dead-letters/{incident}` and `GET /v1/tenants/{tenant}/dead-letters/{incident}`
pub(super) fn one(office: &Office, incident: &str, reaches: impl Fn(&str) -> bool) -> Answer {
    let id = incident_id(incident)?;
    let letter = office.dead_letters.find(id, reaches);
    let letter = letter.ok_or_else(missing)?;
    let mut answer = summary(&letter);
    answer["messages"] = letter.messages.iter().map(message).collect();
    ok(&answer)
}

/// `DELETE /v1/tenants/{tenant}/dead-letters/{incident}`
pub(super) fn delete(office: &Office, tenant: &str, incident: &str) -> Answer {
    let id = incident_id(incident)?;
    if office.dead_letters.delete(tenant, id) {
        return ok(&json!({ "deleted": 1 }));
    }
    Err(missing())
}

/// `DELETE /v1/tenants/{tenant}/dead-letters`
pub(super) fn delete_all(office: &Office, tenant: &str) -> Answer {
    ok(&json!({ "deleted": office.dead_letters.delete_all(tenant) }))
}

fn incident_id(text: &str) -> Result<IncidentId, Refusal> {
    let right = "the 16 hexadecimal digits that the client and the log were told";
    IncidentId::parse(text).ok_or_else(|| bad("the incident is no number", "path", right))
}

fn missing() -> Refusal {
    let what = "no dead letter of that incident is kept";
    let right = "an incident that GET …/dead-letters lists: the oldest make room for others";
    Refusal::new(StatusCode::NOT_FOUND, what, "path", right)
}

/// The number of the last letter that the client has seen.
fn cursor(request: &Request<Incoming>) -> Result<u64, Refusal> {
    let Some(text) = query(request, "after")? else {
        return Ok(u64::MAX);
    };
    text.parse().map_err(|_| {
        let right = "`next` of the page before";
        bad(format!("after is {text:?}"), "query", right)
    })
}

fn summary(letter: &Arc<DeadLetter>) -> Value {
    let at = letter.at.duration_since(SystemTime::UNIX_EPOCH);
    json!({
        "incident": letter.incident.to_string(),
        "at": at.unwrap_or_default().as_secs_f64(),
        "tenant": *letter.tenant,
        "route": *letter.route,
        "component": *letter.component,
        "generation": letter.generation,
        "worker": letter.worker,
        "call": letter.call,
        "kind": letter.kind,
        "error": letter.error,
        "outcome": letter.outcome,
        "sessions_closed": letter.sessions_closed,
        "timer": letter.timer,
        "sessions": letter.sessions,
        "message_count": letter.messages.len(),
    })
}

fn message(message: &DeadMessage) -> Value {
    let DeadMessage {
        session,
        kind,
        payload_bytes,
        payload,
    } = message;
    let mut shown = json!({
        "session": session,
        "kind": kind,
        "bytes": payload_bytes,
        "is_cut": payload.len() < *payload_bytes,
    });
    match shown_text(kind, payload) {
        Some(text) => shown["text"] = text.into(),
        None => shown["base64"] = BASE64.encode(payload).into(),
    }
    shown
}

/// The text of a payload that is one. A cut may have gone through its last character.
fn shown_text<'a>(kind: &str, payload: &'a [u8]) -> Option<&'a str> {
    if !matches!(kind, "text" | "close") {
        return None;
    }
    match std::str::from_utf8(payload) {
        Ok(text) => Some(text),
        Err(error) => std::str::from_utf8(&payload[..error.valid_up_to()]).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_as_what_it_is() {
        let check = |kind, payload: &[u8], payload_bytes, expect: Value| {
            let letter = DeadMessage {
                session: "s".into(),
                kind,
                payload_bytes,
                payload: payload.into(),
            };
            let shown = message(&letter);
            for (key, value) in expect.as_object().expect("an object") {
                assert_eq!(&shown[key], value, "{kind} {key}: {shown}");
            }
        };
        check(
            "text",
            "hé".as_bytes(),
            3,
            json!({ "text": "hé", "is_cut": false }),
        );
        check("text", b"h\xc3", 3, json!({ "text": "h", "is_cut": true }));
        check(
            "text",
            b"",
            3,
            json!({ "text": "", "is_cut": true, "bytes": 3 }),
        );
        check(
            "binary",
            b"hi",
            2,
            json!({ "base64": "aGk=", "text": null }),
        );
        check("ping", b"hi", 2, json!({ "base64": "aGk=" }));
    }
}
