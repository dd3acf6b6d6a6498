//! The numbers of all workers as OpenMetrics text, which Prometheus reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text::encode,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Status;
use super::canaries::{CanaryRow, Tally};
use super::deployer::DeployTallies;
use crate::budget::TenantBudget;
use crate::dead_letters::LetterRow;
use crate::metrics::{
    Figures, Report, Stage, VersionKey, Vitals, bucket_bound, code_label, latency_bound,
};
use crate::traces::TraceFigures;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted elsewhere than with the routes.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) letters: Vec<LetterRow>,
    pub(super) canaries: Vec<CanaryRow>,
    /// Versions that are no longer on trial.
    pub(super) ends: BTreeMap<Tally, u64>,
    /// None where there are no deployments.
    pub(super) deploys: Option<DeployTallies>,
    pub(super) tenants: Vec<Arc<TenantBudget>>,
    pub(super) traces: TraceFigures,
    /// Workers whose numbers are missing.
    pub(super) silent: usize,
}

/// The whole text.
pub(super) fn text(report: Report, beside: Beside, status: &Status) -> String {
    let scrape = Scrape {
        report,
        beside,
        uptime_seconds: status.started().elapsed().as_secs_f64(),
        draining: status.is_draining(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes all that is written to it");
    text
}

#[derive(Debug)]
struct Scrape {
    report: Report,
    beside: Beside,
    uptime_seconds: f64,
    draining: bool,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.server(&mut encoder)?;
        self.process(&mut encoder)?;
        self.traffic(&mut encoder)?;
        self.instances(&mut encoder)?;
        self.labelled(&mut encoder)?;
        self.swaps(&mut encoder)?;
        self.dead_letters(&mut encoder)?;
        self.tenants(&mut encoder)?;
        self.traces(&mut encoder)?;
        self.batches(&mut encoder)?;
        self.trials(&mut encoder)?;
        self.ended(&mut encoder)?;
        self.deploys(&mut encoder)
    }
}

impl Scrape {
    fn server(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut build = describe(to, "wharf_build", "The version.", MetricType::Info)?;
        build.encode_info(&version)?;
        gauge(
            to,
            "wharf_uptime_seconds",
            "Since the server was ready.",
            self.uptime_seconds,
        )?;
        let draining = if self.draining { 1.0 } else { 0.0 };
        gauge(
            to,
            "wharf_draining",
            "1 while clients are asked to leave.",
            draining,
        )?;
        let help = "Workers that did not answer in time; their numbers are missing here.";
        gauge(to, "wharf_workers_silent", help, self.beside.silent as f64)?;
        let help = "HTTP requests that were refused, by status.";
        let mut refused = describe(to, "wharf_http_refused", help, MetricType::Counter)?;
        for (status, count) in &self.report.refusals {
            let labels = [("status", status.to_string())];
            ConstCounter::new(*count).encode(refused.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn process(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = resident_bytes() {
            let help = "Memory of the process that is in use.";
            gauge(to, "process_resident_memory_bytes", help, bytes as f64)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            let open = entries.count().saturating_sub(1);
            gauge(to, "process_open_fds", "Open descriptors.", open as f64)?;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let began = now.unwrap_or_default().as_secs_f64() - self.uptime_seconds;
        gauge(
            to,
            "process_start_time_seconds",
            "When the server was ready.",
            began,
        )
    }

    fn traffic(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.gauges(
            to,
            "wharf_sessions_open",
            "Between handshake and the end of on-close.",
            |f| f.sessions_open() as i64,
        )?;
        self.counters(to, "wharf_sessions", "Sessions that began.", |f| {
            f.sessions_begun
        })?;
        self.counters(to, "wharf_messages_in", "Messages from peers.", |f| {
            f.messages_in
        })?;
        self.counters(to, "wharf_bytes_in", "Bytes of their payloads.", |f| {
            f.bytes_in
        })?;
        let help = "Messages queued for peers or written.";
        self.counters(to, "wharf_messages_out", help, |f| f.messages_out)?;
        self.counters(to, "wharf_bytes_out", "Bytes of their payloads.", |f| {
            f.bytes_out
        })?;
        let help = "Messages that were read and that no handler has finished with.";
        self.gauges(to, "wharf_inbox_messages", help, |f| {
            f.messages_in.saturating_sub(f.messages_done) as i64
        })?;
        self.gauges(to, "wharf_inbox_bytes", "Bytes of their payloads.", |f| {
            f.bytes_in.saturating_sub(f.bytes_done) as i64
        })?;
        let help = "Messages not queued because a session's queue was full.";
        self.counters(to, "wharf_sends_refused", help, |f| f.sends_refused)?;
        let help = "Sessions whose queue is more than half full because the peer reads slowly.";
        self.gauges(to, "wharf_slow_readers", help, |f| f.slow_readers_now)
    }

    fn instances(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Instances that hold memory.";
        self.gauges(to, "wharf_instances_live", help, |f| f.instances_live_now)?;
        let help = "Instances that sleep.";
        self.gauges(to, "wharf_instances_asleep", help, |f| {
            f.instances_asleep_now
        })?;
        self.counters(to, "wharf_wakings", "Instances that woke.", |f| f.wakings)?;
        let help = "Failures of handlers after which a fresh instance went on.";
        self.counters(to, "wharf_restarts", help, |f| f.restarts)?;
        let help = "CPU time of handlers, estimated from one poll in 64.";
        let mut cpu = describe(to, "wharf_guest_cpu_seconds", help, MetricType::Counter)?;
        for (labels, figures) in self.rows() {
            let seconds = figures.guest_cpu.as_secs_f64();
            ConstCounter::new(seconds).encode(cpu.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Counters with labels of their own.
    fn labelled(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests for a session whose route was known, by what became of them.";
        let mut handshakes = describe(to, "wharf_handshakes", help, MetricType::Counter)?;
        for ([tenant, route], figures) in self.rows() {
            for (outcome, count) in &figures.handshakes {
                let labels = [tenant, route, ("outcome", outcome.label())];
                ConstCounter::new(*count).encode(handshakes.encode_family(&labels)?)?;
            }
        }
        let help = "Sessions that ended, by close code and by who ended them.";
        let mut endings = describe(to, "wharf_endings", help, MetricType::Counter)?;
        for ([tenant, route], figures) in self.rows() {
            for ((code, initiator), count) in &figures.endings {
                let code = code_label(*code);
                let labels = [tenant, route, ("code", &code), ("initiator", initiator)];
                ConstCounter::new(*count).encode(endings.encode_family(&labels)?)?;
            }
        }
        let help = "Failures of handlers, each of which ends a memory, by kind.";
        let mut faults = describe(to, "wharf_faults", help, MetricType::Counter)?;
        for ([tenant, route], figures) in self.rows() {
            for (kind, count) in &figures.faults {
                let labels = [tenant, route, ("kind", *kind)];
                ConstCounter::new(*count).encode(faults.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn swaps(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Instances that met their next version: it took over, or the old one went on.";
        let mut swaps = describe(to, "wharf_swaps", help, MetricType::Counter)?;
        for ([tenant, route], figures) in self.rows() {
            let outcomes = [
                ("replaced", figures.swaps_done),
                ("failed", figures.swaps_failed),
            ];
            for (outcome, count) in outcomes {
                let labels = [tenant, route, ("outcome", outcome)];
                ConstCounter::new(count).encode(swaps.encode_family(&labels)?)?;
            }
        }
        let help = "How long an instance did not serve its sessions while it was replaced.";
        let name = "wharf_swap_pause_seconds";
        let mut pauses = describe(to, name, help, MetricType::Histogram)?;
        for (labels, figures) in self.rows() {
            let classes: Vec<(f64, u64)> = figures.swap_pauses.classes().collect();
            let count = classes.iter().map(|(_, count)| count).sum();
            let sum = figures.swap_pauses.sum().as_secs_f64();
            let mut one = pauses.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(sum, count, &classes, None)?;
        }
        Ok(())
    }

    fn dead_letters(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = || {
            let rows = self.beside.letters.iter();
            rows.map(|((tenant, route), figures)| {
                ([("tenant", &**tenant), ("route", &**route)], figures)
            })
        };
        let help = "Records of failed calls that are kept.";
        let mut kept = describe(to, "wharf_dead_letters", help, MetricType::Gauge)?;
        for (labels, figures) in rows() {
            ConstGauge::new(figures.kept as i64).encode(kept.encode_family(&labels)?)?;
        }
        let help = "Records of failed calls.";
        let mut written = describe(to, "wharf_dead_letters_written", help, MetricType::Counter)?;
        for (labels, figures) in rows() {
            ConstCounter::new(figures.written).encode(written.encode_family(&labels)?)?;
        }
        let help = "Of these, dropped because there were too many.";
        let mut dropped = describe(to, "wharf_dead_letters_dropped", help, MetricType::Counter)?;
        for (labels, figures) in rows() {
            ConstCounter::new(figures.dropped).encode(dropped.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// What tenants use, and how often they met a limit.
    fn tenants(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Linear memory of a tenant's instances.";
        let name = "wharf_tenant_memory_bytes";
        let mut memory = describe(to, name, help, MetricType::Gauge)?;
        for budget in &self.beside.tenants {
            let labels = [("tenant", &**budget.tenant())];
            let bytes = budget.memory_bytes() as i64;
            ConstGauge::new(bytes).encode(memory.encode_family(&labels)?)?;
        }
        let help = "How often a tenant met one of its limits.";
        let name = "wharf_tenant_limit_hits";
        let mut hits = describe(to, name, help, MetricType::Counter)?;
        for budget in &self.beside.tenants {
            for (limit, count) in budget.hits() {
                let labels = [("tenant", &**budget.tenant()), ("limit", limit)];
                ConstCounter::new(count).encode(hits.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn traces(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Spans, by what became of them.";
        let mut spans = describe(to, "wharf_spans", help, MetricType::Counter)?;
        let TraceFigures {
            exported,
            dropped,
            refused,
        } = self.beside.traces;
        for (outcome, count) in [
            ("exported", exported),
            ("dropped", dropped),
            ("refused", refused),
        ] {
            let labels = [("outcome", outcome)];
            ConstCounter::new(count).encode(spans.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn batches(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Messages in one call of a handler.";
        let mut batches = describe(to, "wharf_batch_messages", help, MetricType::Histogram)?;
        for (labels, figures) in self.rows() {
            let count = figures.batches.iter().sum();
            let buckets: Vec<(f64, u64)> = (figures.batches.iter().enumerate())
                .map(|(bucket, count)| (bucket_bound(bucket), *count))
                .collect();
            let sum = figures.messages_batched as f64;
            let mut one = batches.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    /// Versions on trial: at most two rows a route, and only as long as that lasts.
    fn trials(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "The part of new sessions or keys that finds a version on trial.";
        let mut shares = describe(to, "wharf_canary_share", help, MetricType::Gauge)?;
        for row in &self.beside.canaries {
            let share = match row.stage {
                Stage::Canary => row.canary.share.fraction(),
                Stage::Watched => 1.0,
            };
            let key = row.key();
            ConstGauge::new(share).encode(shares.encode_family(&labels_of(&key))?)?;
        }
        type Value = fn(&Vitals) -> u64;
        let counters: [(&str, &str, Value); 4] = [
            (
                "wharf_canary_sessions",
                "Sessions that began with a version on trial.",
                |vitals| vitals.sessions,
            ),
            (
                "wharf_canary_slow_calls",
                "Calls of its handler that took longer than latency_p99_max.",
                |vitals| vitals.slow,
            ),
            (
                "wharf_canary_traps",
                "Failures of its handler but for time-outs, and hand-overs that it refused.",
                |vitals| vitals.traps,
            ),
            (
                "wharf_canary_timeouts",
                "Calls of its handler over their CPU or wall time.",
                |vitals| vitals.timeouts,
            ),
        ];
        for (name, help, value) in counters {
            let mut metric = describe(to, name, help, MetricType::Counter)?;
            for (key, vitals) in &self.report.trials {
                let labels = labels_of(key);
                ConstCounter::new(value(vitals)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Calls of a handler on trial, by how long they took; each is timed.";
        let name = "wharf_canary_call_seconds";
        let mut calls = describe(to, name, help, MetricType::Histogram)?;
        for (key, vitals) in &self.report.trials {
            let buckets = vitals.latencies.iter().enumerate();
            let bound =
                |bucket| latency_bound(bucket).map_or(f64::INFINITY, |bound| bound.as_secs_f64());
            let buckets: Vec<_> = buckets
                .map(|(bucket, count)| (bound(bucket), *count))
                .collect();
            let sum = vitals.called.as_secs_f64();
            let labels = labels_of(key);
            let mut one = calls.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(sum, vitals.calls, &buckets, None)?;
        }
        Ok(())
    }

    /// What became of versions on trial.
    fn ended(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Versions that are on trial no more, by what became of them and why.";
        let mut ended = describe(to, "wharf_canaries_ended", help, MetricType::Counter)?;
        for (((tenant, route), outcome, cause), count) in &self.beside.ends {
            let labels = [
                ("tenant", &**tenant),
                ("route", &**route),
                ("outcome", outcome.label()),
                ("cause", *cause),
            ];
            ConstCounter::new(*count).encode(ended.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// What became of deploys.
    fn deploys(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(tallies) = &self.beside.deploys else {
            return Ok(());
        };
        let help = "What became of deploys, and of deployed versions later.";
        let mut deploys = describe(to, "wharf_deploys", help, MetricType::Counter)?;
        for ((tenant, end), count) in &tallies.ended {
            let labels = [("tenant", &**tenant), ("outcome", end.label())];
            ConstCounter::new(*count).encode(deploys.encode_family(&labels)?)?;
        }
        let help =
            "Versions that were taken back and that the registry still names, for want of a disk.";
        let unrecorded = tallies.unrecorded as f64;
        gauge(to, "wharf_rollbacks_unrecorded", help, unrecorded)
    }

    fn rows(&self) -> impl Iterator<Item = ([(&'static str, &str); 2], &Figures)> {
        let rows = self.report.routes.iter();
        rows.map(|((tenant, route), figures): (&(Arc<str>, Arc<str>), _)| {
            ([("tenant", &**tenant), ("route", &**route)], figures)
        })
    }

    fn counters(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Figures) -> u64,
    ) -> fmt::Result {
        let mut metric = describe(to, name, help, MetricType::Counter)?;
        for (labels, figures) in self.rows() {
            ConstCounter::new(value(figures)).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Figures) -> i64,
    ) -> fmt::Result {
        let mut metric = describe(to, name, help, MetricType::Gauge)?;
        for (labels, figures) in self.rows() {
            ConstGauge::new(value(figures)).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn labels_of(((tenant, route), generation, stage): &VersionKey) -> [(&'static str, String); 4] {
    [
        ("tenant", tenant.to_string()),
        ("route", route.to_string()),
        ("generation", generation.to_string()),
        ("stage", stage.label().to_owned()),
    ]
}

fn describe<'a>(
    to: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    // The encoder adds the full stop that ends a help text.
    to.encode_descriptor(name, help.trim_end_matches('.'), None, kind)
}

/// A number without labels.
fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let metric = describe(to, name, help, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests;
