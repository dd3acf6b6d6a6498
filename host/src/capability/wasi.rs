//! WASI 0.2 for components that import it, with nothing behind it: no arguments, no environment,
//! no folders, no sockets, a closed standard input.
//!
//! What a guest gets is time, in milliseconds unless it was granted more, randomness, `exit`, and
//! lines on stdout and stderr that go to its tenant's log. Sockets are not even defined; a component that imports them is refused by name
//! before it gets here.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::InstanceLog;
use super::http::{HttpState, HttpView};
use super::log::{Output, Source};

/// Random bytes in one call.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;
/// What a clock shows at best, unless more was granted: finer ones measure what the caches of the
/// machine hold, and so what others do on it.
const RESOLUTION: Duration = Duration::from_millis(1);

/// What one instance holds of WASI.
pub(crate) struct WasiState {
    context: WasiCtx,
    table: ResourceTable,
    /// Only if the program imports `wasi:http`.
    http: Option<HttpState>,
}

impl WasiState {
    /// An empty context whose output goes to `log`; the guest may hold `handles_max` resources.
    /// Clocks are coarse if they count from an `origin`.
    pub(crate) fn new(log: &Arc<InstanceLog>, handles_max: usize, origin: Option<Instant>) -> Self {
        let mut builder = WasiCtx::builder();
        builder
            .stdout(Output::new(Arc::clone(log), Source::Stdout))
            .stderr(Output::new(Arc::clone(log), Source::Stderr))
            .max_random_size(RANDOM_BYTES_MAX);
        if let Some(origin) = origin {
            builder.wall_clock(CoarseWall);
            builder.monotonic_clock(CoarseMonotonic { origin });
        }
        let context = builder.build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles_max);
        Self {
            context,
            table,
            http: None,
        }
    }

    /// With the way to granted hosts.
    pub(crate) fn with_http(mut self, http: HttpState) -> Self {
        self.http = Some(http);
        self
    }

    /// What `wasi:http` works on.
    pub(crate) fn http(&mut self) -> HttpView<'_> {
        let http = self.http.as_mut();
        HttpView {
            state: http.expect("HTTP is linked only to programs whose instances have it"),
            table: &mut self.table,
        }
    }

    /// What wasmtime's implementation asks for.
    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

/// The time of day, in steps of [`RESOLUTION`].
struct CoarseWall;

impl HostWallClock for CoarseWall {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        // A machine whose clock stands before 1970 has no time of day to tell.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        coarse(now.unwrap_or_default())
    }
}

/// Time since the start of the server: of the same origin for all instances, so that none learns
/// more by comparing its steps with another's.
struct CoarseMonotonic {
    origin: Instant,
}

impl HostMonotonicClock for CoarseMonotonic {
    fn resolution(&self) -> u64 {
        nanoseconds(RESOLUTION)
    }

    fn now(&self) -> u64 {
        nanoseconds(coarse(self.origin.elapsed()))
    }
}

fn coarse(time: Duration) -> Duration {
    let milliseconds = time.as_millis() / RESOLUTION.as_millis() * RESOLUTION.as_millis();
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_move_in_whole_milliseconds() {
        assert_eq!(coarse(Duration::from_nanos(1_999_999)), RESOLUTION);
        assert_eq!(coarse(Duration::from_nanos(999_999)), Duration::ZERO);
        let clock = CoarseMonotonic {
            origin: Instant::now(),
        };
        assert_eq!(clock.now() % clock.resolution(), 0);
        assert_eq!(CoarseWall.now().subsec_nanos() % 1_000_000, 0);
        assert_eq!(CoarseWall.resolution(), RESOLUTION);
    }
}
