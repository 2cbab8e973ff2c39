//! Chooses the stored credential of a request, and decides whether its login has to be refreshed first.
//!
//! It guarantees: the first owner (user, group, everybody) with a credential for the provider decides. If that
//! credential has expired or is bound to another origin, no other owner's is used: that would spend theirs unnoticed. A request
//! goes without a credential only if the file says so, and no owner has stored a secret of the section.
//!
//! Never reads the clock, never refreshes: the time and the outcome of a refresh come in with the candidates.

use std::{borrow::Cow, sync::Arc, time::Duration};

use super::{
    Authorized,
    optional::{NotChosen, Optional},
    token::{self, RefreshableToken, TokenState},
};
use crate::{
    base::{
        fault::{Fault, FaultKind},
        json_parts::{json_part, token_claim},
        name::Owner,
        numbers::millis,
        secret::Secret,
    },
    language::{
        auth::{BodyHash, BodyInput, FieldValue, FieldValues},
        bind,
        compile::SectionValue,
        fields::{DeclaredFields, FieldKind, OAuth, StoredKind},
        token::{MadeFrom, OwnedValues, Token},
    },
    request::{rewrite::Chosen, table::Hit},
};

/// The longest time that a request waits for a refresh while its access token is still valid. An access token that
/// expires within this time counts as expired.
pub const WAIT_WHILE_GOOD: Duration = Duration::from_secs(1);

/// A stored credential that a request may be sent with.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'s> {
    /// The key, the login's access token, or the whole value of another kind.
    pub secret: &'s Secret,
    /// The kind that it was stored as; none for one that was never stored, which is of the kind that the file declares.
    pub stored_as: Option<StoredKind>,
    /// The rest of a login; none for a key, which never expires.
    pub login: Option<Login<'s>>,
    /// Its owner and origins; none for a value that is no secret, and for one that was never stored but given for this
    /// request alone.
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

/// The stored credentials of one owner. A function from fields to their values has no made tokens.
pub trait StoredBy<'c> {
    /// The value of a field.
    fn value(&self, field: &str) -> Option<Candidate<'c>>;

    /// The made token of a name ([`Token::stored_as`](crate::language::token::Token)).
    fn token(&self, _stored_as: &str) -> TokenState<'c> {
        TokenState::default()
    }

    /// The owner; none for values that were never stored.
    fn owner(&self) -> Option<&'c Owner> {
        None
    }
}

impl<'c, F: Fn(&str) -> Option<Candidate<'c>>> StoredBy<'c> for F {
    fn value(&self, field: &str) -> Option<Candidate<'c>> {
        self(field)
    }
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
    /// The credential; none where the provider's file has no `auth`. Its entry may be the one with `none`.
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

    /// Refuses to send a request without a credential where one is stored that cannot be read. `is_unreadable`: some owner has
    /// such a one in this section.
    pub fn check_readable(&self, is_unreadable: impl FnOnce(&str) -> bool) -> Result<(), Fault> {
        let Some(chosen) = self.chosen.as_ref().filter(|chosen| !chosen.auth.names_secret) else {
            return Ok(());
        };
        let hit = &self.authorized.hit;
        let is_only = !hit
            .provider
            .auth
            .iter()
            .any(|auth| auth.counts_for(hit.index()) && !std::ptr::eq(auth, chosen.auth));
        if is_only || !is_unreadable(hit.section()) {
            return Ok(());
        }
        let message =
            format!("The credential stored for {} cannot be decrypted: store it again", hit.provider.name);
        Err(Fault::new(FaultKind::CredentialMissing, message))
    }

    /// The secrets that a peer of this request may echo: the client's token, and the credential.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let chosen = self.chosen.as_ref();
        self.authorized.token.as_ref().into_iter().chain(chosen.into_iter().flat_map(Chosen::secrets))
    }
}

