//! The seed of a random test.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The seed of this run, printed so that a failure can be repeated: `LONGHAUL_TEST_SEED`, a number or `0x` and hexadecimal
/// digits, else by chance.
pub(crate) fn chosen_seed() -> u64 {
    let chosen = std::env::var("LONGHAUL_TEST_SEED").ok().map(|seed| {
        let number = match seed.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => seed.parse(),
        };
        number.expect("LONGHAUL_TEST_SEED is a number")
    });
    let seed = chosen.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("LONGHAUL_TEST_SEED={seed}");
    seed
}
