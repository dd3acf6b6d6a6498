//! What each command asks, and what it prints of the answer.

use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, Location, encoded};
use super::deploying;
use super::shown;
use super::table::print;
use super::{
    Command, DeadLetters, Kick, Logs, OfTenant, Ordered, Publish, Reach, Sessions, Topics, Upgrade,
    parse,
};

const JSON: &str = "application/json";
/// How long `wharf logs` listens without `--follow`.
const GLANCE: Duration = Duration::from_secs(1);

/// Runs a command to its end.
pub(super) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Status(reach) => status(&reach).await,
        Command::Health { admin, ready } => health(admin, ready).await,
        Command::Tenants(reach) => tenants(&reach).await,
        Command::Deploy(asked) => deploying::deploy(&asked).await,
        Command::Deployments(asked) => deploying::list(&asked).await,
        Command::Rollback(asked) => deploying::roll_back(&asked).await,
        Command::Undeploy(asked) => deploying::remove(&asked).await,
        Command::Sessions(sessions) => list_sessions(&sessions).await,
        Command::Kick(kick) => end(&kick).await,
        Command::Canary(of) => list_canaries(&of).await,
        Command::Promote(ordered) => order(&ordered, "promote").await,
        Command::Abort(ordered) => order(&ordered, "abort").await,
        Command::Topics(topics) => list_topics(&topics).await,
        Command::Publish(publish) => send(&publish).await,
        Command::Logs(logs) => listen(&logs).await,
        Command::DeadLetters(letters) => list_dead_letters(&letters).await,
        Command::Drain(reach) => drain(&reach).await,
        Command::Upgrade(wanted) => upgrade(&wanted).await,
        Command::Token { .. } => unreachable!("it asks nobody"),
    }
}

/// The answer as it is, or as people read it.
fn tell(reach: &Reach, answer: &Value, people: impl Fn(&Value) -> String) -> Result<()> {
    if reach.json {
        return print(&answer.to_string());
    }
    print(&people(answer))
}

async fn status(reach: &Reach) -> Result<()> {
    let answer = reach.client().get("/v1/status").await?;
    tell(reach, &answer, shown::status)
}

async fn health(admin: Location, ready: bool) -> Result<()> {
    let path = if ready { "/readyz" } else { "/healthz" };
    let client = Client::new(admin, None);
    client.send(Method::GET, path, JSON, "".into()).await?;
    print(if ready { "ready" } else { "alive" })
}

async fn tenants(reach: &Reach) -> Result<()> {
    let answer = reach.client().get("/v1/tenants").await?;
    tell(reach, &answer, shown::tenants)
}

async fn drain(reach: &Reach) -> Result<()> {
    let client = reach.client();
    let answer = client.ask(Method::POST, "/v1/drain", JSON, "").await?;
    tell(reach, &answer, |answer| {
        format!(
            "the server drains: {} sessions are asked to leave",
            answer["sessions"]
        )
    })
}

async fn upgrade(wanted: &Upgrade) -> Result<()> {
    let Upgrade {
        program,
        drain_for,
        ready_within,
        reach,
    } = wanted;
    let program = program.as_ref().map(std::path::absolute).transpose()?;
    let body = json!({
        "program": program,
        "drain_for_ms": drain_for.as_millis() as u64,
        "ready_within_ms": ready_within.as_millis() as u64,
    });
    // Beside the new process's start, sessions have to end.
    let client = reach
        .client()
        .patient(*ready_within + Duration::from_secs(60));
    let answer = client.ask(Method::POST, "/v1/upgrade", JSON, body.to_string());
    let answer = answer.await?;
    tell(reach, &answer, |answer| {
        format!("process {} serves; the old one drains", answer["process"])
    })
}

async fn list_sessions(sessions: &Sessions) -> Result<()> {
    let of = &sessions.of;
    let path = path_of(of, "sessions").await?;
    if let Some(session) = &sessions.session {
        let path = format!("{path}/{}", encoded(session));
        let answer = of.reach.client().get(&path).await?;
        return tell(&of.reach, &answer, shown::session);
    }
    let all = pages(&of.reach, &path, "sessions").await?;
    tell(&of.reach, &all, shown::sessions)
}

async fn list_topics(topics: &Topics) -> Result<()> {
    let of = &topics.of;
    let path = path_of(of, "topics").await?;
    if let Some(topic) = &topics.topic {
        let path = format!("{path}/{}", encoded(topic));
        let answer = of.reach.client().get(&path).await?;
        return tell(&of.reach, &answer, shown::members);
    }
    let all = pages(&of.reach, &path, "topics").await?;
    tell(&of.reach, &all, shown::topics)
}

