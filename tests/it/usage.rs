//! Usage in the real binary: from an exchange to the API and `tollgate usage`, over a restart, and over `kill -9`.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tollgate::{
    clock,
    store::{Exchange, Store, UsageBatch, UsageKey, UsageSums},
    usage::{Counter, Counters},
};

use crate::harness::{
    Api, CommandOutput, DiskFault, FaultyDisk, Home, Site, Wire, World, eventually, over_socket, root,
};

/// The requests that the ledger has.
fn requests(site: &Site) -> usize {
    let (status, document) = over_socket(&site.home.data(), "GET /admin/usage");
    assert_eq!(status, 200, "{document}");
    usize::try_from(document["total"]["requests"].as_u64().unwrap()).unwrap()
}

fn client(site: &Site) -> Wire {
    Wire::connect(site.gateway().address)
}

/// Adds usage and single exchanges of this hour, as a server does.
pub fn fill(home: &Home, usage: Vec<(UsageKey, UsageSums)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let now = clock::now_ms();
        let exchange = |(key, sums): &(UsageKey, UsageSums)| Exchange {
            ended_at_ms: now,
            duration_ms: 1500,
            first_byte_ms: Some(20),
            key: key.clone(),
            request_id: "req_1".into(),
            status: Some(200),
            outcome: "success".into(),
            counters: sums.counters,
            estimated_answer: sums.estimated_answer,
            ..Exchange::default()
        };
        let exchanges = usage.iter().map(exchange).collect();
        let hours = usage.into_iter().map(|(key, sums)| (now / 3_600_000, key, sums)).collect();
        let store = Store::open(&home.data()).await.unwrap();
        assert!(store.add_usage("test", &UsageBatch { number: 1, hours, exchanges }, now).await.unwrap());
        store.close().await;
    });
}

pub fn key(user: &str, model: &str) -> UsageKey {
    UsageKey { user: user.into(), provider: "a".into(), model: model.into(), ..UsageKey::default() }
}

pub fn sums(requests: u64, input: u64, output: u64) -> UsageSums {
    let mut counters = Counters::ZERO;
    counters.set(Counter::Input, input);
    counters.set(Counter::Output, output);
    UsageSums { requests, counters, ..UsageSums::default() }
}

