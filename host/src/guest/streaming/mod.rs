//! A started program whose sessions are conversations: the owner of one Store, in which any number
//! of them run at once, each a task of the component model that waits for its own messages.
//!
//! The Store is entered once and left when the instance ends; who directs it stands inside, on the
//! [`Floor`], and begins the calls. After a fault the Store is dropped and never entered again.
//! Never decides when an instance ends: that is the dispatcher's.

mod incoming;
mod oversight;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use send_wrapper::SendWrapper;
use wasmtime::component::{
    Access, Accessor, AccessorTask, ComponentNamedList, Lift, Lower, StreamReader, TypedFunc,
};
use wasmtime::{AsContextMut as _, Store};

pub(crate) use self::incoming::Incoming;
use self::oversight::Oversight;
use super::examine::{Connected, Converse, Main};
use super::program::Program;
use super::started::Started;
use super::state::State;
use super::trap::classify;
use crate::capability::bindings::{Acceptance, Rejection, UpgradeRequest};
use crate::capability::{Services, Surroundings};
use crate::fault::{Fault, HostFault};
use crate::request::Request;

/// Handles that a conversation has beside the instance's own: its stream, what it waits with, a
/// `send` under way. So the number of sessions is bounded where sessions are, and one more of them
/// never ends the others. A Rust guest's holds three while it waits.
const CONVERSATION_HANDLES: usize = 8;

/// A live guest whose sessions are conversations.
pub(crate) struct Stage {
    program: Arc<Program>,
    started: Started,
    functions: Functions,
}

/// Owned, because a call goes on beside its caller.
type OnConnect = (UpgradeRequest<String, Vec<u8>>,);

/// What the host calls, looked up once.
#[derive(Clone, Copy)]
struct Functions {
    converse: TypedFunc<Converse, ()>,
    on_connect: Option<TypedFunc<OnConnect, Connected>>,
    on_timer: Option<TypedFunc<(String,), ()>>,
}

impl Stage {
    /// Starts a program on the current thread.
    pub(crate) async fn start(
        program: &Arc<Program>,
        surroundings: Surroundings,
    ) -> Result<Self, Fault> {
        let mut started = Started::start(program, surroundings).await?;
        let functions = Functions::find(program, &mut started)
            .map_err(|error| HostFault::Engine(format!("{error:#}")))?;
        Ok(Self {
            program: Arc::clone(program),
            started,
            functions,
        })
    }

    /// Enters the Store and lets `direct` begin calls there. Ends when `direct` does, or with the
    /// first fault; what still runs then is dropped with the Store.
    pub(crate) async fn run(
        self,
        services: &Services,
        direct: impl AsyncFnOnce(&Floor<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Self {
            program,
            mut started,
            functions,
        } = self;
        let attended = Cell::new(false);
        let oversight = Oversight {
            ticker: program.engine.ticker(),
            shard: started.shard,
            meter: &started.meter,
            share: &started.share,
            wall: program.limits.wall_per_call,
            services,
            attended: &attended,
        };
        let outcome = {
            let running = started.store.run_concurrent(async |accessor| {
                let floor = Floor {
                    accessor,
                    functions,
                };
                let mut directing = pin!(direct(&floor));
                poll_fn(|context| {
                    attended.set(true);
                    directing.as_mut().poll(context)
                })
                .await
            });
            oversight.run(pin!(running)).await
        };
        outcome.unwrap_or_else(|error| Err(judge(&error, &started.store)))
    }
}

fn judge(error: &wasmtime::Error, store: &Store<State>) -> Fault {
    classify(error, store.data().limiter.has_refused())
}

impl Functions {
    fn find(program: &Program, started: &mut Started) -> wasmtime::Result<Self> {
        let Started {
            instance, store, ..
        } = started;
        let exports = &program.exports;
        let Main::Conversation { converse } = exports.main else {
            wasmtime::bail!("a handler was started as a conversation");
        };
        let on_connect = match &exports.on_connect {
            Some(index) => Some(instance.get_typed_func(&mut *store, index)?),
            None => None,
        };
        let on_timer = match &exports.on_timer {
            Some(index) => Some(instance.get_typed_func(&mut *store, index)?),
            None => None,
        };
        Ok(Self {
            converse: instance.get_typed_func(&mut *store, converse)?,
            on_connect,
            on_timer,
        })
    }
}

/// Where calls into the guest begin; each runs beside the others, and a fault in one ends all.
pub(crate) struct Floor<'a> {
    accessor: &'a Accessor<State>,
    functions: Functions,
}

