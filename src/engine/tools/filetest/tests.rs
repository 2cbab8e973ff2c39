mod places;

use super::*;
use crate::{base::diag::Sources, language::compile};

/// A provider with one of each part that a test can check. Each case adds the rest of its `[[test]]`.
const DEMO: &str = r#"
title = "Demo"
path_prefix = "/demo"
base_url = "https://api.example.com"
vars.mode = { env = "MODE", optional = true }
caller = { headers = ["x-demo"], query = ["k"] }
credentials.field = [{ name = "key" }]
auth = [{ field = "key", set = { x-key = "{secret}" } }]
headers.set = { x-from = "{provider}" }
gateway.hub = { path = "/demo{path}" }
response = [{ when = { status = 403 }, reply = { status = 502, message = "{host} said no" } }]
[endpoint.items]
method = "GET"
path = "/items/{id}"
[[test]]
name = "case"
"#;

/// The finding of the case's test. Empty if it passes.
fn outcome(test: &str) -> String {
    let mut files = compile::Files::default();
    let hub = "title = \"Hub\"\nbase_url = \"https://hub.example.com\"\nvars.token = { env = \"HUB\" }";
    files.gateways.insert(FileName::new("hub").unwrap(), syntax::parse(&"hub.toml".into(), hub).0);
    let (parsed, found) = syntax::parse(&"demo.toml".into(), &format!("{DEMO}{test}"));
    assert_eq!(found, [], "{test}");
    files.providers.insert(FileName::new("demo").unwrap(), parsed);
    let compiled = compile::compile(&files);
    assert_eq!(compiled.diagnostics, [], "{test}");
    let outcome = run(&compiled);
    assert_eq!(outcome.ran, 1);
    let line = |one: &Diagnostic| {
        assert_eq!(one.code, Code::Test);
        let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{}{help}", one.message)
    };
    outcome.diagnostics.iter().map(line).collect()
}

fn check(test: &str, expected: &str) {
    assert_eq!(outcome(test), expected, "\n{test}");
}

const ITEM: &str = "request.path = \"/demo/items/1\"\ncredentials.key = \"s\"\n";

