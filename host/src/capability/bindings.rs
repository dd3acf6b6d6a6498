//! The types of the package `wharf:websocket` (see `wit/`) in Rust.
//!
//! Written by hand rather than generated, so that what goes in is borrowed (`&str`, `&[u8]`) and
//! what comes out is a view of the guest's memory (`WasmStr`, `WasmList`): a message is copied
//! once each way. A view is read inside of the call that it came with and never kept.

use std::borrow::Cow;

use wasmtime::StoreContext;
use wasmtime::component::{ComponentType, Lift, Lower, WasmList, WasmStr};
use wharf_protocol::MessageKind;

use crate::mailbox::{ControlCall, SendError};
use crate::request::Request;

/// A message on its way into a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum IncomingMessage<'a> {
    #[component(name = "text")]
    Text(&'a str),
    #[component(name = "binary")]
    Binary(&'a [u8]),
}

/// A message with the session that it comes from.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Delivery<'a> {
    pub(crate) session: u64,
    pub(crate) message: IncomingMessage<'a>,
}

/// A message on its way into a guest's stream, which keeps it until the guest reads.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(crate) enum StreamedMessage {
    #[component(name = "text")]
    Text(String),
    #[component(name = "binary")]
    Binary(Vec<u8>),
}

impl StreamedMessage {
    /// A message that the protocol has checked.
    pub(crate) fn new(kind: MessageKind, payload: Vec<u8>) -> Self {
        match kind {
            MessageKind::Text => Self::Text(
                String::from_utf8(payload).expect("the protocol checked that text is UTF-8"),
            ),
            MessageKind::Binary => Self::Binary(payload),
        }
    }

    /// Bytes of its payload.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// A message as it lies in the memory of the guest that sends it.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum OutgoingMessage {
    #[component(name = "text")]
    Text(WasmStr),
    #[component(name = "binary")]
    Binary(WasmList<u8>),
}

impl OutgoingMessage {
    /// The payload in place; only text in another encoding than UTF-8 is converted.
    pub(crate) fn view<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> wasmtime::Result<(MessageKind, Cow<'a, [u8]>)> {
        match self {
            Self::Text(text) => {
                let text = match text.to_str(store)? {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                };
                Ok((MessageKind::Text, text))
            }
            Self::Binary(bytes) => {
                Ok((MessageKind::Binary, Cow::Borrowed(bytes.as_le_slice(store))))
            }
        }
    }
}

/// Why a session did not take what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum SessionError {
    #[component(name = "closed")]
    Closed,
    #[component(name = "full")]
    Full,
    #[component(name = "too-large")]
    TooLarge(u64),
}

impl From<SendError> for SessionError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed => Self::Closed,
            SendError::Full => Self::Full,
            SendError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

/// What a close frame shall carry.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct CloseReason {
    pub(crate) code: u16,
    pub(crate) reason: WasmStr,
}

/// What a peer's close frame carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub(crate) struct PeerReason<'a> {
    code: u16,
    reason: &'a str,
}

/// A control frame on its way into a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum ControlFrame<'a> {
    #[component(name = "ping")]
    Ping(&'a [u8]),
    #[component(name = "pong")]
    Pong(&'a [u8]),
    #[component(name = "close")]
    Close(Option<PeerReason<'a>>),
}

impl<'a> From<&'a ControlCall> for ControlFrame<'a> {
    fn from(call: &'a ControlCall) -> Self {
        match call {
            ControlCall::Ping(payload) => Self::Ping(payload),
            ControlCall::Pong(payload) => Self::Pong(payload),
            ControlCall::Close(reason) => Self::Close(reason.as_ref().map(|said| PeerReason {
                code: said.code,
                reason: &said.reason,
            })),
        }
    }
}

/// Who ended a session first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Initiator {
    #[component(name = "peer")]
    Peer,
    #[component(name = "handler")]
    Handler,
    #[component(name = "host")]
    Host,
}

/// How a session ended: borrowed as an argument, owned as a result.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Ending<S> {
    pub(crate) code: u16,
    pub(crate) reason: S,
    pub(crate) clean: bool,
    pub(crate) initiator: Initiator,
}

impl<'a, S: From<&'a str>> From<&'a wharf_protocol::Ending> for Ending<S> {
    fn from(ending: &'a wharf_protocol::Ending) -> Self {
        Self {
            code: ending.code,
            reason: S::from(&ending.reason),
            clean: ending.clean,
            initiator: match ending.initiator {
                wharf_protocol::Initiator::Peer => Initiator::Peer,
                wharf_protocol::Initiator::Handler => Initiator::Handler,
                wharf_protocol::Initiator::Host => Initiator::Host,
            },
        }
    }
}

/// The HTTP request that asked for a session: borrowed as an argument, owned as a result.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct UpgradeRequest<S, B> {
    pub(crate) scheme: S,
    pub(crate) authority: S,
    pub(crate) path: S,
    pub(crate) query: Option<S>,
    pub(crate) params: Vec<(S, S)>,
    pub(crate) headers: Vec<(S, B)>,
    #[component(name = "remote-address")]
    pub(crate) remote_address: String,
    pub(crate) subprotocols: Vec<S>,
}

impl<'a, S: From<&'a str>, B: From<&'a [u8]>> From<&'a Request> for UpgradeRequest<S, B> {
    fn from(request: &'a Request) -> Self {
        let said = request.said();
        let headers = said.headers.into_iter();
        let params = said.params.into_iter();
        Self {
            scheme: said.scheme.into(),
            authority: said.authority.into(),
            path: said.path.into(),
            query: said.query.map(S::from),
            params: params
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            headers: headers
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            remote_address: said.remote.to_string(),
            subprotocols: said.subprotocols.into_iter().map(S::from).collect(),
        }
    }
}

/// A handler takes the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Acceptance {
    /// One that the client offered; the caller checks that.
    pub(crate) subprotocol: Option<String>,
    /// Goes out with the 101.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// The session's first tags.
    pub(crate) tags: Vec<String>,
    /// The session's first attachment.
    pub(crate) attachment: Vec<u8>,
}

/// A handler refuses the session.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Rejection {
    /// As the handler gave it; the caller checks that it is an error's.
    pub(crate) status: u16,
    /// Goes out with the answer.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// The answer's body.
    pub(crate) body: Vec<u8>,
}
