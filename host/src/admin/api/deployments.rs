//! Deployments of a tenant: which there are, with their past; a new version, a rollback, an end.
//!
//! Every change names the generation that it expects, in `If-Match`, or that there is none, in
//! `If-None-Match: *`: so none is done twice, or on top of what its sender has not seen.

use std::sync::Arc;

use hyper::header::{ACCEPT, ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::upload::{self, Sending};
use super::{Answer, Refusal, bad, name};
use crate::admin::answer::{self, Body, streamed};
use crate::admin::deployer::{
    ChangeTarget, Declined, DeployOutcome, DeployParcel, Deployer, DeploymentRow, HistoryRow,
    VersionRow, Why,
};
use crate::admin::office::{Asked, Office};
use crate::admin::streaming::Lines;

/// What a client says that wants to see each step.
const NDJSON: &str = "application/x-ndjson";

/// `GET /v1/tenants/{tenant}/deployments`
pub(super) async fn list(office: &Office, tenant: &str) -> Answer {
    let (deployer, owner) = (deployer(office)?, tenant.to_owned());
    let rows = aside(move || deployer.list(&owner)).await?;
    let rows: Vec<Value> = rows.iter().map(|row| shown(tenant, row)).collect();
    super::ok(&json!({ "deployments": rows }))
}

/// `GET /v1/tenants/{tenant}/deployments/{deployment}`
pub(super) async fn one(office: &Office, tenant: &str, deployment: &str) -> Answer {
    let deployer = deployer(office)?;
    let (owner, name) = (
        tenant.to_owned(),
        name("the deployment", deployment)?.to_owned(),
    );
    let detail = aside(move || deployer.get(&owner, &name)).await?;
    let mut document = shown(tenant, &detail.deployment);
    document["versions"] = detail.versions.iter().map(version).collect();
    document["history"] = detail.history.iter().map(history).collect();
    with_generation(StatusCode::OK, &document)
}

/// `PUT /v1/tenants/{tenant}/deployments/{deployment}`
pub(super) async fn put(
    office: &Office,
    asked: Asked<'_>,
    tenant: &str,
    deployment: &str,
) -> Answer {
    let Asked {
        request,
        token,
        deadline,
    } = asked;
    let (head, body) = request.into_parts();
    let deployer = deployer(office)?;
    let place = office.uploads.enter(tenant)?;
    let target = target(office, &head.headers, (tenant, deployment), token.name).await?;
    let sending = Sending::new(body, &head.headers, deadline);
    let parcel = sending.read(deployer.component_bytes_max()).await?;
    deadline.extend(upload::DEPLOY_TIMEOUT);
    let accept = head
        .headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains(NDJSON)) {
        let (lines, body) = Lines::new();
        let deploy = move || {
            let told = deploy_telling(&*deployer, &target, &parcel, &lines);
            audit(&target, told);
            drop(place);
        };
        spawn(deploy)?;
        return Ok(streamed(StatusCode::OK, NDJSON, body));
    }
    let tenant = tenant.to_owned();
    let outcome = aside(move || {
        let _place = place;
        let outcome = deployer.deploy(&target, &parcel, &mut |_| {})?;
        Ok((outcome, target))
    });
    let (outcome, target) = outcome.await?;
    let status = match target.expected {
        0 => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    with_generation(status, &done(&tenant, &outcome))
}

/// `POST /v1/tenants/{tenant}/deployments/{deployment}/rollback`
pub(super) async fn roll_back(
    office: &Office,
    asked: Asked<'_>,
    tenant: &str,
    deployment: &str,
) -> Answer {
    let deployer = deployer(office)?;
    let place = (tenant, deployment);
    let target = target(office, asked.request.headers(), place, asked.token.name).await?;
    asked.deadline.extend(upload::DEPLOY_TIMEOUT);
    let outcome = aside(move || deployer.roll_back(&target)).await?;
    with_generation(StatusCode::OK, &done(tenant, &outcome))
}

/// `DELETE /v1/tenants/{tenant}/deployments/{deployment}`
pub(super) async fn delete(
    office: &Office,
    asked: Asked<'_>,
    tenant: &str,
    deployment: &str,
) -> Answer {
    let deployer = deployer(office)?;
    let place = (tenant, deployment);
    let target = target(office, asked.request.headers(), place, asked.token.name).await?;
    let generation = aside(move || deployer.delete(&target)).await?;
    let document = json!({ "tenant": tenant, "deleted": deployment, "generation": generation });
    with_generation(StatusCode::OK, &document)
}

/// How many deployments each tenant has; nothing where there are none at all.
pub(super) async fn counts(office: &Office) -> std::collections::BTreeMap<String, usize> {
    let Some(deployer) = office.deployer.clone() else {
        return Default::default();
    };
    // A disk that fails is told where deployments are asked for.
    aside(move || deployer.count()).await.unwrap_or_default()
}

/// Rollbacks that are served and not recorded yet.
pub(super) fn unrecorded(office: &Office) -> usize {
    let deployer = office.deployer.as_ref();
    deployer.map_or(0, |deployer| deployer.tallies().unrecorded)
}

fn deployer(office: &Office) -> Result<Arc<dyn Deployer>, Refusal> {
    office.deployer.clone().ok_or_else(|| {
        let what = "this server keeps no deployments";
        let right = "a table [deployments] with `path` in its configuration";
        Refusal::new(StatusCode::NOT_FOUND, what, "path", right)
    })
}

/// What a request wants to change, and whether it may now.
async fn target(
    office: &Office,
    headers: &HeaderMap,
    (tenant, deployment): (&str, &str),
    by: String,
) -> Result<ChangeTarget, Refusal> {
    let deployer = deployer(office)?;
    let deployment = name("the deployment", deployment)?.to_owned();
    let wanted = Expectation::of(headers)?;
    let (owner, of) = (tenant.to_owned(), deployment.clone());
    let (found, is_there) = aside(move || deployer.generation(&owner, &of)).await?;
    Ok(ChangeTarget {
        tenant: tenant.to_owned(),
        name: deployment,
        expected: wanted.against(found, is_there)?,
        by,
    })
}

/// What a change expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    Generation(u64),
    Nothing,
}