/// A refresh that is needed.
#[derive(Debug, Clone)]
pub struct Refresh<'c> {
    /// The name of the provider.
    pub provider: &'c str,
    /// The owner of the credential.
    pub owner: &'c Owner,
    /// Its section.
    pub section: &'c str,
    /// Its field, or the name of a made token.
    pub field: &'c str,
    /// The way to another one.
    pub how: RefreshOf<'c>,
    /// The reason.
    pub reason: RefreshReason,
}

/// The way to another access token.
#[derive(Debug, Clone)]
pub enum RefreshOf<'c> {
    /// That of a login.
    Login {
        /// The access token that will not do.
        access_token: &'c Secret,
        /// The token that gets the next one.
        refresh_token: &'c Secret,
        /// The token endpoint, from the provider's file.
        oauth: &'c OAuth,
    },
    /// A token that is made from fields.
    Token {
        /// Its definition.
        token: &'c Arc<Token>,
        /// The values that it is made from.
        values: OwnedValues,
        /// The digest of both.
        made_from: MadeFrom,
        /// The token that will not do, if there is one.
        seen: Option<&'c Secret>,
        /// The origins that the values were saved for.
        origins: &'c [String],
    },
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
enum Refreshable<'c> {
    Login(RefreshableLogin<'c>),
    Token(RefreshableToken<'c>),
}

#[derive(Debug, Clone, Copy)]
struct RefreshableLogin<'c> {
    refresh_token: &'c Secret,
    oauth: &'c OAuth,
}

/// A choice, and how its login is refreshed, if it is one.
struct Choice<'c> {
    chosen: Chosen<'c>,
    owner: Option<&'c Owner>,
    refreshable: Option<Refreshable<'c>>,
    /// The reason to refresh it first.
    reason: Option<RefreshReason>,
}

pub(super) fn decide<'c, S: StoredBy<'c>>(
    authorized: &'c Authorized<'c>,
    owners: impl IntoIterator<Item = S>,
    now_ms: u64,
) -> Result<Credential<'c>, Fault> {
    let choice = pick(&authorized.hit, &authorized.table.fields, owners, now_ms)?;
    let Some(Choice { chosen, owner, refreshable, reason }) = choice else {
        let sendable = Sendable { authorized, chosen: None, owner: None, refreshable: None };
        return Ok(Credential::Ready(sendable));
    };
    let sendable = Sendable { authorized, chosen: Some(chosen), owner, refreshable };
    Ok(match reason.and_then(|reason| sendable.refresh(reason)) {
        Some(refresh) => Credential::Refresh(refresh, sendable),
        None => Credential::Ready(sendable),
    })
}

/// Chooses the credential: of the first owner that has one, the first `[[auth]]` entry for the endpoint whose field has a usable
/// value that its `match` fits. None where the file has no entry. A fault if there is none, if all have expired, or if it was
/// not saved for where the provider leads.
pub fn choose<'c, S: StoredBy<'c>>(
    hit: &'c Hit,
    fields: &'c DeclaredFields,
    owners: impl IntoIterator<Item = S>,
    now_ms: u64,
) -> Result<Option<Chosen<'c>>, Fault> {
    Ok(pick(hit, fields, owners, now_ms)?.map(|choice| choice.chosen))
}

