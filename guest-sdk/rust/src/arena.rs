//! Room for what the host passes into a call: messages mostly. The host asks
//! for it block by block (`cabi_realloc`), and the bindings free each block as
//! soon as the handler is done with it. So blocks are cut from a piece, which
//! starts over when none is in use: for an echo that saves 12 ns of 55 a
//! message in batches of 16, and 25 of 83 alone, against Rust's allocator.
//!
//! There are two pieces. The near one is small and lies beside the program's
//! own variables, so that an instance which sees small messages touches no
//! page of memory beyond those; the program's own short-lived blocks come from
//! there too. The far one is made when a message does not fit into the near
//! one.
//!
//! A block that the handler keeps stays valid: it only keeps its piece from
//! starting over, and what does not fit any more comes from the general
//! allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// A small message with its list, and what a handler makes of it. It fits into
/// one page together with an echo's stack and variables.
const NEAR_BYTES: usize = 1536;
/// As much as the host reads from a socket at once.
const FAR_BYTES: usize = 128 * 1024;
/// Enough for whatever the contract passes.
const ALIGN: usize = align_of::<u128>();

/// Two pieces of memory, and the general allocator behind them.
#[repr(C)]
pub(crate) struct Arena {
    near: Marks,
    far: Marks,
    /// Null until a block did not fit into the near piece.
    far_piece: Cell<*mut u8>,
    /// In words, so that it is aligned.
    near_piece: UnsafeCell<[u128; NEAR_BYTES / size_of::<u128>()]>,
}

/// How far a piece is used.
struct Marks {
    /// Where the next block may begin, in bytes.
    next: Cell<usize>,
    /// How many blocks are in use.
    live: Cell<usize>,
}

impl Marks {
    const fn new() -> Marks {
        Marks {
            next: Cell::new(0),
            live: Cell::new(0),
        }
    }

    /// Where in the piece a block begins that was cut; `None` if it does not fit.
    fn cut(&self, piece_bytes: usize, layout: Layout) -> Option<usize> {
        let begin = self.next.get().next_multiple_of(layout.align());
        if layout.align() > ALIGN || begin > piece_bytes || layout.size() > piece_bytes - begin {
            return None;
        }
        self.next.set(begin + layout.size());
        self.live.set(self.live.get() + 1);
        Some(begin)
    }

    fn release(&self) {
        let live = self.live.get() - 1;
        self.live.set(live);
        if live == 0 {
            self.next.set(0);
        }
    }
}

// SAFETY: a component's instance has one thread, and elsewhere an arena is
// only used by the test that owns it.
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) const fn new() -> Arena {
        Arena {
            near: Marks::new(),
            far: Marks::new(),
            far_piece: Cell::new(std::ptr::null_mut()),
            near_piece: UnsafeCell::new([0; NEAR_BYTES / size_of::<u128>()]),
        }
    }

    /// Cuts a block for the host; from the general allocator when it does not
    /// fit. Null when there is no memory. It is freed as any other.
    pub(crate) fn cut(&self, layout: Layout) -> *mut u8 {
        self.cut_near(layout)
            .or_else(|| self.cut_far(layout))
            // SAFETY: the caller asks for more than nothing.
            .unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    fn cut_near(&self, layout: Layout) -> Option<*mut u8> {
        let begin = self.near.cut(NEAR_BYTES, layout)?;
        // SAFETY: `begin` is inside of the piece.
        Some(unsafe { self.near_piece.get().cast::<u8>().add(begin) })
    }

    fn cut_far(&self, layout: Layout) -> Option<*mut u8> {
        if self.far_piece.get().is_null() {
            let whole = Layout::from_size_align(FAR_BYTES, ALIGN).ok()?;
            // SAFETY: it is more than nothing.
            self.far_piece.set(unsafe { System.alloc(whole) });
            if self.far_piece.get().is_null() {
                return None;
            }
        }
        let begin = self.far.cut(FAR_BYTES, layout)?;
        // SAFETY: `begin` is inside of the piece.
        Some(unsafe { self.far_piece.get().add(begin) })
    }

    /// The marks of the piece that the block is from.
    fn marks(&self, block: *mut u8) -> Option<&Marks> {
        // One comparison each: what lies before a piece wraps around.
        let offset = |piece: usize| (block as usize).wrapping_sub(piece);
        if offset(self.near_piece.get() as usize) < NEAR_BYTES {
            Some(&self.near)
        } else if offset(self.far_piece.get() as usize) < FAR_BYTES
            && !self.far_piece.get().is_null()
        {
            Some(&self.far)
        } else {
            None
        }
    }
}

