//! Watches over the versions on trial, while there are any: asks the workers what these have done,
//! has that judged, and sees to what follows from it; and to what of that is not recorded yet. On a
//! thread of its own, which nobody waits for.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::canary::{Breach, Verdict, judge};
use super::publisher::{Judged, Publisher, Reason};
use super::publishing::Publishing;
use super::worker::Control;
use crate::admin::Outcome;
use crate::metrics::{Stage, VersionKey, Vitals};

/// How often it looks: a version that fails all the time harms people for about so long.
const LOOK: Duration = Duration::from_millis(100);
/// A worker that a guest holds answers later; until then what it said before counts.
const PATIENCE: Duration = Duration::from_millis(500);

/// What one worker has said last.
type Counted = BTreeMap<VersionKey, Vitals>;

/// Starts to watch; whether that could be done.
pub(super) fn start(publishing: Weak<Publishing>) -> bool {
    let thread = std::thread::Builder::new().name("wharf-canary".into());
    let started = thread.spawn(move || {
        let mut known = Vec::new();
        loop {
            std::thread::sleep(LOOK);
            let Some(publishing) = publishing.upgrade() else {
                return;
            };
            look(&publishing, &mut known);
            publishing.record_again();
            if publishing.is_ending() || publishing.is_at_rest() {
                return;
            }
        }
    });
    if let Err(error) = &started {
        tracing::error!("nobody watches over the canaries: a thread could not be started: {error}");
    }
    started.is_ok()
}

fn look(publishing: &Arc<Publishing>, known: &mut Vec<Counted>) {
    let judged = publishing.publisher().judged();
    ask(publishing, known);
    let now = Instant::now();
    for version in judged {
        let key = (version.of.clone(), version.generation, version.stage);
        let mut vitals = Vitals::default();
        let counted = known.iter().filter_map(|counted| counted.get(&key));
        counted.for_each(|more| vitals.add(more));
        let verdict = judge(&version.canary, &vitals, now, version.term);
        act(publishing, &version, verdict, vitals);
    }
}

/// What every worker has counted by now.
fn ask(publishing: &Publishing, known: &mut Vec<Counted>) {
    let (reply, answers) = mpsc::channel();
    let workers = publishing.workers().clone();
    known.resize_with(workers.len(), Counted::new);
    for (place, worker) in workers.iter().enumerate() {
        let reply = reply.clone();
        // One that has ended will not answer.
        let _ = worker.send(Control::CountTrials { place, reply });
    }
    drop((reply, workers));
    let deadline = Instant::now() + PATIENCE;
    while let Ok((place, counted)) =
        answers.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        known[place] = counted;
    }
}

fn act(publishing: &Arc<Publishing>, version: &Judged, verdict: Verdict, vitals: Vitals) {
    let (of, generation) = (&version.of, version.generation);
    let reason = |outcome, cause, text| Reason {
        outcome,
        cause,
        text,
        vitals: Some(vitals),
    };
    let done = match (verdict, version.stage) {
        (Verdict::GoesOn, _) => return,
        (Verdict::Fails(breach), _) => {
            let by = format!("automatic rollback: {breach}");
            let reason = reason(
                Outcome::RolledBack,
                Breach::label(breach),
                breach.to_string(),
            );
            publishing.take_back(of, Some(generation), (reason, &by))
        }
        (Verdict::Passes, Stage::Canary) => {
            let text = format!("it kept its limits for {:?}", version.canary.duration);
            let reason = reason(Outcome::Promoted, "time", text);
            // What could not be recorded a moment ago is not tried ten times a second.
            if publishing.recorder().rests() {
                return;
            }
            let by = "automatic promotion: it kept its limits";
            publishing.promote(of, Some(generation), (reason, by))
        }
        (Verdict::Passes, Stage::Watched) => {
            let text = "it kept its limits after its promotion, too".to_owned();
            let reason = reason(Outcome::Kept, "time", text);
            let keep = |publisher: &Publisher| publisher.keep(of, generation, reason);
            let done = publishing.change(keep, || anyhow::Ok(()));
            done.map(|(replaced, ())| replaced)
        }
    };
    // Somebody else may have ended it meanwhile.
    if let Err(error) = done {
        tracing::debug!(generation, "a version on trial is no more: {error:#}");
    }
}
