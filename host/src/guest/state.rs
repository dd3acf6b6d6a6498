//! What one Store carries: the view of the host that its guest's imports work on.
//!
//! Data only. A Store's data has to be `Send`, the sessions of a worker are not: they are wrapped
//! so that touching them on another thread would panic, and an instance never leaves its thread.

use std::sync::Arc;

use send_wrapper::SendWrapper;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtxView, WasiView};

use super::call::CpuMeter;
use super::limits::Limiter;
use crate::capability::http::HttpView;
use crate::capability::{HostView, InstanceLog, Surroundings, WasiState};
use crate::traces::Tracer;

/// A Store's data.
pub(super) struct State {
    surroundings: SendWrapper<Surroundings>,
    /// Boxed and only there if the program imports WASI: it is a kilobyte that most do without.
    wasi: Option<Box<WasiState>>,
    /// Only there if the program can say something.
    pub(super) log: Option<Arc<InstanceLog>>,
    /// What the guest's other handles stand for.
    resources: ResourceTable,
    pub(super) limiter: Limiter,
    pub(super) meter: Arc<CpuMeter>,
}

impl State {
    pub(super) fn new(
        surroundings: Surroundings,
        log: Option<Arc<InstanceLog>>,
        wasi: Option<WasiState>,
        limiter: Limiter,
        meter: Arc<CpuMeter>,
    ) -> Self {
        Self {
            surroundings: SendWrapper::new(surroundings),
            wasi: wasi.map(Box::new),
            log,
            resources: ResourceTable::new(),
            limiter,
            meter,
        }
    }
}

impl State {
    /// Who records the calls of the instance, and its number.
    pub(super) fn tracing(&self) -> Option<(&Tracer, u64)> {
        let around = &*self.surroundings;
        let tracer = around.services.tracer.as_ref()?;
        Some((tracer, around.instance))
    }
}

impl HostView for State {
    fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    fn log(&self) -> &InstanceLog {
        let log = self.log.as_ref();
        log.expect("logging is linked only to programs whose instances have a log")
    }

    fn http(&mut self) -> HttpView<'_> {
        let wasi = self.wasi.as_mut();
        wasi.expect("HTTP is linked only to programs whose instances have WASI")
            .http()
    }

    fn resources(&mut self) -> &mut ResourceTable {
        &mut self.resources
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.as_mut();
        wasi.expect("WASI is linked only to programs whose instances have it")
            .view()
    }
}
