//! Versions on trial: how a new version of a route begins as a canary, how all follow it, and how it
//! is taken back. Makes the next state of what is served; never judges, see [`super::super::canary`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow, bail};

use super::{Build, Change, Publisher, Standing, State, is_same_version, rollout};
use crate::admin::{CanaryEnd, CanaryRow, Outcome};
use crate::catalog::{self, Canary, Rollout, Trial};
use crate::dispatch::label;
use crate::metrics::{RouteKey, Stage, Vitals, Watch};
use crate::server::canary::Term;

/// A version that is wanted in the place of another one; its route has no generation yet.
pub(super) struct Wanted {
    pub(super) route: catalog::Route,
    pub(super) build: Build,
    pub(super) rollout: Option<Rollout>,
    /// Whether it swaps where no rollout is named.
    pub(super) prefers_swap: bool,
    pub(super) canary: Option<Canary>,
    /// Whether it may be one that was taken back before.
    pub(super) insists: bool,
}

/// What is on trial of a route: at most one of the two.
#[derive(Clone, Default)]
pub(super) struct Trials {
    /// The next version, while some find it.
    canary: Option<OnTrial>,
    /// The version before, while the one that everybody finds may be taken back.
    watch: Option<OnTrial>,
    /// What was taken back: a mere reload does not try it again.
    given_up: Option<((catalog::Route, Build), String)>,
}

/// A version and its term: the canary that it is, or the one that it would go back to.
#[derive(Clone)]
struct OnTrial {
    version: (catalog::Route, Build),
    canary: Canary,
    began: (Instant, SystemTime),
    lasts: Duration,
}

impl OnTrial {
    fn new(version: (catalog::Route, Build), canary: Canary, lasts: Duration) -> Self {
        Self {
            version,
            canary,
            began: (Instant::now(), SystemTime::now()),
            lasts,
        }
    }
}

/// Why a trial ends.
pub(in crate::server) struct Reason {
    pub(in crate::server) outcome: Outcome,
    pub(in crate::server) cause: &'static str,
    pub(in crate::server) text: String,
    pub(in crate::server) vitals: Option<Vitals>,
}

impl Reason {
    fn of_file(outcome: Outcome, text: &str) -> Self {
        Self {
            outcome,
            cause: "configuration",
            text: text.to_owned(),
            vitals: None,
        }
    }
}

/// A version that is to be judged.
pub(in crate::server) struct Judged {
    pub(in crate::server) of: RouteKey,
    pub(in crate::server) generation: u64,
    pub(in crate::server) stage: Stage,
    pub(in crate::server) canary: Canary,
    pub(in crate::server) term: Term,
}

impl Trials {
    /// What the catalog says of a standing route: with its canary, and what is counted apart.
    pub(super) fn served(&self, mut route: catalog::Route) -> catalog::Route {
        let watch = |generation, stage, canary: &Canary| Watch {
            generation,
            stage,
            slow_above: canary.latency_p99_max,
        };
        if let Some(on_trial) = &self.canary {
            let canary = on_trial.canary.clone();
            let mut next = on_trial.version.0.clone();
            next.watch = Some(watch(next.generation, Stage::Canary, &canary));
            next.share_settings();
            let route_of_trial = next.into();
            route.trial = Some(
                Trial {
                    route: route_of_trial,
                    canary,
                }
                .into(),
            );
        }
        if let Some(watched) = &self.watch {
            route.watch = Some(watch(route.generation, Stage::Watched, &watched.canary));
        }
        route
    }

    /// Whether a build is needed for one of them.
    pub(super) fn keep(&self, build: &Build) -> bool {
        let on_trial = self.canary.iter().chain(&self.watch);
        let on_trial = on_trial.map(|one| &one.version.1);
        // Compiling it for a reload that does not try it again would be in vain.
        let given_up = self.given_up.iter().map(|((_, build), _)| build);
        on_trial.chain(given_up).any(|kept| kept == build)
    }

