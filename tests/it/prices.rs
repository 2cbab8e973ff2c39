//! Price files through the real binary: the commands that know them, and a running server that reloads them.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use tollgate::store::UsageKey;

use crate::{
    harness::{CommandOutput, Home, Site, over_socket},
    usage::{fill, key, sums},
};

const DEMO: &str = "title = \"Demo\"\nbase_url = \"https://api.example.com\"\npath_prefix = \"/demo\"\nendpoint.get = { method = \"GET\", path = \"/get\" }\n";

fn prices(input: &str) -> String {
    format!(
        "title = \"Demo\"\ncurrency = \"EUR\"\nsource = \"https://example.com/prices\"\ndate = \"2026-11-20\"\n\n\
         [[price]]\nmodel = [\"m\", \"m-2026-*\"]\ninput = {input}\ntier = [{{ over = 1000, input = 9 }}]\n\n\
         [[price]]\nmodel = [\"m\"]\nfrom = \"2026-06-01\"\ninput = 0.5\nimages = 0.04\n"
    )
}

fn check(said: &CommandOutput, code: i32, out: &[&str], err: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for (text, parts) in [(&said.out, out), (&said.err, err)] {
        for part in parts {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
    }
}

#[test]
fn the_entry_that_applies_is_shown() {
    let home = Home::new(&[("demo", DEMO), ("prices/demo", &prices("1.25"))]);
    let price = |args: &[&str]| home.run(&[&["price", "demo"], args].concat(), "");
    let first = price(&["m", "--day", "2026-05-31"]);
    check(
        &first,
        0,
        &[
            "demo m on 2026-05-31: ",
            "prices/demo.toml:7 (`demo` `m`)\n",
            "1.25 EUR per million\n",
            "  of a prompt of more than 1000 tokens:\n",
            "  source: https://example.com/prices, read on 2026-11-20\n",
        ],
        &[],
    );
    assert!(!first.out.contains("also matches"), "{}", first.out);
    let later = price(&["m"]);
    check(
        &later,
        0,
        &[
            "prices/demo.toml:12 (`demo` `m` from 2026-06-01)\n",
            "0.04 EUR each\n",
            "  also matches: ",
            "prices/demo.toml:7 ",
        ],
        &[],
    );
    let document: Value = serde_json::from_str(&price(&["m-2026-07", "--json"]).out).unwrap();
    let entry = &document["entries"][0];
    assert_eq!(
        (&entry["model"], &entry["prices"]["input"], &entry["tiers"][0]["over"], &entry["line"]),
        (&"m-2026-*".into(), &"1.25".into(), &1000.into(), &7.into()),
    );
    check(&price(&["M"]), 1, &[], &["no price for `M` of `demo` on ", "there is one for `m`"]);
    let later = prices("1.25")
        .replace("model = [\"m\", \"m-2026-*\"]", "model = [\"m\", \"m-2026-*\"]\nfrom = \"2026-12-01\"");
    let later = Home::new(&[("demo", DEMO), ("prices/demo", &later)]);
    let price_then = |model: &str, day: &str| later.run(&["price", "demo", model, "--day", day], "");
    let expected = "no price for `m-2026-07` of `demo` on 2026-11-30; its first price begins on 2026-12-01\n";
    check(&price_then("m-2026-07", "2026-11-30"), 1, &[], &[expected]);
    let expected = "no price for `m` of `demo` on 2026-05-31; its first price begins on 2026-06-01\n";
    check(&price_then("m", "2026-05-31"), 1, &[], &[expected]);
    check(&price_then("m-2026-07", "2026-12-01"), 0, &["from 2026-12-01"], &[]);
    check(&price(&["m", "--day", "2026-02-30"]), 2, &[], &["`--day 2026-02-30` is no day"]);
    home.write("prices/demo", "title = 1");
    check(&price(&["m"]), 1, &[], &["TG011", "no price for `m`"]);
}

#[test]
fn tests_of_prices_run() {
    let test = "\n[[test]]\nname = \"a thousand\"\nusage = { model = \"m\", input = 1000 }\nexpect = { cost = \"0.0005\", context = 0 }\n";
    let home = Home::new(&[("demo", DEMO), ("prices/demo", &format!("{}{test}", prices("1")))]);
    check(&home.run(&["test"], ""), 0, &["1 test: 1 passed, 0 failed"], &[]);
    home.write("prices/demo", &format!("{}{}", prices("1"), test.replace("0005", "0006")));
    let said = home.run(&["test", "--filter", "prices/demo::a thousand", "--junit", "out.xml"], "");
    check(
        &said,
        1,
        &["FAIL prices/demo::a thousand  (", "  cost\n    - expected `0.0006`\n    + actual   `0.0005`\n"],
        &[],
    );
    assert!(fs::read_to_string(home.path("out.xml")).unwrap().contains("name=\"a thousand\""));
    check(
        &home.run(&["check"], ""),
        1,
        &[],
        &["test `a thousand` fails: cost is `0.0005`, expected `0.0006`"],
    );
}

#[test]
fn a_changed_price_is_no_change_of_access() {
    let home = Home::new(&[("demo", DEMO), ("prices/demo", &prices("1"))]);
    let old = home.path("old");
    fs::create_dir_all(old.join("prices")).unwrap();
    fs::write(old.join("demo.toml"), DEMO).unwrap();
    fs::write(old.join("prices/demo.toml"), prices("2")).unwrap();
    let diff = |format: &str| home.run(&["diff", "old", "providers.d", "--format", format], "");
    check(
        &diff("human"),
        1,
        &[
            "different: 2 prices changed; nothing widens exposure\n",
            "prices, without effect on access:\n",
            "  ~ price demo m: input 2 EUR; over 1000 tokens: input 9 => input 1 EUR; over 1000 tokens: input 9\n",
            "  ~ price demo m-2026-*: ",
        ],
        &[],
    );
    let document: Value = serde_json::from_str(&diff("json").out).unwrap();
    assert_eq!((&document["verdict"], &document["groups"]), (&"different".into(), &Value::Array(Vec::new())));
    assert_eq!(
        (&document["prices"][0]["what"], &document["prices"][0]["widens"]),
        (&"price".into(), &Value::Null)
    );
    check(&diff("markdown"), 1, &["**prices, without effect on access:**", "<code>demo m</code>"], &[]);
    // An entry in another file is the same price.
    fs::rename(old.join("prices/demo.toml"), old.join("prices/more.toml")).unwrap();
    let moved = prices("1").replace("model", "provider = [\"demo\"]\nmodel");
    fs::write(old.join("prices/more.toml"), moved).unwrap();
    check(&diff("human"), 0, &["the same"], &[]);
}

#[test]
fn a_running_server_keeps_the_last_good_prices() {
    let mut site = Site::stopped("demo=1");
    let prices = |input: &str| prices(input).replace("EUR", "USD");
    site.home.write("prices/demo", &prices("1"));
    site.start(&[]);
    site.serves("demo=1");
    let served = |site: &Site, input: &str, expected: i32| {
        let socket = format!("socket:{}", site.home.data().display());
        let other = site.home.path("other");
        fs::create_dir_all(other.join("prices")).unwrap();
        fs::copy(site.file("demo"), other.join("demo.toml")).unwrap();
        fs::write(other.join("prices/demo.toml"), prices(input)).unwrap();
        let said = site.home.run(&["diff", &socket, "other"], "");
        assert_eq!(said.code, expected, "{said:?}");
    };
    served(&site, "1", 0);
    served(&site, "2", 1);
    site.home.write("prices/demo", &prices("2"));
    site.logs(0, &["provider files reloaded", "\"changed\":\"prices/demo\""]);
    served(&site, "2", 0);
    site.home.write("prices/demo", &prices("-3"));
    site.logs(0, &["some are not live", "\"stale\":\"prices/demo\""]);
    let stale = |site: &Site| {
        check(
            &site.home.run(&["status"], ""),
            1,
            &["stale", "prices/demo.toml", "`input` has to be at least 0"],
            &[],
        );
        site.serves("demo=1");
        served(site, "2", 0);
    };
    stale(&site);
    // Also after a restart.
    site.stop(Signal::TERM);
    site.start(&[]);
    stale(&site);
    site.home.write("prices/demo", &prices("4"));
    assert_eq!(site.reload()["ok"], Value::Bool(true));
    served(&site, "4", 0);
}

#[test]
fn a_server_of_the_built_in_files_reads_a_first_price_file_at_its_next_start() {
    let mut site = Site::stopped("");
    fs::remove_dir_all(site.home.providers()).unwrap();
    let default = [("TOLLGATE_PROVIDERS", "")];
    site.start_with(&default);
    let built_in = site.status()["counts"]["providers"].clone();
    assert!(built_in.as_u64().is_some_and(|number| number > 1), "{built_in}");
    fs::create_dir_all(site.home.providers().join("prices")).unwrap();
    let own = "title = \"Own\"\ncurrency = \"EUR\"\nprice = [{ provider = [\"*\"], model = [\"own-1\"], input = 2.5 }]\n";
    site.home.write("prices/own", own);
    let run = |site: &Site, args: &[&str]| site.home.run(args, "");
    let note = "note: the running tollgate serves the built-in files and does not read `";
    check(&run(&site, &["check"]), 0, &["ok"], &[]);
    for args in [&["reload"][..], &["status"], &["price", "any", "own-1"]] {
        check(&run(&site, args), 0, &[], &[note, "restart it"]);
    }
    site.stop(Signal::TERM);
    site.start_with(&default);
    assert_eq!(site.status()["counts"]["providers"], built_in);
    let said = run(&site, &["reload"]);
    check(&said, 0, &["watching by"], &[]);
    assert!(!said.err.contains("note:"), "{said:?}");
    let socket = format!("socket:{}", site.home.data().display());
    check(&run(&site, &["diff", &socket, "providers.d"]), 0, &["the same"], &[]);
}

/// The ledger's key has a boundary of the prompt, and the exchange its tokens.
#[test]
fn a_single_exchange_is_priced_by_its_exact_prompt() {
    let mut site = Site::stopped("a=1");
    let ada = "0f000000-0000-4000-8000-000000000001";
    fill(&site.home, vec![(UsageKey { context: 128_000, ..key(ada, "m") }, sums(1, 150_001, 0))]);
    let price = "title = \"A\"\ncurrency = \"USD\"\n[[price]]\nmodel = [\"m\"]\ninput = 1\ntier = [{ over = 150000, input = 100 }]\n";
    site.home.write("prices/a", price);
    site.start(&[]);
    let usage = |path: &str| over_socket(&site.home.data(), &format!("GET /admin/usage{path}")).1;
    assert_eq!(usage("/recent")["exchanges"][0]["cost"], serde_json::json!({ "USD": "15.0001" }));
    assert_eq!(usage("")["total"]["cost"], serde_json::json!({ "USD": "0.150001" }));
    check(
        &site.home.run(&["check"], ""),
        0,
        &["ok, "],
        &["warning[TG083]: no usage from before this entry is split at 150000 prompt tokens"],
    );
}
