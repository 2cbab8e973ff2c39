//! The compiled types: what a provider, a gateway and their rules mean. Private invariants live in the
//! types they are made of; here every value is fine, and all fields are public.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use http::HeaderName;

use super::{Api, Glob, Pattern, Template};
use crate::{
    base::{diag::Location, name::FileName},
    language::{auth, syntax},
};

/// What a name in a provider's templates stands for. The provider's own name is filled in at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placeholder {
    /// A var.
    Var(Box<str>),
    /// A capture of the endpoint's path, by its index.
    Capture(u8),
    /// The `base_url`'s host.
    Host,
    /// The credential.
    Secret,
    /// The upstream path less what the gateway strips.
    Path,
    /// The finished upstream URL.
    Url,
}

/// A template in a provider's file.
pub type ProviderTemplate = Template<Placeholder>;

/// A provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name.
    pub name: FileName,
    /// Where its file starts.
    pub at: Location,
    /// All files that it is made of: its own, its preset's, its gateways' and its apis'.
    pub inputs: BTreeSet<Arc<str>>,
    /// Where its client paths start.
    pub prefix: String,
    /// Where the upstream's paths start.
    pub base_url: Located<ProviderTemplate>,
    /// Its vars.
    pub vars: Vars,
    /// Further places where its clients put a token.
    pub caller: TokenLocations,
    /// Its credentials section.
    pub section: Option<Section>,
    /// How a credential goes in, in order.
    pub auth: Vec<Auth>,
    /// Header rules for every endpoint.
    pub headers: HeaderRules,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The gateways that it can be reached through.
    pub gateways: Vec<GatewayUse>,
    /// Its egresses, in order.
    pub egress: Vec<Egress>,
    /// Headers that browsers may send.
    pub cors_headers: Vec<HeaderName>,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// Its paste token.
    pub paste_token: Option<Located<syntax::PasteToken>>,
    /// What "try it" calls.
    pub probe: Option<syntax::Probe>,
    /// Its tests.
    pub tests: Vec<Test>,
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub at: Location,
}

/// Declared vars, with the place of each.
pub type Vars = BTreeMap<String, Located<Var>>;

/// A declared var.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Var {
    /// Where its value comes from.
    pub source: VarSource,
    /// Whether it may be unset.
    pub optional: bool,
    /// Whether its value is never shown.
    pub secret: bool,
}

/// Where a var's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VarSource {
    /// An environment variable.
    Env(String),
    /// A file below the secrets directory.
    File(String),
}

/// Where a client puts its token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenLocations {
    /// Headers.
    pub headers: Vec<HeaderName>,
    /// Query parameters.
    pub query: Vec<String>,
}

/// A section of the credentials document.
#[derive(Debug, Clone)]
pub struct Section {
    /// Where it stands.
    pub name: String,
    /// Where the file says so.
    pub at: Location,
    /// Providers that use it too.
    pub shared_with: Vec<FileName>,
    /// Its fields, each with its place.
    pub fields: Vec<Located<syntax::Field>>,
}

/// An `[[auth]]` entry: the credential that it uses, and how that goes into the request.
#[derive(Debug, Clone)]
pub struct Auth {
    /// The field of the credentials section.
    pub field: String,
    /// A glob that the secret has to match.
    pub matches: Option<Glob>,
    /// The kind of authentication.
    pub kind: auth::Compiled,
    /// Its place in a file.
    pub at: Location,
}

/// Header rules, in this order.
#[derive(Debug, Clone, Default)]
pub struct HeaderRules {
    /// Where they are written.
    pub at: Option<Location>,
    /// Lets through what the engine strips.
    pub pass: Vec<Glob>,
    /// Removes.
    pub remove: Vec<Glob>,
    /// Adds where the client sent none.
    pub default: Vec<(HeaderName, ProviderTemplate)>,
    /// Sets.
    pub set: Vec<(HeaderName, ProviderTemplate)>,
}

/// What a gateway or an egress does to headers.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Removes.
    pub remove: Vec<Glob>,
    /// Sets.
    pub set: Vec<(HeaderName, ProviderTemplate)>,
}

/// An endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in the file.
    pub name: String,
    /// Where its path is written.
    pub at: Location,
    /// Its method.
    pub method: http::Method,
    /// The client paths that lead to it, each as written and parsed.
    pub paths: Vec<ClientPath>,
    /// The path at the upstream, below the base path.
    pub upstream_path: ProviderTemplate,
    /// Its wire format.
    pub api: Option<Arc<Api>>,
    /// What happens to the query.
    pub query: QueryRules,
    /// Its header rules.
    pub headers: HeaderRules,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Rules on the answer: its own, then the provider's.
    pub responses: Vec<ResponseRule>,
}

/// A client path.
#[derive(Debug, Clone)]
pub struct ClientPath {
    /// As written, with the prefix.
    pub text: String,
    /// Parsed.
    pub pattern: Pattern,
    /// For each of the pattern's captures, its index among the endpoint's.
    pub slots: Vec<u8>,
    /// Where it is written.
    pub at: Location,
}

/// What happens to the query, in this order.
#[derive(Debug, Clone, Default)]
pub struct QueryRules {
    /// Names that never go up.
    pub remove: Vec<String>,
    /// Added where the client sent none.
    pub default: Vec<(String, ProviderTemplate)>,
    /// Replaces what the client sent.
    pub set: Vec<(String, ProviderTemplate)>,
}

/// How long to wait for the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For name lookup, connection and TLS together.
    pub connect: Duration,
    /// From the last progress of the request's upload to the head of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { connect: secs(10), first_byte: secs(600), idle: secs(300) }
    }
}

/// A rule on the upstream's answer.
#[derive(Debug, Clone)]
pub struct ResponseRule {
    /// The answer's status.
    pub status: Option<u16>,
    /// What the answer's content type has to look like, in lower case.
    pub content_type: Option<Glob>,
    /// The status that the client gets.
    pub reply_status: http::StatusCode,
    /// The message that the client gets.
    pub message: ProviderTemplate,
}

/// A gateway file.
#[derive(Debug)]
pub struct Gateway {
    /// Its name.
    pub name: FileName,
    /// Its file.
    pub file: Arc<str>,
    /// Its vars.
    pub vars: Vars,
    /// Where its paths start.
    pub base_url: Located<ProviderTemplate>,
    /// What it does to headers.
    pub overlay: Overlay,
}

/// How a provider is reached through a gateway.
#[derive(Debug)]
pub struct GatewayUse {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Taken from the front of the upstream path.
    pub strip: String,
    /// The path below the gateway's base path.
    pub path: ProviderTemplate,
    /// Vars of the provider that must be set too.
    pub when: Vec<String>,
    /// Which one goes first.
    pub order: Option<i32>,
    /// Where the provider's file says so.
    pub at: Location,
}

/// An overlay on the finished request.
#[derive(Debug)]
pub struct Egress {
    /// Vars that must all be set.
    pub when: Vec<String>,
    /// Where the request goes instead.
    pub url: Option<ProviderTemplate>,
    /// What it does to headers.
    pub overlay: Overlay,
    /// Where it is written.
    pub at: Location,
}

/// A test of a file.
#[derive(Debug, Clone)]
pub struct Test {
    /// The test as written.
    pub spec: syntax::Test,
    /// Which of its file's tests it is.
    pub index: usize,
    /// Where its `expect` is written.
    pub at: Location,
}
