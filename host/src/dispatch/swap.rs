//! The replacement of one awake instance by the next version of its program, between two calls. Its
//! sessions, their queues and all that the host keeps of them stay where they are.
//!
//! Either the new version has all of it, or the old one goes on.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::hosted::Version;
use super::runner::{corked, surroundings};
use super::{Dispatcher, Hosted};
use crate::fault::Fault;
use crate::guest::Instance;
use crate::traces::OpenSpan;

/// Puts the newest version in the place of `instance`, if it is another one. An error is the old one's:
/// it failed while it was asked for its state.
pub(super) async fn swap(
    dispatcher: &Dispatcher,
    hosted: &Hosted,
    instance: &mut Instance,
) -> Result<(), Fault> {
    let Version { route, program } = hosted.version();
    let newest = dispatcher.newest(route.id, hosted.side());
    // A canary that is taken back goes to a version before its own.
    let Some(new) = newest.filter(|new| new.route.generation != route.generation) else {
        return Ok(());
    };
    let began = Instant::now();
    let services = dispatcher.services();
    let span = services.sampled_span("swap");
    let state = match program.hands_over() {
        true => Some(corked(services, hosted, pin!(instance.export_state())).await?),
        false => None,
    };
    let bytes = state.as_ref().map_or(0, Vec::len);
    let (serial, sessions) = (hosted.serial(), hosted.members().count());
    let (from, to) = (route.generation, new.route.generation);
    let outcome = succeed(dispatcher, hosted, &new, state).await;
    let pause = began.elapsed();
    hosted.counts().change(|figures| {
        match outcome {
            Ok(_) => figures.swaps_done += 1,
            Err(_) => figures.swaps_failed += 1,
        }
        figures.swap_pauses.note(pause);
    });
    if let Some(span) = span {
        describe(span, hosted, (from, to), outcome.as_ref().err());
    }
    match outcome {
        Ok(successor) => {
            *instance = successor;
            hosted.set_version(new);
            dispatcher.0.counters.swaps.fetch_add(1, Ordering::Relaxed);
            let microseconds = pause.as_micros();
            tracing::debug!(
                serial,
                from,
                to,
                sessions,
                bytes,
                microseconds,
                "instance replaced"
            );
        }
        Err(Refusal { reason, by_guest }) => {
            let failed = &dispatcher.0.counters.swaps_failed;
            failed.fetch_add(1, Ordering::Relaxed);
            if by_guest {
                hosted.trials().refuse(to);
            }
            let (component, route) = (program.name(), &route.pattern);
            tracing::warn!(
                component,
                route,
                serial,
                from,
                to,
                sessions,
                bytes,
                "the next version does not take over, the old one goes on: {reason}"
            );
        }
    }
    Ok(())
}

/// Why a new version does not take over, and whether its own code is to blame.
struct Refusal {
    reason: String,
    by_guest: bool,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self {
            reason: fault.to_string(),
            by_guest: matches!(fault, Fault::Guest(_)),
        }
    }
}

/// Says in its span what a swap came to.
fn describe(mut span: OpenSpan, hosted: &Hosted, (from, to): (u64, u64), error: Option<&Refusal>) {
    let route = hosted.route();
    span.set("wharf.tenant", &*route.tenant);
    span.set("http.route", &*route.pattern);
    span.set("wharf.generation.from", from);
    span.set("wharf.generation.to", to);
    span.set("wharf.sessions", hosted.members().count());
    if let Some(refusal) = error {
        span.fail(&*refusal.reason);
    }
}

/// Starts the new version with the state of the old one.
async fn succeed(
    dispatcher: &Dispatcher,
    hosted: &Hosted,
    new: &Version,
    state: Option<Vec<u8>>,
) -> Result<Instance, Refusal> {
    let mut surroundings = surroundings(dispatcher, hosted, &new.route);
    surroundings.succeeds = true;
    let mut successor = Instance::start(&new.program, surroundings).await?;
    if let Some(state) = state
        && new.program.hands_over()
    {
        let services = dispatcher.services();
        let import = pin!(successor.import_state(&state));
        let imported = corked(services, hosted, import).await?;
        imported.map_err(|reason| Refusal {
            reason,
            by_guest: true,
        })?;
    }
    Ok(successor)
}
