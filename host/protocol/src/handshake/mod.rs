//! The opening handshake (RFC 6455, section 4), read strictly and independent
//! of any HTTP library: it judges a head that has already been taken apart,
//! and never reads or writes one.

mod client;
mod header;
mod key;
mod server;

pub use crate::origin::{OriginRule, origin_allowed};
pub use client::{Accepted, ClientHandshake, ClientRefused, ResponseHead};
pub use header::{Extension, Header, parse_extensions};
pub use server::{Refusal, RequestHead, Upgrade, check};
