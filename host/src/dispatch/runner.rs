//! The task of one instance: takes its work in order and makes the guest calls, one at a time.
//!
//! Owns the Store. A fault drops it, never to be entered again; what becomes of its sessions is
//! decided in [`super::aftermath`]. Sleep drops it and touches no session.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::aftermath::{Call, Failure};
use super::hosted::{Version, Wakefulness};
use super::sleep::Idleness;
use super::swap::swap;
use super::{Dispatcher, Hosted, conversing};
use crate::capability::{Services, Surroundings};
use crate::catalog::Route;
use crate::fault::{Fault, Incident};
use crate::guest::{Acceptance, Instance, is_pausing};
use crate::mailbox::{Connecting, Outbox, Stop, TimerCall, Work};

/// Why an instance's task ends.
enum End {
    /// Nobody needs it any more.
    Vacant,
    /// It had nothing to do for too long.
    Idle,
}

/// Serves an instance from its start, or from its waking, to its end or to its sleep.
pub(super) async fn run(dispatcher: Dispatcher, hosted: Rc<Hosted>) {
    loop {
        let outcome = if hosted.program().converses() {
            let ended = conversing::serve(&dispatcher, &hosted).await;
            ended.map(|()| End::Vacant)
        } else {
            serve(&dispatcher, &hosted).await
        };
        match outcome {
            Ok(End::Idle) => return dispatcher.put_to_sleep(&hosted),
            Ok(End::Vacant) => {
                dispatcher.forget(&hosted);
                break;
            }
            Err(failure) => match dispatcher.settle(&hosted, &failure) {
                None => break,
                Some(after) => Box::pin(tokio::time::sleep(after)).await,
            },
        }
    }
    hosted.inbox().abandon();
}

async fn serve(dispatcher: &Dispatcher, hosted: &Hosted) -> Result<End, Box<Failure>> {
    let services = dispatcher.services();
    let (inbox, members) = (hosted.inbox(), hosted.members());
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
                corked(services, hosted, pin!(call)).await?;
            }
            // One without an opinion accepts.
            Work::Connect(connecting) => {
                drop(connecting.answer.send(Ok(Ok(Acceptance::default()))))
            }
            Work::Open(outbox) => {
                let outcome = corked(services, hosted, pin!(instance.on_open(outbox.id()))).await;
                outcome.map_err(|fault| Failure::new(fault, Call::Open(outbox)))?;
            }
            Work::Messages(batch) => {
                let outcome = corked(services, hosted, pin!(instance.on_messages(&batch))).await;
                let outcome = outcome.map_err(|fault| {
                    let messages = dispatcher.copy_batch(hosted, &batch);
                    Failure::new(fault, Call::Messages(messages))
                });
                inbox.finish(batch);
                outcome?;
            }
            Work::Control(outbox, frame) => {
                // Boxed: rare, and every instance's task would hold room for it.
                let call = Box::pin(instance.on_control(outbox.id(), &frame));
                let outcome = corked(services, hosted, pin!(call)).await;
                inbox.finish_control(&outbox, &frame);
                outcome.map_err(|fault| {
                    let frame = dispatcher.copy_frame(&outbox, &frame);
                    Failure::new(fault, Call::Control(frame))
                })?;
            }
            // Its guest has forgotten a session that was turned away.
            Work::Close(outbox, _) if members.get(outbox.id()).is_none() => {}
            Work::Close(outbox, ending) => {
                let call = instance.on_close(outbox.id(), &ending);
                let outcome = corked(services, hosted, pin!(call)).await;
                // It was told, whatever came of it.
                dispatcher.release(hosted, &outbox);
                outcome.map_err(|fault| Failure::new(fault, Call::Close(outbox)))?;
            }
            Work::Timer(call) => Box::pin(ring(&mut instance, services, hosted, call)).await?,
            Work::Outdated => {
                let swapped = Box::pin(swap(dispatcher, hosted, &mut instance)).await;
                swapped.map_err(|fault| Failure::new(fault, Call::ExportState))?;
                idleness = Idleness::new(&services.lane.clock, hosted.route().idle);
            }
            Work::Vacated if hosted.may_end() => return Ok(End::Vacant),
            // A call that is under way is finished in any case.
            Work::Draining | Work::Vacated => {}
        }
    }
}

