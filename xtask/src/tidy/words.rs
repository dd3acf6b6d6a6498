//! Words that may not stand in the tree: promises of later work, leftovers of
//! a merge, and `unsafe` without the reason why it is sound.

use super::masked;
use super::{Finding, Source};

/// Built from parts, so that this file is not a finding itself.
const PROMISES: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
];

/// How far above an `unsafe` its reason may start.
const REASON_LINES_MAX: usize = 12;

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let prose = source.path.ends_with(".md");
    for (index, line) in source.text.lines().enumerate() {
        if let Some(word) = PROMISES.iter().find(|word| !prose && has_word(line, word)) {
            let message = format!("`{word}`: do it, drop it, or open an issue");
            findings.push(Finding::new(&source.path, index + 1, message));
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            findings.push(Finding::new(
                &source.path,
                index + 1,
                "a merge was left unfinished here",
            ));
        }
    }
    if source.path.ends_with(".rs") {
        check_unsafe(source, findings);
    }
}

fn check_unsafe(source: &Source, findings: &mut Vec<Finding>) {
    let code = masked::code(&source.text);
    let lines: Vec<&str> = source.text.lines().collect();
    for (index, line) in code.lines().enumerate() {
        let Some(at) = line.find("unsafe ") else {
            continue;
        };
        if line[..at].chars().next_back().is_some_and(masked::is_word) {
            continue;
        }
        let above = &lines[index.saturating_sub(REASON_LINES_MAX)..=index];
        if !above
            .iter()
            .any(|line| line.contains("SAFETY") || line.contains("# Safety"))
        {
            let message =
                "`unsafe` without a reason: say above it, after `SAFETY:`, why it is sound";
            findings.push(Finding::new(&source.path, index + 1, message));
        }
    }
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(masked::is_word);
        let after = line[at + word.len()..]
            .chars()
            .next()
            .is_some_and(masked::is_word);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::{PROMISES, Source, check};

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(
            &Source {
                path: path.to_owned(),
                text: text.to_owned(),
            },
            &mut findings,
        );
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn promises_are_found_as_whole_words() {
        let word = PROMISES[0];
        assert_eq!(lines("a.js", &format!("x\n// {word}: later")), [2]);
        assert_eq!(lines("a.js", &format!("{word}S")), Vec::<usize>::new());
    }

    #[test]
    fn unsafe_needs_a_reason() {
        assert_eq!(lines("a.rs", "fn a() {\n unsafe { b() }\n}"), [2]);
        assert_eq!(
            lines("a.rs", "// SAFETY: b reads nothing.\nunsafe { b() }"),
            Vec::<usize>::new()
        );
        assert_eq!(
            lines("a.rs", "#![deny(unsafe_code)] // no unsafe here"),
            Vec::<usize>::new()
        );
    }
}
