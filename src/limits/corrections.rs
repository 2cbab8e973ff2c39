//! Corrected prices. Limits count money, and the ledger holds tokens: when the price of a model changes, what was counted in the
//! present windows of limits of cost is corrected in the proportion of what the tokens that the ledger has of them cost before and after.
//!
//! It guarantees: a limit never counts less than nothing. The ledger has hours: in a zone whose offset is no whole number of hours,
//! the first hour of a window counts wholly. Sliding windows are not corrected; what they counted leaves by itself. So it is
//! with limits for kinds of tokens, which the ledger does not have.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::LimitStates;
use crate::{
    call_limits::take,
    compile::{KeyOwner, Limit, LimitFilter, Limits, Measure, Prices},
    day::Day,
    money::Currency,
    name::GroupName,
    store::{RollUps, Store, StoreError, UsageFilter, UsageKey, UsageSegment},
    syntax::{KeyValue, Per},
    usage::Counters,
    window::Window,
};

const HOUR_MS: u64 = 3_600_000;
const HOURS: u64 = 24;
/// The most days that are looked at: as long as the ledger keeps sums by default.
const MAX_DAYS: u64 = 400;

/// The prices before and after.
#[derive(Debug, Clone, Copy)]
pub struct PriceChange<'p> {
    /// Those that were counted with.
    pub old: &'p Prices,
    /// Those that hold now.
    pub new: &'p Prices,
}

impl PriceChange<'_> {
    /// True if no price file differs.
    pub fn is_none(&self) -> bool {
        let (old, new) = (self.old.files(), self.new.files());
        old.len() == new.len() && old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(old, new))
    }

    /// What so many units of a model cost on a day, before and after.
    fn costs(&self, key: &UsageKey, counters: &Counters, day: Day, currency: Currency) -> Costs {
        let cost = |prices: &Prices| {
            let price =
                prices.find(&key.provider, &key.model, day).filter(|price| price.currency == currency);
            let pico = price.map_or(0, |price| price.cost(counters, key.context).pico);
            i128::try_from(pico).unwrap_or(i128::MAX)
        };
        Costs { old: cost(self.old), new: cost(self.new) }
    }
}

impl LimitStates {
    /// Corrects the limits of cost: all of them, or none. Returns the number of amounts that changed; none if the limits are no
    /// longer those that serve once all is known, since their windows may be others by then.
    pub async fn correct(
        &self,
        store: &Store,
        (limits, are_current): (&Limits, impl Fn() -> bool),
        change: PriceChange<'_>,
        now_ms: u64,
    ) -> Result<Option<usize>, StoreError> {
        let mut all = Vec::new();
        for limit in limits.all().iter().filter(|limit| is_corrected(limit)) {
            all.push((limit, costs(store, limit, change, now_ms).await?));
        }
        if !are_current() {
            return Ok(None);
        }
        Ok(Some(all.iter().map(|(limit, costs)| self.apply(limit, costs, now_ms)).sum()))
    }

    fn apply(&self, limit: &Arc<Limit>, costs: &HashMap<String, Costs>, now_ms: u64) -> usize {
        let (state, terms) = (self.state(limit), take::terms(limit, limit.amount));
        let mut corrected = 0;
        for (key, costs) in costs.iter().filter(|(_, costs)| costs.old != costs.new) {
            let key: Arc<str> = Arc::from(key.as_str());
            let mut shard = state.shard_of(&key);
            let counter = &mut shard.changed(&key).counter;
            let used = counter.balance(&terms, now_ms).used;
            counter.correct(&terms, now_ms, costs.correction(used));
            corrected += 1;
        }
        corrected
    }
}

fn is_corrected(limit: &Limit) -> bool {
    let is_kept = matches!(limit.window, Some(Window::Calendar { .. } | Window::Total));
    matches!(limit.measure, Measure::Cost(_)) && is_kept && limit.filter.caller.token.is_empty()
}

/// The cost of the same usage, before and after a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Costs {
    old: i128,
    new: i128,
}

impl Costs {
    fn add(&mut self, other: Self) {
        self.old = self.old.saturating_add(other.old);
        self.new = self.new.saturating_add(other.new);
    }

    /// What `counted` is corrected by. The ledger may have usage that the limit did not count, as from before it was written: so
    /// what it counted changes in the same proportion. What had no price is added.
    fn correction(self, counted: i128) -> i128 {
        if self.old == 0 {
            return self.new;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "15 digits of money are enough"
        )]
        let corrected = (counted as f64 * (self.new as f64 / self.old as f64)).round() as i128;
        corrected.saturating_sub(counted)
    }
}

