//! The grammar of header values that the handshake needs (RFC 9110, section
//! 5.6; RFC 6455, section 9.1): tokens, lists and extensions. Knows no header
//! by name.

/// One header: name in any case, value as received.
pub type Header<'a> = (&'a str, &'a [u8]);

/// One element of `Sec-WebSocket-Extensions` (RFC 6455, section 9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The extension token.
    pub name: String,
    /// Parameters with their values, unquoted, in their order.
    pub parameters: Vec<(String, Option<String>)>,
}

/// The values of the headers of that name, in the order received.
pub(super) fn values<'a>(
    headers: &'a [Header<'a>],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim_ascii())
}

/// The only value of that name; `Err` when there are several.
pub(super) fn single<'a>(
    headers: &'a [Header<'a>],
    name: &'static str,
) -> Result<Option<&'a [u8]>, ()> {
    let mut values = values(headers, name);
    let first = values.next();
    if values.next().is_some() {
        Err(())
    } else {
        Ok(first)
    }
}

/// Whether a list header of that name has the token, in any case.
pub(super) fn has_token(headers: &[Header<'_>], name: &'static str, token: &str) -> bool {
    values(headers, name)
        .flat_map(elements)
        .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// The elements of a list of tokens, without the empty ones that a recipient
/// has to overlook (RFC 9110, section 5.6.1).
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether the bytes are a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether a value has no control characters but tabs (RFC 9110, section 5.5).
pub(super) fn is_value(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
}

/// The extensions of one header value. From an element on that is not to be
/// read nothing is taken: what it meant is not known.
pub fn parse_extensions(value: &[u8]) -> Vec<Extension> {
    let mut scanner = Scanner { rest: value };
    let mut extensions = Vec::new();
    loop {
        while scanner.skip(b',') {}
        match scanner.extension() {
            Some(extension) if scanner.at_end_of_element() => extensions.push(extension),
            _ => return extensions,
        }
    }
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    fn extension(&mut self) -> Option<Extension> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.skip(b';') {
            let name = self.token()?;
            let value = if self.skip(b'=') {
                Some(self.value()?)
            } else {
                None
            };
            parameters.push((name, value));
        }
        Some(Extension { name, parameters })
    }

    fn at_end_of_element(&mut self) -> bool {
        self.skip_space();
        matches!(self.rest.first(), None | Some(b','))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn skip(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn token(&mut self) -> Option<String> {
        self.skip_space();
        let end = self.rest.iter().position(|byte| !is_token_byte(*byte));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        (!token.is_empty()).then(|| token.iter().map(|byte| char::from(*byte)).collect())
    }

    /// A token, or a quoted string that is one once unquoted (RFC 6455,
    /// section 9.1).
    fn value(&mut self) -> Option<String> {
        if !self.skip(b'"') {
            return self.token();
        }
        let mut value = Vec::new();
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match *first {
                b'"' => break,
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    value.push(*escaped);
                }
                byte => value.push(byte),
            }
        }
        if !is_token(&value) {
            return None;
        }
        String::from_utf8(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses and writes down again, plainly.
    fn check(value: &str, expected: &str) {
        let mut found = String::new();
        for extension in parse_extensions(value.as_bytes()) {
            found.push_str(&format!("({}", extension.name));
            for (name, value) in &extension.parameters {
                found.push_str(&format!(" {name}"));
                if let Some(value) = value {
                    found.push_str(&format!("={value}"));
                }
            }
            found.push(')');
        }
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn extensions_are_taken_apart() {
        check("a", "(a)");
        check("a;b ; c = 1;d=\"2\",e", "(a b c=1 d=2)(e)");
        check(" , a ,, b,", "(a)(b)");
        check("a;b=\"\\1\\5\"", "(a b=15)");
    }

    #[test]
    fn a_malformed_extension_ends_the_list_quietly() {
        for value in [
            "",
            ",",
            "a;",
            "a;=1",
            "a;b=",
            "a;b=\"",
            "a;b=\"x y\"",
            "a b",
            "a;b=\"\\",
        ] {
            check(value, "");
        }
        check("a, b;=, c", "(a)");
    }

    #[test]
    fn tokens_are_found_in_lists_over_several_headers_in_any_case() {
        let headers: [Header<'_>; 2] = [
            ("Connection", b"keep-alive"),
            ("connection", b"foo , UPGRADE"),
        ];
        assert!(has_token(&headers, "connection", "upgrade"));
        assert!(!has_token(&headers, "connection", "up"));
        assert!(!has_token(&headers, "upgrade", "upgrade"));
    }
}
