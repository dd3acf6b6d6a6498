//! What a deployment was granted beside its own sessions. Nothing by default: a component that
//! imports what was not granted is refused by name before it is used.
//!
//! Data only: what a grant opens is done by the capabilities.

use super::{Destination, InstanceModel, TopicPattern};

/// A route's `[route.grants]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    /// Names of the buckets of keys and values that its component may open.
    pub keyvalue: Vec<String>,
    /// Whether its component may set timers.
    pub timers: bool,
    /// Whether its component may send messages to its tenant's log. What it prints goes there anyway.
    pub logging: bool,
    /// Whether its component may read the route's settings and secrets.
    pub settings: bool,
    /// Whether its clocks show all that the machine's do; whole milliseconds otherwise.
    pub precise_clocks: bool,
    /// Where its component may send HTTP requests; without any it may not import `wasi:http`.
    pub http: Vec<Destination>,
    /// Where its component may open WebSocket connections; without any it may not import
    /// `wharf:websocket/client`.
    pub websocket: Vec<Destination>,
    /// Whether all of these may have private addresses: loopback, local networks, the machine itself.
    pub private_addresses: bool,
    /// The topics of its tenant that its component may use; without one it may not import topics.
    pub topics: Vec<TopicPattern>,
    /// Whether its component answers control frames, and may send its own; as its `[websocket]` says.
    pub(crate) raw: bool,
}

impl Grants {
    /// Whether something in it needs the server's storage on a route with these instances: the
    /// timers of an instance for one session end with it.
    #[must_use]
    pub fn need_storage(&self, instance: &InstanceModel) -> bool {
        !self.keyvalue.is_empty() || (self.timers && *instance != InstanceModel::Session)
    }

    /// Whether a topic may be used.
    pub(crate) fn cover_topic(&self, name: &str) -> bool {
        self.topics.iter().any(|pattern| pattern.covers(name))
    }
}
