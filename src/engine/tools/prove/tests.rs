mod fields;
mod limits;

use std::collections::BTreeMap;

use http::Request;
use proptest::prelude::*;

use super::*;
use crate::{
    base::secret::Secret,
    language::{
        auth::FieldValues,
        bind,
        compile::{Compiled, VarSource},
        syntax,
    },
    request::{
        decide::{self, Candidate},
        rewrite,
        table::{Hit, Table},
    },
};

const PROVIDER: &str = r#"
title = "Demo"
path_prefix = "/demo"
base_url = "https://api.example"
credentials = { section = "s", field = [{ name = "key" }] }
auth = [{ field = "key", set = { authorization = "Bearer {secret}" } }]
vars = { proxy = { env = "PROXY", optional = true }, region = { env = "REGION" }, pass = { env = "PASS", optional = true } }
endpoint.chat = { method = "POST", path = "/v1/chat/{model}" }
"#;
const GATEWAY: &str = "title = \"G\"\nbase_url = \"https://gw.example/{t}\"\nvars = { t = { env = \"T\" } }\nheaders = { set = { x-gw = \"{t}\" } }\n";

const API: &str = "title = \"A\"\nerror.body = {}\nusage = { when_missing = \"ask\", body = { input = \"/in\" }, ask = { at = \"/a\", value = 1 } }\n";

fn parse<T: syntax::Document>(name: &str, text: &str) -> syntax::Parsed<T> {
    let (slot, found) = syntax::parse(&format!("{name}.toml").into(), text);
    assert_eq!(found, [], "{text}");
    slot.unwrap()
}

fn name(name: &str) -> FileName {
    FileName::new(name).unwrap()
}

/// A provider `demo` with gateways `first`, whose var comes from `T`, and `second`, from `T2` and `PROXY`.
fn compiled(provider: &str) -> Compiled {
    let mut files = Files::default();
    files.providers.insert(name("demo"), Ok(parse("demo", provider)));
    files.gateways.insert(name("first"), Ok(parse("first", GATEWAY)));
    files.apis.insert(name("asking"), Ok(parse("asking", API)));
    let second = GATEWAY
        .replace("gw.", "gw2.")
        .replace("{ t = { env = \"T\" } }", "{ t = { env = \"T2\" }, p = { env = \"PROXY\" } }");
    files.gateways.insert(name("second"), Ok(parse("second", &second)));
    crate::language::compile::compile(&files)
}

/// The breaches of `PROVIDER` under a policy. `lines` replace its lines of the same key.
fn broken(lines: &str, policy: &str) -> Vec<Breach> {
    let mut all: Vec<&str> = PROVIDER.lines().collect();
    let (lines, tables) =
        lines.split_once("\n[").map_or((lines, String::new()), |(a, b)| (a, format!("[{b}")));
    for line in lines.lines() {
        let key = line.split(' ').next().unwrap_or_default();
        all.retain(|known| !known.starts_with(&format!("{key} ")));
        all.push(line);
    }
    let compiled = compiled(&format!("{}\n{tables}", all.join("\n")));
    assert_eq!(compiled.diagnostics, [], "{lines}");
    let policy = parse::<syntax::Policy>("policy", policy);
    let (rules, found) = compile(&policy);
    assert_eq!(found, []);
    prove(rules.unwrap(), &compiled.providers, &compiled.budgets)
        .into_iter()
        .flat_map(|verdict| verdict.breaches)
        .collect()
}

fn check(lines: &str, rule: &str, expected: &[&str]) {
    let (table, keys) = rule.split_once(' ').unwrap_or((rule, ""));
    let policy = format!("[[{table}]]\nname = \"r\"\n{}\n", keys.replace("; ", "\n"));
    let found: Vec<String> = broken(lines, &policy).into_iter().map(|breach| breach.what).collect();
    assert_eq!(found, expected, "{lines} | {rule}");
}

