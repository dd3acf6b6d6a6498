//! The interface `wharf:websocket/conversation` (wit/conversation.wit): what a conversation waits
//! for, while other conversations of its instance go on.
//!
//! A payload that has to wait is copied, because the guest goes on using its memory; only one can
//! wait for each session. All the rest of a session is in [`super::sessions`].

use std::pin::Pin;

use send_wrapper::SendWrapper;
use wasmtime::component::{Accessor, Linker};
use wasmtime::{AsContextMut, StoreContextMut};

use super::HostView;
use super::bindings::{Ending, OutgoingMessage, SessionError};
use crate::mailbox::{Outbox, SendError};

/// The interface's name in a component's imports.
const INTERFACE: &str = "wharf:websocket/conversation@0.1.0";

/// Its functions, as the contract names them.
pub(crate) const FUNCTIONS: &[&str] = &["send", "flush", "ended"];

type Answer = (Result<(), SessionError>,);
type Waiting<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<Answer>> + Send + 'a>>;

/// Defines all functions of the interface.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut conversation = linker.instance(INTERFACE)?;
    conversation.func_wrap_concurrent("send", send)?;
    conversation.func_wrap_concurrent("flush", flush)?;
    conversation.func_wrap(
        "ended",
        |store: StoreContextMut<'_, T>, (session,): (u64,)| {
            let outbox = store.data().surroundings().members.get(session);
            let ending = outbox.and_then(|outbox| {
                let wire = outbox.wire();
                wire.connection().ending().map(Ending::<String>::from)
            });
            Ok((ending,))
        },
    )
}

fn bound<T: HostView>(accessor: &Accessor<T>, session: u64) -> Option<Outbox> {
    accessor.with(|mut access| access.data_mut().surroundings().members.get(session))
}

fn send<T: HostView>(
    accessor: &Accessor<T>,
    (session, message): (u64, OutgoingMessage),
) -> Waiting<'_> {
    Box::pin(SendWrapper::new(async move {
        let Some(outbox) = bound(accessor, session) else {
            return Ok((Err(SessionError::Closed),));
        };
        // Here the guest has just called: its memory is as it was.
        let waits = accessor.with(|mut access| {
            let store = access.as_context_mut();
            let (kind, payload) = message.view(&store)?;
            let kept = match outbox.try_send(kind, &payload) {
                Err(SendError::Full) => Ok((kind, payload.into_owned())),
                answer => Err(answer),
            };
            Ok::<_, wasmtime::Error>(kept)
        })?;
        let answer = match waits {
            Ok((kind, payload)) => outbox.send_in_turn(kind, &payload).await,
            Err(answer) => answer,
        };
        Ok((answer.map_err(SessionError::from),))
    }))
}

fn flush<T: HostView>(accessor: &Accessor<T>, (session,): (u64,)) -> Waiting<'_> {
    Box::pin(SendWrapper::new(async move {
        let Some(outbox) = bound(accessor, session) else {
            return Ok((Err(SessionError::Closed),));
        };
        Ok((outbox.flushed().await.map_err(SessionError::from),))
    }))
}
