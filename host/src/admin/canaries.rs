//! Which versions are on trial, and what became of those that were: written by the server, shown to
//! operators. And what an operator orders about them, which the server carries out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::catalog::Canary;
use crate::metrics::{RouteKey, Stage, VersionKey, Vitals};

/// Ends of canaries that are kept; of more the oldest are forgotten.
const ENDS_MAX: usize = 100;
/// Kinds of ends that are counted apart.
const TALLIES_MAX: usize = 4_000;

/// A version on trial.
#[derive(Clone, Debug)]
pub(crate) struct CanaryRow {
    pub(crate) of: RouteKey,
    pub(crate) stage: Stage,
    pub(crate) generation: u64,
    /// The one that it goes back to.
    pub(crate) previous: u64,
    pub(crate) component: String,
    pub(crate) canary: Canary,
    pub(crate) since: SystemTime,
    pub(crate) until: SystemTime,
}

impl CanaryRow {
    /// What it is counted by.
    pub(crate) fn key(&self) -> VersionKey {
        (self.of.clone(), self.generation, self.stage)
    }
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Everybody follows.
    Promoted,
    /// Everybody has, and none of its limits was broken afterwards.
    Kept,
    /// It broke a limit, and its sessions went back.
    RolledBack,
    /// Somebody ended it, and its sessions went back.
    Aborted,
    /// Another version took its place.
    Superseded,
}

impl Outcome {
    /// For metrics and the API.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Kept => "kept",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
        }
    }
}

/// A version that is on trial no more, or no more in that stage.
#[derive(Clone, Debug)]
pub(crate) struct CanaryEnd {
    pub(crate) of: RouteKey,
    pub(crate) generation: u64,
    pub(crate) stage: Stage,
    pub(crate) outcome: Outcome,
    /// A word of few: the limit that was broken, or who wanted it.
    pub(crate) cause: &'static str,
    /// For people.
    pub(crate) reason: String,
    pub(crate) at: SystemTime,
    /// What it had done by then, if it was judged by that.
    pub(crate) vitals: Option<Vitals>,
}

/// What the server says of all of them.
#[derive(Debug, Default)]
pub(crate) struct Canaries(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    rows: Vec<CanaryRow>,
    ends: VecDeque<CanaryEnd>,
    tallies: BTreeMap<Tally, u64>,
}

/// How often something became of a route's canaries, and why.
pub(crate) type Tally = (RouteKey, Outcome, &'static str);

impl Canaries {
    /// These are on trial now.
    pub(crate) fn show(&self, rows: Vec<CanaryRow>) {
        self.said().rows = rows;
    }

    /// That became of one.
    pub(crate) fn note(&self, end: CanaryEnd) {
        let mut said = self.said();
        let tally = (end.of.clone(), end.outcome, end.cause);
        if said.tallies.len() < TALLIES_MAX || said.tallies.contains_key(&tally) {
            *said.tallies.entry(tally).or_default() += 1;
        }
        if said.ends.len() == ENDS_MAX {
            said.ends.pop_front();
        }
        said.ends.push_back(end);
    }

    /// Those on trial.
    pub(crate) fn rows(&self) -> Vec<CanaryRow> {
        self.said().rows.clone()
    }

    /// What became of a tenant's, the latest first.
    pub(crate) fn ends(&self, tenant: &str) -> Vec<CanaryEnd> {
        let said = self.said();
        let own = said.ends.iter().filter(|end| *end.of.0 == *tenant);
        own.rev().cloned().collect()
    }

    /// How often what became of them.
    pub(crate) fn tallies(&self) -> BTreeMap<Tally, u64> {
        self.said().tallies.clone()
    }

    /// Contended by operators, and by the server when a canary begins or ends.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operator wants of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CanaryOrder {
    /// Everybody follows at once.
    Promote,
    /// Its sessions go back; one that everybody follows and that is still watched is taken back.
    Abort,
}

/// Who carries orders out.
pub(crate) trait CanaryDesk: Send + Sync {
    /// What can be said of them.
    fn canaries(&self) -> &Canaries;

    /// Does it, and answers when every worker has done it; an error says why nothing was done.
    fn order(
        &self,
        of: RouteKey,
        order: CanaryOrder,
        by: String,
    ) -> oneshot::Receiver<Result<(), String>>;
}

/// How long it is until then.
pub(crate) fn seconds_until(moment: SystemTime) -> u64 {
    let left = moment.duration_since(SystemTime::now());
    left.unwrap_or(Duration::ZERO).as_secs()
}
