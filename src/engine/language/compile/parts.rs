//! The compiled types of providers, gateways and their rules. Their invariants are in the types of their fields, so that
//! all fields are public.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use http::HeaderName;

use super::{Api, CaptureRules, Glob, HeaderGlob, Pattern, Template, ValueRule, metering::Metering};
use crate::{
    base::{diag::Location, name::FileName},
    language::{
        auth,
        generator::Generator,
        syntax::{self, Roots},
        token::{self, TokenWord},
    },
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
    /// A text that is generated for each request. Only values of headers have it, at their end.
    Generated(Generator),
    /// The credential.
    Secret,
    /// A name that tokens define.
    Token(TokenWord),
    /// A value of the credentials section.
    Field(FieldName),
    /// The upstream path without what the gateway strips.
    Path,
    /// The upstream URL.
    Url,
}

impl Placeholder {
    /// Its name in templates. `captures`: the names of the endpoint's captures.
    pub fn written<'n>(&'n self, captures: &'n [String]) -> &'n str {
        match self {
            Self::Var(var) => var,
            Self::Capture(index) => captures.get(usize::from(*index)).map_or("", String::as_str),
            Self::Host => "host",
            Self::Generated(generator) => generator.name(),
            Self::Secret => "secret",
            Self::Token(word) => word.name(),
            Self::Field(field) => &field.name,
            Self::Path => "path",
            Self::Url => "url",
        }
    }
}

