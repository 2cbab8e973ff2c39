use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{super::compile as compile_all, *};
use crate::{
    base::{
        budget::{Budget, MAX_BYTES, Used},
        diag::Sources,
    },
    language::{
        compile::Files,
        syntax::{self, Slot},
    },
};

const HEAD: &str = "title = \"Demo\"\ncurrency = \"USD\"\n";

fn parse(name: &str, text: &str) -> (FileName, Slot<syntax::Prices>, Vec<crate::base::diag::Diagnostic>) {
    let (slot, found) = syntax::parse(&format!("{name}.toml").as_str().into(), text);
    (FileName::new(name).unwrap(), slot, found)
}

/// The prices of some files: `name`, or `name!` for a built-in one, and the text below `HEAD`.
fn prices(files: &[(&str, &str)]) -> Prices {
    let mut all = Files::default();
    for (name, text) in files {
        let (name, slot, found) = parse(name.trim_end_matches('!'), &format!("{HEAD}{text}"));
        assert_eq!(found, [], "{text}");
        all.prices.insert(name, slot);
    }
    let built_in = files.iter().filter_map(|(name, _)| FileName::new(name.strip_suffix('!')?));
    all.built_in_prices = built_in.collect();
    let compiled = compile_all(&all);
    assert_eq!(compiled.diagnostics, []);
    Prices::new(compiled.prices)
}

