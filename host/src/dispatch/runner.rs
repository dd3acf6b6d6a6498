//! The task of one instance: takes its work in order and makes the guest calls, one at a time.
//!
//! Owns the Store. A fault drops it, never to be entered again, and ends the sessions that were
//! bound to it; sleep drops it and touches no session.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;

use super::hosted::{Version, Wakefulness};
use super::sleep::Idleness;
use super::swap::swap;
use super::{Dispatcher, Hosted, conversing};
use crate::capability::{Services, Surroundings};
use crate::catalog::Route;
use crate::fault::{Fault, HostFault};
use crate::guest::{Acceptance, Instance};
use crate::id::IncidentId;
use crate::mailbox::{Connecting, Outbox, Stop, TimerCall, Work};
use crate::metrics::Counts;

/// Why an instance's task ends.
enum End {
    /// Nobody needs it any more.
    Vacant,
    /// It had nothing to do for too long.
    Idle,
}

/// Serves an instance from its start, or from its waking, to its end or to its sleep.
pub(super) async fn run(dispatcher: Dispatcher, hosted: Rc<Hosted>) {
    let outcome = if hosted.program().converses() {
        let ended = conversing::serve(&dispatcher, &hosted).await;
        ended.map(|()| End::Vacant)
    } else {
        serve(&dispatcher, &hosted).await
    };
    match outcome {
        Ok(End::Idle) => return dispatcher.put_to_sleep(&hosted),
        Ok(End::Vacant) => dispatcher.forget(&hosted),
        Err(fault) => {
            dispatcher.forget(&hosted);
            fail(&dispatcher, &hosted, fault);
        }
    }
    hosted.inbox().abandon();
}

async fn serve(dispatcher: &Dispatcher, hosted: &Hosted) -> Result<End, Fault> {
    let services = dispatcher.services();
    let (inbox, members) = (hosted.inbox(), hosted.members());
    let counts = hosted.counts();
    // Boxed, because the task would hold room for it for as long as the instance lives.
    let mut instance = match Box::pin(begin(dispatcher, hosted)).await? {
        Ok(instance) => instance,
        Err(end) => return Ok(end),
    };
    let mut idleness = Idleness::new(&services.lane.clock, hosted.route().idle);
    loop {
        let Some(work) = idleness.next(inbox).await else {
            return Ok(End::Idle);
        };
        match work {
            Work::Connect(connecting) if hosted.program().has_handshake() => {
                let call = Box::pin(connect(&mut instance, connecting));
                corked(services, counts, pin!(call)).await?;
            }
            // One without an opinion accepts.
            Work::Connect(connecting) => {
                drop(connecting.answer.send(Ok(Ok(Acceptance::default()))))
            }
            Work::Open(outbox) => {
                corked(services, counts, pin!(instance.on_open(outbox.id()))).await?
            }
            Work::Messages(batch) => {
                let outcome = corked(services, counts, pin!(instance.on_messages(&batch))).await;
                inbox.finish(batch);
                outcome?;
            }
            Work::Control(outbox, frame) => {
                // Boxed: rare, and every instance's task would hold room for it.
                let call = Box::pin(instance.on_control(outbox.id(), &frame));
                let outcome = corked(services, counts, pin!(call)).await;
                inbox.finish_control(&outbox, &frame);
                outcome?;
            }
            // Its guest has forgotten a session that was turned away.
            Work::Close(outbox, _) if members.get(outbox.id()).is_none() => {}
            Work::Close(outbox, ending) => {
                let outcome = corked(
                    services,
                    counts,
                    pin!(instance.on_close(outbox.id(), &ending)),
                )
                .await;
                if outcome.is_ok() {
                    members.remove(outbox.id());
                    dispatcher.count_session(hosted, false);
                }
                outcome?;
            }
            Work::Timer(call) => Box::pin(ring(&mut instance, services, counts, call)).await?,
            Work::Outdated => {
                Box::pin(swap(dispatcher, hosted, &mut instance)).await?;
                idleness = Idleness::new(&services.lane.clock, hosted.route().idle);
            }
            Work::Vacated if hosted.may_end() => return Ok(End::Vacant),
            // A call that is under way is finished in any case.
            Work::Draining | Work::Vacated => {}
        }
    }
}

/// Starts the instance: at once if it is new, and for something that needs it if it sleeps.
async fn begin(dispatcher: &Dispatcher, hosted: &Hosted) -> Result<Result<Instance, End>, Fault> {
    let start = async || {
        let version = hosted.version();
        let surroundings = surroundings(dispatcher, hosted, &version.route);
        Instance::start(&version.program, surroundings).await
    };
    let refuse = |fault: &Fault| refuse_waiting(hosted, fault);
    if hosted.wakefulness() == Wakefulness::Awake {
        return start().await.inspect_err(refuse).map(Ok);
    }
    while let Some(work) = hosted.inbox().take() {
        match work {
            // Nobody would be told.
            Work::Timer(call) if !call.wanted.get() => drop(call.answer.send(Ok(()))),
            Work::Close(outbox, _) if hosted.members().get(outbox.id()).is_none() => {}
            Work::Vacated if hosted.may_end() => return Ok(Err(End::Vacant)),
            // It starts with the newest version.
            Work::Draining | Work::Vacated | Work::Outdated => {}
            work => {
                hosted.inbox().put_back(work);
                match dispatcher.wake(hosted, &start).await {
                    Ok(instance) => return Ok(Ok(instance)),
                    Err(fault @ Fault::Host(HostFault::InstancesExhausted)) => {
                        turn_away(dispatcher, hosted, &fault);
                        if hosted.may_end() {
                            return Ok(Err(End::Vacant));
                        }
                    }
                    Err(fault) => {
                        refuse(&fault);
                        return Err(fault);
                    }
                }
            }
        }
    }
    Ok(Err(End::Idle))
}

