//! Bounds on every wait of a test.
//!
//! Never sleeps to synchronise: [`eventually`] polls a state that nothing announces (a count of
//! descriptors, say) and fails when it does not come true in time.

use std::future::Future;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// What any single step of a test may take before it counts as hanging.
pub const STEP: Duration = Duration::from_secs(20);

/// Light tests hold it shared, heavy ones (those with figures) exclusively.
static MACHINE: RwLock<()> = RwLock::new(());

/// Awaits the future for at most [`STEP`].
pub async fn step<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(STEP, what, future).await
}

/// Awaits the future for at most `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Polls until `probe` gives `Ok`; fails with its last `Err` after `limit`. Returns the time taken.
pub async fn eventually<T>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return (value, start.elapsed()),
            Err(last) => assert!(
                start.elapsed() < limit,
                "{what}: not within {limit:?}; last seen: {last}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a test that may share the machine with others.
pub fn scenario(test: impl Future<Output = ()>) {
    let _shared: RwLockReadGuard<'_, ()> = MACHINE
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    run(Duration::from_secs(120), test);
}

/// Runs a test that measures: no other test runs beside it.
pub fn alone(test: impl Future<Output = ()>) {
    alone_for(Duration::from_secs(300), test);
}

/// As [`alone`], for a test that may be asked to take longer.
pub fn alone_for(limit: Duration, test: impl Future<Output = ()>) {
    let _exclusive: RwLockWriteGuard<'_, ()> = MACHINE
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    run(limit, test);
}

fn run(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for a test can be built");
    runtime.block_on(within(limit, "the whole test", test));
    runtime.shutdown_background();
}
