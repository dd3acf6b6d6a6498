//! The interface `wharf:websocket/topics` (wit/topics.wit): what a guest does with the topics that
//! its deployment was granted.
//!
//! Checks the grant for every name and adds the tenant, which no guest can write. A session that is
//! not bound to the instance is answered as one that is closed. Payloads are read where they lie in
//! the guest's memory.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, WasmStr};

use super::HostView;
use super::bindings::OutgoingMessage;
use crate::topics::{self, Topics};

/// The interface's name in a component's imports.
pub(crate) const INTERFACE: &str = "wharf:websocket/topics@0.1.0";

/// Its functions, as the contract names them.
pub(crate) const FUNCTIONS: &[&str] = &["subscribe", "unsubscribe", "publish", "presence", "count"];

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum TopicError {
    #[component(name = "denied")]
    Denied,
    #[component(name = "limit")]
    Limit(u64),
    #[component(name = "closed")]
    Closed,
}

impl From<topics::TopicError> for TopicError {
    fn from(error: topics::TopicError) -> Self {
        match error {
            topics::TopicError::Limit(limit) => Self::Limit(limit),
            topics::TopicError::Closed => Self::Closed,
        }
    }
}

/// Who is in a topic.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Member {
    name: String,
    info: Arc<str>,
}

type Answer<T = ()> = Result<T, TopicError>;

/// Defines all functions of the interface.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut topics = linker.instance(INTERFACE)?;
    topics.func_wrap("subscribe", subscribe)?;
    topics.func_wrap("unsubscribe", unsubscribe)?;
    topics.func_wrap("publish", publish)?;
    topics.func_wrap("presence", presence)?;
    topics.func_wrap("count", count)
}

fn subscribe<T: HostView>(
    store: StoreContextMut<'_, T>,
    (session, topic, info): (u64, WasmStr, WasmStr),
) -> wasmtime::Result<(Answer,)> {
    let around = store.data().surroundings();
    let (topic, info) = (topic.to_str(&store)?, info.to_str(&store)?);
    let Some(topics) = granted(&store, &topic) else {
        return Ok((Err(TopicError::Denied),));
    };
    let Some(outbox) = around.members.get(session) else {
        return Ok((Err(TopicError::Closed),));
    };
    let answer = topics.subscribe(&around.route.tenant, &outbox, &topic, &info);
    Ok((answer.map_err(TopicError::from),))
}

fn unsubscribe<T: HostView>(
    store: StoreContextMut<'_, T>,
    (session, topic): (u64, WasmStr),
) -> wasmtime::Result<()> {
    let around = store.data().surroundings();
    let topic = topic.to_str(&store)?;
    if let Some(topics) = granted(&store, &topic)
        && around.members.get(session).is_some()
    {
        topics.unsubscribe(&around.route.tenant, session, &topic);
    }
    Ok(())
}

fn publish<T: HostView>(
    store: StoreContextMut<'_, T>,
    (topic, message, except): (WasmStr, OutgoingMessage, Option<u64>),
) -> wasmtime::Result<(Answer<u64>,)> {
    let around = store.data().surroundings();
    let topic = topic.to_str(&store)?;
    let Some(topics) = granted(&store, &topic) else {
        return Ok((Err(TopicError::Denied),));
    };
    let (kind, payload) = message.view(&store)?;
    let limit = around.route.websocket.max_message_bytes;
    if payload.len() > limit {
        return Ok((Err(TopicError::Limit(limit as u64)),));
    }
    let tenant = &around.route.tenant;
    let answer = topics.publish(tenant, &topic, (kind, &payload), except);
    Ok((answer.map_err(TopicError::from),))
}

fn presence<T: HostView>(
    store: StoreContextMut<'_, T>,
    (topic,): (WasmStr,),
) -> wasmtime::Result<(Answer<Vec<Member>>,)> {
    let around = store.data().surroundings();
    let topic = topic.to_str(&store)?;
    let Some(topics) = granted(&store, &topic) else {
        return Ok((Err(TopicError::Denied),));
    };
    let members = topics.presence(&around.route.tenant, &topic);
    let lane = &around.services.lane;
    let named = |(session, info)| Member {
        name: lane.session_name(session),
        info,
    };
    let answer = members.map(|members| members.into_iter().map(named).collect());
    Ok((answer.map_err(TopicError::from),))
}

fn count<T: HostView>(
    store: StoreContextMut<'_, T>,
    (topic,): (WasmStr,),
) -> wasmtime::Result<(Answer<u64>,)> {
    let around = store.data().surroundings();
    let topic = topic.to_str(&store)?;
    let Some(topics) = granted(&store, &topic) else {
        return Ok((Err(TopicError::Denied),));
    };
    Ok((Ok(topics.count(&around.route.tenant, &topic)),))
}

/// The worker's topics, if this deployment may use the one of that name.
fn granted<'a, T: HostView>(store: &'a StoreContextMut<'_, T>, topic: &str) -> Option<&'a Topics> {
    let around = store.data().surroundings();
    let is_granted = around.route.grants.cover_topic(topic);
    is_granted.then_some(&around.services.topics)
}
