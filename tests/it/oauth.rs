//! OAuth logins against a token endpoint that the test plays: the time of a refresh, its single flight, and each of
//! its failures.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{
    Compression,
    bufread::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use rustix::process::Signal;
use tollgate::clock::now_ms;

use crate::failing_disk::Lock;
use crate::harness::{
    Answer, Api, DiskFault, Exchange, Fault, FaultyDisk, Framing, Gateway, Home, LIMIT, Message, Next,
    Upstream, Wire, World, eventually, over_socket, provider_with_login,
};

const EXPIRED: Fault<'_> =
    Fault(401, "credential_expired", "The login stored for t has expired: store it again");
const EXPIRED_FOR_NOW: Fault<'_> = Fault(
    401,
    "credential_expired",
    "The login stored for t has expired, and could not be refreshed for now: try again, or store it again",
);
const STORE_FAILED: Fault<'_> = Fault(
    503,
    "store_unavailable",
    "The login stored for t has expired, and the store is unavailable, so that it cannot be refreshed: try again",
);
const KEY: &str = "sk-demo-0123456789";

/// A world whose provider takes a login or else a key, and the login's token endpoint.
struct Play {
    world: World,
    auth: Upstream,
}

fn file(base: &str, auth: &str) -> String {
    provider_with_login(base, &format!("{auth}/oauth/token?x=1"))
}

impl Play {
    /// With a login that is valid for this many seconds.
    fn new(seconds: i64) -> Self {
        Self::with(seconds, &[])
    }

    fn with(seconds: i64, args: &[&str]) -> Self {
        Self::with_env(seconds, args, &[])
    }

    fn with_env(seconds: i64, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::with_more(seconds, "", args, env)
    }

    /// With more keys of the endpoint `post`.
    fn with_more(seconds: i64, more: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::of(None, seconds, more, args, env)
    }

    /// With a login that seems to be valid, a file of limits, and more keys of the endpoint `post`.
    fn limited(limits: &str, more: &str) -> Self {
        Self::of(Some(limits), 3600, more, &[], &[])
    }

    fn of(limits: Option<&str>, seconds: i64, more: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let (upstream, auth) = (Upstream::plain(), Upstream::plain());
        let host = upstream.address().to_string();
        let file = file(&format!("http://{host}"), &format!("http://{}", auth.address())) + more;
        let home = Home::new(&[("t", &file)]);
        if let Some(limits) = limits {
            home.write_limits("t", limits);
        }
        let token = home.user("ada");
        store(&home, "a1", "r1", seconds);
        let gateway = home.serve_with(args, env);
        let cors = "Content-Type, Authorization, x-api-key".into();
        Self { world: World { upstream, gateway, home, token, host, cors }, auth }
    }

    /// An exchange on both sides with this credential.
    fn with_credential(&self, exchange: Exchange, credential: &str) -> Exchange {
        let exchange = exchange.removed("Authorization", &format!("Bearer {}", self.world.token));
        exchange.added("Authorization", credential)
    }

    fn get(&self, access: &str) -> Exchange {
        self.with_credential(Exchange::get(), &format!("Bearer {access}"))
    }

    /// A client that has sent a request.
    fn client(&self, exchange: &Exchange) -> Wire {
        let mut client = self.world.client();
        client.send(exchange.bytes());
        client
    }

    /// The rest of an exchange after the client has sent its request.
    fn relayed(&mut self, client: &mut Wire, exchange: &Exchange) {
        self.world.serve(exchange);
        self.world.receive(client, exchange);
    }

    /// A request that uses this access token, without a refresh.
    fn uses(&mut self, access: &str) {
        let exchange = self.get(access);
        let mut client = self.client(&exchange);
        self.relayed(&mut client, &exchange);
        self.auth.saw_nothing();
    }

    /// The next call to the token endpoint, which spends this refresh token.
    fn call(&mut self, refresh: &str) -> Wire {
        let (request, wire) = self.auth.request();
        check_call(&request, &self.auth.address().to_string(), refresh);
        wire
    }

    /// A request that causes this call with this answer, and is then sent with `credential`.
    fn refreshed(&mut self, refresh: &str, answer: &[u8], credential: &str) {
        let exchange = self.with_credential(Exchange::get(), credential);
        let mut client = self.client(&exchange);
        self.call(refresh).send(answer);
        self.relayed(&mut client, &exchange);
    }

    /// Uses one access token until a refresh is due, and then the next.
    fn replaced(&mut self, access: &str, refresh: &str, answer: &[u8], next: &str) {
        let mut client = self.asks_until_called(refresh, &format!("Bearer {access}"), answer);
        let exchange = self.get(next);
        self.relayed(&mut client, &exchange);
    }

    /// The client of the first request that causes this call. Requests before it are sent with `credential`.
    fn asks_until_called(&mut self, refresh: &str, credential: &str, answer: &[u8]) -> Wire {
        let exchange = self.with_credential(Exchange::get(), credential);
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < LIMIT, "the token endpoint is not called");
            let mut client = self.client(&exchange);
            if let Some(mut wire) = self.auth.next_unless(&self.world.upstream) {
                check_call(&wire.request().unwrap(), &self.auth.address().to_string(), refresh);
                wire.send(answer);
                return client;
            }
            self.relayed(&mut client, &exchange);
        }
    }
}

fn store(home: &Home, access: &str, refresh: &str, seconds: i64) {
    let expires_at = i64::try_from(now_ms()).unwrap() + seconds * 1000;
    let login =
        serde_json::json!({ "accessToken": access, "refreshToken": refresh, "expiresAt": expires_at });
    home.credential("ada", "providers.t.login", &login.to_string());
}

