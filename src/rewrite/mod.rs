//! Heads, rewritten: the client's request becomes the upstream's, the upstream's answer the client's. The
//! rules are compiled; the engine's own removals (`compile::safety`) hold whatever the rules say.
//!
//! Pure: heads in, heads out. Bodies never come here.

mod answer;
mod query;
mod request;
mod token;

pub use answer::{Answered, answer, cors};
pub use request::{Chosen, Outgoing, choose, request};
pub use token::token;

use http::{HeaderMap, header};

/// The names that `Connection` nominates: they belong to this hop alone (RFC 9110, section 7.6.1).
fn nominated(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

/// Whether the client takes trailers (RFC 9110, section 10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// What a client is told whose path leads nowhere.
pub fn no_route(path: &str) -> String {
    format!("Route not implemented in AI Gateway: {path}")
}

#[cfg(test)]
mod tests;
