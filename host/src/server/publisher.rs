//! What the server serves, and how it changes: checks and compiles what is new, decides what counts
//! as a new version, and makes the snapshot that the workers get. Either all of a change works or
//! nothing of it happens.
//!
//! Runs on a thread of its own, never on a worker: compiling takes milliseconds to seconds.

mod trials;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};

pub(super) use self::trials::{Judged, Reason};
use self::trials::{Trials, Wanted};
use super::route::{Route, Source};
use crate::admin::CanaryEnd;
use crate::catalog::{
    self, AfterTrap, Catalog, CatalogError, Grants, Page, ProgramId, Rollout, RouteId, Target,
};
use crate::config::{TenantPlace, TenantRules};
use crate::digest::Digest;
use crate::dispatch::Served;
use crate::guest::{Engine, GuestLimits, Precompiled, Program};

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Rises with every change that instances notice.
    pub generation: u64,
    /// Routes that were not there before.
    pub added: usize,
    /// Routes whose instances run a new version.
    pub changed: usize,
    /// Routes that are gone.
    pub removed: usize,
    /// Routes whose new version begins as a canary.
    pub canaries: usize,
}

/// What makes a compiled component: its name for logs, its digest, and what it was checked against.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Build {
    name: String,
    digest: Digest,
    limits: GuestLimits,
    grants: Grants,
}

/// A compiled component, and its number.
#[derive(Clone)]
struct Built {
    id: ProgramId,
    program: Arc<Program>,
}

/// What all versions of a route have in common: its tenant, and its name in there.
type Identity = (Arc<str>, String);

/// A route as it is served.
#[derive(Clone)]
struct Standing {
    route: catalog::Route,
    build: Build,
    /// What the version before ran: kept, so that going back takes no time.
    before: Option<Build>,
    /// What is on trial of it.
    trials: Trials,
}

impl Standing {
    fn new((route, build): (catalog::Route, Build)) -> Self {
        Self {
            route,
            build,
            before: None,
            trials: Trials::default(),
        }
    }

    fn is_deployed(&self) -> bool {
        self.route.deployment.is_some()
    }

    /// All versions of a deployment are found where its tenant has its place.
    fn move_to(&mut self, place: &TenantPlace) {
        let routes = std::iter::once(&mut self.route).chain(self.trials.routes_mut());
        routes.for_each(|route| route.move_to(&place.hosts, &place.path_prefix));
    }
}

/// Everything that is served.
#[derive(Clone, Default)]
struct State {
    standing: Vec<Standing>,
    pages: Vec<(String, Page)>,
    built: HashMap<Build, Built>,
    ids: HashMap<Identity, RouteId>,
    programs_made: u32,
    generation: u64,
    /// What became of versions on trial by the last change.
    ends: Vec<CanaryEnd>,
}

/// A change that is checked, and not made yet.
pub(super) struct Change {
    next: State,
    served: Served,
    replaced: Replaced,
    rollout: Option<Rollout>,
}

impl Change {
    /// How the version before gives way to what was published, if instances notice it.
    pub(super) fn rollout(&self) -> Option<Rollout> {
        self.rollout
    }
}

/// Changes what the server serves.
pub(super) struct Publisher {
    engine: Engine,
    has_storage: bool,
    state: State,
}

impl Publisher {
    /// Nothing is served yet.
    pub(super) fn new(engine: Engine, has_storage: bool) -> Self {
        Self {
            engine,
            has_storage,
            state: State::default(),
        }
    }

    /// Serves what was changed from now on: to be given to every worker.
    pub(super) fn make(&mut self, change: Change) -> (Served, Replaced) {
        self.state = change.next;
        (change.served, change.replaced)
    }

    /// Serves these routes and pages, and beside them the deployments that are served already, each
    /// where its tenant has its place by these rules.
    pub(super) fn replace(
        &self,
        routes: Vec<Route>,
        pages: Vec<(String, Page)>,
        rules: &BTreeMap<String, TenantRules>,
    ) -> Result<Change> {
        let mut next = self.state.clone();
        let routes = routes.into_iter();
        let standing = routes.map(|route| self.stand(&mut next, route, false));
        let own: Vec<_> = standing.collect::<Result<_>>()?;
        let deployed = self.state.standing.iter().filter(|one| one.is_deployed());
        let deployed = deployed.cloned().map(|mut standing| {
            if let Some(rules) = rules.get(&*standing.route.tenant) {
                standing.move_to(&rules.place);
            }
            standing
        });
        next.standing = own.into_iter().chain(deployed).collect();
        next.pages = pages;
        self.settle(next)
    }

