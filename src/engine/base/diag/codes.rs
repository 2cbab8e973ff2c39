//! The kinds of findings: one table from which the codes, `check --explain` and `docs/diagnostics.md` come. A code's text
//! is stable, and never used again for something else.
//!
//! The examples are real: a test checks each of them. What an example of a provider leaves out is what `EXAMPLE_BASE` says.

use std::fmt::Write;

use super::Severity;

/// What is told of a code.
#[derive(Debug)]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// Its stable text, `TG` and three digits.
    pub text: &'static str,
    /// How bad it is if nobody says otherwise.
    pub severity: Severity,
    /// The name of the lint, if it is one: its severity is the operator's to say.
    pub lint: Option<&'static str>,
    /// What it means.
    pub what: &'static str,
    /// Why it is told.
    pub why: &'static str,
    /// Files that have it.
    pub bad: &'static str,
    /// The same files, mended.
    pub good: &'static str,
}

/// What the examples leave out.
pub const EXAMPLE_BASE: &str = r#"title       = "Example"
base_url    = "https://api.example.com"
path_prefix = "/{provider}"

[endpoint.chat]
method = "POST"
path   = "/v1/chat""#;

macro_rules! codes {
    ($(
        #[doc = $what:literal]
        $name:ident = $text:literal, $severity:ident, $lint:expr => { why: $why:literal, bad: $bad:literal, good: $good:literal, }
    )*) => {
        /// The kinds of findings. The text of each code is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $what] $name,)* }

        static CODES: &[CodeInfo] = &[$(CodeInfo {
            code: Code::$name,
            text: $text,
            severity: Severity::$severity,
            lint: $lint,
            what: $what.trim_ascii_start(),
            why: $why,
            bad: $bad,
            good: $good,
        },)*];
    };
}

