//! Numbers that a peer cannot guess, from a seed that the driver took from the
//! operating system: SHA-1 over seed and counter, so that no output tells of
//! the next. Never asks for randomness itself.

use sha1::{Digest, Sha1};

/// A generator in counter mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random {
    seed: u64,
    counter: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next 20 bytes.
    pub(crate) fn block(&mut self) -> [u8; 20] {
        self.counter = self.counter.wrapping_add(1);
        let mut hash = Sha1::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(self.counter.to_le_bytes());
        hash.finalize().into()
    }

    /// The next ping payload.
    pub(crate) fn ping(&mut self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.block();
        [a, b, c, d, e, f, g, h]
    }
}

/// Mask keys, five from a block (RFC 6455, section 5.3: not predictable).
#[derive(Clone, Debug, Default)]
pub(crate) struct MaskKeys {
    block: [u8; 20],
    left: u8,
}

impl MaskKeys {
    pub(crate) fn next(&mut self, random: &mut Random) -> [u8; 4] {
        if self.left == 0 {
            self.block = random.block();
            self.left = 5;
        }
        self.left -= 1;
        let (keys, _) = self.block.as_chunks::<4>();
        keys[usize::from(self.left)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn pings_and_keys_do_not_repeat() {
        let mut random = Random::new(7);
        let pings: HashSet<_> = (0..1_000).map(|_| random.ping()).collect();
        assert_eq!(pings.len(), 1_000);
        let mut keys = MaskKeys::default();
        let keys: HashSet<_> = (0..1_000).map(|_| keys.next(&mut random)).collect();
        assert_eq!(keys.len(), 1_000);
    }

    #[test]
    fn another_seed_gives_other_pings() {
        assert_ne!(Random::new(1).ping(), Random::new(2).ping());
    }
}
