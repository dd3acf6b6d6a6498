//! What hyper sees of a connection: one request's head, and a place to write the answer. Bytes that
//! arrive behind the head are kept for whoever has the connection next, so none is ever lost to an
//! upgrade.
//!
//! Never parses. Tells, through [`Signals`], when the answer has left and when the peer has.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::Socket;

/// Bytes that are kept behind a head; then reading waits for the answer.
const AHEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of one read.
const READ_BYTES: usize = 4 << 10;

/// A socket with the head that was read from it.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) socket: Socket,
    /// What hyper may read.
    head: Vec<u8>,
    given: usize,
    /// What came behind it.
    pub(super) ahead: Vec<u8>,
    signals: Rc<Signals>,
}

/// What happens to one answer.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The service has handed its response to hyper.
    pub(super) answered: Cell<bool>,
    /// All of it is with the kernel.
    pub(super) flushed: Cell<bool>,
    /// The peer has ended its half of the stream, or all of it.
    pub(super) peer_left: Cell<bool>,
}

impl Gate {
    /// A gate for the head in the first `head_bytes` of `bytes`.
    pub(super) fn new(
        socket: Socket,
        mut bytes: Vec<u8>,
        head_bytes: usize,
        signals: Rc<Signals>,
    ) -> Self {
        let ahead = bytes.split_off(head_bytes);
        Self {
            socket,
            head: bytes,
            given: 0,
            ahead,
            signals,
        }
    }

    /// Keeps what arrives behind the head, and notes the end of the stream.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.signals.peer_left.get() {
            ready!(poll_watch(&mut self.socket, cx, &mut self.ahead));
            self.signals.peer_left.set(true);
        }
        Poll::Pending
    }
}

/// Keeps what arrives while an answer is made, as far as there is room for it. Ready when the peer
/// has ended its half of the stream, or all of it.
pub(super) fn poll_watch(
    socket: &mut Socket,
    cx: &mut Context<'_>,
    ahead: &mut Vec<u8>,
) -> Poll<()> {
    while ahead.len() < AHEAD_BYTES_MAX {
        if !matches!(ready!(poll_append(socket, cx, ahead)), Ok(1..)) {
            return Poll::Ready(());
        }
    }
    Poll::Pending
}

/// Reads once and appends what came; no memory is kept for bytes that did not.
pub(super) fn poll_append(
    socket: &mut Socket,
    cx: &mut Context<'_>,
    to: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    thread_local! {
        /// What is read into first; cleared once, not for each read.
        static BYTES: RefCell<[u8; READ_BYTES]> = const { RefCell::new([0; READ_BYTES]) };
    }
    BYTES.with_borrow_mut(|bytes| {
        let mut buffer = ReadBuf::new(bytes);
        ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
        to.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
}

impl Read for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        let rest = &gate.head[gate.given..];
        if rest.is_empty() {
            return gate.watch(cx).map(Ok);
        }
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        gate.given += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Gate {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper flushes its stream only when its own buffer is empty: after the answer was handed
    /// over, that means that all of it has been written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        ready!(Pin::new(&mut gate.socket).poll_flush(cx))?;
        gate.signals.flushed.set(gate.signals.answered.get());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
