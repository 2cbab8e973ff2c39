//! Self-service over HTTP: users manage their own tokens and credentials, within the kinds and scopes of tokens.

use serde_json::{Value, json};

use crate::harness::{Api, Exchange, FOREIGN_TOKEN, WRONG_TOKEN, World};

const NO_TOKEN: (u16, &str, &str) = (404, "not_found", "Token not found");
const FOR_PROVIDERS: (u16, &str, &str) = (
    403,
    "token_kind",
    "This token is for calls to providers: self-service takes one of the kind `manage` or `both`, \
     as `tollgate token add NAME --kind both` makes it",
);
const REPLACED: (u16, &str, &str) =
    (409, "token_replaced", "This token was replaced: use the one that replaced it");

fn text<'d>(document: &'d Value, key: &str) -> &'d str {
    document[key].as_str().unwrap_or_else(|| panic!("`{key}` is no text in {document}"))
}

/// The answer of a provider route: the status, and the code of a fault.
fn proxied(world: &World, token: &str, line: &str) -> (u16, String) {
    let mut client = world.client();
    client.send(format!("{line} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let answer = client.answer().unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.head.status(), text(&body["error"], "code").to_owned())
}

/// Checks that a token's request reaches the upstream.
fn reaches(world: &mut World, token: &str) {
    let exchange = Exchange::get().removed("Authorization", &format!("Bearer {token}"));
    let exchange = exchange.added("Authorization", &format!("Bearer {}", crate::harness::KEY));
    let mut client = world.client();
    world.exchange_on(&mut client, &exchange);
}

fn caller(world: &World) -> Api {
    Api::new(world.gateway.address, &world.token)
}

#[test]
fn who_am_i() {
    let world = World::new();
    let me = caller(&world).done("GET /auth/me", &Value::Null);
    assert_eq!((text(&me, "name"), text(&me["token"], "kind")), ("ada", "both"));
    assert!(text(&me, "id").starts_with("usr_") && text(&me["token"], "id").starts_with("tok_"));
    for (token, fault) in [
        ("", crate::harness::NO_TOKEN),
        ("tg_nothing", WRONG_TOKEN),
        ("Basic", FOREIGN_TOKEN),
        (&world.token[..20], WRONG_TOKEN),
        (&format!("{}x", world.token), WRONG_TOKEN),
    ] {
        caller(&world).with(token).fails("GET /auth/me", &Value::Null, fault);
    }
    // A vendor's prefix is removed here too.
    caller(&world).with(&format!("sk-vendor-{}", world.token)).done("GET /auth/me", &Value::Null);
}

#[test]
fn a_change_for_another_user_is_refused() {
    let other: (u16, &str, &str) = (
        409,
        "other_user",
        "Somebody else has signed in meanwhile, and nothing was changed: load the page again",
    );
    let world = World::new();
    let own = caller(&world);
    let before = own.done("GET /auth/creds", &Value::Null);
    for line in [
        "PUT /auth/creds",
        "POST /auth/creds/confirm",
        "POST /auth/rotate",
        "POST /auth/tokens",
        "DELETE /auth/tokens/tok_x",
        "POST /auth/session",
        "DELETE /auth/session",
        "POST /auth/providers/t/probe",
        "POST /auth/codex-token",
    ] {
        let body = json!({ "providers": { "t": { "apiKey": null } }, "origins": {} });
        own.fails(&format!("{line}?as=usr_other"), &body, other);
    }
    assert_eq!(own.done("GET /auth/creds", &Value::Null), before);
    let id = own.done("GET /auth/me", &Value::Null);
    let body = json!({ "providers": { "t": { "apiKey": null } } });
    assert_eq!(own.done(&format!("PUT /auth/creds?as={}", text(&id, "id")), &body), json!({}));
}

#[test]
fn credentials_are_merged() {
    let more = "[[credentials.field]]\nname = \"other\"\nlabel = \"Other\"";
    let mut world = World::with(more, &[]);
    let own = caller(&world);
    let creds = |body: Value| own.done("PUT /auth/creds", &body);
    assert_eq!(
        own.done("GET /auth/creds", &Value::Null),
        json!({ "providers": { "t": { "apiKey": "sk-upstr...6789" } } })
    );
    let both = creds(json!({ "providers": { "t": { "other": "short" } } }));
    assert_eq!(both, json!({ "providers": { "t": { "apiKey": "sk-upstr...6789", "other": "***" } } }));
    assert_eq!(creds(json!({})), both);
    let one = creds(json!({ "providers": { "t": { "other": null } } }));
    assert_eq!(one, json!({ "providers": { "t": { "apiKey": "sk-upstr...6789" } } }));
    let token = world.token.clone();
    reaches(&mut world, &token);
    assert_eq!(creds(json!({ "providers": { "t": null } })), json!({}));
    assert_eq!(proxied(&world, &world.token, "GET /t/get"), (401, "credential_missing".into()));
    own.fails(
        "PUT /auth/creds",
        &json!({ "providers": { "t": { "apiKey": "a", "othr": "b" } } }),
        (
            400,
            "invalid_request",
            "/providers/t/othr: no provider file has such a section or field; did you mean `other`?",
        ),
    );
    assert_eq!(own.done("GET /auth/creds", &Value::Null), json!({}), "nothing of it is stored");
    // A masked value that was read is not written over the real one.
    let masked = creds(json!({ "providers": { "t": { "apiKey": crate::harness::KEY } } }));
    own.fails(
        "PUT /auth/creds",
        &masked,
        (
            400,
            "invalid_request",
            "/providers/t/apiKey: this is a mask, not a secret: leave the field out to keep what is stored",
        ),
    );
    reaches(&mut world, &token);
}

/// The masks, the nesting and the login of the shipped files.
#[test]
fn logins_are_shown_as_configured() {
    const LOGIN: &str = "[[credentials.field]]\nname = \"login\"\nlabel = \"Login\"\nkind = \"oauth2\"\ntoken_url = \"https://login.example/token\"\nclient_id = \"demo\"\n[credentials.field.paste]\naccessToken = \"/tokens/access\"";
    let world = World::with(LOGIN, &[]);
    let own = caller(&world);
    let login = |login: Value| json!({ "providers": { "t": { "apiKey": null, "login": login } } });
    let far = 4_102_444_800_000_u64;
    let shown = own.done(
        "PUT /auth/creds",
        &login(json!({ "accessToken": "a", "refreshToken": "r", "expiresAt": far })),
    );
    assert_eq!(
        shown,
        json!({ "providers": { "t": { "login": { "status": "configured", "expiresAt": far } } } })
    );
    let shown = own.done("PUT /auth/creds", &login(json!({ "tokens": { "access": "a" } })));
    assert_eq!(shown, json!({ "providers": { "t": { "login": { "status": "configured" } } } }));
    let at = "/providers/t/login: an OAuth login is given as JSON, `{\"accessToken\", \"refreshToken\", \"expiresAt\"}`:";
    for (value, problem) in [
        (json!({}), "`accessToken` is missing"),
        (json!({ "accessToken": 7 }), "`accessToken` is not a string"),
        (
            json!({ "accessToken": "a", "expiresAt": "soon" }),
            "`expiresAt` is not a number of milliseconds since 1970",
        ),
        (
            json!({ "accessToken": "a", "expiresAt": -1 }),
            "`expiresAt` is not a number of milliseconds since 1970",
        ),
        (json!({ "accessToken": "a", "extra": 1 }), "the key `extra` is not known"),
    ] {
        own.fails("PUT /auth/creds", &login(value), (400, "invalid_request", &format!("{at} {problem}")));
    }
    assert_eq!(own.done("GET /auth/creds", &Value::Null), shown);
}

#[test]
fn a_token_is_rotated_once() {
    let mut world = World::new();
    let own = caller(&world);
    let other = text(&own.done("POST /auth/tokens", &json!({})), "token").to_owned();
    let rotated = own.done("POST /auth/rotate", &Value::Null);
    let new = own.with(text(&rotated, "token"));
    assert!(text(&rotated, "oldTokensExpireAt").ends_with('Z'));
    let tokens = new.done("GET /auth/tokens", &Value::Null);
    let tokens = tokens.as_object().unwrap();
    assert_eq!(tokens.len(), 3);
    let old = tokens.values().find(|token| token.get("replacedAt").is_some()).unwrap();
    assert_eq!(text(old, "expiresAt"), text(&rotated, "oldTokensExpireAt"));
    assert_eq!(tokens[text(&rotated, "id")]["kind"], "both");
    // The old token stays valid for a while, and creates no others.
    let old_token = world.token.clone();
    for token in [&old_token, &other, text(&rotated, "token")] {
        reaches(&mut world, token);
    }
    own.done("GET /auth/me", &Value::Null);
    own.fails("POST /auth/rotate", &Value::Null, REPLACED);
    own.fails("POST /auth/tokens", &json!({}), REPLACED);
    // It reads and changes nothing: it may be the leaked one.
    for line in ["GET /auth/creds", "GET /auth/tokens", "GET /auth/me"] {
        own.done(line, &Value::Null);
    }
    let theirs = format!("DELETE /auth/tokens/{}", text(&rotated, "id"));
    for (line, body) in [
        ("PUT /auth/creds", json!({ "providers": { "t": { "apiKey": "theirs" } } })),
        ("POST /auth/creds/confirm", json!({ "origins": {} })),
        (&theirs, Value::Null),
    ] {
        own.fails(line, &body, REPLACED);
    }
    new.done("POST /auth/rotate", &Value::Null);
}

#[test]
fn rotation_keeps_what_a_token_is() {
    let world = World::new();
    let own = caller(&world);
    let wanted = json!({ "label": "agent", "kind": "manage", "scopes": ["t/get"], "expiresAt": "2130-01-01T00:00:00Z" });
    let made = own.done("POST /auth/tokens", &wanted);
    let rotated = own.with(text(&made, "token")).done("POST /auth/rotate", &Value::Null);
    let tokens = own.done("GET /auth/tokens", &Value::Null);
    let (old, new) = (&tokens[text(&made, "id")], &tokens[text(&rotated, "id")]);
    for key in ["label", "kind", "scopes"] {
        assert_eq!((&new[key], &old[key]), (&wanted[key], &wanted[key]));
    }
    assert_eq!(new["expiresAt"], wanted["expiresAt"]);
    assert!(text(old, "expiresAt") < text(new, "expiresAt"));
}

#[test]
fn a_tokens_kind_limits_its_routes() {
    let mut world = World::new();
    let own = caller(&world);
    let make =
        |kind: &str| text(&own.done("POST /auth/tokens", &json!({ "kind": kind })), "token").to_owned();
    let (proxy, manage, both) = (make("proxy"), make("manage"), make("both"));
    reaches(&mut world, &proxy);
    reaches(&mut world, &both);
    assert_eq!(proxied(&world, &manage, "GET /t/get"), (403, "token_kind".into()));
    assert_eq!(proxied(&world, &manage, "GET /nowhere"), (403, "token_kind".into()));
    for line in
        ["GET /auth/creds", "POST /auth/rotate", "GET /auth/tokens", "GET /auth/me", "GET /auth/nowhere"]
    {
        own.with(&proxy).fails(line, &Value::Null, FOR_PROVIDERS);
    }
    for token in [&manage, &both] {
        own.with(token).done("GET /auth/creds", &Value::Null);
    }
}

#[test]
fn scopes_narrow_a_token() {
    let mut world = World::new();
    let own = caller(&world);
    let make = |scopes: Value| {
        text(&own.done("POST /auth/tokens", &json!({ "scopes": scopes })), "token").to_owned()
    };
    let (all, one, other) = (make(json!(["t"])), make(json!(["t/get"])), make(json!(["t/post"])));
    reaches(&mut world, &all);
    reaches(&mut world, &one);
    assert_eq!(proxied(&world, &other, "GET /t/get"), (403, "token_scope".into()));
    assert_eq!(proxied(&world, &one, "POST /t/post"), (403, "token_scope".into()));
    assert_eq!(proxied(&world, &one, "GET /nowhere"), (404, "route_not_found".into()));
}

#[test]
fn a_token_creates_none_with_wider_scopes() {
    let world = World::new();
    let own = caller(&world);
    let until = "2130-01-01T00:00:00Z";
    let made =
        own.done("POST /auth/tokens", &json!({ "kind": "both", "scopes": ["t/get"], "expiresAt": until }));
    let narrow = own.with(text(&made, "token"));
    let inherited = narrow.done("POST /auth/tokens", &json!({}));
    assert_eq!((&inherited["scopes"], &inherited["expiresAt"]), (&json!(["t/get"]), &json!(until)));
    let narrower = narrow
        .done("POST /auth/tokens", &json!({ "scopes": ["t/get"], "expiresAt": "2129-01-01T00:00:00Z" }));
    assert_eq!(
        (&narrower["scopes"], &narrower["expiresAt"]),
        (&json!(["t/get"]), &json!("2129-01-01T00:00:00Z"))
    );
    let further = "A token cannot make one that reaches further than itself:";
    for (wanted, why) in [
        (json!({ "scopes": ["t"] }), "`t` is out of its scopes"),
        (json!({ "scopes": ["t/get", "t/post"] }), "`t/post` is out of its scopes"),
        (json!({ "expiresAt": "2130-01-01T00:00:01Z" }), "it expires earlier"),
    ] {
        narrow.fails("POST /auth/tokens", &wanted, (403, "token_scope", &format!("{further} {why}")));
    }
}

#[test]
fn a_scoped_token_changes_what_its_providers_use() {
    let world = World::new();
    let other = crate::harness::provider("http://127.0.0.1:9", "")
        .replace("path_prefix = \"/t\"", "path_prefix = \"/u\"")
        .replace("\"providers.t\"", "\"providers.u\"");
    std::fs::write(world.home.providers().join("u.toml"), other).unwrap();
    let admin = Api::admin(&world);
    assert_eq!(admin.get("POST /admin/reload").status, 200);
    let own = caller(&world);
    let make = |scopes: Value| own.done("POST /auth/tokens", &json!({ "kind": "manage", "scopes": scopes }));
    let (narrow, wide) = (make(json!(["u"])), make(json!(["u", "t"])));
    let narrower = make(json!(["u/get"]));
    let (itself, narrow) = (text(&narrow, "id").to_owned(), own.with(text(&narrow, "token")));
    let out = |what: &str| format!("This token's scopes reach no provider that uses the section `{what}`");
    let both = json!({ "providers": { "u": { "apiKey": "sk-mine" }, "t": { "apiKey": "sk-theirs" } } });
    let refused = out("providers.t");
    let refused = (403, "token_scope", refused.as_str());
    narrow.fails("PUT /auth/creds", &both, refused);
    narrow.fails("PUT /auth/creds", &json!({ "providers": null }), refused);
    let confirm = |place: &str| json!({ "origins": { place: [] } });
    narrow.fails("POST /auth/creds/confirm", &confirm("providers.t.apiKey"), refused);
    narrow.done("PUT /auth/creds", &json!({ "providers": { "u": { "apiKey": "sk-mine" } } }));
    assert_eq!(narrow.confirms("/auth/creds"), json!({}));
    // It reads no more than it changes.
    let seen = narrow.done("GET /auth/creds", &Value::Null);
    assert_eq!(seen, json!({ "providers": { "u": { "apiKey": "***" } } }));
    let changed = narrow.done("PUT /auth/creds", &json!({ "providers": { "u": { "apiKey": "sk-mine" } } }));
    assert_eq!(changed, seen);
    let tokens = narrow.done("GET /auth/tokens", &Value::Null);
    let ids: Vec<_> = tokens.as_object().unwrap().keys().collect();
    assert_eq!(ids, [&itself, text(&narrower, "id")]);
    let creds = own.done("GET /auth/creds", &Value::Null);
    assert_eq!(creds["providers"]["t"]["apiKey"], "sk-upstr...6789", "{creds}");
    // A moved credential outside the token's scope is neither shown nor confirmed.
    let file = std::fs::read_to_string(world.home.providers().join("t.toml")).unwrap();
    let moved = file.replacen("http://127.0.0.1", "http://localhost", 1);
    std::fs::write(world.home.providers().join("t.toml"), moved).unwrap();
    assert_eq!(admin.get("POST /admin/reload").status, 200);
    assert_eq!(narrow.done("GET /auth/creds/confirm", &Value::Null), json!({ "unconfirmed": {} }));
    let waiting = own.done("GET /auth/creds/confirm", &Value::Null);
    assert!(waiting["unconfirmed"]["providers.t.apiKey"]["to"].is_array(), "{waiting}");
    narrow.fails("POST /auth/creds/confirm", &confirm("providers.t.apiKey"), refused);
    // The same for tokens.
    let mine = own.done("GET /auth/me", &Value::Null);
    let further = (403, "token_scope", "That token reaches further than this one: this one cannot revoke it");
    for id in [text(&wide, "id"), text(&mine["token"], "id")] {
        narrow.fails(&format!("DELETE /auth/tokens/{id}"), &Value::Null, further);
    }
    narrow.fails("DELETE /auth/tokens/tok_0123456789abcdef", &Value::Null, NO_TOKEN);
    narrow.done(&format!("DELETE /auth/tokens/{}", text(&narrower, "id")), &Value::Null);
}

#[test]
fn users_revoke_their_own_tokens_alone() {
    let world = World::new();
    let own = caller(&world);
    let made = own.done("POST /auth/tokens", &json!({ "label": "ci" }));
    let (_, stranger) = Api::admin(&world).user("eve");
    let stranger = own.with(&stranger);
    let path = format!("/auth/tokens/{}", text(&made, "id"));
    stranger.fails(&format!("DELETE {path}"), &Value::Null, NO_TOKEN);
    assert_eq!(stranger.done("GET /auth/tokens", &Value::Null).as_object().unwrap().len(), 1);
    let revoked = json!({ "ok": true, "tokens": 1, "pasteTokens": 0, "sessions": 0, "remaining": 0 });
    assert_eq!(own.done(&format!("DELETE {path}"), &Value::Null), revoked);
    own.fails(&format!("DELETE {path}"), &Value::Null, NO_TOKEN);
    assert_eq!(proxied(&world, text(&made, "token"), "GET /t/get"), (401, "invalid_token".into()));
    let mine = own.done("GET /auth/me", &Value::Null);
    own.done(&format!("DELETE /auth/tokens/{}", text(&mine["token"], "id")), &Value::Null);
    own.fails("GET /auth/me", &Value::Null, WRONG_TOKEN);
    let page = stranger.get("GET /auth/tokens?limit=0");
    assert_eq!((page.body, page.link), (json!({}), None));
}
