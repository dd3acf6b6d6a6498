//! Every capability of a handler, and where each thing that it needs is: a grant in the README's table,
//! an example, a test that it works, one that it is refused without its grant, and its hostile guest.
//! A capability that lacks one of them fails here.

use std::path::Path;

use crate::promises::{covers, promises};

struct Capability {
    /// As the README's table begins the row.
    row: &'static str,
    /// A folder under `examples`.
    example: &'static str,
    /// Promises, by id: it works, it is refused, it is abused. One stands in twice where nothing is to
    /// be granted.
    works: &'static str,
    refused: &'static str,
    abused: &'static str,
}

const CAPABILITIES: &[Capability] = &[
    Capability {
        row: "`grants.topics = ",
        example: "presence-chat",
        works: "topics.fan-out",
        refused: "topics.grants",
        abused: "guest.topics",
    },
    Capability {
        row: "`grants.keyvalue = ",
        example: "counter",
        works: "kv.store",
        refused: "kv.granted",
        abused: "guest.stores",
    },
    Capability {
        row: "`grants.timers = ",
        example: "reminder",
        works: "timers.named",
        refused: "kv.granted",
        abused: "guest.stores",
    },
    Capability {
        row: "`grants.logging = ",
        example: "proxy",
        works: "log.tenant",
        refused: "outside.granted",
        abused: "log.bounded",
    },
    Capability {
        row: "`[route.config]`, `[route.secrets]`",
        example: "proxy",
        works: "config.settings",
        refused: "outside.granted",
        abused: "guest.settings",
    },
    Capability {
        row: "`grants.http = ",
        example: "proxy",
        works: "http.outgoing",
        refused: "http.guarded",
        abused: "http.limits",
    },
    Capability {
        row: "`raw = true`",
        example: "heartbeat",
        works: "raw.frames",
        refused: "raw.fits",
        abused: "guest.controls",
    },
    Capability {
        row: "`grants.websocket = ",
        example: "proxy",
        works: "client.open",
        refused: "client.guarded",
        abused: "client.limits",
    },
    // Coarse ones are for everybody: what could be abused is their precision.
    Capability {
        row: "`grants.clocks = ",
        example: "reminder",
        works: "clocks.coarse",
        refused: "clocks.coarse",
        abused: "clocks.coarse",
    },
];

#[test]
fn every_capability_has_its_grant_example_tests_and_hostile_guest() {
    covers("capabilities.complete");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let table = readme.split("## What a handler may use").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter(|row| !row.starts_with("---") && !row.starts_with("Grant "))
        .collect();
    for capability in CAPABILITIES {
        let Capability { row, example, .. } = capability;
        assert!(rows.iter().any(|one| one.starts_with(row)), "no row {row}");
        let folder = root.join("examples").join(example);
        assert!(folder.join("README.md").is_file(), "no example {example}");
        for id in [capability.works, capability.refused, capability.abused] {
            let is_promised = promises().any(|promise| promise.id == id);
            assert!(is_promised, "{row}: no promise is called {id}");
        }
    }
    for row in rows {
        let known = CAPABILITIES.iter().any(|one| row.starts_with(one.row));
        assert!(known, "the README's row {row:?} is not in the table here");
    }
}