#[test]
fn exchanges_are_usage_of_their_user() {
    let mut site = Site::stopped("a=1 b=1");
    let bob = site.home.user("bob");
    site.start(&[]);
    let mut client = client(&site);
    for name in ["a", "a", "b", "a"] {
        site.seen(&mut client, name);
    }
    eventually("the exchanges are written", || requests(&site) == 4);
    let admin = fs::read_to_string(site.home.data().join("admin-token")).unwrap();
    let admin = Api::new(site.gateway().address, admin.trim_end());
    let ada = admin.with(&site.token);
    let report = admin.done("GET /admin/usage?by=user,provider,endpoint", &Value::Null);
    let rows = report["rows"].as_array().unwrap().iter().map(|row| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("userName"), text("provider"), text("endpoint"), row["sums"]["requests"].as_u64().unwrap())
    });
    let row = |provider: &str, number| ("ada".to_owned(), provider.to_owned(), "get".to_owned(), number);
    assert_eq!(rows.collect::<Vec<_>>(), [row("a", 3), row("b", 1)]);
    // The same rows by default, for all callers; one row on demand.
    for path in ["/admin/usage", "/auth/usage"] {
        let caller = if path.starts_with("/admin") { &admin } else { &ada };
        for (query, by, rows) in [
            ("", json!(["user", "model"]), 1),
            ("?by=none", json!([]), 1),
            ("?by=provider", json!(["provider"]), 2),
        ] {
            let report = caller.done(&format!("GET {path}{query}"), &Value::Null);
            assert_eq!(
                (&report["by"], report["rows"].as_array().unwrap().len()),
                (&by, rows),
                "{path}{query}"
            );
        }
    }
    assert!(site.home.done(&["usage", "--by", "none", "--csv"], "").starts_with("requests,"));
    let own = |api: &Api| api.done("GET /auth/usage?by=provider&top=1", &Value::Null);
    assert_eq!((&own(&ada)["total"], own(&ada)["rows"][1]["rest"].as_bool()), (&report["total"], Some(true)));
    assert_eq!(own(&admin.with(&bob))["total"]["requests"], 0);
    let last = ada.done("GET /auth/usage/recent?limit=2", &Value::Null);
    let shown: Vec<_> =
        last["exchanges"].as_array().unwrap().iter().map(|one| one["provider"].clone()).collect();
    assert_eq!((shown, &last["next"]), (vec![json!("b"), json!("a")], &json!(4)));
    assert_eq!(last["exchanges"][0]["outcome"], "success");
    assert_eq!(ada.done("GET /auth/usage/recent?after=4", &Value::Null)["exchanges"], json!([]));
    assert_eq!(admin.with(&bob).done("GET /auth/usage/recent", &Value::Null)["exchanges"], json!([]));
    for (query, next) in [("limit=0", 4), ("limit=0&after=2", 2), ("limit=1&after=0", 1)] {
        assert_eq!(
            ada.done(&format!("GET /auth/usage/recent?{query}"), &Value::Null)["next"],
            next,
            "{query}"
        );
    }
    // A token with scopes sees what it could use itself.
    let new = json!({ "label": "scoped", "kind": "manage", "scopes": ["b/get"] });
    let scoped = ada.done("POST /auth/tokens", &new)["token"].as_str().unwrap().to_owned();
    let scoped = admin.with(&scoped);
    assert_eq!(own(&scoped)["total"]["requests"], 1);
    let last = scoped.done("GET /auth/usage/recent", &Value::Null);
    assert_eq!(
        (last["exchanges"].as_array().unwrap().len(), &last["exchanges"][0]["provider"]),
        (1, &json!("b"))
    );
    let named = admin.done("GET /admin/usage/recent?user=ada&provider=b", &Value::Null);
    assert_eq!(named["exchanges"].as_array().unwrap().len(), 1);
    // `-` stands for none, as tables show it.
    for (filter, requests) in [("group=-", 4), ("model=-", 4), ("token=-", 0), ("provider=-", 0)] {
        let report = admin.done(&format!("GET /admin/usage?{filter}"), &Value::Null);
        assert_eq!(report["total"]["requests"], requests, "{filter}");
        let last = admin.done(&format!("GET /admin/usage/recent?{filter}"), &Value::Null);
        assert_eq!(last["exchanges"].as_array().unwrap().len(), requests, "{filter}");
    }
    assert_eq!(site.home.done(&["usage", "--group", "-", "--by", "provider"], "").lines().count(), 4);
    let said = site.home.run(&["usage", "--token", "-"], "");
    assert!(
        said.err.contains("with `--token -`") && said.err.contains("no usage is without one"),
        "{said:?}"
    );
    // A removed user keeps the history, by id.
    let id = report["rows"][0]["user"].as_str().unwrap();
    admin.done(&format!("DELETE /admin/users/{id}"), &Value::Null);
    let after = admin.done(&format!("GET /admin/usage?by=user&user={id}"), &Value::Null);
    assert_eq!((&after["rows"][0]["user"], after["rows"][0].get("userName")), (&json!(id), None));
    assert_eq!(after["total"]["requests"], 4);
}