#[test]
fn credentials_reach_only_these_origins() {
    let check = |lines: &str, origins: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|origin| format!("a credential of section `s` reaches `{origin}`")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(lines, &format!("credentials origins = [{origins}]"), &expected);
    };
    check("", "\"https://api.example\"", &[]);
    check("", "\"https://API.example:443/\"", &[]);
    check("", "\"https://x.*\"", &["https://api.example"]);
    check("", "\"https://*example\"", &[]);
    check("", "", &["https://api.example"]);
    let region = "base_url = \"https://{region}.Api.example/v1\"";
    check(region, "\"https://{region}.api.example\"", &[]);
    check(region, "\"https://*.api.example\"", &[]);
    check(region, "\"https://eu.api.example\"", &["https://{region}.api.example"]);
    // The value of a var at the front is unknown.
    check("base_url = \"{region}.example/v1\"", "\"*.example\"", &["{region}"]);
    check("base_url = \"{region}.example/v1\"", "\"{region}\"", &[]);
    let egress = "egress = [{ when = [\"proxy\"], url = \"{proxy}/?to={url|urlencode}\" }]";
    check(egress, "\"https://api.example\"", &["{proxy}"]);
    check(egress, "\"https://api.example\", \"{proxy}\"", &[]);
    let host = "egress = [{ when = [\"pass\"], url = \"https://{pass}.proxy.example/?to={url|urlencode}\" }]";
    check(host, "\"https://api.example\", \"https://*.proxy.example\"", &["https://{pass}"]);
    let removes = egress.replace(" }]", ", headers = { remove = [\"auth*\"] } }]");
    check(&removes, "\"https://api.example\"", &[]);
    check(
        "gateway = { first = { path = \"/g{path}\" } }",
        "\"https://api.example\"",
        &["https://gw.example"],
    );
    // Two gateways that are active together without an order do not serve, so there is no route.
    let both = "gateway = { first = { path = \"/g{path}\" }, second = { path = \"/g{path}\" } }";
    check(both, "\"https://api.example\", \"https://gw.example\"", &["https://gw2.example"]);
    check("auth = [{ field = \"key\", set = { x-a = \"fixed\" } }]", "", &[]);
}

#[test]
fn login_reaches_its_token_url() {
    let field = "credentials = { section = \"s\", field = [{ name = \"key\", kind = \"oauth2\", token_url = \"http://auth.example/t\", client_id = \"c\" }] }";
    check(
        field,
        "credentials origins = [\"https://api.example\"]",
        &["a login of section `s` is refreshed at `http://auth.example`"],
    );
    check(field, "https", &["a login is refreshed at `http://auth.example`"]);
    check(field, "credentials sections = [\"other.*\"]; origins = []", &[]);
    check(field, "credentials except = [\"de*\"]; origins = []", &[]);
}

#[test]
fn no_endpoint_outside_these() {
    check("", "endpoints methods = [\"POST\"]; paths = [\"/demo/v1/*\"]", &[]);
    check("", "endpoints methods = [\"GET\"]", &["endpoint `chat` allows `POST`"]);
    check(
        "",
        "endpoints paths = [\"/demo/v1/chat/a\"]",
        &["endpoint `chat` allows the path `/demo/v1/chat/{model}`"],
    );
}

#[test]
fn refusals_have_tests() {
    let no_key = "no test of the file expects `credential_missing`";
    let no_route = "no test of the file expects `route_not_found`";
    let test = |expect: &str| {
        format!(
            "[[test]]\nname = \"t\"\nrequest = {{ path = \"/demo/x\" }}\nvars.region = \"eu\"\nexpect = {{ {expect} }}"
        )
    };
    check("", "tests", &[no_key, no_route]);
    check("", "tests refusals = [\"response_rule\"]", &[]);
    check(&format!("\n{}", test("code = \"route_not_found\"")), "tests", &[no_key]);
    check(&format!("\n{}", test("status = 404")), "tests", &[no_key]);
    check("auth = []", "tests", &[no_route]);
    let rule = "response = [{ when = { status = 403 }, reply = { status = 502, message = \"m\" } }]";
    check(rule, "tests refusals = [\"response_rule\"]", &["no test of the file expects `response_rule`"]);
}

#[test]
fn only_these_variables_are_read() {
    let check = |lines: &str, allow: &str, expected: &[&str]| {
        check(lines, &format!("variables allow = [{allow}]"), expected);
    };
    let reads = |var: &str, env: &str| format!("var `{var}` reads the environment variable `{env}`");
    check("", "\"PROXY\", \"REGION\", \"PA*\"", &[]);
    check("", "\"*R*\"", &[&reads("pass", "PASS")]);
    check("vars = { region = { env = \"DEMO_REGION\" }, x = { file = \"x\" } }", "\"{provider}_*\"", &[]);
    // The vars of a gateway are the provider's too.
    check("gateway = { first = { path = \"/g{path}\" } }", "\"P*\", \"REGION\"", &[&reads("t", "T")]);
}

