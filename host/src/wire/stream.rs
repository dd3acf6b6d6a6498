//! Listening sockets and TCP connections that this thread's [`Reactor`] follows.
//!
//! Never looks at the bytes. They stay on their thread; what goes to another one is the socket itself.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use super::reactor::{Direction, Reactor};
use crate::executor;

/// A socket that this thread's [`Reactor`] follows.
struct Followed<S: AsFd> {
    reactor: Rc<Reactor>,
    number: u32,
    /// `None` only while it is taken apart.
    socket: Option<S>,
}

impl<S: AsFd> Followed<S> {
    fn new(socket: S) -> io::Result<Self> {
        let reactor = Reactor::here()?;
        let number = reactor.add(&socket)?;
        let socket = Some(socket);
        Ok(Self {
            reactor,
            number,
            socket,
        })
    }

    fn socket(&self) -> &S {
        self.socket.as_ref().expect("it is not taken apart")
    }

    fn release(mut self) -> io::Result<S> {
        let socket = self.socket.take().expect("it is taken apart once");
        self.reactor.remove(&socket)?;
        Ok(socket)
    }

    /// Does something as soon as the system lets it.
    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        direction: Direction,
        mut attempt: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let turn = ready!(coop::poll_proceed(context));
        ready!(executor::poll_proceed(context));
        loop {
            if !self.reactor.is_ready(self.number, direction, context) {
                return Poll::Pending;
            }
            match attempt(self.socket()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.reactor.found_nothing(self.number, direction);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => {
                    turn.made_progress();
                    return Poll::Ready(outcome);
                }
            }
        }
    }
}

impl<S: AsFd> Drop for Followed<S> {
    fn drop(&mut self) {
        self.reactor.forget(self.number);
    }
}

/// A listening socket, on one of the threads that accept from it.
pub(crate) struct Listener(Followed<TcpListener>);

impl Listener {
    /// Follows a listening socket on the calling thread. It must not block.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        Followed::new(listener).map(Self)
    }

    /// The next connection, and who it is from.
    ///
    /// # Errors
    /// What accept(2) says.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let accept = |listener: &TcpListener| listener.accept();
        let (socket, remote) =
            poll_fn(|context| self.0.poll(context, Direction::Read, accept)).await?;
        socket.set_nonblocking(true)?;
        Ok((Stream::new(socket)?, remote))
    }
}

/// A connection, on one thread.
pub(crate) struct Stream(Followed<TcpStream>);

