//! The `wharf` command: a thin shell over the library. It reads arguments, files and signals, and
//! serves nothing by itself.

mod cli;
mod dev;
mod process;
mod scaffold;
mod serve;
mod telemetry;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand};
use wharf::{
    AfterTrap, CompileLimits, Digest, GuestLimits, InstanceModel, Sandbox, parse_duration,
};

use crate::process::launcher::{self, Launch};
use crate::telemetry::LogFormat;

const EXAMPLES: &str = "\
Examples:
  wharf new hello                              a folder to begin a handler in
  wharf dev hello                              builds and serves it, again after each change
  wharf serve echo.wasm                        one handler on every path of http://127.0.0.1:8080
  wharf serve chat.wasm --instance '{path}'    sessions on the same path share an instance
  wharf serve --config server.toml             routes, limits, TLS and pages from a file
  wharf check chat.wasm                        would this component run here?
  wharf status                                 how is the server that runs on this machine?

Exit codes: 0 all is well, 1 it failed, 2 the arguments make no sense.";

const SERVE_USAGE: &str = "\
wharf serve COMPONENT.wasm [OPTIONS]
       wharf serve --config FILE [OPTIONS]";

const SERVE_EXAMPLES: &str = "\
A configuration file:
  listen = \"0.0.0.0:8080\"

  [[route]]
  path = \"/rooms/{room}\"
  component = \"chat.wasm\"        # relative to the file
  instance = \"{room}\"            # one instance for each room
  [route.websocket]
  ping_interval = \"30s\"
  max_message_bytes = \"64KiB\"

  [[page]]
  path = \"/\"
  file = \"page.html\"

When it is ready, one line `listening on http://ADDRESS` goes to standard output; the log goes to
standard error, and RUST_LOG chooses what is in it (`RUST_LOG=debug`).

SIGHUP reads the file and the components again: routes and pages change under live sockets, a new
component takes over as its route's `rollout` says, and everything else comes with the next start.
A file that is wrong changes nothing.

SIGUSR2 starts the program anew under the open sockets and hands over to it: `wharf upgrade --help`.

SIGTERM or Ctrl-C asks every client to leave (close code 1001) and waits up to 30 seconds for them;
a second one ends at once.

After its start the process gives up the rights that it does not need: files that it was not told
of, other ports, starting programs, capabilities. `wharf status` shows what holds.";

const CHECK_HELP: &str = "\
Says which world the component implements, what it imports and whether it may have that, what it
exports, how large it is and how long it takes to compile. None of its code is run. The exit code
is 0 if the server would serve it.";

