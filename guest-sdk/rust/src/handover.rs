//! State that goes from one version of a handler to the next, while its
//! sessions stay open.
//!
//! ```no_run
//! use wharf_guest::{Handler, Handover, Message, Session};
//!
//! #[derive(Default)]
//! struct Counter {
//!     messages: u64,
//! }
//!
//! impl Handler for Counter {
//!     fn on_message(&mut self, session: Session, _message: Message<'_>) {
//!         self.messages += 1;
//!         let _ = session.send(&self.messages.to_string());
//!     }
//! }
//!
//! impl Handover for Counter {
//!     fn export_state(&mut self) -> Vec<u8> {
//!         self.messages.to_string().into_bytes()
//!     }
//!
//!     fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
//!         let text = str::from_utf8(state).map_err(|error| error.to_string())?;
//!         self.messages = text.parse().map_err(|_| format!("{text:?} is no count"))?;
//!         Ok(())
//!     }
//! }
//!
//! wharf_guest::export!(Counter, handover);
//! # fn main() {}
//! ```
//!
//! The next version may write its state in another form: begin with a word that
//! says which form it is. What the host keeps (attachments, tags, topics, timers,
//! buckets) needs no handover; [`Session::all`](crate::Session::all) has the same
//! sessions, under the same [ids](crate::Session::id).

use crate::Handler;

/// Hands over to the next version. Optional: implement it beside [`Handler`] and
/// export both with `export!(MyHandler, handover)`.
pub trait Handover: Handler {
    /// What the next version should know. It is asked between two calls; if the
    /// next version does not take over, this handler goes on.
    fn export_state(&mut self) -> Vec<u8>;

    /// Takes what the version before wrote; `self` is fresh from [`Default`].
    /// [`Handler::on_open`] is not called again.
    ///
    /// # Errors
    /// Words for the operator's log: the version before goes on.
    fn import_state(&mut self, state: &[u8]) -> Result<(), String>;
}
