//! Which pages may open a connection: the `Origin` rule (RFC 6455, section
//! 10.2). Judges the header alone; who else may connect is not its business.

/// Whose `Origin` is let in. A request without the header does not come from a
/// page and is let in by every rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OriginRule {
    /// Pages of the host and port that the request is addressed to.
    #[default]
    SameOrigin,
    /// Pages of these origins, each written as `scheme://host[:port]`. The
    /// origin `null` is let in where the list names it.
    List(Vec<String>),
    /// Any page.
    Any,
}

/// Whether a request with this `Origin`, addressed to `host` (the value of its
/// `Host` header), is let in. The scheme of the page does not matter to
/// [`OriginRule::SameOrigin`]: behind a proxy the server cannot know its own.
pub fn origin_allowed(origin: Option<&[u8]>, host: &str, rule: &OriginRule) -> bool {
    let Some(origin) = origin else { return true };
    let Ok(origin) = core::str::from_utf8(origin) else {
        return *rule == OriginRule::Any;
    };
    match rule {
        OriginRule::Any => true,
        OriginRule::SameOrigin => {
            let Some(origin) = Origin::parse(origin) else {
                return false;
            };
            let Some((name, port)) = split_port(host) else {
                return false;
            };
            // A Host without a port leaves out the default of a scheme that
            // only the page knows.
            let port = port.or(origin.default_port());
            origin.host.eq_ignore_ascii_case(name) && origin.port() == port && port.is_some()
        }
        OriginRule::List(allowed) => allowed.iter().any(|allowed| {
            if allowed == "null" {
                return origin == "null";
            }
            match (Origin::parse(allowed), Origin::parse(origin)) {
                (Some(allowed), Some(origin)) => {
                    allowed.scheme.eq_ignore_ascii_case(origin.scheme)
                        && allowed.host.eq_ignore_ascii_case(origin.host)
                        && allowed.port() == origin.port()
                }
                _ => false,
            }
        }),
    }
}

/// An origin in its serialised form (RFC 6454, section 6.2).
#[derive(Clone, Copy)]
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    explicit_port: Option<u16>,
}

impl<'a> Origin<'a> {
    /// `None` for whatever has a path, user information, spaces or no host.
    fn parse(origin: &'a str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let scheme_fine = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !scheme_fine {
            return None;
        }
        let (host, explicit_port) = split_port(authority)?;
        Some(Self {
            scheme,
            host,
            explicit_port,
        })
    }

    fn port(self) -> Option<u16> {
        self.explicit_port.or(self.default_port())
    }

    fn default_port(self) -> Option<u16> {
        if self.scheme.eq_ignore_ascii_case("http") {
            Some(80)
        } else if self.scheme.eq_ignore_ascii_case("https") {
            Some(443)
        } else {
            None
        }
    }
}

/// Host and port of an authority without user information.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if !is_host(host) {
        return None;
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        _ => None,
    }
}

fn is_host(host: &str) -> bool {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(origin: &str, host: &str) -> bool {
        origin_allowed(Some(origin.as_bytes()), host, &OriginRule::SameOrigin)
    }

    #[test]
    fn a_page_of_the_same_host_and_port_is_let_in() {
        for (origin, host) in [
            ("http://a.example", "a.example"),
            ("https://a.example", "a.example"),
            ("https://a.example", "a.example:443"),
            ("http://a.example:8080", "a.example:8080"),
            ("https://A.example", "a.EXAMPLE"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(same(origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn a_foreign_null_or_look_alike_origin_is_kept_out() {
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://a.example.evil.example",
            "http://evil-a.example",
            "http://a.example:81",
            "http://a.example:80:80",
            "http://a.example:",
            "http://a.example:+80",
            "http://a.example:65616",
            "http://a.example@evil.example",
            "http://evil.example@a.example",
            "http://evil.example/a.example",
            "http://a.example/",
            "http://a.example ",
            " http://a.example",
            "http://a.example.",
            "http://a.example,http://evil.example",
            "http://a.example http://evil.example",
            "http:/a.example",
            "//a.example",
            "a.example",
            "file://",
            "chrome-extension://a.example",
            "http://a.example\0",
            "http://а.example",
        ] {
            assert!(!same(origin, "a.example"), "{origin}");
        }
        assert!(!origin_allowed(
            Some(b"http://\xff"),
            "a.example",
            &OriginRule::SameOrigin
        ));
        assert!(!same("http://a.example:8080", "a.example"));
        assert!(!same("http://a.example", "a.example:8080"));
    }

    #[test]
    fn a_client_that_is_no_page_is_let_in() {
        let listed = OriginRule::List(vec!["https://a.example".to_owned()]);
        for rule in [OriginRule::SameOrigin, listed, OriginRule::Any] {
            assert!(origin_allowed(None, "a.example", &rule));
        }
    }

    #[test]
    fn a_list_lets_in_exactly_its_origins() {
        let rule = OriginRule::List(vec![
            "https://a.example".to_owned(),
            "http://b.example:8080".to_owned(),
            "chrome-extension://abcdef".to_owned(),
        ]);
        let allowed = |origin: &str| origin_allowed(Some(origin.as_bytes()), "c.example", &rule);
        for origin in [
            "https://a.example",
            "https://a.example:443",
            "http://b.example:8080",
            "chrome-extension://abcdef",
        ] {
            assert!(allowed(origin), "{origin}");
        }
        for origin in [
            "http://a.example",
            "https://a.example:8443",
            "http://b.example",
            "https://c.example",
            "https://a.example.evil.example",
            "null",
        ] {
            assert!(!allowed(origin), "{origin}");
        }
    }

    #[test]
    fn null_is_let_in_only_by_name_or_by_any() {
        let named = OriginRule::List(vec!["null".to_owned()]);
        assert!(origin_allowed(Some(b"null"), "a.example", &named));
        assert!(origin_allowed(Some(b"null"), "a.example", &OriginRule::Any));
        assert!(!origin_allowed(Some(b"https://null"), "a.example", &named));
    }
}
