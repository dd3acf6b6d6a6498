//! Control frames, for handlers of a raw route: the trait that receives them and what sends them.
//! Every default does what the host does on other routes.

use crate::bindings::raw::exports::wharf::websocket::control_handler::ControlFrame;
use crate::bindings::raw::wharf::websocket::control as host;
use crate::bindings::wharf::websocket::types::CloseReasonParam as WireReason;
use crate::{Handler, SendError, Session};

/// What a close frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseReason<'a> {
    /// 1000 to 1003, 1007 to 1014 or 3000 to 4999.
    pub code: u16,
    /// At most 123 bytes; a longer one is cut.
    pub reason: &'a str,
}

/// What a handler does with the client's control frames, on a route with `raw = true`. The host
/// answers none of them; it still holds the protocol's rules, and its own pings go on unless the
/// route says `ping_interval = "off"`.
///
/// ```no_run
/// use wharf_guest::{ControlHandler, Handler, Session};
///
/// #[derive(Default)]
/// struct Quiet;
///
/// impl Handler for Quiet {}
///
/// impl ControlHandler for Quiet {
///     /// Pings of this client are for measuring, and others are not answered.
///     fn on_ping(&mut self, session: Session, payload: &[u8]) {
///         if payload.starts_with(b"time ") {
///             let _ = session.pong(payload);
///         }
///     }
/// }
///
/// wharf_guest::export!(Quiet, control);
/// # fn main() {}
/// ```
pub trait ControlHandler: Handler {
    /// The client wants a pong with the same payload. Left out, it gets it.
    fn on_ping(&mut self, session: Session, payload: &[u8]) {
        let _ = session.pong(payload);
    }

    /// A pong, asked for by [`Session::ping`] or not. Left out, nothing happens.
    fn on_pong(&mut self, session: Session, payload: &[u8]) {
        let _ = (session, payload);
    }

    /// The client closes and sends nothing more. It waits for a close frame, by [`Session::close`]
    /// or [`Session::close_as`], for the route's `close_timeout`; then the host answers. Messages
    /// may be sent before. Left out, it is answered at once with its own code.
    fn on_peer_close(&mut self, session: Session, reason: Option<CloseReason<'_>>) {
        session.close_as(reason.map(|said| CloseReason { reason: "", ..said }));
    }
}

/// On a route with `raw = true`.
impl Session {
    /// Queues a ping of up to 125 bytes; its pong comes to
    /// [`on_pong`](ControlHandler::on_pong).
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Full`], or [`SendError::TooLarge`] with the limit.
    pub fn ping(self, payload: &[u8]) -> Result<(), SendError> {
        host::ping(self.id(), payload)
    }

    /// Queues a pong of up to 125 bytes, asked for or not.
    ///
    /// # Errors
    /// As [`ping`](Session::ping).
    pub fn pong(self, payload: &[u8]) -> Result<(), SendError> {
        host::pong(self.id(), payload)
    }

    /// As [`close`](Session::close); without a reason the close frame is empty.
    pub fn close_as(self, reason: Option<CloseReason<'_>>) {
        let reason = reason.map(|CloseReason { code, reason }| WireReason { code, reason });
        host::close(self.id(), reason);
    }
}

/// Where the macro enters.
#[doc(hidden)]
pub fn control<H: ControlHandler>(handler: &mut H, session: u64, frame: &ControlFrame) {
    let session = Session::from_id(session);
    match frame {
        ControlFrame::Ping(payload) => handler.on_ping(session, payload),
        ControlFrame::Pong(payload) => handler.on_pong(session, payload),
        ControlFrame::Close(said) => {
            let reason = said.as_ref().map(|said| CloseReason {
                code: said.code,
                reason: &said.reason,
            });
            handler.on_peer_close(session, reason);
        }
    }
}
