//! Findings about the places of usage, and about endpoints that are metered.

use super::*;

/// The first lines of an api.
const API: &str = "title = \"Case\"\nerror.body = {}\n";

fn places(text: &str, expected: &str) {
    api(&format!("{API}{text}"), expected);
}

#[test]
fn pointers() {
    places("usage.body.input = \"/usage/in\"", "");
    places("usage.body.input = [\"/usage/in\", \"/in/*/x~1y\"]", "");
    places(
        "usage.body.input = \"usage.in\"",
        "TG013 3:20 `usage.in` cannot be read: a JSON pointer starts with `/`",
    );
    places(
        "usage.body.input = [\"/a\", \"/b~2\"]",
        "TG013 3:27 `/b~2` cannot be read: in a JSON pointer, `~` is written as `~0`, and `/` within a key as `~1`",
    );
    places(
        "usage.body.input = []",
        "TG028 3:20 an empty list has no place | name at least one JSON pointer, or drop the key",
    );
    places(
        "usage.body.input = 7",
        "TG011 3:20 `input` is an integer, but has to be a string or an array or a table | for example: { at = \"/usage/prompt_tokens\", minus = [\"cache_read\"] }",
    );
    places("usage.body.inptu = \"/a\"", "TG010 3:12 unknown key `inptu` | did you mean `input`?");
    places(
        "usage.body.id = \"/id\"\ntext.prompt = [\"/a\", \"b\"]",
        "TG013 4:22 `b` cannot be read: a JSON pointer starts with `/`",
    );
    places(
        "usage.body.id = \"/id\"\ncontent.prompt = { messages = \"messages\" }",
        "TG013 4:31 `messages` cannot be read: a JSON pointer starts with `/`",
    );
    places(
        "usage.body.id = \"/id\"\nrequest = { max_output = [\"/a\", \"b\"], stream = \"c\", model = \"d\" }",
        "TG013 4:33 `b` cannot be read: a JSON pointer starts with `/`\n\
         TG013 4:48 `c` cannot be read: a JSON pointer starts with `/`\n\
         TG013 4:61 `d` cannot be read: a JSON pointer starts with `/`",
    );
    let many = (0..65).map(|index| format!("\"/{index}\"")).collect::<Vec<_>>().join(", ");
    places(
        &format!("usage.body.id = \"/id\"\ntext.prompt = [{many}]"),
        "TG013 4:15 `prompt` has more than 64 entries",
    );
}

#[test]
fn counts_that_include_others() {
    let body = |rest: &str, expected: &str| places(&format!("[usage.body]\n{rest}"), expected);
    body("input = { at = \"/in\", minus = [\"cache_read\"] }\ncache_read = \"/cached\"", "");
    body(
        "input = { at = \"/in\", minus = [\"cache_reed\"] }",
        "TG013 4:32 entry 1 of `minus` is none of `input`, `output`, `cache_read`, `cache_write`, `reasoning`, `audio_input`, `audio_output`, `images`, `characters`, `seconds`, `units` | did you mean `cache_read`?",
    );
    let help = "`minus` names other counters of the same table, whose tokens this count includes";
    body(
        "input = { at = \"/in\", minus = [\"cache_read\"] }",
        &format!("TG028 4:32 nothing counts `cache_read` here | {help}"),
    );
    body(
        "input = { at = \"/in\", minus = [\"input\"] }",
        &format!("TG028 4:32 a count cannot include itself | {help}"),
    );
    body(
        "input = { at = \"/in\", minus = [\"units\", \"units\"] }\nunits = \"/u\"",
        &format!("TG028 4:41 `units` is named twice | {help}"),
    );
    body(
        "input = { at = \"/in\", minus = [\"cache_read\"] }\ncache_read = { at = \"/c\", minus = [\"cache_write\"] }\ncache_write = { at = \"/w\", minus = [\"input\"] }",
        &format!(
            "TG028 4:32 `cache_read` includes `input` in its turn | {help}\n\
             TG028 5:36 `cache_write` includes `cache_read` in its turn | {help}\n\
             TG028 6:37 `input` includes `cache_write` in its turn | {help}"
        ),
    );
    body(
        "input = { minus = [\"units\"] }",
        "TG012 4:1 `input` has no `at` | for example: at = \"/usage/prompt_tokens\"",
    );
}

