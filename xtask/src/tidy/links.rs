//! Links of the Markdown files to files of the tree: each must lead somewhere.
//! Links into the web are not followed.

use std::path::Path;

use super::{Finding, Source};

pub(super) fn check(root: &Path, source: &Source, findings: &mut Vec<Finding>) {
    if !source.path.ends_with(".md") {
        return;
    }
    let folder = root
        .join(&source.path)
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    for (line, target) in targets(&source.text) {
        let file = target.split('#').next().unwrap_or_default();
        if !file.is_empty() && !file.contains(':') && !folder.join(file).exists() {
            let message = format!(
                "the link to `{file}` leads nowhere: name a file that exists, from this file's folder"
            );
            findings.push(Finding::new(&source.path, line, message));
        }
    }
}

/// What stands between `](` and `)`, or in `src="…"`, outside of code blocks.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (open, close) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')] {
            for (at, _) in line.match_indices(open) {
                let rest = &line[at + open.len()..];
                if let Some(end) = rest.find(close) {
                    found.push((index + 1, rest[..end].trim()));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn links_outside_of_code_are_seen() {
        let text = "a [b](c.md#d) ![e](f.svg)\n```\n[g](h)\n```\n<img src=\"i.svg\">";
        assert_eq!(targets(text), [(1, "c.md#d"), (1, "f.svg"), (5, "i.svg")]);
    }
}
