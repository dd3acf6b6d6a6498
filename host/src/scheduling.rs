//! How soon the kernel gives a thread a processor: at once to one that has to be in time, after
//! everybody else to one that may wait.
//!
//! Changes nothing but the calling thread and those that it starts, needs no rights, and fails for
//! nobody: where the kernel does not do it (before Linux 6.12), or has been told not to, things only
//! take longer. `unsafe` stands here for two system calls that no library has.

#![allow(
    unsafe_code,
    reason = "the kernel reads and writes one structure, which lives as long as the call"
)]

use std::io;

use libc::{c_long, sched_attr};

/// The shortest slice that the kernel takes (sched_setattr(2)), in nanoseconds.
const SHORT_SLICE: u64 = 100_000;
/// By how much a timer may be late, in nanoseconds; 50 µs otherwise.
const TIMER_SLACK: u64 = 1_000;
/// What compiles gets a tenth of a processor that is wanted by others (sched(7)).
const NICE: i32 = 10;

/// For a thread that runs for microseconds, and whose delay everybody feels. Waking, it takes the
/// processor from one that computes, which keeps it for 3 ms otherwise.
pub(crate) fn be_in_time() {
    let _ = nix::sys::prctl::set_timerslack(TIMER_SLACK);
    take_short_slices();
}

/// For a thread that has work for microseconds most of the time. It has the processor soon after it
/// wakes; while it computes, whoever else wakes does.
pub(crate) fn take_short_slices() {
    let _ = change(|attributes| attributes.sched_runtime = SHORT_SLICE);
}

/// For work that may wait for everything else.
pub(crate) fn stand_back() {
    let _ = change(|attributes| {
        attributes.sched_policy = libc::SCHED_BATCH as u32;
        attributes.sched_nice = attributes.sched_nice.max(NICE);
    });
}

/// Changes how this thread is scheduled.
fn change(wanted: impl FnOnce(&mut sched_attr)) -> io::Result<()> {
    const THIS_THREAD: c_long = 0;
    const NO_FLAGS: c_long = 0;
    let mut attributes = sched_attr {
        size: size_of::<sched_attr>() as u32,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    let size = c_long::from(attributes.size);
    let here: *mut sched_attr = &raw mut attributes;
    // SAFETY: the kernel writes at most `size` bytes, which are the structure's.
    done(unsafe { libc::syscall(libc::SYS_sched_getattr, THIS_THREAD, here, size, NO_FLAGS) })?;
    wanted(&mut attributes);
    let here: *const sched_attr = &raw const attributes;
    // SAFETY: the kernel reads `attributes.size` bytes, which it has written itself before.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, here, NO_FLAGS) })
}

fn done(result: c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    /// Fields of proc_pid_stat(5).
    const NICE_FIELD: usize = 19;
    const POLICY_FIELD: usize = 41;

    /// What the kernel says of this thread.
    fn field(number: usize) -> i32 {
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("it is mounted");
        let (_, behind_name) = stat.rsplit_once(") ").expect("a name");
        let field = behind_name.split(' ').nth(number - 3).expect("a field");
        field.parse().expect("a number")
    }

    #[test]
    fn only_the_thread_that_asks_changes() {
        let before = (field(NICE_FIELD), field(POLICY_FIELD));
        let patient = thread::spawn(|| {
            stand_back();
            let started = thread::spawn(|| (field(NICE_FIELD), field(POLICY_FIELD)));
            let of_started = started.join().expect("it says it");
            (of_started, (field(NICE_FIELD), field(POLICY_FIELD)))
        });
        let low = (before.0.max(NICE), libc::SCHED_BATCH);
        assert_eq!(patient.join().expect("it says it"), (low, low));
        let punctual = thread::spawn(|| {
            be_in_time();
            let mut slice = 0;
            change(|attributes| slice = attributes.sched_runtime).expect("nothing changes");
            let slack = nix::sys::prctl::get_timerslack().expect("it is known");
            (slack as u64, slice, field(NICE_FIELD))
        });
        let (slack, slice, nice) = punctual.join().expect("it says it");
        assert_eq!((slack, nice), (TIMER_SLACK, before.0));
        // A kernel before 6.12 has no slices.
        assert!(slice == SHORT_SLICE || slice == 0, "{slice}");
        assert_eq!((field(NICE_FIELD), field(POLICY_FIELD)), before);
    }
}
