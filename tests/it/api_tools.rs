//! The tools of the API: a request is explained and a text is checked, both by the files that serve. Neither changes
//! anything.

use serde_json::{Value, json};

use crate::harness::{Api, Home, KEY, PROVIDER, World, provider};

const EXPLAIN: &str = "POST /admin/explain";
const CHECK: &str = "POST /admin/check";

const PRICES: &str =
    "title = \"Mine\"\ncurrency = \"USD\"\n[[price]]\nmodel = [\"mine\"]\ninput = 1\noutput = 2\n";

/// What looks like a key.
const SECRET: &str = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789";

fn explain(api: &Api, body: &Value) -> Value {
    api.done(EXPLAIN, body)
}

fn check(api: &Api, file: &str, text: &str) -> Value {
    api.done(CHECK, &json!({ "file": file, "text": text }))
}

/// A provider file with another prefix and title.
fn other(name: &str, more: &str) -> String {
    provider("https://other.test", more)
        .replace("\"/t\"", &format!("\"/{name}\""))
        .replace("providers.t", &format!("providers.{name}"))
}

/// The codes of the errors. Files of tests have no tests of their own, which is a warning.
fn codes(checked: &Value) -> Vec<&str> {
    let errors = checked["findings"].as_array().unwrap().iter().filter(|one| one["severity"] == "error");
    errors.map(|one| one["code"].as_str().unwrap()).collect()
}

#[test]
fn the_api_and_the_command_explain_alike() {
    let world = World::new();
    let api = Api::admin(&world);
    let ada = json!({ "user": "ada" });
    for (method, path, more, flags) in [
        ("GET", "/t/get", &ada, &["--as", "ada"][..]),
        ("GET", "/t/get?key=x", &Value::Null, &[]),
        ("post", "/t/get", &ada, &["--as", "ada"]),
        ("GET", "/t/gett", &Value::Null, &[]),
        ("GET", "/health", &Value::Null, &[]),
        (
            "GET",
            "/t/get",
            &json!({ "headers": { "x-a": "b" }, "credentials": { "apiKey": KEY } }),
            &["-H", "x-a: b", "--credential", &format!("apiKey={KEY}")],
        ),
        (
            "GET",
            "/t/get",
            &json!({ "kind": "manage", "scopes": ["t"] }),
            &["--kind", "manage", "--scope", "t"],
        ),
        (
            "GET",
            "/t/get",
            &json!({ "user": "ada", "scopes": ["t/post"] }),
            &["--as", "ada", "--scope", "t/post"],
        ),
    ] {
        let mut body = json!({ "method": method, "path": path });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let shown = explain(&api, &body);
        let command = world.home.run(&[&["explain", "--json", method, path], flags].concat(), "");
        let mut printed: Value = serde_json::from_str(&command.out).unwrap();
        // The command has another word for the same facts where it names its flags.
        let reason = printed.pointer_mut("/way/auth/0/reason");
        if let (Some(printed), Some(shown)) = (reason, shown.pointer("/way/auth/0/reason"))
            && printed.as_str().unwrap().contains("--as USER")
        {
            assert!(shown.as_str().unwrap().contains("give `user`"), "{shown}");
            *printed = shown.clone();
        }
        assert_eq!(shown, printed, "{method} {path} {body}");
        assert!(!shown.to_string().contains(KEY), "{shown}");
    }
    let url =
        explain(&api, &json!({ "method": "GET", "path": "https://gateway.test/t/get#x", "user": "ada" }));
    assert_eq!(url["request"], json!({ "method": "GET", "path": "/t/get" }));
}

