use super::*;
use crate::{
    language::syntax,
    pipeline::{self, Assembled, Loaded},
};

const DEMO: &str = r#"title = "Demo"
path_prefix = "/demo"
base_url = "https://{region}.example.com/base"
telemetry_name = "acme.demo"
vars.region = { env = "REGION" }
vars.pass = { env = "PASS", secret = true }
vars.proxy = { env = "PROXY", secret = true, optional = true }
[caller]
headers = ["x-demo"]
query = ["k"]
[credentials]
field = [{ name = "login" }, { name = "key" }]
[[auth]]
field = "login"
match = "lg-*"
set = { Authorization = "Bearer {secret}" }
[[auth]]
field = "key"
set = { X-Key = "{secret}" }
[headers]
pass = ["x-forwarded-*"]
remove = ["x-internal-*"]
default = { x-version = "1" }
set = { x-from = "{provider}/{pass}" }
[endpoint.item]
method = "GET"
path = "/items/{id}"
aliases = ["/alias/{id}"]
query = { remove = ["debug"], set = { api = "2" }, default = { page = "1" } }
headers = { remove = ["x-version"] }
timeouts = { idle = "5s" }
[gateway.hub]
path = "/demo{path}"
[[egress]]
when = ["proxy"]
url = "{proxy}?to={url|urlencode}"
headers = { set = { proxy-authorization = "Basic {pass}" } }
[endpoint.asking]
method = "POST"
path = "/asking"
api = "metered"
when_missing = "ask"
operation = "acme.ask"
[endpoint.chat]
method = "POST"
path = "/chatting"
api = "metered"
[endpoint.count]
method = "POST"
path = "/counting"
api = "metered"
metered = false
"#;

const HUB: &str = r#"title = "Hub"
base_url = "https://hub.example.com/{token|urlencode}"
[vars]
token = { env = "HUB", secret = true }
[headers]
set = { x-hub = "{token}" }
"#;

/// Secrets, which may appear nowhere in the output.
const SECRETS: [&str; 7] = ["s-pass", "s-hub", "s-login", "s-key", "s-token", "s-proxy", "s%2D"];

fn loaded() -> Loaded {
    let mut loaded = Loaded::default();
    let add = |loaded: &mut Loaded, file: &str, text: &str| {
        loaded.sources.insert(file.into(), text.into());
    };
    add(&mut loaded, "demo.toml", DEMO);
    add(&mut loaded, "hub.toml", HUB);
    let (hub, found) = syntax::parse(&"hub.toml".into(), HUB);
    assert_eq!(found, []);
    loaded.files.gateways.insert(FileName::new("hub").unwrap(), hub);
    let (metered, found) = syntax::parse(&"metered.toml".into(), METERED);
    assert_eq!(found, []);
    loaded.files.apis.insert(FileName::new("metered").unwrap(), metered);
    let (demo, found) = syntax::parse(&"demo.toml".into(), DEMO);
    assert_eq!(found, []);
    loaded.files.providers.insert(FileName::new("demo").unwrap(), demo);
    loaded
}

const METERED: &str = r#"title = "Metered"
operation = "chat"
error.body = {}
usage.body.input = "/in"
usage.stream = "sse"
usage.ask = { at = "/options/usage", value = true, when = "/stream", extra = { at = "/usage", empty = "/choices", with = ["/id"] } }
"#;

/// A request: method and target, headers as `name: value` lines, vars and credentials as `name=value` words.
#[derive(Clone, Copy, Default)]
struct Case<'a> {
    request: &'a str,
    headers: &'a str,
    vars: &'a str,
    stored_fields: &'a str,
    /// `disabled`, a kind of token, scopes.
    access: &'a str,
}

