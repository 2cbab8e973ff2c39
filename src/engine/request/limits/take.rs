//! The amounts of a call: what it takes of each limit before it is sent, and what it used at its end.

use std::sync::Arc;

use super::{
    call::{BodyFacts, Selected, shortened},
    estimate::{MAX_OUTPUT_TOKENS, NoCap, Outputs, Reserve, Side, reserve_tokens},
    terms::{Admits, Over, Terms},
};
use crate::{
    base::{
        day::Day,
        fault::{Fault, FaultKind},
        name::GroupName,
        usage::{Counter, Counters},
    },
    language::{
        compile::{CallFacts, Limit, Limits, Measure, Price, Prices},
        syntax::{NoPriceValue, OverValue, Per, ReserveValue},
    },
    request::{
        access_record::Usage,
        meter::ratios::{Ratios, TextSum},
    },
};

/// What a call takes of a limit.
#[derive(Debug)]
pub struct Take {
    /// The limit.
    pub limit: Arc<Limit>,
    /// The key of the amount that it is taken of: what `per` says, of this call.
    pub key: Arc<str>,
    /// What the limit says to this caller.
    pub terms: Terms,
    /// What is reserved.
    pub asked: i128,
}

impl Take {
    /// True if it is a place among running calls.
    pub fn is_concurrent(&self) -> bool {
        self.limit.measure == Measure::Concurrent
    }

    /// Takes the call in the window that its limit has among these.
    pub fn move_to_window_of(&mut self, limits: &Limits) {
        let present = limits.get(self.limit.id.as_str());
        let present = present.filter(|limit| limit.counter_id == self.limit.counter_id);
        if let Some(window) = present.and_then(|limit| limit.window.as_ref()) {
            self.terms.window.clone_from(window);
        }
    }
}

/// What is learned from ended calls: bytes of a body for each token of a prompt, and tokens of answers.
#[derive(Debug, Default)]
pub struct Learned {
    /// Bytes of bodies by tokens, and bytes of text by tokens of answers.
    pub ratios: Ratios,
    /// Tokens of answers.
    pub outputs: Outputs,
}

/// What takes are reckoned with.
#[derive(Debug, Clone, Copy)]
pub struct Reckoning<'r> {
    /// The prices of models.
    pub prices: &'r Prices,
    /// Today.
    pub day: Day,
    /// What is learned.
    pub learned: &'r Learned,
}

impl Selected {
    /// What the call takes of each limit, by id. `extra` is what a user has beyond the amount of a limit, for now.
    pub fn takes(
        &self,
        call: &CallFacts<'_>,
        body: &BodyFacts,
        reckoning: Reckoning<'_>,
        extra: impl Fn(&Limit) -> i128,
    ) -> Result<Vec<Take>, Fault> {
        let mut takes = Vec::with_capacity(self.limits().len());
        for limit in self.for_body(body) {
            let Some(amount) = limit.amount_of(call.user_name) else { continue };
            let asked = match asked(limit, call, body, reckoning) {
                // A limit that only warns refuses nothing, whatever it does not know.
                Err(_) if limit.over == OverValue::Warn => Some(0),
                asked => asked?,
            };
            let Some(asked) = asked else { continue };
            let terms = terms(limit, amount.saturating_add(extra(limit)));
            // What was learned of other calls keeps no call out for ever.
            let asked = if limit.reserve == ReserveValue::Max { asked } else { asked.min(terms.amount) };
            takes.push(Take {
                key: key(limit, call, body.models().find(|model| limit.filter.matches_model(Some(model)))),
                terms,
                limit: Arc::clone(limit),
                asked,
            });
        }
        Ok(takes)
    }
}

/// What a limit says to a caller who has this amount.
pub fn terms(limit: &Limit, amount: i128) -> Terms {
    let is_open =
        limit.measure == Measure::Bytes || limit.measure.needs_usage() && limit.reserve == ReserveValue::None;
    Terms {
        window: limit.window.clone().unwrap_or(crate::base::window::Window::Total),
        amount,
        over: match limit.over {
            OverValue::Reject => Over::Reject,
            OverValue::Warn => Over::Warn,
        },
        admits: if is_open { Admits::WhilePositive } else { Admits::Fits },
    }
}

