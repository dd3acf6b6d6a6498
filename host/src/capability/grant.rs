//! Which imports a component may have: pure rules over names.
//!
//! Decides before anything is linked and says for each refused import what would be right. Knows
//! nothing of wasmtime: types of functions are checked where programs are linked.

use super::{keyvalue, logging, settings};
use crate::catalog::Grants;

/// The package that this host implements.
pub(crate) const PACKAGE: &str = "wharf:websocket";
/// The version of it.
pub(crate) const VERSION: &str = "0.1.0";

/// The interfaces of this package that a component may import.
const OWN: [&str; 7] = [
    "wharf:websocket/client",
    "wharf:websocket/types",
    "wharf:websocket/sessions",
    "wharf:websocket/topics",
    "wharf:websocket/timers",
    "wharf:websocket/conversation",
    "wharf:websocket/control",
];

/// The interfaces of WASI 0.2 that are linked, without their packages' common version.
const WASI: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// What a granted import needs from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Types only: nothing is linked.
    Types,
    /// The sessions of the instance.
    Sessions,
    /// The topics of its tenant that it was granted.
    Topics,
    /// WASI 0.2 with nothing behind it.
    Wasi,
    /// Buckets of keys and values.
    KeyValue,
    /// Timers.
    Timers,
    /// Messages to the tenant's log.
    Logging,
    /// What the operator wrote for its route.
    Settings,
    /// HTTP requests to granted hosts.
    Http,
    /// WebSockets to granted hosts.
    Client,
    /// The sessions of the instance, awaited; only for conversations.
    Conversation,
    /// Control frames to the sessions of a raw route.
    Control,
}

impl Capability {
    /// Whether a deployment with these grants has it; if not, what would grant it.
    pub(crate) fn covered_by(self, grants: &Grants) -> Result<(), String> {
        match self {
            Self::Types | Self::Sessions | Self::Conversation | Self::Wasi => Ok(()),
            Self::KeyValue if grants.keyvalue.is_empty() => Err(
                "not granted; `[route.grants] keyvalue = [\"default\"]` would grant it".to_owned(),
            ),
            Self::KeyValue => Ok(()),
            Self::Timers if !grants.timers => {
                Err("not granted; `[route.grants] timers = true` would grant it".to_owned())
            }
            Self::Timers => Ok(()),
            Self::Logging if !grants.logging => {
                Err("not granted; `[route.grants] logging = true` would grant it".to_owned())
            }
            Self::Logging => Ok(()),
            Self::Settings if !grants.settings => Err(
                "not granted; a `[route.config]` or `[route.secrets]` would grant it, even an empty one"
                    .to_owned(),
            ),
            Self::Settings => Ok(()),
            Self::Http if grants.http.is_empty() => Err(
                "not granted; `[route.grants] http = [\"api.example:443\"]` would grant requests to \
                 that host"
                    .to_owned(),
            ),
            Self::Http => Ok(()),
            Self::Control if !grants.raw => Err(
                "the route is not raw; `[route.websocket] raw = true` would make it so".to_owned(),
            ),
            Self::Control => Ok(()),
            Self::Client if grants.websocket.is_empty() => Err(
                "not granted; `[route.grants] websocket = [\"feed.example:443\"]` would grant \
                 connections to that host"
                    .to_owned(),
            ),
            Self::Client => Ok(()),
            Self::Topics if !grants.topics.is_empty() => Ok(()),
            Self::Topics => Err(
                "this route was not granted topics; `topics = [\"room/*\"]` in its \
                 [route.grants] would grant those whose names begin so, `topics = true` all of \
                 its tenant"
                    .to_owned(),
            ),
        }
    }
}

