//! Sessions of browsers: sign-in, the cookie, the cross-site check, and all that ends a session.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tollgate::clock::{from_utc, now_ms, utc};

use crate::harness::{
    Answer, Api, Exchange, Fault, Message, NO_TOKEN, WRONG_ADMIN, WRONG_TOKEN, Wire, World, eventually,
};

const CROSS_SITE: (u16, &str, &str) = (
    403,
    "cross_site",
    "This change was not asked for by a page of this tollgate, as far as the browser says. Behind a proxy that changes `Host`, set `public_url` to the address that people open",
);
const NO_SESSION_BY_SESSION: (u16, &str, &str) =
    (403, "token_kind", "A session is started with a token: a session starts none");

const SELF: &str = "/auth/session";
const ADMIN: &str = "/admin/session";

fn user(world: &World) -> Api {
    Api::new(world.gateway.address, &world.token)
}

fn text(document: &Value, key: &str) -> String {
    document[key].as_str().unwrap_or_else(|| panic!("`{key}` is no text in {document}")).to_owned()
}

/// The status of `GET /auth/me`.
fn me(api: &Api) -> u16 {
    api.get("GET /auth/me").status
}

/// The id of the token or session of a caller.
fn own_id(api: &Api) -> String {
    text(&api.done("GET /auth/me", &Value::Null)["token"], "id")
}

/// The name, the value and the attributes of a cookie that is set.
fn parts(cookie: &str) -> (&str, &str, &str) {
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    let (name, value) = pair.split_once('=').unwrap();
    (name, value, attributes)
}

fn raw(address: SocketAddr, line: &str, lines: &str) -> Message {
    let mut client = Wire::connect(address);
    client.send(format!("{line} HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n"));
    client.answer().unwrap()
}

