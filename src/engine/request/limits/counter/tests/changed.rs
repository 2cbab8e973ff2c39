//! Terms that change their window.

use super::*;

/// Uses 5 at each time and reserves 3 at the last one under `before`; then asks under `after`. Settles the call with 1.
fn changed(before: &Terms, times: &[u64], after: &Terms, now_ms: u64, expected: i128) {
    let mut counter = Counter::default();
    for time in times {
        used(&mut counter, before, *time, 5);
    }
    let slot = counter.take(before, *times.last().unwrap(), 3);
    // Asking shows what the change makes.
    check(&counter, after, now_ms, (expected, 3));
    assert_eq!(counter.balance(before, *times.last().unwrap()).reserved, 3);
    assert_eq!(counter.check(after, now_ms, 1), Ok(()));
    check(&counter, after, now_ms, (expected, 3));
    let other = counter.take(after, now_ms, 2);
    counter.settle(slot, 1);
    check(&counter, after, now_ms, (expected + 1, 2));
    counter.settle(other, 2);
    check(&counter, after, now_ms, (expected + 3, 0));
    assert!(!counter.is_running());
}

#[test]
fn what_overlaps_the_present_window_counts_in_it() {
    let (hour, day, month) = (every(Every::Hour, 100), every(Every::Day, 100), every(Every::Month, 100));
    let zone = Zone::parse("Asia/Tokyo").unwrap();
    let tokyo = terms(Window::Calendar { every: Every::Day, zone }, 100);
    let (minute, long) = (terms(Window::Sliding(60_000), 100), terms(Window::Sliding(3 * DAY), 100));
    let total = terms(Window::Total, 100);
    changed(&day, &[5 * DAY], &hour, 5 * DAY + 7, 5);
    changed(&day, &[5 * DAY], &hour, 6 * DAY, 0);
    changed(&hour, &[DAY, DAY + HOUR, DAY + 2 * HOUR], &day, DAY + 9 * HOUR, 15);
    changed(&hour, &[DAY - 1, DAY + HOUR, DAY + 2 * HOUR], &day, DAY + 9 * HOUR, 10);
    changed(&day, &[DAY, 2 * DAY, 3 * DAY], &month, 3 * DAY, 15);
    changed(&month, &[DAY], &day, 3 * DAY, 5);
    changed(&day, &[DAY, 2 * DAY], &tokyo, 2 * DAY, 10);
    changed(&day, &[DAY, 2 * DAY], &tokyo, 2 * DAY + 20 * HOUR, 5);
    changed(&day, &[DAY, 2 * DAY], &minute, 2 * DAY + 7, 10);
    changed(&day, &[DAY, 2 * DAY], &minute, 2 * DAY + HOUR, 5);
    changed(&day, &[DAY, 2 * DAY], &long, 3 * DAY, 10);
    changed(&day, &[DAY, 2 * DAY], &long, 9 * DAY, 0);
    changed(&minute, &[DAY, DAY + 30_000, DAY + 59_000], &day, DAY + 59_000, 15);
    changed(&minute, &[DAY - 1_000, DAY + 30_000], &day, DAY + 59_000, 5);
    changed(&minute, &[DAY, DAY + 30_000, DAY + 59_000], &long, DAY + HOUR, 15);
    changed(&long, &[DAY, 2 * DAY], &minute, 2 * DAY, 5);
    changed(&day, &[DAY, 2 * DAY], &total, 9 * DAY, 10);
    changed(&total, &[DAY, 2 * DAY], &day, 9 * DAY, 10);
}

#[test]
fn calls_survive_several_changes() {
    let kinds = [every(Every::Hour, 100), terms(Window::Sliding(60_000), 100), terms(Window::Total, 100)];
    let mut counter = Counter::default();
    let mut slots = Vec::new();
    for step in 0..12_u64 {
        let terms = &kinds[usize::try_from(step % 3).unwrap()];
        slots.push(counter.take(terms, step * 2 * HOUR, 1));
        check(&counter, terms, step * 2 * HOUR, (0, i128::from(step) + 1));
    }
    // In any order.
    let total = &kinds[2];
    slots.reverse();
    slots.swap(2, 7);
    for (done, slot) in (1..).zip(slots) {
        counter.settle(slot, 2);
        check(&counter, total, 0, (2 * done, 12 - done));
    }
    assert!(!counter.is_running());
}

#[test]
fn a_changed_amount_changes_no_window() {
    let mut counter = Counter::default();
    used(&mut counter, &every(Every::Day, 100), 0, 5);
    used(&mut counter, &every(Every::Day, 10), DAY, 6);
    check(&counter, &every(Every::Day, 7), 0, (5, 0));
    check(&counter, &every(Every::Day, 7), DAY, (6, 0));
}
