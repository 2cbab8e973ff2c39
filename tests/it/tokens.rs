//! Tokens that are made from a stored key, against a token endpoint that the test plays: the time of a call, its single flight,
//! each of its failures, and what ends a token.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use rustix::process::Signal;
use serde_json::{Value, json};
use tollgate::clock::now_ms;

use crate::harness::{
    Answer, Api, DiskFault, Exchange, FaultyDisk, Home, LIMIT, Message, Next, Upstream, Wire, World,
};

const PLACE: &str = "providers.t.apiKey";
const KEY: &str = "key-1";

/// A provider whose requests carry a token that is made from a key.
fn file(base: &str, auth: &str, scope: &str) -> String {
    format!(
        r#"
title = "Test"
base_url = "{base}"
path_prefix = "/t"
[credentials]
section = "providers.t"
[[credentials.field]]
name = "apiKey"
[token.session]
request = {{ url = "{auth}/token/x", form = {{ grant_type = "key", key = "{{apiKey}}", scope = "{scope}" }} }}
reply = {{ token = "/access_token", expires_in = "/expires_in", fields = {{ project = "/project" }} }}
[[auth]]
token = "session"
set = {{ authorization = "Bearer {{secret}}", x-project = "{{session.project}}" }}
[endpoint.get]
method = "GET"
path = "/get"
[endpoint.post]
method = "POST"
path = "/post"
"#
    )
}

struct Play {
    world: World,
    auth: Upstream,
}

impl Play {
    fn new() -> Self {
        Self::with(&[], &[])
    }

    fn with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let (upstream, auth) = (Upstream::plain(), Upstream::plain());
        let host = upstream.address().to_string();
        let text = file(&format!("http://{host}"), &format!("http://{}", auth.address()), "a b");
        let home = Home::new(&[("t", &text)]);
        let token = home.user("ada");
        home.credential("ada", PLACE, KEY);
        let gateway = home.serve_with(args, env);
        let cors = "Content-Type, Authorization, x-api-key".into();
        Self { world: World { upstream, gateway, home, token, host, cors }, auth }
    }

    /// An exchange with this token on the upstream's side.
    fn with_token(&self, exchange: Exchange, token: &str) -> Exchange {
        let exchange = exchange.removed("Authorization", &format!("Bearer {}", self.world.token));
        exchange.added("Authorization", &format!("Bearer {token}")).added("x-project", &format!("p-{token}"))
    }

    fn get(&self, token: &str) -> Exchange {
        self.with_token(Exchange::get(), token)
    }

    /// A client that has sent a request.
    fn client(&self) -> Wire {
        self.sends(&self.get(""))
    }

    fn sends(&self, exchange: &Exchange) -> Wire {
        let mut client = self.world.client();
        client.send(exchange.bytes());
        client
    }

    /// The next call to the token endpoint, which sends this key.
    fn call(&mut self, key: &str) -> Wire {
        let (request, wire) = self.auth.request();
        check_call(&request, &self.auth.address().to_string(), key);
        wire
    }

    /// The rest of an exchange after the client has sent its request.
    fn relayed(&mut self, client: &mut Wire, token: &str) {
        let exchange = self.get(token);
        self.world.serve(&exchange);
        self.world.receive(client, &exchange);
    }

    /// A request that makes this token.
    fn makes(&mut self, key: &str, token: &str, seconds: u64) {
        let mut client = self.client();
        self.call(key).send(granted(token, seconds));
        self.relayed(&mut client, token);
    }

    /// A request that uses this token, without a call.
    fn uses(&mut self, token: &str) {
        let mut client = self.client();
        self.relayed(&mut client, token);
        self.auth.saw_nothing();
    }

    /// A request that gets this fault, without a call.
    fn fails(&mut self, status: u16, code: &str) -> String {
        let mut client = self.client();
        let message = fault(&mut client, status, code);
        self.auth.saw_nothing();
        message
    }

    /// Repeats a request that uses one token until the token endpoint is called, which grants the next.
    fn until_called(&mut self, old: &str, answer: &[u8]) -> Wire {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < LIMIT, "the token endpoint is not called");
            let mut client = self.client();
            if let Some(mut wire) = self.auth.next_unless(&self.world.upstream) {
                check_call(&wire.request().unwrap(), &self.auth.address().to_string(), KEY);
                wire.send(answer);
                return client;
            }
            self.relayed(&mut client, old);
        }
    }

    /// Repeats a request until it makes a token from this key. Before that, it uses the old token.
    fn makes_after(&mut self, old: &str, key: &str, token: &str) {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < LIMIT, "no token is made");
            let mut client = self.client();
            match self.auth.next_unless(&self.world.upstream) {
                Some(mut wire) => {
                    check_call(&wire.request().unwrap(), &self.auth.address().to_string(), key);
                    wire.send(granted(token, 3600));
                    return self.relayed(&mut client, token);
                }
                None => self.relayed(&mut client, old),
            }
        }
    }

    /// The number of stored tokens.
    fn stored(&self) -> String {
        self.world.home.database("SELECT count(*) FROM credentials WHERE field = 'token:t:session'")
    }

    fn restart(&mut self) {
        self.world.gateway.signal(Signal::TERM);
        assert!(self.world.gateway.exit().success());
        self.world.upstream.drop_idle();
        self.world.gateway = self.world.home.serve(&[]);
    }
}

