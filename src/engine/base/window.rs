//! Windows of time in which something is counted: hours, days, weeks and months of a zone, a sliding length, or all time.
//!
//! Pure: the time is a parameter, and the zones are in the binary. It never panics, for any time and any zone.
//!
//! Calendar windows of one kind and zone follow each other without gap or overlap. So each time is in exactly one of them:
//! - A day begins when the clock of the zone first shows its date. A day whose midnight does not exist begins with the first time
//!   that does. A skipped day has no window. If the clock is set back across midnight, the day has begun for good.
//! - Weeks begin with their Monday, months with their first day.
//! - An hour is a stretch in which the clock shows one hour and is not set. So an hour that occurs twice is two windows, and in a zone
//!   that changes by half an hour, one window has half an hour.
//!
//! A window that began before 1970 begins with 1970 here. From [`FAR_MS`] on, all time is one window.

use std::fmt;

use jiff::{
    Timestamp, ToSpan as _,
    civil::Date,
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};

use crate::base::suggest::nearest;

/// The time from which on there are no calendar windows: 9998-01-01 in UTC.
pub const FAR_MS: u64 = 253_339_228_800_000;
const HOUR_MS: i64 = 3_600_000;

/// The window of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// A part of the calendar of a zone.
    Calendar {
        /// The part.
        every: Every,
        /// The zone whose clock counts.
        zone: Zone,
    },
    /// Any span of so many milliseconds. Zero counts as one.
    Sliding(u64),
    /// All time.
    Total,
}

/// A part of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Every {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first day to the first day of the next month.
    Month,
}

/// A time zone of the IANA database.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    zone: TimeZone,
    /// A hash of the name, for [`Window::mark`]. No two zones of the database share it.
    mark: u32,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first millisecond, since 1970.
    pub start_ms: u64,
    /// The first millisecond after it, or `None` if it does not end.
    pub end_ms: Option<u64>,
}

impl Zone {
    /// The zone of a name such as `Europe/Berlin`, in any case. `None` if the database has no such zone.
    pub fn parse(name: &str) -> Option<Self> {
        // A fixed database: the global one would read the environment if another crate of the binary compiled that in.
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        zone.iana_name().filter(|_| !zone.is_unknown()).map(hash).map(|mark| Self { zone, mark })
    }

    /// The zone whose name is most like this one; none if no name is.
    pub fn nearest(name: &str) -> Option<String> {
        let names: Vec<String> =
            TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect();
        nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The zone `UTC`.
    pub fn utc() -> Self {
        Self { zone: TimeZone::UTC, mark: hash("UTC") }
    }

    /// The name, as the database writes it.
    pub fn name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Zone({})", self.name())
    }
}

/// FNV-1a. The values are stored: they must not change.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Window {
    /// The window that contains a time: `start_ms <= now_ms < end_ms`.
    ///
    /// For [`Window::Sliding`], the span of its length that ends with `now_ms`. For [`Window::Total`], all time.
    pub fn span(&self, now_ms: u64) -> Span {
        match self {
            Self::Calendar { every, zone } => calendar(*every, &zone.zone, now_ms),
            Self::Sliding(length) => {
                Span { start_ms: now_ms.saturating_sub((*length).max(1) - 1), end_ms: now_ms.checked_add(1) }
            }
            Self::Total => Span { start_ms: 0, end_ms: None },
        }
    }

    /// A number of this kind of window, below 2^63, and not 0 or 2. Windows with other numbers divide time in other
    /// ways. The numbers are the same
    /// in every version, and may be stored. Lengths beyond 2^62 ms share one.
    pub fn mark(&self) -> u64 {
        match self {
            Self::Total => 1,
            Self::Calendar { every, zone } => {
                let every = match every {
                    Every::Hour => 1,
                    Every::Day => 2,
                    Every::Week => 3,
                    Every::Month => 4,
                };
                every << 32 | u64::from(zone.mark)
            }
            Self::Sliding(length) => 1 << 62 | (*length).clamp(1, (1 << 62) - 1),
        }
    }
}

