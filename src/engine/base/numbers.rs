//! Numbers in messages, tables and log fields: a count with its noun, thousands, a duration in milliseconds.

use std::{fmt, time::Duration};

/// A count with its noun: `1 provider`, `2 providers`, `0 entries`. For nouns with a regular plural.
pub fn counted(count: impl fmt::Display, noun: &str) -> String {
    let count = count.to_string();
    if count == "1" {
        return format!("{count} {noun}");
    }
    match noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        Some(stem) => format!("{count} {stem}ies"),
        None if noun.ends_with(['s', 'x']) => format!("{count} {noun}es"),
        None => format!("{count} {noun}s"),
    }
}

/// A number with a comma after each thousand.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn only_one_is_singular() {
        for (count, expected) in [(0, "0 users"), (1, "1 user"), (2, "2 users"), (11, "11 users")] {
            assert_eq!(counted(count, "user"), expected);
        }
        for (noun, expected) in
            [("auth entry", "auth entries"), ("gateway", "gateways"), ("egress", "egresses"), ("key", "keys")]
        {
            assert_eq!([counted(1, noun), counted(2, noun)], [format!("1 {noun}"), format!("2 {expected}")]);
        }
    }

    #[test]
    fn a_duration_too_long_is_cut() {
        assert_eq!(millis(Duration::from_micros(1999)), 1);
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }
}