    /// Serves this one beside the others.
    pub(super) fn publish(&self, route: Route) -> Result<Change> {
        let mut next = self.state.clone();
        let standing = self.stand(&mut next, route, true)?;
        let mut rollout = None;
        let mut others = next.standing.iter_mut();
        match others.find(|other| other.route.id == standing.route.id) {
            Some(old) => {
                let is_new = old.route.generation != standing.route.generation;
                rollout = is_new.then_some(standing.route.rollout);
                *old = standing;
            }
            None => next.standing.push(standing),
        }
        let change = self.settle(next)?;
        Ok(Change { rollout, ..change })
    }

    /// Serves these new ones beside the others, but for those that cannot be served; says which these
    /// are, by their place, and why.
    pub(super) fn publish_fitting(
        &self,
        routes: Vec<Route>,
    ) -> Result<(Change, Vec<(usize, Error)>)> {
        let mut next = self.state.clone();
        let others = next.standing.len();
        let (mut places, mut left_out) = (Vec::new(), Vec::new());
        for (place, route) in routes.into_iter().enumerate() {
            match self.stand(&mut next, route, true) {
                Ok(standing) => {
                    next.standing.push(standing);
                    places.push(place);
                }
                Err(error) => left_out.push((place, error)),
            }
        }
        while let Err(error) = next.catalog() {
            match error.route.checked_sub(others) {
                Some(own) if own < places.len() => {
                    next.standing.remove(error.route);
                    left_out.push((places.remove(own), anyhow!(error.reason)));
                }
                _ => bail!(error.reason),
            }
        }
        Ok((self.settle(next)?, left_out))
    }

    /// Serves all but this one.
    pub(super) fn withdraw(&self, route: &Route) -> Result<Change> {
        let route = route.clone().check(ProgramId(0))?;
        let identity = identity_of(&route);
        let mut next = self.state.clone();
        let id = next.ids.get(&identity).copied();
        next.standing.retain(|other| Some(other.route.id) != id);
        if next.standing.len() == self.state.standing.len() {
            let (tenant, name) = identity;
            bail!("there is no route {name:?} of the tenant {tenant}");
        }
        self.settle(next)
    }

    /// Serves a deployment no longer, if it is served.
    pub(super) fn withdraw_deployment(&self, tenant: &str, name: &str) -> Result<Change> {
        let mut next = self.state.clone();
        next.standing.retain(|other| {
            let deployed = other.route.deployment.as_ref();
            let is_it = deployed.is_some_and(|deployed| *deployed.name == *name);
            !(is_it && *other.route.tenant == *tenant)
        });
        self.settle(next)
    }

    /// Checks a route, and compiles its component if that is a new one. `insists`: also if it was
    /// taken back before.
    fn stand(&self, next: &mut State, route: Route, insists: bool) -> Result<Standing> {
        if route.needs_storage() && !self.has_storage {
            bail!(
                "the route {} is granted storage, and the server has none: name a place with \
                 Builder::storage",
                route.pattern
            );
        }
        let Some(source) = &route.source else {
            bail!("the route {} has no component", route.pattern);
        };
        let mut limits = route.guest.clone();
        // What a handler may send has to fit into one call of the host.
        let sendable = route.websocket.max_message_bytes.saturating_mul(2);
        limits.hostcall_bytes_max = limits.hostcall_bytes_max.max(sendable);
        let mut grants = route.grants.clone();
        grants.raw = route.websocket.raw;
        let (build, code) = read(source, limits, grants)?;
        let built = match next.built.get(&build) {
            Some(built) => built.clone(),
            None => {
                let built = Built {
                    id: ProgramId(next.programs_made),
                    program: Arc::new(make(&self.engine, &build, &code)?),
                };
                next.programs_made += 1;
                next.built.insert(build.clone(), built.clone());
                built
            }
        };
        check_conversation(&route, &built.program)?;
        let (rollout, canary) = (route.rollout, route.canary.clone());
        let prefers_swap = route.prefers_swap;
        let mut route = route.check(built.id)?;
        let identity = identity_of(&route);
        let fresh = RouteId(next.ids.len() as u32);
        route.id = *next.ids.entry(identity).or_insert(fresh);
        if let Some(old) = self.standing(route.id) {
            let new = Wanted {
                route,
                build,
                rollout,
                prefers_swap,
                canary,
                insists,
            };
            return self.follow(next, old, new);
        }
        next.generation = self.state.generation + 1;
        route.generation = next.generation;
        Ok(Standing::new((route, build)))
    }

