//! How one version of a route gives way to the next. Data only: `dispatch` carries it out.

use std::fmt;
use std::time::Duration;

/// How the sessions of the version before come to the next one. New sessions are always the next
/// version's, from the moment that it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// Each instance is replaced between two calls, under its open sessions: what `export-state` of
    /// the old one says is given to `import-state` of the new one. If the new one does not take it
    /// or does not start, the old one goes on. A component without these functions begins with
    /// empty memory, as after sleep.
    Swap,
    /// Sessions stay with the version that they began with, until they end or `deadline` has passed.
    /// Until then two instances may serve one key, one for each version.
    Drain {
        /// How long that may take. Default 5 min. What is left then is closed with 1012.
        deadline: Duration,
    },
    /// Sessions are closed with 1012, each at a random moment within `jitter`, and come back to the
    /// new version.
    Restart {
        /// From the first close to the last. Default 10 s.
        jitter: Duration,
    },
}

impl Rollout {
    /// Drains for the default time.
    pub const DRAIN: Self = Self::Drain {
        deadline: Duration::from_secs(300),
    };
    /// Restarts over the default time.
    pub const RESTART: Self = Self::Restart {
        jitter: Duration::from_secs(10),
    };
}

/// Drains: what every handler can bear.
impl Default for Rollout {
    fn default() -> Self {
        Self::DRAIN
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Swap => "swap",
            Self::Drain { .. } => "drain",
            Self::Restart { .. } => "restart",
        })
    }
}