#[test]
fn framings_and_brackets() {
    let usage = |keys: &str, expected: &str| {
        places(&format!("[usage]\n{keys}\nbody = {{ output = \"/out\" }}"), expected);
    };
    usage("stream = [\"sse\", \"ndjson\"]", "");
    usage("stream = [\"sse\", \"sse\"]", "TG028 4:18 `sse` stands there twice | drop one of them");
    let ask = |stream: &str, expected: &str| {
        let ask = "ask = { at = \"/ask\", value = true, extra = { at = \"/usage\", empty = \"/choices\" } }";
        usage(&format!("stream = {stream}\nwhen_missing = \"ask\"\n{ask}"), expected);
    };
    ask("[\"ndjson\", \"sse\"]", "");
    ask(
        "\"ndjson\"",
        "TG028 6:36 `extra` has no effect: only an event of `sse` can be taken out | add `sse` to `stream`, or drop `extra`",
    );
    for pointer in ["/data/[*]/n", "/data[0]/n", "/data[]"] {
        let expected = format!(
            "TG013 4:10 `{pointer}` cannot be read: a JSON pointer has no brackets: an element is written `/0`, and every element `/*`"
        );
        places(&format!("[usage.body]\noutput = \"{pointer}\""), &expected);
    }
    places("[usage.body]\noutput = \"/data[a]/[b]c\"", "");
}

#[test]
fn combinations() {
    let body = |rest: &str, expected: &str| places(&format!("[usage.body]\n{rest}"), expected);
    body(
        "images = { at = \"/data/*\", combine = \"count\" }\nunits = { at = \"/a\", combine = \"length\" }",
        "",
    );
    body(
        "output = { at = \"/text\", combine = \"length\" }",
        "TG013 4:36 `length` counts no output | `length` is for `characters` and `units`",
    );
    body(
        "seconds = { at = \"/data/*\", combine = \"count\" }",
        "TG013 4:39 `count` counts no seconds | `count` is for `images` and `units`",
    );
    body(
        "output = { at = \"/text\", combine = \"mean\" }",
        "TG013 4:36 `combine` is none of `last`, `first`, `sum`, `max`, `count`, `length`",
    );
}

#[test]
fn keys_without_effect() {
    let unmetered = |name: &str| {
        format!(
            "`{name}` has no effect: without `usage`, the format is not metered | add `[usage]` with the places of counts, or drop it"
        )
    };
    places(
        "request.model = \"/model\"\ntext.body = [\"/text\"]",
        &format!("TG028 3:1 {}\nTG028 4:1 {}", unmetered("request"), unmetered("text")),
    );
    places("content.body = [\"/text\"]", &format!("TG028 3:1 {}", unmetered("content")));
    places(
        "usage.event.input = \"/in\"",
        "TG028 3:7 `event` has no effect: the format has no streams | add `stream` to `[usage]`, the framing of streamed answers",
    );
    places(
        "usage.when_missing = \"none\"",
        "TG012 3:1 `usage` has no place of a count | add `[usage.body]`, the places of counts in an answer",
    );
    places("usage = { stream = \"sse\", event = { input = \"/in\" } }", "");
    places("usage = { stream = [\"sse\", \"json-array\"], event = { input = \"/in\" } }", "");
    places(
        "usage = { stream = \"see\", event = { input = \"/in\" } }",
        "TG013 3:20 `stream` is none of `sse`, `ndjson`, `json-array`, `aws-event-stream` | did you mean `sse`?",
    );
}

