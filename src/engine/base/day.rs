//! Days of the calendar in UTC, for prices that hold from a day on. A day is a number, so that it is compared and looked up
//! without a calendar.

use std::{fmt, str::FromStr};

/// A day in UTC, as the number of days since 1970-01-01. The text is `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// A text that is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no day from 1970-01-01 to 9999-12-31 in the form `YYYY-MM-DD`")]
pub struct NoDay;

/// The days of 400 years, after which the calendar repeats.
const ERA: u32 = 146_097;
/// The days from 0000-03-01 to 1970-01-01.
const EPOCH: u32 = 719_468;

impl Day {
    /// The first day.
    pub const FIRST: Self = Self(0);
    /// The last day that has a text: 9999-12-31.
    pub const LAST: Self = Self(2_932_896);

    /// The day of a time in seconds since 1970-01-01.
    pub fn of_seconds(seconds: u64) -> Self {
        Self(u32::try_from(seconds / 86_400).unwrap_or(u32::MAX)).min(Self::LAST)
    }

    /// Year, month and day of the month. Years begin in March, so that a leap day is the last day of its year.
    fn civil(self) -> (u32, u32, u32) {
        let days = self.min(Self::LAST).0 + EPOCH;
        let (era, of_era) = (days / ERA, days % ERA);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        (era * 400 + year + u32::from(month <= 2), month, day)
    }

    fn from_civil(year: u32, month: u32, day: u32) -> Option<Self> {
        let shifted = year - u32::from(month <= 2);
        let from_march = if month > 2 { month - 3 } else { month + 9 };
        let of_year = (153 * from_march + 2) / 5 + day - 1;
        let (era, of_era) = (shifted / 400, shifted % 400);
        let days = era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
        // A day that the month lacks comes out as one of the next month.
        Some(Self(days.checked_sub(EPOCH)?)).filter(|made| made.civil() == (year, month, day))
    }
}

impl FromStr for Day {
    type Err = NoDay;

    fn from_str(text: &str) -> Result<Self, NoDay> {
        let part = |range: std::ops::Range<usize>| {
            let digits = text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<u32>().ok())
        };
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return Err(NoDay);
        }
        let (Some(year), Some(month), Some(day)) = (part(0..4), part(5..7), part(8..10)) else {
            return Err(NoDay);
        };
        let is_known = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
        is_known.then(|| Self::from_civil(year, month, day)).flatten().ok_or(NoDay)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(out, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_shown() {
        for (text, number) in [
            ("1970-01-01", 0),
            ("1970-03-01", 59),
            ("1972-02-29", 789),
            ("2000-02-29", 11_016),
            ("2000-12-31", 11_322),
            ("2026-11-29", 20_786),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!((text.parse(), Day(number).to_string().as_str()), (Ok(Day(number)), text));
        }
        assert_eq!((Day::of_seconds(86_399), Day::of_seconds(86_400)), (Day(0), Day(1)));
        assert_eq!(
            (Day::of_seconds(u64::MAX), Day(u32::MAX).to_string().as_str()),
            (Day::LAST, "9999-12-31")
        );
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = Day::FIRST.civil();
        for number in 1..=Day::LAST.0 {
            let civil @ (year, month, day) = Day(number).civil();
            let same_month = (year, month) == (before.0, before.1) && day == before.2 + 1;
            let next_month = day == 1 && before.2 >= 28 && month == before.1 % 12 + 1;
            assert!(same_month || next_month, "{before:?} {civil:?}");
            assert_eq!(Day::from_civil(year, month, day), Some(Day(number)));
            before = civil;
        }
    }

    #[test]
    fn other_texts_are_no_days() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-00-01",
            "2026-13-01",
            "2026-01-00",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "1969-12-31",
            "2026-01-01T",
            "+026-01-01",
            "2026/01/01",
            "２026-01-0",
            "2026-01-1 ",
        ] {
            assert_eq!(text.parse::<Day>(), Err(NoDay), "{text}");
        }
    }
}