fn pick<'c, S: StoredBy<'c>>(
    hit: &'c Hit,
    fields: &'c DeclaredFields,
    owners: impl IntoIterator<Item = S>,
    now_ms: u64,
) -> Result<Option<Choice<'c>>, Fault> {
    let provider = &hit.provider;
    if provider.auth.is_empty() {
        return Ok(None);
    }
    let mut lacking = None;
    let mut optional = Optional::of(hit);
    let index = hit.index();
    for (owner, stored) in owners.into_iter().enumerate() {
        let (mut has_any, mut expired) = (false, None);
        for auth in provider.auth.iter().filter(|auth| auth.counts_for(index) && auth.names_secret) {
            let (has_secret, found) = look_at((hit, auth), fields, (owner, &stored), now_ms)?;
            has_any |= has_secret;
            match found {
                Found::Nothing => {}
                Found::Part(missing) => lacking = lacking.or(has_any.then_some(missing)),
                Found::Expired(login, way) => {
                    expired.get_or_insert_with(Expired::default).add(login, way);
                }
                Found::All(choice) => return Ok(Some(choice)),
            }
        }
        if let Some(expired) = expired {
            return Err(expired.fault(provider));
        }
        if let Some(optional) = &mut optional {
            optional.look_at(hit, owner, &stored);
        }
        if has_any {
            break;
        }
    }
    match optional.map_or(Err(NotChosen::Lacks(None)), |optional| optional.chosen(hit, now_ms)) {
        Ok((chosen, secrets)) => {
            let used = used_origins(hit, &chosen.values)?;
            let owner = secrets.first().map(|bound| bound.owner);
            secrets.into_iter().try_for_each(|bound| stays(provider, &used, bound))?;
            Ok(Some(Choice { chosen, owner, refreshable: None, reason: None }))
        }
        Err(NotChosen::Lacks(needed)) => Err(missing(hit, lacking.or(needed))),
        Err(NotChosen::Unusable(fault)) => Err(fault),
    }
}

/// What an owner has stored of that which an entry sends.
enum Found<'c> {
    /// Nothing that fits.
    Nothing,
    /// A part: this value is absent.
    Part(&'c str),
    /// A login that has expired, and the way to refresh it.
    Expired(Candidate<'c>, Option<RefreshableLogin<'c>>),
    /// All of it.
    All(Choice<'c>),
}

/// Looks at what an owner has stored for an entry. True if there is a secret among it, also one that does not fit.
fn look_at<'c>(
    (hit, auth): (&'c Hit, &'c bind::Auth),
    fields: &'c DeclaredFields,
    (owner, stored): (usize, &impl StoredBy<'c>),
    now_ms: u64,
) -> Result<(bool, Found<'c>), Fault> {
    let candidate = match auth.field.as_deref().map(|field| (field, stored.value(field))) {
        Some((_, None)) => return Ok((false, Found::Nothing)),
        Some((field, Some(candidate))) => {
            checked_kind(hit, field, candidate)?;
            Some(candidate)
        }
        None => None,
    };
    let Gathered { values, secrets, missing, has_stored: _, has_secret, has_named } =
        gather(hit, auth, stored)?;
    let has_secret = has_secret || candidate.is_some();
    if candidate.is_none() && !has_named {
        return Ok((has_secret, Found::Nothing));
    }
    if let Some(missing) = missing {
        return Ok((has_secret, Found::Part(missing)));
    }
    if let Some(token) = &auth.token {
        let state = stored.token(&token.stored_as);
        let choice = of_token(hit, (owner, auth, token), (values, secrets), state, now_ms)?;
        // Without a secret among its values, nothing else names the owner.
        let choice = Choice { owner: choice.owner.or(stored.owner()), ..choice };
        return Ok((has_secret, Found::All(choice)));
    }
    let field = auth.field.as_deref().unwrap_or_default();
    let way = candidate.and_then(|one| refreshable(one, fields, hit.section(), field));
    let (secret, bound) = match candidate.map(|one| (one, usable(one, way.is_some(), now_ms))) {
        Some((candidate, None)) => return Ok((has_secret, Found::Expired(candidate, way))),
        Some((_, Some((secret, bound)))) => (Some(secret), bound),
        None => (None, None),
    };
    let matches = |secret: &Secret| auth.matches.as_ref().is_none_or(|glob| glob.matches(secret.expose()));
    if !secret.is_none_or(matches) {
        return Ok((has_secret, Found::Nothing));
    }
    let used = used_origins(hit, &values)?;
    let owner_of = bound.or(secrets.first().copied()).map(|bound| bound.owner);
    bound.into_iter().chain(secrets).try_for_each(|bound| stays(&hit.provider, &used, bound))?;
    let chosen = Chosen { owner, auth, secret, reply: &[], values, now_ms, body: None };
    let untried = candidate.and_then(|one| one.login).filter(|login| login.attempt.is_none());
    let reason = untried.zip(way).and_then(|(login, how)| reason(login, how.oauth, now_ms));
    let refreshable = way.map(Refreshable::Login);
    Ok((has_secret, Found::All(Choice { chosen, owner: owner_of, refreshable, reason })))
}

/// The choice of an entry with a made token.
fn of_token<'c>(
    hit: &'c Hit,
    (owner, auth, token): (usize, &'c bind::Auth, &'c Arc<Token>),
    (values, secrets): (FieldValues<'c>, Vec<Bound<'c>>),
    state: TokenState<'c>,
    now_ms: u64,
) -> Result<Choice<'c>, Fault> {
    let provider = &hit.provider;
    let mut used = used_origins(hit, &values)?.into_owned();
    let endpoint = token.origins.of(|index| values.get(index)).map_err(|bind::NoOrigin| no_host(provider))?;
    used.extend_from_slice(&endpoint);
    let first = secrets.first().copied();
    secrets.into_iter().try_for_each(|bound| stays(provider, &used, bound))?;
    let origins = first.map(|bound| bound.origins).unwrap_or_default();
    let made = token::choose(provider, (token, &values), state, (origins, now_ms))?;
    let token::Chosen { secret, fields, refreshable, reason } = made;
    let chosen = Chosen { owner, auth, secret: Some(secret), reply: fields, values, now_ms, body: None };
    let refreshable = Some(Refreshable::Token(refreshable));
    Ok(Choice { chosen, owner: first.map(|bound| bound.owner), refreshable, reason })
}