/// A value of the credentials section, as a template names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName {
    /// Its index among [`Section::values`].
    pub index: u16,
    /// Its name.
    pub name: Box<str>,
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
    /// All its files: its own and those of its preset, endpoint sets, gateways, apis and the policy.
    pub inputs: BTreeSet<Arc<str>>,
    /// Its texts for pages.
    pub shown: PageTexts,
    /// The prefix of its client paths.
    pub prefix: String,
    /// Further prefixes of all its client paths.
    pub prefixes: Vec<String>,
    /// The base URL of the upstream.
    pub base_url: Located<ProviderTemplate>,
    /// Further base URLs, by name.
    pub origins: BTreeMap<String, Located<ProviderTemplate>>,
    /// Its vars.
    pub vars: Vars,
    /// TLS of its own.
    pub tls: Option<Tls>,
    /// Its further token locations.
    pub caller: TokenLocations,
    /// Its credentials section.
    pub section: Option<Arc<Section>>,
    /// Its tokens, by name.
    pub tokens: Vec<token::Compiled>,
    /// The entries of `auth`, in order.
    pub auth: Vec<Auth>,
    /// Header rules for every endpoint.
    pub headers: HeaderRules,
    /// Its endpoints.
    pub endpoints: Box<[Endpoint]>,
    /// The gateways that its requests can go through.
    pub gateways: Vec<GatewayUse>,
    /// Its egresses, in order.
    pub egress: Vec<Egress>,
    /// Headers of responses whose URLs come back through tollgate.
    pub rewrite_urls: Vec<HeaderName>,
    /// CORS: headers that browsers may send, as names and globs.
    pub cors_headers: Vec<HeaderGlob>,
    /// Its name in OpenTelemetry, unless that is its name.
    pub telemetry_name: Option<Arc<str>>,
    /// The greatest size of a request body in bytes.
    pub max_body: u64,
    /// The greatest size of a body that a signature covers, in bytes.
    pub signed_body: u64,
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
        let auth = self.auth.iter().flat_map(|entry| entry.kind.outputs());
        let auth = auth.filter_map(|output| output.place.header()).map(HeaderName::as_str);
        let callers = self.caller.headers.iter().map(HeaderName::as_str);
        self.cors_headers.iter().chain(apis).map(HeaderGlob::as_str).chain(rules).chain(auth).chain(callers)
    }

    /// The base URL of an endpoint.
    pub fn base_of(&self, endpoint: &Endpoint) -> &Located<ProviderTemplate> {
        endpoint.origin.as_ref().and_then(|name| self.origins.get(name)).unwrap_or(&self.base_url)
    }

    /// The paths of endpoints that have an api, each with the name of that.
    pub fn api_paths(&self) -> impl Iterator<Item = (&str, &str)> {
        self.endpoints.iter().flat_map(|endpoint| {
            let api = endpoint.api.as_ref().map(|api| api.name.as_str());
            endpoint.paths.iter().filter_map(move |path| Some((api?, path.text.as_str())))
        })
    }

    /// The fields that an entry of `auth` names.
    pub fn fields_of<'p>(&'p self, auth: &'p Auth) -> BTreeSet<&'p str> {
        let outputs = auth.kind.outputs().into_iter().map(|output| output.text);
        let token = auth.token.map(|index| &self.tokens[index]);
        let made = token
            .into_iter()
            .flat_map(|token| token.url().map(|url| &url.value).into_iter().chain(token.templates()));
        let named = outputs.chain(made).flat_map(Template::placeholders).filter_map(|name| match name {
            Placeholder::Field(field) => Some(self.values()[usize::from(field.index)].field.as_str()),
            Placeholder::Var(_)
            | Placeholder::Capture(_)
            | Placeholder::Host
            | Placeholder::Generated(_)
            | Placeholder::Secret
            | Placeholder::Token(_)
            | Placeholder::Path
            | Placeholder::Url => None,
        });
        named.chain(auth.field.as_deref()).collect()
    }

    /// True if a caller who has stored nothing is refused, at some endpoint.
    pub fn needs_credential(&self) -> bool {
        let is_optional = |endpoint: &Endpoint| {
            self.auth.iter().any(|auth| auth.kind.is_none() && auth.counts_for(&endpoint.name))
        };
        !self.auth.is_empty() && !self.endpoints.iter().all(is_optional)
    }

    /// The name of an entry of `auth` for people: its field, its token, or its fields.
    pub fn auth_name(&self, auth: &Auth) -> String {
        match (&auth.field, auth.token) {
            _ if auth.kind.is_none() => "none".to_owned(),
            (Some(field), _) => field.clone(),
            (None, Some(token)) => format!("token {}", self.tokens[token].name),
            (None, None) => self.fields_of(auth).into_iter().collect::<Vec<_>>().join(" + "),
        }
    }

    /// The values of its section that templates can name.
    pub fn values(&self) -> &[SectionValue] {
        self.section.as_ref().map(|section| &*section.values).unwrap_or_default()
    }

    /// All headers that the file sets anywhere, also in inactive gateways and egresses.
    pub fn claimed(&self) -> Vec<HeaderName> {
        let rules = self.endpoints.iter().map(|endpoint| &endpoint.headers.set);
        let rules = rules.chain([&self.headers.set]);
        let rules = rules.chain(self.gateways.iter().map(|one| &one.gateway.overlay.set));
        let rules = rules.chain(self.egress.iter().map(|one| &one.overlay.set));
        let auth = self.auth.iter().flat_map(|auth| auth.kind.outputs());
        let auth = auth.filter_map(|output| output.place.replaced_header());
        let mut names: Vec<HeaderName> = rules.flatten().map(|(name, _)| name).chain(auth).cloned().collect();
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        names
    }

    /// All query parameters that an entry of `auth` sets.
    pub fn claimed_query(&self) -> Vec<String> {
        let outputs = self.auth.iter().flat_map(|auth| auth.kind.outputs());
        let names: BTreeSet<&str> = outputs.filter_map(|output| output.place.parameter()).collect();
        names.into_iter().map(str::to_owned).collect()
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
    /// The beginnings of the vendor's keys.
    pub key_prefixes: Vec<String>,
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
    /// The value if the source has none.
    pub default: Option<String>,
    /// True if its value is a PEM text for `tls`, which stands in no template.
    pub is_pem: bool,
}

/// TLS of a provider's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The authorities.
    pub ca: Option<PemVar>,
    /// Those that are trusted.
    pub roots: Roots,
    /// The client certificate.
    pub client: Option<ClientCertificate>,
    /// The table.
    pub at: Location,
}

/// A client certificate and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate with its chain.
    pub certificate: PemVar,
    /// The private key.
    pub key: PemVar,
}

/// A var that holds a PEM text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemVar {
    /// Its name.
    pub var: String,
    /// The var.
    pub source: Var,
    /// Its declaration.
    pub declared: Location,
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
    /// Prefixes of the subprotocols that a WebSocket offers.
    pub subprotocol: Vec<String>,
    /// Schemes of `Authorization` besides `Bearer`, in lower case; the empty one is a token without a scheme. The engine
    /// removes that header from every request.
    pub schemes: Vec<String>,
}

