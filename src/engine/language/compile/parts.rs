//! The compiled types of providers, gateways and their rules. Their invariants are in the types of their fields, so that
//! all fields are public.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use http::HeaderName;

use super::{Api, Glob, HeaderGlob, Pattern, Template, metering::Metering};
use crate::{
    base::{diag::Location, name::FileName},
    language::{auth, syntax},
};

/// A placeholder in a provider's templates. `{provider}` is filled in by `compile` itself.
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
    /// The upstream path without what the gateway strips.
    Path,
    /// The upstream URL.
    Url,
}

/// A template in a provider's file.
pub type ProviderTemplate = Template<Placeholder>;

/// A provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name.
    pub name: FileName,
    /// The start of its file.
    pub at: Location,
    /// All its files: its own and those of its preset, gateways, apis and the policy.
    pub inputs: BTreeSet<Arc<str>>,
    /// Its texts for pages.
    pub shown: PageTexts,
    /// The prefix of its client paths.
    pub prefix: String,
    /// The base URL of the upstream.
    pub base_url: Located<ProviderTemplate>,
    /// Its vars.
    pub vars: Vars,
    /// Its further token locations.
    pub caller: TokenLocations,
    /// Its credentials section.
    pub section: Option<Section>,
    /// The entries of `auth`, in order.
    pub auth: Vec<Auth>,
    /// Header rules for every endpoint.
    pub headers: HeaderRules,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The gateways that its requests can go through.
    pub gateways: Vec<GatewayUse>,
    /// Its egresses, in order.
    pub egress: Vec<Egress>,
    /// CORS: headers that browsers may send, as names and globs.
    pub cors_headers: Vec<HeaderGlob>,
    /// Its name in OpenTelemetry, unless that is its name.
    pub telemetry_name: Option<Arc<str>>,
    /// The greatest size of a request body in bytes.
    pub max_body: u64,
    /// Its paste token.
    pub paste_token: Option<Located<syntax::PasteToken>>,
    /// The request of "try it".
    pub probe: Option<syntax::Probe>,
    /// Its tests.
    pub tests: Vec<Test>,
    /// The bytes of its text and of what is kept of it: a measure of the work that a stage has with it.
    pub size: usize,
}

impl Provider {
    /// CORS: the headers that browsers may send, as names and globs in lower case. Those of `cors_headers`, here and in the
    /// apis; token locations; and all that a rule for a client's request names, also those that it removes: without them,
    /// a browser would not send the request at all.
    pub fn browser_headers(&self) -> impl Iterator<Item = &str> {
        let apis = self.endpoints.iter().filter_map(|endpoint| endpoint.api.as_ref());
        let apis = apis.flat_map(|api| &api.cors_headers);
        let rules = self.endpoints.iter().map(|endpoint| &endpoint.headers).chain([&self.headers]);
        let rules = rules.flat_map(HeaderRules::mentioned);
        let auth =
            self.auth.iter().flat_map(|entry| entry.kind.outputs()).map(|output| output.header.as_str());
        let callers = self.caller.headers.iter().map(HeaderName::as_str);
        self.cors_headers.iter().chain(apis).map(HeaderGlob::as_str).chain(rules).chain(auth).chain(callers)
    }

    /// The sources of all vars, those of its gateways included.
    pub fn var_sources(&self) -> impl Iterator<Item = &VarSource> {
        let gateways = self.gateways.iter().map(|used| &used.gateway.vars);
        gateways.chain([&self.vars]).flat_map(BTreeMap::values).map(|var| &var.value.source)
    }
}

/// The texts of a provider for pages. No request depends on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageTexts {
    /// The display name.
    pub title: String,
    /// The group on pages.
    pub group: Option<String>,
    /// The page where users get an API key.
    pub keys_url: Option<String>,
    /// The upstream's documentation.
    pub docs: Option<String>,
}

/// A value and its location.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its location.
    pub at: Location,
}

/// Declared vars with their locations.
pub type Vars = BTreeMap<String, Located<Var>>;

/// A declared var.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Var {
    /// The source of its value.
    pub source: VarSource,
    /// True if it may be unset.
    pub optional: bool,
    /// True if its value is never shown.
    pub secret: bool,
}

/// The source of a var's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VarSource {
    /// An environment variable.
    Env(String),
    /// A file in the secrets directory.
    File(String),
}

impl fmt::Display for VarSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable `{name}`"),
            Self::File(name) => write!(f, "file `{name}` in the secrets directory"),
        }
    }
}

/// Token locations: where clients may put a gateway token.
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
    /// Its path in the document.
    pub name: String,
    /// Its location.
    pub at: Location,
    /// The other providers that use it.
    pub shared_with: Vec<FileName>,
    /// Its fields with their locations.
    pub fields: Vec<Located<syntax::Field>>,
}

