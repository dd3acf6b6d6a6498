//! The immutable snapshot of what is served where: hosts, paths, and the routes on them.
//!
//! Built once and swapped whole; nothing in it changes, so every worker reads it without a lock. It
//! holds settings and ids, never programs or sessions.

mod after_trap;
mod canary;
mod destination;
mod grants;
mod pattern;
mod rollout;
mod settings;
mod topics;
mod values;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use crate::id::{ProgramId, RouteId};
use crate::mailbox::OutboxConfig;
use crate::metrics::Watch;
pub use after_trap::AfterTrap;
pub(crate) use canary::{CANARY_KEYS_MAX, Side, Trial};
pub use canary::{Canary, Mark, Share};
pub use destination::Destination;
pub(crate) use destination::split as split_authority;
pub use grants::Grants;
pub use pattern::{InstanceModel, PatternError, Template};
pub(crate) use pattern::{overlap, params_of, percent_decode};
pub use rollout::Rollout;
pub use settings::WebSocketSettings;
pub(crate) use topics::TOPIC_NAME_BYTES_MAX;
pub use topics::{TopicPattern, TopicRule, TopicSettings};
pub use values::{Secret, Settings};
pub use wharf_protocol::OriginRule;

/// Whose a route is that names nobody.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// What answers on one path.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// What its instances are found by: the same for all versions of it.
    pub(crate) id: RouteId,
    /// Which version it is: it rises with every change, over all routes of the server.
    pub(crate) generation: u64,
    /// How the version before gives way to this one.
    pub(crate) rollout: Rollout,
    /// How a canary that is given up gives way to it.
    pub(crate) rollout_of_canary: Rollout,
    /// The next version, while only some find it.
    pub(crate) trial: Option<Arc<Trial>>,
    /// Whether this version is counted apart, although everybody finds it.
    pub(crate) watch: Option<Watch>,
    /// The deployment that it is, if it is one: then it is the same route wherever it is served.
    pub(crate) deployment: Option<Deployed>,
    /// The hosts it belongs to, in lower case and without a port; none: every host.
    pub(crate) hosts: Vec<String>,
    /// Its path, such as `/rooms/{room}` or `/files/{*tail}`.
    pub(crate) pattern: String,
    /// Who may connect from a browser.
    pub(crate) origins: OriginRule,
    /// What it speaks; empty: it does not ask.
    pub(crate) subprotocols: Vec<String>,
    /// What it asks of its WebSockets.
    pub(crate) websocket: Arc<WebSocketSettings>,
    /// The protocol's part of it, shared by all sessions; the catalog fills it in.
    pub(crate) protocol: Arc<wharf_protocol::Config>,
    /// The part of it that bounds what waits to be sent, shared likewise.
    pub(crate) outbox: Arc<OutboxConfig>,
    /// Which instance serves a session.
    pub(crate) instance: InstanceModel,
    /// How long an instance has nothing to do before it sleeps; `None`: it never does.
    pub(crate) idle: Option<Duration>,
    /// What becomes of an instance's sessions when its guest fails.
    pub(crate) after_trap: AfterTrap,
    /// Whether calls that failed leave a dead letter.
    pub(crate) dead_letters: bool,
    /// To whom it belongs: part of every name that its component can write, and never written by it.
    pub(crate) tenant: Arc<str>,
    /// What its component may use beside its sessions.
    pub(crate) grants: Arc<Grants>,
    /// What its operator tells its component.
    pub(crate) settings: Arc<Settings>,
    /// What answers.
    pub(crate) target: Target,
}

/// Of which deployment a route is.
#[derive(Clone, Debug)]
pub(crate) struct Deployed {
    /// The deployment's name.
    pub(crate) name: Arc<str>,
    /// The host that its manifest names, of those of its tenant.
    pub(crate) host: Option<Arc<str>>,
    /// What stands before the paths of all deployments of its tenant.
    pub(crate) path_prefix: Arc<str>,
}

