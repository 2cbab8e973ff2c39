use super::*;
use crate::{
    base::window::{Every, Zone},
    request::limits::terms::Admits,
};

mod changed;
mod properties;
mod sliding_tests;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn terms(window: Window, amount: i128) -> Terms {
    Terms { window, amount, over: Over::Reject, admits: Admits::Fits }
}

fn every(every: Every, amount: i128) -> Terms {
    terms(Window::Calendar { every, zone: Zone::utc() }, amount)
}

/// Counts what is used at once.
fn used(counter: &mut Counter, terms: &Terms, now_ms: u64, amount: i128) {
    let slot = counter.take(terms, now_ms, amount);
    counter.settle(slot, amount);
}

/// Checks used and reserved.
fn check(counter: &Counter, terms: &Terms, now_ms: u64, expected: (i128, i128)) {
    let Balance { used, reserved, left, .. } = counter.balance(terms, now_ms);
    assert_eq!((used, reserved), expected, "{terms:?} {now_ms}");
    assert_eq!(left, terms.amount - used - reserved);
}

/// Checks the wait for `asked`.
fn waits(counter: &mut Counter, terms: &Terms, now_ms: u64, asked: i128, expected: Option<u64>) {
    let refused = counter.check(terms, now_ms, asked).unwrap_err();
    assert_eq!(refused.left, counter.balance(terms, now_ms).left);
    assert_eq!(refused.retry_after_ms, expected, "{terms:?} {now_ms} {asked}");
}

#[test]
fn a_typical_counter_is_small() {
    assert!(size_of::<Counter>() <= 96, "{}", size_of::<Counter>());
    let mut counter = Counter::default();
    used(&mut counter, &every(Every::Day, 10), 5, 1);
    assert!(counter.more.is_none());
}

#[test]
fn a_window_of_the_calendar() {
    let day = every(Every::Day, 10);
    let mut counter = Counter::default();
    assert_eq!(counter.check(&day, 5, 10), Ok(()));
    waits(&mut counter, &day, 5, 11, None);
    let slot = counter.take(&day, 5, 7);
    check(&counter, &day, 5, (0, 7));
    assert_eq!(slot.reserved(), 7);
    assert_eq!(counter.check(&day, DAY - 1, 3), Ok(()));
    waits(&mut counter, &day, DAY - 1, 4, Some(1));
    assert_eq!(counter.balance(&day, 5).resets_at_ms, Some(DAY));
    // It ends in the next window.
    assert_eq!(counter.check(&day, DAY, 10), Ok(()));
    used(&mut counter, &day, DAY, 2);
    counter.settle(slot, 9);
    check(&counter, &day, DAY - 1, (9, 0));
    check(&counter, &day, DAY, (2, 0));
    // The clock goes back: the next window is known to have used 2.
    waits(&mut counter, &day, 5, 9, Some(2 * DAY - 5));
    waits(&mut counter, &day, 5, 8, Some(DAY - 5));
    // More than was reserved.
    let slot = counter.take(&day, 5, 1);
    counter.settle(slot, 100);
    assert_eq!(counter.balance(&day, 5).left, -99);
    waits(&mut counter, &day, 5, 0, Some(DAY - 5));
}

#[test]
fn all_time() {
    let total = terms(Window::Total, 10);
    let mut counter = Counter::default();
    used(&mut counter, &total, u64::MAX, 4);
    let slot = counter.take(&total, 0, 6);
    waits(&mut counter, &total, 5, 1, None);
    counter.settle(slot, 0);
    check(&counter, &total, u64::MAX, (4, 0));
    assert_eq!(counter.check(&total, u64::MAX, 6), Ok(()));
    assert_eq!(counter.balance(&total, 7).resets_at_ms, None);
    // After the calendar.
    let day = every(Every::Day, 10);
    let mut counter = Counter::default();
    used(&mut counter, &day, u64::MAX, 10);
    waits(&mut counter, &day, u64::MAX - 1, 1, None);
}