#[test]
fn asking_for_usage() {
    let ask = |ask: &str, expected: &str| {
        places(&format!("usage.body.input = \"/in\"\nusage.ask = {ask}\nusage.stream = \"sse\""), expected);
    };
    ask(
        "{ at = \"/o/usage\", value = true, when = \"/stream\", extra = { at = \"/usage\", empty = \"/choices\" } }",
        "",
    );
    ask(
        "{ at = \"/o/*\", value = true, when = \"stream\" }",
        "TG013 4:20 `/o/*` cannot be read: this JSON pointer stands for one value, so it has no `*`\n\
         TG013 4:49 `stream` cannot be read: a JSON pointer starts with `/`",
    );
    ask(
        "{ at = \"\", value = { a = 1 } }",
        "TG013 4:20 the whole request cannot be replaced | name a key of the request\n\
         TG013 4:32 one value is inserted into the request, no table or list | the value is a string, a number or a boolean",
    );
    ask(
        "{ at = \"/a\", value = 1, extra = { at = \"/u\", empty = \"/c\", with = [\"/id\", \"/m/a\", \"/m/b\"] } }",
        "",
    );
    ask(
        "{ at = \"/a\", value = 1, extra = { at = \"/u\", empty = \"/c\", with = [\"/id\", \"/u/a\", \"\", \"/*\"] } }",
        "TG013 4:87 `/u/a` and `/u` are not two places: one contains the other | name each place once\n\
         TG013 4:95 `` and `/u` are not two places: one contains the other | name each place once\n\
         TG013 4:99 `/*` cannot be read: this JSON pointer stands for one value, so it has no `*`",
    );
    ask(
        "{ at = \"/a\", value = 1, extra = { at = \"/u\", empty = \"/c/*\" } }",
        "TG013 4:66 `/c/*` cannot be read: this JSON pointer stands for one value, so it has no `*`",
    );
    places(
        "usage = { when_missing = \"ask\", body = { input = \"/in\" } }",
        "TG028 3:26 `ask` needs the key to ask with | add `ask`, the key of the request that makes the upstream send usage",
    );
}

#[test]
fn endpoints() {
    let endpoint = |keys: &str, expected: &str| provider(&format!("endpoint.x = {{ {keys} }}"), expected);
    endpoint("method = \"POST\", path = \"/x\", api = \"metered\", when_missing = \"none\"", "");
    endpoint("method = \"POST\", path = \"/x\", api = \"metered\", metered = false", "");
    endpoint("method = \"POST\", path = \"/x\", api = \"asking\", when_missing = \"ask\"", "");
    endpoint(
        "method = \"POST\", path = \"/x\", api = \"metered\", when_missing = \"ask\"",
        "TG028 1:78 api `metered` has no key to ask with | add `ask` to its `[usage]`, or write \"estimate\" or \"none\"",
    );
    endpoint(
        "method = \"GET\", path = \"/x\", api = \"metered\", metered = true",
        "TG028 1:62 `metered` has no effect: answers to GET are never metered | drop it",
    );
    endpoint(
        "method = \"POST\", path = \"/x\", when_missing = \"none\"",
        "TG028 1:46 `when_missing` has no effect: the endpoint has no `api`, so that nothing is metered | drop it",
    );
    endpoint(
        "method = \"POST\", path = \"/x\", api = \"chat\", metered = true",
        "TG028 1:60 `metered` has no effect: api `chat` has no `[usage]`, so that nothing is metered | drop it",
    );
    endpoint(
        "method = \"POST\", path = \"/x\", api = \"metered\", metered = false, when_missing = \"none\"",
        "TG028 1:80 `when_missing` has no effect: `metered` is `false` | drop it",
    );
    // Of an api with errors nothing more is known.
    endpoint(
        "method = \"POST\", path = \"/x\", api = \"broken\", metered = true",
        "TG025 1:52 api `broken` has errors of its own | mend that file first",
    );
}

