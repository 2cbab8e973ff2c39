//! Lists for operators: users by search, group and order, groups, and credentials that wait for a confirmation.

use serde_json::{Value, json};

use crate::harness::{Api, KEY, World, over_socket, provider};

/// The names of all users of a list that comes in pages of two.
fn names(api: &Api, query: &str) -> Vec<String> {
    let (mut names, mut next) = (Vec::new(), format!("/admin/users?limit=2&{query}"));
    loop {
        let page = api.get(&format!("GET {next}"));
        assert_eq!(page.status, 200, "{next} {page:?}");
        let users = page.body.as_object().unwrap();
        assert!(users.len() <= 2);
        names.extend(users.values().map(|one| one["name"].as_str().unwrap().to_owned()));
        let Some(link) = page.link else { return names };
        let path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        path.clone_into(&mut next);
    }
}

/// A user with a name and a group. Returns the id and the token.
fn user(api: &Api, name: &str, group: Option<&str>) -> (String, String) {
    let made = api.done("POST /admin/users", &json!({ "name": name, "group": group }));
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    (text("userId"), text("token"))
}

#[test]
fn users_are_searched_and_ordered() {
    let world = World::new();
    let api = Api::admin(&world);
    for (name, group) in [
        ("Zoé & co~1", Some("research")),
        ("bob 50%", None),
        ("Alice", Some("research")),
        ("amy", Some("sales")),
    ] {
        user(&api, name, group);
    }
    let check = |query: &str, expected: &[&str]| assert_eq!(names(&api, query), expected, "{query}");
    check("", &["ada", "Zoé & co~1", "bob 50%", "Alice", "amy"]);
    check("order=created&search=RESEARCH", &["Zoé & co~1", "Alice"]);
    check("order=name", &["ada", "Alice", "amy", "bob 50%", "Zoé & co~1"]);
    check("order=name&group=research", &["Alice", "Zoé & co~1"]);
    check("search=zO%C3%89", &["Zoé & co~1"]);
    check("search=%25", &["bob 50%"]);
    check("search=_", &["ada", "Zoé & co~1", "bob 50%", "Alice", "amy"]);
    check("search=a_y", &[]);
    check("search=ada&group=sales", &[]);
    let numbers = |query: &str| api.done(&format!("GET /admin/users/count{query}"), &Value::Null);
    assert_eq!(numbers(""), json!({ "users": 5, "disabled": 0 }));
    assert_eq!(numbers("?group=research&search=ali"), json!({ "users": 1, "disabled": 0 }));
}

#[test]
fn a_user_shows_the_last_use_of_any_token_and_the_names_of_stored_fields() {
    let world = World::new();
    let api = Api::admin(&world);
    let (first, _) = user(&api, "never", None);
    let (second, token) = user(&api, "often", None);
    api.done(
        &format!("PUT /admin/users/{second}/creds"),
        &json!({ "providers": { "t": { "apiKey": KEY } } }),
    );
    api.with(&token).done("POST /auth/tokens", &json!({ "kind": "proxy" }));
    api.with(&token).signed_in("/auth/session").done("GET /auth/me", &Value::Null);
    // Times of use are written every 30 seconds.
    world.home.database(
        "UPDATE tokens SET last_used_at = 1800000000000
         WHERE kind = 'session' AND user_id = (SELECT id FROM users WHERE name = 'often')",
    );
    let shown = api.done(&format!("GET /admin/users/{second}"), &Value::Null);
    assert_eq!(shown["lastUsedAt"], "2027-01-15T08:00:00Z");
    assert_eq!((&shown["validTokens"], &shown["stored"]), (&json!(2), &json!(["providers.t.apiKey"])));
    assert!(!shown.to_string().contains("sk-"), "{shown}");
    let never = api.done(&format!("GET /admin/users/{first}"), &Value::Null);
    assert_eq!((never.get("lastUsedAt"), never.get("stored")), (None, None));
    // Those that were never used follow by id.
    let listed = names(&api, "order=last_used");
    assert_eq!((listed.len(), listed[0].as_str()), (3, "often"), "{listed:?}");
}

