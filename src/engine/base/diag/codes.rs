//! The table of diagnostic codes: the source of `check --explain` and `docs/diagnostics.md`. A code's text is stable and
//! never reused.
//!
//! A test checks each example. [`EXAMPLE_BASE`] supplies the keys that an example of a provider leaves out.

use std::fmt::Write;

use super::Severity;

/// The description of a code.
#[derive(Debug)]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// Its stable text, `TG` and three digits.
    pub text: &'static str,
    /// The default severity.
    pub severity: Severity,
    /// The name of the lint, if it is one. The operator can set the severity of a lint.
    pub lint: Option<&'static str>,
    /// Its meaning, in a sentence.
    pub meaning: &'static str,
    /// The reason for the rule.
    pub why: &'static str,
    /// Files with this finding.
    pub bad: &'static str,
    /// The same files, corrected.
    pub good: &'static str,
}

/// The keys that the examples leave out.
pub const EXAMPLE_BASE: &str = r#"title       = "Example"
base_url    = "https://api.example.com"
path_prefix = "/{provider}"

[endpoint.chat]
method = "POST"
path   = "/v1/chat""#;

macro_rules! codes {
    ($(
        #[doc = $meaning:literal]
        $name:ident = $text:literal, $severity:ident, $lint:expr => { why: $why:literal, bad: $bad:literal, good: $good:literal, }
    )*) => {
        /// The kinds of findings. Their texts are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $meaning] $name,)* }

        static CODES: &[CodeInfo] = &[$(CodeInfo {
            code: Code::$name,
            text: $text,
            severity: Severity::$severity,
            lint: $lint,
            meaning: $meaning.trim_ascii_start(),
            why: $why,
            bad: $bad,
            good: $good,
        },)*];
    };
}

