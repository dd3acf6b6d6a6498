//! What an idle session costs in memory where no socket limits their number: over in-memory
//! connections, from a hundred thousand to a million; and what one costs whose own instance sleeps,
//! over in-memory connections and on sockets.
//!
//! `cargo xtask memory` runs it. The pipes of such a connection stand for the kernel's socket
//! buffers and belong to no session, so a second process measures pipes alone, through which the
//! same bytes went; the host's share is the difference. Sockets are opened by another process than
//! the one that is measured. It checks every answer's length.

#![allow(clippy::print_stdout, reason = "it talks to the person who started it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use wharf::{InstanceModel, Route, Server};

const USAGE: &str = "idle_memory awake|asleep|sockets COMPONENT COUNT...";

/// What others are compared with: the process's own memory and its first tables are in it.
const BASE: usize = 10_000;
/// Connections under way at a time.
const TOGETHER: usize = 256;
/// As `Server::connect` makes them.
const PIPE_BYTES: usize = 64 << 10;
const SETTLE: Duration = Duration::from_millis(500);
/// From one look at how many sleep to the next.
const LOOK: Duration = Duration::from_millis(5);
/// Instances that are awake at a time where sockets are opened one after the other. What they take is
/// not the cost of those that sleep, and would change with the machine's speed.
const AWAKE_MAX: usize = 64;
/// After so long an instance of one's own sleeps.
const IDLE: Duration = Duration::from_millis(50);
/// Nothing pings while the sessions are opened, but every session keeps its deadline.
const PING_INTERVAL: Duration = Duration::from_secs(3_600);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: wharf.test\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
    connection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// A text of 125 bytes, masked with zeros.
const MESSAGE: [u8; 131] = message();
const ECHO_BYTES: usize = 127;

const fn message() -> [u8; 131] {
    let mut frame = [b'x'; 131];
    frame[0] = 0x81;
    frame[1] = 0x80 | 125;
    frame[2] = 0;
    frame[3] = 0;
    frame[4] = 0;
    frame[5] = 0;
    frame
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (what, rest) = arguments.split_first().context(USAGE)?;
    let counts = |texts: &[String]| -> Result<Vec<usize>> {
        let counts = texts.iter().map(|text| text.parse().context(USAGE));
        counts.collect()
    };
    if what == "--pipes" {
        return measure(None, Kind::Awake, &counts(rest)?);
    }
    let (component, rest) = rest.split_first().context(USAGE)?;
    let path = Path::new(component);
    match what.as_str() {
        "--awake" => measure(Some(path), Kind::Awake, &counts(rest)?),
        "--asleep" => measure(Some(path), Kind::Asleep, &counts(rest)?),
        "--serve" => listen(path),
        "awake" => compare(Kind::Awake, component, rest),
        "asleep" => compare(Kind::Asleep, component, rest),
        "sockets" => compare_sockets(component, &counts(rest)?),
        _ => anyhow::bail!(USAGE),
    }
}

/// Whose memory is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Sessions of one shared instance.
    Awake,
    /// Sessions with an instance of their own, which sleeps.
    Asleep,
}

impl Kind {
    fn about(self) -> (&'static str, &'static str) {
        match self {
            Self::Awake => ("--awake", "a shared instance"),
            Self::Asleep => ("--asleep", "instances of their own, asleep"),
        }
    }
}

/// Runs both measurements, each in a process of its own, and shows the difference.
fn compare(kind: Kind, component: &str, counts: &[String]) -> Result<()> {
    let (argument, about) = kind.about();
    let run = |arguments: &[&str]| -> Result<Vec<f64>> {
        let mut command = Command::new(std::env::current_exe()?);
        let output = command.args(arguments).args(counts).output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let lines = String::from_utf8(output.stdout)?;
        lines.lines().map(|line| Ok(line.parse()?)).collect()
    };
    let pipes = run(&["--pipes"])?;
    let sessions = run(&[argument, component])?;
    println!("resident bytes for each beyond {BASE}, one worker, {about}");
    println!(
        "{:>10} {:>14} {:>12} {:>10}",
        "sessions", "with pipes", "pipes", "host"
    );
    for ((count, with), alone) in counts.iter().zip(&sessions).zip(&pipes) {
        println!(
            "{count:>10} {with:>14.0} {alone:>12.0} {:>10.0}",
            with - alone
        );
    }
    Ok(())
}

/// Prints the bytes for each connection, a line for each count.
fn measure(component: Option<&Path>, kind: Kind, counts: &[usize]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build()?;
    runtime.block_on(async {
        let server = match component {
            Some(component) => Some(builder(component, kind).start().await?),
            None => None,
        };
        let mut open = Vec::new();
        grow(&server, &mut open, BASE).await?;
        let base = resident_bytes()?;
        for &count in counts {
            ensure!(count > BASE, "a count is beyond {BASE}");
            grow(&server, &mut open, count).await?;
            let grown = resident_bytes()? as f64 - base as f64;
            println!("{}", grown / (count - BASE) as f64);
        }
        // Nobody waits for a million endings.
        std::process::exit(0)
    })
}

