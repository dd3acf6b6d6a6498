//! The composition root: the one place that knows every part. Builds the engine, the programs, the
//! catalog and the workers; hands out a handle to the running server.
//!
//! No global state: two servers in one process do not know of each other. Nothing here runs while
//! messages flow.

mod builder;
mod canary;
mod configured;
mod declined;
mod deployments;
mod desk;
mod publisher;
mod publishing;
mod questions;
mod recorder;
mod route;
mod succession;
mod warden;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

pub use self::builder::Builder;
use self::deployments::Deploying;
pub use self::publisher::Replaced;
use self::publisher::{Change, Publisher, Reason};
use self::publishing::Publishing;
pub use self::route::{Route, Source};
use self::worker::Control;
use crate::admin::{Admin, Outcome, Status};
use crate::budget::Budgets;
use crate::config::TenantRules;
use crate::dispatch::{Counters, label};
use crate::metrics::RouteKey;
use crate::storage::Storage;
use crate::topics::TopicCounters;

/// Bytes that an in-memory connection holds in each direction, as a socket's buffers would.
const MEMORY_CONNECTION_BYTES: usize = 64 * 1024;

/// A running server. Dropping it ends every session at once; see [`Server::drain`].
pub struct Server {
    addresses: Vec<SocketAddr>,
    secure: bool,
    workers: Vec<UnboundedSender<Control>>,
    /// The workers', and behind them that of the storage.
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
    topic_counters: Arc<TopicCounters>,
    /// The admin listener, if there is one. Ends with this.
    admin: Option<Admin>,
    status: Arc<Status>,
    next_worker: AtomicUsize,
    publishing: Arc<Publishing>,
    /// None where there are no deployments.
    deploying: Option<Arc<Deploying>>,
    /// The databases that only one process may have open.
    stores: Vec<Storage>,
    budgets: Budgets,
}

/// What is going on in a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Sessions between their handshake and the end of their `on-close`.
    pub sessions_open: usize,
    /// Instances of components that hold memory.
    pub instances_live: usize,
    /// Instances that sleep: without memory, with their sessions.
    pub instances_asleep: usize,
    /// How often an instance has woken, since the start.
    pub instances_woken: u64,
    /// How often the next version of a component has taken the place of a running instance, since
    /// the start.
    pub swaps: u64,
    /// How often it could not, and the old version went on.
    pub swaps_failed: u64,
    /// Messages of topics that were queued for a member, since the start.
    pub topic_deliveries: u64,
    /// Messages of topics that a member did not get because its queue was full or it was closing,
    /// since the start.
    pub topic_deliveries_dropped: u64,
}

