//! From a description to a running server: binds, compiles, checks, and starts the workers. Either
//! all of it works or nothing is left behind.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use super::Server;
use super::deployments::{Deploying, Deployments};
use super::desk::Desk;
use super::publisher::Publisher;
use super::publishing::Publishing;
use super::route::Route;
use super::worker::{self, Control, Inlets, TopicsConfig, WorkerParts};
use crate::admin::{Admin, AdminParts, AdminSettings, Question, Status};
use crate::budget::{Budgets, TenantLimits};
use crate::capability::{GuestLogs, LogLimits};
use crate::catalog::{Page, TopicRule};
use crate::config::{DeploymentSettings, TenantRules, TenantSettings};
use crate::dead_letters::{DeadLetterSettings, DeadLetters};
use crate::dispatch::{Counters, PeerCommand, Served};
use crate::guest::{Engine, EngineConfig};
use crate::id::random_u64;
use crate::ingress::{IngressLimits, Places, TlsFiles};
use crate::kv::Kv;
use crate::outbound::{Outbound, OutboundSettings};
use crate::storage::{Storage, StorageSettings};
use crate::timers::{self, Mail, TimerParts};
use crate::topics::Parcel;
use crate::traces::{TraceSettings, Traces};

/// Connections that the kernel keeps until a worker accepts them.
const BACKLOG: i32 = 4096;

/// Describes a server. Nothing happens before [`Builder::start`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    listen: Vec<String>,
    workers: Option<usize>,
    pub(super) routes: Vec<Route>,
    pub(super) pages: Vec<(String, Page)>,
    topics: Vec<TopicRule>,
    tls: Option<TlsFiles>,
    limits: IngressLimits,
    engine: EngineConfig,
    storage: Option<StorageSettings>,
    dead_letters: DeadLetterSettings,
    log: LogLimits,
    outbound: OutboundSettings,
    traces: Option<TraceSettings>,
    admin: Option<AdminSettings>,
    pub(super) tenants: BTreeMap<String, TenantLimits>,
    sockets: Vec<(String, Arc<TcpListener>)>,
    admin_socket: Option<Arc<TcpListener>>,
    before_storage: Option<Gate>,
    deployments: Option<DeploymentSettings>,
    rules: BTreeMap<String, TenantRules>,
}

/// What has to happen before the storage is opened.
#[derive(Clone)]
struct Gate(Arc<dyn Fn() -> Result<()> + Send + Sync>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Gate")
    }
}

