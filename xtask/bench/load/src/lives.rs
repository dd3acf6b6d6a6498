//! Connections that come and go. `connect` measures handshakes alone: their
//! ends fall between the measured stretches. `churn` measures whole lives:
//! handshake, one echo, closing handshake, end of the stream.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::arguments::{self, Messages, Target, milliseconds};
use crate::fleet::Fleet;
use crate::latency::Latencies;
use crate::report::Report;
use crate::script::{Form, Script};
use crate::usage::{Usage, Used};

/// Handshakes measured in one stretch.
const STRETCH: usize = 512;

pub(crate) fn connect(arguments: &arguments::Lives) -> anyhow::Result<Report> {
    let target = &arguments.target;
    let script = script(target)?;
    // The first connections make a server allocate and compile.
    warm_up(target, &script)?;
    if let Some(count) = arguments.counted.count {
        return one_by_one(arguments, count as usize, &script);
    }
    let mut total = Used::default();
    let (mut time, mut count) = (Duration::ZERO, 0);
    let mut latencies = Latencies::new();
    while time < milliseconds(arguments.window_ms) {
        let mut fleet = Fleet::new(target, &script)?;
        let before = Usage::now(target.pid)?;
        let started = Instant::now();
        latencies.add(&fleet.open(STRETCH)?);
        time += started.elapsed();
        total += before.until(&Usage::now(target.pid)?);
        count += STRETCH as u64;
        fleet.reset()?;
    }
    Ok(Report::new(count, time, &total, &latencies))
}

/// Opens connections one after the other.
fn one_by_one(
    arguments: &arguments::Lives,
    count: usize,
    script: &Script,
) -> anyhow::Result<Report> {
    let target = &arguments.target;
    let mut fleet = Fleet::new(target, script)?;
    let mut latencies = Latencies::new();
    arguments.counted.stop_at("ready")?;
    let before = Usage::now(target.pid)?;
    let started = Instant::now();
    for opened in 1..=count {
        latencies.add(&fleet.open(opened)?);
    }
    let time = started.elapsed();
    let used = before.until(&Usage::now(target.pid)?);
    arguments.counted.stop_at("measured")?;
    fleet.reset()?;
    Ok(Report::new(count as u64, time, &used, &latencies))
}

pub(crate) fn churn(arguments: &arguments::Lives) -> anyhow::Result<Report> {
    let target = &arguments.target;
    let script = script(target)?;
    warm_up(target, &script)?;
    let mut fleet = Fleet::new(target, &script)?;
    let before = Usage::now(target.pid)?;
    let started = Instant::now();
    let mut latencies = Latencies::new();
    let mut lives = Lives {
        slots: arguments.connections,
        window: milliseconds(arguments.window_ms),
        code_received: vec![false; arguments.connections],
    };
    let count = lives.run(&mut fleet, &mut latencies)?;
    let time = started.elapsed();
    let used = before.until(&Usage::now(target.pid)?);
    Ok(Report::new(count, time, &used, &latencies))
}

fn script(target: &Target) -> anyhow::Result<Script> {
    let messages = Messages {
        size: 125,
        text: true,
        depth: 1,
        connections: 0,
    };
    target.script(&messages, "")
}

fn warm_up(target: &Target, script: &Script) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(target, script)?;
    fleet.open(STRETCH / 4)?;
    fleet.reset()
}

struct Lives {
    slots: usize,
    window: Duration,
    /// By slot: the server's close frame has come.
    code_received: Vec<bool>,
}

impl Lives {
    /// The answer is how many lives ended in order.
    fn run(&mut self, fleet: &mut Fleet<'_>, latencies: &mut Latencies) -> anyhow::Result<u64> {
        let started = Instant::now();
        fleet.open(self.slots)?;
        for connection in &mut fleet.connections {
            connection.send(fleet.script, 1)?;
        }
        let (mut count, mut living) = (0, self.slots);
        let mut over = Vec::new();
        while living > 0 {
            fleet.turn(|script, slot, connection, progress| {
                if progress.opened {
                    connection.send(script, 1)?;
                }
                if progress.ended > 0 {
                    connection.close(script)?;
                }
                if let Some(code) = progress.closed {
                    ensure!(code == 1000, "1000 was answered with {code}");
                    self.code_received[slot] = true;
                }
                if progress.end_of_stream {
                    let in_order = self.code_received[slot] || script.form == Form::Raw;
                    ensure!(
                        in_order,
                        "the server ended the connection without a close frame"
                    );
                    latencies.record(connection.began.elapsed().as_nanos() as u64, 1);
                    connection.stream().reset_on_drop()?;
                    over.push(slot);
                }
                Ok(())
            })?;
            for slot in over.drain(..) {
                count += 1;
                self.code_received[slot] = false;
                if started.elapsed() < self.window {
                    fleet.replace(slot)?;
                } else {
                    living -= 1;
                }
            }
        }
        Ok(count)
    }
}
