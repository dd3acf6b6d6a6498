//! Compiling what strangers have written: in a process of its own, with limits on memory and CPU
//! time, which reads one file and writes another and knows nothing else.
//!
//! The process is this program again, or one that the settings name. It is told which component it
//! is to find and for which engine, and refuses any other.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use super::error::{CompileError, DeployError};
use super::files::{Draft, Folder};
use crate::config::DeploymentSettings;
use crate::digest::Digest;
use crate::guest::{Engine, EngineConfig, GuestLimits, Precompiled, ProgramError};
use crate::{rights, scheduling};

/// What a component is compiled for; no instance of it is started there.
const ENGINE: EngineConfig = EngineConfig { instances_max: 1 };
/// How much longer than its CPU time a compilation may be on its way: it shares the machine.
const WALL_FACTOR: u32 = 4;
/// How often a running compilation is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// What is kept of a compiler's last words.
const WORDS_BYTES_MAX: u64 = 4 << 10;
/// The compiler's exit codes for a component that is none, and for files that cannot be read or
/// written.
const REFUSED: i32 = 3;
const NO_DISK: i32 = 4;
/// What Rust and Linux say when there is no memory left.
const NO_MEMORY: [&str; 3] = [
    "memory allocation of",
    "os error 12",
    "Cannot allocate memory",
];

/// The limits of one compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Memory that it may write to, in bytes; as large a file may it write.
    pub memory_bytes_max: u64,
    /// CPU time; rounded up to whole seconds.
    pub cpu_max: Duration,
    /// Size of the component, in bytes.
    pub component_bytes_max: usize,
}

/// Compiles, one component at a time.
#[derive(Debug)]
pub(super) struct Compiler {
    program: Option<PathBuf>,
    limits: CompileLimits,
    /// Deploys wait for each other here, so that compiling takes no more than one processor.
    turn: Mutex<()>,
}

impl Compiler {
    pub(super) fn new(settings: &DeploymentSettings) -> Self {
        Self {
            program: settings.compiler.clone(),
            limits: CompileLimits {
                memory_bytes_max: settings.compile_memory_bytes_max,
                cpu_max: settings.compile_cpu_max,
                component_bytes_max: settings.component_bytes_max,
            },
            turn: Mutex::default(),
        }
    }

    /// Compiles the component in a file into a draft.
    pub(super) fn compile(
        &self,
        engine: &Engine,
        source: &Digest,
        component: File,
        folder: &Folder,
    ) -> Result<(Draft, Vec<u8>), DeployError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let at_disk = |error: &_| DeployError::disk("compile", error);
        let mut draft = folder.draft().map_err(|error| at_disk(&error))?;
        match &self.program {
            Some(program) => {
                let output = draft.file.try_clone().map_err(|error| at_disk(&error))?;
                self.run(program, engine, source, [component, output])?;
            }
            None => compile(engine, source, &self.limits, component, &mut draft.file)?,
        }
        let mut bytes = Vec::new();
        let read = draft.file.seek(SeekFrom::Start(0));
        read.and_then(|_| draft.file.read_to_end(&mut bytes))
            .map_err(|error| at_disk(&error))?;
        Ok((draft, bytes))
    }

    fn run(
        &self,
        program: &Path,
        engine: &Engine,
        source: &Digest,
        [input, output]: [File; 2],
    ) -> Result<(), DeployError> {
        let limits = &self.limits;
        let child = Command::new(program)
            .arg("compile")
            .arg(format!("--source={source}"))
            .arg(format!("--engine={}", engine.compatibility()))
            .arg(format!("--memory-bytes-max={}", limits.memory_bytes_max))
            .arg(format!("--cpu-ms-max={}", limits.cpu_max.as_millis()))
            .arg(format!(
                "--component-bytes-max={}",
                limits.component_bytes_max
            ))
            .env_clear()
            // One thread: its memory is then the same every time, and a processor is left.
            .env("RAYON_NUM_THREADS", "1")
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| CompileError::NotStarted(format!("{}: {error}", program.display())))?;
        self.judge(child)
    }

    fn judge(&self, mut child: Child) -> Result<(), DeployError> {
        let wall = self.limits.cpu_max.saturating_mul(WALL_FACTOR);
        let outcome = wait(&mut child, wall);
        let mut words = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            // What it said is a help, no more: its exit code decides.
            let _ = stderr.take(WORDS_BYTES_MAX).read_to_end(&mut words);
        }
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        let out_of_time = CompileError::OutOfTime(self.limits.cpu_max);
        let error = match outcome {
            Err(error) => CompileError::Crashed(error.to_string()),
            Ok(None) => out_of_time,
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) if status.signal() == Some(Signal::SIGXCPU as i32) => out_of_time,
            Ok(Some(_)) if NO_MEMORY.iter().any(|sign| words.contains(sign)) => {
                CompileError::OutOfMemory(self.limits.memory_bytes_max)
            }
            Ok(Some(status)) if status.code() == Some(REFUSED) => {
                return Err(ProgramError::Invalid(words).into());
            }
            Ok(Some(status)) if status.code() == Some(NO_DISK) => {
                return Err(DeployError::Disk(words));
            }
            Ok(Some(status)) => CompileError::Crashed(format!("{status}; {words}")),
        };
        Err(error.into())
    }
}

