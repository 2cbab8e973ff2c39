//! Totals of the usage ledger, exchange by exchange, against an upstream that keeps books: many users, several wire
//! formats, reloads, and ends of the process without warning.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Api, Gateway, Home, Wire, chunk, eventually, over_socket};

/// Exchanges in all.
const EXCHANGES: usize = 10_000;
/// Users, each with a token.
const USERS: usize = 200;
/// Clients at once.
const CLIENTS: usize = 8;
/// A crash may lose what ended so long before it: a second, and more where a busy machine is late with a commit.
const LOSS: Duration = Duration::from_secs(3);

/// Counters by name, without zeros.
type Counts = BTreeMap<String, u64>;

/// The upstream's books: the counts of each exchange that it answered, by the exchange's number.
type Books = Arc<Mutex<BTreeMap<usize, Counts>>>;

const PROVIDER: &str = r#"
path_prefix = "/t"
[endpoint.chat]
method = "POST"
path = "/chat"
api = "chat-completions"
[endpoint.messages]
method = "POST"
path = "/messages"
api = "messages"
[endpoint.responses]
method = "POST"
path = "/responses"
api = "responses"
"#;

fn provider(upstream: SocketAddr, title: usize) -> String {
    format!("title = \"Version {title}\"\nbase_url = \"http://{upstream}\"\n{PROVIDER}")
}

/// The path of an exchange: the formats take turns.
fn path(number: usize) -> &'static str {
    match number % 6 {
        0 | 1 => "/t/chat",
        2 | 3 => "/t/messages",
        _ => "/t/responses",
    }
}

fn counts(pairs: &[(&str, usize)]) -> Counts {
    let some = pairs.iter().filter(|(_, count)| *count > 0);
    some.map(|(name, count)| ((*name).to_owned(), *count as u64)).collect()
}

/// The answer to an exchange, and its counts as its vendor's documentation defines them.
fn answer(number: usize) -> (String, Counts) {
    let (input, cached, written) = (10 + number % 91, number % 7, number % 5);
    let (output, reasoning) = (1 + number % 53, number % 3);
    let model = format!("model-{}", number % 4);
    let chat = json!({
        "prompt_tokens": input + cached, "completion_tokens": output + reasoning,
        "prompt_tokens_details": { "cached_tokens": cached },
        "completion_tokens_details": { "reasoning_tokens": reasoning },
    });
    let counted = [("input", input), ("output", output), ("cache_read", cached)];
    match number % 6 {
        0 => {
            let text = json!({ "id": "c", "model": model, "usage": chat, "choices": [{ "message": { "content": "hello" } }] });
            (unary("200 OK", &text), counts(&[&counted[..], &[("reasoning", reasoning)]].concat()))
        }
        1 => {
            let piece = json!({ "id": "c", "model": model, "choices": [{ "index": 0, "delta": { "content": "hel" } }] });
            let last = json!({ "id": "c", "model": model, "choices": [], "usage": chat });
            let events = [piece.to_string(), piece.to_string(), last.to_string(), "[DONE]".to_owned()];
            (stream(&events), counts(&[&counted[..], &[("reasoning", reasoning)]].concat()))
        }
        2 => {
            let usage = json!({
                "input_tokens": input, "output_tokens": output,
                "cache_read_input_tokens": cached, "cache_creation_input_tokens": written,
            });
            let text = json!({ "type": "message", "model": model, "usage": usage, "content": [{ "type": "text", "text": "hi" }] });
            (unary("200 OK", &text), counts(&[&counted[..], &[("cache_write", written)]].concat()))
        }
        3 => {
            let begun = json!({
                "input_tokens": input, "output_tokens": 1,
                "cache_read_input_tokens": cached, "cache_creation_input_tokens": written,
            });
            let events = [
                json!({ "type": "message_start", "message": { "model": model, "usage": begun } }).to_string(),
                json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "hi" } }).to_string(),
                json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": output } }).to_string(),
                json!({ "type": "message_stop" }).to_string(),
            ];
            (stream(&events), counts(&[&counted[..], &[("cache_write", written)]].concat()))
        }
        4 => {
            let usage = json!({
                "input_tokens": input + cached, "output_tokens": output + reasoning,
                "input_tokens_details": { "cached_tokens": cached },
                "output_tokens_details": { "reasoning_tokens": reasoning },
            });
            let events = [
                json!({ "type": "response.created", "response": { "model": model, "usage": null } })
                    .to_string(),
                json!({ "type": "response.output_text.delta", "delta": "hi" }).to_string(),
                json!({ "type": "response.completed", "response": { "model": model, "usage": usage } })
                    .to_string(),
            ];
            (stream(&events), counts(&[&counted[..], &[("reasoning", reasoning)]].concat()))
        }
        _ => (unary("429 Too Many Requests", &json!({ "error": { "message": "slow down" } })), Counts::new()),
    }
}

