//! Limits under load: exact numbers of requests, budgets of tokens and cost beside the vendor's own sums, kills of the process, and
//! reloads of the files of limits.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    ops::Range,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Api, Bill, Gateway, Home, LIMIT, Message, Vendor, Wire, connect, eventually, over_socket, pause, save,
};

/// A vendor, a gateway for it that says what is left, and callers.
struct Site {
    vendor: Vendor,
    home: Home,
    names: Vec<String>,
    tokens: Vec<String>,
}

const ARGS: [&str; 5] = ["--limit-headers", "--access-log", "false", "--workers", "4"];

impl Site {
    fn new(limits: &str, users: usize) -> Self {
        let vendor = Vendor::start();
        let home = Home::new(&[("v", &vendor.provider())]);
        home.write_limits("t", limits);
        let names: Vec<String> = (0..users).map(|number| format!("user-{number}")).collect();
        let tokens = names.iter().map(|name| home.user(name)).collect();
        Self { vendor, home, names, tokens }
    }

    /// More users, by the API: that is faster than a command for each.
    fn add_users(&mut self, gateway: &Gateway, names: impl Iterator<Item = String>) {
        let token = fs::read_to_string(self.home.data().join("admin-token")).unwrap();
        let admin = Api::new(gateway.address, token.trim_end());
        for name in names {
            self.tokens.push(admin.user(&name).1);
            self.names.push(name);
        }
    }

    fn start(&self) -> Gateway {
        self.home.serve(&ARGS)
    }

    fn get(&self) -> Vec<u8> {
        self.request("GET /v/get", 0, "")
    }

    fn request(&self, line: &str, user: usize, body: &str) -> Vec<u8> {
        let (token, length) = (&self.tokens[user], body.len());
        let length = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
        format!(
            "{line} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nX-Caller: {user}\r\n{length}\r\n{body}"
        )
        .into_bytes()
    }

    /// Reloads all files now.
    fn reload(&self) {
        let (status, said) = over_socket(&self.home.data(), "POST /admin/reload");
        assert!(matches!(status, 200 | 422), "{said}");
    }
}

fn ask(client: &mut Wire, request: &[u8]) -> Message {
    client.send(request);
    client.answer().unwrap_or_else(|broken| panic!("{broken:?}; {client:?}"))
}

/// What is left of a limit, as an answer says.
fn left(answer: &Message, id: &str) -> Option<i64> {
    let values = answer.head.all("tollgate-limit");
    let value = values.iter().find(|value| value.starts_with(&format!("{id}; ")))?;
    value.split("left=").nth(1)?.split(';').next()?.parse().ok()
}

/// True if a request passed. Any other answer than that of the vendor is the refusal of a limit.
fn passed(answer: &Message) -> bool {
    let status = answer.head.status();
    assert!(matches!(status, 200 | 429), "{answer:?}");
    status == 200
}

// === numbers of requests ===

/// Longer than any run of a test, so that nothing leaves the window meanwhile.
const FIFTY: &str = "[[limit]]\nid = \"n\"\nper = \"all\"\nrequests = 50\nwindow = { sliding = \"10m\" }\n";

/// Of many clients at once, while the file is saved and reloaded.
#[test]
fn of_ten_thousand_requests_exactly_fifty_pass() {
    const CLIENTS: usize = 64;
    const REQUESTS: usize = 10_000;
    let site = Site::new(FIFTY, 1);
    let gateway = site.start();
    let (next, admitted, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, request) = (Wire::connect(gateway.address), site.get());
                    while next.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                        admitted
                            .fetch_add(usize::from(passed(&ask(&mut client, &request))), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let reloads = scope.spawn(|| {
            let mut number = 0;
            while !over.load(Ordering::Acquire) {
                number += 1;
                save(&site.home.limits("t"), &format!("# {number}\n{FIFTY}"));
                site.reload();
            }
            number
        });
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, Ordering::Release);
        assert!(reloads.join().unwrap() > 0);
    });
    assert_eq!((admitted.into_inner(), site.vendor.requests()), (50, 50));
}

/// Sends until the gateway is gone, or until nothing passes.
fn send_until_the_end(site: &Site, address: SocketAddr, user: usize) {
    let Ok(socket) = TcpStream::connect_timeout(&address, LIMIT) else { return };
    let (mut client, request) = (Wire::plain(socket), site.request("GET /v/get", user, ""));
    loop {
        if client.try_send(&request).is_err() {
            return;
        }
        match client.answer() {
            Ok(answer) if passed(&answer) => {}
            _ => return,
        }
    }
}