fn code(answer: &Message) -> (u16, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.head.status(), body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// The audit log's entries of sessions: action, source, detail.
fn audit(admin: &Api) -> Vec<(String, String, Value)> {
    let entries = admin.done("GET /admin/audit", &Value::Null);
    let mut entries: Vec<&Value> = entries.as_object().unwrap().values().collect();
    entries.sort_by_key(|entry| entry["atMs"].as_u64());
    let of_sessions = entries.into_iter().filter(|entry| text(entry, "action").starts_with("session."));
    of_sessions.map(|entry| (text(entry, "action"), text(entry, "source"), entry["detail"].clone())).collect()
}

#[test]
fn a_user_signs_in_and_out() {
    let world = World::new();
    let (own, admin) = (user(&world), Api::admin(&world));
    let reply = own.get(&format!("POST {SELF}"));
    assert_eq!(
        (reply.status, reply.cookies.len(), reply.body.as_object().unwrap().len()),
        (201, 1, 2),
        "{reply:?}"
    );
    let (name, secret, attributes) = parts(&reply.cookies[0]);
    assert_eq!(name, "tollgate");
    assert!(
        ["28800", "28799"]
            .map(|age| format!("Path=/; Max-Age={age}; HttpOnly; SameSite=Strict"))
            .contains(&attributes.to_owned()),
        "{attributes}"
    );
    let lasts = from_utc(&text(&reply.body, "expiresAt")).unwrap() - now_ms();
    assert!((8 * 3_600_000 - 60_000..=8 * 3_600_000).contains(&lasts), "{lasts}");

    let page = own.with_lines(&format!("Cookie: x=1; tollgate={secret}\r\nOrigin: http://gateway.test\r\n"));
    let seen = page.done("GET /auth/me", &Value::Null);
    let (id, maker) = (text(&reply.body, "id"), own_id(&own));
    assert_eq!((text(&seen["token"], "id"), text(&seen["token"], "kind")), (id.clone(), "session".into()));
    assert_eq!(text(&seen["token"], "madeBy"), maker);
    page.done("PUT /auth/creds", &json!({ "providers": { "t": { "apiKey": "a-key-of-a-page" } } }));
    let listed = page.done("GET /auth/tokens", &Value::Null);
    let one = &listed[&id];
    assert_eq!((text(one, "kind"), text(one, "madeBy")), ("session".into(), maker.clone()));
    assert_eq!(text(one, "prefix"), secret[..11]);
    assert!(
        world
            .home
            .done(&["token", "list", "ada"], "")
            .lines()
            .any(|line| line.contains(&id) && line.contains("session"))
    );

    // A session starts none.
    page.fails(&format!("POST {SELF}"), &Value::Null, NO_SESSION_BY_SESSION);
    let ended = page.get(&format!("DELETE {SELF}"));
    assert_eq!((ended.status, ended.body), (200, json!({ "ok": true })));
    assert_eq!(ended.cookies, ["tollgate=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"]);
    page.fails("GET /auth/me", &Value::Null, WRONG_TOKEN);
    own.fails(
        &format!("DELETE {SELF}"),
        &Value::Null,
        (
            403,
            "token_kind",
            "This call ends the session that makes it, and a token is none: revoke a token by its id",
        ),
    );
    assert_eq!(me(&own), 200);

    let address = "127.0.0.1".to_owned();
    assert_eq!(
        audit(&admin),
        [
            ("session.create".into(), address.clone(), json!({ "session": id, "madeBy": maker, "ended": 0 })),
            ("session.end".into(), address, json!({ "session": id })),
        ]
    );
    let shown = [
        admin.done("GET /admin/audit", &Value::Null).to_string(),
        listed.to_string(),
        reply.body.to_string(),
    ];
    let log = world.gateway.log().join("\n");
    assert!(shown.iter().chain([&log]).all(|text| !text.contains(secret)), "a secret is shown");
}

#[test]
fn an_admin_signs_in_and_out_at_the_admin_listener() {
    let world = World::with("", &["--admin-listen", "127.0.0.1:0"]);
    let (token, public) = (Api::admin(&world).token().to_owned(), world.gateway.address);
    let admin = Api::new(world.gateway.admin_address, &token);
    let reply = admin.get(&format!("POST {ADMIN}"));
    assert_eq!(reply.status, 201);
    let (name, secret, _) = parts(&reply.cookies[0]);
    assert_eq!(name, "tollgate-admin");
    let lines = format!("Cookie: tollgate-admin={secret}\r\nSec-Fetch-Site: same-origin\r\n");
    let page = admin.with_lines(&lines);
    let listed = page.done("GET /admin/tokens", &Value::Null);
    let id = text(&reply.body, "id");
    let maker = listed.as_object().unwrap().keys().find(|one| **one != id).unwrap();
    assert_eq!((text(&listed[&id], "kind"), text(&listed[&id], "madeBy")), ("session".into(), maker.clone()));
    assert_eq!(text(&listed[maker], "kind"), "admin");
    assert!(
        world
            .home
            .done(&["token", "list", "--admin"], "")
            .lines()
            .any(|line| line.contains(&id) && line.contains("session"))
    );
    page.fails(&format!("POST {ADMIN}"), &Value::Null, NO_SESSION_BY_SESSION);
    // What a session creates has the session's maker.
    let made = text(&page.done("POST /admin/tokens", &json!({})), "id");
    assert_eq!(text(&admin.done("GET /admin/tokens", &Value::Null)[&made], "madeBy"), *maker);
    let (grace, _) = page.user("grace");
    let tokens = admin.done(&format!("GET /admin/users/{grace}/tokens"), &Value::Null);
    assert!(tokens.as_object().unwrap().values().all(|one| text(one, "madeBy") == *maker), "{tokens}");

    // Each listener has its own part.
    let elsewhere = (404, "not_found".to_owned());
    assert_eq!(code(&raw(public, "GET /admin/users", &lines)), elsewhere);
    user(&world).with_lines(&lines).fails("GET /auth/me", &Value::Null, NO_TOKEN);
    let self_service = user(&world).signed_in(SELF);
    assert_eq!(me(&self_service), 200);
    let bearer = format!("Authorization: Bearer {}\r\n", world.token);
    assert_eq!(code(&raw(world.gateway.admin_address, &format!("POST {SELF}"), &bearer)), elsewhere);

    let ended = page.get(&format!("DELETE {ADMIN}"));
    assert_eq!(ended.cookies, ["tollgate-admin=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"]);
    page.fails("GET /admin/users", &Value::Null, WRONG_ADMIN);
    // The last admin token stays, whatever sessions there are.
    let last =
        "This is the last admin token: without it nobody could call the admin API; make another one first";
    let console = admin.signed_in(ADMIN);
    console.done(&format!("DELETE /admin/tokens/{made}"), &Value::Null);
    console.fails(&format!("DELETE /admin/tokens/{maker}"), &Value::Null, (409, "last_admin_token", last));
    console.done("GET /admin/users", &Value::Null);
}

#[test]
fn a_session_is_good_in_its_cookie_alone() {
    let mut world = World::new();
    let (own, admin) = (user(&world), Api::admin(&world));
    let session = own.signed_in(SELF).token().to_owned();
    let console = admin.signed_in(ADMIN).token().to_owned();
    let token = world.token.clone();
    // No other token, and no other place. Fewer wrong ones than the rate limit delays.
    own.with(&session).fails("GET /auth/me", &Value::Null, WRONG_TOKEN);
    admin.with(&console).fails("GET /admin/users", &Value::Null, WRONG_ADMIN);
    let refused = |lines: String, line: &str, expected: Fault<'static>| {
        own.with_lines(&lines).fails(line, &Value::Null, expected);
    };
    refused(format!("Cookie: tollgate={token}\r\n"), "GET /auth/me", WRONG_TOKEN);
    refused(format!("Cookie: tollgate-admin={}\r\n", admin.token()), "GET /admin/users", WRONG_ADMIN);
    refused(format!("Cookie: tollgate={console}\r\n"), "GET /auth/me", WRONG_TOKEN);
    refused(format!("Cookie: tollgate-admin={session}\r\n"), "GET /admin/users", WRONG_ADMIN);
    // `Authorization` goes before the cookie, whatever is in it.
    refused(format!("Cookie: tollgate={session}\r\nAuthorization: Basic YTpi\r\n"), "GET /auth/me", NO_TOKEN);
    // Without a cookie of a known name, and with two of one name, there is none.
    refused(format!("Cookie: tollgat={session}\r\n"), "GET /auth/me", NO_TOKEN);
    refused(format!("Cookie: tollgate={session}; tollgate=x\r\n"), "GET /auth/me", NO_TOKEN);

    // On a provider's path it is nothing, and never goes on.
    for lines in [format!("Cookie: tollgate={session}\r\n"), format!("Authorization: Bearer {session}\r\n")] {
        let refused =
            raw(world.gateway.address, "GET /t/get", &format!("{lines}Sec-Fetch-Site: same-origin\r\n"));
        let expected = if lines.starts_with("Cookie") { "missing_token" } else { "invalid_token" };
        assert_eq!(code(&refused), (401, expected.into()), "{lines}");
        world.upstream.saw_nothing();
    }
    world.exchange(
        Exchange::get().removed("Cookie", &format!("tollgate={session}; a=b")).answer(Answer::new("200 OK")),
    );
    // In a path, it is in no log.
    let path = format!("GET /auth/{session}");
    let answer = raw(world.gateway.address, &path, &format!("Cookie: tollgate={session}\r\n"));
    assert_eq!(code(&answer), (400, "token_in_path".into()));
    assert!(!world.gateway.log().join("\n").contains(&session));
}

