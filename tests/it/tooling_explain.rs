//! `tollgate explain` and `tollgate test`: complete outputs and exit codes. `explain` must agree with the gateway.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};
use tollgate::{
    compile::{self, Provider},
    files,
    settings::Source,
    syntax::FieldKind,
};

use crate::{
    harness::{Answer, Api, CommandOutput, Exchange, Home, KEY, World, binary, root},
    import_sources,
};

/// A client's headers beside its token: some pass, some are dropped for each reason, some are set, removed or passed
/// by a file.
const SENT: [(&str, &str); 22] = [
    ("Host", "gateway.test"),
    ("User-Agent", "sdk"),
    ("Accept", "text/event-stream"),
    ("X-Api-Key", "another"),
    ("Cookie", "a=b"),
    ("CF-Ray", "1"),
    ("CF-Aig-Authorization", "mine"),
    ("CF-Access-Client-Id", "mine"),
    ("X-Proxy-Auth", "mine"),
    ("Proxy-Authorization", "mine"),
    ("X-Real-IP", "1.2.3.4"),
    ("X-Forwarded-For", "1.2.3.4"),
    ("Forwarded", "for=1.2.3.4"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("Anthropic-Version", "2020-01-01"),
    ("X-Vault-Token", "mine"),
    ("X-Vault-Wrap-TTL", "60"),
    ("X-Internal-Id", "7"),
    ("X-Hop", "1"),
    ("X-Twice", "1"),
    ("X-Twice", "2"),
    ("TE", "trailers"),
];

/// A user and the token.
struct Person {
    name: &'static str,
    token: String,
}

/// A value for the field's first entry, or one that only an entry without `match` accepts.
fn stored(provider: &Provider, field: &str, fitting: bool) -> String {
    let name = &provider.section.as_ref().unwrap().name;
    let plain = format!("stored-{}-{field}", name.replace('.', "-"));
    let mut entries = provider.auth.iter().filter(|auth| auth.field.as_deref() == Some(field));
    let glob = entries.find_map(|auth| auth.matches.as_ref()).filter(|_| fitting);
    glob.map_or_else(|| plain.clone(), |glob| glob.as_str().replace('*', &plain))
}

/// Stores every field for `ada`, and for `bob` the field of each provider's last entry; `eve` has nothing.
fn people(world: &World, providers: &[std::sync::Arc<Provider>], env: &[(&str, &str)]) -> Vec<Person> {
    let (bob, eve) = (world.home.user("bob"), world.home.user("eve"));
    for provider in providers {
        let Some(section) = &provider.section else { continue };
        for field in &section.fields {
            let place = format!("{}.{}", section.name, field.value.name);
            let last =
                provider.auth.last().is_some_and(|auth| auth.field.as_ref() == Some(&field.value.name));
            let login = field.value.token_url.is_some();
            for (user, wanted, fitting) in [("ada", true, true), ("bob", last, false)] {
                let secret = stored(provider, &field.value.name, fitting);
                let json = format!(r#"{{"accessToken":"{secret}","expiresAt":4102444800000}}"#);
                if wanted {
                    // The origins of a key depend on the vars, as in `serve`.
                    let value = if login { &json } else { &secret };
                    let said = world.home.run_with(&["credential", "set", user, &place], env, value);
                    assert_eq!(said.code, 0, "{said:?}");
                }
            }
        }
    }
    let person = |name, token: &str| Person { name, token: token.to_owned() };
    vec![person("ada", &world.token), person("bob", &bob), person("eve", &eve)]
}

/// True for a provider of keys and logins alone. Values of other kinds, signatures, TLS of a provider's own and WebSockets have
/// tests of their own: these requests need a fitting value, the time, a certificate or a handshake.
fn is_plain(provider: &Provider) -> bool {
    let mut fields = provider.section.iter().flat_map(|section| &section.fields);
    let is_key = |kind: Option<FieldKind>| matches!(kind, None | Some(FieldKind::Secret | FieldKind::Oauth2));
    fields.all(|field| is_key(field.value.kind)) && provider.tls.is_none()
}

/// The endpoints of a provider that are compared.
const MAX_ENDPOINTS: usize = 8;

/// Compares `explain` with the gateway for each client path of each provider and each user. Returns the number of
/// requests sent upstream.
///
/// Of a provider with many endpoints, some are compared: they have the rules of all.
fn compare(home: Home, env: &[(&str, &str)]) -> usize {
    let loaded = files::load(&Source::directory(home.providers().to_owned())).unwrap();
    let mut providers = compile::compile(&loaded.files).providers;
    providers.retain(|provider| is_plain(provider));
    let mut world = World::tls(home, env);
    let people = people(&world, &providers, env);
    let mut count = 0;
    for provider in &providers {
        let endpoints =
            provider.endpoints.iter().flat_map(|one| one.paths.iter().map(move |path| (one, path)));
        let plain = endpoints.filter(|(one, _)| one.upgrade.is_none());
        for (number, (endpoint, path)) in plain.take(MAX_ENDPOINTS).enumerate() {
            let path = path.text.replace("...}", "/b%20c}").replace(['{', '}'], "");
            let target = format!("{path}?a=1&b=%2F&force=1&key=another");
            for person in &people {
                // The command takes its time: it compiles all files for each question.
                let way = if number == 0 { Way::Command } else { Way::Server };
                count += usize::from(one(&mut world, person, (endpoint.method.as_str(), &target), env, way));
            }
        }
    }
    count
}

/// Who explains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The command.
    Command,
    /// The running server, which takes one line of each header.
    Server,
}

/// The explanation of a request.
fn explained(
    world: &World,
    person: &Person,
    (method, target): (&str, &str),
    headers: &[(&str, &str)],
    (env, way): (&[(&str, &str)], Way),
) -> String {
    if way == Way::Server {
        let api = Api::admin(world);
        let headers: BTreeMap<&str, &str> = headers.iter().copied().collect();
        let asked = json!({ "method": method, "path": target, "user": person.name, "headers": headers });
        return api.done("POST /admin/explain", &asked).to_string();
    }
    let mut args = vec!["explain", method, target, "--as", person.name, "--json"];
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    args.extend(lines.iter().flat_map(|line| ["-H", line.as_str()]));
    let CommandOutput { code, out, err } = world.home.run_with(&args, env, "");
    assert_eq!((code, err.as_str()), (0, ""), "{method} {target}: {out}");
    out
}

/// Explains and sends one request. Returns true if it was sent upstream.
fn one(
    world: &mut World,
    person: &Person,
    (method, target): (&str, &str),
    env: &[(&str, &str)],
    way: Way,
) -> bool {
    let token = format!("Bearer {}", person.token);
    let mut headers = SENT.to_vec();
    if way == Way::Server {
        headers.dedup_by_key(|(name, _)| *name);
    }
    headers.extend([("Connection", "te, x-hop"), ("Authorization", &token)]);
    let out = explained(world, person, (method, target), &headers, (env, way));
    for secret in ["stored-", "hidden-", person.token.as_str()] {
        assert!(!out.contains(secret), "{method} {target} as {}: `{secret}` is in {out}", person.name);
    }
    let explained: Value = serde_json::from_str(&out).unwrap();
    let (way, token) = (&explained["way"], &explained["token"]);
    assert_eq!((&token["in"], &token["name"]), (&"header".into(), &"authorization".into()));
    if way["url"].as_str().unwrap().starts_with("http://") {
        return false; // The upstream of this world speaks TLS alone.
    }
    let request = headers
        .iter()
        .fold(Exchange::new(method, "").at(target, ""), |all, (name, value)| all.header(name, value));
    let mut client = world.client();
    client.send(if method == "GET" { request } else { request.body("{}") }.bytes());
    if let Some(fault) = way["fault"].as_object() {
        let answer = client.answer().unwrap();
        let body = String::from_utf8(answer.body).unwrap();
        assert_eq!(u64::from(answer.head.status()), fault["status"].as_u64().unwrap(), "{body}");
        assert!(body.contains(fault["message"].as_str().unwrap()), "{body} {fault:?}");
        world.upstream.saw_nothing();
        return false;
    }
    let (seen, mut wire) = world.upstream.request();
    wire.send(Answer::new("200 OK").body("ok").bytes());
    world.upstream.keep(wire);
    assert_eq!(client.answer().unwrap().head.status(), 200);
    let url = format!("https://{}", seen.head.get("host").unwrap());
    let start = seen.head.start.strip_suffix(" HTTP/1.1").unwrap();
    let start = start.replacen(" /", &format!(" {url}/"), 1);
    let expected = format!("{} {}", way["method"].as_str().unwrap(), way["url"].as_str().unwrap());
    assert!(fits(&expected, &start), "{expected} is not {start}");
    check_headers(way, &seen.head.lines);
    true
}

/// Compares all headers except framing, which is the sender's.
fn check_headers(way: &Value, seen: &[(String, String)]) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let headers = way["headers"].as_array().unwrap();
    let lines = headers.iter().flat_map(|header| {
        let values = header["values"].as_array().unwrap();
        values.iter().map(move |value| (text(&header["name"]), text(value)))
    });
    let mut reported: Vec<(String, String)> = lines.collect();
    let mut seen = seen.to_vec();
    seen.retain(|(name, _)| !matches!(name.as_str(), "content-length" | "transfer-encoding"));
    // Values may be masked, so the sort is by name alone; lines of one name keep their order.
    reported.sort_by(|a, b| a.0.cmp(&b.0));
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let same =
        |((a, reported), (b, seen)): (&(String, String), &(String, String))| a == b && fits(reported, seen);
    assert!(
        reported.len() == seen.len() && reported.iter().zip(&seen).all(same),
        "reported {reported:?}\nseen {seen:?}"
    );
    for header in headers {
        let last = header["steps"].as_array().unwrap().last().unwrap();
        let stays = last["action"] == "removed";
        assert_eq!(stays, header["values"].as_array().unwrap().is_empty(), "{header}");
        let file = last["rule"].is_null() || last["at"]["line"].as_u64().is_some_and(|line| line > 0);
        assert!(file && (last["rule"].is_null() != last["reason"].is_null()), "{header}");
    }
}