impl Stream {
    /// Follows a connection on the calling thread. It must not block.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub(crate) fn new(socket: TcpStream) -> io::Result<Self> {
        Followed::new(socket).map(Self)
    }

    /// The socket alone, which nobody follows any more.
    pub(crate) fn into_std(self) -> io::Result<TcpStream> {
        self.0.release()
    }

    /// Sends small pieces at once (tcp(7), `TCP_NODELAY`).
    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.socket().set_nodelay(nodelay)
    }

    /// Moves `wanted` bytes at most.
    fn poll(
        &self,
        context: &mut Context<'_>,
        direction: Direction,
        wanted: usize,
        attempt: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let moved = ready!(self.0.poll(context, direction, attempt))?;
        // A stream that gives or takes less is empty or full: its next change is told (epoll(7)).
        if 0 < moved && moved < wanted {
            self.0.reactor.found_less(self.0.number, direction);
        }
        Poll::Ready(Ok(moved))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket().as_fd()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(self.0.socket()).finish()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.initialize_unfilled();
        let count = ready!(self.poll(cx, Direction::Read, room.len(), |mut socket| {
            socket.read(room)
        }))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Write, buf.len(), |mut socket| {
            socket.write(buf)
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|part| part.len()).sum();
        self.poll(cx, Direction::Write, wanted, |mut socket| {
            socket.write_vectored(bufs)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.socket().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::executor::Executor;
    use crate::wire::reactor;

    const SOON: Duration = Duration::from_secs(10);

    impl Listener {
        /// On a free port of this machine.
        pub(crate) fn anywhere() -> (Self, SocketAddr) {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.set_nonblocking(true).expect("it can");
            let address = listener.local_addr().expect("it is bound");
            (Self::new(listener).expect("there is room"), address)
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default());
        runtime.expect("a runtime can be built").block_on(async {
            tokio::task::spawn_local(reactor().expect("there is a descriptor"));
            timeout(SOON, test).await.expect("nobody waits for ever");
        });
    }

    /// Both ends; the first one blocks.
    async fn pair() -> (TcpStream, Stream) {
        let (listener, address) = Listener::anywhere();
        let peer = TcpStream::connect(address).expect("it listens");
        (peer, listener.accept().await.expect("the peer is there").0)
    }

    #[derive(Default)]
    struct Wakings(AtomicUsize);

    impl Wake for Wakings {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Wakings {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn read(stream: &mut Stream, wakings: &Arc<Wakings>, room: usize) -> Poll<usize> {
        let (waker, mut bytes) = (Waker::from(Arc::clone(wakings)), vec![0; room]);
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = Pin::new(stream).poll_read(&mut Context::from_waker(&waker), &mut buffer);
        read.map(|outcome| {
            outcome.expect("the connection is there");
            buffer.filled().len()
        })
    }

    #[test]
    fn what_comes_later_wakes_the_reader() {
        run(async {
            let (mut peer, mut stream) = pair().await;
            for text in ["one", "three", "two"] {
                let writing = async {
                    sleep(Duration::from_millis(5)).await;
                    peer.write_all(text.as_bytes()).expect("it is open");
                };
                let mut bytes = vec![0; text.len()];
                let (read, ()) = tokio::join!(stream.read_exact(&mut bytes), writing);
                read.expect("it is open");
                assert_eq!(bytes, text.as_bytes());
            }
        });
    }

    #[test]
    fn an_end_right_behind_the_last_bytes_is_found() {
        run(async {
            for _ in 0..100 {
                let (mut peer, mut stream) = pair().await;
                peer.write_all(b"last").expect("it is open");
                // The end comes before the first look in one half of the rounds, behind it in the other.
                tokio::task::yield_now().await;
                drop(peer);
                let mut text = String::new();
                stream.read_to_string(&mut text).await.expect("it ends");
                assert_eq!(text, "last");
            }
        });
    }

    #[test]
    fn who_does_not_read_is_woken_once_and_then_left_alone() {
        run(async {
            let (mut peer, mut stream) = pair().await;
            let wakings = Arc::default();
            assert!(read(&mut stream, &wakings, 10).is_pending());
            for _ in 0..5 {
                peer.write_all(b"more").expect("it is open");
                sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(wakings.count(), 1);
            assert_eq!(read(&mut stream, &wakings, 12), Poll::Ready(12));
            assert_eq!(read(&mut stream, &wakings, 12), Poll::Ready(8));
            assert!(read(&mut stream, &wakings, 12).is_pending());
            peer.write_all(b"more").expect("it is open");
            while wakings.count() == 1 {
                sleep(Duration::from_millis(1)).await;
            }
        });
    }

    #[test]
    fn a_full_socket_goes_on_when_the_peer_has_read() {
        const BYTES: usize = 16 << 20;
        run(async {
            let (mut peer, mut stream) = pair().await;
            let reader = std::thread::spawn(move || {
                let mut bytes = Vec::new();
                peer.read_to_end(&mut bytes).expect("it ends in order");
                bytes
            });
            let sent: Vec<u8> = (0..BYTES).map(|place| (place % 251) as u8).collect();
            stream.write_all(&sent).await.expect("the peer reads");
            stream.shutdown().await.expect("it is open");
            let ended = stream.read(&mut [0]).await;
            assert_eq!(ended.expect("the peer ends in order"), 0);
            assert!(reader.join().expect("it has read") == sent);
        });
    }

    #[test]
    fn who_always_finds_more_leaves_turns_to_others() {
        const BYTES: usize = 50_000;
        run(async {
            let executor = Rc::new(Executor::<Pin<Box<dyn Future<Output = ()>>>>::new());
            let driven = Rc::clone(&executor);
            tokio::task::spawn_local(async move { driven.run().await });
            let (mut peer, mut stream) = pair().await;
            peer.write_all(&[1; BYTES]).expect("there is room");
            let (ended, turns) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
            let told = Rc::clone(&ended);
            executor.spawn(Box::pin(async move {
                for _ in 0..BYTES {
                    stream.read_exact(&mut [0]).await.expect("it is there");
                }
                told.set(true);
            }));
            let counted = Rc::clone(&turns);
            tokio::task::spawn_local(poll_fn(move |context| {
                counted.set(counted.get() + 1);
                context.waker().wake_by_ref();
                Poll::<()>::Pending
            }));
            while !ended.get() {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(turns.get() > 100, "{turns:?}");
        });
    }

    #[test]
    fn a_reset_is_told_to_who_waits() {
        run(async {
            let (peer, mut stream) = pair().await;
            let reading = tokio::task::spawn_local(async move { stream.read(&mut [0]).await });
            sleep(Duration::from_millis(5)).await;
            let peer = socket2::Socket::from(peer);
            peer.set_linger(Some(Duration::ZERO)).expect("it can");
            drop(peer);
            let error = reading.await.expect("it ends").expect_err("it was cut");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        });
    }

    #[test]
    fn the_place_of_a_connection_that_is_gone_is_given_away() {
        run(async {
            let reactor = Reactor::here().expect("there is a descriptor");
            let begun = reactor.count();
            for _ in 0..100 {
                let (mut peer, mut stream) = pair().await;
                peer.write_all(b"x").expect("it is open");
                stream.read_exact(&mut [0]).await.expect("it is there");
                assert_eq!(reactor.count(), begun + 1);
            }
            let (_peer, stream) = pair().await;
            drop(stream.into_std().expect("it is followed"));
            assert_eq!(reactor.count(), begun);
        });
    }
}
