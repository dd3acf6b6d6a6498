//! Versions on trial of a tenant: which there are, what became of others, and what an operator wants
//! of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Request;
use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Answer, Refusal, bad, object, ok};
use crate::admin::canaries::{CanaryEnd, CanaryOrder, CanaryRow, seconds_until};
use crate::admin::office::Office;
use crate::metrics::{RouteKey, Vitals};

/// `GET /v1/tenants/{tenant}/canary`
pub(super) async fn list(office: &Office, tenant: &str) -> Answer {
    let (report, _) = office.report().await;
    let rows = own_rows(office, tenant);
    let rows = rows.iter().map(|row| {
        let mut shown = shown(row);
        let counted = report.trials.get(&row.key()).cloned();
        shown["counted"] = counts(&counted.unwrap_or_default());
        shown
    });
    let ended = office.canaries.canaries().ends(tenant);
    ok(&json!({
        "canaries": rows.collect::<Vec<_>>(),
        "ended": ended.iter().map(ended_shown).collect::<Vec<_>>(),
    }))
}

/// `POST /v1/tenants/{tenant}/canary/promote` and `/abort`
pub(super) async fn order(
    office: &Office,
    request: Request<Incoming>,
    tenant: &str,
    (order, by): (CanaryOrder, String),
) -> Answer {
    let said = object(request, &["route"]).await?;
    let route = match said.get("route") {
        None => None,
        Some(Value::String(route)) => Some(route.as_str()),
        Some(_) => return Err(bad("the route is no text", "body, route", RIGHT)),
    };
    let of = meant(&own_rows(office, tenant), tenant, route)?;
    let route = Arc::clone(&of.1);
    let answer = office.canaries.order(of, order, by).await;
    let done = answer.unwrap_or_else(|_| Err("the server is ending".to_owned()));
    // It may have ended by itself between the look and the order.
    done.map_err(|why| Refusal::new(StatusCode::CONFLICT, why, "body, route", RIGHT))?;
    let outcome = match order {
        CanaryOrder::Promote => "promoted",
        CanaryOrder::Abort => "aborted",
    };
    ok(&json!({ "route": *route, "outcome": outcome }))
}

const RIGHT: &str = "a route on trial, as GET …/canary lists it";

fn own_rows(office: &Office, tenant: &str) -> Vec<CanaryRow> {
    let rows = office.canaries.canaries().rows().into_iter();
    rows.filter(|row| *row.of.0 == *tenant).collect()
}

/// The one that is named, or the only one.
fn meant(rows: &[CanaryRow], tenant: &str, route: Option<&str>) -> Result<RouteKey, Refusal> {
    let missing = |what: String| Refusal::new(StatusCode::NOT_FOUND, what, "body, route", RIGHT);
    match (rows, route) {
        (_, Some(route)) => {
            let found = rows.iter().find(|row| *row.of.1 == *route);
            let found = found.map(|row| row.of.clone());
            found.ok_or_else(|| missing(format!("no version of the route {route:?} is on trial")))
        }
        ([], None) => Err(missing(format!(
            "no version of the tenant {tenant} is on trial"
        ))),
        ([only], None) => Ok(only.of.clone()),
        (several, None) => {
            let names: Vec<&str> = several.iter().map(|row| &*row.of.1).collect();
            let right = format!("one of {}", names.join(", "));
            Err(bad(
                "several routes have a version on trial",
                "body, route",
                &right,
            ))
        }
    }
}

fn shown(row: &CanaryRow) -> Value {
    let canary = &row.canary;
    let mark = canary.mark.as_ref().map(ToString::to_string);
    json!({
        "route": *row.of.1,
        "stage": row.stage.label(),
        "generation": row.generation,
        "previous_generation": row.previous,
        "component": row.component,
        "share": canary.share.to_string(),
        "keys": canary.keys,
        "mark": mark,
        "since_unix_ms": unix_ms(row.since),
        "until_unix_ms": unix_ms(row.until),
        "seconds_left": seconds_until(row.until),
        "calls_min": canary.calls_min,
        "traps_max": canary.traps_max,
        "timeouts_max": canary.timeouts_max,
        "latency_p99_max_ms": canary.latency_p99_max.map(milliseconds),
    })
}

fn ended_shown(end: &CanaryEnd) -> Value {
    json!({
        "route": *end.of.1,
        "stage": end.stage.label(),
        "generation": end.generation,
        "outcome": end.outcome.label(),
        "cause": end.cause,
        "reason": end.reason,
        "at_unix_ms": unix_ms(end.at),
        "counted": end.vitals.as_ref().map(counts),
    })
}

fn counts(vitals: &Vitals) -> Value {
    json!({
        "sessions": vitals.sessions,
        "calls": vitals.calls,
        "slow_calls": vitals.slow,
        "traps": vitals.traps,
        "timeouts": vitals.timeouts,
        "latency_p99_at_most_ms": vitals.p99_bound().map(milliseconds),
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn unix_ms(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
