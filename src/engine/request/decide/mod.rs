//! The order of decisions about a request, written once. Each step consumes the value of the previous one, so that a
//! step left out does not compile; the waits (authentication, refresh of a login) lie between the steps.
//!
//! ```text
//! begin ─► Own                                                        answered without a token
//!       ─► Page                                                       answered, with or without a session
//!       ─► MetricsCall                                                answered, with or without one
//!       ─► AdminCall ─► ApiCall
//!       ─► SelfServiceCall ─► ApiCall (─► Routed, for a probe)
//!       ─► ProviderCall ─► Routed ─► Authorized ─► Credential ─► Sendable ─► Outgoing
//!                 authenticate    scope      choose     refresh?     rewrite
//! ```
//!
//! Input: the head, one configuration snapshot and facts about the caller. Output: a response by tollgate itself, a
//! [`Fault`], or an upstream request. Pure: the gateway waits between the steps; `explain` and the files' own tests do
//! not.
//!
//! Read next: `authorize` (what a token may reach), `session` (tokens in cookies), `credential` (which credential is sent), `rewrite` (the heads).

mod authorize;
mod credential;
mod handshake;
mod head;
mod metrics;
mod optional;
mod own;
mod session;
mod token;
mod unknown_token;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use http::{HeaderMap, Method, Uri, Version, request::Parts};

use super::{
    rewrite::{self, Answered, Fresh, Outgoing, OwnAddress, TokenPart, TokenSearch, Withheld},
    table::{self, Hit, Table},
};
use crate::{
    base::{
        fault::{Fault, FaultKind},
        origin::Origin,
        secret::Secret,
        websocket,
    },
    language::{
        auth::FieldValues,
        compile::{Rejected, UnusableVar},
    },
};

pub use crate::language::auth::{BodyHash, BodyInput};
pub use authorize::{CallerFacts, TokenKind};
pub use credential::{
    Attempt, Bound, Candidate, Credential, Login, Refresh, RefreshOf, RefreshReason, Sendable, StoredBy,
    WAIT_WHILE_GOOD, choose, expires_within,
};
pub use head::{MAX_FIELDS, body_bytes, not_http, too_large as head_too_large};
pub use metrics::MetricsCall;
pub use own::{ListenerRole, OwnAnswer, is_front_page};
pub use session::{PageOrigin, Presented, SessionCookie, Site, session_secrets};
pub use token::{Made, TokenAttempt, TokenState};
pub use unknown_token::TokenOf;

/// The kind of a request, with the token that the client sent.
#[derive(Debug)]
pub enum Begun<'r> {
    /// tollgate answers, without a token.
    Own(OwnAnswer),
    /// A request for a page, with the cookie of its session.
    Page(SessionCookie),
    /// A request for the metrics.
    Metrics(MetricsCall<'r>),
    /// A call of the admin API.
    Admin(AdminCall<'r>),
    /// A call of the self-service API.
    SelfService(SelfServiceCall<'r>),
    /// A call to a provider.
    Provider(ProviderCall<'r>),
}

/// A call below `/admin`, before its token is authenticated.
#[derive(Debug)]
pub struct AdminCall<'r> {
    head: &'r Parts,
    presented: Option<Presented>,
}

/// A call below `/auth`, before its token is authenticated.
#[derive(Debug)]
pub struct SelfServiceCall<'r> {
    head: &'r Parts,
    presented: Option<Presented>,
}

/// A call of tollgate's own API that the token is good for.
#[derive(Debug)]
pub struct ApiCall(());

/// A call to a provider, before its token is authenticated.
#[derive(Debug)]
pub struct ProviderCall<'r> {
    head: &'r Parts,
    table: &'r Table,
    token: Option<Secret>,
}

/// A call that has an endpoint, before the token's scope is checked.
#[derive(Debug)]
pub struct Routed<'r> {
    head: &'r Parts,
    table: &'r Table,
    /// The token, without a vendor's prefix.
    token: Option<Secret>,
    caller: CallerFacts<'r>,
    /// The endpoint.
    pub hit: Hit,
}

/// A call that its caller may make.
#[derive(Debug)]
pub struct Authorized<'r> {
    head: &'r Parts,
    table: &'r Table,
    token: Option<Secret>,
    /// The endpoint.
    pub hit: Hit,
}