fn check_call(request: &Message, host: &str, key: &str) {
    assert_eq!(request.head.start, "POST /token/x HTTP/1.1");
    let mut lines = request.head.lines.clone();
    lines.sort();
    let body = format!("grant_type=key&key={key}&scope=a+b");
    let length = body.len().to_string();
    let expected = [
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("content-length", &*length),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", host),
    ];
    assert_eq!(lines, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(request.body, body.as_bytes());
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    Answer::new(status).header("Content-Type", "application/json").body(body).bytes()
}

fn granted(token: &str, seconds: u64) -> Vec<u8> {
    let body = json!({ "access_token": token, "expires_in": seconds, "project": format!("p-{token}") });
    answer("200 OK", &body.to_string())
}

/// The message of a fault with this status and code.
fn fault(client: &mut Wire, status: u16, code: &str) -> String {
    let answer = client.answer().unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.head.status(), body["error"]["code"].as_str()), (status, Some(code)), "{body}");
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_request_makes_a_token_that_later_ones_use() {
    let mut play = Play::new();
    play.makes(KEY, "canary-t1", 3600);
    for _ in 0..5 {
        play.uses("canary-t1");
    }
    // It is stored, encrypted: another process uses it.
    assert_eq!(play.stored(), "1");
    play.restart();
    play.uses("canary-t1");
    // A new master key encrypts it too.
    play.world.home.done(&["rekey"], "");
    play.restart();
    play.uses("canary-t1");
    for bytes in play.world.home.contents().values() {
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
    }
    assert!(!play.world.gateway.log().iter().any(|line| line.contains("canary")));
}

#[test]
fn no_list_of_credentials_has_it() {
    let mut play = Play::new();
    play.makes(KEY, "t1", 3600);
    let home = &play.world.home;
    for args in [&["credential", "list", "ada"][..], &["credential", "fields", "ada"], &["user", "list"]] {
        let said = home.done(args, "");
        assert!(!said.contains("token:") && !said.contains("session"), "{said}");
    }
    let admin = Api::admin(&play.world);
    let ada = admin.with(&play.world.token);
    let all = [
        ada.done("GET /auth/creds", &Value::Null),
        ada.done("GET /auth/fields", &Value::Null),
        ada.done("GET /auth/creds/confirm", &Value::Null),
        admin.done("GET /admin/users", &Value::Null),
        admin.done("GET /admin/overview", &Value::Null),
        admin.done("GET /admin/credentials/unconfirmed", &Value::Null),
    ];
    for said in all {
        assert!(!said.to_string().contains("token:t"), "{said}");
    }
    // Nobody can store one.
    let reply = ada.call("PUT /auth/creds", &json!({ "providers": { "t": { "token:t:session": "x" } } }));
    assert_eq!(reply.status, 400, "{reply:?}");
}

