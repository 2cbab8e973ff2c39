//! The state of limits and grants: over the API, on the command line with and without a server, and in metrics.

use serde_json::{Value, json};

use crate::harness::{Api, Exchange, World, eventually, over_socket};

/// Limits of each kind of key.
const LIMITS: &str = r#"
[[limit]]
id = "all"
per = "all"
requests = 20
window = { every = "month" }
[[limit]]
id = "at-once"
concurrent = 4
[[limit]]
id = "burst"
requests = 3
window = "total"
except = { bob = 7, carl = "none" }
[[limit]]
id = "by-provider"
per = ["user", "provider"]
bytes = 1000000
window = { sliding = "1h" }
over = "warn"
[[limit]]
id = "cost"
cost = "20 USD"
no_price = "free"
window = { every = "day", tz = "Europe/Berlin" }
[[limit]]
id = "group"
per = "group"
match = { group = ["team"] }
requests = 5
window = "total"
[[limit]]
id = "token"
per = "token"
requests = 100
window = "total"
[[allow]]
match = { user = ["bob"] }
providers = ["t"]
models = ["small-*"]
"#;

struct Limited {
    world: World,
    admin: Api,
    /// The user whose token the world's exchanges have.
    ada: Api,
}

impl Limited {
    fn new() -> Self {
        // The limit of cost needs an endpoint that counts usage, and a price.
        let chat = "[endpoint.chat]\nmethod = \"POST\"\npath = \"/chat\"\napi = \"chat-completions\"\n";
        let world = World::limited(LIMITS, chat, &[]);
        let admin = Api::admin(&world);
        let ada = admin.with(&world.token);
        Self { world, admin, ada }
    }

    /// The id of the user that the world's exchanges are of.
    fn id(&self) -> String {
        let me = self.ada.done("GET /auth/me", &Value::Null);
        me["id"].as_str().unwrap().to_owned()
    }

    /// A call of the caller that a limit refuses.
    fn is_refused(&mut self) {
        let exchange = self.world.known(Exchange::get());
        let mut client = self.world.client();
        client.send(exchange.bytes());
        assert_eq!(client.answer().unwrap().head.status(), 429);
        self.world.upstream.saw_nothing();
    }

    fn passes(&mut self) {
        self.world.exchange(Exchange::get());
    }
}

/// The amounts of a report, each as `ID WHO USED/AMOUNT`.
fn amounts(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| {
        let parts = ["userName", "group", "provider", "model"].map(|part| text(&one["key"][part]));
        let who = parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(",");
        format!("{} {who} {}/{}", text(&one["id"]), text(&one["used"]), text(&one["amount"]))
    };
    report["limits"].as_array().unwrap().iter().map(one).collect()
}

/// The amount of a limit.
fn of<'r>(report: &'r Value, id: &str) -> &'r Value {
    let all = report["limits"].as_array().unwrap();
    all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{id}: {report}"))
}

