//! What time it is. `std::time::Instant` and `SystemTime` panic where handlers
//! are built for `wasm32-unknown-unknown`, as `cargo xtask guests` does; these
//! work there too. No grant is needed.
//!
//! Steps are a millisecond, or as fine as the machine has them on a route with
//! `clocks = "precise"` in its `[route.grants]`. To be called later, use
//! [`timers`](crate::timers).

use std::time::Duration;

use crate::bindings::clocks::wasi::clocks::{monotonic_clock, wall_clock};

/// The time since some moment in the past that stays the same for as long as
/// the server runs: subtract two of them. It never goes back.
///
/// ```no_run
/// use wharf_guest::clock;
///
/// let began = clock::monotonic();
/// let took = clock::monotonic() - began;
/// # let _ = took;
/// ```
#[must_use]
pub fn monotonic() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

/// The time since 1970-01-01T00:00:00Z. It goes back when somebody sets the
/// machine's clock.
#[must_use]
pub fn unix() -> Duration {
    let now = wall_clock::now();
    Duration::new(now.seconds, now.nanoseconds)
}
