//! The interface `wharf:websocket/timers` (wit/timers.wit): alarms of the calling instance.
//!
//! Translates; what is set, stored and due is `timers`' business. A guest names no owner: it is
//! the instance that calls.

use std::rc::Rc;
use std::time::Duration;

use send_wrapper::SendWrapper;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, WasmStr};

use super::HostView;
use crate::timers::{DELAY_MAX, NAME_BYTES_MAX, TimerError};

/// The interface's name in a component's imports.
const INTERFACE: &str = "wharf:websocket/timers@0.1.0";

/// Its functions, as the contract names them.
pub(crate) const FUNCTIONS: &[&str] = &["set", "cancel"];

/// Why a timer was not set or cancelled, with the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "name-too-long")]
    NameTooLong(u64),
    #[component(name = "too-far")]
    TooFar(u64),
    #[component(name = "too-many")]
    TooMany(u64),
    #[component(name = "storage")]
    Storage,
}

impl From<TimerError> for Error {
    fn from(error: TimerError) -> Self {
        match error {
            TimerError::NameTooLong => Self::NameTooLong(NAME_BYTES_MAX as u64),
            TimerError::TooFar => Self::TooFar(DELAY_MAX.as_secs() * 1_000),
            TimerError::TooMany(max) => Self::TooMany(max),
            TimerError::Storage => Self::Storage,
        }
    }
}

type Waiting<'a> = Box<dyn Future<Output = wasmtime::Result<(Result<(), Error>,)>> + Send + 'a>;

/// Defines the interface.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut timers = linker.instance(INTERFACE)?;
    timers.func_wrap_async("set", set)?;
    timers.func_wrap_async("cancel", cancel)
}

fn set<T: HostView>(
    store: StoreContextMut<'_, T>,
    (name, after_milliseconds): (WasmStr, u64),
) -> Waiting<'_> {
    Box::new(SendWrapper::new(async move {
        let name = name.to_str(&store)?;
        let around = store.data().surroundings();
        let timers = Rc::clone(&around.services.timers);
        let after = Duration::from_millis(after_milliseconds);
        let done = timers.set(&around.timer_owner, &name, after).await;
        Ok((done.map_err(Error::from),))
    }))
}

fn cancel<T: HostView>(store: StoreContextMut<'_, T>, (name,): (WasmStr,)) -> Waiting<'_> {
    Box::new(SendWrapper::new(async move {
        let name = name.to_str(&store)?;
        let around = store.data().surroundings();
        let timers = Rc::clone(&around.services.timers);
        let done = timers.cancel(&around.timer_owner, &name).await;
        Ok((done.map_err(Error::from),))
    }))
}
