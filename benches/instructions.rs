//! Instruction counts of the hot path, and of compiling a provider file at start. Counts of one binary on one machine are
//! reproducible, also under load.
//!
//! Requires valgrind and `cargo install gungraun-runner --version 0.20.0`. Read next: `docs/benchmarks.md`.

#![expect(missing_docs, reason = "the macros make public modules and functions that nobody calls")]
#![expect(clippy::disallowed_methods, reason = "the macros end the process themselves")]

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use gungraun::{library_benchmark, library_benchmark_group, main};
use http::{HeaderMap, Method, Request, StatusCode, request::Parts};
use tollgate::{
    access_record::Usage,
    accounts::{Actor, Authenticator, DisplayName, LocalCache, MasterKey, NewUser, create_user},
    bind,
    compile::{
        self, Compiled, Files, Var, VarSource,
        metering::{CounterRule, Framing, Map, MapBuilder, Metering, Target, WhenMissing},
    },
    decide::{self, Candidate},
    meter::Meter,
    name::FileName,
    rewrite::{self, Outgoing, RewrittenResponse, Withheld},
    secret::Secret,
    store::{DuplicateNames, Store},
    syntax::{self, Parsed},
    table::{Hit, Table},
    usage::Counter,
};

const PRESET: &str = include_str!("../providers.d/presets/openai-compatible.toml");
const GATEWAY: &str = include_str!("../providers.d/gateways/cloudflare.toml");
const API: &str = include_str!("../providers.d/apis/chat-completions.toml");

// === inputs ===

fn file_name(text: &str) -> FileName {
    FileName::new(text).expect("the name is well-formed")
}

fn parse<T: syntax::Document>(file: &str, text: &str) -> Parsed<T> {
    let (parsed, found) = syntax::parse(&file.into(), text);
    assert!(found.is_empty(), "{found:?}");
    parsed.expect("a file without findings is parsed")
}

/// An ordinary provider file.
fn text(index: usize, gateway: bool) -> String {
    let used =
        if gateway { "[gateway.cloudflare]\nstrip = \"/openai/v1\"\npath = \"/p{path}\"\n" } else { "" };
    format!(
        "title = \"Provider {index}\"\nextends = \"openai-compatible\"\n\
         base_url = \"https://api.p{index}.example.com/openai\"\n\
         keys_url = \"https://console.p{index}.example.com/keys\"\n{used}"
    )
}

/// The shipped shared files, without their tests.
fn shared() -> Files {
    let mut preset = parse::<syntax::Provider>("preset.toml", PRESET);
    let mut gateway = parse::<syntax::Gateway>("gateway.toml", GATEWAY);
    let mut api = parse::<syntax::Api>("api.toml", API);
    (preset.document.test, gateway.document.test, api.document.test) = (None, None, None);
    let mut files = Files::default();
    files.presets.insert(file_name("openai-compatible"), Ok(preset));
    files.gateways.insert(file_name("cloudflare"), Ok(gateway));
    files.apis.insert(file_name("chat-completions"), Ok(api));
    files
}

/// Runs the measured work once: the first run also pays for allocator state left by the setup.
fn warm<T, R>(value: T, work: impl FnOnce(&T) -> R) -> T {
    drop(black_box(vec![0_u8; 1 << 17]));
    drop(black_box(work(&value)));
    value
}

/// The shared files and `count` providers: `p0`, `p1`, ...
fn files(count: usize, gateway: bool) -> Files {
    let mut files = shared();
    for index in 0..count {
        let (name, text) = (format!("p{index}"), text(index, gateway));
        files.providers.insert(file_name(&name), Ok(parse(&format!("{name}.toml"), &text)));
    }
    files
}

/// Sets the gateway's vars if there is a gateway.
fn table_of(files: &Files) -> Table {
    let compiled = compile::compile(files);
    assert!(compiled.diagnostics.is_empty(), "{:?}", compiled.diagnostics);
    let value = |_: Option<&FileName>, _: &str, var: &Var| match &var.source {
        VarSource::Env(_) | VarSource::File(_) => Some("value".to_owned()),
    };
    let bound = compiled.providers.iter().map(|one| bind::bind(one, value).0.expect("it binds"));
    Table::new(bound.map(Arc::new).collect(), Vec::new(), &[])
}

fn table(count: usize) -> Table {
    table_of(&files(count, false))
}

