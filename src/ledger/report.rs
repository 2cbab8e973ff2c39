//! Reports: sums by dimensions and parts of time, the greatest first, with the cost under the prices of this moment.
//!
//! The store sums by key; names, groups and prices come afterwards, so that money is never stored and a corrected price
//! corrects history. It guarantees that the parts of a report add up to its total. Read next: `range`; `store::usage`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use super::{
    model_names::OTHER,
    range::{Hours, Part, Slice, slices},
};
use crate::{
    compile::{Price, Prices},
    day::Day,
    money::Amounts,
    store::{RollUps, Store, StoreError, UsageFilter, UsageKey, UsageSegment, UsageSums},
    usage::{Counter, Counters},
};

/// A dimension by which usage is grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// The caller.
    User,
    /// The caller's token.
    Token,
    /// The caller's group.
    Group,
    /// The provider.
    Provider,
    /// The endpoint.
    Endpoint,
    /// The model of the answer, else of the request.
    Model,
    /// The owner of the credential that was used.
    KeyOwner,
}

impl Dimension {
    /// All dimensions.
    pub const ALL: [Self; 7] =
        [Self::User, Self::Token, Self::Group, Self::Provider, Self::Endpoint, Self::Model, Self::KeyOwner];

    /// Its name in queries and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Group => "group",
            Self::Provider => "provider",
            Self::Endpoint => "endpoint",
            Self::Model => "model",
            Self::KeyOwner => "key_owner",
        }
    }

    /// The value that a key has.
    pub fn of(self, key: &UsageKey) -> &str {
        match self {
            Self::User => &key.user,
            Self::Token => &key.token,
            Self::Group => &key.group,
            Self::Provider => &key.provider,
            Self::Endpoint => &key.endpoint,
            Self::Model => &key.model,
            Self::KeyOwner => &key.key_owner,
        }
    }
}

/// A question to the ledger.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// The hours that are asked for.
    pub hours: Hours,
    /// Their parts; none for one sum over all.
    pub parts: Option<Vec<Part>>,
    /// The dimensions of a row. Without any, there is one row.
    pub by: Vec<Dimension>,
    /// The number of groups that are shown; the others are summed.
    pub top: usize,
    /// The values that dimensions are restricted to.
    pub filter: UsageFilter,
}

/// Sums with their cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Priced {
    /// The sums.
    pub sums: UsageSums,
    /// The cost, by currency.
    pub cost: Amounts,
    /// The tokens that have no price.
    pub unpriced_tokens: u64,
}

/// A row of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The label of the part of time.
    pub part: Option<String>,
    /// The values of the dimensions; none for the sum of the groups that are not shown.
    pub values: Option<Vec<String>>,
    /// The sums.
    pub priced: Priced,
}

/// The answer to a [`UsageQuery`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The rows: by part, then the groups with the most tokens first.
    pub rows: Vec<Row>,
    /// The sum of all rows.
    pub total: Priced,
    /// Tokens without a price by provider and model, the most first.
    pub unpriced: Vec<(String, String, u64)>,
}

impl Priced {
    fn add(&mut self, other: &Self) {
        self.sums.add(&other.sums);
        self.cost.add_all(&other.cost);
        self.unpriced_tokens = self.unpriced_tokens.saturating_add(other.unpriced_tokens);
    }

    /// Sums of one key and slice under a price.
    pub fn new(sums: &UsageSums, price: Option<&Price>, context: u64) -> Self {
        let mut cost = Amounts::default();
        let unpriced_tokens = unpriced(&sums.counters, price, context);
        if let Some(price) = price
            && sums.counters != Counters::ZERO
        {
            cost.add(price.cost(&sums.counters, context));
        }
        Self { sums: *sums, cost, unpriced_tokens }
    }
}

