//! The memory that all sessions of a worker read into and write from.
//!
//! A session owns bytes only while a frame is incomplete or the socket is full, so an idle one
//! costs none. Never shared between threads.

use std::cell::{RefCell, RefMut};

/// What one read can take at most.
const READ_BYTES: usize = 128 * 1024;
/// Spare write buffers kept, and the capacity up to which one is worth keeping.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 128 * 1024;

/// One worker's read buffer and spare write buffers.
pub(crate) struct Buffers {
    read: RefCell<Box<[u8]>>,
    spares: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self {
            read: RefCell::new(vec![0; READ_BYTES].into()),
            spares: RefCell::default(),
        }
    }

    /// The read buffer; whoever borrows it has used up its content when it lets go.
    pub(crate) fn read(&self) -> RefMut<'_, Box<[u8]>> {
        self.read.borrow_mut()
    }

    /// An empty buffer to write into.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.spares
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(4096))
    }

    /// Takes a buffer back; its content is dropped, so that no session ever sees another's bytes.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let mut spares = self.spares.borrow_mut();
        if buffer.capacity() <= SPARE_BYTES_MAX && spares.len() < SPARES_MAX {
            buffer.clear();
            spares.push(buffer);
        }
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
    fn a_large_buffer_is_not_kept() {
        let buffers = Buffers::new();
        buffers.give(Vec::with_capacity(SPARE_BYTES_MAX + 1));
        assert!(buffers.spares.borrow().is_empty());
    }
}