/// True if a text matches the reported one, in which `***` matches anything.
fn fits(reported: &str, seen: &str) -> bool {
    compile::Glob::new(&reported.replace("***", "*")).matches(seen)
}

#[test]
fn explain_agrees_with_the_gateway_on_the_shipped_files() {
    assert!(compare(Home::shipped(), &[]) > 80);
}

#[test]
fn explain_agrees_with_the_gateway_behind_gateways_and_egresses() {
    let env = [
        ("CF_AI_GATEWAY_TOKEN", "hidden-cf"),
        ("CF_AI_GATEWAY_ACCOUNT_ID", "acc"),
        ("CF_AI_GATEWAY_ID", "gw"),
        ("EGRESS_PROXY_URL", "https://egress.example/p"),
        ("EGRESS_PROXY_AUTH_TOKEN", "hidden-pt"),
        ("CF_ACCESS_CLIENT_ID", "id"),
        ("CF_ACCESS_CLIENT_SECRET", "hidden-cs"),
    ];
    assert!(compare(Home::shipped(), &env) > 80);
}

/// A home with the files of the language's own tests.
fn language() -> Home {
    let home = Home::new(&[]);
    let from = root().join("tests/providers");
    let mut copy = |below: &str| {
        for entry in fs::read_dir(from.join(below)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(&from).unwrap().with_extension("");
                home.write(name.to_str().unwrap(), &fs::read_to_string(&path).unwrap());
            }
        }
    };
    ["", "presets", "gateways", "apis"].into_iter().for_each(&mut copy);
    // Its upstream asks for a certificate: `own_tls` has its tests.
    fs::remove_file(home.providers().join("mutual.toml")).unwrap();
    fs::create_dir(home.path("secrets")).unwrap();
    fs::write(home.path("secrets/first-token"), "hidden-first\n").unwrap();
    home
}