/// The fault of a request without a credential. `lacking`: a field that an owner has not stored beside others.
fn missing(hit: &Hit, lacking: Option<&str>) -> Fault {
    let name = &hit.provider.name;
    let message = match (lacking, wanted_place(hit)) {
        (Some(field), _) => format!(
            "The credential stored for {name} is incomplete: `{field}` of the section `{}` is missing",
            hit.section()
        ),
        (None, Some(place)) => format!(
            "No API key configured for {name}. Store one on the page `/config`, \
             or with `tollgate credential set USER {place}`"
        ),
        (None, None) => format!("No API key configured for {name}"),
    };
    Fault::new(FaultKind::CredentialMissing, message)
}

/// The section and field to store a credential of an endpoint in; the section alone of one that is made of several fields. Of
/// several it is the last: files have logins before plain keys. None if the provider has no credentials.
fn wanted_place(hit: &Hit) -> Option<String> {
    let section = &hit.provider.section.as_ref()?.name;
    let mut entries = hit.provider.auth.iter().filter(|auth| auth.names_secret);
    let last = entries.rfind(|auth| auth.counts_for(hit.index()));
    Some(match last.and_then(|auth| auth.field.as_ref()) {
        Some(field) => format!("{section}.{field}"),
        None => section.clone(),
    })
}

/// The values that a request with an entry reads, all of one owner.
#[derive(Default)]
pub(super) struct Gathered<'c> {
    pub(super) values: FieldValues<'c>,
    /// The stored secrets among them.
    pub(super) secrets: Vec<Bound<'c>>,
    /// The first field that is needed and absent.
    pub(super) missing: Option<&'c str>,
    /// True if one of the values is stored.
    pub(super) has_stored: bool,
    /// True if a secret among them is.
    pub(super) has_secret: bool,
    /// True if a secret that the entry names is.
    pub(super) has_named: bool,
}

