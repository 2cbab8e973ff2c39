//! A request's way through a mock: settle what applies, read the body, wait, misbehave or answer. One
//! `Peer` stands for one connection. Nothing here depends on who asks or with what credential.

use std::{convert::Infallible, future::pending, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use hyper::{Request, body::Incoming};

use super::{
    answers::{SERVED, Shape},
    behaviour::{At, Behaviour, Ending, Field},
    body::{Body, Limit, stop},
    counts::{Counts, Guard},
    echo,
    receive::{BODY_MAX_BYTES, Received, Unread, look_into, receive},
    settled::Settled,
    wire::{Fate, Stop},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_VALUE: HeaderValue = HeaderValue::from_static("req_mock00000000000000000001");

/// One connection and what its requests share.
pub(super) struct Peer {
    pub(super) settled: Arc<Settled>,
    pub(super) counts: Arc<Counts>,
    /// The number of the connection, from 1.
    pub(super) number: u64,
    /// The TLS server name that the client asked for.
    pub(super) server_name: Option<String>,
    pub(super) fate: Fate,
}

/// What an answer says, before anything is made of how.
enum Content {
    Json(StatusCode, Bytes),
    Script(Shape, String),
}

/// Answers one request, unless it is told not to. It is counted here and not in the future, which hyper
/// drops unpolled when the client is gone already.
pub(super) fn answer(
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    let guard = peer.counts.request();
    attend(peer, request, guard)
}

async fn attend(
    peer: Arc<Peer>,
    request: Request<Incoming>,
    mut guard: Guard,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let settled = match peer.settled.for_request(&head) {
        Ok(settled) => settled,
        Err(why) => return Ok(refuse(StatusCode::BAD_REQUEST, &why, guard)),
    };
    let behaviour = settled.behaviour();
    let received = match receive(body, behaviour.echo).await {
        Ok(received) => received,
        Err(unread) => return Ok(refuse_body(&unread, guard)),
    };
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    if let Some(garbage) = &behaviour.garbage {
        peer.fate.decide(Stop::Garbage(garbage.clone()));
        guard.finish();
        return pending().await;
    }
    let limit = match behaviour.ending() {
        None => None,
        Some((At::Bytes(left), ending)) => Some(Limit { left, ending, fate: peer.fate.clone() }),
        Some((At::Head, ending)) => return never(ending, &peer.fate, guard).await,
    };
    let content = choose(&peer, behaviour, &head, &received);
    let response = assemble(&settled, content, limit, guard);
    let bodiless = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(if bodiless || head.method == Method::HEAD { response.map(Body::only_described) } else { response })
}

/// Never answers, in one way or another. The guard waits with it for the client to leave.
async fn never(ending: Ending, fate: &Fate, mut guard: Guard) -> Result<Response<Body>, Infallible> {
    stop(ending, fate, &mut guard);
    let answer = pending().await;
    drop(guard);
    answer
}

fn choose(peer: &Peer, behaviour: &Behaviour, head: &Parts, received: &Received) -> Content {
    let status = behaviour.status;
    if behaviour.echo {
        let connection = (peer.number, peer.server_name.as_deref());
        return Content::Json(status, echo::describe(head, received, connection, peer.counts.tally()));
    }
    if status.as_u16() >= 400 {
        return Content::Json(status, error(&format!("the mock was asked for status {}", status.as_u16())));
    }
    let (model, wants) = look_into(&received.kept);
    let shape = Shape::find(&head.method, head.uri.path(), wants);
    shape.map_or_else(|| not_found(head), |shape| Content::Script(shape, model))
}

fn not_found(head: &Parts) -> Content {
    let (method, path) = (&head.method, head.uri.path());
    let message =
        format!("no answer to {method} {path}; the mock serves {SERVED}, and everything with `x-mock-echo`");
    Content::Json(StatusCode::NOT_FOUND, error(&message))
}

fn assemble(settled: &Settled, content: Content, limit: Option<Limit>, guard: Guard) -> Response<Body> {
    let behaviour = settled.behaviour();
    let (status, kind, body) = match content {
        Content::Json(status, bytes) => (status, JSON, Body::whole(bytes, guard)),
        Content::Script(shape, model) if shape.is_stream() => {
            let events = settled.script(shape).events(&model);
            (behaviour.status, EVENT_STREAM, Body::stream(events, behaviour.interval, guard))
        }
        Content::Script(shape, model) => {
            (behaviour.status, JSON, Body::whole(settled.script(shape).unary(&model), guard))
        }
    };
    let body = body.stopping(limit).ending_with(trailers(&behaviour.trailers));
    let mut response = respond(status, kind, body);
    add_fields(response.headers_mut(), behaviour);
    response
}

fn respond(status: StatusCode, kind: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(REQUEST_ID, REQUEST_ID_VALUE);
    response
}

/// Adds the fields asked for; one for the content type replaces the mock's own.
fn add_fields(headers: &mut HeaderMap, behaviour: &Behaviour) {
    for Field { name, value } in &behaviour.header {
        if *name == header::CONTENT_TYPE {
            headers.insert(name, value.clone());
        } else {
            headers.append(name, value.clone());
        }
    }
    for Field { name, value: _ } in &behaviour.trailers {
        let name = HeaderValue::from_bytes(name.as_ref()).expect("a header name is a valid header value");
        headers.append(header::TRAILER, name);
    }
}

fn trailers(fields: &[Field]) -> Option<Box<HeaderMap>> {
    let pairs = fields.iter().map(|field| (field.name.clone(), field.value.clone()));
    (!fields.is_empty()).then(|| Box::new(pairs.collect()))
}

fn refuse(status: StatusCode, why: &str, guard: Guard) -> Response<Body> {
    respond(status, JSON, Body::whole(error(why), guard))
}

fn refuse_body(unread: &Unread, guard: Guard) -> Response<Body> {
    match unread {
        Unread::TooLarge => {
            let why = format!("the body is larger than {BODY_MAX_BYTES} bytes");
            refuse(StatusCode::PAYLOAD_TOO_LARGE, &why, guard)
        }
        Unread::Broken(error) => refuse(StatusCode::BAD_REQUEST, &format!("read the body: {error}"), guard),
    }
}

/// An error body that fits both shapes that clients know.
fn error(message: &str) -> Bytes {
    let error = serde_json::json!({
        "type": "error",
        "error": { "type": "mock_error", "message": message, "code": "mock_error", "param": null },
    });
    error.to_string().into()
}
