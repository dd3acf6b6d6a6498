//! The commands that ask a running server: what they are called, and what each asks of the API.
//!
//! Talks to the admin listener and to the terminal; knows nothing of the library but its tokens.

mod asking;
mod client;
mod deploying;
mod shown;
mod table;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use self::client::{Client, Location};

/// Where the API is if nobody says.
const ADMIN: &str = "http://127.0.0.1:9090";

const TOKEN_HELP: &str = "\
The token goes to whoever shall use it, and is not kept anywhere; its hash goes into the
configuration of the server:

  [admin.token.alice]
  sha256 = \"…\"
  operator = true            # or tenant = \"acme\"
  expires = 2027-01-31       # if it shall";

const UPGRADE_HELP: &str = "\
The new process reads the configuration anew and takes over the listening sockets: nobody is
refused meanwhile. Sessions of routes that share something (a keyed instance, topics, what is
stored) are closed with 1012 just before, since that may be in one process only; all others stay in
the old process until they end, or until --drain-for is over. If the new process does not get
ready, the old one goes on as if nothing had been. SIGUSR2 does the same.";

const DEPLOY_HELP: &str = "\
The manifest says what the component serves and what it asks for:

  [route]
  path = \"/rooms/{room}\"      # below the tenant's path_prefix, or on its hosts
  instance = \"{room}\"

Nothing changes before all is checked: then new sessions find the new version, and open ones follow
without reconnecting, as the manifest's [rollout] says.

  wharf deploy target/guests/chat.wasm --name chat --tenant acme --manifest chat/wharf.toml
  wharf deploy chat/ --tenant acme          the folder's .wasm file and its wharf.toml
  wharf rollback chat --tenant acme         the version before, at once";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows how the server is (operators).
    Status(Reach),
    /// Says by its exit code whether the server lives; needs no token.
    Health {
        /// Where its admin listener is.
        #[arg(long, value_name = "URL", env = "WHARF_ADMIN", default_value = ADMIN)]
        admin: Location,
        /// Whether it takes new sessions, too: not while it drains.
        #[arg(long)]
        ready: bool,
    },
    /// Lists the tenants that the token reaches, with their routes.
    Tenants(Reach),
    /// Deploys a component: uploads, checks, compiles and tries it, then serves it.
    #[command(after_long_help = DEPLOY_HELP)]
    Deploy(Deploy),
    /// Lists deployments, or shows one with its versions and its history.
    Deployments(Deployments),
    /// Makes the previous version of a deployment the current one.
    Rollback(OneDeployment),
    /// Serves a deployment no longer and forgets its versions.
    Undeploy(OneDeployment),
    /// Lists open sessions, or shows one.
    Sessions(Sessions),
    /// Ends a session.
    Kick(Kick),
    /// Shows which versions are on trial, and what became of others.
    Canary(OfTenant),
    /// Lets everybody follow a canary at once.
    Promote(Ordered),
    /// Takes a version on trial back: a canary, or one that everybody follows and that is still watched.
    Abort(Ordered),
    /// Lists topics, or the members of one.
    Topics(Topics),
    /// Sends a message to all members of a topic.
    Publish(Publish),
    /// Shows what the handlers of a tenant log, as it comes.
    Logs(Logs),
    /// Lists calls of handlers that failed, or shows what one was about.
    DeadLetters(DeadLetters),
    /// Asks all clients to leave and ends the server, as SIGTERM does (operators).
    Drain(Reach),
    /// Starts the server's new program under its open sockets, and hands over to it (operators).
    #[command(after_long_help = UPGRADE_HELP)]
    Upgrade(Upgrade),
    /// Makes a token for the API, and its hash for the configuration.
    #[command(after_long_help = TOKEN_HELP)]
    Token {
        /// One JSON object instead of lines for people.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The new program, on the server's machine; by default the file that the server was started
    /// from, where a new one may be by now.
    program: Option<PathBuf>,
    /// How long sessions that need not leave stay in the old process, such as `10m`.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    drain_for: Duration,
    /// How long the new process may take until it is ready; after that the old one goes on.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    ready_within: Duration,
    #[command(flatten)]
    reach: Reach,
}

