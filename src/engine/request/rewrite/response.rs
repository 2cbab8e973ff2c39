//! The response's head: the upstream's without its hop-by-hop and origin-bound headers.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{is_nominated, proxy_status};
use crate::{
    language::{bind::ResponseRule, compile::safety},
    request::table::Hit,
};

const PROXY_STATUS: &str = "proxy-status";

/// A rewritten response.
#[derive(Debug)]
pub enum RewrittenResponse<'h> {
    /// It is relayed to the client with these headers.
    Relayed(HeaderMap),
    /// A rule of the provider's file replaces it.
    Replaced(&'h ResponseRule),
}

/// Rewrites the head of a response. `trailers`: the client accepts them.
pub fn response(hit: &Hit, status: StatusCode, headers: HeaderMap, trailers: bool) -> RewrittenResponse<'_> {
    if let Some(rule) = hit.endpoint().responses.iter().find(|rule| applies(rule, status, &headers)) {
        return RewrittenResponse::Replaced(rule);
    }
    let mut kept = headers;
    strip(&mut kept);
    if !trailers {
        kept.remove(header::TRAILER);
    }
    RewrittenResponse::Relayed(kept)
}

/// The head of the answer that switches to WebSocket. The upstream's answer to the client's key passes; what belongs to requests
/// does not (RFC 6455, sections 11.3.1 and 11.3.5).
pub fn switched(headers: HeaderMap) -> HeaderMap {
    let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT).cloned();
    let mut kept = headers;
    strip(&mut kept);
    for name in [header::TRAILER, header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_VERSION] {
        kept.remove(name);
    }
    // Also if the upstream's `Connection` names it.
    if let Some(accept) = accept {
        kept.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    kept.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    kept.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    kept
}

/// Removes hop-by-hop headers and those of tollgate's own origin.
fn strip(kept: &mut HeaderMap) {
    let nominates = kept.contains_key(header::CONNECTION);
    let is_removed = |name: &&HeaderName| {
        let name = name.as_str();
        safety::is_removed_from_response(name) || nominates && is_nominated(kept, name)
    };
    let names: Vec<HeaderName> = kept.keys().filter(is_removed).cloned().collect();
    for name in names {
        kept.remove(name);
    }
    // RFC 9209: other proxies' members pass. One that claims to be tollgate's does not: clients rely on ours.
    if kept.get_all(PROXY_STATUS).iter().any(|value| proxy_status::may_name_us(value.as_bytes())) {
        kept.remove(PROXY_STATUS);
    }
}

/// The trailers of a response, without the headers that are removed from its head, and without those that are allowed in
/// a head only (RFC 9110, section 6.5.1).
pub fn trailers(sent: &HeaderMap) -> HeaderMap {
    let unfit = |name: &HeaderName| {
        let name = name.as_str();
        safety::is_removed_from_response(name) || FOR_HEADS.contains(&name)
    };
    let mut kept = HeaderMap::with_capacity(sent.len());
    for name in sent.keys().filter(|name| !unfit(name)) {
        let spoofs =
            |value: &&HeaderValue| name == PROXY_STATUS && proxy_status::may_name_us(value.as_bytes());
        for value in sent.get_all(name).iter().filter(|value| !spoofs(value)) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Fields that frame, route or authenticate a message.
const FOR_HEADS: &[&str] = &[
    "content-length",
    "content-encoding",
    "content-type",
    "content-range",
    "trailer",
    "host",
    "authorization",
    "tollgate-request-id",
];

fn applies(rule: &ResponseRule, status: StatusCode, headers: &HeaderMap) -> bool {
    let content_type =
        || headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    rule.status.is_none_or(|wanted| wanted == status.as_u16())
        && rule.content_type.as_ref().is_none_or(|glob| glob.matches(&content_type().to_ascii_lowercase()))
}
