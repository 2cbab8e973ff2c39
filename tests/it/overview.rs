//! The overview of operators, and the stream of events: what they say, what ends a stream, and their limits.

use rustix::process::Signal;
use serde_json::{Value, json};

use tollgate::clock::now_ms;

use crate::harness::{Answer, Api, Exchange, Home, Wire, World, eventually, provider, provider_with_login};

const NONE: &Value = &Value::Null;

fn overview(admin: &Api) -> Value {
    admin.done("GET /admin/overview", NONE)
}

/// The kinds and severities of what needs attention.
fn attention(overview: &Value) -> Vec<(String, String)> {
    let entries = overview["attention"].as_array().unwrap().iter();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    entries.map(|entry| (text(entry, "severity"), text(entry, "kind"))).collect()
}

/// A stream of events.
struct Stream {
    wire: Wire,
    text: String,
}

impl Stream {
    /// Asks for a stream. Its answer has this status.
    fn ask(api: &Api, topics: &str, status: u16) -> Self {
        let mut wire = api.begin(&format!("GET /admin/events?topics={topics}"), b"");
        let head = wire.head().unwrap();
        assert_eq!(head.status(), status);
        if status == 200 {
            assert_eq!(head.get("content-type"), Some("text/event-stream"));
            assert_eq!(head.get("cache-control"), Some("no-store"));
        }
        Self { wire, text: String::new() }
    }

    fn open(api: &Api, topics: &str) -> Self {
        Self::ask(api, topics, 200)
    }