impl Builder {
    /// Listens on `address`, such as `127.0.0.1:8080`; port 0 takes a free one. May be repeated,
    /// and left out by who only uses [`Server::connect`].
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Worker threads; one for each core by default.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = Some(count);
        self
    }

    /// Serves WebSockets on a path.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// For whoever writes the components and wants to see a change on the socket that is open: the
    /// routes so far that name no [`rollout`](Route::rollout) swap wherever that can be done, also if
    /// nothing is handed over; then a handler's memory begins empty.
    #[must_use]
    pub fn prefer_swap(mut self) -> Self {
        for route in &mut self.routes {
            route.prefers_swap = true;
        }
        self
    }

    /// Serves one static file on a path.
    #[must_use]
    pub fn page(mut self, path: impl Into<String>, page: Page) -> Self {
        self.pages.push((path.into(), page));
        self
    }

    /// Says what holds for the topics that a pattern covers; of several such rules the first holds.
    #[must_use]
    pub fn topic(mut self, rule: TopicRule) -> Self {
        self.topics.push(rule);
        self
    }

    /// Speaks TLS on every address, with certificate and key from PEM files that are read again
    /// when they change.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Changes what is accepted from the network.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut IngressLimits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Changes what is set aside for components.
    #[must_use]
    pub fn engine(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.engine);
        self
    }

    /// Keeps what components store; needed by who grants `keyvalue`, or `timers` to
    /// instances that serve more than one session.
    #[must_use]
    pub fn storage(mut self, settings: StorageSettings) -> Self {
        self.storage = Some(settings);
        self
    }

    /// Changes how much is kept of guest calls that failed; nothing is without [`Builder::admin`],
    /// for nobody could read it.
    #[must_use]
    pub fn dead_letters(mut self, change: impl FnOnce(&mut DeadLetterSettings)) -> Self {
        change(&mut self.dead_letters);
        self
    }

    /// Changes how much the handlers of a tenant may log.
    #[must_use]
    pub fn log(mut self, change: impl FnOnce(&mut LogLimits)) -> Self {
        change(&mut self.log);
        self
    }

    /// Changes what holds for connections that handlers open.
    #[must_use]
    pub fn outbound(mut self, change: impl FnOnce(&mut OutboundSettings)) -> Self {
        change(&mut self.outbound);
        self
    }

    /// Changes how much of the server a tenant may use, over all of its routes.
    #[must_use]
    pub fn tenant_limits(
        mut self,
        tenant: impl Into<String>,
        change: impl FnOnce(&mut TenantLimits),
    ) -> Self {
        change(self.tenants.entry(tenant.into()).or_default());
        self
    }

    /// Sends what one session in so many goes through to an OpenTelemetry collector.
    #[must_use]
    pub fn traces(mut self, settings: TraceSettings) -> Self {
        self.traces = Some(settings);
        self
    }

    /// Opens a listener for operators: health, metrics, and the API.
    #[must_use]
    pub fn admin(mut self, settings: AdminSettings) -> Self {
        self.admin = Some(settings);
        self
    }

    /// Takes a socket that listens already instead of opening one for an `address` of
    /// [`Builder::listen`]: of a service manager, or of the process whose successor this one is.
    #[must_use]
    pub fn socket(mut self, address: impl Into<String>, socket: Arc<TcpListener>) -> Self {
        self.sockets.push((address.into(), socket));
        self
    }

    /// The same for the address of [`Builder::admin`].
    #[must_use]
    pub fn admin_socket(mut self, socket: Arc<TcpListener>) -> Self {
        self.admin_socket = Some(socket);
        self
    }

    /// Calls this at the start, when everything is compiled and checked, and waits for it before the
    /// storage is opened: another process may have it until then. Its error is that of the start.
    #[must_use]
    pub fn before_storage(mut self, wait: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        self.before_storage = Some(Gate(Arc::new(wait)));
        self
    }

    /// Keeps deployments, and serves the current version of each. Who may deploy is said by
    /// [`Builder::tenant`]; over the API of [`Builder::admin`] new ones come in while the server runs.
    #[must_use]
    pub fn deployments(mut self, settings: DeploymentSettings) -> Self {
        self.deployments = Some(settings);
        self
    }

    /// Says what holds for a tenant.
    #[must_use]
    pub fn tenant(mut self, name: impl Into<String>, settings: TenantSettings) -> Self {
        let name = name.into();
        if let Some(rules) = settings.deploy {
            self.rules.insert(name.clone(), rules);
        }
        self.tenants.insert(name, settings.limits);
        self
    }

    /// What each tenant may deploy, wherever that is said.
    pub(super) fn all_rules(&self) -> BTreeMap<String, TenantRules> {
        let settings = self.deployments.iter();
        let mut all: BTreeMap<_, _> = settings.flat_map(|one| one.tenants.clone()).collect();
        all.extend(self.rules.clone());
        all
    }

    /// Starts the server; resolves when it accepts connections. Needs no particular runtime.
    ///
    /// # Errors
    /// When an address cannot be listened on, a component cannot be served, the routes contradict
    /// each other, or the deployments' folder cannot be opened; the message says which and why. A
    /// single deployment that cannot be served is left out, which the log says.
    pub async fn start(self) -> Result<Server> {
        let (done, started) = oneshot::channel();
        let thread = std::thread::Builder::new().name("wharf-start".into());
        thread
            .spawn(move || drop(done.send(self.start_blocking())))
            .context("a thread to start the server")?;
        started.await.context("the start was cut short")?
    }

    /// [`Builder::start`] for those who are not in an async function.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start_blocking(self) -> Result<Server> {
        let workers = self.worker_count()?;
        let (listeners, addresses) = self.bind_all()?;
        let admin_listener = self.bind_admin()?;
        let tls = self.tls.map(TlsFiles::load).transpose()?;
        let (traces, traces_thread) = start_traces(self.traces, &self.outbound)?.unzip();
        let budgets = Budgets::new(self.tenants);
        let publisher = Publisher::new(Engine::new(&self.engine)?, self.storage.is_some());
        let (mut publisher, served) = with_own(publisher, self.routes, self.pages)?;
        let mut stores = Stores::open(self.before_storage, self.storage.as_ref(), &budgets)?;
        let deployments = open_deployments(self.deployments, self.rules, &mut stores.all)?;
        let served = beside(&mut publisher, served, deployments.as_ref())?;
        let (peers, peers_in) = channels(workers);
        let (timer_addresses, mail) = timers::addresses(workers);
        let (topics, topic_inlets) = topics(self.topics, workers);
        let (questions, question_inlets) = channels(workers);
        let dead_letters = DeadLetters::new(self.dead_letters);
        let parts = WorkerParts {
            dead_letters: self.admin.is_some().then(|| dead_letters.clone()),
            origin: std::time::Instant::now(),
            run: random_u64(),
            served,
            peers: peers.into(),
            counters: Arc::<Counters>::default(),
            budgets: budgets.clone(),
            topics: topics.clone(),
            places: Arc::new(Places::new(self.limits)),
            tls,
            kv: stores.kv,
            timers: stores.timers,
            timer_addresses,
            logs: GuestLogs::new(self.log, budgets.clone()),
            outbound: outbound_of(self.outbound, &budgets)?,
            traces: traces.clone(),
        };
        let inlets = inlets(peers_in, mail, topic_inlets, question_inlets);
        let (controls, mut threads) = spawn_workers(&parts, &listeners, inlets)?;
        let with = (deployments, traces.as_ref());
        let (publishing, deploying) = publishing(publisher, &controls, with);
        let status = Arc::new(Status::default());
        let admin = self.admin.zip(admin_listener);
        let (admin, admin_thread) = start_admin(admin, |settings| AdminParts {
            settings,
            workers: questions,
            status: status.clone(),
            logs: parts.logs.clone(),
            dead_letters,
            canaries: Box::new(Desk(Arc::clone(&publishing))),
            budgets: budgets.clone(),
            deployer: deploying.clone().map(|deployer| deployer as _),
            traces: traces.as_ref().map(|traces| traces.counters().clone()),
        })?;
        let others = [stores.thread, traces_thread, admin_thread];
        threads.extend(others.into_iter().flatten());
        Ok(Server {
            addresses,
            secure: parts.tls.is_some(),
            workers: controls,
            threads,
            counters: parts.counters,
            topic_counters: topics.counters,
            admin,
            status,
            next_worker: 0.into(),
            publishing,
            deploying,
            stores: stores.all,
            budgets,
        })
    }

    /// Listens on each address, unless that is done already; with the real ports.
    fn bind_all(&self) -> Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
        let mut open: Vec<_> = self.sockets.iter().collect();
        let mut bound = (Vec::new(), Vec::new());
        for address in &self.listen {
            let place = open.iter().position(|(named, _)| named == address);
            let listener = match place {
                Some(place) => shared(&open.remove(place).1)?,
                None => bind(address)?,
            };
            bound.1.push(listener.local_addr()?);
            bound.0.push(listener);
        }
        Ok(bound)
    }

    fn bind_admin(&self) -> Result<Option<TcpListener>> {
        let bound = self.admin.as_ref().map(|admin| match &self.admin_socket {
            Some(socket) => shared(socket),
            None => bind(&admin.listen),
        });
        bound.transpose()
    }

    fn worker_count(&self) -> Result<usize> {
        match self.workers {
            Some(0) => bail!("a server needs at least one worker"),
            Some(count) => Ok(count),
            None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        }
    }
}

