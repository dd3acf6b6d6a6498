//! The layers of the host: a module names only modules of its own layer or
//! of lower ones. The table itself stands in ARCHITECTURE.md, under the
//! heading "Layers", lowest first; this file reads it there, so the document
//! and the rule cannot differ. The third column of the table names what a
//! layer alone may use of the outside world.

use anyhow::ensure;

use super::masked::{self, is_word};
use super::{Finding, Source};

const HOST: &str = "host/src/";

pub(super) struct Table {
    /// Lowest first; the modules of one row may name each other.
    layers: Vec<Vec<String>>,
    /// A crate, and the modules that alone may name it.
    keepers: Vec<(String, Vec<String>)>,
}

impl Table {
    /// Reads the first Markdown table under `## Layers`: modules in the first
    /// column, crates kept in the third, both in backticks.
    pub(super) fn parse(architecture: &str) -> anyhow::Result<Self> {
        let section = architecture
            .lines()
            .skip_while(|line| !line.starts_with("## Layers"))
            .skip(1);
        let rows = section
            .take_while(|line| !line.starts_with("## "))
            .filter(|line| line.starts_with('|'));
        let mut table = Self {
            layers: Vec::new(),
            keepers: Vec::new(),
        };
        for row in rows {
            let cells: Vec<&str> = row.split('|').collect();
            let modules = cells
                .get(1)
                .map(|cell| in_backticks(cell))
                .unwrap_or_default();
            for name in cells
                .get(3)
                .map(|cell| in_backticks(cell))
                .unwrap_or_default()
            {
                match table.keepers.iter_mut().find(|(kept, _)| *kept == name) {
                    Some((_, keepers)) => keepers.extend(modules.iter().cloned()),
                    None => table.keepers.push((name, modules.clone())),
                }
            }
            if !modules.is_empty() {
                table.layers.push(modules);
            }
        }
        ensure!(
            table.layers.len() > 3,
            "ARCHITECTURE.md: no table of modules in backticks under `## Layers`"
        );
        Ok(table)
    }

    fn rank(&self, module: &str) -> Option<usize> {
        self.layers
            .iter()
            .position(|layer| layer.iter().any(|name| name == module))
    }

    pub(super) fn check(&self, source: &Source, findings: &mut Vec<Finding>) {
        let Some(path) = source
            .path
            .strip_prefix(HOST)
            .and_then(|path| path.strip_suffix(".rs"))
        else {
            return;
        };
        let folders: Vec<&str> = path.split('/').filter(|part| *part != "mod").collect();
        let module = folders[0];
        if module == "lib" {
            return;
        }
        let Some(rank) = self.rank(module) else {
            let message =
                format!("`{module}` has no layer: give it a place in the table of ARCHITECTURE.md");
            findings.push(Finding::new(&source.path, 1, message));
            return;
        };
        let code = masked::code(&source.text);
        for (at, named) in modules_named(&code, folders.len()) {
            if self.rank(&named).is_some_and(|other| other > rank) {
                let message = format!(
                    "`{module}` names `{named}`, which lies above it: turn the call round, or pass in what `{module}` needs"
                );
                findings.push(Finding::new(&source.path, line_of(&code, at), message));
            }
        }
        self.check_keepers(source, module, &code, findings);
    }

    fn check_keepers(
        &self,
        source: &Source,
        module: &str,
        code: &str,
        findings: &mut Vec<Finding>,
    ) {
        for (kept, keepers) in &self.keepers {
            if keepers.iter().any(|keeper| keeper == module) {
                continue;
            }
            for (at, _) in code.match_indices(&format!("{kept}::")) {
                if !code[..at].ends_with("::")
                    && !code[..at].chars().next_back().is_some_and(is_word)
                {
                    let message = format!(
                        "`{kept}` is for `{}` only: keep it behind them",
                        keepers.join("`, `")
                    );
                    findings.push(Finding::new(&source.path, line_of(code, at), message));
                }
            }
        }
    }
}