#[test]
fn explain_agrees_with_the_gateway_on_every_kind_of_rule() {
    let required = [("AZURE_RESOURCE_NAME", "res"), ("AZURE_PREVIEW_VERSION", "v1")];
    let direct = language();
    // With the token alone, the gateway would be set in part.
    fs::remove_file(direct.path("secrets/first-token")).unwrap();
    assert!(compare(direct, &required) > 10);
    let more = [
        ("FIRST_URL", "https://first.example"),
        ("SECOND_REGION", "eu"),
        ("SECOND_HAS_IT", "1"),
        ("PROXY_URL", "https://egress.example/p"),
        ("PROXY_PASS", "hidden-pass"),
    ];
    assert!(compare(language(), &[&required[..], &more[..]].concat()) > 10);
}

const DEMO: &str = r#"title = "Demo"
path_prefix = "/demo"
base_url = "https://api.example.com"
vars.pass = { env = "PASS", optional = true, secret = true }
credentials.field = [{ name = "key" }, { name = "login", kind = "oauth2", token_url = "https://api.example.com/t", client_id = "c" }]
auth = [{ field = "key", match = "k-*", set = { x-key = "{secret}" } }, { field = "login", set = { x-login = "{secret}" } }]
[endpoint.items]
method = "GET"
path = "/items/{id}"
[endpoint.more]
method = "POST"
path = "/more"
[[egress]]
when = ["pass"]
headers = { set = { x-pass = "{pass}" } }
[[test]]
name = "items"
request.path = "/demo/items/1"
credentials.key = "k-1"
expect.url = "https://api.example.com/items/1"
"#;