impl Span {
    /// True if a time is in it.
    pub fn contains(&self, now_ms: u64) -> bool {
        self.start_ms <= now_ms && self.end_ms.is_none_or(|end_ms| now_ms < end_ms)
    }
}

fn calendar(every: Every, zone: &TimeZone, now_ms: u64) -> Span {
    let far = Span { start_ms: FAR_MS, end_ms: None };
    let Some(now) = i64::try_from(now_ms).ok().filter(|_| now_ms < FAR_MS) else {
        return far;
    };
    let found = match every {
        Every::Hour => hour(zone, now),
        Every::Day | Every::Week | Every::Month => days(every, zone, now),
    };
    // The calendar reaches to the year 9999, so that each time before `FAR_MS` has a window.
    let Some((start, end)) = found else {
        return Span { start_ms: 0, end_ms: Some(FAR_MS) };
    };
    let since_1970 = |time: i64| u64::try_from(time).unwrap_or(0);
    Span { start_ms: since_1970(start), end_ms: Some(since_1970(end).min(FAR_MS)) }
}

/// The hour that contains `now`, cut at the transitions of the zone that set its clock.
fn hour(zone: &TimeZone, now: i64) -> Option<(i64, i64)> {
    let offset_at = |time: i64| Some(i64::from(zone.to_offset(at(time)?).seconds()) * 1_000);
    let offset = offset_at(now)?;
    let full = (now + offset).div_euclid(HOUR_MS) * HOUR_MS - offset;
    let (mut start, mut end) = (full, full + HOUR_MS);
    if offset_at(start)? != offset {
        let before = zone.preceding(at(now + 1)?).map(|one| one.timestamp().as_millisecond());
        let set = before.take_while(|time| *time > start).find(|time| offset_at(*time - 1) != Some(offset));
        start = set.unwrap_or(start);
    }
    if offset_at(end - 1)? != offset {
        let after = zone.following(at(now)?).map(|one| one.timestamp().as_millisecond());
        let set = after.take_while(|time| *time < end).find(|time| offset_at(*time) != Some(offset));
        end = set.unwrap_or(end);
    }
    Some((start, end))
}

/// The day, week or month that contains `now`.
fn days(every: Every, zone: &TimeZone, now: i64) -> Option<(i64, i64)> {
    let today = zone.to_datetime(at(now)?).date();
    let (mut date, step) = match every {
        Every::Hour | Every::Day => (today, 1.day()),
        Every::Week => {
            let since_monday = i64::from(today.weekday().to_monday_zero_offset());
            (today.checked_sub(since_monday.days()).ok()?, 1.week())
        }
        Every::Month => (today.first_of_month(), 1.month()),
    };
    let mut start = beginning(zone, date)?;
    loop {
        date = date.checked_add(step).ok()?;
        let end = beginning(zone, date)?;
        if now < end {
            return Some((start, end));
        }
        // The clock was set back across midnight: it shows a date again whose window is over.
        start = end;
    }
}

/// The first time at which the clock shows a date, or a later one if the date is skipped.
fn beginning(zone: &TimeZone, date: Date) -> Option<i64> {
    let midnight = date.at(0, 0, 0, 0);
    let shown = Offset::UTC.to_timestamp(midnight).ok()?.as_millisecond();
    let time_with = |offset: Offset| shown - i64::from(offset.seconds()) * 1_000;
    match zone.to_ambiguous_timestamp(midnight).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            Some(time_with(offset))
        }
        // The clock skips midnight. It is set at this time or before it.
        AmbiguousOffset::Gap { before, .. } => {
            let set = zone.preceding(at(time_with(before) + 1)?).next()?;
            Some(set.timestamp().as_millisecond())
        }
    }
}

fn at(time: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(time).ok()
}

#[cfg(test)]
mod tests;