#[test]
fn only_own_pages_change_anything() {
    let world = World::with("", &["--public-url", "https://public.example"]);
    let (own, admin) = (user(&world), Api::admin(&world));
    let session = own.signed_in(SELF);
    let cookie = format!("Cookie: __Host-tollgate={}\r\n", session.token());
    let console = format!("Cookie: __Host-tollgate-admin={}\r\n", admin.signed_in(ADMIN).token());
    let change = json!({ "providers": { "t": { "apiKey": "another-key-of-a-page" } } });
    for (lines, is_own) in [
        ("", false),
        ("Origin: http://gateway.test\r\n", true),
        ("Origin: https://gateway.test\r\n", true),
        ("Origin: https://gateway.test:443\r\n", true),
        ("Origin: https://gateway.test:444\r\n", false),
        ("Origin: https://public.example\r\n", true),
        ("Origin: http://public.example\r\n", false),
        ("Origin: https://evil.example\r\n", false),
        ("Origin: https://gateway.test.evil.example\r\n", false),
        ("Origin: null\r\n", false),
        ("Origin: http://gateway.test\r\nOrigin: https://evil.example\r\n", false),
        ("Referer: http://gateway.test/config\r\n", false),
        ("X-Forwarded-Host: evil.example\r\nOrigin: https://evil.example\r\n", false),
        ("Sec-Fetch-Site: same-origin\r\n", true),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: http://gateway.test\r\n", true),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: null\r\n", true),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: https://evil.example\r\n", false),
        ("Sec-Fetch-Site: same-site\r\nOrigin: http://gateway.test\r\n", false),
        ("Sec-Fetch-Site: cross-site\r\nOrigin: http://gateway.test\r\n", false),
        ("Sec-Fetch-Site: none\r\n", false),
        ("Sec-Fetch-Site: cross-site\r\n", false),
    ] {
        let page = own.with_lines(&format!("{cookie}{lines}"));
        let console = admin.with_lines(&format!("{console}{lines}"));
        if is_own {
            page.done("PUT /auth/creds", &change);
            console.done("POST /admin/reload", &Value::Null);
        } else {
            page.fails("PUT /auth/creds", &change, CROSS_SITE);
            page.fails(&format!("DELETE {SELF}"), &Value::Null, CROSS_SITE);
            console.fails("POST /admin/reload", &Value::Null, CROSS_SITE);
            console.fails("POST /admin/users", &json!({ "name": "eve" }), CROSS_SITE);
        }
        // Reading changes nothing, and no other page may read the answer.
        assert_eq!(me(&page), 200, "{lines}");
    }
    // A token is in no other site's hands: where it comes from does not matter.
    let lines = format!("Authorization: Bearer {}\r\nOrigin: https://evil.example\r\n{cookie}", world.token);
    own.with_lines(&lines).done("PUT /auth/creds", &change);
    assert_eq!(me(&session), 200, "no refused call has ended it");
}

