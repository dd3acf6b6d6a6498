//! What a deployment was granted beside its own sessions. Nothing by default: a component that
//! imports what was not granted is refused by name before it is used.
//!
//! Data only: what a grant opens is done by the capabilities.

/// A route's `[route.grants]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants {}
