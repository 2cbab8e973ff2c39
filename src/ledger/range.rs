//! Ranges of time and their parts: hours, days and months of a time zone, as hours since 1970 in UTC. Pure.
//!
//! The ledger counts by hours of UTC. An hour belongs to the part in which it begins: in a zone whose offset is no whole
//! number of hours, up to an hour of use at a border counts for the part before.

use jiff::{ToSpan as _, ZonedDateTime, civil::Date, tz::TimeZone};

use crate::{clock, store::UsageSegment};

/// Seconds of an hour.
const HOUR_S: i64 = 3600;
/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;
/// Hours of a day.
const DAY: u64 = 24;
/// The most parts that a range is split into.
pub const MAX_PARTS: usize = 2000;

/// The length of the parts of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// An hour.
    Hour,
    /// A day of the time zone.
    Day,
    /// A month of the time zone.
    Month,
}

/// Hours since 1970, UTC: the first one, and the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// The first hour.
    pub from: u64,
    /// The hour after the last.
    pub until: u64,
}

/// A part of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its begin in the time zone: `2026-11-29T13:00:00+01:00`, `2026-11-29` or `2026-11`.
    pub label: String,
    /// Its hours within the range.
    pub hours: Hours,
}

/// The end of a range that a text is for. A day as an end is included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The begin.
    Since,
    /// The end.
    Until,
}

impl Every {
    /// All lengths, with their words.
    pub const ALL: [(&'static str, Self); 3] =
        [("hour", Self::Hour), ("day", Self::Day), ("month", Self::Month)];
}

impl Hours {
    /// The hours that a range touches, in milliseconds since 1970.
    pub fn touched(since_ms: u64, until_ms: u64) -> Self {
        Self { from: since_ms / 3_600_000, until: until_ms.div_ceil(3_600_000) }
    }
}

/// A time in milliseconds since 1970: `7d`, `24h` or `4w` ago, a day of the time zone, or RFC 3339.
pub fn moment(text: &str, edge: Edge, zone: &TimeZone, now_ms: u64) -> Option<u64> {
    ago(text, now_ms).or_else(|| day(text, edge, zone)).or_else(|| clock::from_utc(text))
}

fn ago(text: &str, now_ms: u64) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let hours = match unit {
        "h" => 1,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return None,
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| number.parse().ok())??;
    Some(now_ms.saturating_sub(number.saturating_mul(hours * 3_600_000)))
}

fn day(text: &str, edge: Edge, zone: &TimeZone) -> Option<u64> {
    let is_day = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day: Date = is_day.then(|| text.parse().ok())??;
    let day = match edge {
        Edge::Since => day,
        Edge::Until => day.tomorrow().ok()?,
    };
    let begin = day.to_zoned_datetime(zone.clone()).ok()?;
    let begin = u64::try_from(begin.timestamp().as_millisecond()).ok()?;
    // The first hour that begins in it: the one before counts for the day before.
    Some(begin.div_ceil(HOUR_MS) * HOUR_MS)
}

/// The parts of a range. `None` if there are too many.
pub fn parts(hours: Hours, every: Every, zone: &TimeZone) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut begin = begin(hours.from, every, zone)?;
    while begin.timestamp().as_second() < seconds(hours.until)? {
        if parts.len() == MAX_PARTS {
            return None;
        }
        let next = next(&begin, every)?;
        let own =
            Hours { from: first_hour(&begin)?.max(hours.from), until: first_hour(&next)?.min(hours.until) };
        if own.from < own.until {
            parts.push(Part { label: label(&begin, every), hours: own });
        }
        begin = next;
    }
    Some(parts)
}

fn seconds(hour: u64) -> Option<i64> {
    i64::try_from(hour).ok()?.checked_mul(HOUR_S)
}

/// The begin of the part that an hour begins in.
fn begin(hour: u64, every: Every, zone: &TimeZone) -> Option<ZonedDateTime> {
    let at = jiff::Timestamp::from_second(seconds(hour)?).ok()?.to_zoned_datetime(zone.clone());
    match every {
        Every::Hour => Some(at),
        Every::Day => at.start_of_day().ok(),
        Every::Month => at.first_of_month().and_then(|first| first.start_of_day()).ok(),
    }
}

fn next(begin: &ZonedDateTime, every: Every) -> Option<ZonedDateTime> {
    match every {
        Every::Hour => begin.checked_add(1.hour()).ok(),
        Every::Day => begin.tomorrow().and_then(|next| next.start_of_day()).ok(),
        // From the first day of a month, whose begin may be later than midnight.
        Every::Month => {
            let next = begin.date().first_of_month().checked_add(1.month()).ok()?;
            next.to_zoned_datetime(begin.time_zone().clone()).ok()
        }
    }
}

