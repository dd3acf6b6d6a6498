//! Every promise that has a test: the lines of the behaviour page and the rows of the fault
//! catalogue, each under an id that tests name with [`covers`].
//!
//! Holds words only. The test at the end reads the other files of this folder and fails when a
//! promise has no test, when a test names none, or when a fault has no figure.

use crate::promises_operating::OPERATING;

/// Where a promise is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// What Wharf does on the wire and to a handler.
    Behaviour,
    /// What Wharf must survive, with a figure to show.
    Fault,
    /// What an issue asks for beyond the two pages, with a figure to show.
    Load,
}

/// One promise.
#[derive(Debug)]
pub(crate) struct Promise {
    /// What tests name.
    pub(crate) id: &'static str,
    /// Where it is written.
    pub(crate) page: Page,
    /// The words that are held to.
    pub(crate) quote: &'static str,
}

pub(crate) const fn behaviour(id: &'static str, quote: &'static str) -> Promise {
    Promise {
        id,
        page: Page::Behaviour,
        quote,
    }
}

pub(crate) const fn fault(id: &'static str, quote: &'static str) -> Promise {
    Promise {
        id,
        page: Page::Fault,
        quote,
    }
}

/// All of them.
pub(crate) fn promises() -> impl Iterator<Item = &'static Promise> {
    PROMISES.iter().chain(OPERATING)
}