/// The key of the amount that a call takes of: what `per` says, joined by spaces. A model comes last, and may have spaces.
pub fn key(limit: &Limit, call: &CallFacts<'_>, model: Option<&str>) -> Arc<str> {
    let part = |per: &Per| match per {
        Per::User => call.user.text(),
        Per::Token => call.token.text(),
        Per::Group => call.group.map_or_else(|| Arc::from(""), GroupName::text),
        Per::Provider => call.provider.text(),
        Per::Model => Arc::from(model.unwrap_or_default()),
        Per::All => Arc::from(""),
    };
    match limit.per.as_slice() {
        [] => Arc::from(""),
        [one] => part(one),
        several => several.iter().map(part).collect::<Vec<_>>().join(" ").into(),
    }
}

/// What a call takes of a limit. None if the limit does not count it.
fn asked(
    limit: &Limit,
    call: &CallFacts<'_>,
    body: &BodyFacts,
    reckoning: Reckoning<'_>,
) -> Result<Option<i128>, Fault> {
    let side = match limit.measure {
        Measure::Requests | Measure::Concurrent => return Ok(Some(1)),
        Measure::Bytes => return Ok(Some(0)),
        Measure::Cost(_) => return cost_asked(limit, call, body, reckoning),
        Measure::InputTokens => Side::Input,
        Measure::OutputTokens => Side::Output,
        Measure::Tokens => Side::Both,
    };
    let prompt = prompt(limit, call, body, reckoning.learned)?;
    tokens(limit, call, body, reckoning.learned, (prompt, side)).map(Some)
}

/// What a call takes of a limit in money: as much as the dearest of its models may cost, since the upstream chooses the one that
/// answers. None if the limit does not count it.
fn cost_asked(
    limit: &Limit,
    call: &CallFacts<'_>,
    body: &BodyFacts,
    reckoning: Reckoning<'_>,
) -> Result<Option<i128>, Fault> {
    let Reckoning { prices, day, learned } = reckoning;
    if body.models().next().is_none() {
        // The answer may name a model.
        return Ok(Some(0));
    }
    let mut greatest = None;
    for model in body.models() {
        let price = match price_of(limit.measure, call.provider.as_str(), model, prices, day) {
            Some(price) => price,
            None if limit.no_price == NoPriceValue::Free => continue,
            None => return Err(no_price(limit, model)),
        };
        let prompt = prompt(limit, call, body, learned)?;
        let output = tokens(limit, call, body, learned, (prompt, Side::Output))?;
        let output = u64::try_from(output).unwrap_or(u64::MAX);
        greatest = greatest.max(Some(cost(price, limit.reserve, prompt, output)));
    }
    Ok(greatest)
}

/// The tokens of the prompt that a call reserves.
fn prompt(limit: &Limit, call: &CallFacts<'_>, body: &BodyFacts, learned: &Learned) -> Result<u64, Fault> {
    match limit.reserve {
        ReserveValue::None => Ok(0),
        ReserveValue::Max if !body.is_exact => Err(no_size(limit)),
        ReserveValue::Max => Ok(body.bytes),
        ReserveValue::Learned => {
            let model = body.model.as_deref().unwrap_or_default();
            Ok(learned.ratios.prompt_tokens(call.provider.as_str(), model, body.bytes))
        }
    }
}

/// The tokens of one side that a call reserves, or of both.
fn tokens(
    limit: &Limit,
    call: &CallFacts<'_>,
    body: &BodyFacts,
    learned: &Learned,
    (prompt, side): (u64, Side),
) -> Result<i128, Fault> {
    let model = body.model.as_deref().unwrap_or_default();
    let p90 = match limit.reserve {
        ReserveValue::Learned => learned.outputs.p90(call.provider.as_str(), model).min(MAX_OUTPUT_TOKENS),
        ReserveValue::None | ReserveValue::Max => 0,
    };
    let cap = if call.counts_answer { body.cap } else { Some(0) };
    reserve_tokens(reserve(limit.reserve), prompt, cap, p90, side).map_err(|NoCap| no_cap(limit, call))
}

fn reserve(value: ReserveValue) -> Reserve {
    match value {
        ReserveValue::None => Reserve::None,
        ReserveValue::Learned => Reserve::Learned,
        ReserveValue::Max => Reserve::Max,
    }
}

