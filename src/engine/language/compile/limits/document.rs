//! Compiles one file of limits: reads amounts, windows, globs and shares, and collects all findings.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Allow, CallerFilter, Limit, LimitFile, LimitFilter, LimitTest, Measure, NameFilter};
use crate::{
    base::{
        budget::Budget,
        diag::{Code, Diagnostic, Location},
        money::{Currency, PICO, parse_decimal},
        name::{FileName, LimitId},
        suggest::nearest,
        time,
        window::{Every, Window, Zone},
    },
    language::{
        compile::{Compilation, Glob, span},
        syntax::{self, Amount, EveryValue, MAX_COUNT, NoPriceValue, Parsed, Per, WindowValue},
    },
};

/// The bytes that are kept of a limit or rule, without its globs.
const ENTRY_BYTES: usize = 512;
/// The greatest cost, in units of its currency.
const MAX_COST: u128 = 1_000_000_000_000;
/// The first second of 2026 in milliseconds since 1970, UTC: a Thursday.
const FIRST_CALL_MS: u64 = 1_767_225_600_000;
/// The shortest window that slides, in milliseconds.
const MIN_SLIDING_MS: u64 = 1_000;

/// Compiles a file.
pub fn compile(
    name: &FileName,
    parsed: &Parsed<syntax::LimitsFile>,
    budget: &Budget,
) -> Compilation<LimitFile> {
    let document = &parsed.document;
    let mut reader = Reader { parsed, budget, found: Vec::new() };
    let limits = reader.limits(document.limit.as_deref().unwrap_or_default());
    let allows = reader.allows(document.allow.as_deref().unwrap_or_default());
    let tests = reader.tests(document.test.as_deref().unwrap_or_default());
    let file = LimitFile { name: name.clone(), file: parsed.file.clone(), limits, allows, tests };
    let good = reader.found.is_empty() && !budget.is_exceeded();
    (good.then_some(file), reader.found)
}

