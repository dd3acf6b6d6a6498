//! The interface `wharf:websocket/control` (wit/control.wit): control frames of the handler's own.
//!
//! Translates, as `sessions` does. Linked only for routes that are raw: on any other the peer's
//! answers would go nowhere.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use super::HostView;
use super::bindings::{CloseReason, SessionError};
use crate::mailbox::{Outbox, SendError};

/// The interface's name in a component's imports.
const INTERFACE: &str = "wharf:websocket/control@0.1.0";

/// Its functions, as the contract names them.
pub(crate) const FUNCTIONS: &[&str] = &["ping", "pong", "close"];

/// Defines the interface.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut control = linker.instance(INTERFACE)?;
    control.func_wrap(
        "ping",
        |store: StoreContextMut<'_, T>, (session, payload): (u64, WasmList<u8>)| {
            let sent = |outbox: Outbox| outbox.try_ping(payload.as_le_slice(&store));
            Ok((answer(bound(&store, session).map(sent)),))
        },
    )?;
    control.func_wrap(
        "pong",
        |store: StoreContextMut<'_, T>, (session, payload): (u64, WasmList<u8>)| {
            let sent = |outbox: Outbox| outbox.try_pong(payload.as_le_slice(&store));
            Ok((answer(bound(&store, session).map(sent)),))
        },
    )?;
    control.func_wrap(
        "close",
        |store: StoreContextMut<'_, T>, (session, reason): (u64, Option<CloseReason>)| {
            match (bound(&store, session), reason) {
                (None, _) => {}
                (Some(outbox), None) => outbox.close_without_code(),
                (Some(outbox), Some(CloseReason { code, reason })) => {
                    outbox.close(code, &reason.to_str(&store)?);
                }
            }
            Ok(())
        },
    )
}

fn bound<T: HostView>(store: &StoreContextMut<'_, T>, session: u64) -> Option<Outbox> {
    store.data().surroundings().members.get(session)
}

fn answer(sent: Option<Result<(), SendError>>) -> Result<(), SessionError> {
    sent.unwrap_or(Err(SendError::Closed)).map_err(Into::into)
}
