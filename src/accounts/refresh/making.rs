//! Makes one token from stored fields: takes the lease, calls the token endpoint if there is one, stores the token.
//!
//! A token that cannot be stored is used all the same: making it spent nothing but a call. It is stored only beside the fields
//! that it was made from, so that it never outlives them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    RefreshError, RefreshHow, RefreshRequest, Refreshed, TokenEndpoint,
    attempt::{Completed, MAX_TRIES, Unsaved},
    backoff::Version,
    login_store::{LoginStore, SectionState},
};
use crate::{
    accounts::{MAX_SECRET_BYTES, MadeCredential, random::random, signer::RingSigner},
    clock,
    secret::Secret,
    token::{MadeFrom, MadeToken, OwnedValues, Token, TokenProblem, TokenStep},
};

/// The way to a made token.
#[derive(Debug, Clone)]
pub struct TokenMaking {
    /// Its definition.
    pub token: Arc<Token>,
    /// The values that it is made from.
    pub values: OwnedValues,
    /// The digest of both.
    pub made_from: MadeFrom,
    /// The token that has to be replaced, if there is one.
    pub seen: Option<Secret>,
    /// The origins that the values were saved for.
    pub origins: Vec<String>,
    /// The fields that the values come from.
    pub sources: Vec<TokenSource>,
}

/// A field, or a part of one, that a token is made from.
#[derive(Debug, Clone)]
pub struct TokenSource {
    /// The field.
    pub field: String,
    /// For a part: its JSON pointer.
    pub pointer: Option<String>,
    /// The value where none is stored.
    pub default: Option<String>,
    /// The value that the token is made from.
    pub text: Option<Secret>,
}

/// A token that is not stored yet.
#[derive(Debug, Clone)]
pub(super) struct UnsavedToken {
    /// The request that it was made for.
    pub(super) request: RefreshRequest,
    made: MadeCredential,
}

impl UnsavedToken {
    /// The token for a request that it serves.
    pub(super) fn serving(&self, request: &RefreshRequest) -> Option<Refreshed> {
        let RefreshHow::Token(making) = &request.how else { return None };
        let is_other = making.seen.as_ref() != Some(&self.made.token);
        let is_good = !request.is_due(Some(self.made.expires_at_ms));
        (is_other && is_good).then(|| refreshed(&self.made, &making.origins))
    }
}

fn refreshed(made: &MadeCredential, origins: &[String]) -> Refreshed {
    let MadeCredential { token, fields, expires_at_ms, made_from: _ } = made;
    Refreshed {
        token: token.clone(),
        fields: fields.clone(),
        expires_at_ms: Some(*expires_at_ms),
        origins: origins.to_vec(),
    }
}

/// The stored token, if it will do. A store that cannot be read has none.
pub(super) async fn stored(
    logins: &impl LoginStore,
    request: &RefreshRequest,
    making: &TokenMaking,
    serving: Option<&Secret>,
) -> Option<Refreshed> {
    let made = match logins.read_section(&request.credential, &making.sources).await {
        Ok(SectionState { made, .. }) => made?,
        Err(error) => {
            tracing::error!(%error, "the store failed while a token was made");
            return None;
        }
    };
    let serves = serving == Some(&made.token) || !request.is_due(Some(made.expires_at_ms));
    let is_other = making.seen.as_ref() != Some(&made.token);
    let is_same_kind = made.made_from == making.made_from.0;
    (is_same_kind && is_other && serves).then(|| refreshed(&made, &making.origins))
}

/// Makes and stores a token.
pub(super) async fn make(
    logins: &impl LoginStore,
    endpoint: &impl TokenEndpoint,
    (request, making): (&RefreshRequest, &TokenMaking),
    sent: &AtomicBool,
) -> Completed {
    sent.store(true, Ordering::Relaxed);
    match made(endpoint, making).await {
        Ok(MadeToken { token, fields, expires_at_ms }) => {
            let MadeFrom(made_from) = making.made_from;
            let made = MadeCredential { token, fields: fields.into(), expires_at_ms, made_from };
            save(logins, UnsavedToken { request: request.clone(), made }, true).await
        }
        Err(why) => Completed { refused: Some(Version::Token(making.made_from)), ..Err(why).into() },
    }
}