/// Runs a command. Checks its exit code and parts of its output: stdout for 0 and 1, stderr for 2.
fn check(home: &Home, args: &[&str], code: i32, parts: &[&str]) -> CommandOutput {
    let said = home.run(args, "");
    assert_eq!(said.code, code, "{args:?}: {said:?}");
    let (output, other) = if code == 2 { (&said.err, &said.out) } else { (&said.out, &said.err) };
    for part in parts {
        assert!(output.contains(part), "{args:?}: `{part}` is missing in\n{output}");
    }
    assert_eq!(other, "", "{args:?}");
    said
}

#[test]
fn answers_misses_and_wrong_questions() {
    let home = Home::new(&[("demo", DEMO)]);
    let ask = |more: &[&str], code: i32, parts: &[&str]| {
        check(&home, &[&["explain"], more].concat(), code, parts);
    };
    ask(
        &["get", "/demo/items/1", "--credential", "key=k-1"],
        0,
        &["GET https://api.example.com/items/1", "x-key: ***"],
    );
    ask(&["GET", "/demo/items/1"], 0, &["refused   401 credential_missing", "no caller is named"]);
    ask(&["GET", "/demo/more"], 1, &["but       the method is POST, here it is GET", "demo.toml:12"]);
    ask(&["POST", "/demo/more/", "--json"], 1, &["\"what\": \"trailing_slash\"", "\"way\": null"]);
    ask(&["POST", "/demo/more", "--credential", "key=k-1", "--var", "PASS=s"], 0, &["x-pass: ***"]);
    ask(&["POST", "/demo/more", "--credential", "key=k-1", "--var", "pass=s"], 0, &["x-pass: ***"]);
    ask(&["GET", "demo"], 2, &["the path has to start with `/`"]);
    ask(&["G T", "/demo"], 2, &["the method is not valid"]);
    ask(&["GET"], 2, &["<PATH>"]);
    ask(&["GET", "/demo", "-H", "secret"], 2, &["header 1 is not of the form `name: value`"]);
    ask(&["GET", "/demo/items/1", "--credential", "nokey=secret"], 2, &["known are `key`, `login`"]);
    ask(&["GET", "/demo/items/1", "--credential", "secret"], 2, &["FIELD=VALUE"]);
    ask(
        &["GET", "/demo/items/1", "--var", "pas=secret"],
        2,
        &["no provider file has a var `pas`: did you mean `pass`?"],
    );
    ask(&["GET", "/demo/items/1", "--as", "ada"], 2, &["there is no store in "]);
    assert!(!home.data().exists(), "a question makes no data directory");
    ask(&["GET", "/demo/items/1", "--as", "ada", "--credential", "key=k"], 2, &["cannot be used with"]);
    for args in
        [["-H", "s3cret"], ["--credential", "s3cret"], ["--credential", "x=s3cret"], ["--var", "x=s3cret"]]
    {
        let said = home.run(&[&["explain", "GET", "/demo/items/1"], &args[..]].concat(), "");
        assert!(said.code == 2 && !said.err.contains("s3cret"), "{said:?}");
    }
    let nowhere = home.run(&["explain", "GET", "/x", "--providers", "/nonexistent"], "");
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
}

