//! The messages of an OAuth 2.0 refresh: the request to a token endpoint (RFC 6749, section 6) and its response. `refresh`
//! makes the calls.
//!
//! Pure. No message contains a token or text of a response.

mod answer;
mod coding;
mod error_code;
mod json;

use thiserror::Error;
use zeroize::Zeroizing;

pub use self::answer::ReceivedAnswer;
pub(super) use self::coding::push;
use self::{
    answer::{Field, Fields},
    error_code::ErrorKind,
};
use super::{
    credential::{StoredCredential, checked, checked_refresh_token},
    expiry::{expiry_of, seconds},
    unread_answer::{UnreadAnswer, digest},
};
use crate::{fields::OAuth, secret::Secret};

/// Maximum size of a response, as it is received and decoded, in bytes.
pub(super) const MAX_RESPONSE: usize = 1 << 20;
/// The lifetime of an access token whose response and claims do not contain one.
const DEFAULT_LIFETIME_MS: u64 = 3_600_000;

/// Why a token endpoint granted nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenEndpointError {
    /// It refuses the login permanently: only another login helps.
    #[error("the token endpoint rejected the login: a new login is needed")]
    Rejected,
    /// It was not reached in time.
    #[error("the token endpoint did not respond")]
    NoResponse,
    /// The URL is invalid.
    #[error("the provider file's `token_url` is not a valid URL")]
    InvalidUrl,
    /// It reports, with a successful status, an error that may end by itself.
    #[error("the token endpoint reported a temporary error")]
    Temporary,
    /// Another status code.
    #[error("the token endpoint responded with status {0}")]
    Status(u16),
    /// The body is no response of a token endpoint.
    #[error("the token endpoint's response {0}")]
    InvalidResponse(&'static str),
}

/// A successful response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The tokens in it that can be used.
    pub tokens: NewTokens,
    /// The whole answer, if it may hold a token that is not among them. It may be the only valid refresh token.
    pub unread: Option<UnreadAnswer>,
}

/// The tokens of a successful response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewTokens {
    /// A login.
    Login(StoredCredential),
    /// Only the next refresh token, since the access token beside it is invalid.
    RefreshToken(Secret, TokenEndpointError),
    /// None, and the problem.
    Nothing(TokenEndpointError),
}

