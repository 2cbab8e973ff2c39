//! The stored credentials that a request may be sent with, and the refreshes of logins and made tokens that it asks for. `decide` chooses
//! among them; here are the waits.

use std::sync::Arc;

use crate::{
    accounts::{
        Caller, CredentialId, Credentials, FoundCredential, LoginRefresh, MadeCredential, RefreshError,
        RefreshHow, RefreshRequest, Refreshed, Refresher, StoredCredential, TokenMaking, TokenPair,
        TokenSource,
    },
    compile::SectionValue,
    decide::{
        Attempt, Bound, Candidate, Login, Made, Refresh, RefreshOf, StoredBy, TokenAttempt, TokenState,
    },
    name::Owner,
    secret::Secret,
    table::Hit,
    token::{MadeFrom, OwnedValues, Token},
};

/// The refreshes that a request has asked for, and their outcomes.
#[derive(Debug, Clone, Default)]
pub(super) struct RefreshAttempts(Vec<(RefreshRequest, Result<Refreshed, RefreshError>)>);

impl RefreshAttempts {
    /// Refreshes a login, or makes a token. Boxed, since it is rare: a warm request should not carry its state.
    pub(super) async fn refresh(&mut self, refresher: &Refresher, request: RefreshRequest) {
        let outcome = Box::pin(refresher.refresh(request.clone())).await;
        self.0.push((request, outcome));
    }

    /// The last request for a credential, and its outcome.
    fn find(&self, owner: &Owner, field: &str) -> Option<&(RefreshRequest, Result<Refreshed, RefreshError>)> {
        let same = |(request, _): &&(RefreshRequest, _)| {
            request.credential.owner == *owner && request.credential.field == field
        };
        self.0.iter().rev().find(same)
    }

    /// The last outcome for a credential.
    fn last(&self, owner: &Owner, field: &str) -> Option<&Result<Refreshed, RefreshError>> {
        self.find(owner, field).map(|(_, outcome)| outcome)
    }

    /// The last outcome for a login.
    fn of_login(&self, owner: &Owner, field: &str) -> Option<Attempt<'_>> {
        Some(match self.last(owner, field)? {
            Ok(Refreshed { token, fields: _, expires_at_ms, origins }) => {
                Attempt::Refreshed { access_token: token, expires_at_ms: *expires_at_ms, origins }
            }
            Err(RefreshError::OriginMismatch) => Attempt::Moved,
            Err(RefreshError::Store) => Attempt::StoreFailed,
            Err(why) if why.is_retryable() => Attempt::FailedForNow,
            Err(_) => Attempt::Failed,
        })
    }

    /// The last outcome for a made token.
    fn of_token(&self, owner: &Owner, stored_as: &str) -> Option<TokenAttempt<'_>> {
        let (request, outcome) = self.find(owner, stored_as)?;
        let RefreshHow::Token(making) = &request.how else { return None };
        Some(match outcome {
            Ok(Refreshed { token, fields, expires_at_ms, origins: _ }) => TokenAttempt::Made(Made {
                token,
                fields,
                expires_at_ms: expires_at_ms.unwrap_or(u64::MAX),
                made_from: making.made_from,
            }),
            Err(RefreshError::Token(problem)) => TokenAttempt::Failed(*problem),
            Err(RefreshError::OriginMismatch) => TokenAttempt::Moved,
            Err(RefreshError::Store) => TokenAttempt::StoreFailed,
            Err(_) => TokenAttempt::FailedForNow,
        })
    }
}

/// The stored credentials of one owner, for the endpoint's provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'c> {
    owner: &'c Owner,
    credentials: &'c Credentials,
    section: &'c str,
    attempts: &'c RefreshAttempts,
}

