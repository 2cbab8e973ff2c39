//! Findings about files of limits.

mod calls;

use std::sync::Arc;

use super::{super::compile as compile_all, LimitFile};
use crate::{
    base::{
        budget::{Budget, MAX_BYTES, Used},
        diag::{Diagnostic, Sources},
        name::FileName,
    },
    language::{
        compile::Files,
        syntax::{self, Slot},
    },
};

/// A limit without fault, but for the keys that a test adds.
const HEAD: &str = "[[limit]]\nid = \"a\"\n";
const DAY: &str = "window = { every = \"day\" }\n";

type ParsedFile = (FileName, Slot<syntax::LimitsFile>, Vec<Diagnostic>);

fn parse(name: &str, text: &str) -> ParsedFile {
    let (slot, found) = syntax::parse(&format!("{name}.toml").as_str().into(), text);
    (FileName::new(name).unwrap(), slot, found)
}

/// The files without fault, and the findings about the others.
fn compiled(files: Vec<ParsedFile>) -> (Vec<Arc<LimitFile>>, Vec<Diagnostic>) {
    let mut all = Files::default();
    let mut found = Vec::new();
    for (name, slot, more) in files {
        all.limits.insert(name, slot);
        found.extend(more);
    }
    let compiled = compile_all(&all);
    found.extend(compiled.diagnostics);
    (compiled.limits, found)
}