/// Lists of tokens hide those that reach further, too.
#[test]
fn a_token_with_scopes_sees_no_id_of_a_token_that_reaches_further() {
    let site = Site::new("a=1 b=1", &[]);
    let mut client = client(&site);
    site.seen(&mut client, "b");
    let ada = Api::new(site.gateway().address, &site.token);
    let wide = ada.done("GET /auth/me", &Value::Null)["token"]["id"].as_str().unwrap().to_owned();
    let made = |kind: &str| {
        let new = json!({ "label": kind, "kind": kind, "scopes": ["b/get"] });
        let made = ada.done("POST /auth/tokens", &new);
        (made["token"].as_str().unwrap().to_owned(), made["id"].clone())
    };
    let ((manage, _), (narrow, narrow_id)) = (made("manage"), made("proxy"));
    client.send(site.request("b", "get").replace(&site.token, &narrow));
    assert_eq!(client.answer().unwrap().head.status(), 200);
    eventually("the exchanges are written", || requests(&site) == 2);
    let tokens = |api: &Api| {
        let report = api.done("GET /auth/usage?by=token&provider=b", &Value::Null);
        let rows = report["rows"].as_array().unwrap().iter();
        let mut all: Vec<_> =
            rows.map(|row| (row["token"].clone(), row["sums"]["requests"].clone())).collect();
        all.sort_by_key(|(token, _)| token.to_string());
        all
    };
    let scoped = ada.with(&manage);
    let mut all = [(json!(wide), json!(1)), (narrow_id.clone(), json!(1))];
    all.sort_by_key(|(token, _)| token.to_string());
    assert_eq!(tokens(&ada), all);
    assert_eq!(tokens(&scoped), [(json!("(hidden)"), json!(1)), (narrow_id.clone(), json!(1))]);
    let last = scoped.done("GET /auth/usage/recent", &Value::Null);
    assert_eq!(
        (&last["exchanges"][0]["token"], &last["exchanges"][1]["token"]),
        (&json!("(hidden)"), &narrow_id)
    );
    for (token, number) in [(wide.as_str(), 0), (narrow_id.as_str().unwrap(), 1), ("(hidden)", 0)] {
        let found = scoped.done(&format!("GET /auth/usage?token={token}"), &Value::Null);
        assert_eq!(found["total"]["requests"], number, "{token}");
        let found = scoped.done(&format!("GET /auth/usage/recent?token={token}"), &Value::Null);
        assert_eq!(found["exchanges"].as_array().unwrap().len(), number, "{token}");
    }
}

/// A server that was not restarted after an update.
#[test]
fn an_older_server_is_named_as_the_reason() {
    let home = Home::new(&[("a", PROVIDER)]);
    home.user("ada");
    let socket = UnixListener::bind(home.data().join("control.sock")).unwrap();
    let older = thread::spawn(move || {
        for _ in 0..2 {
            let mut stream = BufReader::new(socket.accept().unwrap().0);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).unwrap();
            }
            let body = r#"{"error":{"type":"tollgate_error","code":"not_found","message":"Not found"}}"#;
            let head = format!(
                "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.get_mut().write_all((head + body).as_bytes()).unwrap();
        }
    });
    for args in [&["usage"][..], &["usage", "--recent"]] {
        let said = home.run(args, "");
        let expected = "error: the server that runs is older than this command, and does not know usage: restart it with this version\n";
        assert_eq!((said.code, said.err.as_str()), (1, expected), "{args:?}");
    }
    older.join().unwrap();
}

