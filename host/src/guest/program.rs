//! A component that was checked, compiled and linked once, ready to be started any number of
//! times by any worker. Holds no instance.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{InstancePre, Linker};

use super::engine::Engine;
use super::examine::{Examined, Exports, ProgramError, World, examine};
use super::limits::GuestLimits;
use super::precompiled::Precompiled;
use super::state::State;
use crate::capability::{
    Capability, client, control, conversation, http, keyvalue, link_wasi, logging, sessions,
    settings, timers, topics,
};
use crate::catalog::Grants;

/// A program; shared by all workers.
pub(crate) struct Program {
    pub(super) engine: Engine,
    pub(super) limits: GuestLimits,
    pub(super) exports: Exports,
    pub(super) linked: InstancePre<State>,
    /// Whether its instances can say something: they import WASI or logging.
    pub(super) has_log: bool,
    /// Whether they import WASI.
    pub(super) has_wasi: bool,
    /// Whether they import HTTP.
    pub(super) has_http: bool,
    pub(super) name: Arc<str>,
    asks_for_requests: bool,
}

impl Program {
    /// Checks and compiles a component. Takes milliseconds to seconds of CPU: not for a worker.
    pub(crate) fn compile(
        engine: &Engine,
        name: &str,
        bytes: &[u8],
        limits: &GuestLimits,
        grants: &Grants,
    ) -> Result<Self, ProgramError> {
        let started = Instant::now();
        let program = Self::of(examine(engine, bytes, limits)?, name, limits, grants)?;
        let milliseconds = started.elapsed().as_millis();
        tracing::debug!(
            component = name,
            bytes = bytes.len(),
            milliseconds,
            "compiled"
        );
        Ok(program)
    }

    /// Checks a component that was compiled before. Takes about a millisecond.
    pub(crate) fn load(
        engine: &Engine,
        name: &str,
        precompiled: &Precompiled,
        limits: &GuestLimits,
        grants: &Grants,
    ) -> Result<Self, ProgramError> {
        Self::of(precompiled.examine(engine, limits)?, name, limits, grants)
    }

    fn of(
        examined: Examined,
        name: &str,
        limits: &GuestLimits,
        grants: &Grants,
    ) -> Result<Self, ProgramError> {
        let exports = examined.check()?;
        examined.check_grants(&exports, grants)?;
        let linked = link(&examined)?;
        // HTTP uses the streams of WASI, even of a component that imports none of them itself.
        let has_http = examined.needs(Capability::Http);
        let has_wasi = has_http || examined.needs(Capability::Wasi);
        Ok(Self {
            engine: examined.engine.clone(),
            limits: limits.clone(),
            exports,
            linked,
            has_log: has_wasi || examined.needs(Capability::Logging),
            has_wasi,
            has_http,
            name: name.into(),
            asks_for_requests: examined.asks_for_requests,
        })
    }

    /// The name that its log lines carry.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether its code can ask what a session's handshake said, once the session has begun.
    pub(crate) fn asks_for_requests(&self) -> bool {
        self.asks_for_requests
    }

    /// Whether it has a function for timers that are due.
    pub(crate) fn has_timers(&self) -> bool {
        self.exports.on_timer.is_some()
    }

    /// The wall time of one call.
    pub(crate) fn wall_per_call(&self) -> Duration {
        self.limits.wall_per_call
    }

    /// Whether it carries state from one version to the next.
    pub(crate) fn hands_over(&self) -> bool {
        self.exports.handover.is_some()
    }

    /// Whether it decides about handshakes itself.
    pub(crate) fn has_handshake(&self) -> bool {
        self.exports.on_connect.is_some()
    }

    /// Which world it implements.
    pub(crate) fn world(&self) -> World {
        self.exports.world()
    }

    /// Whether each of its sessions is a conversation.
    pub(crate) fn converses(&self) -> bool {
        self.world() == World::Conversation
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Program")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Links what the component imports, and nothing else.
pub(super) fn link(examined: &Examined) -> Result<InstancePre<State>, ProgramError> {
    let mut linker = Linker::new(examined.engine.wasm());
    let defined = (|| {
        if examined.needs(Capability::Sessions) {
            sessions::link(&mut linker)?;
        }
        if examined.needs(Capability::Conversation) {
            conversation::link(&mut linker)?;
        }
        if examined.needs(Capability::Control) {
            control::link(&mut linker)?;
        }
        if examined.needs(Capability::KeyValue) {
            keyvalue::link(&mut linker)?;
        }
        if examined.needs(Capability::Timers) {
            timers::link(&mut linker)?;
        }
        if examined.needs(Capability::Logging) {
            logging::link(&mut linker)?;
        }
        if examined.needs(Capability::Settings) {
            settings::link(&mut linker)?;
        }
        if examined.needs(Capability::Topics) {
            topics::link(&mut linker)?;
        }
        if examined.needs(Capability::Client) {
            client::link(&mut linker)?;
        }
        if examined.needs(Capability::Http) {
            http::link(&mut linker)?;
        }
        if examined.needs(Capability::Wasi) {
            link_wasi(&mut linker)?;
        }
        wasmtime::Result::Ok(())
    })();
    defined
        .and_then(|()| linker.instantiate_pre(&examined.component))
        .map_err(|error| ProgramError::WrongType {
            function: "an import".to_owned(),
            reason: format!("{error:#}"),
        })
}
