use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::base::time::millis_of;

fn window(every: Every, zone: &str) -> Window {
    Window::Calendar { every, zone: Zone::parse(zone).unwrap() }
}

#[test]
fn calendar_windows() {
    use Every::{Day, Hour, Month, Week};
    let check = |every: Every, zone: &str, now: &str, start: &str, end: &str| {
        let millis = |text: &str| millis_of(&format!("{text}:00Z")).unwrap();
        let expected = Span { start_ms: millis(start), end_ms: Some(millis(end)) };
        let window = window(every, zone);
        assert_eq!(window.span(millis(now)), expected, "{every:?} {zone} {now}");
        assert_eq!(window.span(expected.start_ms), expected, "{every:?} {zone} {now}: its start");
        assert_eq!(window.span(millis(end) - 1), expected, "{every:?} {zone} {now}: its end");
        let before = expected.start_ms.checked_sub(1).map(|before| window.span(before));
        assert!(before.is_none_or(|before| before.end_ms == Some(expected.start_ms)), "{zone} {now}");
    };
    check(Hour, "UTC", "2026-02-28T23:59", "2026-02-28T23:00", "2026-03-01T00:00");
    check(Day, "UTC", "2026-02-28T23:59", "2026-02-28T00:00", "2026-03-01T00:00");
    check(Week, "UTC", "2026-03-01T23:59", "2026-02-23T00:00", "2026-03-02T00:00");
    check(Month, "UTC", "2024-02-29T12:00", "2024-02-01T00:00", "2024-03-01T00:00");
    check(Month, "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00");
    // Spring: the day has 23 hours, and 02 does not occur.
    check(Day, "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00");
    check(Hour, "Europe/Berlin", "2026-03-29T00:59", "2026-03-29T00:00", "2026-03-29T01:00");
    check(Hour, "Europe/Berlin", "2026-03-29T01:00", "2026-03-29T01:00", "2026-03-29T02:00");
    check(Week, "Europe/Berlin", "2026-03-29T12:00", "2026-03-22T23:00", "2026-03-29T22:00");
    check(Month, "Europe/Berlin", "2026-03-01T00:00", "2026-02-28T23:00", "2026-03-31T22:00");
    // Autumn: the day has 25 hours, and 02 occurs twice.
    check(Day, "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00");
    check(Hour, "Europe/Berlin", "2026-10-25T00:30", "2026-10-25T00:00", "2026-10-25T01:00");
    check(Hour, "Europe/Berlin", "2026-10-25T01:30", "2026-10-25T01:00", "2026-10-25T02:00");
    check(Month, "Europe/Berlin", "2026-10-31T22:00", "2026-09-30T22:00", "2026-10-31T23:00");
    // Far from the tables of transitions, by the rule.
    check(Day, "Europe/Berlin", "2126-07-01T12:00", "2126-06-30T22:00", "2126-07-01T22:00");
    // Half hours and quarters.
    check(Hour, "Asia/Kolkata", "2026-01-01T00:10", "2025-12-31T23:30", "2026-01-01T00:30");
    check(Hour, "Asia/Kathmandu", "2026-01-01T00:10", "2025-12-31T23:15", "2026-01-01T00:15");
    check(Day, "Asia/Kathmandu", "2026-01-01T00:10", "2025-12-31T18:15", "2026-01-01T18:15");
    // 02:00 becomes 02:30, and 02:00 becomes 01:30.
    check(Hour, "Australia/Lord_Howe", "2026-10-03T15:45", "2026-10-03T15:30", "2026-10-03T16:00");
    check(Hour, "Australia/Lord_Howe", "2026-04-04T14:30", "2026-04-04T14:00", "2026-04-04T15:00");
    check(Hour, "Australia/Lord_Howe", "2026-04-04T15:10", "2026-04-04T15:00", "2026-04-04T15:30");
    // Midnight does not exist.
    check(Day, "America/Sao_Paulo", "2018-11-03T12:00", "2018-11-03T03:00", "2018-11-04T03:00");
    check(Day, "America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04T03:00", "2018-11-05T02:00");
    // Midnight occurs twice, one hour apart.
    check(Day, "America/Havana", "2020-11-01T12:00", "2020-11-01T04:00", "2020-11-02T05:00");
    // One minute after midnight, the clock goes back to the day before.
    check(Day, "America/St_Johns", "2010-11-07T02:29", "2010-11-06T02:30", "2010-11-07T02:30");
    check(Day, "America/St_Johns", "2010-11-07T02:40", "2010-11-07T02:30", "2010-11-08T03:30");
    check(Hour, "America/St_Johns", "2010-11-07T02:30", "2010-11-07T02:30", "2010-11-07T02:31");
    check(Hour, "America/St_Johns", "2010-11-07T02:31", "2010-11-07T02:31", "2010-11-07T03:30");
    // The 30th is skipped.
    check(Day, "Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00");
    check(Day, "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00");
    check(Week, "Pacific/Apia", "2011-12-30T10:00", "2011-12-26T10:00", "2012-01-01T10:00");
    check(Month, "Pacific/Apia", "2011-12-30T10:00", "2011-12-01T10:00", "2011-12-31T10:00");
    // Began before 1970.
    check(Day, "America/New_York", "1970-01-01T00:00", "1970-01-01T00:00", "1970-01-01T05:00");
    check(Week, "UTC", "1970-01-01T00:00", "1970-01-01T00:00", "1970-01-05T00:00");
    check(Month, "Europe/Berlin", "1970-01-01T00:00", "1970-01-01T00:00", "1970-01-31T23:00");
    check(Month, "UTC", "9997-12-31T23:59", "9997-12-01T00:00", "9998-01-01T00:00");
    check(Week, "UTC", "9997-12-31T23:59", "9997-12-29T00:00", "9998-01-01T00:00");
}