#[test]
fn a_wrong_question_is_refused_with_its_parameter() {
    let site = Site::new("a=1", &[]);
    let ada = Api::new(site.gateway().address, &site.token);
    let check = |query: &str, message: &str| {
        ada.fails(&format!("GET /auth/usage?{query}"), &Value::Null, (400, "invalid_request", message));
    };
    check("sinc=7d", "unknown query parameter; did you mean `since`?");
    check(
        "user=ada",
        "unknown query parameter; known here: `by`, `since`, `until`, `every`, `tz`, `top`, `token`, `group`, `provider`, `endpoint`, `model`, `key_owner`, `format`",
    );
    check(
        "by=usr",
        "?by=: no such dimension; did you mean `user`? All are `user`, `token`, `group`, `provider`, `endpoint`, `model`, `key_owner`, with commas",
    );
    check(
        "by=none,user",
        "?by=: no such dimension; all are `user`, `token`, `group`, `provider`, `endpoint`, `model`, `key_owner`, with commas",
    );
    check("by=user,user", "?by=: `user` stands there twice");
    check("since=1d&since=2d", "?since=: it stands there twice: give it once");
    check("model=", "?model=: its value is empty, or longer than 256 bytes");
    check("every=week", "?every=: it is written `hour`, `day` or `month`");
    check("tz=Europe/Berln", "?tz=: no such time zone: give an IANA name, such as `Europe/Berlin`");
    check("tz=../../etc/passwd", "?tz=: no such time zone: give an IANA name, such as `Europe/Berlin`");
    check("top=-1", "?top=: it is a number in digits, at most 1000");
    check("since=1d&until=2d", "?until=: it is before `since`");
    check("until=8d", "?until=: it is before the range begins, 7 days ago: give `since` too");
    check("since=2999-01-01", "?since=: it is in the future, and the range ends now: give an earlier time");
    check(
        "since=400d&every=hour",
        "?every=: the range has more than 2000 parts: choose a later `since`, or a longer `every`",
    );
    check("format=xml", "?format=: it is written `json` or `csv`");
    let said = site.home.run(&["usage", "--by", "usr"], "");
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.starts_with("error: `--by`: no such dimension; did you mean `user`?"), "{said:?}");
    let said = site.home.run(&["usage", "--user", "eve"], "");
    assert_eq!(said.err, "error: `--user`: no user has this id or name: `tollgate user list` shows all\n");
}

/// A provider whose upstream is not there.
const PROVIDER: &str = "title = \"A\"\nbase_url = \"http://127.0.0.1:9\"\npath_prefix = \"/a\"\n[endpoint.get]\nmethod = \"GET\"\npath = \"/get\"\n";

/// The same with and without a server.
#[test]
fn usage_is_shown_with_its_cost() {
    let home = Home::new(&[("a", PROVIDER)]);
    fs::create_dir(home.providers().join("prices")).unwrap();
    let prices =
        "title = \"A\"\ncurrency = \"USD\"\n[[price]]\nmodel = [\"small\"]\ninput = 2.5\noutput = 10\n";
    fs::write(home.providers().join("prices/a.toml"), prices).unwrap();
    home.user("ada");
    let listed = home.done(&["user", "list"], "");
    let ada = listed.lines().nth(1).and_then(|line| line.split(' ').next()).unwrap();
    let estimated = UsageSums { estimated_answer: 500, ..sums(1, 10, 500) };
    let usage = vec![
        (key(ada, "small"), sums(1200, 2_000_000, 300_000)),
        (key(ada, "unknown"), estimated),
        (key("usr_00000000000000ff", "small"), sums(1, 4, 0)),
    ];
    fill(&home, usage);
    let shown = |home: &Home| {
        let CommandOutput { code, out, err } = home.run(&["usage", "--every", "month"], "");
        assert_eq!(code, 0, "{err}");
        let month = &clock::utc(clock::now_ms())[..7];
        let out = out.replace(month, "yyyy-mm");
        let expected = "\
MONTH    USER                  MODEL    REQUESTS  FAILED      INPUT   OUTPUT          COST
yyyy-mm  ada                   small       1,200       0  2,000,000  300,000      8.00 USD
yyyy-mm  ada                   unknown         1       0         10     ~500             -
yyyy-mm  usr_00000000000000ff  small           1       0          4        0  0.00001 USD
total                                      1,202       0  2,000,014 ~300,500     ~8.00 USD
";
        let words = |text: &str| -> Vec<Vec<String>> {
            text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
        };
        assert_eq!(words(&out), words(expected), "{out}");
        let widths: Vec<usize> = out.lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "the last column is aligned: {out}");
        assert!(err.contains("no price, and in no cost: 510 tokens: 510 of a/unknown\n"), "{err}");
        assert!(err.contains("~: 500 tokens are estimates\n"), "{err}");
        let csv = home.done(&["usage", "--csv", "--by", "model", "--user", "ada"], "");
        assert!(csv.starts_with("model,requests,failed,not_counted,refused,"), "{csv}");
        let first = csv.lines().nth(1).unwrap();
        assert!(first.starts_with("small,1200,0,0,") && first.ends_with(",8"), "{csv}");
        let json: Value = serde_json::from_str(&home.done(&["usage", "--json", "--top", "1"], "")).unwrap();
        assert_eq!(json["rows"][0]["sums"]["cost"], json!({ "USD": "8" }));
        assert_eq!(
            (json["rows"][1]["rest"].clone(), json["total"]["unpricedTokens"].clone()),
            (json!(true), json!(510))
        );
        let csv = home.done(&["usage", "--csv", "--by", "model", "--top", "0"], "");
        assert!(csv.lines().nth(1).unwrap().starts_with("(rest),1202,"), "{csv}");
        let said = home.run(&["usage", "--provider", "b", "--model", "smal"], "");
        let with = "no usage with `--provider b`, `--model smal` from ";
        let hints = "; all usage has `--provider` `a`; did you mean `--model small`?\n";
        assert!(said.code == 0 && said.err.starts_with(with) && said.err.ends_with(hints), "{said:?}");
        let said = home.run(&["usage", "--recent", "--model", "smal"], "");
        assert_eq!(said.err, "no exchange with `--model smal`; did you mean `--model small`?\n");
        let last = home.done(&["usage", "--recent", "1", "--user", "ada"], "");
        let last = last.lines().nth(1).unwrap();
        assert!(last.ends_with("20 ms  1,500 ms      10    ~500     -"), "{last}");
    };
    shown(&home);
    let _gateway = home.serve(&[]);
    shown(&home);
}

