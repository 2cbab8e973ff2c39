//! Thresholds of a limit that a change of its counter crosses.

use super::terms::{Balance, Terms};

/// The thresholds, in thousandths of the amount, that are reached after a change of a counter and were not before it, in their order.
///
/// A threshold is reached when used + reserved is at least that part of the amount. Reservations are part of it: if a call uses
/// less than it reserved, a threshold may be reached a second time in a window. A caller that warns once remembers it.
pub fn crossed<'w>(
    terms: &Terms,
    before: &Balance,
    after: &Balance,
    warn_at: &'w [u32],
) -> impl Iterator<Item = u32> + use<'w> {
    let amount = terms.amount;
    let (before, after) = (total(before), total(after));
    warn_at.iter().copied().filter(move |per_mille| {
        let threshold = part(amount, *per_mille);
        before < threshold && threshold <= after
    })
}

fn total(balance: &Balance) -> i128 {
    balance.used.saturating_add(balance.reserved)
}

/// So many thousandths, rounded up.
fn part(amount: i128, per_mille: u32) -> i128 {
    let per_mille = i128::from(per_mille);
    let rest = amount.rem_euclid(1_000) * per_mille;
    let whole = amount.div_euclid(1_000).saturating_mul(per_mille);
    whole.saturating_add((rest + 999).div_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::window::Window,
        request::limits::terms::{Admits, Over},
    };

    #[test]
    fn thresholds_are_crossed_upwards() {
        let check = |amount: i128, before: (i128, i128), after: (i128, i128), expected: &[u32]| {
            let terms = Terms { window: Window::Total, amount, over: Over::Warn, admits: Admits::Fits };
            let balance =
                |(used, reserved): (i128, i128)| Balance { used, reserved, left: 0, resets_at_ms: None };
            let found = crossed(&terms, &balance(before), &balance(after), &[500, 800, 1_000]);
            assert_eq!(found.collect::<Vec<_>>(), expected, "{amount} {before:?} {after:?}");
        };
        check(100, (0, 0), (49, 0), &[]);
        check(100, (0, 0), (49, 1), &[500]);
        check(100, (50, 0), (79, 0), &[]);
        check(100, (49, 0), (100, 0), &[500, 800, 1_000]);
        check(100, (99, 0), (120, 0), &[1_000]);
        check(100, (100, 0), (40, 0), &[]);
        check(100, (40, 60), (90, 0), &[]);
        // Half of 3 is reached with 2.
        check(3, (0, 0), (1, 0), &[]);
        check(3, (1, 0), (2, 0), &[500]);
        check(1, (0, 0), (1, 0), &[500, 800, 1_000]);
        check(i128::MAX, (0, 0), (i128::MAX, i128::MAX), &[500, 800, 1_000]);
        check(i128::MAX, (0, 0), (i128::MAX / 2, 0), &[]);
        check(i128::MAX, (0, 0), (i128::MAX / 2 + 1, 0), &[500]);
    }
}
