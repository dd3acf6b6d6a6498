//! What a service manager is told (`sd_notify`), and how often it wants to hear that the server
//! lives. Without one, nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Says something; a manager that cannot be reached has its own view of that.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager was not told: {error}");
    }
}

/// The server accepts.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The configuration is read again; [`ready`] says that this is over.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The server ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Another process is the server now.
pub(crate) fn handed_over(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

/// When the manager has to be told that the server lives.
#[derive(Debug)]
pub(crate) struct Watchdog(Option<Interval>);

impl Watchdog {
    /// As the manager has asked for at the start.
    pub(crate) fn new() -> Self {
        let asked = sd_notify::watchdog_enabled().filter(|within| !within.is_zero());
        Self(asked.map(|within| {
            let mut interval = interval(within / 3);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    /// Waits for the next time, and says how long finding out may take; for ever, if nobody asks.
    pub(crate) async fn due(&mut self) -> Duration {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
                interval.period()
            }
            None => std::future::pending().await,
        }
    }

    /// The server lives.
    pub(crate) fn alive() {
        tell(&[NotifyState::Watchdog]);
    }
}