    fn standing(&self, id: RouteId) -> Option<&Standing> {
        let mut standing = self.state.standing.iter();
        standing.find(|standing| standing.route.id == id)
    }

    /// Makes the snapshot of what would be served.
    fn settle(&self, mut next: State) -> Result<Change> {
        self.end_trials(&mut next);
        let kept = |build: &Build| {
            let mut standing = next.standing.iter();
            standing.any(|one| {
                let is_before = one.before.as_ref() == Some(build);
                one.build == *build || is_before || one.trials.keep(build)
            })
        };
        let built = next.built.iter().filter(|(build, _)| kept(build));
        let built: HashMap<_, _> = built
            .map(|(key, built)| (key.clone(), built.clone()))
            .collect();
        next.built = built;
        let catalog = next.catalog().map_err(|error| anyhow!(error.reason))?;
        let programs = next.built.values();
        let served = Served {
            catalog: Arc::new(catalog),
            programs: Arc::new(programs.map(|one| (one.id, one.program.clone())).collect()),
        };
        let before = |one: &&Standing| self.standing(one.route.id);
        let added = next.standing.iter().filter(|one| before(one).is_none());
        let changed = next.standing.iter().filter(|one| {
            before(one).is_some_and(|old| old.route.generation != one.route.generation)
        });
        let canaries = next.standing.iter().filter(|one| {
            let known = before(one).and_then(|old| old.trials.generation());
            one.trials
                .generation()
                .is_some_and(|new| Some(new) != known)
        });
        let canaries = canaries.count();
        let (added, changed) = (added.count(), changed.count());
        let replaced = Replaced {
            generation: next.generation,
            added,
            changed,
            removed: self.state.standing.len() + added - next.standing.len(),
            canaries,
        };
        Ok(Change {
            next,
            served,
            replaced,
            rollout: None,
        })
    }
}

impl State {
    /// The snapshot of all that stands here. The place that an error names is that in `standing`, and
    /// behind it among the pages.
    fn catalog(&self) -> Result<Catalog, CatalogError> {
        for (route, deployed) in self.standing.iter().enumerate() {
            if let Some(reason) = self.taken_by(&deployed.route) {
                return Err(CatalogError { route, reason });
            }
        }
        let pages = self.pages.iter();
        let pages = pages.map(|(path, page)| catalog::Route::new(path, Target::Page(page.clone())));
        let routes = self.standing.iter();
        let routes = routes.map(|one| one.trials.served(one.route.clone()));
        Catalog::new(routes.chain(pages).collect())
    }

    /// What a deployment would take from the operator's own routes. Those that cover all of its
    /// tenant's place leave that to the tenant.
    fn taken_by(&self, route: &catalog::Route) -> Option<String> {
        let deployed = route.deployment.as_ref()?;
        let place = format!("{}/", deployed.path_prefix);
        let shares_host = |other: &catalog::Route| match route.hosts.as_slice() {
            [] => other.hosts.is_empty(),
            hosts => hosts.iter().any(|host| other.hosts.contains(host)),
        };
        let lies_inside = |other: &catalog::Route| {
            let pattern = &other.pattern;
            let (fixed, rest) = pattern.split_at(pattern.find('{').unwrap_or(pattern.len()));
            let covers_place = fixed == place && rest.starts_with("{*");
            fixed.starts_with(&place) && !covers_place
        };
        let own = self.standing.iter().filter(|one| !one.is_deployed());
        let mut own = own.map(|one| &one.route);
        let taken = own.find(|other| {
            shares_host(other)
                && lies_inside(other)
                && catalog::overlap(&route.pattern, &other.pattern)
        })?;
        let (name, tenant) = (&deployed.name, &route.tenant);
        Some(format!(
            "the deployment {name} of the tenant {tenant} would take, on `{}`, what the operator's \
             route `{}` serves: another path would do",
            route.pattern, taken.pattern
        ))
    }
}