#[test]
fn while_something_is_left() {
    let day = Terms { admits: Admits::WhilePositive, ..every(Every::Day, 10) };
    let mut counter = Counter::default();
    assert_eq!(counter.check(&day, 5, 1_000), Ok(()));
    let slots = [counter.take(&day, 5, 1_000), counter.take(&day, 5, 1_000)];
    check(&counter, &day, 5, (0, 0));
    for slot in slots {
        counter.settle(slot, 9);
    }
    waits(&mut counter, &day, 5, 0, Some(DAY - 5));
    check(&counter, &day, 5, (18, 0));
}

#[test]
fn limits_that_warn_count() {
    let day = Terms { over: Over::Warn, ..every(Every::Day, 10) };
    let mut counter = Counter::default();
    used(&mut counter, &day, 5, 20);
    assert_eq!(counter.check(&day, 5, 1_000), Ok(()));
    check(&counter, &day, 5, (20, 0));
}

#[test]
fn amounts_saturate() {
    let total = terms(Window::Total, i128::MAX);
    let mut counter = Counter::default();
    used(&mut counter, &total, 5, i128::MAX);
    used(&mut counter, &total, 5, i128::MAX);
    let slot = counter.take(&total, 5, -7);
    counter.settle(slot, -7);
    check(&counter, &total, 5, (i128::MAX, 0));
    let sliding = terms(Window::Sliding(u64::MAX), 1);
    used(&mut counter, &sliding, u64::MAX, i128::MAX);
    let slots = [counter.take(&sliding, 0, i128::MAX), counter.take(&sliding, u64::MAX, i128::MAX)];
    waits(&mut counter, &sliding, 7, 1, None);
    for slot in slots {
        counter.settle(slot, i128::MIN);
    }
    assert_eq!(counter.balance(&sliding, u64::MAX).resets_at_ms, None);
}

#[test]
fn a_clock_that_jumps_finds_its_window() {
    let day = every(Every::Day, 100);
    let mut counter = Counter::default();
    used(&mut counter, &day, 50 * DAY, 50);
    used(&mut counter, &day, 900 * DAY, 90);
    used(&mut counter, &day, 10 * DAY, 10);
    for _ in 0..3 {
        for (number, expected) in [(10, 10), (50, 50), (900, 90), (51, 0)] {
            check(&counter, &day, number * DAY + 7, (expected, 0));
            // Asking changes nothing.
            assert!(counter.check(&day, number * DAY, 101 - expected).is_err());
        }
    }
    // A fourth: the earliest of the others is dropped.
    used(&mut counter, &day, 5 * DAY, 5);
    for (number, expected) in [(5, 5), (10, 0), (50, 50), (900, 90)] {
        check(&counter, &day, number * DAY, (expected, 0));
    }
    assert_eq!(counter.rows().count(), 3);
}

#[test]
fn windows_with_calls_are_kept() {
    let hour = every(Every::Hour, 100);
    let mut counter = Counter::default();
    let mut take = |number: u64| (number, counter.take(&hour, number * HOUR, 1));
    let slots: Vec<_> = (100..150).rev().map(&mut take).collect();
    assert_eq!(counter.rows().count(), 50);
    for (number, slot) in slots {
        counter.settle(slot, i128::from(number));
        check(&counter, &hour, number * HOUR, (i128::from(number), 0));
    }
    assert!(!counter.is_running());
    used(&mut counter, &hour, 150 * HOUR, 1);
    assert_eq!(counter.rows().count(), 3);
}

#[test]
fn beyond_the_bound_the_earliest_windows_are_one() {
    let hour = every(Every::Hour, 1_000_000);
    let mut counter = Counter::default();
    // Every second hour, from both ends.
    let mut numbers: Vec<u64> = (0..50).flat_map(|at| [1_000 + 2 * at, 1_200 - 2 * at]).collect();
    numbers.dedup();
    let mut slots = Vec::new();
    for number in &numbers {
        slots.push((*number, counter.take(&hour, number * HOUR, 1)));
        assert!(counter.others().len() < 64);
        assert!(
            counter.all().all(|one| counter.all().filter(|other| other.contains(one.start_ms)).count() == 1)
        );
    }
    for number in &numbers {
        assert!(counter.balance(&hour, number * HOUR).reserved >= 1, "{number}");
    }
    let reserved = |counter: &Counter| counter.all().map(|held| held.reserved).sum::<i128>();
    assert_eq!(reserved(&counter), 100);
    for (number, slot) in slots {
        counter.settle(slot, 5);
        assert!(counter.balance(&hour, number * HOUR).used >= 5, "{number}");
    }
    assert_eq!((reserved(&counter), counter.is_running()), (0, false));
    assert_eq!(counter.rows().map(|row| row.used).sum::<i128>(), 500);
}