/// The tokens that a price says nothing about.
fn unpriced(counters: &Counters, price: Option<&Price>, context: u64) -> u64 {
    let rates = price.map(|price| price.rates(context));
    let has_none = |counter: Counter| rates.is_none_or(|rates| rates.rate(counter).is_none());
    let tokens = counters.iter().filter(|(counter, _)| counter.is_tokens() && has_none(*counter));
    tokens.fold(0, |sum, (_, value)| sum.saturating_add(value))
}

/// Answers a question.
pub async fn report(store: &Store, prices: &Prices, query: &UsageQuery) -> Result<Report, StoreError> {
    let keys: HashMap<i64, UsageKey> = store.usage_keys(&query.filter).await?.into_iter().collect();
    let ids: Option<Vec<i64>> = (!query.filter.is_empty()).then(|| keys.keys().copied().collect());
    let mut fold = Fold::new(query, &keys, prices);
    let mut unpriced = BTreeMap::<(&str, &str), u64>::new();
    let mut groups = vec![Priced::default(); fold.groups.len()];
    let whole = [query.hours];
    each_slice(store, &whole, &fold.price_days(), ids.as_deref(), |slice, id, sums| {
        let Some((group, key, own)) = fold.priced(slice, id, sums) else { return };
        if own.unpriced_tokens > 0 {
            *unpriced.entry((&key.provider, &key.model)).or_default() += own.unpriced_tokens;
        }
        groups[group].add(&own);
    })
    .await?;
    let ranking = Ranking::new(&groups, &fold.groups, query.top);
    let mut report = Report { unpriced: most(unpriced), ..Report::default() };
    for group in &groups {
        report.total.add(group);
    }
    let cells = match &query.parts {
        None => ranking.folded(groups.into_iter().enumerate().map(|(group, priced)| ((0, group), priced))),
        Some(parts) => {
            let hours: Vec<Hours> = parts.iter().map(|part| part.hours).collect();
            let mut cells = BTreeMap::<(usize, usize), Priced>::new();
            each_slice(store, &hours, &fold.price_days(), ids.as_deref(), |slice, id, sums| {
                let Some((group, _, own)) = fold.priced(slice, id, sums) else { return };
                cells.entry((slice.part, ranking.places[group])).or_default().add(&own);
            })
            .await?;
            cells
        }
    };
    report.rows = rows(cells, &ranking, &fold.groups, query.parts.as_deref());
    Ok(report)
}

/// Calls `each` with the sums of all slices of the parts by key.
async fn each_slice(
    store: &Store,
    parts: &[Hours],
    price_days: &[u64],
    ids: Option<&[i64]>,
    mut each: impl FnMut(&Slice, i64, &UsageSums),
) -> Result<(), StoreError> {
    let slices = slices(parts, price_days);
    for (roll_ups, slices) in [(RollUps::Days, &slices.days), (RollUps::Hours, &slices.hours)] {
        let segments: Vec<UsageSegment> = slices.iter().map(|slice| slice.segment).collect();
        store.sum_usage(roll_ups, &segments, ids, |index, id, sums| each(&slices[index], id, sums)).await?;
    }
    Ok(())
}

/// The groups of a query, and the prices that were looked up.
struct Fold<'q> {
    keys: &'q HashMap<i64, UsageKey>,
    prices: &'q Prices,
    hours: Hours,
    /// The values of each group.
    groups: Vec<Vec<&'q str>>,
    /// The group of each key.
    group_of: HashMap<i64, usize>,
    found: HashMap<(&'q str, &'q str, u64), Option<&'q Price>>,
}

impl<'q> Fold<'q> {
    fn new(query: &UsageQuery, keys: &'q HashMap<i64, UsageKey>, prices: &'q Prices) -> Self {
        let (mut groups, mut group_of) = (Vec::new(), HashMap::new());
        let mut known = HashMap::<Vec<&str>, usize>::new();
        for (id, key) in keys {
            let values: Vec<&str> = query.by.iter().map(|dimension| dimension.of(key)).collect();
            let group = *known.entry(values).or_insert_with_key(|values| {
                groups.push(values.clone());
                groups.len() - 1
            });
            group_of.insert(*id, group);
        }
        Self { keys, prices, hours: query.hours, groups, group_of, found: HashMap::new() }
    }