#[test]
fn a_cookie_over_tls_is_for_tls_alone() {
    let world = World::new();
    let (own, admin) = (user(&world), Api::admin(&world));
    let bearer = format!("Authorization: Bearer {}\r\n", world.token);
    let sign_in = |api: &Api, path: &str, lines: &str| {
        let token = if path == ADMIN {
            format!("Authorization: Bearer {}\r\n", admin.token())
        } else {
            bearer.clone()
        };
        let reply = api.with_lines(&format!("{token}{lines}")).get(&format!("POST {path}"));
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.cookies
    };
    for (path, [plain, secure]) in
        [(SELF, ["tollgate", "__Host-tollgate"]), (ADMIN, ["tollgate-admin", "__Host-tollgate-admin"])]
    {
        for (lines, name) in [
            ("", plain),
            ("Origin: http://gateway.test\r\n", plain),
            ("Origin: null\r\n", plain),
            ("Origin: https://gateway.test\r\n", secure),
        ] {
            let cookies = sign_in(&own, path, lines);
            let [cookie] = cookies.as_slice() else { panic!("{cookies:?}") };
            assert_eq!(parts(cookie).0, name, "{lines}");
            assert_eq!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), name == secure, "{cookie}");
        }
    }
    // Both names are read, and the one that is for TLS alone goes first.
    let [one, two] = [0, 1].map(|_| own.signed_in(SELF));
    let both = |secure: &str, plain: &str| {
        own.with_lines(&format!("Cookie: tollgate={plain}; __Host-tollgate={secure}\r\n"))
    };
    assert_eq!(own_id(&both(one.token(), two.token())), own_id(&one));
    assert_eq!(own_id(&both(one.token(), "wrong")), own_id(&one));
    assert_eq!(me(&both("wrong", two.token())), 401);
    // A sign-in removes the other name, which would hide the new one, and ends both sessions.
    let lines = format!("Cookie: tollgate={}; __Host-tollgate={}\r\n", one.token(), two.token());
    let cookies = sign_in(&own, SELF, &lines);
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert_eq!(cookies[0], "__Host-tollgate=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure");
    assert_eq!((parts(&cookies[1]).0, me(&one), me(&two)), ("tollgate", 401, 401));

    let public = World::with("", &["--public-url", "https://public.example"]);
    let reply = user(&public).get(&format!("POST {SELF}"));
    assert!(reply.cookies[0].starts_with("__Host-tollgate="), "{reply:?}");
}