codes! {
    /// The file cannot be read: unreadable, too large, not UTF-8, or not a regular file.
    File = "TG001", Error, None => {
        why: "A file that cannot be read completely is not served. The limit is 1 MiB. Links that lead out of \
            the directory are not followed.",
        bad: r#"title = "Café"  # saved as Latin-1"#,
        good: r#"title = "Café"  # saved as UTF-8"#,
    }
    /// The file's name cannot be a provider's name.
    FileName = "TG002", Error, None => {
        why: "The stem of the file is the provider's name. It occurs in paths, in names of credentials \
            sections and in the log.",
        bad: "# providers.d/Example_AI.toml",
        good: "# providers.d/example-ai.toml",
    }
    /// The file is not valid TOML.
    Syntax = "TG003", Error, None => {
        why: "tollgate does not guess the meaning of invalid TOML: the last good version of the file continues \
            to serve.",
        bad: "title = Example",
        good: r#"title = "Example""#,
    }
    /// The file takes more work or memory to judge than a file may take.
    Budget = "TG004", Error, None => {
        why: "Files are judged inside the process that serves. A file that would occupy it for long, or fill its \
            memory, is not served. Ordinary files take less than a fiftieth of \
            the budget.",
        bad: r#"# 64 rules of 1000 bytes like this one, in a file of 1000 endpoints
[[response]]
when  = { status = 403 }
reply = { status = 502, message = "..." }"#,
        good: r#"# one rule for all of them
[[response]]
when  = { status = 403 }
reply = { status = 502, message = "..." }"#,
    }
    /// The language has no such key.
    UnknownKey = "TG010", Error, None => {
        why: "If tollgate ignored an unknown key, its author would rely on a rule that has no effect.",
        bad: r#"base_ulr = "https://api.example.com""#,
        good: r#"base_url = "https://api.example.com""#,
    }
    /// The value has the wrong type.
    WrongType = "TG011", Error, None => {
        why: "Types are not converted: a number is not a string, and a single value is not a list.",
        bad: r#"cors_headers = "example-version""#,
        good: r#"cors_headers = ["example-version"]"#,
    }
    /// A required key is missing.
    MissingKey = "TG012", Error, None => {
        why: "A required key has no safe default: an endpoint without a method would allow all methods.",
        bad: r#"[endpoint.chat]
path = "/v1/chat""#,
        good: r#"[endpoint.chat]
method = "POST"
path = "/v1/chat""#,
    }
    /// The value is out of range or malformed.
    BadValue = "TG013", Error, None => {
        why: "Durations and sizes carry a unit. Enumerations have the values that the schema lists.",
        bad: r#"[timeouts]
idle = "5 minutes""#,
        good: r#"[timeouts]
idle = "5m""#,
    }
    /// The file needs a newer version of the language.
    Language = "TG014", Error, None => {
        why: "A file for a newer version is rejected: this tollgate would understand only a part of it.",
        bad: "language = 99",
        good: "language = 1",
    }
    /// A template is malformed, or uses a name that is not defined there.
    Template = "TG020", Error, None => {
        why: "A template may use the file's vars, the path's captures, and a few names of its place. A brace \
            always encloses a name.",
        bad: r#"base_url = "https://{region}.example.com""#,
        good: r#"base_url = "https://{region}.example.com"
[vars]
region = { env = "EXAMPLE_REGION" }"#,
    }
    /// The URL cannot be an upstream's URL.
    Url = "TG021", Error, None => {
        why: "An upstream URL is `https://` or `http://`, a host, and a plain path, without user, query or \
            fragment.",
        bad: r#"base_url = "ftp://api.example.com""#,
        good: r#"base_url = "https://api.example.com""#,
    }
    /// A header name or value cannot be sent, or belongs to the engine.
    Header = "TG022", Error, None => {
        why: "The engine alone sets framing and connection headers: a file that could set them could smuggle \
            requests.",
        bad: r#"[headers.set]
content-length = "1""#,
        good: r#"[headers.set]
x-source = "gateway""#,
    }
    /// The client path cannot be matched.
    Path = "TG023", Error, None => {
        why: "A path has one spelling: it starts with `/`, and has no empty segment, no dot segment and no \
            percent-encoding.",
        bad: r#"[endpoint.chat]
method = "POST"
path = "v1/chat""#,
        good: r#"[endpoint.chat]
method = "POST"
path = "/v1/chat""#,
    }
    /// A name is reserved, or used twice.
    Name = "TG024", Error, None => {
        why: "A name must be unique: tollgate does not guess which of two things is meant.",
        bad: r#"[credentials]
field = [{ name = "apiKey" }, { name = "apiKey" }]"#,
        good: r#"[credentials]
field = [{ name = "apiKey" }, { name = "login" }]"#,
    }
    /// A reference to a preset, gateway, api, field or endpoint that does not exist.
    Reference = "TG025", Error, None => {
        why: "A file is complete only with everything that it refers to.",
        bad: r#"[probe]
endpoint = "chta""#,
        good: r#"[probe]
endpoint = "chat""#,
    }
    /// An optional var is used where it may be unset.
    OptionalVar = "TG026", Error, None => {
        why: "An unset var would leave a gap in a URL or a header. Use an optional var only below a `when` \
            that names it.",
        bad: r#"base_url = "https://{region}.example.com"
[vars]
region = { env = "EXAMPLE_REGION", optional = true }"#,
        good: r#"base_url = "https://{region}.example.com"
[vars]
region = { env = "EXAMPLE_REGION" }"#,
    }
    /// The gateway's `strip` does not fit an endpoint.
    Strip = "TG027", Error, None => {
        why: "`strip` must be the front of every endpoint's upstream path, in whole segments. Otherwise \
            requests to some endpoints would go to a wrong path.",
        bad: r#"# providers.d/gateways/relay.toml
title    = "Relay"
base_url = "https://relay.example/{account}"
vars     = { account = { env = "RELAY_ACCOUNT" } }
# providers.d/example.toml
[gateway.relay]
strip = "/v2"
path  = "/example{path}""#,
        good: r#"# providers.d/gateways/relay.toml
title    = "Relay"
base_url = "https://relay.example/{account}"
vars     = { account = { env = "RELAY_ACCOUNT" } }
# providers.d/example.toml
[gateway.relay]
strip = "/v1"
path  = "/example{path}""#,
    }
    /// A condition can never hold, or a rule has no effect.
    Condition = "TG028", Error, None => {
        why: "A rule without effect, or one that always applies, is most likely a mistake.",
        bad: r#"[[response]]
when  = {}
reply = { status = 502, message = "{host} refused this" }"#,
        good: r#"[[response]]
when  = { status = 403 }
reply = { status = 502, message = "{host} refused this" }"#,
    }
    /// A var is not set, or its value cannot be used.
    Var = "TG030", Error, None => {
        why: "`serve` and `routes` read vars and report this; `check` needs no environment. Only the provider \
            of the var is out of service.",
        bad: r#"# EXAMPLE_REGION is not set
base_url = "https://{region}.example.com"
[vars]
region = { env = "EXAMPLE_REGION" }"#,
        good: r#"base_url = "https://eu.example.com""#,
    }
    /// Several gateways are active, and no order is given.
    GatewayOrder = "TG031", Error, None => {
        why: "The choice of the gateway must not depend on the order of names. `serve` and `routes` read vars \
            and report this.",
        bad: r#"# providers.d/gateways/one.toml
title    = "One"
base_url = "https://one.example"
vars     = { key = { env = "ONE_KEY" } }
# providers.d/gateways/two.toml
title    = "Two"
base_url = "https://two.example"
vars     = { key = { env = "TWO_KEY" } }
# providers.d/example.toml
[gateway]
one = { path = "/example{path}" }
two = { path = "/example{path}" }"#,
        good: r#"# providers.d/gateways/one.toml
title    = "One"
base_url = "https://one.example"
vars     = { key = { env = "ONE_KEY" } }
# providers.d/gateways/two.toml
title    = "Two"
base_url = "https://two.example"
vars     = { key = { env = "TWO_KEY" } }
# providers.d/example.toml
[gateway]
one = { path = "/example{path}", order = 1 }
two = { path = "/example{path}", order = 2 }"#,
    }
    /// Two endpoints can match the same request.
    Clash = "TG040", Error, None => {
        why: "The order of files must not decide which endpoint handles a request.",
        bad: r#"# providers.d/one.toml
path_prefix = "/example"
# providers.d/two.toml
path_prefix = "/example""#,
        good: r#"# providers.d/one.toml
path_prefix = "/one"
# providers.d/two.toml
path_prefix = "/two""#,
    }
    /// Files that share a credentials section disagree.
    Section = "TG041", Error, None => {
        why: "Providers may share a section only if each lists all the others in `shared_with`. So a stored \
            key is never sent to a provider that the others do not know of.",
        bad: r#"# providers.d/one.toml
[credentials]
section = "shared"
field   = [{ name = "apiKey" }]
# providers.d/two.toml
[credentials]
section = "shared"
field   = [{ name = "apiKey" }]"#,
        good: r#"# providers.d/one.toml
[credentials]
section     = "shared"
shared_with = ["two"]
field       = [{ name = "apiKey" }]
# providers.d/two.toml
[credentials]
section     = "shared"
shared_with = ["one"]"#,
    }
    /// One of the file's own tests fails.
    Test = "TG050", Error, None => {
        why: "The rules of the file and its test contradict each other: one of them is wrong.",
        bad: r#"[[test]]
name    = "chat"
request = { method = "POST", path = "/example/v1/chat" }
expect  = { url = "https://api.example.com/v2/chat" }"#,
        good: r#"[[test]]
name    = "chat"
request = { method = "POST", path = "/example/v1/chat" }
expect  = { url = "https://api.example.com/v1/chat" }"#,
    }
    /// A literal looks like a key.
    LiteralKey = "TG060", Error, Some("literal_key") => {
        why: "Provider files are shared, reviewed and kept in Git: a key in one is public, also in a comment \
            or a test. tollgate masks likely keys in every message and source line. Revoke the key if it was real.",
        bad: r#"[headers.set]
x-api-key = "sk-0a1b2c3d4e5f6a7b8c9d""#,
        good: r#"[vars]
key = { env = "EXAMPLE_KEY", secret = true }
[headers.set]
x-api-key = "{key}""#,
    }
    /// A joined path repeats its version, as in `/v1/v1`.
    DoubledPath = "TG061", Warning, Some("doubled_path") => {
        why: "The upstream path is appended to the path of the base URL, and a gateway's path to that of the \
            gateway. Here both parts hold the version, and most upstreams respond with 404.",
        bad: r#"base_url = "https://api.example.com/v1"
[endpoint.chat]
method = "POST"
path   = "/v1/chat""#,
        good: r#"base_url = "https://api.example.com"
[endpoint.chat]
method = "POST"
path   = "/v1/chat""#,
    }
    /// Plain `http://` to another machine.
    PlainHttp = "TG062", Warning, Some("plain_http") => {
        why: "Everybody on the network path can read the caller's key and all content. Loopback addresses are \
            fine.",
        bad: r#"base_url = "http://api.example.com""#,
        good: r#"base_url = "http://127.0.0.1:8080""#,
    }
    /// A rule can never apply, since another one precedes it.
    DeadRule = "TG063", Warning, Some("dead_rule") => {
        why: "Its author relies on it. Remove it, or correct the rule that hides it.",
        bad: r#"[headers]
default = { x-source = "a" }
set     = { x-source = "b" }"#,
        good: r#"[headers]
set = { x-source = "b" }"#,
    }
    /// No test covers the endpoint.
    UntestedEndpoint = "TG064", Warning, Some("untested_endpoint") => {
        why: "A test of the file or of its preset fixes the upstream request, and fails when an edit changes \
            it. It covers the endpoints that its requests lead to.",
        bad: r#"[endpoint.chat]
method = "POST"
path   = "/v1/chat""#,
        good: r#"[endpoint.chat]
method = "POST"
path   = "/v1/chat"
[[test]]
name    = "chat"
request = { method = "POST", path = "/example/v1/chat" }
expect  = { url = "https://api.example.com/v1/chat" }"#,
    }
    /// A catch-all path widens the allowlist.
    CatchAll = "TG065", Warning, Some("catch_all") => {
        why: "Everything that the upstream adds later is allowed at once, with the caller's key: files, \
            billing, other people's models. Name the endpoints, or at least a segment that all of them share.",
        bad: r#"[endpoint.all]
method = "GET"
path   = "/v1/{rest...}""#,
        good: r#"[endpoint.files]
method = "GET"
path   = "/v1/files/{rest...}""#,
    }
    /// No endpoint can be reached through the gateway.
    UnreachableGateway = "TG066", Warning, Some("unreachable_gateway") => {
        why: "No provider names it, or whenever it is active another gateway of the provider takes precedence.",
        bad: r#"# providers.d/gateways/relay.toml
title    = "Relay"
base_url = "https://relay.example/{account}"
vars     = { account = { env = "RELAY_ACCOUNT" } }
# providers.d/example.toml"#,
        good: r#"# providers.d/gateways/relay.toml
title    = "Relay"
base_url = "https://relay.example/{account}"
vars     = { account = { env = "RELAY_ACCOUNT" } }
# providers.d/example.toml
[gateway.relay]
path = "/example{path}""#,
    }
    /// `headers.pass` passes headers that the engine removes by default.
    HeaderPass = "TG067", Warning, Some("header_pass") => {
        why: "Client addresses and referring pages are private: send them only to upstreams that need them.",
        bad: r#"[headers]
pass = ["x-forwarded-for"]"#,
        good: r#"[headers]
remove = ["x-debug-*"]"#,
    }
    /// A var reads an environment variable whose name looks like a secret of another system.
    ForeignSecret = "TG068", Warning, Some("foreign_secret") => {
        why: "A provider's file can name any variable of the process, and send its value to its own upstream. The \
            setting `env_allow` restricts the names.",
        bad: r#"vars.key = { env = "DATABASE_URL" }"#,
        good: r#"vars.key = { env = "EXAMPLE_REGION" }"#,
    }
    /// Two price files have entries for the same models, and neither is more specific.
    PriceOverlap = "TG069", Warning, Some("price_overlap") => {
        why: "The entry of the file whose name comes first applies. Renaming a file would change what usage costs.",
        bad: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["example-1"], input = 2.5 }]
