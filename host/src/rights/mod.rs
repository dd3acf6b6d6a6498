//! What the process may do after its start: everything that it does not need is taken away, for
//! good and for all threads that begin later.
//!
//! Decides nothing about what is needed: whoever starts the process says it. Knows no sockets and no
//! configuration. What the kernel cannot do is said, not hidden.

mod calls;
mod files;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use caps::CapSet;
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use self::files::System;

/// Whether rights are taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// No.
    Off,
    /// As far as this kernel can.
    #[default]
    BestEffort,
    /// Yes; a kernel that cannot do all of it is an error.
    Required,
}

impl Sandbox {
    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::Off),
            "best-effort" => Some(Self::BestEffort),
            "required" => Some(Self::Required),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::BestEffort => "best-effort",
            Self::Required => "required",
        }
    }
}

/// What the process needs after its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files that are read, and folders whose files are. What is not there is left out.
    pub reads: Vec<PathBuf>,
    /// Files that are written.
    pub writes: Vec<PathBuf>,
    /// Folders in which files are written, made, renamed and removed.
    pub folders: Vec<PathBuf>,
    /// The programs that are started. Without any, no process is.
    pub executes: Vec<PathBuf>,
    /// The TCP ports that connections are made to; `None` is any.
    pub connects: Option<Vec<u16>>,
}

impl Needs {
    /// What of these another set does not have; each in words.
    #[must_use]
    pub fn beyond(&self, had: &Self) -> Vec<String> {
        let below = |path: &Path, folders: &[PathBuf]| {
            let is_below = |folder: &PathBuf| path.starts_with(folder);
            folders.iter().any(is_below)
        };
        let mut beyond = Vec::new();
        for path in self.reads.iter().filter(|path| !below(path, &had.reads)) {
            beyond.push(format!("reading {}", path.display()));
        }
        let written = self.writes.iter().chain(&self.folders);
        let may_write = [had.writes.as_slice(), &had.folders].concat();
        for path in written.filter(|path| !below(path, &may_write)) {
            beyond.push(format!("writing {}", path.display()));
        }
        let ports = had.connects.iter().flatten();
        let ports: Vec<_> = ports.collect();
        for port in self.connects.iter().flatten() {
            if had.connects.is_some() && !ports.contains(&port) {
                beyond.push(format!("connections to port {port}"));
            }
        }
        beyond
    }
}

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    sandbox: Sandbox,
    /// The version of landlock's interface that holds.
    landlock_abi: Option<u32>,
    holds_ports: bool,
    holds_calls: bool,
    holds_capabilities: bool,
    no_new_privileges: bool,
}

impl Held {
    /// What holds, by the names under which operators find it: each with its value.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let held = |holds: bool| if holds { "held" } else { "not held" }.to_owned();
        let landlock = match self.landlock_abi {
            Some(abi) => format!("held (landlock {abi})"),
            None => "not held".to_owned(),
        };
        vec![
            ("sandbox", self.sandbox.name().to_owned()),
            ("files", landlock),
            ("ports", held(self.holds_ports)),
            ("system_calls", held(self.holds_calls)),
            ("capabilities", held(self.holds_capabilities)),
            ("new_privileges", held(self.no_new_privileges)),
        ]
    }

    /// Whether files are refused that were not named.
    #[must_use]
    pub fn holds_files(&self) -> bool {
        self.landlock_abi.is_some()
    }

    fn missing(&self) -> Vec<&'static str> {
        let rows = [
            ("files (landlock, Linux 5.19)", self.landlock_abi.is_some()),
            ("ports (landlock, Linux 6.7)", self.holds_ports),
            ("system calls (seccomp)", self.holds_calls),
            ("capabilities", self.holds_capabilities),
            ("new privileges", self.no_new_privileges),
        ];
        let missing = rows.iter().filter(|(_, holds)| !holds);
        missing.map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows().into_iter();
        let texts: Vec<_> = rows
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        formatter.write_str(&texts.join(", "))
    }
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Takes from this thread, and from all that it begins later, what is not needed. None of it comes
/// back, neither here nor in a program that is started. To hold for a process it has to be called
/// before there is a second thread.
///
/// # Errors
/// When all of it is required and something cannot be held; when a rule is refused by a kernel that
/// has the means for it.
pub fn give_up(sandbox: Sandbox, needs: &Needs) -> Result<Held> {
    let mut held = Held {
        sandbox,
        ..Held::default()
    };
    if sandbox == Sandbox::Off {
        return Ok(held);
    }
    // What is made from now on is nobody else's.
    umask(Mode::from_bits_truncate(0o077));
    // Rules stick to what is there. What cannot be made is told by whoever opens it.
    for file in &needs.writes {
        let mut options = std::fs::OpenOptions::new();
        drop(options.create(true).append(true).open(file));
    }
    for folder in &needs.folders {
        drop(std::fs::create_dir_all(folder));
    }
    held.holds_capabilities = drop_capabilities().is_ok();
    held.no_new_privileges = prctl::set_no_new_privs().is_ok();
    (held.landlock_abi, held.holds_ports) =
        files::restrict(needs, System::Read).context("the files' rules")?;
    let may_start_programs = !needs.executes.is_empty();
    held.holds_calls = calls::restrict(calls::Set::Server { may_start_programs });
    let missing = held.missing();
    if sandbox == Sandbox::Required && !missing.is_empty() {
        bail!(
            "the sandbox is required, and this kernel cannot hold: {}; right would be a newer \
             kernel, or sandbox = \"best-effort\"",
            missing.join(", ")
        );
    }
    Ok(held)
}

