//! tollgate's own API over HTTP: a call is handed to the control runtime, and its answer becomes a response.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use hyper::body::Incoming;

use super::{Body, InFlight, body::collect, fault::json, probe, session};
use crate::{
    accounts::Actor,
    admin::{self, Admin, Principal, ProbeTarget},
    admission::ClientConnection,
    decide::{ApiCall, SessionCookie},
    fault::Fault,
    table::Table,
};

/// Answers a call that its caller may make.
pub(super) async fn call(
    call: InFlight<'_>,
    incoming: &mut Option<Incoming>,
    authorized: ApiCall,
    principal: Principal,
    actor: Actor,
    connection: &ClientConnection,
) -> Result<Response<Body>, Fault> {
    let InFlight { head, .. } = call;
    let cookie = match &principal {
        Principal::User(_) => SessionCookie::User,
        Principal::Local | Principal::Admin => SessionCookie::Admin,
    };
    let request = read(head, incoming, Arc::clone(call.table), principal, actor).await?;
    let request = admin::Request { sessions: session::hashes(cookie, &head.headers), ..request };
    connection.reads().add_frame(request.body.len());
    let mut answer = answer(call, &authorized, request).await?;
    let change = answer.session.take();
    let mut response = response(answer);
    let cookies = change.map(|change| session::set_cookies(&change, cookie, &head.headers, call.site()));
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Answers a call: a probe here, since it is sent as a client's request is; all others on the control runtime.
async fn answer(
    call: InFlight<'_>,
    authorized: &ApiCall,
    request: admin::Request,
) -> Result<admin::Response, Fault> {
    match ProbeTarget::of(&request)? {
        // Boxed, since it is rare: other requests should not carry its state.
        Some(target) => Box::pin(probe::send(call, authorized, &target)).await,
        None => call.worker.api_queue.call(request).await,
    }
}

/// Answers a call that needs no token: it came over the control socket.
pub async fn administer(
    admin: &Admin,
    table: Arc<Table>,
    request: hyper::Request<Incoming>,
    actor: Actor,
) -> Result<Response<Body>, Fault> {
    let (head, incoming) = request.into_parts();
    let request = read(&head, &mut Some(incoming), table, Principal::Local, actor).await?;
    admin.handle(&request).await.map(response)
}

/// The call, with its body if it takes one.
async fn read(
    head: &Parts,
    incoming: &mut Option<Incoming>,
    table: Arc<Table>,
    principal: Principal,
    actor: Actor,
) -> Result<admin::Request, Fault> {
    let path = head.uri.path();
    let found = admin::find(&head.method, path).ok_or_else(admin::not_found)?;
    let body = match &found.operation.body {
        Some(body) => collect(incoming, body.max_bytes).await?,
        None => Bytes::new(),
    };
    let (method, path, query) = (head.method.clone(), path.to_owned(), head.uri.query().map(str::to_owned));
    Ok(admin::Request { method, path, query, body, table, principal, actor, sessions: Vec::new() })
}

fn response(answer: admin::Response) -> Response<Body> {
    let mut response = json(answer.status, answer.body);
    // Browsers reach the API with the cookie of a session, and must not take an answer for a page or a script.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if answer.csv {
        let csv = HeaderValue::from_static("text/csv; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, csv);
    }
    if let Some(link) = answer.link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}