#[test]
fn a_new_window_is_not_covered_by_joined_ones() {
    for place in [0, 1, 2, 62, 63, 64] {
        let hour = every(Every::Hour, 100);
        let mut counter = Counter::default();
        let slots: Vec<Slot> =
            (0..64).map(|number| counter.take(&hour, (10 * number + 9) * HOUR, 1)).collect();
        let new = counter.take(&hour, (10 * place + 5) * HOUR, 7);
        assert!(counter.others().len() < 64);
        check(&counter, &hour, (10 * place + 5) * HOUR, (0, 7));
        let covering = counter.all().filter(|held| held.contains((10 * place + 5) * HOUR));
        assert_eq!(covering.count(), 1, "{place}");
        counter.settle(new, 3);
        for slot in slots {
            counter.settle(slot, 1);
        }
        assert!(!counter.is_running());
        assert_eq!(
            counter
                .all()
                .map(|held| (held.used, held.reserved))
                .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)),
            (67, 0)
        );
    }
}

#[test]
fn rows_contain_reservations() {
    let day = every(Every::Day, 100);
    let mut counter = Counter::default();
    used(&mut counter, &day, 5, 10);
    let slot = counter.take(&day, 5, 20);
    used(&mut counter, &day, DAY, 7);
    let mut rows: Vec<Row> = counter.rows().collect();
    rows.sort_by_key(|row| row.start_ms);
    let mark = day.window.mark();
    let expected = [
        Row { mark, start_ms: 0, end_ms: Some(DAY), used: 30 },
        Row { mark, start_ms: DAY, end_ms: Some(2 * DAY), used: 7 },
    ];
    assert_eq!(rows, expected);
    let restored = Counter::restored(rows);
    check(&restored, &day, 5, (30, 0));
    check(&restored, &day, DAY, (7, 0));
    assert_eq!(restored.balance(&day, 3 * DAY).used, 0);
    counter.settle(slot, 1);
    assert_eq!(counter.rows().map(|row| row.used).sum::<i128>(), 18);
    assert_eq!(Counter::default().rows().count(), 0);
}

#[test]
fn rows_that_no_counter_writes() {
    let day = every(Every::Day, 100);
    let mark = day.window.mark();
    let check_rows = |rows: &[Row], now_ms: u64, expected: i128| {
        let mut counter = Counter::restored(rows.iter().copied());
        assert_eq!(counter.check(&day, now_ms, 0).is_ok(), expected <= 100);
        check(&counter, &day, now_ms, (expected, 0));
    };
    let row = Row { mark, start_ms: 0, end_ms: Some(DAY), used: 7 };
    check_rows(&[], 5, 0);
    check_rows(&[row], 5, 7);
    check_rows(&[Row { used: -7, ..row }], 5, 0);
    check_rows(&[Row { end_ms: Some(0), ..row }], 5, 0);
    // Rows of several kinds: what overlaps the present window counts.
    let hour = Row { mark: every(Every::Hour, 1).window.mark(), end_ms: Some(HOUR), ..row };
    let later = Row { start_ms: 3 * HOUR, end_ms: Some(4 * HOUR), mark: 0, ..row };
    let tomorrow = Row { start_ms: DAY, end_ms: Some(2 * DAY), ..row };
    check_rows(&[row, hour, later, tomorrow], 5, 21);
    check_rows(&[row, hour, later, tomorrow], DAY, 7);
    check_rows(&[Row { mark: 0, ..row }], 5, 7);
    let many =
        (0..10_000).map(|number| Row { start_ms: number * DAY, end_ms: Some((number + 1) * DAY), ..row });
    let mut counter = Counter::restored(many);
    check(&counter, &day, 9_999 * DAY, (7, 0));
    assert_eq!(counter.rows().count(), more::MAX);
    used(&mut counter, &day, 10_000 * DAY, 1);
    assert_eq!(counter.rows().count(), 3);
}
