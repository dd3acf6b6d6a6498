//! Inflating is bounded and agrees with zlib.
//! The body is shared with the crate's tests.

#![no_main]

#[path = "../../tests/protocol/targets/inflate.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::inflate(data));