async fn made(endpoint: &impl TokenEndpoint, making: &TokenMaking) -> Result<MadeToken, RefreshError> {
    let TokenMaking { token, values, .. } = making;
    match token.step(&values.values(), (random(), clock::now_ms()), &RingSigner)? {
        TokenStep::Made(made) => Ok(made),
        TokenStep::Call(call) => {
            let answer = endpoint.call(call, token.is_entered()).await?;
            let (status, body) = (answer.status, answer.decoded());
            let body = match body {
                Ok(body) => body,
                // The status says more than a body that cannot be read.
                Err(_) if !answer.is_success() => answer.body.clone(),
                Err(problem) => return Err(TokenProblem::InvalidReply(problem).into()),
            };
            let now_ms = clock::now_ms();
            let made = token.reply(status, &body, now_ms)?;
            check(&made, now_ms)?;
            Ok(made)
        }
    }
}

/// Refuses a token that would be asked for again at once, and one that no header takes: all owners' tokens are cached.
fn check(made: &MadeToken, now_ms: u64) -> Result<(), TokenProblem> {
    let MadeToken { token, fields, expires_at_ms } = made;
    let mut texts = fields.iter().map(|(_, text)| text).chain([token]);
    if texts.clone().any(|text| text.expose().bytes().any(|b| !matches!(b, b' '..=b'~'))) {
        return Err(TokenProblem::InvalidReply("has a token or a field that is no valid header value"));
    }
    if texts.any(|text| text.expose().len() > MAX_SECRET_BYTES) {
        return Err(TokenProblem::InvalidReply("has a token or a field of more than 8 KiB"));
    }
    if *expires_at_ms <= now_ms {
        return Err(TokenProblem::InvalidReply("has a token that has expired"));
    }
    Ok(())
}

/// Stores a token, if the fields that it was made from are stored still. A failure of the store is no failure of the token.
///
/// `obtained`: true if it was made just now.
pub(super) async fn save(logins: &impl LoginStore, unsaved: UnsavedToken, obtained: bool) -> Completed {
    let RefreshHow::Token(making) = &unsaved.request.how else {
        return Err(RefreshError::NotFound).into();
    };
    let outcome = Ok(refreshed(&unsaved.made, &making.origins));
    let completed = Completed { obtained, ..outcome.into() };
    for _ in 0..MAX_TRIES {
        match try_save(logins, &unsaved, making).await {
            Ok(true) => return completed,
            // Another key encrypts by now, or the section was changed: it is read again.
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the store failed while a token was made: it is kept in memory");
                return Completed { unsaved: Some(Unsaved::Token(Box::new(unsaved))), ..completed };
            }
        }
    }
    Completed { unsaved: Some(Unsaved::Token(Box::new(unsaved))), ..completed }
}

/// False if it has to be tried again.
async fn try_save(
    logins: &impl LoginStore,
    UnsavedToken { request, made }: &UnsavedToken,
    making: &TokenMaking,
) -> Result<bool, crate::store::StoreError> {
    let section = logins.read_section(&request.credential, &making.sources).await?;
    if !section.is_source {
        // The request was sent with what it saw. No later one uses the token.
        return Ok(true);
    }
    logins.put_made(&request.credential, made, &making.origins, &section).await
}

impl From<TokenProblem> for RefreshError {
    fn from(problem: TokenProblem) -> Self {
        Self::Token(problem)
    }
}

/// True for a problem that only another credential or another file ends.
pub(super) fn is_final(problem: TokenProblem) -> bool {
    match problem {
        TokenProblem::BadKey(_)
        | TokenProblem::Malformed
        | TokenProblem::NoOrigin
        | TokenProblem::Refused(_) => true,
        TokenProblem::Status(_) | TokenProblem::InvalidReply(_) => false,
    }
}
