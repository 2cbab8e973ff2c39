//! Pages over HTTP: finds the session, takes the form, and lets `pages` render. A refusal is a page, too.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use hyper::body::Incoming;
use serde_json::Value;

use super::{
    Body, InFlight, Worker, body::collect, context::RequestContext, probe,
    session::PageRequest as SessionRequest,
};
use crate::{
    admin::{self, Principal, ProbeTarget, SignedIn},
    decide::{ApiCall, PageOrigin, SessionCookie},
    fault::{Fault, FaultKind},
    pages::{self, Area, PageRequest, PageResponse, PageRoute, SignInProblem},
    rewrite::TokenPart,
    secret::Secret,
};

/// The largest sign-in form. It is read before anybody is known.
const MAX_SIGN_IN: usize = 4096;
/// The fields of the sign-in form: the token, and the page that was asked for.
const TOKEN: &str = "token";
const THEN: &str = "then";

/// Answers a request for a page.
pub(super) async fn answer(
    request: InFlight<'_>,
    incoming: &mut Option<Incoming>,
    cookie: SessionCookie,
    context: &mut RequestContext,
) -> Response<Body> {
    let head = request.head;
    let (area, path) = Area::of(head.uri.path()).expect("decide takes no other path for a page");
    let answered = match path.strip_prefix("/assets/").and_then(|rest| rest.split_once('/')) {
        Some((hash, name)) => Ok(pages::asset(hash, name).unwrap_or_else(|| pages::not_found(area))),
        None => page(request, incoming, cookie, (area, if path == "/" { "" } else { path }), context).await,
    };
    let page = answered.unwrap_or_else(|fault| {
        context.set_fault(fault.kind);
        pages::problem(area, &fault)
    });
    respond(page, &head.headers)
}

async fn page(
    request: InFlight<'_>,
    incoming: &mut Option<Incoming>,
    cookie: SessionCookie,
    (area, path): (Area, &str),
    context: &mut RequestContext,
) -> Result<PageResponse, Fault> {
    let InFlight { worker, table, head, .. } = request;
    let (client, request_id, site) = (context.client(), context.request_id(), request.site());
    let session = SessionRequest { head, table, client, request_id, cookie, site };
    match (&head.method, path) {
        (&Method::POST, "/sign-in") => {
            PageOrigin::of(&head.headers, site).check()?;
            let form = read_form(incoming, MAX_SIGN_IN, context).await?;
            let text = |field: &str| form_urlencoded::parse(&form).find(|(name, _)| name == field);
            let token = text(TOKEN).map_or_else(String::new, |(_, token)| token.trim().to_owned());
            let then = text(THEN).map_or_else(String::new, |(_, then)| then.into_owned());
            let token = Secret::new(token);
            match worker.sign_in(session, &token).await {
                Ok(cookies) => Ok(with_cookies(PageResponse::see_other(area.within(&then)), cookies)),
                Err(fault) => {
                    let problem = refused_sign_in(fault, session, &token, worker).await;
                    Ok(pages::sign_in(area, &then, Some(&problem)))
                }
            }
        }
        (&Method::POST, "/sign-out") => {
            let cookies = worker.sign_out(session).await?;
            Ok(with_cookies(PageResponse::see_other(area.path()), cookies))
        }
        (method, _) => {
            let Some(signed_in) = worker.signed_in(session).await? else {
                let asked = head.uri.path_and_query().map_or(area.path(), |path| path.as_str());
                return Ok(match *method {
                    Method::POST => pages::sign_in(area, "", Some(&SignInProblem::Ended)),
                    _ => pages::sign_in(area, asked, None),
                });
            };
            let Some(route) = pages::find(area, method, path) else { return Ok(pages::not_found(area)) };
            let form = match *method {
                Method::POST => read_form(incoming, route.max_form(&request.table.fields), context).await,
                _ => Ok(Bytes::new()),
            };
            let form = form.inspect_err(|fault| context.set_fault(fault.kind));
            Ok(show(request, signed_in, &route, form).await)
        }
    }
}

