//! The admin API over HTTP: users, tokens, credentials, admin tokens, the audit log.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Api, KEY, WRONG_ADMIN, WRONG_TOKEN, Wire, World, over_socket};

const NO_USER: (u16, &str, &str) = (404, "not_found", "User not found");
const NO_TOKEN: (u16, &str, &str) = (404, "not_found", "Token not found");
const NOT_FOUND: (u16, &str, &str) = (404, "not_found", "Not found");
const NOBODY: &str = "usr_0000000000000000";

fn keys(document: &Value) -> Vec<&str> {
    document.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The status of a provider route for a token.
fn proxied(world: &World, token: &str) -> u16 {
    let mut client = world.client();
    client.send(format!("GET /t/nowhere HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"));
    client.answer().unwrap().head.status()
}

#[test]
fn a_users_life() {
    let world = World::new();
    let api = Api::admin(&world);
    let made = api.call("POST /admin/users", &json!({ "name": "bob", "ip": "192.0.2.7" }));
    assert_eq!((made.status, keys(&made.body)), (201, vec!["userId", "token"]));
    let (id, token) = (made.body["userId"].as_str().unwrap(), made.body["token"].as_str().unwrap());
    let digits = id.strip_prefix("usr_").unwrap();
    assert!(digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");

    let user = api.done(&format!("GET /admin/users/{id}"), &Value::Null);
    assert_eq!(
        (&user["name"], &user["ip"], keys(&user)),
        (&json!("bob"), &json!("192.0.2.7"), vec!["name", "ip", "createdAt", "validTokens"])
    );
    let all = api.done("GET /admin/users", &Value::Null);
    assert_eq!(all[id], user);
    assert_eq!(keys(&all).len(), 2, "ada is there too");
    assert_eq!(proxied(&world, token), 404);

    let patch = json!({ "name": "Bob", "ip": null, "group": "research", "disabled": true });
    let patched = api.done(&format!("PATCH /admin/users/{id}"), &patch);
    assert_eq!(keys(&patched), ["name", "group", "createdAt", "disabledAt"]);
    assert_eq!((&patched["name"], &patched["group"]), (&json!("Bob"), &json!("research")));
    assert_eq!(proxied(&world, token), 403);
    api.with(token).fails(
        "GET /auth/me",
        &Value::Null,
        (403, "user_disabled", "This user is disabled: ask the operator of this tollgate"),
    );
    let again = api.done(&format!("PATCH /admin/users/{id}"), &json!({ "disabled": true }));
    assert_eq!(again, patched, "who is disabled stays so since then");
    let back = api.done(&format!("PATCH /admin/users/{id}"), &json!({ "disabled": false, "group": null }));
    assert_eq!(keys(&back), ["name", "createdAt"]);
    assert_eq!(api.done(&format!("PATCH /admin/users/{id}"), &json!({})), back);
    assert_eq!(proxied(&world, token), 404);

    assert_eq!(api.done(&format!("DELETE /admin/users/{id}"), &Value::Null), json!({ "ok": true }));
    assert_eq!(proxied(&world, token), 401);
    api.with(token).fails("GET /auth/me", &Value::Null, WRONG_TOKEN);
    for line in [
        format!("GET /admin/users/{id}"),
        format!("DELETE /admin/users/{id}"),
        format!("GET /admin/users/{id}/creds"),
        format!("GET /admin/users/{id}/tokens"),
        "GET /admin/users/x".to_owned(),
        "DELETE /admin/users/usr_0123456789ABCDEF".to_owned(),
    ] {
        api.fails(&line, &Value::Null, NO_USER);
    }
    for line in ["PATCH /admin/users", "PUT /admin/users"] {
        let creds = if line.starts_with("PUT") { "/creds" } else { "" };
        api.fails(&format!("{line}/{NOBODY}{creds}"), &json!({}), NO_USER);
    }
    api.fails(&format!("POST /admin/users/{NOBODY}/tokens"), &json!({}), NO_USER);
}

#[test]
fn users_are_distinguished_by_their_ids() {
    let world = World::new();
    let api = Api::admin(&world);
    let ids: BTreeSet<String> = (0..3).map(|_| api.user("twin").0).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_note_has_printable_characters_only() {
    let world = World::new();
    let fault = (400, "invalid_request", "/ip: a note has at most 100 characters, all of them printable");
    for bad in ["a\u{1b}b", "a\u{202e}b", "\u{7f}"] {
        let body = json!({ "name": "x", "ip": bad });
        Api::admin(&world).fails("POST /admin/users", &body, fault);
        assert_eq!(world.home.run(&["user", "add", "x", "--ip", bad], "").code, 1);
    }
}

#[test]
fn an_invalid_body_is_refused_with_its_error_and_nothing_is_stored() {
    let world = World::new();
    let api = Api::admin(&world);
    let (id, _) = api.user("bob");
    let before = (api.done("GET /admin/users", &Value::Null), api.done("GET /admin/audit", &Value::Null));
    let check = |line: &str, body: &str, message: &str| {
        let reply = api.send(line, body.as_bytes());
        let error = &reply.body["error"];
        let seen = (reply.status, error["code"].as_str().unwrap(), error["message"].as_str().unwrap());
        assert_eq!(seen, (400, "invalid_request", message), "{line} {body}");
    };
    let users = "POST /admin/users";
    for body in ["", "{", "nonsense", "{\"name\":\"x\"}}", "\u{feff}{}", "{\"name\":\"\\ud800\"}", "NaN"] {
        check(users, body, "Invalid JSON body");
    }
    check(users, &"[".repeat(100_000), "Invalid JSON body");
    for body in [
        "{}",
        "[]",
        "null",
        "1",
        "\"bob\"",
        "{\"name\":\"\"}",
        "{\"name\":null}",
        "{\"name\":7}",
        "{\"name\":[\"x\"]}",
    ] {
        check(users, body, "Missing required field: name");
    }
    let unseen = "/name: a name has printable characters only, and no blanks at its ends";
    check(users, r#"{"name":" x"}"#, unseen);
    check(users, r#"{"name":"a\u0000b"}"#, unseen);
    check(users, r#"{"name":"a\u202eb"}"#, unseen);
    check(users, &json!({ "name": "x".repeat(101) }).to_string(), "/name: it has more than 100 characters");
    check(users, r#"{"name":"x","nmae":1}"#, "/nmae: unknown key; did you mean `name`?");
    check(users, r#"{"name":"x","zzz":1}"#, "/zzz: unknown key; known here: `name`, `ip`, `group`, `creds`");
    check(users, r#"{"name":"x","ip":7}"#, "/ip: expected null or a string, got a number");
    let group = "a group's name has 1 to 64 letters a-z, digits and `-`, and does not begin with `-`";
    check(users, r#"{"name":"x","group":"No!"}"#, &format!("/group: {group}"));
    check(users, r#"{"name":"x","group":""}"#, &format!("/group: {group}"));
    check(users, r#"{"name":"x","name":"y"}"#, "/name: the key is there twice");
    check(users, r#"{"name":"x","creds":{"a":[{"b":1,"b":1}]}}"#, "/creds/a/0/b: the key is there twice");
    check(users, r#"{"name":"x","creds":7}"#, "/creds: expected an object, got a number");
    let section = "no provider file has such a section or field;";
    check(
        users,
        r#"{"name":"x","creds":{"nope":{}}}"#,
        &format!("/creds/nope: {section} known here: `providers`"),
    );
    let creds = format!("PUT /admin/users/{id}/creds");
    check(&creds, "[]", "the body: expected an object, got an array");
    check(&creds, "", "Invalid JSON body");
    check(
        &creds,
        r#"{"providers":{"t":{"apikey":"k"}}}"#,
        &format!("/providers/t/apikey: {section} did you mean `apiKey`?"),
    );
    check(
        &creds,
        r#"{"providers":{"t":{"apiKey":7}}}"#,
        "/providers/t/apiKey: expected a string or null, got a number",
    );
    let character = "/providers/t/apiKey: the secret has a forbidden character at position 2: printable ASCII only, without spaces or line breaks";
    for secret in ["k\\n", "k\\r\\nX: y", "k\\u0000", "k\u{e9}", "k key"] {
        check(&creds, &format!(r#"{{"providers":{{"t":{{"apiKey":"{secret}"}}}}}}"#), character);
    }
    let user = format!("PATCH /admin/users/{id}");
    check(&user, r#"{"disabled":"yes"}"#, "/disabled: expected a boolean, got a string");
    check(&user, r#"{"name":null}"#, "/name: expected a string, got null");
    check(&user, r#"{"disabled":null}"#, "/disabled: expected a boolean, got null");
    let tokens = format!("POST /admin/users/{id}/tokens");
    check(&user, r#"{"name":""}"#, "/name: it is empty");
    check(&tokens, r#"{"label":""}"#, "/label: it is empty");
    check(&tokens, r#"{"kind":"admin"}"#, "/kind: `admin` is none of `proxy`, `manage`, `both`");
    check(&tokens, r#"{"kind":"tg_canary"}"#, "/kind: it is none of `proxy`, `manage`, `both`");
    check(&tokens, r#"{"scopes":[]}"#, "/scopes: it is empty: leave it out for all, or name one");
    check(
        &tokens,
        r#"{"scopes":["t","tt"]}"#,
        "/scopes/1: no provider file has the name `tt`; did you mean `t`?",
    );
    check(&tokens, r#"{"scopes":["t/gett"]}"#, "/scopes/0: `t` has no endpoint `gett`; did you mean `get`?");
    check(
        &tokens,
        r#"{"scopes":["t","/x"]}"#,
        "/scopes/1: a scope is written `provider` or `provider/endpoint`",
    );
    check(&tokens, r#"{"expiresAt":"tomorrow"}"#, "/expiresAt: a time is written as `2030-01-01T00:00:00Z`");
    check(&tokens, r#"{"expiresAt":1900000000}"#, "/expiresAt: expected null or a string, got a number");
    check(&tokens, r#"{"expiresAt":"2020-01-01T00:00:00Z"}"#, "/expiresAt: it lies in the past");
    check("GET /admin/users?limit=-1", "", "?limit=: a count is written in digits, as in `?limit=100`");
    check("GET /admin/users?after=x", "", "?after=: no such user exists: start again without it");
    check(
        "GET /admin/audit?after=x",
        "",
        "?after=: the number of an entry is written in digits, as in `?after=100`",
    );
    check("GET /admin/credentials/groups/No!", "", &format!("the path: {group}"));
    let after = (api.done("GET /admin/users", &Value::Null), api.done("GET /admin/audit", &Value::Null));
    assert_eq!(after, before);
}

/// Each JSON type in each place: never a 500, and nothing is stored.
#[test]
fn no_type_in_any_place_is_a_500() {
    let world = World::new();
    let api = Api::admin(&world);
    let (id, _) = api.user("bob");
    let values = [
        json!(null),
        json!(true),
        json!(7),
        json!(-1.5),
        json!(1e300),
        json!("\u{0}"),
        json!([]),
        json!([{}]),
        json!({ "x": 1 }),
    ];
    let lines = [
        "POST /admin/users".to_owned(),
        format!("PATCH /admin/users/{id}"),
        format!("PUT /admin/users/{id}/creds"),
        format!("PATCH /admin/users/{id}/creds"),
        format!("POST /admin/users/{id}/tokens"),
        "PUT /admin/credentials/everybody".to_owned(),
        "PUT /admin/credentials/groups/g".to_owned(),
        "POST /admin/tokens".to_owned(),
    ];
    let places = [
        "",
        "/name",
        "/ip",
        "/group",
        "/creds",
        "/creds/providers",
        "/creds/providers/t",
        "/creds/providers/t/apiKey",
        "/disabled",
        "/label",
        "/kind",
        "/scopes",
        "/expiresAt",
        "/providers",
        "/providers/t",
        "/providers/t/apiKey",
    ];
    for line in &lines {
        for place in places {
            for value in &values {
                let body = place
                    .rsplit('/')
                    .filter(|step| !step.is_empty())
                    .fold(value.clone(), |inner, step| json!({ step: inner }));
                let reply = api.call(line, &body);
                assert!(reply.status < 500, "{line} {body}: {reply:?}");
            }
        }
    }
    assert_eq!(api.done(&format!("GET /admin/users/{id}/creds"), &Value::Null), json!({}));
    assert_eq!(keys(&api.done("GET /admin/users", &Value::Null)).len(), 2);
}

#[test]
fn credentials_are_replaced_merged_and_shown_masked() {
    let world = World::new();
    let api = Api::admin(&world);
    let made = api.done(
        "POST /admin/users",
        &json!({ "name": "bob", "creds": { "providers": { "t": { "apiKey": "0123456789abcdef" } } } }),
    );
    let (id, token) = (made["userId"].as_str().unwrap(), made["token"].as_str().unwrap());
    let creds = format!("/admin/users/{id}/creds");
    let shown = || api.done(&format!("GET {creds}"), &Value::Null);
    assert_eq!(shown(), json!({ "providers": { "t": { "apiKey": "***" } } }));
    assert_eq!(api.done(&format!("PUT {creds}"), &json!({})), json!({ "ok": true }));
    assert_eq!(shown(), json!({}));
    let merged = api
        .done(&format!("PATCH {creds}"), &json!({ "providers": { "t": { "apiKey": "0123456789abcdefg" } } }));
    assert_eq!(merged, json!({ "providers": { "t": { "apiKey": "01234567...defg" } } }));
    assert_eq!(api.done(&format!("PATCH {creds}"), &json!({ "providers": {} })), merged);
    assert_eq!(api.with(token).done("GET /auth/creds", &Value::Null), merged);
    assert_eq!(api.done(&format!("PATCH {creds}"), &json!({ "providers": null })), json!({}));
    assert_eq!(
        api.done(&format!("PATCH {creds}"), &json!({ "providers": { "t": { "apiKey": null } } })),
        json!({})
    );
}

#[test]
fn shared_credentials_serve_users_without_their_own() {
    let mut world = World::new();
    let api = Api::admin(&world);
    let (id, token) = api.user("bob");
    let key = |key: &str| json!({ "providers": { "t": { "apiKey": key } } });
    let mut sees = |expected: &str| {
        let exchange = crate::harness::Exchange::get().removed("Authorization", &format!("Bearer {token}"));
        let exchange = exchange.added("Authorization", &format!("Bearer {expected}"));
        let mut client = world.client();
        world.exchange_on(&mut client, &exchange);
    };
    api.done("PUT /admin/credentials/everybody", &key("sk-everybody"));
    sees("sk-everybody");
    api.done("PATCH /admin/credentials/groups/research", &key("sk-research"));
    sees("sk-everybody");
    api.done(&format!("PATCH /admin/users/{id}"), &json!({ "group": "research" }));
    sees("sk-research");
    api.done(&format!("PUT /admin/users/{id}/creds"), &key("sk-bob"));
    sees("sk-bob");
    let masked = json!({ "providers": { "t": { "apiKey": "***" } } });
    assert_eq!(api.done("GET /admin/credentials/everybody", &Value::Null), masked);
    assert_eq!(api.done("GET /admin/credentials/groups/research", &Value::Null), masked);
    assert_eq!(api.done("GET /admin/credentials/groups/other", &Value::Null), json!({}));
    api.done(&format!("PUT /admin/users/{id}/creds"), &json!({}));
    api.done("PUT /admin/credentials/groups/research", &json!({}));
    sees("sk-everybody");
}

#[test]
fn undeclared_credentials_can_only_be_removed() {
    let world = World::new();
    let api = Api::admin(&world);
    let users = api.done("GET /admin/users", &Value::Null);
    let creds = format!("/admin/users/{}/creds", keys(&users)[0]);
    let stored = api.done(&format!("GET {creds}"), &Value::Null);
    assert!(stored["providers"]["t"]["apiKey"].is_string());
    // The provider now uses another section.
    let text = std::fs::read_to_string(world.home.providers().join("t.toml")).unwrap();
    world.home.write("t", &text.replace("providers.t", "t"));
    assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
    assert_eq!(api.done(&format!("GET {creds}"), &Value::Null), stored);
    let old =
        "/providers/t/apiKey: no provider file has this field any more: `null` takes away what is stored";
    api.fails(
        &format!("PATCH {creds}"),
        &json!({ "providers": { "t": { "apiKey": "k" } } }),
        (400, "invalid_request", old),
    );
    let shown =
        api.done(&format!("PATCH {creds}"), &json!({ "t": { "apiKey": "k" }, "providers": { "t": null } }));
    assert_eq!(shown, json!({ "t": { "apiKey": "***" } }));
    let gone = "/providers: no provider file has such a section or field; known here: `t`";
    api.fails(&format!("PATCH {creds}"), &json!({ "providers": null }), (400, "invalid_request", gone));
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let world = World::new();
    let api = Api::admin(&world);
    let (id, token) = api.user("bob");
    let tokens = format!("/admin/users/{id}/tokens");
    let first = api.done(&format!("GET {tokens}"), &Value::Null);
    let (first_id, shown) = first.as_object().unwrap().iter().next().unwrap();
    assert_eq!((&shown["kind"], shown["prefix"].as_str().unwrap()), (&json!("both"), &token[..11]));
    let wanted = json!({ "label": "ci", "kind": "manage", "scopes": ["t", "t/get"], "expiresAt": "2130-01-01T01:00:00+01:00" });
    let made = api.call(&format!("POST {tokens}"), &wanted);
    assert_eq!(made.status, 201);
    assert_eq!(
        (&made.body["kind"], &made.body["expiresAt"]),
        (&json!("manage"), &json!("2130-01-01T00:00:00Z"))
    );
    let plain = api.get(&format!("POST {tokens}"));
    assert_eq!((plain.status, &plain.body["kind"], plain.body.get("scopes")), (201, &json!("proxy"), None));
    let all = api.done(&format!("GET {tokens}"), &Value::Null);
    assert_eq!(keys(&all).len(), 3);
    let made_id = made.body["id"].as_str().unwrap();
    let listed = &all[made_id];
    assert_eq!((&listed["label"], &listed["scopes"]), (&json!("ci"), &json!(["t", "t/get"])));
    assert!(!all.to_string().contains(made.body["token"].as_str().unwrap()), "a token is shown once");

    let revoked = api.done(&format!("DELETE {tokens}/{first_id}"), &Value::Null);
    assert_eq!(revoked, json!({ "ok": true, "tokens": 1, "pasteTokens": 0, "sessions": 0, "remaining": 0 }));
    api.with(&token).fails("GET /auth/me", &Value::Null, WRONG_TOKEN);
    api.fails(&format!("DELETE {tokens}/{first_id}"), &Value::Null, NO_TOKEN);
    api.fails(&format!("DELETE {tokens}/nonsense"), &Value::Null, NO_TOKEN);
    let (other, _) = api.user("eve");
    api.fails(&format!("DELETE /admin/users/{other}/tokens/{made_id}"), &Value::Null, NO_TOKEN);
    assert_eq!(keys(&api.done(&format!("GET {tokens}"), &Value::Null)).len(), 2);
}

#[test]
fn the_last_admin_token_stays() {
    let world = World::new();
    let api = Api::admin(&world);
    let first = api.done("GET /admin/tokens", &Value::Null);
    let first = keys(&first)[0].to_owned();
    let last =
        "This is the last admin token: without it nobody could call the admin API; make another one first";
    api.fails(&format!("DELETE /admin/tokens/{first}"), &Value::Null, (409, "last_admin_token", last));
    let made = api.call("POST /admin/tokens", &json!({ "label": "on call" }));
    assert_eq!(made.status, 201);
    let second = api.with(made.body["token"].as_str().unwrap());
    let all = second.done("GET /admin/tokens", &Value::Null);
    assert_eq!(all[made.body["id"].as_str().unwrap()]["label"], "on call");
    let revoked = second.done(&format!("DELETE /admin/tokens/{first}"), &Value::Null);
    let expected =
        json!({ "ok": true, "tokens": 0, "pasteTokens": 0, "adminTokens": 1, "sessions": 0, "remaining": 1 });
    assert_eq!(revoked, expected, "the first one created the second");
    api.fails("GET /admin/tokens", &Value::Null, WRONG_ADMIN);
    second.fails(&format!("DELETE /admin/tokens/{first}"), &Value::Null, NO_TOKEN);
    second.with("tg_nothing").fails("GET /admin/nowhere", &Value::Null, WRONG_ADMIN);
    second.fails("GET /admin/nowhere", &Value::Null, NOT_FOUND);
    // An admin is no user, and a user no admin.
    second.fails("GET /auth/me", &Value::Null, WRONG_TOKEN);
    second.with(&world.token).fails("GET /admin/users", &Value::Null, WRONG_ADMIN);
}

#[test]
fn lists_come_in_pages() {
    let world = World::new();
    let api = Api::admin(&world);
    for number in 0..6 {
        api.user(&format!("user {number}"));
    }
    let all = api.get("GET /admin/users");
    assert_eq!((keys(&all.body).len(), all.link), (7, None));
    for limit in [1, 2, 3, 7, 100] {
        let (mut seen, mut next) = (Vec::new(), format!("/admin/users?limit={limit}"));
        loop {
            let page = api.get(&format!("GET {next}"));
            assert!(keys(&page.body).len() <= limit);
            seen.extend(keys(&page.body).into_iter().map(str::to_owned));
            let Some(link) = page.link else { break };
            next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
        assert_eq!(seen, keys(&all.body), "by {limit}");
    }
    for line in ["GET /admin/users?limit=0", "GET /admin/tokens?limit=0", "GET /admin/audit?limit=0"] {
        let none = api.get(line);
        assert_eq!((none.body, none.link), (json!({}), None), "{line}");
    }
    for line in ["GET /admin/users?limit=99999999999999999999", "GET /admin/users?limit=18446744073709551615"]
    {
        assert_eq!(keys(&api.get(line).body).len(), 7, "{line}");
    }
    let page = api.get("GET /admin/audit?limit=3&after=2");
    assert_eq!(keys(&page.body), ["3", "4", "5"]);
    assert_eq!(page.link.unwrap(), "</admin/audit?limit=3&after=5>; rel=\"next\"");
}

#[test]
fn every_change_is_in_the_audit_log() {
    let world = World::new();
    let api = Api::admin(&world);
    let admin = keys(&api.done("GET /admin/tokens", &Value::Null))[0].to_owned();
    let last = api.done("GET /admin/audit", &Value::Null);
    let mut seen: u64 = keys(&last).last().unwrap().parse().unwrap();
    let mut log = |what: &str, target: &str, part: &str| {
        let entries = api.done(&format!("GET /admin/audit?after={seen}"), &Value::Null);
        assert_eq!(keys(&entries).len(), 1, "{what} {entries}");
        seen += 1;
        let entry = &entries[seen.to_string()];
        assert_eq!((entry["action"].as_str().unwrap(), entry["target"].as_str().unwrap()), (what, target));
        assert_eq!(entry["source"], "127.0.0.1");
        assert!(entry["detail"].to_string().contains(part), "{entry}");
        assert_eq!(entry["hash"].as_str().unwrap().len(), 64);
        entry["actor"].as_str().unwrap().to_owned()
    };
    let admin = format!("admin {admin}");
    let key = "sk-canary-0123456789";
    let made = api.done(
        "POST /admin/users",
        &json!({ "name": "bob", "creds": { "providers": { "t": { "apiKey": key } } } }),
    );
    let (id, token) = (made["userId"].as_str().unwrap(), made["token"].as_str().unwrap());
    let me = api.with(token).done("GET /auth/me", &Value::Null);
    let user = format!("user {id} token {}", me["token"]["id"].as_str().unwrap());
    assert_eq!(log("user.create", id, "providers.t.apiKey"), admin);
    api.done(&format!("PATCH /admin/users/{id}"), &json!({ "group": "g" }));
    assert_eq!(log("user.change", id, "\"g\""), admin);
    api.done(&format!("PUT /admin/users/{id}/creds"), &json!({ "providers": { "t": { "apiKey": key } } }));
    assert_eq!(log("credentials.change", id, "providers.t.apiKey"), admin);
    let more = api.done(&format!("POST /admin/users/{id}/tokens"), &json!({ "label": "ci" }));
    let more = more["id"].as_str().unwrap();
    assert_eq!(log("token.create", id, more), admin);
    api.done(&format!("DELETE /admin/users/{id}/tokens/{more}"), &Value::Null);
    assert_eq!(log("token.revoke", id, more), admin);
    let own = api.with(token);
    own.done("PUT /auth/creds", &json!({ "providers": null }));
    assert_eq!(log("credentials.change", id, "remove"), user);
    let mine = own.done("POST /auth/tokens", &json!({}));
    assert_eq!(log("token.create", id, mine["id"].as_str().unwrap()), user);
    let rotated = own.done("POST /auth/rotate", &Value::Null);
    assert_eq!(log("token.rotate", id, rotated["id"].as_str().unwrap()), user);
    api.done("PUT /admin/credentials/everybody", &json!({ "providers": { "t": { "apiKey": key } } }));
    assert_eq!(log("credentials.change", "everybody", "providers.t.apiKey"), admin);
    let made = api.done("POST /admin/tokens", &json!({}));
    let made_id = made["id"].as_str().unwrap();
    assert_eq!(log("admin_token.create", made_id, ""), admin);
    api.done(&format!("DELETE /admin/tokens/{made_id}"), &Value::Null);
    assert_eq!(log("admin_token.revoke", made_id, ""), admin);
    api.done(&format!("DELETE /admin/users/{id}"), &Value::Null);
    assert_eq!(log("user.delete", id, ""), admin);

    let whole = api.done("GET /admin/audit", &Value::Null).to_string();
    let lines = world.gateway.logged("user.delete");
    assert!(lines.len() == 1 && lines[0].contains(id), "{lines:?}");
    let output = format!("{whole}{}", world.gateway.log().join("\n"));
    for secret in [key, token, rotated["token"].as_str().unwrap(), made["token"].as_str().unwrap(), KEY] {
        assert!(!output.contains(secret), "a secret is shown");
    }
}

#[test]
fn concurrent_creates_leave_all_users() {
    let world = World::with("", &["--workers", "2"]);
    let api = Api::admin(&world);
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..200)
            .map(|number| {
                scope.spawn({
                    let api = &api;
                    move || api.user(&format!("user {number}")).0
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 200);
    let all = api.done("GET /admin/users", &Value::Null);
    assert_eq!(keys(&all).len(), 201);
    assert!(ids.iter().all(|id| all.get(id).is_some()));
}

#[test]
fn concurrent_merges_leave_all_fields() {
    let fields = (0..100)
        .map(|number| format!("[[credentials.field]]\nname = \"k{number}\"\nlabel = \"K\""))
        .collect::<Vec<_>>()
        .join("\n");
    let world = World::with(&fields, &["--workers", "2"]);
    let api = Api::admin(&world);
    let (id, token) = api.user("bob");
    let own = api.with(&token);
    std::thread::scope(|scope| {
        for number in 0..100 {
            let (api, own, id) = (&api, &own, &id);
            scope.spawn(move || {
                let change =
                    json!({ "providers": { "t": { format!("k{number}"): "a key" .replace(' ', "-") } } });
                if number % 2 == 0 {
                    own.done("PUT /auth/creds", &change)
                } else {
                    api.done(&format!("PATCH /admin/users/{id}/creds"), &change)
                }
            });
        }
    });
    let all = own.done("GET /auth/creds", &Value::Null);
    assert_eq!(keys(&all["providers"]["t"]).len(), 100);
}

#[test]
fn a_refusal_has_a_cause_and_a_pointer() {
    let world = World::new();
    let api = Api::admin(&world);
    let (id, _) = api.user("bob");
    let check = |line: &str, body: &str, cause: Option<&str>, at: Option<&str>| {
        let error = &api.send(line, body.as_bytes()).body["error"];
        let text = |key: &str| error.get(key).map(|value| value.as_str().unwrap());
        assert_eq!((text("cause"), text("at")), (cause, at), "{line} {body}");
    };
    let users = "POST /admin/users";
    check(users, "{", Some("invalid_json"), None);
    check(users, "{}", Some("missing_key"), Some("/name"));
    check(users, r#"{"name":"x","name":"y"}"#, Some("duplicate_key"), Some("/name"));
    check(users, r#"{"name":"x","nmae":1}"#, Some("unknown_key"), Some("/nmae"));
    check(users, r#"{"name":"x","ip":7}"#, Some("wrong_type"), Some("/ip"));
    check(users, r#"{"name":"x","group":"No!"}"#, Some("invalid_value"), Some("/group"));
    check(users, r#"{"name":"x","creds":{"nope":{}}}"#, Some("unknown_credential"), Some("/creds/nope"));
    let creds = format!("PUT /admin/users/{id}/creds");
    check(&creds, "[]", Some("wrong_type"), Some(""));
    check(&creds, r#"{"providers":{"t":{"apiKey":7}}}"#, Some("wrong_type"), Some("/providers/t/apiKey"));
    let tokens = format!("POST /admin/users/{id}/tokens");
    check(&tokens, r#"{"scopes":["a b"]}"#, Some("invalid_value"), Some("/scopes/0"));
    check(&tokens, r#"{"scopes":["t","nope"]}"#, Some("unknown_scope"), Some("/scopes/1"));
    check("GET /admin/users?limit=x", "", Some("invalid_query"), None);
    check("GET /admin/credentials/groups/No!", "", Some("invalid_path"), None);
    check(&format!("GET /admin/users/{NOBODY}"), "", Some("unknown_user"), None);
    check(&format!("DELETE /admin/users/{id}/tokens/x"), "", Some("unknown_token"), None);
    check("GET /admin/nothing", "", None, None);
}

#[test]
fn bodies_have_a_bound() {
    let world = World::new();
    let api = Api::admin(&world);
    let large = (413, "body_too_large", "The request's body is larger than 262144 bytes");
    for extra in [1, 100_000] {
        api.fails("POST /admin/users", &json!("x".repeat(262_144 - 2 + extra)), large);
    }
    api.fails(
        "POST /admin/users",
        &json!("x".repeat(262_144 - 2)),
        (400, "invalid_request", "Missing required field: name"),
    );
    // The same without a length.
    let mut client = Wire::connect(world.gateway.address);
    let token = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    client.send(format!(
        "POST /admin/users HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        token.trim_end()
    ));
    for _ in 0..5 {
        client.send(crate::harness::chunk(" ".repeat(60_000).as_bytes()));
    }
    assert_eq!(client.answer().unwrap().head.status(), 413);
}

#[test]
fn the_control_socket_needs_no_token() {
    let world = World::new();
    let (code, users) = over_socket(&world.home.data(), "GET /admin/users");
    assert_eq!((code, keys(&users).len()), (200, 1));
    assert_eq!(over_socket(&world.home.data(), "GET /auth/me").0, 404);
    let id = keys(&users)[0];
    assert_eq!(over_socket(&world.home.data(), &format!("DELETE /admin/users/{id}")).0, 200);
    assert_eq!(proxied(&world, &world.token), 401);
    let api = Api::admin(&world);
    let log = api.done("GET /admin/audit", &Value::Null);
    let last = log.as_object().unwrap().values().next_back().unwrap();
    assert_eq!((&last["action"], &last["source"]), (&json!("user.delete"), &json!("local")));
    assert!(last["actor"].as_str().unwrap().starts_with("uid "), "{last}");
    api.fails("GET /admin/providers/files", &Value::Null, NOT_FOUND);
}

#[test]
fn a_wrong_method_is_not_found() {
    let world = World::new();
    let api = Api::admin(&world);
    for line in [
        "PUT /admin/users",
        "DELETE /admin/users",
        "POST /admin/audit",
        "PATCH /admin/tokens",
        "GET /admin/users/x/y",
    ] {
        api.fails(line, &Value::Null, NOT_FOUND);
    }
    let own = api.with(&world.token);
    for line in [
        "POST /auth/me",
        "GET /auth/rotate",
        "PATCH /auth/creds",
        "DELETE /auth/creds",
        "GET /auth",
        "GET /auth/",
        "GET /auth/nowhere",
    ] {
        own.fails(line, &Value::Null, NOT_FOUND);
    }
    let mut client = world.client();
    client
        .send(format!("HEAD /auth/me HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\r\n", world.token));
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("content-type")), (200, Some("application/json")));
    assert!(head.get("content-length").is_some_and(|length| length != "0"));
}

#[test]
fn a_missing_store_is_reported_and_nothing_is_lost() {
    let world = World::new();
    let api = Api::admin(&world);
    let (id, token) = api.user("bob");
    let own = api.with(&token);
    own.done("GET /auth/creds", &Value::Null);
    let (database, away) = (world.home.data().join("tollgate.db"), world.home.data().join("away"));
    std::fs::rename(&database, &away).unwrap();
    let gone = (503, "store_unavailable", "The store is unavailable, and nothing was changed; try again");
    api.fails("POST /admin/users", &json!({ "name": "eve" }), gone);
    api.fails("GET /admin/users", &Value::Null, gone);
    api.fails(&format!("DELETE /admin/users/{id}"), &Value::Null, gone);
    own.fails("PUT /auth/creds", &json!({ "providers": { "t": { "apiKey": "sk-lost" } } }), gone);
    own.fails("POST /auth/rotate", &Value::Null, gone);
    assert_eq!(api.get("GET /admin/providers").status, 200);
    std::fs::rename(&away, &database).unwrap();
    own.done("PUT /auth/creds", &json!({ "providers": { "t": { "apiKey": "sk-kept" } } }));
    api.user("eve");
    assert_eq!(keys(&api.done("GET /admin/users", &Value::Null)).len(), 3);
}