impl Route {
    /// A route to a target, for every host, with all settings at their defaults.
    pub(crate) fn new(pattern: impl Into<String>, target: Target) -> Self {
        Self {
            id: RouteId(0),
            generation: 0,
            rollout: Rollout::Swap,
            rollout_of_canary: Rollout::Swap,
            trial: None,
            watch: None,
            deployment: None,
            hosts: Vec::new(),
            pattern: pattern.into(),
            origins: OriginRule::default(),
            subprotocols: Vec::new(),
            websocket: Arc::default(),
            protocol: Arc::default(),
            outbox: Arc::new(WebSocketSettings::default().outbox()),
            instance: InstanceModel::default(),
            idle: None,
            after_trap: AfterTrap::Close,
            dead_letters: true,
            tenant: DEFAULT_TENANT.into(),
            grants: Arc::default(),
            settings: Arc::default(),
            target,
        }
    }

    /// Whether its sessions have something in common that may be in one process only: what is
    /// stored, topics, or an instance that all who come with a key expect.
    pub(crate) fn shares_state(&self) -> bool {
        let is_keyed = matches!(self.instance, InstanceModel::Keyed(_));
        is_keyed || !self.grants.topics.is_empty() || self.grants.need_storage(&self.instance)
    }

    /// What tells it from the other routes of its tenant, the same after a restart and in all of its
    /// versions: the deployment's name; or hosts, path and subprotocols.
    pub(crate) fn name(&self) -> String {
        if let Some(deployment) = &self.deployment {
            return format!("deployment {}", deployment.name);
        }
        let hosts = match self.hosts.as_slice() {
            [] => "*".to_owned(),
            hosts => hosts.join(","),
        };
        format!("{hosts} {} {}", self.pattern, self.subprotocols.join(","))
    }

    /// Its tenant has other hosts or another prefix from now on; only a deployment moves with it.
    pub(crate) fn move_to(&mut self, hosts: &[String], path_prefix: &str) {
        let Some(deployed) = &mut self.deployment else {
            return;
        };
        let own = self.pattern.strip_prefix(&*deployed.path_prefix);
        self.pattern = format!("{path_prefix}{}", own.unwrap_or(&self.pattern));
        self.hosts = match &deployed.host {
            Some(host) => vec![host.to_string()],
            None => hosts.to_vec(),
        };
        deployed.path_prefix = path_prefix.into();
    }

    pub(crate) fn is_page(&self) -> bool {
        matches!(self.target, Target::Page(_))
    }

    /// That version of it.
    pub(crate) fn side(self: &Arc<Self>, side: Side) -> &Arc<Self> {
        match (side, &self.trial) {
            (Side::Canary, Some(trial)) => &trial.route,
            _ => self,
        }
    }

    /// Its versions that are counted apart.
    pub(crate) fn watches(&self) -> Vec<Watch> {
        let trial = self.trial.iter().filter_map(|trial| trial.route.watch);
        self.watch.into_iter().chain(trial).collect()
    }

    /// Fills in what all its sessions share of its settings.
    pub(crate) fn share_settings(&mut self) {
        self.protocol = Arc::new(self.websocket.protocol());
        self.outbox = Arc::new(self.websocket.outbox());
    }
}

/// What a route leads to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A component that handles WebSockets.
    Component(ProgramId),
    /// One static file.
    Page(Page),
}

/// One static file, held in memory.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its bytes.
    pub body: Bytes,
    /// The value of Content-Type.
    pub content_type: &'static str,
}

/// The routes of a server.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    routes: Vec<Arc<Route>>,
    by_id: HashMap<RouteId, Arc<Route>>,
    by_name: HashMap<(Arc<str>, String), Arc<Route>>,
    hosts: HashMap<String, Paths>,
    every_host: Paths,
}

type Paths = matchit::Router<Vec<Candidate>>;

/// One of the routes on a path.
#[derive(Clone, Debug)]
struct Candidate {
    route: Arc<Route>,
    /// Its place in the list of routes.
    place: usize,
    /// The name of the wildcard that matched nothing: `/files/` for `/files/{*tail}`.
    empty_tail: Option<String>,
}

/// Two routes that cannot stand side by side, or one that cannot stand at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CatalogError {
    /// The place in the list of the route that is refused.
    pub(crate) route: usize,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for CatalogError {}

/// Why a path leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LookupError {
    /// No route matches.
    NotFound,
    /// What a parameter matched is no percent-encoded UTF-8 text without control characters.
    Malformed,
}

/// The routes on one path.
#[derive(Debug)]
pub(crate) struct Found<'c> {
    candidates: &'c [Candidate],
    params: Vec<(String, String)>,
}

