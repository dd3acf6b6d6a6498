//! What time does to a connection: pings and their answers, the longest time a
//! message may take, the wait for the peer's close frame, pauses of reading.
//!
//! In a pause pings go on, and their pongs lie unread. The driver then says
//! whether the peer is there, if it knows by other means.

use core::time::Duration;

use super::{Connection, Phase};
use crate::cause::Cause;
use crate::frame::Opcode;
use crate::keepalive::Due;
use crate::time::Instant;

impl Connection {
    /// When [`Connection::on_deadline`] wants to be called; may change with
    /// every other call. `None` once the connection is finished or aborted.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open => match (self.pinger.deadline(), self.message_deadline()) {
                (Some(ping), Some(message)) => Some(ping.min(message)),
                (ping, message) => ping.or(message),
            },
            Phase::Concluding | Phase::Closing => Some(self.close_by),
            Phase::Finished | Phase::Aborted => None,
        }
    }

    /// Does what is due at `now`: a ping is appended to `out`, or a wait has
    /// come to its end; look at [`Connection::phase`] afterwards. Called early,
    /// it does nothing.
    pub fn on_deadline(&mut self, now: Instant, out: &mut Vec<u8>) {
        match self.phase {
            Phase::Open => {}
            Phase::Closing if now >= self.close_by => {
                self.phase = Phase::Aborted;
                return;
            }
            Phase::Concluding if now >= self.close_by => return self.conclude(now, out),
            Phase::Concluding | Phase::Closing | Phase::Finished | Phase::Aborted => return,
        }
        if self
            .message_deadline()
            .is_some_and(|deadline| now >= deadline)
        {
            return self.end(&Cause::MessageTooSlow, now, out);
        }
        match self.pinger.on_deadline(now) {
            Due::Nothing => {}
            Due::SendPing => {
                let payload = self.random.ping();
                self.push_frame(Opcode::Ping, &payload, out);
                self.pinger.ping_sent(payload, now);
            }
            Due::Expire => self.end(&Cause::PingTimeout, now, out),
        }
    }

    /// While reading is paused, at the deadline of a pong that may lie unread:
    /// how long ago its ping was sent. Unless the driver then
    /// [vouches](Connection::vouch_for_peer) for the peer,
    /// [`Connection::on_deadline`] gives it up.
    pub fn unread_pong(&self, now: Instant) -> Option<Duration> {
        let pings = self.phase == Phase::Open;
        self.pinger.unread_pong(now).filter(|_| pings)
    }

    /// The peer's side of the connection is there, as the driver knows: the ping
    /// under way counts as answered.
    pub fn vouch_for_peer(&mut self) {
        self.pinger.vouched_for();
    }

    /// Reading is paused: what a message takes does not count against the peer
    /// until [`Connection::resume_keepalive`], and pongs cannot be read.
    pub fn pause_keepalive(&mut self, now: Instant) {
        self.pinger.pause(now);
    }

    /// Reading goes on: every wait on the peer is moved by the pause.
    pub fn resume_keepalive(&mut self, now: Instant) {
        let pause = self.pinger.resume(now);
        if let Some(assembly) = &mut self.assembly {
            let started = assembly.started_mut();
            *started = *started + pause;
        }
    }

    /// Sets how often pings are sent, and starts anew from `now`: a ping under
    /// way is forgotten.
    pub fn set_ping_interval(&mut self, interval: Option<Duration>, now: Instant) {
        self.pinger.set_interval(interval, now);
    }

    /// Sets the window for the answer to a ping, also to the one under way. It
    /// runs from the ping, so `now` changes nothing.
    pub fn set_timeout(&mut self, timeout: Duration, _now: Instant) {
        self.pinger.set_timeout(timeout);
    }

    /// When a message under way has taken too long.
    fn message_deadline(&self) -> Option<Instant> {
        if self.pinger.is_paused() {
            return None;
        }
        let assembly = self
            .assembly
            .as_ref()
            .filter(|assembly| assembly.is_open())?;
        Some(assembly.started() + self.config.message_duration_max)
    }
}
