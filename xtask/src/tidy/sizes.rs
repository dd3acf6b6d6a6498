//! Lengths of files and functions, and the header of each Rust file. A
//! function is counted from the line of its `fn` to its closing brace.

use super::masked::{self, is_word};
use super::{Finding, Source};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that people write, by the end of their names.
const WRITTEN: [&str; 15] = [
    ".rs", ".wit", ".c", ".h", ".cpp", ".go", ".js", ".mjs", ".cjs", ".ts", ".py", ".java",
    ".html", ".sh", ".toml",
];

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX && WRITTEN.iter().any(|end| source.path.ends_with(end)) {
        let message =
            format!("{lines} lines; at most {FILE_LINES_MAX}: split it where its subject changes");
        findings.push(Finding::new(&source.path, FILE_LINES_MAX + 1, message));
    }
    if !source.path.ends_with(".rs") {
        return;
    }
    if !source.text.starts_with("//!") {
        let message = "open the file with `//!`: its purpose, what it never does, whom it talks to";
        findings.push(Finding::new(&source.path, 1, message));
    }
    for function in functions(&masked::code(&source.text)) {
        if function.lines > FUNCTION_LINES_MAX {
            let Function { name, line, lines } = function;
            let message = format!(
                "`{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}: give a part its own name"
            );
            findings.push(Finding::new(&source.path, line, message));
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// All functions with a body in masked code, those inside of others too.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("fn ").map(|offset| from + offset) {
        from = at + 3;
        if code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let name: String = code[from..]
            .trim_start()
            .chars()
            .take_while(|c| is_word(*c))
            .collect();
        let Some(end) = body_end(&code[from..]).map(|length| from + length) else {
            continue;
        };
        if !name.is_empty() {
            let line = 1 + code[..at].matches('\n').count();
            found.push(Function {
                name,
                line,
                lines: 1 + code[at..end].matches('\n').count(),
            });
        }
    }
    found
}

/// The length up to the brace that closes the body; none without a body.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut braces) = (0_i32, 0_i32);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            ';' if round == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces <= 0 {
                    return (braces == 0).then_some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Finding, Source, check, functions};

    fn lengths(code: &str) -> Vec<(String, usize, usize)> {
        functions(code)
            .into_iter()
            .map(|function| (function.name, function.line, function.lines))
            .collect()
    }

    fn findings(path: &str, text: String) -> Vec<Finding> {
        let mut findings = Vec::new();
        check(
            &Source {
                path: path.to_owned(),
                text,
            },
            &mut findings,
        );
        findings
    }

    #[test]
    fn a_body_is_counted_with_its_signature() {
        let code = "pub fn a(x: [u8; 4])\nwhere T: Fn() -> u8,\n{\n  if x {}\n}\nfn b();\n";
        assert_eq!(lengths(code), [("a".to_owned(), 1, 5)]);
    }

    #[test]
    fn a_function_type_is_no_function() {
        assert_eq!(
            lengths("type A = fn (u8) -> u8;\nstruct Befn { x: u8 }"),
            []
        );
    }

    #[test]
    fn inner_functions_count_too() {
        let code = "fn a() {\n  fn b() {\n  }\n}";
        assert_eq!(
            lengths(code),
            [("a".to_owned(), 1, 4), ("b".to_owned(), 2, 2)]
        );
    }

    #[test]
    fn long_functions_and_files_and_missing_headers_are_found() {
        let long = format!("//! x\nfn a() {{\n{}}}\n", "\n".repeat(69));
        assert_eq!(findings("a.rs", long).len(), 1);
        let fits = format!("//! x\nfn a() {{\n{}}}\n", "\n".repeat(68));
        assert_eq!(findings("a.rs", fits), []);
        assert_eq!(findings("a.py", "\n".repeat(801)).len(), 1);
        assert_eq!(findings("a.rs", "fn a() {}".to_owned()).len(), 1);
    }
}