/// Findings, one a line: `code line:column message | help`.
fn lines(found: &[Diagnostic], sources: &Sources) -> String {
    let line = |one: &Diagnostic| {
        let (line, column) = sources.line_column(&one.at);
        let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{} {line}:{column} {}{help}", one.code.as_str(), one.message)
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The findings about a file.
fn check(text: &str, expected: &str) {
    let mut sources = Sources::default();
    sources.insert("demo.toml".into(), text.into());
    let (files, found) = compiled(vec![parse("demo", text)]);
    assert_eq!(files.is_empty(), !found.is_empty(), "{text}");
    assert_eq!(lines(&found, &sources), expected, "\n{text}");
}

/// The findings about a limit with these keys, which begin on line 3.
fn limit(keys: &str, expected: &str) {
    check(&format!("{HEAD}{keys}"), expected);
}

#[test]
fn a_limit_has_one_amount() {
    limit("requests = 1\nwindow = { every = \"day\" }", "");
    limit("requests = 1000000000000000\nwindow = { every = \"day\" }", "");
    limit(
        "window = { every = \"day\" }",
        "TG012 1:1 the limit has no amount | write one of `requests`, `tokens`, `input_tokens`, `output_tokens`, `cost`, `bytes` and `concurrent`",
    );
    limit(
        "requests = 1\ntokens = 1\nwindow = { every = \"day\" }",
        "TG090 4:1 the limit has two amounts, `requests` and `tokens` | make a limit of each, with an id of its own",
    );
    limit(
        "bytes = 1\ncost = \"1 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG090 4:1 the limit has two amounts, `bytes` and `cost` | make a limit of each, with an id of its own",
    );
    limit(
        "requests = 1\ntokens = 1\nbytes = 1\nwindow = { every = \"day\" }",
        "TG090 4:1 the limit has two amounts, `requests` and `tokens` | make a limit of each, with an id of its own",
    );
    limit(
        "requests = 0\nwindow = { every = \"day\" }",
        "TG013 3:12 `requests` has to be at least 1 | for example: 60",
    );
    limit(
        "requests = -1\nwindow = { every = \"day\" }",
        "TG013 3:12 `requests` has to be at least 1 | for example: 60",
    );
    limit(
        "requests = 1e300\nwindow = { every = \"day\" }",
        "TG013 3:12 `requests` has to be at most 1000000000000000 | for example: 60",
    );
    limit(
        "requests = 1.5\nwindow = { every = \"day\" }",
        "TG011 3:12 `requests` is a float, but has to be an integer | for example: 60",
    );
    limit(
        "requests = 1000000000000001\nwindow = { every = \"day\" }",
        "TG013 3:12 `requests` has to be at most 1000000000000000 | for example: 60",
    );
    limit(
        "requests = 99999999999999999999\nwindow = { every = \"day\" }",
        "TG011 3:12 this is a number that does not fit 64 bits",
    );
    limit(
        "requests = \"1\"\nwindow = { every = \"day\" }",
        "TG011 3:12 `requests` is a string, but has to be an integer | for example: 60",
    );
    limit(
        "tokens = 0\nwindow = { every = \"day\" }",
        "TG013 3:10 `tokens` has to be at least 1 | for example: 1000000",
    );
    limit(
        "input_tokens = 0\nwindow = { every = \"day\" }",
        "TG013 3:16 `input_tokens` has to be at least 1 | for example: 1000000",
    );
    limit(
        "output_tokens = 0\nwindow = { every = \"day\" }",
        "TG013 3:17 `output_tokens` has to be at least 1 | for example: 200000",
    );
    limit(
        "bytes = 0\nwindow = { every = \"day\" }",
        "TG013 3:9 `bytes` has to be at least 1 | for example: 1000000000",
    );
    limit("concurrent = 0", "TG013 3:14 `concurrent` has to be at least 1 | for example: 8");
    limit("concurrent = 1000001", "TG013 3:14 `concurrent` has to be at most 1000000 | for example: 8");
    limit(
        "credits = 1\nwindow = { every = \"day\" }",
        "TG010 3:1 unknown key `credits` | known here: `id`, `match`, `per`, `requests`, `tokens`, `input_tokens`, `output_tokens`, `cost`, `bytes`, `concurrent`, `window`, `reserve`, `over`, `warn_at`, `no_price`, `except`",
    );
}

#[test]
fn costs() {
    limit("cost = \"200 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"", "");
    limit("cost = \"0.000000000001 EUR\"\nwindow = { every = \"day\" }\nno_price = \"reject\"", "");
    limit("cost = \"1000000000000 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"", "");
    limit("cost = \" 1   USD \"\nwindow = { every = \"day\" }\nno_price = \"reject\"", "");
    limit(
        "cost = \"200\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `200` is no cost | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = \"\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `` is no cost | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = 200\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG011 3:8 `cost` is an integer, but has to be a string | for example: \"200 USD\"",
    );
    limit(
        "cost = \"200 USX\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `USX` is no currency of ISO 4217 | did you mean `USN`?",
    );
    limit(
        "cost = \"200 usd\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `usd` is no currency of ISO 4217 | did you mean `USD`?",
    );
    limit(
        "cost = \"200 Bitcoin\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `Bitcoin` is no currency of ISO 4217 | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = \"USD 200\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `200` is no currency of ISO 4217 | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = \"0 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 a limit of nothing admits no request | to refuse all calls, write an `[[allow]]` rule; for no limit, remove it",
    );
    limit(
        "cost = \"0.0 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 a limit of nothing admits no request | to refuse all calls, write an `[[allow]]` rule; for no limit, remove it",
    );
    limit(
        "cost = \"-1 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `-1` is no amount: a decimal number of digits, with at most 12 after the point | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = \"1e300 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `1e300` is no amount: a decimal number of digits, with at most 12 after the point | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = \"1.0000000000001 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `1.0000000000001` is no amount: a decimal number of digits, with at most 12 after the point | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = \"1000000000001 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 the cost is more than 1000000000000 USD | write the amount that is meant",
    );
    limit(
        "cost = \"99999999999999999999999999999999999999999 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `99999999999999999999999999999999999999999` is no amount: a decimal number of digits, with at most 12 after the point | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = \"1,5 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `1,5` is no amount: a decimal number of digits, with at most 12 after the point | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
    limit(
        "cost = \"nan USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG013 3:8 `nan` is no amount: a decimal number of digits, with at most 12 after the point | write a number and a currency by its ISO 4217 code, such as `200 USD`",
    );
}

#[test]
fn windows() {
    limit("requests = 1\nwindow = \"total\"", "");
    limit("requests = 1\nwindow = { every = \"month\", tz = \"Europe/Berlin\" }", "");
    limit("requests = 1\nwindow = { sliding = \"1s\" }", "");
    limit("requests = 1\nwindow = { sliding = \"8760h\" }", "");
    limit(
        "requests = 1",
        "TG012 1:1 the limit has no `window` | write the time that the amount is for, such as `window = { every = \"month\" }`, or `\"total\"`",
    );
    limit(
        "requests = 1\nwindow = {}",
        "TG012 4:10 the window has neither `every` nor `sliding` | write `every = \"month\"` (or `hour`, `day`, `week`), or `sliding = \"60s\"`",
    );
    limit(
        "requests = 1\nwindow = \"month\"",
        "TG013 4:10 `window` is not `total` | for example: { every = \"month\", tz = \"Europe/Berlin\" }",
    );
    limit("requests = 1\nwindow = \"totl\"", "TG013 4:10 `window` is not `total` | did you mean `total`?");
    limit(
        "requests = 1\nwindow = 60",
        "TG011 4:10 `window` is an integer, but has to be a string or a table | for example: { every = \"month\", tz = \"Europe/Berlin\" }",
    );
    limit(
        "requests = 1\nwindow = { every = \"year\" }",
        "TG013 4:20 `every` is none of `hour`, `day`, `week`, `month`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\", tz = \"Europe/Berln\" }",
        "TG013 4:32 `Europe/Berln` is no time zone | did you mean `Europe/Berlin`?",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\", tz = \"Nowhere\" }",
        "TG013 4:32 `Nowhere` is no time zone | write a name of the IANA database, such as `Europe/Berlin`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\", tz = \"\" }",
        "TG013 4:32 `` is no time zone | write a name of the IANA database, such as `Europe/Berlin`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\", tz = \"+02:00\" }",
        "TG013 4:32 `+02:00` is no time zone | write a name of the IANA database, such as `Europe/Berlin`",
    );
    limit(
        "requests = 1\nwindow = { sliding = \"0s\" }",
        "TG013 4:22 `0s` is shorter than `1s` | such as `60s`",
    );
    limit(
        "requests = 1\nwindow = { sliding = \"0ms\" }",
        "TG013 4:22 `0ms` is shorter than `1s` | such as `60s`",
    );
    limit(
        "requests = 1\nwindow = { sliding = \"999ms\" }",
        "TG013 4:22 `999ms` is shorter than `1s` | such as `60s`",
    );
    limit(
        "requests = 1\nwindow = { sliding = \"60\" }",
        "TG013 4:22 `60` is no length: it has to be a whole number and `ms`, `s`, `m` or `h` | such as `60s`",
    );
    limit(
        "requests = 1\nwindow = { sliding = \"1 day\" }",
        "TG013 4:22 `1 day` is no length: its unit has to be `ms`, `s`, `m` or `h` | such as `60s`",
    );
    limit(
        "requests = 1\nwindow = { sliding = \"8761h\" }",
        "TG013 4:22 `8761h` is no length: it has to be at most `8760h` | such as `60s`",
    );
    limit(
        "requests = 1\nwindow = { sliding = \"-60s\" }",
        "TG013 4:22 `-60s` is no length: it has to be a whole number and `ms`, `s`, `m` or `h` | such as `60s`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\", sliding = \"60s\" }",
        "TG090 4:10 the window has both `every` and `sliding` | remove one: a window is of the calendar, or slides",
    );
    limit(
        "requests = 1\nwindow = { sliding = \"60s\", tz = \"UTC\" }",
        "TG090 4:29 a sliding window has a `tz` | remove it: only windows of the calendar have a time zone",
    );
    limit(
        "requests = 1\nwindow = { tz = \"UTC\" }",
        "TG012 4:10 the window has neither `every` nor `sliding` | write `every = \"month\"` (or `hour`, `day`, `week`), or `sliding = \"60s\"`",
    );
    limit("concurrent = 8", "");
    limit(
        "concurrent = 8\nwindow = \"total\"",
        "TG090 4:1 a limit of `concurrent` has a `window` | remove it: requests at a time have no window",
    );
    limit(
        "concurrent = 8\nwindow = { every = \"day\" }",
        "TG090 4:1 a limit of `concurrent` has a `window` | remove it: requests at a time have no window",
    );
}

#[test]
fn keys_without_effect() {
    limit("tokens = 1\nwindow = { every = \"day\" }\nreserve = \"max\"", "");
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nreserve = \"max\"",
        "TG090 5:1 `reserve` has no effect on a limit of `requests` | remove it",
    );
    limit(
        "bytes = 1\nwindow = { every = \"day\" }\nreserve = \"learned\"",
        "TG090 5:1 `reserve` has no effect on a limit of `bytes` | remove it",
    );
    limit(
        "concurrent = 1\nreserve = \"none\"",
        "TG090 4:1 `reserve` has no effect on a limit of `concurrent` | remove it",
    );
    limit(
        "cost = \"1 USD\"\nwindow = { every = \"day\" }",
        "TG012 1:1 the limit does not say what becomes of models without a price | write `no_price = \"reject\"`, which refuses them, or `no_price = \"free\"`, which counts nothing",
    );
    limit("cost = \"1 USD\"\nwindow = { every = \"day\" }\nno_price = \"free\"", "");
    limit(
        "tokens = 1\nwindow = { every = \"day\" }\nno_price = \"reject\"",
        "TG090 5:1 `no_price` has no effect on a limit of `tokens` | remove it",
    );
    limit(
        "cost = \"1 USD\"\nwindow = { every = \"day\" }\nno_price = \"ignore\"",
        "TG013 5:12 `no_price` is none of `reject`, `free`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nover = \"block\"",
        "TG013 5:8 `over` is none of `reject`, `warn`",
    );
    limit("requests = 1\nwindow = { every = \"day\" }\nwarn_at = [0.8, 1, 1.0]", "");
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nwarn_at = [0]",
        "TG013 5:12 `0` is no share | write a share of the amount from 0.001 to 1, such as `0.8`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nwarn_at = [0.5, 1.01]",
        "TG013 5:17 `1.01` is no share | write a share of the amount from 0.001 to 1, such as `0.8`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nwarn_at = [-0.1, nan, inf]",
        "TG011 5:18 this is a number that is not finite\nTG011 5:23 this is a number that is not finite",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nwarn_at = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]",
        "TG013 5:11 `warn_at` has more than 8 entries",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nwarn_at = [0.0001]",
        "TG013 5:12 `0.0001` is no share | write a share of the amount from 0.001 to 1, such as `0.8`",
    );
}

#[test]
fn what_has_an_amount() {
    limit("requests = 1\nwindow = { every = \"day\" }\nper = \"group\"", "");
    limit("requests = 1\nwindow = { every = \"day\" }\nper = [\"user\", \"model\"]", "");
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nper = \"users\"",
        "TG013 5:7 `per` is none of `user`, `token`, `group`, `provider`, `model`, `all` | did you mean `user`?",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nper = []",
        "TG013 5:7 `per` has to have at least 1 entry | for example: \"user\"",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nper = [\"user\", \"user\"]",
        "TG090 5:7 `per` names something twice | name each once",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nper = [\"all\", \"user\"]",
        "TG090 5:7 `all` stands beside others in `per` | write `\"all\"` for one amount, or leave it out of the list",
    );
    limit("requests = 1\nwindow = { every = \"day\" }\nper = [\"all\"]", "");
}

#[test]
fn other_amounts_of_users() {
    limit("requests = 1\nwindow = { every = \"day\" }\nexcept = { bob = 5, eve = \"none\" }", "");
    limit(
        "cost = \"1 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"\nexcept = { bob = \"5 USD\", eve = \"none\" }",
        "",
    );
    limit(
        "cost = \"1 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"\nexcept = { bob = \"5 EUR\" }",
        "TG090 6:18 the amount is in another currency than that of the limit, USD | write it in USD",
    );
    limit(
        "cost = \"1 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"\nexcept = { bob = \"5 USX\" }",
        "TG013 6:18 `USX` is no currency of ISO 4217 | did you mean `USN`?",
    );
    limit(
        "cost = \"1 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"\nexcept = { bob = 5 }",
        "TG013 6:18 this is no amount of the limit | write it as `cost` of the limit is written, or `\"none\"`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nexcept = { bob = \"5 USD\" }",
        "TG013 5:18 this is no amount of the limit | write it as `requests` of the limit is written, or `\"none\"`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nexcept = { bob = \"unlimited\" }",
        "TG013 5:18 this is no amount of the limit | write it as `requests` of the limit is written, or `\"none\"`",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nexcept = { bob = 0 }",
        "TG013 5:18 `bob` has to be at least 1",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nexcept = { bob = -5 }",
        "TG013 5:18 `bob` has to be at least 1",
    );
    limit(
        "cost = \"1 USD\"\nwindow = { every = \"day\" }\nno_price = \"reject\"\nexcept = { bob = \"0 USD\" }",
        "TG013 6:18 a limit of nothing admits no request | to refuse all calls, write an `[[allow]]` rule; for no limit, remove it",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nper = \"all\"\nexcept = { bob = 5 }",
        "TG090 6:18 a user has another amount, and the limit has no amount for each user | write `\"none\"`, or a limit of its own for the user",
    );
    limit(
        "requests = 1\nwindow = { every = \"day\" }\nper = [\"group\", \"model\"]\nexcept = { bob = 5 }",
        "TG090 6:18 a user has another amount, and the limit has no amount for each user | write `\"none\"`, or a limit of its own for the user",
    );
    limit("requests = 1\nwindow = { every = \"day\" }\nper = \"all\"\nexcept = { bob = \"none\" }", "");
    limit("requests = 1\nwindow = { every = \"day\" }\nper = \"token\"\nexcept = { bob = 5 }", "");
}

#[test]
fn ids() {
    check(
        "[[limit]]\nrequests = 1\nwindow = { every = \"day\" }",
        "TG012 1:1 entry 1 of `limit` has no `id` | for example: id = \"team-month\"",
    );
    check(
        "[[limit]]\nid = \"A b\"\nrequests = 1\nwindow = { every = \"day\" }",
        "TG013 2:6 `id` is not written in the form that it has to have | for example: \"team-month\"",
    );
    check(
        "[[limit]]\nid = \"\"\nrequests = 1\nwindow = { every = \"day\" }",
        "TG013 2:6 `id` is not written in the form that it has to have | for example: \"team-month\"",
    );
    check(
        &format!("[[limit]]\nid = \"{}\"\nrequests = 1\n{DAY}", "a".repeat(65)),
        "TG013 2:6 `id` has more than 64 characters",
    );
    check(
        "[[limit]]\nid = \"a\"\nrequests = 1\nwindow = { every = \"day\" }\n[[limit]]\nid = \"a\"\ntokens = 1\nwindow = { every = \"day\" }",
        "TG090 6:6 the file has a limit `a` already | give each limit an id of its own: what was used belongs to it",
    );
    check(
        "[[limit]]\nid = \"a\"\nrequests = 1\nwindow = { every = \"day\" }\n[[limit]]\nid = \"b\"\nrequests = 1\nwindow = { every = \"day\" }",
        "",
    );
}

#[test]
fn names_are_globs() {
    limit(
        "match = { user = [\"a*\"], model = [\"*large*\"] }\nrequests = 1\nwindow = { every = \"day\" }",
        "",
    );
    limit(
        "match = { user = [] }\nrequests = 1\nwindow = { every = \"day\" }",
        "TG013 3:18 `user` has to have at least 1 entry | for example: [\"alice\"]",
    );
    limit(
        "match = { user = [\"\"] }\nrequests = 1\nwindow = { every = \"day\" }",
        "TG013 3:19 the name is empty | write a name, or a glob such as `lab-*`",
    );
    limit(
        "match = { group = [\"a\", \"********* \"] }\nrequests = 1\nwindow = { every = \"day\" }",
        "TG013 3:25 the name has more than 8 `*` | write a name, or a glob such as `lab-*`",
    );
    limit(
        &format!("match = {{ provider = [\"{}\"] }}\nrequests = 1\n{DAY}", "p".repeat(257)),
        "TG013 3:23 the name has more than 256 characters | write a name, or a glob such as `lab-*`",
    );
    limit(
        "match = { endpoint = \"chat\" }\nrequests = 1\nwindow = { every = \"day\" }",
        "TG011 3:22 `endpoint` is a string, but has to be an array | for example: [\"chat\"]",
    );
    limit(
        &format!("match = {{ user = [{}] }}\nrequests = 1\n{DAY}", vec!["\"u\""; 65].join(", ")),
        "TG013 3:18 `user` has more than 64 entries",
    );
    limit(
        "match = { token = [\"admin\"] }\nrequests = 1\nwindow = { every = \"day\" }",
        "TG013 3:20 entry 1 of `token` is none of `proxy`, `both`, `paste`",
    );
    limit(
        "match = { key = \"other\" }\nrequests = 1\nwindow = { every = \"day\" }",
        "TG013 3:17 `key` is none of `own`, `shared`",
    );
    limit(
        "match = { team = [\"a\"] }\nrequests = 1\nwindow = { every = \"day\" }",
        "TG010 3:11 unknown key `team` | known here: `user`, `group`, `token`, `provider`, `endpoint`, `model`, `key`",
    );
}

#[test]
fn rules() {
    check("[[allow]]\nmodels = [\"m\"]", "");
    check("", "");
    check("allow = []\nlimit = []\n", "");
    check(
        "[[allow]]",
        "TG012 1:1 the rule allows everything | write `providers`, `endpoints` or `models`, or remove the rule",
    );
    check(
        "[[allow]]\nmatch = { group = [\"interns\"] }",
        "TG012 1:1 the rule allows everything | write `providers`, `endpoints` or `models`, or remove the rule",
    );
    check(
        "[[allow]]\nmodels = []",
        "TG013 2:10 `models` has to have at least 1 entry | for example: [\"example-mini-*\"]",
    );
    check(
        "[[allow]]\nmodels = [\"a*a*a*a*a*a*a*a*a*\"]",
        "TG013 2:11 the name has more than 8 `*` | write a name, or a glob such as `lab-*`",
    );
    check(
        "[[allow]]\nproviders = [\"\"]\nendpoints = [\"\"]",
        "TG013 2:14 the name is empty | write a name, or a glob such as `lab-*`\nTG013 3:14 the name is empty | write a name, or a glob such as `lab-*`",
    );
    check(
        "[[allow]]\nmatch = { provider = [\"x\"] }\nmodels = [\"m\"]",
        "TG010 2:11 unknown key `provider` | known here: `user`, `group`, `token`",
    );
    check(
        "[[deny]]\nmodels = [\"m\"]",
        "TG010 1:3 unknown key `deny` | known here: `language`, `limit`, `allow`, `test`",
    );
}

#[test]
fn tests_of_a_file() {
    check("[[test]]\nname = \"t\"\ncalls = { request = { path = \"/p\" } }\nexpect = { admitted = 1 }", "");
    check(
        "[[test]]\nname = \"t\"\ncalls = { request = { path = \"/p\" }, from = \"2026-13-01T00:00:00Z\" }\nexpect = {}",
        "TG013 3:45 `2026-13-01T00:00:00Z` is no time in UTC in the form `2026-01-31T12:00:00Z` | such as `2026-03-31T21:59:00Z`",
    );
    check(
        "[[test]]\nname = \"t\"\ncalls = { request = { path = \"/p\" }, within = \"soon\" }\nexpect = {}",
        "TG013 3:47 `soon` is no length: it has to be a whole number and `ms`, `s`, `m` or `h` | such as `30s`",
    );
    check(
        "[[test]]\nname = \"t\"\ncalls = { request = { path = \"/p\" }, count = 10001 }\nexpect = {}",
        "TG013 3:46 `count` has to be at most 10000 | for example: 61",
    );
    check(
        "[[test]]\nname = \"t\"\nexpect = {}",
        "TG012 1:1 entry 1 of `test` has no `calls` | for example: calls = { count = 61, within = \"30s\", request = { method = \"POST\", path = \"/proxy/example/v1/chat\" } }",
    );
}

#[test]
fn numbers_of_entries_are_bounded() {
    let file = |number: usize| {
        let limit = |id| format!("[[limit]]\nid = \"a{id}\"\nrequests = 1\nwindow = \"total\"\n");
        (0..number).map(limit).collect::<Vec<_>>().concat()
    };
    let (files, found) = compiled(vec![parse("demo", &file(1000))]);
    assert_eq!((files[0].limits.len(), found.as_slice()), (1000, [].as_slice()));
    let many = |limit: &str, number: usize| format!("limit = [{}]", format!("{limit},").repeat(number));
    // The last one has more than a file may have.
    for text in [file(1001), many("{}", 340_000), many("{id=\"a\"}", 100_000), many("{}", 1_000_000)] {
        let (files, found) = compiled(vec![parse("demo", &text)]);
        let codes: Vec<_> = found.iter().map(|one| one.code.as_str()).collect();
        assert!(files.is_empty() && !codes.is_empty() && codes.len() < 1100, "{codes:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let text = format!("{HEAD}requests = 1\n{DAY}");
    let (name, slot, _) = parse("demo", &text);
    let parsed = slot.unwrap();
    let check = |left: u64, good: bool| {
        let budget = Budget::after(Used { steps: 0, bytes: MAX_BYTES - left });
        let (file, found) = super::compile(&name, &parsed, &budget);
        assert_eq!((file.is_some(), found.as_slice()), (good, [].as_slice()), "{left}");
    };
    check(1 << 10, true);
    check(10, false);
}

/// A hint of one value does not take the place of the list.
#[test]
fn values_of_a_list_are_listed() {
    for (keys, place, given, all, hint) in [
        ("per = \"usr\"", "5:7", "`per`", "`user`, `token`, `group`, `provider`, `model`, `all`", "user"),
        (
            "per = [\"user\", \"modl\"]",
            "5:16",
            "entry 2 of `per`",
            "`user`, `token`, `group`, `provider`, `model`, `all`",
            "model",
        ),
        ("over = \"rejct\"", "5:8", "`over`", "`reject`, `warn`", "reject"),
        ("reserve = \"maxi\"", "5:11", "`reserve`", "`none`, `learned`, `max`", "max"),
        ("no_price = \"fre\"", "5:12", "`no_price`", "`reject`, `free`", "free"),
        ("match = { key = \"shard\" }", "5:17", "`key`", "`own`, `shared`", "shared"),
    ] {
        let expected = format!("TG013 {place} {given} is none of {all} | did you mean `{hint}`?");
        limit(&format!("requests = 1\n{DAY}{keys}"), &expected);
    }
    limit(
        "requests = 1\nwindow = { every = \"moth\" }",
        "TG013 4:20 `every` is none of `hour`, `day`, `week`, `month` | did you mean `month`?",
    );
}
