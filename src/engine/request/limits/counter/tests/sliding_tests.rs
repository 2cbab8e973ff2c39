use super::*;

/// 64 slices of 10 ms.
const LENGTH: u64 = 640;

fn sliding(amount: i128) -> Terms {
    terms(Window::Sliding(LENGTH), amount)
}

#[test]
fn slices_leave() {
    let ten = sliding(10);
    let mut counter = Counter::default();
    assert_eq!(counter.balance(&ten, 1_005).resets_at_ms, Some(1_005));
    used(&mut counter, &ten, 1_005, 4);
    let slot = counter.take(&ten, 1_020, 6);
    check(&counter, &ten, 1_020, (4, 6));
    waits(&mut counter, &ten, 1_020, 11, None);
    // The slice from 1000 to 1009 is out at 1009 + 640.
    waits(&mut counter, &ten, 1_020, 4, Some(1_649 - 1_020));
    waits(&mut counter, &ten, 1_020, 5, Some(1_669 - 1_020));
    assert_eq!(counter.balance(&ten, 1_020).resets_at_ms, Some(1_669));
    waits(&mut counter, &ten, 1_648, 1, Some(1));
    assert_eq!(counter.check(&ten, 1_649, 4), Ok(()));
    check(&counter, &ten, 1_668, (0, 6));
    // It is settled where it was admitted, and counts no longer.
    check(&counter, &ten, 1_669, (0, 0));
    counter.settle(slot, 9);
    check(&counter, &ten, 1_668, (9, 0));
    check(&counter, &ten, 1_669, (0, 0));
}

#[test]
fn lengths_of_all_sizes() {
    let check = |length: u64, now: u64, leaves: Option<u64>| {
        let one = terms(Window::Sliding(length), 1);
        let mut counter = Counter::default();
        used(&mut counter, &one, now, 1);
        waits(&mut counter, &one, now, 1, leaves.map(|leaves| leaves - now));
        assert_eq!(counter.balance(&one, now).resets_at_ms, leaves);
    };
    check(0, 7, Some(8));
    check(1, 7, Some(8));
    check(2, 7, Some(9));
    check(64, 7, Some(7 + 64));
    check(65, 7, Some(7 + 65));
    check(65, 6, Some(7 + 65));
    check(1, u64::MAX, None);
    check(u64::MAX, 0, None);
    check(60_000, u64::MAX, None);
}

#[test]
fn a_clock_that_goes_back() {
    let ten = sliding(10);
    let mut counter = Counter::default();
    used(&mut counter, &ten, 5_000, 10);
    // By no more than the length: the slice of the future counts.
    waits(&mut counter, &ten, 4_360, 1, Some(5_009 + LENGTH - 4_360));
    check(&counter, &ten, 4_360, (10, 0));
    // By more: all is as of now.
    check(&counter, &ten, 4_359, (10, 0));
    assert_eq!(counter.balance(&ten, 4_359).resets_at_ms, Some(4_359 + LENGTH));
    waits(&mut counter, &ten, 4_359, 1, Some(LENGTH));
    waits(&mut counter, &ten, 4_360, 1, Some(LENGTH - 1));
    assert_eq!(counter.check(&ten, 4_999, 10), Ok(()));
}

#[test]
fn calls_of_a_clock_that_goes_far_back_are_settled() {
    let ten = sliding(10);
    let mut counter = Counter::default();
    let slots = [counter.take(&ten, 5_000, 2), counter.take(&ten, 5_300, 3)];
    used(&mut counter, &ten, 5_300, 1);
    waits(&mut counter, &ten, 105, 5, Some(109 + LENGTH - 105));
    let later = counter.take(&ten, 205, 4);
    let [first, second] = slots;
    counter.settle(first, 1);
    counter.settle(second, 0);
    check(&counter, &ten, 205, (2, 4));
    check(&counter, &ten, 109 + LENGTH, (0, 4));
    counter.settle(later, 4);
    check(&counter, &ten, 205, (6, 0));
}

#[test]
fn long_calls_take_no_room() {
    let many = sliding(1_000_000);
    let mut counter = Counter::default();
    let slots: Vec<Slot> = (0..1_000).map(|number| counter.take(&many, number * 10, 1)).collect();
    assert!(counter.others().len() < more::MAX);
    check(&counter, &many, 9_999, (0, 64));
    let reserved = |counter: &Counter| counter.all().map(|held| held.reserved).sum::<i128>();
    assert_eq!(reserved(&counter), 1_000);
    for (number, slot) in slots.into_iter().enumerate() {
        counter.settle(slot, if number < 950 { 1_000 } else { 1 });
    }
    assert_eq!((reserved(&counter), counter.is_running()), (0, false));
    let counts = counter.balance(&many, 9_999).used;
    assert_eq!(counts, 50 + 14 * 1_000);
}

#[test]
fn jumps_do_not_grow_the_state() {
    let many = sliding(1_000_000);
    let mut counter = Counter::default();
    let mut slots = Vec::new();
    let mut now_ms: u64 = 1_000_000;
    for step in 0..5_000_u64 {
        // Back by up to the length, on by less.
        let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        now_ms = if random.is_multiple_of(5) { now_ms - random % LENGTH } else { now_ms + random % 200 };
        let before = counter.balance(&many, now_ms);
        slots.push(counter.take(&many, now_ms, 1));
        assert!(counter.others().len() < more::MAX, "{step}");
        // No take loses what counts.
        assert!(counter.balance(&many, now_ms).reserved > before.reserved, "{step}");
    }
    let reserved = |counter: &Counter| counter.all().map(|held| held.reserved).sum::<i128>();
    assert_eq!(reserved(&counter), 5_000);
    for slot in slots {
        counter.settle(slot, 1);
    }
    assert_eq!((reserved(&counter), counter.is_running()), (0, false));
}