#[test]
fn twenty_first_requests_at_once_make_one_token_across_workers() {
    let mut play = Play::with(&["--workers", "4"], &[]);
    let mut clients: Vec<Wire> = (0..20).map(|_| play.client()).collect();
    let mut call = play.call(KEY);
    play.world.upstream.saw_nothing();
    call.send(granted("t1", 3600));
    let exchange = play.get("t1");
    for _ in 0..20 {
        play.world.serve(&exchange);
    }
    for client in &mut clients {
        play.world.receive(client, &exchange);
    }
    play.auth.saw_nothing();
    assert_eq!(play.stored(), "1");
}

/// Only the holder of the lease calls the token endpoint. Another process that holds it makes the token.
#[test]
fn a_token_that_another_process_makes_is_waited_for() {
    let mut play = Play::new();
    play.world.home.database(
        "INSERT INTO leases (name, holder, until)
         SELECT 'refresh ' || owner || ' providers.t token:t:session', 'other', 4102444800000 FROM credentials",
    );
    let mut client = play.client();
    assert!(client.is_quiet_for(Duration::from_millis(600)));
    play.auth.saw_nothing();
    play.world.home.database("DELETE FROM leases");
    play.call(KEY).send(granted("t1", 3600));
    play.relayed(&mut client, "t1");
}

#[test]
fn the_next_token_is_made_before_one_expires() {
    let mut play = Play::new();
    play.makes(KEY, "t1", 2);
    let mut client = play.until_called("t1", &granted("t2", 3600));
    play.relayed(&mut client, "t2");
    play.uses("t2");
    assert_eq!(play.stored(), "1");
}

#[test]
fn a_401_makes_one_token_and_one_retry() {
    let mut play = Play::new();
    play.makes(KEY, "t1", 3600);
    // A new token is not made again for a 401.
    let refused =
        |play: &Play| play.with_token(Exchange::post("body"), "t1").answer(Answer::new("401 Unauthorized"));
    let exchange = refused(&play);
    let mut client = play.sends(&exchange);
    play.world.serve(&exchange);
    play.world.receive(&mut client, &exchange);
    play.auth.saw_nothing();
    // An older one is. That a process made it does not outlive the process.
    play.restart();
    let exchange = refused(&play);
    let mut client = play.sends(&exchange);
    play.world.serve(&exchange);
    play.call(KEY).send(granted("t2", 3600));
    let again = play.with_token(Exchange::post("body"), "t2");
    play.world.serve(&again);
    play.world.receive(&mut client, &again);
    play.uses("t2");
}

#[test]
fn a_refused_key_has_a_fault_of_its_own_and_a_backoff() {
    let mut play = Play::new();
    let mut client = play.client();
    play.call(KEY).send(answer("401 Unauthorized", "{\"error\":\"canary\"}"));
    let front = "The token `session` for t could not be made: the token endpoint";
    let refused = format!("{front} refused the credential with status 401: store the credential again");
    assert_eq!(fault(&mut client, 401, "token_refused"), refused);
    // The endpoint is not called again for now, and the fault is the same.
    assert_eq!(play.fails(401, "token_refused"), refused);
    // Another key is tried at once.
    play.world.home.credential("ada", PLACE, "key-2");
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LIMIT, "the new key is not tried");
        let mut client = play.client();
        match play.auth.next_or(&client) {
            Next::Request(mut wire) => {
                check_call(&wire.request().unwrap(), &play.auth.address().to_string(), "key-2");
                wire.send(granted("t1", 3600));
                play.relayed(&mut client, "t1");
                break;
            }
            Next::Client => assert_eq!(fault(&mut client, 401, "token_refused"), refused),
        }
    }
    assert!(!play.world.gateway.log().iter().any(|line| line.contains("canary") || line.contains("key-")));
}