impl Server {
    /// Begins to describe a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The first address that it listens on; the port is the real one where 0 was asked for.
    ///
    /// # Panics
    /// If the server was built without an address to listen on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        *self
            .addresses
            .first()
            .expect("the server was built with an address to listen on")
    }

    /// All addresses that it listens on.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where its operators reach it, if [`Builder::admin`] asked for that.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Whether its listeners speak TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Opens a connection without a socket: the client writes its HTTP request to what is returned.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub fn connect(&self) -> Result<DuplexStream> {
        let (client, server) = tokio::io::duplex(MEMORY_CONNECTION_BYTES);
        let worker = self.next_worker.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        if self.workers[worker].send(Control::Connect(server)).is_err() {
            bail!("the server is shutting down");
        }
        Ok(client)
    }

    /// What is going on now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sessions_open: self.counters.sessions_open.load(Ordering::Relaxed),
            instances_live: self.counters.instances_live.load(Ordering::Relaxed),
            instances_asleep: self.counters.instances_asleep.load(Ordering::Relaxed),
            instances_woken: self.counters.instances_woken.load(Ordering::Relaxed),
            swaps: self.counters.swaps.load(Ordering::Relaxed),
            swaps_failed: self.counters.swaps_failed.load(Ordering::Relaxed),
            topic_deliveries: self.topic_counters.deliveries.load(Ordering::Relaxed),
            topic_deliveries_dropped: self.topic_counters.dropped.load(Ordering::Relaxed),
        }
    }

    /// Serves a route from now on, under live sockets: a new one beside the others, or the next
    /// version of the one of the same tenant, host, path and subprotocols. New requests find it when
    /// this resolves; instances and sessions of the version before follow as its
    /// [`rollout`](Route::rollout) says.
    ///
    /// # Errors
    /// When it cannot be served; the message says why, and everything is as it was.
    pub async fn publish(&self, route: Route) -> Result<Replaced> {
        self.change(move |publisher| publisher.publish(route)).await
    }

    /// Serves a route no longer: its path is answered with 404, and its sessions are closed with
    /// 1001 after what was read is answered. `route` needs tenant, host, path and subprotocols.
    ///
    /// # Errors
    /// When there is no such route.
    pub async fn withdraw(&self, route: Route) -> Result<Replaced> {
        self.change(move |publisher| publisher.withdraw(&route))
            .await
    }

    /// Serves the routes and pages of that description from now on, and no others but deployments,
    /// which go on: within its limits of tenants, by its rules for them, and where these have their
    /// places. Routes that are as they were go on as if nothing had happened. Everything else of the
    /// description comes only with a new start.
    ///
    /// # Errors
    /// When it cannot be served, or when a deployment could not be served any more; the message says
    /// why, and everything is as it was.
    pub async fn reload(&self, description: Builder) -> Result<Replaced> {
        let (budgets, deploying) = (self.budgets.clone(), self.deploying.clone());
        self.aside(move |publishing| {
            let rules = description.all_rules();
            let plan = |publisher: &Publisher| {
                match &deploying {
                    Some(deploying) => deploying.check_rules(publisher, &rules)?,
                    None => check_no_rules(&rules)?,
                }
                publisher.replace(description.routes, description.pages, &rules)
            };
            let record = || {
                // The workers look at them when they get what is served.
                budgets.replace(description.tenants);
                if let Some(deploying) = &deploying {
                    deploying.set_rules(rules.clone());
                }
                anyhow::Ok(())
            };
            let (replaced, ()) = publishing.change(plan, record)?;
            if let Some(deploying) = &deploying {
                deploying.serve_left_out();
            }
            Ok(replaced)
        })
        .await
    }

    /// Lets everybody follow the canary of a route. `route` needs tenant, host, path and subprotocols.
    ///
    /// # Errors
    /// When none is under way.
    pub async fn promote(&self, route: Route) -> Result<Replaced> {
        let of = key_of(route)?;
        let reason = by_library(Outcome::Promoted);
        self.aside(move |publishing| publishing.promote(&of, None, (reason, LIBRARY)))
            .await
    }

    /// Takes the canary of a route back, or the version that everybody follows while it is still
    /// watched. `route` needs tenant, host, path and subprotocols.
    ///
    /// # Errors
    /// When neither is there.
    pub async fn abort(&self, route: Route) -> Result<Replaced> {
        let of = key_of(route)?;
        let reason = by_library(Outcome::Aborted);
        self.aside(move |publishing| publishing.take_back(&of, None, (reason, LIBRARY)))
            .await
    }

    async fn change(
        &self,
        plan: impl FnOnce(&Publisher) -> Result<Change> + Send + 'static,
    ) -> Result<Replaced> {
        self.aside(move |publishing| {
            let done = publishing.change(plan, || anyhow::Ok(()));
            done.map(|(replaced, ())| replaced)
        })
        .await
    }

    /// Makes a change on a thread that may stand still.
    async fn aside(
        &self,
        work: impl FnOnce(&Arc<Publishing>) -> Result<Replaced> + Send + 'static,
    ) -> Result<Replaced> {
        let publishing = Arc::clone(&self.publishing);
        let (done, changed) = oneshot::channel();
        let thread = std::thread::Builder::new().name("wharf-publish".into());
        thread
            .spawn(move || drop(done.send(work(&publishing))))
            .context("a thread to publish")?;
        changed.await.context("the change was cut short")?
    }

    /// Resolves when an operator has asked over the admin listener that the server drains and ends.
    /// From that moment on it says that it is not ready; the rest is up to whoever waits here.
    pub async fn drain_requested(&self) {
        self.status.drain_wanted().await;
    }

    /// Asks every client to leave: accepts nothing new, answers what was read, closes each session
    /// with 1001 and waits for its end. Returns how many sessions were left after `within`.
    pub async fn drain(&self, within: Duration) -> usize {
        self.status.begin_drain();
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            // A worker that has ended has no sessions.
            let _ = worker.send(Control::Drain { within, done });
            answers.push(answer);
        }
        let mut left = 0;
        for answer in answers {
            left += answer.await.unwrap_or(0);
        }
        left
    }

    /// Ends every session and every thread at once.
    ///
    /// # Errors
    /// When a worker or the storage had panicked.
    pub async fn shutdown(mut self) -> Result<()> {
        self.workers.clear();
        self.publishing.end();
        self.admin = None;
        self.stores.clear();
        let threads = std::mem::take(&mut self.threads);
        let (done, all) = oneshot::channel();
        let joining = std::thread::Builder::new().name("wharf-shutdown".into());
        joining
            .spawn(move || {
                let panicked = threads
                    .into_iter()
                    .filter_map(|thread| thread.join().err())
                    .count();
                let _ = done.send(panicked);
            })
            .context("a thread to wait for the workers")?;
        match all.await {
            Ok(0) => Ok(()),
            _ => bail!("a thread of the server had panicked"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A change that is under way must not keep the workers.
        self.publishing.end();
    }
}

/// Nobody can deploy into a server that keeps nothing.
fn check_no_rules(rules: &BTreeMap<String, TenantRules>) -> Result<()> {
    let Some((tenant, rules)) = rules.iter().next() else {
        return Ok(());
    };
    let place = rules.line.map(|line| format!(", line {line}"));
    bail!(
        "[tenant.{tenant}.deploy]{}: the server was started without [deployments], which come only with \
         a new start; right would be `wharf upgrade`, or no such table",
        place.unwrap_or_default()
    )
}

/// What a route is found by.
fn key_of(route: Route) -> Result<RouteKey> {
    let route = route.check(crate::catalog::ProgramId(0))?;
    Ok((route.tenant.clone(), label(&route).into()))
}

/// Whom the history names.
const LIBRARY: &str = "the program that runs the server";

fn by_library(outcome: Outcome) -> Reason {
    Reason {
        outcome,
        cause: "library",
        text: format!("{LIBRARY} asked for it"),
        vitals: None,
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = formatter.debug_struct("Server");
        text.field("addresses", &self.addresses)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
