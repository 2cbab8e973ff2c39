//! The credential that a request goes with: whose it is and which, and a login that is refreshed first where it is
//! about to expire, or once more where the upstream refused it. What is chosen is decided in `rewrite`; here is the
//! asking.

use std::time::Duration;

use crate::{
    accounts::{
        Caller, Credentials, Fresh, Need, NotRefreshed, Place, Stored, Tokens, WAIT_WHILE_GOOD, Wanted,
        now_ms,
    },
    fault::{Fault, Kind},
    fields::{FieldKind, KnownFields, OAuth},
    name::Owner,
    rewrite::{self, Bound, Chosen, Usable},
    secret::Secret,
    table::Hit,
};

use super::Worker;

/// What a request goes with.
#[derive(Debug)]
pub(super) struct Granted<'h> {
    pub(super) chosen: Chosen<'h>,
    /// Whether it is a login that can be refreshed.
    pub(super) can_be_refreshed: bool,
    /// Why it is one that is to be, before it is used.
    due: Option<Need>,
    tried: Tried,
}

/// What came of the refreshes that this request has asked for.
#[derive(Debug, Default)]
struct Tried(Vec<(Wanted, Result<Fresh, NotRefreshed>)>);

impl Tried {
    fn get(&self, owner: &Owner, field: &str) -> Option<&Result<Fresh, NotRefreshed>> {
        let same = |(wanted, _): &&(Wanted, _)| wanted.place.owner == *owner && wanted.place.field == field;
        self.0.iter().rev().find(same).map(|(_, outcome)| outcome)
    }
}

/// The caller's credential for an endpoint's provider: the caller's own, the group's or everybody's.
pub(super) async fn find<'h>(
    worker: &Worker,
    fields: &KnownFields,
    caller: &Caller,
    hit: &'h Hit,
) -> Result<Option<Granted<'h>>, Fault> {
    let mut tried = Tried::default();
    loop {
        match choose(fields, caller, hit, tried)? {
            Some(granted) => {
                let wanted = |need| wanted(fields, caller, hit, &granted.chosen, need);
                match granted.due.and_then(wanted) {
                    Some(wanted) => tried = refresh(worker, wanted, granted.tried).await,
                    None => return Ok(Some(granted)),
                }
            }
            None => return Ok(None),
        }
    }
}

impl<'h> Granted<'h> {
    /// Another one, since the upstream refused this; none if there is none.
    pub(super) async fn another(
        self,
        worker: &Worker,
        fields: &KnownFields,
        caller: &Caller,
        hit: &'h Hit,
    ) -> Option<Self> {
        let Self { chosen, tried, .. } = self;
        let wanted = wanted(fields, caller, hit, &chosen, Need::Refused)?;
        let tried = refresh(worker, wanted, tried).await;
        let granted = choose(fields, caller, hit, tried).ok()??;
        let same = granted.chosen.owner == chosen.owner && granted.chosen.auth.field == chosen.auth.field;
        (same && granted.chosen.secret != chosen.secret).then_some(granted)
    }
}

/// Boxed, since it is rare: a warm request should not carry its state.
async fn refresh(worker: &Worker, wanted: Wanted, mut tried: Tried) -> Tried {
    let outcome = Box::pin(worker.refresher.refresh(wanted.clone())).await;
    tried.0.push((wanted, outcome));
    tried
}