#[test]
fn an_unknown_filter_is_refused() {
    let world = World::new();
    let api = Api::admin(&world);
    let check = |query: &str, message: &str| {
        api.fails(&format!("GET /admin/users{query}"), &Value::Null, (400, "invalid_request", message));
    };
    check("?order=age", "?order=: it is written `created`, `name` or `last_used`");
    check("?serach=x", "unknown query parameter; did you mean `search`?");
    check("?search=", "?search=: its value is empty, or longer than 256 bytes");
    check(
        "?group=No!",
        "?group=: a group's name has 1 to 64 letters a-z, digits and `-`, and does not begin with `-`",
    );
    let none = "?after=: no such user exists: start again without it";
    for after in ["x", "usr_0000000000000000", "usr_0000000000000000~x"] {
        check(&format!("?after={after}"), none);
    }
    check("?order=last_used&after=usr_0000000000000000~x", none);
    let gone = api.get("GET /admin/users?order=name&after=usr_0000000000000000~a");
    assert_eq!(gone.body.as_object().unwrap().len(), 1, "the place of a user who is gone is still one");
    api.fails(
        "GET /admin/groups?after=No!",
        &Value::Null,
        (400, "invalid_request", "?after=: it is the name of a group"),
    );
}

#[test]
fn groups_have_users_or_credentials() {
    let world = World::new();
    let api = Api::admin(&world);
    assert_eq!(api.done("GET /admin/groups", &Value::Null), json!({}));
    user(&api, "a", Some("research"));
    user(&api, "b", Some("research"));
    api.done("PUT /admin/credentials/groups/empty", &json!({ "providers": { "t": { "apiKey": KEY } } }));
    let empty = json!({ "users": 0, "stored": ["providers.t.apiKey"] });
    let all = json!({ "empty": empty, "research": { "users": 2 } });
    assert_eq!(api.done("GET /admin/groups", &Value::Null), all);
    let page = api.get("GET /admin/groups?limit=1");
    assert_eq!(page.link.as_deref(), Some("</admin/groups?limit=1&after=empty>; rel=\"next\""));
    let page = api.get("GET /admin/groups?limit=1&after=empty");
    assert_eq!((page.body, page.link), (json!({ "research": { "users": 2 } }), None));
}

#[test]
fn credentials_that_wait_are_listed_by_owner() {
    let world = World::new();
    let api = Api::admin(&world);
    let key = json!({ "providers": { "t": { "apiKey": KEY } } });
    for path in ["everybody", "groups/research"] {
        api.done(&format!("PUT /admin/credentials/{path}"), &key);
    }
    let list = |query: &str| api.get(&format!("GET /admin/credentials/unconfirmed{query}"));
    assert_eq!(list("").body, json!({}), "nothing has moved");
    world.home.write("t", &provider("http://127.0.0.1:1", ""));
    assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
    let moved = json!({ "providers.t.apiKey": { "from": [format!("http://{}", world.host)], "to": ["http://127.0.0.1:1"] } });
    let all = list("").body;
    let owners: Vec<&String> = all.as_object().unwrap().keys().collect();
    assert_eq!(owners[..2], ["everybody", "group:research"]);
    assert_eq!(all["everybody"], json!({ "unconfirmed": moved }));
    assert_eq!(all[owners[2]], json!({ "name": "ada", "unconfirmed": moved }));
    let page = list("?limit=2");
    assert_eq!(
        page.link.as_deref(),
        Some("</admin/credentials/unconfirmed?limit=2&after=group:research>; rel=\"next\"")
    );
    assert_eq!(
        list("?limit=2&after=group:research").body.as_object().unwrap().keys().collect::<Vec<_>>(),
        [owners[2]]
    );
    api.confirms("/admin/credentials/everybody");
    assert_eq!(list("").body.as_object().unwrap().len(), 2);
    let message = "?after=: no such owner exists: start again without it";
    api.fails("GET /admin/credentials/unconfirmed?after=x", &Value::Null, (400, "invalid_request", message));
}

#[test]
fn the_calling_admin_token_is_marked() {
    let world = World::new();
    let api = Api::admin(&world);
    let other = api.done("POST /admin/tokens", &json!({ "label": "on call" }));
    let current = |api: &Api| {
        let tokens = api.done("GET /admin/tokens", &Value::Null);
        let mut marked = tokens.as_object().unwrap().iter().filter(|(_, one)| one["current"] == true);
        let (id, _) = marked.next().unwrap();
        assert!(marked.next().is_none());
        id.clone()
    };
    assert_ne!(current(&api), other["id"]);
    assert_eq!(current(&api.with(other["token"].as_str().unwrap())), other["id"]);
}

#[test]
fn operators_see_the_endpoints_of_all_providers() {
    let world = World::new();
    let (own, admin) = (Api::admin(&world).with(&world.token), Api::admin(&world));
    let all = admin.done("GET /admin/endpoints", &Value::Null);
    assert_eq!(all, own.done("GET /auth/providers", &Value::Null), "a token without scopes reaches all");
}
