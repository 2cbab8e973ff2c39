//! Reloads in the middle of a request: an exchange follows the files as they were at its first byte. All combinations
//! of changes, at every moment when a request waits.

use std::fs;

use serde_json::{Value, json};
use tollgate::clock::now_ms;

use crate::harness::{
    Answer, Api, Exchange, Fault, Framing, Home, Message, Upstream, Wire, World, over_socket,
};

/// Concurrent refreshes, and so the cases of one world.
const CASES: usize = 64;
const BODY: &[u8] = b"{\"stream\": true}";

/// The parts of a provider file. Each changes something about an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    /// The query may carry the caller's token.
    carriers: bool,
    /// Header rules, one more header for browsers, a replaced answer, another error shape.
    headers: bool,
    /// The credential is in `Authorization`, and another client id refreshes it.
    auth: bool,
}

/// A provider whose file changes while one of its requests waits.
#[derive(Debug, Clone, Copy)]
struct Case {
    number: usize,
    before: Parts,
    after: After,
}

/// The change of a provider file.
#[derive(Debug, Clone, Copy)]
enum After {
    Changed(Parts),
    WithoutEndpoints(Parts),
    Gone,
}

/// All cases: each set of parts becomes each other, with the endpoints and without, or the file is deleted.
fn cases() -> Vec<Case> {
    let all = || {
        (0..8).map(|bits| {
            let has = |bit: u8| bits & bit != 0;
            Parts { carriers: has(1), headers: has(2), auth: has(4) }
        })
    };
    let each = all().flat_map(|before| {
        let changed = all().filter(move |parts| *parts != before).map(After::Changed);
        let afters = changed.chain(all().map(After::WithoutEndpoints)).chain([After::Gone]);
        afters.map(move |after| (before, after))
    });
    each.enumerate().map(|(number, (before, after))| Case { number, before, after }).collect()
}

impl Parts {
    fn text(self, number: usize, base: &str, auth: &str, endpoints: bool) -> String {
        let pick = |has: bool, text: &'static str| if has { text } else { "" };
        let cors = pick(self.headers, "cors_headers = [\"x-cors-NUMBER\"]");
        let carriers = pick(self.carriers, "[caller]\nquery = [\"keyNUMBER\"]");
        let headers = pick(
            self.headers,
            "[headers]\nset = { x-version = \"NUMBER\" }\nremove = [\"x-note\"]\n\
             [[response]]\nwhen = { status = 418 }\nreply = { status = 502, message = \"no tea\" }",
        );
        let (client, set) = if self.auth { (1, "authorization") } else { (2, "x-auth") };
        let api = if self.headers { "messages" } else { "chat-completions" };
        let path = if endpoints { "" } else { "/elsewhere" };
        format!(
            "title = \"T\"\nbase_url = \"{base}\"\npath_prefix = \"/tNUMBER\"\n{cors}\n{carriers}\n{headers}\n\
             [credentials]\nsection = \"providers.tNUMBER\"\n\
             [[credentials.field]]\nname = \"login\"\nkind = \"oauth2\"\n\
             token_url = \"{auth}/token\"\nclient_id = \"app_{client}\"\n\
             [[auth]]\nfield = \"login\"\nset = {{ {set} = \"Bearer {{secret}}\" }}\n\
             [endpoint.get]\nmethod = \"GET\"\npath = \"{path}/get\"\napi = \"{api}\"\n\
             [endpoint.post]\nmethod = \"POST\"\npath = \"{path}/post\"\napi = \"{api}\"\n"
        )
        .replace("NUMBER", &number.to_string())
    }
}

/// The providers of some cases, each with a login, and the logins' token endpoint.
struct Stage {
    world: World,
    auth: Upstream,
    cases: Vec<Case>,
}

impl Stage {
    /// Creates logins that are valid for this many seconds.
    fn new(cases: &[Case], seconds: i64) -> Self {
        let (upstream, auth) = (Upstream::plain(), Upstream::plain());
        let home = Home::new(&[]);
        let token = home.user("ada");
        let host = upstream.address().to_string();
        let urls = (format!("http://{host}"), format!("http://{}", auth.address()));
        // One provider stays: an empty directory would change nothing.
        let stays = Case { number: 1000, after: After::Changed(cases[0].before), ..cases[0] };
        let all = || cases.iter().chain([&stays]);
        for Case { number, before, .. } in all() {
            home.write(&format!("t{number}"), &before.text(*number, &urls.0, &urls.1, true));
        }
        fs::write(home.path("tollgate.toml"), "[lints]\nuntested_endpoint = \"allow\"\n").unwrap();
        let gateway = home.serve(&[]);
        let cors = all().filter(|case| case.before.headers).map(|case| format!("x-cors-{}", case.number));
        let mut cors: Vec<String> = cors.collect();
        cors.sort();
        cors.insert(0, "Content-Type, Authorization, x-api-key".to_owned());
        let cors = cors.join(", ");
        let world = World { upstream, gateway, home, token, host, cors };
        let expires_at = i64::try_from(now_ms()).unwrap() + seconds * 1000;
        let login = |case: &Case| {
            let (access, refresh) = (format!("a{}", case.number), format!("r{}", case.number));
            let login = json!({ "accessToken": access, "refreshToken": refresh, "expiresAt": expires_at });
            (format!("t{}", case.number), json!({ "login": login }))
        };
        let logins: serde_json::Map<String, Value> = cases.iter().map(login).collect();
        Api::admin(&world).done("PUT /admin/credentials/everybody", &json!({ "providers": logins }));
        Self { world, auth, cases: cases.to_vec() }
    }

