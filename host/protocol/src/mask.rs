//! Masking (RFC 6455, section 5.3): the payload XORed with a 4-byte key, in
//! place. Picks AVX2 at run time where the processor has it; elsewhere words
//! of 8 bytes, which compilers turn into SSE2 on every x86-64. The only file
//! of this crate with `unsafe`, for one call.

#![allow(
    unsafe_code,
    reason = "calling a function compiled for AVX2 is unsafe by nature"
)]

/// From here on the detour over the wide version pays.
#[cfg(target_arch = "x86_64")]
const WIDE_BYTES_MIN: usize = 64;

/// Masks or unmasks `payload`; `key` is the one for its first byte.
#[inline]
pub(crate) fn apply(key: [u8; 4], payload: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if payload.len() >= WIDE_BYTES_MIN && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has just been seen to have AVX2, the only
        // thing that this function asks for.
        unsafe { apply_avx2(key, payload) };
        return;
    }
    apply_words(key, payload);
}

/// The key for what follows after `count` bytes.
#[inline]
pub(crate) fn rotated(mut key: [u8; 4], count: usize) -> [u8; 4] {
    key.rotate_left(count % 4);
    key
}

/// Written for the compiler: 32 bytes a step become one AVX2 register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn apply_avx2(key: [u8; 4], payload: &mut [u8]) {
    apply_words(key, payload);
}

#[inline(always)]
fn apply_words(key: [u8; 4], payload: &mut [u8]) {
    let word = double(key);
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
    }
    let (words, tail) = rest.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

const fn double(key: [u8; 4]) -> u64 {
    let [a, b, c, d] = key;
    u64::from_ne_bytes([a, b, c, d, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn byte_by_byte(key: [u8; 4], payload: &mut [u8]) {
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[index % 4];
        }
    }

    #[test]
    fn unmasks_the_example_of_rfc_6455() {
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(KEY, &mut payload);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn every_length_and_alignment_equals_the_byte_wise_definition() {
        let bytes: Vec<u8> = (0..600_u32).map(|n| (n * 7 + n / 256) as u8).collect();
        for start in 0..33 {
            for length in 0..(bytes.len() - start) {
                let mut expected = bytes[start..start + length].to_vec();
                byte_by_byte(KEY, &mut expected);
                let mut wide = bytes.clone();
                apply(KEY, &mut wide[start..start + length]);
                assert_eq!(wide[start..start + length], expected[..]);
                let mut words = bytes.clone();
                apply_words(KEY, &mut words[start..start + length]);
                assert_eq!(words, wide);
            }
        }
    }

    #[test]
    fn a_payload_in_chunks_is_unmasked_with_rotated_keys() {
        let whole: Vec<u8> = (0..=255).collect();
        let mut expected = whole.clone();
        byte_by_byte(KEY, &mut expected);
        for cut in 0..whole.len() {
            let mut chunks = whole.clone();
            let (first, second) = chunks.split_at_mut(cut);
            apply(KEY, first);
            apply(rotated(KEY, cut), second);
            assert_eq!(chunks, expected);
        }
    }
}