/// What a conversation knows stands in its variables, so it can do without them at no time.
fn check_conversation(route: &Route, program: &Program) -> Result<()> {
    if !program.converses() {
        return Ok(());
    }
    let pattern = &route.pattern;
    if route.idle.is_some() {
        bail!(
            "the route {pattern} has `idle`, and its component is a conversation, which cannot sleep: \
             what it knows stands in its variables; leave `idle` out"
        );
    }
    if route.after_trap != AfterTrap::Close {
        bail!(
            "the route {pattern} has `after_trap = \"restart\"`, and its component is a conversation: \
             what it knows stands in its variables, which a trap takes with it; leave `after_trap` out"
        );
    }
    Ok(())
}

fn identity_of(route: &catalog::Route) -> Identity {
    (Arc::clone(&route.tenant), route.name())
}

/// Whether an instance of one may go on as an instance of the other: what it runs and what it may do
/// are the same. What is asked of sessions holds for those that begin later.
fn is_same_version(old: &catalog::Route, new: &catalog::Route) -> bool {
    let program = |route: &catalog::Route| match route.target {
        Target::Component(program) => Some(program),
        Target::Page(_) => None,
    };
    program(old) == program(new)
        && old.instance == new.instance
        && old.idle == new.idle
        && old.grants == new.grants
        && old.settings == new.settings
}

/// How the old version gives way to the new one.
fn rollout(
    (wanted, prefers_swap): (Option<Rollout>, bool),
    (old, from, new, to): (&catalog::Route, &Program, &catalog::Route, &Program),
) -> Result<Rollout> {
    let hindrance = if from.converses() || to.converses() {
        Some("a conversation cannot be swapped: what it knows stands in its variables")
    } else if old.instance != new.instance {
        Some("its instance model changes, so no instance of the new version has the same sessions")
    } else if old.websocket.raw != new.websocket.raw {
        Some("`raw` changes, and sessions that are open stay what they are")
    } else if from.hands_over() && !to.hands_over() {
        Some("the version before exports `handover` and this one does not: its state would be lost")
    } else {
        None
    };
    match (wanted, hindrance) {
        (Some(Rollout::Swap), Some(hindrance)) => bail!(
            "the route {} cannot be swapped: {hindrance}; right is the rollout `drain` or `restart`",
            new.pattern
        ),
        (Some(wanted), _) => Ok(wanted),
        (None, None) if from.hands_over() || prefers_swap => Ok(Rollout::Swap),
        (None, _) => Ok(Rollout::DRAIN),
    }
}

/// What a program is made of.
enum Code<'a> {
    Wasm(Cow<'a, [u8]>),
    Compiled(&'a Precompiled),
}

/// Reads a component.
fn read(source: &Source, limits: GuestLimits, grants: Grants) -> Result<(Build, Code<'_>)> {
    let (name, digest, code) = match source {
        Source::File(path) => {
            let bytes = std::fs::read(path)
                .with_context(|| format!("read the component {}", path.display()))?;
            let name = path.file_stem().unwrap_or(path.as_os_str());
            let digest = Digest::of(&bytes);
            (name.to_string_lossy(), digest, Code::Wasm(bytes.into()))
        }
        Source::Bytes(name, bytes) => {
            let code = Code::Wasm(bytes.as_slice().into());
            (name.into(), Digest::of(bytes), code)
        }
        Source::Compiled(name, digest, code) => (name.into(), *digest, Code::Compiled(code)),
    };
    let build = Build {
        name: name.into_owned(),
        digest,
        limits,
        grants,
    };
    Ok((build, code))
}

fn make(engine: &Engine, build: &Build, code: &Code<'_>) -> Result<Program> {
    let (name, limits, grants) = (&build.name, &build.limits, &build.grants);
    let failed = || format!("the component {name} cannot be served");
    let bytes = match code {
        Code::Compiled(code) => {
            return Program::load(engine, name, code, limits, grants).with_context(failed);
        }
        Code::Wasm(bytes) => bytes,
    };
    let started = Instant::now();
    let program = Program::compile(engine, name, bytes, limits, grants).with_context(failed)?;
    let took = Duration::from_millis(started.elapsed().as_millis() as u64);
    tracing::info!(
        component = name,
        bytes = bytes.len(),
        ?took,
        "component compiled"
    );
    Ok(program)
}
