//! Users of the hosted worker are imported with their tokens, which stay valid, and their credentials.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Exchange, Fault, KEY, World};

const ADA: &str = "usr_00000000000000aa";
const BOB: &str = "usr_00000000000000bb";
/// A token in the worker's format.
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";
/// The hash of a paste token.
const HASH: &str = "abababababababababababababababababababababababababababababababab";

fn dump() -> Value {
    json!([
        { "key": "users", "value": json!({
            ADA: { "name": "ada", "createdAt": 1_700_000_000_000_u64, "ip": "10.1.2.3" },
            BOB: { "name": "bob", "createdAt": "2026-01-02T03:04:05.000Z" },
        }).to_string() },
        { "key": format!("token:{TOKEN}"), "value": ADA },
        { "key": format!("token:{HASH}"), "value": BOB },
        { "key": format!("creds:{ADA}"), "value": json!({ "providers": { "t": { "apiKey": KEY } } }).to_string() },
    ])
}

#[test]
fn users_are_imported_with_tokens_and_credentials() {
    let mut world = World::new();
    let file = world.home.path("dump.json");
    fs::write(&file, dump().to_string()).unwrap();
    let name = file.to_str().unwrap();
    let before = world.home.contents();
    let said = world.home.run(&["import-worker", "--dry-run", name], "");
    assert!(
        said.code == 0 && said.err.ends_with("would import 2 users, 1 token, 0 paste tokens, 1 credential\n"),
        "{said:?}"
    );
    assert!(before == world.home.contents(), "something was changed");
    let said = world.home.run(&["import-worker", name], "");
    assert!(
        said.code == 0 && said.err.contains("imported 2 users, 1 token, 0 paste tokens, 1 credential\n"),
        "{said:?}"
    );
    assert!(said.err.contains("note: token:ababab...: a paste token, left out"), "{said:?}");
    assert!(!said.err.contains(HASH) && !said.err.contains(TOKEN), "{said:?}");
    // Unchanged, and behind a vendor's prefix; never by its hash.
    for token in [TOKEN.to_owned(), format!("sk-ant-oat-{TOKEN}")] {
        let exchange = Exchange::get().removed("Authorization", &format!("Bearer {token}"));
        let mut client = world.client();
        world.exchange_on(&mut client, &exchange.added("Authorization", &format!("Bearer {KEY}")));
    }
    let wrong = Exchange::get().removed("Authorization", &format!("Bearer {HASH}"));
    world.fault(wrong.bytes(), Fault(401, "foreign_token", "Invalid or missing auth credentials"));
    let list = world.home.done(&["user", "list"], "");
    assert!(list.contains(ADA) && list.contains("2026-01-02T03:04:05Z"), "{list}");
    // A second import changes nothing.
    let said = world.home.run(&["import-worker", name], "");
    assert!(
        said.code == 0 && said.err.contains(&format!("users/{ADA}: exists already, and stays unchanged")),
        "{said:?}"
    );
    assert!(said.err.ends_with("imported 0 users, 0 tokens, 0 paste tokens, 0 credentials\n"), "{said:?}");
    world.home.done(&["audit", "verify"], "");
}

/// Authentication knows which part of the presented text is the token. That part is searched for.
#[test]
fn a_short_token_behind_a_prefix_is_not_sent_upstream() {
    const SHORT: &str = "abcdefgh1234";
    let mut world = World::new();
    let file = world.home.path("dump.json");
    fs::write(&file, dump().to_string().replace(TOKEN, SHORT)).unwrap();
    world.home.done(&["import-worker", file.to_str().unwrap()], "");
    for (presented, again) in [
        (format!("sk-{SHORT}"), SHORT.to_owned()),
        (format!("sk-{SHORT}"), format!("sk-ant-oat-{SHORT}")),
        (SHORT.to_owned(), format!("sk-{SHORT}")),
    ] {
        let authorization = format!("Bearer {presented}");
        let get = || Exchange::get().removed("Authorization", &authorization);
        let exchange = get().removed("x-foo", &again).added("Authorization", &format!("Bearer {KEY}"));
        let exchange = exchange.at(&format!("/t/get?a=1&foo={again}&b=2"), "/get?a=1&b=2");
        let mut client = world.client();
        world.exchange_on(&mut client, &exchange);
        let in_path = get().at(&format!("/t/item/{again}"), "");
        let refusal = "The path of the request contains the token that authenticates it. \
            tollgate sends no token upstream: leave it out of the path";
        world.fault(in_path.bytes(), Fault(400, "token_in_path", refusal));
        assert_eq!(world.gateway.wait_for_log("request")["path"], "/t/get");
        assert_eq!(world.gateway.wait_for_log("request")["path"], "***");
    }
    // A wrong token is refused first, and the log does not have it either.
    let wrong = Exchange::get().removed("Authorization", "Bearer sk-wrong-token").at("/wrong-token/x", "");
    world.fault(wrong.bytes(), Fault(401, "foreign_token", "Invalid or missing auth credentials"));
    assert_eq!(world.gateway.wait_for_log("request")["path"], "/wrong-token/x");
    let wrong = Exchange::get().removed("Authorization", "Bearer sk-wrongtoken").at("/wrongtoken/x", "");
    world.fault(wrong.bytes(), Fault(401, "foreign_token", "Invalid or missing auth credentials"));
    assert_eq!(world.gateway.wait_for_log("request")["path"], "***");
    assert!(!world.gateway.log().iter().any(|line| line.contains(SHORT)));
}

#[test]
fn a_dump_with_any_error_is_refused_whole() {
    let world = World::new();
    let file = world.home.path("dump.json");
    let mut dump = dump();
    let more = json!({ "key": format!("creds:{BOB}"), "value": { "providers": { "t": { "apiKey": 5 } } } });
    dump.as_array_mut().unwrap().push(more);
    fs::write(&file, dump.to_string()).unwrap();
    let before = world.home.contents();
    let said = world.home.run(&["import-worker", file.to_str().unwrap()], "");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("nothing was imported, since the dump has 1 error:\n  creds:"), "{said:?}");
    assert!(said.err.contains(&format!("creds:{BOB}/providers/t/apiKey: ")), "{said:?}");
    assert!(before == world.home.contents(), "something was changed");
}