/// The route that answers an upgrade.
#[derive(Debug)]
pub(crate) struct Choice<'c> {
    /// The route.
    pub(crate) route: &'c Arc<Route>,
    /// What its placeholders matched, decoded, in order.
    pub(crate) params: Vec<(String, String)>,
    /// The offered subprotocol that its list holds.
    pub(crate) subprotocol: Option<String>,
}

/// Why no route of a path answers an upgrade.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoChoice {
    /// Only a page is here.
    NoWebSocket,
    /// Each route here asks for one of its subprotocols, and the client offered none of these.
    Subprotocols(Vec<String>),
}

impl Catalog {
    /// Builds the snapshot; the settings of each route's protocol and outboxes are taken from its
    /// `websocket`. Ids and generations are as whoever gives them out wrote them.
    pub(crate) fn new(routes: Vec<Route>) -> Result<Self, CatalogError> {
        let mut every_host = PathTable::default();
        let mut by_host: HashMap<String, PathTable> = HashMap::new();
        let mut list = Vec::new();
        for (place, mut route) in routes.into_iter().enumerate() {
            route.share_settings();
            params_of(&route.pattern).map_err(|error| refusal(place, error.to_string()))?;
            let route = Arc::new(route);
            list.push(Arc::clone(&route));
            if route.hosts.is_empty() {
                every_host.add(&route, place)?;
            }
            for host in &route.hosts {
                let table = by_host.entry(host.clone()).or_default();
                table.add(&route, place)?;
            }
        }
        let sockets = || list.iter().filter(|route| !route.is_page());
        let name = |route: &Arc<Route>| (Arc::clone(&route.tenant), route.name());
        let mut catalog = Self {
            by_id: sockets().map(|route| (route.id, route.clone())).collect(),
            by_name: sockets()
                .map(|route| (name(route), route.clone()))
                .collect(),
            routes: list,
            ..Self::default()
        };
        catalog.every_host = every_host.finish()?;
        for (host, table) in by_host {
            catalog.hosts.insert(host, table.finish()?);
        }
        Ok(catalog)
    }

    /// The version here of a route for WebSockets, if it is still served.
    pub(crate) fn route(&self, id: RouteId) -> Option<&Arc<Route>> {
        self.by_id.get(&id)
    }

    /// The route for WebSockets of that tenant and [name](Route::name).
    pub(crate) fn named(&self, tenant: &Arc<str>, name: &str) -> Option<&Arc<Route>> {
        self.by_name.get(&(Arc::clone(tenant), name.to_owned()))
    }

    /// All routes, in order.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// The routes for a path as the client wrote it, without its query. A host's own routes come
    /// before those of every host.
    pub(crate) fn lookup(&self, authority: &str, path: &str) -> Result<Found<'_>, LookupError> {
        let own = self
            .hosts
            .get(&host_of(authority))
            .and_then(|paths| paths.at(path).ok());
        let found = own
            .or_else(|| self.every_host.at(path).ok())
            .ok_or(LookupError::NotFound)?;
        let decode = |(name, value): (&str, &str)| Some((name.to_owned(), percent_decode(value)?));
        let params: Option<Vec<_>> = found.params.iter().map(decode).collect();
        Ok(Found {
            candidates: found.value,
            params: params.ok_or(LookupError::Malformed)?,
        })
    }
}

