//! The harness of Wharf's tests: servers to start, a raw client to torment them with, and meters.
//!
//! Never re-uses the server's protocol code on the client's side, never sleeps to synchronise, and
//! names no fixed port.
#![allow(
    clippy::unwrap_used,
    reason = "tests state facts; a broken one is the failure to show"
)]

pub mod collector;
pub mod crowd;
pub mod deadline;
pub mod deflate;
pub mod feed;
pub mod figure;
pub mod frame;
pub mod guests;
pub mod http;
pub mod meter;
pub mod observer;
pub mod peer;
pub mod process;
pub mod server;
pub mod site;
pub mod stream;
pub mod tls;
pub mod upstream;
