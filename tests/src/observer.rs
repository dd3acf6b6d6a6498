//! The guest's side of a session: what its `on-close` got, told by the `probe` guest.
//!
//! Needs sessions that share an instance: a route to `probe` (or `gate`) that is shared or keyed,
//! on one worker. Never guesses: an ending is what the guest itself says.

use std::net::SocketAddr;

use serde_json::Value;

use crate::http::Head;
use crate::peer::Peer;
use crate::stream::Stream;

/// A session that is told of every other one of its instance.
#[derive(Debug)]
pub struct Observer {
    /// Its own session.
    pub peer: Peer,
    address: SocketAddr,
    target: String,
    events: Vec<Value>,
}

/// A session under observation.
#[derive(Debug)]
pub struct Subject {
    /// Its client's side.
    pub peer: Peer,
    /// Its number on the guest's side.
    pub id: u64,
}

/// What `on-close` got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The code.
    pub code: u64,
    /// The reason.
    pub reason: String,
    /// Whether both close frames were exchanged.
    pub clean: bool,
    /// `peer`, `handler` or `host`.
    pub initiator: String,
}

impl Ending {
    /// An ending to compare with.
    pub fn new(code: u64, reason: &str, clean: bool, initiator: &str) -> Self {
        Self {
            code,
            reason: reason.into(),
            clean,
            initiator: initiator.into(),
        }
    }

    /// Reads the event of a closing.
    pub fn of(event: &Value) -> Self {
        Self {
            code: event["code"].as_u64().unwrap(),
            reason: event["reason"].as_str().unwrap().into(),
            clean: event["clean"].as_bool().unwrap(),
            initiator: event["initiator"].as_str().unwrap().into(),
        }
    }
}

impl Observer {
    /// Opens the observing session.
    pub async fn watch(address: SocketAddr, target: &str) -> Self {
        let mut peer = Peer::connect(address, target).await;
        peer.send_text("observe").await;
        peer.expect_text("ok").await;
        Self {
            peer,
            address,
            target: target.into(),
            events: Vec::new(),
        }
    }

    /// Opens a session to observe, over TCP.
    pub async fn subject(&mut self) -> Subject {
        let head = Head::upgrade(&self.target);
        self.subject_over(Stream::tcp(self.address).await, &head)
            .await
    }

    /// Opens a session to observe.
    pub async fn subject_over(&mut self, stream: Stream, head: &Head) -> Subject {
        let peer = Peer::open(stream, head).await;
        let event = self.event(|event| event["event"] == "open").await;
        Subject {
            peer,
            id: event["session"].as_u64().unwrap(),
        }
    }

    /// What `on-close` got for the session, once it has run.
    pub async fn ending(&mut self, id: u64) -> Ending {
        Ending::of(
            &self
                .event(|event| event["event"] == "close" && event["session"] == id)
                .await,
        )
    }

    /// Asserts how the session ended on the guest's side, and that it did so exactly once.
    pub async fn expect_ending(&mut self, id: u64, ending: Ending) {
        assert_eq!(self.ending(id).await, ending);
        assert_eq!(self.endings(id).await, 1, "on-close runs exactly once");
    }

    /// How many endings of the session the instance has seen.
    pub async fn endings(&mut self, id: u64) -> usize {
        let all: Vec<Value> = serde_json::from_str(&self.ask("events").await).unwrap();
        all.iter()
            .filter(|event| event["event"] == "close" && event["session"] == id)
            .count()
    }

    /// Sends a command and gives its answer; events that come before it are kept.
    pub async fn ask(&mut self, command: &str) -> String {
        self.peer.send_text(command).await;
        loop {
            let text = self.peer.text().await;
            match serde_json::from_str::<Value>(&text) {
                Ok(event) if event["event"].is_string() => self.events.push(event),
                _ => return text,
            }
        }
    }

    async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(&wanted) {
                return self.events.remove(at);
            }
            let text = self.peer.text().await;
            self.events.push(
                serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("no event: {text:?}: {error}")),
            );
        }
    }
}

impl Subject {
    /// Sends a command to the guest and gives its answer.
    pub async fn ask(&mut self, command: &str) -> String {
        self.peer.send_text(command).await;
        self.peer.text().await
    }
}
