//! The caches of callers: the answer to a token depends on nothing that was presented before, and on no worker.

use serde_json::{Value, json};

use crate::{
    derived::{everywhere, made, paste, status, status_of, text, world},
    harness::Api,
};

/// Where a token may stand, in every kind: the answer depends on nothing that was presented before.
#[test]
fn a_presented_token_is_the_same_in_every_order_and_place() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let kind =
        |kind: &str| text(&own.done("POST /auth/tokens", &json!({ "kind": kind })), "token").to_owned();
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap().trim().to_owned();
    let (proxy, manage) = (kind("proxy"), kind("manage"));
    // One without a dash of its own, so that the part after a prefix is all of it.
    let mut pasted = paste(&own);
    while pasted.contains('-') {
        pasted = paste(&own);
    }
    let mut presented = Vec::new();
    for (token, bare, prefixed) in [
        (&proxy, 404, 404),
        (&manage, 403, 403),
        (&world.token, 404, 404),
        (&pasted, 404, 401),
        (&admin, 401, 401),
    ] {
        for (text, expected) in
            [(token.clone(), bare), (format!("x-{token}"), prefixed), (token.to_uppercase(), 401)]
        {
            for (headers, query) in [
                (format!("Authorization: Bearer {text}\r\n"), String::new()),
                (format!("X-API-Key: {text}\r\n"), String::new()),
                (format!("X-Own: {text}\r\n"), String::new()),
                (String::new(), format!("?own={text}")),
            ] {
                presented.push((format!("/t/nowhere{query}"), headers, expected));
            }
            presented.push(("/t/nowhere".into(), format!("Authorization: bearer  {text}\r\n"), expected));
            presented.push(("/t/nowhere".into(), format!("Authorization: Token {text}\r\n"), 401));
        }
    }
    let check = |(target, headers, expected): &(String, String, u16)| {
        let seen = status_of(world.gateway.address, target, headers);
        assert_eq!(seen, *expected, "{target} {headers}");
    };
    // Every one after every other one, on whichever worker; a step of each length, begun again after a change.
    let user = text(&own.done("GET /auth/me", &Value::Null), "id").to_owned();
    for step in [1, 7, 13, 29] {
        let name = format!("ada {step}");
        Api::admin(&world).done(&format!("PATCH /admin/users/{user}"), &json!({ "name": name }));
        let mut at = 0;
        for _ in 0..presented.len() {
            check(&presented[at]);
            at = (at + step) % presented.len();
        }
        presented.iter().rev().for_each(check);
    }
}

#[test]
fn known_callers_are_the_same_on_every_worker_while_the_store_is_away() {
    let world = world();
    let own = Api::new(world.gateway.address, &world.token);
    let (id, _, revoked) = made(&own, json!({}));
    let (_, stranger) = Api::admin(&world).user("eve");
    let (pasted, unused) = (
        paste(&own),
        text(&Api::admin(&world).done("POST /admin/users", &json!({ "name": "bob" })), "token").to_owned(),
    );
    everywhere(&world, &revoked, 404);
    own.done(&format!("DELETE /auth/tokens/{id}"), &Value::Null);
    // Each of these once, on one worker.
    for token in [&pasted, &stranger] {
        assert_eq!(status(&world, token), 404);
    }
    let database = world.home.data().join("tollgate.db");
    std::fs::rename(&database, database.with_extension("away")).unwrap();
    world.gateway.wait_for_log("the store does not respond; known callers are served for `store_grace`");
    for token in [&pasted, &stranger] {
        everywhere(&world, token, 404);
    }
    // Neither one that was revoked, nor one that nobody has looked up.
    for token in [&revoked, &unused] {
        everywhere(&world, token, 503);
    }
    std::fs::rename(database.with_extension("away"), &database).unwrap();
    world.gateway.wait_for_log("the store responds again");
    everywhere(&world, &revoked, 401);
    everywhere(&world, &unused, 404);
}
