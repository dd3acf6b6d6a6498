//! A started program: the owner of one Store, which is the blast radius of whatever its guest
//! does. Never leaves the thread that started it.
//!
//! One call at a time. After a fault, or when a call's future is dropped before its end, the
//! instance must be dropped: its Store is never entered again, and trying to is a broken promise.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};
use wharf_protocol::Message;

use super::call::{CpuMeter, Deadlines};
use super::examine::{
    Checked, Connected, Exports, ImportState, Imported, Main, OnClose, OnConnect, OnControl,
    OnMessages, OnOpen, OnPacked, OnTimer,
};
use super::program::Program;
use super::started::Started;
use super::state::State;
use super::ticker::ShardIndex;
use super::trap::classify;
use crate::budget::Share;
use crate::capability::Surroundings;
use crate::capability::bindings::{
    Acceptance, Delivery, IncomingMessage, Rejection, UpgradeRequest,
};
use crate::fault::{Fault, HostFault};
use crate::mailbox::{Batch, ControlCall};
use crate::request::Request;
use crate::trace_context::TraceContext;
use crate::traces::{CallAbout, Tracer};

/// The sessions of a call that is about none.
type NoSessions = std::iter::Empty<u64>;

/// A live guest.
pub(crate) struct Instance {
    program: Arc<Program>,
    functions: Functions,
    store: Store<State>,
    meter: Arc<CpuMeter>,
    share: Rc<Share>,
    shard: ShardIndex,
    /// False from the beginning of a call to its good end.
    usable: bool,
    /// Whether its calls may be recorded.
    is_traced: bool,
    /// The memory of the last batch's list.
    deliveries: Vec<Delivery<'static>>,
}

/// What the host calls, looked up once.
#[derive(Clone, Copy)]
struct Functions {
    on_open: TypedFunc<OnOpen, ()>,
    on_messages: TypedFunc<OnMessages, ()>,
    on_close: TypedFunc<OnClose, ()>,
    on_packed: Option<TypedFunc<OnPacked, ()>>,
    on_connect: Option<TypedFunc<OnConnect, Connected>>,
    on_timer: Option<TypedFunc<OnTimer, ()>>,
    on_control: Option<TypedFunc<OnControl, ()>>,
    handover: Option<Handover>,
    health: Option<TypedFunc<(), Checked>>,
}

/// From one version to the next.
#[derive(Clone, Copy)]
struct Handover {
    export_state: TypedFunc<(), (Vec<u8>,)>,
    import_state: TypedFunc<ImportState, Imported>,
}

impl Instance {
    /// Starts a program on the current thread.
    pub(crate) async fn start(
        program: &Arc<Program>,
        surroundings: Surroundings,
    ) -> Result<Self, Fault> {
        let Started {
            instance,
            mut store,
            meter,
            share,
            shard,
        } = Started::start(program, surroundings).await?;
        let is_traced = store.data().tracing().is_some();
        let functions = Functions::find(&program.exports, &instance, &mut store)
            .map_err(|error| HostFault::Engine(format!("{error:#}")))?;
        Ok(Self {
            program: Arc::clone(program),
            functions,
            store,
            meter,
            share,
            shard,
            usable: true,
            is_traced,
            deliveries: Vec::new(),
        })
    }

    /// Asks the guest about a handshake; only for programs that have one.
    pub(crate) async fn on_connect(
        &mut self,
        request: &Request,
        trace: Option<TraceContext>,
    ) -> Result<Result<Acceptance, Rejection>, Fault> {
        let function = self.functions.on_connect;
        let function = function.expect("asked only of programs that export the handshake");
        self.is_about(None);
        self.record("on-connect", CallAbout::<NoSessions>::Handshake(trace));
        let (answer,) = self
            .call(function, (UpgradeRequest::from(request),))
            .await?;
        Ok(answer)
    }

    /// Tells the guest of a new session.
    pub(crate) async fn on_open(&mut self, session: u64) -> Result<(), Fault> {
        self.is_about(Some(session));
        self.record_about("on-open", session);
        self.call(self.functions.on_open, (session,)).await
    }