#[test]
fn requests() {
    let item = |expect: &str, expected: &str| check(&format!("{ITEM}expect = {expect}"), expected);
    item("{}", "");
    item(r#"{ url = "https://api.example.com/items/1", method = "GET" }"#, "");
    item(
        r#"{ url = "https://api.example.com/items/2" }"#,
        "test `case` fails: the URL is `https://api.example.com/items/1`, expected `https://api.example.com/items/2`",
    );
    item(r#"{ method = "POST" }"#, "test `case` fails: the method is `GET`, expected `POST`");
    item(r#"{ headers = { x-key = "s", x-from = "demo", host = "api.example.com" } }"#, "");
    item(
        r#"{ headers = { x-key = "t", x-no = "1" } }"#,
        "test `case` fails: header `x-key` is `s`, expected `t` | also: header `x-no` is missing, expected `1`",
    );
    item(r#"{ absent = ["cf-*", "x-demo"] }"#, "");
    item(r#"{ absent = ["X-*"] }"#, "test `case` fails: header `x-from` goes up, but `X-*` is to be absent");
    item(r"{ status = 200 }", "test `case` fails: the status is missing, expected `200`");
}

/// Decisions are those of a running tollgate, except for authentication.
#[test]
fn refusals_before_the_credential() {
    let check = |request: &str, status: u16, code: &str| {
        let test =
            format!("[test.request]\n{request}\n[test.expect]\nstatus = {status}\ncode = \"{code}\"\n");
        check(&format!("credentials.key = \"s\"\n{test}"), "");
    };
    let item = "path = \"/demo/items/1\"\n";
    check(&format!("{item}headers = {{ upgrade = \"websocket\" }}"), 426, "upgrade_refused");
    check("path = \"/nowhere\"\nheaders = { upgrade = \"websocket\" }", 426, "upgrade_refused");
    check(&format!("{item}headers = {{ host = \"a b\" }}"), 400, "malformed_request");
    check(&format!("{item}headers = {{ transfer-encoding = \"gzip\" }}"), 400, "malformed_request");
    check(&format!("{item}headers = {{ content-length = \"268435457\" }}"), 413, "body_too_large");
    check("path = \"/console\"\nmethod = \"PUT\"", 404, "route_not_found");
}

#[test]
fn requests_answered_by_tollgate() {
    check("request = { method = \"OPTIONS\", path = \"/demo/items/1\" }\nexpect.status = 204", "");
    check("request.path = \"/health\"\nexpect.status = 200", "");
    check(
        "request.path = \"/auth/me\"\nexpect.status = 200",
        "test `case` fails: its request is a call of tollgate's own API: no provider is behind it",
    );
}

#[test]
fn refusals() {
    check(
        "request.path = \"/demo/items/1\"\nexpect = {}",
        "test `case` fails: the request is refused: No API key configured for demo. Store one on the page `/config`, \
         or with `tollgate credential set USER providers.demo.key`",
    );
    check(
        "request.path = \"/demo/items/1\"\nexpect = { status = 401, code = \"credential_missing\", message = \"No API key configured for demo\" }",
        "",
    );
    check(
        "request.path = \"/demo/items/1\"\nexpect.body = { error = { message = \"No API key configured for demo\", type = \"authentication_error\", code = \"credential_missing\" } }",
        "",
    );
    check(
        "request.path = \"/demo/items/1\"\nexpect.body = { error = \"no\" }",
        r#"test `case` fails: the body is `{"error":{"code":"credential_missing","message":"No API key configured for demo. Store one on the page `/config`, or with `tollgate credential set USER providers.demo.key`","type":"authentication_error"}}`, expected `{"error":"no"}`"#,
    );
    for path in [
        "/demo/items",
        "/demo/items/1/",
        "/demo/items/..",
        "/demo/items/%2F",
        "/Demo/items/1",
        "/demo//items/1",
    ] {
        let route = format!("Route not implemented in AI Gateway: {path}");
        check(&format!("request.path = \"{path}\"\nexpect = {{ status = 404, message = \"{route}\" }}"), "");
    }
    check("request = { path = \"/demo/items/1\", method = \"PUT\" }\nexpect.code = \"route_not_found\"", "");
    check(
        "request.path = \"/demo/items/1\"\ncredentials.key = \"a\\nb\"\nexpect = { status = 401, code = \"credential_missing\" }",
        "",
    );
}

#[test]
fn tokens_vars_and_answers() {
    let item = |rest: &str, expected: &str| {
        check(&format!("credentials.key = \"s\"\n{rest}"), expected);
    };
    item(
        "request = { path = \"/demo/items/1?k=t&a=1\" }\nexpect = { token = \"t\", url = \"https://api.example.com/items/1?a=1\" }",
        "",
    );
    item(
        "request = { path = \"/demo/items/1?k=t\", headers = { x-demo = \"h\" } }\nexpect = { token = \"h\", absent = [\"x-demo\"] }",
        "",
    );
    item(
        "request = { path = \"/demo/items/1\" }\nexpect = { token = \"t\" }",
        "test `case` fails: the client's token is missing, expected `t`",
    );
    item(
        "vars.hub.token = \"h\"\nrequest.path = \"/demo/items/1\"\nexpect.url = \"https://hub.example.com/demo/items/1\"",
        "",
    );
    item(
        "vars.mood = \"m\"\nrequest.path = \"/demo/items/1\"\nexpect = {}",
        "test `case` fails: there is no var `mood` that it could set",
    );
    item(
        "vars.hob.token = \"m\"\nrequest.path = \"/demo/items/1\"\nexpect = {}",
        "test `case` fails: the provider has no gateway `hob`",
    );
    item(
        "vars.hub.key = \"m\"\nrequest.path = \"/demo/items/1\"\nexpect = {}",
        "test `case` fails: gateway `hub` has no var `key`",
    );
    check(
        "credentials.kye = \"s\"\nrequest.path = \"/demo/items/1\"\nexpect = {}",
        "test `case` fails: the credentials section has no field `kye`",
    );
    item(
        "request = { path = \"no path\" }\nexpect = {}",
        "test `case` fails: its request cannot be sent: invalid uri character",
    );
    item("request.path = \"/demo/items/1\"\nanswer.status = 200\nexpect.status = 200", "");
    item(
        "request.path = \"/demo/items/1\"\nanswer.status = 403\nexpect = { status = 502, code = \"response_rule\", message = \"api.example.com said no\" }",
        "",
    );
}

#[test]
fn finding_is_located_at_the_test() {
    let text = format!("{DEMO}{ITEM}expect.method = \"PUT\"");
    let (parsed, _) =
        syntax::parse(&"demo.toml".into(), &text.replace("gateway.hub = { path = \"/demo{path}\" }\n", ""));
    let mut files = compile::Files::default();
    files.providers.insert(FileName::new("demo").unwrap(), parsed);
    let found = run(&compile::compile(&files)).diagnostics;
    let mut sources = Sources::default();
    sources.insert("demo.toml".into(), text.replace("gateway.hub = { path = \"/demo{path}\" }\n", "").into());
    assert_eq!(sources.line_column(&found[0].at), (18, 1));
}

/// An api with streams, and an endpoint of it. Each case adds the rest of its `[[test]]`.
const CHAT: &str = r#"
title = "Chat"
error.body = {}
request = { model = "/model", max_output = "/max", other_models = "/models/*", answers = "/n", unbounded = ["/earlier"] }
usage.stream = ["sse", "json-array"]
usage.body = { input = { at = "/usage/in", minus = ["cache_read"] }, cache_read = "/usage/cached", output = "/usage/out", model = "/model", id = "/id", error = "/error" }
usage.ask = { at = "/ask", value = true, when = "/stream", extra = { at = "/usage", empty = "/texts", with = ["/id"] } }
text = { prompt = ["/prompt"], body = ["/text"] }
content = { prompt = { p = "/prompt" }, parameters = { t = "/t" }, body = ["/text"] }
[fixture]
title = "Demo"
path_prefix = "/demo"
base_url = "https://api.example.com"
endpoint.chat = { method = "POST", path = "/chat", api = "chat" }
endpoint.at = { method = "POST", path = "/at/{place}", api = "chat", model = "{place}" }
endpoint.bare = { method = "POST", path = "/bare" }
endpoint.free = { method = "POST", path = "/free", api = "chat", metered = false }
endpoint.ask = { method = "POST", path = "/ask", api = "chat", when_missing = "ask" }
response = [{ when = { status = 403 }, reply = { status = 502, message = "no" } }]
[[test]]
name = "case"
"#;

/// The finding of the case's test of an api. Empty if it passes.
fn usage(request: &str, answer: &str, expect: &str, expected: &str) {
    let test = format!("{CHAT}request = {request}\nanswer = {answer}\nexpect = {expect}\n");
    let (parsed, found) = syntax::parse(&"apis/chat.toml".into(), &test);
    assert_eq!(found, [], "{test}");
    let mut files = compile::Files::default();
    files.apis.insert(FileName::new("chat").unwrap(), parsed);
    let compiled = compile::compile(&files);
    assert_eq!(compiled.diagnostics, [], "{test}");
    let outcome = run(&compiled);
    assert_eq!(outcome.ran, 1);
    let line = |one: &Diagnostic| {
        let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{}{help}", one.message.trim_start_matches("test `case` fails: "))
    };
    assert_eq!(outcome.diagnostics.iter().map(line).collect::<String>(), expected, "\n{test}");
}

#[test]
fn what_limits_and_rules_read() {
    let check = |path: &str, body: &str, judged: &str, expected: &str| {
        let request = format!("{{ method = \"POST\", path = \"/demo/{path}\", body = {{ {body} }} }}");
        usage(&request, "{ body = {} }", &format!("{{ judged = {judged} }}"), expected);
    };
    let read = "{ model = \"m\", max_output = 18, other_models = [\"o\", \"p\"] }";
    check("chat", "model = \"m\", max = 9, n = 2, models = [\"o\", \"p\"]", read, "");
    check("chat", "model = \"m\"", "{}", "");
    check(
        "chat",
        "model = \"a\", max = 9",
        read,
        "the model that rules read is `a`, expected `m` | also: `other_models` is `none`, expected `o, p`\n      the cap that limits read is `9`, expected `18`",
    );
    check("chat", "model = \"m\", models = [\"o\"]", "{}", "`other_models` is `o`, expected `none`");
    check("chat", "earlier = 1", "{ refused = \"unbounded\" }", "");
    check("chat", "earlier = 1", "{ model = \"m\" }", "`refused` is `unbounded`, expected `none`");
    check("chat", "model = \"m\"", "{ refused = \"twice\" }", "`refused` is `none`, expected `twice`");
    check("chat?model=x", "model = \"m\"", "{ refused = \"query\" }", "");
    check("at/place", "model = \"m\"", "{ model = \"place\" }", "");
    // Also where answers are not metered.
    check("free", "model = \"m\"", "{ model = \"m\" }", "");
    check(
        "bare",
        "model = \"m\"",
        "{}",
        "limits and rules read nothing of the request: its endpoint has no `api` with `usage`",
    );
}

const CHAT_REQUEST: &str =
    r#"{ method = "POST", path = "/demo/chat", body = { model = "m", max = 9, prompt = "Hello", t = 0.5 } }"#;

#[test]
fn usage_of_an_answer() {
    let body =
        r#"{ body = { id = "1", model = "m-1", text = "Hi", usage = { in = 5, cached = 2, out = 7 } } }"#;
    let check = |expect: &str, expected: &str| usage(CHAT_REQUEST, body, expect, expected);
    check("{ usage = { input = 3, cache_read = 2, output = 7 } }", "");
    check(
        r#"{ metered = true, usage = { input = 3, cache_read = 2, output = 7, model = "m-1", id = "1", max_output = 9, prompt_bytes = 5, answer_bytes = 2, content = { answer = "Hi", prompt = { p = "Hello" }, parameters = { t = 0.5 } } } }"#,
        "",
    );
    // A counter that is left out has to be zero.
    check(
        "{ usage = { input = 5, output = 7 } }",
        "the count `input` is `3`, expected `5` | also: the count `cache_read` is `2`, expected `0`",
    );
    check(
        r#"{ usage = { input = 3, cache_read = 2, output = 7, model = "m", id = "2", finish_reason = "stop", max_output = 8, prompt_bytes = 4, answer_bytes = 3, estimated = true, failed = true, not_counted = "bad_count" } }"#,
        "the model is `m-1`, expected `m` | also: the id of the response is `1`, expected `2`\n      the finish reason is missing, expected `stop`\n      `max_output` is `9`, expected `8`\n      `prompt_bytes` is `5`, expected `4`\n      `answer_bytes` is `2`, expected `3`\n      `not_counted` is `none`, expected `bad_count`\n      `estimated` is `false`, expected `true`\n      `failed` is `false`, expected `true`",
    );
    check(
        r#"{ usage = { input = 3, cache_read = 2, output = 7, content = { answer = "Ho", prompt = { p = "x", q = 1 }, parameters = { t = 1 } } } }"#,
        "the content `p` of the prompt is `\"Hello\"`, expected `\"x\"` | also: the content `q` of the prompt is missing, expected `1`\n      the parameter `t` is `0.5`, expected `1`\n      the content of the answer is `Hi`, expected `Ho`",
    );
    check("{ metered = false }", "the exchange is metered");
}

#[test]
fn usage_of_streams_and_of_texts() {
    let check = |answer: &str, expect: &str, expected: &str| usage(CHAT_REQUEST, answer, expect, expected);
    let events = r#"['{"text":"Hi","usage":null}', { usage = { in = 5, out = 7 } }, "[DONE]"]"#;
    check(&format!("{{ events = {events} }}"), "{ usage = { input = 5, output = 7, answer_bytes = 2 } }", "");
    let array = r#"{ text = '[{"text":"Hi"},{"usage":{"in":5,"out":7}}]' }"#;
    check(array, "{ usage = { input = 5, output = 7, answer_bytes = 2 } }", "");
    let page = r#"{ headers = { content-type = "text/html" }, text = "<html>" }"#;
    check(page, r#"{ usage = { not_counted = "content_type", estimated = true } }"#, "");
    let cut = r#"{ events = [{ text = "Hi" }], cut = true }"#;
    check(cut, "{ usage = { estimated = true } }", "");
    check(r#"{ body = { error = "no" } }"#, "{ usage = { failed = true } }", "");
}

#[test]
fn events_that_the_client_gets() {
    let request = |path: &str, keys: &str| {
        format!(r#"{{ method = "POST", path = "/demo/{path}", body = {{ stream = true{keys} }} }}"#)
    };
    let answer =
        r#"{ events = ['{"text":"Hi"}', '{"texts":[],"usage":{"in":5,"out":7},"id":"1"}', "[DONE]"] }"#;
    let check = |request: &str, events: &str, expected: &str| {
        let expect = format!("{{ events = [{events}], usage = {{ input = 5, output = 7 }} }}");
        usage(request, answer, &expect, expected);
    };
    let all = r#"'{"text":"Hi"}', '{"texts":[],"usage":{"in":5,"out":7},"id":"1"}', "[DONE]""#;
    check(&request("ask", ""), r#"{ text = "Hi" }, "[DONE]""#, "");
    // Nothing is asked for there.
    check(&request("ask", ", ask = true"), all, "");
    check(&request("chat", ""), all, "");
    check(
        &request("ask", ""),
        all,
        r#"the stream that the client gets is `data: {\"text\":\"Hi\"}\n\ndata: [DONE]\n\n`, expected `data: {\"text\":\"Hi\"}\n\ndata: {\"texts\":[],\"usage\":{\"in\":5,\"out\":7},\"id\":\"1\"}\n\ndata: [DONE]\n\n`"#,
    );
    let none = "`events` are expected, but the exchange has no metered stream";
    for path in ["free", "ask"] {
        let body = "{ body = { usage = { in = 5, out = 7 } } }";
        usage(&request(path, ""), body, "{ events = [] }", none);
    }
}

#[test]
fn exchanges_that_are_not_metered() {
    let body = "{ body = { usage = { in = 5 } } }";
    let free = r#"{ method = "POST", path = "/demo/free" }"#;
    let none = "the exchange is not metered, so that it has no usage";
    usage(
        CHAT_REQUEST,
        "{ body = { usage = { outt = 5 } } }",
        "{ usage = { output = 5, estimated = true } }",
        "the count `output` is `0`, expected `5` | also: `not_counted` is `usage_missing`, expected `none`\n      nothing is at `/usage/out`",
    );
    usage(
        CHAT_REQUEST,
        "{ headers = { Content-Encoding = \"gzip\" }, body = {} }",
        "{}",
        "its answer has the content coding `gzip`, but a test holds plain text: leave the header out",
    );
    usage(
        r#"{ method = "POST", path = "/demo/chat", headers = { content-encoding = "zstd" }, body = "{}" }"#,
        "{ body = {} }",
        "{}",
        "its request has the content coding `zstd`, but a test holds plain text: leave the header out",
    );
    usage(free, body, "{ metered = false }", "");
    usage(free, body, "{ usage = { input = 5 } }", none);
    usage(free, body, "{ metered = true }", "the exchange is not metered");
    usage(free, "{ events = [] }", "{}", "its answer has `events`, but no stream of the endpoint is metered");
    usage(CHAT_REQUEST, "{ status = 500 }", "{ metered = false }", "");
    // A rule replaces the answer.
    usage(CHAT_REQUEST, "{ status = 403, body = {} }", "{ status = 502, usage = {} }", none);
    usage(
        CHAT_REQUEST,
        r#"{ body = {}, text = "{}" }"#,
        "{}",
        "its answer has more than one of `body`, `text` and `events`",
    );
}
