//! Route patterns (`/rooms/{room}`, `/files/{*tail}`), instance key templates over their
//! parameters, and percent-decoding of what they matched. Pure: text in, text out.

use std::fmt;

/// Which instance serves a session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum InstanceModel {
    /// Each session has its own.
    #[default]
    Session,
    /// All sessions of a worker share one.
    Shared,
    /// Sessions with the same key share one.
    Keyed(Template),
}

/// Text with placeholders, such as `{room}` or `{game}-{table}`, that a route's parameters fill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(String),
    Param(String),
}

/// Why a text is no pattern or template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PatternError(String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl Template {
    /// Reads a template; each placeholder must be one of `params`, and there must be one.
    pub fn parse(text: &str, params: &[String]) -> Result<Self, PatternError> {
        let parts = split(text)?;
        for part in &parts {
            let Part::Param(name) = part else { continue };
            if !params.contains(name) {
                return Err(PatternError(unknown_param(name, params)));
            }
        }
        if !parts.iter().any(|part| matches!(part, Part::Param(_))) {
            return Err(PatternError(format!(
                "`{text}` names no parameter of the path, such as {{room}}"
            )));
        }
        Ok(Self { parts })
    }

    /// The key for what a path matched. Two different sets of values never give the same key: the
    /// values, which hold no control characters, are set apart by U+001F where there are several.
    pub fn key<T: AsRef<str>>(&self, params: &[(T, T)]) -> String {
        let mut key = String::new();
        let several = self
            .parts
            .iter()
            .filter(|part| matches!(part, Part::Param(_)))
            .count()
            > 1;
        for part in &self.parts {
            match part {
                Part::Literal(text) => key.push_str(text),
                Part::Param(name) => {
                    let param = params.iter().find(|(known, _)| known.as_ref() == name);
                    if let Some((_, value)) = param {
                        key.push_str(value.as_ref());
                    }
                    if several {
                        key.push('\u{1f}');
                    }
                }
            }
        }
        key
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(text),
            Part::Param(name) => write!(f, "{{{name}}}"),
        })
    }
}

fn unknown_param(name: &str, params: &[String]) -> String {
    match params {
        [] => format!("{{{name}}} is no parameter of the path, which has none"),
        _ => format!(
            "{{{name}}} is no parameter of the path, which has {{{}}}",
            params.join("}, {")
        ),
    }
}

/// Checks a route's path and returns the names of its parameters in order.
pub(crate) fn params_of(path: &str) -> Result<Vec<String>, PatternError> {
    if !path.starts_with('/') {
        return Err(PatternError(format!(
            "a path begins with `/`; `{path}` does not"
        )));
    }
    let mut names: Vec<String> = Vec::new();
    let parts = split(path)?;
    for (place, part) in parts.iter().enumerate() {
        match part {
            Part::Literal(text) => check_literal(path, text)?,
            Part::Param(name) => {
                let bare = name.strip_prefix('*').unwrap_or(name);
                if bare.len() < name.len()
                    && (place + 1 < parts.len()
                        || !path[..path.len() - name.len() - 2].ends_with('/'))
                {
                    return Err(PatternError(format!(
                        "{{*{bare}}} takes the whole rest of a path: it stands at the end, after a `/`"
                    )));
                }
                if names.iter().any(|known| known == bare) {
                    return Err(PatternError(format!("the path names {{{bare}}} twice")));
                }
                names.push(bare.to_owned());
            }
        }
    }
    Ok(names)
}

/// Whether some path may be one of both patterns. Says yes too often, never too seldom: a piece of a
/// path with a parameter in it is taken for one that matches everything.
pub(crate) fn overlap(first: &str, second: &str) -> bool {
    let (mut first, mut second) = (first.split('/'), second.split('/'));
    loop {
        let (one, other) = match (first.next(), second.next()) {
            (None, None) => return true,
            // `/files/{*tail}` answers on `/files/` too, not on `/files`.
            (Some(one), Some(other)) => (one, other),
            _ => return false,
        };
        if one.starts_with("{*") || other.starts_with("{*") {
            return true;
        }
        if one != other && !one.contains('{') && !other.contains('{') {
            return false;
        }
    }
}

fn check_literal(path: &str, text: &str) -> Result<(), PatternError> {
    let wrong = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '\\' | '"' | '<' | '>' | '*'));
    match wrong {
        Some(c) => Err(PatternError(format!(
            "a path cannot hold `{}`, as `{path}` does",
            c.escape_default()
        ))),
        None => Ok(()),
    }
}

