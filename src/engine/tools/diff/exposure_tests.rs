//! What reaches the upstream through stored values, definitions, URLs and other endpoints: changes that no text of a template
//! shows.

use std::sync::Arc;

use super::{Verdict, diff, human};
use crate::{
    base::name::FileName,
    language::compile::{Compiled, Files, Provider, compile},
};

const ACME: &str = r#"
title = "Acme"
path_prefix = "/acme"
base_url = "<base>"
origins = { admin = "<admin>" }
vars = { proxy = { env = "PROXY"<proxy> }, token = { env = "TOKEN", secret = true } }
egress = [{ when = ["proxy"], url = "https://out.example/?to={url|urlencode}" }]
auth = [
    { <auth> },
    { field = "adminKey", endpoints = ["jobs"], set = { authorization = "Bearer {secret}" } },
    { token = "cloud", set = { x-cloud = "{secret}", x-kind = "{cloud.kind}" } },
]
headers = { <headers> }
[credentials]
<section>
field = [
    { name = "apiKey"<apiKey> },
    { name = "adminKey" },
    { name = "id"<id> },
    { name = "zone", kind = "text"<zone> },
    { name = "server", kind = "origin"<server> },
    { name = "sa", kind = "json", parts = { <parts> } },
    { name = "login", kind = "oauth2", token_url = "https://login.example/token"<login> },
]
[token.cloud]
<token>
[endpoint.chat]
method = "POST"
path = "/chat/{model}"
<captures>
<chat>
[endpoint.all]
method = "POST"
path = "/{any...}"
upstream_path = "/v1/run"
[endpoint.jobs]
method = "GET"
path = "/jobs"
upstream_path = "/v1/run"
origin = "admin"
"#;

const TOKEN: &str = "request = { url = \"https://login.example/t\", form = { grant = \"x\", jwt = \"{jwt}\" } }\n\
    reply = { token = \"/access_token\", fields = { kind = \"/kind\" } }\n\
    jwt = { alg = \"RS256\", key = \"{sa.key}\", claims = { iss = \"{sa.email}\", scope = \"read\" } }";

