//! Any chopping of a stream of frames gives the same events.
//! The body is shared with the crate's tests.

#![no_main]

#[path = "../../tests/protocol/targets/frames.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::frames(data));
