//! The dry run: one instance of a component is started and dropped, before anybody is sent to it.
//!
//! It has no session, no storage and no grant while it starts, so it can leave nothing behind.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::error::DeployError;
use crate::capability::{Services, Surroundings};
use crate::catalog::{ProgramId, Route, Target};
use crate::guest::{Instance, Program, Stage};
use crate::mailbox::{Lane, Members};
use crate::timers::Owner;

/// Starts an instance within the program's own limits. The thread must run no task.
pub(super) fn start(program: &Arc<Program>, tenant: &str) -> Result<(), DeployError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DeployError::Start(format!("no runtime for it: {error}")))?;
    let started = runtime.block_on(async {
        let surroundings = surroundings(tenant);
        match program.converses() {
            true => Stage::start(program, surroundings).await.map(drop),
            false => Instance::start(program, surroundings).await.map(drop),
        }
    });
    started.map_err(|fault| DeployError::Start(fault.to_string()))
}

fn surroundings(tenant: &str) -> Surroundings {
    let mut route = Route::new("/", Target::Component(ProgramId(0)));
    // What it prints goes to its own log.
    route.tenant = tenant.into();
    let lane = Rc::new(Lane::new(Instant::now(), 0, 0, 1));
    Surroundings {
        members: Members::default(),
        route: Arc::new(route),
        services: Rc::new(Services::alone(lane)),
        timer_owner: Owner::Session(0),
    }
}