async fn list_dead_letters(letters: &DeadLetters) -> Result<()> {
    let of = &letters.of;
    let client = of.reach.client();
    let delete = async |path: &str| {
        let answer = client.ask(Method::DELETE, path, JSON, "").await?;
        tell(&of.reach, &answer, |answer| {
            format!("{} deleted", answer["deleted"])
        })
    };
    let Some(incident) = &letters.incident else {
        let path = path_of(of, "dead-letters").await?;
        if letters.delete_all {
            return delete(&path).await;
        }
        let all = pages(&of.reach, &path, "dead_letters").await?;
        return tell(&of.reach, &all, shown::dead_letters);
    };
    // Whose it is need not be known.
    let mut path = format!("/v1/dead-letters/{}", encoded(incident));
    if let Some(tenant) = &of.tenant {
        path = format!(
            "/v1/tenants/{}/dead-letters/{}",
            encoded(tenant),
            encoded(incident)
        );
    }
    let letter = client.get(&path).await?;
    if letters.delete {
        let tenant = super::text(&letter, "tenant");
        let path = format!(
            "/v1/tenants/{}/dead-letters/{}",
            encoded(&tenant),
            encoded(incident)
        );
        return delete(&path).await;
    }
    tell(&of.reach, &letter, shown::dead_letter)
}

async fn list_canaries(of: &OfTenant) -> Result<()> {
    let path = path_of(of, "canary").await?;
    let answer = of.reach.client().get(&path).await?;
    tell(&of.reach, &answer, shown::canaries)
}

async fn order(ordered: &Ordered, verb: &str) -> Result<()> {
    let of = &ordered.of;
    let path = format!("{}/{verb}", path_of(of, "canary").await?);
    let said = match &ordered.route {
        Some(route) => json!({ "route": route }).to_string(),
        None => String::new(),
    };
    let client = of.reach.client();
    let answer = client.ask(Method::POST, &path, JSON, said).await?;
    tell(&of.reach, &answer, |answer| {
        let (route, outcome) = (super::text(answer, "route"), super::text(answer, "outcome"));
        format!("the version of {route} that was on trial is {outcome}")
    })
}

async fn end(kick: &Kick) -> Result<()> {
    let of = &kick.of;
    let path = path_of(of, "sessions").await?;
    let path = format!("{path}/{}/kick", encoded(&kick.session));
    let said = json!({ "code": kick.code, "reason": kick.reason }).to_string();
    let answer = of
        .reach
        .client()
        .ask(Method::POST, &path, JSON, said)
        .await?;
    tell(&of.reach, &answer, |answer| {
        format!(
            "{} was told {}",
            super::text(answer, "kicked"),
            answer["code"]
        )
    })
}

async fn send(publish: &Publish) -> Result<()> {
    let of = &publish.of;
    let path = path_of(of, "topics").await?;
    let path = format!("{path}/{}", encoded(&publish.topic));
    let message = match publish.message.as_str() {
        "-" => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)
                .context("standard input")?;
            bytes
        }
        text => text.into(),
    };
    let kind = match publish.binary {
        true => "application/octet-stream",
        false => "text/plain",
    };
    let client = of.reach.client();
    let answer = client.ask(Method::POST, &path, kind, message).await?;
    tell(&of.reach, &answer, |answer| {
        format!("on its way to {} members", answer["members"])
    })
}

async fn listen(logs: &Logs) -> Result<()> {
    let of = &logs.of;
    let path = path_of(of, "logs").await?;
    let client = of.reach.client();
    let response = client.send(Method::GET, &path, JSON, "".into()).await?;
    let reading = read_lines(response.into_body(), of.reach.json);
    if logs.follow {
        return reading.await;
    }
    match tokio::time::timeout(GLANCE, reading).await {
        Ok(ended) => ended,
        Err(_) => Ok(()),
    }
}

async fn read_lines(mut body: hyper::body::Incoming, as_json: bool) -> Result<()> {
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the log broke off")?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        rest.extend_from_slice(data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            match line.trim_ascii() {
                [] => {}
                line if as_json => print(&String::from_utf8_lossy(line))?,
                line => print(&shown::log_line(&parse(line)?))?,
            }
        }
    }
    anyhow::bail!("the server ended the log")
}

async fn path_of(of: &OfTenant, what: &str) -> Result<String> {
    let tenant = of.tenant().await?;
    Ok(format!("/v1/tenants/{}/{what}", encoded(&tenant)))
}

/// All pages of a list, as one.
async fn pages(reach: &Reach, path: &str, key: &str) -> Result<Value> {
    let client = reach.client();
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let answer = client.get(&format!("{path}?limit=1000{after}")).await?;
        if let Some(page) = answer[key].as_array() {
            rows.extend_from_slice(page);
        }
        match answer["next"].as_str() {
            Some(next) => after = format!("&after={}", encoded(next)),
            None => return Ok(json!({ key: rows })),
        }
    }
}