/// An `[[auth]]` entry: a credential, and the kind of authentication that puts it into the request.
#[derive(Debug, Clone)]
pub struct Auth {
    /// The field of the credentials section.
    pub field: String,
    /// A glob that the secret must match.
    pub matches: Option<Glob>,
    /// The kind of authentication.
    pub kind: auth::Compiled,
    /// Its location.
    pub at: Location,
}

/// Rules for request headers, applied in this order.
#[derive(Debug, Clone, Default)]
pub struct HeaderRules {
    /// Their location.
    pub at: Option<Location>,
    /// Headers to pass that the engine removes by default.
    pub pass: Vec<HeaderGlob>,
    /// Headers to remove.
    pub remove: Vec<HeaderGlob>,
    /// Headers to add if the client sent none.
    pub default: Vec<(HeaderName, ProviderTemplate)>,
    /// Headers to set.
    pub set: Vec<(HeaderName, ProviderTemplate)>,
}

impl HeaderRules {
    /// The headers of a client's request that the rules are about, as names and globs.
    fn mentioned(&self) -> impl Iterator<Item = &str> {
        let names = self.default.iter().chain(&self.set).map(|(name, _)| name.as_str());
        self.pass.iter().chain(&self.remove).map(HeaderGlob::as_str).chain(names)
    }
}

/// Changes of a gateway or an egress to the headers.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Headers to remove.
    pub remove: Vec<HeaderGlob>,
    /// Headers to set.
    pub set: Vec<(HeaderName, ProviderTemplate)>,
}

/// An endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in the file.
    pub name: String,
    /// The location of its path.
    pub at: Location,
    /// Its method.
    pub method: http::Method,
    /// Its client paths.
    pub paths: Vec<ClientPath>,
    /// The path at the upstream, below the base path.
    pub upstream_path: ProviderTemplate,
    /// Its wire format.
    pub api: Option<Arc<Api>>,
    /// The operation's name in OpenTelemetry, its own or that of the api, unless that is its name.
    pub operation: Option<Arc<str>>,
    /// The metering of its answers; none if it is not metered.
    pub metering: Option<Arc<Metering>>,
    /// Its query rules.
    pub query: QueryRules,
    /// Its header rules.
    pub headers: HeaderRules,
    /// Its timeouts.
    pub timeouts: Timeouts,
    /// Response rules: its own, then the provider's.
    pub responses: Vec<ResponseRule>,
}

/// A client path.
#[derive(Debug, Clone)]
pub struct ClientPath {
    /// The path as written, with the prefix.
    pub text: String,
    /// The parsed path.
    pub pattern: Pattern,
    /// For each of the pattern's captures, its index among the endpoint's.
    pub slots: Vec<u8>,
    /// Its location.
    pub at: Location,
}

/// Rules for the query, applied in this order.
#[derive(Debug, Clone, Default)]
pub struct QueryRules {
    /// Parameters to remove.
    pub remove: Vec<String>,
    /// Parameters to add if the client sent none.
    pub default: Vec<(String, ProviderTemplate)>,
    /// Parameters to set.
    pub set: Vec<(String, ProviderTemplate)>,
}

/// Timeouts of upstream requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For DNS lookup, connection and TLS handshake together.
    pub connect: Duration,
    /// From the last progress of the upload to the head of the response.
    pub first_byte: Duration,
    /// Between two pieces of the response.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { connect: secs(10), first_byte: secs(600), idle: secs(300) }
    }
}

/// A rule that replaces responses of the upstream.
#[derive(Debug, Clone)]
pub struct ResponseRule {
    /// The status of the replaced response.
    pub status: Option<u16>,
    /// The content type of the replaced response, in lower case.
    pub content_type: Option<Glob>,
    /// The status for the client.
    pub reply_status: http::StatusCode,
    /// The message for the client.
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
    /// Its base URL.
    pub base_url: Located<ProviderTemplate>,
    /// Its changes to headers.
    pub overlay: Overlay,
}

/// The way to a provider through a gateway.
#[derive(Debug)]
pub struct GatewayUse {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The prefix to remove from the upstream path.
    pub strip: String,
    /// The path below the gateway's base path.
    pub path: ProviderTemplate,
    /// Vars of the provider that must also be set.
    pub when: Vec<String>,
    /// The rank among active gateways: the lowest is used.
    pub order: Option<i32>,
    /// Its location in the provider's file.
    pub at: Location,
}

/// An overlay on the finished request.
#[derive(Debug)]
pub struct Egress {
    /// Vars that must all be set.
    pub when: Vec<String>,
    /// The URL to send the request to instead.
    pub url: Option<ProviderTemplate>,
    /// Its changes to headers.
    pub overlay: Overlay,
    /// Its location.
    pub at: Location,
}

/// A test of a file.
#[derive(Debug, Clone)]
pub struct Test {
    /// The test as written.
    pub spec: syntax::Test,
    /// Its index among the tests of its file.
    pub index: usize,
    /// The location of its `expect`.
    pub at: Location,
}
