//! What the operating system says that processes used: CPU time of all threads
//! of the server, of this process, and of everything on the machine; memory.

use std::collections::HashMap;
use std::fs;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Clock ticks of /proc/*/stat: fixed for user space on Linux.
const TICK: Duration = Duration::from_millis(10);
/// A process that ran up to now still has to go to sleep, and its last stretch
/// is added up only then. It rests when nothing is added for so long.
const REST: Duration = Duration::from_millis(4);
/// Looks at a server that does not come to rest.
const LOOKS_MAX: usize = 25;

/// CPU time used up to one moment.
pub(crate) struct Usage {
    /// By thread, from schedstat: exact to the nanosecond, but a thread that
    /// has ended is missing.
    threads: HashMap<u32, Duration>,
    /// Of the whole process, ended threads included, in ticks.
    server: Duration,
    own: Duration,
    machine: Duration,
    at: Instant,
}

/// CPU time used between two moments.
#[derive(Default)]
pub(crate) struct Used {
    pub(crate) server: Duration,
    pub(crate) own: Duration,
    /// By everybody else on the machine.
    pub(crate) others: Duration,
    /// Between the two moments.
    pub(crate) wall: Duration,
}

impl AddAssign for Used {
    fn add_assign(&mut self, other: Self) {
        self.server += other.server;
        self.own += other.own;
        self.others += other.others;
        self.wall += other.wall;
    }
}

impl Usage {
    /// Call this when the server has nothing to do: it waits until the server
    /// rests, a tenth of a second at most.
    pub(crate) fn now(pid: u32) -> anyhow::Result<Self> {
        let mut threads = threads(pid)?;
        for _ in 0..LOOKS_MAX {
            std::thread::sleep(REST);
            let before = std::mem::replace(&mut threads, self::threads(pid)?);
            if before == threads {
                break;
            }
        }
        Ok(Self {
            threads,
            server: process_time(&pid.to_string())?,
            own: process_time("self")?,
            machine: machine_time()?,
            at: Instant::now(),
        })
    }

    pub(crate) fn until(&self, later: &Self) -> Used {
        let exact: Duration = later
            .threads
            .iter()
            .map(|(thread, time)| *time - self.threads.get(thread).copied().unwrap_or_default())
            .sum();
        let coarse = later.server.saturating_sub(self.server);
        // Ticks are too coarse unless time of ended threads is missing.
        let server = if self
            .threads
            .keys()
            .all(|thread| later.threads.contains_key(thread))
        {
            exact
        } else {
            exact.max(coarse)
        };
        let own = later.own.saturating_sub(self.own);
        let machine = later.machine.saturating_sub(self.machine);
        Used {
            server,
            own,
            others: machine.saturating_sub(own + coarse),
            wall: later.at - self.at,
        }
    }
}

fn threads(pid: u32) -> anyhow::Result<HashMap<u32, Duration>> {
    let mut threads = HashMap::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("the server, process {pid}, is gone"))?;
    for task in tasks {
        let path = task?.path();
        let thread = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
            .context("a thread without a number")?;
        // A thread may end between the listing and this.
        if let Ok(text) = fs::read_to_string(path.join("schedstat")) {
            threads.insert(thread, running_time(&text)?);
        }
    }
    Ok(threads)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("the server is gone")?;
    let kibibytes: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .context("the server's status has no VmRSS")?;
    Ok(kibibytes * 1024)
}

fn running_time(schedstat: &str) -> anyhow::Result<Duration> {
    let first = schedstat.split_whitespace().next().unwrap_or_default();
    let nanoseconds = first
        .parse()
        .context("schedstat does not begin with a number")?;
    Ok(Duration::from_nanos(nanoseconds))
}

fn process_time(pid: &str) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name, in parentheses, may hold spaces.
    let (_, rest) = text.rsplit_once(')').context("stat has no name")?;
    ticks(rest.split_whitespace().skip(11).take(2))
}

/// All but idle time of all processors.
fn machine_time() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<&str> = line.split_whitespace().skip(1).take(8).collect();
    ensure!(fields.len() == 8, "/proc/stat has too few fields");
    // user nice system | idle iowait | irq softirq steal
    ticks(fields[..3].iter().chain(&fields[5..]).copied())
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> anyhow::Result<Duration> {
    let mut total = 0;
    for field in fields {
        total += field
            .parse::<u32>()
            .context("a time that is not a number")?;
    }
    Ok(TICK * total)
}

#[cfg(test)]
mod tests {
    use super::{Usage, resident_bytes};

    #[test]
    fn this_process_uses_time_and_memory() {
        let pid = std::process::id();
        let before = Usage::now(pid).expect("this process runs");
        let mut sum = 0u64;
        for number in 0..20_000_000u64 {
            sum = sum
                .wrapping_mul(31)
                .wrapping_add(std::hint::black_box(number));
        }
        std::hint::black_box(sum);
        let used = before.until(&Usage::now(pid).expect("this process runs"));
        assert!(!used.server.is_zero());
        assert!(resident_bytes(pid).expect("this process runs") > 100_000);
    }
}
