//! What is promised to those who operate a server and deploy to it: more of the list in `promises`.

use crate::promises::{Page, Promise, behaviour, fault};

/// What is promised to operators.
pub(crate) const OPERATING: &[Promise] = &[
    // Operating.
    behaviour(
        "admin.health",
        "health, readiness (not ready while draining) and metrics on a listener of their own",
    ),
    behaviour(
        "admin.metrics",
        "metrics by tenant and route: sessions, handshakes by outcome, endings by code and initiator, messages and bytes, batch sizes, guest CPU, traps by kind, queue depths, wake-ups",
    ),
    behaviour(
        "admin.sessions",
        "sessions are listed with a cursor, inspected, and kicked with a code and a reason",
    ),
    behaviour("admin.topics", "topics: members, publish"),
    behaviour("admin.logs", "logs as a live stream"),
    behaviour("admin.drain", "drain over the API, as by SIGTERM"),
    behaviour(
        "admin.cli",
        "a command for each of them: tables for people, `--json` for scripts; completions",
    ),
    fault(
        "control.tokens",
        "no, expired, another tenant's token; 10,000 guesses a second: 401 / 403, constant time, rate limited, audited; 0 in",
    ),
    fault(
        "control.names",
        "names `..`, `%2e%2e`, `a/b`, 300 bytes: `[a-z0-9-]{1,63}` or 400",
    ),
    // The process.
    fault(
        "upgrade.sockets",
        "a new program under the open sockets: no connection attempt is refused or reset; sessions that need not leave stay, the others are asked to come again with 1012",
    ),
    behaviour(
        "upgrade.storage",
        "what may be in one process only moves before the new one begins: nothing that was acknowledged is lost",
    ),
    behaviour(
        "upgrade.failure",
        "a successor that does not start, or not in time, leaves everything as it was and says why",
    ),
    behaviour(
        "service.notify",
        "sd_notify: READY, RELOADING, STOPPING, WATCHDOG from workers that answer",
    ),
    behaviour(
        "service.sockets",
        "socket activation: LISTEN_FDS is listened on, also where the configuration names no address",
    ),
    fault(
        "rights.given-up",
        "After start-up the process needs no new rights: seccomp and landlock hold it",
    ),
    // Canaries.
    Promise {
        id: "canary.share",
        page: Page::Load,
        quote: "a share of new sessions finds the canary; no session changes sides",
    },
    behaviour(
        "canary.keys",
        "a share of keys: one key is always in one version, a room never has two at the same time",
    ),
    behaviour(
        "canary.named",
        "named sessions and keys find the canary first",
    ),
    Promise {
        id: "canary.traps",
        page: Page::Load,
        quote: "over its budget of traps a canary goes back by itself; its healthy sessions go along with what they know, sessions of the version before stay open and lose nothing; the reason is in the log and in the API; a reload does not try it again",
    },
    Promise {
        id: "canary.latency",
        page: Page::Load,
        quote: "over its budget of latency a canary goes back by itself",
    },
    behaviour(
        "canary.timeouts",
        "over its budget of time-outs a canary goes back by itself",
    ),
    behaviour(
        "canary.promoted",
        "a canary that keeps its limits for its time is followed by everybody, as the rollout says",
    ),
    behaviour(
        "canary.watched",
        "a version that breaks a limit while it is watched after its promotion is taken back whole",
    ),
    behaviour(
        "canary.ordered",
        "an operator promotes or aborts a canary, and sees each session's version",
    ),
    behaviour(
        "canary.reload",
        "a reload in the middle of a canary goes on with it, changes its rules, puts another version in its place or ends it",
    ),
    behaviour(
        "canary.way-back",
        "a canary's sessions go back by the rollout's policy",
    ),
    behaviour(
        "canary.deployed",
        "an automatic rollback of a deployment is a recorded change: the generation rises, with the reason, and the next start serves the version before",
    ),
    behaviour(
        "canary.restart",
        "a deployment's canary that a restart cuts short begins anew",
    ),
    behaviour(
        "canary.promotion-recorded",
        "a promotion of a deployment is in its history, and no restart begins the canary again; a rollback is everybody's at once",
    ),
    behaviour(
        "canary.disk",
        "a deployment's canary that fails is taken back though the disk fails, and that is recorded when the disk works again; a promotion or a deploy that cannot be recorded changes nothing",
    ),
    behaviour(
        "deploy.tenants-reload",
        "SIGHUP changes hosts, path prefix, rules and signers of tenants: what they have deployed moves under open sockets, canaries too; what could not be served is served when it can be",
    ),
    behaviour(
        "deploy.tenants-reload-refused",
        "a reload that contradicts itself, or by which a deployment could not be served any more, is refused whole, with the line and what would be right",
    ),
    behaviour(
        "deploy.counted",
        "the metrics say for each tenant how often versions were deployed, refused, rolled back by hand or by themselves, promoted and deleted",
    ),
    behaviour(
        "canary.unused",
        "a canary is not followed before it was used so often as `calls_min` says",
    ),
    behaviour(
        "canary.many-routes",
        "a canary is judged however many routes there are, also beyond the rows of the metrics",
    ),
    behaviour(
        "canary.refused",
        "versions that cannot stand side by side are refused with the reason",
    ),
    // Deployments.
    fault(
        "deploy.names",
        "names `..`, `%2e%2e`, `a/b`, 300 bytes: `[a-z0-9-]{1,63}` or refused; artifacts by SHA-256 only; 0 files outside",
    ),
    fault(
        "deploy.replay",
        "replayed or rolled-back deploy: generations only rise; an expected generation; rollback is its own verb; 0 silent",
    ),
    fault(
        "deploy.damage",
        "flipped bits in artifact, compiled cache, database: refused by digest before load; 1,000 of 1,000",
    ),
    fault(
        "deploy.crash",
        "kill -9 at every step of a deploy, and at random: old or new version after restart, never neither; what was acknowledged is there",
    ),
    fault(
        "deploy.disk",
        "disk full: deploy refused; nothing changes, nothing corrupt",
    ),
    fault(
        "deploy.bomb",
        "upload: 1 GB file, a million functions, one 10 MB function, 100,000 nested components: size cap, validation, compiled in a child process with limits; ≤ 10 s CPU, ≤ 512 MiB, server unaffected",
    ),
    fault(
        "deploy.imports",
        "imports what was not granted: refused at deploy, each import named",
    ),
    behaviour(
        "client.open",
        "Outbound WebSocket: a guest opens a client connection to an allowed address and gets its messages in `on-messages` like those of any session (masked, of course)",
    ),
    behaviour(
        "client.handshake",
        "RFC 6455, section 4.1: what a client sends, and which answers it must not believe",
    ),
    behaviour(
        "client.guarded",
        "under a host-and-port allow-list, private addresses refused after resolution too; certificates are checked",
    ),
    behaviour(
        "client.ends",
        "`on-close` always runs, exactly once: the server closes, breaks off or breaks a rule, the handler closes, its clients leave, the host drains",
    ),
    behaviour(
        "client.sleep",
        "an instance that sleeps keeps its connections; the next message wakes it",
    ),
    behaviour(
        "sdk.new",
        "`wharf new`: a folder with a handler, and what to type next; nothing is overwritten",
    ),
    behaviour(
        "sdk.new-compiles",
        "what `wharf new` writes compiles, without a warning, beside what Rust's standard library brings of WASI, and answers",
    ),
    behaviour(
        "sdk.mistakes",
        "a handler that is not built yet, imports what is not granted, or is named wrongly: what is wrong, where, what would be right",
    ),
    behaviour(
        "dev.changes",
        "`wharf dev`: a change in the folder is built and served under the open sockets, a component or configuration that changes as well",
    ),
    behaviour(
        "dev.failures",
        "a build that fails shows what the compiler says, and the version before is served on; what cannot begin says what would be right",
    ),
    behaviour(
        "dev.end",
        "Ctrl-C ends the server, and the build that runs with all that it has started",
    ),
    behaviour(
        "sdk.languages",
        "topics, keys and values, timers, attachments, HTTP and WebSockets to others from C and from JavaScript",
    ),
    behaviour(
        "client.swap",
        "WebSockets that a handler opened stay open through its versions, and go with one that drains or restarts",
    ),
    behaviour(
        "client.raw",
        "on a raw route a handler sees the control frames of what it opened, and answers them",
    ),
    fault(
        "client.limits",
        "a handler that opens connections without end, servers that flood or read nothing: limits of instance and tenant, slow-consumer rule; + 4 MiB; another tenant connects",
    ),
    behaviour(
        "budgets.sessions",
        "Over the tenant's limits: 429 or 503 with Retry-After",
    ),
    behaviour(
        "budgets.instances",
        "live instances, memory: one more is refused with 503, and a guest that grows beyond them ends alone",
    ),
    behaviour(
        "budgets.queued",
        "a tenant whose queues are full is not read",
    ),
    behaviour("budgets.reload", "limits of tenants hold from a reload on"),
    behaviour(
        "budgets.overrides",
        "what a tenant may store, log and connect to is less or more than every tenant may, as its own limits say",
    ),
    behaviour(
        "budgets.topics",
        "over its topics a tenant's subscriptions to further ones are refused, and its others go on",
    ),
    behaviour(
        "budgets.turns",
        "conversations of a tenant that spins wait for their turn: those of others are answered in between, and its own have their turns, too",
    ),
    behaviour(
        "deploy.signed-api",
        "where a tenant has signers a deploy over the API needs a signature by one of them: without one, by another key or over another component it is refused",
    ),
    behaviour(
        "deploy.upgrade",
        "an upgrade takes deployments along: open sockets drain in the old process, the new one serves and takes deploys",
    ),
    fault(
        "deploy.live",
        "deploy over the API while clients are connected: sockets stay open, state is handed over; rollback at once; the last acknowledged version after a restart",
    ),
    behaviour(
        "deploy.places",
        "two tenants reached by host and by path prefix; a deployment takes nothing from another tenant or from the operator's routes",
    ),
    fault(
        "deploy.refused",
        "foreign, expired or no token, names that are none, manifests that ask for more, components that are none or too large, replays: refused with what, where and what would be right; 0 files",
    ),
    behaviour(
        "deploy.fair",
        "one tenant's uploads, slow or many, do not keep others from deploying",
    ),
    behaviour(
        "deploy.cli",
        "`wharf deploy`, `deployments`, `rollback`, `undeploy`: progress for people, `--json` for scripts, wrong arguments are told what would be right",
    ),
    fault(
        "deploy.killed",
        "kill -9 of a server in mid-deploy, at random: the next start serves the old version or the new one, never neither; what was acknowledged is served",
    ),
    fault(
        "deploy.left-out",
        "a flipped bit in what is deployed: that one is not served, the others are, and the operator sees why",
    ),
    fault(
        "deploy.serving",
        "the deployments' disk is full: 507, and serving goes on",
    ),
    behaviour(
        "deploy.health",
        "a component's own check is asked before anybody is sent to it; its error refuses the deploy",
    ),
];