fn in_backticks(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// Modules at the root of the crate that masked code names: by `crate::`, or
/// by enough `super::` to climb out of a module that lies `depth` deep.
fn modules_named(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        if !code[..at].chars().next_back().is_some_and(is_word) {
            first_names(&code[at + start.len()..], at, &mut found);
        }
    }
    let climb = "super::".repeat(depth);
    for (at, start) in code.match_indices(&climb) {
        let rest = &code[at + start.len()..];
        if !code[..at].ends_with("super::") && !code[..at].chars().next_back().is_some_and(is_word)
        {
            first_names(rest.trim_start_matches("super::"), at, &mut found);
        }
    }
    found
}

/// `a` of `a::b`, or `a` and `c` of `{a::{b}, c}`.
fn first_names(rest: &str, at: usize, found: &mut Vec<(usize, String)>) {
    let Some(group) = rest.strip_prefix('{') else {
        found.push((at, rest.chars().take_while(|c| is_word(*c)).collect()));
        return;
    };
    let (mut depth, mut name, mut naming) = (0, String::new(), true);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push((at, std::mem::take(&mut name)));
                naming = true;
            }
            c if depth == 0 && naming && is_word(c) => name.push(c),
            c if depth == 0 && !c.is_whitespace() => naming = false,
            _ => {}
        }
    }
    found.push((at, name));
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Source};
    use super::{Table, modules_named};

    const ARCHITECTURE: &str = "## Layers\n\n| modules | what | alone uses |\n| --- | --- | --- |\n\
        | `clock` `fault` | low | |\n| `mailbox` | queues | |\n| `guest` | wasm | `wasmtime` |\n| `ingress` | http | `hyper` |\n\n## Next\n";

    fn check(path: &str, text: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let table = Table::parse(ARCHITECTURE).expect("the table is well-formed");
        table.check(
            &Source {
                path: path.to_owned(),
                text: text.to_owned(),
            },
            &mut findings,
        );
        findings
    }

    fn named(code: &str, depth: usize) -> Vec<String> {
        modules_named(code, depth)
            .into_iter()
            .map(|(_, name)| name)
            .collect()
    }

    #[test]
    fn names_are_read_from_paths_and_groups() {
        assert_eq!(
            named("use crate::a::b; pub(crate) fn c() { crate::d::e() }", 1),
            ["a", "d"]
        );
        assert_eq!(
            named("use crate::{a::{b, c}, d, e::f};", 1),
            ["a", "d", "e"]
        );
    }

    #[test]
    fn climbing_out_of_a_module_names_its_neighbour() {
        assert_eq!(named("use super::a;", 1), ["a"]);
        assert_eq!(named("use super::a;", 2), Vec::<String>::new());
        assert_eq!(named("use super::super::a;", 2), ["a"]);
    }

    #[test]
    fn imports_point_downwards() {
        assert_eq!(
            check("host/src/guest/mod.rs", "use crate::mailbox::Outbox;"),
            []
        );
        let upwards = check("host/src/mailbox/outbox.rs", "\nuse crate::guest::Engine;");
        assert_eq!(upwards.len(), 1);
        assert_eq!(upwards[0].line, 2);
        assert_eq!(check("host/src/clock.rs", "use crate::fault::Fault;"), []);
    }

    #[test]
    fn the_outside_world_has_one_place() {
        assert_eq!(
            check("host/src/guest/engine.rs", "use wasmtime::Engine;"),
            []
        );
        assert_eq!(
            check("host/src/ingress/http.rs", "use wasmtime::Engine;").len(),
            1
        );
        assert_eq!(check("host/src/ingress/http.rs", "use hyper::Request;"), []);
    }

    #[test]
    fn every_module_has_a_layer() {
        assert_eq!(check("host/src/helpers.rs", "").len(), 1);
    }
}
