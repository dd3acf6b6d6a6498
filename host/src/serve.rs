//! `wharf serve`: a server from its start to its end, and what signals and operators ask of it in
//! between.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use wharf::{Builder, Config, Held, Needs, Route, Sandbox, Server, UpgradeRequest};

use crate::process::handover::{Successor, hand_over};
use crate::process::launcher::Launcher;
use crate::process::link::{Speaker, Upwards, Word};
use crate::process::manager::{self, Watchdog};
use crate::process::sockets::{Inherited, Sockets};
use crate::{Instance, Serve, telemetry};

/// What is logged unless somebody says.
const LOG: &str = "info";
/// How long a server that was asked to end waits for its sessions.
const DRAIN: Duration = Duration::from_secs(30);
/// How long sessions stay in a process that has a successor, unless somebody says.
const DRAIN_FOR: Duration = Duration::from_secs(3_600);
/// How long a successor may take until it is ready, unless somebody says.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Where a server listens if nobody says.
const LISTEN: &str = "127.0.0.1:8080";

/// What the process has beside its server.
struct Surroundings {
    sockets: Sockets,
    /// None where it could not be started: then there are no upgrades.
    launcher: Option<Launcher>,
    needs: Needs,
    held: Held,
    /// The process before, while it has sessions.
    predecessor: Option<Predecessor>,
}

struct Predecessor {
    speaker: Speaker,
    sessions: watch::Receiver<Option<u64>>,
}

pub(crate) fn run(arguments: &Serve) -> Result<ExitCode> {
    // Before anything else: there is one thread yet.
    let mut inherited = Inherited::take()?;
    telemetry::begin(arguments.log_format, LOG)?;
    let upwards = inherited.predecessor.take();
    let speaker = upwards.as_ref().map(Upwards::speaker).transpose()?;
    let ended = start(arguments, inherited, upwards);
    if let (Err(error), Some(speaker)) = (&ended, speaker) {
        speaker.say(&Word::Failed(format!("{error:#}")));
    }
    ended
}

/// Everything that is done while the process has all its rights and one thread; then the rest.
fn start(
    arguments: &Serve,
    mut inherited: Inherited,
    upwards: Option<Upwards>,
) -> Result<ExitCode> {
    let mut config = read(arguments, inherited.listens())?;
    let needs = needs(&config, arguments);
    let sockets = Sockets::open(&mut config, &mut inherited)?;
    let launcher = Launcher::start(needs.writes.iter().chain(&needs.folders));
    let launcher = launcher.inspect_err(|error| tracing::warn!("no upgrades: {error:#}"));
    let held = give_up(arguments.sandbox.unwrap_or(config.sandbox), &needs)?;
    let upwards = upwards.map(|upwards| Arc::new(Mutex::new(upwards)));
    let mut builder = sockets.give_to(build(config, arguments));
    if let Some(upwards) = upwards.clone() {
        builder = builder.before_storage(move || {
            wait_for_the_storage(&upwards);
            Ok(())
        });
    }
    let surroundings = Surroundings {
        sockets,
        launcher: launcher.ok(),
        needs,
        held,
        predecessor: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments, builder, surroundings, upwards))
}

/// Says that everything else is done, and waits until the process before has closed the storage, or
/// has ended, which closes it as well.
fn wait_for_the_storage(upwards: &Mutex<Upwards>) {
    let mut upwards = upwards.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(speaker) = upwards.speaker() {
        speaker.say(&Word::Prepared);
    }
    while !matches!(upwards.hear(None), None | Some(Word::Released)) {}
}

fn needs(config: &Config, arguments: &Serve) -> Needs {
    let files = arguments.config.iter().chain(&arguments.component);
    let files: Vec<&Path> = files.map(PathBuf::as_path).collect();
    config.needs(&files)
}

fn give_up(sandbox: Sandbox, needs: &Needs) -> Result<Held> {
    if wharf::is_root() {
        tracing::warn!(
            "running as root: right would be a user of its own; ports below 1024 can be had from the \
             service manager (socket activation) or with CAP_NET_BIND_SERVICE"
        );
    }
    let held = wharf::give_up(sandbox, needs)?;
    tracing::info!("rights: {held}");
    Ok(held)
}

