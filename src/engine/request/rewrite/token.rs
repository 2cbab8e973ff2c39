//! Finds the client's gateway token in its request. The only reader of tokens but those of sessions
//! (`decide/session.rs`): for calls to providers, `/auth` and `/admin`. (The control socket takes none.)

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::query::value_of;
use crate::{
    base::{secret::Secret, websocket},
    language::compile::TokenLocations,
    request::table::Table,
};

/// The prefix of tokens that tollgate generates.
pub const GENERATED_PREFIX: &str = "tg_";
/// The random bytes after it, in hex.
pub const GENERATED_BYTES: usize = 24;
/// The length of such a token.
pub(super) const GENERATED_LEN: usize = GENERATED_PREFIX.len() + 2 * GENERATED_BYTES;
/// The shortest part after a token's last `-` that is assumed to be the token, in bytes: a shorter one may be a word.
const MIN_LAST_PART: usize = 16;

/// The part of a presented text that is the token. Some clients insist on a vendor's prefix (`sk-ant-oat-<token>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPart {
    /// All of it.
    Whole,
    /// That after the last `-`.
    AfterPrefix,
}

impl TokenPart {
    /// Both, in the order in which authentication tries them.
    pub const ALL: [Self; 2] = [Self::Whole, Self::AfterPrefix];

    /// The part of a text; none if it has no such part.
    pub fn text(self, presented: &str) -> Option<&str> {
        match self {
            Self::Whole => Some(presented),
            Self::AfterPrefix => {
                presented.rsplit_once('-').map(|(_, last)| last).filter(|last| !last.is_empty())
            }
        }
    }

    /// The most likely part, for requests that nothing authenticates.
    pub fn assumed(presented: &str) -> Self {
        let is_token = Self::AfterPrefix.text(presented).is_some_and(|last| last.len() >= MIN_LAST_PART);
        if is_token { Self::AfterPrefix } else { Self::Whole }
    }

    /// The part as a secret.
    pub fn take(self, presented: Secret) -> Secret {
        match self {
            Self::Whole => presented,
            Self::AfterPrefix => self.text(presented.expose()).map(Secret::new).unwrap_or(presented),
        }
    }
}

/// True for a text of the form of a generated token. Case is ignored.
pub(super) fn is_generated(text: &[u8]) -> bool {
    text.split_at_checked(GENERATED_PREFIX.len()).is_some_and(|(prefix, digits)| {
        prefix.eq_ignore_ascii_case(GENERATED_PREFIX.as_bytes())
            && digits.len() == 2 * GENERATED_BYTES
            && digits.iter().all(u8::is_ascii_hexdigit)
    })
}

/// The token that the client presents. `Authorization` has priority: a scheme other than `Bearer`, in any case, is no token,
/// even beside a good `x-api-key`, unless the provider's `[caller]` names it. If both are absent or empty, the headers and
/// query parameters of the provider's `[caller]` count. Those of a provider count below its prefix.
pub fn token(head: &Parts, table: &Table) -> Option<Secret> {
    token_at(head, table).map(|(token, _)| token)
}

/// True if a request has a token of its own, or something in its place, so that a session's cookie does not count.
pub fn has_token_header(headers: &HeaderMap) -> bool {
    [header::AUTHORIZATION.as_str(), "x-api-key"]
        .iter()
        .any(|name| matches!(one(headers, name), Given::Text(_) | Given::Unclear))
}

/// The place of a token in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLocation<'t> {
    /// In the header of this name.
    Header(&'t str),
    /// In the query parameter of this name.
    Query(&'t str),
    /// In the subprotocol of a WebSocket with this prefix.
    Subprotocol(&'t str),
    /// In `Authorization`, with this scheme of a file, in lower case.
    Scheme(&'t str),
}

/// The token, and its place.
pub fn token_at<'t>(head: &Parts, table: &'t Table) -> Option<(Secret, TokenLocation<'t>)> {
    let in_header = |name: &'t str| move |token| (token, TokenLocation::Header(name));
    match one(&head.headers, header::AUTHORIZATION.as_str()) {
        Given::Text(text) => {
            return match after_scheme(text, "bearer") {
                Some(rest) => word(rest).map(in_header("authorization")),
                None => with_scheme(text, table.token_locations_at(head.uri.path())?),
            };
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
    let subprotocol = |prefix: &'t String| {
        let offered = websocket::members(&head.headers, &header::SEC_WEBSOCKET_PROTOCOL);
        let token = offered.filter_map(|item| item.strip_prefix(prefix.as_str())).find_map(word)?;
        Some((token, TokenLocation::Subprotocol(prefix)))
    };
    own.headers
        .iter()
        .find_map(header)
        .or_else(|| own.subprotocol.iter().find_map(subprotocol))
        .or_else(|| own.query.iter().find_map(query))
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

/// The rest of credentials of a scheme: the scheme in any case, then at least one space (RFC 9110, sections 11.1 and 11.4;
/// RFC 6750, section 2.1).
fn after_scheme<'c>(credentials: &'c str, wanted: &str) -> Option<&'c str> {
    let (scheme, rest) = credentials.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim_start_matches(' '))
}

/// The token of credentials with a scheme that a file names. With the empty one, they are the token.
fn with_scheme<'t>(credentials: &str, own: &'t TokenLocations) -> Option<(Secret, TokenLocation<'t>)> {
    own.schemes.iter().find_map(|scheme| {
        let rest = if scheme.is_empty() { Some(credentials) } else { after_scheme(credentials, scheme) };
        Some((word(rest?)?, TokenLocation::Scheme(scheme)))
    })
}

/// Blanks around a value are no part of it (RFC 9110, section 5.5).
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Given<'h> {
    let mut values = headers.get_all(name).iter();
    let text = |value: &'h HeaderValue| value.to_str().map(|text| text.trim_matches([' ', '\t']));
    match (values.next().map(text), values.next()) {
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
