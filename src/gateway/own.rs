//! What tollgate answers itself, below its reserved first segments, and the browsers' preflight.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use super::{
    Body, InFlight, Worker, authenticate, body::collect, fault::json, store_fault, visit::Visit, wrong_token,
};
use crate::{
    accounts::{Actor, Caller},
    admin::{self, Admin, Asker, Call, Who},
    fault::{Fault, Kind},
    name::{AdminTokenId, Scope},
    own_paths,
    store::TokenKind,
    table::{Hit, Table},
};

/// The page at `/config`, until there is one that does it all.
const CONFIG_PAGE: &str = include_str!("config.html");

/// `OPTIONS`, on any path, without a token.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The answer, if the path is tollgate's own.
pub(super) async fn answer(
    request: InFlight<'_>,
    incoming: &mut Option<Incoming>,
    visit: &Visit,
) -> Result<Option<Response<Body>>, Fault> {
    let InFlight { worker, table, head } = request;
    let path = head.uri.path();
    if own_paths::find(path).is_none() {
        return Ok(None);
    }
    match (admin::find(&head.method, path), path) {
        (Some(found), _) if found.operation.who == Who::Public => {
            Ok(Some(well(worker, table, found.operation.call)))
        }
        (_, "/config") if [Method::GET, Method::HEAD].contains(&head.method) => Ok(Some(config_page())),
        _ if below(path, "/admin") => {
            let actor = Actor::admin(&*check_admin(request, visit).await?, visit.from());
            call(request, incoming, Asker::Admin, actor).await.map(Some)
        }
        _ if below(path, "/auth") => {
            let caller = authenticate(request, visit).await?;
            may_manage(&caller)?;
            let actor = Actor::user(&caller, visit.from());
            call(request, incoming, Asker::User(caller), actor).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// A call of the API, by way of the control runtime.
async fn call(
    InFlight { worker, table, head }: InFlight<'_>,
    incoming: &mut Option<Incoming>,
    asker: Asker,
    actor: Actor,
) -> Result<Response<Body>, Fault> {
    let request = asked(head, incoming, Arc::clone(table), asker, actor).await?;
    worker.desk.answer(request).await.map(shown)
}

/// What the API answers to whoever may ask it without a token.
pub async fn administer(
    admin: &Admin,
    table: Arc<Table>,
    request: hyper::Request<Incoming>,
    actor: Actor,
) -> Result<Response<Body>, Fault> {
    let (head, incoming) = request.into_parts();
    let request = asked(&head, &mut Some(incoming), table, Asker::Local, actor).await?;
    admin.answer(&request).await.map(shown)
}

/// The call, with its body if it takes one.
async fn asked(
    head: &Parts,
    incoming: &mut Option<Incoming>,
    table: Arc<Table>,
    asker: Asker,
    actor: Actor,
) -> Result<admin::Request, Fault> {
    let path = head.uri.path();
    let found = admin::find(&head.method, path).ok_or_else(admin::not_found)?;
    let takes = found.operation.body.is_some();
    let body = if takes { collect(incoming, admin::MAX_BODY).await? } else { Bytes::new() };
    let (method, path, query) = (head.method.clone(), path.to_owned(), head.uri.query().map(str::to_owned));
    Ok(admin::Request { method, path, query, body, table, asker, actor })
}

fn shown(answer: admin::Answer) -> Response<Body> {
    let mut response = json(answer.status, answer.body);
    if let Some(link) = answer.link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// Whether a token reaches what lies below `/auth`.
fn may_manage(caller: &Caller) -> Result<(), Fault> {
    not_disabled(caller)?;
    match (&caller.token.paste, caller.token.kind) {
        (None, TokenKind::Manage | TokenKind::Both) => Ok(()),
        _ => Err(Fault::new(
            Kind::TokenKind,
            "This token is for calls to providers: self-service takes one of the kind `manage` or `both`",
        )),
    }
}

/// Whether a token reaches any provider.
pub(super) fn may_proxy(caller: &Caller) -> Result<(), Fault> {
    not_disabled(caller)?;
    match caller.token.kind {
        TokenKind::Proxy | TokenKind::Both => Ok(()),
        TokenKind::Manage => Err(Fault::new(
            Kind::TokenKind,
            "This token is for self-service: calls to providers take one of the kind `proxy` or `both`",
        )),
    }
}

/// Whether a token reaches this endpoint.
pub(super) fn in_scope(caller: &Caller, hit: &Hit) -> Result<(), Fault> {
    let (provider, endpoint) = (&hit.provider.name, &hit.endpoint().name);
    let pasted = caller.token.paste.as_ref().is_none_or(|own| own == provider);
    let within = |scope: &Scope| scope.covers(provider, endpoint);
    let scoped = caller.token.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(within));
    if pasted && scoped {
        return Ok(());
    }
    Err(Fault::new(Kind::TokenScope, format!("This token does not reach `{provider}/{endpoint}`")))
}

fn not_disabled(caller: &Caller) -> Result<(), Fault> {
    if caller.disabled {
        return Err(Fault::new(
            Kind::UserDisabled,
            "This user is disabled: whoever runs this tollgate can say why",
        ));
    }
    Ok(())
}

/// How the process is.
fn well(worker: &Worker, table: &Table, call: Call) -> Response<Body> {
    if call == Call::Ready {
        let (status, word) = worker.ready.told(!table.providers.is_empty());
        return health(status, word);
    }
    health(StatusCode::OK, "ok")
}

fn health(status: StatusCode, word: &str) -> Response<Body> {
    json(status, format!(r#"{{"status":"{word}"}}"#))
}

fn below(path: &str, segment: &str) -> bool {
    path.strip_prefix(segment).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Which admin token it is.
async fn check_admin(
    InFlight { worker, table, head }: InFlight<'_>,
    visit: &Visit,
) -> Result<Arc<AdminTokenId>, Fault> {
    let token = crate::rewrite::token(head, table).ok_or_else(Fault::invalid_admin_token)?;
    match worker.accounts.authenticate_admin(&worker.cache, token.expose()).await {
        Ok(Some(admin)) => Ok(admin),
        Ok(None) => Err(wrong_token(worker, visit, Fault::invalid_admin_token()).await),
        Err(error) => Err(store_fault(&error, visit)),
    }
}

fn config_page() -> Response<Body> {
    let mut response = Response::new(Body::own(CONFIG_PAGE));
    let fixed = HeaderValue::from_static;
    let pairs: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (
            header::CONTENT_SECURITY_POLICY,
            fixed("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        ),
        (header::X_FRAME_OPTIONS, fixed("DENY")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
    ];
    response.headers_mut().extend(pairs);
    response
}