/// A limit of fifty for each user, with this window.
fn fifty(window: &str) -> String {
    format!("[[limit]]\nid = \"n\"\nrequests = 50\nwindow = {window}\n")
}

#[test]
fn no_kill_lets_one_more_request_pass() {
    let (sliding, total) = (fifty("{ sliding = \"10m\" }"), fifty("\"total\""));
    kills(&[&sliding]);
    kills(&[&total]);
    // What the limit says changes meanwhile, and fifty are the most in all of it.
    kills(&[&sliding, &total, &fifty("{ sliding = \"20m\" }")]);
}

/// Kills the process several times while all users send and the file is reloaded every 50 ms, and starts it again.
fn kills(texts: &[&str]) {
    const USERS: usize = 60;
    /// Of each user.
    const CLIENTS: usize = 2;
    /// The whole requests at the vendor after which the process is killed. All users may send 3000.
    const KILLS: [usize; 5] = [1, 500, 1_000, 1_500, 2_000];
    const BETWEEN_RELOADS: Duration = Duration::from_millis(50);
    /// At each kill, some calls were admitted and not sent, and three were stored ahead.
    const LEAST: u64 = 50 - ((KILLS.len() + 1) * (CLIENTS + 3)) as u64;
    let mut site = Site::new(texts[0], 0);
    let gateway = site.start();
    site.add_users(&gateway, (0..USERS).map(|user| format!("user-{user}")));
    drop(gateway);
    let site = site;
    let mut saved = 0;
    let mut change = || {
        saved += 1;
        save(&site.home.limits("t"), &format!("# {saved}\n{}", texts[saved % texts.len()]));
    };
    let bills =
        || -> Vec<u64> { (0..USERS).map(|user| site.vendor.bill(&user.to_string()).requests).collect() };
    let mut killed_at = Vec::new();
    for kill in KILLS {
        let gateway = site.start();
        let address = gateway.address;
        thread::scope(|scope| {
            for client in 0..USERS * CLIENTS {
                let site = &site;
                scope.spawn(move || send_until_the_end(site, address, client % USERS));
            }
            let is_over = || site.vendor.requests() >= kill;
            loop {
                let start = Instant::now();
                change();
                site.reload();
                while !is_over() && start.elapsed() < BETWEEN_RELOADS {
                    pause(Duration::from_millis(1));
                }
                if is_over() {
                    break;
                }
            }
            // In the middle of a reload.
            change();
            let reload = b"POST /admin/reload HTTP/1.1\r\nHost: localhost\r\n\r\n";
            connect(&site.home.data()).write_all(reload).unwrap();
            // By SIGKILL.
            drop(gateway);
        });
        killed_at.push(site.vendor.requests());
        assert!(bills().iter().all(|requests| *requests <= 50), "after the kill at {kill}: {:?}", bills());
    }
    // Killed before it listens.
    drop(site.home.start(&ARGS, &[]));
    let gateway = site.start();
    thread::scope(|scope| {
        for user in 0..USERS {
            let (site, address) = (&site, gateway.address);
            scope.spawn(move || send_until_the_end(site, address, user));
        }
    });
    let found = bills();
    assert!(found.iter().all(|requests| (LEAST..=50).contains(requests)), "{found:?}");
    drop(gateway);
    // No window begins again.
    let gateway = site.start();
    for user in 0..USERS {
        let request = site.request("GET /v/get", user, "");
        assert!(!passed(&ask(&mut Wire::connect(gateway.address), &request)), "user {user}");
    }
    eprintln!("killed at {killed_at:?} of {} requests, with {saved} files saved", found.iter().sum::<u64>());
}

// === budgets ===

/// In dollars for a million tokens.
const INPUT_PRICE: u32 = 1;
const OUTPUT_PRICE: u32 = 4;
const PRICES: &str =
    "title = \"Vendor\"\ncurrency = \"USD\"\n[[price]]\nmodel = [\"m\"]\ninput = 1\noutput = 4\n";
/// Counts what the vendor bills, and refuses nothing.
const TWIN: &str =
    "[[limit]]\nid = \"twin\"\ntokens = 1000000\nwindow = \"total\"\nreserve = \"none\"\nover = \"warn\"\n";