#[test]
fn a_failing_endpoint_is_no_fault_of_the_key() {
    for (given, rest) in [
        (answer("503 Service Unavailable", "canary"), " responded with status 503: try again later"),
        (answer("200 OK", "canary"), "'s reply is no JSON"),
        (answer("200 OK", "{}"), "'s reply has no token at the place that the file names"),
        (granted("t1", 0), "'s reply has a token that has expired"),
        (granted(&"t".repeat(8193), 60), "'s reply has a token or a field of more than 8 KiB"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec(), "'s reply is cut"),
        (b"canary\r\n\r\n".to_vec(), " gives none for now: try again later"),
    ] {
        let mut play = Play::new();
        let mut client = play.client();
        play.call(KEY).send(&given);
        let again =
            "try again later; if it stays so, `[token.session]` of the provider's file has to be mended";
        let rest = if rest.starts_with("'s reply") { format!("{rest}: {again}") } else { rest.to_owned() };
        let front = "The token `session` for t could not be made: the token endpoint";
        assert_eq!(fault(&mut client, 502, "token_unavailable"), format!("{front}{rest}"));
        assert!(!play.fails(502, "token_unavailable").contains("canary"));
    }
}

/// A key that changes, and a file that does, make another token. The old one ends with the key.
#[test]
fn another_key_or_definition_makes_another_token() {
    let mut play = Play::new();
    play.makes(KEY, "t1", 3600);
    play.world.home.credential("ada", PLACE, "key-2");
    assert_eq!(play.stored(), "0");
    play.makes_after("t1", "key-2", "t2");
    assert_eq!(play.stored(), "1");
    let text = file(&format!("http://{}", play.world.host), &format!("http://{}", play.auth.address()), "c");
    play.world.home.write("t", &text);
    play.world.home.done(&["reload"], "");
    let mut client = play.client();
    let (request, mut wire) = play.auth.request();
    assert_eq!(request.body, b"grant_type=key&key=key-2&scope=c");
    wire.send(granted("t3", 3600));
    play.relayed(&mut client, "t3");
    assert_eq!(play.stored(), "1");
    play.world.home.done(&["credential", "remove", "ada", PLACE], "");
    assert_eq!(play.stored(), "0");
}

/// Each value makes another token, so that a user could keep all calls busy.
#[test]
fn a_credential_has_two_calls_at_once() {
    let mut play = Play::new();
    let mut waiting = Vec::new();
    for key in [KEY, "key-2"] {
        play.world.home.credential("ada", PLACE, key);
        let client = play.client();
        waiting.push((client, play.call(key)));
    }
    play.world.home.credential("ada", PLACE, "key-3");
    play.fails(502, "token_unavailable");
    for (token, (mut client, mut call)) in ["t-1", "t-2"].into_iter().zip(waiting) {
        call.send(granted(token, 3600));
        play.relayed(&mut client, token);
    }
    play.makes("key-3", "t-3", 3600);
}

/// A key that is stored while a token is made from the one before: no token of the old key is stored.
#[test]
fn no_token_outlives_its_key() {
    let mut play = Play::new();
    let mut client = play.client();
    let mut call = play.call(KEY);
    play.world.home.credential("ada", PLACE, "key-2");
    call.send(granted("t1", 3600));
    play.relayed(&mut client, "t1");
    assert_eq!(play.stored(), "0");
    play.makes_after("t1", "key-2", "t2");
    assert_eq!(play.stored(), "1");
}

#[test]
fn a_token_endpoint_that_moves_is_confirmed_first() {
    let mut play = Play::new();
    play.makes(KEY, "t1", 3600);
    let mut stranger = Upstream::plain();
    let text = file(&format!("http://{}", play.world.host), &format!("http://{}", stranger.address()), "a b");
    play.world.home.write("t", &text);
    // The key waits for a confirmation.
    assert_eq!(play.world.home.run(&["reload"], "").code, 5);
    let message = play.fails(403, "credential_moved");
    assert!(message.contains(&format!("http://{}", stranger.address())), "{message}");
    stranger.saw_nothing();
    let moved = Api::admin(&play.world).with(&play.world.token).confirms("/auth/creds");
    assert!(moved[PLACE]["to"].to_string().contains(&stranger.address().to_string()), "{moved}");
    assert_eq!(play.stored(), "0");
    play.auth = stranger;
    play.makes(KEY, "t2", 3600);
}