#[test]
fn a_user_sees_what_is_used_and_left() {
    let mut limited = Limited::new();
    let own = |api: &Api, query: &str| api.done(&format!("GET /auth/limits{query}"), &Value::Null);
    let unused = own(&limited.ada, "");
    let expected = ["all  0/20", "at-once ada 0/4", "burst ada 0/3", "cost ada 0/20"];
    assert_eq!(amounts(&unused), expected);
    assert_eq!((&unused["counters"], &unused["rules"]), (&json!("live"), &json!([])));
    limited.passes();
    limited.passes();
    let ada = limited.ada.clone();
    eventually("the calls are settled", || {
        of(&own(&ada, ""), "burst")["reserved"] == "0"
            && own(&ada, "?id=by-provider")["limits"][0]["used"] != "0"
    });
    let used = own(&ada, "");
    let shown = amounts(&used);
    assert_eq!(shown[..3], ["all  2/20", "at-once ada 0/4", "burst ada 2/3"]);
    assert_eq!((shown.len(), of(&used, "token")["used"].as_str()), (6, Some("2")), "{shown:?}");
    let burst = of(&used, "burst");
    assert_eq!(
        (&burst["left"], &burst["share"], &burst["resetsAt"]),
        (&json!("1"), &json!(0.6667), &Value::Null)
    );
    assert_eq!((&burst["measure"], &burst["window"]), (&json!("requests"), &json!("in all")));
    assert_eq!((&burst["file"], &burst["over"]), (&json!("t.toml"), &json!("reject")));
    assert_eq!(burst["key"], json!({ "user": limited.id(), "userName": "ada" }));
    let by_provider = of(&used, "by-provider");
    assert_eq!((&by_provider["over"], &by_provider["key"]["provider"]), (&json!("warn"), &json!("t")));
    assert_eq!(by_provider["per"], json!(["user", "provider"]));
    let cost = of(&used, "cost");
    assert_eq!((&cost["currency"], &cost["window"]), (&json!("USD"), &json!("a day (Europe/Berlin)")));
    assert!(of(&used, "all")["resetsAt"].as_str().unwrap().ends_with("-01T00:00:00Z"), "{used}");
    assert_eq!(amounts(&own(&ada, "?near=0.5")), ["burst ada 2/3"]);

    // Another user has amounts of the own, and sees those that are for everybody.
    let (bob, token) = limited.admin.user("bob");
    limited.admin.done(&format!("PATCH /admin/users/{bob}"), &json!({ "group": "team" }));
    let bob = limited.admin.with(&token);
    let seen = own(&bob, "");
    let expected = ["all  2/20", "at-once bob 0/4", "burst bob 0/7", "cost bob 0/20", "group team 0/5"];
    assert_eq!(amounts(&seen), expected);
    assert_eq!(seen["rules"][0]["models"], "small-*");
    let (_, token) = limited.admin.user("carl");
    let seen = amounts(&own(&limited.admin.with(&token), ""));
    assert!(!seen.iter().any(|one| one.starts_with("burst")), "no limit: {seen:?}");
    for (query, message) in [
        ("?id=brst", "?id=: no limit has this id; did you mean `burst`?"),
        ("?near=much", "?near=: it is a share of the amount from 0 to 1, such as `0.8`"),
        ("?user=ada", "unknown query parameter; known here: `id`, `near`, `limit`, `after`"),
        ("?after=x", "?after=: no such amount exists: start again without it"),
    ] {
        let reply = ada.get(&format!("GET /auth/limits{query}"));
        assert_eq!((reply.status, &reply.body["error"]["message"]), (400, &json!(message)), "{query}");
    }
}

#[test]
fn running_calls_are_shown_and_pages_are_whole() {
    let mut limited = Limited::new();
    let exchange = limited.world.known(Exchange::get());
    let mut client = limited.world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = limited.world.upstream.request();
    let all = |query: &str| limited.admin.done(&format!("GET /admin/limits{query}"), &Value::Null);
    let running = all("?user=ada");
    let at_once = of(&running, "at-once");
    assert_eq!((&at_once["running"], &at_once["left"]), (&json!(1), &json!("3")));
    assert_eq!((&at_once["window"], &at_once["resetsAt"]), (&Value::Null, &Value::Null));
    wire.send(exchange.answer.bytes());
    client.answer().unwrap();
    eventually("the call has ended", || of(&all("?user=ada"), "at-once")["running"] == 0);

    // All users: what is used, and the limit for everybody.
    let (_, token) = limited.admin.user("bob");
    let bob = limited.admin.with(&token);
    bob.done("GET /auth/limits", &Value::Null);
    let whole = all("");
    assert!(whole.get("rules").is_none(), "{whole}");
    let whole = amounts(&whole);
    assert_eq!(whole[0], "all  1/20");
    assert!(whole.contains(&"burst ada 1/3".to_owned()) && whole.len() >= 4, "{whole:?}");
    for size in [1, 2, 100] {
        let (mut pages, mut next) = (Vec::new(), Some(format!("/admin/limits?limit={size}")));
        while let Some(path) = next {
            let reply = limited.admin.get(&format!("GET {path}"));
            let page = amounts(&reply.body);
            assert!(page.len() <= size, "{page:?}");
            pages.extend(page);
            next = reply.link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
        }
        assert_eq!(pages, whole, "{size} a page");
    }
}

