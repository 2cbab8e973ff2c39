use super::*;
use crate::{
    base::name::FileName,
    language::{compile::Files, syntax},
};

const PRESET: &str = r#"
path_prefix = "/{provider}"
credentials = { field = [{ name = "key" }] }
auth = [{ field = "key", set = { authorization = "Bearer {secret}" } }]
endpoint.chat = { method = "POST", path = "/v1/chat" }
endpoint.files = { method = "GET", path = "/v1/files/{rest...}" }
"#;
const DEMO: &str = r#"
title = "Demo"
extends = "p"
base_url = "https://api.example"
vars = { out = { env = "OUT", optional = true }, pass = { env = "PASS", optional = true, secret = true } }
headers = { remove = ["x-in-*"], set = { x-fixed = "1" } }
caller = { headers = ["x-demo-key"] }
gateway.g = { path = "/g{path}", when = ["out"] }
egress = [{ when = ["out", "pass"], url = "https://out.example/?to={url|urlencode}", headers = { set = { x-pass = "{pass}" } } }]
"#;
const GATEWAY: &str = "title = \"G\"\nbase_url = \"https://gw.example\"\nvars = { t = { env = \"T\" } }\n";

/// Providers of these texts, with the preset and the gateway.
fn providers(texts: &[(&str, String)], preset: &str) -> Vec<Arc<Provider>> {
    fn parse<T: syntax::Document>(name: &str, text: &str) -> syntax::Parsed<T> {
        let (slot, found) = syntax::parse(&name.into(), text);
        assert_eq!(found, [], "{text}");
        slot.unwrap()
    }
    let name = |name: &str| FileName::new(name).unwrap();
    let mut files = Files::default();
    files.presets.insert(name("p"), Ok(parse("p", preset)));
    files.gateways.insert(name("g"), Ok(parse("g", GATEWAY)));
    for (provider, text) in texts {
        files.providers.insert(name(provider), Ok(parse(provider, text)));
    }
    let compiled = crate::language::compile::compile(&files);
    assert_eq!(compiled.diagnostics, [], "{texts:?}");
    compiled.providers
}

/// The changes as lines: kind, subject and name, with `!` in front if it widens exposure.
fn lines(diff: &Diff) -> Vec<String> {
    let one = |change: &Change| {
        let mark = match (&change.old, &change.new) {
            (None, _) => '+',
            (_, None) => '-',
            (Some(_), Some(_)) => '~',
        };
        format!(
            "{}{mark}{:?} {}",
            if change.widens.is_some() { "!" } else { "" },
            change.subject,
            change.name
        )
    };
    diff.groups.iter().flat_map(|group| group.changes.iter().map(one)).collect()
}

/// Applies changes to preset and provider, and compares the differences. Changes are `from => to`, separated by `; `.
fn check(change: &str, expected: &[&str]) {
    let (mut preset, mut demo) = (PRESET.to_owned(), DEMO.to_owned());
    for one in change.split("; ").filter(|one| !one.is_empty()) {
        let (from, to) = one.split_once(" => ").unwrap();
        assert!(preset.contains(from) || demo.contains(from), "{from}");
        (preset, demo) = (preset.replace(from, to), demo.replace(from, to));
    }
    let old = providers(&[("demo", DEMO.to_owned())], PRESET);
    let new = providers(&[("demo", demo)], &preset);
    let found = diff(&old, &new);
    assert_eq!(lines(&found), expected, "{change}\n{found:#?}");
    let widened = expected.iter().any(|line| line.starts_with('!'));
    let verdict = match expected {
        [] => Verdict::Same,
        _ if widened => Verdict::Widened,
        _ => Verdict::Different,
    };
    assert_eq!(found.verdict, verdict, "{change}");
}

#[test]
fn endpoints() {
    check("", &[]);
    check("Demo => Other", &[]);
    check("\"POST\" => \"PUT\"", &["!~Endpoint chat"]);
    check("/v1/chat => /v1/chat/{model}", &["!~Endpoint chat"]);
    check("/v1/files/{rest...}\" => /v1/files/{rest...}\", upgrade = \"websocket\"", &["!~Endpoint files"]);
    check("files/{rest...} => files/{one}", &["~Endpoint files"]);
    check("files/{rest...} => files/{one}/{two}", &["!~Endpoint files"]);
    check(
        "\"/v1/files/{rest...}\" => \"/v1/files/{one}\", upstream_path = \"/v1/files/{one}\"",
        &["~Endpoint files"],
    );
    check("endpoint.files => endpoint.more", &["!+Endpoint more", "-Endpoint files"]);
    check(
        "endpoint.files = { method = \"GET\", path = \"/v1/files/{rest...}\" } => # none",
        &["-Endpoint files"],
    );
    check("\"/v1/chat\" } => \"/v1/chat\", upstream_path = \"/admin\" }", &["!~Endpoint chat"]);
    check("\"/v1/chat\" } => \"/v1/chat\", timeouts = { idle = \"1s\" } }", &["+Timeouts chat"]);
}

