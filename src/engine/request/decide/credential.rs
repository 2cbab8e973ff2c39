//! Chooses the stored credential of a request, and decides whether its login has to be refreshed first.
//!
//! It guarantees: the first owner (user, group, everybody) with a credential for the provider decides. If that
//! credential has expired or is bound to another origin, no other owner's is used: that would spend theirs unnoticed.
//!
//! Never reads the clock, never refreshes: the time and the outcome of a refresh come in with the candidates.

use std::time::Duration;

use super::Authorized;
use crate::{
    base::{
        fault::{Fault, FaultKind},
        name::Owner,
        numbers::millis,
        secret::Secret,
    },
    language::{
        auth::{BodyInput, SecretFields},
        bind,
        fields::{DeclaredFields, FieldKind, OAuth},
    },
    request::{rewrite::Chosen, table::Hit},
};

/// The longest time that a request waits for a refresh while its access token is still valid. An access token that
/// expires within this time counts as expired.
pub const WAIT_WHILE_GOOD: Duration = Duration::from_secs(1);

/// A stored credential that a request may be sent with.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'s> {
    /// The key, or the login's access token.
    pub secret: &'s Secret,
    /// The rest of a login; none for a key, which never expires.
    pub login: Option<Login<'s>>,
    /// Its owner and origins; none, if it was never stored but given for this request alone.
    pub bound: Option<Bound<'s>>,
}

/// The owner of a stored credential, and the origins that it may be sent to.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'s> {
    /// Its owner.
    pub owner: &'s Owner,
    /// The origins that it was saved for.
    pub origins: &'s [String],
}

/// A stored login.
#[derive(Debug, Clone, Copy)]
pub struct Login<'s> {
    /// When its access token expires, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// The token that refreshes it.
    pub refresh_token: Option<&'s Secret>,
    /// The outcome of this request's own refresh, if there was one.
    pub attempt: Option<Attempt<'s>>,
}

/// The outcome of a refresh.
#[derive(Debug, Clone, Copy)]
pub enum Attempt<'s> {
    /// Another access token.
    Refreshed {
        /// The token.
        access_token: &'s Secret,
        /// When it expires, in milliseconds since 1970.
        expires_at_ms: Option<u64>,
        /// The origins that the login was saved for.
        origins: &'s [String],
    },
    /// None, and that may change: a later request may succeed.
    FailedForNow,
    /// None, since the store could not be read or written.
    StoreFailed,
    /// None, until another login is stored.
    Failed,
    /// None: the login was not saved for the token endpoint that the file names.
    Moved,
}

/// A decision about the credential.
#[derive(Debug)]
pub enum Credential<'c> {
    /// The request can be sent.
    Ready(Sendable<'c>),
    /// A login has to be refreshed first. Decide again with the outcome.
    Refresh(Refresh<'c>, Sendable<'c>),
}

/// A request that may be sent, with a credential where its provider asks for one.
#[derive(Debug)]
pub struct Sendable<'c> {
    pub(super) authorized: &'c Authorized<'c>,
    /// The credential; none where the provider's file has no `auth`.
    pub chosen: Option<Chosen<'c>>,
    /// The owner of the credential, if it is a stored one.
    owner: Option<&'c Owner>,
    refreshable: Option<Refreshable<'c>>,
}

impl<'c> Sendable<'c> {
    /// The owner of the credential, if it is a stored one.
    pub fn owner(&self) -> Option<&'c Owner> {
        self.owner
    }

    /// The secrets that a peer of this request may echo: the client's token, and the credential.
    pub fn secrets(&self) -> impl Iterator<Item = &'c Secret> + use<'c> {
        self.authorized.token.as_ref().into_iter().chain(self.chosen.map(|chosen| chosen.secret))
    }
}

/// A refresh that is needed.
#[derive(Debug, Clone, Copy)]
pub struct Refresh<'c> {
    /// The name of the provider.
    pub provider: &'c str,
    /// The owner of the login.
    pub owner: &'c Owner,
    /// Its section.
    pub section: &'c str,
    /// Its field.
    pub field: &'c str,
    /// The access token that will not do.
    pub access_token: &'c Secret,
    /// The token that gets the next one.
    pub refresh_token: &'c Secret,
    /// The token endpoint, from the provider's file.
    pub oauth: &'c OAuth,
    /// The reason.
    pub reason: RefreshReason,
}

/// The reason for which another access token is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshReason {
    /// The present one expires soon. It may be used until then.
    Due,
    /// It has expired, or does so within [`WAIT_WHILE_GOOD`].
    Expired,
    /// The upstream refused it.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Refreshable<'c> {
    refresh_token: &'c Secret,
    oauth: &'c OAuth,
}

/// A choice, and how its login is refreshed, if it is one.
struct Choice<'c> {
    chosen: Chosen<'c>,
    owner: Option<&'c Owner>,
    login: Option<Login<'c>>,
    refreshable: Option<Refreshable<'c>>,
}

