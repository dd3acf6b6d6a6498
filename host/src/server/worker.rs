//! One worker: a thread with a runtime of its own, and everything that its sessions need. Workers
//! share immutable data and talk by messages.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::DuplexStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use wharf_protocol::Cause;

use super::questions::answer;
use crate::admin::Question;
use crate::budget::Budgets;
use crate::capability::client::Launch;
use crate::capability::{GuestLogs, Services};
use crate::catalog::TopicRule;
use crate::dead_letters::DeadLetters;
use crate::dispatch::{Counters, Dispatcher, DispatcherParts, PeerCommand, Served};
use crate::ingress::{Ingress, Places, Tls};
use crate::kv::Kv;
use crate::mailbox::Lane;
use crate::metrics::{VersionKey, Vitals};
use crate::outbound::Outbound;
use crate::request::Remote;
use crate::scheduling;
use crate::session;
use crate::timers::{Addresses, Mail, TimerParts, Timers};
use crate::topics::{Parcel, TopicCounters, Topics, TopicsParts};
use crate::traces::{Tracer, Traces};
use crate::wire::{Listener, Socket, reactor};

/// How often a draining worker looks whether its sessions have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// How long those who were accepted have to become sessions before these are asked to leave: their
/// requests are on their way, and waiting for one that is not would keep everybody waiting.
const SETTLING: Duration = Duration::from_secs(1);
/// Looks in a row that find nobody on the way: between two stages a connection is not counted.
const QUIET_LOOKS: u32 = 2;
/// What the last of those who are asked to leave may take beyond their moment: their close, and the
/// end of their streams.
const FAREWELL: Duration = Duration::from_secs(15);

/// How long buffers for long messages are kept while nobody needs one, up to twice.
const BUFFERS_LOOK: Duration = Duration::from_secs(10);

/// What the server's handle asks of a worker. A worker whose channel is closed ends.
pub(super) enum Control {
    /// Serve a connection that has no socket.
    Connect(DuplexStream),
    /// Serve that from now on; answer when new requests find it.
    Publish {
        served: Served,
        done: oneshot::Sender<()>,
    },
    /// Answer what was counted of versions on trial, with the place of the worker.
    CountTrials {
        place: usize,
        reply: mpsc::Sender<(usize, BTreeMap<VersionKey, Vitals>)>,
    },
    /// Accept nothing for now; answer when whoever was accepted before is known.
    Hold { done: oneshot::Sender<()> },
    /// Ask those to come again whose routes share something; answer how many instances were left in
    /// the end.
    Leave {
        within: Duration,
        done: oneshot::Sender<usize>,
    },
    /// Accept again, and let everybody begin here.
    GoOn,
    /// Let go of the listening sockets; what has left is elsewhere.
    BeGone,
    /// Ask everybody to come again, each at a moment of its own; answer how many sessions were left
    /// in the end.
    CloseWithin {
        spread: Duration,
        done: oneshot::Sender<usize>,
    },
    /// Answer.
    Ping { done: oneshot::Sender<()> },
    /// Ask every client to leave; answer how many sessions were left in the end.
    Drain {
        within: Duration,
        done: oneshot::Sender<usize>,
    },
}

/// What all workers of a server are made of.
#[derive(Clone)]
pub(super) struct WorkerParts {
    pub(super) origin: std::time::Instant,
    pub(super) run: u64,
    pub(super) served: Served,
    pub(super) peers: Arc<[UnboundedSender<PeerCommand>]>,
    pub(super) counters: Arc<Counters>,
    pub(super) budgets: Budgets,
    pub(super) topics: TopicsConfig,
    pub(super) places: Arc<Places>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) kv: Option<Kv>,
    pub(super) timers: Option<TimerParts>,
    pub(super) timer_addresses: Addresses,
    pub(super) dead_letters: Option<DeadLetters>,
    pub(super) logs: GuestLogs,
    pub(super) outbound: Outbound,
    pub(super) traces: Option<Traces>,
}

/// What other workers send to one.
pub(super) struct Inlets {
    pub(super) peers: UnboundedReceiver<PeerCommand>,
    pub(super) timers: Mail,
    pub(super) topics: UnboundedReceiver<Parcel>,
    pub(super) questions: UnboundedReceiver<Question>,
}