/// The credentials of each owner (the user, the group, everybody) for the endpoint's provider.
pub(super) fn owners<'c>(
    caller: &'c Caller,
    hit: &'c Hit,
    attempts: &'c RefreshAttempts,
) -> impl Iterator<Item = Stored<'c>> {
    let section = hit.section();
    caller.credentials.iter().map(move |(owner, credentials)| Stored {
        owner,
        credentials,
        section,
        attempts,
    })
}

impl<'c> StoredBy<'c> for Stored<'c> {
    fn value(&self, field: &str) -> Option<Candidate<'c>> {
        let Self { owner, credentials, section, attempts } = *self;
        let FoundCredential { stored, origins } = credentials.find(section, field)?;
        let (bound, stored_as) = (Some(Bound { owner, origins }), stored.kind());
        Some(match stored {
            StoredCredential::Plain(secret) | StoredCredential::Document(secret) => {
                Candidate { stored_as, bound, ..Candidate::given(secret) }
            }
            StoredCredential::Value(value) => Candidate { stored_as, ..Candidate::given(value) },
            StoredCredential::OAuth { access_token, refresh_token, expires_at_ms } => {
                let (refresh_token, attempt) = (refresh_token.as_ref(), attempts.of_login(owner, field));
                let login = Login { expires_at_ms: *expires_at_ms, refresh_token, attempt };
                // The claims are those of the token that is sent.
                let bound = match attempts.last(owner, field) {
                    Some(Ok(fresh)) => Some(Bound { owner, origins: &fresh.origins }),
                    Some(Err(_)) | None => bound,
                };
                Candidate { secret: access_token, stored_as, login: Some(login), bound }
            }
            // No field is declared by this name.
            StoredCredential::Made(_) => return None,
        })
    }

    fn token(&self, stored_as: &str) -> TokenState<'c> {
        let Self { owner, credentials, section, attempts } = *self;
        let stored = match credentials.get(section, stored_as) {
            Some(StoredCredential::Made(MadeCredential { token, fields, expires_at_ms, made_from })) => {
                let (expires_at_ms, made_from) = (*expires_at_ms, MadeFrom(*made_from));
                Some(Made { token, fields, expires_at_ms, made_from })
            }
            Some(_) | None => None,
        };
        TokenState { stored, attempt: attempts.of_token(owner, stored_as) }
    }

    fn owner(&self) -> Option<&'c Owner> {
        Some(self.owner)
    }
}

/// The request to the refresher. It has everything from this request's snapshot: the files may change meanwhile.
pub(super) fn refresh_request(refresh: Refresh<'_>, hit: &Hit) -> RefreshRequest {
    let Refresh { provider, owner, section, field, how, reason } = refresh;
    let how = match how {
        RefreshOf::Login { access_token, refresh_token, oauth } => RefreshHow::Login(LoginRefresh {
            seen: TokenPair { access_token: access_token.clone(), refresh_token: refresh_token.clone() },
            oauth: oauth.clone(),
        }),
        RefreshOf::Token { token, values, made_from, seen, origins } => {
            RefreshHow::Token(Box::new(TokenMaking {
                sources: sources(hit, token, &values),
                token: Arc::clone(token),
                values,
                made_from,
                seen: seen.cloned(),
                origins: origins.to_vec(),
            }))
        }
    };
    RefreshRequest {
        provider: provider.to_owned(),
        credential: CredentialId {
            owner: owner.clone(),
            section: section.to_owned(),
            field: field.to_owned(),
        },
        reason,
        how,
    }
}

/// The fields that a token is made from.
fn sources(hit: &Hit, token: &Token, values: &OwnedValues) -> Vec<TokenSource> {
    let values = values.values();
    let named = hit.provider.section.as_ref().map(|section| &*section.values).unwrap_or_default();
    let source = |index: &u16| {
        let SectionValue { field, pointer, default, .. } = named.get(usize::from(*index))?;
        let text = values.get(*index).map(Secret::new);
        Some(TokenSource { field: field.clone(), pointer: pointer.clone(), default: default.clone(), text })
    };
    token.reads.iter().filter_map(source).collect()
}