/// The reason why a token signs nobody in: perhaps it is for the other pages.
async fn refused_sign_in(
    fault: Fault,
    session: SessionRequest<'_>,
    token: &Secret,
    worker: &Worker,
) -> SignInProblem {
    let is_unknown = [FaultKind::InvalidToken, FaultKind::InvalidAdminToken].contains(&fault.kind);
    if !is_unknown || !worker.is_of_other_pages(session.cookie, token).await {
        return SignInProblem::Refused(fault);
    }
    SignInProblem::Elsewhere(match session.cookie {
        SessionCookie::User => Area::Console,
        SessionCookie::Admin => Area::Config,
    })
}

async fn read_form(
    incoming: &mut Option<Incoming>,
    max: usize,
    context: &RequestContext,
) -> Result<Bytes, Fault> {
    let form = collect(incoming, max).await?;
    context.connection().reads().add_frame(form.len());
    Ok(form)
}

async fn show(
    request: InFlight<'_>,
    signed_in: SignedIn,
    route: &PageRoute,
    form: Result<Bytes, Fault>,
) -> PageResponse {
    let head = request.head;
    let (who, user) = match &signed_in.principal {
        Principal::User(caller) => (caller.name.clone(), Some(caller.id.to_string())),
        Principal::Admin | Principal::Local => ("admin".to_owned(), None),
    };
    let public_url = public_url(request);
    let page = PageRequest {
        query: head.uri.query(),
        form,
        public_url: &public_url,
        clients: &request.table.clients,
        who: &who,
        user: user.as_deref(),
    };
    pages::answer(route, &page, &SessionApi { request, signed_in }).await
}

/// The address at which people reach tollgate: that of the settings, or else the one that the browser asked for.
fn public_url(InFlight { worker, head, .. }: InFlight<'_>) -> String {
    if let Some(origin) = &worker.public_url {
        return origin.to_string();
    }
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_tls = [SessionCookie::User, SessionCookie::Admin]
        .into_iter()
        .flat_map(|cookie| cookie.all(&head.headers))
        .any(|(name, _)| name.starts_with("__Host-"));
    format!("{}://{host}", if is_tls || worker.is_tls { "https" } else { "http" })
}

/// Calls the API in the name of a session.
struct SessionApi<'s> {
    request: InFlight<'s>,
    signed_in: SignedIn,
}

impl pages::Api for SessionApi<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<admin::Response, Fault> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let SignedIn { principal, actor } = self.signed_in.clone();
        let InFlight { worker, table, .. } = self.request;
        let call = admin::Request {
            method,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            body,
            table: Arc::clone(table),
            principal,
            actor,
            sessions: Vec::new(),
        };
        match ProbeTarget::of(&call)? {
            // Boxed, since it is rare: other calls should not carry its state.
            Some(target) => {
                let authorized = ApiCall::of_page(&target.caller.facts(TokenPart::Whole))?;
                Box::pin(probe::send(self.request, &authorized, &target)).await
            }
            None => worker.api_queue.call(call).await,
        }
    }
}

fn with_cookies(mut page: PageResponse, cookies: Vec<HeaderValue>) -> PageResponse {
    for cookie in cookies {
        page.headers.append(header::SET_COOKIE, cookie);
    }
    page
}

fn respond(page: PageResponse, asked: &HeaderMap) -> Response<Body> {
    let (status, headers, body) = page.into_body(takes_gzip(asked));
    let mut response = Response::new(if body.is_empty() { Body::empty() } else { Body::own(body) });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// True if `Accept-Encoding` names gzip, and not with the weight 0 (RFC 9110, section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_if_it_is_asked_for() {
        for (line, expected) in [
            ("", false),
            ("br", false),
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, br", false),
            ("x-gzip-like", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(line))]);
            assert_eq!(takes_gzip(&headers), expected, "{line}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
