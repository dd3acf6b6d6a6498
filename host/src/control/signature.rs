//! Detached signatures: ed25519 over the 32 bytes of a component's SHA-256. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::error::DeployError;
use crate::digest::Digest;

/// The key that has signed a digest, in base64; `None` if nobody had to.
pub(super) fn signer(
    signers: &[[u8; 32]],
    digest: &Digest,
    signature: Option<&[u8]>,
) -> Result<Option<String>, DeployError> {
    if signers.is_empty() {
        return Ok(None);
    }
    let refused = |why: &str| Err(DeployError::Signature(why.to_owned()));
    let Some(signature) = signature else {
        return refused(
            "components of this tenant have to be signed: send an ed25519 signature over the 32 \
             bytes of the component's SHA-256",
        );
    };
    let signer = signers.iter().find(|key| {
        let key = UnparsedPublicKey::new(&ED25519, key.as_slice());
        key.verify(digest.as_bytes(), signature).is_ok()
    });
    match signer {
        Some(key) => Ok(Some(BASE64.encode(key))),
        None => refused(
            "the signature is by none of the tenant's keys, or of another component: it has to be \
             64 bytes of ed25519 over the 32 bytes of the component's SHA-256",
        ),
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn pair() -> (Ed25519KeyPair, [u8; 32]) {
        let secret = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(secret.as_ref()).expect("a key");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        (pair, public)
    }

    #[test]
    fn only_a_key_that_counts_signs_and_only_this_component() {
        let ((own, own_public), (other, other_public)) = (pair(), pair());
        let (digest, another) = (Digest::of(b"a"), Digest::of(b"b"));
        let signature = own.sign(digest.as_bytes());
        let keys = [other_public, own_public];
        let found = signer(&keys, &digest, Some(signature.as_ref()));
        assert_eq!(found, Ok(Some(BASE64.encode(own_public))));
        let foreign = other.sign(digest.as_bytes());
        for (keys, digest, signature) in [
            (&keys[..], &digest, None),
            (&keys[..], &another, Some(signature.as_ref())),
            (&keys[1..], &digest, Some(foreign.as_ref())),
            (&keys[..], &digest, Some(&signature.as_ref()[1..])),
            (&keys[..], &digest, Some(&[][..])),
        ] {
            let refused = signer(keys, digest, signature);
            assert!(matches!(refused, Err(DeployError::Signature(_))));
        }
    }

    #[test]
    fn nobody_signs_where_nobody_has_to() {
        assert_eq!(signer(&[], &Digest::of(b"a"), Some(b"whatever")), Ok(None));
    }
}