/// xorshift64*.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// The tokens of a prompt, and the most of an answer.
const PROMPT: Range<u64> = 36..48;
const CAP: u64 = 16;
/// The tokens that each user of an even number has, and the millionths of a dollar that each other one has.
const TOKENS: u64 = 250;
const MICROS: u64 = 400;
/// The places of a user's calls: each has one after the other.
const PLACES: u64 = 2;

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// The vendor breaks the stream off.
    Cut,
    /// The client leaves in the stream.
    Left,
    /// The client leaves before the answer.
    Mute,
}

/// A call: its tokens, and its end.
struct Call {
    body: String,
    end: End,
}

impl Call {
    fn random(random: &mut Random) -> Self {
        let (prompt, output) =
            (PROMPT.start + random.below(PROMPT.end - PROMPT.start), 2 + random.below(CAP - 1));
        let (end, name) = match random.below(24) {
            0..3 => (End::Cut, "cut"),
            3 => (End::Left, "left"),
            4 => (End::Mute, "mute"),
            _ => (End::Whole, ""),
        };
        let stream = matches!(end, End::Cut | End::Left) || random.below(2) == 0;
        let part = 1 + random.below(output - 1);
        Self::of((prompt, output, part), name, end, stream)
    }

    fn of((prompt, output, part): (u64, u64, u64), name: &str, end: End, stream: bool) -> Self {
        let body = |text: &str| {
            format!(
                "{{\"model\":\"m\",\"p\":{prompt},\"out\":{output},\"k\":{part},\"max_tokens\":{CAP},\"stream\":{stream},\"end\":\"{name}\",\
                 \"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
            )
        };
        // A token of the prompt for four bytes of the body, so that estimates know as much as the vendor.
        let missing = usize::try_from(4 * prompt).unwrap().checked_sub(body("").len()).expect("a short call");
        Self { body: body(&"x".repeat(missing)), end }
    }

    /// Makes the call. False if it was refused.
    fn make(&self, site: &Site, client: &mut Wire, user: usize) -> bool {
        let before = site.vendor.bill(&user.to_string()).requests;
        client.send(site.request("POST /v/chat", user, &self.body));
        if self.end == End::Mute {
            // Until the vendor has it, or it is refused.
            while site.vendor.bill(&user.to_string()).requests == before {
                if !client.is_quiet_for(Duration::from_millis(2)) {
                    return passed(&client.answer().unwrap());
                }
            }
            return true;
        }
        let head = client.head().unwrap_or_else(|broken| panic!("{broken:?}; {client:?}"));
        let framing = head.answer_framing().unwrap();
        match (head.status(), self.end) {
            (200, End::Left) => {
                let mut seen = Vec::new();
                while !seen.ends_with(b"\n\n") {
                    seen.extend(client.chunk().unwrap().expect("the stream goes on"));
                }
                true
            }
            (200, End::Cut) => {
                assert!(client.body(framing).is_err());
                true
            }
            (status @ (200 | 429), _) => {
                client.body(framing).unwrap();
                status == 200
            }
            (status, _) => panic!("{status}: {head:?}"),
        }
    }
}

/// What a user did.
#[derive(Debug, Clone, Copy, Default)]
struct Did {
    refused: bool,
    /// Answers whose end was estimated.
    estimated: u64,
    /// Calls that the client left before their answer.
    mute: u64,
}

/// The calls of a user, one after the other. It ends with the first one that the client leaves: that one may run on for some time.
fn calls(site: &Site, address: SocketAddr, user: usize, mut random: Random) -> Did {
    const CALLS: u64 = 6;
    let (mut did, mut client) = (Did::default(), Wire::connect(address));
    for _ in 0..CALLS {
        let call = Call::random(&mut random);
        let passed = call.make(site, &mut client, user);
        did.refused |= !passed;
        match call.end {
            _ if !passed => {}
            End::Whole => {}
            End::Cut => {
                did.estimated += 1;
                client = Wire::connect(address);
            }
            End::Left => did.estimated += 1,
            End::Mute => did.mute += 1,
        }
        if passed && matches!(call.end, End::Left | End::Mute) {
            client.reset();
            break;
        }
    }
    did
}

/// What calls reserve.
#[derive(Debug, Clone, Copy)]
enum Reserve {
    None,
    Learned,
    Max,
}

