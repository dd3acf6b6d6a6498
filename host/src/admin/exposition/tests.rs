//! That the text is one which Prometheus reads, and that the dashboard and the documentation name what
//! is in it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::admin::DeployEnd;
use crate::budget::{Budgets, Limit};
use crate::dead_letters::LetterFigures;
use crate::metrics::{Books, Handshake};

fn beside() -> Beside {
    let figures = LetterFigures {
        kept: 2,
        written: 5,
        dropped: 3,
    };
    let traces = TraceFigures {
        exported: 7,
        ..TraceFigures::default()
    };
    Beside {
        letters: vec![(("acme".into(), "/a".into()), figures)],
        canaries: Vec::new(),
        ends: BTreeMap::new(),
        deploys: Some(DeployTallies {
            ended: BTreeMap::from([(("acme".to_owned(), DeployEnd::Promoted), 4)]),
            unrecorded: 1,
        }),
        tenants: Vec::new(),
        traces,
        silent: 0,
    }
}

#[test]
fn a_text_that_prometheus_reads() {
    let books = Books::default();
    let counts = books.of(&"acme".into(), "* /a\"b");
    counts.receive(5);
    counts.finish_batch(1, 5);
    counts.finish_batch(3, 9);
    counts.shake_hands(Handshake::Accepted);
    counts.change(|figures| figures.swap_pauses.note(Duration::from_micros(300)));
    books.refuse(404);
    let budgets = Budgets::default();
    budgets.of(&"acme".into()).hit(Limit::Sessions);
    let beside = Beside {
        tenants: budgets.all(),
        ..beside()
    };
    let text = text(books.report(), beside, &Status::default());
    for line in [
        "# TYPE wharf_messages_in counter",
        "wharf_messages_in_total{tenant=\"acme\",route=\"* /a\\\"b\"} 1",
        "wharf_handshakes_total{tenant=\"acme\",route=\"* /a\\\"b\",outcome=\"accepted\"} 1",
        "wharf_batch_messages_bucket{le=\"4.0\",tenant=\"acme\",route=\"* /a\\\"b\"} 2",
        "wharf_batch_messages_bucket{le=\"+Inf\",tenant=\"acme\",route=\"* /a\\\"b\"} 2",
        "# TYPE wharf_swap_pause_seconds histogram",
        "wharf_swap_pause_seconds_sum{tenant=\"acme\",route=\"* /a\\\"b\"} 0.0003",
        "wharf_swap_pause_seconds_bucket{le=\"0.0005\",tenant=\"acme\",route=\"* /a\\\"b\"} 1",
        "wharf_dead_letters{tenant=\"acme\",route=\"/a\"} 2",
        "wharf_dead_letters_written_total{tenant=\"acme\",route=\"/a\"} 5",
        "wharf_dead_letters_dropped_total{tenant=\"acme\",route=\"/a\"} 3",
        "wharf_tenant_limit_hits_total{tenant=\"acme\",limit=\"sessions\"} 1",
        "wharf_spans_total{outcome=\"exported\"} 7",
        "wharf_http_refused_total{status=\"404\"} 1",
        "wharf_deploys_total{tenant=\"acme\",outcome=\"promoted\"} 4",
        "wharf_rollbacks_unrecorded 1.0",
        "wharf_draining 0.0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

/// The names of all metrics, as their samples have them.
fn names() -> BTreeSet<String> {
    let books = Books::default();
    drop(books.of(&"acme".into(), "/a"));
    let text = text(books.report(), beside(), &Status::default());
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = kinds.flat_map(|line| {
        let (name, kind) = line.split_once(' ').expect("a name and a kind");
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        endings.iter().map(move |ending| format!("{name}{ending}"))
    });
    names.collect()
}

/// The words of a text that are names of ours or of the process.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named = words.filter(|word| word.starts_with("wharf_") || word.starts_with("process_"));
    named.map(str::to_owned).collect()
}

#[test]
fn the_documentation_names_every_metric() {
    let page = include_str!("../../../../docs/operating.md");
    let documented = metrics_in(page);
    let names = names();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|ending| name.strip_suffix(ending));
            !documented.contains(*name) && !family.is_some_and(|name| documented.contains(name))
        })
        .collect();
    assert!(missing.is_empty(), "operating.md does not name {missing:?}");
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(include_str!("../../../../docs/grafana.json"))
        .expect("the dashboard is JSON");
    let names = names();
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a panel has a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is taken");
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a panel has a place");
        assert!(place("x") + place("w") <= 24, "{title} is off the grid");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title} covers another panel");
            }
        }
        let targets = panel["targets"].as_array().expect("a panel asks something");
        let letters: BTreeSet<_> = targets.iter().map(|one| one["refId"].as_str()).collect();
        assert_eq!(
            letters.len(),
            targets.len(),
            "{title}: letters are taken twice"
        );
        for target in targets {
            let expression = target["expr"].as_str().expect("a target has a query");
            let wanted = metrics_in(expression);
            assert!(!wanted.is_empty(), "{title}: {expression}");
            assert!(wanted.is_subset(&names), "{title}: {expression}");
        }
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .expect("it has variables")
    {
        let query = variable["query"].as_str().expect("a variable has a query");
        assert!(metrics_in(query).is_subset(&names), "{query}");
    }
}