/// The values of slots that a row does not change.
const SLOTS: &[(&str, &str)] = &[
    ("base", "https://a.example"),
    ("admin", "https://b.example"),
    ("auth", r#"field = "apiKey", endpoints = ["chat", "all"], set = { authorization = "Bearer {secret}" }"#),
    ("parts", r#"email = "/client_email", key = "/private_key""#),
    ("login", r#", client_id = "c""#),
    ("token", TOKEN),
];

/// A file with some slots filled in another way.
pub(super) fn file(filled: &[(&str, &str)]) -> String {
    let mut text = ACME.to_owned();
    for (slot, value) in filled.iter().chain(SLOTS) {
        text = text.replace(&format!("<{slot}>"), value);
    }
    // The slots that are left are empty.
    while let Some((front, (_, back))) =
        text.split_once('<').and_then(|(front, rest)| Some((front, rest.split_once('>')?)))
    {
        text = format!("{front}{back}");
    }
    text
}

fn compile_all(texts: &[(&str, &str)]) -> Compiled {
    let mut files = Files::default();
    for (name, text) in texts {
        files.providers.insert(FileName::new(name).unwrap(), Ok(crate::tools::generated::parse(name, text)));
    }
    compile(&files)
}

/// Providers of these texts; none if they do not compile.
pub(super) fn compiled(texts: &[(&str, &str)]) -> Option<Vec<Arc<Provider>>> {
    let compiled = compile_all(texts);
    compiled.diagnostics.is_empty().then_some(compiled.providers)
}

fn providers_of(texts: &[(&str, &str)]) -> Vec<Arc<Provider>> {
    let compiled = compile_all(texts);
    assert_eq!(compiled.diagnostics, [], "{texts:?}");
    compiled.providers
}

/// Compares files, and looks for a part of the output. Where the change does not widen, the verdict is that it differs.
fn check_files(old: &[Arc<Provider>], new: &[Arc<Provider>], widens: bool, expected: &str) {
    let found = diff(old, new);
    let text = human(&found).to_string();
    let verdict = if widens { Verdict::Widened } else { Verdict::Different };
    assert_eq!(found.verdict, verdict, "{expected}\n{text}");
    assert!(text.contains(expected), "{expected}\n{text}");
}

/// Changes one slot. Expected: a part of the output, with `!` in front if the change widens exposure.
fn check(slot: &str, old: &str, new: &str, expected: &str) {
    let of = |value: &str| providers_of(&[("acme", &file(&[(slot, value)]))]);
    let (widens, expected) = expected.strip_prefix('!').map_or((false, expected), |rest| (true, rest));
    check_files(&of(old), &of(new), widens, expected);
}

#[test]
fn fields_in_new_places() {
    let new = "!WIDENS: field `adminKey` is newly sent in this place";
    for (slot, rows) in [
        ("headers", ["set = { x-l = \"lit\" }", "set = { x-l = \"{adminKey}\" }"]),
        ("headers", ["", "set = { x-l = \"{adminKey}\" }"]),
        ("headers", ["", "default = { x-l = \"{adminKey}\" }"]),
        ("headers", ["default = { x-l = \"{zone}\" }", "default = { x-l = \"{adminKey}\" }"]),
        ("headers", ["", "add = { x-l = \"{adminKey}\" }"]),
        ("chat", ["", "headers.set.x-l = \"{adminKey}\""]),
    ] {
        check(slot, rows[0], rows[1], new);
    }
    check("chat", "query.default.k = \"a\"", "query.default.k = \"{zone}\"", "!field `zone` is newly sent");
    check("chat", "", "query.set.k = \"{zone}\"", "!field `zone` is newly sent");
    check("headers", "", "set = { x-l = \"{sa.email}\" }", "!`/client_email` of field `sa` is newly sent");
    check("headers", "set = { x-l = \"{adminKey}\" }", "set = { x-l = \"{adminKey}!\" }", "!another value");
    check("headers", "set = { x-l = \"{adminKey}\" }", "remove = [\"x-l\"]", "!the client's value");
}

/// A client could not send what is removed.
#[test]
fn values_that_no_client_could_send() {
    let (old, no_client) = ("remove = [\"x-admin\"]", "!the upstream gets a header that no client can send");
    for rule in ["default", "set", "add"] {
        check("headers", old, &format!("{old}, {rule} = {{ x-admin = \"true\" }}"), no_client);
    }
    let old = "query.remove = [\"admin\"]";
    for rule in ["default", "set"] {
        let new = format!("{old}\nquery.{rule}.admin = \"true\"");
        check("chat", old, &new, "!the upstream gets a parameter that no client can send");
    }
    check("headers", "", "default = { x-admin = \"true\" }", "+ headers default `x-admin`");
}

#[test]
fn another_section() {
    check("section", "", "section = \"admin\"", "!credentials of another section are sent");
}

/// Entries with the same name, in another order.
#[test]
fn entries_that_write_another_place() {
    let entry =
        |place: &str| format!("endpoints = [\"chat\", \"all\"], set = {{ {place} = \"{{apiKey}}\" }}");
    let both = |one: &str, other: &str| format!("{} }}, {{ {}", entry(one), entry(other));
    check(
        "auth",
        &both("x-a", "x-b"),
        &both("x-b", "x-a"),
        "!an entry is used for credentials that another one was used for",
    );
}

#[test]
fn fields_in_entries_of_auth() {
    let entry = |keys: &str| format!("field = \"apiKey\", endpoints = [\"chat\"], {keys}");
    let check = |old: &str, new: &str, expected: &str| check("auth", &entry(old), &entry(new), expected);
    check(
        "set = { a = \"{secret}\", x-l = \"lit\" }",
        "set = { a = \"{secret}\", x-l = \"{adminKey}\" }",
        "!field `adminKey` is newly sent in this place, at the endpoint `chat`",
    );
    check("query = { k = \"{secret}\" }", "query = { k = \"{secret}:{id}\" }", "!field `id` is newly sent");
    check(
        "basic = { username = \"x\", password = \"{secret}\" }",
        "basic = { username = \"{id}\", password = \"{secret}\" }",
        "!field `id` is newly sent",
    );
    check(
        "set = { a = \"{secret}\" }",
        "set = { a = \"{secret}\", x-l = \"1\" }",
        "!a text that no client can send is newly",
    );
    check(
        "set = { a = \"k {secret}\" }",
        "set = { a = \"{secret}\" }",
        "!another value, which no client can send",
    );
    check(
        "set = { a = \"{secret}\", x-l = \"1\" }",
        "set = { a = \"{secret}\" }",
        "- auth `apiKey` into `x-l`",
    );
    check(
        "match = \"a*\", set = { a = \"{secret}\" }",
        "match = \"*\", set = { a = \"{secret}\" }",
        "!field `apiKey` is newly sent in this place, with credentials like `*`, at the endpoint `chat`",
    );
}

/// Users who have not stored a value were refused, and are not.
#[test]
fn values_that_are_no_longer_needed() {
    let opens = "!WIDENS: requests go out where field `zone` is not stored";
    check("chat", "query.default.k = \"{zone}\"", "", opens);
    check("headers", "default = { x-l = \"{zone}\" }", "default = { x-l = \"1\" }", opens);
    let auth = SLOTS[2].1;
    check("auth", &auth.replace("set = {", "set = { x-l = \"{zone}\","), auth, opens);
    let two = |more: &str| format!("set = {{ x-l = \"{{zone}}\"{more} }}");
    check("headers", &two(", x-m = \"{zone}\""), &two(""), "!the client's value reaches the upstream");
    let default = |more: &str| format!("default = {{ x-l = \"{{zone}}\"{more} }}");
    check("headers", &default(", x-m = \"{zone}\""), &default(""), "- headers default `x-m`");
}

#[test]
fn keys_of_signatures() {
    let sign = |more: &str| {
        let sign = "kind = \"aws-sigv4\", service = \"m\", region = \"eu\"";
        format!("endpoints = [\"chat\"], sign = {{ {sign}, {more} }}")
    };
    let keys = sign("key_id = \"{id}\", key = \"{apiKey}\"");
    let check = |new: &str, expected: &str| check("auth", &keys, new, expected);
    check(
        "endpoints = [\"chat\"], set = { authorization = \"{id} {apiKey}\" }",
        "!field `apiKey` is newly sent in this place, at the endpoint `chat`",
    );
    check(&sign("key_id = \"{apiKey}\", key = \"{id}\""), "!field `apiKey` is newly sent");
    check(&sign("key_id = \"{id}\", key = \"{apiKey}\", payload = \"unsigned\""), "!another value");
    check(&keys.replace("\"m\"", "\"sts\""), "!another value");
    check(&sign("key_id = \"{id}\", key = \"{adminKey}\""), "!field `adminKey` newly signs");
}

#[test]
fn definitions_of_fields() {
    check(
        "parts",
        SLOTS[3].1,
        r#"email = "/other", key = "/private_key""#,
        "!part `email`: `/client_email` => `/other`",
    );
    check(
        "parts",
        SLOTS[3].1,
        &format!("{}, more = \"/more\"", SLOTS[3].1),
        "+ credentials field `sa`: part `more`",
    );
    check("zone", ", default = \"a\"", ", default = \"admin\"", "!field `zone`: default: `a` => `admin`");
    check("zone", "", ", default = \"admin\"", "!field `zone`: default: `admin`");
    check("zone", ", default = \"a\"", "", "!- credentials field `zone`: default: `a`");
    check("zone", "", ", label = \"The zone\"", "+ credentials field `zone`: label: `The zone`");
    check("zone", ", one_of = [\"eu\"]", ", one_of = [\"eu\", \"us\"]", "!WIDENS: users may enter `us`");
    check("zone", ", one_of = [\"eu\", \"us\"]", ", one_of = [\"eu\"]", "one of `eu`, `us` => one of `eu`");
    check(
        "zone",
        ", pattern = \"[a-z]\"",
        ", pattern = \"[a-zA-Z]\"",
        "!WIDENS: users may enter values like `[a-zA-Z]`",
    );
    let server = |host: &str| format!(", default = \"https://{host}.example\"");
    check("server", "", &server("gpu"), "!field `server`: default");
    check("server", &server("gpu"), &server("evil"), "!`https://gpu.example` => `https://evil.example`");
    check("apiKey", "", ", optional = true", "!an entry of `auth` is used where it is not stored");
    check("apiKey", ", optional = true", "", "!another entry of `auth` is used");
    check("login", SLOTS[4].1, ", client_id = \"d\"", "!field `login`: client_id: `c` => `d`");
    check("login", SLOTS[4].1, ", client_id = \"c\", scope = \"admin\"", "!field `login`: scope: `admin`");
    check("login", SLOTS[4].1, ", client_id = \"c\", parts = { a = \"/a\" }", "part `a`: `/a`");
    check(
        "login",
        SLOTS[4].1,
        ", client_id = \"c\", refresh_before = \"9s\"",
        "+ credentials field `login`: refresh_before",
    );
    let paste = |place: &str| format!(", client_id = \"c\", paste = {{ accessToken = \"{place}\" }}");
    check("login", &paste("/a"), &paste("/b"), "!paste `accessToken`: `/a` => `/b`");
}

#[test]
fn definitions_of_tokens() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(TOKEN.contains(from), "{from}");
        check("token", TOKEN, &TOKEN.replace(from, to), expected);
    };
    check("\"read\"", "\"admin\"", "!jwt.claims/scope: `\"read\"` => `\"admin\"`");
    check("\"read\"", "[\"read\"]", "!jwt.claims/scope/0");
    check("\"read\"", "1", "!jwt.claims/scope: `\"read\"` => `1`");
    check(
        "scope =",
        "x = \"{sa.key}\", scope =",
        "!`/private_key` of field `sa` is newly sent in this place",
    );
    check(
        "grant =",
        "k = \"{sa.key}\", grant =",
        "!`/private_key` of field `sa` is newly sent in this place",
    );
    check("grant = \"x\"", "grant = \"y\"", "!request.form.grant: `x` => `y`");
    check("{sa.key}", "{adminKey}", "!field `adminKey` newly signs what is sent in this place");
    check("/access_token", "/refresh_token", "!reply.token: `/access_token` => `/refresh_token`");
    check("\"/kind\"", "\"/secret\"", "!reply.fields.kind: `/kind` => `/secret`");
    check(
        "login.example",
        "evil.example",
        "!a new host for `/client_email` of field `sa` of `providers.acme`",
    );
    check("RS256", "ES256", "!jwt.alg: `RS256` => `ES256`");
    check("key =", "ttl = \"1m\", key =", "jwt.ttl: `600s` => `60s`");
    check("key =", "ttl = \"9h\", key =", "!WIDENS: it is valid for longer");
    check("reply =", "refresh_before = \"9s\"\nreply =", "refresh_before: `300s` => `9s`");
}

#[test]
fn urls_of_endpoints() {
    let check = |old: [&str; 2], new: [&str; 2], expected: &str| {
        let of = |[base, admin]: [&str; 2]| {
            providers_of(&[(
                "acme",
                &file(&[("base", base), ("admin", admin), ("zone", ", pattern = \"[a-z]*\"")]),
            )])
        };
        check_files(&of(old), &of(new), true, expected);
    };
    let (a, b) = ("https://a.example", "https://b.example");
    check([a, b], [b, a], "a new host for field `adminKey` of `providers.acme`");
    check([a, b], [b, a], "requests of the endpoint `jobs` go to another URL");
    check([a, b], [a, a], "a new host for field `adminKey` of `providers.acme`");
    let (one, two) = ("https://a.example/one", "https://a.example/two");
    check([one, two], [two, one], "requests of the endpoint `jobs` go to another URL");
    check([one, two], [one, one], "requests of the endpoint `jobs` go to another URL");
    check([a, b], [a, "https://{zone}.b.example"], "requests of the endpoint `jobs` go to another URL");
}

/// Captures of an alias are those of the path by name.
#[test]
fn captures_of_aliases() {
    let of = |alias: &str| {
        let endpoint = format!(
            "method = \"GET\", path = \"/c/{{a}}/{{b}}\", upstream_path = \"/x/{{a}}\", aliases = [\"{alias}\"]"
        );
        let text = format!(
            "title = \"Acme\"\npath_prefix = \"/acme\"\nbase_url = \"https://a.example\"\nendpoint.c = {{ {endpoint} }}\n"
        );
        providers_of(&[("acme", &text)])
    };
    check_files(&of("/y/{a}/{b}"), &of("/y/{b}/{a}"), true, "WIDENS: it allows what was not allowed");
}

#[test]
fn requests_that_go_to_a_more_general_endpoint() {
    let whole = "[endpoint.chat]\nmethod = \"POST\"\npath = \"/chat/{model}\"\n";
    let acme = file(&[("auth", "field = \"apiKey\", set = { x-key = \"{secret}\" }")]);
    let old = providers_of(&[("acme", &acme)]);
    let general = "requests that it took go to the endpoint `all`";
    let without = acme.replace(whole, "");
    check_files(&old, &providers_of(&[("acme", &without)]), true, general);
    check_files(&old, &providers_of(&[("acme", &acme.replace("/chat/{model}", "/chat/m"))]), true, "WIDENS");
    let set = |members: &str| file(&[("captures", &format!("captures = {{ model = [{members}] }}"))]);
    let (two, one) = (set("\"a\", \"b\""), set("\"a\""));
    check_files(&providers_of(&[("acme", &two)]), &providers_of(&[("acme", &one)]), true, general);
    // A more specific endpoint took its requests before, too: a removed general one leaves them where they were.
    let all = "[endpoint.all]\nmethod = \"POST\"\npath = \"/{any...}\"\nupstream_path = \"/v1/run\"\n";
    check_files(&old, &providers_of(&[("acme", &acme.replace(all, ""))]), false, "- endpoint all");
    // In another file, which is removed, and with another method.
    let other = |method: &str| {
        format!(
            "title = \"Other\"\npath_prefix = \"/acme/other\"\nbase_url = \"https://o.example\"\n\
             endpoint.one = {{ method = \"{method}\", path = \"/one\" }}\n"
        )
    };
    let both = providers_of(&[("acme", &acme), ("other", &other("POST"))]);
    check_files(&both, &old, true, "requests that it took go to the endpoint `all` of `acme`");
    let both = providers_of(&[("acme", &acme), ("other", &other("GET"))]);
    check_files(&both, &old, false, "- endpoint one");
}

#[test]
fn ways_around_an_egress() {
    check("proxy", "", ", optional = true", "!without environment variable `PROXY`, requests go past");
    check("proxy", ", optional = true", "", "~ var proxy");
}

/// A rule for an endpoint may replace one for all.
#[test]
fn values_that_replace_others() {
    for header in ["x-mode", "x-forwarded-for"] {
        let text = |own: &str| file(&[("headers", &format!("set = {{ {header} = \"1\" }}")), ("chat", own)]);
        let of = |own: &str| providers_of(&[("acme", &text(own))]);
        let [none, same, other] = ["", "1", "2"].map(|value| match value {
            "" => String::new(),
            value => format!("headers.set.{header} = \"{value}\""),
        });
        let another = "another value, which no client can send";
        check_files(&of(&none), &of(&other), true, another);
        check_files(&of(&other), &of(&none), true, another);
        check_files(&of(&none), &of(&same), false, &format!("+ headers chat: set `{header}`"));
        check_files(&of(&same), &of(&none), false, &format!("- headers chat: set `{header}`"));
    }
}

/// The output shows what differs, also where the texts of the file are the same.
#[test]
fn what_differs_is_shown() {
    let of = |source: &str| {
        let text = file(&[("headers", "set = { x-token = \"{token}\" }")]);
        providers_of(&[("acme", &text.replace("\"TOKEN\"", &format!("\"{source}\"")))])
    };
    let expected = "{token}, in full: {environment variable `TOKEN`} => {token}, in full: {environment variable `OTHER`}";
    check_files(&of("TOKEN"), &of("OTHER"), true, expected);
}