impl Floor<'_> {
    /// Begins a session's conversation; `returned` is called when its function has returned.
    pub(crate) fn converse(
        &self,
        session: u64,
        incoming: &Incoming,
        returned: impl FnOnce() + 'static,
    ) -> Result<(), Fault> {
        let incoming = incoming.producer();
        self.begin(Call {
            function: self.functions.converse,
            handles: CONVERSATION_HANDLES,
            params: move |access: Access<'_, State>| {
                Ok((session, StreamReader::new(access, incoming)?))
            },
            answered: SendWrapper::new(|()| returned()),
        })
    }

    /// Asks the guest about a handshake; only for programs that have one.
    pub(crate) fn connect(
        &self,
        request: &Request,
        answered: impl FnOnce(Result<Acceptance, Rejection>) + 'static,
    ) -> Result<(), Fault> {
        let function = self.functions.on_connect;
        let request = UpgradeRequest::from(request);
        self.begin(Call {
            function: function.expect("asked only of programs that export the handshake"),
            handles: 0,
            params: move |_: Access<'_, State>| Ok((request,)),
            answered: SendWrapper::new(|(answer,): Connected| answered(answer)),
        })
    }

    /// Tells the guest of a timer that is due; only for programs that take timers.
    pub(crate) fn timer(&self, name: &str, returned: impl FnOnce() + 'static) -> Result<(), Fault> {
        let (function, name) = (self.functions.on_timer, name.to_owned());
        self.begin(Call {
            function: function.expect("timers are called only of programs that export it"),
            handles: 0,
            params: move |_: Access<'_, State>| Ok((name,)),
            answered: SendWrapper::new(|()| returned()),
        })
    }

    fn begin(&self, call: impl AccessorTask<State>) -> Result<(), Fault> {
        let begun = self.accessor.spawn(call);
        begun.map_err(|error| HostFault::Engine(format!("{error:#}")))?;
        Ok(())
    }
}

/// A call as a task of the Store.
struct Call<Params, Return, Make, Answered> {
    function: TypedFunc<Params, Return>,
    /// What the instance may hold more while the call lasts.
    handles: usize,
    params: Make,
    /// The sessions of a worker are not `Send`; the Store never leaves its thread.
    answered: SendWrapper<Answered>,
}

impl<Params, Return, Make, Answered> AccessorTask<State> for Call<Params, Return, Make, Answered>
where
    Params: ComponentNamedList + Lower + Send + Sync + 'static,
    Return: ComponentNamedList + Lift + Send + Sync + 'static,
    Make: FnOnce(Access<'_, State>) -> wasmtime::Result<Params> + Send + 'static,
    Answered: FnOnce(Return) + 'static,
{
    async fn run(self, accessor: &Accessor<State>) -> wasmtime::Result<()> {
        let params = accessor.with(|mut access| {
            let mut store = access.as_context_mut();
            store.set_max_component_handles(store.max_component_handles() + self.handles);
            (self.params)(access)
        })?;
        let answer = self.function.call_concurrent(accessor, params).await?;
        accessor.with(|mut access| {
            let mut store = access.as_context_mut();
            store.set_max_component_handles(store.max_component_handles() - self.handles);
        });
        (self.answered.take())(answer);
        Ok(())
    }
}