/// The head of the request that is sent upstream.
pub struct UpstreamRequest<'c> {
    /// The origin that the connection goes to.
    pub origin: Cow<'c, Origin>,
    /// The upstream's origin, if a user entered it as a whole: the setting `user_origins` has to allow it. Behind an egress, the
    /// connection goes elsewhere.
    pub entered: Option<Origin>,
    /// The method.
    pub method: Method,
    /// Path and query in origin form (RFC 9112, section 3.2.1).
    pub target: Uri,
    /// All headers with `Host`, without framing: the sender adds it.
    pub headers: HeaderMap,
}

/// The listener that a request comes on.
#[derive(Debug, Clone, Copy)]
pub struct Listener<'r> {
    /// The requests that it serves.
    pub role: ListenerRole,
    /// What is known of its address in browsers.
    pub site: Site<'r>,
    /// The most bytes of a request's head.
    pub max_head: usize,
}

impl Listener<'_> {
    /// One that serves all requests, without limits that the settings have.
    pub const ANY: Listener<'static> = Listener {
        role: ListenerRole::All,
        site: Site { public_url: None, is_tls: false },
        max_head: usize::MAX,
    };
}

/// Makes the checks that need no caller, and finds the kind of the request. All later steps use the same `table`.
pub fn begin<'r>(head: &'r Parts, table: &'r Table, listener: Listener<'_>) -> Result<Begun<'r>, Fault> {
    let Listener { role, site, max_head } = listener;
    head::check(head, max_head)?;
    let path = head.uri.path();
    if own::is_front_page(head) {
        return Ok(Begun::Own(OwnAnswer::FrontPage));
    }
    if !role.serves(path) {
        return Err(Fault::new(FaultKind::NotFound, "Not found"));
    }
    if head.method == Method::OPTIONS {
        return Ok(Begun::Own(OwnAnswer::Preflight));
    }
    let token = || rewrite::token(head, table);
    let presented = |cookie: SessionCookie| cookie.presented(head, table, site);
    Ok(match own::find(&head.method, path) {
        Some(own::Found::Answer(own)) => Begun::Own(own),
        Some(own::Found::Page(cookie)) => Begun::Page(cookie),
        Some(own::Found::Metrics) => Begun::Metrics(MetricsCall::new(head, token(), role)),
        Some(own::Found::Admin) => {
            Begun::Admin(AdminCall { head, presented: presented(SessionCookie::Admin)? })
        }
        Some(own::Found::SelfService) => {
            Begun::SelfService(SelfServiceCall { head, presented: presented(SessionCookie::User)? })
        }
        None => Begun::Provider(ProviderCall { head, table, token: token() }),
    })
}

impl AdminCall<'_> {
    /// The secret to authenticate, or a fault if there is none. A missing one does not count against the authentication
    /// rate limit.
    pub fn presented(&self) -> Result<&Presented, Fault> {
        self.presented.as_ref().ok_or_else(|| TokenOf::Admin.missing())
    }

    /// The next step, once the token is known to be an admin's.
    pub fn authenticated(self) -> Result<ApiCall, Fault> {
        // An admin token has no prefix.
        outside_of_path(self.head, self.presented.map(Presented::into_secret), Some(TokenPart::Whole))?;
        Ok(ApiCall(()))
    }
}

impl SelfServiceCall<'_> {
    /// The secret to authenticate.
    pub fn presented(&self) -> Result<&Presented, Fault> {
        self.presented.as_ref().ok_or_else(|| TokenOf::User.missing())
    }

    /// The next step, once the caller is known.
    pub fn authenticated(self, caller: CallerFacts<'_>) -> Result<ApiCall, Fault> {
        outside_of_path(self.head, self.presented.map(Presented::into_secret), caller.token_part)?;
        caller.check_manage()?;
        Ok(ApiCall(()))
    }
}

impl ApiCall {
    /// A call that a page makes for the user who is signed in.
    pub fn of_page(caller: &CallerFacts<'_>) -> Result<Self, Fault> {
        caller.check_manage()?;
        Ok(Self(()))
    }

    /// The call to a provider that tollgate makes for the caller: the caller's own, but that it has no token of its own, and
    /// that a token for self-service is enough. `head` is tollgate's.
    pub fn provider_call<'r>(
        &self,
        head: &'r Parts,
        table: &'r Table,
        caller: CallerFacts<'r>,
    ) -> Result<Routed<'r>, Fault> {
        routed(head, table, None, caller)
    }
}

