//! The wall clock, and times as text: UTC, RFC 3339. No other room reads the wall clock.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

/// Milliseconds since 1970, UTC.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time as `2026-01-02T03:04:05Z`.
pub fn utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A time as `2026-01-02T03:04:05.678Z`.
pub fn utc_ms(ms: u64) -> String {
    let mut text = utc(ms);
    text.truncate(text.len() - 1);
    // Writing to a string cannot fail.
    let _ = write!(text, ".{:03}Z", ms % 1000);
    text
}

/// Year, month and day of a day since 1970. In years that begin in March the leap day comes last, and
/// months follow one formula: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The end of the year 9999, in seconds since 1970: RFC 3339 has four digits for a year.
const END_S: u64 = 253_402_300_800;

/// A time as RFC 3339 writes it, in UTC or at an offset, to the millisecond; `None` for anything else.
pub fn from_utc(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let end = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(end);
    let length = if month == 2 { 28 + u64::from(is_leap(year)) } else { 30 + (month + month / 8) % 2 };
    let good = (1970..).contains(&year) && (1..=12).contains(&month) && (1..=length).contains(&day);
    if !good || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = u64::try_from(i64::try_from(seconds).ok()? - offset_s(zone)?).ok()?;
    (seconds < END_S).then_some(seconds * 1000 + milliseconds(fraction)?)
}

/// Numbers with a fixed count of digits each.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(found)
}

fn milliseconds(fraction: &str) -> Option<u64> {
    let Some(digits) = fraction.strip_prefix('.') else { return fraction.is_empty().then_some(0) };
    let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let first = digits.bytes().chain([b'0'; 3]).take(3);
    good.then(|| first.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn offset_s(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, zone) = zone.split_at_checked(1).filter(|(sign, _)| ["+", "-"].contains(sign))?;
    let [hours, minutes] = numbers(zone, ':', [2, 2])?;
    let seconds = i64::try_from(hours * 3600 + minutes * 60).ok().filter(|_| hours < 24 && minutes < 60)?;
    Some(if sign == "-" { -seconds } else { seconds })
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// The inverse of `civil`.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_utc() {
        let check = |ms, expected| assert_eq!(utc(ms), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399_000, "2000-02-28T23:59:59Z");
        check(951_782_400_999, "2000-02-29T00:00:00Z");
        check(1_767_323_045_000, "2026-01-02T03:04:05Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00Z");
        check(u64::MAX, "584556019-04-03T14:25:51Z");
        assert_eq!(utc_ms(951_782_400_009), "2000-02-29T00:00:00.009Z");
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for day in 0..60_000 {
            let ms = day * 86_400_000 + day % 86_400 * 1000;
            assert_eq!(from_utc(&utc(ms)), Some(ms), "{}", utc(ms));
        }
        let check = |text, expected| assert_eq!(from_utc(text), expected, "{text}");
        check("2026-01-02T03:04:05Z", Some(1_767_323_045_000));
        check("2026-01-02t03:04:05.1239z", Some(1_767_323_045_123));
        check("2026-01-02 04:34:05.5+01:30", Some(1_767_323_045_500));
        check("2026-01-01T22:04:05-05:00", Some(1_767_323_045_000));
        check("9999-12-31T23:59:59Z", Some(253_402_300_799_000));
        for bad in [
            "",
            "2026",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05X",
            "2026-1-2T03:04:05Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T00:60:00Z",
            "2026-01-02T00:00:60Z",
            "2026-01-02T00:00:00.Z",
            "2026-01-02T00:00:00+1:00",
            "2026-01-02T00:00:00+24:00",
            "2026-01-02T00:00:00z05:00",
            "9999-12-31T23:59:59-23:59",
            "1969-12-31T23:59:59Z",
            "+026-01-02T03:04:05Z",
            "2026-01-02T03:04:05ZZ",
            "1970-01-01T00:00:00+01:00",
            "２026-01-02T03:04:05Z",
            "0000-01-01T00:00:00Z",
        ] {
            check(bad, None);
        }
    }
}
