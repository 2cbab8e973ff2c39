//! Explains one request: endpoint, credential, gateway, egress, URL, and for each header the rule that decided about
//! it, with its position. It runs the functions that requests run, and records their decisions.
//!
//! It sends nothing and looks nothing up. The result holds no secret: stand-ins replace secrets, shown as `***`.
//!
//! Read next: `document`, the result; `positions`, the position of each rule; `limits`.

mod document;
mod limits;
mod mask;
mod positions;
mod show;
mod reasons;

use std::{collections::BTreeMap, sync::Arc};

use http::{
    HeaderMap, HeaderName,
    header::{ACCEPT_ENCODING, AUTHORIZATION},
    request::Parts,
};

use crate::{
    base::{
        budget::Budget,
        diag::Sources,
        fault::Fault,
        name::{FileName, Owner, Scope},
        secret::Secret,
    },
    language::{
        auth::{FieldValue, FieldValues},
        bind::{self, Lookup, OverlaySource},
        compile::{
            self, Files, Tree, Var,
            metering::{Ask, WhenMissing},
        },
        fields::StoredKind,
        syntax::Roots,
    },
    request::{
        decide::{self, Begun, BodyInput, Bound, CallerFacts, Candidate, Listener, Login, TokenKind},
        meter::ask,
        rewrite::{
            self, Chosen, Fate, Fresh, RuleTable, TokenLocation, TokenPart, TokenSearch, Withheld, Witness,
        },
        table::{self, Hit, Table},
    },
};

pub use document::*;
pub use limits::{Calling, Counting, NothingCounted};

use mask::{Mask, STAND_IN, STAND_IN_SECRET};
use positions::{RuleLocator, engine_step};

/// The time of all explained requests. [`StoredValue::Expired`] marks expired logins, so that no clock is needed.
const NOW_MS: u64 = 0;
/// The body that hashes are computed of: `explain` is given none.
const NO_BODY: &[u8] = b"";

/// The files that a request is explained with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The files as written.
    pub files: &'a Files,
    /// Their texts.
    pub sources: &'a Sources,
    /// Their route table.
    pub table: &'a Table,
    /// The providers of the table, before vars are filled in.
    pub providers: &'a [Arc<compile::Provider>],
    /// For a shared file's own test: the file, and the test's index.
    pub fixture: Option<(&'a str, usize)>,
}

/// The value of a stored credential, as far as it is known.
#[derive(Debug, Clone)]
pub enum StoredValue {
    /// A known value: of a login, its access token; of a document, its text.
    Value(Secret),
    /// A value that was not decrypted, since no decision depends on it.
    Present,
    /// A login that has expired.
    Expired,
    /// A value that cannot be decrypted, and the reason.
    Unreadable(String),
}

/// A stored credential of one field.
#[derive(Debug, Clone)]
pub struct StoredField {
    /// Its value.
    pub value: StoredValue,
    /// The kind that it was stored as, if that is known.
    pub stored_as: Option<StoredKind>,
    /// The origins that it was saved for.
    pub origins: Vec<String>,
}

/// The stored credentials of one owner.
#[derive(Debug, Clone)]
pub struct OwnerCredentials {
    /// The owner. None for credentials of this request alone: they are not bound to origins.
    pub owner: Option<Owner>,
    /// By field of the provider's credentials section.
    pub fields: BTreeMap<String, StoredField>,
}

/// Facts about a caller that decide besides the credentials. The owned form of [`CallerFacts`].
#[derive(Debug, Clone)]
pub struct Access {
    /// True if the user is disabled.
    pub disabled: bool,
    /// The token's kind.
    pub kind: TokenKind,
    /// The provider of a paste token.
    pub paste: Option<FileName>,
    /// The token's scopes. None for every provider.
    pub scopes: Option<Vec<Scope>>,
}

/// The caller of a request.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Credentials that the caller may use, in order of precedence.
    pub owners: Vec<OwnerCredentials>,
    /// The user's name. Empty if no user is named.
    pub user: String,
    /// Facts besides the credentials.
    pub access: Access,
    /// The reason why a field has no credential.
    pub absent_reason: String,
    /// What decides about limits besides.
    pub calling: Calling,
}