/// The fault of a model without a price.
fn no_price(limit: &Limit, model: &str) -> Fault {
    let message = format!(
        "The model `{}` has no price here, and the limit `{}` admits models with a price alone: call another one, or ask the \
         operator of this tollgate for a price",
        shortened(model),
        limit.id
    );
    Fault::new(FaultKind::NoPrice, message)
}

/// The price of a model in the currency that a limit counts.
fn price_of<'p>(
    measure: Measure,
    provider: &str,
    model: &str,
    prices: &'p Prices,
    day: Day,
) -> Option<&'p Price> {
    let Measure::Cost(currency) = measure else { return None };
    prices.find(provider, model, day).filter(|price| price.currency == currency)
}

/// The cost of so many tokens, as far as it can be known before a call.
fn cost(price: &Price, reserve: ReserveValue, prompt: u64, output: u64) -> i128 {
    let mut counters = Counters::ZERO;
    counters.set(Counter::Input, prompt);
    counters.set(Counter::Output, output);
    let pico = match reserve {
        ReserveValue::Max => price.greatest_cost(prompt, output).pico,
        ReserveValue::Learned | ReserveValue::None => price.cost(&counters, price.context(prompt)).pico,
    };
    i128::try_from(pico).unwrap_or(i128::MAX)
}

fn no_cap(limit: &Limit, call: &CallFacts<'_>) -> Fault {
    let help = if call.has_cap {
        "send `max_tokens`, or the key that the vendor has for it"
    } else {
        "this endpoint has no key for that. Ask the operator of this tollgate to leave it out of the limit"
    };
    let message = format!(
        "The request does not bound the tokens of its answer, and the limit `{}` reserves the most that it can use: {help}",
        limit.id
    );
    Fault::new(FaultKind::NoOutputCap, message)
}

fn no_size(limit: &Limit) -> Fault {
    let message = format!(
        "The size of the request's body is not known before it is sent, and the limit `{}` reserves the most that it can use: \
         send `Content-Length`, and no content coding",
        limit.id
    );
    Fault::new(FaultKind::NoOutputCap, message)
}

/// What an ended call used of what a limit counts. `bytes`: those of both bodies. `day`: that on which it began.
pub fn used(
    measure: Measure,
    provider: &str,
    usage: Option<&Usage>,
    bytes: u64,
    (prices, day): (&Prices, Day),
) -> i128 {
    let none = Counters::ZERO;
    let counters = usage.map_or(&none, |usage| &usage.counters);
    match measure {
        Measure::Requests | Measure::Concurrent => 1,
        Measure::Bytes => i128::from(bytes),
        Measure::Tokens => i128::from(counters.tokens()),
        Measure::InputTokens => i128::from(counters.prompt_tokens()),
        Measure::OutputTokens => i128::from(counters.tokens() - counters.prompt_tokens()),
        Measure::Cost(_) => {
            let model = usage.map(Usage::charged_model).unwrap_or_default();
            let requested = usage.and_then(|usage| usage.request_model.as_deref()).unwrap_or_default();
            let price = |model| price_of(measure, provider, model, prices, day);
            let Some(price) = price(model).or_else(|| price(requested)) else { return 0 };
            let cost = price.cost(counters, price.context(counters.prompt_tokens())).pico;
            i128::try_from(cost).unwrap_or(i128::MAX)
        }
    }
}

impl Learned {
    /// Adds estimates to the usage of a call whose answer carries no counts. `body_bytes`: the size of the request's body.
    pub fn estimate(&self, provider: &str, usage: &mut Usage, body_bytes: u64) {
        self.ratios.estimate_by_body(provider, usage, body_bytes);
    }

    /// Learns from an ended call.
    pub fn learn(&mut self, provider: &str, usage: &Usage, body_bytes: u64) {
        let [_, answer] = Ratios::text(usage);
        let is_counted = usage.not_counted.is_none() && !usage.failed && usage.estimated.is_zero();
        if !is_counted {
            return;
        }
        let prompt = TextSum { bytes: body_bytes, tokens: usage.counters.prompt_tokens() };
        let output = usage.counters.tokens() - prompt.tokens;
        // By the requested model: reservations know no other. And for all of the provider: they know none of a call whose body was
        // not read for it.
        let requested = usage.request_model.as_deref().filter(|model| !model.is_empty());
        for model in requested.into_iter().chain([""]) {
            self.ratios.seed(provider, model, prompt, answer);
            if output > 0 {
                self.outputs.learn(provider, model, output);
            }
        }
    }
}