    /// The routes of all versions that they know.
    pub(super) fn routes_mut(&mut self) -> impl Iterator<Item = &mut catalog::Route> {
        let on_trial = self.canary.iter_mut().chain(&mut self.watch);
        let given_up = self.given_up.iter_mut().map(|((route, _), _)| route);
        on_trial.map(|one| &mut one.version.0).chain(given_up)
    }

    /// The generation of its canary.
    pub(super) fn generation(&self) -> Option<u64> {
        self.canary.as_ref().map(|one| one.version.0.generation)
    }
}

impl Publisher {
    /// The next state of a route that is served already.
    pub(super) fn follow(&self, next: &mut State, old: &Standing, new: Wanted) -> Result<Standing> {
        if is_same_version(&old.route, &new.route) {
            return Ok(self.go_on(next, old, new));
        }
        if let Some(on_trial) = &old.trials.canary
            && is_same_version(&on_trial.version.0, &new.route)
        {
            return Ok(self.try_on(next, old, on_trial, new));
        }
        if let Some(((given_up, _), why)) = &old.trials.given_up
            && is_same_version(given_up, &new.route)
            && !new.insists
        {
            tracing::warn!(
                tenant = &*old.route.tenant,
                route = label(&old.route),
                "this version was taken back and is not tried again until something of it changes: {why}"
            );
            return Ok(old.clone());
        }
        self.replace_version(next, old, new)
    }

    /// The version that everybody finds is wanted: one that is on trial beside it is not.
    fn go_on(&self, next: &mut State, old: &Standing, mut new: Wanted) -> Standing {
        new.route.generation = old.route.generation;
        new.route.rollout = old.route.rollout;
        let mut standing = Standing {
            route: new.route,
            build: new.build,
            before: old.before.clone(),
            trials: Trials::default(),
        };
        if let Some(on_trial) = &old.trials.canary {
            standing.route.rollout_of_canary = self.way_back(&on_trial.version, old);
            let why = "the configuration asks for the version before again";
            let reason = Reason::of_file(Outcome::Aborted, why);
            next.end(
                &old.route,
                on_trial.version.0.generation,
                Stage::Canary,
                reason,
            );
        }
        if let (Some(watched), Some(canary)) = (&old.trials.watch, new.canary) {
            standing.trials.watch = canary.watch.map(|lasts| OnTrial {
                canary,
                lasts,
                ..watched.clone()
            });
        }
        standing
    }

    /// The version on trial is wanted, perhaps by other rules.
    fn try_on(
        &self,
        next: &mut State,
        old: &Standing,
        on_trial: &OnTrial,
        new: Wanted,
    ) -> Standing {
        let Wanted {
            mut route,
            build,
            canary,
            ..
        } = new;
        let known = &on_trial.version.0;
        route.generation = known.generation;
        route.rollout = known.rollout;
        route.rollout_of_canary = known.rollout_of_canary;
        let mut standing = old.clone();
        let mut renewed = OnTrial {
            version: (route, build),
            ..on_trial.clone()
        };
        match canary {
            Some(canary) => {
                renewed.lasts = canary.duration;
                renewed.canary = canary;
                standing.trials.canary = Some(renewed);
                standing
            }
            None => {
                let why = "the configuration asks for it without a canary";
                let reason = Reason::of_file(Outcome::Promoted, why);
                next.end(
                    &old.route,
                    renewed.version.0.generation,
                    Stage::Canary,
                    reason,
                );
                promoted(old, renewed)
            }
        }
    }