/// A token that cannot be stored is used, and kept in memory. It is stored once the disk works again.
fn made_with(fault: DiskFault) {
    let disk = FaultyDisk::new();
    let env = disk.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut play = Play::with(&[], &env);
    // The caller is known before the disk fails.
    play.makes(KEY, "t1", 2);
    disk.fail(fault, "/data/tollgate.db");
    let mut client = play.until_called("t1", &granted("t2", 3600));
    play.relayed(&mut client, "t2");
    for _ in 0..5 {
        play.uses("t2");
    }
    disk.mend();
    let start = Instant::now();
    while play.world.home.database("SELECT max(updated_at) - min(updated_at) > 0 FROM credentials") != "1" {
        assert!(start.elapsed() < LIMIT, "the token is not stored");
    }
    play.uses("t2");
    play.restart();
    play.uses("t2");
}

#[test]
fn a_token_that_a_full_disk_cannot_store_is_used() {
    made_with(DiskFault::Full);
}

#[test]
fn a_token_that_a_failing_disk_cannot_store_is_used() {
    made_with(DiskFault::Write);
}

#[test]
fn a_call_that_has_begun_ends_before_a_shutdown() {
    let mut play = Play::new();
    let mut client = play.client();
    let mut call = play.call(KEY);
    play.world.gateway.signal(Signal::TERM);
    play.world.gateway.wait_for_log("stopping: `/readyz` returns 503");
    call.send(granted("t1", 3600));
    let exchange = play.get("t1");
    play.world.serve(&exchange);
    assert_eq!(client.answer().unwrap().head.status(), 200);
    assert!(play.world.gateway.exit().success());
    play.world.upstream.drop_idle();
    play.world.gateway = play.world.home.serve(&[]);
    play.uses("t1");
}

/// A JWT alone is a token that no request makes.
#[test]
fn a_jwt_is_signed_with_the_stored_key() {
    let mut upstream = Upstream::plain();
    let host = upstream.address().to_string();
    let token = r#"[token.session]
jwt = { alg = "HS256", key = "{apiKey}", ttl = "1h", claims = { iss = "me", aud = "t" } }
[[auth]]
token = "session"
set = { authorization = "Bearer {secret}" }
"#;
    let text = file(&format!("http://{host}"), "http://127.0.0.1:9", "");
    let (front, rest) = text.split_once("[token.session]").unwrap();
    let (_, rest) = rest.split_once("[endpoint.get]").unwrap();
    let home = Home::new(&[("t", &format!("{front}{token}[endpoint.get]{rest}"))]);
    let user = home.user("ada");
    home.credential("ada", PLACE, KEY);
    let gateway = home.serve(&[]);
    let mut jwts = Vec::new();
    for _ in 0..2 {
        let mut client = Wire::connect(gateway.address);
        client.send(format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {user}\r\n\r\n"));
        let (request, mut wire) = upstream.request();
        wire.send(Answer::new("200 OK").body("ok").bytes());
        assert_eq!(client.answer().unwrap().head.status(), 200);
        jwts.push(request.head.get("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned());
    }
    assert_eq!(jwts[0], jwts[1]);
    let (signed, signature) = jwts[0].rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let payload = signed.split_once('.').unwrap().1;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let (issued, now) = (claims["iat"].as_u64().unwrap(), now_ms() / 1000);
    assert!(issued <= now && now - issued < 60, "{claims}");
    assert_eq!(claims, json!({ "iss": "me", "aud": "t", "iat": issued, "exp": issued + 3600 }));
}