impl Caller {
    /// A caller with these credentials, for this request alone.
    pub fn given(
        fields: impl IntoIterator<Item = (String, StoredValue)>,
        absent_reason: impl Into<String>,
    ) -> Self {
        let stored = |(field, value)| (field, StoredField { value, stored_as: None, origins: Vec::new() });
        let given = OwnerCredentials { owner: None, fields: fields.into_iter().map(stored).collect() };
        Self {
            owners: vec![given],
            user: String::new(),
            access: Access::default(),
            absent_reason: absent_reason.into(),
            calling: Calling::default(),
        }
    }

    /// True if a credential of the section cannot be decrypted.
    fn has_unreadable(&self) -> bool {
        let mut fields = self.owners.iter().flat_map(|owned| owned.fields.values());
        fields.any(|field| matches!(field.value, StoredValue::Unreadable(_)))
    }

    /// For each owner, a function from a field to its credential.
    fn candidates<'c>(&'c self) -> impl Iterator<Item = impl Fn(&str) -> Option<Candidate<'c>>> {
        self.owners.iter().map(|owned| move |field: &str| owned.candidate(field))
    }
}

impl Default for Access {
    fn default() -> Self {
        let CallerFacts { disabled, kind, paste: _, scopes: _, token_part: _ } = CallerFacts::UNRESTRICTED;
        Self { disabled, kind, paste: None, scopes: None }
    }
}

impl Access {
    fn facts(&self) -> CallerFacts<'_> {
        let Self { disabled, kind, paste, scopes } = self;
        CallerFacts {
            disabled: *disabled,
            kind: *kind,
            paste: paste.as_ref(),
            scopes: scopes.as_deref(),
            token_part: None,
        }
    }
}

impl OwnerCredentials {
    /// The credential of a field that a request may use.
    fn candidate(&self, field: &str) -> Option<Candidate<'_>> {
        let stored = self.fields.get(field)?;
        let StoredField { value, stored_as, origins } = stored;
        let owner = self.owner.as_ref().filter(|_| *stored_as != Some(StoredKind::Value));
        let bound = owner.map(|owner| Bound { owner, origins });
        let secret = |secret| Candidate { bound, stored_as: *stored_as, ..Candidate::given(secret) };
        Some(match value {
            StoredValue::Value(value) => secret(value),
            StoredValue::Present => secret(&STAND_IN_SECRET),
            StoredValue::Expired => {
                let login = Login { expires_at_ms: Some(NOW_MS), refresh_token: None, attempt: None };
                Candidate { login: Some(login), ..secret(&STAND_IN_SECRET) }
            }
            // A server skips it in the same way.
            StoredValue::Unreadable(_) => return None,
        })
    }
}

