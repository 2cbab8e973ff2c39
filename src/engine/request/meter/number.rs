//! Counts as numbers of JSON.

use super::tally::Count;
use crate::base::usage::{Counter, MAX_COUNT};

/// Up to here, every whole number is exact in JSON.
const GREATEST: u64 = 1 << 53;
/// Longer numbers are no counts.
const LONGEST: usize = 40;

/// The count of a number's text. Seconds may have a fraction, which is rounded up.
pub(super) fn parse(text: &[u8], counter: Counter) -> Count {
    integer(text, counter == Counter::Seconds).map_or(Count::Bad, good)
}

/// A whole number that is not negative. A fraction is rounded up, or makes it none.
pub(super) fn integer(text: &[u8], rounds_up: bool) -> Option<u64> {
    let exact = |value: u64| Some(value).filter(|value| *value <= GREATEST);
    let digits = text.len() <= 16 && text.iter().all(u8::is_ascii_digit);
    if digits && (text.len() == 1 || text[0] != b'0') {
        let value = text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        return exact(value);
    }
    let text = str::from_utf8(text).ok().filter(|text| text.len() <= LONGEST && !digits);
    let value = text.and_then(|text| text.parse::<f64>().ok()).filter(|value| value.is_finite())?;
    let value = if rounds_up && value > 0.0 { value.ceil() } else { value };
    if value < 0.0 || value.fract() != 0.0 {
        return None;
    }
    // Its digits without a sign: of minus zero, too.
    format!("{:.0}", value.abs()).parse().ok().and_then(exact)
}

/// A count, unless it is too great.
pub(super) fn good(value: u64) -> Count {
    if value <= MAX_COUNT { Count::Good(value) } else { Count::Bad }
}

/// The sum of two counts.
pub(super) fn sum(one: Count, other: Count) -> Count {
    match (one, other) {
        (Count::Good(one), Count::Good(other)) => good(one.saturating_add(other)),
        (Count::Absent, only) | (only, Count::Absent) => only,
        (Count::Bad, _) | (_, Count::Bad) => Count::Bad,
    }
}

/// The number of bytes.
#[inline]
pub(super) fn length(bytes: &[u8]) -> u64 {
    whole(bytes.len())
}

/// A number of things in memory.
#[inline]
pub(super) fn whole(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_whole_numbers_that_are_not_negative() {
        let check = |text: &str, expected: Count| {
            assert_eq!(parse(text.as_bytes(), Counter::Input), expected, "{text}");
        };
        check("0", Count::Good(0));
        check("7", Count::Good(7));
        check("-0", Count::Good(0));
        check("12.0", Count::Good(12));
        check("1e3", Count::Good(1000));
        check("1000000000", Count::Good(MAX_COUNT));
        check("1e9", Count::Good(MAX_COUNT));
        check("1000000001", Count::Bad);
        check("9007199254740992", Count::Bad);
        check("00000000000000000000000000000000000000000000000000000000001", Count::Bad);
        for bad in
            ["-1", "1.5", "1e300", "1e999", "-1e999", "01", "-", "1x", "1e", "--1", "99999999999999999999"]
        {
            check(bad, Count::Bad);
        }
    }

    #[test]
    fn fractions_of_seconds_are_rounded_up() {
        let check = |text: &str, expected: Count| {
            assert_eq!(parse(text.as_bytes(), Counter::Seconds), expected, "{text}");
        };
        check("3.2", Count::Good(4));
        check("3.0", Count::Good(3));
        check("3", Count::Good(3));
        check("0.0001", Count::Good(1));
        check("-0.5", Count::Bad);
        check("1e-400", Count::Good(0));
    }
}
