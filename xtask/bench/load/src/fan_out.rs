//! One connection publishes `depth` messages; when all connections, itself
//! included, have received all of them, it publishes the next.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::arguments::{self, milliseconds};
use crate::fleet::Fleet;
use crate::latency::Latencies;
use crate::report::Report;
use crate::usage::Usage;

/// A server may still be counting in the last connections when it has answered
/// their handshakes.
const COUNTED_IN: Duration = Duration::from_millis(300);

pub(crate) fn run(arguments: &arguments::FanOut) -> anyhow::Result<Report> {
    let messages = &arguments.messages;
    let script = arguments.target.script(messages, &arguments.prefix)?;
    let mut fleet = Fleet::new(&arguments.target, &script)?.in_step();
    fleet.open(messages.connections)?;
    std::thread::sleep(COUNTED_IN);
    let mut latencies = Latencies::new();
    let (warm_up, window) = match arguments.counted.count {
        Some(count) => (Until::Count(count), Until::Count(count)),
        None => (
            Until::Time(milliseconds(arguments.warm_up_ms)),
            Until::Time(milliseconds(arguments.window_ms)),
        ),
    };
    publish(&mut fleet, messages.depth, warm_up, &mut latencies)?;
    arguments.counted.stop_at("ready")?;
    let mut latencies = Latencies::new();
    let before = Usage::now(arguments.target.pid)?;
    let started = Instant::now();
    let deliveries = publish(&mut fleet, messages.depth, window, &mut latencies)?;
    let time = started.elapsed();
    let used = before.until(&Usage::now(arguments.target.pid)?);
    arguments.counted.stop_at("measured")?;
    fleet.reset()?;
    Ok(Report::new(deliveries, time, &used, &latencies))
}

/// When no more is published.
#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    /// So many messages were delivered, or somewhat more.
    Count(u64),
}

/// The answer is how many deliveries there were.
fn publish(
    fleet: &mut Fleet<'_>,
    depth: usize,
    until: Until,
    latencies: &mut Latencies,
) -> anyhow::Result<u64> {
    let all = (depth * fleet.connections.len()) as u64;
    let started = Instant::now();
    let mut total = 0;
    let goes_on = |total| match until {
        Until::Time(time) => started.elapsed() < time,
        Until::Count(count) => total < count,
    };
    while goes_on(total) {
        let published = Instant::now();
        fleet.connections[0].send(fleet.script, depth)?;
        let mut delivered = 0;
        while delivered < all {
            let result = fleet.turn(|_, _, _, progress| {
                ensure!(!progress.end_of_stream, "the server ended the connection");
                ensure!(
                    progress.closed.is_none(),
                    "the server closes with {:?}",
                    progress.closed
                );
                delivered += progress.ended as u64;
                latencies.record(published.elapsed().as_nanos() as u64, progress.ended);
                Ok(())
            });
            result.with_context(|| format!("after {delivered} of {all} deliveries"))?;
        }
        total += delivered;
    }
    Ok(total)
}