    /// The days within the range from which other prices hold.
    fn price_days(&self) -> Vec<u64> {
        let days = self.prices.entries().iter().map(|entry| u64::from(entry.price.from.0));
        let mut days: Vec<u64> = days.filter(|day| *day > 0 && *day * 24 < self.hours.until).collect();
        days.sort_unstable();
        days.dedup();
        // Of those before the range, the last one stands for all.
        let before = days.iter().filter(|day| **day * 24 <= self.hours.from).count();
        days.split_off(before.saturating_sub(1))
    }

    /// The group and the key of sums, and the sums with their cost. `None` for a key that is newer than the query.
    fn priced(&mut self, slice: &Slice, id: i64, sums: &UsageSums) -> Option<(usize, &'q UsageKey, Priced)> {
        let key = self.keys.get(&id)?;
        let day = Day(u32::try_from(slice.price_day).unwrap_or(u32::MAX));
        let (prices, provider, model) = (self.prices, &*key.provider, &*key.model);
        let price = *self
            .found
            .entry((provider, model, slice.price_day))
            .or_insert_with(|| prices.find(provider, model, day));
        Some((self.group_of[&id], key, Priced::new(sums, price, key.context)))
    }
}

/// The order of groups, by place. The place after the last shown group is that of all others.
struct Ranking {
    /// The place of each group.
    places: Vec<usize>,
    /// The group at each place.
    shown: Vec<usize>,
}

impl Ranking {
    fn new(groups: &[Priced], values: &[Vec<&str>], top: usize) -> Self {
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.retain(|group| groups[*group].sums.requests > 0);
        order.sort_by(|one, other| {
            let size = |group: usize| (groups[group].sums.counters.tokens(), groups[group].sums.requests);
            size(*other).cmp(&size(*one)).then_with(|| values[*one].cmp(&values[*other]))
        });
        order.truncate(top);
        let mut places = vec![order.len(); groups.len()];
        for (place, group) in order.iter().enumerate() {
            places[*group] = place;
        }
        Self { places, shown: order }
    }

    fn folded(
        &self,
        groups: impl Iterator<Item = ((usize, usize), Priced)>,
    ) -> BTreeMap<(usize, usize), Priced> {
        let mut cells = BTreeMap::<(usize, usize), Priced>::new();
        for ((part, group), priced) in groups {
            cells.entry((part, self.places[group])).or_default().add(&priced);
        }
        cells
    }
}

fn rows(
    cells: BTreeMap<(usize, usize), Priced>,
    ranking: &Ranking,
    groups: &[Vec<&str>],
    parts: Option<&[Part]>,
) -> Vec<Row> {
    let filled = cells.into_iter().filter(|(_, priced)| priced.sums.requests > 0);
    let row = |((part, place), priced): ((usize, usize), Priced)| {
        let values = ranking.shown.get(place).map(|group| &groups[*group]);
        Row {
            part: parts.map(|parts| parts[part].label.clone()),
            values: values.map(|values| values.iter().map(|value| (*value).to_owned()).collect()),
            priced,
        }
    };
    filled.map(row).collect()
}

fn most(unpriced: BTreeMap<(&str, &str), u64>) -> Vec<(String, String, u64)> {
    let mut all: Vec<_> = unpriced
        .into_iter()
        .map(|((provider, model), tokens)| (provider.to_owned(), model.to_owned(), tokens))
        .collect();
    all.sort_by_key(|one| Reverse(one.2));
    all
}

/// The name of the groups that are not shown, and of models beyond the bound.
pub const OTHERS: &str = OTHER;

#[cfg(test)]
mod tests;
