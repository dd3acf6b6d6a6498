//! What the kernel says about a process: resident memory, descriptors, threads, CPU time; and
//! signals to it.
//!
//! Never waits for a process: that is its parent's part.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// One process by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub u32);

impl Process {
    /// The process of the test itself.
    pub fn own() -> Self {
        Self(std::process::id())
    }

    fn status(self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.0);
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(':')?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or_else(|| panic!("{path} has no {key}"))
    }

    /// Resident memory now, in bytes.
    pub fn resident_bytes(self) -> u64 {
        self.status("VmRSS") * 1024
    }

    /// Resident pages of files now, in bytes: above all the program's own code, as far as it was
    /// needed yet.
    pub fn file_bytes(self) -> u64 {
        self.status("RssFile") * 1024
    }

    /// Address space now, in bytes: grows with what is reserved and never touched, too.
    pub fn virtual_bytes(self) -> u64 {
        self.status("VmSize") * 1024
    }

    /// The most resident memory since the start or the last [`Process::reset_peak`], in bytes.
    pub fn peak_bytes(self) -> u64 {
        self.status("VmHWM") * 1024
    }

    /// Starts [`Process::peak_bytes`] anew.
    pub fn reset_peak(self) {
        let path = format!("/proc/{}/clear_refs", self.0);
        fs::write(&path, "5").unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Open descriptors.
    pub fn descriptors(self) -> usize {
        let path = format!("/proc/{}/fd", self.0);
        fs::read_dir(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
            .count()
    }

    /// What the open descriptors are: files by name, TCP sockets by addresses and state.
    pub fn descriptor_names(self) -> Vec<String> {
        let tcp = fs::read_to_string(format!("/proc/{}/net/tcp", self.0)).unwrap_or_default();
        let socket = |inode: &str| {
            let line = tcp
                .lines()
                .find(|line| line.split_whitespace().nth(9) == Some(inode))?;
            Some(
                line.split_whitespace()
                    .skip(1)
                    .take(3)
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", self.0)) else {
            return Vec::new();
        };
        let links = descriptors
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        let names = links.map(|link| {
            let name = link.display().to_string();
            let inode = name
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            inode.and_then(socket).unwrap_or(name)
        });
        names.collect()
    }

    /// Threads.
    pub fn threads(self) -> u64 {
        self.status("Threads")
    }

    /// User and system time of all threads so far, from the scheduler's statistics.
    pub fn cpu_time(self) -> Duration {
        let path = format!("/proc/{}/task", self.0);
        let tasks = fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let nanos = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(nanos)
    }

    /// The processes that it has started, and those that they have.
    pub fn descendants(self) -> Vec<Self> {
        let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let every: Vec<(Self, Option<Self>)> =
            ids.map(|id| (Self(id), Self(id).parent())).collect();
        let mut found = vec![self];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            next += 1;
            let children = every.iter().filter(|(_, of)| *of == Some(parent));
            found.extend(children.map(|(child, _)| child));
        }
        found.split_off(1)
    }

    /// Who has started it; `None` if it has ended.
    fn parent(self) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(1)?.parse().ok().map(Self)
    }

    /// What it was started with, its own name first; nothing if it has ended.
    pub fn arguments(self) -> Vec<String> {
        let line = fs::read_to_string(format!("/proc/{}/cmdline", self.0)).unwrap_or_default();
        line.split_terminator('\0').map(str::to_owned).collect()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(self, name: &str) {
        let kill = format!("kill -{name} {}", self.0);
        let status = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("a shell can be started");
        assert!(status.success(), "{kill}: {status}");
    }

    /// Whether it still exists and has not ended.
    pub fn is_alive(self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.0)).is_ok_and(|stat| {
            !stat
                .rsplit(") ")
                .next()
                .unwrap_or_default()
                .starts_with('Z')
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn the_own_process_can_be_read() {
        let own = Process::own();
        own.reset_peak();
        assert!(own.resident_bytes() > 100_000);
        assert!(own.peak_bytes() > 100_000);
        assert!(own.descriptors() > 2);
        assert!(own.threads() > 0);
        assert!(own.cpu_time().as_nanos() > 0);
        assert!(own.is_alive());
    }
}
