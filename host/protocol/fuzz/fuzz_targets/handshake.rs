//! Heads of requests and responses are answered without a panic.
//! The body is shared with the crate's tests.

#![no_main]

#[path = "../../tests/protocol/targets/handshake.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::handshake(data));