    /// Applies the changes of all cases, and waits until they serve.
    fn change(&self) {
        let (base, auth) = (format!("http://{}", self.world.host), format!("http://{}", self.auth.address()));
        for Case { number, after, .. } in &self.cases {
            let (parts, endpoints) = match after {
                After::Changed(parts) => (parts, true),
                After::WithoutEndpoints(parts) => (parts, false),
                After::Gone => {
                    fs::remove_file(self.world.home.providers().join(format!("t{number}.toml"))).unwrap();
                    continue;
                }
            };
            self.world.home.write(&format!("t{number}"), &parts.text(*number, &base, &auth, endpoints));
        }
        let (status, document) = over_socket(&self.world.home.data(), "POST /admin/reload");
        assert_eq!((status, &document["ok"]), (200, &true.into()), "{document}");
        let served = document["counts"]["live"].as_u64().unwrap();
        let gone = self.cases.iter().filter(|case| matches!(case.after, After::Gone)).count();
        assert_eq!(served, (self.cases.len() + 1 - gone) as u64, "{document}");
    }

    /// A case's request on both sides, by its old file.
    fn exchange(&self, case: Case, exchange: Exchange, path: &str, access: &str) -> Exchange {
        let Case { number, before, .. } = case;
        let token = &self.world.token;
        let exchange = if before.carriers {
            let sent = format!("/t{number}{path}?a=1&key{number}={token}&b=2");
            exchange.at(&sent, &format!("{path}?a=1&b=2"))
        } else {
            // A client's own parameter passes, even if the file later takes tokens there.
            let query = format!("a=1&key{number}=mine&b=2");
            let exchange = exchange.at(&format!("/t{number}{path}?{query}"), &format!("{path}?{query}"));
            exchange.removed("X-Api-Key", token)
        };
        let exchange = if before.headers {
            exchange.removed("X-Note", "1").added("X-Version", &number.to_string())
        } else {
            exchange.header("X-Note", "1")
        };
        exchange.added(if before.auth { "Authorization" } else { "X-Auth" }, &format!("Bearer {access}"))
    }

    fn get(&self, case: Case, access: &str) -> Exchange {
        self.exchange(case, Exchange::get(), "/get", access)
    }

    fn post(&self, case: Case, access: &str) -> Exchange {
        self.exchange(case, Exchange::post(BODY), "/post", access)
    }

    /// The call to the token endpoint for a case's login, with the old file's client id.
    fn call(&mut self, case: Case) -> Wire {
        let (request, wire) = self.auth.request();
        let client = if case.before.auth { 1 } else { 2 };
        let expected =
            format!("grant_type=refresh_token&refresh_token=r{}&client_id=app_{client}", case.number);
        assert_eq!(String::from_utf8(request.body).unwrap(), expected, "{case:?}");
        wire
    }

    /// The upstream's side of an exchange up to its answer.
    fn reaches(&mut self, exchange: &Exchange) -> Wire {
        let (request, wire) = self.world.upstream.request();
        exchange.check(&self.world.host, &request);
        wire
    }

    /// The rest of an exchange.
    fn finish(&mut self, exchange: &Exchange, mut wire: Wire, client: &mut Wire) {
        wire.send(exchange.answer.bytes());
        self.world.upstream.keep(wire);
        self.world.receive(client, exchange);
    }

    /// Checks that a fault has the shape of the case's old file.
    fn check_fault(&self, case: Case, fault: Fault<'_>, answer: &Message) {
        fault.check(Some(&self.world.cors), answer);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["type"] == "error", case.before.headers, "{case:?}: {body}");
    }
}

/// Plays all cases: each begins an exchange up to its wait, then all files change, then each ends.
fn play<W>(
    seconds: i64,
    start: impl Fn(&mut Stage, Case, &mut Wire) -> W,
    end: impl Fn(&mut Stage, Case, &mut Wire, W),
) {
    for cases in cases().chunks(CASES) {
        let mut stage = Stage::new(cases, seconds);
        let waiting: Vec<_> = cases
            .iter()
            .map(|case| {
                let mut client = stage.world.client();
                let upstream = start(&mut stage, *case, &mut client);
                (*case, client, upstream)
            })
            .collect();
        stage.change();
        for (case, mut client, upstream) in waiting {
            end(&mut stage, case, &mut client, upstream);
        }
    }
}

