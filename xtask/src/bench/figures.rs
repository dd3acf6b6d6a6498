//! From samples to figures: medians, spread, and ratios between servers of the
//! same round. It knows no way to print.

use super::measure::{Results, RowResult, Sample, ServerResult};
use super::peers::{Peer, Program};
use super::rows::Figure;

/// What one server came to in one row.
pub(super) struct Figures {
    pub(super) peer: &'static Peer,
    /// The row's own figure.
    pub(super) value: f64,
    /// Half of the way from the lowest to the highest, as a part of the value.
    pub(super) spread: f64,
    /// To raw TCP.
    pub(super) to_limit: Option<f64>,
    /// To the best peer; in a row of rates, to the first server.
    pub(super) to_best: Option<f64>,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// The servers of a row, the best first.
pub(super) fn of_row(row: &RowResult) -> Vec<Figures> {
    let figure = row.row.figure;
    let measured: Vec<&ServerResult> = row
        .servers
        .iter()
        .filter(|server| !server.samples.is_empty())
        .collect();
    let value = |server: &ServerResult| median(values(server, |sample| read(sample, figure)));
    let limit = measured
        .iter()
        .find(|server| server.peer.program == Program::Raw);
    let best = if figure == Figure::Rate {
        measured.first()
    } else {
        measured
            .iter()
            .filter(|server| server.peer.is_other())
            .min_by(|a, b| value(a).total_cmp(&value(b)))
    };
    let mut figures: Vec<Figures> = measured
        .iter()
        .map(|server| {
            let all = values(server, |sample| read(sample, figure));
            Figures {
                peer: server.peer,
                value: value(server),
                spread: spread(&all),
                to_limit: limit
                    .filter(|_| figure != Figure::Memory)
                    .and_then(|limit| ratio(server, limit, figure)),
                to_best: best.and_then(|best| ratio(server, best, figure)),
                per_second: median(values(server, |sample| field(sample, "per_second"))),
                p50_us: median(values(server, |sample| field(sample, "p50_us"))),
                p99_us: median(values(server, |sample| field(sample, "p99_us"))),
            }
        })
        .collect();
    figures.sort_by(|a, b| a.value.total_cmp(&b.value));
    figures
}

/// Processors that other programs used while figures were taken: the median,
/// and the most. Server and load should have had two to themselves.
pub(super) fn disturbance(results: &Results) -> (f64, f64) {
    let servers = results.rows.iter().flat_map(|row| &row.servers);
    let all: Vec<f64> = servers
        .flat_map(|server| values(server, |sample| field(sample, "other_cores")))
        .collect();
    let most = all.iter().copied().fold(0.0, f64::max);
    (median(all), most)
}

fn read(sample: &Sample, figure: Figure) -> f64 {
    match figure {
        Figure::Cpu(_) => field(sample, "cpu_us_each"),
        Figure::Rate => field(sample, "per_second"),
        Figure::Memory => sample.report["memory"]
            .as_array()
            .and_then(|memory| memory.last()?["bytes_each"].as_f64())
            .unwrap_or_default(),
    }
}

fn field(sample: &Sample, name: &str) -> f64 {
    sample.report[name].as_f64().unwrap_or_default()
}

fn values(server: &ServerResult, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    server.samples.iter().map(of).collect()
}

/// The median of the ratios of rounds that both took part in.
fn ratio(server: &ServerResult, to: &ServerResult, figure: Figure) -> Option<f64> {
    let ratios: Vec<f64> = server
        .samples
        .iter()
        .filter_map(|sample| {
            let other = to
                .samples
                .iter()
                .find(|other| other.round == sample.round)?;
            let divisor = read(other, figure);
            (divisor > 0.0).then(|| read(sample, figure) / divisor)
        })
        .collect();
    (!ratios.is_empty()).then(|| median(ratios))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn spread(values: &[f64]) -> f64 {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(values.to_vec());
    if middle > 0.0 {
        (highest - lowest) / 2.0 / middle
    } else {
        0.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::measure::{Results, RowResult, Sample, ServerResult};
    use super::super::peers::PEERS;
    use super::super::rows::ROWS;
    use super::{disturbance, median, of_row, spread};

    /// Two rounds of the first row, in which the machine was half as fast in
    /// the second.
    pub(in super::super) fn results() -> Results {
        let servers = [
            ("raw-tcp", 2.0),
            ("wharf-shared", 3.0),
            ("bun", 4.0),
            ("ws", 8.0),
        ];
        let servers = servers.map(|(name, cpu)| {
            let peer = PEERS.iter().find(|peer| peer.name == name);
            let mut server = ServerResult::new(peer.expect("a known peer"));
            for round in 0..2 {
                let slow = f64::from(round + 1);
                server.samples.push(Sample {
                    round,
                    report: json!({
                        "cpu_us_each": cpu * slow, "per_second": 100_000.0, "p50_us": 10.0,
                        "p99_us": 20.0, "other_cores": 0.5,
                    }),
                });
            }
            server
        });
        Results {
            rows: vec![RowResult {
                row: &ROWS[0],
                servers: servers.into(),
            }],
            rounds: 2,
            window: Duration::from_secs(1),
            failures: Vec::new(),
            left_out: vec!["axum: it was not there".to_owned()],
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let figures = of_row(&results().rows[0]);
        let names: Vec<&str> = figures.iter().map(|one| one.peer.name).collect();
        assert_eq!(names, ["raw-tcp", "wharf-shared", "bun", "ws"]);
        assert_eq!(figures[1].value, 4.5);
        assert_eq!(figures[1].to_limit, Some(1.5));
        assert_eq!(figures[1].to_best, Some(0.75));
        assert_eq!(figures[3].to_best, Some(2.0));
        assert_eq!(disturbance(&results()), (0.5, 0.5));
    }

    #[test]
    fn medians_and_spread() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
        assert_eq!(spread(&[90.0, 100.0, 110.0]), 0.1);
    }
}