/// The request head of an official client: 12 fields.
fn head(path: &str) -> Parts {
    let fields = [
        ("host", "127.0.0.1:8787"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("connection", "keep-alive"),
        ("content-length", "120"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python 1.99.0"),
        ("x-stainless-arch", "x64"),
        ("x-stainless-lang", "python"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-retry-count", "0"),
    ];
    let mut request = Request::builder().method(Method::POST).uri(path);
    for (name, value) in fields {
        request = request.header(name, value);
    }
    let request = request.header("authorization", "Bearer tg_0123456789abcdefghijklmnopqrstuvwxyz");
    request.body(()).expect("the head is well-formed").into_parts().0
}

fn path(provider: usize) -> String {
    format!("/proxy/p{provider}/v1/chat/completions")
}

/// A table, a request head, and the endpoint that it matches.
fn found(gateway: bool) -> (Table, Parts, Hit) {
    let (table, head) = (table_of(&files(10, gateway)), head(&path(5)));
    let hit = table.find(&head.method, head.uri.path()).expect("the endpoint is there");
    warm((table, head, hit), |(table, head, hit)| rewritten(table, head, hit))
}

/// The response head of an upstream behind a CDN.
fn answer() -> (Hit, HeaderMap) {
    let fields = [
        ("date", "Sun, 22 Nov 2026 12:00:00 GMT"),
        ("content-type", "text/event-stream"),
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("cache-control", "no-cache"),
        ("x-request-id", "req_0123456789"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("set-cookie", "a=b"),
        ("strict-transport-security", "max-age=1"),
        ("server", "cloudflare"),
        ("alt-svc", "h3=\":443\""),
    ];
    let pair = |(name, value): (&str, &str)| {
        (name.parse::<http::HeaderName>().expect("a name"), value.parse().expect("a value"))
    };
    let headers: HeaderMap = fields.map(pair).into_iter().collect();
    warm((found(false).2, headers), |(hit, headers)| relayed(hit, headers.clone()))
}

fn one_file() -> Files {
    warm(files(1, true), compile::compile)
}

fn no_token() -> (Table, Parts) {
    let mut head = head(&path(9_999));
    head.headers.remove("authorization");
    (table(10_000), head)
}

/// A worker's cache with one caller, and the caller's token.
fn known() -> (Authenticator, LocalCache, Secret) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let known = runtime.block_on(async {
        let dir = tempfile::TempDir::new().expect("the temporary directory is writable");
        let store = Store::open(dir.path()).await.expect("a new store");
        let name = DisplayName::new("ada").expect("a name");
        let made =
            create_user(&store, &Actor::own(), &name, DuplicateNames::Allow).await.expect("a user is made");
        let NewUser::Created { token, .. } = made else { panic!("nobody else is there") };
        let (accounts, task) = Authenticator::start(store, MasterKey::generate(), Duration::from_hours(1));
        let cache = LocalCache::default();
        let asked = async {
            // The first poll of the store counts as a change.
            tokio::time::sleep(Duration::from_millis(300)).await;
            accounts.authenticate(&cache, token.expose()).await.expect("the store answers");
        };
        tokio::select! {
            () = task => {}
            () = asked => {}
        }
        (accounts, cache, token)
    });
    warm(known, |(accounts, cache, token)| recalled(accounts, cache, token))
}

fn recalled(accounts: &Authenticator, cache: &LocalCache, token: &Secret) -> bool {
    let asked = pin!(accounts.authenticate(cache, black_box(token.expose())));
    match asked.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(caller)) => caller.is_some(),
        Poll::Ready(Err(_)) | Poll::Pending => panic!("who is known is not asked for"),
    }
}

fn map(text: &[&str]) -> Arc<Map> {
    let mut map = MapBuilder::new();
    let mut add = |pointer: &str, target: Target| map.add(pointer, target).expect("it is a pointer");
    for (counter, pointer) in [
        (Counter::Input, "/usage/prompt_tokens"),
        (Counter::CacheRead, "/usage/prompt_tokens_details/cached_tokens"),
        (Counter::AudioInput, "/usage/prompt_tokens_details/audio_tokens"),
        (Counter::Output, "/usage/completion_tokens"),
        (Counter::Reasoning, "/usage/completion_tokens_details/reasoning_tokens"),
        (Counter::AudioOutput, "/usage/completion_tokens_details/audio_tokens"),
    ] {
        add(pointer, Target::Count(counter));
    }
    for (target, pointer) in [
        (Target::Model, "/model"),
        (Target::Id, "/id"),
        (Target::FinishReason, "/choices/*/finish_reason"),
        (Target::Error, "/error"),
    ] {
        add(pointer, target);
    }
    for pointer in text {
        add(pointer, Target::Text);
    }
    add(text[0], Target::Content);
    for (counter, minus) in [
        (Counter::Input, [Counter::CacheRead, Counter::AudioInput]),
        (Counter::Output, [Counter::Reasoning, Counter::AudioOutput]),
    ] {
        map.rule(counter, CounterRule { minus: minus.to_vec(), ..CounterRule::default() });
    }
    Arc::new(map.build().expect("the map is bounded"))
}

/// The metering of chat completions.
fn metering() -> Arc<Metering> {
    let mut request = MapBuilder::new();
    for (pointer, target) in [
        ("/model", Target::Model),
        ("/max_tokens", Target::MaxOutput),
        ("/stream", Target::Stream),
        ("/messages/*/content", Target::Text),
        ("/messages/*/content/*/text", Target::Text),
    ] {
        request.add(pointer, target).expect("it is a pointer");
    }
    Arc::new(Metering {
        request: Arc::new(request.build().expect("the map is bounded")),
        body: map(&["/choices/*/message/content"]),
        event: map(&["/choices/*/delta/content", "/choices/*/delta/tool_calls/*/function/arguments"]),
        framings: vec![Framing::Sse],
        when_missing: WhenMissing::Estimate,
        ask: None,
        path_model: None,
    })
}

/// An answer in the pieces in which it arrives, and its content type.
type Answer = (Arc<Metering>, &'static str, Vec<Vec<u8>>);

/// 500 chunks of about 240 bytes, then the usage.
fn chunks() -> Answer {
    let chunk = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-0123456789abcdefghijklmnopqrs\",\"object\":\"chat.completion.chunk\",\
             \"created\":1767225600,\"model\":\"demo-4o-mini-2026-07-18\",\"system_fingerprint\":\"fp_0123456789\",\
             \"choices\":[{choices}],\"usage\":{usage}}}\n\n"
        )
        .into_bytes()
    };
    let delta = "{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}";
    let mut pieces = vec![chunk(delta, "null"); 500];
    pieces.push(chunk("", "{\"prompt_tokens\":12,\"completion_tokens\":500,\"total_tokens\":512}"));
    pieces.push(b"data: [DONE]\n\n".to_vec());
    warm((metering(), "text/event-stream", pieces), metered)
}