    /// Another version is wanted than those that are there.
    fn replace_version(&self, next: &mut State, old: &Standing, new: Wanted) -> Result<Standing> {
        let Wanted {
            mut route,
            build,
            rollout: wanted,
            prefers_swap,
            canary,
            ..
        } = new;
        let wanted = (wanted, prefers_swap);
        // All that changes at once is one generation.
        next.generation = self.state.generation + 1;
        route.generation = next.generation;
        let from = &self.state.built[&old.build].program;
        let to = Arc::clone(&next.built[&build].program);
        route.rollout = rollout(wanted, (&old.route, from, &route, &to))?;
        if let Some(on_trial) = &old.trials.canary {
            let (before, build) = &on_trial.version;
            let from = &self.state.built[build].program;
            let change = (before, &**from, &route, &*to);
            route.rollout_of_canary = rollout(wanted, change).unwrap_or(Rollout::DRAIN);
            let why = "another version takes its place";
            let reason = Reason::of_file(Outcome::Superseded, why);
            next.end(&old.route, before.generation, Stage::Canary, reason);
        }
        let Some(canary) = canary else {
            return Ok(Standing {
                route,
                build,
                before: Some(old.build.clone()),
                trials: Trials::default(),
            });
        };
        check(&canary, &old.route, &route, to.converses())?;
        let (tenant, of, share) = (&*route.tenant, label(&route), canary.share);
        let generation = route.generation;
        tracing::info!(tenant, route = of, generation, %share, "a canary begins");
        let lasts = canary.duration;
        Ok(Standing {
            trials: Trials {
                canary: Some(OnTrial::new((route, build), canary, lasts)),
                ..Trials::default()
            },
            ..old.clone()
        })
    }

    /// Everybody follows the canary of that generation.
    pub(in crate::server) fn promote(
        &self,
        of: &RouteKey,
        generation: Option<u64>,
        reason: Reason,
    ) -> Result<Change> {
        let place = self.place(of)?;
        let old = &self.state.standing[place];
        let canary = old.trials.canary.as_ref();
        let found = canary.filter(|one| {
            generation.is_none_or(|generation| one.version.0.generation == generation)
        });
        let Some(on_trial) = found else {
            bail!(
                "no canary of the route {} of the tenant {} is under way",
                of.1,
                of.0
            );
        };
        let mut next = self.state.clone();
        next.end(
            &old.route,
            on_trial.version.0.generation,
            Stage::Canary,
            reason,
        );
        next.standing[place] = promoted(old, on_trial.clone());
        self.settle(next)
    }

    /// The version on trial of that generation is taken back: a canary, or one that is still watched.
    pub(in crate::server) fn take_back(
        &self,
        of: &RouteKey,
        generation: Option<u64>,
        reason: Reason,
    ) -> Result<Change> {
        let place = self.place(of)?;
        let old = &self.state.standing[place];
        let mut next = self.state.clone();
        let is_meant = |found: u64| generation.is_none_or(|generation| found == generation);
        let mut standing = old.clone();
        let (given_up, stage) = match (&old.trials.canary, &old.trials.watch) {
            (Some(on_trial), _) if is_meant(on_trial.version.0.generation) => {
                standing.route.rollout_of_canary = self.way_back(&on_trial.version, old);
                (on_trial.version.clone(), Stage::Canary)
            }
            (None, Some(watched)) if is_meant(old.route.generation) => {
                let mut route = watched.version.0.clone();
                next.generation = self.state.generation + 1;
                route.generation = next.generation;
                let from = (old.route.clone(), old.build.clone());
                let to = Standing::new(watched.version.clone());
                route.rollout = self.way_back(&from, &to);
                standing = Standing {
                    before: Some(old.build.clone()),
                    ..Standing::new((route, watched.version.1.clone()))
                };
                (from, Stage::Watched)
            }
            _ => bail!(
                "no version of the route {} of the tenant {} is on trial",
                of.1,
                of.0
            ),
        };
        standing.trials = Trials {
            given_up: Some((given_up.clone(), reason.text.clone())),
            ..Trials::default()
        };
        next.end(&old.route, given_up.0.generation, stage, reason);
        next.standing[place] = standing;
        self.settle(next)
    }

