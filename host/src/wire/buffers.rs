//! The memory that all sessions of a worker read into and write from.
//!
//! A session owns bytes only while a frame is incomplete or the socket is full, so an idle one
//! costs none. Never shared between threads.

use std::cell::{Cell, RefCell, RefMut};

/// What one read can take at most.
const READ_BYTES: usize = 128 * 1024;
/// Spare write buffers kept, and the capacity up to which one is worth keeping.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 128 * 1024;

/// What a write buffer begins with. Those that are used again have grown to what is needed; a
/// thousand sessions that are answered at once shall not leave a thousand holes of a page.
const FRESH_BYTES: usize = 512;

/// Bytes of buffers for long messages that are kept for the next one: what the system clears anew
/// for each would cost more than all of the host's own work.
const LARGE_BYTES_MAX: usize = 16 << 20;
/// Shorter ones an allocator finds again by itself; kept, they would fill the bound and never be used.
const LARGE_BYTES_MIN: usize = 128 * 1024;

/// Read buffers that may be away with a message in them. Worst case: so many times [`READ_BYTES`].
const LENT_MAX: usize = 16;

/// One worker's read buffer and spare buffers.
pub(crate) struct Buffers {
    read: RefCell<Box<[u8]>>,
    /// To read into next, when the one that was read into is lent.
    next_reads: RefCell<Vec<Box<[u8]>>>,
    lent: Cell<usize>,
    /// The most that were lent since the last call of [`Buffers::forget_unused`].
    lent_most: Cell<usize>,
    spares: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Large>,
}

/// Spare buffers for long messages. Worst case: [`LARGE_BYTES_MAX`], until not all were asked for
/// between two calls of [`Buffers::forget_unused`].
#[derive(Default)]
struct Large {
    /// The last one is taken first.
    spares: Vec<Vec<u8>>,
    bytes: usize,
    /// The fewest that were there since the last call: so many of the first ones were not needed.
    fewest: usize,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self {
            // Not zero, so that its pages are there from the start and belong to no session.
            read: RefCell::new(vec![0xff; READ_BYTES].into()),
            next_reads: RefCell::default(),
            lent: Cell::new(0),
            lent_most: Cell::new(0),
            spares: RefCell::default(),
            large: RefCell::default(),
        }
    }

    /// The read buffer; whoever borrows it has used up its content when it lets go.
    pub(crate) fn read(&self) -> RefMut<'_, Box<[u8]>> {
        self.read.borrow_mut()
    }

    /// Lends a read buffer to a message that fills much of it, which spares a copy, and puts another
    /// in its place. `None` when too many are away.
    pub(crate) fn lend_read(&self, buffer: &mut Box<[u8]>) -> Option<Box<[u8]>> {
        let lent = self.lent.get() + 1;
        if lent > LENT_MAX {
            return None;
        }
        self.lent.set(lent);
        self.lent_most.set(self.lent_most.get().max(lent));
        let next = self.next_reads.borrow_mut().pop();
        let next = next.unwrap_or_else(|| vec![0; READ_BYTES].into());
        Some(std::mem::replace(buffer, next))
    }

    /// Takes a lent read buffer back. Whoever reads into it next writes over what it then uses.
    pub(crate) fn give_read(&self, buffer: Box<[u8]>) {
        self.lent.set(self.lent.get() - 1);
        self.next_reads.borrow_mut().push(buffer);
    }

    /// An empty buffer to write into.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.spares
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(FRESH_BYTES))
    }

    /// Takes a buffer back; its content is dropped, so that no session ever sees another's bytes.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let mut spares = self.spares.borrow_mut();
        if buffer.capacity() <= SPARE_BYTES_MAX && spares.len() < SPARES_MAX {
            buffer.clear();
            spares.push(buffer);
        }
    }

    /// A used buffer for a long message, if there is one. What is in it is of no meaning, and whoever
    /// takes it writes over it before it reads.
    pub(crate) fn take_large(&self) -> Option<Vec<u8>> {
        let mut large = self.large.borrow_mut();
        let buffer = large.spares.pop()?;
        large.bytes -= buffer.capacity();
        large.fewest = large.fewest.min(large.spares.len());
        Some(buffer)
    }

    /// Takes the buffer of a long message back.
    pub(crate) fn give_large(&self, buffer: Vec<u8>) {
        let mut large = self.large.borrow_mut();
        let bytes = buffer.capacity();
        if bytes >= LARGE_BYTES_MIN && large.bytes + bytes <= LARGE_BYTES_MAX {
            large.bytes += bytes;
            large.spares.push(buffer);
        }
    }

    /// Lets go of spare buffers that were not needed since the last call.
    pub(crate) fn forget_unused(&self) {
        let needed = self.lent_most.replace(self.lent.get()) - self.lent.get();
        self.next_reads.borrow_mut().truncate(needed);
        let large = &mut *self.large.borrow_mut();
        for buffer in large.spares.drain(..large.fewest) {
            large.bytes -= buffer.capacity();
        }
        large.fewest = large.spares.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty() {
        let buffers = Buffers::new();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"of another session");
        buffers.give(buffer);
        assert_eq!(buffers.take(), b"");
    }

    #[test]
    fn buffers_of_long_messages_are_kept_to_a_bound_and_while_they_are_used() {
        let buffers = Buffers::new();
        for _ in 0..20 {
            buffers.give_large(Vec::with_capacity(1 << 20));
        }
        let kept = || buffers.large.borrow().bytes >> 20;
        assert_eq!(kept(), 16);
        buffers.forget_unused();
        // Two of them are needed at a time.
        for _ in 0..5 {
            let two = [(); 2].map(|()| buffers.take_large().expect("there are some"));
            for buffer in two {
                buffers.give_large(buffer);
            }
        }
        buffers.forget_unused();
        assert_eq!(kept(), 2);
        buffers.forget_unused();
        assert!(buffers.take_large().is_none());
    }

    #[test]
    fn a_buffer_of_a_message_that_is_not_long_is_not_kept() {
        let buffers = Buffers::new();
        buffers.give_large(Vec::with_capacity(LARGE_BYTES_MIN - 1));
        assert!(buffers.take_large().is_none());
    }

    #[test]
    fn read_buffers_are_lent_up_to_a_bound_and_kept_while_they_are_used() {
        let buffers = Buffers::new();
        let mut lent: Vec<_> = (0..LENT_MAX)
            .map(|_| {
                buffers
                    .lend_read(&mut buffers.read())
                    .expect("not too many")
            })
            .collect();
        assert!(buffers.lend_read(&mut buffers.read()).is_none());
        assert_eq!(
            buffers.read().len(),
            READ_BYTES,
            "there is always one to read into"
        );
        while let Some(buffer) = lent.pop() {
            buffers.give_read(buffer);
        }
        let kept = || buffers.next_reads.borrow().len();
        buffers.forget_unused();
        assert_eq!(kept(), LENT_MAX);
        let one = buffers
            .lend_read(&mut buffers.read())
            .expect("not too many");
        buffers.give_read(one);
        buffers.forget_unused();
        assert_eq!(kept(), 1);
        buffers.forget_unused();
        assert_eq!(kept(), 0);
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        let buffers = Buffers::new();
        buffers.give(Vec::with_capacity(SPARE_BYTES_MAX + 1));
        assert!(buffers.spares.borrow().is_empty());
    }
}
