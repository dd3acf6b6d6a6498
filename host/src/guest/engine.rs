//! The one place where wasmtime is configured: which proposals a component may use, how many
//! instances fit, and how a guest is interrupted.
//!
//! An engine is shared by all workers. It holds no component and no instance. Conversations have one
//! of their own, which plain handlers do not pay for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

use super::limits::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};
use super::pieces::PIECES_VERSION;
use super::ticker::Ticker;
use crate::digest::Digest;

/// How large an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Instances that may live at once; one more is an error, not a wait. Default 10,240, which is
    /// what Linux allows by default: each takes up to six of a process's 65,530 mappings
    /// (`vm.max_map_count`). Worst case: 4 GiB of address space for each, so that a process can
    /// hold three engines of the default size; and a slot that was used keeps up to 64 KiB
    /// (memory, table, stack) for the next instance, so 640 MiB after that many lived at once.
    /// Conversations have an engine of the same size to themselves, if there are any.
    pub instances_max: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            instances_max: 10_240,
        }
    }
}

/// Stack for wasm frames; beyond it a guest's recursion traps.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Stack of a call: the rest is for host functions. Only touched pages use memory.
const STACK_BYTES: usize = 1 << 20;
/// Room for a component's and its modules' metadata; Python's take several megabytes.
const INSTANCE_BYTES_MAX: usize = 10 << 20;
/// Entries of one table; Python's take 20,000 and more.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Tables that wit-component makes: the module's, the shim's, one in reserve.
const TABLES_PER_INSTANCE: u32 = 3;
/// Modules that wit-component makes are up to five.
const CORE_INSTANCES_PER_INSTANCE: u32 = 8;
/// The memory of a freed slot is given back to the system at once: those that wait to be given back
/// together hold all that their guests had, for as long as no other instance ends.
const DECOMMIT_BATCH: usize = 1;
/// Memory of a freed slot that is cleared in place rather than given back: most of what a small
/// guest touches, so that the next start takes no page faults.
const KEEP_RESIDENT_BYTES: usize = 32 << 10;
/// Frames kept of a trap's backtrace.
const BACKTRACE_FRAMES_MAX: usize = 16;

/// wasmtime's engine, with the thread that interrupts guests. A clone means the same engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wasm: wasmtime::Engine,
    ticker: Ticker,
    config: EngineConfig,
    is_for_conversations: bool,
    /// The one for conversations, made when the first of them is compiled.
    for_conversations: Mutex<Option<Engine>>,
}

/// The engine could not be made, in most cases for want of address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineError(String);

impl fmt::Display for EngineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the WebAssembly engine could not start: {}",
            self.0
        )
    }
}

impl std::error::Error for EngineError {}

impl Engine {
    /// Reserves the address space for all instances and starts the epoch thread.
    pub(crate) fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        Self::with(config, &wasm_config(config), false)
    }

    /// An engine of the same size for components that are conversations: with tasks and streams of
    /// the component model, which would make every call of a plain handler three times as dear.
    pub(crate) fn for_conversations(&self) -> Result<Self, EngineError> {
        // Taken while components are compiled, never while messages flow.
        let known = self.0.for_conversations.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*known {
            return Ok(engine.clone());
        }
        let mut wasm = wasm_config(&self.0.config);
        wasm.concurrency_support(true)
            .wasm_component_model_async(true)
            // Without it every conversation has to be lifted with a callback, as toolchains do it,
            // and has no stack while it waits. So an instance takes one stack at most, as others do:
            // stacks cannot run out before instances, whatever a tenant's conversations do.
            .wasm_component_model_async_stackful(false);
        let engine = Self::with(&self.0.config, &wasm, true)?;
        *known = Some(engine.clone());
        Ok(engine)
    }

    fn with(
        config: &EngineConfig,
        wasm: &Config,
        is_for_conversations: bool,
    ) -> Result<Self, EngineError> {
        let wasm =
            wasmtime::Engine::new(wasm).map_err(|error| EngineError(format!("{error:#}")))?;
        let of_ticker = wasm.clone();
        let ticker = Ticker::start(move || of_ticker.increment_epoch())
            .map_err(|error| EngineError(error.to_string()))?;
        Ok(Self(Arc::new(Shared {
            wasm,
            ticker,
            config: *config,
            is_for_conversations,
            for_conversations: Mutex::default(),
        })))
    }

    /// What compiled components must have in common with it to be loaded: wasmtime's version and
    /// settings, the processor, and how their bulk operations were taken to pieces. The number of
    /// instances is no part of it.
    pub(crate) fn compatibility(&self) -> Digest {
        Digest::of_hashed((self.0.wasm.precompile_compatibility_hash(), PIECES_VERSION))
    }

    pub(super) fn is_for_conversations(&self) -> bool {
        self.0.is_for_conversations
    }

    pub(super) fn wasm(&self) -> &wasmtime::Engine {
        &self.0.wasm
    }

    pub(super) fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }
}

fn wasm_config(config: &EngineConfig) -> Config {
    let mut wasm = Config::new();
    wasm.strategy(Strategy::Cranelift)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)))
        .epoch_interruption(true)
        // Without tasks of the component model a call costs a third.
        .concurrency_support(false)
        .wasm_component_model_async(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(STACK_BYTES)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        // Debug information comes from the guest, and reading it takes long for large ones.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // What no component toolchain needs is not offered to those who look for bugs in it.
    wasm.wasm_threads(false)
        .wasm_shared_everything_threads(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .gc_support(false)
        .wasm_stack_switching(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_memory64(false);
    wasm
}

fn pool(config: &EngineConfig) -> PoolingAllocationConfig {
    let instances = config.instances_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_INSTANCE))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES_PER_INSTANCE))
        .total_stacks(instances)
        .total_gc_heaps(0)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX as u32)
        .max_memories_per_component(MEMORIES_MAX as u32)
        .max_tables_per_component(TABLES_MAX as u32)
        .max_tables_per_module(TABLES_MAX as u32)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto)
        .decommit_batch_size(DECOMMIT_BATCH);
    pool
}
