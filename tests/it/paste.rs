//! Paste tokens, with the shipped files: created for a login, valid for its provider alone, and removed with the
//! login.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tollgate::hex;

use crate::harness::{Answer, Api, World};

const MAKE: &str = "POST /auth/codex-token";
const CODEX: &str = "POST /openai-codex/codex/responses";
const MISSING: &str = "No Codex OAuth credentials configured — add them first";

/// The outcome of a call that the gateway answers itself.
fn call(world: &World, line: &str, token: &str, body: &str) -> (u16, Value) {
    if line.contains(" /auth/") || line.contains(" /admin/") {
        let reply = Api::new(world.gateway.address, token).send(line, body.as_bytes());
        return (reply.status, reply.body);
    }
    let mut client = world.client();
    let length = body.len();
    client.send(format!(
        "{line} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let answer = client.answer().unwrap();
    (answer.head.status(), serde_json::from_slice(&answer.body).unwrap())
}

/// The status and the code of a fault.
fn refused(world: &World, line: &str, token: &str) -> (u16, String) {
    let (status, document) = call(world, line, token, "{}");
    (status, document["error"]["code"].as_str().unwrap_or_else(|| panic!("{document}")).to_owned())
}

/// A call that reaches the upstream with the login's access token.
fn served(world: &mut World, line: &str, token: &str) {
    let mut client = world.client();
    client.send(format!(
        "{line} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Length: 2\r\n\r\n{{}}"
    ));
    let (request, mut wire) = world.upstream.request();
    assert_eq!(request.head.get("authorization"), Some("Bearer access-1"));
    wire.send(Answer::new("200 OK").body("ok").bytes());
    assert_eq!(client.answer().unwrap().body, b"ok");
}

/// Stores the login. Returns the paste token created with it.
fn log_in(world: &World) -> String {
    let login =
        json!({ "accessToken": "access-1", "refreshToken": "refresh-1", "expiresAt": 4_102_444_800_000_u64 });
    let (status, answer) =
        call(world, "PUT /auth/creds", &world.token, &json!({ "openai": { "oauth": login } }).to_string());
    assert_eq!(status, 200, "{answer}");
    let mut rest = answer.clone();
    rest.as_object_mut().unwrap().remove("codexPasteToken");
    let configured = json!({ "status": "configured", "expiresAt": 4_102_444_800_000_u64 });
    assert_eq!(rest, json!({ "openai": { "oauth": configured } }));
    answer["codexPasteToken"].as_str().unwrap().to_owned()
}

fn make(world: &World) -> String {
    let (status, answer) = call(world, MAKE, &world.token, "");
    assert_eq!((status, answer.as_object().unwrap().len()), (200, 1), "{answer}");
    answer["codexPasteToken"].as_str().unwrap().to_owned()
}

#[test]
fn a_paste_token_has_the_declared_shape_and_no_real_secret() {
    let world = World::shipped(&[]);
    assert_eq!(refused(&world, MAKE, &world.token), (400, "invalid_request".into()));
    assert_eq!(call(&world, MAKE, &world.token, "").1["error"]["message"], MISSING);
    // Another change creates none.
    let (_, answer) =
        call(&world, "PUT /auth/creds", &world.token, r#"{"openai":{"apiKey":"sk-0123456789abcdefgh"}}"#);
    assert_eq!(answer, json!({ "openai": { "apiKey": "sk-01234...efgh" } }));
    assert_eq!(refused(&world, MAKE, &world.token).0, 400);
    log_in_with_key(&world);
    let token = make(&world);
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "{token}");
    let decoded = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    assert_eq!(decoded(parts[0]), r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims: Value = serde_json::from_str(&decoded(parts[1])).unwrap();
    assert_eq!(claims["exp"], 9_999_999_999_u64);
    assert_eq!(claims["sub"], "gateway-proxy");
    assert_eq!(claims["iss"], "https://auth.openai.com");
    assert_eq!(claims["https://api.openai.com/profile"], json!({ "email": "user@example.com" }));
    let auth = claims["https://api.openai.com/auth"].as_object().unwrap();
    assert_eq!(auth["chatgpt_account_id"].as_str().unwrap().len(), 36);
    assert_eq!(auth["chatgpt_user_id"].as_str().unwrap().len(), "user-".len() + 24);
    for real in ["access-1", "refresh-1", "sk-0123", &world.token] {
        assert!(!parts.iter().take(2).any(|part| decoded(part).contains(real)), "{real}");
    }
}

fn log_in_with_key(world: &World) {
    let login = json!({ "accessToken": "access-1", "expiresAt": 4_102_444_800_000_u64 });
    let (status, answer) =
        call(world, "PUT /auth/creds", &world.token, &json!({ "openai": { "oauth": login } }).to_string());
    assert!(status == 200 && answer["codexPasteToken"].is_string() && answer["openai"]["apiKey"].is_string());
}

#[test]
fn a_paste_token_serves_its_providers_routes_alone() {
    let mut world = World::shipped(&[]);
    let first = log_in(&world);
    served(&mut world, CODEX, &first);
    served(&mut world, "POST /openai/v1/codex/responses", &first);
    assert_eq!(refused(&world, "POST /openai/v1/chat/completions", &first), (403, "token_scope".into()));
    assert_eq!(refused(&world, "POST /anthropic/v1/messages", &first), (403, "token_scope".into()));
    for line in ["GET /auth/creds", "PUT /auth/creds", "POST /auth/rotate", MAKE, "POST /auth/tokens"] {
        assert_eq!(refused(&world, line, &first), (403, "token_kind".into()), "{line}");
    }
    assert_eq!(refused(&world, "GET /admin/users", &first).0, 401);
    // Neither its stored hash nor anything similar is a token.
    let hash = hex::encode(&Sha256::digest(&first));
    let longer = format!("{first}.x");
    for other in [&*hash, &first[..first.len() - 1], &longer, &format!("sk.{hash}.x"), "a.b.c", ".."] {
        let is_pasted = first.starts_with(other);
        let expected = if is_pasted { "invalid_token" } else { "foreign_token" };
        assert_eq!(refused(&world, CODEX, other), (401, expected.into()), "{other}");
    }
    // The previous token stays valid for a while.
    let second = make(&world);
    assert_ne!(first, second);
    served(&mut world, CODEX, &first);
    served(&mut world, CODEX, &second);
    let own = world.token.clone();
    served(&mut world, CODEX, &own);
}

#[test]
fn only_self_service_tokens_create_paste_tokens() {
    let world = World::shipped(&[]);
    log_in(&world);
    let (_, made) = call(&world, "POST /auth/tokens", &world.token, "{}");
    let proxy = made["token"].as_str().unwrap_or_else(|| panic!("{made}"));
    assert_eq!(refused(&world, MAKE, proxy), (403, "token_kind".into()));
    assert_eq!(refused(&world, MAKE, "wrong"), (401, "foreign_token".into()));
    for line in
        ["GET /auth/codex-token", "PUT /auth/codex-token", "POST /auth/other", "POST /auth/codex-token/"]
    {
        assert_eq!(refused(&world, line, &world.token), (404, "not_found".into()), "{line}");
    }
}

#[test]
fn a_login_can_be_renewed_without_another_paste_token() {
    let mut world = World::shipped(&[]);
    let paste = log_in(&world);
    let login =
        json!({ "accessToken": "access-1", "refreshToken": "refresh-2", "expiresAt": 4_102_444_800_000_u64 });
    let body = json!({ "openai": { "oauth": login } }).to_string();
    let before = listed(&world, "GET /auth/tokens", &world.token);
    let (status, answer) = call(&world, "PUT /auth/creds?paste_tokens=none", &world.token, &body);
    assert_eq!((status, answer.get("codexPasteToken")), (200, None), "{answer}");
    assert_eq!(
        listed(&world, "GET /auth/tokens", &world.token),
        before,
        "no other token, and no other expiry"
    );
    served(&mut world, CODEX, &paste);
    assert_eq!(call(&world, "PUT /auth/creds?paste_tokens=all", &world.token, &body).0, 400);
}

#[test]
fn paste_tokens_are_removed_with_their_login_and_their_user() {
    let mut world = World::shipped(&[]);
    let id = call(&world, "GET /auth/me", &world.token, "").1["id"].as_str().unwrap().to_owned();
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let admin = admin.trim();
    let replace = format!("PUT /admin/users/{id}/creds");
    let own = world.token.clone();
    let ways: [(&str, &str, &str); 4] = [
        ("PUT /auth/creds", &own, r#"{"openai":{"oauth":null}}"#),
        ("PUT /auth/creds", &own, r#"{"openai":null}"#),
        (&replace, admin, r#"{"openai":{"apiKey":"sk-1"}}"#),
        (&replace, admin, "{}"),
    ];
    for (line, token, body) in ways {
        let before = [log_in(&world), make(&world)];
        for paste in &before {
            served(&mut world, CODEX, paste);
        }
        assert_eq!(call(&world, line, token, body).0, 200);
        for paste in &before {
            assert_eq!(refused(&world, CODEX, paste), (401, "invalid_token".into()), "{line} {body}");
        }
        call(&world, &replace, admin, "{}");
        // Earlier tokens do not return with another login.
        log_in(&world);
        assert_eq!(refused(&world, CODEX, &before[1]), (401, "invalid_token".into()));
    }
    let last = make(&world);
    served(&mut world, CODEX, &last);
    assert_eq!(call(&world, &format!("DELETE /admin/users/{id}"), admin, "").0, 200);
    assert_eq!(refused(&world, CODEX, &last), (401, "invalid_token".into()));
}

/// Another token of the user's, for self-service.
fn manager(world: &World, wanted: Value) -> String {
    let mut wanted = wanted;
    wanted["kind"] = "manage".into();
    let (status, made) = call(world, "POST /auth/tokens", &world.token, &wanted.to_string());
    assert_eq!(status, 201, "{made}");
    made["token"].as_str().unwrap().to_owned()
}

/// The user's paste tokens, by id.
fn listed(world: &World, line: &str, token: &str) -> Vec<(String, Value)> {
    let (_, list) = call(world, line, token, "");
    let all = list.as_object().unwrap_or_else(|| panic!("{list}")).clone();
    all.into_iter().filter(|(_, one)| one["kind"] == "paste").collect()
}

#[test]
fn a_paste_token_has_no_wider_scope_than_its_creator() {
    let mut world = World::shipped(&[]);
    log_in(&world);
    let elsewhere = manager(&world, json!({ "scopes": ["openai", "anthropic"] }));
    assert_eq!(refused(&world, MAKE, &elsewhere), (403, "token_scope".into()));
    // It may set the login, which is in its section, and gets no paste token for it.
    let login = json!({ "openai": { "oauth": { "accessToken": "access-1" } } }).to_string();
    let (status, answer) = call(&world, "PUT /auth/creds", &elsewhere, &login);
    assert_eq!((status, answer.get("codexPasteToken")), (200, None), "{answer}");
    let until = "2130-01-01T00:00:00Z";
    let narrow =
        manager(&world, json!({ "scopes": ["openai-codex/responses", "openai"], "expiresAt": until }));
    let (status, made) = call(&world, MAKE, &narrow, "");
    assert_eq!(status, 200, "{made}");
    let list = listed(&world, "GET /auth/tokens", &world.token);
    let [(_, first), (_, second)] = list.as_slice() else { panic!("{list:?}") };
    assert_eq!((&first["provider"], &first["scopes"]), (&json!("openai-codex"), &json!(["openai-codex"])));
    assert_eq!(
        (&second["scopes"], &second["expiresAt"]),
        (&json!(["openai-codex/responses"]), &json!(until))
    );
    served(&mut world, CODEX, made["codexPasteToken"].as_str().unwrap());
    // Nor does a replaced token create one.
    assert_eq!(call(&world, "POST /auth/rotate", &narrow, "").0, 200);
    assert_eq!(refused(&world, MAKE, &narrow), (409, "token_replaced".into()));
}

#[test]
fn paste_tokens_are_listed_and_revoked_like_others() {
    let mut world = World::shipped(&[]);
    let (first, second) = (log_in(&world), make(&world));
    let list = listed(&world, "GET /auth/tokens", &world.token);
    assert_eq!(list.len(), 2);
    for (id, one) in &list {
        assert!(id.starts_with("tok_") && one["createdAt"].is_string(), "{one}");
        assert_eq!((&one["provider"], one.get("prefix")), (&json!("openai-codex"), None), "{one}");
    }
    let me = call(&world, "GET /auth/me", &world.token, "").1["id"].as_str().unwrap().to_owned();
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let admin = admin.trim();
    let path = format!("/admin/users/{me}/tokens");
    assert_eq!(listed(&world, &format!("GET {path}"), admin), list);
    served(&mut world, CODEX, &first);
    let own = world.token.clone();
    assert_eq!(call(&world, &format!("DELETE /auth/tokens/{}", list[0].0), &own, "").0, 200);
    assert_eq!(refused(&world, CODEX, &first), (401, "invalid_token".into()));
    served(&mut world, CODEX, &second);
    assert_eq!(call(&world, &format!("DELETE {path}/{}", list[1].0), admin, "").0, 200);
    assert_eq!(refused(&world, CODEX, &second), (401, "invalid_token".into()));
}
