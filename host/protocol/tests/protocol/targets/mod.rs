//! What each fuzz target does with its bytes, as plain functions: the fuzzer
//! calls them, and so do ordinary tests, with what the fuzzer has kept. They
//! return nothing; a broken promise is a panic.

mod frames;
mod handshake;
mod inflate;

pub(crate) use frames::{Setup, frames};
pub(crate) use handshake::handshake;
pub(crate) use inflate::inflate;