/// What is promised to peers and handlers.
const PROMISES: &[Promise] = &[
    // Ktor parity.
    behaviour(
        "settings.ping-interval",
        "`ping_interval` (default 30 s; `\"off\"`)",
    ),
    behaviour(
        "settings.timeout",
        "`timeout` (15 s: one window for writing a ping and getting its pong)",
    ),
    behaviour("settings.max-frame", "`max_frame_bytes`"),
    behaviour("settings.max-message", "`max_message_bytes` (1 MiB)"),
    behaviour(
        "settings.masking",
        "`mask_outgoing` (off: RFC 6455 forbids it to servers; on, with a warning at start)",
    ),
    behaviour(
        "routes.paths",
        "routes with parameters (`/rooms/{room}`), wildcard tail, host",
    ),
    behaviour(
        "routes.subprotocols",
        "subprotocol routing, several routes on one path",
    ),
    behaviour(
        "session.request",
        "`session.request()`: scheme, authority, path, query, parameters, headers, cookies, remote address, offered subprotocols",
    ),
    behaviour(
        "session.messages",
        "`on-messages`, `send`, `try-send`, `queued-bytes`, `flush`",
    ),
    behaviour(
        "session.close",
        "`session.close`; `on-close` always runs, exactly once, with code, reason, clean, initiator",
    ),
    behaviour(
        "keepalive.paused",
        "While reading is paused, keepalive does not count the time against the peer; a dead peer is cut at the ping timeout all the same",
    ),
    behaviour(
        "keepalive.mutable",
        "`set-ping-interval`, `set-timeout`: the pinger restarts",
    ),
    behaviour(
        "keepalive.payload",
        "keepalive: ping payload not guessable, only an equal pong counts",
    ),
    behaviour(
        "keepalive.pongs",
        "pongs are always sent, also with the pinger off",
    ),
    behaviour(
        "session.trap",
        "a trap closes 1011 (Ktor lets the client see 1006)",
    ),
    behaviour(
        "server.embedded",
        "the library: `Server::builder()…start()` on port 0 or given, with a handle to stop, drain",
    ),
    behaviour("http.plain", "plain HTTP on the same listener"),
    behaviour(
        "http.pipelining",
        "pipelined requests answered in order, at most 3 waiting",
    ),
    // Handshake.
    behaviour("handshake.get", "GET … else 400"),
    behaviour("handshake.http-version", "HTTP/1.1 or later … else 400"),
    behaviour("handshake.host", "one Host … else 400"),
    behaviour("handshake.upgrade", "`Upgrade: websocket` … else 400"),
    behaviour(
        "handshake.connection",
        "`Connection` with the token upgrade … else 400",
    ),
    behaviour(
        "handshake.key",
        "`Sec-WebSocket-Key` of 16 bytes base64: else 400",
    ),
    behaviour(
        "handshake.version",
        "Version not 13: 426 with `Sec-WebSocket-Version: 13`",
    ),
    behaviour(
        "handshake.smuggling",
        "CL with TE, two Host, two keys, a space before the colon, NUL, obs-fold: 400 and close",
    ),
    behaviour(
        "handshake.head-limits",
        "Head over 16 KiB or 100 headers: 431",
    ),
    behaviour("handshake.target-limit", "target over 8 KiB: 414"),
    behaviour(
        "handshake.head-deadline",
        "not complete in 5 s: 408 and close",
    ),
    behaviour("handshake.unknown-route", "Unknown route: 404"),
    behaviour(
        "handshake.origin",
        "Origin: allow-list per route; by default a browser's cross-site Origin gets 403",
    ),
    behaviour(
        "handshake.capacity",
        "Over the … limits: 429 or 503 with Retry-After",
    ),
    behaviour(
        "handshake.rejection",
        "The handler's own rejection goes out as it says",
    ),
    // Frames.
    behaviour("frames.unmasked", "Unmasked … close 1002"),
    behaviour("frames.reserved-bits", "RSV without extension … close 1002"),
    behaviour("frames.opcode", "unknown opcode … close 1002"),
    behaviour(
        "frames.control",
        "fragmented or over-long control frame … close 1002",
    ),
    behaviour(
        "frames.continuation",
        "continuation out of place … close 1002",
    ),
    behaviour(
        "frames.close-code",
        "close code that must not be sent: close 1002",
    ),
    behaviour(
        "frames.utf8",
        "Bad UTF-8, also split over frames and in a close reason: 1007, within the frame that broke it",
    ),
    behaviour(
        "frames.too-big",
        "Frame, joined message or inflated message over its limit: 1009",
    ),
    behaviour(
        "frames.declared-length",
        "nothing is allocated by a declared length",
    ),
    behaviour("frames.fragments", "More than 4,096 fragments … 1008"),
    behaviour("frames.duration", "or 30 s from first to last: 1008"),
    behaviour(
        "deflate.window-bits",
        "permessage-deflate: window bits 9 to 15",
    ),
    behaviour(
        "deflate.context-takeover",
        "permessage-deflate: … both context-takeover flags",
    ),
    behaviour(
        "deflate.declined",
        "an offer that cannot be met is declined, never an error",
    ),
    // Ends: each on the wire and in on-close.
    behaviour(
        "ends.peer-code",
        "peer closes with a code: the same code; on-close: that code, clean, peer",
    ),
    behaviour(
        "ends.peer-empty",
        "peer closes with none: an empty close; on-close: 1005, clean, peer",
    ),
    behaviour(
        "ends.lost",
        "connection lost: on-close: 1006, not clean, peer",
    ),
    behaviour(
        "ends.ping-timeout",
        "ping not answered in time: 1011 \"ping timeout\", then the socket is closed without waiting; on-close: 1011, not clean, host",
    ),
    behaviour(
        "ends.handler",
        "handler closes: its code and reason; on-close: the same, handler",
    ),
    behaviour(
        "ends.handler-failed",
        "trap, out of memory, over its CPU or wall time: 1011 \"handler failed\" with an incident id; on-close: nothing: its Store is gone; with a shared Store the others are closed the same way",
    ),
    behaviour(
        "ends.handler-limit",
        "handler breaks a limit (sends too fast, too much): 1008; on-close: 1008, host",
    ),
    behaviour(
        "ends.slow-consumer",
        "slow reader over `outbox_bytes_max` (256 KiB) for 30 s: 1008 \"slow consumer\"; on-close: 1008, host",
    ),
    behaviour(
        "ends.protocol-error",
        "a protocol error's code, host (Frames and Ends together)",
    ),
    behaviour("ends.capacity", "tenant or server over capacity: 1013"),
    behaviour(
        "ends.drain",
        "drain: 1001. Order: stop reading, answer what was read, close, wait for the peer's close; on-close: 1001, host",
    ),
    behaviour(
        "ends.close-timeout",
        "After our close frame the peer has 5 s, then the socket is closed",
    ),
    behaviour(
        "ends.reason-cut",
        "A reason is cut to 123 bytes on a character boundary",
    ),
    // Numbers.
    behaviour("numbers.room", "32,768 sessions in a room"),
    behaviour("numbers.tags", "10 tags of 256 characters a session"),
    behaviour("numbers.attachment", "attachment 16 KiB"),
    behaviour("numbers.auto-response", "auto-response 2 KiB each way"),
    behaviour("numbers.drain", "drain 10,000 sessions in 2 s"),
    behaviour("numbers.idle", "idle and lifetime unlimited unless set"),
    // Topics.
    behaviour(
        "topics.fan-out",
        "publish reaches all members on all workers, those of one publisher in order, but for the one left out",
    ),
    behaviour(
        "topics.presence",
        "presence and count are the same on every worker; membership ends with its session, whatever way it ends",
    ),
    behaviour(
        "topics.announce",
        "join and leave messages, if the topic asks for them",
    ),
    behaviour(
        "topics.grants",
        "topics are of a tenant and granted by name; a component that imports them without a grant is refused by name",
    ),
    behaviour(
        "topics.limits",
        "128 topics a session; each limit is answered with its number",
    ),
    behaviour(
        "topics.deflate",
        "permessage-deflate once for all members whose contexts allow it",
    ),
    behaviour(
        "topics.recovery",
        "a client that reconnects with its epoch and offset gets what it missed before anything newer, or is told that it cannot",
    ),
    // Sleep.
    behaviour(
        "sleep.keeps",
        "an instance that sleeps loses its memory; its sockets, attachments, tags, topics, pings and auto-responses live on",
    ),
    behaviour(
        "sleep.wakes",
        "the next message, timer or close wakes it; sessions that are open do not open again",
    ),
    behaviour(
        "sleep.busy",
        "an instance does not sleep while a call runs or work waits in its inbox",
    ),
    behaviour(
        "sleep.capacity",
        "an instance that finds no slot to wake in waits for one; then the sessions with unanswered messages end with 1013, and the others sleep on",
    ),
    behaviour(
        "sleep.drain",
        "a drain wakes a sleeping instance for on-close alone; a shutdown wakes nobody",
    ),
    Promise {
        id: "sleep.memory",
        page: Page::Load,
        quote: "10,000 sleeping sessions on real sockets cost little more than a kilobyte each",
    },
    Promise {
        id: "sleep.churn",
        page: Page::Load,
        quote: "sleeping and waking again and again leaves no memory behind",
    },
    fault(
        "guest.sleeps",
        "traps or spins when it wakes, hoards before it sleeps, loads its sessions with all they may carry: its own end only; what it hoarded is given back",
    ),
    // New versions under live sockets.
    fault(
        "swap.under-load",
        "100 hot swaps under load: 0 lost, 0 doubled, 0 closed, no version goes back",
    ),
    behaviour(
        "trap.close",
        "a trap ends the sessions of its instance with 1011 and one incident",
    ),
    Promise {
        id: "trap.restart",
        page: Page::Load,
        quote: "after a trap: keep the socket, start a fresh instance, go on with attachments and topics",
    },
    Promise {
        id: "trap.order",
        page: Page::Load,
        quote: "what waits behind a call that trapped is answered in order, 0 lost, 0 doubled",
    },
    behaviour(
        "trap.calls",
        "a call that traps is not made again; it costs the session that it was to open, and no other",
    ),
    behaviour("trap.gives-up", "give up after k traps in t"),
    Promise {
        id: "trap.crash-loop",
        page: Page::Load,
        quote: "instances that trap again and again leave their worker to the others",
    },
    behaviour(
        "trap.conversations",
        "`after_trap = \"restart\"` is refused for a conversation",
    ),
    behaviour(
        "dead-letters.access",
        "the batch that killed it is in a list that the operator and its tenant can read, and nobody else; found by the incident",
    ),
    behaviour(
        "dead-letters.bounds",
        "the oldest make room, what is dropped is counted, payloads are cut and never logged",
    ),
    behaviour(
        "traces.spans",
        "spans for handshake, session, guest call, outbound HTTP, swap and publish, over OTLP",
    ),
    behaviour(
        "traces.traceparent",
        "a client's `traceparent` is the parent of its handshake if the operator allows that, and goes on to upstreams",
    ),
    behaviour(
        "traces.bounds",
        "nobody waits for a collector; what is dropped is counted",
    ),
    Promise {
        id: "swap.pause",
        page: Page::Load,
        quote: "longest pause of a session <= 1 ms p99 with 10,000 sessions on the version that is replaced",
    },
    behaviour(
        "swap.hands-over",
        "what the old version exports the new one imports, at a message boundary; sessions stay open and do not open again",
    ),
    behaviour(
        "swap.fails",
        "a new version that refuses the state, traps, spins or cannot be compiled leaves the old one as it was",
    ),
    behaviour(
        "swap.export-fails",
        "an old version that fails over its state ends its own sessions, with 1011",
    ),
    behaviour(
        "swap.drain",
        "with `drain` old sessions stay on the old version until they end or the deadline, then 1012",
    ),
    behaviour(
        "swap.restart",
        "with `restart` old sessions are closed with 1012, each at a moment of its own",
    ),
    behaviour(
        "swap.asleep",
        "an instance that sleeps wakes as the new version; the change itself wakes nobody",
    ),
    behaviour(
        "swap.settings",
        "a change of what is asked of sessions holds for new ones and replaces no instance",
    ),
    behaviour(
        "swap.routes",
        "routes come and go while others are served; the sessions of one that goes end with 1001",
    ),
    behaviour(
        "swap.refused",
        "a rollout that would lose state or cannot be done is refused with the reason; without one, what cannot hand over drains",
    ),
    fault(
        "control.bad-config",
        "bad config at reload: the old stays; the error names the line",
    ),
    // The peer.
    fault(
        "peer.slow-handshake",
        "handshake a byte at a time, 10,000 at once: closed at the head deadline (5 s); others unaffected; ≤ 4 KiB each",
    ),
    fault(
        "peer.big-head",
        "64 KiB header; 2,000 headers; 16 KiB target: 431 / 414; ≤ 16 KiB read",
    ),
    fault(
        "peer.smuggling",
        "CL with TE, NUL, space before colon, obs-fold, two or no Host, two keys, 3-byte key, POST, HTTP/1.0: 400 and close; all refused",
    ),
    fault(
        "peer.read-ahead",
        "first frame in the same packet as the handshake: delivered; never lost",
    ),
    fault(
        "peer.origin",
        "foreign, `null`, look-alike Origin: 403 by default; 0 of 20 variants in",
    ),
    fault("peer.unmasked", "unmasked frame: 1002; exact"),
    fault(
        "peer.frame-rules",
        "RSV, opcodes, control rules, continuation rules, 2^62 length: close frame 1002 / 1009, then FIN; 0 bytes reserved for a declared length",
    ),
    fault(
        "peer.utf8",
        "bad UTF-8: whole, split, unfinished, in a close reason: 1007 within the frame that broke it",
    ),
    fault(
        "peer.fragments",
        "200,000 empty or 1-byte fragments: 1008 at the cap, or one flat buffer; bound = message limit",
    ),
    fault(
        "peer.ping-flood",
        "256 MiB of pings, never reading: one pong waits (the latest), then back-pressure; bound 1 MiB",
    ),
    fault(
        "peer.never-reads",
        "echo, client never reads, 1,000 of them: reading stops at the high-water mark; cut after 30 s; ≤ 512 KiB a session",
    ),
    fault(
        "peer.slow-readers",
        "a room of 10,000 with 100 slow readers: fan-out never waits; p99 of the fast ≤ 1.5×",
    ),
    fault(
        "peer.deflate-bomb",
        "deflate bomb, 509 KiB to 512 MiB; nested; in fragments: 1009 when the output passes the limit; bound = message limit + 64 KiB",
    ),
    fault(
        "peer.deflate-parameters",
        "bad deflate parameters: declined, 101 without; no 400, no panic",
    ),
    fault(
        "peer.leaving",
        "data after close, 300 RST, half-open FIN, a peer that stops without FIN: descriptors back to the start within 5 s; dead peer cut at the ping timeout; 0 leaks after 100,000 cycles",
    ),
    fault(
        "peer.tls",
        "TLS: half a ClientHello, 10,000 handshakes: handshake deadline, concurrency cap",
    ),
    // The guest.
    fault(
        "guest.spins",
        "spins, also in start, realloc, bulk memory: cut, its Store dropped, 1011; ≤ deadline + 10 ms; neighbours' p99 ≤ 2×",
    ),
    fault(
        "guest.waits",
        "waits for ever in a host call; the client leaves in the middle of a call: timer cuts; no panic; the instance is never entered again; 100,000 cancelled calls",
    ),
    fault(
        "guest.memory",
        "grows memory, tables; deep recursion; traps in open, message, close: its own end only; bound = its limit; 0 other sessions touched",
    ),
    fault(
        "guest.floods",
        "sends without end; logs without end; creates handles without end: `full` or 1008; dropped lines counted; a limit error then a trap; ≤ 256 KiB queued; ≤ 1 MiB/s of log; ≤ 1,024 handles",
    ),
    fault(
        "guest.topics",
        "publishes, subscribes, joins and leaves without end: cut by its CPU time; what waits for other workers is bounded; neighbours are untouched",
    ),
    fault(
        "topics.slow-members",
        "a topic with slow readers: fan-out never waits; the fast get all, in order",
    ),
    fault(
        "guest.lists",
        "passes 2^31-byte lists and strings: refused before the copy; ≤ 2× the message limit",
    ),
    fault(
        "guest.imports",
        "imports what was not granted: refused at deploy, each import named; never at run",
    ),
    // What is stored.
    behaviour(
        "kv.store",
        "`wasi:keyvalue/store` and `atomics`: get, set, delete, exists, a range of keys with cursor, increment, cas",
    ),
    behaviour(
        "kv.tenants",
        "per tenant and bucket: two tenants never see each other's keys",
    ),
    behaviour(
        "kv.durable",
        "stored in an embedded transactional database: durable when `set` returns",
    ),
    behaviour(
        "kv.granted",
        "deny by default: a component that imports an ungranted capability is refused by name at load",
    ),
    Promise {
        id: "kv.crash",
        page: Page::Load,
        quote: "kill -9 at random loses nothing acknowledged (1,000 times in a test that may run longer than CI)",
    },
    fault(
        "disk.full",
        "disk full, read-only, EIO: serving goes on; KV writes fail with an error; nothing corrupt",
    ),
    fault(
        "guest.stores",
        "a guest fills its quota, opens buckets without end, sets timers without end: told the limit or cut; nobody else's storage is touched",
    ),
    behaviour("timers.named", "Timers: named, survive sleep"),
    behaviour(
        "timers.durable",
        "Timers: survive … a restart of the server; at least once",
    ),
    behaviour(
        "timers.retried",
        "Timers: retried with back-off when the handler traps",
    ),
    // The world outside.
    behaviour(
        "log.tenant",
        "`wasi:logging` and stdout/stderr to the tenant's log: of whom each line is; no character forges one",
    ),
    fault(
        "log.bounded",
        "logs without end: bytes and lines a second of its tenant, the dropped count shown; another tenant is heard",
    ),
    behaviour(
        "config.settings",
        "`wasi:config` for settings and secrets: secrets never in logs or dumps",
    ),
    behaviour(
        "clocks.coarse",
        "`wasi:clocks`: resolution 1 ms for untrusted tenants",
    ),
    behaviour(
        "conversation.stream",
        "`incoming` / `outgoing`, … the streaming world's `stream<message>`",
    ),
    behaviour(
        "conversation.return",
        "`run(handler)`: return of the handler closes 1000",
    ),
    behaviour(
        "conversation.deaf",
        "a conversation that reads nothing holds back its own peer only; the peer's close is answered all the same",
    ),
    behaviour(
        "conversation.grants",
        "a conversation uses topics, KV and HTTP as any handler does; `idle` is refused for it",
    ),
    fault(
        "guest.converses",
        "a conversation spins, yields without end, begins sends without end, grows, traps: cut at its limits or held back, its own Store's sessions only",
    ),
    behaviour(
        "raw.frames",
        "`webSocketRaw`: a raw mode for a route: the handler sees every frame, control frames too, and answers them itself",
    ),
    behaviour(
        "raw.close",
        "raw mode: the handler answers the peer's close frame itself; `on-close` says how the peer closed",
    ),
    behaviour(
        "raw.host",
        "raw mode: the host still holds the protocol's rules, its limits and deadlines, its own pings, drain",
    ),
    behaviour(
        "raw.fits",
        "raw mode: a component that does not export `control-handler`, or imports `control` on another route, is refused by name at load",
    ),
    fault(
        "guest.controls",
        "a raw handler answers every ping with a flood, pings without end, never answers a close, traps; 64 MiB of pings to it, never reading: cut at its limits, or answered by the host",
    ),
    behaviour(
        "http.outgoing",
        "Outbound HTTP (`wasi:http/outgoing-handler`): requests, bodies, headers; redirects come back as they are",
    ),
    behaviour(
        "http.guarded",
        "under a host-and-port allow-list, private addresses refused after resolution too; certificates are checked",
    ),
    fault(
        "http.limits",
        "upstreams that never answer, stall, break off, send without end or noise, and a handler that opens connections without end: an error that says so, in time; + 2 MiB; another tenant connects",
    ),
    behaviour(
        "outside.granted",
        "a component that imports the log or settings without their grant is refused by name",
    ),
    fault(
        "guest.settings",
        "asks for settings and secrets of others, by every name that it can guess, and with names of a mebibyte: none; what it asked stands in no log",
    ),
    behaviour(
        "capabilities.complete",
        "Each capability has a grant, an example, tests through a real client, a row in the README's table, and its hostile guest",
    ),
    // The issues' own load.
    Promise {
        id: "chaos.tenants",
        page: Page::Load,
        quote: "ten tenants of whom one spins, one floods, one bombs memory, one uploads a compile bomb, while the p99 of the others is printed beside its value without them",
    },
    fault(
        "chaos.sigterm",
        "SIGTERM with 10,000 sessions under load: 10,000 × 1001, nothing that was read unanswered",
    ),
    fault("soak.memory", "An hour of soak: memory slope < 1 MiB/h"),
    Promise {
        id: "budgets.rates",
        page: Page::Load,
        quote: "messages and bytes a second in and out: a tenant over its rates is read slower and loses nothing",
    },
    Promise {
        id: "budgets.fair",
        page: Page::Load,
        quote: "a fair scheduler: beside a tenant that spins in many instances its neighbours are answered in turn; their p99 is printed",
    },
    Promise {
        id: "tenants.apart",
        page: Page::Load,
        quote: "random operations of ten tenants on topics, KV, names and timers find no foreign read",
    },
    Promise {
        id: "conversation.idle",
        page: Page::Load,
        quote: "the memory per idle conversation is printed",
    },
    Promise {
        id: "load.mid-write",
        page: Page::Load,
        quote: "clients killed in mid-write: no foreign byte on any other connection",
    },
    Promise {
        id: "load.minute",
        page: Page::Load,
        quote: "10,000 idle sessions and 1,000 active ones on the 2 cores for a minute: no error, and the memory per idle session is printed",
    },
];

