//! Responses of tollgate's own beside its API: the preflight of browsers, the health checks, the metrics, the page at
//! `/config`.

use http::{HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};

use super::{Body, InFlight, Worker, context::Audience, fault::json};
use crate::{decide::OwnAnswer, fault::Fault, metrics::Format, table::Table};

/// The page at `/config`: a placeholder until there is a real one.
const CONFIG_PAGE: &str = include_str!("config.html");

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
        OwnAnswer::ConfigPage => config_page(),
    }
}

fn preflight(worker: &Worker, table: &Table, head: &Parts) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    // Pages of other origins may not use tollgate's own paths.
    if Audience::of(worker, head) == Audience::Preflight {
        *response.headers_mut() = table.cors.preflight(&head.headers, &worker.trusted_origins);
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
