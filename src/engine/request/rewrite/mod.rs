//! Rewrites heads: the client's request to the upstream's, the upstream's response to the client's.
//!
//! It guarantees the removals of `compile::safety`, whatever the files' rules are, and that no header or query parameter
//! of the client with its own token passes (`token_search`). Pure: heads in, heads out; it never sees a body.

mod response;
mod echo;
mod urls;
mod proxy_status;
mod query;
mod request;
mod token;
mod token_search;
mod witness;

pub use echo::{conceal, conceal_choices};
pub use query::value_of;
pub use request::{Chosen, Fresh, Outgoing, Withheld, request, request_observed};
pub use response::{RewrittenResponse, response, switched, trailers};
pub use token::{
    GENERATED_BYTES, GENERATED_PREFIX, TokenLocation, TokenPart, has_token_header, token, token_at,
};
pub use token_search::{MIN_TOKEN, SecretStart, TokenSearch};
pub use urls::{Answered, OwnAddress, return_urls};
pub use witness::{EngineHeader, Fate, Reason, Rule, RuleKind, RuleTable, Witness};

use http::{HeaderMap, header};

use crate::base::header_name::is_same_bytes;

/// True if `Connection` lists the name, which makes the header hop-by-hop (RFC 9110, section 7.6.1).
fn is_nominated(headers: &HeaderMap, name: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let mut names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|one| is_same_bytes(one.trim_ascii(), name.as_bytes()))
}

/// True if the client accepts trailers (RFC 9110, section 10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests;