# providers.d/prices/more.toml
title    = "More"
currency = "USD"
price    = [{ provider = ["example"], model = ["example-1"], input = 2 }]
# providers.d/example.toml"#,
        good: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["example-1"], input = 2.5 }]
# providers.d/prices/more.toml
title    = "More"
currency = "USD"
price    = [{ provider = ["example"], model = ["example-1"], from = "2026-01-01", input = 2 }]
# providers.d/example.toml"#,
    }
    /// The policy does not allow it.
    Policy = "TG070", Error, None => {
        why: "`policy.toml` beside the providers directory holds rules for all files, whatever the values of \
            vars. `tollgate prove` shows a request that would break the rule, and its route.",
        bad: r#"[headers]
remove = ["x-trace"]
# policy.toml
[[headers]]
name  = "no tracing"
never = ["x-trace", "x-debug-*"]"#,
        good: r#"[headers]
remove = ["x-trace", "x-debug-*"]
# policy.toml
[[headers]]
name  = "no tracing"
never = ["x-trace", "x-debug-*"]"#,
    }
    /// Two entries of a price file are for the same models, and neither is more specific.
    Price = "TG080", Error, None => {
        why: "The price of a model must not depend on the order of a file. A name is more specific than a glob, a longer \
            glob more than a shorter one. For the same models, the entry with the latest `from` applies.",
        bad: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["ex-*"], input = 2.5 }, { model = ["*-1m"], input = 3 }]
