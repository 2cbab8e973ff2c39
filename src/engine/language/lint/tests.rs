//! The findings of each lint.

use crate::{
    base::diag::{Code, Severity},
    language::lint::{Level, Levels},
    pipeline::{self, Loaded},
    shipped,
};

const HEAD: &str = "title = \"X\"\npath_prefix = \"/x\"\n";
const URL: &str = "base_url = \"https://x.example\"\n";
const CHAT: &str = "[endpoint.chat]\nmethod = \"POST\"\npath = \"/v1/chat\"\n";
const CHAT_TEST: &str =
    "[[test]]\nname = \"t\"\nrequest = { method = \"POST\", path = \"/x/v1/chat\" }\nexpect = {}\n";
const RELAY: &str = "title = \"R\"\nbase_url = \"https://r.example/v1\"\nvars.key = { env = \"K\" }\n";

fn loaded(files: &[(&str, &str)], levels: Levels) -> Loaded {
    let files: Vec<_> = files.iter().map(|(name, text)| (format!("{name}.toml"), *text)).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let loaded = shipped::load_with(&files);
    Loaded { levels, ..loaded }
}

/// The findings, each as `TG060 file:line`.
fn found(files: &[(&str, &str)]) -> String {
    let loaded = loaded(files, Levels::default());
    let (_, _, found) = pipeline::check(&loaded);
    let shown = found.iter().map(|one| {
        let file = one.at.file.rsplit('/').next().unwrap();
        format!("{} {file}:{}", one.code.as_str(), loaded.sources.line_column(&one.at).0)
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// A provider with more keys before its tables, and more tables.
fn check(keys: &str, tables: &str, expected: &str) {
    let url = if keys.contains("base_url") { "" } else { URL };
    let text = format!("{HEAD}{keys}{url}{tables}{CHAT}{CHAT_TEST}");
    assert_eq!(found(&[("x", &text)]), expected, "{text}");
}

#[test]
fn literals_are_found_anywhere_in_a_file() {
    check("", "[headers.set]\nx-a = \"Bearer 9fK2mQ7xL4pR8tW1zB6n\"\n", "TG060 x.toml:5");
    check("docs = \"https://x.example\" # sk-0123456789abcdefghij\n", "", "TG060 x.toml:3");
    check("docs = \"https://x.example\" # sk-...\n", "[headers.set]\nx-a = \"2025-04-20\"\n", "");
    assert_eq!(found(&[("x", "key = sk-0123456789abcdefghij\n")]), "TG003 x.toml:1, TG060 x.toml:1");
}

#[test]
fn plain_http_is_allowed_to_this_machine_only() {
    for host in ["127.0.0.1:80", "localhost", "[::1]:8080", "app.localhost", "127.9.9.9"] {
        check(&format!("base_url = \"http://{host}/a\"\n"), "", "");
    }
    for host in ["x.example", "10.0.0.1:80", "127.example", "localhost.example"] {
        check(&format!("base_url = \"http://{host}\"\n"), "", "TG062 x.toml:3");
    }
    check("", "[[egress]]\nurl = \"http://p.example/?u={url|urlencode}\"\n", "TG062 x.toml:5");
}

#[test]
fn repeated_versions_are_found() {
    check("base_url = \"https://x.example/v1\"\n", "", "TG061 x.toml:3");
    check("base_url = \"https://x.example/api/v1/\"\n", "", "TG061 x.toml:3");
    check("base_url = \"https://x.example/v2\"\n", "", "");
    check("base_url = \"https://x.example/demo\"\n", "", "");
    let through = |path: &str, expected: &str| {
        let text = format!("{HEAD}{URL}[gateway.relay]\n{path}\n{CHAT}{CHAT_TEST}");
        assert_eq!(found(&[("gateways/relay", RELAY), ("x", &text)]), expected, "{path}");
    };
    through("path = \"/x/v1{path}\"", "TG061 x.toml:4");
    through("path = \"/v1/x{path}\"", "TG061 x.toml:4");
    through("path = \"/x{path}\"", "");
    through("strip = \"/v1\"\npath = \"/x/v1{path}\"", "");
}

#[test]
fn rules_that_never_apply() {
    check("", "[headers]\nremove = [\"x-a\", \"x-*\"]\n", "TG063 x.toml:5");
    check("", "[headers]\nremove = [\"X-A\", \"x-a\"]\n", "TG063 x.toml:5");
    check("", "[caller]\nsubprotocol = [\"example-key.\"]\n", "TG063 x.toml:5");
    check(
        "",
        "[headers]\nremove = [\"x-a*\", \"x-b*\"]\ndefault = { x-c = \"1\" }\nset = { x-d = \"2\" }\n",
        "",
    );
    check("", "[headers]\ndefault = { X-C = \"1\" }\nset = { x-c = \"2\" }\n", "TG063 x.toml:5");
    let answers = |first: &str, second: &str| {
        let rule = |when: &str| {
            format!("[[response]]\nwhen = {{ {when} }}\nreply = {{ status = 502, message = \"m\" }}\n")
        };
        format!("{}{}", rule(first), rule(second))
    };
    check("", &answers("status = 403", "status = 403, content_type = \"text/html*\""), "TG063 x.toml:7");
    check("", &answers("status = 403, content_type = \"text/html*\"", "status = 403"), "");
    check("", &answers("content_type = \"text/*\"", "content_type = \"text/html*\""), "TG063 x.toml:7");
    let auth = |first: &str, second: &str| {
        let entry = |glob: &str| {
            format!("[[auth]]\nfield = \"k\"\nmatch = \"{glob}\"\nset = {{ x-k = \"{{secret}}\" }}\n")
        };
        format!("[credentials]\nfield = [{{ name = \"k\" }}]\n{}{}", entry(first), entry(second))
    };
    let entries = |first: &str, second: &str, expected: &str| {
        let text = format!(
            "{HEAD}{URL}{}{CHAT}{CHAT_TEST}credentials = {{ k = \"sk-a-1\" }}\n",
            auth(first, second)
        );
        assert_eq!(found(&[("x", &text)]), expected, "{text}");
    };
    entries("sk-*", "sk-a-*", "TG063 x.toml:10");
    entries("sk-a-*", "sk-*", "");
}

#[test]
fn endpoints_are_covered_by_their_own_tests_or_those_of_their_preset() {
    let two = "[endpoint.two]\nmethod = \"GET\"\npath = \"/v1/models/{id}\"\n";
    check("", two, "TG064 x.toml:4");
    check(
        "",
        &format!(
            "{two}[[test]]\nname = \"2\"\nrequest = {{ path = \"/x/v1/models/7?a=1\" }}\nexpect = {{}}\n"
        ),
        "",
    );
    let preset = "path_prefix = \"/{provider}\"\n[endpoint.chat]\nmethod = \"POST\"\npath = \"/chat\"\n";
    let test = "[[test]]\nname = \"t\"\nprovider = { title = \"T\", base_url = \"https://t.example\" }\nrequest = { method = \"POST\", path = \"/fixture/chat\" }\nexpect = {}\n";
    let own = format!("title = \"X\"\nextends = \"p\"\n{URL}");
    let tested = format!("{preset}{test}");
    assert_eq!(found(&[("presets/p", &tested), ("x", &own)]), "");
    assert_eq!(found(&[("presets/p", preset), ("x", &own)]), "TG064 x.toml:2");
    // The finding is where the file takes an endpoint from.
    let set = "title = \"Two\"\n[endpoint.two]\nmethod = \"GET\"\npath = \"/two\"\n";
    let both = format!("title = \"X\"\nextends = \"p\"\ninclude = [\"s\"]\n{URL}");
    let files = [("presets/p", &*tested), ("endpoints/s", set), ("x", &both)];
    assert_eq!(found(&files), "TG064 x.toml:3");
    // An endpoint that the file changes is its own.
    let changed = format!("{own}[endpoint.chat]\nupstream_path = \"/other\"\n");
    assert_eq!(found(&[("presets/p", &tested), ("x", &changed)]), "TG064 x.toml:4");
}

#[test]
fn catch_alls_are_paths_without_a_literal_segment() {
    let with = |path: &str, request: &str, expected: &str| {
        let text = format!(
            "{HEAD}{URL}[endpoint.one]\nmethod = \"GET\"\npath = \"{path}\"\n[[test]]\nname = \"t\"\nrequest = {{ path = \"{request}\" }}\nexpect = {{}}\n"
        );
        assert_eq!(found(&[("x", &text)]), expected, "{path}");
    };
    with("/{rest...}", "/x/a", "TG065 x.toml:6");
    with("/v1/{rest...}", "/x/v1/a", "TG065 x.toml:6");
    with("/{a}/{b}", "/x/a/b", "TG065 x.toml:6");
    with("/v1/files/{rest...}", "/x/v1/files/a", "");
    with("/{model}:generate", "/x/m:generate", "");
    with("/v1", "/x/v1", "");
}

#[test]
fn unreachable_gateways() {
    let text = format!("{HEAD}{URL}{CHAT}{CHAT_TEST}");
    assert_eq!(found(&[("gateways/relay", RELAY), ("x", &text)]), "TG066 relay.toml:2");
    // A broken file may use the gateway.
    assert_eq!(found(&[("gateways/relay", RELAY), ("x", &text), ("y", "x =")]), "TG003 y.toml:1");
    let both = |one: &str, two: &str, expected: &str| {
        let gateways = format!(
            "[gateway]\none = {{ path = \"/x{{path}}\", {one} }}\ntwo = {{ path = \"/x{{path}}\", {two} }}\n"
        );
        let vars = "vars.v = { env = \"V\", optional = true }\n";
        let text = format!("{HEAD}{URL}{vars}{gateways}{CHAT}{CHAT_TEST}");
        assert_eq!(
            found(&[("gateways/one", RELAY), ("gateways/two", RELAY), ("x", &text)]),
            expected,
            "{text}"
        );
    };
    both("order = 1", "order = 2", "TG066 x.toml:7");
    both("order = 1, when = [\"v\"]", "order = 2", "");
    both("order = 2, when = [\"v\"]", "order = 1", "TG066 x.toml:6");
}

#[test]
fn levels_set_the_severity() {
    let text = format!("{HEAD}{URL}[headers]\npass = [\"origin\"]\n{CHAT}{CHAT_TEST}");
    let check = |level: Option<Level>, expected: &[Severity]| {
        let levels = Levels { header_pass: level, ..Levels::default() };
        let loaded = loaded(&[("x", &text)], levels);
        let (_, _, found) = pipeline::check(&loaded);
        assert_eq!(found.iter().map(|one| one.severity).collect::<Vec<_>>(), expected);
        let assembled = pipeline::assemble(&loaded, |_| Ok(None));
        let serves = !expected.contains(&Severity::Error);
        assert_eq!((assembled.table.providers.len(), assembled.diagnostics), (usize::from(serves), found));
    };
    check(None, &[Severity::Warning]);
    check(Some(Level::Allow), &[]);
    check(Some(Level::Warn), &[Severity::Warning]);
    check(Some(Level::Deny), &[Severity::Error]);
}

#[test]
fn every_lint_has_a_level_of_its_name() {
    for entry in Code::all() {
        let Some(lint) = entry.lint else { continue };
        let levels: Levels = serde_json::from_value(serde_json::json!({ lint: "allow" })).unwrap();
        let others =
            Code::all().iter().filter(|other| levels.of(other.code).is_some()).map(|other| other.text);
        assert_eq!(others.collect::<Vec<_>>(), [entry.text], "{lint}");
    }
}

#[test]
fn places_that_two_counts_have() {
    let api = |usage: &str, expected: &str| {
        let text =
            format!("title = \"A\"\nerror.body = {{ error = \"{{message}}\" }}\n[usage.body]\n{usage}\n");
        let found = found(&[("apis/a", &text)]);
        let found = found.split(", ").filter(|one| one.starts_with("TG085")).collect::<Vec<_>>().join(", ");
        assert_eq!(found, expected, "{usage}");
    };
    api("input = \"/a\"\noutput = \"/b\"", "");
    api("input = \"/a\"\noutput = [\"/b\", \"/a\"]", "TG085 a.toml:5");
    api("input = { at = \"/a\", plus = \"/a\" }", "TG085 a.toml:4");
    api("input = { at = \"/a\", minus = [\"output\"] }\noutput = \"/a\"", "");
    api("input = \"/a\"\noutput = { at = \"/a\", minus = [\"input\"] }", "");
}

#[test]
fn prices_of_the_future_and_tiers_between_the_sizes_of_usage() {
    let check = |day: Option<&str>, keys: &str, tier: u64, expected: &str| {
        let text = format!(
            "title = \"X\"\ncurrency = \"USD\"\n{keys}\n[[price]]\nmodel = [\"m\"]\ninput = 1\ntier = [{{ over = {tier}, input = 2 }}]\n"
        );
        let provider = format!("{HEAD}{URL}{CHAT}{CHAT_TEST}");
        let loaded = loaded(&[("x", &provider), ("prices/x", &text)], Levels::default());
        let loaded = Loaded { today: day.map(|day| day.parse().unwrap()), ..loaded };
        let found = pipeline::check(&loaded).2;
        let shown = found
            .iter()
            .map(|one| format!("{} {}", one.code.as_str(), loaded.sources.line_column(&one.at).0));
        assert_eq!(shown.collect::<Vec<_>>().join(", "), expected, "{text}");
    };
    check(Some("2026-11-20"), "date = \"2026-11-21\"", 200_000, "");
    check(Some("2026-11-20"), "date = \"2026-11-22\"", 200_000, "TG084 3");
    check(None, "date = \"2999-01-01\"", 200_000, "");
    check(Some("2026-11-20"), "", 200_001, "TG083 4");
}