    /// Gives the guest a batch of messages in one call.
    pub(crate) async fn on_messages(&mut self, batch: &Batch) -> Result<(), Fault> {
        if cfg!(feature = "native-echo") {
            batch.echo();
            return Ok(());
        }
        if let Some(function) = self.functions.on_packed
            && let Some((index, payloads)) = batch.packed()
        {
            if self.store.data().log.is_some() {
                self.is_about(batch.only_session());
            }
            if self.is_traced {
                let sessions = batch.iter().map(|(session, _)| session);
                self.record("on-messages", CallAbout::Sessions(sessions));
            }
            return self.call(function, (index, payloads)).await;
        }
        self.deliver(batch.iter()).await
    }

    /// Gives the guest messages, in order.
    pub(super) async fn deliver<'a>(
        &mut self,
        messages: impl Iterator<Item = (u64, Message<'a>)>,
    ) -> Result<(), Fault> {
        let mut deliveries = recycled(std::mem::take(&mut self.deliveries));
        for (session, message) in messages {
            let message = match message {
                Message::Text(text) => IncomingMessage::Text(text),
                Message::Binary(bytes) => IncomingMessage::Binary(bytes),
            };
            deliveries.push(Delivery { session, message });
        }
        if self.store.data().log.is_some() {
            self.is_about(only_session(&deliveries));
        }
        if self.is_traced {
            let sessions = deliveries.iter().map(|delivery| delivery.session);
            self.record("on-messages", CallAbout::Sessions(sessions));
        }
        let result = self
            .call(self.functions.on_messages, (deliveries.as_slice(),))
            .await;
        self.deliveries = recycled(deliveries);
        result
    }

    /// Tells the guest how a session ended: its last call about it.
    pub(crate) async fn on_close(
        &mut self,
        session: u64,
        ending: &wharf_protocol::Ending,
    ) -> Result<(), Fault> {
        self.is_about(Some(session));
        self.record_about("on-close", session);
        self.call(self.functions.on_close, (session, ending.into()))
            .await
    }

    /// Tells the guest of a timer that is due; only for programs that take timers.
    pub(crate) async fn on_timer(&mut self, name: &str) -> Result<(), Fault> {
        let function = self.functions.on_timer;
        let function = function.expect("timers are called only of programs that export it");
        self.is_about(None);
        self.record("on-timer", CallAbout::<NoSessions>::Itself);
        self.call(function, (name,)).await
    }

    /// Gives the guest a control frame; only for programs that take them.
    pub(crate) async fn on_control(
        &mut self,
        session: u64,
        frame: &ControlCall,
    ) -> Result<(), Fault> {
        let function = self.functions.on_control;
        let function = function.expect("a raw route's program exports it");
        self.is_about(Some(session));
        self.record_about("on-control", session);
        self.call(function, (session, frame.into())).await
    }

    /// Asks the guest for what its next version should know; only for programs that hand over.
    pub(crate) async fn export_state(&mut self) -> Result<Vec<u8>, Fault> {
        let handover = self
            .functions
            .handover
            .expect("asked only if it hands over");
        self.is_about(None);
        let (state,) = self.call(handover.export_state, ()).await?;
        Ok(state)
    }

    /// Gives the guest what the version before it knew; only for programs that hand over. The inner
    /// error is the guest's own word.
    pub(crate) async fn import_state(&mut self, state: &[u8]) -> Result<Result<(), String>, Fault> {
        let handover = self
            .functions
            .handover
            .expect("asked only if it hands over");
        self.is_about(None);
        let (taken,) = self.call(handover.import_state, (state,)).await?;
        Ok(taken)
    }

    /// Asks the guest whether it is fit to be served; one that does not say is. The inner error is the
    /// guest's own word.
    pub(crate) async fn check_health(&mut self) -> Result<Result<(), String>, Fault> {
        let Some(check) = self.functions.health else {
            return Ok(Ok(()));
        };
        self.is_about(None);
        let (word,) = self.call(check, ()).await?;
        Ok(word)
    }