#[test]
fn a_session_is_never_one_that_a_browser_brought() {
    let world = World::new();
    let (own, admin) = (user(&world), Api::admin(&world));
    let chosen = "tg_0123456789abcdef0123456789abcdef0123456789abcdef";
    let bearer = format!("Authorization: Bearer {}\r\n", world.token);
    let lines = |session: &str| format!("{bearer}Cookie: tollgate={session}\r\n");
    let sign_in = |session: &str| {
        let reply = own.with_lines(&lines(session)).get(&format!("POST {SELF}"));
        let secret = parts(&reply.cookies[0]).1.to_owned();
        assert_ne!(secret, session);
        secret
    };
    let page = |session: &str| own.with_lines(&format!("Cookie: tollgate={session}\r\n"));
    let first = sign_in(chosen);
    assert_eq!((me(&page(chosen)), me(&page(&first))), (401, 200));
    // Signing in once more ends the session of this browser, and of no other.
    let other = own.signed_in(SELF);
    let second = sign_in(&first);
    assert_eq!((me(&page(&first)), me(&page(&second)), me(&other)), (401, 200, 200));
    // Also that of another user.
    let (_, token) = admin.user("eve");
    let eve = own.with_lines(&format!("Authorization: Bearer {token}\r\nCookie: tollgate={second}\r\n"));
    let eves = parts(&eve.get(&format!("POST {SELF}")).cookies[0]).1.to_owned();
    assert_eq!(
        (me(&page(&second)), text(&page(&eves).done("GET /auth/me", &Value::Null), "name")),
        (401, "eve".into())
    );
    // A token in the cookie is no session, and is not ended.
    sign_in(&world.token);
    assert_eq!(me(&own), 200);
    let ended: Vec<Value> = audit(&admin).iter().map(|(.., detail)| detail["ended"].clone()).collect();
    assert_eq!(ended, [json!(0), json!(0), json!(1), json!(1), json!(0)]);
}

