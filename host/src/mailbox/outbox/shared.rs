//! What goes to many sessions, as one of them takes it. No refusal here counts against a handler: it
//! does not know how full each member of a topic is.

use std::task::{Context, Poll, Waker};

use wharf_protocol::Broadcast;

use super::{CORK_BYTES_MAX, Outbox, SendError};
use crate::mailbox::joined::Way;

impl Outbox {
    /// Queues a message that goes to others too, if there is room now.
    pub(crate) fn try_broadcast(&self, message: &mut Broadcast<'_>) -> Result<(), SendError> {
        self.settle();
        self.queue_broadcast(message)
    }

    /// Takes frames that were made for many as a whole, if they may leave as they are, with a longest
    /// payload of that size, and there is room.
    pub(in crate::mailbox) fn take_frames(
        &self,
        frames: &[u8],
        longest_bytes: usize,
        way: Way,
    ) -> bool {
        // What a tenant pays for is counted message by message.
        if self.tenant().is_metered() {
            return false;
        }
        let mut wire = self.0.wire.borrow_mut();
        if !wire.connection().sends_plain(longest_bytes)
            || frames.len() > self.0.route.config.outbox_bytes_max
        {
            return false;
        }
        if way == Way::Write {
            let mut context = Context::from_waker(Waker::noop());
            match wire.poll_write_directly(&mut context, frames, &self.lane().buffers) {
                None => {}
                Some(Poll::Ready(Ok(()))) => return true,
                // The task finds the error, or waits with a waker of its own.
                Some(Poll::Ready(Err(_)) | Poll::Pending) => {
                    self.wake();
                    return true;
                }
            }
        }
        if !self.has_room(&wire, frames.len()) {
            return false;
        }
        let (_, out) = wire.protocol(&self.lane().buffers);
        out.extend_from_slice(frames);
        if wire.queued_bytes() >= CORK_BYTES_MAX {
            self.write(&mut wire);
        }
        self.cork(&wire);
        true
    }

    /// As [`Outbox::try_broadcast`], behind what is in the queue.
    pub(in crate::mailbox) fn queue_broadcast(
        &self,
        message: &mut Broadcast<'_>,
    ) -> Result<(), SendError> {
        let bytes = message.payload().len();
        let mut wire = self.0.wire.borrow_mut();
        if !wire.connection().may_send() {
            return Err(SendError::Closed);
        }
        if self.is_over_budget() {
            self.counts().change(|figures| figures.sends_refused += 1);
            return Err(SendError::Full);
        }
        if !self.has_room(&wire, bytes) {
            self.write(&mut wire);
            if !self.has_room(&wire, bytes) {
                self.counts().change(|figures| figures.sends_refused += 1);
                return Err(SendError::Full);
            }
        }
        let (connection, out) = wire.protocol(&self.lane().buffers);
        let sent = connection.broadcast(message, out);
        sent.map_err(|_| SendError::Closed)?;
        self.count_sent(bytes);
        if wire.queued_bytes() >= CORK_BYTES_MAX {
            self.write(&mut wire);
        }
        self.cork(&wire);
        Ok(())
    }
}
