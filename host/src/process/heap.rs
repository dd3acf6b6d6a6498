//! Into how many parts ("arenas") the C library splits the heap of `wharf serve`.
//!
//! By default it makes a part for each thread that finds none free, up to eight for each processor.
//! Short-lived threads, of which a reload or an upload starts some, leave what they made for others
//! strewn over all of them: memory of a server with a reload each second grew by 1.7 MiB an hour.
//! Changes nothing else, and nothing at all where the library is not glibc. `unsafe` stands here for
//! one call.

use std::thread::available_parallelism;

/// A part for each worker, and one for all other threads, unless the operator has said how many.
/// Has to come before other threads do. `workers`: what is configured; else one for each processor.
pub(crate) fn split_for(workers: Option<usize>) {
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        let processors = || available_parallelism().map_or(1, usize::from);
        let workers = workers.unwrap_or_else(processors);
        limit_parts(i32::try_from(workers + 1).unwrap_or(i32::MAX));
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt(3) has no safe form")]
fn limit_parts(count: i32) {
    // SAFETY: it takes two numbers, and there is one thread yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, count) };
}

#[cfg(not(target_env = "gnu"))]
fn limit_parts(_: i32) {}
