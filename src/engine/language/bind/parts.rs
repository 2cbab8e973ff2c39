//! The bound types, which requests run on. Vars are filled in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::{HeaderName, HeaderValue};

use super::{
    Tls,
    destination::{Destination, Origins},
};
use crate::{
    base::{header_name::FoldedName, name::FileName, origin::Origin, secret::Secret},
    language::{
        auth::{self, FieldValues},
        compile::{
            self, Api, Captures, ClientPath, Glob, HeaderGlob, PageTexts, Section, Template, Timeouts,
            metering::Metering,
            safety::{self, HeaderClass},
        },
        generator::Generator,
        syntax,
        token::Token,
    },
};

/// A provider, ready to serve.
#[derive(Debug)]
pub struct Provider {
    /// Its name.
    pub name: FileName,
    /// Its texts for pages.
    pub shown: PageTexts,
    /// The prefix of its client paths.
    pub prefix: String,
    /// Further prefixes of all its client paths.
    pub prefixes: Vec<String>,
    /// The host of `base_url`, for messages.
    pub host: String,
    /// The active gateway.
    pub gateway: Option<FileName>,
    /// TLS of its own; none if it has none, or if a gateway or an egress is called instead of its origin.
    pub tls: Option<Tls>,
    /// The origin of upstream URLs: of the base URL or of the gateway.
    pub destination: Destination,
    /// The URL of the active egress, if one replaces the upstream URL.
    pub egress: Option<EgressUrl>,
    /// The `Host` header of its requests: the authority of the connection. None if that depends on the request.
    pub host_header: Option<HeaderValue>,
    /// The origins that stored credentials may be sent to. Those of gateways and egresses as written.
    pub allowed: Origins,
    /// The allowed origins of gateways, active or not, with their names.
    pub gateway_origins: BTreeMap<String, FileName>,
    /// The allowed origins that its requests reach, but for those of endpoints with an origin of their own.
    pub used: Origins,
    /// The values of the section that each request reads, by index, sorted.
    pub reads: Vec<u16>,
    /// Its credentials section.
    pub section: Option<Arc<Section>>,
    /// Its tokens, by name.
    pub tokens: Vec<Arc<Token>>,
    /// The client secrets of its logins, by field.
    pub client_secrets: Vec<(String, Secret)>,
    /// The entries of `auth`, in order.
    pub auth: Vec<Auth>,
    /// Headers that the file sets anywhere. The client's own are removed.
    pub claimed: Vec<HeaderName>,
    /// Query parameters that an entry of `auth` sets. The client's own are removed.
    pub claimed_query: Vec<String>,
    /// Header rules for every endpoint.
    pub headers: Headers,
    /// Changes to headers by the gateway, then by the egresses.
    pub overlays: Vec<Overlay>,
    /// Its endpoints.
    pub endpoints: Box<[Endpoint]>,
    /// The URLs of responses that come back through tollgate; none if the file names no header.
    pub returned_urls: Option<ReturnedUrls>,
    /// Its further token locations.
    pub caller: compile::TokenLocations,
    /// The greatest size of a request body in bytes.
    pub max_body: u64,
    /// The greatest size of a body that a signature covers, in bytes.
    pub signed_body: u64,
    /// Its paste token.
    pub paste_token: Option<PasteToken>,
    /// The request of "try it".
    pub probe: Option<syntax::Probe>,
}

impl Provider {
    /// The origin of an endpoint's upstream URLs.
    pub fn destination_of<'p>(&'p self, endpoint: &'p Endpoint) -> &'p Destination {
        endpoint.origin.as_ref().map_or(&self.destination, |origin| &origin.destination)
    }

    /// The `Host` header of requests to an endpoint; none if it depends on the request.
    pub fn host_header_of<'p>(&'p self, endpoint: &'p Endpoint) -> Option<&'p HeaderValue> {
        match &endpoint.origin {
            Some(origin) => origin.host_header.as_ref(),
            None => self.host_header.as_ref(),
        }
    }

    /// The allowed origins that requests to an endpoint reach.
    pub fn used_by<'p>(&'p self, endpoint: &'p Endpoint) -> &'p Origins {
        endpoint.origin.as_ref().map_or(&self.used, |origin| &origin.used)
    }