impl Expectation {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        const RIGHT: &str = "If-Match: \"GENERATION\", as GET on the deployment shows it; or, for a \
            first version, If-None-Match: *";
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().trim().to_owned();
        let (is, is_not) = (
            headers.get(IF_MATCH).map(text),
            headers.get(IF_NONE_MATCH).map(text),
        );
        match (is, is_not.as_deref()) {
            (Some(tag), None) => {
                let number = tag.trim_matches('"').parse();
                number
                    .map(Self::Generation)
                    .map_err(|_| bad(format!("If-Match is {tag:?}"), "header If-Match", RIGHT))
            }
            (None, Some("*")) => Ok(Self::Nothing),
            (None, None) => {
                let what = "the request does not say which generation it changes";
                let status = StatusCode::PRECONDITION_REQUIRED;
                Err(Refusal::new(status, what, "header If-Match", RIGHT))
            }
            _ => Err(bad("If-None-Match is not *", "header If-None-Match", RIGHT)),
        }
    }

    /// The generation to expect, of a deployment that has this one and may be deleted.
    fn against(self, found: u64, is_there: bool) -> Result<u64, Refusal> {
        let refuse = |what: String| {
            let right = format!("If-Match: \"{found}\", after a look at what has changed");
            let status = StatusCode::PRECONDITION_FAILED;
            Err(Refusal::new(status, what, "header", right))
        };
        match self {
            Self::Generation(expected) if expected == found => Ok(expected),
            Self::Generation(expected) => refuse(format!(
                "the deployment has generation {found}, not {expected}"
            )),
            Self::Nothing if is_there => refuse(format!(
                "there is a deployment already, of generation {found}"
            )),
            Self::Nothing => Ok(found),
        }
    }
}

/// Deploys, and tells each step in a line; the last line is the outcome. Its status.
fn deploy_telling(
    deployer: &dyn Deployer,
    target: &ChangeTarget,
    parcel: &DeployParcel,
    lines: &Lines,
) -> u16 {
    lines.send(&json!({ "step": "uploaded" }));
    let outcome = deployer.deploy(target, parcel, &mut |step| {
        lines.send(&json!({ "step": step }));
    });
    match outcome {
        Ok(outcome) => {
            let mut line = done(&target.tenant, &outcome);
            line["status"] = json!(StatusCode::OK.as_u16());
            lines.send(&line);
            StatusCode::OK.as_u16()
        }
        Err(declined) => {
            let refusal = Refusal::from(declined);
            let status = refusal.status().as_u16();
            lines.send(&json!({ "error": refusal.document(), "status": status }));
            status
        }
    }
}

/// The log's line about an outcome that came after the head of its answer.
fn audit(target: &ChangeTarget, status: u16) {
    let (token, tenant, deployment) = (&target.by, &target.tenant, &target.name);
    tracing::info!(target: "audit", token, tenant, deployment, status, "deploy ended");
}