/// Returns a var's value, for its owner, its name and the var.
pub type Values<'a> = &'a dyn Fn(bind::VarOwner<'_>, &str, &Var) -> Lookup;

/// Explains a request. Nothing is known of what was used of limits.
pub fn explain(context: Context<'_>, head: &Parts, values: Values<'_>, caller: &Caller) -> Explanation {
    explain_counted(context, head, values, caller, &NothingCounted)
}

/// Explains a request, with what was used of limits.
pub fn explain_counted(
    context: Context<'_>,
    head: &Parts,
    values: Values<'_>,
    caller: &Caller,
    counting: &dyn Counting,
) -> Explanation {
    let (presented, location) = rewrite::token_at(head, context.table).unzip();
    let token = presented.map(|presented| TokenPart::assumed(presented.expose()).take(presented));
    let token = token.as_ref();
    // Nothing else shows a part of the path then.
    let in_path = |token: Option<&Secret>| TokenSearch::new(token).is_in(head.uri.path().as_bytes());
    let path_holds_token =
        in_path(token) || decide::session_secrets(&head.headers).any(|session| in_path(Some(&session)));
    let path = if path_holds_token { mask::MASKED } else { head.uri.path() };
    let request = Request { method: head.method.to_string(), path: path.to_owned() };
    let fault = decide_request(context, head, caller).err().map(|fault| error_reply(&fault));
    let (route, miss) = match (reasons::own_answer(head, context.table), endpoint(context, head)) {
        (Some(own), _) => (None, Some(Miss { own: Some(own), fault, nearest: None })),
        (None, _) if path_holds_token => (None, Some(Miss { own: None, fault, nearest: None })),
        (None, Some((hit, provider))) => {
            let explainer = Explainer { context, head, token, hit: &hit, provider, values, caller, counting };
            (Some(explainer.route(fault)), None)
        }
        (None, None) => (None, Some(miss(context, head, fault))),
    };
    Explanation { request, token: location.map(token_at), caller: caller_info(caller), route, miss }
}

fn token_at(location: TokenLocation<'_>) -> Token {
    match location {
        TokenLocation::Header(name) => Token { r#in: "header".into(), name: name.to_owned(), scheme: None },
        TokenLocation::Query(name) => Token { r#in: "query".into(), name: name.to_owned(), scheme: None },
        TokenLocation::Subprotocol(prefix) => {
            Token { r#in: "subprotocol".into(), name: prefix.to_owned(), scheme: None }
        }
        TokenLocation::Scheme(scheme) => Token {
            r#in: "header".into(),
            name: AUTHORIZATION.as_str().to_owned(),
            scheme: Some(scheme.to_owned()),
        },
    }
}

/// The endpoint, and its provider before vars are filled in.
fn endpoint<'a>(context: Context<'a>, head: &Parts) -> Option<(Hit, &'a compile::Provider)> {
    let hit = context.table.find_canonical(&head.method, head.uri.path())?;
    let provider = context.providers.iter().find(|one| one.name == hit.provider.name)?;
    Some((hit, provider))
}

fn caller_info(caller: &Caller) -> CallerInfo {
    let Access { disabled, kind, paste, scopes } = &caller.access;
    CallerInfo {
        user: Some(&caller.user).filter(|user| !user.is_empty()).cloned(),
        disabled: *disabled,
        kind: kind.as_str().into(),
        paste: paste.as_ref().map(FileName::to_string),
        scopes: scopes.as_ref().map(|scopes| scopes.iter().map(Scope::to_string).collect()),
    }
}

/// The decision of [`decide`], without IO: the token counts as valid, and a login that can be refreshed as fresh.
fn decide_request(context: Context<'_>, head: &Parts, caller: &Caller) -> Result<(), Fault> {
    let facts = caller.access.facts();
    match decide::begin(head, context.table, Listener::ANY)? {
        Begun::Own(_) | Begun::Page(_) | Begun::Metrics(_) => Ok(()),
        Begun::Admin(call) => call.authenticated().map(drop),
        Begun::SelfService(call) => call.authenticated(facts).map(drop),
        Begun::Provider(call) => {
            let authorized = call.authenticated(facts)?.in_scope()?;
            let sendable = authorized.credential(caller.candidates(), NOW_MS)?.without_refresh();
            sendable.check_readable(|_| caller.has_unreadable())?;
            sendable.with_body(NO_BODY).request(decide::body_bytes(head), Fresh::STAND_IN).map(drop)
        }
    }
}

/// A request with an endpoint.
struct Explainer<'a> {
    context: Context<'a>,
    head: &'a Parts,
    /// The client's gateway token, without a vendor's prefix.
    token: Option<&'a Secret>,
    hit: &'a Hit,
    provider: &'a compile::Provider,
    values: Values<'a>,
    caller: &'a Caller,
    counting: &'a dyn Counting,
}

/// Records the fates of headers and query parameters by name, in order of first occurrence.
#[derive(Default)]
struct FateRecorder {
    headers: Vec<(HeaderName, Vec<Fate>)>,
    query: Vec<(String, Vec<Fate>)>,
}

impl Witness for FateRecorder {
    fn header(&mut self, name: &HeaderName, fate: Fate) {
        record(&mut self.headers, name, fate);
    }

    fn query(&mut self, name: &str, fate: Fate) {
        record(&mut self.query, &name.to_owned(), fate);
    }
}

/// Records equal fates of successive lines once.
fn record<N: Clone + PartialEq>(recorded: &mut Vec<(N, Vec<Fate>)>, name: &N, fate: Fate) {
    let at = recorded.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
        recorded.push((name.clone(), Vec::new()));
        recorded.len() - 1
    });
    let fates = &mut recorded[at].1;
    if fates.last() != Some(&fate) {
        fates.push(fate);
    }
}

/// The credential that is used: the indices of its `[[auth]]` entry and of its owner.
#[derive(Clone, Copy)]
struct Used {
    entry: usize,
    owner: usize,
}