/// Starts the instance: at once if it is new, and for something that needs it if it sleeps.
async fn begin(
    dispatcher: &Dispatcher,
    hosted: &Hosted,
) -> Result<Result<Instance, End>, Box<Failure>> {
    let start = async || {
        let version = hosted.version();
        let surroundings = surroundings(dispatcher, hosted, &version.route);
        Instance::start(&version.program, surroundings).await
    };
    let failed = |fault| Failure::new(fault, Call::Start);
    if hosted.wakefulness() == Wakefulness::Awake {
        return start().await.map(Ok).map_err(failed);
    }
    while let Some(work) = hosted.inbox().take() {
        match work {
            // Nobody would be told.
            Work::Timer(call) if !call.wanted.get() => drop(call.answer.send(Ok(()))),
            Work::Close(outbox, _) if hosted.members().get(outbox.id()).is_none() => {}
            Work::Vacated if hosted.may_end() => return Ok(Err(End::Vacant)),
            // It fell asleep, or its guest failed, before it came to that.
            Work::Outdated => dispatcher.update(hosted),
            Work::Draining | Work::Vacated => {}
            work => {
                hosted.inbox().put_back(work);
                match dispatcher.wake(hosted, &start).await {
                    Ok(instance) => return Ok(Ok(instance)),
                    Err(fault) if fault.is_for_want_of_room() => {
                        turn_away(dispatcher, hosted, fault);
                        if hosted.may_end() {
                            return Ok(Err(End::Vacant));
                        }
                    }
                    Err(fault) => return Err(failed(fault)),
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
        succeeds: false,
    }
}

/// Asks the handler about a handshake.
async fn connect(
    instance: &mut Instance,
    connecting: Connecting<super::hosted::Answer>,
) -> Result<(), Box<Failure>> {
    let outcome = instance
        .on_connect(&connecting.request, connecting.trace)
        .await;
    let (answer, failed) = match outcome {
        Ok(answer) => (Ok(answer), Ok(())),
        Err(fault) => {
            let incident = Incident::from(fault);
            let failure = Failure::new(incident.clone(), Call::Connect);
            (Err(incident), Err(failure))
        }
    };
    // A client that has left no longer waits for it.
    let _ = connecting.answer.send(answer);
    failed
}

/// Tells the handler of a timer, unless it was cancelled while it waited.
async fn ring(
    instance: &mut Instance,
    services: &Services,
    hosted: &Hosted,
    call: TimerCall,
) -> Result<(), Box<Failure>> {
    let outcome = if call.wanted.get() {
        corked(services, hosted, pin!(instance.on_timer(&call.name))).await
    } else {
        Ok(())
    };
    // Who asked waits for it as long as the worker lives.
    let _ = call.answer.send(outcome.clone());
    outcome.map_err(|fault| Failure::new(fault, Call::Timer(call.name)))
}

/// The instance could not start: tells those who wait for it why.
pub(super) fn refuse_waiting(hosted: &Hosted, incident: &Incident) {
    let fault = &incident.fault;
    while let Some(work) = hosted.inbox().take() {
        match work {
            Work::Connect(connecting) => drop(connecting.answer.send(Err(incident.clone()))),
            Work::Timer(call) => drop(call.answer.send(Err(fault.clone()))),
            Work::Messages(batch) => hosted.inbox().finish(batch),
            Work::Control(outbox, frame) => hosted.inbox().finish_control(&outbox, &frame),
            Work::Open(_) | Work::Close(..) => {}
            Work::Draining | Work::Vacated | Work::Outdated => {}
        }
    }
}

/// Runs a guest call; what it sends leaves when it ends or waits, and now and then while it runs long.
/// Where a version is on trial, it is timed.
/// The call stays where it is pinned: an `async fn` that took it would hold room for it twice.
pub(super) async fn corked<T>(
    services: &Services,
    hosted: &Hosted,
    call: Pin<&mut impl Future<Output = T>>,
) -> T {
    if hosted.trials().is_any() {
        // Boxed: rare, and every instance's task would hold room for it.
        return Box::pin(timed(services, hosted, call)).await;
    }
    run_corked(services, hosted, call).await
}

async fn run_corked<T>(
    services: &Services,
    hosted: &Hosted,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> T {
    services.lane.cork.begin_call();
    poll_fn(|context| {
        let outcome = hosted.counts().time(|| call.as_mut().poll(context));
        match outcome.is_pending() && is_pausing() {
            true => services.pause(),
            false => services.release(),
        }
        outcome
    })
    .await
}

async fn timed<T>(
    services: &Services,
    hosted: &Hosted,
    call: Pin<&mut impl Future<Output = T>>,
) -> T {
    let (generation, began) = (hosted.generation(), Instant::now());
    let outcome = run_corked(services, hosted, call).await;
    hosted.trials().call(generation, began.elapsed());
    outcome
}

/// The instance sleeps and found no slot to wake in: what waits for it is refused, and the sessions
/// that it is about end. The others sleep on.
fn turn_away(dispatcher: &Dispatcher, hosted: &Hosted, fault: Fault) {
    let (inbox, members) = (hosted.inbox(), hosted.members());
    let incident = Incident::from(fault);
    let fault = &incident.fault;
    let stop = |outbox: &Outbox| outbox.stop(Stop::Now(incident.cause()));
    let mut unheard = 0;
    let mut forget = |outbox: &Outbox| {
        if members.get(outbox.id()).is_some() {
            dispatcher.release(hosted, outbox);
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
            Work::Connect(connecting) => drop(connecting.answer.send(Err(incident.clone()))),
            Work::Timer(call) => drop(call.answer.send(Err(fault.clone()))),
            // Looked at when all is refused.
            Work::Draining | Work::Vacated | Work::Outdated => {}
        }
    }
    let Version { route, program } = hosted.version();
    let (component, route, label) = (program.name(), &route.pattern, fault.label());
    let incident = incident.id;
    tracing::warn!(%incident, component, route, label, unheard, "a sleeping instance could not wake: {fault}");
}