#[test]
fn ways_of_a_credential() {
    const SET: &str = "set = { authorization = \"Bearer {secret}\" }";
    let check = |to: &str, expected: &[&str]| check(&format!("{SET} }}] => {to}]"), expected);
    check(&format!("{SET}, add = {{ x-beta = \"a\" }} }}"), &["+Auth `key` into the list `x-beta`"]);
    check(
        &format!("{SET}, add = {{ x-beta = \"{{secret}}\" }} }}"),
        &["!+Auth `key` into the list `x-beta`"],
    );
    check(
        &format!("{SET}, query = {{ k = \"{{secret}}\" }} }}"),
        &["!+Auth `key` into the query parameter `k`"],
    );
    check(&format!("{SET} }}, {{ none = true }}"), &["!+Auth none", "+Auth order"]);
    check(
        &format!("endpoints = [\"chat\"], {SET} }}, {{ endpoints = [\"files\"], none = true }}"),
        &["!+Auth none", "!+Auth order", "~Auth `key` into `authorization`"],
    );
}

/// A credential at one more endpoint, or at another origin, is one in a new place.
#[test]
fn places_of_a_credential() {
    const OPTIONAL: &str = " }, { endpoints = [\"files\"], none = true";
    const QUEUE: &str = "origins = { queue = \"https://queue.example\" }";
    const OTHER: &str = "origins = { queue = \"https://other.example\" }";
    const AT: &str = ", origin = \"queue\"";
    let file = |origins: &str, auth: &str, files: &str| {
        format!(
            "title = \"Demo\"\nbase_url = \"https://api.example\"\npath_prefix = \"/demo\"\n{origins}\n\
             credentials.field = [{{ name = \"key\" }}]\n\
             auth = [{{ field = \"key\", set = {{ x-key = \"{{secret}}\" }}{auth} }}]\n\
             endpoint.chat = {{ method = \"POST\", path = \"/chat\" }}\n\
             endpoint.files = {{ method = \"GET\", path = \"/files\"{files} }}\n"
        )
    };
    let check = |old: [&str; 3], new: [&str; 3], expected: &[&str]| {
        let of =
            |[origins, auth, files]: [&str; 3]| providers(&[("demo", file(origins, auth, files))], PRESET);
        assert_eq!(lines(&diff(&of(old), &of(new))), expected, "{old:?} {new:?}");
    };
    let chat = &*format!(", endpoints = [\"chat\"]{OPTIONAL}");
    let both = &*format!(", endpoints = [\"chat\", \"files\"]{OPTIONAL}");
    check(["", chat, ""], ["", both, ""], &["!~Auth `key` into `x-key`", "!~Auth order"]);
    check(["", both, ""], ["", chat, ""], &["!~Auth order", "~Auth `key` into `x-key`"]);
    check(
        ["", "", ""],
        [QUEUE, "", AT],
        &["!+Upstream origins.queue", "!~Endpoint files", "!+Origin https://queue.example"],
    );
    check(
        [QUEUE, "", AT],
        [OTHER, "", AT],
        &["!~Upstream origins.queue", "!+Origin https://other.example", "-Origin https://queue.example"],
    );
    // The host was reached before, and not with a credential.
    check(
        [QUEUE, chat, AT],
        [QUEUE, "", AT],
        &["!~Origin https://queue.example", "!~Auth `key` into `x-key`", "!-Auth order", "-Auth none"],
    );
}

