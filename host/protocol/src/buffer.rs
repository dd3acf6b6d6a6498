//! How a buffer grows that has a limit: by doubling, so that copies stay few,
//! and never beyond the limit, so that the limit bounds the memory.

/// The least that a buffer grows by.
const GROWTH_BYTES_MIN: usize = 256;

/// Makes room for up to `wanted` more bytes if there is less, with
/// `bytes_max` in all; false when the limit leaves no room at all. There may be
/// less room than wanted.
pub(crate) fn make_room(buffer: &mut Vec<u8>, wanted: usize, bytes_max: usize) -> bool {
    let left = bytes_max.saturating_sub(buffer.len());
    let wanted = wanted.min(left);
    if buffer.capacity() - buffer.len() < wanted {
        buffer.reserve_exact(wanted.max(buffer.len()).max(GROWTH_BYTES_MIN).min(left));
    }
    left > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_doubling_and_never_beyond_the_limit() {
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