#[test]
fn a_grant_is_in_effect_at_once_and_ends() {
    let mut limited = Limited::new();
    for _ in 0..3 {
        limited.passes();
    }
    limited.is_refused();
    let user = limited.id();
    let grant = |amount: Value| json!({ "user": "ada", "limit": "burst", "amount": amount, "until": "2h" });
    let made = limited.admin.done("POST /admin/limits/grants", &grant(json!(1)));
    assert_eq!(
        (&made["user"], &made["userName"], &made["amount"]),
        (&json!(user), &json!("ada"), &json!("1"))
    );
    limited.passes();
    limited.is_refused();
    limited.admin.done("POST /admin/limits/grants", &grant(json!("+1")));
    let report = limited.ada.done("GET /auth/limits?id=burst", &Value::Null);
    assert_eq!(of(&report, "burst")["amount"], "5");
    assert_eq!(of(&report, "burst")["grants"][0], json!({ "amount": "1", "until": made["until"] }));
    limited.passes();
    limited.is_refused();
    let path = format!("DELETE /admin/limits/grants/burst/{user}");
    assert_eq!(limited.admin.done(&path, &Value::Null), json!({ "ended": 2 }));
    let reply = limited.admin.get(&path);
    assert_eq!((reply.status, &reply.body["error"]["cause"]), (404, &json!("unknown_grant")));
    limited.is_refused();
    let audit = limited.admin.done("GET /admin/audit", &Value::Null);
    let actions: Vec<_> = audit.as_object().unwrap().values().map(|entry| entry["action"].clone()).collect();
    for (action, times) in [("limit.grant", 2), ("limit.grant_end", 1)] {
        assert_eq!(actions.iter().filter(|one| *one == action).count(), times, "{actions:?}");
    }
    // A user has no such call, and a grant ends with its user.
    assert_eq!(limited.ada.call("POST /admin/limits/grants", &grant(json!(1))).status, 401);
    let (id, _) = limited.admin.user("dora");
    let body = json!({ "user": id, "limit": "cost", "amount": "5 USD", "until": "3d" });
    assert_eq!(limited.admin.done("POST /admin/limits/grants", &body)["amount"], "5");
    limited.admin.done(&format!("DELETE /admin/users/{id}"), &Value::Null);
    assert_eq!(limited.world.home.database("SELECT count(*) FROM limit_grants").trim(), "0");
}

#[test]
fn a_grant_that_cannot_be_is_refused() {
    let limited = Limited::new();
    limited.admin.user("carl");
    let check = |user: &str, limit: &str, amount: Value, until: &str, message: &str| {
        let body = json!({ "user": user, "limit": limit, "amount": amount, "until": until });
        let reply = limited.admin.call("POST /admin/limits/grants", &body);
        assert_eq!((reply.status, &reply.body["error"]["message"]), (400, &json!(message)), "{body}");
    };
    let one = || json!(1);
    check("eve", "burst", one(), "2h", "/user: no user has this id or name");
    check("ada", "brst", one(), "2h", "/limit: no limit has this id; did you mean `burst`?");
    let shared = "/limit: the limit has one amount for everybody, and none for each user or token: change its file instead";
    check("ada", "all", one(), "2h", shared);
    let group = "/limit: the limit has an amount for each group, and none for each user or token: change its file instead";
    check("ada", "group", one(), "2h", group);
    check(
        "carl",
        "burst",
        one(),
        "2h",
        "/limit: this user has no amount there: `except` of the limit says `none`",
    );
    let count = "/amount: the limit counts requests: the amount is a whole number from 1 to 1000000000000000";
    check("ada", "burst", json!(0), "2h", count);
    check("ada", "burst", json!("5 USD"), "2h", count);
    check("ada", "cost", json!(5), "2h", "/amount: the limit counts USD: the amount is written as `50 USD`");
    check(
        "ada",
        "cost",
        json!("5 EUR"),
        "2h",
        "/amount: the limit counts USD: the amount is written as `50 USD`",
    );
    check("ada", "burst", json!(1.5), "2h", "/amount: expected an integer or a string, got a number");
    check("ada", "burst", one(), "2020-01-01T00:00:00Z", "/until: it does not lie in the future");
    check("ada", "burst", one(), "400d", "/until: a grant is for at most 366 days");
    assert_eq!(limited.world.home.database("SELECT count(*) FROM limit_grants").trim(), "0");
}

