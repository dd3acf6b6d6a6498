//! Where a component may connect to: a host, or all below one, and a port. Data and a pure rule.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The port of an entry that names none.
const DEFAULT_PORT: u16 = 443;
/// What DNS allows.
const HOST_BYTES_MAX: usize = 253;

/// An entry of a list of destinations: `api.example`, `api.example:8443`, `*.example:443` or
/// `[::1]:8080`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// In lower case, without brackets and the root's dot.
    host: String,
    /// Whether it stands for the hosts below it, and not for itself.
    below: bool,
    port: u16,
}

impl Destination {
    /// Reads an entry.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RIGHT: &str = "right is a host with or without a port, such as \"api.example:8443\", \"*.api.example\" or \"[::1]:80\"";
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = split(rest).ok_or(RIGHT)?;
        let is_address = host.parse::<IpAddr>().is_ok();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(fits);
        if !(is_name || is_address) || (below && is_address) {
            return Err(RIGHT);
        }
        Ok(Self {
            host,
            below,
            port: port.unwrap_or(DEFAULT_PORT),
        })
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether a connection to that host and port is of these. The host is as [`split`] gives it.
    pub(crate) fn covers(&self, host: &str, port: u16) -> bool {
        let fits = if self.below {
            let label = host.strip_suffix(self.host.as_str());
            label.is_some_and(|label| label.len() > 1 && label.ends_with('.'))
        } else {
            host == self.host
        };
        fits && port == self.port
    }

    /// Whether everything that another destination covers is covered.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        match (self.below, other.below) {
            (false, true) => false,
            (true, true) if self.host == other.host => self.port == other.port,
            _ => self.covers(&other.host, other.port),
        }
    }
}

/// As it would be read.
impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        match self.host.contains(':') {
            true => write!(formatter, "[{}]:{}", self.host, self.port),
            false => write!(formatter, "{star}{}:{}", self.host, self.port),
        }
    }
}

/// Host and port of `host:port`, `[address]:port` or only a host; the host in lower case, without
/// brackets and the root's dot. `None` for what is neither.
pub(crate) fn split(authority: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(number(port)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some((address.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(number(port)?)),
        None => (authority, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    Some((host, port))
}

fn number(port: &str) -> Option<u16> {
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| is_plain && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entry: &str, authority: &str, expect: bool) {
        let entry = Destination::parse(entry).expect("an entry");
        let (host, port) = split(authority).expect("an authority");
        assert_eq!(
            entry.covers(&host, port.unwrap_or(80)),
            expect,
            "{authority}"
        );
    }

    #[test]
    fn a_host_is_itself_and_its_port() {
        check("api.example", "api.example:443", true);
        check("api.example", "API.Example.:443", true);
        check("api.example", "api.example:8443", false);
        check("api.example", "api.example", false);
        check("api.example:80", "api.example", true);
        check("api.example", "xapi.example:443", false);
        check("api.example", "x.api.example:443", false);
        check("[::1]:80", "[0:0:0:0:0:0:0:1]", true);
        check("127.0.0.1:80", "127.0.0.1", true);
    }

    #[test]
    fn a_star_is_what_lies_below() {
        check("*.example", "a.example:443", true);
        check("*.example", "a.b.example:443", true);
        check("*.example", "example:443", false);
        check("*.example", ".example:443", false);
        check("*.example", "badexample:443", false);
    }

    #[test]
    fn one_includes_another_if_it_covers_all_of_it() {
        let includes = |wide: &str, narrow: &str| {
            let read = |text| Destination::parse(text).expect("an entry");
            assert_eq!(Destination::parse(&read(wide).to_string()), Ok(read(wide)));
            read(wide).includes(&read(narrow))
        };
        assert!(includes("a.example", "a.example:443"));
        assert!(!includes("a.example", "a.example:80"));
        assert!(includes("*.example", "a.example"));
        assert!(includes("*.example", "*.example"));
        assert!(includes("*.example", "*.a.example"));
        assert!(!includes("*.a.example", "*.example"));
        assert!(!includes("*.example", "*.example:80"));
        assert!(!includes("a.example", "*.a.example"));
        assert!(includes("[::1]:80", "[0:0:0:0:0:0:0:1]:80"));
    }

    #[test]
    fn what_is_no_destination() {
        for wrong in [
            "",
            "*",
            "*.",
            "http://a",
            "a:b",
            "a:0",
            "a:65536",
            "a:+1",
            "a/b",
            "u@a",
            "[::1",
            "::1",
            "*.127.0.0.1",
            "a:",
            "a b",
        ] {
            assert!(Destination::parse(wrong).is_err(), "{wrong}");
        }
    }
}
