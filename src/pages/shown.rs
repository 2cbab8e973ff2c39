//! Numbers and times, as pages show them. Templates call these with references to fields, others with values.

use std::{borrow::Borrow, collections::BTreeMap};

use crate::{money::Amounts, numbers::grouped};

/// The units of rough numbers, the largest first.
const UNITS: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
/// The text in place of none.
pub(super) const NONE: &str = "–";
/// The mark of numbers that hold estimates.
const ESTIMATED: &str = "~";

/// The name of a protocol that a request switches to.
pub(super) fn protocol(name: &str) -> &str {
    if name == "websocket" { "WebSocket" } else { name }
}

/// A number to read at a glance: `950`, `12.4 k`, `3.1 M`. With a mark, if a part is an estimate.
pub(super) fn rough(number: impl Borrow<u64>, estimated: bool) -> String {
    let number = *number.borrow();
    let mark = mark(estimated);
    match UNITS.into_iter().find(|(size, _)| number >= *size) {
        None => format!("{mark}{number}"),
        Some((size, unit)) => {
            let (whole, tenth) = (number / size, number % size / (size / 10));
            if whole >= 100 {
                format!("{mark}{} {unit}", grouped(whole))
            } else {
                format!("{mark}{whole}.{tenth} {unit}")
            }
        }
    }
}

/// An exact number. With a mark, if a part is an estimate.
pub(super) fn exact(number: impl Borrow<u64>, estimated: bool) -> String {
    format!("{}{}", mark(estimated), grouped(*number.borrow()))
}

/// The mark of a number that holds estimates; empty for one that does not.
pub(super) fn mark(estimated: bool) -> &'static str {
    if estimated { ESTIMATED } else { "" }
}

/// A cost. `–` if there is none.
pub(super) fn cost(amounts: &BTreeMap<String, String>, estimated: bool) -> String {
    let amounts = Amounts::read(amounts);
    if amounts.is_empty() { NONE.to_owned() } else { format!("{}{amounts}", mark(estimated)) }
}

/// A part of a whole in percent, with one digit after the point; `0 %` only if there is none of it.
pub(super) fn percent(part: impl Borrow<u64>, whole: impl Borrow<u64>) -> String {
    let (part, whole) = (*part.borrow(), *whole.borrow());
    let permille = u128::from(part) * 1000 / u128::from(whole.max(1));
    match permille {
        0 if part > 0 => "< 0.1 %".to_owned(),
        0 => "0 %".to_owned(),
        1000.. => "100 %".to_owned(),
        _ => format!("{}.{} %", permille / 10, permille % 10),
    }
}

/// A time of the API, to the minute: `2026-11-29 16:40`.
pub(super) fn time(utc: &str) -> String {
    utc.get(..16).unwrap_or(utc).replacen('T', " ", 1)
}

/// A message in pieces, each with true if it stands between backticks, which are left out.
pub(super) fn ticked(message: &str) -> Vec<(&str, bool)> {
    if !message.matches('`').count().is_multiple_of(2) {
        return vec![(message, false)];
    }
    let pieces = message.split('`').enumerate().map(|(index, piece)| (piece, index % 2 == 1));
    pieces.filter(|(piece, is_code)| *is_code || !piece.is_empty()).collect()
}

/// A time of the API, to the second: `2026-11-29 16:40:05`.
pub(super) fn seconds(utc: &str) -> String {
    utc.get(..19).unwrap_or(utc).replacen('T', " ", 1)
}

/// The same without the year: `11-29 16:40:05`.
pub(super) fn day_time(utc: &str) -> String {
    utc.get(5..19).unwrap_or(utc).replacen('T', " ", 1)
}

/// A text, or a dash in place of an empty one.
pub(super) fn dash(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

/// The words of a name such as `upstream_error`.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// The class of an outcome's mark.
pub(super) fn outcome_class(outcome: &str) -> &'static str {
    match outcome {
        "success" => "good",
        "refused" | "client_left" => "warn",
        _ => "bad",
    }
}

/// The type of the input for a day. A text that is no day, such as an age, would vanish from one for dates.
pub(super) fn date_input(value: &str) -> &'static str {
    let is_day = value.len() == 10 && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if value.is_empty() || is_day { "date" } else { "text" }
}

/// The host of an origin, with the port if it has one. Without TLS, the scheme is shown too.
pub(super) fn host(origin: &str) -> &str {
    origin.strip_prefix("https://").unwrap_or(origin)
}

/// Milliseconds: `412 ms`, `1.9 s`.
pub(super) fn milliseconds(ms: impl Borrow<u64>) -> String {
    let ms = *ms.borrow();
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rough_at_a_glance() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0 k"),
            (12_499, "12.4 k"),
            (999_999, "999 k"),
            (3_149_000, "3.1 M"),
            (5_000_000_000_000, "5,000 G"),
        ] {
            assert_eq!(rough(number, false), expected);
        }
        assert_eq!(rough(7, true), "~7");
        assert_eq!(exact(1234, true), "~1,234");
    }

    #[test]
    fn times_are_cut() {
        let at = "2026-11-29T16:40:05Z";
        assert_eq!(time(at), "2026-11-29 16:40");
        assert_eq!(
            (seconds(at), day_time(at)),
            ("2026-11-29 16:40:05".to_owned(), "11-29 16:40:05".to_owned())
        );
        assert_eq!((seconds("x"), day_time("x")), ("x".to_owned(), "x".to_owned()));
        for (value, kind) in
            [("", "date"), ("2026-11-29", "date"), ("7d", "text"), ("2026-11-29T16:40:05Z", "text")]
        {
            assert_eq!(date_input(value), kind, "{value}");
        }
    }

    #[test]
    fn a_part_is_never_hidden() {
        for (part, whole, expected) in
            [(0, 0, "0 %"), (0, 9, "0 %"), (1, 100_000, "< 0.1 %"), (12, 1000, "1.2 %"), (9, 9, "100 %")]
        {
            assert_eq!(percent(part, whole), expected);
        }
    }

    #[test]
    fn what_stands_between_backticks_is_code() {
        for (message, expected) in [
            ("", &[][..]),
            ("plain", &[("plain", false)]),
            ("`a` is `b`", &[("a", true), (" is ", false), ("b", true)]),
            ("one ` alone", &[("one ` alone", false)]),
        ] {
            assert_eq!(ticked(message), expected, "{message}");
        }
    }

    #[test]
    fn times_have_a_fitting_unit() {
        for (ms, expected) in [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (61_950, "61.9 s")] {
            assert_eq!(milliseconds(ms), expected);
        }
    }
}
