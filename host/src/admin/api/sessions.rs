//! Sessions of a tenant: which there are, how one is, and its end.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use wharf_protocol::{OperatorReason, REASON_BYTES_MAX, code_may_be_sent};

use super::{Answer, Refusal, bad, limit, object, ok, page, query, silent};
use crate::admin::office::Office;
use crate::admin::question::{Question, ask_all};
use crate::dispatch::SessionRow;

/// `GET /v1/tenants/{tenant}/sessions`
pub(super) async fn list(office: &Office, request: &Request<Incoming>, tenant: &str) -> Answer {
    let (limit, after) = (limit(request)?, cursor(request)?);
    let answers = ask_all(&office.workers, |reply| Question::Sessions {
        tenant: tenant.to_owned(),
        after,
        // One more shows whether there is another page.
        limit: limit + 1,
        reply,
    })
    .await;
    if answers.iter().any(Option::is_none) {
        return Err(silent());
    }
    let mut rows: Vec<SessionRow> = answers.into_iter().flatten().flatten().collect();
    rows.sort_unstable_by_key(|row| row.number);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more);
    let next = next.map(|row| format!("{:x}", row.number));
    page("sessions", rows.iter().map(shown).collect(), next)
}

/// `GET /v1/tenants/{tenant}/sessions/{session}`
pub(super) async fn one(office: &Office, tenant: &str, session: &str) -> Answer {
    let answers = ask_all(&office.workers, |reply| Question::Session {
        tenant: tenant.to_owned(),
        name: session.to_owned(),
        reply,
    })
    .await;
    match answers.iter().flatten().flatten().next() {
        Some(row) => ok(&shown(row)),
        None if answers.iter().any(Option::is_none) => Err(silent()),
        None => Err(missing()),
    }
}

/// `POST /v1/tenants/{tenant}/sessions/{session}/kick`
pub(super) async fn kick(
    office: &Office,
    request: Request<Incoming>,
    tenant: &str,
    session: &str,
) -> Answer {
    let said = object(request, &["code", "reason"]).await?;
    let mut reason = OperatorReason::default();
    if let Some(code) = said.get("code") {
        let code = code.as_u64().and_then(|code| u16::try_from(code).ok());
        let fits = code.filter(|code| code_may_be_sent(*code));
        reason.code = fits.ok_or_else(|| {
            let right = "1000 to 1003, 1007 to 1014 or 3000 to 4999";
            bad("the close code may not be sent", "body, code", right)
        })?;
    }
    if let Some(text) = said.get("reason") {
        let text = text.as_str().filter(|text| text.len() <= REASON_BYTES_MAX);
        let refuse = || {
            bad(
                "the reason does not fit",
                "body, reason",
                "a text of up to 123 bytes",
            )
        };
        reason.reason = text.ok_or_else(refuse)?.to_owned();
    }
    let answers = ask_all(&office.workers, |reply| Question::Kick {
        tenant: tenant.to_owned(),
        name: session.to_owned(),
        reason: reason.clone(),
        reply,
    })
    .await;
    if answers.contains(&Some(true)) {
        return ok(&json!({ "kicked": session, "code": reason.code, "reason": reason.reason }));
    }
    if answers.contains(&None) {
        return Err(silent());
    }
    Err(missing())
}

fn missing() -> Refusal {
    let what = "the tenant has no such session";
    let right = "the name of an open session, as GET …/sessions lists it";
    Refusal::new(StatusCode::NOT_FOUND, what, "path", right)
}

/// The number of the last session that the client has seen.
fn cursor(request: &Request<Incoming>) -> Result<u64, Refusal> {
    let Some(text) = query(request, "after")? else {
        return Ok(0);
    };
    u64::from_str_radix(&text, 16).map_err(|_| {
        let right = "`next` of the page before";
        bad(format!("after is {text:?}"), "query", right)
    })
}

fn shown(row: &SessionRow) -> Value {
    json!({
        "session": row.name,
        "number": row.number,
        "route": row.route,
        "generation": row.generation,
        "canary": row.is_canary,
        "state": if row.is_open { "open" } else { "closing" },
        "worker": row.worker,
        "instance_asleep": row.instance_asleep,
        "subprotocol": row.subprotocol,
        "remote_address": row.remote_address,
        "tags": row.tags,
        "attachment_bytes": row.attachment_bytes,
        "queued_bytes": row.queued_bytes,
        "in_flight_bytes": row.in_flight_bytes,
    })
}