/// Grants an import, or says why not and what would be right.
pub(crate) fn judge(import: &str) -> Result<Capability, String> {
    let name = Name::parse(import);
    match name.path {
        "wharf:websocket/types" => own_version(&name).map(|()| Capability::Types),
        "wharf:websocket/sessions" => own_version(&name).map(|()| Capability::Sessions),
        "wharf:websocket/topics" => own_version(&name).map(|()| Capability::Topics),
        "wharf:websocket/timers" => own_version(&name).map(|()| Capability::Timers),
        "wharf:websocket/client" => own_version(&name).map(|()| Capability::Client),
        "wharf:websocket/conversation" => own_version(&name).map(|()| Capability::Conversation),
        "wharf:websocket/control" => own_version(&name).map(|()| Capability::Control),
        "wharf:websocket/handler"
        | "wharf:websocket/conversation-handler"
        | "wharf:websocket/handshake"
        | "wharf:websocket/timer-handler"
        | "wharf:websocket/control-handler" => {
            Err("a handler exports this interface and cannot import it".to_owned())
        }
        "wasi:keyvalue/store" | "wasi:keyvalue/atomics" => {
            draft_version(&name, keyvalue::VERSION).map(|()| Capability::KeyValue)
        }
        "wasi:logging/logging" => {
            draft_version(&name, logging::VERSION).map(|()| Capability::Logging)
        }
        "wasi:config/store" => {
            draft_version(&name, settings::VERSION).map(|()| Capability::Settings)
        }
        "wasi:http/types" | "wasi:http/outgoing-handler" => {
            wasi_version(&name).map(|()| Capability::Http)
        }
        path if WASI.contains(&path) => wasi_version(&name).map(|()| Capability::Wasi),
        path => Err(unknown(path)),
    }
}

/// `namespace:package/interface@version`, or any other name.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    path: &'a str,
    version: Option<&'a str>,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Self {
        match text.split_once('@') {
            Some((path, version)) => Self {
                path,
                version: Some(version),
            },
            None => Self {
                path: text,
                version: None,
            },
        }
    }

    /// Whether the version is `major.minor.` and a number: no pre-release.
    fn is_of(&self, series: &str) -> bool {
        let patch = self
            .version
            .and_then(|version| version.strip_prefix(series));
        patch
            .and_then(|patch| patch.strip_prefix('.'))
            .is_some_and(|patch| {
                !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
            })
    }
}

fn own_version(name: &Name<'_>) -> Result<(), String> {
    // Below 1.0 a new minor version breaks, a new patch does not.
    let series = VERSION
        .rsplit_once('.')
        .map_or(VERSION, |(series, _)| series);
    if name.is_of(series) {
        return Ok(());
    }
    let found = name.version.unwrap_or("none");
    Err(format!(
        "this host has version {VERSION} of {PACKAGE}, not {found}: build the component against \
         its WIT files of version {VERSION}"
    ))
}

fn wasi_version(name: &Name<'_>) -> Result<(), String> {
    if name.is_of("0.2") {
        return Ok(());
    }
    let found = name.version.unwrap_or("none");
    Err(format!(
        "this host has WASI 0.2, not {found}: build the component for wasip2"
    ))
}

/// A draft promises nothing to the next one: it is this one or none.
fn draft_version(name: &Name<'_>, version: &str) -> Result<(), String> {
    if name.version == Some(version) {
        return Ok(());
    }
    let found = name.version.unwrap_or("none");
    let package = name.path.split('/').next().unwrap_or_default();
    Err(format!(
        "this host has version {version} of {package}, not {found}"
    ))
}

