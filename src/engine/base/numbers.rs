//! Numbers in messages and log fields: a count with its noun, a duration in milliseconds.

use std::{fmt, time::Duration};

/// A count with its noun: `1 provider`, `2 providers`. For nouns whose plural ends in `s`.
pub fn counted(count: impl fmt::Display, noun: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        for (count, expected) in [(0, "0 users"), (1, "1 user"), (2, "2 users"), (11, "11 users")] {
            assert_eq!(counted(count, "user"), expected);
        }
    }

    #[test]
    fn a_duration_too_long_is_cut() {
        assert_eq!(millis(Duration::from_micros(1999)), 1);
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }
}
