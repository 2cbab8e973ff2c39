//! Any order of takes and settlements.

use proptest::prelude::*;

use super::*;

/// One step: the time passes, then a call comes, or the call of a place ends.
#[derive(Debug, Clone)]
enum Step {
    Comes(i128),
    Ends { place: usize, percent: i128 },
    Restarts,
}

fn steps(most_percent: i128) -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        4 => (-5..60_i128).prop_map(Step::Comes),
        4 => (any::<usize>(), 0..=most_percent).prop_map(|(place, percent)| Step::Ends { place, percent }),
        1 => Just(Step::Restarts),
    ];
    prop::collection::vec((prop_oneof![0..1_000_u64, 0..HOUR], step), 1..80)
}

fn windows() -> impl Strategy<Value = Window> {
    let zone = Zone::parse("Australia/Lord_Howe").unwrap();
    prop::sample::select(vec![
        Window::Calendar { every: Every::Hour, zone: zone.clone() },
        Window::Calendar { every: Every::Day, zone },
        Window::Sliding(1_000),
        Window::Sliding(HOUR),
        Window::Total,
    ])
}

/// Runs the steps. Returns the greatest sum of used and reserved, and the sum of what calls used beyond their reservation.
fn run(terms: &Terms, steps: Vec<(u64, Step)>) -> (i128, i128) {
    let mut counter = Counter::default();
    let mut slots: Vec<(Slot, i128)> = Vec::new();
    let (mut now_ms, mut greatest, mut beyond) = (0, 0, 0);
    for (passes, step) in steps {
        now_ms += passes;
        match step {
            Step::Comes(asked) => {
                let before = counter.balance(terms, now_ms);
                let passes = counter.check(terms, now_ms, asked).is_ok();
                assert_eq!(counter.balance(terms, now_ms), before);
                assert_eq!(passes, before.left >= terms.needed(asked));
                if passes {
                    slots.push((counter.take(terms, now_ms, asked), asked.max(0)));
                }
            }
            Step::Ends { place, percent } if !slots.is_empty() => {
                let (slot, asked) = slots.swap_remove(place % slots.len());
                let uses = asked * percent / 100;
                beyond += (uses - slot.reserved()).max(0);
                counter.settle(slot, uses);
            }
            Step::Ends { .. } => {}
            Step::Restarts => {
                let before = counter.balance(terms, now_ms);
                counter = Counter::restored(counter.rows());
                slots.clear();
                let after = counter.balance(terms, now_ms);
                assert_eq!((after.used, after.reserved), (before.used + before.reserved, 0));
            }
        }
        let balance = counter.balance(terms, now_ms);
        greatest = greatest.max(balance.used + balance.reserved);
    }
    let running: i128 = slots.iter().map(|(slot, _)| slot.reserved()).sum();
    assert_eq!(counter.all().map(|held| held.reserved).sum::<i128>(), running);
    (greatest, beyond)
}

proptest! {
    #[test]
    fn the_amount_is_never_exceeded(window in windows(), amount in 1..200_i128, steps in steps(100)) {
        let (greatest, beyond) = run(&terms(window, amount), steps);
        prop_assert_eq!(beyond, 0);
        prop_assert!(greatest <= amount);
    }

    #[test]
    fn it_is_exceeded_by_what_calls_use_beyond_their_reservation(
        window in windows(), amount in 1..200_i128, steps in steps(300), reserves in any::<bool>(),
    ) {
        let admits = if reserves { Admits::Fits } else { Admits::WhilePositive };
        let (greatest, beyond) = run(&Terms { admits, ..terms(window, amount) }, steps);
        prop_assert!(greatest <= amount + beyond, "{} {} {}", greatest, amount, beyond);
    }
}