pub(super) fn gather<'c>(
    hit: &'c Hit,
    auth: &'c bind::Auth,
    stored: &impl StoredBy<'c>,
) -> Result<Gathered<'c>, Fault> {
    let mut gathered = Gathered::default();
    let Some(section) = &hit.provider.section else { return Ok(gathered) };
    let is_of_token = |index: u16| auth.token.as_ref().is_some_and(|token| token.reads.contains(&index));
    let reads = [&hit.provider.reads, &hit.endpoint().reads, &auth.reads];
    for index in reads.into_iter().flatten() {
        let value = &section.values[usize::from(*index)];
        let candidate = stored.value(&value.field);
        let text = match candidate {
            Some(candidate) => text_of(value, checked_kind(hit, &value.field, candidate)?, candidate),
            None => None,
        };
        match (text, &value.default) {
            (Some(text), _) => {
                if let Some(Err(problem)) = value.rule.as_ref().map(|rule| rule.check(text.expose())) {
                    return Err(unusable_value(hit, &value.name, &format!("{problem}: store another one")));
                }
                let is_secret = value.rule.is_none();
                gathered.has_stored = true;
                gathered.has_secret |= is_secret;
                gathered.has_named |= is_secret && auth.reads.contains(index);
                gathered.values.push(*index, FieldValue::Stored(text));
                gathered.secrets.extend(candidate.and_then(|one| one.bound));
            }
            (None, Some(default)) => gathered.values.push(*index, FieldValue::Default(default)),
            // A token is made from all that it names.
            (None, None) if value.optional && !is_of_token(*index) => {}
            (None, None) => {
                gathered.missing.get_or_insert(&value.name);
            }
        }
    }
    Ok(gathered)
}

/// The text that templates name; none for a part that is absent.
fn text_of<'c>(value: &SectionValue, kind: StoredKind, candidate: Candidate<'c>) -> Option<Cow<'c, Secret>> {
    let Some(pointer) = &value.pointer else { return Some(Cow::Borrowed(candidate.secret)) };
    // The claims are those of the token that is sent.
    let text = match candidate.login.and_then(|login| login.attempt) {
        Some(Attempt::Refreshed { access_token, .. }) => access_token.expose(),
        Some(_) | None => candidate.secret.expose(),
    };
    let part = match (kind, candidate.stored_as) {
        (StoredKind::Document, _) => json_part(text, pointer),
        (StoredKind::Login, Some(_)) => token_claim(text, pointer),
        // Tests and tools may give the claims instead of a token.
        (StoredKind::Login, None) => token_claim(text, pointer).or_else(|| json_part(text, pointer)),
        (StoredKind::Secret | StoredKind::Value, _) => None,
    };
    part.map(Cow::Owned)
}

/// The kind of a credential. Refuses one that was stored as another kind than the file declares: a secret would be shown or become
/// a part of a host, and a value that is bound to no origins would be sent as a secret.
fn checked_kind(hit: &Hit, field: &str, candidate: Candidate<'_>) -> Result<StoredKind, Fault> {
    let fields = hit.provider.section.iter().flat_map(|section| &section.fields);
    let declared = fields.map(|one| &one.value).find(|one| one.name == field);
    let declared = declared.map_or(StoredKind::Secret, StoredKind::of);
    match candidate.stored_as {
        Some(stored) if stored != declared => {
            let problem = format!("was stored as {stored}, and the file declares {declared}: store it again");
            Err(unusable_value(hit, field, &problem))
        }
        Some(_) | None => Ok(declared),
    }
}

/// The fault of a stored value that the file, which may have changed, does not accept. `problem` says what to do.
fn unusable_value(hit: &Hit, name: &str, problem: &str) -> Fault {
    let message = format!("The value stored as `{name}` for {} {problem}", hit.provider.name);
    Fault::new(FaultKind::CredentialMissing, message)
}

/// The origins that the request reaches.
fn used_origins<'p>(hit: &'p Hit, values: &FieldValues<'_>) -> Result<Cow<'p, [String]>, Fault> {
    let provider = &hit.provider;
    provider.used_by(hit.endpoint()).of(|index| values.get(index)).map_err(|bind::NoOrigin| no_host(provider))
}

/// The fault of values that make no host.
fn no_host(provider: &bind::Provider) -> Fault {
    let message = format!("The values stored for {} make no host: store them again", provider.name);
    Fault::new(FaultKind::CredentialMissing, message)
}

