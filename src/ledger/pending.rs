//! Usage that has not been written yet: sums by hour and dimensions, and single exchanges. Pure.
//!
//! While the store fails, further records only add to the sums, so that the bound holds long. Only the first writing try
//! takes a batch out; one that was tried is never changed.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::{DAY_MS, PriceTier, model_names::ModelNames};
use crate::{
    access_record::AccessRecord,
    fault::FaultKind,
    meter::Ratios,
    name::{GroupName, Owner, TokenId},
    numbers::millis,
    store::{Exchange, UsageBatch, UsageKey, UsageSums},
    usage::{Counters, NotCounted},
};

/// Sums that are held: about 10 MB.
pub(super) const MAX_SUMS: usize = 20_000;
/// Single exchanges that are held: about 10 MB.
pub(super) const MAX_EXCHANGES: usize = 20_000;
/// Single exchanges that room is kept for.
const KEPT_CAPACITY: usize = 256;
/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// The usage of one access record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) hour: u64,
    pub(super) sums: UsageSums,
    pub(super) exchange: Exchange,
}

/// The room that an entry found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// All of it is held.
    Enough,
    /// An older single exchange made room. The sums have both.
    NotForExchange,
    /// It is held nowhere.
    None,
}

/// Entries that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    sums: HashMap<(u64, UsageKey), UsageSums, RandomState>,
    exchanges: VecDeque<Exchange>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The requests in the sums.
    pub(super) fn requests(&self) -> u64 {
        self.sums.values().map(|sums| sums.requests).sum()
    }

    pub(super) fn add(&mut self, entry: Entry, keeps_exchange: bool) -> Room {
        let place = (entry.hour, entry.exchange.key.clone());
        let is_full = self.sums.len() >= MAX_SUMS;
        match self.sums.get_mut(&place) {
            Some(sums) => sums.add(&entry.sums),
            None if is_full => return Room::None,
            None => {
                self.sums.insert(place, entry.sums);
            }
        }
        if !keeps_exchange {
            return Room::Enough;
        }
        self.exchanges.push_back(entry.exchange);
        if self.exchanges.len() <= MAX_EXCHANGES {
            return Room::Enough;
        }
        self.exchanges.pop_front();
        Room::NotForExchange
    }

    /// Takes all of it out. Room for about as many single exchanges stays, so that they are not moved while they come.
    pub(super) fn take(&mut self) -> Self {
        let exchanges = VecDeque::with_capacity(self.exchanges.len().min(KEPT_CAPACITY));
        std::mem::replace(self, Self { exchanges, ..Self::default() })
    }

    /// All of it as a batch.
    pub(super) fn into_batch(self, number: u64) -> UsageBatch {
        let hours = self.sums.into_iter().map(|((hour, key), sums)| (hour, key, sums)).collect();
        UsageBatch { number, hours, exchanges: self.exchanges.into() }
    }
}

/// The usage of a record. `None` unless a known user called a provider: strangers cannot grow the ledger.
pub(super) fn entry(record: &AccessRecord, names: &mut ModelNames, tier: &PriceTier) -> Option<Entry> {
    let (user, provider) = (record.user.as_ref()?, record.provider.as_ref()?);
    let (ended_at_ms, usage) = (record.ended_at_ms(), record.usage.as_deref());
    let day = ended_at_ms / DAY_MS;
    let model = match usage.map(|usage| (usage.model.as_deref(), usage.request_model.as_deref())) {
        Some((Some(answered), _)) => names.answered(day, user.as_str(), provider.as_str(), answered),
        // Else nobody could ask which model fails.
        Some((None, Some(asked))) => names.asked(day, user.as_str(), provider.as_str(), asked),
        Some((None, None)) | None => Arc::default(),
    };
    let (counters, estimated) =
        usage.map_or((Counters::ZERO, Counters::ZERO), |usage| (usage.counters, usage.estimated));
    let estimated_prompt = estimated.prompt_tokens();
    let estimated_answer = estimated.tokens() - estimated_prompt;
    let text = |text: Option<Arc<str>>| text.unwrap_or_default();
    let key = UsageKey {
        user: user.text(),
        token: text(record.token.as_ref().map(TokenId::text)),
        group: text(record.group.as_ref().map(GroupName::text)),
        provider: provider.text(),
        endpoint: text(record.endpoint.clone()),
        context: tier(provider.as_str(), &model, day, counters.prompt_tokens()),
        model,
        key_owner: text(record.key_owner.as_ref().map(Owner::text)),
    };
    let outcome = record.outcome();
    let not_counted = usage.and_then(|usage| usage.not_counted);
    let mut sums =
        UsageSums { requests: 1, counters, estimated_prompt, estimated_answer, ..Default::default() };
    sums.count_outcome(outcome);
    sums.not_counted = u64::from(not_counted.is_some());
    if let Some(usage) = usage {
        let [prompt, answer] = Ratios::text(usage);
        (sums.prompt_bytes, sums.prompt_text_tokens) = (prompt.bytes, prompt.tokens);
        (sums.answer_bytes, sums.answer_text_tokens) = (answer.bytes, answer.tokens);
    }
    let exchange = Exchange {
        number: 0,
        ended_at_ms,
        duration_ms: millis(record.duration),
        first_byte_ms: record.first_byte.map(millis),
        key,
        request_id: record.request_id.clone(),
        status: record.status.map(|status| status.as_u16()),
        outcome: outcome.as_str().into(),
        fault: record.fault.map(FaultKind::code).map(Into::into),
        not_counted: not_counted.map(NotCounted::code).map(Into::into),
        counters,
        estimated_prompt,
        estimated_answer,
    };
    Some(Entry { hour: ended_at_ms / HOUR_MS, sums, exchange })
}
