//! The interface `wharf:websocket/sessions` (wit/sessions.wit): what a guest does with the
//! sessions that are bound to its instance.
//!
//! A number that is not bound to the instance is answered as a session that is closed. Payloads
//! go from the guest's memory straight into the outbox; nothing is copied before its size is
//! checked, and no answer is boxed unless it has to wait.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use send_wrapper::SendWrapper;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, WasmList, WasmStr};
use wharf_protocol::MessageKind;

use super::HostView;
use super::bindings::{CloseReason, OutgoingMessage, SessionError, UpgradeRequest};
use crate::mailbox::{AUTO_RESPONSE_BYTES_MAX, Facts, Outbox, SendError, TAGS_MAX};

/// The interface's name in a component's imports.
pub(crate) const INTERFACE: &str = "wharf:websocket/sessions@0.1.0";

/// What shows a session's handshake.
pub(crate) const REQUEST: &str = "request";

/// Its functions, as the contract names them.
pub(crate) const FUNCTIONS: &[&str] = &[
    "send",
    "try-send",
    "queued-bytes",
    "flush",
    "close",
    REQUEST,
    "subprotocol",
    "name",
    "attachment",
    "set-attachment",
    "tags",
    "set-tags",
    "set-ping-interval",
    "set-timeout",
    "set-auto-response",
    "list",
    "find",
    "count",
];

/// The shortest keepalive time that a guest may ask for: below it, pings would be a flood.
const KEEPALIVE_MIN: Duration = Duration::from_millis(100);
/// The longest; far beyond what any middlebox keeps open.
const KEEPALIVE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

type Answer<T = ()> = Result<T, SessionError>;
type Waiting<'a, T = ()> = Box<dyn Future<Output = wasmtime::Result<(Answer<T>,)>> + Send + 'a>;

/// Defines all functions of the interface.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut sessions = linker.instance(INTERFACE)?;
    link_traffic(&mut sessions)?;
    link_facts(&mut sessions)?;
    link_settings(&mut sessions)?;
    link_lookup(&mut sessions)
}

/// Messages and the end.
fn link_traffic<T: HostView>(sessions: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    sessions.func_wrap_async("send", send)?;
    sessions.func_wrap(
        "try-send",
        |store: StoreContextMut<'_, T>, (session, message): (u64, OutgoingMessage)| {
            Ok((match bound(&store, session) {
                Some(outbox) => try_send(&store, &outbox, &message)?.map_err(Into::into),
                None => Err(SessionError::Closed),
            },))
        },
    )?;
    sessions.func_wrap(
        "queued-bytes",
        |store: StoreContextMut<'_, T>, (session,): (u64,)| {
            Ok((bound(&store, session).map_or(0, |outbox| outbox.queued_bytes() as u64),))
        },
    )?;
    sessions.func_wrap_async("flush", flush)?;
    sessions.func_wrap(
        "close",
        |store: StoreContextMut<'_, T>, (session, reason): (u64, CloseReason)| {
            if let Some(outbox) = bound(&store, session) {
                outbox.close(reason.code, &reason.reason.to_str(&store)?);
            }
            Ok(())
        },
    )
}

/// What a session carries.
fn link_facts<T: HostView>(sessions: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    sessions.func_wrap(
        REQUEST,
        |store: StoreContextMut<'_, T>, (session,): (u64,)| {
            let request = bound(&store, session).and_then(|outbox| {
                outbox
                    .request()
                    .map(UpgradeRequest::<String, Vec<u8>>::from)
            });
            Ok((request,))
        },
    )?;
    sessions.func_wrap(
        "subprotocol",
        |store: StoreContextMut<'_, T>, (session,): (u64,)| {
            let outbox = bound(&store, session);
            Ok((outbox.and_then(|outbox| outbox.subprotocol()),))
        },
    )?;
    sessions.func_wrap(
        "name",
        |store: StoreContextMut<'_, T>, (session,): (u64,)| {
            Ok((bound(&store, session).map(|outbox| outbox.name()),))
        },
    )?;
    sessions.func_wrap(
        "attachment",
        |store: StoreContextMut<'_, T>, (session,): (u64,)| {
            let attachment = |facts: &Facts| facts.attachment().to_vec();
            Ok((bound(&store, session)
                .and_then(|outbox| outbox.facts(|facts| facts.map(attachment)))
                .unwrap_or_default(),))
        },
    )?;
    sessions.func_wrap(
        "set-attachment",
        |store: StoreContextMut<'_, T>, (session, value): (u64, WasmList<u8>)| {
            Ok((match bound(&store, session) {
                Some(outbox) => outbox
                    .change_facts(|facts| facts.set_attachment(value.as_le_slice(&store)))
                    .map_err(SessionError::from),
                None => Err(SessionError::Closed),
            },))
        },
    )?;
    sessions.func_wrap(
        "tags",
        |store: StoreContextMut<'_, T>, (session,): (u64,)| {
            let tags = |facts: &Facts| {
                facts
                    .tags()
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            };
            Ok((bound(&store, session)
                .and_then(|outbox| outbox.facts(|facts| facts.map(tags)))
                .unwrap_or_default(),))
        },
    )?;
    sessions.func_wrap("set-tags", set_tags)
}

