//! The two bounded queues between sockets and guests, and what the sessions of a worker share.
//!
//! [`Inbox`] carries events up to one instance; [`Outbox`] carries frames down to one session.
//! Nothing here knows wasm, tasks or routes: an owner is woken by its waker and never called.

mod cork;
mod facts;
mod inbox;
mod joined;
mod lane;
mod members;
mod outbox;
mod route_lane;
mod tenant_lane;

pub(crate) use self::facts::{AUTO_RESPONSE_BYTES_MAX, Facts, TAGS_MAX};
use self::inbox::SpareBatches;
pub(crate) use self::inbox::{
    Batch, Connecting, ControlCall, Inbox, InboxClosed, Incoming, TimerCall, Work,
};
pub(crate) use self::joined::Audience;
pub(crate) use self::lane::Lane;
pub(crate) use self::members::Members;
pub(crate) use self::outbox::{Outbox, OutboxConfig, OutboxParts, SendError, SlowReader, Stop};
pub(crate) use self::route_lane::RouteLane;
use self::tenant_lane::TenantLanes;
pub(crate) use self::tenant_lane::{METERED_READ_BYTES_MAX, TenantLane};

#[cfg(test)]
mod tests;
