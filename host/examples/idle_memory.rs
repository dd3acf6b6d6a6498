//! What an idle session costs in memory where no socket limits their number: over in-memory
//! connections, from a hundred thousand to a million.
//!
//! `cargo xtask memory` runs it. The pipes of such a connection stand for the kernel's socket
//! buffers and belong to no session, so a second process measures pipes alone, through which the
//! same bytes went; the host's share is the difference. It opens no socket and checks every answer's
//! length.

#![allow(clippy::print_stdout, reason = "it talks to the person who started it")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use wharf::{InstanceModel, Route, Server};

const USAGE: &str = "idle_memory COMPONENT COUNT...";

/// What others are compared with: the process's own memory and its first tables are in it.
const BASE: usize = 10_000;
/// Connections under way at a time.
const TOGETHER: usize = 256;
/// As `Server::connect` makes them.
const PIPE_BYTES: usize = 64 << 10;
const SETTLE: Duration = Duration::from_millis(500);
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
    match what.as_str() {
        "--pipes" => measure(None, &counts(rest)?),
        "--sessions" => {
            let (component, rest) = rest.split_first().context(USAGE)?;
            measure(Some(Path::new(component)), &counts(rest)?)
        }
        component => compare(component, rest),
    }
}

/// Runs both measurements, each in a process of its own, and shows the difference.
fn compare(component: &str, counts: &[String]) -> Result<()> {
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
    let sessions = run(&["--sessions", component])?;
    println!("resident bytes for each beyond {BASE}, one worker, a shared instance");
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
fn measure(component: Option<&Path>, counts: &[usize]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build()?;
    runtime.block_on(async {
        let server = match component {
            Some(component) => Some(serve(component).await?),
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

async fn serve(component: &Path) -> Result<Server> {
    let route = Route::new("/")
        .component_file(component)
        .instance(InstanceModel::Shared)
        .websocket(|websocket| websocket.ping_interval = Some(PING_INTERVAL));
    Server::builder()
        .workers(1)
        .route(route)
        .limits(|limits| limits.sessions_max = usize::MAX)
        .start()
        .await
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
