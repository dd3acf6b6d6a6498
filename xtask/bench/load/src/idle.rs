//! Memory of the server for each connection that is open and silent. Every
//! connection has echoed one message before, as one that is in use has.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::arguments::{self, Messages, milliseconds};
use crate::fleet::Fleet;
use crate::latency::Latencies;
use crate::report::{Memory, Report};
use crate::usage::{Usage, resident_bytes};

pub(crate) fn run(arguments: &arguments::Idle) -> anyhow::Result<Report> {
    let target = &arguments.target;
    let messages = Messages {
        size: 125,
        text: true,
        depth: 1,
        connections: 0,
    };
    ensure!(
        arguments.connections.is_sorted(),
        "numbers of connections must ascend"
    );
    let script = target.script(&messages, "")?;
    let mut fleet = Fleet::new(target, &script)?;
    let before = Usage::now(target.pid)?;
    let mut time = Duration::ZERO;
    let mut memory: Vec<Memory> = Vec::new();
    for &connections in &arguments.connections {
        let started = Instant::now();
        let first_new = fleet.connections.len();
        fleet.open(connections)?;
        echo_once(&mut fleet, first_new)?;
        time += started.elapsed();
        std::thread::sleep(milliseconds(arguments.settle_ms));
        let resident = resident_bytes(target.pid)?;
        memory.push(Memory {
            connections,
            resident_bytes: resident,
            bytes_each: memory.first().map(|base| {
                (resident as f64 - base.resident_bytes as f64)
                    / (connections - base.connections) as f64
            }),
        });
    }
    let used = before.until(&Usage::now(target.pid)?);
    let count = fleet.connections.len() as u64;
    fleet.reset()?;
    let mut report = Report::new(count, time, &used, &Latencies::new());
    report.memory = memory;
    Ok(report)
}

fn echo_once(fleet: &mut Fleet<'_>, first: usize) -> anyhow::Result<()> {
    let mut outstanding = fleet.connections.len() - first;
    for connection in &mut fleet.connections[first..] {
        connection.send(fleet.script, 1)?;
    }
    while outstanding > 0 {
        fleet.turn(|_, _, _, progress| {
            ensure!(!progress.end_of_stream, "the server ended the connection");
            outstanding -= progress.ended;
            Ok(())
        })?;
    }
    Ok(())
}
