//! The name of a deployment: what may stand in a path, a log and a database without any thought.

use std::fmt;
use std::str::FromStr;

use super::error::DeployError;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// A deployment's name: 1 to 63 of `a` to `z`, `0` to `9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentName(String);

impl DeploymentName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeploymentName {
    type Err = DeployError;

    fn from_str(text: &str) -> Result<Self, DeployError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(fits) {
            return Err(DeployError::Name);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DeploymentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for right in ["a", "chat", "chat-2", "0", &"a".repeat(63)] {
            assert!(right.parse::<DeploymentName>().is_ok(), "{right}");
        }
        let long = "a".repeat(64);
        let very_long = "a".repeat(300);
        for wrong in [
            "", ".", "..", "%2e%2e", "a/b", "a\\b", "A", "ä", "a b", "a.wasm", "a\0", "a\n", "a_b",
            &long, &very_long,
        ] {
            let refused = wrong.parse::<DeploymentName>();
            assert!(matches!(refused, Err(DeployError::Name)), "{wrong}");
        }
    }
}