    /// A version has behaved after everybody followed it, too.
    pub(in crate::server) fn keep(
        &self,
        of: &RouteKey,
        generation: u64,
        reason: Reason,
    ) -> Result<Change> {
        let place = self.place(of)?;
        let old = &self.state.standing[place];
        if old.trials.watch.is_none() || old.route.generation != generation {
            bail!(
                "no version of the route {} of the tenant {} is watched",
                of.1,
                of.0
            );
        }
        let mut next = self.state.clone();
        next.end(&old.route, generation, Stage::Watched, reason);
        next.standing[place].trials.watch = None;
        self.settle(next)
    }

    /// All that has to be judged.
    pub(in crate::server) fn judged(&self) -> Vec<Judged> {
        let on_trial = self.on_trial();
        let judged = on_trial.map(|(standing, generation, stage, one)| {
            // Nobody need use what everybody finds already.
            let (uses_min, build) = match stage {
                Stage::Canary => (one.canary.calls_min, &one.version.1),
                Stage::Watched => (0, &standing.build),
            };
            Judged {
                of: key_of(&standing.route),
                generation,
                stage,
                canary: one.canary.clone(),
                term: Term {
                    until: one.began.0 + one.lasts,
                    uses_min,
                    converses: self.state.built[build].program.converses(),
                },
            }
        });
        judged.collect()
    }

    /// The same, as operators see it.
    pub(in crate::server) fn canary_rows(&self) -> Vec<CanaryRow> {
        let on_trial = self.on_trial();
        let rows = on_trial.map(|(standing, generation, stage, one)| {
            let (previous, build) = match stage {
                Stage::Canary => (standing.route.generation, &one.version.1),
                Stage::Watched => (one.version.0.generation, &standing.build),
            };
            CanaryRow {
                of: key_of(&standing.route),
                stage,
                generation,
                previous,
                component: build.name.clone(),
                canary: one.canary.clone(),
                since: one.began.1,
                until: one.began.1 + one.lasts,
            }
        });
        rows.collect()
    }

    /// The deployment that a route is, if a version of it is on trial.
    pub(in crate::server) fn deployment_on_trial(&self, of: &RouteKey) -> Option<String> {
        let mut on_trial = self.on_trial();
        let (standing, ..) = on_trial.find(|(standing, ..)| key_of(&standing.route) == *of)?;
        let deployed = standing.route.deployment.as_ref();
        deployed.map(|deployed| deployed.name.to_string())
    }

    /// Whether a deployment has a canary.
    pub(in crate::server) fn has_canary(&self, tenant: &str, deployment: &str) -> bool {
        self.on_trial().any(|(standing, _, stage, _)| {
            let route = &standing.route;
            let deployed = route.deployment.as_ref();
            let is_named = deployed.is_some_and(|deployed| *deployed.name == *deployment);
            let is_it = *route.tenant == *tenant && is_named;
            is_it && stage == Stage::Canary
        })
    }

    /// The deployments that are served, by tenant and name; and whether a version of each is on trial.
    pub(in crate::server) fn deployed(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.state.standing.iter().filter_map(|standing| {
            let deployed = standing.route.deployment.as_ref()?;
            let trials = &standing.trials;
            let is_tried = trials.canary.is_some() || trials.watch.is_some();
            Some((&*standing.route.tenant, &*deployed.name, is_tried))
        })
    }

    /// Whether any version is on trial.
    pub(in crate::server) fn has_trials(&self) -> bool {
        self.on_trial().next().is_some()
    }

    /// What became of versions on trial by the last change.
    pub(in crate::server) fn take_ends(&mut self) -> Vec<CanaryEnd> {
        std::mem::take(&mut self.state.ends)
    }

