//! The bound types: what the request path runs on. All that a var can change is settled in them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{
    base::{name::FileName, origin::Origin},
    language::{
        auth,
        compile::{
            self, Api, ClientPath, Glob, Section, Template, Timeouts,
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
    /// Where its client paths start.
    pub prefix: String,
    /// The `base_url`'s host, as messages name it.
    pub host: String,
    /// The gateway that is used.
    pub gateway: Option<FileName>,
    /// Where its URLs lead: the base URL's origin or the gateway's.
    pub origin: Origin,
    /// Where connections really go, if an egress wraps the URL.
    pub egress: Option<EgressUrl>,
    /// The `Host` header of its requests: the authority that connections go to.
    pub host_header: HeaderValue,
    /// The origins that a key stored for it may go to, sorted; those of gateways and egresses as they are written.
    pub allowed: Vec<String>,
    /// Those of them that its requests go to.
    pub used: Vec<String>,
    /// Its credentials section.
    pub section: Option<Section>,
    /// How a credential goes in, in order.
    pub auth: Vec<Auth>,
    /// Names that the file sets somewhere: a client's own are removed.
    pub claimed: Vec<HeaderName>,
    /// Header rules for every endpoint.
    pub headers: Headers,
    /// What the gateway, then the egresses do to headers.
    pub overlays: Vec<Overlay>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Where its clients may put a token.
    pub caller: compile::TokenLocations,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// Its paste token.
    pub paste_token: Option<PasteToken>,
}

/// A token of a vendor's shape, and the login that it stands for.
#[derive(Debug)]
pub struct PasteToken {
    /// As it is written.
    pub spec: syntax::PasteToken,
    /// The login's field in the provider's section.
    pub field: String,
}

/// Where an egress sends requests.
#[derive(Debug)]
pub struct EgressUrl {
    /// Which of the file's egresses it is.
    pub index: usize,
    /// Its origin.
    pub origin: Origin,
    /// Path and query there; the name stands for the upstream URL.
    pub target: Template<UrlPlaceholder>,
}

/// The only name in a bound egress: the upstream URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlPlaceholder;

/// How one field goes into the request.
#[derive(Debug)]
pub struct Auth {
    /// The field.
    pub field: String,
    /// What the secret has to look like.
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

/// A header's value: known, or made from the path's captures.
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
    /// Lets through what the engine strips.
    pub pass: Vec<Glob>,
    /// Removes.
    pub remove: Vec<Glob>,
    /// Adds where the client sent none.
    pub default: Vec<(HeaderName, Value)>,
    /// Sets.
    pub set: Vec<(HeaderName, Value)>,
}

/// What an overlay belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlaySource {
    /// The gateway that is used.
    Gateway,
    /// This one of the file's egresses.
    Egress(usize),
}

/// What a gateway or an egress does to headers.
#[derive(Debug)]
pub struct Overlay {
    /// Whose it is.
    pub of: OverlaySource,
    /// Removes.
    pub remove: Vec<Glob>,
    /// Sets.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

impl Overlay {
    /// True if it removes or replaces a header of this name. It never touches framing and connection headers.
    pub(super) fn overrides(&self, name: &HeaderName) -> bool {
        let removes = self.remove.iter().any(|glob| glob.matches(name.as_str()));
        let removes = removes && safety::request(name.as_str()) != HeaderClass::Managed;
        removes || self.set.iter().any(|(known, _)| known == name)
    }
}

/// An endpoint, ready to serve.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in the file.
    pub name: String,
    /// Its method.
    pub method: http::Method,
    /// The client paths that lead to it.
    pub paths: Vec<ClientPath>,
    /// The path at the origin, gateway and base path included, over captures by index.
    pub target: Template<u8>,
    /// What happens to the query.
    pub query: Query,
    /// Its header rules.
    pub headers: Headers,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Rules on the answer.
    pub responses: Vec<ResponseRule>,
    /// Its wire format.
    pub api: Option<Arc<Api>>,
}

/// What happens to the query; texts in values are encoded already.
#[derive(Debug, Default)]
pub struct Query {
    /// Names that never go up.
    pub remove: Vec<String>,
    /// Added where the client sent none.
    pub default: Vec<(String, Template<u8>)>,
    /// Replaces what the client sent.
    pub set: Vec<(String, Template<u8>)>,
}

/// A rule on the upstream's answer.
#[derive(Debug)]
pub struct ResponseRule {
    /// The answer's status.
    pub status: Option<u16>,
    /// What the answer's content type has to look like, in lower case.
    pub content_type: Option<Glob>,
    /// The status that the client gets.
    pub reply_status: http::StatusCode,
    /// The message that the client gets.
    pub message: String,
}
