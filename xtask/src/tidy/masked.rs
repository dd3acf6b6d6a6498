//! Rust source with its comments, strings and character literals blanked out,
//! so that rules about code never trip over prose. Lines and columns stay.
//! It is a lexer of just that much Rust and knows no grammar.

/// `text` with everything that is not code replaced by spaces.
pub(super) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_comment(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment(&chars, at),
            '"' => string(&chars, at),
            '\'' => character(&chars, at),
            'r' | 'b' | 'c' if starts_word(&chars, at) => prefixed(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

fn starts_word(chars: &[char], at: usize) -> bool {
    at == 0 || !is_word(chars[at - 1])
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_comment(chars: &[char], at: usize) -> usize {
    chars[at..]
        .iter()
        .position(|c| *c == '\n')
        .map_or(chars.len(), |length| at + length)
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here < chars.len() {
        match (chars[here], chars.get(here + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                here += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                here += 2;
                if depth == 0 {
                    return here;
                }
            }
            _ => here += 1,
        }
    }
    here
}

/// The end of a string whose opening quote stands at `at`.
fn string(chars: &[char], at: usize) -> usize {
    let mut here = at + 1;
    while here < chars.len() {
        match chars[here] {
            '\\' => here += 2,
            '"' => return here + 1,
            _ => here += 1,
        }
    }
    chars.len()
}

/// The end of a character literal; a lifetime is left alone.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let closing = chars.iter().skip(at + 3).position(|c| *c == '\'');
            closing.map_or(chars.len(), |length| at + 3 + length + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Raw strings, byte strings and byte characters; `at` for any other word.
fn prefixed(chars: &[char], at: usize) -> usize {
    let word: String = chars[at..].iter().take_while(|c| is_word(**c)).collect();
    let after = at + word.chars().count();
    match (word.as_str(), chars.get(after)) {
        ("b" | "c", Some('"')) => string(chars, after),
        ("b", Some('\'')) => character(chars, after),
        ("r" | "br" | "cr", Some('"' | '#')) => raw_string(chars, after).unwrap_or(at),
        _ => at,
    }
}

/// The end of a raw string; none for a raw identifier such as `r#type`.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closes = |here: &usize| {
        chars[*here] == '"'
            && chars[here + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    let end = (at + hashes + 1..chars.len()).find(closes);
    Some(end.map_or(chars.len(), |here| here + 1 + hashes))
}

#[cfg(test)]
mod tests {
    use super::code;

    fn check(input: &str, expect: &str) {
        assert_eq!(code(input), expect, "for {input:?}");
    }

    #[test]
    fn comments_are_blanked() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", "a                   e");
    }

    #[test]
    fn strings_are_blanked() {
        check(r#"f("{ \" }")"#, "f(        )");
        check(r##"f(r#"{ " }"#, b"x")"##, "f(          ,     )");
    }

    #[test]
    fn characters_are_blanked_and_lifetimes_stay() {
        check("('{', b'}', '\\'', &'a str)", "(   ,     ,     , &'a str)");
    }

    #[test]
    fn raw_identifiers_and_words_stay() {
        check("r#type + bar + rb", "r#type + bar + rb");
    }
}