impl Reserve {
    fn of(seed: u64) -> Self {
        [Self::None, Self::Learned, Self::Max][usize::try_from(seed % 3).unwrap()]
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Learned => "learned",
            Self::Max => "max",
        }
    }

    /// The most that a call uses beyond what it reserved, at these prices. The ratio of prompts is known, so that the answer alone
    /// may be longer than what was learned.
    fn beyond(self, input: u32, output: u32) -> u64 {
        let (input, output) = (u64::from(input), u64::from(output));
        match self {
            Self::None => input * PROMPT.end + output * CAP,
            Self::Learned => output * CAP,
            Self::Max => 0,
        }
    }

    /// The most that the shortest prompt asks for.
    fn asked(self, input: u32, output: u32) -> u32 {
        let (prompt, cap) = (u32::try_from(PROMPT.start).unwrap(), u32::try_from(CAP).unwrap());
        match self {
            Self::None => 1,
            Self::Learned => input * (prompt + 2) + output * cap,
            Self::Max => input * 4 * prompt + output * cap,
        }
    }
}

/// What is counted of a limit, by the name of the user: the value of a key of its report.
fn reported(site: &Site, id: &str, key: &str) -> BTreeMap<String, String> {
    let report = over_socket(&site.home.data(), &format!("GET /admin/limits?id={id}&limit=1000")).1;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = report["limits"].as_array().unwrap_or_else(|| panic!("{report}")).iter();
    all.map(|one| (text(&one["key"]["userName"]), text(&one[key]))).collect()
}

/// Two hundred users with budgets of tokens and of money, with answers in one piece and streams, some of which are cut or left: no budget
/// is exceeded by more than what the calls in flight used beyond what they reserved, whatever comes when.
#[test]
fn budgets_hold_within_their_bound() {
    const USERS: usize = 200;
    const SEEDS: u64 = 20;
    let start = Instant::now();
    let mut site = Site::new("", 0);
    site.home.write("prices/v", PRICES);
    let gateway = site.start();
    site.add_users(
        &gateway,
        (0..USERS).map(|user| format!("{}-{user}", if user % 2 == 0 { "even" } else { "odd" })),
    );
    let made = start.elapsed();
    let refused: usize = (0..SEEDS).map(|seed| budgets(&site, gateway.address, seed)).sum();
    eprintln!("{:?}, of them {made:?} for the users; {refused} times a user was refused", start.elapsed());
}

/// One run. Each has limits of its own, of which nothing is used. Returns the number of users of whom a call was refused.
fn budgets(site: &Site, address: SocketAddr, seed: u64) -> usize {
    let reserve = Reserve::of(seed);
    let name = reserve.name();
    let limit = |id: &str, users: &str, measure: &str| {
        format!(
            "[[limit]]\nid = \"{id}-{seed}\"\nmatch = {{ user = [\"{users}-*\"], endpoint = [\"chat\"] }}\n{measure}\n\
             window = \"total\"\nreserve = \"{name}\"\n"
        )
    };
    let limits = [
        limit("tokens", "even", &format!("tokens = {TOKENS}")),
        limit("cost", "odd", &format!("cost = \"0.{MICROS:06} USD\"\nno_price = \"reject\"")),
        TWIN.replace("twin", &format!("twin-{seed}")),
        "[[limit]]\nid = \"now\"\nper = \"all\"\nconcurrent = 1000\n".to_owned(),
    ];
    save(&site.home.limits("t"), &limits.concat());
    site.reload();
    let before: Vec<Bill> = (0..site.tokens.len()).map(|user| site.vendor.bill(&user.to_string())).collect();
    let mut dids: Vec<Did> = vec![Did::default(); site.tokens.len()];
    thread::scope(|scope| {
        let threads: Vec<_> = (0..site.tokens.len() as u64 * PLACES)
            .map(|place| {
                let user = usize::try_from(place / PLACES).unwrap();
                let random = Random::new(seed << 32 | place);
                (user, scope.spawn(move || calls(site, address, user, random)))
            })
            .collect();
        for (user, thread) in threads {
            let one = thread.join().unwrap_or_else(|_| panic!("seed {seed}: a call of user {user}"));
            let did = &mut dids[user];
            *did = Did {
                refused: did.refused || one.refused,
                estimated: did.estimated + one.estimated,
                mute: did.mute + one.mute,
            };
        }
    });
    eventually(&format!("seed {seed}: all calls are settled"), || {
        over_socket(&site.home.data(), "GET /admin/limits?id=now").1["limits"][0]["running"] == 0
    });
    let twins = reported(site, &format!("twin-{seed}"), "used");
    for (user, (did, before)) in dids.iter().zip(&before).enumerate() {
        let bill = site.vendor.bill(&user.to_string());
        let (prompt, output) = (bill.prompt - before.prompt, bill.output - before.output);
        let case =
            format!("seed {seed}: user {user} with `{name}` used {prompt} and {output} tokens, {did:?}");
        // A call is settled a moment after its client has the answer, so that another one may have begun.
        let in_flight = 2 * PLACES;
        let (used, amount, beyond) = if user % 2 == 0 {
            (prompt + output, TOKENS, reserve.beyond(1, 1))
        } else {
            (
                u64::from(INPUT_PRICE) * prompt + u64::from(OUTPUT_PRICE) * output,
                MICROS,
                reserve.beyond(INPUT_PRICE, OUTPUT_PRICE),
            )
        };
        let most = amount + in_flight * beyond;
        assert!(used <= most, "{case}: {used} of {amount}, and at most {most}");
        // What was counted is what the vendor bills. Estimates are rounded up.
        let counted = twins.get(&site.names[user]).map_or(0, |used| used.parse().unwrap());
        let billed = prompt + output;
        let is_exact = (billed..=billed + 2 * did.estimated).contains(&counted);
        assert!(did.mute > 0 || is_exact, "{case}: {counted} were counted");
    }
    is_used_up(site, address, seed);
    dids.iter().filter(|did| did.refused).count()
}

