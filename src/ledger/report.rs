//! Reports: sums by dimensions and parts of time, the greatest first, with the cost under the prices of this moment.
//!
//! The store sums by key; groups and prices come afterwards, so that money is never stored and a corrected price corrects
//! history. It guarantees that the parts of a report add up to its total, and that memory is bounded by the groups and not
//! by the keys, which users multiply. Read next: `range`; `store::usage`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    model_names::{self, OTHER},
    range::{Hours, Part, Slice, slices},
    visible_tokens::VisibleTokens,
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
    fn of(self, key: &UsageKey) -> &Arc<str> {
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

/// The most groups that a report keeps apart, shown or not: about 30 MB. Those that it finds after them are one.
const MAX_GROUPS: usize = 50_000;
/// The most models without a price that are named; of each provider, the others are one.
const MAX_UNPRICED: usize = 1000;
/// The most prices that are kept while a report is made.
const MAX_FOUND: usize = 10_000;

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
    /// The tokens whose ids are shown. None: all.
    pub visible: Option<VisibleTokens>,
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
    report_within(store, prices, query, MAX_GROUPS).await
}

async fn report_within(
    store: &Store,
    prices: &Prices,
    query: &UsageQuery,
    max_groups: usize,
) -> Result<Report, StoreError> {
    let mut fold = Fold::new(query, prices);
    let price_days = fold.price_days();
    let whole = [query.hours];
    let read = each_slice(store, &query.filter, &whole, &price_days, |slice, key, sums| {
        fold.add(slice, key, sums, max_groups);
    });
    read.await?;
    let ranking = Ranking::new(&fold.sums, &fold.groups, query.top);
    let mut report = Report { unpriced: most(std::mem::take(&mut fold.unpriced)), ..Report::default() };
    let cells = match &query.parts {
        None => {
            let groups = std::mem::take(&mut fold.sums);
            let mut cells =
                ranking.folded(groups.into_iter().enumerate().map(|(group, priced)| ((0, group), priced)));
            cells.entry((0, ranking.shown.len())).or_default().add(&fold.rest);
            cells
        }
        Some(parts) => {
            let hours: Vec<Hours> = parts.iter().map(|part| part.hours).collect();
            let mut cells = BTreeMap::<(usize, usize), Priced>::new();
            let read = each_slice(store, &query.filter, &hours, &price_days, |slice, key, sums| {
                // A group beyond the bound, or newer than the ranking, is one of the others.
                let place = fold.group(key).map_or(ranking.shown.len(), |group| ranking.places[group]);
                let own = fold.priced(slice, key, sums);
                cells.entry((slice.part, place)).or_default().add(&own);
            });
            read.await?;
            cells
        }
    };
    for cell in cells.values() {
        report.total.add(cell);
    }
    report.rows = rows(cells, &ranking, &fold.groups, query.parts.as_deref());
    Ok(report)
}

/// Calls `each` with the sums of all slices of the parts by key.
async fn each_slice(
    store: &Store,
    filter: &UsageFilter,
    parts: &[Hours],
    price_days: &[u64],
    mut each: impl FnMut(&Slice, &UsageKey, &UsageSums),
) -> Result<(), StoreError> {
    let slices = slices(parts, price_days);
    for (roll_ups, slices) in [(RollUps::Days, &slices.days), (RollUps::Hours, &slices.hours)] {
        let segments: Vec<UsageSegment> = slices.iter().map(|slice| slice.segment).collect();
        store
            .sum_usage(roll_ups, &segments, filter, |index, key, sums| each(&slices[index], key, sums))
            .await?;
    }
    Ok(())
}

/// The values of a group.
type Values = Vec<Arc<str>>;

/// A provider, a model and a day.
type PriceAsked = (Arc<str>, Arc<str>, u64);

/// The groups of a query, and the prices that were looked up.
struct Fold<'q> {
    query: &'q UsageQuery,
    prices: &'q Prices,
    /// The values of each group, and their sums.
    groups: Vec<Values>,
    sums: Vec<Priced>,
    /// The sums of all groups beyond the bound.
    rest: Priced,
    /// The group of values.
    known: HashMap<Values, usize>,
    /// Tokens without a price by provider and model.
    unpriced: BTreeMap<(Arc<str>, Arc<str>), u64>,
    found: HashMap<PriceAsked, Option<&'q Price>>,
}