#[test]
fn explain_shows_the_precedence_of_credentials() {
    let home = Home::new(&[("demo", DEMO)]);
    home.done(&["user", "add", "erin", "--group", "research"], "");
    home.done(&["credential", "set", "--everybody", "providers.demo.key"], "k-of-all");
    let login = r#"{"accessToken":"t","expiresAt":4102444800000}"#;
    home.done(&["credential", "set", "--group", "research", "providers.demo.login"], login);
    let ask = |parts: &[&str]| {
        check(&home, &["explain", "GET", "/demo/items/1", "--as", "erin"], 0, parts);
    };
    ask(&[
        "auth      `login`: it is stored for the group `research`",
        "skipped `key`: everybody shares one, but that of the group `research` takes precedence",
    ]);
    home.credential("erin", "providers.demo.login", login);
    ask(&[
        "auth      `login`: it is stored for `erin`",
        "skipped `key`: everybody shares one, but that of `erin` takes precedence",
    ]);
}

#[test]
fn explain_shows_the_limits_of_a_token() {
    let home = Home::new(&[("demo", DEMO)]);
    home.user("ada");
    home.credential("ada", "providers.demo.key", "k-1");
    let made = home.run(&["token", "add", "ada", "--kind", "proxy", "--scope", "demo/more"], "").err;
    let scoped = made.split('`').find(|word| word.starts_with("tollgate token revoke ")).unwrap();
    let scoped = scoped.strip_prefix("tollgate token revoke ").unwrap();
    let ask = |more: &[&str], code: i32, parts: &[&str]| {
        check(&home, &[&["explain", "GET", "/demo/items/1"], more].concat(), code, parts);
    };
    let out_of_scope = "refused   403 token_scope: This token does not reach `demo/items`";
    let kind = "refused   403 token_kind: This token is for self-service";
    ask(&["--as", "ada"], 0, &["auth      `key`: the stored credential for `ada`", "url       GET https://"]);
    ask(
        &["--as", "ada", "--token", scoped],
        0,
        &["a token of the kind `proxy`, scopes `demo/more`", out_of_scope],
    );
    ask(&["--as", "ada", "--scope", "demo/more", "--scope", "other"], 0, &[out_of_scope]);
    ask(
        &["--credential", "key=k-1", "--kind", "manage"],
        0,
        &["caller    a token of the kind `manage`", kind],
    );
    ask(
        &["--credential", "key=k-1", "--kind", "manage", "--json"],
        0,
        &["\"kind\": \"manage\"", "token_kind"],
    );
    ask(
        &["-H", "Host: a", "-H", "Host: b"],
        0,
        &["400 malformed_request: The request has more than one Host header"],
    );
    ask(&["--token", scoped], 2, &["--as <USER>"]);
    ask(
        &["--as", "ada", "--token", "tok_0"],
        2,
        &["`ada` has no such token: `tollgate token list` shows all"],
    );
    ask(&["--as", "ada", "--token", scoped, "--kind", "both"], 2, &["cannot be used with"]);
    ask(&["--scope", "a/b/c"], 2, &["`--scope` is given as `provider` or `provider/endpoint`"]);
}

