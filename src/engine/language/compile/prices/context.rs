//! The sizes of prompts by which usage is stored, so that a tier of a later price also holds for history.

use super::Price;

/// The sizes of prompts at which vendors change their prices. Usage is stored by them, whatever price applies at the time.
pub const BOUNDARIES: [u64; 9] =
    [32_000, 64_000, 100_000, 128_000, 200_000, 256_000, 272_000, 512_000, 1_000_000];

/// The greatest size that a prompt of so many tokens exceeds: one of [`BOUNDARIES`], or a threshold of the price that
/// applies now. 0 if it exceeds none.
pub fn boundary(price: Option<&Price>, prompt_tokens: u64) -> u64 {
    let known = BOUNDARIES.into_iter().rev().find(|size| *size < prompt_tokens).unwrap_or(0);
    known.max(price.map_or(0, |price| price.context(prompt_tokens)))
}