/// The first hour that begins in a part.
fn first_hour(begin: &ZonedDateTime) -> Option<u64> {
    u64::try_from(begin.timestamp().as_second()).ok().map(|second| second.div_ceil(3600))
}

fn label(begin: &ZonedDateTime, every: Every) -> String {
    let format = match every {
        Every::Hour => "%Y-%m-%dT%H:%M:%S%:z",
        Every::Day => "%Y-%m-%d",
        Every::Month => "%Y-%m",
    };
    begin.strftime(format).to_string()
}

/// Pieces of a range that one roll-up has the sums of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slices {
    /// Pieces in hours since 1970.
    pub hours: Vec<Slice>,
    /// Pieces in days since 1970.
    pub days: Vec<Slice>,
}

/// A piece of a part. One price of a model holds for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The index of the part.
    pub part: usize,
    /// Its hours or days.
    pub segment: UsageSegment,
    /// A day on which the same prices hold.
    pub price_day: u64,
}

/// Splits parts at the days from which other prices hold, and each piece into whole days of UTC and the hours around them:
/// there are far fewer days.
pub fn slices(parts: &[Hours], price_days: &[u64]) -> Slices {
    let mut cuts = price_days.to_vec();
    cuts.sort_unstable();
    let mut slices = Slices::default();
    for (part, hours) in parts.iter().enumerate() {
        let inner =
            cuts.iter().map(|day| day * DAY).filter(|cut| (hours.from + 1..hours.until).contains(cut));
        let mut from = hours.from;
        for until in inner.chain([hours.until]) {
            if from < until {
                let price_day = cuts.iter().rev().find(|day| **day <= from / DAY).copied().unwrap_or(0);
                slices.add(part, Hours { from, until }, price_day);
            }
            from = until;
        }
    }
    slices
}