/// The way to refresh a login. It needs a refresh token, and a file that names the token endpoint.
fn refreshable<'c>(
    candidate: Candidate<'c>,
    fields: &'c DeclaredFields,
    section: &str,
    field: &str,
) -> Option<RefreshableLogin<'c>> {
    let refresh_token = candidate.login?.refresh_token?;
    match &fields.find(section, field).ok()?.kind {
        FieldKind::OAuth2(oauth) => Some(RefreshableLogin { refresh_token, oauth }),
        FieldKind::Secret | FieldKind::Value(_) | FieldKind::Json(_) => None,
    }
}

/// The secret to send, now or once it is refreshed; none, if it has expired for good.
fn usable(candidate: Candidate<'_>, refreshable: bool, now_ms: u64) -> Option<(&Secret, Option<Bound<'_>>)> {
    let Candidate { secret, stored_as: _, login, bound } = candidate;
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
fn stays(provider: &bind::Provider, used: &[String], bound: Bound<'_>) -> Result<(), Fault> {
    let used = used.iter().filter(|used| !bound.origins.contains(used));
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
    fn add(&mut self, candidate: Candidate<'c>, refreshable: Option<RefreshableLogin<'c>>) {
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
        Self { secret, stored_as: None, login: None, bound: None }
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
        self.chosen.as_ref().map_or(BodyInput::Nothing, |chosen| chosen.auth.kind.needs().body)
    }

    /// Provides the hash of the body, at the time at which it is sent.
    pub fn set_body(&mut self, hash: BodyHash, now_ms: u64) {
        if let Some(chosen) = &mut self.chosen {
            chosen.body = Some(hash);
            chosen.now_ms = now_ms;
        }
    }

    /// The same for a body in memory, for tools that send nothing.
    #[must_use]
    pub fn with_body(mut self, body: &[u8]) -> Self {
        self.chosen = self.chosen.map(|chosen| chosen.with_body(body));
        self
    }

    /// The hash of the body, if it was provided.
    pub fn body_hash(&self) -> Option<BodyHash> {
        self.chosen.as_ref()?.body
    }

    /// True if the credential writes a header of this name.
    pub fn writes(&self, name: &str) -> bool {
        self.chosen.as_ref().is_some_and(|chosen| chosen.auth.kind.writes(name))
    }

    /// True for a login that can be refreshed, and for a made token: then a 401 of the upstream is answered by one retry.
    pub fn is_refreshable(&self) -> bool {
        self.refreshable.is_some()
    }

    /// The refresh of its login for this reason; none if that cannot be refreshed.
    pub fn refresh(&self, reason: RefreshReason) -> Option<Refresh<'c>> {
        let (Chosen { auth, secret, values, .. }, owner) = (self.chosen.as_ref()?, self.owner?);
        let (field, how) = match self.refreshable? {
            Refreshable::Login(RefreshableLogin { refresh_token, oauth }) => {
                let access_token = (*secret)?;
                (auth.field.as_deref()?, RefreshOf::Login { access_token, refresh_token, oauth })
            }
            Refreshable::Token(RefreshableToken { token, made_from, seen, origins }) => {
                let values = OwnedValues::of(token, values);
                let how = RefreshOf::Token { token, values, made_from, seen, origins };
                (token.stored_as.as_str(), how)
            }
        };
        let hit = &self.authorized.hit;
        let (provider, section) = (hit.provider.name.as_str(), hit.section());
        Some(Refresh { provider, owner, section, field, how, reason })
    }

    /// True if it is sent with another access token of the same login, or another made token, than a refused one. `field`: as
    /// in [`Refresh`].
    pub fn replaces(&self, owner: &Owner, field: &str, access_token: Option<&Secret>) -> bool {
        let same = self.owner.is_some_and(|mine| mine == owner);
        let differs = |new: &Chosen<'_>| {
            let made = new.auth.token.as_ref().map(|token| token.stored_as.as_str());
            made.or(new.auth.field.as_deref()) == Some(field) && new.secret != access_token
        };
        same && self.chosen.as_ref().is_some_and(differs)
    }
}