fn outbound_of(settings: OutboundSettings, budgets: &Budgets) -> Result<Outbound> {
    Outbound::new(settings, budgets.clone()).map_err(|reason| anyhow!(reason))
}

/// Who changes what is served, and for deployments who takes them.
fn publishing(
    publisher: Publisher,
    workers: &[UnboundedSender<Control>],
    (deployments, traces): (Option<Deployments>, Option<&Traces>),
) -> (Arc<Publishing>, Option<Arc<Deploying>>) {
    let registry = deployments.as_ref().map(Deployments::registry);
    let publishing = Publishing::start(publisher, workers.to_vec(), (registry, traces.cloned()));
    let deploying = deployments.map(|deployments| Deploying::new(deployments, &publishing));
    (publishing, deploying.map(Arc::new))
}

/// Answers operators, if somebody listens for them.
fn start_admin(
    admin: Option<(AdminSettings, TcpListener)>,
    parts: impl FnOnce(AdminSettings) -> AdminParts,
) -> Result<(Option<Admin>, Option<JoinHandle<()>>)> {
    let started = admin.map(|(settings, listener)| Admin::start(listener, parts(settings)));
    Ok(started.transpose()?.unzip())
}

/// Who controls the workers, and their threads.
type Spawned = (Vec<UnboundedSender<Control>>, Vec<JoinHandle<()>>);

fn spawn_workers(
    parts: &WorkerParts,
    listeners: &[TcpListener],
    inlets: impl Iterator<Item = Inlets>,
) -> Result<Spawned> {
    let (mut controls, mut threads) = (Vec::new(), Vec::new());
    for (index, inlets) in inlets.enumerate() {
        let listeners = listeners.iter().map(TcpListener::try_clone);
        let listeners = listeners
            .collect::<Result<_, _>>()
            .context("share a listener")?;
        let (control, thread) = worker::spawn(index, parts.clone(), listeners, inlets)?;
        controls.push(control);
        threads.push(thread);
    }
    Ok((controls, threads))
}

/// Where each worker reads what others send it.
fn inlets(
    peers: Vec<UnboundedReceiver<PeerCommand>>,
    timers: Vec<Mail>,
    topics: Vec<UnboundedReceiver<Parcel>>,
    questions: Vec<UnboundedReceiver<Question>>,
) -> impl Iterator<Item = Inlets> {
    let all = peers.into_iter().zip(timers).zip(topics).zip(questions);
    all.map(|(((peers, timers), topics), questions)| Inlets {
        peers,
        timers,
        topics,
        questions,
    })
}

