//! What becomes of an instance whose guest has failed. Data only: `dispatch` carries it out.

use std::time::Duration;

/// What happens after a trap: any failure of the guest after which its memory is dropped, a limit
/// or a deadline that it broke included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterTrap {
    /// The instance's sessions are closed with 1011 and the number of the incident.
    #[default]
    Close,
    /// The sessions stay open, and a fresh instance goes on with what waits behind the call that
    /// failed. That call is not made again.
    Restart {
        /// Traps of one instance within `traps_within` that its sessions survive; one more closes
        /// them. Default 3.
        traps_max: u32,
        /// Default 1 min.
        traps_within: Duration,
    },
}

impl AfterTrap {
    /// Restarts with the default limits.
    pub const RESTART: Self = Self::Restart {
        traps_max: 3,
        traps_within: Duration::from_secs(60),
    };
}