/// The findings about a file, one a line: `code line:column message | help`.
fn findings(text: &str) -> String {
    let text = format!("{HEAD}{text}");
    let (name, slot, mut found) = parse("demo", &text);
    let mut sources = Sources::default();
    sources.insert("demo.toml".into(), text.as_str().into());
    let files = Files { prices: BTreeMap::from([(name, slot)]), ..Files::default() };
    let compiled = compile_all(&files);
    found.extend(compiled.diagnostics);
    assert_eq!(compiled.prices.is_empty(), !found.is_empty(), "{text}");
    let line = |one: &crate::base::diag::Diagnostic| {
        let (line, column) = sources.line_column(&one.at);
        let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{} {}:{column} {}{help}", one.code.as_str(), line - 2, one.message)
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn check(text: &str, expected: &str) {
    assert_eq!(findings(text), expected, "\n{text}");
}

#[test]
fn findings_name_the_key_and_the_problem() {
    check("price = [{ model = [\"m\"], input = 1 }]", "");
    check("price = []", "");
    check(
        "price = [{ model = [\"m\"] }]",
        "TG012 1:10 no price | write at least one, such as `input = 2.5`; of a model that is free, `input = 0`",
    );
    let price = |keys: &str, expected: &str| {
        check(&format!("[[price]]\nmodel = [\"m\"]\ninput = 1\n{keys}"), expected);
    };
    price("output = 0.000001\nimages = 0.00000000001", "");
    let each = "prices of tokens and characters are for a million of them, all others for one";
    price(
        "output = 0.0000025",
        &format!("TG013 4:10 `output` has more than 6 digits after the point | {each}"),
    );
    price(
        "images = 0.000000000001",
        &format!("TG013 4:10 `images` has more than 11 digits after the point | {each}"),
    );
    price("output = -1", "TG013 4:10 `output` has to be at least 0 | for example: 10");
    price("output = 100001", &format!("TG013 4:10 `output` is more than 100000 USD | {each}"));
    check(
        "price = [{ model = [\"m\"], input = 0.0000001 }]",
        &format!("TG013 1:35 `input` has more than 6 digits after the point | {each}"),
    );
    price("output = \"1\"", "TG011 4:10 `output` is a string, but has to be a number | for example: 10");
    price("outptu = 1", "TG010 4:1 unknown key `outptu` | did you mean `output`?");
    price(
        "from = \"2026-02-29\"",
        "TG013 4:8 `2026-02-29` is no day from 1970-01-01 to 9999-12-31 in the form `YYYY-MM-DD`",
    );
    price("provider = [\"\"]", "TG013 4:13 the name is empty");
    price("provider = [\"a*b*c*d*e*f*g*h*i*\"]", "TG013 4:13 the name has more than 8 `*`");
    price("tier = [{ over = 5, input = 2 }, { over = 6, output = 3 }]", "");
    price(
        "tier = [{ over = 5, input = 2 }, { over = 5, input = 3 }]",
        "TG013 4:43 `over` is not greater than that of the tier above | sort the tiers by `over`",
    );
    price("tier = [{ over = 5 }]", "TG013 4:9 the tier has no price");
    let currency = |written: &str, input: &str| {
        let text = format!(
            "title = \"Demo\"\ncurrency = \"{written}\"\nprice = [{{ model = [\"m\"], input = {input} }}]"
        );
        let (name, slot, mut found) = parse("demo", &text);
        found.extend(
            compile_all(&Files { prices: BTreeMap::from([(name, slot)]), ..Files::default() }).diagnostics,
        );
        let line = |one: &crate::base::diag::Diagnostic| {
            format!("{} | {}", one.message, one.help.clone().unwrap_or_default())
        };
        found.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let form = "a currency is three capital letters, such as `USD`";
    assert_eq!(currency("Dollar", "1"), format!("`Dollar` is no currency of ISO 4217 | {form}"));
    let near = "A currency is three capital letters, such as `USD`";
    assert_eq!(
        currency("usd", "1"),
        format!("`usd` is no currency of ISO 4217 | did you mean `USD`? {near}")
    );
    assert!(currency("UDS", "1").starts_with("`UDS` is no currency of ISO 4217 | did you mean `USD`?"));
    assert_eq!((currency("VND", "260000.5"), currency("IDR", "1e9")), (String::new(), String::new()));
    assert_eq!(currency("USD", "100000.5"), format!("`input` is more than 100000 USD | {each}"));
    assert_eq!(
        currency("VND", "999999999.1234567"),
        format!("`input` has more than 6 digits after the point | {each}")
    );
    check(
        "date = \"today\"\nprice = []",
        "TG013 1:8 `today` is no day from 1970-01-01 to 9999-12-31 in the form `YYYY-MM-DD`",
    );
}

#[test]
fn a_model_is_listed_by_its_name_and_not_by_a_glob() {
    let price = |provider: &str, model: &str| {
        format!("{{ provider = [\"{provider}\"], model = [\"{model}\"], input = 1 }},")
    };
    let text = [price("demo", "large"), price("demo", "small-*"), price("other*", "large-2")].concat();
    let text = format!("price = [{text}]");
    let prices = prices(&[("demo", &text)]);
    for (provider, model, expected) in [
        ("demo", "large", true),
        ("demo", "small-1", false),
        ("demo", "small-*", false),
        ("demo", "large-2", false),
        ("other-1", "large-2", true),
        ("other-1", "large", false),
    ] {
        assert_eq!(prices.is_listed(provider, model), expected, "{provider} {model}");
    }
}

#[test]
fn entries_that_are_equally_specific_are_an_error() {
    let two = |one: &str, other: &str, message: &str| {
        let text = format!("price = [\n{{ {one}, input = 1 }},\n{{ {other}, input = 2 }},\n]");
        let found = findings(&text);
        let shown = found.split(" | ").next().unwrap_or_default();
        assert_eq!(shown, message, "{text}");
    };
    two("model = [\"a\", \"b\"]", "model = [\"c\", \"b\"]", "TG080 3:17 the price of `b` is unclear");
    two("model = [\"gpt-*\"]", "model = [\"*-mini\"]", "");
    two("model = [\"gpt-*\"]", "model = [\"*-pro\"]", "TG080 3:12 the price of `*-pro` is unclear");
    two("model = [\"gpt-*\"]", "model = [\"o3-p*\"]", "");
    two("model = [\"a\"]", "model = [\"a\"], from = \"2026-01-01\"", "");
    two("model = [\"a\"], provider = [\"p\"]", "model = [\"a\"], provider = [\"q\"]", "");
    two(
        "model = [\"a\"], provider = [\"p*\"]",
        "model = [\"a\"], provider = [\"*q\"]",
        "TG080 3:12 the price of `a` is unclear",
    );
    check("price = [{ model = [\"a\", \"a\"], input = 1 }]", "TG013 1:26 the name stands there twice");
}

#[test]
fn a_file_of_many_entries_is_bounded() {
    // None of them meets another one, so that all are compared.
    let glob = |number: usize| format!("\"{number:09}{}*\"", "ab".repeat(90));
    let globs: Vec<String> = (0..2000).map(glob).collect();
    let prices: Vec<String> =
        globs.chunks(50).map(|globs| format!("{{ model = [{}], input = 1 }}", globs.join(","))).collect();
    let text = format!("{HEAD}price = [{}]", prices.join(","));
    let (name, slot, found) = parse("demo", &text);
    assert_eq!(found, []);
    let compiled = compile_all(&Files { prices: BTreeMap::from([(name, slot)]), ..Files::default() });
    assert!(compiled.budgets.of("demo.toml").is_exceeded() && compiled.prices.is_empty());
    let budget = Budget::default();
    assert!(overlaps(std::iter::empty(), &budget).is_empty() && budget.used() == Used::default());
    // As many pairs of providers and models as a file can name.
    let names =
        |letter: char| (0..64).map(|number| format!("\"{letter}{number}\"")).collect::<Vec<_>>().join(",");
    let price = format!("{{ provider = [{}], model = [{}], input = 1 }},", names('p'), names('m'));
    let (name, slot, _) = parse("demo", &format!("{HEAD}price = [{}]", price.repeat(400)));
    let compiled = compile_all(&Files { prices: BTreeMap::from([(name, slot)]), ..Files::default() });
    assert!(compiled.budgets.of("demo.toml").used().bytes > MAX_BYTES && compiled.prices.is_empty());
}

/// The price of an input token that applies, in pico-units; 0 for none.
fn found(prices: &Prices, provider: &str, model: &str, day: &str) -> u64 {
    let day = day.parse().unwrap();
    let price = prices.find(provider, model, day);
    let first = prices.matches(provider, model, day).next().map(|entry| entry.price);
    assert!(price.map(std::ptr::from_ref) == first.map(std::ptr::from_ref), "{provider} {model}");
    price.map_or(0, |price| price.rates.rate(Counter::Input).unwrap())
}

#[test]
fn the_most_specific_entry_applies() {
    let entry = |keys: &str, price: u32| format!("{{ {keys}, input = 0.{price:06} }},\n");
    let text = [
        entry("model = [\"*\"]", 1),
        entry("model = [\"gpt-*\"]", 2),
        entry("model = [\"gpt-x-*\"], from = \"2026-03-01\"", 3),
        entry("model = [\"gpt-x-1\"]", 4),
        entry("model = [\"gpt-x-1\"], from = \"2026-01-01\"", 5),
        entry("model = [\"gpt-x-1\"], from = \"2026-06-01\"", 6),
        entry("model = [\"gpt-x-1\"], provider = [\"*\"], from = \"2026-06-02\"", 7),
        entry("model = [\"gpt-*\"], provider = [\"o*\", \"other\"]", 8),
    ];
    let prices = prices(&[("demo", &format!("price = [\n{}]", text.concat()))]);
    for (provider, model, day, expected) in [
        ("demo", "m", "2026-01-01", 1),
        ("demo", "gpt-1", "2026-01-01", 2),
        ("demo", "gpt-x-2", "2026-02-28", 2),
        ("demo", "gpt-x-2", "2026-03-01", 3),
        ("demo", "gpt-x-1", "2025-12-31", 4),
        ("demo", "gpt-x-1", "2026-01-01", 5),
        ("demo", "gpt-x-1", "2026-05-31", 5),
        ("demo", "gpt-x-1", "9999-12-31", 6),
        ("elsewhere", "gpt-x-1", "2026-06-01", 0),
        ("elsewhere", "gpt-x-1", "2026-06-02", 7),
        ("oracle", "gpt-x-1", "2026-06-02", 7),
        ("oracle", "gpt-x-1", "2026-06-01", 8),
        ("other", "gpt-2", "2026-06-01", 8),
        ("other", "GPT-2", "2026-06-01", 0),
        ("nobody", "gpt-2", "2026-06-01", 0),
    ] {
        assert_eq!(found(&prices, provider, model, day), expected, "{provider} {model} {day}");
    }
}

#[test]
fn entries_of_the_directory_precede_built_in_ones() {
    let built_in = "price = [{ model = [\"m\", \"n\"], input = 0.000001 }]";
    let own =
        "price = [{ provider = [\"demo\"], model = [\"m*\"], from = \"2026-01-01\", input = 0.000002 }]";
    let prices = prices(&[("demo!", built_in), ("zz", own)]);
    assert_eq!(found(&prices, "demo", "m", "2026-01-01"), 2);
    assert_eq!(found(&prices, "demo", "m", "2025-12-31"), 1);
    assert_eq!(found(&prices, "demo", "n", "2026-01-01"), 1);
    let (first, second) = (
        "price = [{ model = [\"m\"], input = 0.000003 }]",
        "price = [{ provider = [\"a\"], model = [\"m\"], input = 0.000004 }]",
    );
    assert_eq!(found(&self::prices(&[("b", second), ("a", first)]), "a", "m", "2026-01-01"), 3);
}

fn one(text: &str) -> Price {
    let all = prices(&[("demo", &format!("[[price]]\nmodel = [\"m\"]\n{text}"))]);
    let file = all.files()[0].clone();
    drop(all);
    Arc::into_inner(file).unwrap().prices.remove(0)
}

fn usage(values: &[(Counter, u64)]) -> Counters {
    let mut counters = Counters::ZERO;
    for (counter, value) in values {
        counters.set(*counter, *value);
    }
    counters
}

#[test]
fn costs_are_exact() {
    let price = one(
        "input = 0.1\noutput = 0.7\ncache_read = 0.000001\nimages = 0.04\nseconds = 0.0001\ncharacters = 15\nunits = 0.002",
    );
    let check = |values: &[(Counter, u64)], expected: &str| {
        assert_eq!(price.cost(&usage(values), 0).exact(), expected, "{values:?}");
    };
    check(&[], "0");
    check(&[(Counter::Input, 1)], "0.0000001");
    check(&[(Counter::CacheRead, 1)], "0.000000000001");
    check(&[(Counter::Input, 3), (Counter::Output, 3)], "0.0000024");
    check(&[(Counter::CacheWrite, 10), (Counter::AudioInput, 10)], "0.000002");
    check(&[(Counter::Reasoning, 10), (Counter::AudioOutput, 10)], "0.000014");
    check(&[(Counter::Images, 3)], "0.12");
    check(&[(Counter::Seconds, 61)], "0.0061");
    check(&[(Counter::Characters, 1)], "0.000015");
    check(&[(Counter::Units, 7)], "0.014");
    let input_only = one("input = 2");
    assert_eq!(input_only.cost(&usage(&[(Counter::Output, 9), (Counter::Images, 9)]), 0).exact(), "0");
    assert_eq!(input_only.cost(&usage(&[(Counter::Input, 9)]), 0).to_string(), "0.000018 USD");
}

#[test]
fn the_greatest_usage_at_the_greatest_price_has_a_cost() {
    let keys = Counter::ALL.map(|counter| {
        format!("{counter} = {}", if Rates::per(counter) == MILLION { 100_000 } else { 10_000 })
    });
    let price = one(&keys.join("\n"));
    let all = usage(&Counter::ALL.map(|counter| (counter, u64::MAX)));
    let expected = Counter::ALL.iter().map(|counter| {
        u128::from(u64::MAX)
            * if Rates::per(*counter) == MILLION { 100_000_000_000 } else { 10_000_000_000_000_000 }
    });
    assert_eq!(price.cost(&all, 0).pico, expected.sum::<u128>());
}

#[test]
fn tiers_hold_for_the_whole_request() {
    let price = one(
        "input = 1\noutput = 10\ncache_read = 0.1\ntier = [{ over = 100, input = 2 }, { over = 200, input = 3, output = 20 }]",
    );
    let contexts = [0, 100, 101, 200, 201, u64::MAX].map(|tokens| price.context(tokens));
    assert_eq!(contexts, [0, 0, 100, 100, 200, 200]);
    let used = usage(&[(Counter::Input, 150), (Counter::Output, 1), (Counter::CacheRead, 60)]);
    let costs = [0, 99, 100, 150, 200, u64::MAX].map(|context| price.cost(&used, context).exact());
    assert_eq!(costs, ["0.000166", "0.000166", "0.000316", "0.000316", "0.000476", "0.000476"]);
    assert_eq!(price.context(used.prompt_tokens()), 200);
    let shown: Vec<_> = price.tiers[1].rates.iter().collect();
    assert_eq!(shown[..2], [(Counter::Input, "3".to_owned()), (Counter::Output, "20".to_owned())]);
}

#[test]
fn usage_is_stored_by_fixed_boundaries_and_by_those_of_the_price() {
    let price = one("input = 1\ntier = [{ over = 250000, input = 2 }]");
    let check = |tokens: u64, without: u64, with: u64| {
        assert_eq!((boundary(None, tokens), boundary(Some(&price), tokens)), (without, with), "{tokens}");
    };
    check(0, 0, 0);
    check(32_000, 0, 0);
    check(32_001, 32_000, 32_000);
    check(250_000, 200_000, 200_000);
    check(250_001, 200_000, 250_000);
    check(256_001, 256_000, 256_000);
    check(u64::MAX, 1_000_000, 1_000_000);
    assert!(BOUNDARIES.is_sorted());
}

/// Exchanges that were stored under no price, or under one of other tiers, cost what they would cost under the price.
#[test]
fn a_corrected_tier_holds_for_history() {
    let other = one("input = 1\ntier = [{ over = 150000, input = 7 }]");
    for over in BOUNDARIES {
        let price = one(&format!("input = 1\ntier = [{{ over = {over}, input = 100 }}]"));
        for tokens in BOUNDARIES.into_iter().flat_map(|size| [size - 1, size, size + 1]) {
            let used = usage(&[(Counter::Input, tokens)]);
            let exact = price.cost(&used, price.context(tokens));
            for stored in [None, Some(&other), Some(&price)] {
                assert_eq!(price.cost(&used, boundary(stored, tokens)), exact, "{over} {tokens}");
            }
        }
    }
}

/// The shipped prices: their tiers hold for history too.
#[test]
fn shipped_tiers_have_fixed_boundaries() {
    let compiled = compile_all(&crate::shipped::load().files);
    let tiers = compiled.prices.iter().flat_map(|file| &file.prices).flat_map(|price| &price.tiers);
    let thresholds: std::collections::BTreeSet<u64> = tiers.map(|tier| tier.over).collect();
    assert!(thresholds.len() > 1);
    assert!(thresholds.iter().all(|over| BOUNDARIES.contains(over)), "{thresholds:?}");
}

proptest! {
    /// Hours of exchanges are added up before they are priced.
    #[test]
    fn costs_of_parts_add_up_to_the_cost_of_the_whole(
        rates_of_all in proptest::array::uniform11(proptest::option::of(0_u64..100_000_000_000)),
        tier in proptest::array::uniform11(proptest::option::of(0_u64..100_000_000_000)),
        parts in proptest::collection::vec(proptest::array::uniform11(0_u64..1 << 40), 0..20),
        context in 0_u64..300,
    ) {
        let rates = |rates: [Option<u64>; 11]| {
            Counter::ALL.into_iter().zip(rates).filter_map(|(counter, rate)| Some((counter, rate?))).collect::<Rates>()
        };
        let base = rates(rates_of_all);
        let tiers = Box::new([Tier { over: 200, rates: rates(tier).or(&base) }]);
        let currency = Currency::new("USD").unwrap();
        let price = Price {
            at: Span::from(&Location::file(&"p".into())), currency, providers: Arc::new([]), models: Box::default(),
            from: Day::FIRST, rates: base, tiers,
        };
        let (mut whole, mut sum) = (Counters::ZERO, 0);
        for part in parts {
            let part = usage(&std::array::from_fn::<_, 11, _>(|index| (Counter::ALL[index], part[index])));
            whole.add_all(&part);
            sum += price.cost(&part, context).pico;
        }
        prop_assert_eq!(price.cost(&whole, context), Money { pico: sum, currency });
    }

    /// The index finds what a search through all entries finds.
    #[test]
    fn the_lookup_equals_a_search(
        entries in proptest::collection::vec(
            ("[ab]{1,2}|[ab]?\\*[ab]?", "[ab]{1,3}|[ab]?\\*[ab]?", 0_u8..3, 1_u32..1000), 1..12),
        provider in "[ab]{1,2}", model in "[ab]{1,3}", day in 0_u8..4,
    ) {
        let text = entries.iter().map(|(provider, model, from, price)| format!(
            "{{ provider = [\"{provider}\"], model = [\"{model}\"], from = \"2026-01-0{}\", input = 0.{price:06} }},", from + 1,
        ));
        // Each in a file of its own: equally specific entries are no error there.
        let texts: Vec<String> = text.map(|entry| format!("price = [{entry}]")).collect();
        let names: Vec<String> = (0..texts.len()).map(|index| format!("f{index:02}")).collect();
        let files: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        let prices = prices(&files);
        let expected = entries.iter().enumerate().filter(|(_, (providers, models, from, _))| {
            *from <= day.saturating_sub(1) && day > 0
                && Glob::new(providers).matches(&provider) && Glob::new(models).matches(&model)
        });
        let literals = |text: &str| if text.contains('*') { text.len() - 1 } else { 100 };
        let best = expected.max_by_key(|(index, (provider, model, from, _))| {
            (literals(model), literals(provider), *from, std::cmp::Reverse(*index))
        });
        let day = Day("2025-12-31".parse::<Day>().unwrap().0 + u32::from(day));
        let expected = best.map_or(0, |(_, (_, _, _, price))| u64::from(*price));
        prop_assert_eq!(found(&prices, &provider, &model, &day.to_string()), expected);
    }
}