/// A request as it would be sent upstream.
struct Rewritten {
    url: String,
    headers: HeaderMap,
    fates: FateRecorder,
}

impl Explainer<'_> {
    /// The route, also if `fault` refuses the request.
    fn route(&self, fault: Option<ErrorReply>) -> Route {
        let chosen = self.chosen_ignoring_origins();
        let rewritten = self.rewrite(self.hit, chosen.as_ref());
        let used = chosen.as_ref().map(|used| Used { entry: self.auth_index(used), owner: used.owner });
        let entry = used.map(|used| used.entry);
        let locator =
            RuleLocator { context: self.context, provider: self.provider, hit: self.hit, auth: entry };
        let owner = used.and_then(|used| self.owner(used));
        let limits = limits::limits(self, owner, self.hit.provider.auth.is_empty());
        let (mask, rewritten) = self.masked(entry, chosen.as_ref(), rewritten.ok());
        let rewritten = rewritten.unwrap_or_else(|| Rewritten {
            url: STAND_IN.to_owned(),
            headers: HeaderMap::new(),
            fates: FateRecorder::default(),
        });
        Route {
            endpoint: self.endpoint(&locator),
            auth: self.auth(&locator, used),
            owner: owner.map(Owner::to_string),
            gateways: self.gateways(&locator),
            egresses: self.egresses(&locator),
            tls: self.tls(&locator),
            method: self.head.method.to_string(),
            url: mask.shown(&rewritten.url),
            headers: self.headers(&rewritten, &mask, &locator),
            query: self.query(&rewritten, &locator),
            timeouts: locator.timeouts(),
            max_body: self.hit.provider.max_body,
            signed_body: entry.and_then(|entry| self.signed_body(entry)),
            returned_urls: locator.returned_urls(),
            metering: locator.metering(self.ask()),
            telemetry: locator.telemetry(),
            fault: fault.or_else(|| limits.fault.clone()),
            limits,
        }
    }

    /// The credential that would be sent if it were not bound to origins. A refusal for its origins still shows it.
    fn chosen_ignoring_origins(&self) -> Option<Chosen<'_>> {
        let unbound = self.caller.candidates().map(|stored| {
            move |field: &str| stored(field).map(|candidate| Candidate { bound: None, ..candidate })
        });
        let chosen = decide::choose(self.hit, &self.context.table.fields, unbound, NOW_MS).ok().flatten();
        chosen.map(|chosen| chosen.with_body(NO_BODY))
    }

    /// The owner of the credential that is used.
    fn owner(&self, used: Used) -> Option<&Owner> {
        self.caller.owners.get(used.owner)?.owner.as_ref()
    }

    fn auth_index(&self, chosen: &Chosen<'_>) -> usize {
        let auth = &self.hit.provider.auth;
        auth.iter().position(|one| std::ptr::eq(one, chosen.auth)).unwrap_or(auth.len())
    }

    /// The values of a request, with a stand-in for each secret. A value with a rule is shown: what was stored as another kind is not
    /// chosen.
    fn stand_in_values<'c>(hit: &Hit, chosen: Option<&Chosen<'c>>) -> FieldValues<'c> {
        let mut values = FieldValues::default();
        let section = hit.provider.section.as_ref();
        for (index, value) in chosen.into_iter().flat_map(|chosen| chosen.values.iter()) {
            let rule = section.and_then(|section| section.values.get(usize::from(*index))?.rule.as_ref());
            let shown = if rule.is_some() { value.clone() } else { FieldValue::stored(&STAND_IN_SECRET) };
            values.push(*index, shown);
        }
        values
    }

    /// The maximum size of the body, if an entry needs its hash.
    fn signed_body(&self, entry: usize) -> Option<u64> {
        let provider = &self.hit.provider;
        match provider.auth.get(entry)?.kind.needs().body {
            BodyInput::Nothing => None,
            BodyInput::Sha256 => Some(provider.signed_body.min(provider.max_body)),
        }
    }

    /// The request with a stand-in for each secret. If stand-ins make it invalid, the given request, masked as a whole.
    fn masked(
        &self,
        used: Option<usize>,
        chosen: Option<&Chosen<'_>>,
        rewritten: Option<Rewritten>,
    ) -> (Mask, Option<Rewritten>) {
        let value = |owner: bind::VarOwner<'_>, name: &str, var: &Var| {
            (self.values)(owner, name, var).map(|value| value.map(|value| mask::stand_in(var, value)))
        };
        let (bound, _) = bind::try_bind(self.provider, value, bind::TlsMaker::default(), &Budget::default());
        let masked = bound.and_then(|bound| {
            let table = Table::new(vec![Arc::new(bound)], Vec::new(), &[]);
            let hit = table.find_canonical(&self.head.method, self.head.uri.path())?;
            let auth = used.and_then(|index| hit.provider.auth.get(index));
            let chosen = auth.map(|auth| Chosen {
                // They are stand-ins already.
                reply: chosen.map(|chosen| chosen.reply).unwrap_or_default(),
                owner: 0,
                auth,
                secret: (auth.field.is_some() || auth.token.is_some()).then(|| &*STAND_IN_SECRET),
                values: Self::stand_in_values(&hit, chosen),
                now_ms: NOW_MS,
                body: None,
            });
            let chosen = chosen.map(|chosen| chosen.with_body(NO_BODY));
            self.rewrite(&hit, chosen.as_ref()).ok()
        });
        match masked {
            Some(masked) => (Mask::StandIns, Some(masked)),
            None => (Mask::All, rewritten),
        }
    }

    fn endpoint(&self, locator: &RuleLocator<'_>) -> Endpoint {
        let endpoint = self.hit.endpoint();
        let path = self.head.uri.path();
        let matched = endpoint.paths.iter().find(|one| {
            let mut tree = Tree::default();
            tree.insert(&one.pattern, ());
            tree.find_with_slashes(path, |()| Some(())).is_some()
        });
        // The first path numbers the captures. Aliases have the same ones.
        let names = endpoint.paths.first().map(|one| one.pattern.captures()).unwrap_or_default();
        let slot = |index: usize| u8::try_from(index).unwrap_or_default();
        let capture = |index| bind::capture(path, &self.hit.captures, slot(index)).to_owned();
        Endpoint {
            provider: self.provider.name.to_string(),
            name: endpoint.name.to_string(),
            method: endpoint.method.to_string(),
            path: matched.map(|one| one.text.clone()).unwrap_or_default(),
            captures: names.iter().enumerate().map(|(index, name)| (name.clone(), capture(index))).collect(),
            upgrade: endpoint.upgrade.map(|upgrade| upgrade.as_str().into()),
            origin: endpoint.origin.as_ref().map(|origin| origin.name.clone()),
            sets: self
                .provider
                .endpoints
                .get(self.hit.index())
                .map(|one| one.rules.sets.clone())
                .unwrap_or_default(),
            at: locator.endpoint_at().or_else(|| matched.and_then(|one| locator.position(&one.at))),
        }
    }

    fn auth(&self, locator: &RuleLocator<'_>, used: Option<Used>) -> Vec<Choice> {
        let one = |(index, auth): (usize, &compile::Auth)| Choice {
            name: self.provider.auth_name(auth),
            used: used.is_some_and(|used| used.entry == index),
            reason: match used {
                Some(used) if used.entry == index && auth.kind.is_none() => reasons::NONE_STORED.to_owned(),
                Some(used) if used.entry == index => {
                    let token = auth.token.map(|token| &self.provider.tokens[token]);
                    reasons::matching(auth, token, self.owner(used), &self.caller.user)
                }
                Some(_) | None => self.unused_reason(index, auth, used),
            },
            at: locator.position(&auth.at),
        };
        self.provider.auth.iter().enumerate().map(one).collect()
    }

    /// The reason why an entry is not used.
    fn unused_reason(&self, index: usize, auth: &compile::Auth, used: Option<Used>) -> String {
        if !auth.counts_for(&self.hit.endpoint().name) {
            return reasons::other_endpoints(auth);
        }
        if auth.kind.is_none() {
            return if used.is_some() { reasons::NOT_REACHED } else { reasons::SECRET_STORED }.to_owned();
        }
        let looked_at = |owner| used.is_none_or(|used| (owner, index) < (used.owner, used.entry));
        let owners = self.caller.owners.iter().enumerate().filter(|(owner, _)| looked_at(*owner));
        let names = self.provider.fields_of(auth);
        let mut stored =
            owners.filter_map(|(_, owned)| names.iter().find_map(|name| owned.fields.get(*name)));
        match stored.next().map(|stored| &stored.value) {
            Some(StoredValue::Expired) => reasons::EXPIRED.to_owned(),
            Some(StoredValue::Unreadable(why)) => format!("the stored credential cannot be decrypted: {why}"),
            Some(StoredValue::Value(_) | StoredValue::Present) => reasons::does_not_match(auth),
            None if used.is_some_and(|used| used.entry < index) => reasons::NOT_REACHED.to_owned(),
            None => used
                .and_then(|used| self.outranked_reason(auth, used))
                .unwrap_or_else(|| self.caller.absent_reason.clone()),
        }
    }

    /// The reason if an owner of lower precedence has a credential for the entry.
    fn outranked_reason(&self, auth: &compile::Auth, used: Used) -> Option<String> {
        let mut below = self.caller.owners.iter().skip(used.owner + 1);
        let names = self.provider.fields_of(auth);
        let has = |owned: &&OwnerCredentials| names.iter().any(|name| owned.fields.contains_key(*name));
        let owner = below.find(has)?.owner.as_ref()?;
        Some(reasons::outranked(owner, self.owner(used)?, &self.caller.user))
    }

    fn gateways(&self, locator: &RuleLocator<'_>) -> Vec<Choice> {
        let used = self.hit.provider.gateway.as_ref();
        let one = |gateway: &compile::GatewayUse| {
            let name = &gateway.gateway.name;
            let mut unset = self.unset(Some(name), gateway.gateway.vars.keys());
            unset.extend(self.unset(None, &gateway.when));
            Choice {
                name: name.to_string(),
                used: used == Some(name),
                reason: reasons::gateway(used.map(FileName::as_str), name.as_str(), &unset),
                at: locator.position(&gateway.at),
            }
        };
        self.provider.gateways.iter().map(one).collect()
    }

    fn egresses(&self, locator: &RuleLocator<'_>) -> Vec<Choice> {
        let one = |(index, egress): (usize, &compile::Egress)| {
            let unset = self.unset(None, &egress.when);
            let source = OverlaySource::Egress(index);
            Choice {
                name: (index + 1).to_string(),
                used: self.hit.provider.overlays.iter().any(|overlay| overlay.of == source),
                reason: reasons::egress(&egress.when, &unset),
                at: locator.position(&egress.at),
            }
        };
        self.provider.egress.iter().enumerate().map(one).collect()
    }

    /// The authorities and the client certificate of a `tls` table.
    fn tls(&self, locator: &RuleLocator<'_>) -> Vec<Choice> {
        let Some(compile::Tls { ca, roots, client, at: _ }) = &self.provider.tls else { return Vec::new() };
        let used = self.hit.provider.tls.is_some();
        let one = |name: &str, pem: &compile::PemVar, how: &str| Choice {
            name: name.to_owned(),
            used,
            reason: reasons::tls(used, &pem.source.source, how),
            at: locator.position(&pem.declared),
        };
        let how = match roots {
            Roots::System => " and the system's",
            Roots::Only => " alone",
        };
        let ca = ca.as_ref().map(|ca| one("ca", ca, how));
        let client = client.as_ref().map(|client| one("certificate", &client.certificate, ""));
        ca.into_iter().chain(client).collect()
    }

    /// Those of the vars that are not set.
    fn unset<'n>(
        &self,
        owner: bind::VarOwner<'_>,
        names: impl IntoIterator<Item = &'n String>,
    ) -> Vec<String> {
        let gateway = |name: &FileName| {
            self.provider.gateways.iter().find(|one| one.gateway.name == *name).map(|one| &one.gateway.vars)
        };
        let vars = owner.map_or(Some(&self.provider.vars), gateway);
        let is_set = |name: &&String| {
            let var = vars.and_then(|vars| vars.get(*name));
            let value = var.and_then(|var| (self.values)(owner, name, &var.value).ok().flatten());
            value.is_some_and(|value| !value.is_empty()) || var.is_some_and(|var| var.value.default.is_some())
        };
        names.into_iter().filter(|name| !is_set(name)).cloned().collect()
    }
}

