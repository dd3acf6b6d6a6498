//! The one integration binary: promises through the front door, faults with their figures.
//!
//! Every test names the promise that it holds (see `promises`); what a test needs beyond the
//! harness stands beside it, never in a file for all.
#![allow(
    clippy::unwrap_used,
    reason = "tests state facts; a broken one is the failure to show"
)]

mod deflate;
mod ends;
mod faults_flow;
mod faults_frames;
mod faults_guest;
mod faults_head;
mod frames;
mod handshake;
mod load;
mod numbers;
mod promises;
mod routes;
mod server;
mod session;