#[test]
fn names_in_opentelemetry() {
    let odd = |key: &str, example: &str| {
        format!("`{key}` is not written in the form that it has to have | for example: \"{example}\"")
    };
    let endpoint = |operation: &str, expected: &str| {
        let keys = format!("method = \"GET\", path = \"/x\", operation = \"{operation}\"");
        provider(&format!("endpoint.x = {{ {keys} }}"), expected);
    };
    // Also of endpoints that are not metered.
    endpoint("a.b_2.c", "");
    for name in ["Chat", "a-b", "a b", "", "a.", ".a", "a..b", "2a", "_a", "a.2"] {
        endpoint(name, &format!("TG013 1:57 {}", odd("operation", "chat")));
    }
    endpoint(&"a".repeat(64), "");
    endpoint(&"a".repeat(65), "TG013 1:57 `operation` has more than 64 characters");
    provider("telemetry_name = \"acme.ai\"", "");
    provider("telemetry_name = \"Acme\"", &format!("TG013 1:18 {}", odd("telemetry_name", "example_ai")));
    places("operation = \"chat\"\nusage.body.input = \"/in\"", "");
    places(
        "operation = \"a/b\"\nusage.body.input = \"/in\"",
        &format!("TG013 3:13 {}", odd("operation", "chat")),
    );
    places(
        "operation = \"chat\"",
        "TG028 3:1 `operation` has no effect: the api has no `[usage]`, so that nothing is metered | drop it, or write `operation` in the endpoints",
    );
}

#[test]
fn models_in_paths() {
    let endpoint = |keys: &str, expected: &str| provider(&format!("endpoint.x = {{ {keys} }}"), expected);
    endpoint("method = \"POST\", path = \"/m/{model}:run\", api = \"captured\"", "");
    endpoint("method = \"GET\", path = \"/m\", api = \"captured\"", "");
    endpoint("method = \"POST\", path = \"/m\", api = \"captured\", metered = false", "");
    let message =
        "api `captured` reads the model from the capture `model`, but the captures of this path are";
    let help = "write `{model}` where the path has the model, or `metered = false`";
    endpoint(
        "method = \"POST\", path = \"/m\", api = \"captured\"",
        &format!("TG025 1:52 {message}: none | {help} ~ 1:40 the path"),
    );
    endpoint(
        "method = \"POST\", path = \"/{version}/{id}\", api = \"captured\"",
        &format!("TG025 1:65 {message}: `version`, `id` | {help} ~ 1:40 the path"),
    );
}

#[test]
fn models_in_paths_of_endpoints() {
    let endpoint = |keys: &str, expected: &str| provider(&format!("endpoint.x = {{ {keys} }}"), expected);
    endpoint("method = \"POST\", path = \"/d/{place}/run\", api = \"metered\", model = \"{place}\"", "");
    endpoint("method = \"POST\", path = \"/d/{place}/run\", api = \"captured\", model = \"{place}\"", "");
    let help = "name the capture that holds the model, or drop the key";
    endpoint(
        "method = \"POST\", path = \"/d\", api = \"metered\", model = \"{place}\"",
        &format!(
            "TG025 1:71 the path has no capture `place`; its captures are: none | {help} ~ 1:40 the path"
        ),
    );
    endpoint(
        "method = \"POST\", path = \"/d/{id}\", api = \"metered\", model = \"{place}\"",
        &format!(
            "TG025 1:76 the path has no capture `place`; its captures are: `id` | {help} ~ 1:40 the path"
        ),
    );
    endpoint(
        "method = \"GET\", path = \"/d/{place}\", api = \"metered\", model = \"{place}\"",
        "TG028 1:70 `model` has no effect: answers to GET are never metered | drop it",
    );
    endpoint(
        "method = \"POST\", path = \"/d\", api = \"metered\", model = \"/model\"",
        "TG013 1:71 `model` is not written in the form that it has to have | for example: \"{deployment}\"",
    );
}

