//! A handler that deals with control frames itself, on a route with `raw = true`: it pings its client
//! by its own rules, and ends the session of one that has left three beats unanswered.
//!
//! | from the client | from the server |
//! | --- | --- |
//! | | every half second a ping with the number of the beat |
//! | a pong with it | `beat N` |
//! | a ping | a pong, as everywhere |
//! | a close frame | a close frame with 1000 and `after N beats` |
//! | no pong for three beats | a close frame with 4000 and `no sign of life` |

use std::time::Duration;

use wharf_guest::{CloseReason, ControlHandler, Handler, Session, TimerHandler, timers};

const INTERVAL: Duration = Duration::from_millis(500);
const UNANSWERED_MAX: u32 = 3;

/// One session's; the deployment gives each an instance of its own.
#[derive(Default)]
struct Heart {
    beats: u32,
    answered: u32,
}

impl Heart {
    fn rest() {
        // Without a timer the heart stands still, and the session with it.
        timers::set("beat", INTERVAL).expect("one timer is few, and half a second near");
    }
}

impl Handler for Heart {
    fn on_open(&mut self, _session: Session) {
        Heart::rest();
    }
}

impl TimerHandler for Heart {
    fn on_timer(&mut self, _name: &str) {
        for session in Session::all() {
            if self.beats - self.answered >= UNANSWERED_MAX {
                return session.close(4000, "no sign of life");
            }
            self.beats += 1;
            // A session that has closed meanwhile needs no beat.
            let _ = session.ping(&self.beats.to_be_bytes());
            Heart::rest();
        }
    }
}

impl ControlHandler for Heart {
    fn on_pong(&mut self, session: Session, payload: &[u8]) {
        // A client may send pongs that nobody asked for.
        match payload.try_into().map(u32::from_be_bytes) {
            Ok(beat) if beat > self.answered && beat <= self.beats => {
                self.answered = beat;
                let _ = session.send(&format!("beat {beat}"));
            }
            _ => {}
        }
    }

    fn on_peer_close(&mut self, session: Session, _reason: Option<CloseReason<'_>>) {
        session.close(1000, &format!("after {} beats", self.answered));
    }
}

wharf_guest::export!(Heart, timers, control);