/// An answer of 4 KiB in one piece.
fn unary() -> Answer {
    let text = "All human beings are born free and equal.\\n".repeat(82);
    let answer = format!(
        "{{\"id\":\"chatcmpl-0123456789abcdefghijklmnopqrs\",\"object\":\"chat.completion\",\"created\":1767225600,\
         \"model\":\"demo-4o-mini-2026-07-18\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{text}\",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":19,\"completion_tokens\":800,\"total_tokens\":819,\
         \"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}},\"completion_tokens_details\":\
         {{\"reasoning_tokens\":0,\"audio_tokens\":0}}}},\"service_tier\":\"default\"}}"
    );
    warm((metering(), "application/json", vec![answer.into_bytes()]), metered)
}

fn metered((metering, content_type, pieces): &Answer) -> Usage {
    let mut meter = Meter::new(Arc::clone(metering), None, false);
    meter.request_type(black_box(b"application/json"));
    meter.request(black_box(
        br#"{"model":"demo-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello there"}]}"#,
    ));
    meter.request_end();
    meter.answer(200, Some(content_type.as_bytes()));
    for piece in pieces {
        meter.bytes(black_box(piece));
    }
    let usage = meter.finish(true);
    assert_eq!(usage.not_counted, None);
    usage
}

// === benchmarks ===

#[library_benchmark]
#[bench::first_of_10(args = (10, 0), setup = look_up)]
#[bench::last_of_10(args = (10, 9), setup = look_up)]
#[bench::none_of_10(args = (10, 10), setup = look_up)]
#[bench::first_of_1_000(args = (1_000, 0), setup = look_up)]
#[bench::last_of_1_000(args = (1_000, 999), setup = look_up)]
#[bench::none_of_1_000(args = (1_000, 1_000), setup = look_up)]
#[bench::first_of_10_000(args = (10_000, 0), setup = look_up)]
#[bench::last_of_10_000(args = (10_000, 9_999), setup = look_up)]
#[bench::none_of_10_000(args = (10_000, 10_000), setup = look_up)]
fn find((table, path): (Table, String)) -> (Table, String, Option<Hit>) {
    let hit = table.find(black_box(&Method::POST), black_box(&path));
    (table, path, hit)
}