fn unknown(path: &str) -> String {
    if path.starts_with("wasi:sockets/") {
        return "handlers get no sockets: they talk through their sessions, and by wasi:http and \
                wharf:websocket/client to granted hosts"
            .to_owned();
    }
    if path.starts_with("wasi:http/") {
        return "this host has types and outgoing-handler of wasi:http".to_owned();
    }
    if path.starts_with("wasi:keyvalue/") {
        return "this host has store and atomics of wasi:keyvalue".to_owned();
    }
    if path.starts_with("wasi:config/") {
        return "this host has store of wasi:config".to_owned();
    }
    if path.starts_with("wasi:") {
        return match nearest(path) {
            Some(known) => {
                format!("no such interface in this host's WASI 0.2; the nearest is {known}")
            }
            None => {
                "this host has io, cli, clocks, random and filesystem of WASI 0.2 only".to_owned()
            }
        };
    }
    if !path.contains(':') {
        return "a handler imports interfaces only, no functions or modules of the world itself"
            .to_owned();
    }
    let names = OWN.join(", ");
    let offer = format!(
        "this host offers {names}, wasi:keyvalue, wasi:logging, wasi:config, wasi:http and WASI 0.2"
    );
    match nearest(path) {
        Some(known) => format!("{offer}; the nearest is {known}"),
        None => offer,
    }
}

/// The known interface that differs in the fewest letters, if that is a third of them at most.
fn nearest(path: &str) -> Option<&'static str> {
    OWN.into_iter()
        .chain(WASI.iter().copied())
        .map(|known| (distance(path, known), known))
        .min()
        .filter(|(distance, known)| distance * 3 <= known.len())
        .map(|(_, known)| known)
}

