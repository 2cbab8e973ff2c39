//! What a token created ends with it: paste tokens always, tokens on request; on every worker at once.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::harness::{Answer, Api, Home, Wire, World, chunk, eventually};

/// A login for the provider `t`, a paste token for it, and token locations of its own.
const PASTE: &str = r#"
[caller]
headers = ["x-own"]
query = ["own"]
[[credentials.field]]
name = "login"
label = "Login"
kind = "oauth2"
token_url = "https://login.example/token"
client_id = "demo"
[credentials.field.paste]
accessToken = "/tokens/access"
[[auth]]
field = "login"
set = { authorization = "Bearer {secret}" }
[paste_token]
path = "/auth/t-token"
reply = "pasteToken"
missing = "no login"
[paste_token.claims]
iss = "https://auth.example"
iat = { gen = "now" }
"#;

/// Four workers; wrong tokens come from many addresses, so that none is delayed.
const ARGS: [&str; 4] = ["--workers", "4", "--trusted-proxies", "127.0.0.1"];
/// Connections that reach every worker but for one case in a hundred thousand.
const CONNECTIONS: usize = 48;

pub fn world() -> World {
    let world = World::with(PASTE, &ARGS);
    let login = json!({ "accessToken": "access", "expiresAt": 4_102_444_800_000_u64 });
    let creds = json!({ "providers": { "t": { "apiKey": null, "login": login } } });
    Api::new(world.gateway.address, &world.token).done("PUT /auth/creds", &creds);
    world
}

pub fn text<'d>(document: &'d Value, key: &str) -> &'d str {
    document[key].as_str().unwrap_or_else(|| panic!("`{key}` is no text in {document}"))
}

/// A token that another one creates: its id, and a caller with it.
pub fn made(maker: &Api, wanted: Value) -> (String, Api, String) {
    let mut wanted = wanted;
    wanted["kind"] = "both".into();
    let made = maker.done("POST /auth/tokens", &wanted);
    let token = text(&made, "token").to_owned();
    (text(&made, "id").to_owned(), maker.with(&token), token)
}

pub fn paste(maker: &Api) -> String {
    text(&maker.done("POST /auth/t-token", &Value::Null), "pasteToken").to_owned()
}

/// An address that no other request came from.
pub fn address() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let number = u32::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
    std::net::Ipv4Addr::from_bits(10 << 24 | number << 8).to_string()
}

/// The status of a request on a connection of its own. The path has no endpoint: a known caller gets 404.
pub fn status_of(gateway: std::net::SocketAddr, target: &str, headers: &str) -> u16 {
    let mut client = Wire::connect(gateway);
    let from = address();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: {from}\r\n{headers}\r\n"));
    client.answer().unwrap().head.status()
}

pub fn status(world: &World, token: &str) -> u16 {
    status_of(world.gateway.address, "/t/nowhere", &format!("Authorization: Bearer {token}\r\n"))
}

/// Every worker answers so.
pub fn everywhere(world: &World, token: &str, expected: u16) {
    let seen: Vec<u16> = (0..CONNECTIONS).map(|_| status(world, token)).collect();
    assert_eq!(seen, [expected; CONNECTIONS]);
}

fn counts(tokens: u64, pastes: u64, remaining: u64) -> Value {
    json!({ "ok": true, "tokens": tokens, "pasteTokens": pastes, "sessions": 0, "remaining": remaining })
}

/// The detail of the last entry of the audit log.
fn last_entry(world: &World) -> Value {
    let all = Api::admin(world).done("GET /admin/audit", &Value::Null);
    let all = all.as_object().unwrap();
    let (_, last) = all.iter().max_by_key(|(seq, _)| seq.parse::<u64>().unwrap()).unwrap();
    last["detail"].clone()
}

#[test]
fn revoking_a_token_ends_its_paste_tokens_on_every_worker() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, leaked, token) = made(&own, json!({}));
    let (first, second, other) = (paste(&leaked), paste(&leaked), paste(&own));
    for token in [&token, &first, &second, &other] {
        everywhere(&world, token, 404);
    }
    let listed = own.done("GET /auth/tokens", &Value::Null);
    let by_leaked = listed.as_object().unwrap().values().filter(|one| one["madeBy"] == json!(id));
    assert_eq!(by_leaked.filter(|one| one["kind"] == "paste").count(), 2, "{listed}");
    assert_eq!(own.done(&format!("DELETE /auth/tokens/{id}"), &Value::Null), counts(1, 2, 0));
    for token in [&token, &first, &second] {
        everywhere(&world, token, 401);
    }
    everywhere(&world, &other, 404);
    let detail = last_entry(&world);
    assert_eq!((&detail["token"], &detail["pasteTokens"]), (&json!(id), &json!(2)), "{detail}");
}

