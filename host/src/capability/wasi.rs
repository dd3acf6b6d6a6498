//! WASI 0.2 for components that import it, with nothing behind it: no arguments, no environment,
//! no folders, no sockets, a closed standard input.
//!
//! What a guest gets is time, randomness, `exit`, and lines on stdout and stderr that go to the
//! log. Sockets and HTTP are not even defined; a component that imports them is refused by name
//! before it gets here.

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::log::{GuestLog, Stream};

/// Random bytes in one call.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// What one instance holds of WASI.
pub(crate) struct WasiState {
    context: WasiCtx,
    table: ResourceTable,
}

impl WasiState {
    /// An empty context whose output goes to `log`; the guest may hold `handles_max` resources.
    pub(crate) fn new(log: &GuestLog, handles_max: usize) -> Self {
        let context = WasiCtx::builder()
            .stdout(log.stream(Stream::Stdout))
            .stderr(log.stream(Stream::Stderr))
            .max_random_size(RANDOM_BYTES_MAX)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles_max);
        Self { context, table }
    }

    /// What wasmtime's implementation asks for.
    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

/// Defines every interface that [`super::grant`] lets a component import.
pub(crate) fn link<T: WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    // io, clocks, random/random, cli/stdin, cli/stdout, cli/stderr
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<T, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(linker, |state| {
        state.ctx().ctx.random()
    })?;
    cli::environment::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::exit::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    filesystem::types::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)?;
    filesystem::preopens::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)
}