    /// The next event: its name and its document. None at the end.
    fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let Some(event) = event.strip_prefix("event: ") else { continue };
                let (name, data) = event.split_once("\ndata: ").unwrap();
                return Some((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
            let chunk = self.wire.chunk().unwrap()?;
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event with this name.
    fn wait(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().unwrap_or_else(|| panic!("no `{name}`"));
            if found == name {
                return data;
            }
            assert_ne!(found, "end", "{data}");
        }
    }

    /// Waits for the end, whose event has this reason.
    fn ends(mut self, reason: &str) {
        while let Some((name, data)) = self.next() {
            if name == "end" {
                assert_eq!(data, json!({ "reason": reason }));
                assert_eq!(self.next(), None);
                return;
            }
        }
        panic!("the stream ended without a reason");
    }
}

#[test]
fn the_overview_counts_calls_and_outlives_a_restart() {
    let mut world = World::new();
    let admin = Api::admin(&world);
    let empty = overview(&admin);
    assert_eq!((&empty["now"]["requests"], &empty["day"]["total"]["requests"]), (&json!(0), &json!(0)));
    let setup = json!({ "users": true, "credentials": true, "exchanges": false });
    assert_eq!((&empty["setup"], &empty["attention"]), (&setup, &json!([])));
    world.exchange(Exchange::get().answer(Answer::new("200 OK").body("x")));
    world.exchange(Exchange::get().answer(Answer::new("500 Internal Server Error").body("x")));
    eventually("both calls count", || overview(&admin)["day"]["total"]["requests"] == 2);
    let now = overview(&admin);
    let minute = &now["now"];
    assert_eq!((&minute["requests"], &minute["errors"]), (&json!(2), &json!(1)), "{minute}");
    assert_eq!(minute["failures"], json!({ "upstream_error": 1 }));
    assert!(minute["requestsPerSecond"].as_f64().unwrap() > 0.0, "{minute}");
    assert!(minute["firstByte"]["p99Ms"].is_u64() && now["firstByte"]["times"]["p50Ms"].is_u64(), "{now}");
    let hours = now["day"]["hours"].as_array().unwrap();
    let of_hours = |key: &str| hours.iter().map(|hour| hour[key].as_u64().unwrap()).sum::<u64>();
    assert!((24..=25).contains(&hours.len()), "{hours:?}");
    assert_eq!((of_hours("requests"), of_hours("errors"), &now["day"]["errors"]), (2, 1, &json!(1)));
    // What tollgate answers itself is no traffic.
    assert_eq!(minute["inFlight"]["now"], 0);

    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    world.gateway = world.home.serve(&[]);
    let again = overview(&Api::admin(&world));
    assert_eq!((&again["now"]["requests"], &again["day"]["total"]["requests"]), (&json!(0), &json!(2)));
    assert_eq!(again["setup"]["exchanges"], true);
}

#[test]
fn what_needs_attention_is_named_until_it_is_mended() {
    let world = World::new();
    let admin = Api::admin(&world);
    let reload = || admin.get("POST /admin/reload");
    world.home.write("new", "base_url = 1\n");
    reload();
    let found = overview(&admin);
    assert_eq!(attention(&found), [("error".to_owned(), "file_rejected".to_owned())]);
    let entry = &found["attention"][0];
    assert!(entry["message"].as_str().unwrap().contains("providers.d/new.toml"), "{entry}");
    assert_eq!(entry["target"], "providers");
    std::fs::remove_file(world.home.providers().join("new.toml")).unwrap();
    world.home.write("t", "base_url = 1\n");
    reload();
    assert_eq!(attention(&overview(&admin)), [("warning".to_owned(), "file_stale".to_owned())]);
    // The user's key was stored for the first origin.
    world.home.write("t", &provider("http://127.0.0.1:9", ""));
    reload();
    let moved = [("error".to_owned(), "credential_moved".to_owned())];
    eventually("the key waits for a confirmation", || attention(&overview(&admin)) == moved);
    world.home.write("t", &provider(&format!("http://{}", world.host), ""));
    reload();
    eventually("nothing needs attention", || attention(&overview(&admin)).is_empty());
}

#[test]
fn calls_that_an_upstream_refuses_are_failed_and_the_key_is_named() {
    let mut world = World::new();
    let admin = Api::admin(&world);
    for _ in 0..3 {
        world.exchange(Exchange::get().answer(Answer::new("401 Unauthorized").body("x")));
    }
    eventually("all calls count", || overview(&admin)["now"]["failed"] == 3);
    eventually("the ledger has them", || overview(&admin)["day"]["total"]["failed"] == 3);
    let found = overview(&admin);
    assert_eq!((&found["now"]["requests"], &found["now"]["errors"]), (&json!(3), &json!(0)));
    assert_eq!(found["now"]["failures"], json!({ "upstream_rejected": 3 }));
    let of_hours =
        found["day"]["hours"].as_array().unwrap().iter().map(|hour| hour["failed"].as_u64().unwrap());
    assert_eq!(of_hours.sum::<u64>(), 3);
    assert_eq!(attention(&found), [("error".to_owned(), "key_refused".to_owned())]);
    let entry = &found["attention"][0];
    assert_eq!(entry["target"], "users");
    assert!(entry["message"].as_str().unwrap().contains("3 calls answered 401"), "{entry}");
    world.exchange(Exchange::get().answer(Answer::new("200 OK").body("x")));
    eventually("the key is good", || attention(&overview(&admin)).is_empty());
}

#[test]
fn a_shared_login_that_ends_without_a_refresh_token_is_named() {
    let file = provider_with_login("http://127.0.0.1:9", "http://127.0.0.1:9/token");
    let home = Home::new(&[("t", &file)]);
    let gateway = home.serve(&[]);
    let token = std::fs::read_to_string(home.data().join("admin-token")).unwrap();
    let admin = Api::new(gateway.address, token.trim_end());
    let check = |path: &str, login: Value, expected: &[(&str, &str)]| {
        let document = json!({ "providers": { "t": { "login": login } } });
        admin.done(&format!("PATCH /admin/credentials/{path}"), &document);
        let expected: Vec<_> =
            expected.iter().map(|(severity, kind)| ((*severity).to_owned(), (*kind).to_owned())).collect();
        eventually("the overview names the logins", || attention(&overview(&admin)) == expected);
    };
    let hours = |number: u64| now_ms() + number * 3_600_000;
    check("everybody", json!({ "accessToken": "a", "expiresAt": hours(48) }), &[]);
    check("groups/g", json!({ "accessToken": "a", "refreshToken": "r", "expiresAt": hours(1) }), &[]);
    check("everybody", json!({ "accessToken": "a", "expiresAt": hours(2) }), &[("warning", "login_expires")]);
    let text = overview(&admin)["attention"][0]["message"].as_str().unwrap().to_owned();
    assert!(text.starts_with("The login `providers.t.login` of everybody expires at "), "{text}");
}

#[test]
fn a_stream_has_the_state_of_the_files_and_the_overview() {
    let world = World::new();
    let admin = Api::admin(&world);
    let mut both = Stream::open(&admin, "status,overview");
    let first = both.wait("status");
    assert_eq!(
        (&first["ok"], &first["generation"], &first["counts"]["live"]),
        (&json!(true), &json!(1), &json!(1))
    );
    assert_eq!(both.wait("overview")["now"]["requests"], 0);
    let mut status = Stream::open(&admin, "status");
    status.wait("status");
    world.home.write(
        "second",
        &provider("http://127.0.0.1:9", "")
            .replace("/t\"", "/second\"")
            .replace("providers.t", "providers.second"),
    );
    for stream in [&mut both, &mut status] {
        let changed = stream.wait("status");
        assert_eq!((&changed["counts"]["live"], &changed["generation"]), (&json!(2), &json!(2)), "{changed}");
    }
    // A broken file changes no table, but the state.
    world.home.write("broken", "x = \n");
    assert_eq!(status.wait("status")["counts"]["rejected"], 1);
    assert_eq!(
        attention(&loop {
            let next = both.wait("overview");
            if next["attention"] != json!([]) {
                break next;
            }
        }),
        [("error".to_owned(), "file_rejected".to_owned())]
    );
    admin.fails(
        "GET /admin/events?topics=all",
        NONE,
        (400, "invalid_request", "?topics=: `status`, `overview`, or both with a comma between"),
    );
    let user = admin.with(&world.token);
    assert_eq!(user.get("GET /admin/events").status, 401);
}

#[test]
fn a_stream_ends_with_its_token_and_with_its_session() {
    let world = World::new();
    let admin = Api::admin(&world);
    let made = admin.done("POST /admin/tokens", &json!({}));
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    let other = admin.with(&text("token"));
    eventually("the new token is known", || other.get("GET /admin/overview").status == 200);
    let session = other.signed_in("/admin/session");
    let mut streams = [&other, &session].map(|api| Stream::open(api, "status"));
    for stream in &mut streams {
        stream.wait("status");
    }
    let signed_out = admin.signed_in("/admin/session");
    let mut left = Stream::open(&signed_out, "overview");
    left.wait("overview");
    signed_out.done("DELETE /admin/session", NONE);
    left.ends("session");
    admin.done(&format!("DELETE /admin/tokens/{}?withMade=true", text("id")), NONE);
    for stream in streams {
        stream.ends("session");
    }
}

#[test]
fn streams_end_at_the_drain_and_hold_no_shutdown() {
    let mut world = World::with("", &["--drain-delay", "20s"]);
    let admin = Api::admin(&world);
    let mut stream = Stream::open(&admin, "overview,status");
    stream.wait("overview");
    world.gateway.signal(Signal::TERM);
    stream.ends("stopping");
    let reply = admin.get("GET /admin/events");
    assert_eq!((reply.status, &reply.body["error"]["code"]), (503, &json!("overloaded")));
    world.gateway.signal(Signal::TERM);
    world.gateway.exit();
    let logged = world.gateway.logged("/admin/events");
    assert!(logged.iter().any(|line| line.contains(r#""end":"complete""#)), "{logged:?}");
}

#[test]
fn the_streams_are_limited_and_each_end_makes_room() {
    let world = World::with("", &["--workers", "2"]);
    let admin = Api::admin(&world);
    let sessions: Vec<Api> = (0..4).map(|_| admin.signed_in("/admin/session")).collect();
    let mut streams = Vec::new();
    for session in &sessions {
        // One more takes the place of the oldest.
        let first = Stream::open(session, "status");
        streams.extend((0..4).map(|_| Stream::open(session, "status")));
        first.ends("replaced");
    }
    let reply = admin.get("GET /admin/events");
    let error = &reply.body["error"];
    assert_eq!((reply.status, &error["code"]), (503, &json!("overloaded")));
    assert!(error["message"].as_str().unwrap().starts_with("Too many pages are open: "), "{error}");
    // It takes no place, so it needs none.
    let mut wire = admin.begin("HEAD /admin/events", b"");
    assert_eq!(wire.head().unwrap().status(), 200);
    drop(streams.pop());
    eventually("there is room again", || {
        let mut wire = admin.begin("GET /admin/events?topics=status", b"");
        wire.head().unwrap().status() == 200
    });
    world.home.write("broken", "x = \n");
    for stream in &mut streams {
        while stream.wait("status")["counts"]["rejected"] != 1 {}
    }
}

#[test]
fn a_head_request_opens_no_stream() {
    let world = World::new();
    let admin = Api::admin(&world);
    let mut streams: Vec<Stream> = (0..4).map(|_| Stream::open(&admin, "status")).collect();
    for _ in 0..20 {
        let mut wire = admin.begin("HEAD /admin/events", b"");
        let head = wire.head().unwrap();
        assert_eq!((head.status(), head.get("content-type")), (200, Some("text/event-stream")));
        assert!(wire.left_over().is_empty(), "a body follows");
    }
    // None of them has taken a place.
    world.home.write("broken", "x = \n");
    for stream in &mut streams {
        while stream.wait("status")["counts"]["rejected"] != 1 {}
    }
}