async fn serve(
    arguments: &Serve,
    builder: Builder,
    mut around: Surroundings,
    upwards: Option<Arc<Mutex<Upwards>>>,
) -> Result<ExitCode> {
    // Before the start, so that no signal is missed from the moment that the server is ready.
    let mut signals = Signals::new()?;
    let install = |kind| signal(kind).context("a signal handler");
    let mut hangup = install(SignalKind::hangup())?;
    let mut replace = install(SignalKind::user_defined2())?;
    let server = tokio::select! {
        server = builder.start() => server?,
        () = signals.next() => return Ok(ExitCode::FAILURE),
    };
    server.show_rights(&around.held);
    around.predecessor = upwards.map(follow).transpose()?;
    announce(&server)?;
    manager::ready();
    let mut watchdog = Watchdog::new();
    loop {
        let wish = tokio::select! {
            () = signals.next() => return end(server, &mut signals, &around).await,
            () = server.drain_requested() => return end(server, &mut signals, &around).await,
            _ = hangup.recv() => {
                reload(&server, arguments, &around).await;
                continue;
            }
            within = watchdog.due() => {
                if server.is_alive(within).await {
                    Watchdog::alive();
                }
                continue;
            }
            () = sessions_before(&mut around.predecessor, &server) => continue,
            wish = server.upgrade_requested() => wish,
            _ = replace.recv() => by_signal(),
        };
        let drain_for = wish.drain_for.unwrap_or(DRAIN_FOR);
        let successor = tokio::select! {
            successor = upgrade(&server, &around, wish) => successor,
            () = signals.next() => {
                drop(around.launcher.as_ref().map(Launcher::end));
                return end(server, &mut signals, &around).await;
            }
        };
        if let Some(successor) = successor {
            return give_way(server, successor, around, drain_for, &mut signals).await;
        }
    }
}

/// A wish without anybody who waits for the answer.
fn by_signal() -> UpgradeRequest {
    UpgradeRequest {
        program: None,
        drain_for: None,
        ready_within: None,
        answer: oneshot::channel().0,
    }
}

/// Listens to what the process before says from now on, on a thread of its own.
fn follow(upwards: Arc<Mutex<Upwards>>) -> Result<Predecessor> {
    let (tell, sessions) = watch::channel(None);
    let speaker = {
        let upwards = upwards.lock().unwrap_or_else(PoisonError::into_inner);
        upwards.speaker()?
    };
    speaker.say(&Word::Ready);
    let listening = std::thread::Builder::new().name("wharf-before".into());
    listening
        .spawn(move || {
            let mut upwards = upwards.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(word) = upwards.hear(None) {
                if let Word::Sessions(count) = word {
                    tell.send_replace(Some(count));
                }
            }
        })
        .context("a thread for the process before")?;
    Ok(Predecessor { speaker, sessions })
}

/// Resolves when the process before has said how many sessions it has, or has ended.
async fn sessions_before(predecessor: &mut Option<Predecessor>, server: &Server) {
    let Some(before) = predecessor else {
        return std::future::pending().await;
    };
    if before.sessions.changed().await.is_ok() {
        server.show_predecessor(*before.sessions.borrow());
    } else {
        server.show_predecessor(None);
        tracing::info!("the process before has ended");
        *predecessor = None;
    }
}

/// Starts a successor and makes room for it. Whoever asked and the log hear what came of it.
async fn upgrade(
    server: &Server,
    around: &Surroundings,
    wish: UpgradeRequest,
) -> Option<Successor> {
    let outcome = match &around.launcher {
        _ if std::process::id() == 1 => Err(anyhow::anyhow!(
            "this is the first process of its container, which ends with it; right would be a new \
             container beside it"
        )),
        None => Err(anyhow::anyhow!(
            "the process that starts successors is not there"
        )),
        Some(launcher) => {
            let program = wish.program.as_deref();
            let ready_within = wish.ready_within.unwrap_or(READY_WITHIN);
            hand_over(server, launcher, &around.sockets, program, ready_within).await
        }
    };
    let said = match &outcome {
        Ok(successor) => Ok(successor.process),
        Err(error) => {
            tracing::error!("no upgrade, what was served goes on: {error:#}");
            Err(format!("{error:#}"))
        }
    };
    // Whoever asked may have given up waiting.
    let _ = wish.answer.send(said);
    outcome.ok()
}

/// The successor serves: lets go of everything but the sessions that are here.
async fn give_way(
    server: Server,
    successor: Successor,
    around: Surroundings,
    drain_for: Duration,
    signals: &mut Signals,
) -> Result<ExitCode> {
    server.be_gone();
    manager::handed_over(successor.process);
    let sessions = server.stats().sessions_open;
    let process = successor.process;
    tracing::info!(
        process,
        sessions,
        ?drain_for,
        "a successor serves; sessions stay here"
    );
    if let Some(before) = &around.predecessor {
        before.speaker.say(&Word::End);
    }
    // The sockets and the launcher.
    drop(around);
    tokio::select! {
        left = successor.outlast(&server, drain_for) => {
            if left > 0 {
                tracing::warn!(sessions = left, "not every session ended in time");
            }
            server.shutdown().await?;
            tracing::info!("ended");
            Ok(ExitCode::SUCCESS)
        }
        () = signals.next() => drain(server, signals, DRAIN).await,
    }
}