/// Says which promise a test holds.
///
/// # Panics
/// When there is no such promise.
pub(crate) fn covers(id: &str) {
    assert!(
        promises().any(|promise| promise.id == id),
        "no promise is called {id:?}"
    );
}

#[test]
fn every_promise_has_a_test_and_every_fault_its_figure() {
    let mut covered = Vec::new();
    let mut figured = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == "promises.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for test in source.split("#[test]").skip(1) {
            let name = test
                .lines()
                .find_map(|line| line.trim().strip_prefix("fn "))
                .unwrap_or_default();
            let ids = arguments(test, "covers(");
            assert!(
                !ids.is_empty(),
                "{}: the test {name} names no promise",
                path.display()
            );
            covered.extend(ids);
            figured.extend(arguments(test, "figure("));
        }
    }
    let mut missing = Vec::new();
    for promise in promises() {
        if !covered.iter().any(|id| id == promise.id) {
            missing.push(format!("no test: {} — {}", promise.id, promise.quote));
        }
        if promise.page != Page::Behaviour && !figured.iter().any(|id| id == promise.id) {
            missing.push(format!("no figure: {} — {}", promise.id, promise.quote));
        }
    }
    for id in covered.iter().chain(&figured) {
        assert!(
            promises().any(|promise| promise.id == id),
            "no promise is called {id:?}"
        );
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn ids_are_unique() {
    let mut ids: Vec<_> = promises().map(|promise| promise.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), promises().count());
}

/// The string literals that are the first argument of a call.
fn arguments(text: &str, call: &str) -> Vec<String> {
    let arguments = text.split(call).skip(1);
    let literals =
        arguments.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    literals.map(str::to_owned).collect()
}
