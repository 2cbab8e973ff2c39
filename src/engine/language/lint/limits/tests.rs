//! The findings about limits beside providers, apis and prices.

use crate::{
    base::diag::{Code, Diagnostic, Location},
    pipeline, shipped,
};

/// An api with usage on both sides, a model and a cap.
const FULL: &str = "request = { model = \"/model\", max_output = \"/max\" }\n\
                    usage.body = { input = \"/in\", output = \"/out\" }\n";
const WINDOW: &str = "window = { every = \"day\" }\n";

fn api(rest: &str) -> String {
    format!("title = \"A\"\nerror.body = {{}}\n{rest}")
}

/// A provider of two endpoints: `chat` with an api, and `models` without one.
fn provider(name: &str, api: &str) -> String {
    format!(
        "title = \"X\"\nbase_url = \"https://{name}.example\"\npath_prefix = \"/{name}\"\n\
         [endpoint.chat]\nmethod = \"POST\"\npath = \"/chat\"\napi = \"{api}\"\n\
         [endpoint.models]\nmethod = \"GET\"\npath = \"/models\"\n"
    )
}

/// The findings about limits, one a line: `file:line message | help`. The providers are `acme`, whose api has all, `blind`, whose
/// api has no usage, `prompts`, whose api has the usage of prompts alone, and `open`, whose api has no cap.
fn found(files: &[(&str, &str)]) -> String {
    let providers = [("acme", "full"), ("blind", "none"), ("prompts", "prompts"), ("open", "open")];
    let providers = providers.map(|(name, api)| (format!("{name}.toml"), provider(name, api)));
    let apis = [
        ("full", FULL),
        ("none", ""),
        ("prompts", "usage.body.input = \"/in\"\n"),
        ("open", "usage.body.output = \"/out\"\n"),
    ];
    let apis = apis.map(|(name, rest)| (format!("apis/{name}.toml"), api(rest)));
    let prices = "title = \"P\"\ncurrency = \"EUR\"\nprice = [{ model = [\"m\"], input = 1 }]\n";
    let mut all = vec![("prices/acme.toml", prices)];
    all.extend(providers.iter().chain(&apis).map(|(path, text)| (path.as_str(), text.as_str())));
    all.extend(files);
    let loaded = shipped::load_with(&all);
    let (_, _, found) = pipeline::check(&loaded);
    let is_about = |one: &&Diagnostic| matches!(one.code, Code::Limit | Code::UncountedUse);
    let others: Vec<_> = found.iter().filter(|one| !is_about(one) && one.is_error()).collect();
    assert!(others.is_empty(), "{others:#?}");
    let place = |at: &Location| {
        format!("{}:{}", at.file.rsplit('/').next().unwrap(), loaded.sources.line_column(at).0)
    };
    let shown = found.iter().filter(is_about).map(|one| {
        assert_eq!(one.is_error(), one.code == Code::Limit);
        let warns = if one.is_error() { "" } else { "warning: " };
        let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        let related = one.related.iter().filter(|_| !one.is_error());
        let related =
            related.map(|(at, label)| format!(" ({}: {label})", place(at))).collect::<Vec<_>>().concat();
        format!("{warns}{} {}{help}{related}", place(&one.at), one.message)
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// A limit `a` for some requests.
fn check(filter: &str, keys: &str, expected: &str) {
    let window = if keys.contains("concurrent") { "" } else { WINDOW };
    let text = format!("[[limit]]\nid = \"a\"\nmatch = {{ {filter} }}\n{keys}\n{window}");
    assert_eq!(found(&[("limits.d/team.toml", &text)]), expected, "{text}");
}

#[test]
fn unknown_names() {
    check("provider = [\"acme\"]", "requests = 1", "");
    check("provider = [\"ac*\", \"*\"], endpoint = [\"chat\", \"mod*\"]", "requests = 1", "");
    check(
        "provider = [\"acem\"]",
        "requests = 1",
        "team.toml:2 no provider is named `acem` | did you mean `acme`?",
    );
    check(
        "provider = [\"acme\", \"lab-*\"]",
        "concurrent = 1",
        "team.toml:2 no provider is named `lab-*` | `tollgate routes` lists all",
    );
    check(
        "endpoint = [\"chta\"]",
        "requests = 1",
        "team.toml:2 no endpoint of these providers is named `chta` | did you mean `chat`?",
    );
    check(
        "endpoint = [\"embed-*\"]",
        "requests = 1",
        "team.toml:2 no endpoint of these providers is named `embed-*` | `tollgate routes` lists all",
    );
}

#[test]
fn unknown_names_in_rules() {
    let check = |rule: &str, expected: &str| {
        let text = format!("[[allow]]\n{rule}\n");
        assert_eq!(found(&[("limits.d/team.toml", &text)]), expected, "{text}");
    };
    check("providers = [\"acme\"]\nendpoints = [\"chat\"]\nmodels = [\"any\"]", "");
    check("providers = [\"acem\"]", "team.toml:1 no provider is named `acem` | did you mean `acme`?");
    check(
        "endpoints = [\"chat\", \"chta\"]",
        "team.toml:1 no endpoint of these providers is named `chta` | did you mean `chat`?",
    );
}

#[test]
fn usage_that_no_endpoint_has() {
    let acme = "provider = [\"acme\"]";
    for measure in ["tokens", "input_tokens", "output_tokens"] {
        check(acme, &format!("{measure} = 1"), "");
        check("", &format!("{measure} = 1"), "");
        let none = format!(
            "team.toml:2 limit `a` counts {measure}, and no endpoint that it is for has them | the `api` of an endpoint has to have `usage`; or limit `requests`"
        );
        check("provider = [\"blind\"]", &format!("{measure} = 1"), &none);
        let named = format!(
            "team.toml:2 limit `a` counts {measure} of `models`, and no api file says where its answers have them | name endpoints with an `api` that has `usage`, or limit `requests`"
        );
        check("endpoint = [\"chat\", \"models\"]", &format!("{measure} = 1"), &named);
    }
    // Prompts alone are counted there.
    let prompts = "provider = [\"prompts\"]";
    check(prompts, "tokens = 1\nreserve = \"none\"", "");
    check(prompts, "input_tokens = 1", "");
    check(
        prompts,
        "output_tokens = 1",
        "team.toml:2 limit `a` counts output_tokens, and no endpoint that it is for has them | the `api` of an endpoint has to have `usage`; or limit `requests`",
    );
    for keys in ["requests = 1", "bytes = 1", "concurrent = 1"] {
        check("provider = [\"blind\"], endpoint = [\"models\"]", keys, "");
    }
}

#[test]
fn models_and_caps_that_no_endpoint_has() {
    check("provider = [\"acme\"], model = [\"large-*\"]", "requests = 1", "");
    check("model = [\"large-*\"]", "requests = 1", "");
    check("provider = [\"blind\"], model = [\"*\"]", "requests = 1", "");
    check(
        "provider = [\"blind\"], model = [\"large-*\"]",
        "requests = 1",
        "team.toml:2 limit `a` is for models, and no endpoint that it is for names one | the `api` of an endpoint has to have `request.model`",
    );
    check("provider = [\"acme\"]", "tokens = 1\nreserve = \"max\"", "");
    check("provider = [\"prompts\"]", "tokens = 1\nreserve = \"max\"", "");
    check(
        "provider = [\"open\"]",
        "tokens = 1\nreserve = \"max\"",
        "team.toml:2 limit `a` reserves the most that a request can use, and no endpoint that it is for has a cap | write `reserve = \"learned\"`, or name the cap in the api file: `request.max_output`",
    );
    // The cap is one of answers.
    check("provider = [\"prompts\"]", "input_tokens = 1\nreserve = \"max\"", "");
}

#[test]
fn currencies_without_prices() {
    check("provider = [\"acme\"]", "cost = \"1 EUR\"\nno_price = \"free\"", "");
    check("", "cost = \"1 EUR\"\nno_price = \"free\"", "");
    let none = |currency: &str| {
        format!(
            "team.toml:2 limit `a` is in {currency}, and no model that it is for has a price in {currency} | write a price file in that currency, or the limit in the currency of the prices"
        )
    };
    check("", "cost = \"1 CHF\"\nno_price = \"free\"", &none("CHF"));
    check("provider = [\"prompts\"]", "cost = \"1 EUR\"\nno_price = \"reject\"", &none("EUR"));
}

/// Findings about a limit of cost of these keys, and these prices of `acme`, which counts tokens.
fn priced(limit: &str, prices: &str, expected: &str) {
    let limit = format!("[[limit]]\nid = \"a\"\n{WINDOW}cost = \"1 EUR\"\nno_price = \"reject\"\n{limit}\n");
    let prices = format!("title = \"P\"\ncurrency = \"EUR\"\n{prices}\n");
    let files = [("limits.d/team.toml", &*limit), ("prices/acme.toml", &*prices)];
    assert_eq!(found(&files), expected, "{limit}{prices}");
}

#[test]
fn prices_of_units_that_nobody_counts() {
    let price = |keys: &str| format!("[[price]]\nmodel = [\"m\", \"n-*\"]\n{keys}");
    let uncounted = |line: usize, unit: &str| {
        format!(
            "warning: acme.toml:{line} the price for `{unit}` is never charged, since no api of provider `acme` counts it: under a limit of cost it is free | name the place of `{unit}` in the api file (`usage`), or limit `requests` of these models, too (team.toml:2: such a limit)"
        )
    };
    priced("", &price("input = 1"), "");
    priced("", &price("input = 1\noutput = 1\ncache_read = 1\nreasoning = 1\naudio_output = 1"), "");
    priced("", &price("images = 0"), "");
    for unit in ["images", "characters", "seconds", "units"] {
        priced("", &price(&format!("{unit} = 1")), &uncounted(3, unit));
    }
    let both = format!("{}\n{}", uncounted(3, "images"), uncounted(3, "seconds"));
    priced("", &price("input = 1\nimages = 1\nseconds = 1"), &both);
    // The first price of a file stands for all that have the unit.
    priced(
        "",
        &format!(
            "{}\n{}",
            price("input = 1"),
            price("images = 1").replace("\"m\"", "\"o\"").replace("n-", "p-")
        ),
        &uncounted(6, "images"),
    );
    let tier = price("input = 1\ntier = [{ over = 200_000, images = 1 }]");
    priced("", &tier, &uncounted(3, "images"));
    // Only if a limit of cost is for such calls.
    priced(
        "match = { provider = [\"acme\"], model = [\"n-1\"] }",
        &price("images = 1"),
        &uncounted(3, "images"),
    );
    priced(
        "match = { model = [\"m\"] }",
        &price("images = 1").replace(", \"n-*\"", ""),
        &uncounted(3, "images"),
    );
    priced("match = { model = [\"o\"] }", &price("images = 1").replace(", \"n-*\"", ""), "");
    let other =
        format!("[[price]]\nprovider = [\"prompts\"]\nmodel = [\"m\"]\noutput = 1\n{}", price("input = 1"));
    priced("match = { provider = [\"acme\"] }", &other, "");
    priced("", &other, &uncounted(3, "output").replace("`acme`", "`prompts`"));
    priced("", &other.replace("prompts", "*"), &uncounted(3, "output").replace("`acme`", "`blind`"));
    // Nothing to say without a limit of cost in this currency.
    let prices = format!("title = \"P\"\ncurrency = \"EUR\"\n{}\n", price("images = 1"));
    let text = format!("[[limit]]\nid = \"a\"\nrequests = 1\n{WINDOW}");
    assert_eq!(found(&[("limits.d/team.toml", &text), ("prices/acme.toml", &prices)]), "");
}

#[test]
fn ids_of_several_files() {
    let text = format!("[[limit]]\nid = \"a\"\nrequests = 1\n{WINDOW}");
    assert_eq!(
        found(&[("limits.d/one.toml", &text), ("limits.d/two.toml", &text)]),
        "two.toml:2 another file has a limit `a`, too: this one does not count | give it an id of its own"
    );
}

#[test]
fn findings_are_bounded() {
    let limit =
        |id: usize| format!("[[limit]]\nid = \"a{id}\"\nmatch.provider = [\"none\"]\nrequests = 1\n{WINDOW}");
    let text: String = (0..1000).map(limit).collect::<Vec<_>>().concat();
    let lines = found(&[("limits.d/one.toml", &text)]).lines().count();
    assert!(lines > 50 && lines <= 1000, "{lines}");
}
