//! Entries of `[[auth]]` over real sockets: a credential in the query, an optional one, one for some endpoints; and several
//! origins of one vendor.

use crate::harness::{Home, Message, Upstream, Wire, World};

const KEY: &str = "acme-key/with+signs&more";
const ENCODED: &str = "acme-key%2Fwith%2Bsigns%26more";

/// A provider `t` with these keys, whose second origin is the other upstream, and a user. None of the fields is stored.
fn world(other: &Upstream, keys: &str) -> World {
    let upstream = Upstream::plain();
    let host = upstream.address().to_string();
    let text = format!(
        r#"
title = "Test"
base_url = "http://{host}"
path_prefix = "/t"
response_headers = {{ rewrite_urls = ["location"] }}
credentials.field = [{{ name = "key" }}, {{ name = "other" }}]
origins = {{ queue = "http://{}/base" }}
{keys}
[endpoint.get]
method = "GET"
path = "/get"
[endpoint.post]
method = "POST"
path = "/post"
[endpoint.job]
method = "GET"
path = "/queue/{{app...}}/jobs/{{id}}"
origin = "queue"
upstream_path = "/{{app}}/jobs/{{id}}"
"#,
        other.address()
    );
    let home = Home::new(&[("t", &text)]);
    let token = home.user("ada");
    let gateway = home.serve_with(&["--workers", "1"], &[]);
    World { upstream, gateway, home, token, host, cors: "Content-Type, Authorization, x-api-key".into() }
}

/// Sends a request to one of the upstreams. Returns the client's end, the request as it has it, and its end.
fn sent(client: Wire, token: &str, upstream: &mut Upstream, line: &str) -> (Wire, Message, Wire) {
    let mut client = client;
    client.send(format!("{line} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let (request, wire) = upstream.request();
    (client, request, wire)
}

fn answered(mut client: Wire, mut upstream: Wire, headers: &str) -> Message {
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{headers}\r\nok"));
    let answer = client.answer().unwrap();
    assert_eq!(answer.body, b"ok");
    answer
}

#[test]
fn a_credential_in_the_query_is_shown_to_nobody_else() {
    let other = Upstream::plain();
    let mut world = world(&other, "auth = [{ field = \"key\", query = { key = \"{secret}\" } }]");
    world.home.credential("ada", "providers.t.key", KEY);
    let line = "GET /t/get?a=1&key=mine&k%65y=mine";
    let (client, request, upstream) = sent(world.client(), &world.token, &mut world.upstream, line);
    assert_eq!(request.head.start, format!("GET /get?a=1&key={ENCODED} HTTP/1.1"));
    let headers = format!(
        "Location: http://{}/get?key={ENCODED}&b=2\r\nX-Url: https://cdn.example/?key={ENCODED}#x\r\nX-Echo: {KEY}\r\nX-Other: 1\r\n",
        world.host
    );
    let answer = answered(client, upstream, &headers);
    assert_eq!(answer.head.get("location"), Some("/t/get?b=2"));
    assert_eq!(answer.head.get("x-url"), Some("https://cdn.example/#x"));
    assert_eq!(answer.head.get("x-echo"), None);
    assert_eq!(answer.head.get("x-other"), Some("1"));
    // A connection that breaks is logged, and its request too.
    let (mut client, _, upstream) = sent(world.client(), &world.token, &mut world.upstream, "GET /t/get");
    drop(upstream);
    assert_eq!(client.answer().unwrap().head.status(), 502);
    let explained = world.home.run(&["explain", "GET", "/t/get", "--as", "ada"], "");
    assert!(explained.out.contains("/get?key=***"), "{}", explained.out);
    let shown = world.gateway.log().join("\n") + &explained.out;
    assert!(!shown.contains(KEY) && !shown.contains(ENCODED), "{shown}");
}

/// A secret of a parameter that is made of several.
#[test]
fn no_part_of_a_credential_in_the_query_is_repeated() {
    let other = Upstream::plain();
    let auth = "auth = [{ query = { key = \"{other}:{key}\" } }]";
    let mut world = world(&other, auth);
    world.home.credential("ada", "providers.t.key", KEY);
    world.home.credential("ada", "providers.t.other", "some-user-name");
    let (client, _, upstream) = sent(world.client(), &world.token, &mut world.upstream, "GET /t/get");
    let headers = format!("Location: /x?k={KEY}\r\nX-User: /y?u=some-user-name\r\nX-Other: 1\r\n");
    let answer = answered(client, upstream, &headers);
    assert_eq!([answer.head.get("location"), answer.head.get("x-user")], [None, None]);
    assert_eq!(answer.head.get("x-other"), Some("1"));
}

#[test]
fn a_request_goes_without_a_credential_until_one_is_stored() {
    let other = Upstream::plain();
    let auth = "auth = [{ field = \"key\", set = { x-key = \"{secret}\" } }, { endpoints = [\"get\", \"job\"], none = true }]";
    let mut world = world(&other, auth);
    let (client, request, upstream) = sent(world.client(), &world.token, &mut world.upstream, "GET /t/get");
    assert_eq!(request.head.get("x-key"), None);
    answered(client, upstream, "");
    let mut client = world.client();
    client.send(format!(
        "POST /t/post HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
        world.token
    ));
    assert_eq!(client.answer().unwrap().head.status(), 401);
    world.home.credential("ada", "providers.t.other", "unrelated-key");
    let mut client = world.client();
    client.send(format!(
        "GET /t/get HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {}\r\n\r\n",
        world.token
    ));
    assert_eq!(client.answer().unwrap().head.status(), 401, "a secret of the section is stored");
    world.home.credential("ada", "providers.t.key", "stored-key");
    let (client, request, upstream) = sent(world.client(), &world.token, &mut world.upstream, "GET /t/get");
    assert_eq!(request.head.get("x-key"), Some("stored-key"));
    answered(client, upstream, "");
}

#[test]
fn each_endpoint_calls_its_own_origin() {
    let mut other = Upstream::plain();
    let mut world = world(&other, "auth = [{ field = \"key\", set = { x-key = \"{secret}\" } }]");
    world.home.credential("ada", "providers.t.key", "stored-key");
    let queue = other.address().to_string();
    let (client, request, upstream) = sent(world.client(), &world.token, &mut world.upstream, "GET /t/get");
    assert_eq!(request.head.get("host"), Some(&*world.host));
    let answer = answered(client, upstream, &format!("Location: http://{queue}/base/a/b/jobs/7?x=1\r\n"));
    assert_eq!(answer.head.get("location"), Some("/t/queue/a/b/jobs/7?x=1"));
    let line = "GET /t/queue/a/b/jobs/7?x=1";
    let (client, request, upstream) = sent(world.client(), &world.token, &mut other, line);
    assert_eq!(request.head.start, "GET /base/a/b/jobs/7?x=1 HTTP/1.1");
    assert_eq!(request.head.get("host"), Some(&*queue));
    assert_eq!(request.head.get("x-key"), Some("stored-key"));
    let answer = answered(client, upstream, "Location: /base/a/jobs/8\r\n");
    assert_eq!(answer.head.get("location"), Some("/t/queue/a/jobs/8"));
}
