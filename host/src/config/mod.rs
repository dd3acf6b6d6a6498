//! The configuration file: as written ([`document`]), and as checked ([`Config`]).
//!
//! Everything wrong is reported at once, each with file, line, key, value and what would be right.
//! Starts nothing: the server is built from what comes out.

mod admin;
mod canary;
mod dead_letters;
mod deployments;
mod document;
mod log;
mod manifest;
mod needs;
mod outbound;
mod process;
mod route;
mod storage;
mod tenant;
mod tenant_limits;
mod topic;
mod traces;
mod value;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use self::deployments::DeploymentSettings;
use self::document::{Document, Problem, Section, line};
pub use self::manifest::Manifest;
pub use self::route::RouteConfig;
pub use self::tenant::{TenantPlace, TenantRules, TenantSettings};
pub use self::value::duration as parse_duration;
use crate::admin::AdminSettings;
use crate::capability::LogLimits;
use crate::catalog::{self, Catalog, Page, ProgramId, Target, TopicRule};
use crate::dead_letters::DeadLetterSettings;
use crate::guest::EngineConfig;
use crate::ingress::{IngressLimits, TlsFiles};
use crate::outbound::OutboundSettings;
use crate::rights::Sandbox;
use crate::storage::StorageSettings;
use crate::traces::TraceSettings;

/// A checked configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Worker threads; `None` is one for each core.
    pub workers: Option<usize>,
    /// Certificate and key, if the listeners speak TLS.
    pub tls: Option<TlsFiles>,
    /// What is accepted from the network.
    pub limits: IngressLimits,
    /// What is set aside for components.
    pub engine: EngineConfig,
    /// What components may store; `None` is nothing.
    pub storage: Option<StorageSettings>,
    /// Where deployments are kept, without the rules of [`Config::tenants`]; `None`: there are none.
    pub deployments: Option<DeploymentSettings>,
    /// What holds for which tenant, by name.
    pub tenants: BTreeMap<String, TenantSettings>,
    /// Where operators reach the server; `None` is nowhere.
    pub admin: Option<AdminSettings>,
    /// How much is kept of guest calls that failed.
    pub dead_letters: DeadLetterSettings,
    /// How much the handlers of a tenant may log.
    pub log: LogLimits,
    /// What holds for connections that handlers open.
    pub outbound: OutboundSettings,
    /// What is traced, and where it goes; `None` is nothing.
    pub traces: Option<TraceSettings>,
    /// The routes to components.
    pub routes: Vec<RouteConfig>,
    /// What holds for which topics; the first rule that covers one holds.
    pub topics: Vec<TopicRule>,
    /// The pages, each with its path.
    pub pages: Vec<(String, Page)>,
    /// Which rights the process gives up after its start.
    pub sandbox: Sandbox,
    /// The pages and secrets that were read from files.
    pub files_read: Vec<PathBuf>,
    /// What works but is better changed.
    pub warnings: Vec<String>,
}

/// Why a configuration cannot be used: one line for each problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    lines: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a file; paths in it are relative to its folder.
    ///
    /// # Errors
    /// Every problem that it has.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(error) => Err(ConfigError {
                lines: vec![format!("{}: {error}", file.display())],
            }),
        }
    }

    /// Checks a text that came from `file`.
    ///
    /// # Errors
    /// Every problem that it has.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        checked(text, file, read)
    }
}

/// Reads a text that came from `file` and says everything that is wrong with it.
fn checked<T>(
    text: &str,
    file: &Path,
    read: impl FnOnce(&Document<'_>, &Section<'_, '_>, &Path) -> T,
) -> Result<T, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().trim_end().replace('\n', ", ");
        let message = format!("not TOML: {message}");
        ConfigError::new(text, file, vec![Problem { at, message }])
    })?;
    let document = Document::new(text);
    let folder = file.parent().unwrap_or(Path::new(""));
    let top = Section::new(&document, "", 0, table.get_ref());
    let outcome = read(&document, &top, folder);
    top.finish();
    let problems = document.into_problems();
    if problems.is_empty() {
        Ok(outcome)
    } else {
        Err(ConfigError::new(text, file, problems))
    }
}

impl ConfigError {
    fn new(text: &str, file: &Path, problems: Vec<Problem>) -> Self {
        let lines = problems.into_iter().map(|problem| {
            format!(
                "{}:{}: {}",
                file.display(),
                line(text, problem.at),
                problem.message
            )
        });
        Self {
            lines: lines.collect(),
        }
    }
}

