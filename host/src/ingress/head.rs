//! Where a request head ends, and whether its lines are such that every server would read them
//! alike (RFC 9112, sections 2.2, 3 and 5). Runs before hyper sees a byte, so that each refusal has
//! its status and its reason, and so that a slow head costs no more memory than has arrived.
//!
//! Pure: it reads nothing, and does not judge what the headers say.

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) head_bytes_max: usize,
    pub(super) target_bytes_max: usize,
    pub(super) headers_max: usize,
}

/// Why a request is refused before its meaning is looked at. The connection ends after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    pub(super) status: u16,
    pub(super) message: &'static str,
}

const fn bad(message: &'static str) -> Violation {
    Violation {
        status: 400,
        message,
    }
}

const HEAD_TOO_LARGE: Violation = Violation {
    status: 431,
    message: "The request's head is too large.",
};
const TOO_MANY_HEADERS: Violation = Violation {
    status: 431,
    message: "The request has too many headers.",
};
const TARGET_TOO_LONG: Violation = Violation {
    status: 414,
    message: "The request's target is too long.",
};
const NO_REQUEST_LINE: Violation =
    bad("The first line is no HTTP/1.1 request line, such as `GET / HTTP/1.1`.");
const BARE_LINE_FEED: Violation = bad("A line of the head ends in a line feed alone.");
const CONTROL_CHARACTER: Violation = bad("The head holds a control character.");
const FOLDED: Violation = bad("A header is folded over several lines.");
const NO_COLON: Violation = bad("A line of the head has no colon.");
const BAD_NAME: Violation = bad(
    "The name of a header is empty, has a space before its colon or holds another forbidden character.",
);

/// Longer than any method that HTTP knows.
const METHOD_BYTES_MAX: usize = 32;
/// Empty lines before a request that are forgiven (section 2.2).
const EMPTY_LINES_MAX: usize = 2;

/// The state of reading one head; each byte is looked at once.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Where the line begins that has not ended yet.
    line_start: usize,
    /// How far the search for the line's end has come.
    searched: usize,
    empty_lines: usize,
    has_request_line: bool,
    headers: usize,
}

impl Scan {
    /// Looks at what has arrived of the head: `Some` length once it is complete. What follows it
    /// may stand in `bytes` already and is not looked at.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        limits: HeadLimits,
    ) -> Result<Option<usize>, Violation> {
        while let Some(offset) = bytes[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let end = self.searched + offset + 1;
            if end > limits.head_bytes_max {
                break;
            }
            let line = &bytes[self.line_start..end - 1];
            let line = line.strip_suffix(b"\r").ok_or(BARE_LINE_FEED)?;
            self.line_start = end;
            self.searched = end;
            if self.line(line, limits)? {
                return Ok(Some(end));
            }
        }
        let rest = &bytes[self.line_start..];
        if !self.has_request_line {
            self.unfinished_request_line(rest, limits)?;
        }
        self.searched = bytes.len();
        if bytes.len() >= limits.head_bytes_max {
            Err(HEAD_TOO_LARGE)
        } else {
            Ok(None)
        }
    }

    /// One whole line; true if it ends the head.
    fn line(&mut self, line: &[u8], limits: HeadLimits) -> Result<bool, Violation> {
        // All of them at once: a loop that may end early looks at one byte after the other.
        let classes = line.iter().fold(0, |all, byte| all | class(*byte));
        if classes & CONTROL != 0 {
            return Err(CONTROL_CHARACTER);
        }
        if !self.has_request_line {
            if line.is_empty() && self.empty_lines < EMPTY_LINES_MAX {
                self.empty_lines += 1;
                return Ok(false);
            }
            self.has_request_line = true;
            return request_line(line, limits).map(|()| false);
        }
        if line.is_empty() {
            return Ok(true);
        }
        self.headers += 1;
        if self.headers > limits.headers_max {
            return Err(TOO_MANY_HEADERS);
        }
        header(line).map(|()| false)
    }

    /// Refuses a request line before it ends, if it has become too long.
    fn unfinished_request_line(&self, rest: &[u8], limits: HeadLimits) -> Result<(), Violation> {
        let Some(space) = rest.iter().position(|byte| *byte == b' ') else {
            return if rest.len() > METHOD_BYTES_MAX {
                Err(NO_REQUEST_LINE)
            } else {
                Ok(())
            };
        };
        let target = rest[space + 1..]
            .iter()
            .take_while(|byte| **byte != b' ')
            .count();
        if target > limits.target_bytes_max {
            Err(TARGET_TOO_LONG)
        } else {
            Ok(())
        }
    }
}