#[test]
fn places_that_limits_and_rules_read() {
    let request = |keys: &str, expected: &str| {
        places(&format!("usage.body.input = \"/in\"\nrequest = {{ {keys} }}"), expected);
    };
    request("other_models = [\"/models/*\", \"/tools/*/model\"], answers = \"/n\", prompts = \"/p/*\"", "");
    request("unbounded = [\"/a\", { at = \"/tools/*/type\", except = [\"function\", \"x_*\"] }]", "");
    request(
        "other_models = \"models\"",
        "TG013 4:28 `models` cannot be read: a JSON pointer starts with `/`",
    );
    request(
        "answers = []",
        "TG028 4:23 an empty list has no place | name at least one JSON pointer, or drop the key",
    );
    request("unbounded = [\"/a\", \"b\"]", "TG013 4:32 `b` cannot be read: a JSON pointer starts with `/`");
    request(
        "unbounded = [{ at = \"/a\", except = [\"*********\"] }]",
        "TG013 4:49 `*********` has more than 8 `*` | shorten it",
    );
    request(
        "unbounded = [{ at = \"/a\" }]",
        "TG012 4:26 entry 1 of `unbounded` has no `except` | for example: except = [\"function\", \"custom\"]",
    );
    request(
        "unbounded = [7]",
        "TG011 4:26 entry 1 of `unbounded` is an integer, but has to be a string or a table",
    );
    let judged = |keys: &str, problem: &str| {
        let help = "name other places, or leave the key out";
        request(keys, &format!("TG013 4:1 limits and rules cannot judge the request: {problem} | {help}"));
    };
    judged("model = \"/a/*/b\"", "`/a/*/b` may point into an array: only members of objects can be judged");
    judged("answers = \"/n/*\"", "`/n/*` may point into an array: only members of objects can be judged");
    judged(
        "model = \"/a\", max_output = \"/a\"",
        "`/a` is also another place, or lies within one: each place needs a value of its own",
    );
}

/// Equal files have equal metering; each key that can change it changes its shape.
#[test]
fn keys_change_the_metering() {
    let shape = |text: &str| {
        let (parsed, found) = syntax::parse::<syntax::Api>(&"case.toml".into(), &format!("{API}{text}"));
        assert_eq!(found, [], "{text}");
        let (api, found) = super::super::api::compile(&FileName::new("case").unwrap(), &parsed.unwrap());
        assert_eq!(found, [], "{text}");
        api.unwrap().metering.unwrap().shape()
    };
    let base = "usage.stream = \"sse\"\nusage.body.input = \"/in\"\n";
    assert_eq!(shape(base), shape("usage = { body = { input = [\"/in\"] }, stream = [\"sse\"] }"));
    for more in [
        "usage.body.output = \"/out\"",
        "usage.event.input = \"/in\"\nusage.event.id = \"/id\"",
        "usage.when_missing = \"none\"",
        "usage.ask = { at = \"/a\", value = 1 }",
        "usage.request.units = \"/n\"",
        "usage.body.error = \"/error\"",
        "request.model = \"/model\"",
        "request.model = \"{model}\"",
        "request.stream = \"/stream\"",
        "request.max_output = \"/max\"",
        "request.other_models = \"/models/*\"",
        "request.answers = \"/n\"",
        "request.prompts = \"/prompt/*\"",
        "request.unbounded = [\"/earlier\"]",
        "request.unbounded = [{ at = \"/earlier\", except = [\"x\"] }]",
        "text.prompt = [\"/p\"]",
        "text.body = [\"/b\"]",
        "content.prompt.p = \"/p\"",
        "content.parameters.t = \"/t\"",
        "content.event = [\"/e\"]",
    ] {
        assert_ne!(shape(&format!("{base}{more}")), shape(base), "{more}");
    }
}
