//! The servers that are measured, and what each can do. How they are built
//! and started is said elsewhere.

use super::wharf::CONVERSATION_GUEST;

/// One server, in one manner of use.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) program: Program,
    /// Delivers what comes in on its fan-out path to all who are there.
    pub(super) fans_out: bool,
    /// Can be started with permessage-deflate and with TLS.
    pub(super) extras: bool,
    /// Idle sessions cost less after a while.
    pub(super) hibernates: bool,
    /// Measured only if it was named.
    pub(super) on_request: bool,
}

/// What a peer runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// No WebSocket at all: the limit.
    Raw,
    /// A program of xtask/bench/peers, with arguments.
    Rust(&'static str, &'static [&'static str]),
    /// A script for Node.js.
    Node(&'static str),
    /// A script for Bun.
    Bun(&'static str),
    /// A configuration of workerd.
    Workerd(&'static str),
    Wharf(Wharf),
}

/// How Wharf is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wharf {
    /// As a route's `instance` says it.
    pub(super) instance: &'static str,
    /// In target/guests.
    pub(super) guest: &'static str,
    pub(super) workers: u32,
    /// The host echoes by itself.
    pub(super) native: bool,
}

impl Peer {
    pub(super) fn wharf(&self) -> Option<Wharf> {
        match self.program {
            Program::Wharf(wharf) => Some(wharf),
            _ => None,
        }
    }

    /// Neither Wharf nor the limit: somebody to be compared with.
    pub(super) fn is_other(&self) -> bool {
        !matches!(self.program, Program::Raw | Program::Wharf(_))
    }
}

const RUST_PEER: Peer = Peer {
    name: "",
    about: "",
    program: Program::Raw,
    fans_out: true,
    extras: false,
    hibernates: false,
    on_request: false,
};

const SCRIPT_PEER: Peer = Peer {
    extras: true,
    ..RUST_PEER
};

const WORKERD_PEER: Peer = Peer {
    fans_out: false,
    ..RUST_PEER
};

const fn wharf(
    name: &'static str,
    about: &'static str,
    instance: &'static str,
    guest: &'static str,
) -> Peer {
    Peer {
        name,
        about,
        program: Program::Wharf(Wharf {
            instance,
            guest,
            workers: 1,
            native: false,
        }),
        extras: true,
        ..RUST_PEER
    }
}

/// What is sent by itself writes every message at once: most libraries'
/// examples do. The plain names hold writes together where the library can.
pub(super) static PEERS: [Peer; 24] = [
    wharf(
        "wharf-shared",
        "one instance for all, Rust guest",
        "shared",
        "echo",
    ),
    wharf(
        "wharf-session",
        "an instance per session, Rust guest",
        "session",
        "echo",
    ),
    wharf(
        "wharf-keyed",
        "eight instances by key, Rust guest",
        "{key}",
        "echo",
    ),
    wharf(
        "wharf-conversation",
        "one instance for all, a coroutine per session, Rust guest",
        "shared",
        CONVERSATION_GUEST,
    ),
    wharf(
        "wharf-c",
        "one instance for all, C guest",
        "shared",
        "echo-c",
    ),
    wharf(
        "wharf-js",
        "one instance for all, QuickJS guest",
        "shared",
        "echo-js",
    ),
    wharf(
        "wharf-js-session",
        "an instance per session, QuickJS guest",
        "session",
        "echo-js",
    ),
    Peer {
        program: Program::Wharf(Wharf {
            instance: "session",
            guest: "echo-js",
            workers: 2,
            native: false,
        }),
        ..wharf(
            "wharf-two-workers",
            "two workers, an instance per session, QuickJS guest",
            "",
            "",
        )
    },
    wharf(
        "wharf-topic",
        "one instance for all, one worker, topics",
        "shared",
        "herald",
    ),
    Peer {
        program: Program::Wharf(Wharf {
            instance: "shared",
            guest: "herald",
            workers: 2,
            native: false,
        }),
        ..wharf(
            "wharf-topic-two-workers",
            "an instance for each of two workers, topics",
            "",
            "",
        )
    },
    Peer {
        program: Program::Wharf(Wharf {
            instance: "shared",
            guest: "echo",
            workers: 1,
            native: true,
        }),
        on_request: true,
        ..wharf(
            "native-null",
            "Wharf's host without a guest: what is left is what a guest costs",
            "",
            "",
        )
    },
    Peer {
        name: "raw-tcp",
        about: "echo of bytes on tokio: the limit",
        fans_out: false,
        ..RUST_PEER
    },
    Peer {
        name: "fastwebsockets",
        about: "native handler, as in its example",
        program: Program::Rust("fastwebsockets", &[]),
        ..RUST_PEER
    },
    Peer {
        name: "tokio-tungstenite",
        about: "native handler, forwards as in its example",
        program: Program::Rust("tokio-tungstenite", &[]),
        ..RUST_PEER
    },
    Peer {
        name: "tokio-tungstenite-4k",
        about: "the same, reading into 4 KiB instead of 128",
        program: Program::Rust("tokio-tungstenite", &["--small-buffer"]),
        ..RUST_PEER
    },
    Peer {
        name: "tokio-websockets",
        about: "native handler, writes held together",
        program: Program::Rust("tokio-websockets", &[]),
        ..RUST_PEER
    },
    Peer {
        name: "axum",
        about: "native handler, writes held together",
        program: Program::Rust("axum", &[]),
        ..RUST_PEER
    },
    Peer {
        name: "tokio-tungstenite-each",
        about: "every message written by itself",
        program: Program::Rust("tokio-tungstenite", &["--each"]),
        on_request: true,
        ..RUST_PEER
    },
    Peer {
        name: "tokio-websockets-each",
        about: "every message written by itself, as in its example",
        program: Program::Rust("tokio-websockets", &["--each"]),
        on_request: true,
        ..RUST_PEER
    },
    Peer {
        name: "axum-each",
        about: "every message written by itself, as in its example",
        program: Program::Rust("axum", &["--each"]),
        on_request: true,
        ..RUST_PEER
    },
    Peer {
        name: "ws",
        about: "npm package ws on Node.js",
        program: Program::Node("ws.js"),
        ..SCRIPT_PEER
    },
    Peer {
        name: "bun",
        about: "Bun's own server",
        program: Program::Bun("bun.js"),
        ..SCRIPT_PEER
    },
    Peer {
        name: "workerd",
        about: "sandboxed JavaScript, plain worker",
        program: Program::Workerd("workerd.capnp"),
        ..WORKERD_PEER
    },
    Peer {
        name: "workerd-object",
        about: "the same as one hibernating Durable Object",
        program: Program::Workerd("workerd-object.capnp"),
        fans_out: true,
        hibernates: true,
        ..WORKERD_PEER
    },
];

#[cfg(test)]
mod tests {
    use super::PEERS;

    #[test]
    fn names_are_unique() {
        for (index, peer) in PEERS.iter().enumerate() {
            assert!(PEERS[..index].iter().all(|other| other.name != peer.name));
        }
    }
}
