//! Error codes of token endpoints (RFC 6749, section 5.2).

use serde_json::Value;

use crate::token::{error_codes, is_overload};

/// Codes that end a login: only a new one helps, or another client id in the provider file. The first four are those of
/// RFC 6749 that no repetition ends. The next three are those of `OpenID` Connect Core, section 3.1.2.6. The others are
/// common names.
///
/// `invalid_request` and `invalid_scope` are not among them: a login does not cause them. A code that is missing here
/// costs a call every five minutes; one too many would end logins that are valid.
const TERMINAL: [&str; 13] = [
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "login_required",
    "interaction_required",
    "consent_required",
    "bad_refresh_token",
    "invalid_refresh_token",
    "refresh_token_expired",
    "refresh_token_invalidated",
    "refresh_token_reused",
    "refresh_token_revoked",
];

/// A code that says that nothing was done, beside those of a server that is overloaded.
const FORBIDDEN: &str = "forbidden";

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorKind {
    /// Another login is needed.
    Terminal,
    /// It may end by itself, and no token was spent.
    Temporary,
    /// A text that is neither.
    Unknown,
}

/// The kind of the error in an answer's `error` field, if it has a text.
pub(super) fn kind(error: &Value) -> Option<ErrorKind> {
    let codes = || error_codes(error);
    let is_terminal = |code: &str| TERMINAL.iter().any(|one| code.eq_ignore_ascii_case(one));
    codes().next()?;
    Some(match () {
        () if codes().any(is_terminal) => ErrorKind::Terminal,
        () if is_overload(error) || codes().any(|code| code.eq_ignore_ascii_case(FORBIDDEN)) => {
            ErrorKind::Temporary
        }
        () => ErrorKind::Unknown,
    })
}
