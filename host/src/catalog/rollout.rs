//! What becomes of the sessions of a deployment when its next version takes over. Data only: the
//! server carries it out.

use std::fmt;
use std::time::Duration;

/// A deployment's rollout policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// At the next boundary between messages the new version takes over what the old one exports;
    /// no session notices. An instance whose state cannot be handed over stays with the old one.
    Swap,
    /// Sessions stay with the version that they began with, until they end or `deadline` has passed.
    Drain {
        /// How long that may take. Default 5 min. What is left then is closed with 1012.
        deadline: Duration,
    },
    /// Sessions are closed with 1012, spread over `jitter`, and come back to the new version.
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