fn check_call(request: &Message, host: &str, refresh: &str) {
    assert_eq!(request.head.start, "POST /oauth/token?x=1 HTTP/1.1");
    let mut lines = request.head.lines.clone();
    lines.sort();
    let body = format!("grant_type=refresh_token&refresh_token={refresh}&client_id=app_1");
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

fn granted(access: &str, refresh: &str, seconds: u64) -> Vec<u8> {
    let body = format!(r#"{{"access_token":"{access}","refresh_token":"{refresh}","expires_in":{seconds}}}"#);
    answer("200 OK", &body)
}

#[test]
fn five_requests_at_once_make_one_refresh_across_workers() {
    let mut play = Play::with(-1, &["--workers", "4"]);
    let exchange = play.get("a2");
    let mut clients: Vec<Wire> = (0..5).map(|_| play.client(&exchange)).collect();
    let mut call = play.call("r1");
    play.world.upstream.saw_nothing();
    call.send(granted("a2", "r2", 3600));
    for _ in 0..5 {
        play.world.serve(&exchange);
    }
    for client in &mut clients {
        play.world.receive(client, &exchange);
    }
    for _ in 0..20 {
        play.uses("a2");
    }
    play.auth.saw_nothing();
}

#[test]
fn a_login_is_used_until_shortly_before_it_expires() {
    let mut play = Play::new(310);
    play.uses("a1");
    store(&play.world.home, "b1", "s1", 290);
    let mut client = play.asks_until_called("s1", "Bearer a1", &granted("b2", "s2", 3600));
    let exchange = play.get("b2");
    play.relayed(&mut client, &exchange);
    play.uses("b2");
}

/// A claim of the access token goes with it: after a refresh that of the new one. The client secret and the scope go to the token
/// endpoint alone.
#[test]
fn a_claim_is_that_of_the_access_token_that_is_sent() {
    let jwt = |account: &str| {
        let claims =
            URL_SAFE_NO_PAD.encode(serde_json::json!({ "auth": { "account": account } }).to_string());
        format!("h.{claims}.s")
    };
    let (mut upstream, mut auth) = (Upstream::plain(), Upstream::plain());
    let text = file(&format!("http://{}", upstream.address()), &format!("http://{}", auth.address()));
    let text = text
        .replace(
            "client_id = \"app_1\"",
            "client_id = \"app_1\"\nclient_secret = \"{cs}\"\nscope = \"a b\"\nparts = { account = \"/auth/account\" }",
        )
        .replacen("Bearer {secret}\"", "Bearer {secret}\", x-account = \"{login.account}\"", 1)
        + "[vars]\ncs = { env = \"CANARY_SECRET\", secret = true }\n";
    let home = Home::new(&[("t", &text)]);
    let token = home.user("ada");
    let env = [("CANARY_SECRET", "canary&s")];
    let store = |access: &str, expires_at: u64| {
        let login =
            serde_json::json!({ "accessToken": access, "refreshToken": "r1", "expiresAt": expires_at });
        let args = ["credential", "set", "ada", "providers.t.login"];
        let said = home.run_with(&args, &env, &login.to_string());
        assert_eq!(said.code, 0, "{said:?}");
    };
    store(&jwt("one"), 4_102_444_800_000);
    let mut gateway = home.serve_with(&[], &env);
    let mut asks = |gateway: &Gateway, expected: &str, called: bool| {
        let mut client = Wire::connect(gateway.address);
        client.send(format!(
            "GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nX-Account: mine\r\n\r\n"
        ));
        if called {
            let (request, mut wire) = auth.request();
            let form = "grant_type=refresh_token&refresh_token=r1&client_id=app_1&client_secret=canary%26s&scope=a+b";
            assert_eq!(str::from_utf8(&request.body), Ok(form));
            wire.send(granted(&jwt("two"), "r2", 3600));
        }
        let (request, mut wire) = upstream.request();
        wire.send(Answer::new("200 OK").body("ok").bytes());
        assert_eq!(request.head.all("x-account"), [expected]);
        assert_eq!(client.answer().unwrap().head.status(), 200);
    };
    asks(&gateway, "one", false);
    gateway.signal(Signal::TERM);
    assert!(gateway.exit().success());
    store(&jwt("one"), now_ms());
    let gateway = home.serve_with(&[], &env);
    asks(&gateway, "two", true);
    asks(&gateway, "two", false);
    assert!(!gateway.log().iter().any(|line| line.contains("canary")));
}

#[test]
fn without_a_refresh_token_it_is_used_to_its_end() {
    let mut play = Play::new(100);
    let login = serde_json::json!({ "accessToken": "a1", "expiresAt": now_ms() + 100_000 });
    play.world.home.credential("ada", "providers.t.login", &login.to_string());
    play.uses("a1");
}

#[test]
fn refresh_tokens_rotate() {
    let mut play = Play::new(-1);
    // Each token is about to expire at its first use.
    play.refreshed("r1", &granted("a2", "r2", 2), "Bearer a2");
    play.replaced("a2", "r2", &granted("a3", "r3", 2), "a3");
    let third = answer("200 OK", r#"{"access_token":"a4","expires_in":"2"}"#);
    play.replaced("a3", "r3", &third, "a4");
    play.replaced("a4", "r3", &granted("a5", "r5", 3600), "a5");
    play.uses("a5");
}

#[test]
fn a_token_that_never_lasts_long_enough_is_refreshed_once() {
    let mut play = Play::new(-1);
    play.refreshed("r1", &granted("a2", "r2", 300), "Bearer a2");
    for _ in 0..6 {
        play.uses("a2");
    }
}

#[test]
fn a_lifetime_that_is_missing_is_an_hour() {
    let mut play = Play::new(-1);
    play.refreshed("r1", &answer("200 OK", r#"{"access_token":"a2"}"#), "Bearer a2");
    play.uses("a2");
    play.uses("a2");
}

/// Each answer grants the login a2, r2, in a form that servers send.
#[test]
fn every_legal_form_of_an_answer_is_understood() {
    let json = r#"{"access_token":"a2","refresh_token":"r2","expires_in":"2","scope":null}"#;
    let wide: Vec<u8> = json.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let form = "access_token=a2&expires_in=2&refresh_token=r2&scope=&token_type=bearer";
    let check = |status: &str, headers: &[(&str, &str)], body: &[u8]| {
        let mut play = Play::new(-1);
        let answer =
            headers.iter().fold(Answer::new(status), |answer, (name, value)| answer.header(name, value));
        play.refreshed("r1", &answer.body(body).bytes(), "Bearer a2");
        // The next refresh spends the new refresh token.
        play.replaced("a2", "r2", &granted("a3", "r3", 3600), "a3");
    };
    check("200 OK", &[("CONTENT-TYPE", "Application/JSON; Charset=\"utf-8\"")], json.as_bytes());
    check("201 Created", &[("content-type", "text/javascript")], json.as_bytes());
    check("203 Non-Authoritative Information", &[], json.as_bytes());
    check("200 OK", &[("Content-Encoding", "Identity")], &[b"\xef\xbb\xbf", json.as_bytes()].concat());
    check("200 OK", &[("Content-Type", "application/json; charset=utf-16")], &wide);
    check("200 OK", &[("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")], form.as_bytes());
    // Content codings, though the request accepts none.
    let packed = |coding: fn(&[u8]) -> Box<dyn Read + '_>, body: &str| {
        let mut packed = Vec::new();
        coding(body.as_bytes()).read_to_end(&mut packed).unwrap();
        packed
    };
    let gzip = packed(|body| Box::new(GzEncoder::new(body, Compression::fast())), json);
    check("200 OK", &[("Content-Encoding", "gzip")], &gzip);
    check("200 OK", &[("Content-Encoding", "identity"), ("Content-Encoding", "X-Gzip")], &gzip);
    let zlib = packed(|body| Box::new(ZlibEncoder::new(body, Compression::fast())), json);
    check("200 OK", &[("Content-Encoding", "deflate")], &zlib);
    let raw = packed(|body| Box::new(DeflateEncoder::new(body, Compression::fast())), form);
    check("200 OK", &[("Content-Encoding", "deflate")], &raw);
    check("200 OK", &[("Content-Encoding", "none")], json.as_bytes());
    // Large bodies and heads, and fields that other responses must not have.
    let large = json.replacen('{', &format!(r#"{{"id_token":"{}","#, "x".repeat(900_000)), 1);
    check("200 OK", &[], large.as_bytes());
    check("200 OK", &vec![("X-More", "1"); 900], json.as_bytes());
    check("200 OK", &[("X-More", &*"x".repeat(200_000))], json.as_bytes());
    // A transfer coding, which other responses must not have either.
    let mut play = Play::new(-1);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    let size = format!("{:x}\r\n", gzip.len());
    let chunked = [head.as_bytes(), size.as_bytes(), &gzip, b"\r\n0\r\n\r\n"].concat();
    play.refreshed("r1", &chunked, "Bearer a2");
    check("200 OK", &[("X-More ", "1"), ("X-Folded", "1\r\n 2"), ("in valid", "1")], json.as_bytes());
}

/// A refresh token is no header value: a space in it is legal, and so are more than 8 KiB.
#[test]
fn every_legal_refresh_token_is_used() {
    let long = "r".repeat(9000);
    for (token, sent) in [(" r \\\"2", "+r+%5C%222"), (&*long, &*long)] {
        let mut play = Play::new(-1);
        let stored = serde_json::json!({ "accessToken": "a1", "refreshToken": token, "expiresAt": 0 });
        play.world.home.credential("ada", "providers.t.login", &stored.to_string());
        let body = serde_json::json!({ "access_token": "a2", "refresh_token": token, "expires_in": 2 });
        play.refreshed(sent, &answer("200 OK", &body.to_string()), "Bearer a2");
        play.replaced("a2", sent, &granted("a3", "r3", 3600), "a3");
    }
}

/// An answer that is not understood is kept, encrypted: the log and the list say so, and only a command prints it.
#[test]
fn an_answer_that_is_not_understood_is_kept_until_a_refresh_succeeds() {
    let canary = "{\"tokens\":{\"access_token\":\"canary-a2\",\"refresh_token\":\"canary-r2\",\"x\":\"\u{9b}\u{202e}\u{7f}\"}}";
    let mut play = Play::new(100);
    play.refreshed("r1", &answer("200 OK", canary), "Bearer a1");
    let line = play.world.gateway.wait_for_log(
        "a token endpoint's response was not understood; it is kept, encrypted: see `tollgate credential recover`",
    );
    let said = ["provider", "section", "field", "problem"]
        .map(|field| line[field].as_str().unwrap_or_default().to_owned());
    assert_eq!(said, ["t", "providers.t", "login", "contains no access token"]);
    assert!(line["owner"].as_str().unwrap().starts_with("usr_"), "{line}");
    assert!(!play.world.gateway.log().iter().any(|line| line.contains("canary")));
    for bytes in play.world.home.contents().values() {
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
    }
    let home = &play.world.home;
    let list = home.run(&["credential", "list", "ada"], "");
    assert!(list.out.contains(", an answer that was not understood is kept"), "{}", list.out);
    assert!(!list.out.contains("canary"), "{}", list.out);
    // A new master key encrypts it too.
    home.done(&["rekey"], "");
    let recovered = home.done(&["credential", "recover", "ada", "providers.t.login"], "");
    assert!(recovered.chars().all(|character| matches!(character, ' '..='~' | '\n')), "{recovered}");
    let recovered: serde_json::Value = serde_json::from_str(&recovered).unwrap();
    assert_eq!(recovered[0]["body"], canary);
    assert_eq!(recovered[0]["status"], 200);
    assert_eq!(recovered[0]["problem"], "the token endpoint's response contains no access token");
    // It stays when an old copy of the login is stored, by anyone and in any way.
    let again = r#"{"providers":{"t":{"login":{"accessToken":"a1","refreshToken":"r1","expiresAt":0}}}}"#;
    put(&play, "/auth/creds", &play.world.token, again);
    let owner = line["owner"].as_str().unwrap();
    put_as_admin(&play, &format!("/admin/users/{owner}/creds"), again);
    store(&play.world.home, "a1", "r0", 100);
    let kept = |play: &Play| {
        play.world
            .home
            .run(&["credential", "recover", "ada", "providers.t.login"], "")
            .out
            .contains("canary-r2")
    };
    assert!(kept(&play));
    // The tokens in it are stored, and work.
    store(&play.world.home, "canary-a2", "canary-r2", -1);
    assert!(kept(&play));
    let mut client = play.asks_until_called("canary-r2", "Bearer a1", &granted("a3", "r3", 3600));
    let exchange = play.get("a3");
    play.relayed(&mut client, &exchange);
    assert!(!kept(&play));
    let list = play.world.home.run(&["credential", "list", "ada"], "");
    assert!(!list.out.contains("not understood"), "{}", list.out);
}

/// A good access token is used; the rest of its answer is kept, and the log says so.
#[test]
fn an_answer_is_kept_though_its_access_token_is_used() {
    let mut play = Play::new(-1);
    let body = r#"{"access_token":"a2","expires_in":2,"data":{"refresh_token":"canary-r2"}}"#;
    play.refreshed("r1", &answer("200 OK", body), "Bearer a2");
    let line = play.world.gateway.wait_for_log(
        "a token endpoint's response was not understood completely: its access token is used, and it is kept, encrypted: see `tollgate credential recover`",
    );
    assert_eq!(line["problem"], "contains a refresh token in an unexpected place");
    let recover = ["credential", "recover", "ada", "providers.t.login"];
    assert!(play.world.home.done(&recover, "").contains("canary-r2"));
    play.replaced("a2", "r1", &granted("a3", "r3", 3600), "a3");
    assert_eq!(play.world.home.run(&recover, "").out, "");
}

#[test]
fn an_answer_to_a_removed_login_is_not_kept() {
    let mut play = Play::new(-1);
    let _client = play.client(&play.get(""));
    let mut call = play.call("r1");
    play.world.home.done(&["credential", "remove", "ada", "providers.t.login"], "");
    call.send(answer("200 OK", r#"{"more":1}"#));
    play.world.gateway.wait_for_log(
        "a token endpoint's response was not understood; it is not kept, since its login was removed",
    );
}

#[test]
fn a_refresh_that_fails_destroys_nothing() {
    let endless = format!(r#"{{"access_token":"a2","more":"{}"}}"#, "x".repeat(1_100_000));
    let answers = [
        answer("500 Internal Server Error", "canary"),
        answer("429 Too Many Requests", "{}"),
        answer("400 Bad Request", r#"{"error":"temporarily_unavailable"}"#),
        answer("200 OK", "canary"),
        answer("200 OK", r#"{"refresh_token":"r2","expires_in":3600}"#),
        answer("200 OK", r#"{"access_token":"a\nb"}"#),
        answer("200 OK", &endless),
        Answer::new("302 Found").header("Location", "/elsewhere").bytes(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"a2\"".to_vec(),
        b"canary\r\n\r\n".to_vec(),
    ];
    for answer in answers {
        // The old access token, while it is valid.
        let mut play = Play::new(100);
        play.refreshed("r1", &answer, "Bearer a1");
        let mut logs = play.world.gateway.log();
        // Then the next entry of the file.
        let mut play = Play::new(-1);
        play.world.home.credential("ada", "providers.t.apiKey", KEY);
        play.refreshed("r1", &answer, &format!("Key {KEY}"));
        logs.extend(play.world.gateway.log());
        // Without another entry, the fault.
        let mut play = Play::new(-1);
        let exchange = play.get("");
        let mut client = play.client(&exchange);
        play.call("r1").send(&answer);
        play.world.check_fault(exchange.bytes(), EXPIRED_FOR_NOW, &client.answer().unwrap());
        logs.extend(play.world.gateway.log());
        assert!(!logs.iter().any(|line| line.contains("canary")), "{logs:?}");
    }
}

#[test]
fn a_login_that_was_revoked_is_not_tried_again() {
    let mut play = Play::new(100);
    let revoked = answer("400 Bad Request", r#"{"error":"invalid_grant"}"#);
    play.refreshed("r1", &revoked, "Bearer a1");
    for _ in 0..5 {
        play.uses("a1");
    }
    let admin = Api::admin(&play.world);
    let found = admin.done("GET /admin/overview", &serde_json::Value::Null)["attention"][0].clone();
    assert_eq!((&found["kind"], &found["severity"]), (&"refresh_failed".into(), &"error".into()), "{found}");
    store(&play.world.home, "b1", "s1", 100);
    let mut client = play.asks_until_called("s1", "Bearer a1", &revoked);
    let exchange = play.get("b1");
    play.relayed(&mut client, &exchange);
    let reused = answer("401 Unauthorized", r#"{"error":{"code":"refresh_token_reused"}}"#);
    store(&play.world.home, "c1", "t1", -1);
    let mut client = play.asks_until_called("t1", "Bearer b1", &reused);
    play.world.check_fault(exchange.bytes(), EXPIRED, &client.answer().unwrap());
}

#[test]
fn a_login_whose_refresh_token_alone_is_corrected_is_tried_again() {
    let mut play = Play::new(100);
    play.refreshed("r1", &answer("400 Bad Request", r#"{"error":"invalid_grant"}"#), "Bearer a1");
    play.uses("a1");
    store(&play.world.home, "a1", "s1", 100);
    play.replaced("a1", "s1", &granted("a2", "s2", 3600), "a2");
    play.uses("a2");
}

#[test]
fn a_failing_endpoint_is_called_with_backoff() {
    let mut play = Play::new(100);
    let failure = answer("503 Service Unavailable", "");
    let start = Instant::now();
    play.refreshed("r1", &failure, "Bearer a1");
    let exchange = play.get("a1");
    // The same refresh token is still valid.
    let calls = [(); 2].map(|()| {
        let mut client = play.asks_until_called("r1", "Bearer a1", &failure);
        let called = start.elapsed();
        play.relayed(&mut client, &exchange);
        called
    });
    assert!(calls[0].as_millis() >= 900 && calls[1].as_millis() >= 2_900, "{calls:?}");
    let mut client = play.asks_until_called("r1", "Bearer a1", &granted("a2", "r2", 3600));
    let exchange = play.get("a2");
    play.relayed(&mut client, &exchange);
    play.uses("a2");
}

#[test]
fn a_hanging_endpoint_has_a_deadline() {
    let mut play = Play::new(100);
    let exchange = play.get("a1");
    let mut client = play.client(&exchange);
    let start = Instant::now();
    let mut call = play.call("r1");
    // The first caller with a valid access token waits for a moment; the next ones do not.
    play.relayed(&mut client, &exchange);
    for _ in 0..5 {
        play.uses("a1");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    call.ends();
    assert!(start.elapsed() < LIMIT + Duration::from_secs(2));
    play.uses("a1");
}

#[test]
fn a_login_that_is_stored_during_a_refresh_wins() {
    let mut play = Play::new(-1);
    let exchange = play.get("b1");
    let mut client = play.client(&exchange);
    let mut call = play.call("r1");
    store(&play.world.home, "b1", "s1", 3600);
    call.send(granted("a2", "r2", 3600));
    play.relayed(&mut client, &exchange);
    play.uses("b1");
}

#[test]
fn a_rotated_refresh_token_is_kept_though_its_access_token_cannot_be() {
    let mut play = Play::new(100);
    play.refreshed("r1", &answer("200 OK", r#"{"refresh_token":"r2","expires_in":3600}"#), "Bearer a1");
    play.replaced("a1", "r2", &granted("a3", "r3", 3600), "a3");
    play.uses("a3");
}

#[test]
fn other_fields_stored_during_a_refresh_stay() {
    let mut play = Play::new(-1);
    let exchange = play.get("a2");
    let mut client = play.client(&exchange);
    let mut call = play.call("r1");
    play.world.home.credential("ada", "providers.t.apiKey", KEY);
    call.send(granted("a2", "r2", 3600));
    play.relayed(&mut client, &exchange);
    play.uses("a2");
    let list = play.world.home.done(&["credential", "list", "ada"], "");
    assert!(list.contains("providers.t.apiKey") && list.contains("providers.t.login"), "{list}");
}

#[test]
fn a_client_that_leaves_does_not_stop_a_refresh() {
    let mut play = Play::new(-1);
    let client = play.client(&play.get("a2"));
    let mut call = play.call("r1");
    drop(client);
    call.send(granted("a2", "r2", 3600));
    play.uses("a2");
}

#[test]
fn a_kill_between_a_refresh_and_its_use_loses_nothing() {
    let mut play = Play::new(-1);
    let exchange = play.get("a2");
    let client = play.client(&exchange);
    play.call("r1").send(granted("a2", "r2", 100));
    play.world.upstream.request();
    play.world.gateway.signal(Signal::KILL);
    play.world.gateway.exit();
    drop(client);
    play.world.gateway = play.world.home.serve(&[]);
    play.refreshed("r2", &granted("a3", "r3", 3600), "Bearer a3");
}

#[test]
fn a_restart_after_a_kill_during_a_refresh_does_not_wait() {
    let mut play = Play::new(-1);
    let client = play.client(&play.get(""));
    let call = play.call("r1");
    play.world.gateway.signal(Signal::KILL);
    play.world.gateway.exit();
    drop((client, call));
    play.world.gateway = play.world.home.serve(&[]);
    let start = Instant::now();
    play.refreshed("r1", &granted("a2", "r2", 3600), "Bearer a2");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

const NO: &str = "401 Unauthorized";

#[test]
fn a_401_causes_one_refresh_and_one_retry() {
    let bodies = |play: &Play| -> Vec<[Exchange; 2]> {
        let both = |exchange: Exchange| {
            ["Bearer a1", "Bearer a2"].map(|secret| play.with_credential(exchange.clone(), secret))
        };
        let all: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
        vec![
            both(Exchange::get()),
            both(Exchange::post("")),
            both(Exchange::post(all.clone()).header("X-Demo", "1")),
            [
                both(Exchange::post("").chunked(all.clone()))[0].clone(),
                // The retry has a known length.
                both(Exchange::post("").chunked(all.clone()).framed_up(Framing::Length(65_536)))[1].clone(),
            ],
        ]
    };
    for index in 0..4 {
        let mut play = Play::new(3600);
        let [first, second] = bodies(&play)[index].clone();
        let mut client = play.client(&first);
        let refused = first.clone().answer(Answer::new(NO).body("expired"));
        play.world.serve(&refused);
        play.call("r1").send(granted("a2", "r2", 3600));
        play.relayed(&mut client, &second);
        play.uses("a2");
    }
}

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A client that has sent the handshake of a WebSocket.
fn handshakes(play: &Play) -> Wire {
    let mut client = play.world.client();
    client.send(format!(
        "GET /t/live HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        play.world.token
    ));
    client
}

/// The next handshake at the upstream, with this access token.
fn handshake(play: &mut Play, access: &str) -> Wire {
    let (request, wire) = play.world.upstream.request();
    assert_eq!(request.head.start, "GET /live HTTP/1.1");
    assert_eq!(request.head.get("authorization"), Some(&*format!("Bearer {access}")));
    assert_eq!(request.head.get("upgrade"), Some("websocket"));
    wire
}

/// The client of a WebSocket sees the answer to the second handshake alone.
#[test]
fn a_401_to_a_handshake_causes_one_refresh_and_one_retry() {
    let more = "[endpoint.live]\nmethod = \"GET\"\npath = \"/live\"\nupgrade = \"websocket\"\n";
    let mut play = Play::with_more(3600, more, &[], &[]);
    let mut client = handshakes(&play);
    handshake(&mut play, "a1").send(Answer::new(NO).body("expired").bytes());
    play.call("r1").send(granted("a2", "r2", 3600));
    let mut upstream = handshake(&mut play, "a2");
    upstream.send(SWITCHING);
    assert_eq!(client.head().unwrap().status(), 101);
    upstream.send(b"\x82\x02ab");
    assert_eq!(client.bytes(4).unwrap(), b"\x82\x02ab");
    // The token is new: it is not refreshed again, and the client gets the answer.
    let mut client = handshakes(&play);
    handshake(&mut play, "a2").send(Answer::new(NO).body("not either").bytes());
    let refused = client.answer().unwrap();
    assert_eq!((refused.head.status(), &*refused.body), (401, &b"not either"[..]));
    play.auth.saw_nothing();
}

/// Of requests, of tokens, and of requests at a time.
const LIMITS: &str = "[[limit]]\nid = \"n\"\nrequests = 100\nwindow = \"total\"\n\
                      [[limit]]\nid = \"one\"\nconcurrent = 1\n\
                      [[limit]]\nid = \"t\"\ntokens = 10000\nwindow = \"total\"\n";

impl Play {
    /// The requests that are used or reserved, those that run, the tokens that are used, and whether some are reserved.
    fn counted(&self) -> (i64, i64, i64, bool) {
        let report = over_socket(&self.world.home.data(), "GET /admin/limits?user=ada").1;
        let of = |id: &str, key: &str| {
            let all = report["limits"].as_array().unwrap();
            let one = all.iter().find(|one| one["id"] == id).map(|one| one[key].clone()).unwrap_or_default();
            one.as_i64().or_else(|| one.as_str()?.parse().ok()).unwrap_or(0)
        };
        (100 - of("n", "left"), of("one", "running"), of("t", "used"), of("t", "reserved") > 0)
    }

    /// The call holds its place, is one request, and has used no token so far.
    fn is_held(&mut self, reserves: bool, when: &str) {
        assert_eq!(self.counted(), (1, 1, 0, reserves), "{when}");
        let refused = self.client(&self.get("")).answer().unwrap();
        assert_eq!((refused.head.status(), refused.head.get("tollgate-limit")), (429, Some("one")), "{when}");
        self.world.upstream.saw_nothing();
    }

    /// The call has ended, and used so many tokens.
    fn has_ended(&self, tokens: i64, case: &str) {
        eventually(case, || self.counted() == (1, 0, tokens, false));
    }
}

/// A request that is sent once more after a 401 is one request, uses what its last answer says, and holds its place throughout.
#[test]
fn a_request_that_is_sent_twice_counts_once() {
    const BODY: &str = r#"{"model":"m","max_tokens":50}"#;
    const USAGE: &str = r#"{"model":"m","usage":{"prompt_tokens":10,"completion_tokens":7}}"#;
    let json =
        |status: &str, body: &str| Answer::new(status).header("Content-Type", "application/json").body(body);
    let stream = Answer::new("200 OK").header("Content-Type", "text/event-stream");
    let stream = stream.chunked(format!("data: {{\"model\":\"m\",\"choices\":[]}}\n\ndata: {USAGE}\n\n"));
    // The answer to the second request, none if there is no second one; the status, and the tokens that are used.
    let cases: [(&str, Option<Answer>, u16, i64); 5] = [
        ("an answer", Some(json("200 OK", USAGE)), 200, 17),
        ("a stream", Some(stream), 200, 17),
        ("another 401", Some(json(NO, "{}")), 401, 0),
        ("an error", Some(json("529 Overloaded", "{}")), 529, 0),
        ("no new token", None, 401, 0),
    ];
    for (case, second, status, tokens) in cases {
        let mut play = Play::limited(LIMITS, "api = \"chat-completions\"\n");
        let exchange = |play: &Play, access: &str| {
            play.with_credential(Exchange::post(BODY), &format!("Bearer {access}"))
        };
        let first = exchange(&play, "a1").answer(json(NO, "{}"));
        let mut client = play.client(&first);
        play.world.serve(&first);
        let mut call = play.call("r1");
        play.is_held(true, &format!("before {case}: while the login is refreshed"));
        if let Some(second) = second {
            call.send(granted("a2", "r2", 3600));
            let (request, mut wire) = play.world.upstream.request();
            exchange(&play, "a2").check(&play.world.host, &request);
            play.is_held(true, &format!("before {case}"));
            wire.send(second.bytes());
            play.world.upstream.keep(wire);
        } else {
            call.send(answer("500 No", ""));
        }
        assert_eq!(client.answer().unwrap().head.status(), status, "{case}");
        play.has_ended(tokens, case);
    }
}

/// The same with the handshake of a WebSocket, which holds its place until its end.
#[test]
fn a_handshake_that_is_sent_twice_counts_once() {
    let more = "api = \"chat-completions\"\n[endpoint.live]\nmethod = \"GET\"\npath = \"/live\"\nupgrade = \"websocket\"\n";
    let mut play = Play::limited(LIMITS, more);
    let mut client = handshakes(&play);
    handshake(&mut play, "a1").send(Answer::new(NO).body("expired").bytes());
    let mut call = play.call("r1");
    play.is_held(false, "while the login is refreshed");
    call.send(granted("a2", "r2", 3600));
    let mut upstream = handshake(&mut play, "a2");
    play.is_held(false, "before the second answer");
    upstream.send(SWITCHING);
    assert_eq!(client.head().unwrap().status(), 101);
    play.is_held(false, "while it runs");
    upstream.send(b"\x88\x02\x03\xe8");
    assert_eq!(client.bytes(4).unwrap(), b"\x88\x02\x03\xe8");
    drop((client, upstream));
    play.has_ended(0, "a WebSocket");
}

/// The body that is sent once more is the changed one, and its answer is filtered too.
#[test]
fn a_retry_asks_for_usage_as_the_first_request_did() {
    let more = "api = \"chat-completions\"\nwhen_missing = \"ask\"\n";
    let mut play = Play::with_more(3600, more, &[], &[]);
    let mut client = play.world.client();
    let (token, body) = (&play.world.token, r#"{"stream":true}"#);
    let length = body.len();
    client.send(format!(
        "POST /t/post HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let extra = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
    let answers = [
        Answer::new(NO).body("expired"),
        Answer::new("200 OK").header("Content-Type", "text/event-stream").body(extra),
    ];
    for (answer, access) in answers.iter().zip(["a1", "a2"]) {
        let (request, mut wire) = play.world.upstream.request();
        let asking = br#"{"stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!((&*request.body, request.framing), (&asking[..], Framing::Length(asking.len() as u64)));
        assert_eq!(request.head.get("authorization"), Some(&*format!("Bearer {access}")));
        assert_eq!(request.head.get("accept-encoding"), Some("identity"));
        wire.send(answer.bytes());
        if access == "a1" {
            play.call("r1").send(granted("a2", "r2", 3600));
        }
    }
    let seen = client.answer().unwrap();
    assert_eq!((seen.head.status(), &*seen.body), (200, &b""[..]));
}

#[test]
fn a_401_is_relayed_where_nothing_helps() {
    let mut play = Play::new(3600);
    // The refresh fails.
    let exchange = play.get("a1").answer(Answer::new(NO).header("WWW-Authenticate", "Demo").body("no"));
    let mut client = play.client(&exchange);
    play.world.serve(&exchange);
    play.call("r1").send(answer("500 No", ""));
    play.world.receive(&mut client, &exchange);
    // The new token is refused too: there is one retry, also for later requests.
    let mut play = Play::new(3600);
    let exchange = play.get("a1").answer(Answer::new(NO).body("no"));
    let mut client = play.client(&exchange);
    play.world.serve(&exchange);
    play.call("r1").send(granted("a2", "r2", 3600));
    let again = play.get("a2").answer(Answer::new(NO).body("not either"));
    play.relayed(&mut client, &again);
    for _ in 0..5 {
        let mut client = play.client(&again);
        play.relayed(&mut client, &again);
    }
    play.auth.saw_nothing();
}

/// The body is too large for a retry: the client gets the 401 before the token endpoint has answered, and the login is
/// refreshed for the next request.
#[test]
fn a_401_to_a_large_body_refreshes_the_login_for_later_requests() {
    let large = || vec![b'x'; 65_537];
    for exchange in [Exchange::post(large()), Exchange::post("").chunked(large())] {
        let mut play = Play::new(3600);
        let exchange = play.with_credential(exchange, "Bearer a1").answer(Answer::new(NO).body("no"));
        let mut client = play.client(&exchange);
        play.relayed(&mut client, &exchange);
        let mut call = play.call("r1");
        // Others that are refused meanwhile start no refresh of their own.
        for _ in 0..3 {
            let mut client = play.client(&exchange);
            play.relayed(&mut client, &exchange);
        }
        call.send(granted("a2", "r2", 3600));
        becomes(&mut play, "a1", "a2");
        play.uses("a2");
    }
}

/// An upstream that answers before it has read the body: also a small one cannot be sent once more.
#[test]
fn an_early_401_refreshes_the_login() {
    for length in [1000, 1 << 20] {
        let mut play = Play::new(3600);
        let exchange = play.with_credential(Exchange::post("").framed(Framing::Length(length)), "Bearer a1");
        let mut client = play.world.client();
        client.send(exchange.head_bytes());
        let mut wire = play.world.upstream.next();
        assert_eq!(wire.head().unwrap().get("authorization"), Some("Bearer a1"));
        wire.send(Answer::new(NO).header("Connection", "close").body("no").bytes());
        let head = client.head().unwrap();
        assert_eq!(head.status(), 401);
        play.call("r1").send(granted("a2", "r2", 3600));
        becomes(&mut play, "a1", "a2");
    }
}

/// The client leaves as soon as its request is refused, and tollgate is then stopped: both wait for no one, and lose nothing.
#[test]
fn a_refresh_after_a_401_outlives_its_client_and_ends_before_a_shutdown() {
    let mut play = Play::new(3600);
    let exchange = play.with_credential(Exchange::post(vec![b'x'; 65_537]), "Bearer a1");
    let mut client = play.client(&exchange);
    let exchange = exchange.answer(Answer::new(NO).body("no"));
    play.relayed(&mut client, &exchange);
    client.reset();
    let mut call = play.call("r1");
    play.world.gateway.signal(Signal::TERM);
    call.send(granted("a2", "r2", 3600));
    assert!(play.world.gateway.exit().success());
    play.world.gateway = play.world.home.serve(&[]);
    play.uses("a2");
}

/// The second signal cuts requests. A refresh whose token is spent ends all the same.
#[test]
fn a_refresh_ends_before_an_immediate_shutdown() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut play = Play::with(-1, &["--drain-delay", "1h"]);
        let client = play.client(&play.get("a2"));
        let mut call = play.call("r1");
        // Its request would else go upstream once the refresh has ended.
        drop(client);
        play.world.gateway.signal(signal);
        play.world.gateway.wait_for_log("stopping: `/readyz` returns 503");
        play.world.gateway.signal(signal);
        play.world.gateway.wait_for_log("waiting for the refreshes that have begun");
        call.send(granted("a2", "r2", 3600));
        assert!(play.world.gateway.exit().success());
        play.world.gateway = play.world.home.serve(&[]);
        play.uses("a2");
    }
}

/// Repeats a request until its access token is the new one.
fn becomes(play: &mut Play, old: &str, new: &str) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LIMIT, "`{new}` is not used");
        let mut client = play.client(&play.get(old));
        let (request, mut wire) = play.world.upstream.request();
        wire.send(Answer::new("200 OK").body("ok").bytes());
        play.world.upstream.keep(wire);
        assert_eq!(client.answer().unwrap().head.status(), 200);
        let bearer = request.head.get("authorization").unwrap_or_default();
        if bearer == format!("Bearer {new}") {
            return;
        }
        assert_eq!(bearer, format!("Bearer {old}"));
    }
}

#[test]
fn a_401_to_a_key_is_relayed() {
    let mut play = Play::new(3600);
    play.world.home.done(&["credential", "remove", "ada", "providers.t.login"], "");
    play.world.home.credential("ada", "providers.t.apiKey", KEY);
    // No request has used this token yet.
    let exchange = play.with_credential(Exchange::get(), &format!("Key {KEY}"));
    let exchange = exchange.answer(Answer::new(NO).body("no"));
    let mut client = play.client(&exchange);
    play.relayed(&mut client, &exchange);
    play.auth.saw_nothing();
}

/// The shipped files, whose token endpoint has another host, with TLS.
#[test]
fn the_shipped_login_is_refreshed_where_its_file_says() {
    let mut world = World::shipped(&[]);
    // The access token contains its expiry, here long ago.
    let access = format!("e30.{}.e30", URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000}"#));
    let login = serde_json::json!({ "tokens": { "access_token": access, "refresh_token": "r1" }, "more": 1 });
    world.home.credential("ada", "openai.oauth", &login.to_string());
    let mut client = world.client();
    let path = "/openai-codex/codex/responses";
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: g\r\nx-api-key: {}\r\nContent-Length: 2\r\n\r\n{{}}",
        world.token
    );
    client.send(request);
    let (call, mut wire) = world.upstream.request();
    assert_eq!(call.head.start, "POST /oauth/token HTTP/1.1");
    assert_eq!(call.head.get("host"), Some("auth.openai.com"));
    wire.send(granted("a2", "r2", 3600));
    let (request, mut wire) = world.upstream.request();
    assert_eq!(request.head.get("authorization"), Some("Bearer a2"));
    wire.send(Answer::new("200 OK").body("ok").bytes());
    assert_eq!(client.answer().unwrap().body, b"ok");
}

/// A play whose file names another token endpoint than at the time the login was stored.
fn moved(seconds: i64) -> (Play, Upstream) {
    let (play, stranger) = (Play::new(seconds), Upstream::plain());
    let file = file(&format!("http://{}", play.world.host), &format!("http://{}", stranger.address()));
    play.world.home.write("t", &file);
    // The login waits for a confirmation.
    assert_eq!(play.world.home.run(&["reload"], "").code, 5);
    (play, stranger)
}

#[test]
fn a_refresh_token_goes_only_to_origins_it_was_saved_for() {
    // The access token is used until it expires; then the owner must confirm the new token endpoint.
    let (mut play, mut stranger) = moved(100);
    play.uses("a1");
    stranger.saw_nothing();
    let (mut play, mut stranger) = moved(-1);
    let mut client = play.client(&play.get(""));
    let answer = client.answer().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.head.status(), body["error"]["code"].as_str()), (403, Some("credential_moved")));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("http://{}", stranger.address())), "{message}");
    stranger.saw_nothing();
    play.auth.saw_nothing();
    // A login that is stored again is bound to the new token endpoint.
    store(&play.world.home, "b1", "s1", 3600);
    recovers(&mut play, "b1", "credential_moved");
}

/// Repeats a request until it uses the access token; before that, it must get this fault.
fn recovers(play: &mut Play, access: &str, code: &str) {
    let exchange = play.get(access);
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LIMIT, "`{access}` is not used");
        let mut client = play.client(&exchange);
        if let Next::Request(mut wire) = play.world.upstream.next_or(&client) {
            exchange.check(&play.world.host, &wire.request().unwrap());
            wire.send(exchange.answer.bytes());
            play.world.upstream.keep(wire);
            play.world.receive(&mut client, &exchange);
            return;
        }
        let body: serde_json::Value = serde_json::from_slice(&client.answer().unwrap().body).unwrap();
        assert_eq!(body["error"]["code"], code);
    }
}

/// New tokens arrive while the store is unavailable: they are kept, and stored before any request uses them.
#[test]
fn tokens_that_cannot_be_stored_are_kept() {
    let mut play = Play::new(-1);
    let (database, away) = (play.world.home.data().join("tollgate.db"), play.world.home.path("away"));
    let exchange = play.get("");
    let mut client = play.client(&exchange);
    let mut call = play.call("r1");
    std::fs::rename(&database, &away).unwrap();
    call.send(granted("a2", "r2", 3600));
    play.world.check_fault(exchange.bytes(), STORE_FAILED, &client.answer().unwrap());
    play.auth.saw_nothing();
    // No further token is requested that could not be stored.
    let mut client = play.client(&exchange);
    play.world.check_fault(exchange.bytes(), STORE_FAILED, &client.answer().unwrap());
    play.auth.saw_nothing();
    std::fs::rename(&away, &database).unwrap();
    recovers(&mut play, "a2", "store_unavailable");
    play.auth.saw_nothing();
    play.uses("a2");
}

/// The disk fails before a refresh: the token endpoint is not called, since its answer could not be stored. It fails during
/// a refresh: the new tokens are kept, and stored once it works again.
fn refreshes_with(fault: DiskFault) {
    const DATABASE: &str = "/data/tollgate.db";
    let disk = FaultyDisk::new();
    let env = disk.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let refused = |play: &Play, client: &mut Wire, exchange: &Exchange| {
        play.world.check_fault(exchange.bytes(), STORE_FAILED, &client.answer().unwrap());
    };

    let mut play = Play::with_env(-1, &[], &env);
    let exchange = play.get("a2");
    disk.fail(fault, DATABASE);
    for _ in 0..2 {
        let mut client = play.client(&exchange);
        refused(&play, &mut client, &exchange);
        play.auth.saw_nothing();
    }
    disk.mend();
    play.refreshed("r1", &granted("a2", "r2", 3600), "Bearer a2");

    let mut play = Play::with_env(-1, &[], &env);
    let exchange = play.get("a2");
    let mut client = play.client(&exchange);
    let mut call = play.call("r1");
    disk.fail(fault, DATABASE);
    call.send(granted("a2", "r2", 3600));
    refused(&play, &mut client, &exchange);
    let mut client = play.client(&exchange);
    refused(&play, &mut client, &exchange);
    disk.mend();
    let mended = Instant::now();
    recovers(&mut play, "a2", "store_unavailable");
    eprintln!("{fault:?}: {:?} from the end of the fault to the refreshed login", mended.elapsed());
    play.auth.saw_nothing();
    play.uses("a2");
}

#[test]
fn refreshes_on_a_full_disk_fail_and_succeed_afterwards() {
    refreshes_with(DiskFault::Full);
}

#[test]
fn refreshes_with_failing_writes_fail_and_succeed_afterwards() {
    refreshes_with(DiskFault::Write);
}

#[test]
fn refreshes_with_failing_syncs_fail_and_succeed_afterwards() {
    refreshes_with(DiskFault::Sync);
}

#[test]
fn refreshes_of_a_locked_database_fail_and_succeed_afterwards() {
    let mut play = Play::new(-1);
    let exchange = play.get("a2");
    let lock = Lock::take(&play.world.home);
    let mut client = play.client(&exchange);
    play.world.check_fault(exchange.bytes(), STORE_FAILED, &client.answer().unwrap());
    play.auth.saw_nothing();
    lock.release();
    play.refreshed("r1", &granted("a2", "r2", 3600), "Bearer a2");
}

/// A user whose own login has failed does not fall back to a shared one.
#[test]
fn an_expired_own_login_is_not_replaced_by_a_shared_one() {
    let mut play = Play::new(-1);
    share(&play, &format!(r#"{{"providers":{{"t":{{"apiKey":"{KEY}"}}}}}}"#));
    let exchange = play.get("");
    let mut client = play.client(&exchange);
    play.call("r1").send(answer("400 Bad Request", r#"{"error":"invalid_grant"}"#));
    for _ in 0..3 {
        play.world.check_fault(exchange.bytes(), EXPIRED, &client.answer().unwrap());
        client = play.client(&exchange);
    }
    let explained = play.world.home.run(&["explain", "GET", "/t/get", "--as", "ada"], "").out;
    assert!(!explained.contains("everybody"), "{explained}");
}

/// Stores shared credentials for everybody.
fn share(play: &Play, credentials: &str) {
    put_as_admin(play, "/admin/credentials/everybody", credentials);
}

fn put_as_admin(play: &Play, path: &str, credentials: &str) {
    let admin = std::fs::read_to_string(play.world.home.data().join("admin-token")).unwrap();
    put(play, path, admin.trim(), credentials);
}

/// Replaces a document of the API.
fn put(play: &Play, path: &str, token: &str, document: &str) {
    let length = document.len();
    let mut client = play.world.client();
    client.send(format!(
        "PUT {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n\r\n{document}"
    ));
    let answer = client.answer().unwrap();
    assert_eq!(answer.head.status(), 200, "{answer:?}");
}

/// Shared logins are refreshed like a user's own, once for all users.
#[test]
fn shared_logins_are_refreshed_for_all() {
    let mut play = Play::new(-1);
    play.world.home.done(&["credential", "remove", "ada", "providers.t.login"], "");
    let bob = play.world.home.user("bob");
    share(
        &play,
        r#"{"providers":{"t":{"login":{"accessToken":"a1","refreshToken":"r1","expiresAt":1000000000000}}}}"#,
    );
    let bobs = Exchange::get().removed("Authorization", &format!("Bearer {bob}"));
    let both = [play.get("a2"), bobs.added("Authorization", "Bearer a2")];
    let mut clients = both.clone().map(|exchange| play.client(&exchange));
    play.call("r1").send(granted("a2", "r2", 3600));
    for _ in 0..2 {
        play.world.serve(&both[0]);
    }
    for (client, exchange) in clients.iter_mut().zip(&both) {
        play.world.receive(client, exchange);
    }
    play.uses("a2");
}

/// A token in the query is removed, even if the file that declares it changes before the request is sent.
#[test]
fn a_reload_during_a_refresh_lets_no_token_through() {
    let mut play = Play::new(-1);
    let file = file(&format!("http://{}", play.world.host), &format!("http://{}", play.auth.address()));
    play.world.home.write("t", &format!("{file}\n[caller]\nquery = [\"key\"]\n"));
    play.world.home.done(&["reload"], "");
    let target = format!("/t/get?a=1&key={}&b=2", play.world.token);
    let exchange = Exchange::get().at(&target, "/get?a=1&b=2").added("Authorization", "Bearer a2");
    let mut client = play.client(&exchange);
    let mut call = play.call("r1");
    play.world.home.write("t", &file);
    play.world.home.done(&["reload"], "");
    call.send(granted("a2", "r2", 3600));
    play.relayed(&mut client, &exchange);
}