pub(super) fn decide<'c, S: Fn(&str) -> Option<Candidate<'c>>>(
    authorized: &'c Authorized<'c>,
    owners: impl IntoIterator<Item = S>,
    now_ms: u64,
) -> Result<Credential<'c>, Fault> {
    let choice = pick(&authorized.hit, &authorized.table.fields, owners, now_ms)?;
    let Some(Choice { chosen, owner, login, refreshable }) = choice else {
        let sendable = Sendable { authorized, chosen: None, owner: None, refreshable: None };
        return Ok(Credential::Ready(sendable));
    };
    let sendable = Sendable { authorized, chosen: Some(chosen), owner, refreshable };
    let untried = login.filter(|login| login.attempt.is_none());
    let reason = untried.zip(refreshable).and_then(|(login, how)| reason(login, how.oauth, now_ms));
    Ok(match reason.and_then(|reason| sendable.refresh(reason)) {
        Some(refresh) => Credential::Refresh(refresh, sendable),
        None => Credential::Ready(sendable),
    })
}

/// Chooses the credential: of the first owner that has one, the first `[[auth]]` entry whose field has a usable value
/// that its `match` fits. None where the file has no entry. A fault if there is none, if all have expired, or if it was
/// not saved for where the provider leads.
pub fn choose<'c, S: Fn(&str) -> Option<Candidate<'c>>>(
    hit: &'c Hit,
    fields: &'c DeclaredFields,
    owners: impl IntoIterator<Item = S>,
    now_ms: u64,
) -> Result<Option<Chosen<'c>>, Fault> {
    Ok(pick(hit, fields, owners, now_ms)?.map(|choice| choice.chosen))
}

fn pick<'c, S: Fn(&str) -> Option<Candidate<'c>>>(
    hit: &'c Hit,
    fields: &'c DeclaredFields,
    owners: impl IntoIterator<Item = S>,
    now_ms: u64,
) -> Result<Option<Choice<'c>>, Fault> {
    let provider = &hit.provider;
    if provider.auth.is_empty() {
        return Ok(None);
    }
    let section = hit.section();
    for (owner, stored) in owners.into_iter().enumerate() {
        let (mut has_any, mut expired) = (false, None);
        for auth in &provider.auth {
            let SecretFields::OfEntry = auth.kind.needs().secrets;
            let Some(candidate) = stored(&auth.field) else { continue };
            has_any = true;
            let refreshable = refreshable(candidate, fields, section, &auth.field);
            let Some((secret, bound)) = usable(candidate, refreshable.is_some(), now_ms) else {
                expired.get_or_insert_with(Expired::default).add(candidate, refreshable);
                continue;
            };
            if auth.matches.as_ref().is_none_or(|glob| glob.matches(secret.expose())) {
                bound.map_or(Ok(()), |bound| stays(provider, bound))?;
                let chosen = Chosen { owner, auth, secret, now_ms };
                let owner = candidate.bound.map(|bound| bound.owner);
                return Ok(Some(Choice { chosen, owner, login: candidate.login, refreshable }));
            }
        }
        if let Some(expired) = expired {
            return Err(expired.fault(provider));
        }
        if has_any {
            break;
        }
    }
    Err(Fault::new(FaultKind::CredentialMissing, format!("No API key configured for {}", provider.name)))
}

/// The way to refresh a login. It needs a refresh token, and a file that names the token endpoint.
fn refreshable<'c>(
    candidate: Candidate<'c>,
    fields: &'c DeclaredFields,
    section: &str,
    field: &str,
) -> Option<Refreshable<'c>> {
    let refresh_token = candidate.login?.refresh_token?;
    match &fields.find(section, field).ok()?.kind {
        FieldKind::OAuth2(oauth) => Some(Refreshable { refresh_token, oauth }),
        FieldKind::Plain => None,
    }
}

/// The secret to send, now or once it is refreshed; none, if it has expired for good.
fn usable(candidate: Candidate<'_>, refreshable: bool, now_ms: u64) -> Option<(&Secret, Option<Bound<'_>>)> {
    let Candidate { secret, login, bound } = candidate;
    let is_good = |expires_at_ms: Option<u64>| expires_at_ms.is_none_or(|at| at > now_ms);
    let Some(login) = login else { return Some((secret, bound)) };
    match login.attempt {
        Some(Attempt::Refreshed { access_token, expires_at_ms, origins }) if is_good(expires_at_ms) => {
            Some((access_token, bound.map(|bound| Bound { origins, ..bound })))
        }
        None if refreshable => Some((secret, bound)),
        Some(_) | None => is_good(login.expires_at_ms).then_some((secret, bound)),
    }
}

/// The reason to refresh a login before it is used; none, if it is good for long enough.
fn reason(login: Login<'_>, oauth: &OAuth, now_ms: u64) -> Option<RefreshReason> {
    if expires_within(login.expires_at_ms, now_ms, WAIT_WHILE_GOOD) {
        return Some(RefreshReason::Expired);
    }
    expires_within(login.expires_at_ms, now_ms, oauth.refresh_before).then_some(RefreshReason::Due)
}

/// True if an access token expires within this time. One without a known end does not.
pub fn expires_within(expires_at_ms: Option<u64>, now_ms: u64, time: Duration) -> bool {
    expires_at_ms.is_some_and(|at| at <= now_ms.saturating_add(millis(time)))
}