fn read(document: &Document<'_>, top: &Section<'_, '_>, folder: &Path) -> Config {
    let mut config = Config {
        listen: listen(top),
        tls: tls(top, folder),
        ..Config::default()
    };
    let mut workers = 0;
    top.count("workers", 1..=1_024, &mut workers);
    config.workers = (workers > 0).then_some(workers);
    limits(top, &mut config.limits);
    if let Some(section) = top.section("engine", "[engine]") {
        section.count(
            "instances_max",
            1..=1_000_000,
            &mut config.engine.instances_max,
        );
        section.finish();
    }
    config.admin = admin::settings(top, &mut config.warnings);
    config.dead_letters = dead_letters::settings(top);
    config.log = log::limits(top);
    config.sandbox = process::sandbox(top);
    config.traces = traces::settings(top, folder);
    config.outbound = outbound::settings(top, folder);
    config.storage = storage::storage(top, folder);
    let has_storage = top.has("storage");
    config.tenants = tenant::tenants(top);
    config.deployments = deployments::deployments(top, folder);
    let mut served = Vec::new();
    for section in routes(top) {
        if let Some(route) = route::route(&section, folder, has_storage) {
            warn(&route, &mut config.warnings);
            served.push(as_served(&route));
            config.routes.push(route);
        }
        section.finish();
    }
    for section in top.sections("topic", "[[topic]]") {
        config.topics.extend(topic::rule(&section));
        section.finish();
    }
    for section in top.sections("page", "[[page]]") {
        if let Some((path, page)) = route::page(&section, folder) {
            served.push(catalog::Route::new(&path, Target::Page(page.clone())));
            config.pages.push((path, page));
        }
        section.finish();
    }
    if document.is_sound() {
        check_together(top, served);
    }
    config.files_read = document.files();
    config
}

fn routes<'d, 'i>(top: &Section<'d, 'i>) -> Vec<Section<'d, 'i>> {
    const MANIFEST: &str = "a single table stands in a manifest, for `wharf deploy`; right is \
         [[route]], with the `component` that it serves";
    if top.is_table("route") {
        top.refuse("route", MANIFEST);
        return Vec::new();
    }
    top.sections("route", "[[route]]")
}

fn listen(top: &Section<'_, '_>) -> Vec<String> {
    const LISTEN: &str =
        "right is an address with its port, such as \"127.0.0.1:8080\", or a list of them";
    let addresses = top.texts("listen", LISTEN).unwrap_or_default();
    for address in &addresses {
        let port = address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty());
        if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            top.refuse("listen", LISTEN);
        }
    }
    addresses
}

fn tls(top: &Section<'_, '_>, folder: &Path) -> Option<TlsFiles> {
    let section = top.section("tls", "[tls]")?;
    let file = |key: &'static str| {
        let right = "right is the path of a PEM file";
        let Some(file) = section.text(key, right) else {
            if !section.has(key) {
                section.missing(key, right);
            }
            return PathBuf::new();
        };
        let file = folder.join(file);
        if !file.is_file() {
            section.refuse(key, format_args!("there is no file {}", file.display()));
        }
        file
    };
    let files = TlsFiles {
        certificate: file("certificate"),
        key: file("key"),
    };
    section.finish();
    Some(files)
}

fn limits(top: &Section<'_, '_>, limits: &mut IngressLimits) {
    const MANY: u64 = 100_000_000;
    let Some(section) = top.section("limits", "[limits]") else {
        return;
    };
    section.count("sessions_max", 0..=MANY, &mut limits.sessions_max);
    section.count("connections_max", 1..=MANY, &mut limits.connections_max);
    section.count(
        "handshakes_concurrent_max",
        1..=MANY,
        &mut limits.handshakes_concurrent_max,
    );
    section.count(
        "tls_handshakes_concurrent_max",
        1..=MANY,
        &mut limits.tls_handshakes_concurrent_max,
    );
    section.duration("tls_handshake_timeout", &mut limits.tls_handshake_timeout);
    section.duration("head_timeout", &mut limits.head_timeout);
    section.size(
        "head_bytes_max",
        256..=256 << 10,
        &mut limits.head_bytes_max,
    );
    section.count("headers_max", 1..=100, &mut limits.headers_max);
    section.size(
        "target_bytes_max",
        1..=64 << 10,
        &mut limits.target_bytes_max,
    );
    section.duration("keep_alive_timeout", &mut limits.keep_alive_timeout);
    section.duration("response_timeout", &mut limits.response_timeout);
    section.finish();
}

/// What needs more than one route to be seen; every route and page has been read.
fn check_together(top: &Section<'_, '_>, served: Vec<catalog::Route>) {
    let pages_begin = served
        .iter()
        .take_while(|route| matches!(route.target, Target::Component(_)))
        .count();
    if let Err(error) = Catalog::new(served) {
        let (key, name, place) = match error.route.checked_sub(pages_begin) {
            None => ("route", "[[route]]", error.route),
            Some(place) => ("page", "[[page]]", place),
        };
        if let Some(section) = top.sections(key, name).get(place) {
            section.refuse("path", error);
        }
    }
}

fn as_served(route: &RouteConfig) -> catalog::Route {
    catalog::Route {
        hosts: route.host.clone().into_iter().collect(),
        subprotocols: route.subprotocols.clone(),
        ..catalog::Route::new(&route.path, Target::Component(ProgramId(0)))
    }
}

fn warn(route: &RouteConfig, warnings: &mut Vec<String>) {
    if route.websocket.mask_outgoing {
        warnings.push(format!(
            "the route {} masks what it sends (mask_outgoing): RFC 6455 forbids that to servers, and most clients close the connection",
            route.path
        ));
    }
}

#[cfg(test)]
mod tests;
