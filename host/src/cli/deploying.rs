//! `wharf deploy` and what goes with it: deployments are sent, looked at, taken back and removed.
//!
//! What can be said of files before anything is sent is said here; everything else by the server.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderName, IF_MATCH, IF_NONE_MATCH};
use serde_json::Value;
use wharf::Manifest;

use super::client::{Call, Refused, encoded};
use super::upload::{CONTENT_TYPE, Part, body};
use super::{Deploy, Deployments, OfTenant, OneDeployment, parse, shown, table, text};

/// The manifest's name.
const MANIFEST: &str = "wharf.toml";
/// Where cargo leaves the component of a folder that `wharf new` has made.
const BUILT: &str = "target/wasm32-wasip2/release";
/// A manifest that would do for a first time.
const FIRST: &str = "[route]\npath = \"/\"";
/// How long an upload and its deploy may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long another deploy of the same tenant is waited for.
const TURN: Duration = Duration::from_secs(120);

/// The files of a deploy.
struct Files {
    name: String,
    component: (PathBuf, Vec<u8>),
    manifest: String,
    signature: Option<Vec<u8>>,
}

/// `wharf deploy`
pub(super) async fn deploy(asked: &Deploy) -> Result<()> {
    let files = Files::read(asked)?;
    let path = path_of(&asked.of, &files.name).await?;
    let expect = match asked.expect {
        Some(generation) => Some(generation),
        None => generation(&asked.of, &path).await?,
    };
    let expectation = expectation(expect);
    let mut progress = Progress::new(&asked.of, &files);
    let begun = Instant::now();
    let answer = loop {
        let call = call(&path, &files, expectation.clone(), &progress);
        match asked.of.reach.client().call(call).await? {
            Ok(answer) => break answer,
            Err(refused) if is_busy(&refused) && begun.elapsed() < TURN => {
                progress.say("waiting for another deploy of the tenant");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(refused) => bail!(refused),
        }
    };
    let outcome = follow(answer.into_body(), &mut progress).await?;
    match asked.of.reach.json {
        true => table::print(&outcome.to_string()),
        false => table::print(&shown::deployed(&outcome)),
    }
}

/// `wharf deployments`
pub(super) async fn list(asked: &Deployments) -> Result<()> {
    let of = &asked.of;
    let client = of.reach.client();
    let (answer, people): (_, fn(&Value) -> String) = match &asked.deployment {
        Some(name) => (
            client.get(&path_of(of, name).await?).await?,
            shown::deployment,
        ),
        None => {
            let tenant = of.tenant().await?;
            let path = format!("/v1/tenants/{}/deployments", encoded(&tenant));
            (client.get(&path).await?, shown::deployments)
        }
    };
    match of.reach.json {
        true => table::print(&answer.to_string()),
        false => table::print(&people(&answer)),
    }
}

/// `wharf rollback`
pub(super) async fn roll_back(asked: &OneDeployment) -> Result<()> {
    let path = path_of(&asked.of, &asked.deployment).await?;
    let outcome = change(asked, Method::POST, (&path, "/rollback")).await?;
    match asked.of.reach.json {
        true => table::print(&outcome.to_string()),
        false => table::print(&shown::deployed(&outcome)),
    }
}

/// `wharf undeploy`
pub(super) async fn remove(asked: &OneDeployment) -> Result<()> {
    let path = path_of(&asked.of, &asked.deployment).await?;
    let outcome = change(asked, Method::DELETE, (&path, "")).await?;
    if asked.of.reach.json {
        return table::print(&outcome.to_string());
    }
    let (name, tenant) = (text(&outcome, "deleted"), text(&outcome, "tenant"));
    table::print(&format!(
        "{name} of {tenant} is served no longer; its sessions are closed with 1001"
    ))
}

/// Changes a deployment that is there.
async fn change(
    asked: &OneDeployment,
    method: Method,
    (path, below): (&str, &str),
) -> Result<Value> {
    let expect = match asked.expect {
        Some(generation) => generation,
        None => match generation(&asked.of, path).await? {
            Some(generation) => generation,
            None => bail!(
                "the tenant has no deployment {}; `wharf deployments` lists them",
                asked.deployment
            ),
        },
    };
    let path = format!("{path}{below}");
    let call = Call {
        method,
        path: &path,
        content_type: "application/json",
        headers: vec![expectation(Some(expect))],
        body: body(Vec::new(), |_| {}),
        patience: PATIENCE,
    };
    match asked.of.reach.client().call(call).await? {
        Ok(answer) => parse(&answer.into_body().collect().await?.to_bytes()),
        Err(refused) => bail!(refused),
    }
}

async fn path_of(of: &OfTenant, name: &str) -> Result<String> {
    let tenant = of.tenant().await?;
    let (tenant, name) = (encoded(&tenant), encoded(name));
    Ok(format!("/v1/tenants/{tenant}/deployments/{name}"))
}

/// The generation that a deployment has; nothing if there is no such deployment.
async fn generation(of: &OfTenant, path: &str) -> Result<Option<u64>> {
    let call = Call {
        method: Method::GET,
        path,
        content_type: "application/json",
        headers: Vec::new(),
        body: body(Vec::new(), |_| {}),
        patience: PATIENCE,
    };
    match of.reach.client().call(call).await? {
        Ok(answer) => {
            let document = parse(&answer.into_body().collect().await?.to_bytes())?;
            Ok(document["generation"].as_u64())
        }
        Err(refused) if refused.status == 404 => Ok(None),
        Err(refused) => bail!(refused),
    }
}

fn expectation(generation: Option<u64>) -> (HeaderName, String) {
    match generation {
        Some(generation) => (IF_MATCH, format!("\"{generation}\"")),
        None => (IF_NONE_MATCH, "*".to_owned()),
    }
}

/// Whether somebody else is before us.
fn is_busy(refused: &Refused) -> bool {
    refused.status == 429 && refused.place == "the tenant"
}

fn call<'a>(
    path: &'a str,
    files: &Files,
    expectation: (HeaderName, String),
    progress: &Progress,
) -> Call<'a> {
    let mut parts = vec![
        Part::new("manifest", MANIFEST, files.manifest.clone().into()),
        Part::new(
            "component",
            "component.wasm",
            files.component.1.clone().into(),
        ),
    ];
    if let Some(signature) = &files.signature {
        parts.push(Part::new(
            "signature",
            "signature",
            signature.clone().into(),
        ));
    }
    Call {
        method: Method::PUT,
        path,
        content_type: CONTENT_TYPE,
        headers: vec![expectation, (ACCEPT, "application/x-ndjson".to_owned())],
        body: body(parts, progress.uploads()),
        patience: PATIENCE,
    }
}

