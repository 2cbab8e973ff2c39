//! The answer's head: the upstream's, less what concerns its own hop and origin, with tollgate's CORS.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::nominated;
use crate::{bind::ResponseRule, compile::safety, table::Hit};

/// What becomes of an upstream's answer.
#[derive(Debug)]
pub enum Answered<'h> {
    /// It goes on to the client under these headers.
    Relayed(HeaderMap),
    /// A rule of the provider's file replaces it.
    Replaced(&'h ResponseRule),
}

/// Rewrites the head of an answer. `trailers` says whether the client takes them.
pub fn answer(hit: &Hit, status: StatusCode, headers: HeaderMap, trailers: bool) -> Answered<'_> {
    if let Some(rule) = hit.endpoint().responses.iter().find(|rule| applies(rule, status, &headers)) {
        return Answered::Replaced(rule);
    }
    let mut kept = headers;
    for name in nominated(&kept) {
        kept.remove(name.as_str());
    }
    let stays: Vec<_> = kept.keys().filter(|name| safety::answer_stays(name.as_str())).cloned().collect();
    for name in stays {
        kept.remove(name);
    }
    if !trailers {
        kept.remove(header::TRAILER);
    }
    Answered::Relayed(kept)
}

fn applies(rule: &ResponseRule, status: StatusCode, headers: &HeaderMap) -> bool {
    let content_type =
        || headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    rule.status.is_none_or(|wanted| wanted == status.as_u16())
        && rule.content_type.as_ref().is_none_or(|glob| glob.matches(&content_type().to_ascii_lowercase()))
}

/// Sets the four CORS headers over any of the upstream's.
pub fn cors(headers: &mut HeaderMap, allow_headers: &HeaderValue) {
    let fixed = HeaderValue::from_static;
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed("GET, POST, PUT, DELETE, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allow_headers.clone());
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, fixed("86400"));
}