fn granted(case: Case) -> Vec<u8> {
    let number = case.number;
    let body = format!(r#"{{"access_token":"b{number}","refresh_token":"s{number}","expires_in":3600}}"#);
    Answer::new("200 OK").header("Content-Type", "application/json").body(body).bytes()
}

fn old(case: Case) -> String {
    format!("a{}", case.number)
}

fn fresh(case: Case) -> String {
    format!("b{}", case.number)
}

#[test]
fn during_a_refresh() {
    play(
        -1,
        |stage, case, client| {
            client.send(stage.get(case, "").bytes());
            stage.call(case)
        },
        |stage, case, client, mut call| {
            call.send(granted(case));
            let exchange = stage.get(case, &fresh(case));
            let wire = stage.reaches(&exchange);
            stage.finish(&exchange, wire, client);
        },
    );
}

#[test]
fn during_a_slow_upload() {
    const FIRST: usize = 5;
    play(
        3600,
        |stage, case, client| {
            let exchange = stage.post(case, &old(case));
            client.send(exchange.head_bytes());
            client.send(&BODY[..FIRST]);
            let mut wire = stage.world.upstream.next();
            exchange.check_head(&stage.world.host, &wire.head().unwrap());
            assert_eq!(wire.bytes(FIRST).unwrap(), &BODY[..FIRST]);
            wire
        },
        |stage, case, client, mut wire| {
            client.send(&BODY[FIRST..]);
            let rest = Framing::Length((BODY.len() - FIRST) as u64);
            assert_eq!(wire.body(rest).unwrap().0, &BODY[FIRST..]);
            stage.finish(&stage.post(case, &old(case)), wire, client);
        },
    );
}

#[test]
fn during_a_slow_first_byte() {
    play(
        3600,
        |stage, case, client| {
            let exchange = stage.get(case, &old(case));
            client.send(exchange.bytes());
            stage.reaches(&exchange)
        },
        |stage, case, client, wire| {
            let answer = Answer::new("418 I'm a teapot").body("tea");
            let exchange = stage.get(case, &old(case)).answer(answer);
            if case.before.headers {
                let mut wire = wire;
                wire.send(exchange.answer.bytes());
                let fault = Fault(502, "response_rule", "no tea");
                stage.check_fault(case, fault, &client.answer().unwrap());
            } else {
                stage.finish(&exchange, wire, client);
            }
        },
    );
}

/// The retry follows the old rules, with another access token, which the old client id obtains.
#[test]
fn before_a_401_that_causes_a_refresh() {
    play(
        3600,
        |stage, case, client| {
            let exchange = stage.post(case, &old(case));
            client.send(exchange.bytes());
            stage.reaches(&exchange)
        },
        |stage, case, client, mut wire| {
            wire.send(Answer::new("401 Unauthorized").body("expired").bytes());
            stage.world.upstream.keep(wire);
            stage.call(case).send(granted(case));
            let exchange = stage.post(case, &fresh(case));
            let wire = stage.reaches(&exchange);
            stage.finish(&exchange, wire, client);
        },
    );
}

#[test]
fn before_an_answer_that_never_comes() {
    play(
        3600,
        |stage, case, client| {
            let exchange = stage.get(case, &old(case));
            client.send(exchange.bytes());
            stage.reaches(&exchange)
        },
        |stage, case, client, wire| {
            drop(wire);
            let message =
                format!("Upstream t{} failed: it closed the connection before it answered", case.number);
            stage.check_fault(case, Fault(502, "upstream_reset", &message), &client.answer().unwrap());
        },
    );
}

/// A call of tollgate's own API: its body may name the fields that the files declared when it began.
#[test]
fn during_a_slow_call_of_the_api() {
    let stage = Stage::new(&cases()[15..16], 3600);
    assert!(matches!(stage.cases[0].after, After::Gone));
    let body = json!({ "providers": { "t15": { "login": { "accessToken": "c1" } } } }).to_string();
    let (token, length) = (&stage.world.token, body.len());
    let mut client = stage.world.client();
    client.send(format!(
        "PUT /auth/creds HTTP/1.1\r\nHost: g\r\nx-api-key: {token}\r\nContent-Length: {length}\r\n\
         Expect: 100-continue\r\n\r\n"
    ));
    // The call waits for its body.
    assert_eq!(client.head().unwrap().status(), 100);
    stage.change();
    client.send(&body);
    let answer = client.answer().unwrap();
    assert_eq!(answer.head.status(), 200, "{}", answer.body.escape_ascii());
    // The next call sees the new files.
    let fault = Api::new(stage.world.gateway.address, token).call("PUT /auth/creds", &body.parse().unwrap());
    assert_eq!(fault.status, 400, "{fault:?}");
}