impl Explainer<'_> {
    fn rewrite(&self, hit: &Hit, chosen: Option<&Chosen<'_>>) -> Result<Rewritten, Fault> {
        let mut recorder = FateRecorder::default();
        let withheld = Withheld::of(self.context.table, self.token);
        let fresh = Fresh::STAND_IN;
        let out = rewrite::request_observed(hit, self.head, chosen, withheld, fresh, &mut recorder)?;
        Ok(Rewritten { url: out.url(), headers: out.headers, fates: recorder })
    }

    /// The key that the request asks for usage with, if its body allows that.
    fn ask(&self) -> Option<&Ask> {
        let metering = self.hit.endpoint().metering.as_ref()?;
        let ask = metering.ask.as_deref().filter(|_| metering.when_missing == WhenMissing::Ask);
        ask.filter(|_| ask::is_changeable(&self.head.headers))
    }

    /// Sorted: headers that are sent first, then by name.
    fn headers(&self, rewritten: &Rewritten, mask: &Mask, locator: &RuleLocator<'_>) -> Vec<Header> {
        let one = |(name, fates): &(HeaderName, Vec<Fate>)| {
            let values = rewritten.headers.get_all(name).iter();
            Header {
                name: self.shown_name(name.as_str()),
                values: values.map(|value| mask.shown(&String::from_utf8_lossy(value.as_bytes()))).collect(),
                steps: fates.iter().map(|fate| locator.header_step(name, *fate)).collect(),
            }
        };
        let mut headers: Vec<Header> = rewritten.fates.headers.iter().map(one).collect();
        if let Some(ask) = self.ask() {
            let by_auth = |fate: &Fate| matches!(fate, Fate::Ruled(rule) if rule.table == RuleTable::Auth);
            let own = rewritten.fates.headers.iter().filter(|(_, fates)| fates.last().is_some_and(by_auth));
            asks(ask, &own.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), &mut headers);
        }
        headers.sort_by(|a, b| (a.values.is_empty(), &a.name).cmp(&(b.values.is_empty(), &b.name)));
        headers
    }

    fn query(&self, rewritten: &Rewritten, locator: &RuleLocator<'_>) -> Vec<Parameter> {
        let one = |(name, fates): &(String, Vec<Fate>)| Parameter {
            name: self.shown_name(name),
            steps: fates.iter().map(|fate| locator.query_step(name, *fate)).collect(),
        };
        rewritten.fates.query.iter().map(one).collect()
    }

    /// The name of a client's header or parameter, unless it holds the token.
    fn shown_name(&self, name: &str) -> String {
        let holds_token = TokenSearch::new(self.token).is_in(name.as_bytes());
        if holds_token { mask::MASKED } else { name }.to_owned()
    }
}