/// Ends with its owner.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn new_exchanges_are_followed() {
    let site = Site::new("a=1 b=1", &[]);
    let mut client = client(&site);
    site.seen(&mut client, "a");
    eventually("the exchange is written", || requests(&site) == 1);
    let mut following = Following(site.home.spawn(&["usage", "--recent", "--follow"]));
    let mut lines = BufReader::new(following.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let head = lines.next().unwrap();
    assert!(head.starts_with("TIME") && head.ends_with("COST"), "{head}");
    assert!(lines.next().unwrap().contains("ada   a         -      200     success"), "the last exchange");
    for name in ["b", "a", "b"] {
        site.seen(&mut client, name);
        let line = lines.next().unwrap();
        assert!(line.contains(&format!("ada   {name}         -      200     success")), "{line}");
    }
}

#[test]
fn csv_has_its_content_type() {
    let site = Site::new("a=1", &[]);
    let mut client = client(&site);
    for path in ["usage", "usage/recent"] {
        client.send(format!(
            "GET /auth/{path}?format=csv HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\r\n",
            site.token
        ));
        let answer = client.answer().unwrap();
        let kind = answer.head.get("content-type");
        assert_eq!((answer.head.status(), kind), (200, Some("text/csv; charset=utf-8")), "{path}");
        // The built-in prices are in US dollars: the column is there without a row.
        assert!(answer.body.ends_with(b"unpriced_tokens,cost_USD\n"), "{path}");
    }
}

/// The stated loss: what ended in the last second. Nothing is counted twice.
#[test]
fn kill_9_loses_the_usage_of_one_second_at_most() {
    let mut site = Site::new("a=1", &[]);
    let mut first = client(&site);
    let mut ends = Vec::new();
    while ends.len() < 300 || requests(&site) < 100 {
        site.seen(&mut first, "a");
        ends.push(Instant::now());
    }
    let killed = Instant::now();
    site.stop(Signal::KILL);
    site.start(&[]);
    let kept = requests(&site);
    assert!((100..=ends.len()).contains(&kept), "{kept} of {}", ends.len());
    // One client and one worker: they are written in their order.
    if let Some(lost) = ends.get(kept) {
        let age = killed - *lost;
        assert!(age <= Duration::from_secs(1), "lost what ended {age:?} before: {kept} of {}", ends.len());
    }
    let mut second = client(&site);
    (0..20).for_each(|_| drop(site.seen(&mut second, "a")));
    eventually("what follows is written", || requests(&site) == kept + 20);
}

