//! What an operator tells a route's component: settings, and secrets, which nothing shows. Data only.

use std::collections::BTreeMap;
use std::fmt;

/// A text that must not appear in logs, messages or dumps of settings.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the component that it is meant for.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// A route's `[route.config]` and `[route.secrets]`. No key is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What may be seen.
    pub values: BTreeMap<String, String>,
    /// What may not.
    pub secrets: BTreeMap<String, Secret>,
}

impl Settings {
    /// The value or the secret of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let secret = || self.secrets.get(key).map(Secret::reveal);
        self.values.get(key).map(String::as_str).or_else(secret)
    }

    /// All that may be seen, in the order of the keys.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values.iter();
        values.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_answered_by_name_and_shown_nowhere() {
        let mut settings = Settings::default();
        settings.values.insert("colour".into(), "blue".into());
        let secret = Secret::new("hunter2");
        settings.secrets.insert("token".into(), secret);
        assert_eq!(settings.get("token"), Some("hunter2"));
        assert_eq!(settings.get("colour"), Some("blue"));
        assert_eq!(settings.get("shape"), None);
        assert_eq!(settings.open().collect::<Vec<_>>(), [("colour", "blue")]);
        let shown = format!("{settings:?} {settings:#?}");
        assert!(
            shown.contains("token") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
