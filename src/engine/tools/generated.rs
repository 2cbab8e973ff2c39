//! Generated sets of provider files, settings of vars and requests, for the tests that hold `prove` and `diff` against the
//! real rewrite. Everything follows from a seed.
//!
//! A set of files is a choice for each slot of some texts. Read next: `observe`, which runs requests.

mod observe;

use std::collections::BTreeMap;

use crate::{
    base::name::FileName,
    language::{
        compile::{self, Compiled, Files, VarSource},
        syntax,
    },
};

pub(super) use observe::{Outcome, SECRET, Sent, Stored, VALUES, observe, observe_with, requests};

/// A small generator of random numbers (xorshift64*): the same on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits fit") % limit
    }

    pub(super) fn pick<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

const PROVIDER: &str = r#"
title = "Demo"
path_prefix = "<prefix>"
base_url = "<base>"
<strip>
<prefixes>
cors_headers = [<cors>]
vars = { region = { env = "<region>"<region_default> }, front = { env = "FRONT" }, proxy = { env = "<proxy>", optional = true }, pass = { env = "PASS", optional = true<secret> }, file = { file = "token", optional = true } }
credentials = { section = "<section>", field = [{ name = "key" }, { name = "zone", kind = "text", pattern = "[A-Za-z]{2}" }, { name = "plan", kind = "text", one_of = ["free", "PAID"]<plan_default> }, { name = "server", kind = "origin" }, { name = "login", kind = "oauth2", client_id = "c", token_url = "<token_url>" }] }
auth = [<auth>]
headers = { pass = [<pass>], remove = [<remove>], default = {<default>}, set = {<set>} }
<caller>
<max_body>
<timeouts>
<gateways>
egress = [<egress>]
response = [<response>]
[endpoint.chat]
method = "<method>"
path = "<path>"
<alias>
<rules>
<upstream>
<api>
query = { <query> }
headers = { pass = [<own_pass>], remove = [<own_remove>], default = {<own_default>}, set = {<own_set>} }
<files>
<own>
<tests>
"#;

const GATEWAY: &str = r#"
title = "First"
base_url = "<gateway_base>"
vars = { t = { env = "T" } }
headers = { <gateway_headers> }
"#;
const SECOND: &str = "title = \"Second\"\nbase_url = \"https://gw2.example\"\nvars = { t = { env = \"T\" }, u = { env = \"T2\" } }\n";
const API: &str = r#"
title = "A"
error.body = { <api_body> = "{message}" }
request.model = "/model"
usage = { stream = "sse", body = { <usage> }, ask = { at = "/a", value = true } }
"#;

const NAMES: &[&str] = &[
    "",
    "\"x-in-*\"",
    "\"x_in_*\"",
    "\"*-id\"",
    "\"x-*\"",
    "\"cf-*\", \"user_agent\"",
    "\"authorization\"",
    "\"x-fix*\"",
];
const PASSES: &[&str] =
    &["", "\"x-forwarded-for\"", "\"x-forwarded*\"", "\"cf-*\"", "\"cf_r*\"", "\"origin\", \"via\""];
const DEFAULTS: &[&str] = &[
    "",
    " x-version = \"1\" ",
    " x_version = \"2\" ",
    " authorization = \"Basic x\" ",
    " x-in-a = \"{region}\" ",
    " x-forwarded-for = \"1\" ",
];
const SETS: &[&str] = &[
    "",
    " x-fixed = \"1\" ",
    " x-fixed = \"2\" ",
    " x_fixed = \"{region}\" ",
    " x-fixed = \"{front}\" ",
    " x-in-b = \"{host}\", x-forwarded-proto = \"https\" ",
    " x-in-b = \"{key}\" ",
    " x-fixed = \"{zone}\" ",
    " cookie = \"a=b\" ",
];

