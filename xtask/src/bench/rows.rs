//! The rows of the table: what load is put on the servers, and which of them
//! take part.

use super::peers::{Peer, Program};
use super::wharf::{CONVERSATION_GUEST, TOPIC_GUEST};

/// One kind of load.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) load: Load,
    pub(super) setup: Setup,
    pub(super) figure: Figure,
    pub(super) entrants: Entrants,
    /// Part of a quick run.
    pub(super) quick: bool,
}

/// What the load generator does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    Echo(Echo),
    /// Echoes by a handler that reads or writes a stored value for each.
    Stored {
        echo: Echo,
        writes: bool,
    },
    /// To so many connections.
    FanOut {
        connections: u32,
    },
    /// To so many members of a topic.
    Topic {
        connections: u32,
    },
    /// Memory at so many connections, ascending.
    Idle {
        connections: &'static [u32],
    },
    Connect,
    Churn,
    /// A message to each of so many connections that have been silent.
    WakeUp {
        connections: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) connections: u32,
    pub(super) depth: u32,
    pub(super) size: u32,
    pub(super) text: bool,
}

/// How a server is started for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Setup {
    Plain,
    Deflate,
    Tls,
}

/// The figure that a row is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    /// CPU time of the server, in µs, for each of these.
    Cpu(&'static str),
    /// Resident bytes for each connection.
    Memory,
    /// Messages a second, with server and load on all processors.
    Rate,
}

/// Which servers take part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrants {
    All,
    /// The limit, Wharf with the Rust guest.
    Scaling,
    /// Those that can be set up for the row; not the limit.
    WithExtras,
    FanningOut,
    /// The limit, and Wharf with one instance for all: an engine holds fewer instances than this.
    Crowd,
    /// Wharf with its guest for topics.
    Topics,
    Workers,
    /// Wharf alone: the others store nothing.
    Storing,
    /// Wharf alone: workerd sleeps, too, but only after ten seconds.
    Sleeping,
}

impl Row {
    pub(super) fn takes(&self, peer: &Peer) -> bool {
        let wharf = peer.wharf();
        let of_topics = wharf.is_some_and(|wharf| wharf.guest == TOPIC_GUEST);
        if of_topics || self.entrants == Entrants::Topics {
            return of_topics && self.entrants == Entrants::Topics;
        }
        if wharf.is_some_and(|wharf| wharf.native) && !matches!(self.load, Load::Echo(_)) {
            return false;
        }
        if wharf.is_some_and(|wharf| wharf.guest == CONVERSATION_GUEST) {
            return self.entrants == Entrants::All && matches!(self.load, Load::Echo(_));
        }
        let is_limit = peer.program == Program::Raw;
        let rust_guest = wharf.is_some_and(|wharf| wharf.guest == "echo");
        let shared = wharf.is_some_and(|wharf| wharf.instance == "shared");
        if wharf.is_some_and(|wharf| wharf.workers > 1) {
            return self.entrants == Entrants::Workers;
        }
        match self.entrants {
            Entrants::All => true,
            Entrants::Scaling => is_limit || rust_guest,
            Entrants::WithExtras => peer.extras && (wharf.is_none() || (rust_guest && shared)),
            Entrants::Topics => of_topics,
            Entrants::FanningOut => peer.fans_out && (wharf.is_none() || (rust_guest && shared)),
            Entrants::Storing => {
                rust_guest && wharf.is_some_and(|wharf| wharf.instance == "session")
            }
            Entrants::Sleeping => rust_guest,
            Entrants::Crowd => is_limit || (rust_guest && shared),
            // The guest costs so much there that one processor loads two workers.
            Entrants::Workers => {
                wharf.is_some_and(|wharf| wharf.instance == "session" && wharf.guest == "echo-js")
            }
        }
    }
}

const fn echo(connections: u32, depth: u32, size: u32) -> Load {
    Load::Echo(Echo {
        connections,
        depth,
        size,
        text: false,
    })
}

const fn text(depth: u32, size: u32) -> Load {
    Load::Echo(Echo {
        connections: 64,
        depth,
        size,
        text: true,
    })
}

const fn stored(writes: bool) -> Load {
    let echo = Echo {
        connections: 64,
        depth: 1,
        size: 125,
        text: false,
    };
    Load::Stored { echo, writes }
}

const MESSAGE: Figure = Figure::Cpu("message");

/// Most rows are plain echoes that all take part in.
const ROW: Row = Row {
    name: "",
    title: "",
    load: Load::Connect,
    setup: Setup::Plain,
    figure: MESSAGE,
    entrants: Entrants::All,
    quick: false,
};