/// What the topics of all workers are made of.
#[derive(Clone)]
pub(super) struct TopicsConfig {
    pub(super) rules: Arc<[TopicRule]>,
    pub(super) peers: Arc<[UnboundedSender<Parcel>]>,
    pub(super) counters: Arc<TopicCounters>,
}

/// Starts a worker.
pub(super) fn spawn(
    index: usize,
    parts: WorkerParts,
    listeners: Vec<TcpListener>,
    inlets: Inlets,
) -> Result<(UnboundedSender<Control>, JoinHandle<()>)> {
    let (control, controls) = unbounded_channel();
    let thread = std::thread::Builder::new().name(format!("wharf-worker-{index}"));
    let (ready, is_ready) = mpsc::channel();
    let thread = thread
        .spawn(move || {
            scheduling::take_short_slices();
            let mut builder = Builder::new_current_thread();
            let runtime = match builder.enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async move {
                let Inlets {
                    peers,
                    timers,
                    topics,
                    questions,
                } = inlets;
                let worker = Worker::new(index, parts, timers, topics);
                let listening = worker.listen(listeners);
                let listens = listening.is_ok();
                if ready.send(listening).is_ok() && listens {
                    worker.run(controls, peers, questions).await;
                }
            });
        })
        .context("a thread for a worker")?;
    is_ready
        .recv()
        .context("a worker ended at its start")?
        .context("a worker could not start")?;
    Ok((control, thread))
}

struct Worker {
    dispatcher: Dispatcher,
    /// What this worker's instances have opened.
    launches: Cell<Option<UnboundedReceiver<Launch>>>,
    ingress: Rc<Ingress>,
}

impl Worker {
    fn new(index: usize, parts: WorkerParts, mail: Mail, inlet: UnboundedReceiver<Parcel>) -> Self {
        let workers = parts.peers.len();
        let lane = Lane::new(parts.origin, parts.run, index, workers);
        let lane = Rc::new(lane.with_budgets(parts.budgets));
        let timers = Timers::new(
            index,
            Rc::clone(&lane),
            parts.timers,
            parts.timer_addresses,
            mail,
        );
        let topics = Topics::new(TopicsParts {
            lane: lane.clone(),
            worker: index,
            peers: parts.topics.peers,
            inlet,
            rules: parts.topics.rules,
            counters: parts.topics.counters,
        });
        let (launches, launched) = unbounded_channel();
        let services = Services {
            lane,
            topics,
            kv: parts.kv,
            timers: Rc::new(timers),
            logs: parts.logs,
            outbound: parts.outbound,
            launches,
            tracer: parts.traces.map(Tracer::new),
        };
        let dispatcher = Dispatcher::new(DispatcherParts {
            worker: index,
            services: Rc::new(services),
            served: parts.served,
            peers: parts.peers,
            counters: parts.counters,
            dead_letters: parts.dead_letters,
        });
        let ingress = Ingress::new(dispatcher.clone(), parts.places, parts.tls);
        Self {
            dispatcher,
            launches: Cell::new(Some(launched)),
            ingress: Rc::new(ingress),
        }
    }

    fn listen(&self, listeners: Vec<TcpListener>) -> std::io::Result<()> {
        tokio::task::spawn_local(reactor()?);
        tokio::task::spawn_local(session::run());
        for listener in listeners {
            let listener = Listener::new(listener)?;
            tokio::task::spawn_local(crate::ingress::accept_loop(listener, self.ingress.clone()));
        }
        Ok(())
    }