# providers.d/example.toml"#,
        good: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["ex-*"], input = 2.5 }, { model = ["ex-*-1m"], input = 3 }]
# providers.d/example.toml"#,
    }
    /// A price is for a provider that does not exist.
    UnusedPrice = "TG081", Warning, Some("unused_price") => {
        why: "No file of the directory has this name, so that no request has this price: the name may be misspelt. The stem \
            of a price file is the provider of its entries.",
        bad: r#"# providers.d/prices/exmaple.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["example-1"], input = 2.5 }]
# providers.d/example.toml"#,
        good: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["example-1"], input = 2.5 }]
# providers.d/example.toml"#,
    }
    /// No test of a wire format covers its usage.
    UntestedUsage = "TG082", Warning, Some("untested_usage") => {
        why: "A wrong pointer counts nothing, or counts twice, and no request fails. A test with a recorded answer shows \
            the counts.",
        bad: r#"# providers.d/apis/chat.toml
title = "Chat"
error = { body = { error = "{message}" } }
usage = { body = { input = "/usage/input" } }"#,
        good: r#"# providers.d/apis/chat.toml
title = "Chat"
error = { body = { error = "{message}" } }
usage = { body = { input = "/usage/input" } }
[fixture]
title       = "Demo"
base_url    = "https://api.example.com"
path_prefix = "/demo"
endpoint    = { chat = { method = "POST", path = "/chat", api = "chat" } }
[[test]]
name    = "an answer"
request = { method = "POST", path = "/demo/chat" }
answer  = { body = { usage = { input = 3 } } }
expect  = { usage = { input = 3 } }"#,
    }
    /// A tier of a price begins at a size of prompts by which usage is not stored.
    TierThreshold = "TG083", Warning, Some("tier_threshold") => {
        why: "Usage is stored in sums, split at fixed sizes of prompts and at those of the price of the time. Another size \
            holds from now on: of the usage before, prompts between it and the next stored size have the price of the \
            tier below. Single exchanges are exact.",
        bad: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["ex-1"], input = 2.5, tier = [{ over = 150000, input = 5 }] }]
