//! What the server serves, and how it changes: checks and compiles what is new, decides what counts
//! as a new version, and makes the snapshot that the workers get. Either all of a change works or
//! nothing of it happens.
//!
//! Runs on a thread of its own, never on a worker: compiling takes milliseconds to seconds.

mod trials;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

pub(super) use self::trials::{Judged, Reason};
use self::trials::{Trials, Wanted};
use super::route::{Route, Source};
use crate::admin::CanaryEnd;
use crate::catalog::{self, AfterTrap, Catalog, Grants, Page, ProgramId, Rollout, RouteId, Target};
use crate::digest::Digest;
use crate::dispatch::Served;
use crate::guest::{Engine, GuestLimits, Program};

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

    /// Serves these and nothing else.
    pub(super) fn replace(&self, routes: Vec<Route>, pages: Vec<(String, Page)>) -> Result<Change> {
        let mut next = self.state.clone();
        let routes = routes.into_iter();
        let standing = routes.map(|route| self.stand(&mut next, route, false));
        next.standing = standing.collect::<Result<_>>()?;
        next.pages = pages;
        self.settle(next)
    }

    /// Serves this one beside the others.
    pub(super) fn publish(&self, route: Route) -> Result<Change> {
        let mut next = self.state.clone();
        let standing = self.stand(&mut next, route, true)?;
        let place = next
            .standing
            .iter()
            .position(|other| other.route.id == standing.route.id);
        match place {
            Some(place) => next.standing[place] = standing,
            None => next.standing.push(standing),
        }
        self.settle(next)
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
        let (build, bytes) = read(source, limits, grants)?;
        let built = match next.built.get(&build) {
            Some(built) => built.clone(),
            None => {
                let built = Built {
                    id: ProgramId(next.programs_made),
                    program: Arc::new(compile(&self.engine, &build, &bytes)?),
                };
                next.programs_made += 1;
                next.built.insert(build.clone(), built.clone());
                built
            }
        };
        check_conversation(&route, &built.program)?;
        let (rollout, canary) = (route.rollout, route.canary.clone());
        let mut route = route.check(built.id)?;
        let identity = identity_of(&route);
        let fresh = RouteId(next.ids.len() as u32);
        route.id = *next.ids.entry(identity).or_insert(fresh);
        if let Some(old) = self.standing(route.id) {
            let new = Wanted {
                route,
                build,
                rollout,
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
        let pages = next.pages.iter();
        let pages = pages.map(|(path, page)| catalog::Route::new(path, Target::Page(page.clone())));
        let routes = next.standing.iter();
        let routes = routes.map(|one| one.trials.served(one.route.clone()));
        let catalog = Catalog::new(routes.chain(pages).collect());
        let catalog = catalog.map_err(|error| anyhow!(error.reason))?;
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
        })
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
    wanted: Option<Rollout>,
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
        (None, None) if from.hands_over() => Ok(Rollout::Swap),
        (None, _) => Ok(Rollout::DRAIN),
    }
}

/// Reads a component.
fn read(source: &Source, limits: GuestLimits, grants: Grants) -> Result<(Build, Vec<u8>)> {
    let (name, bytes) = match source {
        Source::File(path) => {
            let bytes = std::fs::read(path)
                .with_context(|| format!("read the component {}", path.display()))?;
            let name = path.file_stem().unwrap_or(path.as_os_str());
            (name.to_string_lossy().into_owned(), bytes)
        }
        Source::Bytes(name, bytes) => (name.clone(), bytes.clone()),
    };
    let build = Build {
        name,
        digest: Digest::of(&bytes),
        limits,
        grants,
    };
    Ok((build, bytes))
}

fn compile(engine: &Engine, build: &Build, bytes: &[u8]) -> Result<Program> {
    let name = &build.name;
    let started = Instant::now();
    let program = Program::compile(engine, name, bytes, &build.limits, &build.grants)
        .with_context(|| format!("the component {name} cannot be served"))?;
    let took = Duration::from_millis(started.elapsed().as_millis() as u64);
    tracing::info!(
        component = name,
        bytes = bytes.len(),
        ?took,
        "component compiled"
    );
    Ok(program)
}
