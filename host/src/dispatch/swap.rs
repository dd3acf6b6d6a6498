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

/// Puts the newest version in the place of `instance`, if it is newer. An error is the old one's:
/// it failed while it was asked for its state.
pub(super) async fn swap(
    dispatcher: &Dispatcher,
    hosted: &Hosted,
    instance: &mut Instance,
) -> Result<(), Fault> {
    let Version { route, program } = hosted.version();
    let newest = dispatcher.newest(&route);
    let Some(new) = newest.filter(|new| new.route.generation > route.generation) else {
        return Ok(());
    };
    let began = Instant::now();
    let services = dispatcher.services();
    let state = match program.hands_over() {
        true => Some(corked(services, hosted.counts(), pin!(instance.export_state())).await?),
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
        Err(reason) => {
            let failed = &dispatcher.0.counters.swaps_failed;
            failed.fetch_add(1, Ordering::Relaxed);
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

/// Starts the new version with the state of the old one.
async fn succeed(
    dispatcher: &Dispatcher,
    hosted: &Hosted,
    new: &Version,
    state: Option<Vec<u8>>,
) -> Result<Instance, String> {
    let surroundings = surroundings(dispatcher, hosted, &new.route);
    let started = Instance::start(&new.program, surroundings).await;
    let mut successor = started.map_err(|fault| fault.to_string())?;
    if let Some(state) = state
        && new.program.hands_over()
    {
        let services = dispatcher.services();
        let imported = corked(
            services,
            hosted.counts(),
            pin!(successor.import_state(&state)),
        )
        .await;
        imported.map_err(|fault| fault.to_string())??;
    }
    Ok(successor)
}