#[test]
fn a_graceful_stop_loses_no_usage() {
    let mut site = Site::new("a=1", &[]);
    let mut first = client(&site);
    (0..50).for_each(|_| drop(site.seen(&mut first, "a")));
    site.stop(Signal::TERM);
    site.start(&[]);
    assert_eq!(requests(&site), 50);
}

/// Reports without the usage that waits would look complete.
#[test]
fn usage_that_cannot_be_written_is_reported_until_it_is() {
    let (mut site, disk) = (Site::stopped("a=1"), FaultyDisk::new());
    site.start_with(&disk.env().each_ref().map(|(name, value)| (*name, value.as_str())));
    let mut client = client(&site);
    site.seen(&mut client, "a");
    eventually("the exchange is written", || requests(&site) == 1);
    disk.fail(DiskFault::Full, "/data/tollgate.db");
    (0..3).for_each(|_| drop(site.seen(&mut client, "a")));
    eventually("three requests wait", || site.status()["usage_pending"]["requests"] == 3);
    assert_eq!(site.status()["ok"], false);
    let said = site.home.run(&["status"], "");
    let line = "usage of 3 requests waits in memory since ";
    assert!(said.code == 1 && said.out.contains(line) && said.out.contains(": no space left"), "{said:?}");
    for args in [&["usage"][..], &["usage", "--csv"], &["usage", "--recent"], &["usage", "--recent", "--csv"]]
    {
        let said = site.home.run(args, "");
        let last = said.err.lines().last().unwrap_or_default();
        assert!(
            said.code == 0 && last.starts_with(line) && last.contains(": no space left"),
            "{args:?}: {said:?}"
        );
    }
    let ada = Api::new(site.gateway().address, &site.token);
    for path in ["/auth/usage", "/auth/usage/recent"] {
        let own = ada.done(&format!("GET {path}"), &Value::Null);
        let keys: Vec<_> = own["pending"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["since"], "{path}: the numbers of others are not the user's");
    }
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let metrics = String::from_utf8(client.answer().unwrap().body).unwrap();
    assert!(metrics.contains("\ntollgate_usage_pending_requests 3\n"), "{metrics}");
    disk.mend();
    eventually("all usage is written", || requests(&site) == 4);
    eventually("nothing waits", || site.status()["ok"] == true);
    assert_eq!(site.status().get("usage_pending"), None);
    assert!(!site.home.run(&["usage"], "").err.contains("waits in memory"));
}

/// "Which model fails?" has an answer. A refused request has no model: its body is not read.
#[test]
fn failures_are_counted_by_the_model_of_the_request() {
    let mut world = World::with("api = \"chat-completions\"\n", &[]);
    let body = r#"{"model":"m-1","messages":[]}"#;
    let ask = |token: &str| {
        let length = body.len();
        format!(
            "POST /t/post HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let mut client = world.client();
    client.send(ask(&world.token));
    let (_, mut upstream) = world.upstream.request();
    upstream.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().unwrap().head.status(), 503);
    let mut client = world.client();
    client.send(ask(&world.home.user("bob")));
    assert_eq!(client.answer().unwrap().head.status(), 401, "bob has no key");
    let report = || over_socket(&world.home.data(), "GET /admin/usage?by=model").1;
    eventually("both are written", || report()["total"]["requests"] == 2);
    let rows = report()["rows"].clone();
    let rows: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| (&row["model"], &row["sums"]["failures"])).collect();
    let expected = [(json!(""), json!({ "refused": 1 })), (json!("m-1"), json!({ "upstream_error": 1 }))];
    assert_eq!(rows, expected.each_ref().map(|(model, failures)| (model, failures)));
}