fn look_up(count: usize, wanted: usize) -> (Table, String) {
    (table(count), path(wanted))
}

#[library_benchmark]
#[bench::bearer_of_10(args = (false), setup = found)]
fn token((table, head, hit): (Table, Parts, Hit)) -> (Table, Parts, Hit, Option<Secret>) {
    let token = rewrite::token(black_box(&head), &table);
    (table, head, hit, token)
}

#[library_benchmark]
#[bench::none_of_10_000(setup = no_token)]
fn token_missing((table, head): (Table, Parts)) -> (Table, Parts, Option<Secret>) {
    let token = rewrite::token(black_box(&head), &table);
    (table, head, token)
}

#[library_benchmark]
#[bench::direct(args = (false), setup = found)]
#[bench::through_a_gateway(args = (true), setup = found)]
fn request((table, head, hit): (Table, Parts, Hit)) -> (Table, Parts, Hit, usize) {
    let fields = rewritten(&table, &head, &hit);
    (table, head, hit, fields)
}

fn rewritten(table: &Table, head: &Parts, hit: &Hit) -> usize {
    let secret = Secret::new("sk-0123456789");
    let chosen = decide::choose(hit, &table.fields, [|_: &str| Some(Candidate::given(&secret))], 0)
        .expect("there is a key");
    let token = Secret::new("tg_0123456789abcdefghijklmnopqrstuvwxyz");
    let withheld = Withheld::of(table, Some(&token));
    let out = rewrite::request(hit, black_box(head), chosen.as_ref(), withheld, rewrite::Fresh::STAND_IN);
    let out: Outgoing<'_> = black_box(out.expect("it can be sent"));
    out.headers.len()
}

#[library_benchmark]
#[bench::stream(setup = answer)]
fn answered((hit, headers): (Hit, HeaderMap)) -> (Hit, usize) {
    let fields = relayed(&hit, headers);
    (hit, fields)
}

fn relayed(hit: &Hit, headers: HeaderMap) -> usize {
    match rewrite::response(hit, StatusCode::OK, black_box(headers), false) {
        RewrittenResponse::Relayed(headers) => headers.len(),
        RewrittenResponse::Replaced(_) => 0,
    }
}

#[library_benchmark]
#[bench::known(setup = known)]
fn authenticate(
    (accounts, cache, token): (Authenticator, LocalCache, Secret),
) -> (Authenticator, LocalCache, Secret, bool) {
    let known = recalled(&accounts, &cache, &token);
    (accounts, cache, token, known)
}

// A whole exchange: request, answer, usage.
#[library_benchmark]
#[bench::stream_of_500(setup = chunks)]
#[bench::unary_4_kib(setup = unary)]
fn meter(answer: Answer) -> (Answer, Usage) {
    let usage = metered(&answer);
    (answer, usage)
}

// The first parse of a process also compiles the schema; the setup pays for that.
#[library_benchmark]
#[bench::five_lines(args = (false), setup = ready_to_parse)]
#[bench::with_a_gateway(args = (true), setup = ready_to_parse)]
fn parse_file((file, text): (Arc<str>, String)) -> Option<Parsed<syntax::Provider>> {
    syntax::parse(&file, black_box(&text)).0.ok()
}

fn ready_to_parse(gateway: bool) -> (Arc<str>, String) {
    let file = ("p1.toml".into(), text(1, gateway));
    warm(file, |(file, text)| syntax::parse::<syntax::Provider>(file, text))
}

// One provider file with its preset and gateway.
#[library_benchmark]
#[bench::with_shared_files(setup = one_file)]
fn compile_file(files: Files) -> (Files, Compiled) {
    let compiled = compile::compile(black_box(&files));
    (files, compiled)
}

library_benchmark_group!(name = lookup; benchmarks = find, token, token_missing, authenticate);
library_benchmark_group!(name = rewriting; benchmarks = request, answered);
library_benchmark_group!(name = usage; benchmarks = meter);
library_benchmark_group!(name = start; benchmarks = parse_file, compile_file);
main!(library_benchmark_groups = lookup, rewriting, usage, start);
