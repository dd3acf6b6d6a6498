//! One live WebSocket on one socket: the thin driver around [`wharf_protocol::Connection`].
//!
//! Moves bytes between the socket and the protocol and nothing else: it knows no session, no
//! guest and no queue limit.

mod buffers;
mod reactor;
mod socket;
mod stream;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wharf_protocol::{Connection, Instant, MessageKind};

pub(crate) use self::buffers::Buffers;
pub(crate) use self::reactor::reactor;
pub(crate) use self::socket::{DetachedSocket, Rehome, Socket};
pub(crate) use self::stream::{Listener, Stream};

/// A socket, the protocol's state, and the bytes that wait to be written.
pub(crate) struct Wire {
    socket: Socket,
    connection: Connection,
    /// Encoded frames; without capacity while nothing waits.
    pending: Vec<u8>,
    /// How much of `pending` the socket has taken.
    written: usize,
    /// The socket refused bytes and will wake the session's task.
    blocked: bool,
}

impl Wire {
    pub(crate) fn new(socket: Socket, connection: Connection) -> Self {
        Self {
            socket,
            connection,
            pending: Vec::new(),
            written: 0,
            blocked: false,
        }
    }

    /// Who is on the other side, while the system knows it.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        self.socket.peer_address()
    }

    /// While nothing is read, the pong of a ping cannot arrive: asks the system instead whether the
    /// peer is there.
    pub(crate) fn vouch_for_peer(&mut self, now: Instant) {
        let unread = self.connection.unread_pong(now);
        if unread.is_some_and(|silence| !self.socket.is_lost(silence)) {
            self.connection.vouch_for_peer();
        }
    }

    /// The protocol, and where its output goes.
    pub(crate) fn protocol(&mut self, buffers: &Buffers) -> (&mut Connection, &mut Vec<u8>) {
        if self.pending.capacity() == 0 {
            self.pending = buffers.take();
        }
        (&mut self.connection, &mut self.pending)
    }

    /// The protocol, to look at.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The protocol, where nothing is written.
    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Encodes one message behind what already waits.
    pub(crate) fn send(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        buffers: &Buffers,
    ) -> Result<(), wharf_protocol::SendError> {
        let (connection, out) = self.protocol(buffers);
        connection.send(kind, payload, out)
    }

    /// Bytes encoded and not yet taken by the socket.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.pending.len() - self.written
    }

    /// Whether the session's task waits for the socket to take more.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Reads once, straight into the long message under way, if there is one; else `None`.
    pub(crate) fn poll_read_directly(
        &mut self,
        context: &mut Context<'_>,
        buffers: &Buffers,
    ) -> Option<Poll<io::Result<usize>>> {
        let Self {
            socket, connection, ..
        } = self;
        if connection.wants_buffer()
            && let Some(buffer) = buffers.take_large()
        {
            connection.give_buffer(buffer);
        }
        let mut room = ReadBuf::new(connection.direct_room()?);
        let polled = Pin::new(socket).poll_read(context, &mut room);
        Some(polled.map_ok(|()| room.filled().len()))
    }

    /// Writes a message past the buffer, as far as the socket takes it now; the rest waits as if it
    /// had been sent. `None`: something waits already, or the message has to be changed on its way.
    pub(crate) fn poll_send_directly(
        &mut self,
        context: &mut Context<'_>,
        (kind, payload): (MessageKind, &[u8]),
        buffers: &Buffers,
    ) -> Option<Poll<io::Result<()>>> {
        if !self.is_clear() {
            return None;
        }
        let header = self.connection.plain_header(kind, payload.len())?;
        let parts = [IoSlice::new(&header), IoSlice::new(payload)];
        let taken = Pin::new(&mut self.socket).poll_write_vectored(context, &parts);
        Some(self.poll_rest(context, taken, [&header, payload], buffers))
    }

    /// As [`Wire::poll_send_directly`], with frames that may leave as they are.
    pub(crate) fn poll_write_directly(
        &mut self,
        context: &mut Context<'_>,
        frames: &[u8],
        buffers: &Buffers,
    ) -> Option<Poll<io::Result<()>>> {
        if !self.is_clear() {
            return None;
        }
        let taken = Pin::new(&mut self.socket).poll_write(context, frames);
        Some(self.poll_rest(context, taken, [frames, &[]], buffers))
    }

    /// Whether what is written now comes behind nothing else.
    fn is_clear(&self) -> bool {
        !self.blocked && self.queued_bytes() == 0
    }

    /// The socket was offered two parts, one behind the other, and has taken some of it: what it
    /// has not taken waits.
    fn poll_rest(
        &mut self,
        context: &mut Context<'_>,
        taken: Poll<io::Result<usize>>,
        [first, second]: [&[u8]; 2],
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        let taken = match taken {
            Poll::Ready(Ok(count)) => count,
            // Whatever is wrong shows again below.
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        if taken == first.len() + second.len() {
            let flushed = Pin::new(&mut self.socket).poll_flush(context);
            self.blocked = flushed.is_pending();
            return flushed;
        }
        let (_, out) = self.protocol(buffers);
        out.extend_from_slice(&first[taken.min(first.len())..]);
        out.extend_from_slice(&second[taken.saturating_sub(first.len())..]);
        self.poll_flush(context, buffers)
    }

    /// Writes all that waits. `Ready(Ok)` means that nothing waits any more; the buffer has then
    /// gone back to the worker.
    pub(crate) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        let was_blocked = std::mem::take(&mut self.blocked);
        if self.pending.capacity() == 0 && !was_blocked {
            return Poll::Ready(Ok(()));
        }
        loop {
            while self.written < self.pending.len() {
                let waiting = &self.pending[self.written..];
                match Pin::new(&mut self.socket).poll_write(context, waiting) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => self.written += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.blocked = true;
                        self.forget_written();
                        return Poll::Pending;
                    }
                }
            }
            self.pending.clear();
            self.written = 0;
            // A ping that came while bytes waited is answered now.
            self.connection.flushed(&mut self.pending);
            if self.pending.is_empty() {
                break;
            }
        }
        buffers.give(std::mem::take(&mut self.pending));
        match Pin::new(&mut self.socket).poll_flush(context) {
            Poll::Pending => {
                self.blocked = true;
                Poll::Pending
            }
            ready => ready,
        }
    }

    /// Ends our direction (FIN; for TLS close_notify first).
    pub(crate) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    /// Keeps `pending` from growing by what has left already.
    fn forget_written(&mut self) {
        if self.written >= self.pending.len() / 2 {
            self.pending.drain(..self.written);
            self.written = 0;
        }
    }
}