#[test]
fn rotating_a_token_lets_its_paste_tokens_end_with_it() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, leaked, _) = made(&own, json!({}));
    let pasted = paste(&leaked);
    let (child, ..) = made(&leaked, json!({}));
    let rotated = leaked.done("POST /auth/rotate", &Value::Null);
    assert_eq!((&rotated["endingPasteTokens"], &rotated["handedOverTokens"]), (&json!(1), &json!(1)));
    let listed = own.done("GET /auth/tokens", &Value::Null);
    let by_leaked = listed.as_object().unwrap().values().filter(|one| one["madeBy"] == json!(id));
    for one in by_leaked {
        assert_eq!((&one["kind"], &one["expiresAt"]), (&json!("paste"), &rotated["oldTokensExpireAt"]));
    }
    assert_eq!(listed[&child]["madeBy"], rotated["id"]);
    everywhere(&world, &pasted, 404);
    let detail = last_entry(&world);
    assert_eq!((&detail["pasteTokens"], &detail["handedOver"]), (&json!(1), &json!(1)), "{detail}");
    // A revocation ends them at once.
    assert_eq!(own.done(&format!("DELETE /auth/tokens/{id}"), &Value::Null), counts(1, 1, 2));
    everywhere(&world, &pasted, 401);
}

#[test]
fn tokens_made_by_a_token_end_on_request() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, leaked, _) = made(&own, json!({}));
    let (child_id, child, child_token) = made(&leaked, json!({}));
    let (_, grandchild, grandchild_token) = made(&child, json!({}));
    let pasted = paste(&grandchild);
    let path = format!("/auth/tokens/{id}");
    let reply = own.get(&format!("DELETE {path}?withMade=yes"));
    assert_eq!((reply.status, &reply.body["error"]["cause"]), (400, &json!("invalid_query")));
    assert_eq!(own.done(&format!("DELETE {path}"), &Value::Null), counts(1, 0, 2));
    for token in [&child_token, &grandchild_token, &pasted] {
        assert_eq!(status(&world, token), 404);
    }
    // The one in between is gone too, and hides nothing.
    assert_eq!(own.done(&format!("DELETE /auth/tokens/{child_id}"), &Value::Null), counts(1, 0, 1));
    assert_eq!(own.get(&format!("DELETE {path}")).status, 404);
    let (_, stranger) = Api::admin(&world).user("eve");
    assert_eq!(own.with(&stranger).get(&format!("DELETE {path}?withMade=true")).status, 404);
    assert_eq!(own.done(&format!("DELETE {path}?withMade=true"), &Value::Null), counts(1, 1, 0));
    for token in [&child_token, &grandchild_token, &pasted] {
        everywhere(&world, token, 401);
    }
    everywhere(&world, &world.token, 404);
    let detail = last_entry(&world);
    assert_eq!((&detail["tokens"], &detail["remaining"]), (&json!(1), &json!(0)), "{detail}");
}

#[test]
fn the_command_line_says_how_many_ended() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, leaked, token) = made(&own, json!({}));
    let (_, _, child) = made(&leaked, json!({}));
    let pasted = paste(&leaked);
    let said = world.home.run(&["token", "revoke", &id], "");
    let expected = "revoked 1 token, 1 paste token\nstill valid: 1 token that came from it: `--with-made` revokes these too";
    assert!(said.code == 0 && said.err.starts_with(expected), "{said:?}");
    let said = world.home.run(&["token", "revoke", "--with-made", &id], "");
    assert!(said.code == 0 && said.err == "revoked 1 token\n", "{said:?}");
    for token in [&token, &child, &pasted] {
        eventually("the server has read the change", || status(&world, token) == 401);
        everywhere(&world, token, 401);
    }
}

