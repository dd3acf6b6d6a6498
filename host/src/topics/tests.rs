//! Topics of several workers in one thread, over real outboxes and in-memory sockets.

mod limits;
mod members;
mod model;
mod recovery;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, DuplexStream, ReadBuf};
use tokio::sync::mpsc::unbounded_channel;
use wharf_protocol::{Cause, Connection, Initiator, Keepalive, MessageKind, Role};

use super::*;
use crate::catalog::{TopicPattern, TopicSettings};
use crate::mailbox::{OutboxConfig, OutboxParts, RouteLane};
use crate::request::{Request, Said};
use crate::wire::{Socket, Wire};

/// Some workers of one server, in one thread.
struct Bench {
    workers: Vec<Topics>,
    counters: Arc<TopicCounters>,
}

/// A session and what its client receives.
struct Client {
    outbox: Outbox,
    socket: DuplexStream,
    unread: Vec<u8>,
}

/// What a client is like.
#[derive(Clone, Copy)]
struct Kind {
    worker: usize,
    socket_bytes: usize,
    outbox_bytes: usize,
    /// Its request's query, if it keeps positions.
    recover: Option<&'static str>,
}

fn on(worker: usize) -> Kind {
    Kind {
        worker,
        socket_bytes: 1 << 20,
        outbox_bytes: 1 << 20,
        recover: None,
    }
}

fn tenant(name: &str) -> Arc<str> {
    name.into()
}

fn rule(name: &str, change: impl FnOnce(&mut TopicSettings)) -> TopicRule {
    let mut settings = TopicSettings::default();
    change(&mut settings);
    TopicRule {
        tenant: "acme".to_owned(),
        name: TopicPattern::parse(name).expect("a pattern"),
        settings,
    }
}

impl Bench {
    fn new(workers: usize) -> Self {
        Self::with(workers, Vec::new())
    }

    fn with(workers: usize, rules: Vec<TopicRule>) -> Self {
        let (peers, inlets): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded_channel()).unzip();
        let (peers, rules): (Arc<[_]>, Arc<[_]>) = (peers.into(), rules.into());
        let counters = Arc::<TopicCounters>::default();
        let origin = std::time::Instant::now();
        let workers = inlets.into_iter().enumerate().map(|(worker, inlet)| {
            Topics::new(TopicsParts {
                lane: Rc::new(Lane::new(origin, 7, worker, peers.len())),
                worker,
                peers: peers.clone(),
                inlet,
                rules: rules.clone(),
                counters: counters.clone(),
            })
        });
        Self {
            workers: workers.collect(),
            counters,
        }
    }

    fn client(&self, kind: Kind) -> Client {
        let lane = &self.workers[kind.worker].0.lane;
        let (near, socket) = tokio::io::duplex(kind.socket_bytes);
        let connection = Connection::new(
            Role::Server,
            Arc::default(),
            Keepalive::default(),
            None,
            lane.clock.now(),
            1,
        );
        let request = kind.recover.map(|query| {
            Request::new(&Said {
                query: Some(query),
                ..Said::default()
            })
        });
        let outbox = Outbox::new(OutboxParts {
            id: lane.next_session(),
            wire: Wire::new(Socket::Memory(near), connection),
            route: RouteLane::uncounted(
                lane,
                OutboxConfig {
                    outbox_bytes_max: kind.outbox_bytes,
                    message_bytes_max: 1 << 20,
                    write_timeout: Duration::from_secs(1),
                    slow_consumer_timeout: Duration::from_secs(30),
                },
            ),
            request,
            subprotocol: kind.recover.map(|_| RECOVER_SUBPROTOCOL.into()),
            may_wait: true,
            facts: None,
            is_opened: false,
        });
        Client {
            outbox,
            socket,
            unread: Vec::new(),
        }
    }

    /// A member of acme's topic.
    fn member(&self, kind: Kind, topic: &str, info: &str) -> Client {
        let client = self.client(kind);
        assert_eq!(self.join(&client, topic, info), Ok(()));
        client
    }

    fn at(&self, client: &Client) -> &Topics {
        &self.workers[client.outbox.lane().worker_of(client.outbox.id())]
    }

    fn join(&self, client: &Client, topic: &str, info: &str) -> Result<(), TopicError> {
        let joined = self
            .at(client)
            .subscribe(&tenant("acme"), &client.outbox, topic, info);
        self.settle();
        joined
    }

    fn publish(&self, worker: usize, topic: &str, text: &str) -> Result<u64, TopicError> {
        self.publish_but(worker, topic, text, None)
    }

    fn publish_but(
        &self,
        worker: usize,
        topic: &str,
        text: &str,
        except: Option<&Client>,
    ) -> Result<u64, TopicError> {
        let message = (MessageKind::Text, text.as_bytes());
        let except = except.map(|client| client.outbox.id());
        let published = self.workers[worker].publish(&tenant("acme"), topic, message, except);
        self.settle();
        published
    }

    /// Ends guest calls, and lets all workers do what they ask of each other.
    fn settle(&self) {
        for worker in &self.workers {
            worker.flush();
            worker.0.lane.cork.release();
        }
        let mut context = Context::from_waker(Waker::noop());
        while self.workers.iter().any(|worker| {
            worker
                .poll_work(&mut context)
                .is_ready()
                .then(|| worker.work())
                .is_some()
        }) {}
    }

    fn names(&self, worker: usize, topic: &str) -> Vec<(u64, String)> {
        let members = self.workers[worker]
            .presence("acme", topic)
            .expect("few members");
        members
            .into_iter()
            .map(|(session, info)| (session, info.to_string()))
            .collect()
    }

    fn dropped(&self) -> u64 {
        self.counters.dropped.load(Ordering::Relaxed)
    }
}

impl Client {
    /// The messages that have arrived since the last call.
    fn received(&mut self) -> Vec<String> {
        let mut buffer = vec![0; 1 << 16];
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let mut read = ReadBuf::new(&mut buffer);
            let polled = pin!(&mut self.socket).poll_read(&mut context, &mut read);
            if polled.is_pending() || read.filled().is_empty() {
                break;
            }
            self.unread.extend_from_slice(read.filled());
        }
        let mut messages = Vec::new();
        while let Some((payload, end)) = frame(&self.unread) {
            messages.push(String::from_utf8_lossy(payload).into_owned());
            self.unread.drain(..end);
        }
        messages
    }

    /// Takes a little from the socket, as a slow reader does, and gives the session its turn.
    fn turn(&self, topics: &Topics) {
        let lane = &topics.0.lane;
        let _ = self
            .outbox
            .wire()
            .poll_flush(&mut Context::from_waker(Waker::noop()), &lane.buffers);
    }
}

/// The first whole frame: its payload and where it ends.
fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let start = match bytes.get(1)? {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let length = match start {
        2 => usize::from(bytes[1]),
        _ => bytes
            .get(2..start)?
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    };
    let end = start + length;
    Some((bytes.get(start..end)?, end))
}