#[test]
fn origins_of_secrets() {
    check(
        "https://api.example => https://else.example",
        &["!~Upstream base_url", "!+Origin https://else.example", "-Origin https://api.example"],
    );
    check("https://api.example => https://API.example:443/", &[]);
    check("https://api.example => https://api.example/v2", &["!~Upstream base_url"]);
    check(
        "https://api.example => https://api.example/v1; \"/v1/chat\" => \"/v1/chat\", upstream_path = \"/chat\"; \"/v1/files/{rest...}\" => \"/v1/files/{rest...}\", upstream_path = \"/files/{rest}\"",
        &["~Upstream base_url", "~Endpoint chat", "~Endpoint files"],
    );
    check(
        "set = { authorization => set = { x-other",
        &["!+Auth `key` into `x-other`", "-Auth `key` into `authorization`"],
    );
    check(
        "field = \"key\", set => field = \"key\", match = \"a*\", set",
        &["~Auth `key` into `authorization`"],
    );
    check(
        "field = [{ name => section = \"s\", field = [{ name",
        &[
            "!~Origin https://api.example",
            "!~Origin https://gw.example",
            "!~Origin https://out.example",
            "!~Credentials section",
        ],
    );
    check("when = [\"out\", \"pass\"] => when = [\"pass\", \"out\"]", &[]);
    check("{ path = \"/g{path}\", when = [\"out\"] } => { path = \"/g{path}\" }", &["!~Gateway g"]);
    check("/g{path}\", when = [\"out\"] => /h{path}\", when = [\"out\", \"pass\"]", &["!~Gateway g"]);
    check("optional = true, secret = true => optional = true", &["!~Var pass"]);
}

#[test]
fn header_and_query_rules() {
    check("remove = [\"x-in-*\"], set => set", &["!-Headers remove `x-in-*`"]);
    check("\"x-in-*\" => \"x-*\"", &["+Headers remove `x-*`", "-Headers remove `x-in-*`"]);
    check("remove = [\"x-in-*\"] => remove = [\"x-in-*\"], pass = [\"cf-*\"]", &["!+Headers pass `cf-*`"]);
    check(", set = { x-fixed = \"1\" } => ", &["!-Headers set `x-fixed`"]);
    check("x-fixed = \"1\" => x-fixed = \"2\"", &["!~Headers set `x-fixed`"]);
    check("[\"x-demo-key\"] => []", &["!-Caller header `x-demo-key`"]);
    check("\"/v1/chat\" } => \"/v1/chat\", query = { remove = [\"k\"] } }", &["+Query chat: remove `k`"]);
}

/// A token location counts for requests to all providers: with its file, the removal of tokens there ends.
#[test]
fn a_removed_provider_takes_its_token_locations_with_it() {
    let other = DEMO.replace("/demo", "/other").replace("x-demo-key", "x-other-key");
    let both = providers(&[("demo", DEMO.to_owned()), ("other", other.clone())], PRESET);
    let one = providers(&[("demo", DEMO.to_owned())], PRESET);
    assert_eq!(diff(&both, &one).verdict, Verdict::Widened);
    let same = other.replace("x-other-key", "x-demo-key");
    let both = providers(&[("demo", DEMO.to_owned()), ("other", same)], PRESET);
    assert_eq!(diff(&both, &one).verdict, Verdict::Different);
}

#[test]
fn keys_are_compared_and_masked() {
    let (old, new) = ("sk-a1b2c3d4e5f6a7b8c9d0", "sk-f0e9d8c7b6a5f4e3d2c1");
    let with = |key: &str| {
        providers(&[("demo", DEMO.replace("x-fixed = \"1\"", &format!("x-fixed = \"k {key}\"")))], PRESET)
    };
    let found = diff(&with(old), &with(new));
    assert_eq!(lines(&found), ["!~Headers set `x-fixed`"]);
    let texts =
        [human(&found).to_string(), markdown(&found).to_string(), serde_json::to_string(&found).unwrap()];
    assert!(texts[0].contains("***, with other contents"), "{}", texts[0]);
    for text in texts {
        assert!(!text.contains(old) && !text.contains(new), "{text}");
    }
}

#[test]
fn same_changes_are_one_group() {
    let all: Vec<(String, String)> = (0..50)
        .map(|at| (format!("u{at}"), DEMO.replace("https://api.", &format!("https://u{at}."))))
        .collect();
    let texts: Vec<(&str, String)> = all.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let old = providers(&texts, PRESET);
    let new = providers(&texts, &PRESET.replace("/v1/chat", "/v2/chat"));
    let found = diff(&old, &new);
    let [group] = found.groups.as_slice() else { panic!("{found:#?}") };
    assert_eq!((group.providers.len(), group.changes.len()), (50, 1));
    assert_eq!(
        &*human(&found),
        "WIDENED: 50 providers changed; 50 changes widen exposure\n\n\
        u0, u1, u10, u11, u12 and 45 more changed, each as {provider}:\n  \
        ~ endpoint chat: POST /{provider}/v1/chat (upstream /v1/chat) => POST /{provider}/v2/chat (upstream /v2/chat)\n    \
        WIDENS: it allows what was not allowed\n"
    );
}

