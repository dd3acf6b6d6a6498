//! Every connection keeps its depth of messages outstanding and sends one for
//! each that came back. CPU time is read while nothing is outstanding, so it
//! belongs to exactly the messages that are counted.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::arguments::{self, milliseconds};
use crate::fleet::Fleet;
use crate::latency::Latencies;
use crate::report::Report;
use crate::usage::Usage;

/// When no more is sent.
#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    /// So many were sent.
    Count(u64),
}

struct Phase {
    messages: u64,
    time: Duration,
    latencies: Latencies,
}

pub(crate) fn run(arguments: &arguments::Echo) -> anyhow::Result<Report> {
    let messages = &arguments.messages;
    let script = arguments.target.script(messages, "")?;
    let mut fleet = Fleet::new(&arguments.target, &script)?;
    fleet.open(messages.connections)?;
    let (warm_up, window) = match arguments.counted.count {
        Some(count) => (Until::Count(count), Until::Count(count)),
        None => (
            Until::Time(milliseconds(arguments.warm_up_ms)),
            Until::Time(milliseconds(arguments.window_ms)),
        ),
    };
    phase(&mut fleet, messages.depth, warm_up)?;
    arguments.counted.stop_at("ready")?;
    let before = Usage::now(arguments.target.pid)?;
    let phase = phase(&mut fleet, messages.depth, window)?;
    let used = before.until(&Usage::now(arguments.target.pid)?);
    arguments.counted.stop_at("measured")?;
    fleet.reset()?;
    Ok(Report::new(
        phase.messages,
        phase.time,
        &used,
        &phase.latencies,
    ))
}

fn phase(fleet: &mut Fleet<'_>, depth: usize, until: Until) -> anyhow::Result<Phase> {
    let started = Instant::now();
    let mut latencies = Latencies::new();
    let mut sent = (depth * fleet.connections.len()) as u64;
    let mut outstanding = sent;
    for connection in &mut fleet.connections {
        connection.send(fleet.script, depth)?;
    }
    while outstanding > 0 {
        let goes_on = match until {
            Until::Time(time) => started.elapsed() < time,
            Until::Count(count) => sent < count,
        };
        fleet.turn(|script, _, connection, progress| {
            ensure!(!progress.end_of_stream, "the server ended the connection");
            ensure!(
                progress.closed.is_none(),
                "the server closes with {:?}",
                progress.closed
            );
            if progress.ended == 0 {
                return Ok(());
            }
            connection.came_back(progress.ended, &mut latencies);
            outstanding -= progress.ended as u64;
            if goes_on {
                sent += progress.ended as u64;
                outstanding += progress.ended as u64;
                connection.send(script, progress.ended)?;
            }
            Ok(())
        })?;
    }
    Ok(Phase {
        messages: sent,
        time: started.elapsed(),
        latencies,
    })
}