# providers.d/example.toml"#,
        good: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["ex-1"], input = 2.5, tier = [{ over = 200000, input = 5 }] }]
# providers.d/example.toml"#,
    }
    /// The prices of a file were read after today.
    FutureDate = "TG084", Warning, Some("future_date") => {
        why: "`date` says how old the prices are. The day from which a price holds is its `from`, which may lie in the future.",
        bad: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
date     = "2999-01-01"
price    = [{ model = ["ex-1"], input = 2.5 }]
# providers.d/example.toml"#,
        good: r#"# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
date     = "2026-01-01"
price    = [{ model = ["ex-1"], from = "2999-01-01", input = 2.5 }]
# providers.d/example.toml"#,
    }
    /// Two counts of a wire format have one place, and neither includes the other.
    DoubleCount = "TG085", Warning, Some("double_count") => {
        why: "The value there is counted twice: usage and cost are too high. If one count includes the other, its `minus` \
            names that one.",
        bad: r#"# providers.d/apis/chat.toml
title = "Chat"
error = { body = { error = "{message}" } }
usage = { body = { input = "/usage/all", output = "/usage/all" } }
[fixture]
title       = "Demo"
base_url    = "https://api.example.com"
path_prefix = "/demo"
endpoint    = { chat = { method = "POST", path = "/chat", api = "chat" } }
[[test]]
name    = "an answer"
request = { method = "POST", path = "/demo/chat" }
answer  = { body = { usage = { all = 3 } } }
expect  = { usage = { input = 3, output = 3 } }"#,
        good: r#"# providers.d/apis/chat.toml
title = "Chat"
error = { body = { error = "{message}" } }
usage = { body = { input = { at = "/usage/all", minus = ["output"] }, output = "/usage/out" } }
[fixture]
title       = "Demo"
base_url    = "https://api.example.com"
path_prefix = "/demo"
endpoint    = { chat = { method = "POST", path = "/chat", api = "chat" } }
[[test]]
name    = "an answer"
request = { method = "POST", path = "/demo/chat" }
answer  = { body = { usage = { all = 3, out = 1 } } }
expect  = { usage = { input = 2, output = 1 } }"#,
    }
    /// A client speaks a wire format that no api file describes.
    UnknownApi = "TG086", Warning, Some("unknown_api") => {
        why: "No endpoint has this wire format, so that no page shows these steps: the name may be misspelt.",
        bad: r#"# providers.d/clients/acme.toml
title = "Acme Code"
kind  = "tool"
[[speaks]]
api  = "mesages"
path = "/v1/messages"
step = [{ language = "sh", code = "acme --url {base_url}" }]
# providers.d/example.toml"#,
        good: r#"# providers.d/clients/acme.toml
title = "Acme Code"
kind  = "tool"
[[speaks]]
api  = "messages"
path = "/v1/messages"
step = [{ language = "sh", code = "acme --url {base_url}" }]
# providers.d/example.toml"#,
    }
    /// A limit cannot count what it says, or says two things.
    Limit = "TG090", Error, None => {
        why: "A limit that counts nothing, or that nothing matches, would look as if it held. So would one of two with the same id: \
            what was used belongs to the id.",
        bad: r#"# limits.d/team.toml
[[limit]]
id       = "month"
match    = { provider = ["exmaple"] }
requests = 1000
window   = { every = "month" }
# providers.d/example.toml"#,
        good: r#"# limits.d/team.toml
[[limit]]
id       = "month"
match    = { provider = ["example"] }
requests = 1000
window   = { every = "month" }
# providers.d/example.toml"#,
    }
    /// A limit of tokens or cost does not see what some calls use.
    UncountedUse = "TG091", Warning, Some("uncounted_use") => {
        why: "What no api file counts is free under every limit of tokens and cost: a price for it is never charged, and calls of \
            an endpoint without usage pass. A limit of `requests` sees them.",
        bad: r#"# limits.d/team.toml
[[limit]]
id       = "month"
cost     = "100 USD"
window   = { every = "month" }
no_price = "reject"
# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["example-1"], input = 2, output = 8, images = 0.04 }]
# providers.d/example.toml
[endpoint.chat]
method = "POST"
path   = "/v1/chat"
api    = "chat-completions""#,
        good: r#"# limits.d/team.toml
[[limit]]
id       = "month"
cost     = "100 USD"
window   = { every = "month" }
no_price = "reject"
# providers.d/prices/example.toml
title    = "Example"
currency = "USD"
price    = [{ model = ["example-1"], input = 2, output = 8 }]
# providers.d/example.toml
[endpoint.chat]
method = "POST"
path   = "/v1/chat"
api    = "chat-completions""#,
    }
}

