//! Chooses the made token of a request, and decides whether another one has to be made first.

use std::sync::Arc;

use super::credential::{RefreshReason, WAIT_WHILE_GOOD, expires_within};
use crate::{
    base::{
        fault::{Fault, FaultKind},
        secret::Secret,
    },
    language::{
        auth::FieldValues,
        bind,
        token::{MadeFrom, Token, TokenProblem},
    },
};

/// A made token.
#[derive(Debug, Clone, Copy)]
pub struct Made<'s> {
    /// The token.
    pub token: &'s Secret,
    /// The fields of the reply, in the order of the file.
    pub fields: &'s [(Box<str>, Secret)],
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// The digest of its definition and of the values that it was made from.
    pub made_from: MadeFrom,
}

/// What an owner has of a token.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenState<'s> {
    /// The stored one.
    pub stored: Option<Made<'s>>,
    /// The outcome of this request's own attempt to make another one.
    pub attempt: Option<TokenAttempt<'s>>,
}

/// The outcome of an attempt to make a token.
#[derive(Debug, Clone, Copy)]
pub enum TokenAttempt<'s> {
    /// Another token.
    Made(Made<'s>),
    /// None, for this reason.
    Failed(TokenProblem),
    /// None, and nothing is known about the credential: an earlier attempt failed, or the token endpoint did not respond.
    FailedForNow,
    /// None, since the store could not be read or written.
    StoreFailed,
    /// None: a field was not saved for the token endpoint that the file names.
    Moved,
}

/// The token of a request.
pub(super) struct Chosen<'c> {
    pub(super) secret: &'c Secret,
    pub(super) fields: &'c [(Box<str>, Secret)],
    pub(super) refreshable: RefreshableToken<'c>,
    /// The reason to make another one first.
    pub(super) reason: Option<RefreshReason>,
}

/// The way to another token.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefreshableToken<'c> {
    pub(super) token: &'c Arc<Token>,
    pub(super) made_from: MadeFrom,
    /// The present one.
    pub(super) seen: Option<&'c Secret>,
    /// The origins that the values were saved for.
    pub(super) origins: &'c [String],
}

/// The token that these values make.
pub(super) fn choose<'c>(
    provider: &bind::Provider,
    (token, values): (&'c Arc<Token>, &FieldValues<'_>),
    state: TokenState<'c>,
    (origins, now_ms): (&'c [String], u64),
) -> Result<Chosen<'c>, Fault> {
    let made_from = token.made_from(values);
    let good = |made: &Made<'_>| made.made_from == made_from && made.expires_at_ms > now_ms;
    let with = |made: Made<'c>, reason| Chosen {
        secret: made.token,
        fields: made.fields,
        refreshable: RefreshableToken { token, made_from, seen: Some(made.token), origins },
        reason,
    };
    if let Some(TokenAttempt::Made(made)) = state.attempt
        && good(&made)
    {
        return Ok(with(made, None));
    }
    match (state.stored.filter(good), state.attempt) {
        (Some(stored), Some(_)) => Ok(with(stored, None)),
        (Some(stored), None) => {
            let due = |time| expires_within(Some(stored.expires_at_ms), now_ms, time);
            let reason = if due(WAIT_WHILE_GOOD) {
                Some(RefreshReason::Expired)
            } else {
                due(token.refresh_before).then_some(RefreshReason::Due)
            };
            Ok(with(stored, reason))
        }
        (None, Some(attempt)) => Err(fault(provider, token, attempt)),
        (None, None) => Ok(Chosen {
            secret: &token.stand_in().token,
            fields: &token.stand_in().fields,
            refreshable: RefreshableToken { token, made_from, seen: None, origins },
            reason: Some(RefreshReason::Expired),
        }),
    }
}

/// The fault of a request whose token could not be made.
fn fault(provider: &bind::Provider, token: &Token, attempt: TokenAttempt<'_>) -> Fault {
    let (name, token) = (&provider.name, &token.name);
    let front = format!("The token `{token}` for {name} could not be made");
    let (kind, rest) = match attempt {
        TokenAttempt::Failed(
            problem @ (TokenProblem::BadKey(_)
            | TokenProblem::Malformed
            | TokenProblem::NoOrigin
            | TokenProblem::Refused(_)),
        ) => (FaultKind::TokenRefused, format!("{problem}: store the credential again")),
        TokenAttempt::Failed(problem @ TokenProblem::Status(_)) => {
            (FaultKind::TokenUnavailable, format!("{problem}: try again later"))
        }
        TokenAttempt::Failed(problem @ TokenProblem::InvalidReply(_)) => (
            FaultKind::TokenUnavailable,
            format!(
                "{problem}: try again later; if it stays so, `[token.{token}]` of the provider's file has to be mended"
            ),
        ),
        // A token that has expired already.
        TokenAttempt::FailedForNow | TokenAttempt::Made(_) => {
            (FaultKind::TokenUnavailable, "the token endpoint gives none for now: try again later".to_owned())
        }
        TokenAttempt::StoreFailed => {
            (FaultKind::StoreUnavailable, "the store is unavailable: try again".to_owned())
        }
        TokenAttempt::Moved => (
            FaultKind::CredentialMoved,
            "the credential was not saved for its token endpoint: confirm that, or store it again".to_owned(),
        ),
    };
    Fault::new(kind, format!("{front}: {rest}"))
}