    /// The origins that its requests reach and that are the same for everybody, sorted.
    pub fn reached(&self) -> Vec<String> {
        let own = self.endpoints.iter().filter_map(|endpoint| Some(&endpoint.origin.as_ref()?.used));
        let all = own.chain([&self.used]).flat_map(|used| used.fixed.iter().cloned());
        all.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// True if some request is made of this field of the section.
    pub fn sends(&self, field: &str) -> bool {
        let Some(section) = &self.section else { return false };
        let is_of = |index: &u16| section.values[usize::from(*index)].field == field;
        let endpoints = self.endpoints.iter().flat_map(|endpoint| &endpoint.reads);
        let own = self.auth.iter().any(|auth| auth.field.as_deref() == Some(field));
        own || self.auth.iter().flat_map(|auth| &auth.reads).chain(&self.reads).chain(endpoints).any(is_of)
    }

    /// True if requests with an entry are not possible without this field.
    pub fn needs(&self, auth: &Auth, field: &str) -> bool {
        let is_needed = |index: &u16| self.is_needed(*index, field);
        let counted = self.endpoints.iter().enumerate().filter(|(index, _)| auth.counts_for(*index));
        let counted: Vec<&Endpoint> = counted.map(|(_, endpoint)| endpoint).collect();
        // The path of the base URL is a part of theirs.
        let at_base = counted.iter().filter(|endpoint| endpoint.origin.is_none()).count();
        let mut same = counted.iter().filter(|endpoint| at_base == 0 || endpoint.origin.is_none());
        auth.field.as_deref() == Some(field)
            || auth.reads.iter().chain(&self.reads).any(is_needed)
            || !counted.is_empty() && same.all(|endpoint| endpoint.reads.iter().any(is_needed))
    }

    /// True if requests to an endpoint with an entry are not possible without this field.
    pub fn needs_at(&self, auth: &Auth, endpoint: &Endpoint, field: &str) -> bool {
        let mut read = auth.reads.iter().chain(&self.reads).chain(&endpoint.reads);
        auth.field.as_deref() == Some(field) || read.any(|index| self.is_needed(*index, field))
    }

    /// True if the value of the section with this index is the field's, and nothing stands in for it.
    fn is_needed(&self, index: u16, field: &str) -> bool {
        self.section.as_ref().is_some_and(|section| {
            let value = &section.values[usize::from(index)];
            value.field == field && value.default.is_none() && !value.optional
        })
    }
}

/// A gateway token in the format of a vendor, and the login that it represents.
#[derive(Debug)]
pub struct PasteToken {
    /// The table as written.
    pub spec: syntax::PasteToken,
    /// The login's field in the provider's section.
    pub field: String,
}

/// The URL of an egress.
#[derive(Debug)]
pub struct EgressUrl {
    /// The index of the egress in the file.
    pub index: usize,
    /// Its origin.
    pub origin: Origin,
    /// Path and query. The placeholder is the upstream URL.
    pub target: Template<UrlPlaceholder>,
}

/// The only placeholder in a bound egress: the upstream URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlPlaceholder;

/// A bound `[[auth]]` entry.
#[derive(Debug)]
pub struct Auth {
    /// The field whose value is the secret.
    pub field: Option<String>,
    /// The token that is the secret.
    pub token: Option<Arc<Token>>,
    /// A glob that the secret must match.
    pub matches: Option<Glob>,
    /// For each endpoint, true if it counts there; none if it counts for all.
    pub endpoints: Option<Box<[bool]>>,
    /// The values of the section that its templates and its token read, by index, sorted.
    pub reads: Vec<u16>,
    /// True if it needs a secret of the caller's: one that it names. Any other entry, such as one with `none`, is for people who
    /// have stored no secret.
    pub names_secret: bool,
    /// The kind of authentication.
    pub kind: auth::Bound,
}

impl Auth {
    /// The entry of a provider without `auth`, whose requests are made of stored values all the same.
    pub(super) fn nothing() -> Self {
        Self {
            field: None,
            token: None,
            matches: None,
            endpoints: None,
            reads: Vec::new(),
            names_secret: false,
            kind: auth::Bound::nothing(),
        }
    }

