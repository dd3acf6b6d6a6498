//! What the kernel says about a process: resident memory, descriptors, threads, CPU time.
//!
//! Reads `/proc` only; never changes anything.

use std::fs;
use std::time::Duration;

/// One process by its id.
#[derive(Clone, Copy, Debug)]
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