impl Files {
    fn read(asked: &Deploy) -> Result<Self> {
        let (component, beside) = component(&asked.what)?;
        let manifest = asked.manifest.clone().unwrap_or(beside);
        let text = match std::fs::read_to_string(&manifest) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no manifest {}: --manifest names another one, or write there\n{FIRST}",
                manifest.display()
            ),
            text => text.with_context(|| manifest.display().to_string())?,
        };
        Manifest::parse(&text, &manifest)
            .with_context(|| format!("the manifest {} cannot be used", manifest.display()))?;
        let bytes = std::fs::read(&component).with_context(|| component.display().to_string())?;
        let signature = asked
            .signature
            .as_ref()
            .map(|file| std::fs::read(file).with_context(|| file.display().to_string()));
        Ok(Self {
            name: name(asked.name.as_deref(), &component)?,
            component: (component, bytes),
            manifest: text,
            signature: signature.transpose()?,
        })
    }
}

/// The component that is meant, and where its manifest is looked for.
fn component(what: &Path) -> Result<(PathBuf, PathBuf)> {
    if !what.is_dir() {
        let beside = what.with_file_name(MANIFEST);
        if what
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            bail!(
                "{} is no component: the manifest is named with --manifest",
                what.display()
            );
        }
        return Ok((what.to_owned(), beside));
    }
    let mut found = components(what).with_context(|| what.display().to_string())?;
    if found.is_empty() {
        // Without a build there is no such folder.
        found = components(&what.join(BUILT)).unwrap_or_default();
    }
    match &found[..] {
        [only] => Ok((only.clone(), what.join(MANIFEST))),
        [] => bail!(
            "there is no component (.wasm) in {}: build it, or name its file",
            what.display()
        ),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            bail!("which component? name one of {}", names.join(", "))
        }
    }
}

