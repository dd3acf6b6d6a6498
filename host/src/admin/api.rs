//! The API: what a path means, and who may ask for it. `openapi.json` says the same for programs.
//!
//! A tenant's token reaches its own tenant and nothing else. Names are checked before anything is
//! looked up; whatever is listed comes in pages.

mod canary;
mod dead_letters;
mod deployments;
mod sessions;
mod tenants;
mod topics;
mod upgrade;
mod upload;

use std::str::FromStr;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

pub(super) use self::upload::Uploads;
use super::answer::{self, Body, Refusal};
use super::canaries::CanaryOrder;
use super::office::{Asked, Office};
use super::streaming;
use crate::catalog::percent_decode;

/// Bytes of a JSON document in a request.
const JSON_BYTES_MAX: usize = 64 << 10;
/// Rows of a page, unless the request says fewer.
const PAGE_ROWS: usize = 100;
const PAGE_ROWS_MAX: usize = 1_000;

type Answer = Result<Response<Body>, Refusal>;

/// Answers a request of somebody who is known.
pub(super) async fn answer(office: &Office, asked: Asked<'_>) -> Answer {
    let path = asked.request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let method = asked.request.method().clone();
    let Some((&"v1", parts)) = parts.split_first() else {
        return Err(not_found(&path));
    };
    match (&method, parts) {
        (&Method::GET, ["status"]) => {
            only_operators(&asked)?;
            tenants::status(office).await
        }
        (&Method::POST, ["drain"]) => {
            only_operators(&asked)?;
            tenants::drain(office).await
        }
        (&Method::POST, ["upgrade"]) => {
            only_operators(&asked)?;
            upgrade::upgrade(office, asked).await
        }
        (&Method::GET, ["tenants"]) => tenants::list(office, &asked).await,
        (&Method::GET, ["dead-letters", incident]) => {
            let reaches = |tenant: &str| asked.token.reaches(tenant);
            dead_letters::one(office, incident, reaches)
        }
        (_, ["tenants", tenant, rest @ ..]) => {
            let tenant = name("the tenant", tenant)?;
            if !asked.token.reaches(tenant) {
                return Err(foreign(tenant));
            }
            of_tenant(office, asked, &method, tenant, rest).await
        }
        (_, ["status" | "drain" | "upgrade" | "tenants"] | ["dead-letters", _]) => {
            Err(wrong_method(&method, &path))
        }
        _ => Err(not_found(&path)),
    }
}

async fn of_tenant(
    office: &Office,
    asked: Asked<'_>,
    method: &Method,
    tenant: &str,
    rest: &[&str],
) -> Answer {
    if !tenants::names(office)
        .await?
        .iter()
        .any(|known| **known == *tenant)
    {
        let what = format!("there is no tenant {tenant}");
        let right = "a tenant that the configuration names; GET /v1/tenants lists them";
        return Err(Refusal::new(StatusCode::NOT_FOUND, what, "path", right));
    }
    let path = asked.request.uri().path().to_owned();
    match (method, rest) {
        (&Method::GET, []) => tenants::one(office, tenant).await,
        (&Method::GET, ["sessions"]) => sessions::list(office, &asked.request, tenant).await,
        (&Method::GET, ["sessions", session]) => sessions::one(office, tenant, session).await,
        (&Method::POST, ["sessions", session, "kick"]) => {
            sessions::kick(office, asked.request, tenant, session).await
        }
        (&Method::GET, ["topics"]) => topics::list(office, &asked.request, tenant).await,
        (&Method::GET, ["topics", topic]) => topics::members(office, tenant, topic).await,
        (&Method::POST, ["topics", topic]) => {
            topics::publish(office, asked.request, tenant, topic).await
        }
        (&Method::GET, ["dead-letters"]) => dead_letters::list(office, &asked.request, tenant),
        (&Method::DELETE, ["dead-letters"]) => dead_letters::delete_all(office, tenant),
        (&Method::GET, ["dead-letters", incident]) => {
            dead_letters::one(office, incident, |of| of == tenant)
        }
        (&Method::DELETE, ["dead-letters", incident]) => {
            dead_letters::delete(office, tenant, incident)
        }
        (&Method::GET, ["logs"]) => streaming::logs(office, tenant, asked.deadline),
        (&Method::GET, ["canary"]) => canary::list(office, tenant).await,
        (&Method::POST, ["canary", order @ ("promote" | "abort")]) => {
            let order = match *order {
                "promote" => CanaryOrder::Promote,
                _ => CanaryOrder::Abort,
            };
            canary::order(office, asked.request, tenant, (order, asked.token.name)).await
        }
        (_, ["deployments", rest @ ..]) => of_deployments(office, asked, tenant, rest).await,
        (_, [] | ["sessions" | "topics" | "logs" | "dead-letters" | "canary"])
        | (_, ["sessions" | "topics" | "dead-letters", _])
        | (_, ["sessions", _, "kick"] | ["canary", "promote" | "abort"]) => {
            Err(wrong_method(method, &path))
        }
        _ => Err(not_found(&path)),
    }
}

