//! Admission of a request by all of its limits: each counts it, or none does.

use super::{
    concurrent::Concurrent,
    counter::{Counter, Slot},
    take::Take,
    terms::{Over, Refused, Terms},
};

/// The time after which a call is worth another try if too many run: nobody knows when one ends.
const CONCURRENT_RETRY_MS: u64 = 1_000;

/// The state of a limit for the key of a call. What the limit counts decides which of the two holds something.
#[derive(Debug)]
pub struct Held<'a> {
    /// What is used in windows.
    pub counter: &'a mut Counter,
    /// The running calls.
    pub running: &'a mut Concurrent,
}

/// What a request asks of one limit.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The state of the limit for the key of the request.
    pub counter: &'a mut Counter,
    /// What the limit says.
    pub terms: &'a Terms,
    /// What is reserved. Less than zero is zero.
    pub asked: i128,
}

/// The limit that refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Its place among the limits.
    pub index: usize,
    /// Why it refuses.
    pub refused: Refused,
}

/// Counts a call in all of its limits, those of concurrent calls too. `held` are their states. The slots are in the order of the
/// limits; a limit of concurrent calls has none, and its call is to be given back.
///
/// If any limit refuses, nothing is counted.
pub fn admit_call(held: &mut [Held<'_>], takes: &[Take], now_ms: u64) -> Result<Vec<Option<Slot>>, Refusal> {
    let refuses = |(one, take): &(&Held<'_>, &Take)| {
        take.is_concurrent()
            && take.terms.over == Over::Reject
            && i128::from(one.running.running()) >= take.terms.amount
    };
    let full = held.iter().zip(takes).position(|pair| refuses(&pair)).map(|index| {
        let left = takes[index].terms.amount.saturating_sub(i128::from(held[index].running.running()));
        Refusal { index, refused: Refused { left, retry_after_ms: Some(CONCURRENT_RETRY_MS) } }
    });
    let counted = held.iter_mut().zip(takes).enumerate().filter(|(_, (_, take))| !take.is_concurrent());
    let (indexes, mut asked): (Vec<usize>, Vec<Asked<'_>>) = counted
        .map(|(index, (one, take))| {
            (index, Asked { counter: &mut *one.counter, terms: &take.terms, asked: take.asked })
        })
        .unzip();
    let placed = |refusal: Refusal| Refusal { index: indexes[refusal.index], refused: refusal.refused };
    if let Some(full) = full {
        // A limit of another kind may refuse for longer.
        let other = refusal(&mut asked, now_ms).map(placed);
        return Err(other.filter(|other| wait(other.refused) > wait(full.refused)).unwrap_or(full));
    }
    let slots = admit(&mut asked, now_ms).map_err(placed)?;
    let mut slots = slots.into_iter();
    let mut made = Vec::with_capacity(takes.len());
    for (one, take) in held.iter_mut().zip(takes) {
        if take.is_concurrent() {
            one.running.count();
            made.push(None);
        } else {
            made.push(slots.next());
        }
    }
    Ok(made)
}

/// Counts a request in all of its limits. The slots are in the order of the limits.
///
/// If any limit refuses, nothing is counted. Of several, the one with the longest wait is returned: before that, no retry passes.
/// Limits that only warn count and never refuse.
pub fn admit(all: &mut [Asked<'_>], now_ms: u64) -> Result<Vec<Slot>, Refusal> {
    match refusal(all, now_ms) {
        Some(refusal) => Err(refusal),
        None => {
            Ok(all.iter_mut().map(|one| one.counter.take_checked(one.terms, now_ms, one.asked)).collect())
        }
    }
}

/// The refusal with the longest wait, if there is any. Nothing is counted.
fn refusal(all: &mut [Asked<'_>], now_ms: u64) -> Option<Refusal> {
    let mut longest: Option<Refusal> = None;
    for (index, Asked { counter, terms, asked }) in all.iter_mut().enumerate() {
        let Err(refused) = counter.check(terms, now_ms, *asked) else { continue };
        if longest.is_none_or(|one| wait(refused) > wait(one.refused)) {
            longest = Some(Refusal { index, refused });
        }
    }
    longest
}

/// Orders waits: never is the longest.
fn wait(refused: Refused) -> (bool, u64) {
    (refused.retry_after_ms.is_none(), refused.retry_after_ms.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::window::{Every, Window, Zone},
        request::limits::terms::{Admits, Over},
    };

    const DAY: u64 = 86_400_000;

    fn terms(window: Window, amount: i128, over: Over) -> Terms {
        Terms { window, amount, over, admits: Admits::Fits }
    }

    fn day(amount: i128) -> Terms {
        terms(Window::Calendar { every: Every::Day, zone: Zone::utc() }, amount, Over::Reject)
    }

    /// Takes 10 of each limit, then asks for `asked` of each.
    fn check(limits: &[(Terms, i128)], expected: Result<(), (usize, Option<u64>)>) {
        let mut counters = vec![Counter::default(); limits.len()];
        for (counter, (terms, _)) in counters.iter_mut().zip(limits) {
            let slot = counter.take(terms, 5, 10);
            counter.settle(slot, 10);
        }
        let before: Vec<_> =
            counters.iter().zip(limits).map(|(one, (terms, _))| one.balance(terms, 5)).collect();
        let mut all: Vec<Asked<'_>> = counters
            .iter_mut()
            .zip(limits)
            .map(|(counter, (terms, asked))| Asked { counter, terms, asked: *asked })
            .collect();
        let found = admit(&mut all, 5);
        let refused = |one: Refusal| (one.index, one.refused.retry_after_ms);
        assert_eq!(found.as_ref().map(|_| ()).map_err(|one| refused(*one)), expected, "{limits:?}");
        for ((counter, before), (terms, asked)) in counters.iter().zip(before).zip(limits) {
            let reserved = if found.is_ok() { *asked } else { 0 };
            let after = counter.balance(terms, 5);
            assert_eq!((after.used, after.reserved), (before.used, reserved), "{limits:?}");
        }
    }

    #[test]
    fn all_admit_or_none_counts() {
        let minute = || terms(Window::Sliding(60_000), 15, Over::Reject);
        let total = |amount| terms(Window::Total, amount, Over::Reject);
        let warns = || terms(Window::Total, 1, Over::Warn);
        check(&[], Ok(()));
        check(&[(day(15), 5), (minute(), 5), (total(15), 5)], Ok(()));
        check(&[(day(15), 5), (day(14), 5), (minute(), 5)], Err((1, Some(DAY - 5))));
        // The slices of a minute have 938 ms.
        check(&[(day(15), 5), (minute(), 6)], Err((1, Some(60_000 + 937 - 5))));
        check(&[(minute(), 6), (day(14), 6), (day(13), 6)], Err((1, Some(DAY - 5))));
        check(&[(day(14), 5), (total(14), 5), (day(14), 15)], Err((1, None)));
        check(&[(warns(), 1_000), (day(15), 5)], Ok(()));
        check(&[(warns(), 1_000), (day(15), 6)], Err((1, Some(DAY - 5))));
    }
}
