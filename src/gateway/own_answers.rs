//! Responses of tollgate's own beside its API and its pages: the preflight of browsers, the health checks, the metrics.

use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{Body, InFlight, Worker, context::Audience, fault::json};
use crate::{
    decide::{ListenerRole, OwnAnswer},
    fault::Fault,
    metrics::Format,
    pages::{Area, PageResponse},
    table::Table,
};

pub(super) fn answer(own: OwnAnswer, request: InFlight<'_>) -> Response<Body> {
    let InFlight { worker, table, head, .. } = request;
    match own {
        OwnAnswer::Preflight => preflight(worker, table, head),
        OwnAnswer::Alive => health(StatusCode::OK, "ok"),
        OwnAnswer::Ready => {
            let (status, word) = worker.ready.status(!table.providers.is_empty());
            let mut response = health(status, word);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            response
        }
        OwnAnswer::FrontPage => front_page(worker.role),
    }
}

/// Leads a browser to the pages that the listener has.
fn front_page(role: ListenerRole) -> Response<Body> {
    let area = match role {
        ListenerRole::All | ListenerRole::Public => Area::Config,
        ListenerRole::Admin => Area::Console,
    };
    let (status, headers, _) = PageResponse::see_other(area.path()).into_body(false);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // An API client gets another answer here.
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn preflight(worker: &Worker, table: &Table, head: &Parts) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    // Pages of other origins may not use tollgate's own paths.
    if Audience::of(worker, head) == Audience::Preflight {
        *response.headers_mut() =
            table.cors.preflight(&head.headers, &worker.trusted_origins, &worker.page_readers);
    }
    response
}

fn health(status: StatusCode, word: &str) -> Response<Body> {
    json(status, format!(r#"{{"status":"{word}"}}"#))
}

/// All metrics, in the format that the client prefers.
pub(super) async fn metrics(InFlight { worker, head, .. }: InFlight<'_>) -> Result<Response<Body>, Fault> {
    let format = Format::accepted(&head.headers);
    let mut response = Response::new(Body::own(worker.metrics.scrape(format).await?));
    let fixed = HeaderValue::from_static;
    response.headers_mut().insert(header::CONTENT_TYPE, fixed(format.content_type()));
    response.headers_mut().insert(header::VARY, fixed("accept"));
    Ok(response)
}
