//! Chance that can be had again: a seed is printed, and `LONGHAUL_TEST_SEED` repeats it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A small generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From `LONGHAUL_TEST_SEED` (a number, or `0x` and hexadecimal digits) or from the system; prints which.
    pub fn thrown(what: &str) -> Self {
        let chosen = std::env::var("LONGHAUL_TEST_SEED").ok().map(|seed| {
            let number = match seed.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => seed.parse(),
            };
            number.expect("LONGHAUL_TEST_SEED is a number")
        });
        let seed = chosen.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("{what}: LONGHAUL_TEST_SEED={seed}");
        Self(seed)
    }

    /// From this seed; for benches, where every run is to meet the same.
    pub const fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}