#[test]
fn an_explanation_has_the_owner_of_the_key() {
    let world = World::new();
    let api = Api::admin(&world);
    let owner = |user: &str| {
        let shown = explain(&api, &json!({ "method": "GET", "path": "/t/get", "user": user }));
        assert!(!shown.to_string().contains("sk-upstream"), "{shown}");
        let code = shown["way"]["fault"]["code"].as_str().unwrap_or_default().to_owned();
        (shown["way"]["owner"].as_str().map(str::to_owned), code)
    };
    let (bob, _) = api.user("bob");
    assert_eq!(owner("bob"), (None, "credential_missing".to_owned()));
    api.done("PUT /admin/credentials/everybody", &json!({ "providers": { "t": { "apiKey": KEY } } }));
    assert_eq!(owner(&bob).0.as_deref(), Some("everybody"));
    api.done(&format!("PATCH /admin/users/{bob}"), &json!({ "group": "red" }));
    api.done("PUT /admin/credentials/groups/red", &json!({ "providers": { "t": { "apiKey": KEY } } }));
    assert_eq!(owner("bob").0.as_deref(), Some("group:red"));
    api.done(&format!("PATCH /admin/users/{bob}/creds"), &json!({ "providers": { "t": { "apiKey": KEY } } }));
    assert_eq!(owner("bob").0.as_deref(), Some(bob.as_str()));
    api.done(&format!("PATCH /admin/users/{bob}"), &json!({ "disabled": true }));
    assert_eq!(owner("bob").1, "user_disabled");
    // The API has two users of one name.
    api.user("bob");
    let (status, code, message) = (404, "not_found", "2 users have this name: give the id of one");
    api.fails(EXPLAIN, &json!({ "method": "GET", "path": "/t/get", "user": "bob" }), (status, code, message));
}