    /// Notes the end of those whose routes are served no more.
    pub(super) fn end_trials(&self, next: &mut State) {
        for (standing, generation, stage, _) in self.on_trial() {
            let id = standing.route.id;
            if next.standing.iter().all(|one| one.route.id != id) {
                let why = "its route is served no more";
                let reason = Reason::of_file(Outcome::Aborted, why);
                next.end(&standing.route, generation, stage, reason);
            }
        }
    }

    fn on_trial(&self) -> impl Iterator<Item = (&Standing, u64, Stage, &OnTrial)> {
        self.state.standing.iter().flat_map(|standing| {
            let trials = &standing.trials;
            let canary = trials.canary.iter();
            let canary =
                canary.map(move |one| (standing, one.version.0.generation, Stage::Canary, one));
            let watch = trials.watch.iter();
            let watch =
                watch.map(move |one| (standing, standing.route.generation, Stage::Watched, one));
            canary.chain(watch)
        })
    }

    fn place(&self, of: &RouteKey) -> Result<usize> {
        let mut standing = self.state.standing.iter();
        let place = standing.position(|one| key_of(&one.route) == *of);
        place.ok_or_else(|| anyhow!("there is no route {} of the tenant {}", of.1, of.0))
    }

    /// How the sessions of a version come back to the one before it: as they came, unless what they
    /// know would be lost.
    fn way_back(&self, (from, build): &(catalog::Route, Build), to: &Standing) -> Rollout {
        let programs = |build| &*self.state.built[build].program;
        let change = (from, programs(build), &to.route, programs(&to.build));
        rollout((Some(from.rollout), false), change).unwrap_or(Rollout::DRAIN)
    }
}

impl State {
    /// Notes what became of a version on trial, and says it in the log.
    fn end(&mut self, route: &catalog::Route, generation: u64, stage: Stage, reason: Reason) {
        let Reason {
            outcome,
            cause,
            text,
            vitals,
        } = reason;
        let (of, at) = (key_of(route), SystemTime::now());
        let (tenant, name, stage_label, what) = (&*of.0, &*of.1, stage.label(), outcome.label());
        match outcome {
            Outcome::RolledBack => tracing::warn!(
                tenant,
                route = name,
                generation,
                stage = stage_label,
                cause,
                "a version is taken back: {text}"
            ),
            _ => tracing::info!(
                tenant,
                route = name,
                generation,
                stage = stage_label,
                cause,
                "a version on trial is {what}: {text}"
            ),
        }
        self.ends.push(CanaryEnd {
            of,
            generation,
            stage,
            outcome,
            cause,
            reason: text,
            at,
            vitals,
        });
    }
}

/// Everybody finds what was on trial.
fn promoted(old: &Standing, on_trial: OnTrial) -> Standing {
    let OnTrial {
        version: (route, build),
        canary,
        ..
    } = on_trial;
    let before = (old.route.clone(), old.build.clone());
    let watch = canary
        .watch
        .map(|lasts| OnTrial::new(before, canary, lasts));
    Standing {
        before: Some(old.build.clone()),
        trials: Trials {
            watch,
            ..Trials::default()
        },
        ..Standing::new((route, build))
    }
}

/// What a route is counted and found by.
fn key_of(route: &catalog::Route) -> RouteKey {
    (route.tenant.clone(), label(route).into())
}

/// Whether two versions can stand side by side.
fn check(
    canary: &Canary,
    old: &catalog::Route,
    new: &catalog::Route,
    converses: bool,
) -> Result<()> {
    let hindrance = if old.instance != new.instance {
        "its instance model changes, and a session is given its instance before its version"
    } else if (&old.pattern, &old.hosts, &old.subprotocols)
        != (&new.pattern, &new.hosts, &new.subprotocols)
    {
        "it is found elsewhere than the version before"
    } else if converses && canary.latency_p99_max.is_some() {
        "a conversation's call lasts as long as its session, so `latency_p99_max` cannot be judged"
    } else {
        return Ok(());
    };
    bail!(
        "the route {} cannot begin with a canary: {hindrance}",
        new.pattern
    )
}
