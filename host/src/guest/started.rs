//! The start of a program, whatever it is called for then: its Store with all limits, and its
//! instance in it. Calls none of its exports.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::Instance;

use super::call::{CpuMeter, Deadlines};
use super::limits::Limiter;
use super::program::Program;
use super::state::State;
use super::ticker::ShardIndex;
use super::trap::classify;
use crate::budget::{Limit, Share};
use crate::capability::http::HttpState;
use crate::capability::{HostView as _, Surroundings, WasiState};
use crate::fault::{Fault, HostFault};

/// An instance in its Store.
pub(super) struct Started {
    pub(super) instance: Instance,
    pub(super) store: Store<State>,
    pub(super) meter: Arc<CpuMeter>,
    pub(super) share: Rc<Share>,
    pub(super) shard: ShardIndex,
}

impl Started {
    /// Starts a program on the current thread, within the deadlines of a call.
    pub(super) async fn start(
        program: &Program,
        surroundings: Surroundings,
    ) -> Result<Self, Fault> {
        let limits = &program.limits;
        let tenant = surroundings.tenant();
        let pace = program.engine.ticker().pace();
        let meter = CpuMeter::new(limits.cpu_per_call, tenant.share(), pace);
        let budget = Arc::clone(tenant.budget());
        let limiter = Limiter::new(limits, budget, surroundings.succeeds)?;
        let state = state(program, surroundings, limiter, Arc::clone(&meter));
        let mut store = Store::new(program.engine.wasm(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.hostcall_bytes_max);
        store.set_max_component_handles(limits.handles_max);
        store.epoch_deadline_callback(|store| store.data().meter.tick());
        store.set_epoch_deadline(1);
        let shard = ShardIndex::of_this_thread();
        let deadlines = Deadlines {
            ticker: program.engine.ticker(),
            shard,
            meter: &meter,
            share: tenant.share(),
            wall: limits.wall_per_call,
        };
        let started = deadlines
            .run(pin!(program.linked.instantiate_async(&mut store)))
            .await;
        match started {
            Ok(instance) => Ok(Self {
                instance,
                store,
                meter,
                share: Rc::clone(tenant.share()),
                shard,
            }),
            Err(_) if store.data().limiter.has_refused_tenant() => {
                Err(HostFault::OverBudget(Limit::Memory).into())
            }
            Err(error) => Err(classify(&error, store.data().limiter.has_refused())),
        }
    }
}

/// What a new instance's Store carries.
fn state(
    program: &Program,
    surroundings: Surroundings,
    limiter: Limiter,
    meter: Arc<CpuMeter>,
) -> State {
    let limits = &program.limits;
    let (route, services) = (&surroundings.route, &surroundings.services);
    let log = program
        .has_log
        .then(|| services.logs.open(route, &program.name));
    let origin = (!route.grants.precise_clocks).then(|| services.lane.clock.origin());
    let wasi = log
        .as_ref()
        .filter(|_| program.has_wasi)
        .map(|log| WasiState::new(log, limits.handles_max, origin))
        .map(|wasi| match program.has_http {
            true => wasi.with_http(HttpState::new(&surroundings)),
            false => wasi,
        });
    let mut state = State::new(surroundings, log, wasi, limiter, meter);
    state.resources().set_max_capacity(limits.handles_max);
    state
}
