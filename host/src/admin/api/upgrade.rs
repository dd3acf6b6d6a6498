//! The wish for an upgrade of the server's program, and what came of it.

use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::{Answer, bad, object, ok};
use crate::admin::UpgradeRequest;
use crate::admin::answer::Refusal;
use crate::admin::office::{Asked, Office};
use crate::admin::status::NoUpgrade;

/// How long a new process has until it is ready, if the request does not say.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// The longest time that a request may say: a day, and thirty of them.
const READY_WITHIN_MAX_MS: u64 = 24 * 3_600 * 1_000;
const DRAIN_FOR_MAX_MS: u64 = 30 * READY_WITHIN_MAX_MS;
/// What leaving takes beyond that, at most.
const LEAVING: Duration = Duration::from_secs(60);

/// `POST /v1/upgrade`
pub(super) async fn upgrade(office: &Office, asked: Asked<'_>) -> Answer {
    let Asked {
        request, deadline, ..
    } = asked;
    let said = object(request, &["program", "drain_for_ms", "ready_within_ms"]).await?;
    let (answer, answered) = oneshot::channel();
    let ready_within = milliseconds(&said, "ready_within_ms", READY_WITHIN_MAX_MS)?;
    let request = UpgradeRequest {
        program: program(&said)?,
        drain_for: milliseconds(&said, "drain_for_ms", DRAIN_FOR_MAX_MS)?,
        ready_within,
        answer,
    };
    // Who asked waits as long as the new process may take.
    deadline.extend(ready_within.unwrap_or(READY_WITHIN) + LEAVING);
    office.status.ask_for_upgrade(request).map_err(refuse)?;
    match answered.await {
        Ok(Ok(process)) => ok(&json!({ "process": process })),
        Ok(Err(why)) => Err(failed(&why)),
        Err(_) => Err(failed("the server ended meanwhile")),
    }
}

fn failed(why: &str) -> Refusal {
    let what = format!("the server was not upgraded, and goes on as it was: {why}");
    let right = "a program and a configuration with which a server can start";
    Refusal::new(StatusCode::CONFLICT, what, "the new process", right)
}

fn refuse(why: NoUpgrade) -> Refusal {
    let (status, what, right) = match why {
        NoUpgrade::NotHere => (
            StatusCode::NOT_IMPLEMENTED,
            "this server is part of another program, which does not take upgrades",
            "the wharf command",
        ),
        NoUpgrade::Busy => (
            StatusCode::CONFLICT,
            "an upgrade is under way",
            "trying again when that is over",
        ),
    };
    Refusal::new(status, what, "the server", right)
}

fn program(said: &Map<String, Value>) -> Result<Option<PathBuf>, Refusal> {
    const RIGHT: &str = "the absolute path of a program on the server's machine";
    match said.get("program") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(path)) if path.starts_with('/') && !path.contains('\0') => {
            Ok(Some(path.into()))
        }
        Some(other) => Err(bad(format!("program is {other}"), "body", RIGHT)),
    }
}

fn milliseconds(
    said: &Map<String, Value>,
    key: &str,
    max: u64,
) -> Result<Option<Duration>, Refusal> {
    let value = match said.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let fits = value.as_u64().filter(|number| *number <= max);
    let right = format!("a number of milliseconds up to {max}");
    let number = fits.ok_or_else(|| bad(format!("{key} is {value}"), "body", &right))?;
    Ok(Some(Duration::from_millis(number)))
}