#[test]
fn the_command_line_shows_and_changes_the_same() {
    let mut limited = Limited::new();
    for _ in 0..3 {
        limited.passes();
    }
    let run = |limited: &Limited, args: &[&str]| limited.world.home.run(args, "");
    let shown = run(&limited, &["limits", "--limit", "burst"]);
    let row = shown.out.lines().nth(1).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        (row.as_str(), shown.err.as_str()),
        ("burst ada 3 - 0 3 requests in all - ########## 100 %", "")
    );
    limited.is_refused();
    let granted = run(&limited, &["limits", "grant", "ada", "burst", "+1", "--until", "2h"]);
    assert!(
        granted.code == 0 && granted.err.starts_with("granted `ada` 1 more of `burst` until "),
        "{granted:?}"
    );
    limited.passes();
    limited.is_refused();
    let json: Value = serde_json::from_str(&run(&limited, &["limits", "--as", "ada", "--json"]).out).unwrap();
    assert_eq!((&json["counters"], amounts(&json)[2].as_str()), (&json!("live"), "burst ada 4/4"));
    let (status, metrics) = scrape(&limited);
    assert_eq!(status, 200);
    for line in [
        "tollgate_limit_requests_total{limit=\"burst\",outcome=\"admitted\"} 4",
        "tollgate_limit_requests_total{limit=\"burst\",outcome=\"refused\"} 2",
        "tollgate_limit_used_ratio{limit=\"all\"} 0.2",
        "tollgate_limit_keys_near{limit=\"burst\"} 1",
        "tollgate_limit_keys_near{limit=\"all\"} 0",
        "tollgate_limit_reserved{limit=\"cost\"} 0",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("tollgate_limit_used_ratio{limit=\"burst\"}"), "{metrics}");

    // Without a server: what it wrote last.
    let Limited { world: World { gateway, home, .. }, .. } = limited;
    drop(gateway);
    let shown = home.run(&["limits", "--as", "ada"], "");
    assert!(shown.err.contains("no tollgate serves from this data directory"), "{shown:?}");
    assert!(
        shown.out.lines().any(|line| line.starts_with("burst") && line.contains("(granted until ")),
        "{shown:?}"
    );
    let ended = home.run(&["limits", "revoke", "ada", "burst"], "");
    assert_eq!(ended.err, "ended 1 grant of `ada` for `burst`\n");
    let again = home.run(&["limits", "revoke", "ada", "burst"], "");
    assert_eq!(
        (again.code, again.err.contains("The user has no grant for this limit")),
        (1, true),
        "{again:?}"
    );
    let json: Value = serde_json::from_str(&home.done(&["limits", "--as", "ada", "--json"], "")).unwrap();
    assert_eq!((&json["counters"], &of(&json, "burst")["amount"]), (&json!("stored"), &json!("3")));
    let gateway = home.serve(&[]);
    let (status, report) = over_socket(&home.data(), "GET /admin/limits?user=ada&id=burst");
    assert_eq!((status, &report["limits"][0]["amount"]), (200, &json!("3")));
    drop(gateway);
}

/// The metrics, with the admin token.
fn scrape(limited: &Limited) -> (u16, String) {
    let mut client = limited.world.client();
    let token = limited.admin.token();
    client.send(format!(
        "GET /metrics HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    let answer = client.answer().unwrap();
    (answer.head.status(), String::from_utf8(answer.body).unwrap())
}