impl Slices {
    fn add(&mut self, part: usize, Hours { from, until }: Hours, price_day: u64) {
        let slice = |from, until| Slice { part, segment: UsageSegment { from, until }, price_day };
        let (first_day, end_day) = (from.div_ceil(DAY), until / DAY);
        if first_day >= end_day {
            self.hours.push(slice(from, until));
            return;
        }
        self.days.push(slice(first_day, end_day));
        for (from, until) in [(from, first_day * DAY), (end_day * DAY, until)] {
            if from < until {
                self.hours.push(slice(from, until));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn hour(text: &str) -> u64 {
        clock::from_utc(text).unwrap() / 3_600_000
    }

    #[test]
    fn texts_become_moments() {
        let berlin = zone("Europe/Berlin");
        let now = clock::from_utc("2026-11-29T13:30:00Z").unwrap();
        let check = |text: &str, expected: [Option<&str>; 2]| {
            let found =
                [Edge::Since, Edge::Until].map(|edge| moment(text, edge, &berlin, now).map(clock::utc));
            assert_eq!(found.each_ref().map(|one| one.as_deref()), expected, "{text}");
        };
        let same = |text| [Some(text), Some(text)];
        check("7d", same("2026-11-22T13:30:00Z"));
        check("0h", same("2026-11-29T13:30:00Z"));
        check("2w", same("2026-11-15T13:30:00Z"));
        check("99999999999999h", same("1970-01-01T00:00:00Z"));
        check("2026-11-01", [Some("2026-10-31T23:00:00Z"), Some("2026-11-01T23:00:00Z")]);
        check("2026-10-25", [Some("2026-10-24T22:00:00Z"), Some("2026-10-25T23:00:00Z")]);
        check("2026-11-01T05:00:00+01:00", same("2026-11-01T04:00:00Z"));
        for bad in
            ["", "d", "7", "7y", "-7d", "7 d", "٧d", "2026-02-30", "2026-1-1", "now", "1960-01-01", "é"]
        {
            check(bad, [None, None]);
        }
    }

    #[test]
    fn days_of_a_zone_share_no_hour() {
        let kolkata = zone("Asia/Kolkata");
        let hours = |day| {
            let at = |edge| moment(day, edge, &kolkata, 0).unwrap();
            let Hours { from, until } = Hours::touched(at(Edge::Since), at(Edge::Until));
            (from, until)
        };
        let noon = hour("2026-11-27T12:00:00Z");
        assert_eq!(hours("2026-11-27"), (noon - 17, noon + 7));
        assert_eq!(hours("2026-11-28"), (noon + 7, noon + 31));
    }

    fn shown(from: &str, until: &str, every: Every, tz: &str) -> Vec<(String, u64)> {
        let hours = Hours { from: hour(from), until: hour(until) };
        let parts = parts(hours, every, &zone(tz)).unwrap();
        let first = parts.first().map(|part| part.hours.from);
        assert_eq!(first, (from != until).then_some(hours.from), "nothing before");
        assert!(parts.windows(2).all(|pair| pair[0].hours.until == pair[1].hours.from), "no gap: {parts:?}");
        assert_eq!(parts.last().map_or(hours.until, |part| part.hours.until), hours.until, "nothing after");
        parts.into_iter().map(|part| (part.label, part.hours.until - part.hours.from)).collect()
    }

    fn expect(found: &[(String, u64)], expected: &[(&str, u64)]) {
        let found: Vec<_> = found.iter().map(|(label, hours)| (label.as_str(), *hours)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn days_have_as_many_hours_as_their_zone_says() {
        let berlin = shown("2026-03-28T12:00:00Z", "2026-03-30T22:00:00Z", Every::Day, "Europe/Berlin");
        expect(&berlin, &[("2026-03-28", 11), ("2026-03-29", 23), ("2026-03-30", 24)]);
        let autumn = shown("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", Every::Day, "Europe/Berlin");
        expect(&autumn, &[("2026-10-25", 25)]);
        // The day begins at 01:00: midnight does not exist.
        let cairo = shown("2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z", Every::Day, "Africa/Cairo");
        expect(&cairo, &[("2024-04-26", 23)]);
        let india = shown("2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z", Every::Day, "Asia/Kolkata");
        expect(&india, &[("2026-11-28", 19), ("2026-11-29", 5)]);
        expect(&shown("2026-11-28T00:00:00Z", "2026-11-28T00:00:00Z", Every::Day, "UTC"), &[]);
    }

    #[test]
    fn months_and_hours_follow_the_zone() {
        let months = shown("2025-12-31T23:00:00Z", "2026-03-31T22:00:00Z", Every::Month, "Europe/Berlin");
        expect(&months, &[("2026-01", 744), ("2026-02", 672), ("2026-03", 743)]);
        let leap = shown("2024-01-31T10:00:00Z", "2024-03-01T00:00:00Z", Every::Month, "UTC");
        expect(&leap, &[("2024-01", 14), ("2024-02", 696)]);
        let twice = shown("2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", Every::Hour, "Europe/Berlin");
        expect(&twice, &[("2026-10-25T02:00:00+02:00", 1), ("2026-10-25T02:00:00+01:00", 1)]);
    }

    #[test]
    fn parts_are_bounded() {
        let most = u64::try_from(MAX_PARTS).unwrap();
        let hours = |until| parts(Hours { from: 0, until }, Every::Hour, &TimeZone::UTC).map(|all| all.len());
        assert_eq!((hours(most), hours(most + 1)), (Some(MAX_PARTS), None));
        assert_eq!(parts(Hours { from: 0, until: u64::MAX }, Every::Month, &TimeZone::UTC), None);
    }

    #[test]
    fn slices_are_days_where_they_can_be() {
        let check = |parts: &[(u64, u64)],
                     cuts: &[u64],
                     hours: &[(usize, u64, u64, u64)],
                     days: &[(usize, u64, u64, u64)]| {
            let parts: Vec<_> = parts.iter().map(|&(from, until)| Hours { from, until }).collect();
            let slices = slices(&parts, cuts);
            let shown = |all: &[Slice]| -> Vec<_> {
                all.iter().map(|one| (one.part, one.segment.from, one.segment.until, one.price_day)).collect()
            };
            assert_eq!(
                (shown(&slices.hours), shown(&slices.days)),
                (hours.to_vec(), days.to_vec()),
                "{parts:?}"
            );
        };
        check(&[(5, 20)], &[], &[(0, 5, 20, 0)], &[]);
        check(&[(24, 72)], &[], &[], &[(0, 1, 3, 0)]);
        check(&[(23, 73)], &[], &[(0, 23, 24, 0), (0, 72, 73, 0)], &[(0, 1, 3, 0)]);
        check(&[(30, 40), (40, 50)], &[], &[(0, 30, 40, 0), (1, 40, 50, 0)], &[]);
        check(&[(24, 120)], &[3, 1, 9], &[], &[(0, 1, 3, 1), (0, 3, 5, 3)]);
        check(&[(20, 60)], &[2, 2], &[(0, 20, 24, 0), (0, 48, 60, 2)], &[(0, 1, 2, 0)]);
        check(&[(5, 5)], &[], &[], &[]);
    }
}