/// The host of a Host header or a route: in lower case, without the port and the root's dot.
pub(crate) fn host_of(authority: &str) -> String {
    let after_bracket = authority.rfind(']').unwrap_or(0);
    let end = authority[after_bracket..]
        .find(':')
        .map_or(authority.len(), |colon| after_bracket + colon);
    let host = &authority[..end];
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn refusal(route: usize, reason: String) -> CatalogError {
    CatalogError { route, reason }
}

/// The paths of one host while the catalog is built, in order.
#[derive(Default)]
struct PathTable {
    paths: Vec<(String, Vec<Candidate>)>,
    /// Where each pattern stands among them.
    places: HashMap<String, usize>,
}

impl PathTable {
    fn add(&mut self, route: &Arc<Route>, place: usize) -> Result<(), CatalogError> {
        if let Some(clash) = self
            .at(&route.pattern)
            .iter()
            .find_map(|other| clash(&other.route, route))
        {
            return Err(refusal(place, clash));
        }
        self.at(&route.pattern).push(Candidate {
            route: Arc::clone(route),
            place,
            empty_tail: None,
        });
        Ok(())
    }

    fn at(&mut self, pattern: &str) -> &mut Vec<Candidate> {
        let place = match self.places.get(pattern) {
            Some(place) => *place,
            None => {
                self.places.insert(pattern.to_owned(), self.paths.len());
                self.paths.push((pattern.to_owned(), Vec::new()));
                self.paths.len() - 1
            }
        };
        &mut self.paths[place].1
    }

    fn finish(mut self) -> Result<Paths, CatalogError> {
        let tails: Vec<(String, Candidate)> = self
            .paths
            .iter()
            .flat_map(|(_, all)| all)
            .filter_map(without_tail)
            .collect();
        for (path, candidate) in tails {
            self.at(&path).push(candidate);
        }
        let mut paths = Paths::new();
        for (pattern, candidates) in self.paths {
            let place = candidates[0].place;
            paths.insert(pattern.clone(), candidates).map_err(|error| {
                refusal(
                    place,
                    format!("the path `{pattern}` cannot stand beside another one: {error}"),
                )
            })?;
        }
        Ok(paths)
    }
}

/// `/files/{*tail}` answers on `/files/` too, after the routes that name that path themselves.
fn without_tail(candidate: &Candidate) -> Option<(String, Candidate)> {
    let (path, tail) = candidate.route.pattern.split_once("{*")?;
    let empty_tail = Some(tail.trim_end_matches('}').to_owned());
    Some((
        path.to_owned(),
        Candidate {
            route: Arc::clone(&candidate.route),
            place: candidate.place,
            empty_tail,
        },
    ))
}

/// What hinders two routes on the same path, if anything does.
fn clash(first: &Route, second: &Route) -> Option<String> {
    let pattern = &second.pattern;
    match (first.is_page(), second.is_page()) {
        (true, true) => return Some(format!("there is a page on `{pattern}` already")),
        (false, false) => {}
        _ => return None,
    }
    if first.subprotocols.is_empty() && second.subprotocols.is_empty() {
        return Some(format!(
            "there is a route on `{pattern}` already; several routes share a path only if their `subprotocols` tell them apart"
        ));
    }
    let both = second
        .subprotocols
        .iter()
        .find(|name| first.subprotocols.contains(name))?;
    Some(format!(
        "another route on `{pattern}` has the subprotocol `{both}` too"
    ))
}

impl<'c> Found<'c> {
    /// The page on this path.
    pub(crate) fn page(&self) -> Option<&'c Page> {
        self.candidates
            .iter()
            .find_map(|candidate| match &candidate.route.target {
                Target::Page(page) => Some(page),
                Target::Component(_) => None,
            })
    }

    /// Whether a WebSocket can be opened on this path.
    pub(crate) fn has_websocket(&self) -> bool {
        self.candidates
            .iter()
            .any(|candidate| !candidate.route.is_page())
    }

    /// The route for a client that offers these subprotocols: the client's order decides, then
    /// comes a route that does not ask.
    pub(crate) fn choose(&self, offered: &[String]) -> Result<Choice<'c>, NoChoice> {
        let sockets = || {
            self.candidates
                .iter()
                .filter(|candidate| !candidate.route.is_page())
        };
        for name in offered {
            if let Some(candidate) =
                sockets().find(|candidate| candidate.route.subprotocols.contains(name))
            {
                return Ok(self.choice(candidate, Some(name.clone())));
            }
        }
        if let Some(candidate) = sockets().find(|candidate| candidate.route.subprotocols.is_empty())
        {
            return Ok(self.choice(candidate, None));
        }
        let wanted: Vec<String> = sockets()
            .flat_map(|candidate| candidate.route.subprotocols.clone())
            .collect();
        Err(if wanted.is_empty() {
            NoChoice::NoWebSocket
        } else {
            NoChoice::Subprotocols(wanted)
        })
    }

    fn choice(&self, candidate: &'c Candidate, subprotocol: Option<String>) -> Choice<'c> {
        let mut params = self.params.clone();
        params.extend(
            candidate
                .empty_tail
                .iter()
                .map(|name| (name.clone(), String::new())),
        );
        Choice {
            route: &candidate.route,
            params,
            subprotocol,
        }
    }
}

#[cfg(test)]
mod tests;
