//! What one run measured, as it is printed.

use std::time::Duration;

use serde::Serialize;

use crate::latency::Latencies;
use crate::usage::Used;

#[derive(Serialize)]
pub(crate) struct Report {
    /// Messages, deliveries, handshakes or lives, all of them verified.
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// Of the server, all threads, user and kernel.
    pub(crate) cpu_us_each: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU seconds a second: of the server, of the load generator, and of
    /// everybody else, who makes the figures doubtful.
    pub(crate) server_cores: f64,
    pub(crate) load_cores: f64,
    pub(crate) other_cores: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) memory: Vec<Memory>,
}

#[derive(Serialize)]
pub(crate) struct Memory {
    pub(crate) connections: usize,
    pub(crate) resident_bytes: u64,
    /// Above the first number of connections; absent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_each: Option<f64>,
}

impl Report {
    pub(crate) fn new(count: u64, time: Duration, used: &Used, latencies: &Latencies) -> Self {
        let seconds = time.as_secs_f64().max(1e-9);
        let cores =
            |used_time: Duration| used_time.as_secs_f64() / used.wall.as_secs_f64().max(1e-9);
        Self {
            count,
            seconds,
            per_second: count as f64 / seconds,
            cpu_us_each: used.server.as_secs_f64() * 1e6 / (count.max(1) as f64),
            p50_us: latencies.percentile(0.5),
            p99_us: latencies.percentile(0.99),
            server_cores: cores(used.server),
            load_cores: cores(used.own),
            other_cores: cores(used.others),
            memory: Vec::new(),
        }
    }
}