impl<'r> ProviderCall<'r> {
    /// The token to authenticate.
    pub fn token(&self) -> Result<&Secret, Fault> {
        self.token.as_ref().ok_or_else(|| TokenOf::User.missing())
    }

    /// Finds the endpoint. Only for authenticated callers, so that nobody else can probe for paths.
    pub fn authenticated(self, caller: CallerFacts<'r>) -> Result<Routed<'r>, Fault> {
        let Self { head, table, token } = self;
        let token = outside_of_path(head, token, caller.token_part)?;
        caller.check_proxy()?;
        if websocket::is_asked(&head.headers) {
            let hit = table.find_canonical(&head.method, head.uri.path());
            let Some(hit) = hit.filter(|hit| hit.endpoint().upgrade.is_some()) else {
                // The same on any path: clients go on with plain requests then.
                let message = "WebSocket is not served here: send a plain request";
                return Err(Fault::new(FaultKind::UpgradeRefused, message));
            };
            handshake::check(head)?;
            return Ok(Routed { head, table, token, caller, hit });
        }
        routed(head, table, token, caller)
    }
}

fn routed<'r>(
    head: &'r Parts,
    table: &'r Table,
    token: Option<Secret>,
    caller: CallerFacts<'r>,
) -> Result<Routed<'r>, Fault> {
    let hit = table
        .find_canonical(&head.method, head.uri.path())
        .ok_or_else(|| no_endpoint(table, head, &caller))?;
    if hit.endpoint().upgrade.is_some() {
        let message = match head.version {
            Version::HTTP_2 => "This endpoint is a WebSocket: open it as one, over HTTP/1.1",
            _ => {
                "This endpoint is a WebSocket: open it as one. \
                 A proxy in front of tollgate has to pass `Upgrade` and `Connection` on"
            }
        };
        return Err(Fault::new(FaultKind::UpgradeRequired, message));
    }
    Ok(Routed { head, table, token, caller, hit })
}

impl<'r> Routed<'r> {
    /// The next step, if the token's scopes cover the endpoint.
    pub fn in_scope(self) -> Result<Authorized<'r>, Fault> {
        let Self { head, table, token, caller, hit } = self;
        caller.check_scope(&hit)?;
        Ok(Authorized { head, table, token, hit })
    }
}

impl Authorized<'_> {
    /// The credential to send, or a login to refresh first (see [`choose`]). Call it again after the refresh.
    pub fn credential<'c, S: StoredBy<'c>>(
        &'c self,
        owners: impl IntoIterator<Item = S>,
        now_ms: u64,
    ) -> Result<Credential<'c>, Fault> {
        credential::decide(self, owners, now_ms)
    }
}

impl<'c> Sendable<'c> {
    /// Fails if a body exceeds the provider's limit. `body_bytes` is a lower bound of its size.
    pub fn check_size(&self, body_bytes: u64) -> Result<(), Fault> {
        let limit = self.authorized.hit.provider.max_body;
        if body_bytes > limit { Err(body_too_large(limit)) } else { Ok(()) }
    }

    /// The number of values that the request generates: it needs random bytes for each, and the time if there are any.
    pub fn generated(&self) -> usize {
        self.authorized.hit.endpoint().generated
    }

    /// Rewrites the URLs in headers of the upstream's response that endpoints of the provider reach. `own`: the address by
    /// which the client called tollgate.
    pub fn return_urls(&self, own: OwnAddress<'_>, headers: &mut HeaderMap) {
        let Authorized { head, table, hit, .. } = self.authorized;
        let none = FieldValues::default();
        let values = self.chosen.as_ref().map_or(&none, |chosen| &chosen.values);
        rewrite::return_urls(Answered { hit, head, table, values }, own, headers);
    }

    /// Removes from headers of the upstream's response what the credential wrote into the query. Nothing for any other credential.
    pub fn conceal(&self, headers: &mut HeaderMap) {
        if let Some(chosen) = self.chosen.as_ref().filter(|chosen| chosen.auth.kind.has_query()) {
            rewrite::conceal(chosen, &self.authorized.hit, headers);
        }
    }

    /// The same for the answer to the handshake of a WebSocket. What may hold any part of the credential there is removed: the
    /// credential may be one of the items that the upstream chose from.
    pub fn conceal_switched(&self, headers: &mut HeaderMap) {
        self.conceal(headers);
        if let Some(chosen) = &self.chosen {
            rewrite::conceal_choices(chosen, headers);
        }
    }

