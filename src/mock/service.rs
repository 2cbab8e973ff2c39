//! The steps of a request: apply its overrides, read the body, delay, inject a fault or respond.
//!
//! No response depends on the client or its credential.

use std::{convert::Infallible, future::pending, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use hyper::{Request, body::Incoming, upgrade::OnUpgrade};
use serde_json::Value;
use tokio_util::task::TaskTracker;

use super::{
    abort::{Abort, AbortHandle},
    answers::{Asked, Call, Events, Made, ResponseOptions, Served, Shape, list, made, model_of},
    behaviour::{At, Behaviour, Ending, Field},
    body::{Body, Limit, stop},
    counts::{Counts, Guard},
    echo,
    receive::{BODY_MAX_BYTES, ReadError, Received, parse_body, receive},
    rendered::Rendered,
    websocket,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_VALUE: HeaderValue = HeaderValue::from_static("req_mock00000000000000000001");

/// State that the requests of one connection share.
pub(super) struct Connection {
    pub(super) rendered: Arc<Rendered>,
    pub(super) counts: Arc<Counts>,
    /// The number of the connection, from 1.
    pub(super) number: u64,
    /// The TLS server name (SNI) that the client sent.
    pub(super) server_name: Option<String>,
    pub(super) abort: AbortHandle,
    /// The tasks of its WebSocket.
    pub(super) upgraded: TaskTracker,
}

/// The content of a response, before framing.
enum Content {
    Json(StatusCode, Bytes),
    Script(Shape, String),
    Events(Box<Events>),
    Other(&'static str, Bytes),
}

/// Handles one request. It is counted here, not in the future: hyper drops the future unpolled if the client has
/// disconnected.
pub(super) fn answer(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    let guard = connection.counts.request();
    handle(connection, request, guard)
}

async fn handle(
    connection: Arc<Connection>,
    request: Request<Incoming>,
    mut guard: Guard,
) -> Result<Response<Body>, Infallible> {
    let (mut head, body) = request.into_parts();
    let rendered = match connection.rendered.for_request(&head) {
        Ok(rendered) => rendered,
        Err(why) => return Ok(refuse(StatusCode::BAD_REQUEST, &why, guard)),
    };
    let behaviour = rendered.behaviour();
    let received = match receive(body, behaviour.echo).await {
        Ok(received) => received,
        Err(error) => return Ok(refuse_body(&error, guard)),
    };
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    if let Some(garbage) = &behaviour.garbage {
        connection.abort.set(Abort::Garbage(garbage.clone()));
        guard.finish();
        return pending().await;
    }
    let limit = match behaviour.ending() {
        None => None,
        Some((At::Bytes(left), ending)) => Some(Limit { left, ending, abort: connection.abort.clone() }),
        Some((At::Head, ending)) => return end_before_head(ending, &connection.abort, guard).await,
    };
    if behaviour.status == StatusCode::OK
        && !behaviour.echo
        && websocket::is_asked(&head)
        && let Some(upgrade) = head.extensions.remove::<OnUpgrade>()
    {
        connection.upgraded.spawn(websocket::echo(upgrade));
        return Ok(websocket::switching(&head, guard));
    }
    let content = choose(&connection, behaviour, &head, &received);
    let response = assemble(&rendered, content, limit, guard);
    let bodiless = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(if bodiless || head.method == Method::HEAD { response.map(Body::head_only) } else { response })
}

/// Sends no response head. The guard is held until the client disconnects.
async fn end_before_head(
    ending: Ending,
    abort: &AbortHandle,
    mut guard: Guard,
) -> Result<Response<Body>, Infallible> {
    stop(ending, abort, &mut guard);
    let answer = pending().await;
    drop(guard);
    answer
}

fn choose(connection: &Connection, behaviour: &Behaviour, head: &Parts, received: &Received) -> Content {
    let status = behaviour.status;
    if behaviour.echo {
        let (number, name) = (connection.number, connection.server_name.as_deref());
        return Content::Json(
            status,
            echo::describe(head, received, (number, name), connection.counts.snapshot()),
        );
    }
    if status.as_u16() >= 400 {
        return Content::Json(status, error(&format!("this request set status {}", status.as_u16())));
    }
    let path = head.uri.path();
    let Some(served) = Served::find(&head.method, path) else { return not_found(head) };
    let (mut model, mut options) = parse_body(&received.kept);
    if served.has_model_in_path() {
        model = Value::from(model_of(path)).to_string();
        options.stream = head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    }
    match served.shape(options) {
        Some(_)
            if options.tools
                && let Some(call) = call((served, options, status), &model, received) =>
        {
            call
        }
        Some(shape) => Content::Script(shape, model),
        None => make(served, path, status, received),
    }
}

/// The call of a tool, if the request gets one.
fn call(
    (served, options, status): (Served, ResponseOptions, StatusCode),
    model: &str,
    received: &Received,
) -> Option<Content> {
    let body: Value = serde_json::from_slice(&received.kept).ok()?;
    let call = Call::wanted(served, &body)?;
    let model: Value = serde_json::from_str(model).unwrap_or_default();
    let whole = |value: &Value| Some(Content::Json(status, value.to_string().into()));
    match served {
        Served::GenerateStream if !options.stream => whole(&Value::from(vec![call.unary(served, &model)])),
        Served::GenerateStream => Some(stream(call.stream(served, &model, options.usage))),
        Served::Chat | Served::ChatV2 | Served::Messages | Served::Responses if options.stream => {
            Some(stream(call.stream(served, &model, options.usage)))
        }
        Served::Chat | Served::ChatV2 | Served::Messages | Served::Responses | Served::Generate => {
            whole(&call.unary(served, &model))
        }
        _ => None,
    }
}

fn stream(text: String) -> Content {
    Content::Events(Box::new(Events::whole(text)))
}

/// A response that has no shape.
fn make(served: Served, path: &str, status: StatusCode, received: &Received) -> Content {
    let json: Value = serde_json::from_slice(&received.kept).unwrap_or_default();
    let asked = Asked { path, json: &json, body: &received.kept, length: received.length };
    match made(served, asked) {
        Made::Json(value) => Content::Json(status, value.to_string().into()),
        Made::Other(kind, bytes) => Content::Other(kind, bytes),
    }
}

fn not_found(head: &Parts) -> Content {
    let (method, path) = (&head.method, head.uri.path());
    let message = format!(
        "no response for {method} {path}; the mock serves {}, and everything with `x-mock-echo`",
        list()
    );
    Content::Json(StatusCode::NOT_FOUND, error(&message))
}

fn assemble(rendered: &Rendered, content: Content, limit: Option<Limit>, guard: Guard) -> Response<Body> {
    let behaviour = rendered.behaviour();
    let (status, kind, body) = match content {
        Content::Json(status, bytes) => (status, JSON, Body::whole(bytes, guard)),
        Content::Script(shape, model) if shape.is_stream() => {
            let events = rendered.script(shape).events(&model);
            let kind = if shape.has_events() { EVENT_STREAM } else { JSON };
            (behaviour.status, kind, Body::stream(events, behaviour.interval, guard))
        }
        Content::Events(events) => {
            (behaviour.status, EVENT_STREAM, Body::stream(*events, behaviour.interval, guard))
        }
        Content::Other(kind, bytes) => {
            (behaviour.status, HeaderValue::from_static(kind), Body::whole(bytes, guard))
        }
        Content::Script(shape, model) => {
            (behaviour.status, JSON, Body::whole(rendered.script(shape).unary(&model), guard))
        }
    };
    let body = body.truncated_at(limit).with_trailers(trailers(&behaviour.trailers));
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

/// Adds the configured headers and announces trailers. A `content-type` replaces the mock's own.
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

fn refuse_body(error: &ReadError, guard: Guard) -> Response<Body> {
    match error {
        ReadError::TooLarge => {
            let why = format!("the body is larger than {BODY_MAX_BYTES} bytes");
            refuse(StatusCode::PAYLOAD_TOO_LARGE, &why, guard)
        }
        ReadError::Broken(cause) => {
            refuse(StatusCode::BAD_REQUEST, &format!("read the body: {cause}"), guard)
        }
    }
}

/// An error body that is valid in both common error formats.
fn error(message: &str) -> Bytes {
    let error = serde_json::json!({
        "type": "error",
        "error": { "type": "mock_error", "message": message, "code": "mock_error", "param": null },
    });
    error.to_string().into()
}