/// What the arguments and the file say together.
pub(crate) fn read(arguments: &Serve, has_sockets: bool) -> Result<Config> {
    arguments.component.as_deref().map_or(Ok(()), is_there)?;
    let mut config = match &arguments.config {
        Some(file) => Config::load(file).context("the configuration cannot be used")?,
        None => Config::default(),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(deployments) = &mut config.deployments {
        // This very program, also when another one has taken its place on the disk meanwhile.
        let own = || PathBuf::from("/proc/self/exe");
        deployments.compiler.get_or_insert_with(own);
        if config.admin.is_none() {
            tracing::warn!(
                "[deployments] without [admin]: what is deployed is served, and nobody can deploy"
            );
        }
    }
    if !arguments.listen.is_empty() {
        config.listen.clone_from(&arguments.listen);
    } else if config.listen.is_empty() && !has_sockets {
        config.listen.push(LISTEN.to_owned());
    }
    config.workers = arguments.workers.map(usize::from).or(config.workers);
    let has_routes = !config.routes.is_empty() || config.deployments.is_some();
    if arguments.component.is_none() && !has_routes {
        tracing::warn!("no route leads to a component: nothing here answers WebSockets");
    }
    Ok(config)
}

/// Says what is wrong with the name of a component's file, before anything is read of it.
pub(crate) fn is_there(component: &Path) -> Result<()> {
    let name = component.display();
    if component.is_dir() {
        bail!("{name} is a folder; right is a component's file, or `wharf serve --config FILE`");
    }
    if !component.exists() {
        bail!("there is no file {name}: build the handler first, or name another file");
    }
    if component.extension().is_some_and(|ending| ending == "toml") {
        bail!("{name} is no component; right would be `wharf serve --config {name}`");
    }
    Ok(())
}

/// The server that these describe.
pub(crate) fn build(config: Config, arguments: &Serve) -> Builder {
    let builder = Server::builder().configured(config);
    let Some(component) = &arguments.component else {
        return builder;
    };
    let route = Route::new("/{*path}").component_file(component);
    let route = route
        .idle(arguments.idle)
        .after_trap(arguments.after_trap.unwrap_or_default());
    builder.route(match arguments.instance.clone() {
        None => route,
        Some(Instance::Model(model)) => route.instance(model),
        Some(Instance::Key(template)) => route.instance_key(template),
    })
}

/// The one line on standard output, for whoever waits for the server.
pub(crate) fn announce(server: &Server) -> Result<()> {
    let scheme = if server.is_secure() { "https" } else { "http" };
    for address in server.local_addrs() {
        tracing::info!("listening on {scheme}://{address}");
    }
    if let Some(address) = server.admin_addr() {
        tracing::info!("operators are served on http://{address}");
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {scheme}://{}", server.local_addr())?;
    stdout.flush().context("standard output")
}

/// Reads the configuration and the components again. What is wrong there changes nothing here.
async fn reload(server: &Server, arguments: &Serve, around: &Surroundings) {
    manager::reloading();
    let outcome = match describe_again(arguments, around) {
        Ok(description) => server.reload(description).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(published) => {
            let wharf::Replaced {
                generation,
                added,
                changed,
                removed,
                canaries,
            } = published;
            tracing::info!(
                generation,
                added,
                changed,
                removed,
                canaries,
                "routes and pages read again"
            );
        }
        Err(error) => {
            tracing::error!("nothing is changed, what was served goes on: {error:#}");
        }
    }
    manager::ready();
}

/// As at the start, if the process still has the rights for it.
fn describe_again(arguments: &Serve, around: &Surroundings) -> Result<Builder> {
    let config = read(arguments, true).map_err(|error| {
        let is_closed = format!("{error:#}").contains("Permission denied");
        match around.held.holds_files() && is_closed {
            true => error.context(
                "folders that were not named at the start are closed to the process; right would be \
                 `wharf upgrade`, or another sandbox",
            ),
            false => error,
        }
    })?;
    let beyond = needs(&config, arguments).beyond(&around.needs);
    if around.held.holds_files() && !beyond.is_empty() {
        bail!(
            "the process has given up {} after its start; right would be `wharf upgrade`, or another \
             sandbox",
            beyond.join(", ")
        );
    }
    Ok(build(config, arguments))
}

/// Asks every client to leave; a second signal ends the wait.
async fn end(server: Server, signals: &mut Signals, around: &Surroundings) -> Result<ExitCode> {
    manager::stopping();
    if let Some(before) = &around.predecessor {
        before.speaker.say(&Word::End);
    }
    drain(server, signals, DRAIN).await
}

/// Waits so long for the sessions, or until a second signal.
pub(crate) async fn drain(
    server: Server,
    signals: &mut Signals,
    within: Duration,
) -> Result<ExitCode> {
    let sessions = server.stats().sessions_open;
    tracing::info!(sessions, "draining; a second signal ends at once");
    tokio::select! {
        left = server.drain(within) => {
            if left > 0 {
                tracing::warn!(sessions = left, "not every session ended in time");
            }
            server.shutdown().await?;
            tracing::info!("ended");
            Ok(ExitCode::SUCCESS)
        }
        () = signals.next() => {
            tracing::warn!(sessions = server.stats().sessions_open, "ended at once");
            // No thread is waited for: the sessions go with the process.
            std::process::exit(1)
        }
    }
}

/// The signals that end a server.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let install = |kind| signal(kind).context("a signal handler");
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
