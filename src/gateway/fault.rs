//! Turns a fault into a response: the one place that writes its status, headers and body.

use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{Body, context::RequestContext};
use crate::{
    bind::ResponseRule,
    compile::{Api, ErrorValues},
    fault::{Fault, FaultKind},
    table::{Hit, Table},
};

/// `Retry-After` of a reload that has not finished, in seconds.
const RELOAD_PAUSE_S: &str = "5";
/// `Retry-After` of the authentication rate limit, in seconds: by then every delayed refusal has been sent.
const ATTEMPTS_PAUSE_S: &str = "5";
/// `Retry-After` while too many DNS lookups are in flight, in seconds: name servers that hang cost each host one lookup.
const LOOKUPS_PAUSE_S: &str = "5";
/// `Retry-After` of an error of this machine, in seconds: requests that end free what it lacks.
const LOCAL_PAUSE_S: &str = "5";
/// `Retry-After` of admission control, in seconds: many short requests end meanwhile.
const OVERLOAD_PAUSE_S: &str = "5";
/// `Retry-After` of a user with too many API calls, in seconds: enough for one of them, unless the store is slow.
const CALLS_PAUSE_S: &str = "1";

/// The response for a fault, in the error shape of the endpoint that the request was for, if there is one.
pub(super) fn response(
    fault: &Fault,
    table: &Table,
    head: &Parts,
    context: &mut RequestContext,
) -> Response<Body> {
    context.set_fault(fault.kind);
    let path = head.uri.path();
    let hit = table.find_canonical(&head.method, path);
    let words = ErrorValues::of(fault, context.request_id());
    build(&words, hit.as_ref().and_then(|hit| hit.endpoint().api.as_deref()), fault.kind)
}

/// The response that a rule of the provider's file puts in place of the upstream's.
pub(super) fn reply(rule: &ResponseRule, hit: &Hit, request_id: &str) -> Response<Body> {
    let kind = FaultKind::ResponseRule;
    let fault = Fault::new(kind, rule.message.clone());
    let words = ErrorValues { status: rule.reply_status, ..ErrorValues::of(&fault, request_id) };
    build(&words, hit.endpoint().api.as_deref(), kind)
}

/// The response for a fault outside of a client's request, which has no request id.
pub fn refuse(fault: &Fault) -> Response<Body> {
    build(&ErrorValues::of(fault, ""), None, fault.kind)
}

fn build(words: &ErrorValues<'_>, api: Option<&Api>, kind: FaultKind) -> Response<Body> {
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
    // Client libraries retry by status alone; this stops them where a retry cannot help.
    if words.status.is_server_error() && !kind.retry_may_help() {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    let pause_s = match kind {
        FaultKind::ReloadUnfinished => Some(RELOAD_PAUSE_S),
        FaultKind::TooManyAttempts => Some(ATTEMPTS_PAUSE_S),
        FaultKind::TooManyCalls => Some(CALLS_PAUSE_S),
        FaultKind::UpstreamDnsBusy => Some(LOOKUPS_PAUSE_S),
        FaultKind::LocalError => Some(LOCAL_PAUSE_S),
        FaultKind::TokenConcurrency
        | FaultKind::UserConcurrency
        | FaultKind::TooManyConnections
        | FaultKind::Overloaded => Some(OVERLOAD_PAUSE_S),
        _ => None,
    };
    if let Some(pause_s) = pause_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(pause_s));
    }
    if kind == FaultKind::UpgradeRefused {
        // RFC 9110, section 15.5.22: a 426 names the protocol to use.
        headers.insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if kind == FaultKind::MalformedRequest {
        // Nobody can say where a malformed request ends, so that no other may follow on the connection.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A JSON response.
pub(super) fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::own(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
