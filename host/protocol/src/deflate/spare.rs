//! States to use again. Without context takeover a compressor or inflater is
//! needed only while a message passes through, so a thread keeps one of each
//! for all its connections: an idle connection then holds none. A cache and
//! nothing else: what it hands out is always as good as new.

use std::cell::Cell;

use flate2::{Compress, Decompress};

struct Spare<T> {
    window_bits: u8,
    level: u32,
    state: T,
}

thread_local! {
    static COMPRESS: Cell<Option<Box<Spare<Compress>>>> = const { Cell::new(None) };
    static DECOMPRESS: Cell<Option<Box<Spare<Decompress>>>> = const { Cell::new(None) };
}

pub(super) fn take_compress(window_bits: u8, level: u32) -> Option<Compress> {
    let spare = COMPRESS.try_with(Cell::take).ok()??;
    (spare.window_bits == window_bits && spare.level == level).then_some(spare.state)
}

pub(super) fn keep_compress(mut state: Compress, window_bits: u8, level: u32) {
    state.reset();
    // A thread that is ending has no place for it; then it is dropped.
    let _ = COMPRESS.try_with(|cell| {
        cell.set(Some(Box::new(Spare {
            window_bits,
            level,
            state,
        })))
    });
}

pub(super) fn take_decompress(window_bits: u8) -> Option<Decompress> {
    let spare = DECOMPRESS.try_with(Cell::take).ok()??;
    (spare.window_bits == window_bits).then_some(spare.state)
}

pub(super) fn keep_decompress(mut state: Decompress, window_bits: u8) {
    state.reset(false);
    let _ = DECOMPRESS.try_with(|cell| {
        cell.set(Some(Box::new(Spare {
            window_bits,
            level: 0,
            state,
        })))
    });
}
