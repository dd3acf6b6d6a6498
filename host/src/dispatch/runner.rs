//! The task of one instance: takes its work in order and makes the guest calls, one at a time.
//!
//! Owns the Store. A fault drops it, never to be entered again, and ends the sessions that were
//! bound to it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;

use super::{Dispatcher, Hosted};
use crate::capability::{Services, Surroundings};
use crate::fault::Fault;
use crate::guest::{Acceptance, Instance, Program};
use crate::id::IncidentId;
use crate::mailbox::{Connecting, Stop, TimerCall, Work};

/// Serves an instance from its start to its end.
pub(super) async fn run(dispatcher: Dispatcher, hosted: Rc<Hosted>, program: Arc<Program>) {
    let outcome = serve(&dispatcher, &hosted, &program).await;
    dispatcher.forget(&hosted);
    if let Err(fault) = outcome {
        fail(&dispatcher, &hosted, &program, fault);
    }
    hosted.inbox().abandon();
}

async fn serve(
    dispatcher: &Dispatcher,
    hosted: &Hosted,
    program: &Arc<Program>,
) -> Result<(), Fault> {
    let services = dispatcher.services();
    let (inbox, members) = (hosted.inbox(), hosted.members());
    // Boxed, because the task would hold room for it for as long as the instance lives.
    let start = Box::pin(Instance::start(program, surroundings(dispatcher, hosted)));
    let mut instance = match start.await {
        Ok(instance) => instance,
        Err(fault) => {
            refuse_waiting(hosted, &fault);
            return Err(fault);
        }
    };
    loop {
        match inbox.next().await {
            Work::Connect(connecting) if program.has_handshake() => {
                let call = Box::pin(connect(&mut instance, connecting));
                corked(services, pin!(call)).await?;
            }
            // One without an opinion accepts.
            Work::Connect(connecting) => {
                drop(connecting.answer.send(Ok(Ok(Acceptance::default()))))
            }
            Work::Open(outbox) => corked(services, pin!(instance.on_open(outbox.id()))).await?,
            Work::Messages(batch) => {
                let outcome = corked(services, pin!(instance.on_messages(&batch))).await;
                inbox.finish(batch);
                outcome?;
            }
            Work::Close(outbox, ending) => {
                let outcome = corked(services, pin!(instance.on_close(outbox.id(), &ending))).await;
                if outcome.is_ok() {
                    members.remove(outbox.id());
                    dispatcher.count_session(false);
                }
                outcome?;
            }
            Work::Timer(call) => Box::pin(ring(&mut instance, services, call)).await?,
            Work::Vacated if hosted.is_vacant() => return Ok(()),
            Work::Vacated => {}
        }
    }
}

fn surroundings(dispatcher: &Dispatcher, hosted: &Hosted) -> Surroundings {
    Surroundings {
        members: hosted.members().clone(),
        route: hosted.route().clone(),
        services: dispatcher.services().clone(),
        timer_owner: dispatcher.owner_of(hosted),
    }
}

/// Asks the handler about a handshake.
async fn connect(
    instance: &mut Instance,
    connecting: Connecting<super::hosted::Answer>,
) -> Result<(), Fault> {
    match instance.on_connect(&connecting.request).await {
        Ok(answer) => {
            // A client that has left no longer waits for it.
            let _ = connecting.answer.send(Ok(answer));
            Ok(())
        }
        Err(fault) => {
            let _ = connecting.answer.send(Err(fault.clone()));
            Err(fault)
        }
    }
}

/// Tells the handler of a timer, unless it was cancelled while it waited.
async fn ring(instance: &mut Instance, services: &Services, call: TimerCall) -> Result<(), Fault> {
    let outcome = if call.wanted.get() {
        corked(services, pin!(instance.on_timer(&call.name))).await
    } else {
        Ok(())
    };
    // Who asked waits for it as long as the worker lives.
    let _ = call.answer.send(outcome.clone());
    outcome
}

/// The instance could not start: tells those who wait for it why.
fn refuse_waiting(hosted: &Hosted, fault: &Fault) {
    while let Some(work) = hosted.inbox().take() {
        match work {
            Work::Connect(connecting) => drop(connecting.answer.send(Err(fault.clone()))),
            Work::Timer(call) => drop(call.answer.send(Err(fault.clone()))),
            Work::Open(_) | Work::Messages(_) | Work::Close(..) | Work::Vacated => {}
        }
    }
}

/// Runs a guest call; what it sends leaves when it ends or first waits.
/// The call stays where it is pinned: an `async fn` that took it would hold room for it twice.
async fn corked<T>(services: &Services, mut call: Pin<&mut impl Future<Output = T>>) -> T {
    services.lane.cork.begin_call();
    poll_fn(|context| {
        let outcome = call.as_mut().poll(context);
        services.release();
        outcome
    })
    .await
}

/// Ends the sessions of an instance that failed, under one incident.
fn fail(dispatcher: &Dispatcher, hosted: &Hosted, program: &Program, fault: Fault) {
    let incident = IncidentId::random();
    let sessions = hosted.members().all();
    let (component, route) = (program.name(), &hosted.route().pattern);
    let (label, count) = (fault.label(), sessions.len());
    match fault.level() {
        tracing::Level::ERROR => {
            tracing::error!(%incident, component, route, label, sessions = count, "{fault}");
        }
        tracing::Level::WARN => {
            tracing::warn!(%incident, component, route, label, sessions = count, "{fault}");
        }
        _ => tracing::debug!(%incident, component, route, label, sessions = count, "{fault}"),
    }
    for outbox in sessions {
        hosted.members().remove(outbox.id());
        dispatcher.count_session(false);
        outbox.stop(Stop::Now(fault.cause(incident)));
    }
}
