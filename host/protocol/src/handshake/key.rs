//! `Sec-WebSocket-Key` and the `Sec-WebSocket-Accept` that answers it
//! (RFC 6455, sections 4.1 and 4.2.2).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};

const KEY_BYTES: usize = 16;
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Clients are seen that draw 22 random characters instead of encoding 16
/// bytes: they leave bits set that no byte owns.
const LENIENT_LAST_BITS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Whether a key is the base64 of 16 bytes.
pub(super) fn is_valid(key: &[u8]) -> bool {
    let mut bytes = [0; KEY_BYTES + 2];
    key.len() == 24 && LENIENT_LAST_BITS.decode_slice(key, &mut bytes) == Ok(KEY_BYTES)
}

/// The key of a client's handshake from its random bytes.
pub(super) fn encode(nonce: [u8; KEY_BYTES]) -> String {
    STANDARD.encode(nonce)
}

/// The answer to a key.
pub(super) fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_the_key_of_rfc_6455() {
        assert_eq!(
            accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_key_is_the_base64_of_16_bytes() {
        assert!(is_valid(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_valid(encode([0xff; 16]).as_bytes()));
        assert!(is_valid(b"AAAAAAAAAAAAAAAAAAAAAB=="));
        for key in [
            &b""[..],
            b"AQID",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ= ",
            b"dGhlIHNhbXBsZSBub25jZWE=",
            b"dGhlIHNhbXBsZSBub25jZWFi",
            b"dGhlIHNhbXBsZSBub25jZWFiY2Q=",
            b"dGhl-HNhbXBsZSBub25jZQ==",
            b"========================",
        ] {
            assert!(!is_valid(key), "{key:?}");
        }
    }
}