async fn of_deployments(office: &Office, asked: Asked<'_>, tenant: &str, rest: &[&str]) -> Answer {
    let path = asked.request.uri().path().to_owned();
    let method = asked.request.method().clone();
    match (&method, rest) {
        (&Method::GET, []) => deployments::list(office, tenant).await,
        (&Method::GET, [deployment]) => deployments::one(office, tenant, deployment).await,
        (&Method::PUT, [deployment]) => deployments::put(office, asked, tenant, deployment).await,
        (&Method::DELETE, [deployment]) => {
            deployments::delete(office, asked, tenant, deployment).await
        }
        (&Method::POST, [deployment, "rollback"]) => {
            deployments::roll_back(office, asked, tenant, deployment).await
        }
        (_, [] | [_] | [_, "rollback"]) => Err(wrong_method(&method, &path)),
        // A name with a slash in it comes as several.
        _ => {
            name("the deployment", &rest.join("/"))?;
            Err(not_found(&path))
        }
    }
}

fn not_found(path: &str) -> Refusal {
    let right = "GET /openapi.json lists what there is";
    Refusal::new(
        StatusCode::NOT_FOUND,
        "nothing is served on this path",
        path,
        right,
    )
}

fn wrong_method(method: &Method, path: &str) -> Refusal {
    let what = format!("{method} is not served on this path");
    let right = "GET /openapi.json lists what there is";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, what, path, right)
}

fn foreign(tenant: &str) -> Refusal {
    let what = format!("the token does not reach the tenant {tenant}");
    let right = "the tenant's own token, or an operator's";
    Refusal::new(StatusCode::FORBIDDEN, what, "header Authorization", right)
}

fn only_operators(asked: &Asked<'_>) -> Result<(), Refusal> {
    if asked.token.is_operator() {
        return Ok(());
    }
    let what = "the token is a tenant's";
    let right = "an operator's token";
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        what,
        "header Authorization",
        right,
    ))
}

/// A name as tenants and deployments have: nothing in it needs escaping anywhere.
pub(super) fn name<'a>(what: &str, text: &'a str) -> Result<&'a str, Refusal> {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=63).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text);
    }
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let what = format!("{what} {shown:?} is no name");
    let right = "1 to 63 of the characters a to z, 0 to 9 and -";
    Err(Refusal::new(StatusCode::BAD_REQUEST, what, "path", right))
}

/// A value of the query, percent-decoded.
fn query(request: &Request<Incoming>, key: &str) -> Result<Option<String>, Refusal> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let found = pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key);
    let Some((_, value)) = found else {
        return Ok(None);
    };
    let refuse = || {
        bad(
            format!("{key} has a broken percent escape"),
            "query",
            "UTF-8, percent-encoded",
        )
    };
    percent_decode(value).map(Some).ok_or_else(refuse)
}

/// How many rows the request asks for.
fn limit(request: &Request<Incoming>) -> Result<usize, Refusal> {
    let Some(text) = query(request, "limit")? else {
        return Ok(PAGE_ROWS);
    };
    let rows = usize::from_str(&text).ok();
    rows.filter(|rows| (1..=PAGE_ROWS_MAX).contains(rows))
        .ok_or_else(|| {
            bad(
                format!("limit is {text:?}"),
                "query",
                "a number from 1 to 1000",
            )
        })
}

fn bad(what: impl Into<String>, place: &str, right: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, what, place, right)
}