fn explained(case: Case<'_>) -> Explanation {
    let pairs = |text: &str| -> BTreeMap<String, String> {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let loaded = loaded();
    let mut vars = pairs(case.vars);
    for (name, value) in [("REGION", "eu"), ("PASS", "s-pass")] {
        vars.insert(name.into(), value.into());
    }
    let value = |source: &compile::VarSource| match source {
        compile::VarSource::Env(name) => Ok(vars.get(name).cloned()),
        compile::VarSource::File(_) => Ok(None),
    };
    let Assembled { table, providers, diagnostics } = pipeline::assemble(&loaded, value);
    assert!(!diagnostics.iter().any(crate::base::diag::Diagnostic::is_error), "{diagnostics:?}");
    let (method, target) = case.request.split_once(' ').unwrap();
    let mut request = http::Request::builder().method(method).uri(target).version(http::Version::HTTP_10);
    for (name, value) in case.headers.lines().filter_map(|line| line.split_once(": ")) {
        request = request.header(name.trim(), value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let stored = |(field, value): (String, String)| match value.as_str() {
        "?" => (field, StoredValue::Present),
        "expired" => (field, StoredValue::Expired),
        value => (field, StoredValue::Value(Secret::new(value))),
    };
    let mut access = Access { disabled: case.access.contains("disabled"), ..Access::default() };
    for word in case.access.split(' ').filter(|word| !["", "disabled"].contains(word)) {
        match TokenKind::parse(word) {
            Some(kind) => access.kind = kind,
            None => access.scopes.get_or_insert_default().push(Scope::parse(word).unwrap()),
        }
    }
    let given = Caller::given(pairs(case.stored_fields).into_iter().map(stored), "nothing");
    let caller = Caller { access, ..given };
    let context = Context {
        files: &loaded.files,
        sources: &loaded.sources,
        table: &table,
        providers: &providers,
        fixture: None,
    };
    explain(context, &head, &|_, _, var| value(&var.source), &caller)
}

/// Asserts that the output has the lines `there`, without indentation, not the texts `absent`, and no secret.
fn check(case: Case<'_>, there: &[&str], absent: &[&str]) {
    let explained = explained(case);
    let (text, json) = (explained.to_string(), serde_json::to_string(&explained).unwrap());
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for line in there {
        // The advice of a 404 follows its first sentence.
        let is_there =
            |one: &&str| one == line || line.contains(" 404 ") && one.starts_with(&format!("{line}. "));
        assert!(lines.iter().any(is_there), "{}: `{line}` is missing in\n{text}", case.request);
    }
    for part in absent {
        assert!(!text.contains(part), "{}: `{part}` is in\n{text}", case.request);
    }
    for secret in SECRETS {
        assert!(!text.contains(secret) && !json.contains(secret), "`{secret}` is in\n{text}\n{json}");
    }
    assert!(!json.contains(STAND_IN), "{json}");
}

const ITEM: Case<'_> =
    Case { request: "GET /demo/items/7", headers: "", vars: "", stored_fields: "key=s-key", access: "" };

#[test]
fn metering() {
    let line = DEMO.lines().position(|line| line == "[endpoint.asking]").unwrap();
    let check =
        |request, expected: &[&str], absent: &[&str]| check(Case { request, ..ITEM }, expected, absent);
    check("GET /demo/items/7", &["metering  none: answers to GET are never metered"], &["inserts"]);
    check(
        "POST /demo/asking",
        &[
            &format!("metering  as `metered`, when missing: ask  (demo.toml:{})", line + 5),
            "inserts `/options/usage` = `true` into the body, if `/stream` is true",
            "takes out of the answer then: events with `/usage`, an empty `/choices`, and nothing else but `/id`",
        ],
        &["inserts nothing"],
    );
    check(
        "POST /demo/chatting",
        &[&format!("metering  as `metered`, when missing: estimate  (demo.toml:{})", line + 10)],
        &["inserts"],
    );
    check(
        "POST /demo/counting",
        &[&format!("metering  none: `metered` is `false`  (demo.toml:{})", line + 15)],
        &["inserts"],
    );
}

#[test]
fn names_in_opentelemetry() {
    let line = DEMO.lines().position(|line| line == "[endpoint.asking]").unwrap();
    let check = |request, expected: &str| {
        let names = [expected, "provider `acme.demo`  (demo.toml:4)"];
        check(Case { request, ..ITEM }, &names, &[]);
    };
    check("GET /demo/items/7", "telemetry operation `item`");
    check("POST /demo/asking", &format!("telemetry operation `acme.ask`  (demo.toml:{})", line + 6));
    check("POST /demo/chatting", &format!("telemetry operation `chat`  (demo.toml:{})", line + 10));
    // What is not metered does not have the operation of its api.
    check("POST /demo/counting", "telemetry operation `count`");
}

#[test]
fn headers_of_a_request_that_asks_for_usage() {
    let check = |headers, expected: &[&str], absent: &[&str]| {
        check(Case { request: "POST /demo/asking", headers, ..ITEM }, expected, absent);
    };
    let asked = "set by the engine: for a body that asks for usage: an event is taken out of the answer";
    check("", &["accept-encoding: identity", asked], &[]);
    check(
        "accept-encoding: gzip\ncontent-digest: sha-256=:a:",
        &[
            "accept-encoding: identity",
            asked,
            "headers removed",
            "content-digest",
            "removed by the engine: for a body that asks for usage: this is the digest of another body",
        ],
        &["gzip", "sha-256"],
    );
    for headers in ["accept-encoding: gzip\ncontent-encoding: br", "accept-encoding: gzip\nsignature: a=:b:"]
    {
        check(
            headers,
            &[
                "inserts nothing: a request with a signature or a `content-encoding` is not changed",
                "accept-encoding: gzip",
            ],
            &["takes out", "identity"],
        );
    }
}

#[test]
fn endpoints_and_credentials() {
    check(
        ITEM,
        &[
            "endpoint  `item` of `demo`: GET /demo/items/{id}  (demo.toml:27)",
            "{id} is `7`",
            "auth      `key`: it is stored  (demo.toml:17)",
            "skipped `login`: nothing  (demo.toml:13)",
            "url       GET https://eu.example.com/base/items/7?page=1&api=2",
            "idle 5s  (demo.toml:31)",
            "x-key: ***",
            "set by auth[1].set.x-key  (demo.toml:19)",
            "x-from: demo/***",
        ],
        &["refused"],
    );
    check(
        Case { request: "GET /alias/7", ..ITEM },
        &["endpoint  `item` of `demo`: GET /alias/{id}  (demo.toml:27)"],
        &[],
    );
    let login = Case { stored_fields: "login=lg-s-login key=s-key", ..ITEM };
    check(
        login,
        &[
            "auth      `login`: the stored credential matches `lg-*`  (demo.toml:13)",
            "skipped `key`: not checked: an earlier entry is used  (demo.toml:17)",
            "authorization: Bearer ***",
        ],
        &["x-key"],
    );
    let other = Case { stored_fields: "login=s-login key=?", ..ITEM };
    check(
        other,
        &["skipped `login`: the stored credential does not match `lg-*`  (demo.toml:13)", "x-key: ***"],
        &[],
    );
    check(
        Case { stored_fields: "", ..ITEM },
        &[
            "auth      none",
            "refused   401 credential_missing: No API key configured for demo. Store one on the page `/config`, or with `tollgate credential set USER providers.demo.key`",
            "headers that would be sent upstream",
        ],
        &["x-key"],
    );
    let expired = "refused   401 credential_expired: The login stored for demo has expired: store it again";
    check(
        Case { stored_fields: "login=expired", ..ITEM },
        &[expired, "skipped `login`: the stored login has expired  (demo.toml:13)"],
        &[],
    );
    let broken = "refused   401 credential_missing: The credential stored for demo makes no valid header: store it again";
    check(Case { stored_fields: "key=s-key\u{7}", ..ITEM }, &[broken], &[]);
}

#[test]
fn headers_and_query() {
    let headers = "X-Api-Key: s-token\nX-Demo: s-token\nX-Key: s-token\nX-Internal-A: 1\nX-Version: 2\nX-Forwarded-For: 1.2.3.4\nVia: me\nTE: trailers\nConnection: te, x-hop\nX-Hop: 1\nAccept: */*\nX_From: me";
    let sent = Case { headers, ..ITEM };
    check(
        sent,
        &[
            "token     in the header `x-api-key`",
            "removed by the engine: it carries the client's gateway token, which is never sent upstream",
            "removed by the engine: clients may put their gateway token there: it is never sent upstream  (demo.toml:9)",
            "removed by headers.remove[0]  (demo.toml:22)",
            "removed by endpoint.item.headers.remove[0]  (demo.toml:30)",
            "x-forwarded-for: 1.2.3.4",
            "let through by headers.pass[0]  (demo.toml:21)",
            "removed by the engine: it reveals the client's address or page: `headers.pass` lets it through",
            "removed by the engine: the request's `connection` header names it: it is hop-by-hop",
            "removed by the engine: the engine sets framing and connection headers itself",
            "te: trailers",
            "set by the engine: the client accepts trailers",
            "accept: */*",
            "kept: no rule is about it",
            "removed by the engine: a file sets it: the client's value is ignored  (demo.toml:24)",
            "host: eu.example.com",
        ],
        &[],
    );
    check(
        Case { request: "GET /demo/items/7?a=1&debug=1&k=s-token&api=9", ..ITEM },
        &[
            "token     in the query `k`",
            "url       GET https://eu.example.com/base/items/7?a=1&page=1&api=2",
            "removed by endpoint.item.query.remove[0]  (demo.toml:29)",
            "removed by the engine: clients may put their gateway token there: it is never sent upstream  (demo.toml:10)",
            "added by endpoint.item.query.default.page  (demo.toml:29)",
            "set by endpoint.item.query.set.api  (demo.toml:29)",
        ],
        &[],
    );
}

#[test]
fn gateways_and_egresses() {
    check(
        ITEM,
        &[
            "skipped `hub`: `token` is not set  (demo.toml:32)",
            "skipped `1`: `proxy` is not set  (demo.toml:34)",
        ],
        &[],
    );
    check(
        Case { vars: "HUB=s-hub", ..ITEM },
        &[
            "gateway   `hub`: all of its vars are set  (demo.toml:32)",
            "url       GET https://hub.example.com/***/demo/base/items/7?page=1&api=2",
            "x-hub: ***",
            "set by gateway `hub`: headers.set.x-hub  (hub.toml:6)",
            "x-from: demo/***",
        ],
        &[],
    );
    check(
        Case { vars: "PROXY=https://u.s-proxy.example/p", ..ITEM },
        &[
            "egress    `1`: `proxy` is set  (demo.toml:34)",
            "url       GET https://***/?to=https%3A%2F%2Feu.example.com%2Fbase%2Fitems%2F7%3Fpage%3D1%26api%3D2",
            "proxy-authorization: Basic ***",
            "set by egress[0].headers.set.proxy-authorization  (demo.toml:37)",
        ],
        &[],
    );
}

#[test]
fn misses() {
    let near = "nearest   `item` of `demo`: GET /demo/items/{id}  (demo.toml:27)";
    let miss = |request: &str, message: &str| {
        let refused = request.split_once(' ').unwrap().1;
        let refused =
            format!("refused   404 route_not_found: Route not implemented in AI Gateway: {refused}");
        check(Case { request, ..ITEM }, &[near, message, &refused], &["endpoint  "]);
        let miss = explained(Case { request, ..ITEM }).miss.unwrap();
        assert_eq!(miss.nearest.unwrap().differs.len(), 1, "{request}");
    };
    miss("POST /demo/items/7", "but       the method is GET, here it is POST");
    miss("GET /demo/items/7/", "but       the path has no slash at its end");
    miss("GET /demo/Items/7", "but       segment 2 differs in case: here it is `Items`");
    miss("GET /demo/item/7", "but       segment 2 differs: here it is `item`");
    miss("GET /demo/items", "but       its segment 3, `{id}`, is missing");
    miss("GET /demo/items/7/x", "but       segment 4, `x`, is extra");
    miss("GET //demo/items/7", "but       the path has no two slashes in a row");
    miss("GET /demo/./items/7", "but       a path with `.` or `..` matches no endpoint");
    miss("GET /demo%2fitems/7", "but       the path's slashes are not percent-encoded");
    miss(
        "GET /demo/%69tems/7",
        "but       segment 2 is not percent-encoded: paths are matched as sent, here it is `%69tems`",
    );
    let answered = |request, line: &str| check(Case { request, ..ITEM }, &[line], &["refused", "nearest"]);
    answered("GET /health", "own       `/health` is tollgate's own path: no provider serves it");
    answered("OPTIONS /demo/items/7", "own       a CORS preflight, which tollgate answers on any path");
    let asked = "own       a CORS preflight, which tollgate answers on any path; allowed: `content-type`; only for trusted \
        origins: `x-unknown`";
    let headers = "Access-Control-Request-Headers: X-Unknown,content-type";
    check(Case { request: "OPTIONS /demo/items/7", headers, ..ITEM }, &[asked], &["refused", "nearest"]);
    let upgrade = "refused   426 upgrade_refused: WebSocket is not served here: send a plain request";
    check(
        Case { headers: "Upgrade: websocket", ..ITEM },
        &[upgrade, "endpoint  `item` of `demo`: GET /demo/items/{id}  (demo.toml:27)"],
        &[],
    );
    let own = |request, access, lines: &[&str]| check(Case { request, access, ..ITEM }, lines, &["nearest"]);
    let reserved = "own       `/auth` is tollgate's own path: no provider serves it";
    own(
        "GET /auth/me",
        "disabled",
        &[reserved, "refused   403 user_disabled: This user is disabled: ask the operator of this tollgate"],
    );
    own("GET /auth/me", "manage", &[reserved, "caller    a token of the kind `manage`"]);
    let nothing = "refused   404 route_not_found: Route not implemented in AI Gateway: /console";
    own("PUT /console", "", &["own       `/console` is tollgate's own path: no provider serves it", nothing]);
    let far = "nearest   no endpoint is similar: `tollgate routes` lists all";
    check(Case { request: "GET /a/b/c/d/e/f", ..ITEM }, &[far], &[]);
}

/// A refusal before the credential is checked is shown together with the route.
#[test]
fn refusals_before_the_credential() {
    let check = |access, headers, lines: &[&str]| {
        check(
            Case { headers, access, ..ITEM },
            &[lines, &["endpoint  `item` of `demo`: GET /demo/items/{id}  (demo.toml:27)"]].concat(),
            &[],
        );
    };
    let malformed = |headers, message: &str| {
        check("", headers, &[&format!("refused   400 malformed_request: {message}")]);
    };
    malformed("Host: a b", "The request's Host header is malformed");
    malformed("Host: a\nHost: a", "The request has more than one Host header");
    malformed("Transfer-Encoding: gzip, chunked", "The request's transfer encoding is not `chunked` alone");
    check(
        "disabled",
        "Upgrade: websocket",
        &[
            "caller    the user is disabled",
            "refused   403 user_disabled: This user is disabled: ask the operator of this tollgate",
        ],
    );
    check(
        "manage",
        "Upgrade: websocket",
        &[
            "caller    a token of the kind `manage`",
            "refused   403 token_kind: This token is for self-service: calls to providers take one of the kind `proxy` or `both`",
        ],
    );
    let upgrade = "refused   426 upgrade_refused: WebSocket is not served here: send a plain request";
    check(
        "proxy other",
        "Upgrade: websocket",
        &["caller    a token of the kind `proxy`, scopes `other`", upgrade],
    );
    check(
        "other demo/items",
        "",
        &[
            "caller    scopes `other`, `demo/items`",
            "refused   403 token_scope: This token does not reach `demo/item`",
        ],
    );
    check(
        "demo/item",
        "Content-Length: 268435457",
        &["refused   413 body_too_large: The request's body is larger than 268435456 bytes"],
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    /// Every request is explained. Exactly the headers with values are not removed, and no secret is shown.
    #[test]
    fn any_request(
        path in "(/demo|/Demo|/alias|/x)?(/items|/Items|/%69tems|/\\.\\.|/;.)?(/[a-z0-9%.{}~-]{0,6}){0,3}/?",
        query in proptest::option::of("([a-k]{1,4}=[a-z%]{0,3}&?){0,4}"),
        headers in proptest::collection::vec(("[a-z][a-z_-]{0,10}|x-demo|x_from|x-forwarded-for|connection", "[ -~]{0,8}"), 0..6),
        vars in proptest::sample::select(vec!["", "HUB=s-hub", "PROXY=https://s-proxy.example"]),
        stored_fields in proptest::sample::select(vec!["", "key=s-key", "login=lg-s-login", "login=? key=expired"]),
    ) {
        let target = if path.starts_with('/') { path } else { format!("/{path}") };
        let target = query.map_or_else(|| target.clone(), |query| format!("{target}?{query}"));
        proptest::prop_assume!(target.parse::<http::Uri>().is_ok());
        let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {}", value.trim())).collect();
        let case = Case { request: &format!("GET {target}"), headers: &lines.join("\n"), vars, stored_fields, access: "" };
        check(case, &[], &[]);
        let explained = explained(case);
        assert!(explained.route.is_some() != explained.miss.is_some());
        for header in explained.route.iter().flat_map(|route| &route.headers) {
            let removed = header.steps.last().map(|step| step.action) == Some(Action::Removed);
            assert_eq!(removed, header.values.is_empty(), "{header:?}");
        }
    }
}
