//! Turns a fault into a response: the one place that writes its status, headers and body.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{
    Body,
    context::{LIMIT, RequestContext},
    limits,
};
use crate::{
    bind::ResponseRule,
    compile::{Api, ErrorValues},
    fault::{Fault, FaultKind, LimitRefusal},
    table::{Hit, Table},
    websocket,
};

/// `Retry-After`, in seconds: by then many short requests have ended and freed what was lacking, delayed refusals of wrong
/// tokens have been sent, and a store that was busy responds.
const PAUSE_S: &str = "5";
/// `Retry-After` of a user with too many API calls, in seconds: enough for one of them, unless the store is slow.
const CALLS_PAUSE_S: &str = "1";
/// The challenge of a 401. Browsers show no dialog for this scheme.
const CHALLENGE: &str = "Bearer realm=\"tollgate\"";

/// The response for a fault, in the error shape of the API that the request was for, as far as that is known.
pub(super) fn response(
    fault: &Fault,
    table: &Table,
    head: &Parts,
    context: &mut RequestContext,
) -> Response<Body> {
    context.set_fault(fault.kind);
    context.hide_token(head, table);
    let words = ErrorValues::of(fault, context.request_id());
    let mut response = build(&words, table.error_format(head).as_deref(), fault.kind, None);
    if let Some(refusal) = &fault.limit {
        context.set_limit(&refusal.id);
        name_limit(refusal, response.headers_mut());
    }
    response
}

/// Says which limit refuses a request, and when another try is worth it (RFC 6585, section 4).
fn name_limit(refusal: &LimitRefusal, headers: &mut HeaderMap) {
    if let Ok(id) = HeaderValue::from_str(refusal.id.as_str()) {
        headers.insert(LIMIT, id);
    }
    match refusal.retry_after_s {
        Some(seconds) => drop(headers.insert(header::RETRY_AFTER, seconds.into())),
        None => drop(headers.remove(header::RETRY_AFTER)),
    }
    if limits::is_final(refusal) {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
}

/// The response that a rule of the provider's file puts in place of the upstream's.
pub(super) fn reply(rule: &ResponseRule, hit: &Hit, request_id: &str) -> Response<Body> {
    let kind = FaultKind::ResponseRule;
    let fault = Fault::new(kind, rule.message.clone());
    let words = ErrorValues { status: rule.reply_status, ..ErrorValues::of(&fault, request_id) };
    build(&words, hit.endpoint().api.as_deref(), kind, Some(&hit.endpoint().method))
}

/// The response for a fault outside of a client's request, which has no request id.
pub fn refuse(fault: &Fault) -> Response<Body> {
    build(&ErrorValues::of(fault, ""), None, fault.kind, None)
}

fn build(
    words: &ErrorValues<'_>,
    api: Option<&Api>,
    kind: FaultKind,
    allowed: Option<&Method>,
) -> Response<Body> {
    let mut response = json(words.status, words.body(api));
    let headers = response.headers_mut();
    // RFC 9209: marks our own errors; relayed ones never carry this.
    let status = format!("tollgate; error={}; details=\"{}\"", kind.proxy_error(), kind.code());
    if let Ok(value) = HeaderValue::from_str(&status) {
        headers.insert("proxy-status", value);
    }
    // Client libraries show these ids in their exceptions.
    if !words.request_id.is_empty()
        && let Ok(id) = HeaderValue::from_str(words.request_id)
    {
        headers.insert("x-request-id", id.clone());
        headers.insert("request-id", id);
    }
    // Client libraries and agents retry by status, some also after a 401; this stops them where a retry cannot help.
    if kind.is_final(words.status) {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    add_required(headers, words.status, kind, allowed);
    if matches!(kind, FaultKind::MalformedRequest | FaultKind::BodyTimeout) {
        // Nobody can say where such a request ends, so that no other may follow on the connection.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The headers that RFC 9110 requires of a response with this status. `allowed`: the method that the target takes.
fn add_required(headers: &mut HeaderMap, status: StatusCode, kind: FaultKind, allowed: Option<&Method>) {
    let mut add = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    match status {
        // Section 15.5.2.
        StatusCode::UNAUTHORIZED => add(header::WWW_AUTHENTICATE, CHALLENGE),
        // Section 15.5.8.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => add(header::PROXY_AUTHENTICATE, CHALLENGE),
        // Section 15.5.22: it names the protocol to use; section 7.8: `Connection` names that header.
        StatusCode::UPGRADE_REQUIRED => {
            let is_websocket = matches!(kind, FaultKind::UpgradeRequired | FaultKind::WebsocketVersion);
            add(header::UPGRADE, if is_websocket { "websocket" } else { "HTTP/1.1" });
            add(header::CONNECTION, "upgrade");
            // RFC 6455, section 4.2.2.
            if kind == FaultKind::WebsocketVersion {
                add(header::SEC_WEBSOCKET_VERSION, websocket::VERSION);
            }
        }
        // Section 15.6.4, and RFC 6585, section 4. There is no time to name where a retry cannot help.
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if !kind.is_final(status) => {
            add(header::RETRY_AFTER, if kind == FaultKind::TooManyCalls { CALLS_PAUSE_S } else { PAUSE_S });
        }
        // Section 15.5.6. Only a rule of a file makes such a response.
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = allowed.map_or("", Method::as_str);
            headers.extend(HeaderValue::from_str(allowed).ok().map(|value| (header::ALLOW, value)));
        }
        _ => {}
    }
}

/// A JSON response.
pub(super) fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::own(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
