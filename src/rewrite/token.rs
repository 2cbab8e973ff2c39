//! Where a client's gateway token stands in its request.

use http::{HeaderMap, header, request::Parts};

use super::query::value_of;
use crate::{secret::Secret, table::Table};

/// The token that the client presents, if there is one. `Authorization` goes before all else: a scheme that is
/// not `Bearer` is no token, also beside a good `x-api-key`. Only where both are absent or empty does a
/// provider's own `[caller]` count, below its prefix.
pub fn token(head: &Parts, table: &Table) -> Option<Secret> {
    if let Some(authorization) = filled(&head.headers, header::AUTHORIZATION.as_str()) {
        return authorization.strip_prefix("Bearer ").filter(|token| !token.is_empty()).map(Secret::new);
    }
    if let Some(key) = filled(&head.headers, "x-api-key") {
        return Some(Secret::new(key));
    }
    let own = table.carriers_at(head.uri.path())?;
    let header = own.headers.iter().find_map(|name| filled(&head.headers, name.as_str()));
    let query = || {
        own.query.iter().find_map(|name| value_of(head.uri.query(), name).filter(|value| !value.is_empty()))
    };
    header.map(Secret::new).or_else(|| query().map(Secret::new))
}

/// The header's value, unless it is absent or empty. One that is no text is no token either, but it is there.
fn filled<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = headers.get(name)?;
    let text = value.to_str().unwrap_or("\u{0}");
    (!text.is_empty()).then_some(text)
}