/// Some users call until they are refused: no call is refused that fits.
fn is_used_up(site: &Site, address: SocketAddr, seed: u64) {
    const CHECKED: u64 = 4;
    let (mut random, reserve) = (Random::new(!seed), Reserve::of(seed));
    let call = Call::of((PROMPT.start, CAP, 1), "", End::Whole, false);
    let users: Vec<usize> =
        (0..CHECKED).map(|_| usize::try_from(random.below(site.tokens.len() as u64)).unwrap()).collect();
    for user in &users {
        let mut client = Wire::connect(address);
        let mut refusals = 0;
        // An answer comes a moment before its call is settled.
        while refusals < 2 {
            refusals += usize::from(!call.make(site, &mut client, *user));
        }
    }
    let left = ["tokens", "cost"].map(|id| reported(site, &format!("{id}-{seed}"), "left"));
    for user in users {
        let (unit, asked) = if user % 2 == 0 {
            (1.0, reserve.asked(1, 1))
        } else {
            (1e6, reserve.asked(INPUT_PRICE, OUTPUT_PRICE))
        };
        let left = left[user % 2][&site.names[user]].parse::<f64>().unwrap() * unit;
        assert!(left < f64::from(asked), "seed {seed}: user {user} has {left} left, and asked for {asked}");
    }
}

#[test]
fn what_was_used_survives_the_end_of_the_process() {
    let site = Site::new(TWIN, 1);
    let chat = site.request("POST /v/chat", 0, "{\"model\":\"m\",\"p\":10,\"out\":20}");
    let used = |gateway: &Gateway| {
        let probe = site.request("POST /v/probe", 0, "{}");
        let answer = ask(&mut Wire::connect(gateway.address), &probe);
        1_000_000 - left(&answer, "twin").unwrap()
    };
    let mut gateway = site.start();
    let mut client = Wire::connect(gateway.address);
    for _ in 0..3 {
        assert!(passed(&ask(&mut client, &chat)));
    }
    assert_eq!(used(&gateway), 90);
    // A kill loses at most a second.
    pause(Duration::from_millis(1_100));
    drop(gateway);
    gateway = site.start();
    assert_eq!(used(&gateway), 90);
    assert!(passed(&ask(&mut Wire::connect(gateway.address), &chat)));
    assert_eq!(used(&gateway), 120);
    // A proper end loses nothing.
    gateway.signal(Signal::TERM);
    gateway.exit();
    assert_eq!(used(&site.start()), 120);
}

// === files ===

fn counted(id: &str, requests: u64, window: &str) -> String {
    format!("[[limit]]\nid = \"{id}\"\nrequests = {requests}\nwindow = {window}\n")
}