/// Cuts a text into literals and `{name}`s; a name keeps its leading `*`.
fn split(text: &str) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(open) = rest.find(['{', '}']) else {
            parts.push(Part::Literal(rest.to_owned()));
            break;
        };
        if open > 0 {
            parts.push(Part::Literal(rest[..open].to_owned()));
        }
        let inside = &rest[open..];
        let close = inside.find('}').filter(|close| *close > 0);
        let Some(close) = close else {
            return Err(PatternError(format!(
                "`{text}` has a brace without its partner"
            )));
        };
        let name = &inside[1..close];
        if !is_param_name(name.strip_prefix('*').unwrap_or(name)) {
            return Err(PatternError(format!(
                "{{{name}}} is no parameter: a name is letters, digits and `_`, and begins with no digit"
            )));
        }
        parts.push(Part::Param(name.to_owned()));
        rest = &inside[close + 1..];
    }
    Ok(parts)
}

fn is_param_name(name: &str) -> bool {
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins_well
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Decodes `%XX`; `None` when an escape is broken, the bytes are no UTF-8 or hold a control
/// character: such a value is no name that a tenant could mean.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
        rest = after;
    }
    let decoded = String::from_utf8(bytes).ok()?;
    (!decoded.chars().any(char::is_control)).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expect: Result<&[&str], &str>) {
        let params = params_of(path).map_err(|error| error.to_string());
        let expect = expect
            .map(|names| names.iter().map(ToString::to_string).collect())
            .map_err(str::to_owned);
        assert_eq!(params, expect, "{path}");
    }

    #[test]
    fn paths_name_their_parameters() {
        check("/", Ok(&[]));
        check("/rooms/{room}", Ok(&["room"]));
        check("/{a}/{b}/{*tail}", Ok(&["a", "b", "tail"]));
        check("rooms", Err("a path begins with `/`; `rooms` does not"));
        check("/{a}/{a}", Err("the path names {a} twice"));
        check("/{a", Err("`/{a` has a brace without its partner"));
        check("/a}", Err("`/a}` has a brace without its partner"));
        check(
            "/{1}",
            Err("{1} is no parameter: a name is letters, digits and `_`, and begins with no digit"),
        );
        check(
            "/{*a}/b",
            Err("{*a} takes the whole rest of a path: it stands at the end, after a `/`"),
        );
        check(
            "/x{*a}",
            Err("{*a} takes the whole rest of a path: it stands at the end, after a `/`"),
        );
        check("/a?b", Err("a path cannot hold `?`, as `/a?b` does"));
        check("/ä", Err("a path cannot hold `\\u{e4}`, as `/ä` does"));
    }

    #[test]
    fn patterns_overlap_where_a_path_may_be_of_both() {
        for (first, second, expect) in [
            ("/a", "/a", true),
            ("/a", "/b", false),
            ("/a", "/a/", false),
            ("/a/{x}", "/a/b", true),
            ("/a/{x}", "/b/{x}", false),
            ("/a/{x}/c", "/a/b/{y}", true),
            ("/{x}", "/a/b", false),
            ("/{*x}", "/a/b", true),
            ("/a/{*x}", "/a/", true),
            ("/a/{*x}", "/a", false),
            ("/a/{*x}", "/b/c", false),
            ("/a/b-{x}", "/a/c", true),
        ] {
            assert_eq!(overlap(first, second), expect, "{first} {second}");
            assert_eq!(overlap(second, first), expect, "{second} {first}");
        }
    }

    #[track_caller]
    fn key(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
        let names: Vec<String> = values.iter().map(|(name, _)| (*name).to_owned()).collect();
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Template::parse(template, &names)
            .map(|template| template.key(&values))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_template_makes_a_key_of_the_parameters() {
        assert_eq!(key("{room}", &[("room", "a")]), Ok("a".into()));
        assert_eq!(key("game-{room}", &[("room", "a")]), Ok("game-a".into()));
        assert_eq!(
            key("{id}", &[("room", "a")]),
            Err("{id} is no parameter of the path, which has {room}".into())
        );
        assert_eq!(
            key("{id}", &[]),
            Err("{id} is no parameter of the path, which has none".into())
        );
        assert_eq!(
            key("all", &[("a", "b")]),
            Err("`all` names no parameter of the path, such as {room}".into())
        );
    }

    #[test]
    fn different_parameters_never_share_a_key() {
        let first = key("{a}-{b}", &[("a", "x-y"), ("b", "z")]);
        let second = key("{a}-{b}", &[("a", "x"), ("b", "y-z")]);
        assert_ne!(first, second);
    }

    #[test]
    fn percent_escapes_are_decoded_or_refused() {
        assert_eq!(percent_decode("a%20b%C3%a4"), Some("a bä".into()));
        for wrong in ["%", "%2", "%zz", "%+1", "%ff", "a%00", "%1f", "%0a"] {
            assert_eq!(percent_decode(wrong), None, "{wrong}");
        }
    }
}
