//! The probe of a provider, "try it" on pages: the request that its file names goes the way of the caller's own requests.

use serde_json::{Value, json};

use crate::harness::{Api, KEY, Message, Next, Wire, World, eventually, over_socket, provider};

const LINE: &str = "POST /auth/providers/t/probe";
const GET: &str = "[probe]\nendpoint = \"get\"\n";
const CHAT: &str = r#"api = "chat-completions"
[probe]
endpoint = "post"
body = { model = "m-1", messages = [{ role = "user", content = "hi" }] }
"#;

fn own(world: &World) -> Api {
    Api::new(world.gateway.address, &world.token)
}

/// A probe that the upstream answers with these bytes. Returns the request that it got, and the result.
fn probe(world: &mut World, api: &Api, answer: impl AsRef<[u8]>) -> (Message, Value) {
    let mut client = api.begin(LINE, b"");
    let (request, mut wire) = world.upstream.request();
    wire.send(answer);
    (request, result(&mut client))
}

fn result(client: &mut Wire) -> Value {
    let reply = Api::finish(client, LINE);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// The access record of a request that was sent upstream.
fn record(world: &World) -> Value {
    loop {
        let line = world.gateway.wait_for_log("request");
        if line["provider"].is_string() {
            return line;
        }
    }
}

/// The fields that do not depend on time.
fn seen(result: &Value) -> Value {
    let mut seen = result.clone();
    let fields = seen.as_object_mut().unwrap();
    let times = ["ms", "firstByteMs"].map(|name| fields.remove(name).unwrap().as_u64().unwrap());
    assert!(times[0] >= times[1], "{result}");
    assert_eq!(fields.remove("requestId").unwrap().as_str().unwrap().len(), 16);
    seen
}

#[test]
fn a_probe_is_a_request_of_the_caller() {
    let mut world = World::with(GET, &[]);
    let own = own(&world);
    // Nothing of the call goes upstream.
    let manage = own.done("POST /auth/tokens", &json!({ "kind": "manage" }));
    let own = own.with(manage["token"].as_str().unwrap());
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nfour";
    let (request, result) = probe(&mut world, &own, answer);
    assert_eq!(request.head.start, "GET /get HTTP/1.1");
    let headers = ["host", "authorization", "user-agent", "accept"];
    let agent = format!("tollgate/{}", env!("CARGO_PKG_VERSION"));
    let expected = [world.host.clone(), format!("Bearer {KEY}"), agent, "*/*".to_owned()];
    assert_eq!(headers.map(|name| request.head.get(name).unwrap_or_default().to_owned()), expected);
    assert_eq!(request.head.lines.len(), headers.len(), "{request:?}");
    let expected = json!({
        "endpoint": "get", "method": "GET", "path": "/t/get", "status": 200, "contentType": "text/plain", "body": "four",
        "truncated": false, "end": "complete",
    });
    assert_eq!(seen(&result), expected);
    // It has an access record and usage of its own.
    let line = record(&world);
    let me = own.done("GET /auth/me", &Value::Null);
    assert_eq!((&line["user"], &line["token"]), (&me["id"], &me["token"]["id"]));
    assert_eq!(
        (&line["request_id"], &line["path"], &line["outcome"]),
        (&result["requestId"], &json!("/t/get"), &json!("success"))
    );
    let recent = || own.done("GET /auth/usage/recent", &Value::Null)["exchanges"].clone();
    eventually("the probe is in the usage", || recent()[0]["requestId"] == result["requestId"]);
    assert_eq!(recent().as_array().unwrap().len(), 1, "the call itself is no exchange");
}

#[test]
fn a_probe_with_a_body_is_metered() {
    let mut world = World::with(CHAT, &[]);
    let own = own(&world);
    let body = r#"{"model":"m-1-x","usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (request, result) = probe(&mut world, &own, answer);
    assert_eq!(
        (&*request.head.start, request.head.get("content-type")),
        ("POST /post HTTP/1.1", Some("application/json"))
    );
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(sent, json!({ "model": "m-1", "messages": [{ "role": "user", "content": "hi" }] }));
    assert_eq!(result["body"], body);
    let model = || own.done("GET /auth/usage?by=model", &Value::Null)["rows"][0].clone();
    eventually("it is counted", || model()["model"] == "m-1-x");
    assert_eq!(
        (&model()["sums"]["counters"]["input"], &model()["sums"]["counters"]["output"]),
        (&json!(3), &json!(5))
    );
}

#[test]
fn an_answer_is_shown_as_it_is() {
    let mut world = World::with(GET, &[]);
    let own = own(&world);
    let mut check = |answer: Vec<u8>, expected: Value| {
        let (_, result) = probe(&mut world, &own, answer);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(result.get(name).unwrap_or(&Value::Null), value, "{name}");
        }
    };
    let with = |status: &str, length: usize, body: &[u8]| {
        [format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n").as_bytes(), body].concat()
    };
    check(
        with("401 Unauthorized", 5, b"wrong"),
        json!({ "status": 401, "body": "wrong", "contentType": null, "fault": null, "end": "complete" }),
    );
    check(with("204 No Content", 0, b""), json!({ "status": 204, "body": "", "truncated": false }));
    check(with("200 OK", 4, b"a\xffb<"), json!({ "body": "a\u{fffd}b<" }));
    let exact = vec![b'x'; 2048];
    check(with("200 OK", 2048, &exact), json!({ "body": "x".repeat(2048), "truncated": false }));
    let large = vec![b'x'; 600_000];
    check(
        with("200 OK", large.len(), &large),
        json!({ "body": "x".repeat(2048), "truncated": true, "end": "complete" }),
    );
    let endless = vec![b'x'; 1 << 20];
    check(
        with("200 OK", 2 << 20, &endless),
        json!({ "status": 200, "body": "x".repeat(2048), "truncated": true, "end": "limit" }),
    );
}

#[test]
fn an_answer_that_breaks_off_is_broken() {
    let mut world = World::with(GET, &[]);
    let mut client = own(&world).begin(LINE, b"");
    let (_, mut wire) = world.upstream.request();
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour");
    drop(wire);
    let result = result(&mut client);
    let expected = json!({ "status": 200, "body": "four", "truncated": true, "end": "broken" });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&result[name], value, "{result}");
    }
}

