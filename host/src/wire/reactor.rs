//! Which sockets of this thread can be read and written: an epoll of the worker's own, that tokio
//! sees as one descriptor (epoll(7) lets one wait for another).
//!
//! tokio keeps 256 bytes for each of its sockets, aligned to 128; here it is [`ENTRY_BYTES`]. A
//! million sessions that are idle consist of little else. Never reads or writes a socket itself, and
//! never shared between threads. `unsafe` stands here for one call.

#![expect(
    unsafe_code,
    reason = "tokio wants a promise that a descriptor stays open while it waits for it"
)]

use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Waker, ready};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Events taken from the system at a time.
const EVENTS_A_LOOK: usize = 256;

/// What a socket that waits costs here.
const ENTRY_BYTES: usize = 24;
const _: () = assert!(size_of::<Option<Entry>>() == ENTRY_BYTES);

thread_local! {
    static REACTOR: OnceCell<Rc<Reactor>> = const { OnceCell::new() };
}

/// The sockets of one thread.
pub(super) struct Reactor {
    epoll: Epoll,
    entries: RefCell<Slab<Entry>>,
}

/// What is known of one socket.
struct Entry {
    /// The one task that reads it and writes it.
    task: Option<Waker>,
    is_readable: bool,
    is_writable: bool,
    /// The peer has ended its half, or the connection is lost: that is told once, so a read that
    /// fills its buffer only in part does not mean that there is nothing more to find.
    has_ended: bool,
}

/// A half of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Reactor {
    /// This thread's.
    ///
    /// # Errors
    /// When it is the first call and the system has no descriptor for an epoll.
    pub(super) fn here() -> io::Result<Rc<Self>> {
        REACTOR.with(|reactor| {
            if let Some(reactor) = reactor.get() {
                return Ok(Rc::clone(reactor));
            }
            let fresh = Rc::new(Self {
                epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
                entries: RefCell::default(),
            });
            Ok(Rc::clone(reactor.get_or_init(|| fresh)))
        })
    }

    /// Follows a socket; answers its number here. It counts as ready until it says that it is not.
    pub(super) fn add(&self, socket: impl AsFd) -> io::Result<u32> {
        let number = self.entries.borrow_mut().insert(Entry {
            task: None,
            is_readable: true,
            is_writable: true,
            has_ended: false,
        });
        // Told once of each change: most events are news for somebody who waits already.
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        // No process has more descriptors.
        let number = number as u32;
        let added = self
            .epoll
            .add(socket, EpollEvent::new(flags, number.into()));
        if let Err(error) = added {
            self.forget(number);
            return Err(error.into());
        }
        Ok(number)
    }

    /// Takes a socket out that will live on elsewhere.
    pub(super) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(socket)?)
    }

    /// Lets go of what is known of a socket. The system forgets it when it is closed; an event that
    /// was on its way may reach the next socket of that number, which then finds nothing.
    pub(super) fn forget(&self, number: u32) {
        self.entries.borrow_mut().remove(number as usize);
    }

    /// Whether it is worth trying. If not, the task is woken when it is; who tries without a task
    /// ([`Waker::noop`]) leaves that to the one that is known.
    pub(super) fn is_ready(
        &self,
        number: u32,
        direction: Direction,
        context: &Context<'_>,
    ) -> bool {
        let entry = &mut self.entries.borrow_mut()[number as usize];
        let is_ready = match direction {
            Direction::Read => entry.is_readable,
            Direction::Write => entry.is_writable,
        };
        let waker = context.waker();
        if !is_ready && !waker.will_wake(Waker::noop()) {
            match &mut entry.task {
                Some(task) => task.clone_from(waker),
                None => entry.task = Some(waker.clone()),
            }
        }
        is_ready
    }

    /// The system had less than was asked for.
    pub(super) fn found_less(&self, number: u32, direction: Direction) {
        let entry = &mut self.entries.borrow_mut()[number as usize];
        match direction {
            Direction::Read => entry.is_readable = entry.has_ended,
            Direction::Write => entry.is_writable = entry.has_ended,
        }
    }

    /// The system had nothing.
    pub(super) fn found_nothing(&self, number: u32, direction: Direction) {
        let entry = &mut self.entries.borrow_mut()[number as usize];
        match direction {
            Direction::Read => entry.is_readable = false,
            Direction::Write => entry.is_writable = false,
        }
    }

    /// Looks whenever there is something to see, for ever.
    async fn follow(&self, epoll: &AsyncFd<Nested>) -> io::Result<()> {
        let mut events = vec![EpollEvent::empty(); EVENTS_A_LOOK];
        poll_fn(|context| {
            loop {
                let mut ready = ready!(epoll.poll_read_ready(context))?;
                self.look(&mut events)?;
                ready.clear_ready();
            }
        })
        .await
    }

    /// Wakes whoever waits for what the system tells, until it has no more to tell.
    fn look(&self, events: &mut [EpollEvent]) -> io::Result<()> {
        loop {
            let count = match self.epoll.wait(events, EpollTimeout::ZERO) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut entries = self.entries.borrow_mut();
            for event in &events[..count] {
                if let Some(entry) = entries.get_mut(event.data() as usize) {
                    entry.hear(event.events());
                }
            }
            if count < events.len() {
                return Ok(());
            }
        }
    }
}

impl Entry {
    fn hear(&mut self, news: EpollFlags) {
        let lost = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        if news.intersects(lost | EpollFlags::EPOLLRDHUP) {
            self.has_ended = true;
        }
        let may_read = lost | EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        // Whoever does not wait, because it has not used what was there before, is left alone.
        let reads_on = news.intersects(may_read) && !std::mem::replace(&mut self.is_readable, true);
        let writes_on = news.intersects(lost | EpollFlags::EPOLLOUT)
            && !std::mem::replace(&mut self.is_writable, true);
        if (reads_on || writes_on)
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
impl Reactor {
    /// How many sockets it follows.
    pub(super) fn count(&self) -> usize {
        self.entries.borrow().len()
    }
}

/// The epoll, as tokio waits for it.
struct Nested(Rc<Reactor>);

impl AsRawFd for Nested {
    fn as_raw_fd(&self) -> RawFd {
        self.0.epoll.0.as_raw_fd()
    }
}

/// What wakes the tasks of this thread that wait for sockets, for ever. Each worker runs it once;
/// without it nobody is woken.
///
/// # Errors
/// When the system has no descriptor for it.
pub(crate) fn reactor() -> io::Result<impl Future<Output = ()>> {
    let reactor = Reactor::here()?;
    let epoll = Nested(Rc::clone(&reactor));
    // SAFETY: `Nested` keeps the reactor, which keeps one and the same epoll open as long as it lives.
    let epoll = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) };
    let epoll = epoll.map_err(|refused| refused.into_parts().1)?;
    Ok(async move {
        if let Err(error) = reactor.follow(&epoll).await {
            tracing::error!("a worker cannot wait for its sockets: {error}");
        }
    })
}