impl TokenLocations {
    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        let Self { headers, query, subprotocol, schemes } = self;
        headers.is_empty() && query.is_empty() && subprotocol.is_empty() && schemes.is_empty()
    }

    /// Adds those of another one.
    pub fn extend(&mut self, other: &Self) {
        let Self { headers, query, subprotocol, schemes } = other;
        self.headers.extend(headers.iter().cloned());
        self.query.extend(query.iter().cloned());
        self.subprotocol.extend(subprotocol.iter().cloned());
        self.schemes.extend(schemes.iter().cloned());
    }
}

/// A section of the credentials document.
#[derive(Debug)]
pub struct Section {
    /// Its path in the document.
    pub name: String,
    /// Its location.
    pub at: Location,
    /// The other providers that use it.
    pub shared_with: Vec<FileName>,
    /// Its fields with their locations.
    pub fields: Box<[Located<syntax::Field>]>,
    /// The values that templates can name.
    pub values: Box<[SectionValue]>,
    /// The vars with the client secrets of logins, by field.
    pub client_secrets: Vec<(String, String)>,
}

impl Section {
    /// The rule for the values of a field; none if they are secrets.
    pub fn rule(&self, field: &str) -> Option<&ValueRule> {
        self.values.iter().find(|value| value.field == field)?.rule.as_ref()
    }
}

/// A value of the credentials section that templates can name: a field, or a part of a `json` field.
#[derive(Debug, Clone)]
pub struct SectionValue {
    /// Its name in templates.
    pub name: String,
    /// The field.
    pub field: String,
    /// For a part: its JSON pointer in the document.
    pub pointer: Option<String>,
    /// The rule for a value that is no secret; none for a secret.
    pub rule: Option<ValueRule>,
    /// True if a header or query parameter is left out where the value is absent.
    pub optional: bool,
    /// The value where none is stored.
    pub default: Option<String>,
}

/// An `[[auth]]` entry: a credential, and the kind of authentication that puts it into the request.
#[derive(Debug, Clone)]
pub struct Auth {
    /// The field whose value is the secret.
    pub field: Option<String>,
    /// The token that is the secret, by its index among the provider's tokens.
    pub token: Option<usize>,
    /// A glob that the secret must match.
    pub matches: Option<Glob>,
    /// Globs on the names of the endpoints that it counts for; all if none.
    pub endpoints: Option<Vec<Glob>>,
    /// The kind of authentication.
    pub kind: auth::Compiled,
    /// Its location.
    pub at: Location,
}

impl Auth {
    /// True if it counts for an endpoint of this name.
    pub fn counts_for(&self, endpoint: &str) -> bool {
        self.endpoints.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.matches(endpoint)))
    }
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
    /// Members to add to headers that are lists.
    pub add: Vec<(HeaderName, ProviderTemplate)>,
}

impl HeaderRules {
    /// The headers that the rules write, with their values.
    pub fn written(&self) -> impl Iterator<Item = &(HeaderName, ProviderTemplate)> {
        self.default.iter().chain(&self.set).chain(&self.add)
    }

    /// The number of values that are generated for each request.
    pub fn generated(&self) -> usize {
        let is_generated = |text: &ProviderTemplate| {
            text.placeholders().any(|name| matches!(name, Placeholder::Generated(_)))
        };
        self.written().filter(|(_, text)| is_generated(text)).count()
    }

    /// The headers of a client's request that the rules are about, as names and globs.
    fn mentioned(&self) -> impl Iterator<Item = &str> {
        let names = self.written().map(|(name, _)| name.as_str());
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
    /// True if it is of an endpoint set, whose file has its tests.
    pub is_of_set: bool,
    /// Its method.
    pub method: http::Method,
    /// Its client paths.
    pub paths: Arc<[ClientPath]>,
    /// The rules for its captures.
    pub rules: CaptureRules,
    /// The path at the upstream, below the base path.
    pub upstream_path: ProviderTemplate,
    /// The name of its base URL among `origins`; none for `base_url`.
    pub origin: Option<String>,
    /// The protocol that it switches to.
    pub upgrade: Option<syntax::Upgrade>,
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
    /// The time of its request, in milliseconds since 1970.
    pub now_ms: u64,
    /// The location of its `expect`.
    pub at: Location,
}