/// A way to each worker, and its end there.
fn channels<T>(workers: usize) -> (Vec<UnboundedSender<T>>, Vec<UnboundedReceiver<T>>) {
    (0..workers).map(|_| mpsc::unbounded_channel()).unzip()
}

/// Serves the operator's own routes and pages, before anything else.
fn with_own(
    mut publisher: Publisher,
    routes: Vec<Route>,
    pages: Vec<(String, Page)>,
) -> Result<(Publisher, Served)> {
    let change = publisher.replace(routes, pages, &BTreeMap::new())?;
    let (served, _) = publisher.make(change);
    Ok((publisher, served))
}

/// Serves the deployments beside what is served already.
fn beside(
    publisher: &mut Publisher,
    served: Served,
    deployments: Option<&Deployments>,
) -> Result<Served> {
    let Some(deployments) = deployments else {
        return Ok(served);
    };
    let (all, canaries) = deployments.publish_all(publisher)?;
    let mut served = publisher.make(all).0;
    for canary in canaries {
        if let Some(change) = deployments.begin_again(publisher, canary) {
            served = publisher.make(change).0;
        }
    }
    Ok(served)
}

/// Opens the registry, for the tenants that may deploy.
fn open_deployments(
    settings: Option<DeploymentSettings>,
    rules: BTreeMap<String, TenantRules>,
    stores: &mut Vec<Storage>,
) -> Result<Option<Deployments>> {
    let Some(mut settings) = settings else {
        return Ok(None);
    };
    settings.tenants.extend(rules);
    let deployments = Deployments::open(settings)?;
    stores.push(deployments.storage());
    Ok(Some(deployments))
}

/// What is stored, and what is built on it.
#[derive(Default)]
struct Stores {
    kv: Option<Kv>,
    timers: Option<TimerParts>,
    /// That of the storage.
    thread: Option<JoinHandle<()>>,
    /// The databases that only one process may have open.
    all: Vec<Storage>,
}

impl Stores {
    /// Opens what is asked for, once nobody else has it.
    fn open(
        gate: Option<Gate>,
        settings: Option<&StorageSettings>,
        budgets: &Budgets,
    ) -> Result<Self> {
        if let Some(Gate(wait)) = gate {
            wait()?;
        }
        let Some(settings) = settings else {
            return Ok(Self::default());
        };
        let (storage, thread) = Storage::open(settings).map_err(|reason| anyhow!(reason))?;
        tracing::info!(place = %settings.place, "storage open");
        Ok(Self {
            kv: Some(Kv::new(storage.clone(), settings, budgets.clone())?),
            timers: Some(TimerParts::new(storage.clone(), settings)?),
            thread: Some(thread),
            all: vec![storage],
        })
    }
}

/// Begins to send spans to a collector, over connections that are the server's own.
fn start_traces(
    settings: Option<TraceSettings>,
    outbound: &OutboundSettings,
) -> Result<Option<(Traces, JoinHandle<()>)>> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let own = OutboundSettings {
        roots: outbound.roots.clone(),
        ..OutboundSettings::default()
    };
    let own = outbound_of(own, &Budgets::default())?;
    let started = Traces::start(settings, own).context("a thread for traces")?;
    Ok(Some(started))
}

/// What the topics of all workers are made of, and where each reads what the others say.
fn topics(rules: Vec<TopicRule>, workers: usize) -> (TopicsConfig, Vec<UnboundedReceiver<Parcel>>) {
    let (peers, inlets) = channels(workers);
    let config = TopicsConfig {
        rules: rules.into(),
        peers: peers.into(),
        counters: Arc::default(),
    };
    (config, inlets)
}

/// A socket that somebody else has opened, ready to be shared by the workers.
fn shared(socket: &TcpListener) -> Result<TcpListener> {
    let shared = socket.try_clone().context("share a listener")?;
    // Of a service manager it may block.
    shared.set_nonblocking(true)?;
    Ok(shared)
}

/// Listens on an address, ready to be shared by the workers.
pub(super) fn bind(address: &str) -> Result<TcpListener> {
    let wanted = || format!("listen on {address}");
    let resolved = address.to_socket_addrs().with_context(|| {
        format!("{address:?} is no address to listen on; right would be \"127.0.0.1:8080\"")
    })?;
    let mut last = None;
    for resolved in resolved {
        match bind_one(resolved) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(error).with_context(|| {
                format!(
                    "{}: another program uses that port; choose another one with --listen",
                    wanted()
                )
            })
        }
        Some(error) => Err(error).with_context(wanted),
        None => bail!("{address:?} resolves to no address"),
    }
}

fn bind_one(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