/// The slots of the texts, with the choices for each.
const SLOTS: &[(&str, &[&str])] = &[
    ("prefix", &["/demo", "/demo/x"]),
    (
        "base",
        &[
            "https://api.example",
            "https://api.example/tenant-a",
            "https://api.example/tenant-evil",
            "https://{region}.api.example/v1",
            "https://{region}",
            "http://plain.example:8080",
            "{front}",
            "https://{zone}.api.example/v1",
            "https://{plan}.api.example",
            "https://{plan}-{zone}.{region}.api.example",
            "{server}",
        ],
    ),
    ("plan_default", &["", ", default = \"free\""]),
    ("cors", &["", "\"x-cors\""]),
    ("region", &["REGION", "OTHER"]),
    ("region_default", &["", "", ", default = \"us\"", ", default = \"ap\""]),
    ("strip", &["", "", "strip = \"/v1\""]),
    ("prefixes", &["", "", "path_prefixes = [\"<prefix>/more\"]"]),
    ("proxy", &["PROXY", "PROXY2"]),
    ("secret", &["", ", secret = true"]),
    ("section", &["s", "t"]),
    ("token_url", &["https://auth.example/a", "https://auth.example/b", "http://auth.example/a"]),
    (
        "auth",
        &[
            "",
            "{ field = \"key\", set = { authorization = \"Bearer {secret}\" } }",
            "{ field = \"key\", set = { authorization = \"Bearer {secret}\", x-literal = \"1\" } }",
            "{ field = \"key\", set = { x_api_key = \"{secret}\" } }",
            "{ field = \"key\", set = { x-key = \"{secret}\" }, add = { x-in-a = \"m, {region}\", x-version = \"3\" } }",
            "{ field = \"key\", set = { x-key = \"1\" }, add = { x-in-a = \"{secret}\" } }",
            "{ field = \"key\", query = { k = \"{secret}\" } }",
            "{ field = \"key\", set = { x-key = \"{secret}\" } }, { none = true }",
            "{ field = \"key\", set = { x-key = \"{secret}\" } }, { endpoints = [\"chat\"], none = true }",
            "{ field = \"key\", endpoints = [\"chat\"], set = { x-key = \"{secret}\" } }, { field = \"login\", set = { x-login = \"{secret}\" } }",
            "{ field = \"key\", endpoints = [\"c*\"], set = { x-key = \"{secret}\" } }, { endpoints = [\"files\"], none = true }",
            "{ field = \"login\", match = \"l-*\", set = { x-login = \"{secret}\" } }, { field = \"key\", set = { authorization = \"{secret}\" } }",
            "{ field = \"login\", match = \"l-a*\", set = { x-login = \"{secret}\" } }, { field = \"key\", set = { authorization = \"{secret}\" } }",
            "{ field = \"key\", set = { authorization = \"{secret}\" } }, { field = \"login\", set = { x-login = \"{secret}\" } }",
        ],
    ),
    ("pass", PASSES),
    ("remove", NAMES),
    ("default", DEFAULTS),
    ("set", SETS),
    (
        "caller",
        &[
            "",
            "caller = { headers = [\"x-demo-key\"] }",
            "caller = { query = [\"key\"] }",
            "caller = { headers = [\"x-demo-key\", \"x-fixed\"], query = [\"key\"] }",
            "caller = { headers = [\"x-fixed\", \"x-demo-key\"] }",
            "caller = { schemes = [\"Token\"] }",
            "caller = { schemes = [\"\", \"token\"], query = [\"key\"] }",
        ],
    ),
    ("max_body", &["", "limits.max_body = \"1KiB\"", "limits.max_body = \"100GiB\""]),
    ("timeouts", &["", "timeouts.idle = \"7s\""]),
    (
        "gateways",
        &[
            "",
            "gateway.first = { path = \"/g{path}\" }",
            "gateway.first = { path = \"/h{path}\" }",
            "gateway.first = { path = \"/g{path}\", when = [\"pass\"] }",
            "gateway.first = { path = \"/g{path}\", when = [\"file\"] }",
            "gateway = { first = { path = \"/g{path}\", order = 1 }, second = { path = \"/s{path}\", order = 2 } }",
            "gateway = { first = { path = \"/g{path}\", order = 2 }, second = { path = \"/s{path}\", order = 1 } }",
        ],
    ),
    (
        "gateway_base",
        &[
            "https://gw.example/acct",
            "https://gw.example/evil",
            "https://gw.example/{t}",
            "http://gw.example",
        ],
    ),
    (
        "gateway_headers",
        &[
            "set = { x-gw = \"{t}\" }",
            "set = { x-gw = \"1\" }, remove = [\"x-fix*\"]",
            "remove = [\"authorization\"]",
            "set = { authorization = \"gateway\" }",
            "set = { x_login = \"gateway\" }",
        ],
    ),
    (
        "egress",
        &[
            "",
            "{ when = [\"proxy\"], url = \"{proxy}/?to={url|urlencode}\" }",
            "{ when = [\"proxy\"], url = \"https://out.example/?to={url|urlencode}\", headers = { set = { x-out = \"1\" } } }",
            "{ when = [\"pass\"], url = \"https://else.example/?to={url|urlencode}\" }",
            "{ when = [\"pass\"], url = \"https://{pass}.out.example/?to={url|urlencode}\" }",
            "{ when = [\"pass\"], headers = { set = { x-pass = \"{pass}\" } } }",
            "{ when = [\"pass\"], headers = { remove = [\"x_fixed\", \"authorization\"] } }",
            "{ headers = { remove = [\"x-login\", \"x-in-*\"] } }",
            "{ when = [\"pass\"], headers = { set = { x-e = \"1\" } } }, { headers = { set = { x-e = \"2\" } } }",
            "{ headers = { set = { x-e = \"2\" } } }, { when = [\"pass\"], headers = { set = { x-e = \"1\" } } }",
        ],
    ),
    (
        "response",
        &[
            "",
            "{ when = { status = 403 }, reply = { status = 502, message = \"no\" } }",
            "{ when = { status = 403 }, reply = { status = 502, message = \"{host}\" } }, { when = { content_type = \"text/*\" }, reply = { status = 401, message = \"text\" } }",
            "{ when = { content_type = \"text/*\" }, reply = { status = 401, message = \"text\" } }, { when = { status = 403 }, reply = { status = 502, message = \"{host}\" } }",
        ],
    ),
    ("method", &["POST", "PUT"]),
    ("path", &["/v1/chat/{model}", "/v1/{model}/chat", "/v1/chat/{model}:run", "/v1/chat/all"]),
    (
        "rules",
        &["", "", "captures = { model = [\"all\", \"acme-1\", \"m\"] }", "encoded_slash = [\"model\"]"],
    ),
    ("alias", &["", "aliases = [\"/alias/{model}\"]"]),
    (
        "upstream",
        &[
            "",
            "upstream_path = \"/up/fixed\"",
            "upstream_path = \"/up/{region}\"",
            "upstream_path = \"/up/{plan}\"",
        ],
    ),
    (
        "api",
        &[
            "",
            "api = \"a\"",
            "api = \"a\"\nwhen_missing = \"none\"\noperation = \"acme.chat\"",
            "api = \"a\"\nwhen_missing = \"ask\"",
            "api = \"a\"\nmetered = false",
        ],
    ),
    ("api_body", &["error", "message"]),
    ("usage", &["input = \"/in\"", "input = \"/tokens\"", "input = { at = \"/in\", combine = \"sum\" }"]),
    (
        "query",
        &[
            "",
            "set = { safe = \"1\" }",
            "set = { safe = \"2\" }",
            "default = { safe = \"1\" }",
            "default = { safe = \"1\" }, remove = [\"k\"]",
            "set = { k = \"{region}\" }",
        ],
    ),
    ("own_pass", PASSES),
    ("own_remove", NAMES),
    ("own_default", DEFAULTS),
    ("own_set", SETS),
    (
        "files",
        &[
            "",
            "[endpoint.files]\nmethod = \"GET\"\npath = \"/v1/files/{rest...}\"",
            "[endpoint.files]\nmethod = \"GET\"\npath = \"/v1/files/{a}/{b}\"\nheaders.set = { x-part = \"{a}\" }",
            "[endpoint.files]\nmethod = \"GET\"\npath = \"/v1/files/{a}/{b}\"\nheaders.set = { x-part = \"{b}\" }",
            "[endpoint.files]\nmethod = \"GET\"\npath = \"/v1/files/{a}/{b}\"\nupstream_path = \"/f/{b}/{a}\"",
            "[endpoint.files]\nmethod = \"DELETE\"\npath = \"/v1/files/{a}\"\ntimeouts.connect = \"1s\"",
        ],
    ),
    (
        "own",
        &[
            "",
            "[endpoint.own]\nmethod = \"GET\"\npath = \"/v1/files/{a}\"",
            "[origins]\nother = \"https://other.example/o\"\n[endpoint.own]\nmethod = \"GET\"\npath = \"/v1/files/{a}\"\norigin = \"other\"",
            "[origins]\nother = \"https://{region}.other.example\"\n[endpoint.own]\nmethod = \"GET\"\npath = \"/v1/files/{a}\"\norigin = \"other\"",
            "[origins]\nother = \"https://api.example\"\n[endpoint.own]\nmethod = \"GET\"\npath = \"/v1/files/{a}\"\norigin = \"other\"",
        ],
    ),
    (
        "tests",
        &[
            "",
            "[[test]]\nname = \"gone\"\nrequest = { path = \"<prefix>/nope\" }\nvars = { region = \"eu\", front = \"https://f.example\" }\nexpect = { code = \"route_not_found\" }",
            "[[test]]\nname = \"gone\"\nrequest = { path = \"<prefix>/nope\" }\nvars = { region = \"eu\", front = \"https://f.example\" }\nexpect = { status = 404 }",
            "[[test]]\nname = \"no key\"\nrequest = { method = \"POST\", path = \"<prefix>/v1/chat/all\" }\nvars = { region = \"eu\", front = \"https://f.example\" }\nexpect = { status = 401 }",
            "[[test]]\nname = \"no key\"\nrequest = { method = \"POST\", path = \"<prefix>/v1/chat/all\" }\nvars = { region = \"eu\", front = \"https://f.example\" }\nanswer = { status = 403, headers = { content-type = \"text/html\" } }\nexpect = { status = 401, message = \"No API key configured for demo\" }",
            "[[test]]\nname = \"replaced\"\nrequest = { method = \"POST\", path = \"<prefix>/v1/chat/all\" }\nvars = { region = \"eu\", front = \"https://f.example\" }\ncredentials = { key = \"k\" }\nanswer = { status = 403 }\nexpect = { status = 502, message = \"no\" }",
        ],
    ),
];

