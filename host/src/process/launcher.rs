//! A process of its own that starts the server's successor. The server gives up its right to start
//! programs, and what it has given up would hold for whatever it started; this one is started
//! before, keeps its rights, and does nothing else.
//!
//! The program and its arguments are those of the server's own start. A server that was taken over
//! by an attacker can name another program, but none in a folder that it writes in.

use std::io::{IoSlice, IoSliceMut};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde_json::{Value, json};

/// Tells a process that it is somebody's successor.
pub(crate) const SUCCESSOR: &str = "WHARF_SUCCESSOR";
/// The first of the descriptors that a service manager, or this, hands over.
const FIRST: RawFd = 3;
/// Descriptors of one message; the kernel takes no more.
const DESCRIPTORS_MAX: usize = 253;
/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// The program that runs, also when its file has been replaced.
const ITSELF: &str = "/proc/self/exe";

/// What the launcher is told at its start.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// What is started, if nothing else is asked for.
    #[arg(long)]
    program: PathBuf,
    /// A folder or file that nothing is started from.
    #[arg(long)]
    never_from: Vec<PathBuf>,
    /// The arguments that it gets.
    #[arg(last = true)]
    arguments: Vec<std::ffi::OsString>,
}

/// The server's way to its launcher.
#[derive(Debug)]
pub(crate) struct Launcher {
    channel: OwnedFd,
    /// Waited for when this is dropped, which ends it.
    process: Child,
}

/// A successor that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: u32,
    pub(crate) link: UnixStream,
}

impl Launcher {
    /// Starts it. To be called while the process has all its rights and one thread.
    pub(crate) fn start<'a>(never_from: impl Iterator<Item = &'a PathBuf>) -> Result<Self> {
        let (channel, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let mut command = Command::new(ITSELF);
        command.arg("launch").arg("--program").arg(own_program()?);
        for folder in never_from {
            command.arg("--never-from").arg(folder);
        }
        let process = command
            .arg("--")
            .args(std::env::args_os().skip(1))
            .env_remove(SUCCESSOR)
            .stdin(theirs)
            .spawn()
            .context("a process that starts successors")?;
        Ok(Self { channel, process })
    }

    /// Starts a successor with these sockets. Waits until it is started, which takes a moment.
    pub(crate) fn launch(
        &self,
        program: Option<&Path>,
        sockets: &[&TcpListener],
    ) -> Result<Started> {
        let (link, theirs) = UnixStream::pair()?;
        let mut descriptors: Vec<RawFd> = sockets.iter().map(|one| one.as_raw_fd()).collect();
        descriptors.push(theirs.as_raw_fd());
        if descriptors.len() > DESCRIPTORS_MAX {
            bail!("there are more than {} sockets", DESCRIPTORS_MAX - 1);
        }
        let program = program.map(|program| program.display().to_string());
        let order = json!({ "launch": descriptors.len(), "program": program }).to_string();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        send(self.channel.as_raw_fd(), &order, &rights)?;
        let answer = self.answer()?;
        match answer["started"].as_u64().map(u32::try_from) {
            Some(Ok(process)) => Ok(Started { process, link }),
            _ => bail!(
                "{}",
                answer["failed"].as_str().unwrap_or("it does not answer")
            ),
        }
    }

    /// Ends a successor that did not get ready, and says how it ended.
    pub(crate) fn end(&self) -> Result<String> {
        send(
            self.channel.as_raw_fd(),
            &json!({ "end": true }).to_string(),
            &[],
        )?;
        let answer = self.answer()?;
        let ended = answer["ended"].as_str();
        ended.map(str::to_owned).context("it does not answer")
    }

    fn answer(&self) -> Result<Value> {
        let (answer, _) = receive(self.channel.as_raw_fd())?.context("the launcher has ended")?;
        Ok(answer)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Its channel is closed only after this, so it is told.
        let _ = send(
            self.channel.as_raw_fd(),
            &json!({ "leave": true }).to_string(),
            &[],
        );
        let _ = self.process.wait();
    }
}