    /// True if it counts for the endpoint of this index.
    pub fn counts_for(&self, endpoint: usize) -> bool {
        self.endpoints.as_ref().is_none_or(|all| all.get(endpoint).copied().unwrap_or(false))
    }
}

/// An open placeholder of a bound template: its value comes with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A capture of the path, by its index.
    Capture(u8),
    /// A value of the credentials section, by its index.
    Field(u16),
}

impl Input {
    /// The index of the value of the section.
    pub fn field(&self) -> Option<u16> {
        match self {
            Self::Field(index) => Some(*index),
            Self::Capture(_) => None,
        }
    }
}

/// The values that fill a request's templates.
#[derive(Debug, Clone, Copy)]
pub struct RequestInputs<'r> {
    /// The client's path, and its captures.
    pub path: &'r str,
    /// The captures.
    pub captures: &'r Captures,
    /// The values of fields.
    pub values: &'r FieldValues<'r>,
}

impl<'r> RequestInputs<'r> {
    /// The value of a placeholder; none for a field that is absent.
    pub fn get(&self, input: Input) -> Option<&'r str> {
        match input {
            Input::Capture(index) => Some(super::capture(self.path, self.captures, index)),
            Input::Field(index) => self.values.get(index),
        }
    }

    /// The text; none if a field that it names is absent.
    pub fn rendered(&self, template: &Template<Input>) -> Option<String> {
        template.placeholders().all(|input| self.get(*input).is_some()).then(|| {
            let mut text = String::new();
            template.render(&mut text, |input| self.get(*input).unwrap_or_default());
            text
        })
    }
}

/// A header's value.
#[derive(Debug)]
pub enum Value {
    /// The same for every request.
    Fixed(HeaderValue),
    /// A template over captures and fields.
    Made(Template<Input>),
    /// Another one for each request.
    Generated {
        /// The text before it.
        prefix: String,
        /// The generator.
        generator: Generator,
        /// Its index among the random bytes of a request.
        slot: usize,
    },
}

/// Header rules.
#[derive(Debug, Default)]
pub struct Headers {
    /// Headers to pass that the engine removes by default.
    pub pass: Vec<HeaderGlob>,
    /// Headers to remove.
    pub remove: Vec<HeaderGlob>,
    /// Headers to add if the client sent none.
    pub default: Vec<(HeaderName, Value)>,
    /// Headers to set.
    pub set: Vec<(HeaderName, Value)>,
    /// Members to add to headers that are lists.
    pub add: Vec<(HeaderName, Value)>,
}

impl Headers {
    /// The indices of the section's values that they read.
    pub(super) fn reads(&self) -> impl Iterator<Item = u16> {
        let written = self.default.iter().chain(&self.set).chain(&self.add);
        let made = written.filter_map(|(_, value)| match value {
            Value::Made(template) => Some(template),
            Value::Fixed(_) | Value::Generated { .. } => None,
        });
        made.flat_map(Template::placeholders).filter_map(Input::field)
    }
}

/// The source of an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlaySource {
    /// The active gateway.
    Gateway,
    /// The egress with this index in the file.
    Egress(usize),
}

