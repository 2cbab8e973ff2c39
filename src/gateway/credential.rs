//! The stored credentials that a request may be sent with, and the refreshes of logins that it asks for. `decide` chooses
//! among them; here are the waits.

use crate::{
    accounts::{
        Caller, CredentialId, RefreshError, RefreshRequest, Refreshed, Refresher, StoredCredential, TokenPair,
    },
    decide::{Attempt, Bound, Candidate, Login, Refresh},
    name::Owner,
    table::Hit,
};

/// The refreshes that a request has asked for, and their outcomes.
#[derive(Debug, Default)]
pub(super) struct RefreshAttempts(Vec<(RefreshRequest, Result<Refreshed, RefreshError>)>);

impl RefreshAttempts {
    /// Refreshes a login. Boxed, since it is rare: a warm request should not carry its state.
    pub(super) async fn refresh(&mut self, refresher: &Refresher, request: RefreshRequest) {
        let outcome = Box::pin(refresher.refresh(request.clone())).await;
        self.0.push((request, outcome));
    }

    /// The last outcome for a login.
    fn of(&self, owner: &Owner, field: &str) -> Option<Attempt<'_>> {
        let same = |(request, _): &&(RefreshRequest, _)| {
            request.credential.owner == *owner && request.credential.field == field
        };
        let (_, outcome) = self.0.iter().rev().find(same)?;
        Some(match outcome {
            Ok(Refreshed { access_token, expires_at_ms, origins }) => {
                Attempt::Refreshed { access_token, expires_at_ms: *expires_at_ms, origins }
            }
            Err(RefreshError::OriginMismatch) => Attempt::Moved,
            Err(RefreshError::Store) => Attempt::StoreFailed,
            Err(why) if why.is_retryable() => Attempt::FailedForNow,
            Err(_) => Attempt::Failed,
        })
    }
}

/// The candidates of each owner (the user, the group, everybody) for the fields of an endpoint's provider.
pub(super) fn owners<'c>(
    caller: &'c Caller,
    hit: &'c Hit,
    attempts: &'c RefreshAttempts,
) -> impl Iterator<Item = impl Fn(&str) -> Option<Candidate<'c>>> {
    let section = hit.section();
    caller.credentials.iter().map(move |(owner, credentials)| {
        move |field: &str| {
            let (stored, origins) = credentials.find(section, field)?;
            let bound = Some(Bound { owner, origins });
            Some(match stored {
                StoredCredential::Plain(secret) => Candidate { secret, login: None, bound },
                StoredCredential::OAuth { access_token, refresh_token, expires_at_ms } => {
                    let (refresh_token, attempt) = (refresh_token.as_ref(), attempts.of(owner, field));
                    let login = Login { expires_at_ms: *expires_at_ms, refresh_token, attempt };
                    Candidate { secret: access_token, login: Some(login), bound }
                }
            })
        }
    })
}

/// The request to the refresher. It has everything from this request's snapshot: the files may change meanwhile.
pub(super) fn refresh_request(refresh: Refresh<'_>) -> RefreshRequest {
    let Refresh { provider, owner, section, field, access_token, refresh_token, oauth, reason } = refresh;
    RefreshRequest {
        provider: provider.to_owned(),
        credential: CredentialId {
            owner: owner.clone(),
            section: section.to_owned(),
            field: field.to_owned(),
        },
        seen: TokenPair { access_token: access_token.clone(), refresh_token: refresh_token.clone() },
        reason,
        token_url: oauth.token_url.clone(),
        client_id: oauth.client_id.clone(),
        refresh_before: oauth.refresh_before,
    }
}
