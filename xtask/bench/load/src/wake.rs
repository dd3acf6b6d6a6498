//! Nobody says anything for a while, then every connection sends one message,
//! one after the other: what it takes to be answered by a handler that has
//! nothing in memory. Only one message is under way at a time, so a latency is
//! that of one waking.

use std::time::Instant;

use anyhow::ensure;

use crate::arguments::{self, milliseconds};
use crate::fleet::Fleet;
use crate::latency::Latencies;
use crate::report::Report;
use crate::usage::Usage;

pub(crate) fn run(arguments: &arguments::Wake) -> anyhow::Result<Report> {
    let messages = &arguments.messages;
    let script = arguments.target.script(messages, "")?;
    let mut fleet = Fleet::new(&arguments.target, &script)?;
    fleet.open(messages.connections)?;
    let pause = milliseconds(arguments.pause_ms);
    // The first is not measured: it has more to do than those that follow.
    round(&mut fleet, &mut Latencies::new())?;
    let mut latencies = Latencies::new();
    let mut count = 0;
    let before = Usage::now(arguments.target.pid)?;
    let started = Instant::now();
    while started.elapsed() < milliseconds(arguments.window_ms) {
        std::thread::sleep(pause);
        count += round(&mut fleet, &mut latencies)?;
    }
    let time = started.elapsed();
    // What follows the last message, too: falling asleep is a part of it.
    std::thread::sleep(pause);
    let used = before.until(&Usage::now(arguments.target.pid)?);
    fleet.reset()?;
    Ok(Report::new(count, time, &used, &latencies))
}

fn round(fleet: &mut Fleet<'_>, latencies: &mut Latencies) -> anyhow::Result<u64> {
    for index in 0..fleet.connections.len() {
        fleet.connections[index].send(fleet.script, 1)?;
        let mut outstanding = 1;
        while outstanding > 0 {
            fleet.turn(|_, of, connection, progress| {
                ensure!(!progress.end_of_stream, "the server ended the connection");
                ensure!(
                    progress.closed.is_none(),
                    "the server closes with {:?}",
                    progress.closed
                );
                if progress.ended > 0 {
                    ensure!(of == index, "an answer that nobody waits for");
                    connection.came_back(progress.ended, latencies);
                    outstanding -= progress.ended;
                }
                Ok(())
            })?;
        }
    }
    Ok(fleet.connections.len() as u64)
}