/// Changes of a gateway or an egress to the headers.
#[derive(Debug)]
pub struct Overlay {
    /// Its source.
    pub of: OverlaySource,
    /// Headers to remove.
    pub remove: Vec<HeaderGlob>,
    /// Headers to set.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

impl Overlay {
    /// True if it removes or replaces a header of this name. It never touches framing and connection headers.
    pub(super) fn overrides(&self, name: &HeaderName) -> bool {
        let folded = FoldedName::from(name);
        let removes = self.remove.iter().any(|glob| glob.matches(&folded));
        let removes = removes && safety::request(&folded) != HeaderClass::Managed;
        removes || self.set.iter().any(|(known, _)| known == name)
    }
}

/// An endpoint, ready to serve.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Its method.
    pub method: http::Method,
    /// Its client paths.
    pub paths: Arc<[ClientPath]>,
    /// The path at the origin, including gateway and base path.
    pub target: Template<Input>,
    /// Its origin, if it is another one than that of `base_url`.
    pub origin: Option<Arc<EndpointOrigin>>,
    /// The values of the section that its requests read, beside those of the provider, by index, sorted.
    pub reads: Vec<u16>,
    /// The protocol that it switches to.
    pub upgrade: Option<syntax::Upgrade>,
    /// Its query rules.
    pub query: Query,
    /// Its header rules.
    pub headers: Headers,
    /// The number of values that are generated for each of its requests.
    pub generated: usize,
    /// Its timeouts.
    pub timeouts: Timeouts,
    /// Its response rules, then those of the provider.
    pub responses: Vec<ResponseRule>,
    /// Its wire format.
    pub api: Option<Arc<Api>>,
    /// Its names in telemetry.
    pub telemetry: Arc<TelemetryNames>,
    /// The metering of its answers; none if it is not metered.
    pub metering: Option<Arc<Metering>>,
}

/// One of a provider's `origins`.
#[derive(Debug)]
pub struct EndpointOrigin {
    /// Its name.
    pub name: String,
    /// The origin of upstream URLs.
    pub destination: Destination,
    /// The `Host` header: the authority of the connection. None if that depends on the request.
    pub host_header: Option<HeaderValue>,
    /// The allowed origins that its requests reach.
    pub used: Origins,
}

/// Names of an endpoint in OpenTelemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryNames {
    /// The provider.
    pub provider: Arc<str>,
    /// The operation.
    pub operation: Arc<str>,
    /// True if the endpoint is metered: its exchanges are uses of a model.
    pub is_metered: bool,
}

impl Endpoint {
    /// The places of its requests, for rules and limits: those of its api, also if its answers are not metered.
    pub fn judged(&self) -> Option<&Arc<Metering>> {
        self.metering.as_ref().or_else(|| self.api.as_ref()?.metering.as_ref())
    }

    /// The model in its paths, with the index of the capture. None if they name none.
    pub fn path_model(&self) -> Option<(&compile::metering::PathModel, u8)> {
        let model = self.judged()?.path_model.as_ref()?;
        let captures = self.paths.first()?.pattern.captures();
        let index = captures.iter().position(|known| **known == *model.capture)?;
        Some((model, u8::try_from(index).ok()?))
    }
}

/// The URLs in headers of responses that endpoints reach.
#[derive(Debug)]
pub struct ReturnedUrls {
    /// The headers.
    pub headers: Vec<HeaderName>,
    /// The origins of such URLs. The first is the one that paths without an origin belong to.
    pub origins: Vec<ReturnedOrigin>,
}

/// An origin that endpoints reach.
#[derive(Debug)]
pub struct ReturnedOrigin {
    /// Its name among `origins`; none for that of `base_url` or of the gateway.
    pub name: Option<String>,
    /// The origin.
    pub destination: Destination,
    /// The path of each endpoint there, in the order of the endpoints; none for one that is at another origin.
    pub targets: Vec<Option<Template<Input>>>,
}

/// Rules for the query. Literal text in values is already percent-encoded.
#[derive(Debug, Default)]
pub struct Query {
    /// Parameters to remove.
    pub remove: Vec<String>,
    /// Parameters to add if the client sent none.
    pub default: Vec<(String, Template<Input>)>,
    /// Parameters to set.
    pub set: Vec<(String, Template<Input>)>,
}

impl Query {
    /// The indices of the section's values that they read.
    pub(super) fn reads(&self) -> impl Iterator<Item = u16> {
        let all = self.default.iter().chain(&self.set);
        all.flat_map(|(_, value)| value.placeholders()).filter_map(Input::field)
    }
}

/// A rule that replaces responses of the upstream.
#[derive(Debug)]
pub struct ResponseRule {
    /// The status of the replaced response.
    pub status: Option<u16>,
    /// The content type of the replaced response, in lower case.
    pub content_type: Option<Glob>,
    /// The status for the client.
    pub reply_status: http::StatusCode,
    /// The message for the client.
    pub message: String,
}