#[test]
fn bodies_pass_unchanged() {
    let chat = |keys: &str| format!("endpoint.chat = {{ method = \"POST\", path = \"/v1/chat\"{keys} }}");
    check("", "bodies", &[]);
    check(&chat(", api = \"asking\""), "bodies", &["endpoint `chat` inserts `/a` into bodies"]);
    check(&chat(", api = \"asking\", when_missing = \"estimate\""), "bodies", &[]);
    check(&chat(", api = \"asking\", metered = false"), "bodies", &[]);
}

#[test]
fn no_plain_http() {
    check("", "https", &[]);
    check("base_url = \"http://127.0.0.1:1\"", "https", &["`http://127.0.0.1:1` is called over plain http"]);
    check("base_url = \"http://127.0.0.1:1\"", "https allow = [\"http://127.0.0.1:*\"]", &[]);
    let egress = "egress = [{ when = [\"proxy\"], url = \"{proxy}/?to={url|urlencode}\" }]";
    check(egress, "https", &["`{proxy}` is called, which may be plain http"]);
    check(egress, "https allow = [\"{proxy}\"]", &[]);
}

#[test]
fn headers_that_never_reach_the_upstream() {
    check("", "headers never = [\"x-forwarded-*\", \"cookie\", \"host\"]", &[]);
    check("", "headers never = [\"x-a\"]", &["`x-a` goes out: a client may send it, and nothing removes it"]);
    check("", "headers never = [\"authorization\"]", &["`authorization` goes out: the file sets it"]);
    check(
        "headers = { pass = [\"cf-*\"] }",
        "headers never = [\"cf-ray\"]",
        &["`cf-ray` goes out: `headers.pass` lets it through"],
    );
    check("headers = { pass = [\"cf-*\"], remove = [\"cf-r*\"] }", "headers never = [\"cf-ray\"]", &[]);
    check("headers = { remove = [\"x-*\"] }", "headers never = [\"x-a*\"]", &[]);
    check(
        "headers = { remove = [\"x-a\"] }",
        "headers never = [\"x-a*\"]",
        &["`x-aq` goes out: a client may send it, and nothing removes it"],
    );
    check(
        "headers = { default = { x-a = \"1\" }, remove = [\"x-a\"] }",
        "headers never = [\"x-a\"]",
        &["`x-a` goes out: the file sets it"],
    );
    check(
        "headers = { set = { x-a = \"1\" } }\negress = [{ headers = { remove = [\"x-a\"] } }]",
        "headers never = [\"x-a\"]",
        &[],
    );
    check(
        "headers = { set = { x-a = \"1\" } }\negress = [{ when = [\"pass\"], headers = { remove = [\"x-a\"] } }]",
        "headers never = [\"x-a\"]",
        &["`x-a` goes out: the file sets it"],
    );
    check(
        "gateway = { first = { path = \"/g{path}\" } }",
        "headers never = [\"x-gw\"]",
        &["`x-gw` goes out: the gateway sets it"],
    );
    check(
        "egress = [{ when = [\"pass\"], headers = { set = { x-e = \"{pass}\" } } }]",
        "headers never = [\"x-e\"]",
        &["`x-e` goes out: an egress sets it"],
    );
}

/// Names are compared as upstreams do: to them `x-secret_` is `x-secret-`, for what a client sends and for what a rule names.
#[test]
fn every_byte_of_a_header_counts() {
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789-";
    let all: Vec<String> = letters.chars().map(|letter| format!("\"x-secret{letter}*\"")).collect();
    let remove = format!("headers = {{ remove = [\"x-secret\", {}] }}", all.join(", "));
    let goes_out = |name: &str| format!("`{name}` goes out: a client may send it, and nothing removes it");
    check(&remove, "headers never = [\"x-secret*\"]", &[&goes_out("x-secret.")]);
    check(&remove, "headers never = [\"x-secret_*\"]", &[]);
    let passes = "`cf-ray` goes out: `headers.pass` lets it through";
    check("headers = { pass = [\"cf-*\"] }", "headers never = [\"cf_ray\"]", &[passes]);
    let forwarded = "`x-forwarded-for` goes out: `headers.pass` lets it through";
    check(
        "headers = { pass = [\"x-forwarded-for\"] }",
        "headers never = [\"x_forwarded_for\"]",
        &[forwarded],
    );
    check(
        "headers = { set = { x_internal = \"1\" } }",
        "headers never = [\"x-internal\"]",
        &["`x_internal` goes out: the file sets it"],
    );
    check("", "headers never = [\"cf_ray\"]", &[]);
}