// SAFETY: blocks of a piece do not overlap while they are in use, are never
// given to the general allocator, and are aligned as asked; all others are
// the general allocator's from beginning to end.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.cut_near(layout)
            // SAFETY: as the caller promises.
            .unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.marks(block) {
            Some(marks) => marks.release(),
            // SAFETY: as the caller promises, and it is of no piece.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let Some(marks) = self.marks(block) else {
            // SAFETY: as the caller promises, and it is of no piece.
            return unsafe { System.realloc(block, layout, bytes) };
        };
        // SAFETY: the caller promises that `bytes` fits the alignment.
        let moved =
            unsafe { System.alloc(Layout::from_size_align_unchecked(bytes, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both are as long as the shorter of the two, and the new
            // block lies outside of the pieces.
            unsafe { moved.copy_from_nonoverlapping(block, layout.size().min(bytes)) };
            marks.release();
        }
        moved
    }
}

/// The part that exists in a component only: the allocator of the program,
/// and the function by which the host asks for room.
#[cfg(not(test))]
mod component {
    use super::{Arena, GlobalAlloc, Layout};

    #[global_allocator]
    static ARENA: Arena = Arena::new();

    /// The canonical ABI's way to ask for room. It takes the place of the one
    /// in wit-bindgen, which gives way to it.
    ///
    /// # Safety
    /// A block that is to grow must be one that is in use, with its length.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn cabi_realloc(
        block: *mut u8,
        length: usize,
        align: usize,
        wanted: usize,
    ) -> *mut u8 {
        if wanted == 0 {
            return std::ptr::without_provenance_mut(align);
        }
        // SAFETY: the canonical ABI asks for valid alignments and lengths.
        let room = unsafe {
            if length == 0 {
                ARENA.cut(Layout::from_size_align_unchecked(wanted, align))
            } else {
                ARENA.realloc(
                    block,
                    Layout::from_size_align_unchecked(length, align),
                    wanted,
                )
            }
        };
        if room.is_null() {
            std::process::abort();
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 8).unwrap()
    }

    fn live(arena: &Arena) -> (usize, usize) {
        (arena.near.live.get(), arena.far.live.get())
    }

    #[test]
    fn starts_over_when_nothing_is_in_use() {
        let arena = Box::new(Arena::new());
        let (first, second) = (arena.cut(layout(100)), arena.cut(layout(100)));
        assert_eq!(live(&arena), (2, 0));
        assert_eq!(second as usize - first as usize, 104);
        // SAFETY: both are in use, and freed once.
        unsafe {
            arena.dealloc(first, layout(100));
            assert_eq!(arena.cut(layout(1)) as usize - first as usize, 208);
            arena.dealloc(second, layout(100));
            arena.dealloc(first.add(208), layout(1));
        }
        assert_eq!(arena.cut(layout(100)), first);
    }

    #[test]
    fn what_does_not_fit_comes_from_the_next_place() {
        let arena = Box::new(Arena::new());
        let near = arena.cut(layout(NEAR_BYTES - 8));
        let far = arena.cut(layout(FAR_BYTES - 16));
        let (fits, does_not) = (arena.cut(layout(16)), arena.cut(layout(16)));
        assert_eq!(live(&arena), (1, 2));
        assert!(arena.marks(does_not).is_none());
        // SAFETY: each is in use, and freed once.
        unsafe {
            arena.dealloc(does_not, layout(16));
            arena.dealloc(fits, layout(16));
            arena.dealloc(far, layout(FAR_BYTES - 16));
            arena.dealloc(near, layout(NEAR_BYTES - 8));
        }
        assert_eq!(live(&arena), (0, 0));
        assert_eq!(arena.cut(layout(NEAR_BYTES + 1)), far);
        // The far piece is the arena's for ever: a component has one.
        // SAFETY: nothing of it is used any more.
        unsafe { System.dealloc(far, Layout::from_size_align(FAR_BYTES, ALIGN).unwrap()) };
    }

    #[test]
    fn the_programs_own_blocks_are_near_or_the_general_allocators() {
        let arena = Box::new(Arena::new());
        // SAFETY: each is used and freed as allocated.
        unsafe {
            let near = arena.alloc(layout(24));
            let large = arena.alloc(layout(NEAR_BYTES));
            assert_eq!(live(&arena), (1, 0));
            arena.dealloc(near, layout(24));
            arena.dealloc(large, layout(NEAR_BYTES));
        }
        assert_eq!(live(&arena), (0, 0));
        assert!(arena.far_piece.get().is_null());
    }

    #[test]
    fn a_block_that_grows_moves_out_with_its_bytes() {
        let arena = Box::new(Arena::new());
        let block = arena.cut(layout(3));
        // SAFETY: the blocks are as long as they are asked for.
        unsafe {
            block.copy_from_nonoverlapping(b"abc".as_ptr(), 3);
            let grown = arena.realloc(block, layout(3), 1000);
            assert!(arena.marks(grown).is_none());
            assert_eq!(std::slice::from_raw_parts(grown, 3), b"abc");
            arena.dealloc(grown, layout(1000));
        }
        assert_eq!((live(&arena), arena.near.next.get()), ((0, 0), 0));
    }
}