    /// What the guest says from now on has this session's number.
    fn is_about(&self, session: Option<u64>) {
        if let Some(log) = &self.store.data().log {
            log.is_about(session);
        }
    }

    /// Begins the span of a call, if what it is about is recorded.
    fn record(&self, name: &'static str, about: CallAbout<impl ExactSizeIterator<Item = u64>>) {
        if let Some((tracer, instance)) = self.tracing() {
            tracer.begin_call(instance, name, about);
        }
    }

    fn record_about(&self, name: &'static str, session: u64) {
        self.record(name, CallAbout::Sessions(std::iter::once(session)));
    }

    fn tracing(&self) -> Option<(&Tracer, u64)> {
        self.is_traced
            .then(|| self.store.data().tracing())
            .flatten()
    }

    async fn call<Params, Return>(
        &mut self,
        function: TypedFunc<Params, Return>,
        params: Params,
    ) -> Result<Return, Fault>
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift + 'static,
    {
        assert!(
            self.usable,
            "an instance is dropped after a fault or a dropped call"
        );
        self.usable = false;
        self.store.data_mut().limiter.forget();
        self.store.set_epoch_deadline(1);
        let deadlines = Deadlines {
            ticker: self.program.engine.ticker(),
            shard: self.shard,
            meter: &self.meter,
            share: &self.share,
            wall: self.program.limits.wall_per_call,
        };
        let outcome = deadlines
            .run(pin!(function.call_async(&mut self.store, params)))
            .await;
        let outcome =
            outcome.map_err(|error| classify(&error, self.store.data().limiter.has_refused()));
        if let Some((tracer, instance)) = self.tracing() {
            let error = outcome.as_ref().err();
            tracer.end_call(
                instance,
                error.map(|fault| (fault.label(), fault.to_string())),
            );
        }
        self.usable = outcome.is_ok();
        outcome
    }
}

/// The session that all of a batch is from, if it is one.
fn only_session(deliveries: &[Delivery<'_>]) -> Option<u64> {
    let first = deliveries.first()?.session;
    let is_first = |delivery: &Delivery<'_>| delivery.session == first;
    deliveries.iter().all(is_first).then_some(first)
}

impl Functions {
    fn find(
        exports: &Exports,
        instance: &wasmtime::component::Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self> {
        let on_packed = match &exports.on_packed {
            Some(index) => Some(instance.get_typed_func(&mut *store, index)?),
            None => None,
        };
        let on_connect = match &exports.on_connect {
            Some(index) => Some(instance.get_typed_func(&mut *store, index)?),
            None => None,
        };
        let on_timer = match &exports.on_timer {
            Some(index) => Some(instance.get_typed_func(&mut *store, index)?),
            None => None,
        };
        let on_control = match &exports.on_control {
            Some(index) => Some(instance.get_typed_func(&mut *store, index)?),
            None => None,
        };
        let handover = match &exports.handover {
            Some(indices) => Some(Handover {
                export_state: instance.get_typed_func(&mut *store, indices.export_state)?,
                import_state: instance.get_typed_func(&mut *store, indices.import_state)?,
            }),
            None => None,
        };
        let health = match &exports.health {
            Some(index) => Some(instance.get_typed_func(&mut *store, index)?),
            None => None,
        };
        let Main::Handler {
            on_open,
            on_messages,
            on_close,
        } = exports.main
        else {
            wasmtime::bail!("a conversation was started as a handler");
        };
        Ok(Self {
            on_open: instance.get_typed_func(&mut *store, on_open)?,
            on_messages: instance.get_typed_func(&mut *store, on_messages)?,
            on_close: instance.get_typed_func(&mut *store, on_close)?,
            on_packed,
            on_connect,
            on_timer,
            on_control,
            handover,
            health,
        })
    }
}

/// The same memory for a list that borrows from elsewhere: the standard library collects in place.
fn recycled<'b>(mut deliveries: Vec<Delivery<'_>>) -> Vec<Delivery<'b>> {
    deliveries.clear();
    deliveries
        .into_iter()
        .map(|_| unreachable!("the list is empty"))
        .collect()
}