/// The components in a folder.
fn components(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "wasm") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The deployment's name: what was said, or that of the component's file.
fn name(said: Option<&str>, component: &Path) -> Result<String> {
    let stem = component
        .file_stem()
        // Cargo makes `hello_again.wasm` of hello-again.
        .map(|stem| stem.to_string_lossy().replace('_', "-"));
    let name = said.map(str::to_owned).or(stem).unwrap_or_default();
    match name.parse::<wharf::DeploymentName>() {
        Ok(name) => Ok(name.to_string()),
        Err(error) if said.is_some() => bail!("--name {name:?}: {error}"),
        Err(error) => bail!("--name is needed, the file's {name:?} will not do: {error}"),
    }
}

/// The lines of the answer, to the last one.
async fn follow(mut body: Incoming, progress: &mut Progress) -> Result<Value> {
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer broke off")?;
        rest.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = parse(&line)?;
            if let Some(step) = line["step"].as_str() {
                progress.step(step);
                continue;
            }
            let status = line["status"].as_u64().unwrap_or_default() as u16;
            if line["error"].is_object() {
                bail!(Refused::new(status, &line["error"]));
            }
            return Ok(line);
        }
    }
    bail!(
        "the server broke off before it said what came of it: `wharf deployments` shows which \
         version is served"
    )
}

/// What people see meanwhile.
struct Progress {
    is_shown: bool,
    moves: bool,
    what: String,
    bytes: usize,
    begun: Instant,
}

impl Progress {
    fn new(of: &OfTenant, files: &Files) -> Self {
        Self {
            is_shown: !of.reach.json,
            moves: std::io::stderr().is_terminal(),
            what: files.component.0.display().to_string(),
            bytes: files.component.1.len(),
            begun: Instant::now(),
        }
    }

    /// Nothing can be done about a standard error that is gone.
    fn say(&self, words: &str) {
        if self.is_shown {
            let _ = writeln!(std::io::stderr(), "{words}");
        }
    }

    /// What is told of an upload under way: how many bytes of the body are sent.
    fn uploads(&self) -> impl FnMut(usize) + Send + Sync + Unpin + 'static {
        let (moves, what, bytes) = (self.is_shown && self.moves, self.what.clone(), self.bytes);
        let mut shown = None;
        move |sent| {
            let percent = sent.saturating_mul(100) / bytes.max(1);
            if moves && shown != Some(percent) {
                shown = Some(percent);
                let percent = percent.min(100);
                let _ = write!(std::io::stderr(), "\ruploading {what} {percent:3} %");
            }
        }
    }

    fn step(&mut self, step: &str) {
        let took = self.begun.elapsed();
        self.begun = Instant::now();
        let words = match step {
            "uploaded" => {
                if self.is_shown && self.moves {
                    let _ = write!(std::io::stderr(), "\r\x1b[K");
                }
                format!("uploaded {}, {} bytes", self.what, self.bytes)
            }
            "kept" => return,
            "checked" => "checked: its world, its imports and its grants".to_owned(),
            "started" => "started an instance, to try it".to_owned(),
            "served" => "served on every worker".to_owned(),
            other => other.to_owned(),
        };
        self.say(&format!("{words} ({} ms)", took.as_millis()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_said_or_that_of_the_file() {
        let file = Path::new("a/chat-2.wasm");
        assert_eq!(name(None, file).expect("it will do"), "chat-2");
        assert_eq!(name(Some("x"), file).expect("it will do"), "x");
        for (said, file) in [
            (None, "a/Chat.wasm"),
            (Some(".."), "a.wasm"),
            (Some(""), "a.wasm"),
        ] {
            let error = name(said, Path::new(file)).expect_err("it will not do");
            assert!(error.to_string().contains("1 to 63 characters"), "{error}");
        }
    }
}