/// The body of the request for a new access token.
pub(super) fn form(refresh_token: &Secret, oauth: &OAuth) -> Zeroizing<Vec<u8>> {
    let OAuth { client_id, client_secret, scope, paste: _, token_url: _, refresh_before: _ } = oauth;
    let fields = [
        ("grant_type", Some("refresh_token")),
        ("refresh_token", Some(refresh_token.expose())),
        ("client_id", Some(client_id)),
        ("client_secret", client_secret.as_ref().map(Secret::expose)),
        ("scope", scope.as_deref()),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    // A byte becomes three at most. The buffer must not grow, or else copies of the secret stay behind.
    let room = fields.clone().map(|(name, value)| name.len() + 2 + 3 * value.len()).sum();
    let mut form = Zeroizing::new(String::with_capacity(room));
    for (index, (name, value)) in fields.enumerate() {
        form.push_str(if index == 0 { "" } else { "&" });
        form.push_str(name);
        form.push('=');
        form.extend(form_urlencoded::byte_serialize(value.as_bytes()));
    }
    Zeroizing::new(std::mem::take(&mut *form).into_bytes())
}

/// Interprets an answer to this refresh token. Without a valid token nothing changes. A successful answer that is not
/// understood, or only in part, is to be kept, since the refresh token may be spent.
pub(super) fn interpret(
    answer: ReceivedAnswer,
    refresh_token: &Secret,
    now_ms: u64,
) -> Result<Grant, TokenEndpointError> {
    let (tokens, problem) = match understood(&answer, refresh_token, now_ms) {
        Ok((tokens, problem)) => (tokens, problem),
        Err(TokenEndpointError::InvalidResponse(problem)) if !answer.body.is_empty() => {
            (NewTokens::Nothing(TokenEndpointError::InvalidResponse(problem)), Some(problem))
        }
        Err(error) => return Err(error),
    };
    let unread = problem.map(|problem| UnreadAnswer {
        received_at_ms: now_ms,
        problem: problem.to_owned(),
        spent: digest(refresh_token),
        answer,
    });
    Ok(Grant { tokens, unread })
}

/// Tokens, and the problem of the answer, if another one may be in it.
type Understood = (NewTokens, Option<&'static str>);

fn understood(
    answer: &ReceivedAnswer,
    refresh_token: &Secret,
    now_ms: u64,
) -> Result<Understood, TokenEndpointError> {
    let fields = answer.fields();
    let kind = |fields: &Fields| fields.error.as_ref().and_then(error_code::kind);
    if !answer.is_success() {
        let is_terminal = |fields: &Fields| {
            matches!(answer.status, 400 | 401 | 403) && kind(fields) == Some(ErrorKind::Terminal)
        };
        return Err(match fields {
            Ok(fields) if is_terminal(&fields) => TokenEndpointError::Rejected,
            Ok(Fields { access_token: Field::Text(_), .. }) => {
                TokenEndpointError::InvalidResponse("contains an access token, but its status is no success")
            }
            Ok(_) | Err(_) => TokenEndpointError::Status(answer.status),
        });
    }
    let fields = fields.map_err(TokenEndpointError::InvalidResponse)?;
    if !matches!((&fields.access_token, &fields.refresh_token), (Field::Absent, Field::Absent)) {
        return granted(&fields, refresh_token, now_ms);
    }
    // Some endpoints report errors with the status 200.
    let has_strays = fields.stray_access_token || fields.stray_refresh_token;
    Err(match kind(&fields) {
        Some(ErrorKind::Terminal) if !has_strays => TokenEndpointError::Rejected,
        Some(ErrorKind::Temporary) if !has_strays => TokenEndpointError::Temporary,
        Some(_) => TokenEndpointError::InvalidResponse("reports an error, and may hold more than that"),
        None => TokenEndpointError::InvalidResponse("contains no access token"),
    })
}

/// The tokens of a successful answer (RFC 6749, section 5.1). Each is used if it is valid, even if the other one is not.
fn granted(fields: &Fields, refresh_token: &Secret, now_ms: u64) -> Result<Understood, TokenEndpointError> {
    let rotated = match &fields.refresh_token {
        Field::Absent if fields.stray_refresh_token => Err("contains a refresh token in an unexpected place"),
        Field::Absent => Ok(None),
        Field::Text(text) => checked_refresh_token("", text)
            .map(Some)
            .map_err(|_| "contains a refresh token that is too long or has a forbidden character"),
        Field::Other => Err("contains a refresh token that is no text"),
    };
    let access_token = match &fields.access_token {
        Field::Text(text) => {
            checked("", text).map_err(|_| "contains an access token that is no valid header value")
        }
        Field::Absent | Field::Other => Err("contains no access token"),
    };
    let (rotated, problem) = match rotated {
        Ok(rotated) => (rotated, None),
        Err(problem) => (None, Some(problem)),
    };
    match (access_token, rotated) {
        (Ok(access_token), rotated) => {
            let refresh_token = rotated.unwrap_or_else(|| refresh_token.clone());
            let expires_at_ms = Some(expiry(fields, &access_token, now_ms));
            let refresh_token = Some(refresh_token);
            let login = StoredCredential::OAuth { access_token, refresh_token, expires_at_ms };
            Ok((NewTokens::Login(login), problem))
        }
        // The previous refresh token may be spent.
        (Err(why), Some(rotated)) => {
            Ok((NewTokens::RefreshToken(rotated, TokenEndpointError::InvalidResponse(why)), Some(why)))
        }
        (Err(why), None) => Err(TokenEndpointError::InvalidResponse(problem.unwrap_or(why))),
    }
}

/// The expiry time of an access token: as the answer says, or else its claim.
fn expiry(fields: &Fields, access_token: &Secret, now_ms: u64) -> u64 {
    let lasts_ms = fields.expires_in.as_ref().and_then(seconds).map(|seconds| seconds.saturating_mul(1000));
    let expires_at_ms = lasts_ms.map(|lasts_ms| now_ms.saturating_add(lasts_ms));
    let claimed = || expiry_of(access_token).filter(|expires_at_ms| *expires_at_ms > now_ms);
    expires_at_ms.or_else(claimed).unwrap_or(now_ms.saturating_add(DEFAULT_LIFETIME_MS))
}

#[cfg(test)]
mod tests;
