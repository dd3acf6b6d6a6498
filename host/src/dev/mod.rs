//! `wharf dev`: builds the handler of a folder, serves it, and does both again when a file changes, under
//! the sockets that are open.
//!
//! Never gives up rights, as `wharf serve` does: it starts builds. Serves by the same code.

mod building;
mod watching;

use std::convert::Infallible;
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use wharf::{Replaced, Sandbox, Server};

use self::building::Build;
use self::watching::Watch;
use crate::Serve;
use crate::serve::{self, Signals};
use crate::telemetry::{self, LogFormat};

pub(crate) const HELP: &str = "\
The folder has a server.toml, as `wharf new` writes it: with [[route]] and the component that the
build makes. After the build this is served, and one line on standard output says where. When a
file in the folder changes it is built again, and the new version takes over under the open
sockets: as the route's `rollout` says, else by `swap` where that can be done. A handler without
a hand-over begins with empty memory then. A build that fails shows what the compiler says, and
the version before is served on.

Not watched are `target`, `node_modules` and what has a name that begins with a dot. What the
file says beyond routes, pages and limits of tenants comes with the next start. Ctrl-C ends it.

  wharf dev hello                                        cargo build --release, in the folder
  wharf dev --build 'npm run build'                      another language
  wharf dev chat --config chat/server.toml               another file";

/// Between two looks at the folder.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long the sessions may take to end: nobody wants to wait for their own tests.
const DRAIN: Duration = Duration::from_secs(1);
/// Warnings of the server, and everything that the handlers say.
const LOG: &str = "warn,guest=trace";
/// The configuration in the handler's folder.
const CONFIG: &str = "server.toml";

/// What `wharf dev` is told.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The handler's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// What builds it: a command for the shell, run in the folder; by default `cargo build --release`.
    #[arg(long, value_name = "COMMAND")]
    build: Option<String>,
    /// The configuration; by default the folder's server.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, instead of what the configuration says; port 0 takes a free one. May be
    /// repeated.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// What the log looks like.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

/// Builds and serves until a signal ends it.
pub(crate) fn run(arguments: &Dev) -> Result<ExitCode> {
    let mut bench = Bench::new(arguments)?;
    telemetry::begin(arguments.log_format, LOG)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            ended = bench.work() => match ended? {},
            // Here a build that runs is ended, too.
            () = signals.next() => {}
        }
        match bench.server {
            Some(server) => serve::drain(server, &mut signals, DRAIN).await,
            None => Ok(ExitCode::SUCCESS),
        }
    })
}

/// A handler in the making.
struct Bench {
    arguments: Serve,
    build: Build,
    watch: Watch,
    /// Once something was served.
    server: Option<Server>,
    version: u64,
}

impl Bench {
    fn new(dev: &Dev) -> Result<Self> {
        let named = || dev.folder.display().to_string();
        let folder = dev.folder.canonicalize().with_context(named)?;
        if !folder.is_dir() {
            bail!("{} is no folder; right is that of a handler", named());
        }
        let config = match &dev.config {
            Some(file) => file.clone(),
            None => dev.folder.join(CONFIG),
        };
        if !config.is_file() {
            bail!(
                "there is no file {}: right is the folder of a handler, as `wharf new` makes it, or \
                 `--config FILE`",
                config.display()
            );
        }
        let build = Build::new(&folder, dev.build.as_deref())?;
        Ok(Self {
            arguments: Serve {
                component: None,
                listen: dev.listen.clone(),
                config: Some(config.clone()),
                instance: None,
                idle: None,
                after_trap: None,
                workers: None,
                sandbox: Some(Sandbox::Off),
                log_format: dev.log_format,
            },
            build,
            watch: Watch::new(folder, config),
            server: None,
            version: 0,
        })
    }

    /// Builds and publishes what has changed, without end.
    async fn work(&mut self) -> Result<Infallible> {
        let mut cause = None;
        loop {
            self.watch.note_sources()?;
            match cause {
                Some(changed) => say(format_args!("{changed}: {}", self.build)),
                None => say(format_args!("{}", self.build)),
            }
            match self.build.run().await {
                Ok(took) => {
                    say(format_args!("built in {:.1} s", took.as_secs_f32()));
                    self.publish().await;
                }
                Err(error) => say(format_args!("{error:#}; {}", self.goes_on())),
            }
            cause = match self.watch.changed_while_built()? {
                Some(changed) => Some(changed),
                None => Some(self.wait().await?),
            };
        }
    }

    /// Waits until the sources change. A component that changes by itself, because somebody else has
    /// built it, is published meanwhile.
    async fn wait(&mut self) -> Result<String> {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(changed) = self.watch.changed_sources()? {
                return Ok(changed);
            }
            if let Some(changed) = self.watch.changed_components() {
                say(changed);
                self.publish().await;
            }
        }
    }

    /// Serves what is there now. What is wrong with it changes nothing.
    async fn publish(&mut self) {
        match self.try_to_publish().await {
            Ok(said) => say(said),
            Err(error) => {
                say(format_args!("not served: {error:#}"));
                say(self.goes_on());
            }
        }
    }

    async fn try_to_publish(&mut self) -> Result<String> {
        self.watch.note_components();
        let config = serve::read(&self.arguments, false)?;
        let components = config.routes.iter().map(|route| route.component.clone());
        // Before they are read: what changes after this is read again.
        self.watch
            .follow(components.collect(), config.files_read.clone());
        let description = serve::build(config, &self.arguments).prefer_swap();
        let Some(server) = &self.server else {
            let server = description.start().await?;
            serve::announce(&server)?;
            self.version = 1;
            self.server = Some(server);
            return Ok("version 1 is served".to_owned());
        };
        let replaced = server.reload(description).await?;
        let sessions = server.stats().sessions_open;
        Ok(self.describe(replaced, sessions))
    }

    fn describe(&mut self, replaced: Replaced, sessions: usize) -> String {
        let before = std::mem::replace(&mut self.version, replaced.generation);
        let version = self.version;
        if replaced.canaries > 0 {
            return format!("version {version} begins as a canary, as the configuration says");
        }
        if version == before {
            return format!("no handler has changed, version {version} is served on");
        }
        match sessions {
            1 => format!("version {version} is served, 1 session stays open"),
            _ => format!("version {version} is served, {sessions} sessions stay open"),
        }
    }

    fn goes_on(&self) -> String {
        match self.version {
            0 => "nothing is served yet: it begins again when a file changes".to_owned(),
            version => format!("version {version} is served on"),
        }
    }
}

/// One line for the person who waits. Nothing can be done about a standard error that is gone.
fn say(event: impl Display) {
    let _ = writeln!(std::io::stderr(), "wharf: {event}");
}

/// A file as the person knows it: from the folder.
fn shown(file: &Path, folder: &Path) -> String {
    let file = file.strip_prefix(folder).unwrap_or(file);
    file.display().to_string()
}
