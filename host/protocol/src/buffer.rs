//! How a buffer grows that has a limit: by doubling while it is small, in large
//! strides then, so that the pieces which it outgrows stay small beside it (an
//! allocator may not give them back at once), and never beyond the limit, so
//! that the limit bounds the memory. Pages of a stride that nothing was written
//! to cost nothing while the message is there, but an allocator that uses them
//! again strews over them what lives longer; so a message that is not long has
//! no stride.

/// The least that a buffer grows by.
const GROWTH_BYTES_MIN: usize = 256;
/// A buffer of so much grows in strides.
const STRIDES_FROM_BYTES: usize = 64 << 10;
/// The least that it grows by then.
const STRIDE_BYTES_MIN: usize = 4 << 20;

/// Makes room for up to `wanted` more bytes if there is less, with
/// `bytes_max` in all; false when the limit leaves no room at all. There may be
/// less room than wanted.
pub(crate) fn make_room(buffer: &mut Vec<u8>, wanted: usize, bytes_max: usize) -> bool {
    let left = bytes_max.saturating_sub(buffer.len());
    let wanted = wanted.min(left);
    if buffer.capacity() - buffer.len() < wanted {
        let least = match buffer.len() {
            ..STRIDES_FROM_BYTES => GROWTH_BYTES_MIN,
            _ => STRIDE_BYTES_MIN,
        };
        buffer.reserve_exact(wanted.max(buffer.len()).max(least).min(left));
    }
    left > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outgrows_little_and_never_the_limit() {
        let (mut buffer, mut growths) = (Vec::new(), 0);
        let mut capacity = 0;
        while make_room(&mut buffer, 1, 100_000) {
            growths += usize::from(buffer.capacity() != capacity);
            capacity = buffer.capacity();
            buffer.push(0);
        }
        assert_eq!(
            (buffer.len(), buffer.capacity(), growths),
            (100_000, 100_000, 10)
        );
    }
}
