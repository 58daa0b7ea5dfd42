//! A cheap hash for maps keyed by stream: the committer looks four of them up for every frame.
//!
//! Stream ids are random or hashes already, so that nothing has to be mixed well; but whoever may choose names may choose
//! which bits of the hash agree. So each map folds in a secret of its own, which is what the standard hasher is slow for.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::id::StreamId;

/// A map from streams.
pub(crate) type ByStream<T> = HashMap<StreamId, T, Spread>;

/// An odd number without pattern (the fraction of the golden ratio).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers with one secret.
#[derive(Clone, Debug)]
pub(crate) struct Spread(u64);

impl Default for Spread {
    fn default() -> Self {
        Self(RandomState::new().hash_one(FACTOR))
    }
}

impl BuildHasher for Spread {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding(self.0)
    }
}

/// Folds eight bytes at a time: the two halves of a product depend on every bit of both factors.
#[derive(Debug)]
pub(crate) struct Folding(u64);

impl Folding {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        let [low, high] = [product, product >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)));
        self.0 = low.expect("masked to 64 bits") ^ high.expect("masked to 64 bits");
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_usize(&mut self, _length: usize) {
        // The length before the sixteen bytes, which is always the same.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The maps use the highest and the lowest bits; both must differ among ids that differ little.
    #[test]
    fn ids_that_differ_in_one_bit_fall_into_different_places() {
        let spread = Spread::default();
        for byte in 0..16 {
            for bit in 0..8 {
                let mut id = [7; 16];
                let before = spread.hash_one(StreamId::from_bytes(id));
                id[byte] ^= 1 << bit;
                let after = spread.hash_one(StreamId::from_bytes(id));
                assert_ne!(before, after, "byte {byte} bit {bit}");
            }
        }
        let slots: std::collections::HashSet<u64> = (0u64..4096)
            .map(|number| {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&number.to_be_bytes());
                spread.hash_one(StreamId::from_bytes(id)) & 0xffff
            })
            .collect();
        assert!(slots.len() > 3600, "{} slots of 4096 ids", slots.len());
    }
}
