//! Compiles one price file: reads days, currency, globs and prices, and collects all findings.

use std::{collections::HashSet, sync::Arc};

use super::{MILLION, NamePattern, Price, PriceFile, PriceTest, Rates, Tier, overlaps};
use crate::{
    base::{
        budget::Budget,
        day::Day,
        diag::{Code, Diagnostic, Location, Span},
        money::{Currency, PICO, parse_decimal},
        name::FileName,
        suggest::nearest,
        usage::Counter,
    },
    language::{
        compile::{Compilation, Glob, Located},
        syntax::{self, Parsed},
    },
};

/// The bytes that are kept of each pair of a provider and a model.
const ENTRY_BYTES: usize = 256;
/// The digits after the point of a price for a million units: one unit then costs whole pico-units.
const MILLION_DIGITS: usize = 6;
/// The digits after the point of a price for one unit.
const UNIT_DIGITS: usize = 11;
/// The significant digits of a price: a floating-point number holds them exactly.
const MAX_DIGITS: usize = 15;
/// The greatest price for a million units, and for one.
const MAX_PRICES: (u32, u32) = (100_000, 10_000);
/// In a currency of which one unit is worth little.
const MAX_SMALL_PRICES: (u32, u32) = (1_000_000_000, 5_000_000);
/// The length of the longest model name, in bytes.
const MAX_NAME: usize = 256;

/// Compiles a file. `built_in`: the directory lacks it.
pub fn compile(
    name: &FileName,
    parsed: &Parsed<syntax::Prices>,
    built_in: bool,
    budget: &Budget,
) -> Compilation<PriceFile> {
    let own_name = Arc::new([NamePattern::new(name.as_str())]);
    let document = &parsed.document;
    let currency = Currency::new(&document.currency);
    let most = if currency.is_some_and(Currency::is_small) { MAX_SMALL_PRICES } else { MAX_PRICES };
    let known = currency.unwrap_or(Currency::NONE);
    let mut reader = Reader { parsed, budget, own_name, currency: known, most, found: Vec::new() };
    if currency.is_none() {
        reader.report_currency(&document.currency);
    }
    let date = reader.day("/date", document.date.as_deref());
    let date = date.map(|value| Located { value, at: reader.at("/date") });
    let prices = document.price.iter().enumerate();
    let prices = prices.filter_map(|(index, price)| {
        let pointer = format!("/price/{index}");
        let pairs = price.provider.as_ref().map_or(1, Vec::len) * price.model.len();
        budget.keep(pairs * ENTRY_BYTES).then(|| reader.price(price, &pointer))
    });
    let prices = prices.collect();
    let tests = reader.tests(document.test.as_deref().unwrap_or_default());
    let source = document.source.clone();
    let file =
        PriceFile { name: name.clone(), file: parsed.file.clone(), built_in, source, date, prices, tests };
    reader.overlaps(&file);
    let good = reader.found.is_empty() && !budget.is_exceeded();
    (good.then_some(file), reader.found)
}

/// The prices as written, in the order of [`Counter::ALL`].
type WrittenPrices = [Option<f64>; Counter::ALL.len()];

fn has_price(written: WrittenPrices) -> bool {
    written.iter().any(Option::is_some)
}

