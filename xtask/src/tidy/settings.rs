//! Every key that the configuration reads stands in docs/configuration.md.

use super::masked::is_word;
use super::{Finding, Source};

const READERS: &str = "host/src/config/";
const DOCUMENT: &str = "docs/configuration.md";

/// How keys are read: by these functions, with the key as first argument.
const READ_BY: [&str; 13] = [
    "count",
    "duration",
    "duration_or_off",
    "file",
    "flag",
    "section",
    "sections",
    "size",
    "some_count",
    "some_size",
    "text",
    "texts",
    "texts_or_all",
];

pub(super) fn check(sources: &[Source], findings: &mut Vec<Finding>) {
    let document = sources.iter().find(|source| source.path == DOCUMENT);
    let document = document.map_or("", |source| source.text.as_str());
    let readers = sources
        .iter()
        .filter(|source| source.path.starts_with(READERS) && !source.path.ends_with("tests.rs"));
    for reader in readers {
        for (line, key) in keys(&reader.text) {
            let is_named = ["`", "[", "."].iter().any(|before| {
                ["`", "]"]
                    .iter()
                    .any(|after| document.contains(&format!("{before}{key}{after}")))
            });
            if !is_named {
                let message = format!(
                    "the key `{key}` is not in {DOCUMENT}: say its default and what it does"
                );
                findings.push(Finding::new(&reader.path, line, message));
            }
        }
    }
}

fn keys(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('(') {
        let name = text[..at]
            .rsplit(|c| !is_word(c))
            .next()
            .unwrap_or_default();
        let Some(literal) = text[at + 1..].trim_start().strip_prefix('"') else {
            continue;
        };
        let Some((key, _)) = literal.split_once('"') else {
            continue;
        };
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if READ_BY.contains(&name) && is_key {
            found.push((1 + text[..at].matches('\n').count(), key));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Source};
    use super::{check, keys};

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn keys_are_first_arguments_of_readers() {
        let text =
            "section.count(\n  \"a_max\", 1);\nsection.refuse(\"b\");\ntop.section(\"c\", \"[c]\")";
        assert_eq!(keys(text), [(1, "a_max"), (4, "c")]);
    }

    #[test]
    fn an_undocumented_key_is_found() {
        let reader = source(
            "host/src/config/mod.rs",
            "s.count(\"a_max\"); s.flag(\"b\"); s.section(\"c\")",
        );
        let document = source("docs/configuration.md", "| `a_max` | `[c]`");
        let mut findings = Vec::<Finding>::new();
        check(&[reader, document], &mut findings);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("`b`"));
    }
}