/// Does something that waits for a disk or a compiler on a thread of its own.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Declined> + Send + 'static,
) -> Result<T, Refusal> {
    let (done, outcome) = oneshot::channel();
    // Whoever asked may have left meanwhile; what was begun is finished all the same.
    spawn(move || drop(done.send(work())))?;
    match outcome.await {
        Ok(outcome) => outcome.map_err(Refusal::from),
        Err(_) => Err(failed("the work was cut short")),
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), Refusal> {
    let thread = std::thread::Builder::new().name("wharf-deploy".into());
    let spawned = thread.spawn(work);
    spawned
        .map(drop)
        .map_err(|error| failed(&format!("no thread for it: {error}")))
}

fn failed(what: &str) -> Refusal {
    let right = "trying again; the operator finds more in the server's log";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, what, "the server", right)
}

impl From<Declined> for Refusal {
    fn from(declined: Declined) -> Self {
        let (status, place) = match declined.why {
            Why::Name => (StatusCode::BAD_REQUEST, "path"),
            Why::Manifest => (StatusCode::BAD_REQUEST, "manifest"),
            Why::Forbidden => (StatusCode::FORBIDDEN, "tenant"),
            Why::NotFound => (StatusCode::NOT_FOUND, "path"),
            Why::Impossible => (StatusCode::CONFLICT, "deployment"),
            Why::OtherGeneration => (StatusCode::PRECONDITION_FAILED, "header If-Match"),
            Why::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "component"),
            Why::Unfit => (StatusCode::UNPROCESSABLE_ENTITY, "component and manifest"),
            Why::Disk => (StatusCode::INSUFFICIENT_STORAGE, "the server's disk"),
            Why::Ending => (StatusCode::SERVICE_UNAVAILABLE, "the server"),
            Why::Host => (StatusCode::INTERNAL_SERVER_ERROR, "the server"),
        };
        Self::new(status, declined.what, place, declined.right).reasons(declined.reasons)
    }
}

fn with_generation(status: StatusCode, document: &Value) -> Answer {
    let mut response: Response<Body> = answer::json(status, document);
    let generation = match &document["generation"] {
        Value::Null => &document["deployment"]["generation"],
        generation => generation,
    };
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{generation}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

fn done(tenant: &str, outcome: &DeployOutcome) -> Value {
    json!({ "deployment": shown(tenant, &outcome.deployment), "rollout": outcome.rollout })
}

fn shown(tenant: &str, row: &DeploymentRow) -> Value {
    let mut document = json!({ "tenant": tenant, "name": row.name });
    if let Some(state) = &row.state {
        document = json!({
            "tenant": tenant,
            "name": row.name,
            "generation": state.generation,
            "version": state.current.number,
            "previous_version": state.previous,
            "hosts": state.hosts,
            "path": state.path,
            "component": state.current.component,
            "component_bytes": state.current.component_bytes,
            "at": seconds(state.current.at_unix_ms),
            "by": state.current.by,
            "signed_by": state.current.signed_by,
        });
    }
    document["served"] = json!(row.left_out.is_none());
    document["problem"] = json!(row.left_out);
    document
}

fn version(row: &VersionRow) -> Value {
    json!({
        "version": row.number,
        "component": row.component,
        "component_bytes": row.component_bytes,
        "manifest": row.manifest,
        "at": seconds(row.at_unix_ms),
        "by": row.by,
        "signed_by": row.signed_by,
    })
}

fn history(row: &HistoryRow) -> Value {
    json!({
        "generation": row.generation,
        "change": row.change,
        "version": row.version,
        "component": row.component,
        "at": seconds(row.at_unix_ms),
        "by": row.by,
    })
}

/// Seconds since 1970, as everywhere in the API.
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        headers: &[(&'static str, &'static str)],
        (found, is_there): (u64, bool),
        expect: Result<u64, u16>,
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let outcome = Expectation::of(&map).and_then(|wanted| wanted.against(found, is_there));
        assert_eq!(
            outcome.map_err(|refusal| refusal.status().as_u16()),
            expect,
            "{headers:?}"
        );
    }

    #[test]
    fn a_change_names_the_generation_that_it_expects() {
        check(&[("if-match", "\"3\"")], (3, true), Ok(3));
        check(&[("if-match", "3")], (3, true), Ok(3));
        check(&[("if-match", "\"2\"")], (3, true), Err(412));
        check(&[("if-match", "0")], (0, false), Ok(0));
        check(&[("if-none-match", "*")], (0, false), Ok(0));
        check(&[("if-none-match", "*")], (4, false), Ok(4));
        check(&[("if-none-match", "*")], (4, true), Err(412));
        check(&[], (0, false), Err(428));
        check(&[("if-match", "*")], (3, true), Err(400));
        check(&[("if-match", "-1")], (3, true), Err(400));
        check(&[("if-none-match", "\"3\"")], (3, true), Err(400));
        check(
            &[("if-none-match", "*"), ("if-match", "3")],
            (3, true),
            Err(400),
        );
    }
}