/// The first credential that can be used, or could be once it is refreshed.
fn choose<'h>(
    fields: &KnownFields,
    caller: &Caller,
    hit: &'h Hit,
    tried: Tried,
) -> Result<Option<Granted<'h>>, Fault> {
    let section = section(hit);
    let now_ms = now_ms();
    let owners = caller.credentials.iter().map(|(owner, credentials)| {
        let tried = &tried;
        move |field: &str| {
            let stored = credentials.get(section, field)?;
            let old = || credentials.origins(section, field);
            let could_be = || refreshable(fields, section, field, stored).map(|(secret, ..)| secret);
            let (secret, origins) = match tried.get(owner, field) {
                Some(Ok(fresh)) if is_good(fresh.expires_at_ms, now_ms) => {
                    (Some(&fresh.access_token), &*fresh.origins)
                }
                Some(_) => (stored.usable(now_ms), old()),
                None => (stored.usable(now_ms).or_else(could_be), old()),
            };
            Some(Usable { secret: secret.cloned(), bound: Some(Bound { owner, origins }) })
        }
    });
    let chosen = rewrite::choose(hit, owners).map_err(|fault| instead(fault, caller, hit, &tried))?;
    let Some(chosen) = chosen else { return Ok(None) };
    let login = owned(caller, &chosen).and_then(|(owner, credentials)| {
        let stored = credentials.get(section, &chosen.auth.field)?;
        let (.., oauth) = refreshable(fields, section, &chosen.auth.field, stored)?;
        let untried = tried.get(owner, &chosen.auth.field).is_none();
        Some(if untried { need(stored, now_ms, oauth.refresh_before) } else { None })
    });
    Ok(Some(Granted { chosen, can_be_refreshed: login.is_some(), due: login.flatten(), tried }))
}

/// Whose a credential is that was chosen, and what that one has.
fn owned<'c>(caller: &'c Caller, chosen: &Chosen<'_>) -> Option<&'c (Owner, Credentials)> {
    caller.credentials.get(chosen.owner)
}

/// Another access token than the chosen one.
fn wanted(
    fields: &KnownFields,
    caller: &Caller,
    hit: &Hit,
    chosen: &Chosen<'_>,
    need: Need,
) -> Option<Wanted> {
    let (section, field) = (section(hit), &*chosen.auth.field);
    let (owner, credentials) = owned(caller, chosen)?;
    let (_, refresh_token, oauth) = refreshable(fields, section, field, credentials.get(section, field)?)?;
    Some(Wanted {
        place: Place { owner: owner.clone(), section: section.to_owned(), field: field.to_owned() },
        seen: Tokens { access_token: chosen.secret.clone(), refresh_token: refresh_token.clone() },
        need,
        token_url: oauth.token_url.clone(),
        client_id: oauth.client_id.clone(),
        refresh_before: oauth.refresh_before,
    })
}

fn section(hit: &Hit) -> &str {
    hit.provider.section.as_ref().map_or("", |section| section.name.as_str())
}

/// Why another access token is needed, if it is.
fn need(stored: &Stored, now_ms: u64, before: Duration) -> Option<Need> {
    if stored.is_due(now_ms, WAIT_WHILE_GOOD) {
        Some(Need::Expired)
    } else {
        stored.is_due(now_ms, before).then_some(Need::Due)
    }
}

fn is_good(expires_at_ms: Option<u64>, now_ms: u64) -> bool {
    expires_at_ms.is_none_or(|at| at > now_ms)
}

/// The tokens of a login that can be refreshed, and how.
fn refreshable<'s>(
    fields: &'s KnownFields,
    section: &str,
    field: &str,
    stored: &'s Stored,
) -> Option<(&'s Secret, &'s Secret, &'s OAuth)> {
    let Stored::OAuth { access_token, refresh_token: Some(refresh_token), .. } = stored else { return None };
    match &fields.find(section, field).ok()?.kind {
        FieldKind::OAuth2(oauth) => Some((access_token, refresh_token, oauth)),
        FieldKind::Plain => None,
    }
}

/// What a caller is told whose login has expired, and was not refreshed.
fn instead(fault: Fault, caller: &Caller, hit: &Hit, tried: &Tried) -> Fault {
    if fault.kind != Kind::CredentialExpired {
        return fault;
    }
    let moved = tried.0.iter().find(|(_, outcome)| *outcome == Err(NotRefreshed::Moved));
    if let Some((wanted, _)) = moved
        && let Some((owner, credentials)) =
            caller.credentials.iter().find(|(owner, _)| *owner == wanted.place.owner)
    {
        let origins = credentials.origins(section(hit), &wanted.place.field);
        return rewrite::moved(
            &hit.provider,
            Bound { owner, origins },
            &[&wanted.origin().unwrap_or_default()],
        );
    }
    let passing = |outcome: &Result<Fresh, NotRefreshed>| outcome.as_ref().is_err_and(|why| why.may_pass());
    rewrite::expired(hit, tried.0.iter().any(|(_, outcome)| passing(outcome)))
}