impl<'q> Fold<'q> {
    fn new(query: &'q UsageQuery, prices: &'q Prices) -> Self {
        Self {
            query,
            prices,
            groups: Vec::new(),
            sums: Vec::new(),
            rest: Priced::default(),
            known: HashMap::new(),
            unpriced: BTreeMap::new(),
            found: HashMap::new(),
        }
    }

    /// The group of a key, if there is one.
    fn group(&self, key: &UsageKey) -> Option<usize> {
        self.known.get(&self.values(key)).copied()
    }

    fn values(&self, key: &UsageKey) -> Values {
        let value = |dimension: &Dimension| match (dimension, &self.query.visible) {
            (Dimension::Token, Some(visible)) => visible.shown(&key.token).into(),
            _ => Arc::clone(dimension.of(key)),
        };
        self.query.by.iter().map(value).collect()
    }

    /// Adds sums to the group of their key.
    fn add(&mut self, slice: &Slice, key: &UsageKey, sums: &UsageSums, max_groups: usize) {
        let values = self.values(key);
        let group = match self.known.get(&values) {
            Some(group) => Some(*group),
            None if self.groups.len() >= max_groups => None,
            None => {
                self.groups.push(values.clone());
                self.sums.push(Priced::default());
                self.known.insert(values, self.groups.len() - 1);
                Some(self.groups.len() - 1)
            }
        };
        let own = self.priced(slice, key, sums);
        if own.unpriced_tokens > 0 {
            let mut named = (Arc::clone(&key.provider), Arc::clone(&key.model));
            if self.unpriced.len() >= MAX_UNPRICED && !self.unpriced.contains_key(&named) {
                named.1 = OTHER.into();
            }
            let tokens = self.unpriced.entry(named).or_default();
            *tokens = tokens.saturating_add(own.unpriced_tokens);
        }
        group.map_or(&mut self.rest, |group| &mut self.sums[group]).add(&own);
    }

    /// The days within the range from which other prices hold.
    fn price_days(&self) -> Vec<u64> {
        let days = self.prices.entries().map(|entry| u64::from(entry.price.from.0));
        let mut days: Vec<u64> = days.filter(|day| *day > 0 && *day * 24 < self.query.hours.until).collect();
        days.sort_unstable();
        days.dedup();
        // Of those before the range, the last one stands for all.
        let before = days.iter().filter(|day| **day * 24 <= self.query.hours.from).count();
        days.split_off(before.saturating_sub(1))
    }

    /// Sums with their cost.
    fn priced(&mut self, slice: &Slice, key: &UsageKey, sums: &UsageSums) -> Priced {
        let day = Day(u32::try_from(slice.price_day).unwrap_or(u32::MAX));
        if self.found.len() >= MAX_FOUND {
            self.found.clear();
        }
        let asked = (Arc::clone(&key.provider), Arc::clone(&key.model), slice.price_day);
        let find = || self.prices.find(&key.provider, &key.model, day);
        let price = *self.found.entry(asked).or_insert_with(find);
        Priced::new(sums, price, key.context)
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
    fn new(groups: &[Priced], values: &[Values], top: usize) -> Self {
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
    groups: &[Values],
    parts: Option<&[Part]>,
) -> Vec<Row> {
    let filled = cells.into_iter().filter(|(_, priced)| priced.sums.requests > 0);
    let row = |((part, place), priced): ((usize, usize), Priced)| {
        let values = ranking.shown.get(place).map(|group| &groups[*group]);
        Row {
            part: parts.map(|parts| parts[part].label.clone()),
            values: values.map(|values| values.iter().map(ToString::to_string).collect()),
            priced,
        }
    };
    filled.map(row).collect()
}

fn most(unpriced: BTreeMap<(Arc<str>, Arc<str>), u64>) -> Vec<(String, String, u64)> {
    let mut all: Vec<_> = unpriced
        .into_iter()
        .map(|((provider, model), tokens)| (provider.to_string(), model.to_string(), tokens))
        .collect();
    all.sort_by_key(|one| Reverse(one.2));
    all
}

/// The name of the groups that are not shown. No model has it: see `model_names`.
pub const REST: &str = model_names::REST;
/// The word of tables and filters for no value. No value has it: see `model_names`.
pub const NONE: &str = model_names::NONE;

#[cfg(test)]
mod tests;