#[test]
fn a_session_ends_with_its_maker() {
    let world = World::new();
    let (own, admin) = (user(&world), Api::admin(&world));
    let made = |wanted: Value| {
        let made = own.done("POST /auth/tokens", &wanted);
        (text(&made, "id"), own.with(&text(&made, "token")))
    };
    // A revocation.
    let (id, maker) = made(json!({ "kind": "manage" }));
    let (page, stays) = (maker.signed_in(SELF), own.signed_in(SELF));
    let revoked = own.done(&format!("DELETE /auth/tokens/{id}"), &Value::Null);
    assert_eq!(
        (&revoked["tokens"], &revoked["sessions"], &revoked["remaining"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!((me(&page), me(&stays)), (401, 200));
    // A session alone, by its id or by the command.
    let (id, maker) = made(json!({ "kind": "both" }));
    let [one, two] = [0, 1].map(|_| maker.signed_in(SELF));
    let revoked = own.done(&format!("DELETE /auth/tokens/{}", own_id(&one)), &Value::Null);
    assert_eq!((&revoked["tokens"], &revoked["sessions"]), (&json!(0), &json!(1)));
    let said = world.home.run(&["token", "revoke", &two.token()[..11]], "");
    assert_eq!((said.code, said.err.as_str()), (0, "revoked 1 session\n"), "{said:?}");
    eventually("the command's change is seen", || me(&two) == 401);
    assert_eq!((me(&one), me(&maker)), (401, 200));
    let page = maker.signed_in(SELF);
    let said = world.home.run(&["token", "revoke", &id], "");
    assert_eq!(said.err, "revoked 1 token, 1 session\n");
    eventually("the command's change is seen", || me(&page) == 401);
    // The expiry.
    let soon = utc(now_ms() + 3000);
    let (_, ending) = made(json!({ "kind": "manage", "expiresAt": soon }));
    let reply = ending.get(&format!("POST {SELF}"));
    assert_eq!(text(&reply.body, "expiresAt"), soon);
    let page = own.with_lines(&format!("Cookie: tollgate={}\r\n", parts(&reply.cookies[0]).1));
    eventually("the session has expired", || me(&page) == 401);
    // An admin token.
    let made = admin.done("POST /admin/tokens", &json!({}));
    let console = admin.with(&text(&made, "token")).signed_in(ADMIN);
    let revoked = console.done(&format!("DELETE /admin/tokens/{}", text(&made, "id")), &Value::Null);
    assert_eq!((&revoked["adminTokens"], &revoked["sessions"]), (&json!(1), &json!(1)));
    console.fails("GET /admin/users", &Value::Null, WRONG_ADMIN);
    // The user.
    let id = text(&own.done("GET /auth/me", &Value::Null), "id");
    admin.done(&format!("PATCH /admin/users/{id}"), &json!({ "disabled": true }));
    assert_eq!((me(&stays), own.get(&format!("POST {SELF}")).status), (403, 403));
    admin.done(&format!("PATCH /admin/users/{id}"), &json!({ "disabled": false }));
    assert_eq!(me(&stays), 200);
    admin.done(&format!("DELETE /admin/users/{id}"), &Value::Null);
    assert_eq!(me(&stays), 401);
}

#[test]
fn a_rotation_keeps_the_person_signed_in() {
    let world = World::new();
    let own = user(&world);
    let page = own.signed_in(SELF);
    let old = own_id(&own);
    // A session rotates the token that it was started with.
    let rotated = page.done("POST /auth/rotate", &Value::Null);
    let new = own.with(&text(&rotated, "token"));
    assert_eq!((own_id(&new), &rotated["handedOverTokens"]), (text(&rotated, "id"), &json!(0)));
    assert_eq!(text(&page.done("GET /auth/me", &Value::Null)["token"], "madeBy"), text(&rotated, "id"));
    // The old token reads for an hour, and starts no session.
    let replaced = (409, "token_replaced", "This token was replaced: use the one that replaced it");
    own.fails(&format!("POST {SELF}"), &Value::Null, replaced);
    own.fails("POST /auth/rotate", &Value::Null, replaced);
    new.done(&format!("DELETE /auth/tokens/{old}"), &Value::Null);
    assert_eq!(me(&page), 200);
    let again = new.done("POST /auth/rotate", &Value::Null);
    assert_eq!((me(&page), me(&own.with(&text(&again, "token")))), (200, 200));
    new.with(&text(&again, "token"))
        .done(&format!("DELETE /auth/tokens/{}", text(&again, "id")), &Value::Null);
    assert_eq!(me(&page), 401);
}

#[test]
fn a_session_is_worth_what_its_maker_is() {
    let world = World::new();
    let own = user(&world);
    let until = "2130-01-01T00:00:00Z";
    let wanted = json!({ "kind": "both", "scopes": ["t/get"], "expiresAt": until });
    let made = own.done("POST /auth/tokens", &wanted);
    let page = own.with(&text(&made, "token")).signed_in(SELF);
    let me = page.done("GET /auth/me", &Value::Null);
    assert_eq!(me["token"]["scopes"], json!(["t/get"]));
    let listed = page.done("GET /auth/tokens", &Value::Null);
    assert_eq!(listed.as_object().unwrap().len(), 2, "the maker and itself: {listed}");
    let too_wide =
        |problem: &str| format!("A token cannot make one that reaches further than itself: {problem}");
    let out = too_wide("`t` is out of its scopes");
    page.fails("POST /auth/tokens", &json!({ "scopes": ["t"] }), (403, "token_scope", &out));
    let late = too_wide("it expires earlier");
    page.fails(
        "POST /auth/tokens",
        &json!({ "expiresAt": "2130-01-01T00:00:01Z" }),
        (403, "token_scope", &late),
    );
    // What it creates has its maker's expiry, not that of the session, and outlives it.
    let child = page.done("POST /auth/tokens", &json!({}));
    assert_eq!((text(&child, "expiresAt"), &child["scopes"]), (until.into(), &json!(["t/get"])));
    page.done(&format!("DELETE {SELF}"), &Value::Null);
    let listed = own.done("GET /auth/tokens", &Value::Null);
    assert_eq!(listed[text(&child, "id")]["madeBy"], made["id"]);
    // A token for calls to providers cannot sign in.
    let proxy = own.done("POST /auth/tokens", &json!({ "kind": "proxy" }));
    let reply = own.with(&text(&proxy, "token")).get(&format!("POST {SELF}"));
    assert_eq!(
        (reply.status, reply.cookies.len(), &reply.body["error"]["code"]),
        (403, 0, &json!("token_kind"))
    );
}

#[test]
fn sessions_are_bounded_and_outlive_a_restart() {
    let mut world = World::with("", &["--session-lifetime", "5m"]);
    let (own, admin) = (user(&world), Api::admin(&world));
    let pages: Vec<Api> = (0..21).map(|_| own.signed_in(SELF)).collect();
    let consoles: Vec<Api> = (0..21).map(|_| admin.signed_in(ADMIN)).collect();
    assert_eq!((me(&pages[0]), me(&pages[1]), me(&pages[20])), (401, 200, 200));
    consoles[0].fails("GET /admin/users", &Value::Null, WRONG_ADMIN);
    let sessions =
        |list: Value| list.as_object().unwrap().values().filter(|one| one["kind"] == "session").count();
    assert_eq!(sessions(own.done("GET /auth/tokens", &Value::Null)), 20);
    assert_eq!(sessions(consoles[1].done("GET /admin/tokens", &Value::Null)), 20);
    world.gateway.signal(rustix::process::Signal::TERM);
    world.gateway.exit();
    world.gateway = world.home.serve(&[]);
    let cookie = format!("Cookie: tollgate={}\r\n", pages[20].token());
    assert_eq!(me(&Api::new(world.gateway.address, "").with_lines(&cookie)), 200);
}

/// A wrong session counts as a wrong token does, and a missing one does not.
#[test]
fn wrong_sessions_are_rate_limited() {
    const LIMITED: &str = "authentication rate limit: responses to this address are delayed";
    let world = World::with("", &["--workers", "1"]);
    let own = user(&world);
    for lines in ["", "Cookie: a=b\r\n", "Cookie: tollgate=\r\n", "Origin: https://evil.example\r\n"] {
        for _ in 0..5 {
            own.with_lines(lines).fails("POST /auth/tokens", &Value::Null, NO_TOKEN);
        }
    }
    assert!(!world.gateway.log().join("\n").contains(LIMITED));
    let mut client = Wire::connect(world.gateway.address);
    for number in 0..13 {
        client.send(format!("GET /auth/me HTTP/1.1\r\nHost: g\r\nCookie: tollgate=tg_{number}\r\n\r\n"));
        assert_eq!(client.answer().unwrap().head.status(), 401);
    }
    world.gateway.wait_for_log(LIMITED);
    assert_eq!(me(&own.signed_in(SELF)), 200, "a good one is never delayed");
}
