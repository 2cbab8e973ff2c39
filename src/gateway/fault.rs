//! A fault becomes a response: the one place where a status, a body and headers are made of it.

use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{Body, visit::Visit};
use crate::{
    bind::ResponseRule,
    compile::{Api, FaultWords},
    fault::{Fault, Kind},
    table::{Hit, Table},
};

/// When a reload may be asked for again, in seconds.
const RELOAD_PAUSE_S: &str = "5";
/// When an answer that is held back has been given, at the latest, in seconds.
const ATTEMPTS_PAUSE_S: &str = "5";
/// When one of many calls of a user has been answered, unless the store is slow, in seconds.
const CALLS_PAUSE_S: &str = "1";

/// The response for a fault, in the error shape of the endpoint that the request was for, if there is one.
pub(super) fn response(fault: &Fault, table: &Table, head: &Parts, visit: &mut Visit) -> Response<Body> {
    visit.fault(fault.kind);
    let path = head.uri.path();
    let hit = table.find_canonical(&head.method, path);
    let words = FaultWords {
        status: fault.kind.status(),
        message: &fault.message,
        code: fault.kind.code(),
        request_id: visit.request_id(),
    };
    made(&words, hit.as_ref().and_then(|hit| hit.endpoint().api.as_deref()), fault.kind)
}

/// The response that a rule of the provider's file puts in the place of the upstream's.
pub(super) fn reply(rule: &ResponseRule, hit: &Hit, request_id: &str) -> Response<Body> {
    let kind = Kind::ResponseRule;
    let words =
        FaultWords { status: rule.reply_status, message: &rule.message, code: kind.code(), request_id };
    made(&words, hit.endpoint().api.as_deref(), kind)
}

/// The response for a fault where no request of a client is being answered.
pub fn refuse(fault: &Fault) -> Response<Body> {
    let (status, code) = (fault.kind.status(), fault.kind.code());
    made(&FaultWords { status, message: &fault.message, code, request_id: "" }, None, fault.kind)
}

fn made(words: &FaultWords<'_>, api: Option<&Api>, kind: Kind) -> Response<Body> {
    let mut response = json(words.status, words.body(api));
    let headers = response.headers_mut();
    // RFC 9209: it tells our own errors from relayed ones, which never carry it.
    let status = format!("tollgate; error={}; details=\"{}\"", kind.proxy_error(), kind.code());
    if let Ok(value) = HeaderValue::from_str(&status) {
        headers.insert("proxy-status", value);
    }
    // Where clients' libraries look for the id that an exception shows.
    if !words.request_id.is_empty()
        && let Ok(id) = HeaderValue::from_str(words.request_id)
    {
        headers.insert("x-request-id", id.clone());
        headers.insert("request-id", id);
    }
    // Clients' libraries retry by status alone, and in vain where the fault is not a passing one.
    if words.status.is_server_error() && !kind.retry_may_help() {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    let pause_s = match kind {
        Kind::ReloadUnfinished => Some(RELOAD_PAUSE_S),
        Kind::TooManyAttempts => Some(ATTEMPTS_PAUSE_S),
        Kind::TooManyCalls => Some(CALLS_PAUSE_S),
        _ => None,
    };
    if let Some(pause_s) = pause_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(pause_s));
    }
    if kind == Kind::UpgradeRefused {
        // RFC 9110, section 15.5.22: a 426 names what is spoken.
        headers.insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if kind == Kind::MalformedRequest {
        // Where such a request ends is not certain either: nothing after it is taken for another.
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