/// A file of few bytes whose globs have too many states together.
#[test]
fn what_cannot_be_decided_counts_as_broken() {
    let rotated = |by: usize| {
        let letters: Vec<char> = "abcdefgh".chars().cycle().skip(by).take(8).collect();
        format!("\"{}q\"", letters.iter().fold(String::new(), |glob, letter| format!("{glob}*{letter}")))
    };
    let globs: Vec<String> = (0..8).map(rotated).collect();
    let lines = format!("headers = {{ remove = [\"*y\", {}] }}", globs.join(", "));
    let policy = "[[headers]]\nname = \"r\"\nnever = [\"x-*y\"]\n";
    let [breach] = <[Breach; 1]>::try_from(broken(&lines, policy)).unwrap();
    assert!(breach.is_undecided);
    assert_eq!(
        breach.what,
        "it cannot be decided whether a header of `x-*y` goes out: the product of the globs of `remove` has more than 16384 states"
    );
}

#[test]
fn counterexample_is_a_request_and_its_route() {
    let lines = "gateway = { first = { strip = \"/v1\", path = \"/x{path}\", when = [\"pass\"] } }\negress = [{ when = [\"proxy\"], url = \"{proxy}/?to={url|urlencode}\" }]";
    let rule = "[[credentials]]\nname = \"r\"\norigins = [\"https://api.example\", \"{proxy}\"]\n";
    let [breach] = <[Breach; 1]>::try_from(broken(lines, rule)).unwrap();
    assert_eq!(
        breach.example.unwrap().line(),
        "`POST /demo/v1/chat/model` with `pass`, `first.t` set: endpoint `chat`, auth `authorization`, gateway `first`, calls `https://gw.example/{t}/x/chat/{model}`"
    );
}

#[test]
fn policy_without_effect_is_refused() {
    let check = |policy: &str, code: Code| {
        let (rules, found) = compile(&parse::<syntax::Policy>("policy", policy));
        assert!(rules.is_none() && found[0].code == code, "{policy} {found:?}");
    };
    check("[[endpoints]]\nname = \"a\"\n", Code::Condition);
    check("[[headers]]\nname = \"a\"\nnever = []\n", Code::Condition);
    check("[[headers]]\nname = \"a\"\nnever = [\"x y\"]\n", Code::Header);
    check(&format!("[[headers]]\nname = \"a\"\nnever = [\"{}\"]\n", "x*".repeat(9)), Code::Header);
    check("[[https]]\nname = \"a\"\n[[tests]]\nname = \"a\"\n", Code::Name);
    for origin in ["api.example", "https://a/b", "https://a*/b", "https://u@*", "ftp://*", "https://"] {
        check(&format!("[[credentials]]\nname = \"a\"\norigins = [\"{origin}\"]\n"), Code::Url);
    }
}

/// Origins and headers found by trying all settings of all vars.
#[derive(Debug, PartialEq, Eq, Default)]
struct Seen {
    origins: std::collections::BTreeSet<String>,
    header: bool,
}

fn brute(provider: &Provider) -> Seen {
    let all = ["PROXY", "PASS", "T", "T2", "B"];
    let mut seen = Seen::default();
    for mask in 0..1_u32 << all.len() {
        let mut values: BTreeMap<&str, &str> = BTreeMap::from([("REGION", "eu")]);
        let set = all.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
        values.extend(
            set.map(|(_, name)| (*name, if *name == "PROXY" { "http://proxy.example" } else { "v" })),
        );
        let (bound, _) = bind::bind(provider, |_, _, var| match &var.source {
            VarSource::Env(name) => values.get(name.as_str()).map(|value| (*value).to_owned()),
            VarSource::File(_) => None,
        });
        let Some(bound) = bound else { continue };
        let table = Table::new(vec![Arc::new(bound)], Vec::new(), &[]);
        let request = Request::post("/demo/v1/chat/m").header("x-h-y", "1").header("x-h-z", "1");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let hit = table.find_canonical(&head.method, head.uri.path()).unwrap();
        let secret = Secret::new("secret");
        let stored = |_: &str| Some(Candidate::given(&secret));
        let chosen = decide::choose(&hit, &table.fields, [stored], 0).unwrap();
        let withheld = rewrite::Withheld::of(&table, None);
        let out = rewrite::request(&hit, &head, chosen.as_ref(), withheld, rewrite::Fresh::STAND_IN).unwrap();
        if out.headers.values().any(|value| value.as_bytes().ends_with(b"secret")) {
            seen.origins.insert(out.origin.to_string());
            seen.origins.insert(before_egress(&hit));
        }
        seen.header |= out.headers.keys().any(|name| name.as_str().starts_with("x-h-"));
    }
    seen
}