fn ok(value: &Value) -> Answer {
    Ok(answer::json(StatusCode::OK, value))
}

/// The body of a request, up to a size.
async fn body(request: Request<Incoming>, bytes_max: usize) -> Result<Bytes, Refusal> {
    let collected = Limited::new(request.into_body(), bytes_max).collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| {
        if error.is::<LengthLimitError>() {
            let right = format!("at most {bytes_max} bytes");
            let what = "the body is too long";
            return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, what, "body", right);
        }
        bad(
            "the body broke off",
            "body",
            "as many bytes as the head announces",
        )
    })
}

/// A body that is a JSON object with no keys but these; an empty one is an empty object.
async fn object(request: Request<Incoming>, keys: &[&str]) -> Result<Map<String, Value>, Refusal> {
    let bytes = body(request, JSON_BYTES_MAX).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("not JSON: {error}"), "body", "a JSON object"))?;
    let Value::Object(object) = value else {
        return Err(bad("the document is no object", "body", "a JSON object"));
    };
    let known = format!("the keys {}", keys.join(", "));
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(bad(format!("there is no key {key:?} here"), "body", &known)),
        None => Ok(object),
    }
}

/// Workers that did not answer in time.
fn silent() -> Refusal {
    let what = "no worker answered in time";
    let right = "trying again: a handler holds the worker for the length of one call at most";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, what, "the workers", right).retry_after(1)
}

/// A page of rows, and where the next one begins.
fn page(key: &str, rows: Vec<Value>, next: Option<String>) -> Answer {
    ok(&json!({ key: rows, "next": next }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_escaping() {
        for good in ["a", "acme", "a-1", "0", &"x".repeat(63)] {
            assert!(name("the tenant", good).is_ok(), "{good}");
        }
        let bad = [
            "", "..", ".", "%2e%2e", "A", "ä", "a_b", "a b", "a\0", "a%2fb",
        ];
        for bad in bad.into_iter().chain([&*"x".repeat(64), &"x".repeat(300)]) {
            let refusal = name("the tenant", bad).expect_err(bad);
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn the_document_names_every_path() {
        let document: Value =
            serde_json::from_str(include_str!("openapi.json")).expect("the document is JSON");
        let paths = document["paths"].as_object().expect("it has paths");
        let mut named: Vec<String> = Vec::new();
        for (path, item) in paths {
            let methods = item.as_object().expect("a path has methods").keys();
            let methods = methods.filter(|key| *key != "parameters");
            named.extend(methods.map(|method| format!("{method} {path}")));
        }
        named.sort_unstable();
        let mut expected = SERVED.map(str::to_owned);
        expected.sort_unstable();
        assert_eq!(named, expected);
    }

    const SERVED: [&str; 29] = [
        "get /healthz",
        "get /readyz",
        "get /metrics",
        "get /openapi.json",
        "get /v1/status",
        "post /v1/drain",
        "post /v1/upgrade",
        "get /v1/tenants",
        "get /v1/tenants/{tenant}",
        "get /v1/tenants/{tenant}/sessions",
        "get /v1/tenants/{tenant}/sessions/{session}",
        "post /v1/tenants/{tenant}/sessions/{session}/kick",
        "get /v1/tenants/{tenant}/topics",
        "get /v1/tenants/{tenant}/topics/{topic}",
        "post /v1/tenants/{tenant}/topics/{topic}",
        "get /v1/tenants/{tenant}/logs",
        "get /v1/tenants/{tenant}/dead-letters",
        "delete /v1/tenants/{tenant}/dead-letters",
        "get /v1/tenants/{tenant}/dead-letters/{incident}",
        "delete /v1/tenants/{tenant}/dead-letters/{incident}",
        "get /v1/dead-letters/{incident}",
        "get /v1/tenants/{tenant}/canary",
        "post /v1/tenants/{tenant}/canary/promote",
        "post /v1/tenants/{tenant}/canary/abort",
        "get /v1/tenants/{tenant}/deployments",
        "get /v1/tenants/{tenant}/deployments/{deployment}",
        "put /v1/tenants/{tenant}/deployments/{deployment}",
        "delete /v1/tenants/{tenant}/deployments/{deployment}",
        "post /v1/tenants/{tenant}/deployments/{deployment}/rollback",
    ];
}