#[test]
fn removed_provider_exposes_nothing_and_new_one_does() {
    let one = providers(&[("demo", DEMO.to_owned())], PRESET);
    let found = diff(&one, &[]);
    assert_eq!((found.verdict, found.groups[0].kind), (Verdict::Different, ChangeKind::Removed));
    let found = diff(&[], &one);
    assert_eq!((found.verdict, found.groups[0].kind), (Verdict::Widened, ChangeKind::Added));
}

#[test]
fn markdown_is_escaped() {
    let old = providers(&[("demo", DEMO.to_owned())], PRESET);
    let odd = DEMO.replace("x-fixed = \"1\"", "x-fixed = \"`</code>|@here [x](http://y) **b**\"");
    let text = markdown(&diff(&old, &providers(&[("demo", odd)], PRESET)));
    for part in ["</code>|", "@here", "[x]", "**b**", "http://y"] {
        assert!(!text.contains(part), "{part} in {text}");
    }
}

/// The changes of the tables in `docs/tooling.md`, on the files there.
#[test]
fn documented_changes_are_rated_as_documented() {
    let text = include_str!("../../../../docs/tooling.md");
    let (_, text) = text.split_once("<!-- widens: run by src/engine/tools/diff/tests.rs -->").unwrap();
    let block = |index: usize| text.split("```").nth(index).unwrap().trim_start_matches("toml\n").to_owned();
    let files = [block(1), block(3), block(5)];
    let (widening, differing) = text.split_once("| differs | from | to |").unwrap();
    let mut tried = 0;
    for (rows, verdict) in [(widening, Verdict::Widened), (differing, Verdict::Different)] {
        for row in rows.lines().skip_while(|line| !line.starts_with("|---")).skip(1) {
            if !row.starts_with("| ") {
                break;
            }
            let cells: Vec<String> = row.replace("\\|", "\u{1}").split('|').map(cell).collect();
            let changed = changed(&files, &cells[2], &cells[3]);
            let found = diff(&documented(&files), &documented(&changed));
            assert_eq!(found.verdict, verdict, "{row}\n{found:#?}");
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}

fn cell(text: &str) -> String {
    text.trim().trim_matches('`').replace('\u{1}', "|")
}

fn changed(files: &[String; 3], from: &str, to: &str) -> [String; 3] {
    assert!(!from.is_empty() && files.iter().any(|file| file.contains(from)), "{from}");
    files.each_ref().map(|file| file.replacen(from, to, 1))
}

fn documented([provider, gateway, api]: &[String; 3]) -> Vec<Arc<Provider>> {
    let name = |name: &str| FileName::new(name).unwrap();
    let mut files = Files::default();
    let second = gateway.replace("GATEWAY_KEY", "SECOND_KEY");
    files.gateways.insert(name("first"), Ok(crate::tools::generated::parse("first", gateway)));
    files.gateways.insert(name("second"), Ok(crate::tools::generated::parse("second", &second)));
    files.apis.insert(name("acme-chat"), Ok(crate::tools::generated::parse("acme-chat", api)));
    files.providers.insert(name("acme"), Ok(crate::tools::generated::parse("acme", provider)));
    let compiled = crate::language::compile::compile(&files);
    assert_eq!(compiled.diagnostics, [], "{provider}");
    compiled.providers
}

const METERED: &str = r#"
title = "Metered"
error.body = { error = "{message}" }
request = { model = "/model", max_output = "/max", other_models = ["/models/*"], unbounded = [{ at = "/tool", except = ["own"] }] }
text = { prompt = ["/prompt"], body = ["/text"] }
content = { prompt = { prompt = "/prompt" }, parameters = { max = "/max" }, body = ["/text"] }
[usage]
stream = "sse"
when_missing = "ask"
ask = { at = "/ask", value = true, extra = { at = "/usage", empty = "/choices" } }
[usage.body]
input = { at = "/usage/in", plus = "/usage/more", minus = ["cache_read"] }
cache_read = "/usage/cached"
output = "/usage/out"
model = "/model"
"#;

/// Each member of the metering is compared. The lines: those of the change of the api.
#[test]
fn metering_is_compared_in_all_parts() {
    let compiled = |api: &str| {
        let provider = "title = \"Acme\"\nbase_url = \"https://a.example\"\npath_prefix = \"/acme\"\nendpoint.chat = { method = \"POST\", path = \"/chat\", api = \"metered\" }";
        let name = |name: &str| FileName::new(name).unwrap();
        let mut files = Files::default();
        files.apis.insert(name("metered"), Ok(crate::tools::generated::parse("metered", api)));
        files.providers.insert(name("acme"), Ok(crate::tools::generated::parse("acme", provider)));
        let compiled = crate::language::compile::compile(&files);
        assert_eq!(compiled.diagnostics, [], "{api}");
        compiled.providers
    };
    let check = |from: &str, to: &str, expected: &[&str]| {
        assert!(METERED.contains(from), "{from}");
        let found = diff(&compiled(METERED), &compiled(&METERED.replacen(from, to, 1)));
        assert_eq!(lines(&found), expected, "{from} => {to}\n{found:#?}");
    };
    let both = "body and event";
    check("\"/usage/out\"", "\"/usage/o\"", &[&format!("~Metering chat: output in {both}")]);
    check("plus = \"/usage/more\", ", "", &[&format!("~Metering chat: input in {both}")]);
    check("plus = \"/usage/more\"", "combine = \"sum\"", &[&format!("~Metering chat: input in {both}")]);
    check("minus = [\"cache_read\"]", "minus = []", &[&format!("~Metering chat: input in {both}")]);
    check("model = \"/model\"\n", "", &[&format!("-Metering chat: model in {both}")]);
    check("[\"/prompt\"]", "[\"/p\"]", &["~Metering chat: text in request"]);
    check(
        "max_output = \"/max\"",
        "stream = \"/max\"",
        &["-Metering chat: max_output in request", "+Metering chat: stream in request"],
    );
    // What limits and rules no longer see, they no longer refuse.
    check(", other_models = [\"/models/*\"]", "", &["!-Metering chat: other_models in request"]);
    check("[\"/models/*\"]", "[\"/m/*\"]", &["!~Metering chat: other_models in request"]);
    check("[\"own\"]", "[\"own\", \"theirs\"]", &["!~Metering chat: unbounded in request"]);
    check(
        "max_output = \"/max\"",
        "max_output = \"/max\", answers = \"/n\"",
        &["+Metering chat: answers in request"],
    );
    check("\"sse\"", "[\"sse\", \"ndjson\"]", &["~Metering chat"]);
    check(
        "request = { model = \"/model\"",
        "request = { model = \"/m\"",
        &["~Metering chat: model in request"],
    );
    check(
        "{ prompt = \"/prompt\" }",
        "{ prompt = \"/all\" }",
        &["!~Metering chat: content `prompt` in request"],
    );
    check(
        "{ max = \"/max\" }",
        "{ max = \"/max\", top = \"/top\" }",
        &["!+Metering chat: parameter `top` in request"],
    );
    check("[\"/text\"] }\n[usage]", "[] }\n[usage]", &[&format!("-Metering chat: content in {both}")]);
    check("empty = \"/choices\"", "empty = \"/list\"", &["!~Metering chat: ask, taken out"]);
    check(", extra = { at = \"/usage\", empty = \"/choices\" }", "", &["-Metering chat: ask, taken out"]);
    check("at = \"/ask\"", "at = \"/asks\"", &["!~Metering chat: ask"]);
}

/// The price files of these texts.
fn price_files(texts: &[(&str, &str)]) -> crate::language::compile::Prices {
    let mut files = Files::default();
    for (name, text) in texts {
        let text = format!("title = \"P\"\ncurrency = \"USD\"\nprice = [{text}]");
        let (slot, found) = syntax::parse(&(*name).into(), &text);
        assert_eq!(found, [], "{text}");
        files.prices.insert(FileName::new(name).unwrap(), slot);
    }
    let compiled = crate::language::compile::compile(&files);
    assert_eq!(compiled.diagnostics, [], "{texts:?}");
    crate::language::compile::Prices::new(compiled.prices)
}

#[test]
fn prices_differ_without_a_rating() {
    let check = |old: &[(&str, &str)], new: &[(&str, &str)], verdict: Verdict, expected: &[&str]| {
        let diff = diff(&[], &[]).with_prices(&price_files(old), &price_files(new));
        let lines = diff.prices.iter().map(|change| {
            assert_eq!((change.subject, &change.widens), (Subject::Price, &None));
            let value = |value: &Option<String>| value.clone().unwrap_or_default();
            format!("{}: {} => {}", change.name, value(&change.old), value(&change.new))
        });
        assert_eq!(
            (lines.collect::<Vec<_>>(), diff.verdict),
            (expected.iter().map(ToString::to_string).collect(), verdict)
        );
    };
    let one = [("a", r#"{ model = ["m"], input = 1 }"#)];
    check(&one, &one, Verdict::Same, &[]);
    check(&one, &[("a", r#"{ model = ["m"], input = 1.0 }"#)], Verdict::Same, &[]);
    check(&one, &[("z", r#"{ provider = ["a"], model = ["m"], input = 1 }"#)], Verdict::Same, &[]);
    check(&one, &[], Verdict::Different, &["a m: input 1 USD => "]);
    check(&[], &one, Verdict::Different, &["a m:  => input 1 USD"]);
    check(
        &one,
        &[(
            "a",
            r#"{ model = ["m"], input = 1, tier = [{ over = 5, input = 2 }] }, { model = ["m"], from = "2026-01-01", input = 3 }"#,
        )],
        Verdict::Different,
        &["a m: input 1 USD => input 1 USD; over 5 tokens: input 2", "a m from 2026-01-01:  => input 3 USD"],
    );
    // What widens stays the verdict.
    let widened = Diff { verdict: Verdict::Widened, ..diff(&[], &[]) };
    assert_eq!(widened.with_prices(&price_files(&one), &price_files(&[])).verdict, Verdict::Widened);
}

/// The client `acme` of a text.
fn client_file(text: &str) -> crate::language::compile::Clients {
    let mut files = Files::default();
    let (slot, found) = syntax::parse(&"acme.toml".into(), text);
    assert_eq!(found, [], "{text}");
    files.clients.insert(FileName::new("acme").unwrap(), slot);
    let compiled = crate::language::compile::compile(&files);
    assert_eq!(compiled.diagnostics, [], "{text}");
    crate::language::compile::Clients::new(compiled.clients)
}

#[test]
fn clients_differ_without_a_rating() {
    let text = |title: &str, file: &str, code: &str| {
        format!(
            "title = \"{title}\"\nkind = \"tool\"\n[[speaks]]\napi = \"a\"\npath = \"/a\"\nstep = [{{ file = \"{file}\", language = \"sh\", code = \"{code}\" }}]\n"
        )
    };
    let check = |old: &str, new: &str, expected: &[&str]| {
        let diff = diff(&[], &[]).with_clients(&client_file(old), &client_file(new));
        let lines = diff.clients.iter().map(|change| {
            assert_eq!((change.subject, &change.widens), (Subject::Client, &None));
            let value = |value: &Option<String>| value.clone().unwrap_or_default();
            format!("{}: {} => {}", change.name, value(&change.old), value(&change.new))
        });
        let verdict = if expected.is_empty() { Verdict::Same } else { Verdict::Different };
        assert_eq!(
            (lines.collect::<Vec<_>>(), diff.verdict),
            (expected.iter().map(ToString::to_string).collect(), verdict)
        );
    };
    let one = text("A", "f", "c {model}");
    check(&one, &one, &[]);
    check(&one, &format!("# a comment\n{one}"), &[]);
    check(&one, &text("B", "f", "c {model}"), &["acme: A (tool) => B (tool)"]);
    check(&one, &text("A", "g", "c {model}"), &["acme a /a: choice 1: 1 step (f) => choice 1: 1 step (g)"]);
    let other = ["acme a /a: choice 1: 1 step (f) => choice 1: 1 step (f), with other contents"];
    check(&one, &text("A", "f", "c {token}"), &other);
    check(&one, &text("A", "f", "c { model}"), &other);
    let pasted = format!("{one}paste_step = [{{ language = \"sh\", code = \"c {{token}}\" }}]\n");
    check(&one, &pasted, &["acme a /a, paste token:  => choice 1: 1 step"]);
    let none = crate::language::compile::Clients::default();
    let added = diff(&[], &[]).with_clients(&none, &client_file(&one));
    assert_eq!((added.clients.len(), added.verdict), (2, Verdict::Different));
    let widened = Diff { verdict: Verdict::Widened, ..diff(&[], &[]) };
    assert_eq!(widened.with_clients(&none, &client_file(&one)).verdict, Verdict::Widened);
}