fn request_line(line: &[u8], limits: HeadLimits) -> Result<(), Violation> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NO_REQUEST_LINE);
    };
    let is_method =
        !method.is_empty() && method.len() <= METHOD_BYTES_MAX && method.iter().all(is_token);
    let is_target = !target.is_empty()
        && target
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    if !is_method || !is_target || !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") {
        return Err(NO_REQUEST_LINE);
    }
    if target.len() > limits.target_bytes_max {
        Err(TARGET_TOO_LONG)
    } else {
        Ok(())
    }
}

fn header(line: &[u8]) -> Result<(), Violation> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(FOLDED);
    }
    match line.iter().position(|byte| !is_token(byte)) {
        Some(end @ 1..) if line[end] == b':' => Ok(()),
        _ if line.contains(&b':') => Err(BAD_NAME),
        _ => Err(NO_COLON),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: &u8) -> bool {
    class(*byte) & TOKEN != 0
}

const TOKEN: u8 = 1;
const CONTROL: u8 = 2;

/// What a byte is: a look into a table is a third of the comparisons.
fn class(byte: u8) -> u8 {
    static CLASSES: [u8; 256] = classes();
    CLASSES[usize::from(byte)]
}

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'\t' => 0,
            ..=0x1f | 0x7f => CONTROL,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
            | b'`' | b'|' | b'~' => TOKEN,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => TOKEN,
            _ => 0,
        };
        if byte == u8::MAX {
            return classes;
        }
        byte += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: 200,
        target_bytes_max: 50,
        headers_max: 4,
    };

    /// The outcome does not depend on how the bytes are cut.
    #[track_caller]
    fn check(bytes: &[u8], expect: Result<Option<usize>, Violation>) {
        let whole = Scan::default().advance(bytes, LIMITS);
        assert_eq!(whole, expect, "{}", bytes.escape_ascii());
        let mut scan = Scan::default();
        for end in 1..=bytes.len() {
            let outcome = scan.advance(&bytes[..end], LIMITS);
            if !matches!(outcome, Ok(None)) {
                assert_eq!(outcome, expect, "{} cut at {end}", bytes.escape_ascii());
                return;
            }
        }
        assert_eq!(expect, Ok(None), "{} byte by byte", bytes.escape_ascii());
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        check(head, Ok(Some(head.len())));
        check(b"GET / HTTP/1.1\r\n\r\nGET", Ok(Some(18)));
        check(b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", Ok(Some(22)));
        check(b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(None));
        check(b"G", Ok(None));
        check(b"", Ok(None));
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        check(b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(BARE_LINE_FEED));
        check(b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(BARE_LINE_FEED));
        check(
            b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            Err(CONTROL_CHARACTER),
        );
        check(
            b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            Err(CONTROL_CHARACTER),
        );
        check(
            b"GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n",
            Err(CONTROL_CHARACTER),
        );
        check(b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Err(FOLDED));
        check(b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", Err(FOLDED));
        check(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(BAD_NAME));
        check(b"GET / HTTP/1.1\r\n: a\r\n\r\n", Err(BAD_NAME));
        check(b"GET / HTTP/1.1\r\nH\xc3\xb6st: a\r\n\r\n", Err(BAD_NAME));
        check(b"GET / HTTP/1.1\r\nHost\r\n\r\n", Err(NO_COLON));
    }

    #[test]
    fn the_first_line_is_a_request_line() {
        for line in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "G(T / HTTP/1.1",
            " / HTTP/1.1",
            "PRI * HTTP/2.0",
            "GET /\u{e4} HTTP/1.1",
            "GET /a#b HTTP/1.1",
        ] {
            check(format!("{line}\r\n\r\n").as_bytes(), Err(NO_REQUEST_LINE));
        }
        check(b"\r\n\r\n\r\n\r\n", Err(NO_REQUEST_LINE));
        check(&[b'\x16'; 40], Err(NO_REQUEST_LINE));
    }

    #[test]
    fn sizes_are_bounded() {
        check(
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(49)).as_bytes(),
            Ok(Some(67)),
        );
        check(
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(50)).as_bytes(),
            Err(TARGET_TOO_LONG),
        );
        check(
            format!("GET /{}", "a".repeat(1_000)).as_bytes(),
            Err(TARGET_TOO_LONG),
        );
        let headers = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        check(headers(4).as_bytes(), Ok(Some(42)));
        check(headers(5).as_bytes(), Err(TOO_MANY_HEADERS));
        let long = |bytes| format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(bytes));
        check(long(200 - 23).as_bytes(), Ok(Some(200)));
        check(long(201 - 23).as_bytes(), Err(HEAD_TOO_LARGE));
        check(long(1_000).as_bytes(), Err(HEAD_TOO_LARGE));
    }
}