/// If there is a store, there may be a server with other files.
#[test]
fn a_note_reports_the_built_in_files() {
    let home = Home::shipped();
    fs::create_dir(home.path("elsewhere")).unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(binary());
        command.env_clear().current_dir(home.path("elsewhere")).env("TOLLGATE_DATA", home.data()).args(args);
        let output = command.output().expect("the binary runs");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let route: &[&str] = &["explain", "GET", "/proxy/groq/v1/models"];
    for args in [&["routes"][..], &["check"], route] {
        assert_eq!(run(args).1, "", "{args:?}");
    }
    home.user("ada");
    for args in [&["routes"][..], &["check"], route] {
        let (_, notes) = run(args);
        assert!(
            notes.starts_with("note: the built-in provider files are used, since there is no "),
            "{notes}"
        );
        assert!(notes.contains("`--providers` names others"), "{notes}");
    }
    let (out, _) = run(route);
    assert!(out.contains("(built-in/groq.toml:") && !out.contains("providers.d"), "{out}");
}

#[test]
fn a_users_secrets_are_decrypted_only_where_they_decide() {
    let home = Home::new(&[
        ("demo", DEMO),
        ("plain", &DEMO.replace("match = \"k-*\", ", "").replace("demo", "plain")),
    ]);
    home.user("ada");
    home.credential("ada", "providers.demo.key", KEY);
    home.credential("ada", "providers.plain.key", KEY);
    let ask = |path: &str, code: i32, parts: &[&str]| {
        check(&home, &["explain", "GET", path, "--as", "ada"], code, parts);
    };
    ask("/demo/items/1", 0, &["the stored credential does not match `k-*`", "401 credential_missing"]);
    home.credential("ada", "providers.demo.login", r#"{"accessToken":"t","expiresAt":1000000000000}"#);
    ask("/demo/items/1", 0, &["the stored login has expired", "401 credential_expired"]);
    home.credential("ada", "providers.demo.login", r#"{"accessToken":"t","expiresAt":4102444800000}"#);
    ask("/demo/items/1", 0, &["auth      `login`: it is stored", "x-login: ***"]);
    fs::remove_file(home.data().join("master-key")).unwrap();
    ask("/plain/items/1", 0, &["auth      `key`: it is stored", "x-key: ***"]);
    ask("/demo/items/1", 2, &["failed to load the master key"]);
    assert!(!home.data().join("master-key").exists(), "a question makes no key");
    check(
        &home,
        &["explain", "GET", "/demo/items/1", "--as", "bob"],
        2,
        &["no user has the id or name `bob`"],
    );
}

#[test]
fn files_with_errors_are_reported() {
    let home = Home::new(&[("demo", DEMO), ("bad", "path_prefix = \"/bad\"\nbase_url = 1")]);
    let said = home.run(&["explain", "GET", "/bad/x"], "");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("503 config_rejected") && said.err.contains("bad.toml"), "{said:?}");
}

#[test]
fn tests_and_their_coverage() {
    let home = Home::new(&[("demo", DEMO)]);
    let half = "coverage 40 %: 1 of 2 endpoints, 1 of 2 auth entries, 0 of 1 egress\n";
    let said = check(&home, &["test"], 0, &["1 test: 1 passed, 0 failed\n", half]);
    for (what, line) in [("endpoint `more`", 12), ("auth entry `2 (login)`", 6), ("egress `1`", 13)] {
        let expected =
            format!("not covered: {what} of `demo`  ({}/demo.toml:{line})\n", home.providers().display());
        assert!(said.out.contains(&expected), "`{expected}` is missing in\n{}", said.out);
    }
    check(&home, &["test", "--fail-under", "40"], 0, &[half]);
    check(&home, &["test", "--fail-under", "40.5%"], 1, &["coverage is below 40.5 %\n"]);
    check(&home, &["test", "--fail-under", "101"], 2, &["0 to 100"]);
    let said = check(&home, &["test", "--filter", "demo::it*"], 0, &["1 test: 1 passed, 0 failed\n"]);
    assert!(!said.out.contains("cover"), "{said:?}");
    check(&home, &["test", "--filter", "ite"], 0, &["1 test: "]);
    check(&home, &["test", "--filter", "nothing"], 2, &["no test's `FILE::NAME` matches `nothing`"]);
    let file = home.providers().join("demo.toml").display().to_string();
    check(&home, &["test", &file], 0, &[half]);
    check(&home, &["test", "/nonexistent"], 2, &["/nonexistent"]);
    let shipped = root().join("providers.d").display().to_string();
    check(&home, &["test", &shipped, "--fail-under", "100"], 0, &[" 0 failed\n", "coverage 100 %: "]);
}

#[test]
fn a_failing_test_shows_the_decision() {
    let wrong = DEMO.replace(
        "com/items/1\"\n",
        "com/items/2\"\nexpect.headers.x-key = \"k-2\"\nexpect.absent = [\"host\"]\n",
    );
    let fixture = "[[test]]\nname = \"fixture\"\nprovider.base_url = \"https://api.example.com\"\nrequest.path = \"/proxy/fixture/one\"\nexpect.method = \"PUT\"\n[test.provider.headers]\nset.x-a = \"1\"\n";
    let preset = format!(
        "path_prefix = \"/proxy/{{provider}}\"\nendpoint.one = {{ method = \"GET\", path = \"/one\" }}\nheaders.set.x-b = \"2\"\n{fixture}provider.title = \"F\"\n"
    );
    let preset = preset
        .replace("provider.title = \"F\"\n", "")
        .replace("provider.base_url", "provider.title = \"F\"\nprovider.base_url");
    let preset =
        preset.replace("[test.provider.headers]\nset.x-a = \"1\"\n", "provider.headers.set.x-a = \"1\"\n");
    let home = Home::new(&[("demo", &wrong), ("presets/base", &preset)]);
    let dir = home.providers().display().to_string();
    let junit = home.path("junit.xml").display().to_string();
    let out = check(&home, &["test", "--junit", &junit], 1, &["2 tests: 0 passed, 2 failed\n"]).out;
    for part in [
        "FAIL demo::items  ({dir}/demo.toml:",
        "  the URL\n    - expected `https://api.example.com/items/2`\n    + actual   `https://api.example.com/items/1`\n",
        "  header `x-key`\n    - expected `k-2`\n    + actual   `k-1`\n",
        "  header `host` goes up, but `host` is to be absent\n",
        "      endpoint  `items` of `demo`: GET /demo/items/{id}  ({dir}/demo.toml:9)\n",
        "      auth      `key`: the stored credential matches `k-*`  ({dir}/demo.toml:6)\n",
        "          set by auth[0].set.x-key  ({dir}/demo.toml:6)\n",
        "FAIL presets/base::fixture  ({dir}/presets/base.toml:",
        "  the method\n    - expected `PUT`\n    + actual   `GET`\n",
        "          set by headers.set.x-a  ({dir}/presets/base.toml:",
    ] {
        let part = part.replace("{dir}", &dir);
        assert!(out.contains(&part), "`{part}` is missing in\n{out}");
    }
    let xml = fs::read_to_string(&junit).unwrap();
    check_junit(&xml, 2, 2, 0);
    assert!(xml.contains(&format!("<testsuite name=\"{dir}/demo.toml\"")), "{xml}");
    assert!(xml.contains("message=\"the URL is `https://api.example.com/items/1`, expected"), "{xml}");
}

#[test]
fn files_with_errors_do_not_pass() {
    let home = Home::new(&[("demo", DEMO), ("bad", "title = \"<&>\"\nbase_url = 1\n")]);
    let junit = home.path("junit.xml");
    let said = home.run(&["test", "--junit", junit.to_str().unwrap()], "");
    assert!(
        said.code == 1 && said.err.contains("bad.toml:2") && said.out.contains("1 error in the files"),
        "{said:?}"
    );
    check_junit(&fs::read_to_string(&junit).unwrap(), 2, 0, 1);
    let good = home.providers().join("demo.toml").display().to_string();
    check(&home, &["test", &good], 0, &["1 test: 1 passed"]);
}

/// The `JUnit` XML shape that readers agree on: the parent of each element, its required attributes, and correct
/// counts.
fn check_junit(xml: &str, tests: usize, failures: usize, errors: usize) {
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites "), "{xml}");
    let mut open: Vec<String> = Vec::new();
    let (mut cases, mut failed, mut broken) = (0, 0, 0);
    for tag in xml.split('<').skip(2) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(!text.contains('&') || text.contains(';'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        let (above, wanted) = match name {
            "testsuites" => (None, &["name", "tests", "failures", "errors", "time"][..]),
            "testsuite" => (Some("testsuites"), &["name", "tests", "failures", "errors", "time"][..]),
            "testcase" => (Some("testsuite"), &["name", "classname", "time"][..]),
            "failure" | "error" => (Some("testcase"), &["message", "type"][..]),
            other => panic!("`{other}` is no element"),
        };
        assert_eq!(open.last().map(String::as_str), above);
        let quoted: Vec<&str> = tag.split('"').collect();
        let names: Vec<&str> =
            quoted.iter().step_by(2).map(|part| part.trim_matches([' ', '=', '/'])).collect();
        let names: Vec<&str> = names
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| part.rsplit(' ').next().unwrap())
            .collect();
        assert_eq!(names, wanted, "{tag}");
        match name {
            "testsuites" => {
                let count = |at: usize| quoted[at].parse::<usize>().unwrap();
                assert_eq!((count(3), count(5), count(7)), (tests, failures, errors));
            }
            "testcase" => cases += 1,
            "failure" => failed += 1,
            "error" => broken += 1,
            _ => {}
        }
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
    }
    assert_eq!((open.len(), cases, failed, broken), (0, tests, failures, errors));
}

/// `docs/tooling.md` shows a file, and commands with their output about it.
#[test]
fn the_commands_in_the_documentation_are_right() {
    let page = fs::read_to_string(root().join("docs/tooling.md")).unwrap();
    let blocks = |begin: &str| {
        let tails = page.split(&format!("\n```{begin}\n")).skip(1).map(str::to_owned).collect::<Vec<_>>();
        tails.into_iter().map(|tail| tail.split("```").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let home = Home::new(&[("acme", &blocks("toml")[0])]);
    let shown = blocks("console");
    assert!(shown.len() > 2, "the page shows commands");
    for block in shown {
        let (command, expected) = block.strip_prefix("$ tollgate ").unwrap().split_once('\n').unwrap();
        let quoted = command.split('\'').enumerate();
        let args = quoted.flat_map(|(index, part)| {
            let words = if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() };
            words.into_iter().map(str::to_owned).collect::<Vec<_>>()
        });
        let args: Vec<String> = args.collect();
        if args[0] == "import" {
            import_sources::copy(&root().join("tests/import"), &home.path("src"));
        }
        if args[0] == "price" {
            let guide = fs::read_to_string(root().join("docs/provider-files.md")).unwrap();
            let mut blocks = guide.split("```toml\n").filter_map(|tail| tail.split_once("```"));
            home.write("prices/acme", blocks.find(|(block, _)| block.contains("[[price]]")).unwrap().0);
        }
        let said = home.run(&args.iter().map(String::as_str).collect::<Vec<_>>(), "");
        let out = said.out.replace(&home.providers().display().to_string(), "providers.d");
        assert_eq!(out, expected, "{command}: {}", said.err);
    }
}

#[test]
fn a_file_whose_tests_fail_is_explained() {
    let home = Home::new(&[("demo", &DEMO.replace("com/items/1\"", "com/items/2\""))]);
    let said = home.run(&["explain", "GET", "/demo/items/1", "--credential", "key=k-1"], "");
    assert!(said.code == 0 && said.out.contains("url       GET https://api.example.com/items/1"), "{said:?}");
    assert!(said.err.contains("demo.toml` is not served as it is: test `items` fails"), "{said:?}");
    let other = home.run(&["explain", "GET", "/health"], "");
    assert!(other.code == 1 && other.err.is_empty() && other.out.contains("own "), "{other:?}");
}
