//! Finds the client's gateway token in its request.

use http::{HeaderMap, HeaderName, header, request::Parts};

use super::query::value_of;
use crate::{base::secret::Secret, request::table::Table};

/// The token that the client presents. `Authorization` has priority: a scheme other than `Bearer` is no token, even beside
/// a good `x-api-key`. If both are absent or empty, the provider's `[caller]` counts, below its prefix.
pub fn token(head: &Parts, table: &Table) -> Option<Secret> {
    token_at(head, table).map(|(token, _)| token)
}

/// The place of a token in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLocation<'t> {
    /// In the header of this name.
    Header(&'t str),
    /// In the query parameter of this name.
    Query(&'t str),
}

/// The token, and its place.
pub fn token_at<'t>(head: &Parts, table: &'t Table) -> Option<(Secret, TokenLocation<'t>)> {
    let in_header = |name: &'t str| move |token| (token, TokenLocation::Header(name));
    match one(&head.headers, header::AUTHORIZATION.as_str()) {
        Given::Text(text) => {
            return text.strip_prefix("Bearer ").and_then(word).map(in_header("authorization"));
        }
        Given::Unclear => return None,
        Given::Nothing => {}
    }
    match one(&head.headers, "x-api-key") {
        Given::Text(text) => return word(text).map(in_header("x-api-key")),
        Given::Unclear => return None,
        Given::Nothing => {}
    }
    let header = |name: &'t HeaderName| match one(&head.headers, name.as_str()) {
        Given::Text(text) => word(text).map(in_header(name.as_str())),
        Given::Unclear | Given::Nothing => None,
    };
    let own = table.token_locations_at(head.uri.path())?;
    let query = |name: &'t String| {
        let token = value_of(head.uri.query(), name).as_deref().and_then(word)?;
        Some((token, TokenLocation::Query(name)))
    };
    own.headers.iter().find_map(header).or_else(|| own.query.iter().find_map(query))
}

/// The client's value of a header that may occur once.
enum Given<'h> {
    /// The header is absent or empty.
    Nothing,
    /// A text.
    Text(&'h str),
    /// Several values, or one that is no text.
    Unclear,
}

fn one<'h>(headers: &'h HeaderMap, name: &str) -> Given<'h> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None | Some(Ok("")), None) => Given::Nothing,
        (Some(Ok(text)), None) => Given::Text(text),
        (Some(Err(_)), None) | (_, Some(_)) => Given::Unclear,
    }
}

/// The token, if the text is one word.
fn word(text: &str) -> Option<Secret> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| Secret::new(text))
}