pub(super) static ROWS: [Row; 21] = [
    Row {
        name: "echo-125-d1",
        title: "echo, 125 B, depth 1, 64 connections",
        load: echo(64, 1, 125),
        quick: true,
        ..ROW
    },
    Row {
        name: "echo-16k-d1",
        title: "echo, 16 KiB, depth 1, 64 connections",
        load: echo(64, 1, 16 * 1024),
        quick: true,
        ..ROW
    },
    Row {
        name: "echo-125-d16",
        title: "echo, 125 B, depth 16, 64 connections",
        load: echo(64, 16, 125),
        quick: true,
        ..ROW
    },
    Row {
        name: "echo-16k-d16",
        title: "echo, 16 KiB, depth 16, 64 connections",
        load: echo(64, 16, 16 * 1024),
        ..ROW
    },
    Row {
        name: "echo-1m-d1",
        title: "echo, 1 MiB, depth 1, 16 connections",
        load: echo(16, 1, 1024 * 1024),
        quick: true,
        ..ROW
    },
    Row {
        name: "text-125-d16",
        title: "echo of text, 125 B, depth 16, 64 connections",
        load: text(16, 125),
        ..ROW
    },
    Row {
        name: "text-16k-d1",
        title: "echo of text, 16 KiB, depth 1, 64 connections",
        load: text(1, 16 * 1024),
        ..ROW
    },
    Row {
        name: "deflate-1k-d1",
        title: "echo of deflated text, 1 KiB, depth 1, 64 connections",
        load: text(1, 1024),
        setup: Setup::Deflate,
        entrants: Entrants::WithExtras,
        ..ROW
    },
    Row {
        name: "tls-125-d1",
        title: "echo over TLS, 125 B, depth 1, 64 connections",
        load: echo(64, 1, 125),
        setup: Setup::Tls,
        entrants: Entrants::WithExtras,
        ..ROW
    },
    Row {
        name: "echo-1000-connections",
        title: "echo, 125 B, depth 1, 1,000 connections",
        load: echo(1_000, 1, 125),
        entrants: Entrants::Scaling,
        ..ROW
    },
    Row {
        name: "echo-10000-connections",
        title: "echo, 125 B, depth 1, 10,000 connections",
        load: echo(10_000, 1, 125),
        entrants: Entrants::Scaling,
        ..ROW
    },
    Row {
        name: "fan-out",
        title: "fan-out of 125 B to 1,000 connections, depth 16",
        load: Load::FanOut { connections: 1_000 },
        figure: Figure::Cpu("delivery"),
        entrants: Entrants::FanningOut,
        quick: true,
        ..ROW
    },
    Row {
        name: "fan-out-topic",
        title: "fan-out over a topic of 125 B to 1,000 members, depth 16",
        load: Load::Topic { connections: 1_000 },
        figure: Figure::Cpu("delivery"),
        entrants: Entrants::Topics,
        quick: true,
        ..ROW
    },
    Row {
        name: "kv-read",
        title: "a value read and 125 B echoed, depth 1, 64 connections",
        load: stored(false),
        entrants: Entrants::Storing,
        quick: true,
        ..ROW
    },
    Row {
        name: "kv-write",
        title: "a value of 125 B written durably and echoed, depth 1, 64 connections",
        load: stored(true),
        entrants: Entrants::Storing,
        quick: true,
        ..ROW
    },
    Row {
        name: "connect",
        title: "handshake, 64 at a time",
        load: Load::Connect,
        figure: Figure::Cpu("handshake"),
        quick: true,
        ..ROW
    },
    Row {
        name: "churn",
        title: "connect, one echo, close in order; 64 at a time",
        load: Load::Churn,
        figure: Figure::Cpu("life"),
        ..ROW
    },
    Row {
        name: "wake-up",
        title: "a message of 125 B that wakes its instance, then sleep; one at a time",
        load: Load::WakeUp { connections: 64 },
        figure: Figure::Cpu("waking"),
        entrants: Entrants::Sleeping,
        quick: true,
        ..ROW
    },
    Row {
        name: "idle",
        title: "memory of an idle connection, 500 to 3,000",
        load: Load::Idle {
            connections: &[500, 1_500, 3_000],
        },
        figure: Figure::Memory,
        quick: true,
        ..ROW
    },
    Row {
        name: "idle-18000",
        title: "memory of an idle connection, 1,000 to 18,000",
        load: Load::Idle {
            connections: &[1_000, 5_000, 10_000, 18_000],
        },
        figure: Figure::Memory,
        entrants: Entrants::Crowd,
        ..ROW
    },
    Row {
        name: "workers",
        title: "two workers against one: echo by QuickJS, 125 B, depth 16",
        load: echo(64, 16, 125),
        figure: Figure::Rate,
        entrants: Entrants::Workers,
        ..ROW
    },
];

#[cfg(test)]
mod tests {
    use super::super::peers::PEERS;
    use super::{Entrants, ROWS};

    #[test]
    fn every_row_has_entrants_and_its_own_name() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(PEERS.iter().any(|peer| row.takes(peer)), "{}", row.name);
            assert!(ROWS[..index].iter().all(|other| other.name != row.name));
        }
    }

    #[test]
    fn two_workers_are_compared_with_one() {
        let workers = ROWS.iter().find(|row| row.entrants == Entrants::Workers);
        let names: Vec<&str> = PEERS
            .iter()
            .filter(|peer| workers.is_some_and(|row| row.takes(peer)))
            .map(|peer| peer.name)
            .collect();
        assert_eq!(names, ["wharf-js-session", "wharf-two-workers"]);
    }
}
