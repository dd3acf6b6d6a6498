//! A component as machine code that outlives its process: made by compiling it, and taken back only
//! under the digest that was noted then.
//!
//! `unsafe` stands here for one call: wasmtime maps what it is given as code
//! and runs it. Nothing that comes from outside gets here: a [`Precompiled`] is either made by this
//! process, or has the digest that its keeper wrote down when it was made.

#![allow(
    unsafe_code,
    reason = "wasmtime cannot check machine code; the digest does"
)]

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Component;

use super::engine::Engine;
use super::examine::{Examined, ProgramError, examine, look};
use super::limits::GuestLimits;
use crate::digest::Digest;

/// What the first byte says: for which of the two engines the rest was made.
const FOR_HANDLERS: u8 = b'h';
const FOR_CONVERSATIONS: u8 = b'c';

/// Machine code of a component, for this build of the host and this kind of processor only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Precompiled {
    /// The engine's letter, then what wasmtime serialized.
    bytes: Arc<[u8]>,
}

impl fmt::Debug for Precompiled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Precompiled({} bytes)", self.bytes.len())
    }
}

impl Precompiled {
    /// Checks and compiles a component. Takes milliseconds to seconds of CPU, and as much memory as
    /// the component makes it take: for a process of its own, if strangers may have written it.
    pub(crate) fn compile(
        engine: &Engine,
        wasm: &[u8],
        limits: &GuestLimits,
    ) -> Result<Self, ProgramError> {
        let examined = examine(engine, wasm, limits)?;
        let code = examined
            .component
            .serialize()
            .map_err(|error| ProgramError::Invalid(format!("{error:#}")))?;
        let letter = match examined.engine.is_for_conversations() {
            true => FOR_CONVERSATIONS,
            false => FOR_HANDLERS,
        };
        let mut bytes = Vec::with_capacity(1 + code.len());
        bytes.push(letter);
        bytes.extend(code);
        Ok(Self {
            bytes: bytes.into(),
        })
    }

    /// Takes back what was compiled before, if it still has the digest that it had then. Whoever
    /// passes another digest than one that was taken of [`Precompiled::bytes`] breaks the promise
    /// on which loading rests.
    pub(crate) fn kept(bytes: Vec<u8>, digest: &Digest) -> Option<Self> {
        (Digest::of(&bytes) == *digest).then(|| Self {
            bytes: bytes.into(),
        })
    }

    /// All of it, to be kept where nobody else can write.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Loads it. What another build of the host, or one for another processor, has compiled is
    /// refused as [`ProgramError::CompiledElsewhere`].
    pub(super) fn examine(
        &self,
        engine: &Engine,
        limits: &GuestLimits,
    ) -> Result<Examined, ProgramError> {
        let elsewhere = |reason: String| ProgramError::CompiledElsewhere(reason);
        let (letter, code) = self
            .bytes
            .split_first()
            .ok_or_else(|| elsewhere("it is empty".to_owned()))?;
        let engine = match *letter {
            FOR_HANDLERS => engine.clone(),
            FOR_CONVERSATIONS => engine
                .for_conversations()
                .map_err(|error| ProgramError::NoEngine(error.to_string()))?,
            other => return Err(elsewhere(format!("its first byte is {other}"))),
        };
        // SAFETY: these bytes are what `Component::serialize` gave in `compile`, here or in a
        // process that the server started for it: there is no other way to make a `Precompiled`
        // than `compile` and `kept`, and `kept` compares SHA-256 with what was noted of them. That
        // they are of this wasmtime, with these settings and for this processor, wasmtime checks.
        let component = unsafe { Component::deserialize(engine.wasm(), code) }
            .map_err(|error| elsewhere(format!("{error:#}")))?;
        Ok(look(&engine, component, limits))
    }
}