/// The access log may lack the line, by its sample.
#[test]
fn an_exchange_is_found_by_its_request_id() {
    let mut site = Site::stopped("a=1");
    let bob = site.home.user("bob");
    site.start(&[]);
    let mut client = client(&site);
    let ids: Vec<String> = (0..3)
        .map(|_| {
            client.send(site.request("a", "get"));
            client.answer().unwrap().head.get("tollgate-request-id").unwrap().to_owned()
        })
        .collect();
    eventually("the exchanges are written", || requests(&site) == 3);
    let ada = Api::new(site.gateway().address, &site.token);
    let found = |api: &Api, query: &str| {
        let found = api.done(&format!("GET /auth/usage/recent?request_id={query}"), &Value::Null);
        let ids = found["exchanges"].as_array().unwrap().iter().map(|one| one["requestId"].clone());
        ids.collect::<Vec<_>>()
    };
    let none: [Value; 0] = [];
    assert_eq!(found(&ada, &ids[1]), [json!(ids[1])]);
    assert_eq!(found(&ada, &format!("{}&after=1", ids[1])), [json!(ids[1])]);
    assert_eq!(found(&ada, &format!("{}&after=2", ids[1])), none);
    assert_eq!(found(&ada.with(&bob), &ids[1]), none, "another user");
    let shown = site.home.done(&["usage", "--request", &ids[1], "--csv"], "");
    assert!(shown.lines().count() == 2 && shown.contains(&ids[1]), "{shown}");
    let shown = site.home.done(&["usage", "--request", &ids[2]], "");
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let said = site.home.run(&["usage", "--request", "x\u{202e}"], "");
    let expected = "no exchange has the request id `x\\u{202e}`: ";
    assert!(said.code == 0 && said.err.starts_with(expected), "{said:?}");
    let said = site.home.run(&["usage", "--request", ""], "");
    assert!(said.err.starts_with("error: `--request`: its value is empty"), "{said:?}");
}

/// Imports rely on columns: they depend on the question and on the price files alone, and the page lists them.
#[test]
fn the_columns_are_those_of_the_page() {
    let home = Home::new(&[("a", PROVIDER)]);
    fs::create_dir(home.providers().join("prices")).unwrap();
    let prices = "title = \"A\"\ncurrency = \"EUR\"\n[[price]]\nmodel = [\"m\"]\ninput = 1\n";
    fs::write(home.providers().join("prices/a.toml"), prices).unwrap();
    let page = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let (_, part) = page.split_once("\n### Columns\n").unwrap();
    let (part, _) = part.split_once("\n## ").unwrap();
    let named: Vec<&str> = part.split('`').skip(1).step_by(2).collect();
    home.user("ada");
    let report =
        ["usage", "--every", "day", "--by", "user,token,group,provider,endpoint,model,key_owner", "--csv"];
    let without = [&report[..], &["usage", "--recent", "--csv"]].map(|args| home.done(args, ""));
    for text in &without {
        let head = text.strip_suffix("\n").unwrap();
        assert!(head.ends_with(",unpriced_tokens,cost_EUR,cost_USD"), "{head}");
        for column in head.split(',').filter(|column| !column.starts_with("cost_")) {
            assert!(named.contains(&column), "{column} is not in the table of docs/operating.md");
        }
    }
    let usage = UsageSums { not_counted: 1, ..sums(1, 10, 500) };
    fill(&home, vec![(key("usr_00000000000000ff", "m"), usage)]);
    for (args, without) in [&report[..], &["usage", "--recent", "--csv"]].into_iter().zip(&without) {
        let with = home.done(args, "");
        assert_eq!(with.lines().next(), without.lines().next(), "rows change no column");
    }
    for args in [&report[..5], &["usage", "--recent"]] {
        let table = home.done(args, "");
        for title in
            table.lines().next().unwrap().split("  ").map(str::trim).filter(|title| !title.is_empty())
        {
            assert!(named.contains(&title), "{title} is not in the table of docs/operating.md");
        }
    }
}
