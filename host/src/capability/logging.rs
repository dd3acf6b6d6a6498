//! The interface `wasi:logging/logging` (wit/deps/logging): messages with a level and a context.
//!
//! Translates; how much of it reaches the log is `log`'s business.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmStr};

use super::HostView;

/// The one version of the draft that this host has.
pub(crate) const VERSION: &str = "0.1.0-draft";
const INTERFACE: &str = "wasi:logging/logging@0.1.0-draft";

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "guests make them")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::TRACE,
            Level::Debug => Self::DEBUG,
            Level::Info => Self::INFO,
            Level::Warn => Self::WARN,
            // The log has nothing above it.
            Level::Error | Level::Critical => Self::ERROR,
        }
    }
}

/// Defines the interface.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap("log", log)
}

fn log<T: HostView>(
    store: StoreContextMut<'_, T>,
    (level, context, message): (Level, WasmStr, WasmStr),
) -> wasmtime::Result<()> {
    let (context, message) = (context.to_str(&store)?, message.to_str(&store)?);
    store.data().log().say(level.into(), &context, &message);
    Ok(())
}