    /// Runs until the server's handle is gone; whatever still lives ends with the runtime.
    async fn run(
        &self,
        mut controls: UnboundedReceiver<Control>,
        mut peers: UnboundedReceiver<PeerCommand>,
        mut questions: UnboundedReceiver<Question>,
    ) {
        let lane = self.dispatcher.lane().clone();
        let of_clock = lane.clone();
        tokio::task::spawn_local(async move { of_clock.clock.run().await });
        let of_tenants = lane.clone();
        tokio::task::spawn_local(async move { of_tenants.run_tenants().await });
        let dispatcher = self.dispatcher.clone();
        tokio::task::spawn_local(async move { dispatcher.run_timers().await });
        let dispatcher = self.dispatcher.clone();
        tokio::task::spawn_local(async move { dispatcher.run_wakings().await });
        let (dispatcher, launches) = (self.dispatcher.clone(), self.launches.take());
        let mut launches = launches.expect("a worker runs once");
        tokio::task::spawn_local(async move {
            while let Some(launch) = launches.recv().await {
                session::launch(&dispatcher, launch);
            }
        });
        let topics = self.dispatcher.services().topics.clone();
        tokio::task::spawn_local(async move { topics.run().await });
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(BUFFERS_LOOK).await;
                lane.buffers.forget_unused();
            }
        });
        loop {
            tokio::select! {
                control = controls.recv() => match control {
                    Some(control) => self.obey(control),
                    None => return,
                },
                Some(command) = peers.recv() => self.help(command),
                Some(question) = questions.recv() => answer(&self.dispatcher, question),
            }
        }
    }

    fn obey(&self, control: Control) {
        match control {
            Control::Connect(stream) => {
                let (socket, ingress) = (Socket::Memory(stream), self.ingress.clone());
                tokio::task::spawn_local(crate::ingress::serve_connection(
                    socket,
                    Remote::Memory,
                    "http",
                    ingress,
                ));
            }
            Control::Publish { served, done } => {
                self.dispatcher.lane().follow_limits();
                self.dispatcher.publish(served);
                // Whoever asked may have given up waiting.
                let _ = done.send(());
            }
            // Whoever asked may have given up waiting.
            Control::CountTrials { place, reply } => {
                drop(reply.send((place, self.dispatcher.trials())));
            }
            Control::Hold { done } => {
                self.ingress.hold();
                tokio::task::spawn_local(async move {
                    // Behind the tasks of those who were accepted a moment ago.
                    tokio::task::yield_now().await;
                    let _ = done.send(());
                });
            }
            Control::Leave { within, done } => self.leave(within, done),
            Control::GoOn => {
                self.dispatcher.come_back();
                self.ingress.go_on();
            }
            Control::BeGone => {
                self.dispatcher.be_gone();
                self.ingress.close();
            }
            Control::CloseWithin { spread, done } => {
                self.dispatcher.close_within(spread);
                self.wait_for_the_last(spread + FAREWELL, done);
            }
            Control::Ping { done } => drop(done.send(())),
            Control::Drain { within, done } => {
                self.ingress.drain();
                self.dispatcher.drain(&Cause::Drain);
                self.wait_for_the_last(within, done);
            }
        }
    }

    /// Answers how many sessions are left when none is, or when the time is over.
    fn wait_for_the_last(&self, within: Duration, done: oneshot::Sender<usize>) {
        let dispatcher = self.dispatcher.clone();
        tokio::task::spawn_local(async move {
            let deadline = tokio::time::Instant::now() + within;
            while !dispatcher.is_empty() && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            // Whoever asked may have given up waiting.
            let _ = done.send(dispatcher.sessions_here());
        });
    }

    fn leave(&self, within: Duration, done: oneshot::Sender<usize>) {
        let (dispatcher, ingress) = (self.dispatcher.clone(), self.ingress.clone());
        tokio::task::spawn_local(async move {
            let begin = tokio::time::Instant::now();
            // Whoever was accepted is let in, unless its request is slow to come.
            let mut quiet = 0;
            while quiet < QUIET_LOOKS && begin.elapsed() < SETTLING {
                quiet = if ingress.connections() == 0 {
                    quiet + 1
                } else {
                    0
                };
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            dispatcher.leave();
            while dispatcher.leaving() > 0 && begin.elapsed() < within {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            // Whoever asked may have given up waiting.
            let _ = done.send(dispatcher.leaving());
        });
    }

    fn help(&self, command: PeerCommand) {
        let dispatcher = self.dispatcher.clone();
        match command {
            PeerCommand::Admit {
                route,
                request,
                trace,
                reply,
            } => {
                tokio::task::spawn_local(async move {
                    let promised = dispatcher.promise(route, request, trace).await;
                    if let Err(Ok(promised)) = reply.send(promised) {
                        drop(dispatcher.claim(promised.number()));
                    }
                });
            }
            PeerCommand::Adopt {
                number,
                socket,
                read_ahead,
                deflate,
            } => {
                session::adopt(&dispatcher, number, socket, read_ahead, deflate);
            }
            PeerCommand::Release { number } => drop(dispatcher.claim(number)),
        }
    }
}
