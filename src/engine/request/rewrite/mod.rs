//! Heads, rewritten: the client's request becomes the upstream's, the upstream's answer the client's. The
//! rules are compiled; the engine's own removals (`compile::safety`) hold whatever the rules say.
//!
//! Pure: heads in, heads out. Bodies never come here.

mod answer;
mod query;
mod request;
mod token;
mod witness;

pub use answer::{Answered, answer, cors, trailers};
pub use query::value_of;
pub use request::{Bound, Chosen, Outgoing, Usable, choose, expired, moved, request, watched};
pub use token::{Carrier, token, token_at};
pub use witness::{Fate, Own, Reason, Rule, RuleKind, RuleTable, Witness};

use http::{HeaderMap, header, request::Parts};

use crate::{
    base::fault::{Fault, Kind},
    request::table::{self, Table},
};

/// Whether `Connection` nominates a name: then it belongs to this hop alone (RFC 9110, section 7.6.1).
fn is_nominated(headers: &HeaderMap, name: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let mut names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|one| same_name(one.trim_ascii(), name.as_bytes()))
}

/// Whether two header names mean the same one to some server: many take `_` for `-`, none looks at case.
fn same_name(a: &[u8], b: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    a.len() == b.len() && a.iter().map(plain).eq(b.iter().map(plain))
}

/// Whether the client takes trailers (RFC 9110, section 10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// What is refused of a known caller wherever it leads: a WebSocket. Any other `Upgrade` is ignored.
pub fn refused(head: &Parts) -> Option<Fault> {
    let values = head.headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
    let websocket =
        values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("websocket"));
    websocket.then(|| Fault::new(Kind::UpgradeRefused, "WebSocket is not served here: send a plain request"))
}

/// What a client is told whose path has no endpoint.
pub fn no_endpoint(table: &Table, path: &str) -> Fault {
    match table.rejected_at(path).filter(|_| table::is_canonical(path)) {
        Some(name) => {
            let message = format!("Provider {name} is out of service: its configuration is rejected");
            Fault::new(Kind::ConfigRejected, message)
        }
        None => Fault::new(Kind::RouteNotFound, no_route(path)),
    }
}

/// What a client is told whose path leads nowhere.
pub fn no_route(path: &str) -> String {
    format!("Route not implemented in AI Gateway: {path}")
}

#[cfg(test)]
mod tests;
