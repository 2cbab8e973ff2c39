//! Random identifiers, without a call of the system for each: hashes of a random seed and a counter.

use sha2::{Digest as _, Sha256};

use crate::hex;

/// A source of identifiers. Two sources never give the same ones.
pub(super) struct Ids {
    seed: [u8; 32],
    next: u64,
}

impl Ids {
    /// A source with a random seed.
    pub(super) fn new() -> Self {
        let mut seed = [0; 32];
        // Without random numbers, which a process that serves has, ids are still distinct within it.
        let _ = getrandom::fill(&mut seed);
        Self { seed, next: 0 }
    }

    /// The next bytes: at most 32.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.next += 1;
        let hash = Sha256::new().chain_update(self.seed).chain_update(self.next.to_be_bytes()).finalize();
        let mut bytes = [0; N];
        bytes.copy_from_slice(&hash[..N]);
        bytes
    }

    /// The next UUID (RFC 9562, version 4).
    pub(super) fn uuid(&mut self) -> String {
        let mut bytes = self.bytes::<16>();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let digits = hex::encode(&bytes);
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_distinct_and_of_version_4() {
        let (mut ids, mut others) = (Ids::new(), Ids::new());
        let (first, second, other) = (ids.uuid(), ids.uuid(), others.uuid());
        assert!(first != second && first != other);
        for id in [first, second, other] {
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
        }
    }
}