/// The usage belongs to the id, whatever becomes of the files.
#[test]
fn the_usage_stays_with_the_id() {
    const TOTAL: &str = "\"total\"";
    let site = Site::new(&counted("n", 10, TOTAL), 1);
    let mut gateway = site.start();
    let check = |gateway: &Gateway, step: &str, id: &str, expected: Option<i64>| {
        let answer = ask(&mut Wire::connect(gateway.address), &site.get());
        assert_eq!((passed(&answer), left(&answer, id)), (true, expected), "{step}");
    };
    let change = |text: &str| {
        save(&site.home.limits("t"), text);
        site.reload();
    };
    check(&gateway, "as it was", "n", Some(9));
    change(&counted("n", 20, TOTAL));
    check(&gateway, "more", "n", Some(18));
    change(&counted("n", 2, TOTAL));
    for _ in 0..3 {
        let answer = ask(&mut Wire::connect(gateway.address), &site.get());
        assert_eq!((passed(&answer), answer.head.get("tollgate-limit")), (false, Some("n")), "less");
    }
    change(&counted("m", 5, TOTAL));
    check(&gateway, "another id", "m", Some(4));
    change(&counted("n", 10, TOTAL));
    check(&gateway, "the first id again", "n", Some(7));
    fs::rename(site.home.limits("t"), site.home.limits("u")).unwrap();
    site.reload();
    check(&gateway, "another file", "n", Some(6));
    fs::remove_file(site.home.limits("u")).unwrap();
    site.reload();
    check(&gateway, "no file", "n", None);
    change(&counted("n", 10, TOTAL));
    check(&gateway, "a file again", "n", Some(5));
    change("[[limit]]\nid = \"n\"\nrequests = ");
    check(&gateway, "a broken file", "n", Some(4));
    change(&counted("n", 10, "{ every = \"month\" }"));
    check(&gateway, "another window", "n", Some(3));
    gateway.signal(Signal::TERM);
    gateway.exit();
    gateway = site.start();
    check(&gateway, "a restart", "n", Some(2));
}

/// A request that began before its limit had another window does not bring the old one back: that would forget what was used since.
#[test]
fn a_late_request_brings_no_old_window_back() {
    /// Longer than the old window and a slice of the new one.
    const LATE: Duration = Duration::from_millis(1_500);
    let limit = |window: &str| {
        format!("[[limit]]\nid = \"n\"\nrequests = 3\nmatch = {{ model = [\"m\"] }}\nwindow = {window}\n")
    };
    let site = Site::new(&limit("{ sliding = \"1s\" }"), 1);
    let gateway = site.start();
    let body = "{\"model\":\"m\"}";
    let chat = site.request("POST /v/chat", 0, body);
    let mut late = Wire::connect(gateway.address);
    let head = String::from_utf8(chat.clone()).unwrap();
    let head = head.strip_suffix(body).unwrap().replace("Host", "Expect: 100-continue\r\nHost");
    late.send(head);
    // The limit waits for the body.
    assert_eq!(late.head().unwrap().status(), 100);
    save(&site.home.limits("t"), &limit("{ sliding = \"20s\" }"));
    site.reload();
    let mut client = Wire::connect(gateway.address);
    for expected in [true, true, true, false] {
        assert_eq!(passed(&ask(&mut client, &chat)), expected);
    }
    pause(LATE);
    late.send(body);
    assert!(!passed(&late.answer().unwrap()), "the late request");
    assert!(!passed(&ask(&mut client, &chat)), "one after it");
}

/// No request is judged by anything but a file that was saved.
#[test]
fn no_reload_lets_a_request_be_misjudged() {
    const RELOADS: usize = 60;
    let rule = "[[allow]]\nmodels = [\"small\"]\n";
    let site = Site::new(rule, 1);
    let (gateway, over) = (site.start(), AtomicBool::new(false));
    let loops = |model: &str, expected: u16| {
        let body = format!("{{\"model\":\"{model}\"}}");
        let (mut client, request) = (Wire::connect(gateway.address), site.request("POST /v/chat", 0, &body));
        let mut count = 0;
        while !over.load(Ordering::Acquire) {
            assert_eq!(ask(&mut client, &request).head.status(), expected, "{model} after {count}");
            count += 1;
        }
        count
    };
    thread::scope(|scope| {
        let clients = [
            scope.spawn(|| loops("small", 200)),
            scope.spawn(|| loops("big", 403)),
            scope.spawn(|| loops("big", 403)),
        ];
        for number in 0..RELOADS {
            let (from, to) = if number % 2 == 0 { ("t", "u") } else { ("u", "t") };
            save(&site.home.limits(from), &format!("# {number}\n{rule}"));
            fs::rename(site.home.limits(from), site.home.limits(to)).unwrap();
            site.reload();
            if clients.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        over.store(true, Ordering::Release);
        for client in clients {
            assert!(client.join().unwrap() > 0);
        }
    });
}
