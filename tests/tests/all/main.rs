//! The one integration binary: promises through the front door, faults with their figures.
//!
//! Every test names the promise that it holds (see `promises`); what a test needs beyond the
//! harness stands beside it, never in a file for all.
#![allow(
    clippy::unwrap_used,
    reason = "tests state facts; a broken one is the failure to show"
)]

mod admin;
mod admin_api;
mod after_trap;
mod budgets;
mod canary;
mod capabilities;
mod chaos;
mod client;
mod client_ends;
mod client_limits;
mod client_swap;
mod conversations;
mod crash;
mod dead_letters;
mod deflate;
mod deploy_api;
mod deploy_canary;
mod deploy_faults;
mod deploy_harbour;
mod deploy_reload;
mod deploy_serving;
mod deployments;
mod dev;
mod disk;
mod ends;
mod frames;
mod guest_conversations;
mod guest_floods;
mod guest_memory;
mod guest_time;
mod handshake;
mod languages;
mod load;
mod mid_write;
mod numbers;
mod outbound;
mod outside;
mod paused;
mod peer_flow;
mod peer_frames;
mod peer_heads;
mod promises;
mod promises_operating;
mod raw;
mod routes;
mod scaffold;
mod server;
mod service;
mod session;
mod sleep;
mod soak;
mod storage;
mod strangers;
mod swap;
mod tenant_limits;
mod timers;
mod topics;
mod topics_recovery;
mod traces;
mod upgrade;
mod village;
