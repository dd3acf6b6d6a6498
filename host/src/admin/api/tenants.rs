//! The server, its tenants and their routes, in numbers; and its drain.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::{Answer, deployments, ok, silent};
use crate::admin::answer;
use crate::admin::office::{Asked, Office};
use crate::admin::question::{Question, ask_all};
use crate::metrics::{Figures, Report, code_label};

/// `GET /v1/status`
pub(super) async fn status(office: &Office) -> Answer {
    let (report, silent) = office.report().await;
    let mut all = Figures::default();
    report.routes.values().for_each(|figures| all.add(figures));
    let rights = office.status.rights().iter();
    let rights: Map<String, Value> = rights
        .map(|(name, held)| ((*name).to_owned(), json!(held)))
        .collect();
    ok(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": office.status.started().elapsed().as_secs(),
        "draining": office.status.is_draining(),
        "workers": office.workers.len(),
        "workers_silent": silent,
        "tenants": names(office).await?.len(),
        "process": std::process::id(),
        "predecessor_sessions": office.status.predecessor(),
        "rights": rights,
        "deployments": deployments::counts(office).await.values().sum::<usize>(),
        "rollbacks_unrecorded": deployments::unrecorded(office),
        "figures": figures(&all),
    }))
}

/// `POST /v1/drain`
pub(super) async fn drain(office: &Office) -> Answer {
    let (report, _) = office.report().await;
    let sessions: u64 = report.routes.values().map(Figures::sessions_open).sum();
    office.status.ask_for_drain();
    let answer = json!({ "draining": true, "sessions": sessions });
    Ok(answer::json(StatusCode::ACCEPTED, &answer))
}

/// `GET /v1/tenants`
pub(super) async fn list(office: &Office, asked: &Asked<'_>) -> Answer {
    let (report, _) = office.report().await;
    let names = names(office).await?;
    let deployed = deployments::counts(office).await;
    let reached = names.iter().filter(|name| asked.token.reaches(name));
    let rows: Vec<Value> = reached
        .map(|name| summary(&report, name, &deployed))
        .collect();
    ok(&json!({ "tenants": rows }))
}

/// `GET /v1/tenants/{tenant}`
pub(super) async fn one(office: &Office, tenant: &str) -> Answer {
    let (report, _) = office.report().await;
    let mut routes: Vec<Arc<str>> = routes(office)
        .await?
        .into_iter()
        .filter(|(of, _)| **of == *tenant)
        .map(|(_, route)| route.into())
        .collect();
    // Those that are no longer served may still have sessions.
    let counted = report.routes.keys().filter(|(of, _)| **of == *tenant);
    routes.extend(counted.map(|(_, route)| Arc::clone(route)));
    routes.sort_unstable();
    routes.dedup();
    let rows = routes.iter().map(|route| {
        let key = (Arc::from(tenant), Arc::clone(route));
        let counted = report.routes.get(&key).cloned().unwrap_or_default();
        json!({ "route": **route, "figures": figures(&counted) })
    });
    let mut answer = summary(&report, tenant, &deployments::counts(office).await);
    answer["routes"] = rows.collect();
    ok(&answer)
}

/// The tenants that have routes, and those that the configuration names.
pub(super) async fn names(office: &Office) -> Result<Vec<Arc<str>>, super::Refusal> {
    let routes = routes(office).await?.into_iter();
    let mut names: Vec<_> = routes.map(|(tenant, _)| tenant).collect();
    names.extend(office.budgets.named());
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The routes as one worker knows them: all know the same.
async fn routes(office: &Office) -> Result<Vec<(Arc<str>, String)>, super::Refusal> {
    let answers = ask_all(&office.workers, |reply| Question::Routes { reply }).await;
    answers.into_iter().flatten().next().ok_or_else(silent)
}

fn summary(report: &Report, tenant: &str, deployed: &BTreeMap<String, usize>) -> Value {
    let mut all = Figures::default();
    let own = report.routes.iter().filter(|((of, _), _)| **of == *tenant);
    own.for_each(|(_, figures)| all.add(figures));
    let deployments = deployed.get(tenant).copied().unwrap_or_default();
    json!({ "tenant": tenant, "deployments": deployments, "figures": figures(&all) })
}

fn figures(of: &Figures) -> Value {
    let endings = of.endings.iter().map(|((code, initiator), count)| {
        json!({ "code": code_label(*code), "initiator": initiator, "count": count })
    });
    let handshakes = of
        .handshakes
        .iter()
        .map(|(outcome, count)| json!({ "outcome": outcome.label(), "count": count }));
    let faults = of
        .faults
        .iter()
        .map(|(kind, count)| json!({ "kind": kind, "count": count }));
    json!({
        "sessions_open": of.sessions_open(),
        "sessions": of.sessions_begun,
        "messages_in": of.messages_in,
        "bytes_in": of.bytes_in,
        "messages_out": of.messages_out,
        "bytes_out": of.bytes_out,
        "inbox_messages": of.messages_in.saturating_sub(of.messages_done),
        "sends_refused": of.sends_refused,
        "slow_readers": of.slow_readers_now,
        "instances_live": of.instances_live_now,
        "instances_asleep": of.instances_asleep_now,
        "wakings": of.wakings,
        "restarts": of.restarts,
        "guest_cpu_seconds": of.guest_cpu.as_secs_f64(),
        "endings": endings.collect::<Vec<_>>(),
        "handshakes": handshakes.collect::<Vec<_>>(),
        "faults": faults.collect::<Vec<_>>(),
    })
}