/// What an instance finds around it that runs that version of its route.
pub(super) fn surroundings(
    dispatcher: &Dispatcher,
    hosted: &Hosted,
    route: &Arc<Route>,
) -> Surroundings {
    Surroundings {
        members: hosted.members().clone(),
        route: Arc::clone(route),
        services: dispatcher.services().clone(),
        timer_owner: dispatcher.owner_of(hosted),
        instance: hosted.serial(),
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
async fn ring(
    instance: &mut Instance,
    services: &Services,
    counts: &Counts,
    call: TimerCall,
) -> Result<(), Fault> {
    let outcome = if call.wanted.get() {
        corked(services, counts, pin!(instance.on_timer(&call.name))).await
    } else {
        Ok(())
    };
    // Who asked waits for it as long as the worker lives.
    let _ = call.answer.send(outcome.clone());
    outcome
}

/// The instance could not start: tells those who wait for it why.
pub(super) fn refuse_waiting(hosted: &Hosted, fault: &Fault) {
    while let Some(work) = hosted.inbox().take() {
        match work {
            Work::Connect(connecting) => drop(connecting.answer.send(Err(fault.clone()))),
            Work::Timer(call) => drop(call.answer.send(Err(fault.clone()))),
            Work::Messages(batch) => hosted.inbox().finish(batch),
            Work::Control(outbox, frame) => hosted.inbox().finish_control(&outbox, &frame),
            Work::Open(_) | Work::Close(..) => {}
            Work::Draining | Work::Vacated | Work::Outdated => {}
        }
    }
}

/// Runs a guest call; what it sends leaves when it ends or first waits.
/// The call stays where it is pinned: an `async fn` that took it would hold room for it twice.
pub(super) async fn corked<T>(
    services: &Services,
    counts: &Counts,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> T {
    services.lane.cork.begin_call();
    poll_fn(|context| {
        let outcome = counts.time(|| call.as_mut().poll(context));
        services.release();
        outcome
    })
    .await
}

/// The instance sleeps and found no slot to wake in: what waits for it is refused, and the sessions
/// that it is about end. The others sleep on.
fn turn_away(dispatcher: &Dispatcher, hosted: &Hosted, fault: &Fault) {
    let (inbox, members) = (hosted.inbox(), hosted.members());
    let incident = IncidentId::random();
    let stop = |outbox: &Outbox| outbox.stop(Stop::Now(fault.cause(incident)));
    let mut unheard = 0;
    let mut forget = |outbox: &Outbox| {
        if members.remove(outbox.id()).is_some() {
            dispatcher.count_session(hosted, false);
            unheard += 1;
        }
    };
    while let Some(work) = inbox.take() {
        match work {
            // The guest has never heard of it, and need not hear of its end.
            Work::Open(outbox) => {
                forget(&outbox);
                stop(&outbox);
            }
            // Its end will try to wake the instance once more.
            Work::Messages(batch) => {
                for (id, ..) in batch.iter() {
                    members.get(id).iter().for_each(stop);
                }
                inbox.finish(batch);
            }
            Work::Control(outbox, frame) => {
                members.get(outbox.id()).iter().for_each(stop);
                inbox.finish_control(&outbox, &frame);
            }
            Work::Close(outbox, _) => forget(&outbox),
            Work::Connect(connecting) => drop(connecting.answer.send(Err(fault.clone()))),
            Work::Timer(call) => drop(call.answer.send(Err(fault.clone()))),
            // Looked at when all is refused.
            Work::Draining | Work::Vacated | Work::Outdated => {}
        }
    }
    let Version { route, program } = hosted.version();
    let (component, route, label) = (program.name(), &route.pattern, fault.label());
    tracing::warn!(%incident, component, route, label, unheard, "a sleeping instance could not wake: {fault}");
}

/// Ends the sessions of an instance that failed, under one incident.
fn fail(dispatcher: &Dispatcher, hosted: &Hosted, fault: Fault) {
    let incident = IncidentId::random();
    let sessions = hosted.members().all();
    let Version { route, program } = hosted.version();
    let (component, route) = (program.name(), &route.pattern);
    let (label, count) = (fault.label(), sessions.len());
    hosted.counts().fail(label);
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
        dispatcher.count_session(hosted, false);
        outbox.stop(Stop::Now(fault.cause(incident)));
    }
}
