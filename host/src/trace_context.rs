//! Where a span stands in its trace, as W3C Trace Context writes it (`traceparent`, version 00). Data
//! only: who samples and records is `traces`.

use std::fmt;

use crate::id::random_u64;

/// A span of a trace that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    trace: u128,
    span: u64,
}

impl TraceContext {
    /// The first span of a trace of its own.
    pub(crate) fn root() -> Self {
        let trace = u128::from(random_u64()) << 64 | u128::from(random_u64());
        Self {
            // An id of zeros means that there is none (W3C Trace Context, section 3.2.2.3).
            trace: trace.max(1),
            span: random_u64().max(1),
        }
    }

    /// A span below this one.
    pub(crate) fn child(self) -> Self {
        Self {
            span: random_u64().max(1),
            ..self
        }
    }

    /// What a `traceparent` header says, and whether it is recorded there. Later versions may say
    /// more behind what version 00 has (section 3.2.4).
    pub(crate) fn parse(header: &[u8]) -> Option<(Self, bool)> {
        let text = std::str::from_utf8(header).ok()?.trim_ascii();
        let (version, rest) = (text.get(..2)?, text.get(2..)?);
        let known = rest.get(..53)?;
        let ends = match version {
            "00" => rest.len() == 53,
            "ff" => false,
            _ => rest.len() == 53 || rest.as_bytes()[53] == b'-',
        };
        let mut parts = known.strip_prefix('-')?.split('-');
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, digits| {
            let fits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            text.len() == digits && text.bytes().all(fits)
        };
        if !ends || !is_hex(version, 2) || parts.next().is_some() {
            return None;
        }
        if !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some((Self { trace, span }, flags & 1 == 1))
    }

    /// The id of its trace, in hexadecimal digits.
    pub(crate) fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Its own id, in hexadecimal digits.
    pub(crate) fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }
}

/// The value of a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{:032x}-{:016x}-01", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let root = TraceContext::root();
        let written = root.to_string();
        assert_eq!(TraceContext::parse(written.as_bytes()), Some((root, true)));
        let child = root.child();
        assert_eq!(child.trace_id(), root.trace_id());
        assert_ne!(child.span_id(), root.span_id());
    }

    #[test]
    fn only_what_the_recommendation_allows_is_a_parent() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        let sampled = |header: &str| TraceContext::parse(header.as_bytes()).map(|found| found.1);
        let span = "b7ad6b7169203331";
        assert_eq!(sampled(&format!("00-{TRACE}-{span}-01")), Some(true));
        assert_eq!(sampled(&format!("00-{TRACE}-{span}-00")), Some(false));
        assert_eq!(sampled(&format!("00-{TRACE}-{span}-03")), Some(true));
        assert_eq!(sampled(&format!("cc-{TRACE}-{span}-01-more")), Some(true));
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{span}"),
            format!("00-{TRACE}-{span}-01-more"),
            format!("cc-{TRACE}-{span}-01more"),
            format!("ff-{TRACE}-{span}-01"),
            format!("0x-{TRACE}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{span}-0g"),
            format!("00_{TRACE}_{span}_01"),
            format!("00-+{}-{span}-01", &TRACE[1..]),
            format!("00-{TRACE}-{span}é-1"),
        ] {
            assert_eq!(sampled(&wrong), None, "{wrong}");
        }
    }
}
