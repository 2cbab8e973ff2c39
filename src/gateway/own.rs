//! What tollgate answers itself, below its reserved first segments, and the browsers' preflight.

use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{Body, Worker, authenticate, fault::json, store_fault, visit::Visit};
use crate::{
    admin::Admin,
    compile::RESERVED,
    fault::{Fault, Kind},
};

/// The page at `/config`, until there is one that does it all.
const CONFIG_PAGE: &str = include_str!("config.html");

/// `OPTIONS`, on any path, without a token.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Whether a path lies below one of tollgate's own first segments.
pub(super) fn is_reserved(path: &str) -> bool {
    let first = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
    RESERVED.contains(&first)
}

/// The answer, if the path is tollgate's own.
pub(super) async fn answer(
    worker: &Worker,
    head: &Parts,
    visit: &Visit,
) -> Result<Option<Response<Body>>, Fault> {
    let path = head.uri.path();
    match (&head.method, path) {
        (&Method::GET | &Method::HEAD, "/health" | "/livez") => Ok(Some(health(StatusCode::OK, "ok"))),
        (&Method::GET | &Method::HEAD, "/readyz") => {
            let serves = !worker.live.current().providers.is_empty();
            let (status, word) = worker.ready.told(serves);
            Ok(Some(health(status, word)))
        }
        (&Method::GET, "/config") => Ok(Some(config_page())),
        _ if below(path, "/admin") => {
            check_admin(worker, head, visit).await?;
            administer(&worker.admin, &head.method, path).await.map(Some)
        }
        _ if below(path, "/auth") => {
            authenticate(worker, head, visit).await?;
            Err(Fault::new(Kind::NotFound, "Not found"))
        }
        _ => Ok(None),
    }
}

/// What the admin API answers to whoever may ask it.
pub async fn administer(admin: &Admin, method: &Method, path: &str) -> Result<Response<Body>, Fault> {
    admin.answer(method, path).await.map(|answer| json(answer.status, answer.body))
}

fn health(status: StatusCode, word: &str) -> Response<Body> {
    json(status, format!(r#"{{"status":"{word}"}}"#))
}

pub(super) fn below(path: &str, segment: &str) -> bool {
    path.strip_prefix(segment).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn check_admin(worker: &Worker, head: &Parts, visit: &Visit) -> Result<(), Fault> {
    let refused = || Fault::new(Kind::InvalidAdminToken, "Invalid or missing admin credentials");
    let token = crate::rewrite::token(head, &worker.live.current()).ok_or_else(refused)?;
    match worker.accounts.authenticate_admin(&worker.cache, token.expose()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(refused()),
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