/// Keepalive, and answers without the guest.
fn link_settings<T: HostView>(sessions: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    sessions.func_wrap(
        "set-ping-interval",
        |store: StoreContextMut<'_, T>, (session, milliseconds): (u64, Option<u64>)| {
            if let Some(outbox) = bound(&store, session) {
                outbox.set_ping_interval(milliseconds.map(keepalive));
            }
            Ok(())
        },
    )?;
    sessions.func_wrap(
        "set-timeout",
        |store: StoreContextMut<'_, T>, (session, milliseconds): (u64, u64)| {
            if let Some(outbox) = bound(&store, session) {
                outbox.set_timeout(keepalive(milliseconds));
            }
            Ok(())
        },
    )?;
    sessions.func_wrap("set-auto-response", set_auto_response)
}

/// Which sessions there are.
fn link_lookup<T: HostView>(sessions: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    sessions.func_wrap(
        "list",
        |store: StoreContextMut<'_, T>, (tag,): (Option<WasmStr>,)| {
            let tag = match &tag {
                Some(tag) => Some(tag.to_str(&store)?),
                None => None,
            };
            Ok((store.data().surroundings().members.list(tag.as_deref()),))
        },
    )?;
    sessions.func_wrap(
        "find",
        |store: StoreContextMut<'_, T>, (name,): (WasmStr,)| {
            Ok((store
                .data()
                .surroundings()
                .members
                .find(&name.to_str(&store)?),))
        },
    )?;
    sessions.func_wrap("count", |store: StoreContextMut<'_, T>, (): ()| {
        Ok((store.data().surroundings().members.count() as u64,))
    })
}

fn bound<T: HostView>(store: &StoreContextMut<'_, T>, session: u64) -> Option<Outbox> {
    store.data().surroundings().members.get(session)
}

fn try_send<T: HostView>(
    store: &StoreContextMut<'_, T>,
    outbox: &Outbox,
    message: &OutgoingMessage,
) -> wasmtime::Result<Result<(), SendError>> {
    let (kind, payload) = message.view(store)?;
    Ok(outbox.try_send(kind, &payload))
}

/// The answer of nearly every `send`. It has no size, so that boxing it allocates nothing.
struct Sent;

impl Future for Sent {
    type Output = wasmtime::Result<(Answer,)>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok((Ok(()),)))
    }
}

fn answered<'a>(answer: wasmtime::Result<Answer>) -> Waiting<'a> {
    Box::new(std::future::ready(answer.map(|answer| (answer,))))
}

fn send<T: HostView>(
    store: StoreContextMut<'_, T>,
    (session, message): (u64, OutgoingMessage),
) -> Waiting<'_> {
    let Some(outbox) = bound(&store, session) else {
        return answered(Ok(Err(SessionError::Closed)));
    };
    match try_send(&store, &outbox, &message) {
        Ok(Ok(())) => Box::new(Sent),
        Ok(Err(SendError::Full)) if outbox.may_wait() => Box::new(SendWrapper::new(async move {
            // The guest stands still meanwhile, so the payload stays where it is.
            let (kind, payload) = message.view(&store)?;
            Ok((send_when_room(&outbox, kind, &payload)
                .await
                .map_err(SessionError::from),))
        })),
        Ok(Err(error)) => answered(Ok(Err(error.into()))),
        Err(trap) => answered(Err(trap)),
    }
}

async fn send_when_room(
    outbox: &Outbox,
    kind: MessageKind,
    payload: &[u8],
) -> Result<(), SendError> {
    loop {
        outbox.room_for(payload.len()).await?;
        match outbox.try_send(kind, payload) {
            Err(SendError::Full) => {}
            sent => return sent,
        }
    }
}

fn flush<T: HostView>(store: StoreContextMut<'_, T>, (session,): (u64,)) -> Waiting<'_> {
    let Some(outbox) = bound(&store, session) else {
        return answered(Ok(Err(SessionError::Closed)));
    };
    Box::new(SendWrapper::new(async move {
        Ok((outbox.flushed().await.map_err(SessionError::from),))
    }))
}

fn set_tags<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (session, tags): (u64, WasmList<WasmStr>),
) -> wasmtime::Result<(Answer,)> {
    let Some(outbox) = bound(&store, session) else {
        return Ok((Err(SessionError::Closed),));
    };
    if tags.len() > TAGS_MAX {
        return Ok((Err(SessionError::TooLarge(TAGS_MAX as u64)),));
    }
    let tags: Vec<WasmStr> = tags.iter(&mut store)?.collect::<wasmtime::Result<_>>()?;
    let tags = tags
        .iter()
        .map(|tag| Ok(tag.to_str(&store)?.into_owned()))
        .collect::<wasmtime::Result<_>>()?;
    Ok((outbox
        .change_facts(|facts| facts.set_tags(tags))
        .map_err(SessionError::from),))
}

fn set_auto_response<T: HostView>(
    store: StoreContextMut<'_, T>,
    (session, pair): (u64, Option<(WasmStr, WasmStr)>),
) -> wasmtime::Result<(Answer,)> {
    let Some(outbox) = bound(&store, session) else {
        return Ok((Err(SessionError::Closed),));
    };
    let pair = match &pair {
        Some((request, response)) => Some((request.to_str(&store)?, response.to_str(&store)?)),
        None => None,
    };
    if let Some((request, response)) = &pair
        && request.len().max(response.len()) > AUTO_RESPONSE_BYTES_MAX
    {
        return Ok((Err(SessionError::TooLarge(AUTO_RESPONSE_BYTES_MAX as u64)),));
    }
    let pair = pair.map(|(request, response)| (request.into_owned(), response.into_owned()));
    Ok((outbox
        .change_facts(|facts| facts.set_auto_response(pair))
        .map_err(SessionError::from),))
}

fn keepalive(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).clamp(KEEPALIVE_MIN, KEEPALIVE_MAX)
}
