//! The figures as JSON: medians and ratios, and every sample that they come
//! from as the load generator gave it.

use serde_json::{Value, json};

use super::figures;
use super::machine::Machine;
use super::measure::Results;
use super::table;

pub(super) fn text(results: &Results, machine: &Machine) -> anyhow::Result<String> {
    let (median, most) = figures::disturbance(results);
    let versions: serde_json::Map<String, Value> = machine
        .versions
        .iter()
        .map(|(name, version)| (name.clone(), json!(version)))
        .collect();
    let rows: Vec<Value> = results.rows.iter().map(row).collect();
    let document = json!({
        "machine": {
            "processor": machine.processor,
            "processors": machine.processors,
            "kernel": machine.kernel,
            "load_average_before": machine.load_average,
            "kept_apart": machine.pins.is_some(),
        },
        "revision": machine.revision,
        "versions": versions,
        "rounds": results.rounds,
        "window_ms": results.window.as_millis() as u64,
        "other_programs_processors": { "median": median, "most": most },
        "rows": rows,
        "left_out": results.left_out,
        "failures": results.failures,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn row(row: &super::measure::RowResult) -> Value {
    let servers: Vec<Value> = figures::of_row(row)
        .iter()
        .map(|one| {
            let measured = row
                .servers
                .iter()
                .find(|server| server.peer.name == one.peer.name);
            let samples: Vec<&Value> = measured
                .iter()
                .flat_map(|server| &server.samples)
                .map(|sample| &sample.report)
                .collect();
            json!({
                "name": one.peer.name,
                "about": one.peer.about,
                "value": one.value,
                "spread": one.spread,
                "to_limit": one.to_limit,
                "to_best_peer": one.to_best,
                "per_second": one.per_second,
                "p50_us": one.p50_us,
                "p99_us": one.p99_us,
                "samples": samples,
            })
        })
        .collect();
    json!({
        "name": row.row.name,
        "title": row.row.title,
        "unit": table::unit(row.row.figure),
        "servers": servers,
    })
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::results;
    use super::row;

    #[test]
    fn samples_stand_beside_their_median() {
        let value = row(&results().rows[0]);
        assert_eq!(value["servers"][1]["name"], "wharf-shared");
        assert_eq!(value["servers"][1]["value"], 4.5);
        assert_eq!(value["servers"][1]["samples"][1]["cpu_us_each"], 6.0);
    }
}
