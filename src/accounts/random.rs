//! Random bytes of the operating system.

/// Random bytes. Panics without a random source: no caller could handle that.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}