/// Both ends at the deadline: before the head, and within the body.
#[test]
fn a_slow_answer_is_given_up_at_the_deadline() {
    let mut world = World::with(GET, &["--probe-timeout", "300ms"]);
    let own = own(&world);
    let mut client = own.begin(LINE, b"");
    let (_, mut wire) = world.upstream.request();
    let late = result(&mut client);
    let message = "The upstream did not answer within 300ms: the probe was given up";
    assert_eq!(late["fault"], json!({ "code": "upstream_timeout", "message": message }));
    assert_eq!((&late["status"], &late["end"]), (&json!(504), &json!("complete")));
    wire.ends();
    let mut client = own.begin(LINE, b"");
    let (_, mut wire) = world.upstream.request();
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour");
    let late = result(&mut client);
    assert_eq!(
        (&late["status"], &late["end"], &late["body"]),
        (&json!(200), &json!("deadline"), &json!("four"))
    );
    assert_eq!((&late["truncated"], late.get("fault")), (&json!(true), None));
    wire.ends();
}

/// What refuses a request of the caller refuses the probe, with the same words.
#[test]
fn a_probe_takes_all_checks() {
    let mut world = World::with(GET, &["--max-requests-per-user", "1"]);
    let (own, admin) = (own(&world), Api::admin(&world));
    let fault = |api: &Api| {
        let result = api.done(LINE, &Value::Null);
        let fault = &result["fault"];
        let body: Value = serde_json::from_str(result["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["error"]["message"], fault["message"], "{result}");
        (result["status"].as_u64().unwrap(), fault["code"].as_str().unwrap().to_owned())
    };
    // A second request at once.
    let mut client = world.client();
    client.send(format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\r\n", world.token));
    let (_, mut wire) = world.upstream.request();
    assert_eq!(fault(&own), (429, "user_concurrency".into()));
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().unwrap().head.status(), 200);
    // No key.
    own.done("PUT /auth/creds", &json!({ "providers": null }));
    assert_eq!(fault(&own), (401, "credential_missing".into()));
    // A key for another origin: nothing is sent there.
    own.done("PUT /auth/creds", &json!({ "providers": { "t": { "apiKey": KEY } } }));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let moved = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    world.home.write("t", &provider(&moved, GET));
    assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
    let (status, code) = fault(&own);
    assert_eq!((status, &*code), (403, "credential_moved"));
    // Nobody listens there.
    own.confirms("/auth/creds");
    assert_eq!(fault(&own), (502, "upstream_refused".into()));
    let id = own.done("GET /auth/me", &Value::Null)["id"].as_str().unwrap().to_owned();
    admin.done(&format!("PATCH /admin/users/{id}"), &json!({ "disabled": true }));
    eventually("the user is disabled", || own.get(LINE).status == 403);
    world.upstream.saw_nothing();
}

#[test]
fn a_probe_that_nobody_may_send_is_refused() {
    let mut world = World::with(GET, &[]);
    let (own, admin) = (own(&world), Api::admin(&world));
    let other = "title = \"U\"\nbase_url = \"https://u.example\"\npath_prefix = \"/u\"\nendpoint.get = { method = \"GET\", path = \"/get\" }\n";
    world.home.write("u", other);
    world.home.write(
        "v",
        &format!("{other}vars = {{ a = {{ env = \"NOT_SET\" }} }}\n").replace("\"/u\"", "\"/v\""),
    );
    over_socket(&world.home.data(), "POST /admin/reload");
    let check = |api: &Api, name: &str, expected: (u16, &str, &str)| {
        api.fails(&format!("POST /auth/providers/{name}/probe"), &Value::Null, expected);
    };
    check(&own, "none", (404, "not_found", "Provider not found"));
    check(&own, "u", (404, "not_found", "The file of `u` names no request in `probe`"));
    let out = "Provider v is out of service: var a of providers.d/v.toml has no usable value";
    let reply = own.get("POST /auth/providers/v/probe");
    assert_eq!((reply.status, &reply.body["error"]["code"]), (503, &json!("config_rejected")), "{out}");
    let with = |scopes: &[&str]| {
        let made = own.done("POST /auth/tokens", &json!({ "kind": "manage", "scopes": scopes }));
        own.with(made["token"].as_str().unwrap())
    };
    check(&with(&["u"]), "t", (403, "token_scope", "This token does not reach `t`"));
    check(&with(&["t/post"]), "t", (403, "token_scope", "This token does not reach `t/get`"));
    let rotated = with(&["t"]);
    rotated.done("POST /auth/rotate", &Value::Null);
    let replaced = "This token was replaced: use the one that replaced it";
    check(&rotated, "t", (409, "token_replaced", replaced));
    assert_eq!(admin.get(LINE).status, 401);
    world.upstream.saw_nothing();
}

/// A caller who leaves takes the probe along.
#[test]
fn a_caller_who_leaves_cancels_the_probe() {
    let mut world = World::with(GET, &[]);
    let client = own(&world).begin(LINE, b"");
    let (_, mut wire) = world.upstream.request();
    drop(client);
    wire.ends();
    let line = record(&world);
    assert_eq!((&line["end"], &line["path"]), (&json!("client_left"), &json!("/t/get")));
}

/// A rule of the file replaces the answer, as it does for clients.
#[test]
fn a_rule_that_replaces_the_answer_is_a_fault() {
    let rule = "[[response]]\nwhen = { status = 403 }\nreply = { status = 502, message = \"{host} refused this\" }\n";
    let mut world = World::with(&format!("{GET}{rule}"), &[]);
    let own = own(&world);
    let (_, result) = probe(&mut world, &own, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!((&result["status"], &result["fault"]["code"]), (&json!(502), &json!("response_rule")));
    assert!(result["body"].as_str().unwrap().contains("127.0.0.1 refused this"), "{result}");
}

#[test]
fn a_provider_that_needs_no_credential_is_probed_too() {
    let mut world = World::new();
    let free = format!(
        "title = \"Free\"\nbase_url = \"http://{}\"\npath_prefix = \"/f\"\nendpoint.get = {{ method = \"GET\", path = \"/free\" }}\n{GET}",
        world.host
    );
    world.home.write("f", &free);
    assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
    let line = "POST /auth/providers/f/probe";
    let mut client = own(&world).begin(line, b"");
    let Next::Request(mut wire) = world.upstream.next_or(&client) else { panic!("{:?}", client.answer()) };
    let request = wire.request().unwrap();
    assert_eq!((&*request.head.start, request.head.get("authorization")), ("GET /free HTTP/1.1", None));
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(Api::finish(&mut client, line).body["status"], 200);
}

/// The form of a page sends it too, and shows the answer as text.
#[test]
fn a_page_sends_a_probe() {
    const SAME: &str = "Origin: http://gateway.test\r\n";
    let mut world = World::with(GET, &[]);
    let own = own(&world);
    let session = own.get("POST /auth/session");
    let cookie = session.cookies[0].split(';').next().unwrap();
    let address = world.gateway.address;
    let me = own.done("GET /auth/me", &Value::Null);
    let id = me["id"].as_str().unwrap();
    let begin = |path: &str, lines: &str| {
        let mut client = Wire::connect(address);
        client.send(format!(
            "POST /config/connect/{path}?as={id} HTTP/1.1\r\nHost: gateway.test\r\nCookie: {cookie}\r\n{lines}Content-Length: 0\r\n\r\n"
        ));
        client
    };
    let shown = |client: &mut Wire| {
        let page = client.answer().unwrap();
        (page.head.status(), String::from_utf8(page.body).unwrap())
    };
    let mut client = begin("t/probe", SAME);
    let (request, mut wire) = world.upstream.request();
    assert_eq!(request.head.start, "GET /get HTTP/1.1");
    assert_eq!((request.head.get("cookie"), request.head.get("origin")), (None, None), "{request:?}");
    wire.send("HTTP/1.1 202 Accepted\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\n<b>four</b>");
    let (status, page) = shown(&mut client);
    assert_eq!(status, 200);
    assert!(
        page.contains("<strong>202</strong>") && page.contains("four") && !page.contains("<b>"),
        "{page}"
    );
    let line = record(&world);
    assert_eq!((&line["user"], &line["path"]), (&me["id"], &json!("/t/get")));
    // Nothing else goes upstream: not for another site, nor to a provider that there is not.
    let (status, page) = shown(&mut begin("t/probe", "Origin: http://other.test\r\n"));
    assert!(status == 403 && page.contains("cross_site"), "{status} {page}");
    assert_eq!(shown(&mut begin("absent/probe", SAME)).0, 404);
}