impl Code {
    /// All codes.
    pub fn all() -> &'static [CodeInfo] {
        CODES
    }

    /// Its description.
    pub fn entry(self) -> &'static CodeInfo {
        // The table makes the enumeration: both have the same order.
        &CODES[self as usize]
    }

    /// The stable text, `TG` and three digits.
    pub fn as_str(self) -> &'static str {
        self.entry().text
    }

    /// Its default severity.
    pub fn severity(self) -> Severity {
        self.entry().severity
    }

    /// True for lints about a file's own tests. They are for its author: a server has nothing to do about them.
    pub fn is_about_tests(self) -> bool {
        matches!(self, Self::UntestedEndpoint | Self::UntestedUsage)
    }

    /// The code with this text or lint name, ignoring case.
    pub fn find(text: &str) -> Option<&'static CodeInfo> {
        let named = |entry: &&CodeInfo| {
            entry.text.eq_ignore_ascii_case(text)
                || entry.lint.is_some_and(|lint| lint.eq_ignore_ascii_case(text))
        };
        CODES.iter().find(named)
    }
}

impl CodeInfo {
    /// The description as Markdown, with examples.
    pub fn explain(&self) -> String {
        let Self { text, meaning, why, bad, good, .. } = self;
        let mut out = format!("## {text}\n\n{meaning} {}\n\n{why}\n\n", self.severity_in_words());
        let _ = write!(out, "Bad:\n\n```toml\n{bad}\n```\n\nGood:\n\n```toml\n{good}\n```\n");
        out
    }

    fn severity_in_words(&self) -> String {
        match (self.lint, self.severity) {
            (None, severity) => format!("Always an {}.", severity.as_str()),
            (Some(lint), Severity::Error) => format!("The lint `{lint}`, an error by default."),
            (Some(lint), Severity::Warning) => format!("The lint `{lint}`, a warning by default."),
        }
    }
}

/// `docs/diagnostics.md`.
pub fn document() -> String {
    let mut out = format!(
        "<!-- Generated from src/engine/base/diag/codes.rs; a test keeps it fresh. -->\n\n\
         # Diagnostics\n\n\
         The findings of `tollgate check`, by code. A running tollgate reports them in its log and its status. Codes are \
         stable. `tollgate check --explain TG012` shows one.\n\n\
         Lints have a level: `allow`, `warn` or `deny`, by name under `[lints]` in `tollgate.toml`; see \
         [tooling.md](tooling.md#check).\n\n\
         In the examples, a comment with a path starts a file. Without one the file is `providers.d/example.toml`. Keys that \
         an example leaves out are these:\n\n```toml\n{EXAMPLE_BASE}\n```\n"
    );
    for entry in CODES {
        out.push('\n');
        out.push_str(&entry.explain());
    }
    out
}

#[cfg(test)]
mod tests;