struct Reader<'a> {
    parsed: &'a Parsed<syntax::LimitsFile>,
    budget: &'a Budget,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn at(&self, pointer: &str) -> Location {
        self.parsed.spans.value(&self.parsed.file, pointer)
    }

    fn key(&self, pointer: &str) -> Location {
        self.parsed.spans.key(&self.parsed.file, pointer)
    }

    fn report(&mut self, code: Code, at: Location, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Diagnostic::new(code, at, message).help(help));
    }

    fn limits(&mut self, limits: &[syntax::Limit]) -> Vec<Arc<Limit>> {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut made = Vec::with_capacity(limits.len());
        for (index, limit) in limits.iter().enumerate() {
            let pointer = format!("/limit/{index}");
            if !self.budget.keep(ENTRY_BYTES) {
                break;
            }
            if let Some(first) = known.insert(&limit.id, index) {
                let message = format!("the file has a limit `{}` already", limit.id);
                let first = self.at(&format!("/limit/{first}/id"));
                let found = Diagnostic::new(Code::Limit, self.at(&format!("{pointer}/id")), message);
                let found = found.related(first, "the first one");
                self.found.push(found.help("give each limit an id of its own: what was used belongs to it"));
            }
            made.extend(self.limit(limit, &pointer).map(Arc::new));
        }
        made
    }

    /// A limit. None if it has no amount, so that further findings would be consequences.
    fn limit(&mut self, limit: &syntax::Limit, pointer: &str) -> Option<Limit> {
        let (measure, amount) = self.measure(limit, pointer)?;
        let filter = self.filter(limit.r#match.as_ref(), &format!("{pointer}/match"));
        let per = self.per(limit, pointer);
        let window = self.window(limit, measure, pointer);
        self.useless_keys(limit, measure, pointer);
        let except = self.except(limit, measure, &per, pointer);
        Some(Limit {
            counter_id: format!("{} {}", limit.id, measure.unit()).into(),
            id: LimitId::new(&limit.id)?,
            at: self.at(&format!("{pointer}/id")),
            filter,
            per,
            measure,
            amount,
            window,
            reserve: limit.reserve.unwrap_or_default(),
            over: limit.over.unwrap_or_default(),
            warn_at: self.shares(limit, pointer),
            no_price: limit.no_price.unwrap_or(NoPriceValue::Reject),
            except,
        })
    }

    /// What a limit counts, and how much of it.
    fn measure(&mut self, limit: &syntax::Limit, pointer: &str) -> Option<(Measure, i128)> {
        let counts = [
            (Measure::Requests, limit.requests),
            (Measure::Tokens, limit.tokens),
            (Measure::InputTokens, limit.input_tokens),
            (Measure::OutputTokens, limit.output_tokens),
            (Measure::Bytes, limit.bytes),
            (Measure::Concurrent, limit.concurrent),
        ];
        let counts = counts.into_iter().filter_map(|(measure, amount)| Some((measure, i128::from(amount?))));
        let mut given: Vec<(&str, Option<(Measure, i128)>)> =
            counts.map(|(measure, amount)| (measure.name(), Some((measure, amount)))).collect();
        if let Some(cost) = &limit.cost {
            let place = format!("{pointer}/cost");
            given.push(("cost", self.cost(cost, &place)));
        }
        match given.as_slice() {
            [(_, one)] => *one,
            [] => {
                let help = "write one of `requests`, `tokens`, `input_tokens`, `output_tokens`, `cost`, `bytes` \
                            and `concurrent`";
                self.report(Code::MissingKey, self.key(pointer), "the limit has no amount", help);
                None
            }
            [(first, _), (second, _), ..] => {
                let message = format!("the limit has two amounts, `{first}` and `{second}`");
                let at = self.key(&format!("{pointer}/{second}"));
                self.report(Code::Limit, at, message, "make a limit of each, with an id of its own");
                None
            }
        }
    }

    /// A cost such as `200 USD`.
    fn cost(&mut self, text: &str, pointer: &str) -> Option<(Measure, i128)> {
        const FORM: &str = "write a number and a currency by its ISO 4217 code, such as `200 USD`";
        let Some((number, code)) = text.trim().split_once(' ') else {
            self.report(Code::BadValue, self.at(pointer), format!("`{text}` is no cost"), FORM);
            return None;
        };
        let code = code.trim();
        let Some(currency) = Currency::new(code) else {
            let help = match nearest(&code.to_ascii_uppercase(), Currency::codes()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => FORM.to_owned(),
            };
            self.report(
                Code::BadValue,
                self.at(pointer),
                format!("`{code}` is no currency of ISO 4217"),
                help,
            );
            return None;
        };
        match parse_decimal(number) {
            Some(pico) if pico > 0 && pico <= MAX_COST * PICO => {
                Some((Measure::Cost(currency), i128::try_from(pico).unwrap_or(i128::MAX)))
            }
            Some(0) => {
                let help = "to refuse all calls, write an `[[allow]]` rule; for no limit, remove it";
                self.report(Code::BadValue, self.at(pointer), "a limit of nothing admits no request", help);
                None
            }
            Some(_) => {
                let message = format!("the cost is more than {MAX_COST} {code}");
                self.report(Code::BadValue, self.at(pointer), message, "write the amount that is meant");
                None
            }
            None => {
                let message = format!(
                    "`{number}` is no amount: a decimal number of digits, with at most 12 after the point"
                );
                self.report(Code::BadValue, self.at(pointer), message, FORM);
                None
            }
        }
    }

    fn per(&mut self, limit: &syntax::Limit, pointer: &str) -> Vec<Per> {
        let Some(pers) = &limit.per else { return vec![Per::User] };
        let mut per = pers.list().to_vec();
        per.sort_unstable();
        per.dedup();
        let place = format!("{pointer}/per");
        if per.len() < pers.list().len() {
            self.report(Code::Limit, self.at(&place), "`per` names something twice", "name each once");
        }
        if per.len() > 1 && per.contains(&Per::All) {
            let help = "write `\"all\"` for one amount, or leave it out of the list";
            self.report(Code::Limit, self.at(&place), "`all` stands beside others in `per`", help);
        }
        per.retain(|one| *one != Per::All);
        per
    }

    fn window(&mut self, limit: &syntax::Limit, measure: Measure, pointer: &str) -> Option<Window> {
        let place = format!("{pointer}/window");
        let Some(window) = &limit.window else {
            if measure != Measure::Concurrent {
                let help = "write the time that the amount is for, such as `window = { every = \"month\" }`, or `\"total\"`";
                self.report(Code::MissingKey, self.key(pointer), "the limit has no `window`", help);
            }
            return None;
        };
        if measure == Measure::Concurrent {
            let help = "remove it: requests at a time have no window";
            self.report(Code::Limit, self.key(&place), "a limit of `concurrent` has a `window`", help);
            return None;
        }
        let WindowValue::Table(table) = window else { return Some(Window::Total) };
        match (&table.every, &table.sliding) {
            (Some(every), None) => {
                let zone = self.zone(table.tz.as_deref(), &format!("{place}/tz"))?;
                Some(Window::Calendar { every: every_of(*every), zone })
            }
            (None, Some(sliding)) => {
                if table.tz.is_some() {
                    let help = "remove it: only windows of the calendar have a time zone";
                    self.report(
                        Code::Limit,
                        self.key(&format!("{place}/tz")),
                        "a sliding window has a `tz`",
                        help,
                    );
                }
                self.sliding(sliding, &format!("{place}/sliding"))
            }
            (Some(_), Some(_)) => {
                let help = "remove one: a window is of the calendar, or slides";
                self.report(Code::Limit, self.at(&place), "the window has both `every` and `sliding`", help);
                None
            }
            (None, None) => {
                let help = "write `every = \"month\"` (or `hour`, `day`, `week`), or `sliding = \"60s\"`";
                self.report(
                    Code::MissingKey,
                    self.at(&place),
                    "the window has neither `every` nor `sliding`",
                    help,
                );
                None
            }
        }
    }

    fn zone(&mut self, name: Option<&str>, pointer: &str) -> Option<Zone> {
        let name = name.unwrap_or("UTC");
        let zone = Zone::parse(name);
        if zone.is_none() {
            let help = match Zone::nearest(name) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write a name of the IANA database, such as `Europe/Berlin`".to_owned(),
            };
            self.report(Code::BadValue, self.at(pointer), format!("`{name}` is no time zone"), help);
        }
        zone
    }

    fn sliding(&mut self, text: &str, pointer: &str) -> Option<Window> {
        let millis = match span(text) {
            Ok(length) => u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
            Err(problem) => {
                self.report(
                    Code::BadValue,
                    self.at(pointer),
                    format!("`{text}` is no length: {problem}"),
                    "such as `60s`",
                );
                return None;
            }
        };
        if millis < MIN_SLIDING_MS {
            self.report(
                Code::BadValue,
                self.at(pointer),
                format!("`{text}` is shorter than `1s`"),
                "such as `60s`",
            );
            return None;
        }
        Some(Window::Sliding(millis))
    }

    /// Keys without effect beside this measure.
    fn useless_keys(&mut self, limit: &syntax::Limit, measure: Measure, pointer: &str) {
        if limit.reserve.is_some() && !measure.needs_usage() {
            let message = format!("`reserve` has no effect on a limit of `{measure}`");
            self.report(Code::Limit, self.key(&format!("{pointer}/reserve")), message, "remove it");
        }
        if !matches!(measure, Measure::Cost(_)) {
            if limit.no_price.is_some() {
                let message = format!("`no_price` has no effect on a limit of `{measure}`");
                self.report(Code::Limit, self.key(&format!("{pointer}/no_price")), message, "remove it");
            }
        } else if limit.no_price.is_none() {
            let help = "write `no_price = \"reject\"`, which refuses them, or `no_price = \"free\"`, which counts nothing";
            let message = "the limit does not say what becomes of models without a price";
            self.report(Code::MissingKey, self.key(pointer), message, help);
        }
    }

    fn except(
        &mut self,
        limit: &syntax::Limit,
        measure: Measure,
        per: &[Per],
        pointer: &str,
    ) -> BTreeMap<Box<str>, Option<i128>> {
        let mut made = BTreeMap::new();
        for (user, amount) in limit.except.iter().flatten() {
            let place = format!("{pointer}/except/{}", syntax::pointer_step(user));
            let amount = match (amount, measure) {
                (Amount::Text(text), _) if text == "none" => None,
                (Amount::Number(number), measure) if !matches!(measure, Measure::Cost(_)) => {
                    Some(i128::from(*number))
                }
                (Amount::Text(text), Measure::Cost(own)) => match self.cost(text, &place) {
                    Some((Measure::Cost(currency), amount)) if currency == own => Some(amount),
                    Some(_) => {
                        let message =
                            format!("the amount is in another currency than that of the limit, {own}");
                        self.report(Code::Limit, self.at(&place), message, format!("write it in {own}"));
                        continue;
                    }
                    None => continue,
                },
                (Amount::Number(_) | Amount::Text(_), _) => {
                    let help = format!("write it as `{measure}` of the limit is written, or `\"none\"`");
                    self.report(Code::BadValue, self.at(&place), "this is no amount of the limit", help);
                    continue;
                }
            };
            if amount.is_some() && !per.contains(&Per::User) && !per.contains(&Per::Token) {
                let help = "write `\"none\"`, or a limit of its own for the user";
                let message = "a user has another amount, and the limit has no amount for each user";
                self.report(Code::Limit, self.at(&place), message, help);
            }
            made.insert(user.as_str().into(), amount);
        }
        made
    }

    /// The shares at which a limit warns, in thousandths.
    fn shares(&mut self, limit: &syntax::Limit, pointer: &str) -> Vec<u32> {
        let mut shares = Vec::new();
        for (index, share) in limit.warn_at.iter().flatten().enumerate() {
            // Shares are kept in thousandths: a smaller one would be none.
            if (0.001..=1.0).contains(share) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "from 0 to 1000"
                )]
                shares.push((share * 1000.0).round() as u32);
            } else {
                let at = self.at(&format!("{pointer}/warn_at/{index}"));
                let help = "write a share of the amount from 0.001 to 1, such as `0.8`";
                self.report(Code::BadValue, at, format!("`{share}` is no share"), help);
            }
        }
        shares.sort_unstable();
        shares.dedup();
        shares
    }

    fn filter(&mut self, given: Option<&syntax::LimitMatch>, pointer: &str) -> LimitFilter {
        let Some(given) = given else { return LimitFilter::default() };
        let caller = CallerFilter {
            user: self.names(given.user.as_deref(), &format!("{pointer}/user")),
            group: self.names(given.group.as_deref(), &format!("{pointer}/group")),
            token: given.token.clone().unwrap_or_default().into(),
        };
        LimitFilter {
            caller,
            provider: self.names(given.provider.as_deref(), &format!("{pointer}/provider")),
            endpoint: self.names(given.endpoint.as_deref(), &format!("{pointer}/endpoint")),
            model: self.names(given.model.as_deref(), &format!("{pointer}/model")),
            key: given.key,
        }
    }

    fn allows(&mut self, allows: &[syntax::Allow]) -> Vec<Arc<Allow>> {
        let mut made = Vec::with_capacity(allows.len());
        for (index, allow) in allows.iter().enumerate() {
            let pointer = format!("/allow/{index}");
            if !self.budget.keep(ENTRY_BYTES) {
                break;
            }
            let caller = allow.r#match.as_ref().map_or_else(CallerFilter::default, |given| CallerFilter {
                user: self.names(given.user.as_deref(), &format!("{pointer}/match/user")),
                group: self.names(given.group.as_deref(), &format!("{pointer}/match/group")),
                token: given.token.clone().unwrap_or_default().into(),
            });
            if allow.providers.is_none() && allow.endpoints.is_none() && allow.models.is_none() {
                let help = "write `providers`, `endpoints` or `models`, or remove the rule";
                self.report(Code::MissingKey, self.key(&pointer), "the rule allows everything", help);
            }
            made.push(Arc::new(Allow {
                at: self.key(&pointer),
                caller,
                providers: self.names(allow.providers.as_deref(), &format!("{pointer}/providers")),
                endpoints: self.names(allow.endpoints.as_deref(), &format!("{pointer}/endpoints")),
                models: self.names(allow.models.as_deref(), &format!("{pointer}/models")),
            }));
        }
        made
    }

    fn names(&mut self, texts: Option<&[String]>, pointer: &str) -> NameFilter {
        let mut globs = Vec::new();
        for (index, text) in texts.unwrap_or_default().iter().enumerate() {
            let problem = match Glob::check(text) {
                Err(problem) => Some(problem),
                Ok(()) if text.is_empty() => Some("is empty".to_owned()),
                Ok(()) => None,
            };
            if let Some(problem) = problem {
                let at = self.at(&format!("{pointer}/{index}"));
                self.report(
                    Code::BadValue,
                    at,
                    format!("the name {problem}"),
                    "write a name, or a glob such as `lab-*`",
                );
                continue;
            }
            if !self.budget.keep(text.len()) {
                break;
            }
            globs.push(Glob::new(text));
        }
        NameFilter::new(globs)
    }

    fn tests(&mut self, tests: &[syntax::LimitTest]) -> Vec<LimitTest> {
        let mut made = Vec::with_capacity(tests.len());
        for (index, test) in tests.iter().enumerate() {
            let pointer = format!("/test/{index}");
            if !self.budget.keep(ENTRY_BYTES) {
                break;
            }
            let calls = &test.calls;
            let from = calls.from.as_deref().map_or(Ok(FIRST_CALL_MS), time::millis_of);
            let from_ms = from.unwrap_or_else(|problem| {
                let at = self.at(&format!("{pointer}/calls/from"));
                let message = format!("`{}` {problem}", calls.from.as_deref().unwrap_or_default());
                self.report(Code::BadValue, at, message, "such as `2026-03-31T21:59:00Z`");
                FIRST_CALL_MS
            });
            let within = calls.within.as_deref().map_or(Ok(std::time::Duration::ZERO), span);
            let within = within.unwrap_or_else(|problem| {
                let at = self.at(&format!("{pointer}/calls/within"));
                let message =
                    format!("`{}` is no length: {problem}", calls.within.as_deref().unwrap_or_default());
                self.report(Code::BadValue, at, message, "such as `30s`");
                std::time::Duration::ZERO
            });
            let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            let at = self.key(&format!("{pointer}/expect"));
            made.push(LimitTest { spec: test.clone(), from_ms, within_ms, at });
        }
        made
    }
}

fn every_of(every: EveryValue) -> Every {
    match every {
        EveryValue::Hour => Every::Hour,
        EveryValue::Day => Every::Day,
        EveryValue::Week => Every::Week,
        EveryValue::Month => Every::Month,
    }
}

/// The greatest amount is far below the greatest number.
const _: () = assert!(MAX_COST * PICO < i128::MAX as u128 && (MAX_COUNT as u128) < i128::MAX as u128);