codes! {
    /// The file cannot be read: unreadable, too large, not UTF-8, not a regular file.
    File = "TG001", Error, None => {
        why: "A file that cannot be read whole means nothing that could be served. The limit is 1 MiB; links \
            that lead out of the directory are not followed.",
        bad: r#"title = "Café"  # saved as Latin-1"#,
        good: r#"title = "Café"  # saved as UTF-8"#,
    }
    /// The file's name cannot be a provider's name.
    FileName = "TG002", Error, None => {
        why: "The stem of the file is the provider's name, and part of paths, of credentials sections and of \
            the log.",
        bad: "# providers.d/Example_AI.toml",
        good: "# providers.d/example-ai.toml",
    }
    /// Not TOML.
    Syntax = "TG003", Error, None => {
        why: "Nothing is guessed of a text that is no TOML: what was last good goes on serving.",
        bad: "title = Example",
        good: r#"title = "Example""#,
    }
    /// A key that the language does not know.
    UnknownKey = "TG010", Error, None => {
        why: "A key that is passed over in silence is a rule that somebody believes in and that does not \
            hold.",
        bad: r#"base_ulr = "https://api.example.com""#,
        good: r#"base_url = "https://api.example.com""#,
    }
    /// A value of the wrong type.
    WrongType = "TG011", Error, None => {
        why: "A number is not read as a text, nor one value as a list of one.",
        bad: r#"cors_headers = "example-version""#,
        good: r#"cors_headers = ["example-version"]"#,
    }
    /// A key that has to be there.
    MissingKey = "TG012", Error, None => {
        why: "What is not said has no safe default here: an endpoint without a method would be all methods.",
        bad: r#"[endpoint.chat]
path = "/v1/chat""#,
        good: r#"[endpoint.chat]
method = "POST"
path = "/v1/chat""#,
    }
    /// A value out of its range or form.
    BadValue = "TG013", Error, None => {
        why: "Quantities carry their unit, and enumerations have the values that the schema lists.",
        bad: r#"[timeouts]
idle = "5 minutes""#,
        good: r#"[timeouts]
idle = "5m""#,
    }
    /// The file wants a newer language.
    Language = "TG014", Error, None => {
        why: "A file that says which language it is written in is not half understood by an older tollgate.",
        bad: "language = 99",
        good: "language = 1",
    }
    /// A template that cannot be read, or that uses a name which stands for nothing there.
    Template = "TG020", Error, None => {
        why: "Names are vars of the file, captures of the path, and a few words of the place; a brace is \
            never text.",
        bad: r#"base_url = "https://{region}.example.com""#,
        good: r#"base_url = "https://{region}.example.com"
[vars]
region = { env = "EXAMPLE_REGION" }"#,
    }
    /// A URL that cannot be an upstream's.
    Url = "TG021", Error, None => {
        why: "An upstream is `https://` or `http://`, a host, and a plain path: no user, query or fragment.",
        bad: r#"base_url = "ftp://api.example.com""#,
        good: r#"base_url = "https://api.example.com""#,
    }
    /// A header name or value that cannot be sent, or that the engine keeps to itself.
    Header = "TG022", Error, None => {
        why: "Framing and connection are the engine's own: a file that could set them could smuggle \
            requests.",
        bad: r#"[headers.set]
content-length = "1""#,
        good: r#"[headers.set]
x-source = "gateway""#,
    }
    /// A client path that cannot be matched.
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
    /// Two things of one name, or a reserved name.
    Name = "TG024", Error, None => {
        why: "A name leads to one thing; which of two was meant is not guessed.",
        bad: r#"[credentials]
field = [{ name = "apiKey" }, { name = "apiKey" }]"#,
        good: r#"[credentials]
field = [{ name = "apiKey" }, { name = "login" }]"#,
    }
    /// A name that leads to nothing: a preset, gateway, api, field or endpoint that is not there.
    Reference = "TG025", Error, None => {
        why: "What a file refers to is part of what it means.",
        bad: r#"[probe]
endpoint = "chta""#,
        good: r#"[probe]
endpoint = "chat""#,
    }
    /// An optional var is used where it may be unset.
    OptionalVar = "TG026", Error, None => {
        why: "An unset var would leave a hole in a URL or a header. An optional one is used only below a \
            `when` that names it.",
        bad: r#"base_url = "https://{region}.example.com"
[vars]
region = { env = "EXAMPLE_REGION", optional = true }"#,
        good: r#"base_url = "https://{region}.example.com"
[vars]
region = { env = "EXAMPLE_REGION" }"#,
    }
    /// The gateway's `strip` does not fit an endpoint.
    Strip = "TG027", Error, None => {
        why: "What is stripped is the front of every endpoint's upstream path, in whole segments: else some \
            would go astray.",
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
    /// A condition that can never hold, or a rule without effect.
    Condition = "TG028", Error, None => {
        why: "A rule that does nothing, or that holds for everything, was meant otherwise.",
        bad: r#"[[response]]
when  = {}
reply = { status = 502, message = "{host} refused this" }"#,
        good: r#"[[response]]
when  = { status = 403 }
reply = { status = 502, message = "{host} refused this" }"#,
    }
    /// A var that is not set, or whose value cannot be used.
    Var = "TG030", Error, None => {
        why: "Found where vars are looked up, by `serve` and `routes`: `check` needs no environment. A \
            provider whose var is missing is out of service, the others are not.",
        bad: r#"# EXAMPLE_REGION is not set
base_url = "https://{region}.example.com"
[vars]
region = { env = "EXAMPLE_REGION" }"#,
        good: r#"base_url = "https://eu.example.com""#,
    }
    /// Several gateways are active and no order is given.
    GatewayOrder = "TG031", Error, None => {
        why: "Which way a request takes must not hang on the order of names. Found where vars are looked up, \
            by `serve` and `routes`.",
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
        why: "Which of the two would take it would hang on the order of files.",
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
        why: "A stored key goes only where all files that use its section know of: each names the others.",
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
        why: "The file says what it means twice, and the two do not agree. One of them is wrong.",
        bad: r#"[[test]]
name    = "chat"
request = { method = "POST", path = "/example/v1/chat" }
expect  = { url = "https://api.example.com/v2/chat" }"#,
        good: r#"[[test]]
name    = "chat"
request = { method = "POST", path = "/example/v1/chat" }
expect  = { url = "https://api.example.com/v1/chat" }"#,
    }
    /// A literal that looks like a key.
    LiteralKey = "TG060", Error, Some("literal_key") => {
        why: "A provider file is shared, reviewed and kept in Git: a key in it is everybody's, in a comment \
            or a test too. It is never shown: what looks like a key is masked in every message and source \
            line. One that was real is to be revoked.",
        bad: r#"[headers.set]
x-api-key = "sk-0a1b2c3d4e5f6a7b8c9d""#,
        good: r#"[vars]
key = { env = "EXAMPLE_KEY", secret = true }
[headers.set]
x-api-key = "{key}""#,
    }
    /// A joined path that says its version twice, as `/v1/v1`.
    DoubledPath = "TG061", Warning, Some("doubled_path") => {
        why: "The upstream path is appended to the base URL's, and a gateway's to the gateway's: each part \
            has the version, and most upstreams answer 404.",
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
        why: "The caller's key and all that is said go over the network for everybody on the way to read. \
            Loopback addresses are fine.",
        bad: r#"base_url = "http://api.example.com""#,
        good: r#"base_url = "http://127.0.0.1:8080""#,
    }
    /// A rule that can never fire, since another one goes before it.
    DeadRule = "TG063", Warning, Some("dead_rule") => {
        why: "Somebody believes in it. Drop it, or mend the one that hides it.",
        bad: r#"[headers]
default = { x-source = "a" }
set     = { x-source = "b" }"#,
        good: r#"[headers]
set = { x-source = "b" }"#,
    }
    /// An endpoint that no test covers.
    UntestedEndpoint = "TG064", Warning, Some("untested_endpoint") => {
        why: "A test of the file or of its preset says what goes up, and fails when an edit changes that. \
            Covered is an endpoint that the request of a test leads to.",
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
    /// A catch-all that widens the allowlist.
    CatchAll = "TG065", Warning, Some("catch_all") => {
        why: "What the upstream adds tomorrow is open at once, with the caller's key: files, billing, other \
            people's models. Name the endpoints, or at least a segment that all of them share.",
        bad: r#"[endpoint.all]
method = "GET"
path   = "/v1/{rest...}""#,
        good: r#"[endpoint.files]
method = "GET"
path   = "/v1/files/{rest...}""#,
    }
    /// A gateway that no endpoint can be reached through.
    UnreachableGateway = "TG066", Warning, Some("unreachable_gateway") => {
        why: "No provider names it, or whenever it is active another one of the provider goes before it.",
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
    /// `headers.pass` lets through what the engine removes.
    HeaderPass = "TG067", Warning, Some("header_pass") => {
        why: "Client addresses and the places that requests come from are private: an upstream gets them \
            only where it has to.",
        bad: r#"[headers]
pass = ["x-forwarded-for"]"#,
        good: r#"[headers]
remove = ["x-debug-*"]"#,
    }
    /// The policy does not allow it.
    Policy = "TG070", Error, None => {
        why: "`policy.toml` beside the providers directory says what all files keep to, whatever their vars are set \
            to. `tollgate prove` shows the request that would break it, and the way that it would take.",
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
}

impl Code {
    /// All codes, with what is told of each.
    pub fn all() -> &'static [CodeInfo] {
        CODES
    }

    /// What is told of it.
    pub fn entry(self) -> &'static CodeInfo {
        // The table makes the enumeration: both have the same order.
        &CODES[self as usize]
    }

    /// The stable text, `TG` and three digits.
    pub fn as_str(self) -> &'static str {
        self.entry().text
    }

    /// How bad it is if nobody says otherwise.
    pub fn severity(self) -> Severity {
        self.entry().severity
    }

    /// The code of a text, or of a lint's name, in any case.
    pub fn find(text: &str) -> Option<&'static CodeInfo> {
        let named = |entry: &&CodeInfo| {
            entry.text.eq_ignore_ascii_case(text)
                || entry.lint.is_some_and(|lint| lint.eq_ignore_ascii_case(text))
        };
        CODES.iter().find(named)
    }
}