/// A choice for each slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileSet(Vec<usize>);

impl FileSet {
    /// A random set. Each slot has its first choice in about half of all sets, so that rules are often alone.
    pub(super) fn random(random: &mut Random) -> Self {
        let one = |(_, choices): &(&str, &[&str])| match random.below(2) {
            0 => 0,
            _ => random.below(choices.len()),
        };
        Self(SLOTS.iter().map(one).collect())
    }

    /// The same with another choice in one slot, and the name of the slot.
    pub(super) fn mutated(&self, random: &mut Random) -> (Self, &'static str) {
        let slot = random.below(SLOTS.len());
        let (name, choices) = SLOTS[slot];
        let mut changed = self.clone();
        changed.0[slot] = (self.0[slot] + 1 + random.below(choices.len() - 1)) % choices.len();
        (changed, name)
    }

    fn choice(&self, slot: &str) -> &'static str {
        let mut slots = SLOTS.iter().zip(&self.0);
        slots.find(|((name, _), _)| *name == slot).map_or("", |((_, choices), choice)| choices[*choice])
    }

    fn filled(&self, text: &str) -> String {
        let (mut filled, mut rest) = (String::with_capacity(4096), text);
        while let Some((front, (slot, after))) =
            rest.split_once('<').and_then(|(front, tail)| Some((front, tail.split_once('>')?)))
        {
            filled.push_str(front);
            filled.push_str(self.choice(slot));
            rest = after;
        }
        // Tests name the prefix.
        (filled + rest).replace("<prefix>", self.choice("prefix"))
    }

    /// The text of the provider, for messages.
    pub(super) fn text(&self) -> String {
        format!("{}\n# gateways/first.toml{}", self.filled(PROVIDER), self.filled(GATEWAY))
    }

    /// The compiled files; none if the choices do not fit.
    pub(super) fn compile(&self) -> Option<Compiled> {
        let mut files = Files::default();
        files.providers.insert(name("demo"), Ok(parse("demo", &self.filled(PROVIDER))));
        // Files that the provider does not name would only take time.
        if self.choice("gateways").contains("first") {
            files.gateways.insert(name("first"), Ok(parse("first", &self.filled(GATEWAY))));
        }
        if self.choice("gateways").contains("second") {
            files.gateways.insert(name("second"), Ok(parse("second", SECOND)));
        }
        if !self.choice("api").is_empty() {
            files.apis.insert(name("a"), Ok(parse("a", &self.filled(API))));
        }
        let compiled = compile::compile(&files);
        compiled.diagnostics.is_empty().then_some(compiled)
    }
}

