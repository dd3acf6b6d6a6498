//! The dry run: one instance of a component is started, asked whether it is well, and dropped, before
//! anybody is sent to it.
//!
//! It has no session, no storage and no grant meanwhile, so it can leave nothing behind; what its
//! manifest's `[route.config]` says it can read.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::error::DeployError;
use crate::capability::{Services, Surroundings};
use crate::catalog::{ProgramId, Route, Settings, Target};
use crate::fault::Fault;
use crate::guest::{Instance, Program, Stage};
use crate::mailbox::{Lane, Members};
use crate::timers::Owner;

/// Characters of what a component says of its health.
const WORD_CHARS_MAX: usize = 1_000;

/// Starts an instance within the program's own limits, on a thread of its own: the caller's may be
/// one that runs tasks.
pub(super) fn start(
    program: &Arc<Program>,
    tenant: &str,
    settings: Option<&Settings>,
) -> Result<(), DeployError> {
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("wharf-trial".into());
        let trial = thread.spawn_scoped(scope, || run(program, tenant, settings))?;
        Ok(trial.join())
    });
    match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(DeployError::NotTried("it panicked".to_owned())),
        Err(error) => Err(no_thread(&error)),
    }
}

fn no_thread(error: &std::io::Error) -> DeployError {
    DeployError::NotTried(format!("no thread for it: {error}"))
}

fn run(
    program: &Arc<Program>,
    tenant: &str,
    settings: Option<&Settings>,
) -> Result<(), DeployError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| no_thread(&error))?;
    runtime.block_on(async {
        let surroundings = surroundings(tenant, settings);
        let failed = |fault: Fault| match fault {
            Fault::Guest(_) => DeployError::Start(fault.to_string()),
            Fault::Host(_) => DeployError::NotTried(fault.to_string()),
        };
        if program.converses() {
            let started = Stage::start(program, surroundings).await;
            return started.map(drop).map_err(failed);
        }
        let mut instance = Instance::start(program, surroundings)
            .await
            .map_err(failed)?;
        match instance.check_health().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(word)) => Err(DeployError::Health(
                word.chars().take(WORD_CHARS_MAX).collect(),
            )),
            Err(fault @ Fault::Guest(_)) => Err(DeployError::Health(fault.to_string())),
            Err(fault @ Fault::Host(_)) => Err(failed(fault)),
        }
    })
}

fn surroundings(tenant: &str, settings: Option<&Settings>) -> Surroundings {
    let mut route = Route::new("/", Target::Component(ProgramId(0)));
    // What it prints goes to its own log.
    route.tenant = tenant.into();
    route.settings = settings.cloned().unwrap_or_default().into();
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