impl CodeInfo {
    /// What, why, and an example of both, as Markdown.
    pub fn explain(&self) -> String {
        let Self { text, what, why, bad, good, .. } = self;
        let mut out = format!("## {text}\n\n{what} {}\n\n{why}\n\n", self.standing());
        let _ = write!(out, "Bad:\n\n```toml\n{bad}\n```\n\nGood:\n\n```toml\n{good}\n```\n");
        out
    }

    /// How bad it is, and who says so.
    fn standing(&self) -> String {
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
        "<!-- Made from src/diag/codes.rs by `cargo run -- check --explain all`; a test holds that it is fresh. -->\n\n\
         # Diagnostics\n\n\
         What `tollgate check` says, and the log and the status of a running tollgate, by code. A code's text is stable. \
         `tollgate check --explain TG012` shows one.\n\n\
         Lints have a level: `allow`, `warn` or `deny`, by name under `[lints]` in `tollgate.toml`; see \
         [tooling.md](tooling.md#check).\n\n\
         A comment with a path starts a file; without one it is `providers.d/example.toml`. What an example of a \
         provider leaves out is this:\n\n```toml\n{EXAMPLE_BASE}\n```\n"
    );
    for entry in CODES {
        out.push('\n');
        out.push_str(&entry.explain());
    }
    out
}

#[cfg(test)]
mod tests;
