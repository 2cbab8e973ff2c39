//! The bound types, which requests run on. Vars are filled in.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{
    base::{header_name::FoldedName, name::FileName, origin::Origin},
    language::{
        auth,
        compile::{
            self, Api, ClientPath, Glob, HeaderGlob, PageTexts, Section, Template, Timeouts,
            metering::Metering,
            safety::{self, HeaderClass},
        },
        syntax,
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
    /// The host of `base_url`, for messages.
    pub host: String,
    /// The active gateway.
    pub gateway: Option<FileName>,
    /// The origin of upstream URLs: of the base URL or of the gateway.
    pub origin: Origin,
    /// The URL of the active egress, if one replaces the upstream URL.
    pub egress: Option<EgressUrl>,
    /// The `Host` header of its requests: the authority of the connection.
    pub host_header: HeaderValue,
    /// The origins that stored credentials may be sent to, sorted. Those of gateways and egresses as written.
    pub allowed: Vec<String>,
    /// The allowed origins that its requests reach.
    pub used: Vec<String>,
    /// Its credentials section.
    pub section: Option<Section>,
    /// The entries of `auth`, in order.
    pub auth: Vec<Auth>,
    /// Headers that the file sets anywhere. The client's own are removed.
    pub claimed: Vec<HeaderName>,
    /// Header rules for every endpoint.
    pub headers: Headers,
    /// Changes to headers by the gateway, then by the egresses.
    pub overlays: Vec<Overlay>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Its further token locations.
    pub caller: compile::TokenLocations,
    /// The greatest size of a request body in bytes.
    pub max_body: u64,
    /// Its paste token.
    pub paste_token: Option<PasteToken>,
    /// The request of "try it".
    pub probe: Option<syntax::Probe>,
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
    /// The field.
    pub field: String,
    /// A glob that the secret must match.
    pub matches: Option<Glob>,
    /// The kind of authentication.
    pub kind: auth::Bound,
}

impl Auth {
    /// True if what it sends depends on the value of this field.
    pub fn reads(&self, field: &str) -> bool {
        match self.kind.needs().secrets {
            auth::SecretFields::OfEntry => self.field == field,
        }
    }
}

/// A header's value.
#[derive(Debug)]
pub enum Value {
    /// The same for every request.
    Fixed(HeaderValue),
    /// A template over captures, by index.
    Made(Template<u8>),
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
    pub paths: Vec<ClientPath>,
    /// The path at the origin, including gateway and base path. Placeholders are captures by index.
    pub target: Template<u8>,
    /// Its query rules.
    pub query: Query,
    /// Its header rules.
    pub headers: Headers,
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
    /// The capture of its paths that holds the model, by its index.
    pub fn model_capture(&self) -> Option<u8> {
        let name = self.metering.as_ref()?.model_capture.as_deref()?;
        let captures = self.paths.first()?.pattern.captures();
        u8::try_from(captures.iter().position(|known| known == name)?).ok()
    }
}

/// Rules for the query. Literal text in values is already percent-encoded.
#[derive(Debug, Default)]
pub struct Query {
    /// Parameters to remove.
    pub remove: Vec<String>,
    /// Parameters to add if the client sent none.
    pub default: Vec<(String, Template<u8>)>,
    /// Parameters to set.
    pub set: Vec<(String, Template<u8>)>,
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