fn builder(component: &Path, kind: Kind) -> wharf::Builder {
    let (instance, idle) = match kind {
        Kind::Awake => (InstanceModel::Shared, None),
        Kind::Asleep => (InstanceModel::Session, Some(IDLE)),
    };
    let route = Route::new("/")
        .component_file(component)
        .instance(instance)
        .idle(idle)
        .websocket(|websocket| websocket.ping_interval = Some(PING_INTERVAL));
    Server::builder()
        .workers(1)
        .route(route)
        .limits(|limits| limits.sessions_max = usize::MAX)
}

/// Serves on a socket. For each line that comes in it says how many instances sleep, and its own
/// memory in bytes.
fn listen(component: &Path) -> Result<()> {
    let builder = builder(component, Kind::Asleep);
    let server = builder.listen("127.0.0.1:0").start_blocking()?;
    println!("{}", server.local_addr());
    for line in std::io::stdin().lines() {
        line?;
        println!("{} {}", server.stats().instances_asleep, resident_bytes()?);
    }
    std::process::exit(0)
}

/// Opens sockets to a server in another process, and shows its memory.
fn compare_sockets(component: &str, counts: &[usize]) -> Result<()> {
    const FEW: usize = 1_000;
    let mut served = Served::start(component)?;
    let mut open = Vec::new();
    let base = served.memory_at(FEW, &mut open)?;
    println!("resident bytes for each beyond {FEW}, on sockets, instances of their own, asleep");
    for &count in counts {
        ensure!(count > FEW, "a count is beyond {FEW}");
        let grown = served.memory_at(count, &mut open)? - base;
        println!("{count:>10} {:>14.0}", grown / (count - FEW) as f64);
    }
    Ok(())
}

/// A server in a process of its own, killed in the end.
struct Served {
    process: Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: String,
}

impl Served {
    fn start(component: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", component]).stdin(Stdio::piped());
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("its output is piped")?;
        let mut answers = BufReader::new(output).lines();
        let address = answers.next().context("it says where it listens")??;
        Ok(Self {
            process,
            answers,
            address,
        })
    }

    /// Its memory, once so many sessions are open and all their instances sleep.
    fn memory_at(&mut self, count: usize, open: &mut Vec<TcpStream>) -> Result<f64> {
        while open.len() < count {
            for _ in 0..AWAKE_MAX.min(count - open.len()) {
                open.push(self.visit()?);
            }
            while self.asleep_and_bytes()?.0 < open.len() {
                std::thread::sleep(LOOK);
            }
        }
        std::thread::sleep(SETTLE);
        Ok(self.asleep_and_bytes()?.1)
    }

    /// Opens a session, and echoes once.
    fn visit(&self) -> Result<TcpStream> {
        let mut buffer = [0; ANSWER.len()];
        let mut socket = TcpStream::connect(&self.address)?;
        for (bytes, answer_bytes) in [(REQUEST, ANSWER.len()), (&MESSAGE, ECHO_BYTES)] {
            socket.write_all(bytes)?;
            socket.read_exact(&mut buffer[..answer_bytes])?;
        }
        Ok(socket)
    }

    fn asleep_and_bytes(&mut self) -> Result<(usize, f64)> {
        let input = self.process.stdin.as_mut().context("its input is piped")?;
        input.write_all(b"\n")?;
        let answer = self.answers.next().context("it answers")??;
        let (asleep, resident) = answer.split_once(' ').context("two numbers")?;
        Ok((asleep.parse()?, resident.parse()?))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended by itself needs neither.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Both ends of a connection, the far one only without a server.
type Pipe = (DuplexStream, Option<DuplexStream>);

async fn grow(server: &Option<Server>, open: &mut Vec<Pipe>, count: usize) -> Result<()> {
    // Doubling it would count as memory of the sessions.
    open.reserve_exact(count - open.len());
    while open.len() < count {
        let first = open.len();
        for _ in 0..TOGETHER.min(count - first) {
            open.push(match server {
                Some(server) => (server.connect()?, None),
                None => {
                    let (near, far) = tokio::io::duplex(PIPE_BYTES);
                    (near, Some(far))
                }
            });
        }
        exchange(&mut open[first..], REQUEST, ANSWER.len()).await?;
        exchange(&mut open[first..], &MESSAGE, ECHO_BYTES).await?;
    }
    tokio::time::sleep(SETTLE).await;
    // All but a shared one.
    while server
        .as_ref()
        .is_some_and(|server| server.stats().instances_live > 1)
    {
        tokio::time::sleep(SETTLE).await;
    }
    Ok(())
}

/// Sends the same to all of them and awaits so many bytes from each.
async fn exchange(open: &mut [Pipe], bytes: &[u8], answer_bytes: usize) -> Result<()> {
    let mut buffer = [0; 4096];
    for (near, far) in &mut *open {
        near.write_all(bytes).await?;
        if let Some(far) = far {
            let read = far.read(&mut buffer).await?;
            ensure!(read == bytes.len(), "a pipe holds what it was given");
            far.write_all(&buffer[..answer_bytes]).await?;
        }
    }
    for (near, _) in open {
        near.read_exact(&mut buffer[..answer_bytes]).await?;
    }
    Ok(())
}

fn resident_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kibibytes.context("the status has no VmRSS")? * 1024)
}