/// The program of this process by the name under which it was started: what is there at the next
/// start, also where a link leads to another file by then.
fn own_program() -> Result<PathBuf> {
    let running = std::env::current_exe().context("the program of this process")?;
    let Some(named) = std::env::args_os().next().map(PathBuf::from) else {
        return Ok(running);
    };
    let is_running = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == running);
    let found = if named.components().count() > 1 {
        std::path::absolute(&named).ok().filter(is_running)
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).map(|folder| folder.join(&named));
        places.find(is_running)
    };
    Ok(found.unwrap_or(running))
}

/// What the launcher does until its server has ended.
pub(crate) fn run(arguments: &Launch) -> Result<ExitCode> {
    // These are for the server, whoever sends them to all processes of this name.
    let signals: SigSet = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ]
    .into_iter()
    .collect();
    signals.thread_block()?;
    close_all_but_the_standard_ones()?;
    let channel = std::io::stdin();
    let channel = channel.as_raw_fd();
    let mut successor: Option<Child> = None;
    while let Some((order, descriptors)) = receive(channel)? {
        let answer = if order["launch"].is_u64() {
            signals.thread_unblock()?;
            let started = start(arguments, order["program"].as_str(), &descriptors);
            signals.thread_block()?;
            match started {
                Ok(child) => {
                    let process = child.id();
                    successor = Some(child);
                    json!({ "started": process })
                }
                Err(error) => json!({ "failed": format!("{error:#}") }),
            }
        } else if order["end"].is_boolean() {
            json!({ "ended": successor.take().map_or_else(|| "it was never started".to_owned(), end) })
        } else {
            break;
        };
        for descriptor in descriptors {
            nix::unistd::close(descriptor)?;
        }
        send(channel, &answer.to_string(), &[])?;
    }
    // A successor goes on by itself: its server has given way, or has ended without a word.
    Ok(ExitCode::SUCCESS)
}

/// Starts the program with these descriptors, as a service manager would.
fn start(arguments: &Launch, program: Option<&str>, descriptors: &[RawFd]) -> Result<Child> {
    let expected = FIRST..;
    if !descriptors
        .iter()
        .copied()
        .eq(expected.take(descriptors.len()))
    {
        bail!("the sockets came as the descriptors {descriptors:?}");
    }
    let program = program.map_or(arguments.program.as_path(), Path::new);
    let real = program.canonicalize();
    let real = real.with_context(|| format!("the program {}", program.display()))?;
    let is_there = |folder: &&PathBuf| {
        let folder = folder.canonicalize();
        folder.is_ok_and(|folder| real.starts_with(folder))
    };
    if let Some(folder) = arguments.never_from.iter().find(is_there) {
        bail!(
            "{} is where the server writes ({}): right would be a program that it cannot change",
            real.display(),
            folder.display()
        );
    }
    Command::new(program)
        .args(&arguments.arguments)
        .env("LISTEN_FDS", descriptors.len().to_string())
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES")
        // Until the service manager hears of it, this is of the process before.
        .env_remove("WATCHDOG_PID")
        .env(SUCCESSOR, "1")
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

fn end(mut child: Child) -> String {
    // One that has ended by itself cannot be killed, and says how it ended.
    let _ = child.kill();
    match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// What whoever started the server had open besides would be in the way, and would never be closed.
fn close_all_but_the_standard_ones() -> Result<()> {
    let open = std::fs::read_dir("/proc/self/fd")?;
    let open = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let open: Vec<RawFd> = open.collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor >= FIRST) {
        // That of the folder just read is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

fn send(channel: RawFd, message: &str, rights: &[ControlMessage<'_>]) -> Result<()> {
    let bytes = [IoSlice::new(message.as_bytes())];
    sendmsg::<()>(channel, &bytes, rights, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
        .map_err(|error| anyhow!("the launcher has ended ({error})"))
}

/// The next message and the descriptors that came with it; `None` when the other end is closed.
fn receive(channel: RawFd) -> Result<Option<(Value, Vec<RawFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut descriptors = Vec::new();
    let length = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(channel, &mut slices, Some(&mut space), MsgFlags::empty())?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                descriptors.extend(received);
            }
        }
        message.bytes
    };
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((
        serde_json::from_slice(&bytes[..length])?,
        descriptors,
    )))
}