#[test]
fn what_an_admin_token_made_ends_on_request() {
    let world = world();
    let first = Api::admin(&world);
    let made = first.done("POST /admin/tokens", &json!({ "label": "leaked" }));
    let (leaked, id) = (first.with(text(&made, "token")), text(&made, "id"));
    let theirs = leaked.done("POST /admin/tokens", &json!({ "label": "theirs" }));
    let theirs = first.with(text(&theirs, "token"));
    let (user, token) = theirs.user("mallory");
    let listed = first.done(&format!("GET /admin/users/{user}/tokens"), &Value::Null);
    let makers: Vec<&Value> = listed.as_object().unwrap().values().map(|one| &one["madeBy"]).collect();
    let all = first.done("GET /admin/tokens", &Value::Null);
    assert!(makers.iter().all(|maker| all[maker.as_str().unwrap()]["madeBy"] == json!(id)), "{listed} {all}");
    let mut expected = counts(0, 0, 2);
    expected["adminTokens"] = 1.into();
    assert_eq!(first.done(&format!("DELETE /admin/tokens/{id}"), &Value::Null), expected);
    assert_eq!(theirs.get("GET /admin/users").status, 200);
    let mut expected = counts(1, 0, 0);
    expected["adminTokens"] = 1.into();
    assert_eq!(first.done(&format!("DELETE /admin/tokens/{id}?withMade=true"), &Value::Null), expected);
    assert_eq!(theirs.get("GET /admin/users").status, 401);
    everywhere(&world, &token, 401);
    assert_eq!(first.get("GET /admin/users").status, 200);
}

/// A token with scopes ends nothing that reaches further.
#[test]
fn a_scoped_token_ends_only_what_lies_within_its_scopes() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, maker, _) = made(&own, json!({}));
    let (_, _, child) = made(&maker, json!({ "scopes": ["t/post"] }));
    let (_, narrow, _) = made(&own, json!({ "scopes": ["t/get"] }));
    assert_eq!(own.done(&format!("DELETE /auth/tokens/{id}"), &Value::Null), counts(1, 0, 1));
    let reply = narrow.get(&format!("DELETE /auth/tokens/{id}?withMade=true"));
    assert_eq!((reply.status, &reply.body["error"]["code"]), (403, &json!("token_scope")));
    assert_eq!(status(&world, &child), 404);
}

#[test]
fn a_paste_token_is_never_more_than_its_maker() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let admin = Api::admin(&world);
    let user = text(&own.done("GET /auth/me", &Value::Null), "id").to_owned();
    let pasted = paste(&own);
    everywhere(&world, &pasted, 404);
    admin.done(&format!("PATCH /admin/users/{user}"), &json!({ "disabled": true }));
    everywhere(&world, &pasted, 403);
    admin.done(&format!("PATCH /admin/users/{user}"), &json!({ "disabled": false }));
    everywhere(&world, &pasted, 404);
    let soon = tollgate::clock::utc(tollgate::clock::now_ms() + 4000);
    let (id, ending, token) = made(&own, json!({ "expiresAt": soon }));
    let (pasted, (child, ..)) = (paste(&ending), made(&ending, json!({})));
    let listed = own.done("GET /auth/tokens", &Value::Null);
    let from_it = listed.as_object().unwrap().iter().filter(|(_, one)| one["madeBy"] == json!(id));
    assert_eq!(from_it.filter(|(_, one)| one["expiresAt"] == json!(soon)).count(), 2, "{listed}");
    assert_eq!(listed[&child]["expiresAt"], json!(soon));
    eventually("both have expired", || status(&world, &token) == 401);
    everywhere(&world, &pasted, 401);
}

/// A page makes it in the name of the token that the person signed in with: it outlives the session.
#[test]
fn a_paste_token_of_a_session_is_that_of_the_sessions_maker() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, maker, _) = made(&own, json!({}));
    let page = maker.signed_in("/auth/session");
    let pasted = paste(&page);
    let listed = own.done("GET /auth/tokens", &Value::Null);
    let one =
        listed.as_object().unwrap().values().find(|one| one["kind"] == "paste" && one["madeBy"] == json!(id));
    assert_eq!(one.unwrap()["expiresAt"], Value::Null, "{listed}");
    page.done("DELETE /auth/session", &Value::Null);
    everywhere(&world, &pasted, 404);
    own.done(&format!("DELETE /auth/tokens/{id}"), &Value::Null);
    everywhere(&world, &pasted, 401);
}