fn duration(text: &str) -> Result<Duration, String> {
    let right = "right is a duration with its unit, such as `10m` or `30s`";
    wharf::parse_duration(text).ok_or_else(|| right.to_owned())
}

/// Which server, with whose rights.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    /// Where its admin listener is.
    #[arg(long, value_name = "URL", env = "WHARF_ADMIN", default_value = ADMIN)]
    admin: Location,
    /// The token; better in the environment, where others do not see it.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "WHARF_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// The server's answer as JSON, for scripts.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The component's file, or the folder in which it is, or in which cargo has built it
    /// (target/wasm32-wasip2/release).
    #[arg(default_value = ".", value_name = "COMPONENT.wasm or FOLDER")]
    what: PathBuf,
    /// The deployment's name; by default that of the file, with `-` for `_`.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The manifest; by default the `wharf.toml` beside the component.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// An ed25519 signature over the component's SHA-256: 64 bytes, or these in base64.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Only if the deployment has this generation (0: there never was one); by default the one that
    /// it has now.
    #[arg(long, value_name = "GENERATION")]
    expect: Option<u64>,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct Deployments {
    /// The deployment to show; without it, all are listed.
    deployment: Option<String>,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct OneDeployment {
    /// The deployment.
    deployment: String,
    /// Only if it has this generation; by default the one that it has now.
    #[arg(long, value_name = "GENERATION")]
    expect: Option<u64>,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// The session to show; without it, all are listed.
    session: Option<String>,
    #[command(flatten)]
    of: OfTenant,
}

/// Whose, and where.
#[derive(Debug, Args)]
pub(crate) struct OfTenant {
    /// Whose; may be left out where the token reaches one tenant only.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct Kick {
    /// The session's name, as `wharf sessions` lists it.
    session: String,
    /// The close code: 1000 to 1003, 1007 to 1014 or 3000 to 4999.
    #[arg(long, default_value_t = 1008)]
    code: u16,
    /// What the client is told, up to 123 bytes.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    of: OfTenant,
}

/// A route with a version on trial.
#[derive(Debug, Args)]
pub(crate) struct Ordered {
    /// The route, as `wharf canary` lists it; may be left out if it is the only one.
    route: Option<String>,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct Topics {
    /// The topic whose members are listed; without it, all topics are.
    topic: Option<String>,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The topic.
    topic: String,
    /// The text; `-` reads standard input.
    message: String,
    /// Sends a binary message.
    #[arg(long)]
    binary: bool,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct DeadLetters {
    /// The incident, as the client was told in its close reason, or the log has it; without it, all
    /// are listed.
    incident: Option<String>,
    /// Throws that one away.
    #[arg(long, requires = "incident")]
    delete: bool,
    /// Throws all of the tenant's away.
    #[arg(long, conflicts_with_all = ["incident", "delete"])]
    delete_all: bool,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Goes on until it is interrupted; without it, one second of the log is shown.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    of: OfTenant,
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> Result<()> {
    if let Command::Token { json } = command {
        return make_token(json);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(asking::run(command))
}

fn make_token(json: bool) -> Result<()> {
    let (token, sha256) = wharf::new_admin_token()?;
    if json {
        return table::print(&serde_json::json!({ "token": token, "sha256": sha256 }).to_string());
    }
    table::print(&format!("token   {token}\nsha256  {sha256}"))
}

impl Reach {
    fn client(&self) -> Client {
        Client::new(self.admin.clone(), self.token.clone())
    }
}

impl OfTenant {
    /// The tenant that is meant.
    async fn tenant(&self) -> Result<String> {
        if let Some(tenant) = &self.tenant {
            return Ok(tenant.clone());
        }
        let answer = self.reach.client().get("/v1/tenants").await?;
        let tenants = answer["tenants"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = tenants
            .iter()
            .filter_map(|tenant| tenant["tenant"].as_str())
            .collect();
        match names[..] {
            [only] => Ok(only.to_owned()),
            [] => bail!("the token reaches no tenant"),
            _ => bail!("which tenant? --tenant takes one of {}", names.join(", ")),
        }
    }
}

/// A member of a JSON object as text, whatever it is.
fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parse(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).context("the answer is no JSON: is that Wharf's admin listener?")
}