/// The costs of the present window of each amount, by its key.
async fn costs(
    store: &Store,
    limit: &Limit,
    change: PriceChange<'_>,
    now_ms: u64,
) -> Result<HashMap<String, Costs>, StoreError> {
    let (Some(window), Measure::Cost(currency)) = (&limit.window, limit.measure) else {
        return Ok(HashMap::new());
    };
    let names = names(store, &limit.filter).await?;
    let segments = days(window.span(now_ms).start_ms / HOUR_MS, now_ms / HOUR_MS + 1);
    let mut costs: HashMap<String, Costs> = HashMap::new();
    let each = |segment: usize, key: &UsageKey, sums: &crate::store::UsageSums| {
        if is_for(&limit.filter, key, &names) {
            let day = Day(u32::try_from(segments[segment].from / HOURS).unwrap_or(u32::MAX));
            costs.entry(key_of(limit, key)).or_default().add(change.costs(
                key,
                &sums.counters,
                day,
                currency,
            ));
        }
    };
    store.sum_usage(RollUps::Hours, &segments, &UsageFilter::default(), each).await?;
    Ok(costs)
}

/// The days of a range of hours, each as its hours: prices are those of a day.
fn days(from: u64, until: u64) -> Vec<UsageSegment> {
    let first = from.max(until.saturating_sub(MAX_DAYS * HOURS));
    let mut segments = Vec::new();
    let mut from = first;
    while from < until {
        let next = ((from / HOURS + 1) * HOURS).min(until);
        segments.push(UsageSegment { from, until: next });
        from = next;
    }
    segments
}

/// The names of users by id, if the filter asks for names.
async fn names(store: &Store, filter: &LimitFilter) -> Result<BTreeMap<String, String>, StoreError> {
    if filter.caller.user.is_any() {
        return Ok(BTreeMap::new());
    }
    Ok(store.users().await?.into_iter().map(|user| (user.id.to_string(), user.name)).collect())
}

/// True if a limit is for what a row of the ledger has.
fn is_for(filter: &LimitFilter, key: &UsageKey, names: &BTreeMap<String, String>) -> bool {
    let group = GroupName::new(&key.group);
    let owner = match &*key.key_owner {
        "" => KeyOwner::Nobody,
        owner if *owner == *key.user => KeyOwner::Own,
        _ => KeyOwner::Shared,
    };
    let in_group = match &group {
        Some(group) => filter.caller.group.matches(group.as_str()),
        None => filter.caller.group.globs().is_empty(),
    };
    let name = names.get(&*key.user).map_or("", String::as_str);
    let is_its_key = match filter.key {
        None => true,
        Some(KeyValue::Own) => owner == KeyOwner::Own,
        Some(KeyValue::Shared) => owner == KeyOwner::Shared,
    };
    is_its_key
        && in_group
        && (filter.caller.user.is_any() || filter.caller.user.matches(name))
        && filter.provider.matches(&key.provider)
        && filter.endpoint.matches(&key.endpoint)
        && filter.matches_model(Some(&key.model))
}

/// The key of the amount that a row of the ledger counts in.
fn key_of(limit: &Limit, key: &UsageKey) -> String {
    let part = |per: &Per| match per {
        Per::User => &*key.user,
        Per::Token => &*key.token,
        Per::Group => &*key.group,
        Per::Provider => &*key.provider,
        Per::Model => &*key.model,
        Per::All => "",
    };
    limit.per.iter().map(part).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_corrected_in_proportion() {
        let check = |old: i128, new: i128, counted: i128, expected: i128| {
            assert_eq!(Costs { old, new }.correction(counted), expected, "{old} {new} {counted}");
        };
        check(100, 200, 100, 100);
        check(100, 40, 100, -60);
        // The ledger has more than the limit counted.
        check(300, 120, 100, -60);
        check(0, 50, 0, 50);
        check(100, 0, 70, -70);
        check(100, 100, 70, 0);
    }

    #[test]
    fn days_cover_the_hours_once() {
        let check = |from: u64, until: u64, expected: &[(u64, u64)]| {
            let found: Vec<_> = days(from, until).iter().map(|one| (one.from, one.until)).collect();
            assert_eq!(found, expected, "{from} {until}");
        };
        check(0, 0, &[]);
        check(23, 25, &[(23, 24), (24, 25)]);
        check(24, 48, &[(24, 48)]);
        check(5, 50, &[(5, 24), (24, 48), (48, 50)]);
        assert_eq!(days(0, 1_000_000).len(), 401);
    }
}