/// Letters to insert, remove or replace to get from one name to the other. A name that comes from
/// outside is cut first, so that the work is bounded.
fn distance(from: &str, to: &str) -> usize {
    const BYTES_MAX: usize = 64;
    let from = &from.as_bytes()[..from.len().min(BYTES_MAX)];
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, other) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(*letter != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Destination, TopicPattern};

    #[test]
    fn what_is_granted() {
        assert_eq!(judge("wharf:websocket/types@0.1.0"), Ok(Capability::Types));
        assert_eq!(
            judge("wharf:websocket/sessions@0.1.0"),
            Ok(Capability::Sessions)
        );
        assert_eq!(
            judge("wharf:websocket/sessions@0.1.7"),
            Ok(Capability::Sessions)
        );
        for patch in ["0.2.0", "0.2.6", "0.2.12"] {
            assert_eq!(
                judge(&format!("wasi:io/streams@{patch}")),
                Ok(Capability::Wasi)
            );
        }
    }

    #[test]
    fn keys_and_values_and_timers_need_a_grant() {
        for interface in ["store", "atomics"] {
            let name = format!("wasi:keyvalue/{interface}@0.2.0-draft2");
            assert_eq!(judge(&name), Ok(Capability::KeyValue));
        }
        assert_eq!(
            judge("wharf:websocket/timers@0.1.0"),
            Ok(Capability::Timers)
        );
        let mut grants = Grants::default();
        let refused = Capability::Timers.covered_by(&grants);
        assert!(refused.is_err_and(|reason| reason.contains("[route.grants] timers")));
        grants.timers = true;
        assert_eq!(Capability::Timers.covered_by(&grants), Ok(()));
        let refused = Capability::KeyValue.covered_by(&grants);
        assert!(refused.is_err_and(|reason| reason.contains("[route.grants] keyvalue")));
        grants.keyvalue.push("default".to_owned());
        assert_eq!(Capability::KeyValue.covered_by(&grants), Ok(()));
    }

    #[test]
    fn logging_and_settings_need_a_grant() {
        let mut grants = Grants::default();
        for (import, capability, expect) in [
            (
                "wasi:logging/logging@0.1.0-draft",
                Capability::Logging,
                "[route.grants] logging",
            ),
            (
                "wasi:config/store@0.2.0-rc.1",
                Capability::Settings,
                "[route.config]",
            ),
        ] {
            assert_eq!(judge(import), Ok(capability));
            let refused = capability.covered_by(&grants);
            assert!(refused.is_err_and(|reason| reason.contains(expect)));
        }
        grants.logging = true;
        grants.settings = true;
        assert_eq!(Capability::Logging.covered_by(&grants), Ok(()));
        assert_eq!(Capability::Settings.covered_by(&grants), Ok(()));
    }

    #[test]
    fn http_needs_a_host() {
        let mut grants = Grants::default();
        let capability = judge("wasi:http/outgoing-handler@0.2.3");
        assert_eq!(capability, Ok(Capability::Http));
        assert_eq!(judge("wasi:http/types@0.2.12"), capability);
        let refused = Capability::Http.covered_by(&grants);
        assert!(refused.is_err_and(|reason| reason.contains("[route.grants] http")));
        grants.http = vec![Destination::parse("api.example").expect("an entry")];
        assert_eq!(Capability::Http.covered_by(&grants), Ok(()));
    }

    #[test]
    fn a_websocket_needs_a_host_of_its_own_list() {
        let mut grants = Grants::default();
        let capability = judge("wharf:websocket/client@0.1.0");
        assert_eq!(capability, Ok(Capability::Client));
        grants.http = vec![Destination::parse("api.example").expect("an entry")];
        let refused = Capability::Client.covered_by(&grants);
        assert!(refused.is_err_and(|reason| reason.contains("[route.grants] websocket")));
        grants.websocket = vec![Destination::parse("feed.example").expect("an entry")];
        assert_eq!(Capability::Client.covered_by(&grants), Ok(()));
    }

    #[test]
    fn what_is_refused_says_what_would_be_right() {
        let check = |import: &str, expect: &str| {
            let reason = judge(import).expect_err(import);
            assert!(reason.contains(expect), "{import}: {reason}");
        };
        check(
            "wharf:websocket/sessions@0.2.0",
            "version 0.1.0 of wharf:websocket, not 0.2.0",
        );
        check("wharf:websocket/sessions@1.1.0", "not 1.1.0");
        check("wharf:websocket/sessions", "not none");
        check(
            "wharf:websocket/sesions@0.1.0",
            "the nearest is wharf:websocket/sessions",
        );
        check("wharf:websocket/handler@0.1.0", "exports this interface");
        check("wasi:io/streams@0.3.0", "WASI 0.2, not 0.3.0");
        check(
            "wasi:io/streams@0.2.0-rc-2023-11-10",
            "not 0.2.0-rc-2023-11-10",
        );
        check("wasi:io/stream@0.2.0", "the nearest is wasi:io/streams");
        check("wasi:sockets/tcp@0.2.0", "no sockets");
        check("wasi:http/incoming-handler@0.2.0", "outgoing-handler");
        check("wasi:http/outgoing-handler@0.3.0", "WASI 0.2");
        check("wasi:keyvalue/store@0.2.0", "version 0.2.0-draft2");
        check("wasi:keyvalue/store", "not none");
        check("wasi:logging/logging", "version 0.1.0-draft");
        check("wasi:config/store@0.2.0", "version 0.2.0-rc.1");
        check("wasi:config/runtime@0.2.0-draft", "store of wasi:config");
        check("wasi:keyvalue/batch@0.2.0-draft2", "store and atomics");
        check("acme:secrets/vault@1.0.0", "this host offers");
        check("print", "interfaces only");
        check("", "interfaces only");
        check(&format!("wasi:{}", "é".repeat(100_000)), "WASI 0.2");
    }

    #[test]
    fn what_was_not_granted_says_what_would_grant_it() {
        assert_eq!(
            judge("wharf:websocket/topics@0.1.0"),
            Ok(Capability::Topics)
        );
        let reason = Capability::Topics.covered_by(&Grants::default());
        let reason = reason.expect_err("nothing is granted by default");
        assert!(reason.contains("[route.grants]"), "{reason}");
        let grants = Grants {
            topics: vec![TopicPattern::any()],
            ..Grants::default()
        };
        assert_eq!(Capability::Topics.covered_by(&grants), Ok(()));
    }

    #[test]
    fn letters_are_counted() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abd", "abc"), 1);
        assert_eq!(distance("bc", "abc"), 1);
        assert_eq!(distance("abcd", "abc"), 1);
    }
}