    /// The upstream request. `body_bytes` is a lower bound of the body's size. Fails if it exceeds the provider's
    /// limit, or if a value makes no valid header or URL. `fresh`: see [`Self::generated`].
    pub fn request(&self, body_bytes: u64, fresh: Fresh<'_>) -> Result<UpstreamRequest<'c>, Fault> {
        self.check_size(body_bytes)?;
        let Authorized { head, table, token, hit } = self.authorized;
        let withheld = Withheld::of(table, token.as_ref());
        let Outgoing { method, origin, entered, target, headers } =
            rewrite::request(hit, head, self.chosen.as_ref(), withheld, fresh)?;
        let target = Uri::try_from(target).map_err(|_| {
            Fault::new(FaultKind::RewriteFailed, "The request's path makes no URL at the upstream")
        })?;
        Ok(UpstreamRequest { origin, entered, method, target, headers })
    }
}

/// Without the query, which may hold a credential.
impl fmt::Debug for UpstreamRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, entered, method, target, headers } = self;
        let mut shown = formatter.debug_struct("UpstreamRequest");
        shown
            .field("origin", origin)
            .field("entered", entered)
            .field("method", method)
            .field("path", &target.path());
        shown.field("headers", headers).finish()
    }
}

impl UpstreamRequest<'_> {
    /// The whole URL.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }
}

/// The part of the presented text that is the token, which stands nowhere in the path: there it cannot be removed. The
/// first step after authentication, and so before any message with the path.
fn outside_of_path(
    head: &Parts,
    presented: Option<Secret>,
    part: Option<TokenPart>,
) -> Result<Option<Secret>, Fault> {
    let token = presented.map(|presented| {
        let part = part.unwrap_or_else(|| TokenPart::assumed(presented.expose()));
        part.take(presented)
    });
    if TokenSearch::new(token.as_ref()).is_in(head.uri.path().as_bytes()) {
        let message = "The path of the request contains the token that authenticates it. \
            tollgate sends no token upstream: leave it out of the path";
        return Err(Fault::new(FaultKind::TokenInPath, message));
    }
    Ok(token)
}

/// True if the path holds a text that the client presents as its token or session, or a part of it that may be the token.
/// It may be valid, also where nothing has authenticated it.
pub fn path_shows_token(head: &Parts, table: &Table) -> bool {
    let path = head.uri.path().as_bytes();
    let mut all = rewrite::token(head, table).into_iter().chain(session_secrets(&head.headers));
    all.any(|presented| {
        let parts = TokenPart::ALL.into_iter().filter_map(|part| part.text(presented.expose()));
        parts.map(|part| TokenSearch::of_text(Some(part))).any(|search| search.is_in(path))
    })
}

/// The fault of a body that is larger than `limit` bytes.
pub fn body_too_large(limit: u64) -> Fault {
    Fault::new(FaultKind::BodyTooLarge, format!("The request's body is larger than {limit} bytes"))
}

/// The fault of a path without an endpoint: 503 below the prefix of a rejected provider, else 404, which names the endpoint
/// that was probably meant, of those that the caller reaches.
fn no_endpoint(table: &Table, head: &Parts, caller: &CallerFacts<'_>) -> Fault {
    let path = head.uri.path();
    if let Some(rejected) = table.rejected_at(path).filter(|_| table::is_canonical(path)) {
        return out_of_service(rejected);
    }
    let meant =
        table.meant(&head.method, path, |provider, endpoint| caller.reaches(&provider.name, &endpoint.name));
    let nearest = meant.map(|(method, meant)| {
        let other_method = if *meant == *path { format!(", not for {}", head.method) } else { String::new() };
        format!("The nearest endpoint is `{method} {meant}`{other_method}. ")
    });
    let message = format!(
        "Route not implemented in AI Gateway: {path}. {}`GET /auth/providers` and `tollgate routes` list all",
        nearest.unwrap_or_default()
    );
    Fault::new(FaultKind::RouteNotFound, message)
}

/// The fault of a call to a rejected provider.
pub fn out_of_service(Rejected { name, unusable_var, .. }: &Rejected) -> Fault {
    let reason = match unusable_var {
        Some(UnusableVar { file, name }) => format!("var {name} of {file} has no usable value"),
        None => "its configuration is rejected".to_owned(),
    };
    Fault::new(FaultKind::ConfigRejected, format!("Provider {name} is out of service: {reason}"))
}