fn name(name: &str) -> FileName {
    FileName::new(name).unwrap()
}

pub(super) fn parse<T: syntax::Document>(name: &str, text: &str) -> syntax::Parsed<T> {
    let (slot, found) = syntax::parse(&format!("{name}.toml").into(), text);
    assert_eq!(found, [], "{text}");
    slot.unwrap()
}

/// Values of vars, by source.
pub(super) type Setting = BTreeMap<VarSource, &'static str>;

/// A random setting. What a provider requires is nearly always set.
pub(super) fn setting(random: &mut Random) -> Setting {
    let env = |name: &str| VarSource::Env(name.to_owned());
    let regions = &["eu", "a.b", "evil.example"];
    let mut setting = Setting::from([
        (env("REGION"), *random.pick(regions)),
        (env("OTHER"), "us"),
        (
            env("FRONT"),
            *random.pick(&["https://front.example/f", "http://front.example", "https://api.example"]),
        ),
    ]);
    let optional: &[(VarSource, &[&'static str])] = &[
        (env("PROXY"), &["https://proxy.example", "http://proxy.example", "https://proxy.example:444/x"]),
        (env("PROXY2"), &["https://proxy2.example"]),
        (env("PASS"), &["pass"]),
        (env("T"), &["t-value"]),
        (env("T2"), &["u-value"]),
        (VarSource::File("token".to_owned()), &["file-value"]),
    ];
    if random.below(8) == 0 {
        setting.remove(&env("REGION"));
    }
    for (source, values) in optional {
        if random.below(2) == 0 {
            setting.insert(source.clone(), *random.pick(values));
        }
    }
    setting
}