/// Serves WebSockets with handlers that are sandboxed WebAssembly components.
///
/// The server owns every socket: handshake, frames, pings, compression, back-pressure, limits and
/// closing. A handler is a component in the world `wharf:websocket/websocket-handler`, or a conversation; it sees
/// sessions and whole messages, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, after_long_help = EXAMPLES, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a server until it is told to stop.
    #[command(after_long_help = SERVE_EXAMPLES, override_usage = SERVE_USAGE)]
    Serve(Serve),
    /// Makes a folder with a handler in Rust, and says how to build and serve it.
    New(scaffold::New),
    /// Builds and serves the handler of a folder, and does it again when a file changes.
    #[command(after_long_help = dev::HELP)]
    Dev(dev::Dev),
    /// Says whether a component would run, and why not.
    #[command(after_long_help = CHECK_HELP)]
    Check(Check),
    /// Compiles a component from standard input to standard output; the server calls it.
    #[command(hide = true)]
    Compile(Compile),
    /// Starts successors of a server; the server calls it.
    #[command(hide = true)]
    Launch(Launch),
    #[command(flatten)]
    Ask(cli::Command),
    /// Writes a script that completes these commands: `source <(wharf completions bash)`.
    Completions {
        /// The shell that it is for.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// A component that answers on every path that the configuration leaves free.
    #[arg(required_unless_present = "config")]
    component: Option<PathBuf>,
    /// Where to listen, instead of what the configuration says; port 0 takes a free one. May be
    /// repeated. Without any: 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// A TOML file with routes, limits, TLS and pages.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which sessions of COMPONENT share an instance: `session` (none), `shared` (all of a worker)
    /// or `{path}` (those on the same path).
    #[arg(long, value_name = "MODEL", requires = "component", value_parser = instance)]
    instance: Option<Instance>,
    /// After how long without work an instance of COMPONENT sleeps, such as `30s`; by default it
    /// never does.
    #[arg(long, value_name = "DURATION", requires = "component", value_parser = idle)]
    idle: Option<Duration>,
    /// What becomes of the sessions of an instance of COMPONENT that traps: `close` (1011, the
    /// default) or `restart` (they stay open, and a fresh instance goes on).
    #[arg(long, value_name = "POLICY", requires = "component", value_parser = after_trap)]
    after_trap: Option<AfterTrap>,
    /// Worker threads; by default one for each core.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Which rights the process gives up: `best-effort` (what the kernel can hold), `required` (all,
    /// or it does not start) or `off`; instead of what the configuration says.
    #[arg(long, value_name = "MODE", value_parser = sandbox)]
    sandbox: Option<Sandbox>,
    /// What the log looks like.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, Args)]
struct Check {
    /// The component's file.
    component: PathBuf,
}

#[derive(Debug, Args)]
struct Compile {
    /// The digest of the component.
    #[arg(long)]
    source: Digest,
    /// What the server's engine needs of compiled components.
    #[arg(long)]
    engine: Digest,
    /// Memory that it may use.
    #[arg(long)]
    memory_bytes_max: u64,
    /// CPU time that it may use.
    #[arg(long)]
    cpu_ms_max: u64,
    /// Size that the component may have.
    #[arg(long)]
    component_bytes_max: usize,
}

#[derive(Clone, Debug)]
enum Instance {
    Model(InstanceModel),
    Key(String),
}

fn instance(text: &str) -> Result<Instance, String> {
    match text {
        "session" => Ok(Instance::Model(InstanceModel::Session)),
        "shared" => Ok(Instance::Model(InstanceModel::Shared)),
        _ if text.contains("{path}") => Ok(Instance::Key(text.to_owned())),
        _ => Err("right is `session`, `shared` or a template with {path}".to_owned()),
    }
}

fn idle(text: &str) -> Result<Duration, String> {
    let right = || "right is a duration with its unit, such as `30s` or `500ms`".to_owned();
    parse_duration(text).ok_or_else(right)
}

fn after_trap(text: &str) -> Result<AfterTrap, String> {
    match text {
        "close" => Ok(AfterTrap::Close),
        "restart" => Ok(AfterTrap::RESTART),
        _ => Err("right is `close` or `restart`".to_owned()),
    }
}

fn sandbox(text: &str) -> Result<Sandbox, String> {
    let right = || "right is `best-effort`, `required` or `off`".to_owned();
    Sandbox::parse(text).ok_or_else(right)
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::New(new) => scaffold::run(&new)
            .and_then(|said| Ok(writeln!(std::io::stdout(), "{said}")?))
            .map(|()| ExitCode::SUCCESS),
        Command::Dev(dev) => dev::run(&dev),
        Command::Check(check) => inspect(&check.component),
        Command::Compile(arguments) => compile(&arguments),
        Command::Launch(arguments) => launcher::run(&arguments),
        Command::Ask(command) => cli::run(command).map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "wharf", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        // Nothing can be done about a standard error that is gone.
        let _ = writeln!(std::io::stderr(), "wharf: {error:#}");
        ExitCode::FAILURE
    })
}

fn inspect(file: &Path) -> Result<ExitCode> {
    serve::is_there(file)?;
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let report = wharf::inspect(&bytes, &GuestLimits::default())
        .with_context(|| format!("{} would not run", file.display()))?;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(if report.would_run() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn compile(arguments: &Compile) -> ! {
    let limits = CompileLimits {
        memory_bytes_max: arguments.memory_bytes_max,
        cpu_max: Duration::from_millis(arguments.cpu_ms_max),
        component_bytes_max: arguments.component_bytes_max,
    };
    let (source, engine) = (&arguments.source, &arguments.engine);
    std::process::exit(wharf::compile_in_this_process(source, engine, &limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_server_needs_a_component_or_a_file() {
        let serve = |arguments: &[&str]| {
            Cli::try_parse_from([&["wharf", "serve"], arguments].concat()).map(drop)
        };
        assert!(serve(&["a.wasm", "--instance", "shared", "--workers", "2"]).is_ok());
        assert!(serve(&["a.wasm", "--idle", "500ms", "--after-trap", "restart"]).is_ok());
        assert!(serve(&["--config", "wharf.toml"]).is_ok());
        for wrong in [
            &[] as &[&str],
            &["a.wasm", "--instance", "sesion"],
            &["a.wasm", "--workers", "0"],
            &["a.wasm", "--idle", "30"],
            &["a.wasm", "--after-trap", "reopen"],
            &["--config", "wharf.toml", "--idle", "30s"],
            &["--config", "wharf.toml", "--instance", "shared"],
            &["--config", "wharf.toml", "--after-trap", "close"],
        ] {
            let error = serve(wrong).expect_err("these arguments make no sense");
            assert_eq!(error.exit_code(), 2, "{wrong:?}: {error}");
        }
    }
}
