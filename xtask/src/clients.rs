//! `cargo xtask clients`: WebSocket clients that others wrote, against the
//! echo handler, and two tabs of a browser in the demo's chat. The scripts are
//! in tests/clients; each prints a line for each check. What they need is
//! installed first.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::outcome::Outcome;
use crate::process::{run_counting, script_counts};
use crate::served::{self, Served};
use crate::tools;

/// Each script ends by itself within two minutes.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(180);

/// What `cargo xtask clients` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only these; all of them when none is named
    #[arg(value_enum)]
    clients: Vec<Client>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    /// Chromium against the echo handler
    Chromium,
    /// The npm package `ws`
    Ws,
    /// The Python package `websockets`
    Websockets,
    /// Java's own `java.net.http.WebSocket`
    Java,
    /// guest-sdk/js-client against a server that drops it
    #[value(name = "js-client")]
    Recovering,
    /// A collector that decodes traces with the package `opentelemetry-proto`
    Otlp,
    /// Two Chromium tabs chat on the page of `cargo xtask demo`
    ChatTwoTabs,
}

impl Arguments {
    /// All clients.
    pub(crate) fn all() -> Self {
        Self {
            clients: Client::value_variants().to_vec(),
        }
    }
}

/// Runs the clients against servers of their own, on free ports.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<Outcome> {
    let all = Arguments::all();
    let clients = if arguments.clients.is_empty() {
        &all.clients
    } else {
        &arguments.clients
    };
    let mut outcome = Outcome::default();
    let others = [Client::ChatTwoTabs, Client::Recovering, Client::Otlp];
    let echo = |client: &&Client| !others.contains(client);
    let echo: Vec<Client> = clients.iter().filter(echo).copied().collect();
    if !echo.is_empty() {
        outcome.add(echo_clients(root, &echo)?);
    }
    if clients.contains(&Client::Recovering) {
        outcome.add(js_client(root)?);
    }
    if clients.contains(&Client::Otlp) {
        outcome.add(otlp_collector(root)?);
    }
    if clients.contains(&Client::ChatTwoTabs) {
        outcome.add(chat_two_tabs(root)?);
    }
    println!("{outcome}");
    Ok(outcome)
}

fn echo_clients(root: &Path, clients: &[Client]) -> anyhow::Result<Outcome> {
    crate::guests::build(&["echo".to_owned()])?;
    let wharf = served::build_host(root)?;
    let config = root.join("tests/clients/echo.toml");
    let server = Served::start(
        root,
        "clients",
        Command::new(wharf).args(["serve", "--config"]).arg(config),
    )?;
    let url = format!("ws://{}/echo", server.address);
    let mut outcome = Outcome::default();
    for client in clients {
        let mut command = client.command(root)?;
        outcome.add(run_counting(
            command.arg(&url),
            CLIENT_TIME_MAX,
            script_counts,
        )?);
    }
    server.stop()?;
    Ok(outcome)
}

/// The client for topics, which loses its connection again and again.
fn js_client(root: &Path) -> anyhow::Result<Outcome> {
    crate::guests::build(&["herald".to_owned()])?;
    let wharf = served::build_host(root)?;
    let config = root.join("tests/clients/topics.toml");
    let mut serve = Command::new(wharf);
    serve.args(["serve", "--config"]).arg(config);
    let server = Served::start(root, "js-client", &mut serve)?;
    let mut command = Client::Recovering.command(root)?;
    command.arg(format!("ws://{}", server.address));
    let outcome = run_counting(&mut command, CLIENT_TIME_MAX, script_counts)?;
    server.stop()?;
    Ok(outcome)
}

/// The collector, which starts the server that traces for it.
fn otlp_collector(root: &Path) -> anyhow::Result<Outcome> {
    crate::guests::build(&["echo".to_owned()])?;
    let wharf = served::build_host(root)?;
    let mut command = Client::Otlp.command(root)?;
    command.arg(wharf).arg(root.join("target/guests/echo.wasm"));
    run_counting(&mut command, CLIENT_TIME_MAX, script_counts)
}

/// The demo as a newcomer starts it, but on a free port.
fn chat_two_tabs(root: &Path) -> anyhow::Result<Outcome> {
    // Built here, so that its progress is seen.
    crate::guests::build(&["chat".to_owned()])?;
    served::build_host(root)?;
    let mut demo = Command::new(std::env::current_exe()?);
    demo.args(["demo", "--listen", "127.0.0.1:0"]);
    let mut command = Client::ChatTwoTabs.command(root)?;
    let server = Served::start(root, "demo", &mut demo)?;
    let picture = root.join("target/chat-two-tabs.png");
    command
        .arg(format!("http://{}/", server.address))
        .arg(&picture);
    let outcome = run_counting(&mut command, CLIENT_TIME_MAX, script_counts)?;
    println!("screenshot: {}", picture.display());
    server.stop()?;
    Ok(outcome)
}

impl Client {
    /// The script and what runs it, without its arguments.
    fn command(self, root: &Path) -> anyhow::Result<Command> {
        let (program, script) = match self {
            Self::Ws => (tools::program(&["node"], "nodejs")?, "ws-echo.js"),
            Self::Recovering => (tools::program(&["node"], "nodejs")?, "js-client.js"),
            Self::Chromium => (tools::program(&["node"], "nodejs")?, "chromium-echo.js"),
            Self::ChatTwoTabs => (tools::program(&["node"], "nodejs")?, "chat-two-tabs.js"),
            Self::Websockets => (tools::python(root)?.join("python"), "websockets_echo.py"),
            Self::Otlp => (tools::python(root)?.join("python"), "otlp_collector.py"),
            Self::Java => (
                tools::program(&["java"], "openjdk-17-jdk-headless")?,
                "JavaEcho.java",
            ),
        };
        let mut command = Command::new(program);
        command.arg(root.join("tests/clients").join(script));
        if matches!(
            self,
            Self::Ws | Self::Recovering | Self::Chromium | Self::ChatTwoTabs
        ) {
            command.env("NODE_PATH", tools::node_modules(root)?);
        }
        if matches!(self, Self::Chromium | Self::ChatTwoTabs) {
            let names = ["chromium", "chromium-browser", "google-chrome"];
            command.env("CHROMIUM", tools::program(&names, "chromium")?);
        }
        Ok(command)
    }
}