fn unary(status: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn stream(events: &[String]) -> String {
    let mut text =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for event in events {
        let event = chunk(format!("data: {event}\n\n").as_bytes());
        text.push_str(&String::from_utf8(event).expect("JSON is UTF-8"));
    }
    text.push_str("0\r\n\r\n");
    text
}

/// An upstream that answers by itself, and keeps books of what it answered.
fn upstream() -> (SocketAddr, Books) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let books = Books::default();
    let kept = Arc::clone(&books);
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let books = Arc::clone(&kept);
            socket.set_nodelay(true).expect("a socket takes it");
            let wire = Wire::plain(socket);
            wire.socket().set_read_timeout(None).expect("a socket takes no timeout");
            thread::spawn(move || serve(wire, &books));
        }
    });
    (address, books)
}

fn serve(mut wire: Wire, books: &Books) {
    while let Ok(request) = wire.request() {
        let body: Value = serde_json::from_slice(&request.body).expect("the test sends JSON");
        let number = body["n"].as_u64().and_then(|number| usize::try_from(number).ok());
        let number = number.expect("each request has a number");
        let (answer, counted) = answer(number);
        let known = books.lock().expect("nobody panics").insert(number, counted);
        assert!(known.is_none(), "exchange {number} came twice");
        if wire.try_send(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// An exchange whose answer a client has wholly read.
struct Done {
    number: usize,
    request_id: String,
    at: Instant,
}

/// The users' ids and tokens.
type Users = Vec<(String, String)>;

/// Clients send exchanges until all are sent or the gateway is gone. Returns those that are done.
fn run(gateway: &Gateway, users: &Users, next: &AtomicUsize, done: &AtomicUsize) -> Vec<Done> {
    thread::scope(|scope| {
        let client = || {
            let mut all = Vec::new();
            let mut wire = Wire::connect(gateway.address);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= EXCHANGES {
                    break;
                }
                let Some(request_id) = exchange(&mut wire, number, &users[number % USERS].1) else { break };
                all.push(Done { number, request_id, at: Instant::now() });
                done.fetch_add(1, Ordering::Release);
            }
            all
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    })
}

/// One exchange. Returns its request id; none if the gateway is gone.
fn exchange(wire: &mut Wire, number: usize, token: &str) -> Option<String> {
    let body = json!({ "n": number, "model": format!("model-{}", number % 4), "messages": [{ "role": "user", "content": "hello" }] });
    let body = body.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        path(number),
        body.len()
    );
    wire.try_send(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
    let answer = wire.answer().ok()?;
    Some(answer.head.get("tollgate-request-id").expect("every response has an id").to_owned())
}

/// A row of the ledger's single exchanges.
struct Row {
    user: String,
    counted: Counts,
}

/// All single exchanges in the ledger, by request id.
fn rows(home: &Home) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let mut after = 0;
    loop {
        let line = format!("GET /admin/usage/recent?limit=1000&after={after}");
        let (status, page) = over_socket(&home.data(), &line);
        assert_eq!(status, 200, "{page}");
        let exchanges = page["exchanges"].as_array().expect("a list");
        if exchanges.is_empty() {
            return rows;
        }
        for one in exchanges {
            let counted = one["counters"].as_object().expect("counters").iter();
            let counted =
                counted.map(|(name, count)| (name.clone(), count.as_u64().expect("a count"))).collect();
            let text = |key: &str| one[key].as_str().expect("a text").to_owned();
            let known = rows.insert(text("requestId"), Row { user: text("user"), counted });
            assert!(known.is_none(), "{one} is there twice");
        }
        after = page["next"].as_u64().expect("a number");
    }
}

fn add(sum: &mut Counts, more: &Counts) {
    for (name, count) in more {
        *sum.entry(name.clone()).or_default() += count;
    }
}

/// The reported sums of each user.
fn reported(home: &Home) -> BTreeMap<String, (u64, Counts)> {
    let (status, report) = over_socket(&home.data(), "GET /admin/usage?by=user&since=2d");
    assert_eq!(status, 200, "{report}");
    let rows = report["rows"].as_array().expect("rows").iter();
    let sums = rows.map(|row| {
        let counted = row["sums"]["counters"].as_object().expect("counters").iter();
        let counted = counted.map(|(name, count)| (name.clone(), count.as_u64().expect("a count"))).collect();
        let requests = row["sums"]["requests"].as_u64().expect("a count");
        (row["user"].as_str().expect("a user").to_owned(), (requests, counted))
    });
    sums.collect()
}

#[test]
fn the_ledger_equals_the_upstreams_books_but_for_the_second_before_each_kill() {
    let (address, books) = upstream();
    let home = Home::new(&[("t", &provider(address, 0))]);
    let args = ["--access-log", "false", "--workers", "2"];
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut users = Users::new();
    let (mut all, mut kills) = (Vec::new(), Vec::new());
    for (round, until) in [EXCHANGES / 3, EXCHANGES * 2 / 3, EXCHANGES].into_iter().enumerate() {
        let mut gateway = home.serve(&args);
        if users.is_empty() {
            let admin = std::fs::read_to_string(home.data().join("admin-token")).expect("it was made");
            let api = Api::new(gateway.address, admin.trim_end());
            users.extend((0..USERS).map(|number| api.user(&format!("user-{number}"))));
        }
        let last = until == EXCHANGES;
        let more = thread::scope(|scope| {
            let clients = scope.spawn(|| run(&gateway, &users, &next, &done));
            for reload in 0..3 {
                let reached = done.load(Ordering::Acquire) + EXCHANGES / 20;
                eventually("exchanges go on", || {
                    done.load(Ordering::Acquire) >= reached || clients.is_finished()
                });
                home.write("t", &provider(address, round * 3 + reload + 1));
                let (status, reloaded) = over_socket(&home.data(), "POST /admin/reload");
                assert_eq!(status, 200, "{reloaded}");
            }
            if !last {
                eventually("a third is done", || done.load(Ordering::Acquire) >= until);
                gateway.signal(Signal::KILL);
            }
            clients.join().expect("the clients do not panic")
        });
        if !last {
            // Only now: a client may read an answer late that was sent before.
            kills.push(Instant::now());
        }
        all.extend(more);
        if last {
            gateway.signal(Signal::TERM);
        }
        gateway.exit();
    }
    check(&home, &users, &all, &kills, &books.lock().expect("nobody panics"));
}

/// Compares exchange by exchange, then the sums.
fn check(home: &Home, users: &Users, all: &[Done], kills: &[Instant], books: &BTreeMap<usize, Counts>) {
    let _gateway = home.serve(&["--access-log", "false"]);
    let mut rows = rows(home);
    let mut sums = BTreeMap::<String, (u64, Counts)>::new();
    for row in rows.values() {
        let (requests, counted) = sums.entry(row.user.clone()).or_default();
        *requests += 1;
        add(counted, &row.counted);
    }
    let mut lost = Vec::new();
    for Done { number, request_id, at } in all {
        match rows.remove(request_id) {
            Some(row) => {
                assert_eq!(row.counted, books[number], "exchange {number}");
                assert_eq!(row.user, users[number % USERS].0, "exchange {number}");
            }
            None => lost.push((number, at)),
        }
    }
    let excused = |at: &Instant| kills.iter().any(|kill| at <= kill && *kill - *at <= LOSS);
    let bad = lost.iter().filter(|(_, at)| !excused(at)).count();
    assert_eq!(bad, 0, "lost, though they ended more than {LOSS:?} before a kill");
    // A client may not have read the end of an answer that the gateway had sent when it was killed.
    assert!(rows.len() <= kills.len() * CLIENTS, "{} exchanges that no client had", rows.len());
    assert!(all.len() > EXCHANGES - 2 * kills.len() * CLIENTS, "{} exchanges", all.len());
    assert_eq!(reported(home), sums, "the sums by hour differ from the single exchanges");
    eprintln!("{} exchanges, {} lost in {} kills", all.len(), lost.len(), kills.len());
}
