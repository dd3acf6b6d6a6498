//! Inflating is bounded and agrees with zlib.
//! The body is shared with the crate's tests.

#![no_main]
#![allow(dead_code, reason = "each target runs one of the bodies")]

#[path = "../../tests/protocol/targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::inflate(data));