/// As [`give_up`], for the process that compiles what strangers have written: it may read and write
/// the descriptors that it has, and nothing else. What the kernel cannot do is left out.
pub(crate) fn give_up_all() {
    // The limits on memory and time hold in any case; this is what can be had beyond them.
    let _ = drop_capabilities();
    let _ = prctl::set_no_new_privs();
    let nothing = Needs {
        connects: Some(Vec::new()),
        ..Needs::default()
    };
    if files::restrict(&nothing, System::Closed).is_ok() {
        calls::restrict(calls::Set::Compiler);
    }
}

/// An ordinary user's rights, also for root.
fn drop_capabilities() -> Result<(), caps::errors::CapsError> {
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        caps::clear(None, set)?;
    }
    // What a program may gain is cut first, as long as that is allowed; nothing gains anything
    // without it either, because of no_new_privs.
    for capability in caps::all() {
        let _ = caps::drop(None, CapSet::Bounding, capability);
    }
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set)?;
    }
    Ok(())
}

/// The folder that a file is in, so that a file which takes its place can be read, too.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_sandbox_are_read_as_they_are_written() {
        for sandbox in [Sandbox::Off, Sandbox::BestEffort, Sandbox::Required] {
            assert_eq!(Sandbox::parse(sandbox.name()), Some(sandbox));
        }
        assert_eq!(Sandbox::parse("on"), None);
    }

    #[test]
    fn the_folder_of_a_bare_name_is_the_current_one() {
        assert_eq!(folder_of(Path::new("a.wasm")), Path::new("."));
        assert_eq!(folder_of(Path::new("/a/b")), Path::new("/a"));
    }

    /// A thread of its own: what it gives up is gone for it alone.
    fn confined(needs: Needs, act: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(move || {
            let held = give_up(Sandbox::BestEffort, &needs).expect("rules that the kernel takes");
            assert!(held.holds_calls && held.no_new_privileges, "{held}");
            if held.landlock_abi.is_some() {
                act();
            }
        });
        thread.join().expect("the thread ends");
    }

    #[test]
    fn what_was_not_named_is_refused() {
        let folder = std::env::temp_dir().join(format!("wharf-rights-{}", std::process::id()));
        let [named, other] = ["named", "other"].map(|name| folder.join(name));
        std::fs::create_dir_all(&named).expect("a folder");
        std::fs::create_dir_all(&other).expect("a folder");
        for folder in [&named, &other] {
            std::fs::write(folder.join("file"), "text").expect("a file");
        }
        let needs = Needs {
            reads: vec![named.clone()],
            connects: Some(vec![443]),
            ..Needs::default()
        };
        let of_thread = (named.clone(), other.clone());
        confined(needs, move || {
            let (named, other) = of_thread;
            let denied = |outcome: std::io::Result<()>| {
                let kind = outcome.expect_err("it is refused").kind();
                assert_eq!(kind, std::io::ErrorKind::PermissionDenied);
            };
            assert!(std::fs::read(named.join("file")).is_ok());
            denied(std::fs::read(other.join("file")).map(drop));
            denied(std::fs::write(named.join("file"), "new"));
            denied(std::fs::remove_file(named.join("file")));
            denied(std::net::TcpListener::bind("127.0.0.1:0").map(drop));
            denied(std::net::TcpStream::connect("127.0.0.1:9").map(drop));
            denied(std::process::Command::new("/bin/true").status().map(drop));
        });
        std::fs::remove_dir_all(&folder).expect("the folder is there");
    }

    #[test]
    fn folders_that_are_written_can_be_renamed_in() {
        let folder = std::env::temp_dir().join(format!("wharf-writes-{}", std::process::id()));
        for part in ["drafts", "kept"] {
            std::fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        let needs = Needs {
            folders: vec![folder.clone()],
            ..Needs::default()
        };
        let of_thread = folder.clone();
        confined(needs, move || {
            let (draft, kept) = (of_thread.join("drafts/a"), of_thread.join("kept/a"));
            std::fs::write(&draft, "text").expect("a draft");
            std::fs::rename(&draft, &kept).expect("its name");
            std::fs::write(&kept, "").expect("it is cut and written anew");
            std::fs::remove_file(&kept).expect("its end");
        });
        std::fs::remove_dir_all(&folder).expect("the folder is there");
    }
}