fn proved(provider: &Arc<Provider>) -> Seen {
    let policy =
        "[[credentials]]\nname = \"c\"\norigins = []\n[[headers]]\nname = \"h\"\nnever = [\"x-h-*\"]\n";
    let (rules, _) = compile(&parse::<syntax::Policy>("policy", policy));
    let verdicts = prove(rules.unwrap(), std::slice::from_ref(provider), &Budgets::default());
    let origin = |breach: &Breach| {
        let origin = breach.what.rsplit('`').nth(1).unwrap();
        origin.replace("{region}", "eu").replace("{proxy}", "http://proxy.example")
    };
    let origins = verdicts[0].breaches.iter().map(origin).collect();
    Seen { origins, header: !verdicts[1].breaches.is_empty() }
}

fn whens() -> impl Strategy<Value = String> {
    prop::sample::subsequence(vec!["\"pass\"", "\"b\""], 0..=2).prop_map(|names| names.join(", "))
}

fn gateway(name: &'static str) -> impl Strategy<Value = String> {
    (any::<bool>(), whens(), prop::option::of(0..2)).prop_map(move |(there, when, order)| {
        let order = order.map(|order| format!(", order = {order}")).unwrap_or_default();
        if there {
            format!("gateway.{name} = {{ path = \"/g{{path}}\", when = [{when}]{order} }}\n")
        } else {
            String::new()
        }
    })
}

fn headers() -> impl Strategy<Value = String> {
    let remove = prop::sample::select(vec!["", "\"x-h-*\"", "\"x-*\", \"authorization\"", "\"x-h-y\""]);
    (remove, any::<bool>()).prop_map(|(remove, set)| {
        let set = if set { ", set = { x-h-s = \"1\" }" } else { "" };
        format!("{{ remove = [{remove}]{set} }}")
    })
}

fn egress() -> impl Strategy<Value = String> {
    (0..3, whens(), headers()).prop_map(|(url, when, headers)| {
        let comma = if when.is_empty() { "" } else { ", " };
        match url {
            0 => format!("{{ when = [{when}], headers = {{ set = {{ x-o = \"1\" }} }} }}"),
            1 => format!("{{ when = [{when}], url = \"https://e.example/?to={{url|urlencode}}\", headers = {headers} }}"),
            _ => format!("{{ when = [{when}{comma}\"proxy\"], url = \"{{proxy}}/?to={{url|urlencode}}\", headers = {headers} }}"),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Proofs agree with brute force over all settings.
    #[test]
    fn proofs_agree_with_brute_force(
        region in any::<bool>(),
        gateways in (gateway("first"), gateway("second")),
        headers in headers(),
        egresses in prop::collection::vec(egress(), 0..4),
        required in any::<bool>(),
    ) {
        let mut text = PROVIDER.replace(" }\nendpoint", ", b = { env = \"B\", optional = true } }\nendpoint");
        if region {
            text = text.replace("https://api.", "https://{region}.");
        }
        if required {
            text = text.replace("\"PASS\", optional = true", "\"PASS\"");
        }
        let text = format!(
            "{text}{}{}headers = {headers}\negress = [{}]\n", gateways.0, gateways.1, egresses.join(", ")
        );
        let compiled = compiled(&text);
        let Some(provider) = compiled.providers.first() else { return Err(TestCaseError::fail(format!("{:?}\n{text}", compiled.diagnostics))) };
        prop_assert_eq!(proved(provider), brute(provider), "{}", text);
    }
}

/// The origin of the upstream URL, before an egress.
fn before_egress(hit: &Hit) -> String {
    hit.provider.destination.origin(&FieldValues::default()).expect("it has no field").to_string()
}