#[test]
fn other_windows() {
    let check = |window: Window, now_ms: u64, start_ms: u64, end_ms: Option<u64>| {
        assert_eq!(window.span(now_ms), Span { start_ms, end_ms }, "{window:?} {now_ms}");
    };
    check(Window::Total, 7, 0, None);
    check(Window::Total, u64::MAX, 0, None);
    check(Window::Sliding(10), 7, 0, Some(8));
    check(Window::Sliding(10), 100, 91, Some(101));
    check(Window::Sliding(0), 100, 100, Some(101));
    check(Window::Sliding(u64::MAX), u64::MAX, 1, None);
    for every in [Every::Hour, Every::Day, Every::Week, Every::Month] {
        check(window(every, "Asia/Tokyo"), FAR_MS, FAR_MS, None);
        check(window(every, "Asia/Tokyo"), u64::MAX, FAR_MS, None);
    }
}

#[test]
fn zones_are_those_of_the_database() {
    let check = |name: &str, expected: Option<&str>| {
        assert_eq!(Zone::parse(name).as_ref().map(Zone::name), expected, "{name}");
    };
    check("Europe/Berlin", Some("Europe/Berlin"));
    check("europe/berlin", Some("Europe/Berlin"));
    check("UTC", Some("UTC"));
    check("Asia/Kolkata", Some("Asia/Kolkata"));
    for name in ["", "Etc/Unknown", "Europe", "Europe/Atlantis", "UTC+1", "CET-1CEST", "/etc/localtime"] {
        check(name, None);
    }
    assert_eq!(Zone::parse("utc"), Some(Zone::utc()));
}

#[test]
fn marks_differ() {
    let every = [Every::Hour, Every::Day, Every::Week, Every::Month];
    let names: Vec<String> = TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
    let mut marks =
        BTreeSet::from([Window::Total.mark(), Window::Sliding(1).mark(), Window::Sliding(2).mark()]);
    for every in every {
        marks.extend(names.iter().map(|name| window(every, name).mark()));
    }
    assert!(names.len() > 400);
    assert_eq!(marks.len(), 3 + 4 * names.len());
    marks.insert(Window::Sliding(u64::MAX).mark());
    assert!(marks.iter().all(|mark| *mark < 1 << 63 && ![0, 2].contains(mark)));
    // Stored.
    assert_eq!(window(Every::Day, "Europe/Berlin").mark(), 0x2_3140_5cd4);
}

/// The date and hour that the clock of a zone shows.
fn shown(zone: &str, now_ms: u64) -> (Date, i8) {
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    let time = zone.to_datetime(at(i64::try_from(now_ms).unwrap()).unwrap());
    (time.date(), time.hour())
}

/// Around each transition of each zone, windows follow each other, and their first times show what they are named for.
#[test]
fn windows_follow_each_other_around_all_transitions() {
    for name in TimeZoneDatabase::bundled().available() {
        let name = name.to_string();
        let zone = TimeZoneDatabase::bundled().get(&name).unwrap();
        let transitions =
            zone.following(at(0).unwrap()).take_while(|one| one.timestamp().as_second() < 1_900_000_000);
        let times: Vec<i64> = transitions.map(|one| one.timestamp().as_millisecond()).collect();
        for every in [Every::Hour, Every::Day, Every::Month] {
            let window = window(every, &name);
            for time in times.iter().step_by(if every == Every::Month { 7 } else { 3 }) {
                let first = u64::try_from(*time).unwrap().saturating_sub(5_400_000);
                let mut span = window.span(first);
                assert!(span.contains(first), "{name} {first}");
                for _ in 0..4 {
                    let end_ms = span.end_ms.unwrap();
                    assert!(end_ms > span.start_ms, "{name} {span:?}");
                    assert_eq!(window.span(end_ms - 1), span, "{name} {end_ms}");
                    span = window.span(end_ms);
                    assert_eq!(span.start_ms, end_ms, "{name}");
                    let (before, after) = (shown(&name, end_ms - 1), shown(&name, end_ms));
                    match every {
                        Every::Hour => {
                            assert_eq!(shown(&name, span.end_ms.unwrap() - 1), after, "{name} {end_ms}");
                        }
                        Every::Day => assert!(before.0 < after.0, "{name} {end_ms}"),
                        Every::Week | Every::Month => {
                            assert!(before.0.month() != after.0.month(), "{name} {end_ms}");
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_time_is_in_its_window(
        now_ms in prop_oneof![any::<u64>(), 0..FAR_MS + 1_000_000, 0..4_000_000_000_000_u64],
        every in prop::sample::select(vec![Every::Hour, Every::Day, Every::Week, Every::Month]),
        zone in prop::sample::select(vec![
            "UTC", "Pacific/Apia", "Pacific/Kwajalein", "America/St_Johns", "Australia/Lord_Howe", "Africa/Monrovia",
            "Africa/Casablanca", "Antarctica/Troll", "Asia/Gaza", "America/Sao_Paulo",
        ]),
    ) {
        let window = window(every, zone);
        let span = window.span(now_ms);
        prop_assert!(span.contains(now_ms));
        prop_assert_eq!(window.span(span.start_ms), span);
        if let Some(end_ms) = span.end_ms {
            prop_assert_eq!(window.span(end_ms - 1), span);
            prop_assert_eq!(window.span(end_ms).start_ms, end_ms);
        }
        if let Some(before) = span.start_ms.checked_sub(1) {
            prop_assert_eq!(window.span(before).end_ms, Some(span.start_ms));
        }
    }
}