#[test]
fn a_request_that_cannot_be_explained_is_refused_by_its_part() {
    let world = World::new();
    let api = Api::admin(&world);
    let body = |more: Value| {
        let mut body = json!({ "method": "GET", "path": "/t/get" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, message) in [
        (
            body(json!({ "path": "t/get" })),
            "/path: it is no path and no URL: begin with `/`, and percent-encode special characters",
        ),
        (body(json!({ "method": "G T" })), "/method: it is no method: give one such as `POST`"),
        (
            body(json!({ "headers": { "a b": "c" } })),
            "/headers/a b: it is no header: a name has no spaces, and a value is one line",
        ),
        (
            body(json!({ "user": "ada", "credentials": { "apiKey": SECRET } })),
            "/credentials: with `user`, the stored credentials count: leave one of the two out",
        ),
        (
            body(json!({ "credentials": { "apikey": SECRET } })),
            "/credentials/apikey: the provider has no such field; did you mean `apiKey`?",
        ),
        (body(json!({ "token": "tok_1" })), "/token: it needs `user`, whose token it is"),
        (body(json!({ "scopes": ["/"] })), "/scopes/0: a scope is written `provider` or `provider/endpoint`"),
    ] {
        api.fails(EXPLAIN, &body, (400, "invalid_request", message));
    }
    let nobody = body(json!({ "user": "nobody" }));
    api.fails(EXPLAIN, &nobody, (404, "not_found", "No user has this id or name"));
    let token = body(json!({ "user": "ada", "token": "tok_0000000000000000" }));
    api.fails(EXPLAIN, &token, (404, "not_found", "This user has no such token"));
    for line in [EXPLAIN, CHECK] {
        assert_eq!(api.with(&world.token).call(line, &json!({})).status, 401, "users have no such call");
    }
}

#[test]
fn a_text_is_checked_among_the_files_that_serve() {
    let world = World::new();
    let api = Api::admin(&world);
    let before = world.home.contents();
    let new = check(&api, "new.toml", &other("new", ""));
    assert_eq!((&new["ok"], codes(&new)), (&json!(true), vec![]), "{new}");
    assert_eq!((&new["widens"], &new["diff"]["verdict"]), (&json!(true), &json!("widened")));
    assert_eq!(new["diff"]["groups"][0]["providers"], json!(["new"]));
    assert_eq!(new["diff"]["groups"][0]["became"], "added");

    let host = format!("http://{}", world.host);
    let same = check(&api, "t.toml", &format!("# a remark\n{}", provider(&host, "")));
    assert_eq!((&same["diff"]["verdict"], &same["widens"]), (&json!("same"), &json!(false)), "{same}");

    let typo = check(&api, "t.toml", &provider(&host, "").replace("label", "labl"));
    assert_eq!((&typo["ok"], codes(&typo), &typo["diff"]), (&json!(false), vec!["TG010"], &Value::Null));
    let finding = &typo["findings"][0];
    let text = provider(&host, "").replace("label", "labl");
    let (start, end) = (
        finding["span"]["start"]["byte"].as_u64().unwrap(),
        finding["span"]["end"]["byte"].as_u64().unwrap(),
    );
    assert_eq!(&text[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()], "labl");
    assert_eq!((&finding["severity"], &finding["span"]["start"]["line"]), (&json!("error"), &json!(9)));
    assert!(finding["help"].as_str().unwrap().contains("label"), "{finding}");
    assert_eq!(finding["span"]["file"], typo["file"]);
    assert!(typo["codes"]["TG010"].as_str().unwrap().contains("no such key"));

    let clash = check(&api, "new.toml", &PROVIDER.replace("title", "base_url = \"https://x.test\"\ntitle"));
    assert!(codes(&clash).iter().any(|code| *code == "TG040" || *code == "TG041"), "{clash}");
    assert_eq!(world.home.contents(), before, "nothing is written");
}

#[test]
fn a_shared_file_is_checked_with_the_providers_that_use_it() {
    let uses = "extends = \"mine\"\ntitle = \"T\"\nbase_url = \"https://t.test\"\n";
    let preset = "path_prefix = \"/{provider}\"\n[endpoint.one]\nmethod = \"GET\"\npath = \"/one\"\n";
    let home = Home::new(&[("t", uses), ("presets/mine", preset), ("presets/spare", preset)]);
    let gateway = home.serve(&[]);
    let token = std::fs::read_to_string(home.data().join("admin-token")).unwrap();
    let api = Api::new(gateway.address, token.trim_end());
    let more = check(
        &api,
        "presets/mine.toml",
        &format!("{preset}[endpoint.two]\nmethod = \"GET\"\npath = \"/two\"\n"),
    );
    assert_eq!((&more["ok"], &more["widens"]), (&json!(true), &json!(true)), "{more}");
    assert_eq!(more["diff"]["groups"][0]["providers"], json!(["t"]), "{more}");
    let bad = check(&api, "presets/mine.toml", &preset.replace("GET", "G T"));
    assert_eq!((&bad["ok"], &bad["diff"]), (&json!(false), &Value::Null), "{bad}");
    // A preset that no provider uses yet is there for one that would.
    let spare = check(&api, "new.toml", &uses.replace("mine", "spare"));
    assert_eq!((&spare["ok"], codes(&spare)), (&json!(true), vec![]), "{spare}");
}

#[test]
fn a_stale_file_keeps_no_other_text_from_being_checked() {
    let preset = |endpoint: &str| {
        let more = "[endpoint.two]\nmethod = \"GET\"\npath = \"/two\"\n";
        format!(
            "path_prefix = \"/{{provider}}\"\n[endpoint.{endpoint}]\nmethod = \"GET\"\npath = \"/one\"\n{more}"
        )
    };
    let uses = "extends = \"mine\"\ntitle = \"T\"\nbase_url = \"https://t.test\"\n";
    let overrides = |endpoint: &str| format!("{uses}[endpoint.{endpoint}]\npath = \"/own\"\n");
    let home = Home::new(&[("aa", &overrides("one")), ("bb", uses), ("presets/mine", &preset("one"))]);
    let gateway = home.serve(&[]);
    let token = std::fs::read_to_string(home.data().join("admin-token")).unwrap();
    let api = Api::new(gateway.address, token.trim_end());
    home.write("presets/mine", &preset("uno"));
    assert_eq!(home.run(&["reload"], "").code, 1, "aa is stale");
    let check = |file: &str, text: &str, verdict: &str, names: Value| {
        let checked = check(&api, file, text);
        assert_eq!((&checked["ok"], codes(&checked)), (&json!(true), vec![]), "{file}: {checked}");
        assert_eq!(checked["diff"]["verdict"], verdict, "{file}: {checked}");
        let groups = checked["diff"]["groups"].as_array().unwrap().iter();
        let changed: Vec<_> = groups.flat_map(|group| group["providers"].as_array().unwrap()).collect();
        assert_eq!(json!(changed), names, "{file}: {checked}");
    };
    check("cc.toml", &other("cc", ""), "widened", json!(["cc"]));
    check("cc.toml", &overrides("uno"), "widened", json!(["cc"]));
    check("bb.toml", uses, "same", json!([]));
    check("aa.toml", &overrides("one"), "same", json!([]));
    check("aa.toml", &overrides("uno"), "widened", json!(["aa"]));
    check("presets/mine.toml", &preset("uno"), "same", json!([]));
    check("presets/mine.toml", &preset("one"), "widened", json!(["bb"]));
    check("prices/mine.toml", PRICES, "different", json!([]));
    // A path that the stale file serves is taken.
    let clash = api.done(CHECK, &json!({ "file": "cc.toml", "text": other("cc", "").replace("/cc\"", "/aa\"") .replace("/get", "/own") }));
    assert_eq!((&clash["ok"], codes(&clash)), (&json!(false), vec!["TG040"]), "{clash}");
    // A shared file that is broken keeps a text that depends on it from serving, and no other one.
    home.write("presets/mine", "x = ");
    assert_eq!(home.run(&["reload"], "").code, 1);
    check("dd.toml", &other("dd", ""), "widened", json!(["dd"]));
    check("aa.toml", &overrides("one"), "same", json!([]));
    let typo = api.done(CHECK, &json!({ "file": "bb.toml", "text": uses.replace("title", "titel") }));
    assert!(codes(&typo).contains(&"TG010") && typo["diff"].is_null(), "{typo}");
    let new = api.done(CHECK, &json!({ "file": "ee.toml", "text": overrides("uno") }));
    assert!(!codes(&new).is_empty() && new["diff"].is_null(), "{new}");
}

#[test]
fn files_of_prices_and_clients_are_compared_too() {
    let client = |code: &str| {
        format!(
            "title = \"Mine\"\nkind = \"tool\"\n[[speaks]]\napi = \"messages\"\npath = \"/v1\"\n[[speaks.step]]\nlanguage = \"sh\"\ncode = \"{code}\"\n"
        )
    };
    let world = World::new();
    let api = Api::admin(&world);
    world.home.write("clients/mine", &client("old {base_url}"));
    assert_eq!(world.home.run(&["reload"], "").code, 0);
    let check = |file: &str, text: &str, verdict: &str, (prices, clients): (usize, usize)| {
        let checked = check(&api, file, text);
        assert_eq!((&checked["ok"], &checked["widens"]), (&json!(true), &json!(false)), "{file}: {checked}");
        let diff = &checked["diff"];
        assert_eq!((&diff["verdict"], &diff["groups"]), (&json!(verdict), &json!([])), "{file}: {checked}");
        let count = |list: &str| diff[list].as_array().unwrap().len();
        assert_eq!((count("prices"), count("clients")), (prices, clients), "{file}: {checked}");
    };
    check("clients/mine.toml", &client("old {base_url}"), "same", (0, 0));
    check("clients/mine.toml", &client("curl evil"), "different", (0, 1));
    check("clients/new.toml", &client("new {base_url}"), "different", (0, 2));
    check("prices/mine.toml", PRICES, "different", (1, 0));
    let bad =
        api.done(CHECK, &json!({ "file": "prices/mine.toml", "text": PRICES.replace("input", "inptu") }));
    assert_eq!((&bad["ok"], codes(&bad)), (&json!(false), vec!["TG010"]), "{bad}");
}

#[test]
fn a_hostile_text_costs_little_and_stays_secret() {
    let world = World::new();
    let api = Api::admin(&world);
    let tables = (0..100_000).map(|number| format!("[t{number}]\n")).collect::<Vec<_>>().concat();
    for text in [
        tables,
        format!("x = {}", "[".repeat(200_000)),
        format!("x = {}1{}", "{ a = ".repeat(50_000), "}".repeat(50_000)),
        format!("x{} = 1", ".a".repeat(100_000)),
        "\u{feff}\0\u{1b}[31m".to_owned(),
        "\"".repeat(1 << 19),
        "#".repeat((1 << 20) + 1),
    ] {
        let checked = check(&api, "hostile.toml", &text);
        assert_eq!((&checked["ok"], &checked["diff"]), (&json!(false), &Value::Null));
        let found = checked["findings"].as_array().unwrap();
        assert!((1..=1000).contains(&found.len()), "{}", found.len());
    }
    let body = json!({ "file": "a.toml", "text": "#".repeat(3 << 20) });
    assert_eq!(api.call(CHECK, &body).status, 413);
    for file in ["../a.toml", "a.txt", "x/a.toml", "/etc/a.toml", "a"] {
        let reply = api.call(CHECK, &json!({ "file": file, "text": "" }));
        assert_eq!((reply.status, &reply.body["error"]["code"]), (400, &json!("invalid_request")), "{file}");
    }
    let leaky = check(&api, "new.toml", &format!("{SECRET} = 1\ntitle = \"{SECRET}\"\n"));
    assert!(!leaky.to_string().contains(SECRET), "{leaky}");
    let log = world.gateway.log();
    assert!(!log.is_empty() && !log.iter().any(|line| line.contains(SECRET) || line.contains("t99999")));
}

#[test]
fn findings_have_their_source_lines() {
    let world = World::new();
    let api = Api::admin(&world);
    let text = format!("{}[broken]\nlabl = \"{SECRET}\"\n", provider("https://b.test", ""));
    world.home.write("broken", &text);
    world.home.write("many", &(0..300).map(|number| format!("x{number} = 1\n")).collect::<Vec<_>>().concat());
    assert_eq!(world.home.run(&["reload"], "").code, 1);
    let status = api.get("GET /admin/providers").body;
    let file = |name: &str| {
        let mut files = status["files"].as_array().unwrap().iter();
        files.find(|one| one["file"].as_str().unwrap().ends_with(name)).unwrap().clone()
    };
    let shown = |file: &Value| {
        let query = form_urlencoded::byte_serialize(file["file"].as_str().unwrap().as_bytes());
        api.done(&format!("GET /admin/findings?file={}", query.collect::<String>()), &Value::Null)
    };
    let broken = file("/broken.toml");
    let found = shown(&broken);
    let (all, listed) = (found["findings"].as_array().unwrap(), broken["diagnostics"].as_array().unwrap());
    assert!(!all.is_empty() && all.len() == listed.len(), "{found} {broken}");
    for (one, listed) in all.iter().zip(listed) {
        for field in ["code", "line", "column"] {
            assert_eq!(one[field], listed[field], "{found} {broken}");
        }
    }
    let rendered = all.iter().map(|one| one["text"].as_str().unwrap()).collect::<Vec<_>>().join("\n\n");
    assert!(
        rendered.contains("[broken]") && rendered.contains("^^^") && rendered.contains("-->"),
        "{rendered}"
    );
    // As the command prints them.
    let printed = world.home.run(&["check"], "").err;
    let first = all[0]["text"].as_str().unwrap().split_once("-->").unwrap().1.split_once('\n').unwrap().1;
    assert!(printed.contains(first), "{printed}\n{first}");
    assert!(!found.to_string().contains(SECRET), "{found}");
    let many = shown(&file("/many.toml"));
    assert_eq!(many["findings"].as_array().unwrap().len(), 100, "{}", many["omitted"]);
    assert!(many["omitted"].as_u64().unwrap() >= 200, "{}", many["omitted"]);
    assert_eq!(api.get("GET /admin/findings?file=nothing").body, json!({ "findings": [], "omitted": 0 }));
    assert_eq!(api.get("GET /admin/findings").status, 400);
}

#[test]
fn a_provider_that_serves_is_shown() {
    let world = World::new();
    let api = Api::admin(&world);
    let shown = api.done("GET /admin/providers/t", &Value::Null);
    assert_eq!(shown["provider"]["title"], "Test");
    assert_eq!(shown["provider"]["section"], "providers.t");
    assert_eq!(shown["provider"]["endpoints"][1]["path"], "/post");
    assert_eq!(shown["origins"], json!([format!("http://{}", world.host)]));
    assert_eq!(api.get("GET /admin/providers/nothing").status, 404);
}
