//! From one worker's topics to another's: what they tell each other, and how much of it may be under
//! way. Commands of one guest call travel together, so that what they cause is written together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::UnboundedSender;

use super::history::{Published, Resumption};
use super::position::{Position, Seen};

/// What a tenant may have under way from one worker to all others. One command may pass it.
pub(crate) const RELAY_BYTES_MAX: usize = 4 << 20;
/// What a command costs beyond its payload.
pub(super) const COMMAND_COST_BYTES: usize = 256;

/// Names a topic: whose it is, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TopicName {
    pub(super) tenant: Arc<str>,
    pub(super) name: Arc<str>,
}

/// Several commands from one worker, in order.
pub(crate) type Parcel = Vec<Command>;

/// What one worker tells another about a topic.
pub(crate) struct Command {
    pub(super) topic: TopicName,
    pub(super) deed: Deed,
    /// Given back when the command has been carried out.
    pub(super) toll: Toll,
}

/// What there is to do.
pub(super) enum Deed {
    /// A session of the sender's is a member now, or says something else of itself.
    Join { session: u64, info: Arc<str> },
    /// A session of the sender's is no member any more; what it had said of itself.
    Leave { session: u64, info: Arc<str> },
    /// Give a message to the members there.
    Deliver {
        message: Published,
        at: Option<Position>,
    },
    /// Number a message, and give it to all members: asked of the topic's home.
    Publish { message: Published },
    /// Say what a session has missed: asked of the topic's home.
    Resume { session: u64, seen: Seen },
    /// The home's answer.
    Resumed {
        session: u64,
        resumption: Resumption,
    },
}

/// Bytes under way that are counted for as long as this lives, on whichever worker.
pub(super) struct Toll {
    account: Arc<AtomicUsize>,
    bytes: usize,
}

impl Toll {
    pub(super) fn pay(account: &Arc<AtomicUsize>, bytes: usize) -> Self {
        account.fetch_add(bytes, Ordering::Relaxed);
        Self {
            account: account.clone(),
            bytes,
        }
    }
}

impl Drop for Toll {
    fn drop(&mut self) {
        self.account.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The way to one other worker.
pub(super) struct Link {
    peer: Option<UnboundedSender<Parcel>>,
    outgoing: Parcel,
}

/// The ways to all workers, by number; nothing is sent to this one.
pub(super) struct Links(Vec<Link>);

impl Links {
    pub(super) fn new(worker: usize, peers: &[UnboundedSender<Parcel>]) -> Self {
        let links = peers.iter().enumerate().map(|(number, peer)| Link {
            peer: (number != worker).then(|| peer.clone()),
            outgoing: Parcel::new(),
        });
        Self(links.collect())
    }

    /// How many workers there are, this one too.
    pub(super) fn workers(&self) -> usize {
        self.0.len()
    }

    /// Puts a command into the parcel for a worker.
    pub(super) fn put(&mut self, worker: usize, topic: &TopicName, deed: Deed, toll: Toll) {
        let link = &mut self.0[worker];
        if link.peer.is_some() {
            let topic = topic.clone();
            link.outgoing.push(Command { topic, deed, toll });
        }
    }

    /// Sends what was put in. A worker that has ended needs nothing any more.
    pub(super) fn flush(&mut self) {
        for link in &mut self.0 {
            if let Some(peer) = &link.peer
                && !link.outgoing.is_empty()
            {
                let _ = peer.send(std::mem::take(&mut link.outgoing));
            }
        }
    }
}