/// Statements on the database of a running server.
fn on_the_database(home: &Home, statements: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(home.data().join("tollgate.db"));
        let mut store = options.connect().await.unwrap();
        sqlx::raw_sql(statements).execute(&mut store).await.unwrap();
        store.close().await.unwrap();
    });
}

#[test]
fn a_revocation_that_fails_changes_nothing() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, leaked, token) = made(&own, json!({}));
    let (pasted, (.., child)) = (paste(&leaked), made(&leaked, json!({})));
    let before = own.done("GET /auth/tokens", &Value::Null);
    for (fails, again) in [
        (
            "CREATE TRIGGER fails BEFORE DELETE ON tokens BEGIN SELECT RAISE(ABORT, 'it fails'); END",
            "DROP TRIGGER fails",
        ),
        (
            "CREATE TRIGGER fails BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'it fails'); END",
            "DROP TRIGGER fails",
        ),
    ] {
        on_the_database(&world.home, fails);
        for call in [format!("DELETE /auth/tokens/{id}"), format!("DELETE /auth/tokens/{id}?withMade=true")] {
            assert_eq!(own.get(&call).status, 503, "{call}");
        }
        for token in [&token, &pasted, &child] {
            assert_eq!(status(&world, token), 404);
        }
        on_the_database(&world.home, again);
        assert_eq!(own.done("GET /auth/tokens", &Value::Null), before);
    }
    let ended = own.done(&format!("DELETE /auth/tokens/{id}?withMade=true"), &Value::Null);
    assert_eq!(ended, counts(2, 1, 0));
    for token in [&token, &pasted, &child] {
        everywhere(&world, token, 401);
    }
}

/// Calls with the tokens and changes of the user run until the end: lookups are in flight all the time. A call that begins
/// after the answer to the revocation is refused, on every worker. A stream that runs goes on.
#[test]
fn a_revocation_holds_at_once_while_lookups_and_streams_run() {
    let mut world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, leaked, token) = made(&own, json!({}));
    let pasted = paste(&leaked);
    let mut streams = Vec::new();
    for token in [&token, &pasted] {
        let mut client = world.client();
        client.send(format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"));
        let (_, mut wire) = world.upstream.request();
        let mut head = Answer::new("200 OK").chunked("").head_bytes();
        head.extend(chunk(b"first"));
        wire.send(head);
        assert_eq!(client.head().unwrap().status(), 200);
        assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"first"[..]));
        streams.push((client, wire));
    }
    let (revoked, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (before, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let gateway = world.gateway.address;
    let (admin, user) = (Api::admin(&world), text(&own.done("GET /auth/me", &Value::Null), "id").to_owned());
    thread::scope(|scope| {
        let calls = [&token, &pasted].into_iter().cycle().take(6).map(|token| {
            let (revoked, done, before, after) = (&revoked, &done, &before, &after);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let refused = revoked.load(Ordering::SeqCst);
                    let seen =
                        status_of(gateway, "/t/nowhere", &format!("Authorization: Bearer {token}\r\n"));
                    if refused {
                        assert_eq!(seen, 401, "it began after the revocation");
                    }
                    let count = if refused { after } else { before };
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let calls: Vec<_> = calls.collect();
        let changes = scope.spawn(|| {
            let mut name = String::new();
            for number in 0.. {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                name.clear();
                write!(name, "ada {number}").unwrap();
                admin.done(&format!("PATCH /admin/users/{user}"), &json!({ "name": name }));
            }
        });
        eventually("calls run", || before.load(Ordering::SeqCst) > 200);
        assert_eq!(own.done(&format!("DELETE /auth/tokens/{id}"), &Value::Null), counts(1, 1, 0));
        revoked.store(true, Ordering::SeqCst);
        eventually("calls are refused", || {
            after.load(Ordering::SeqCst) > 200 || calls.iter().any(thread::ScopedJoinHandle::is_finished)
        });
        done.store(true, Ordering::SeqCst);
        changes.join().unwrap();
        for call in calls {
            call.join().unwrap();
        }
    });
    for (mut client, mut wire) in streams {
        wire.send([chunk(b"last"), chunk(b"")].concat());
        assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"last"[..]));
        assert_eq!(client.chunk().unwrap(), None);
    }
}