struct Reader<'a> {
    parsed: &'a Parsed<syntax::Prices>,
    budget: &'a Budget,
    /// The providers of prices that name none.
    own_name: Arc<[NamePattern]>,
    /// The currency of all prices; that of no currency if it is reported.
    currency: Currency,
    /// The greatest price for a million units, and for one.
    most: (u32, u32),
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn at(&self, pointer: &str) -> Location {
        self.parsed.spans.value(&self.parsed.file, pointer)
    }

    fn report(&mut self, pointer: &str, message: String, help: Option<&str>) {
        let found = Diagnostic::new(Code::BadValue, self.at(pointer), message);
        self.found.push(match help {
            Some(help) => found.help(help),
            None => found,
        });
    }

    fn report_currency(&mut self, code: &str) {
        let folded = code.to_ascii_uppercase();
        let swapped = Currency::codes().find(|code| letters(code) == letters(&folded));
        let help = match swapped.or_else(|| nearest(&folded, Currency::codes())) {
            Some(near) => {
                format!("did you mean `{near}`? A currency is three capital letters, such as `USD`")
            }
            None => "a currency is three capital letters, such as `USD`".to_owned(),
        };
        self.report("/currency", format!("`{code}` is no currency of ISO 4217"), Some(&help));
    }

    fn day(&mut self, pointer: &str, text: Option<&str>) -> Option<Day> {
        let text = text?;
        match text.parse() {
            Ok(day) => Some(day),
            Err(error) => {
                self.report(pointer, format!("`{text}` {error}"), None);
                None
            }
        }
    }

    fn price(&mut self, price: &syntax::Price, pointer: &str) -> Price {
        let providers = match &price.provider {
            Some(names) => {
                let patterns = self.patterns(&format!("{pointer}/provider"), names);
                patterns.into_iter().map(|(pattern, _)| pattern).collect()
            }
            None => self.own_name.clone(),
        };
        let models = self.patterns(&format!("{pointer}/model"), &price.model);
        let from = self.day(&format!("{pointer}/from"), price.from.as_deref()).unwrap_or(Day::FIRST);
        let rates = self.rates(pointer, price.rates());
        if !has_price(price.rates()) {
            let help = "write at least one, such as `input = 2.5`; of a model that is free, `input = 0`";
            let message = "no price".to_owned();
            let key = self.parsed.spans.key(&self.parsed.file, pointer);
            self.found.push(Diagnostic::new(Code::MissingKey, key, message).help(help));
        }
        let tiers = self.tiers(pointer, price.tier.as_deref().unwrap_or_default(), &rates);
        let at = Span::from(&self.parsed.spans.key(&self.parsed.file, pointer));
        let (models, tiers) = (models.into(), tiers.into());
        Price { at, currency: self.currency, providers, models, from, rates, tiers }
    }

    fn patterns(&mut self, pointer: &str, texts: &[String]) -> Vec<(NamePattern, Span)> {
        let mut patterns = Vec::with_capacity(texts.len());
        let mut known = HashSet::new();
        for (index, text) in texts.iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            let problem = match Glob::check(text) {
                Err(problem) => Some(problem),
                Ok(()) if text.is_empty() => Some("is empty".to_owned()),
                Ok(()) if text.len() > MAX_NAME => Some(format!("has more than {MAX_NAME} bytes")),
                Ok(()) if !known.insert(text) => Some("stands there twice".to_owned()),
                Ok(()) => None,
            };
            if let Some(problem) = problem {
                self.report(&pointer, format!("the name {problem}"), None);
                // Findings about overlaps would be consequences.
                continue;
            }
            patterns.push((NamePattern::new(text), Span::from(&self.at(&pointer))));
        }
        patterns
    }

    fn rates(&mut self, pointer: &str, written: WrittenPrices) -> Rates {
        let mut rates = Vec::new();
        for (counter, price) in Counter::ALL.into_iter().zip(written) {
            let Some(price) = price else { continue };
            match self.pico(price, Rates::per(counter)) {
                Ok(pico) => rates.push((counter, pico)),
                Err(problem) => {
                    let help =
                        "prices of tokens and characters are for a million of them, all others for one";
                    self.report(
                        &format!("{pointer}/{counter}"),
                        format!("`{counter}` {problem}"),
                        Some(help),
                    );
                }
            }
        }
        rates.into_iter().collect()
    }

    /// The pico-units for one unit of a price for `per` units. The error is a fragment.
    fn pico(&self, price: f64, per: u64) -> Result<u64, String> {
        let (of_million, of_one) = self.most;
        let most = if per == MILLION { of_million } else { of_one };
        if price > f64::from(most) {
            return Err(format!("is more than {most} {}", self.currency));
        }
        let digits = if per == MILLION { MILLION_DIGITS } else { UNIT_DIGITS };
        // The shortest decimal number that is this one: the number as written.
        let text = price.to_string();
        let written = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        if written > digits {
            return Err(format!("has more than {digits} digits after the point"));
        }
        if text.trim_start_matches(['0', '.']).bytes().filter(u8::is_ascii_digit).count() > MAX_DIGITS {
            return Err(format!("has more than {MAX_DIGITS} digits"));
        }
        let pico = parse_decimal(&text).ok_or("is no price")? / u128::from(per);
        u64::try_from(pico).map_err(|_| format!("is more than {}", u128::from(u64::MAX) / PICO))
    }

    fn tiers(&mut self, pointer: &str, tiers: &[syntax::Tier], base: &Rates) -> Vec<Tier> {
        let mut made: Vec<Tier> = Vec::with_capacity(tiers.len());
        for (index, tier) in tiers.iter().enumerate() {
            let pointer = format!("{pointer}/tier/{index}");
            let own = self.rates(&pointer, tier.rates());
            if made.last().is_some_and(|before| before.over >= tier.over) {
                let message = "`over` is not greater than that of the tier above".to_owned();
                self.report(&format!("{pointer}/over"), message, Some("sort the tiers by `over`"));
            }
            if !has_price(tier.rates()) {
                self.report(&pointer, "the tier has no price".to_owned(), None);
            }
            made.push(Tier { over: tier.over, rates: own.or(base) });
        }
        made
    }

    fn tests(&mut self, tests: &[syntax::PriceTest]) -> Vec<PriceTest> {
        let mut made = Vec::with_capacity(tests.len());
        for (index, test) in tests.iter().enumerate() {
            let pointer = format!("/test/{index}/usage/day");
            let day = self.day(&pointer, test.usage.day.as_deref()).unwrap_or(Day::LAST);
            let at = self.parsed.spans.key(&self.parsed.file, &format!("/test/{index}/expect"));
            made.push(PriceTest { spec: test.clone(), day, at });
        }
        made
    }

    fn overlaps(&mut self, file: &PriceFile) {
        for (first, second) in overlaps(file.entries(), self.budget) {
            let message = format!("the price of `{}` is unclear", second.model.as_str());
            let help = "write one of the two more specific, or give it another `from`";
            let found = Diagnostic::new(Code::Price, second.at(), message);
            self.found.push(found.related(first.at(), "as specific, from the same day").help(help));
        }
    }
}

/// The letters of a code, sorted: codes are short, so that most errors swap letters.
fn letters(code: &str) -> Vec<u8> {
    let mut letters = code.as_bytes().to_vec();
    letters.sort_unstable();
    letters
}