/// Refuses to send a credential where it was not saved for.
fn stays(provider: &bind::Provider, bound: Bound<'_>) -> Result<(), Fault> {
    let used = provider.used.iter().filter(|used| !bound.origins.contains(used));
    let new: Vec<&str> = used.map(String::as_str).collect();
    if new.is_empty() { Ok(()) } else { Err(moved(provider, bound, &new)) }
}

/// The fault of a credential that was not saved for where the provider's file now leads.
fn moved(provider: &bind::Provider, Bound { owner, origins }: Bound<'_>, new: &[&str]) -> Fault {
    const COMMAND: &str = "tollgate credential confirm";
    let name = &provider.name;
    let (what, confirm) = match owner {
        Owner::User(id) => (
            "stored".to_owned(),
            format!("confirm that with `POST /auth/creds/confirm`, or have an admin run `{COMMAND} {id}`"),
        ),
        Owner::Group(group) => (
            format!("that the group `{group}` shares"),
            format!("an admin has to confirm that with `{COMMAND} --group {group}`"),
        ),
        Owner::Everybody => (
            "that everybody shares".to_owned(),
            format!("an admin has to confirm that with `{COMMAND} --everybody`"),
        ),
    };
    let old = if origins.is_empty() { "no host".to_owned() } else { origins.join(", ") };
    let message = format!(
        "The credential {what} for {name} was saved for {old}, and {name} now leads to {}: {confirm}",
        new.join(", ")
    );
    Fault::new(FaultKind::CredentialMoved, message)
}

/// The logins of one owner that have expired.
#[derive(Default)]
struct Expired<'c> {
    /// The first that was not saved for its token endpoint, and that endpoint.
    moved: Option<(Bound<'c>, &'c OAuth)>,
    /// A refresh failed for now: a later one may succeed.
    for_now: bool,
    /// A refresh failed because of the store.
    store_failed: bool,
}

impl<'c> Expired<'c> {
    fn add(&mut self, candidate: Candidate<'c>, refreshable: Option<Refreshable<'c>>) {
        match candidate.login.and_then(|login| login.attempt) {
            Some(Attempt::Moved) => {
                let to = candidate.bound.zip(refreshable.map(|how| how.oauth));
                self.moved = self.moved.or(to);
            }
            Some(Attempt::FailedForNow) => self.for_now = true,
            Some(Attempt::StoreFailed) => self.store_failed = true,
            Some(Attempt::Refreshed { .. } | Attempt::Failed) | None => {}
        }
    }

    fn fault(self, provider: &bind::Provider) -> Fault {
        if let Some((bound, oauth)) = self.moved {
            return moved(provider, bound, &[&oauth.origin().unwrap_or_default()]);
        }
        let name = &provider.name;
        if self.store_failed {
            let message = format!(
                "The login stored for {name} has expired, and the store is unavailable, so that it cannot be refreshed: try again"
            );
            return Fault::new(FaultKind::StoreUnavailable, message);
        }
        let message = if self.for_now {
            format!(
                "The login stored for {name} has expired, and could not be refreshed for now: try again, or store it again"
            )
        } else {
            format!("The login stored for {name} has expired: store it again")
        };
        Fault::new(FaultKind::CredentialExpired, message)
    }
}

impl<'c> Candidate<'c> {
    /// One that was never stored, for this request alone.
    pub fn given(secret: &'c Secret) -> Self {
        Self { secret, login: None, bound: None }
    }
}

impl<'c> Credential<'c> {
    /// The request as it would be sent if a login that is to be refreshed were good already.
    pub fn without_refresh(self) -> Sendable<'c> {
        match self {
            Self::Ready(sendable) | Self::Refresh(_, sendable) => sendable,
        }
    }
}

impl<'c> Sendable<'c> {
    /// The part of the request's body that the head depends on, and that has to be there before [`Self::request`].
    pub fn body_input(&self) -> BodyInput {
        self.chosen.map_or(BodyInput::Nothing, |chosen| chosen.auth.kind.needs().body)
    }

    /// True for a login that can be refreshed: then a 401 of the upstream is answered by one retry.
    pub fn is_refreshable(&self) -> bool {
        self.refreshable.is_some()
    }

    /// The refresh of its login for this reason; none if that cannot be refreshed.
    pub fn refresh(&self, reason: RefreshReason) -> Option<Refresh<'c>> {
        let (Chosen { auth, secret: access_token, .. }, owner) = (self.chosen?, self.owner?);
        let Refreshable { refresh_token, oauth } = self.refreshable?;
        let hit = &self.authorized.hit;
        let (provider, section, field) = (hit.provider.name.as_str(), hit.section(), &*auth.field);
        Some(Refresh { provider, owner, section, field, access_token, refresh_token, oauth, reason })
    }

    /// True if it is sent with another access token of the same login than a refused one.
    pub fn replaces(&self, owner: &Owner, field: &str, access_token: &Secret) -> bool {
        let same = self.owner.is_some_and(|mine| mine == owner);
        same && self.chosen.is_some_and(|new| new.auth.field == field && new.secret != access_token)
    }
}
