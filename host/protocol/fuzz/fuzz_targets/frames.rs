//! Any chopping of a stream of frames gives the same events.
//! The body is shared with the crate's tests.

#![no_main]
#![allow(dead_code, reason = "each target runs one of the bodies")]

#[path = "../../tests/protocol/targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::frames(data));