/// Waits for a process's end, and makes one if it takes too long: then there is no status.
fn wait(child: &mut Child, wall: Duration) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + wall;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// What the process does that compiles: sets limits on itself, reads a component from its standard
/// input and writes what was compiled to its standard output. For a program of an embedder that is
/// named as [`DeploymentSettings::compiler`]; it exits with what is returned, and does nothing else.
#[must_use]
pub fn compile_in_this_process(source: &Digest, engine: &Digest, limits: &CompileLimits) -> i32 {
    scheduling::stand_back();
    let outcome = limit(limits)
        .map_err(|error| CompileError::NotStarted(error.to_string()).into())
        .and_then(|()| {
            rights::give_up_all();
            compile_standard_input(source, engine, limits)
        });
    let (code, words) = match outcome {
        Ok(()) => return 0,
        Err(DeployError::Program(ProgramError::Invalid(reason))) => (REFUSED, reason),
        Err(DeployError::Disk(why)) => (NO_DISK, why),
        Err(error) => (1, error.to_string()),
    };
    // Its parent reads it; without one there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{words}");
    code
}

/// Takes rights away from this process; none of them comes back.
fn limit(limits: &CompileLimits) -> nix::Result<()> {
    let seconds = limits.cpu_max.as_millis().div_ceil(1_000).max(1) as u64;
    // The address space is not limited: an engine reserves much of it and writes to little. Over its
    // CPU time it is told so by a signal, which ends it; a second later nothing helps.
    for (resource, soft, hard) in [
        (
            Resource::RLIMIT_DATA,
            limits.memory_bytes_max,
            limits.memory_bytes_max,
        ),
        (
            Resource::RLIMIT_FSIZE,
            limits.memory_bytes_max,
            limits.memory_bytes_max,
        ),
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_CPU, seconds, seconds + 1),
    ] {
        let (_, most) = getrlimit(resource)?;
        setrlimit(resource, soft.min(most), hard.min(most))?;
    }
    set_pdeathsig(Signal::SIGKILL)
}

fn compile_standard_input(
    source: &Digest,
    engine: &Digest,
    limits: &CompileLimits,
) -> Result<(), DeployError> {
    let own = Engine::new(&ENGINE)
        .map_err(|error| DeployError::from(ProgramError::NoEngine(error.to_string())))?;
    if own.compatibility() != *engine {
        let why = "this program has another engine than the server: it is of another build";
        return Err(CompileError::NotStarted(why.to_owned()).into());
    }
    compile(&own, source, limits, std::io::stdin(), std::io::stdout())
}

fn compile(
    engine: &Engine,
    source: &Digest,
    limits: &CompileLimits,
    input: impl std::io::Read,
    mut output: impl Write,
) -> Result<(), DeployError> {
    let mut component = Vec::new();
    let bytes_max = limits.component_bytes_max;
    input
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut component)
        .map_err(|error| DeployError::disk("read the component", &error))?;
    if Digest::of(&component) != *source {
        return Err(DeployError::Damaged(format!(
            "the artifact {source} is not what was uploaded: upload it again"
        )));
    }
    let limits = GuestLimits {
        component_bytes_max: bytes_max,
        ..GuestLimits::default()
    };
    let compiled = Precompiled::compile(engine, &component, &limits)?;
    output
        .write_all(compiled.bytes())
        .and_then(|()| output.flush())
        .map_err(|error| DeployError::disk("write what was compiled", &error))
}