/// Changes the headers of a request whose body asks for usage. `own`: those of the credential, which belong to the changed
/// body.
fn asks(ask: &Ask, own: &[&str], headers: &mut Vec<Header>) {
    let is_digest = |one: &&mut Header| {
        let name = one.name.as_str();
        !one.values.is_empty() && ask::DIGESTS.contains(&name) && !own.contains(&name)
    };
    for digest in headers.iter_mut().filter(is_digest) {
        digest.values.clear();
        digest.steps.push(engine_step(Action::Removed, reasons::DIGEST));
    }
    if ask.extra.is_none() {
        return;
    }
    let name = ACCEPT_ENCODING.as_str();
    let at = headers.iter().position(|one| one.name == name).unwrap_or_else(|| {
        headers.push(Header { name: name.to_owned(), values: Vec::new(), steps: Vec::new() });
        headers.len() - 1
    });
    headers[at].values = vec!["identity".to_owned()];
    headers[at].steps.push(engine_step(Action::Set, reasons::ASKED));
}

fn error_reply(fault: &Fault) -> ErrorReply {
    ErrorReply {
        status: fault.kind.status().as_u16(),
        code: fault.kind.code().into(),
        message: fault.message.clone().into_owned(),
    }
}

/// The result for a request without an endpoint.
fn miss(context: Context<'_>, head: &Parts, fault: Option<ErrorReply>) -> Miss {
    let path = head.uri.path();
    let rejected = context.table.rejected_at(path).filter(|_| table::is_canonical(path));
    let nearest = context.table.nearest(&head.method, path).filter(|_| rejected.is_none());
    let nearest = nearest.map(|near| reasons::nearest(&near, head, context.sources));
    Miss { own: None, fault, nearest }
}

#[cfg(test)]
mod auth_tests;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod tests;
