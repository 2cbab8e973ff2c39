//! Hex encoding in lower case, and decoding of a known length. Neither runs in constant time.

/// The lower-case hex digits of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    // Reserved at once: a string that grows leaves a copy in memory, and `bytes` may be a secret.
    let mut text = String::with_capacity(2 * bytes.len());
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.extend(digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    text
}

/// The `N` bytes of exactly `2 * N` hex digits of either case.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_reverses_encode() {
        assert_eq!(encode(&[0, 0x9a, 0xff]), "009aff");
        assert_eq!(decode("009aff"), Some([0, 0x9a, 0xff]));
        for bad in ["", "009af", "009aff0", "009afg", "0x9aff", "+1+1+1"] {
            assert_eq!(decode::<3>(bad), None, "{bad}");
        }
    }
}
