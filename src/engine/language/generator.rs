//! Generated texts: `{ gen = "uuid" }` in claims of paste tokens and in values of headers.
//!
//! Pure: the randomness and the time come from outside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::hex;

/// Random bytes for one generated text.
pub type RandomBytes = [u8; 16];

/// The generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Generator {
    /// A random UUID, version 4 (RFC 9562, section 5.4).
    Uuid,
    /// 24 random hex digits.
    Hex24,
    /// The seconds since 1970.
    Now,
}

impl Generator {
    /// All, in the order of messages.
    pub const ALL: [Self; 3] = [Self::Uuid, Self::Hex24, Self::Now];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Hex24 => "hex24",
            Self::Now => "now",
        }
    }

    /// The generator of a name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// A text, of random bytes and the time in milliseconds since 1970.
    pub fn text(self, mut random: RandomBytes, now_ms: u64) -> String {
        match self {
            Self::Uuid => {
                random[6] = random[6] & 0x0f | 0x40;
                random[8] = random[8] & 0x3f | 0x80;
                let digits = hex::encode(&random);
                [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| &digits[group]).join("-")
            }
            Self::Hex24 => hex::encode(&random[..12]),
            Self::Now => (now_ms / 1000).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_follow_from_their_inputs() {
        let check = |generator: Generator, random, expected: &str| {
            assert_eq!(generator.text(random, 1_700_000_000_999), expected);
            assert_eq!(Generator::find(generator.name()), Some(generator));
        };
        check(Generator::Uuid, [0; 16], "00000000-0000-4000-8000-000000000000");
        check(Generator::Uuid, [0xff; 16], "ffffffff-ffff-4fff-bfff-ffffffffffff");
        check(Generator::Hex24, [0xab; 16], "abababababababababababab");
        check(Generator::Now, [0xff; 16], "1700000000");
        assert_eq!(Generator::find("UUID"), None);
    }
}
