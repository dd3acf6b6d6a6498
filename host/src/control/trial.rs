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

/// Starts an instance within the program's own limits, on a thread of its own: the caller's may be
/// one that runs tasks.
pub(super) fn start(program: &Arc<Program>, tenant: &str) -> Result<(), DeployError> {
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("wharf-trial".into());
        let trial = thread.spawn_scoped(scope, || run(program, tenant))?;
        Ok(trial.join())
    });
    match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(DeployError::Start("the host panicked".to_owned())),
        Err(error) => Err(no_thread(&error)),
    }
}

fn no_thread(error: &std::io::Error) -> DeployError {
    DeployError::Start(format!("no thread for it: {error}"))
}

fn run(program: &Arc<Program>, tenant: &str) -> Result<(), DeployError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| no_thread(&error))?;
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
        instance: 0,
        succeeds: false,
    }
}
