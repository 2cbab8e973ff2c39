//! What `explain` says, as a document: `docs/tooling.md` tells of its keys, which are stable. Secrets stand in it as
//! `***`.

use std::collections::BTreeMap;

use serde::Serialize;

/// What would come of a request.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// The request.
    pub request: Request,
    /// Where the client's gateway token stands; null if the request has none.
    pub token: Option<Token>,
    /// Who calls.
    pub caller: CallerShown,
    /// The request's way; null on a miss.
    pub way: Option<Way>,
    /// Why there is none; null on a hit.
    pub miss: Option<Miss>,
}

/// The request, less its query and headers, where secrets may stand.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// Where a client's token stands.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    /// `header` or `query`.
    pub r#in: &'static str,
    /// Of which name.
    pub name: String,
}

/// What decides about the caller beside the credentials. The token counts as known.
#[derive(Debug, Clone, Serialize)]
pub struct CallerShown {
    /// What the user is called; null if none is named.
    pub user: Option<String>,
    /// Whether all tokens of the user are refused for now.
    pub disabled: bool,
    /// What the token is for: `proxy`, `manage` or `both`.
    pub kind: &'static str,
    /// The provider whose paste token it is; null if it is none.
    pub paste: Option<String>,
    /// What the token is narrowed to; null if it reaches every provider.
    pub scopes: Option<Vec<String>>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file as it is shown.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A request's way.
#[derive(Debug, Clone, Serialize)]
pub struct Way {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The `[[auth]]` entries, in their order.
    pub auth: Vec<Choice>,
    /// Whose the credential is that is used: a user's id, `group:` and a name, or `everybody`; null if none is used, or
    /// one that is not stored.
    pub owner: Option<String>,
    /// The gateways that the file names.
    pub gateways: Vec<Choice>,
    /// The egresses, in their order.
    pub egresses: Vec<Choice>,
    /// The method that goes up.
    pub method: String,
    /// Where the request goes.
    pub url: String,
    /// Every header that the client sent or that goes up: those that go up first.
    pub headers: Vec<Header>,
    /// Every query parameter that is removed, added or set; all others pass as sent.
    pub query: Vec<Parameter>,
    /// How long each is waited for.
    pub timeouts: Timeouts,
    /// The largest body that goes up, in bytes.
    pub max_body: u64,
    /// What the client is told instead of an answer; null if the request goes up.
    pub fault: Option<Told>,
}

/// The endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoint {
    /// Its provider.
    pub provider: String,
    /// Its name in the file.
    pub name: String,
    /// Its method.
    pub method: String,
    /// The client path that matched, as written.
    pub path: String,
    /// What the path's captures hold.
    pub captures: BTreeMap<String, String>,
    /// Where the path is written.
    pub at: Option<Place>,
}

/// One of several that may be used: an `[[auth]]` entry, a gateway, an egress.
#[derive(Debug, Clone, Serialize)]
pub struct Choice {
    /// An entry's field, a gateway's name, an egress's number from 1.
    pub name: String,
    /// Whether it is used.
    pub used: bool,
    /// Why, or why not.
    pub reason: String,
    /// Where it is written.
    pub at: Option<Place>,
}

/// A header.
#[derive(Debug, Clone, Serialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its lines as they go up; empty if it does not.
    pub values: Vec<String>,
    /// What became of it, in this order: the last one counts.
    pub steps: Vec<Step>,
}

/// A query parameter.
#[derive(Debug, Clone, Serialize)]
pub struct Parameter {
    /// Its name, decoded.
    pub name: String,
    /// What became of it, in this order.
    pub steps: Vec<Step>,
}

/// One decision about a header or a query parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was done.
    pub action: Action,
    /// The rule that did it, as the path of its key; null where the engine did.
    pub rule: Option<String>,
    /// Why the engine did it; null where a rule did.
    pub reason: Option<String>,
    /// Where the rule, or what gave the reason, is written.
    pub at: Option<Place>,
}

/// What is done to a header or a query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It passes as sent.
    Kept,
    /// It passes because a rule lets it through.
    LetThrough,
    /// It does not go up.
    Removed,
    /// It is added, since the client sent none.
    Added,
    /// It is set, whatever was there.
    Set,
}

/// How long each step is waited for.
#[derive(Debug, Clone, Serialize)]
pub struct Timeouts {
    /// For name lookup, connection and TLS together.
    pub connect: Timeout,
    /// From the last progress of the upload to the head of the answer.
    pub first_byte: Timeout,
    /// Between two pieces of the answer.
    pub idle: Timeout,
}

/// One of them.
#[derive(Debug, Clone, Serialize)]
pub struct Timeout {
    /// In milliseconds.
    pub ms: u128,
    /// Where it is written; null for the default.
    pub at: Option<Place>,
}

/// What a client is told.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// The message.
    pub message: String,
}

/// Why a request has no way.
#[derive(Debug, Clone, Serialize)]
pub struct Miss {
    /// What tollgate answers itself, in a sentence; null if it does not.
    pub own: Option<String>,
    /// What the client is told; null if tollgate answers itself.
    pub fault: Option<Told>,
    /// The endpoint that is most like it; null if none is.
    pub nearest: Option<Nearest>,
}

/// The endpoint that is most like a request.
#[derive(Debug, Clone, Serialize)]
pub struct Nearest {
    /// Its provider.
    pub provider: String,
    /// Its name in the file.
    pub name: String,
    /// Its method.
    pub method: String,
    /// Its client path, as written.
    pub path: String,
    /// What differs; one thing, if an endpoint is that near.
    pub differs: Vec<Difference>,
    /// Where the path is written.
    pub at: Option<Place>,
}

/// One thing in which a request differs from an endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// `method`, `trailing_slash`, `double_slash`, `dots`, `encoding`, `case`, `segment`, `extra_segment` or
    /// `missing_segment`.
    pub what: &'static str,
    /// In a sentence.
    pub message: String,
}
